//! tar archives, entry by entry: POSIX pax and ustar, GNU long names, and the oldest form. tar(5).
//!
//! The fields of headers are read by the `tar` crate. The framing is done here, because each length that an archive
//! states needs a bound before memory is taken for it.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};
use usk_abi::capability::FileCapabilities;

use super::limits::{MAX_EXTENSION, MAX_PATH};
use super::listing::shown;

const BLOCK: usize = 512;
/// The record with an extended attribute of the entry, by tar's and everybody's convention.
const CAPABILITIES: &[u8] = b"SCHILY.xattr.security.capability";

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    Directory,
    /// What it says.
    Symlink(Vec<u8>),
    /// Another entry's name.
    HardLink(Vec<u8>),
    Fifo,
    /// A character or block device.
    Device,
}

/// An entry's header. Nothing about it has been checked but its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// Bytes that follow.
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    /// What the file gives to whoever executes it.
    pub(super) capabilities: Option<FileCapabilities>,
}

/// An archive that is being read.
pub(super) struct Archive<R> {
    reader: R,
    /// Bytes of the current entry that were not read, and how many fill its last block up.
    rest: u64,
    padding: u64,
}

/// What extension headers say about the entry after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    capabilities: Option<FileCapabilities>,
}

impl<R: Read> Archive<R> {
    /// Begins at an archive's begin.
    pub(super) fn new(reader: R) -> Archive<R> {
        Archive { reader, rest: 0, padding: 0 }
    }

    /// What it is read from, at the begin of the current entry's content: for whoever can seek. See
    /// [`skipped`](Self::skipped).
    pub(super) fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// How many bytes there are until the next header, which the caller has passed over.
    pub(super) fn skipped(&mut self) -> u64 {
        let length = self.rest.saturating_add(self.padding);
        (self.rest, self.padding) = (0, 0);
        length
    }

    /// The next entry, whose content then can be read; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.pass_over()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let stated = size(&header)?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(until_zero(self.extension(stated)?)),
                EntryType::GNULongLink => extensions.link = Some(until_zero(self.extension(stated)?)),
                EntryType::XHeader => {
                    let records = self.extension(stated)?;
                    extensions.take(&records)?;
                }
                // About all entries: comments in practice, and other tools pass over them too.
                EntryType::XGlobalHeader => drop(self.extension(stated)?),
                _ => {
                    let entry = extensions.apply(&header)?;
                    self.begin(entry.size);
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// The next header; `None` at the end of the archive, which is a block of zeros, or nothing.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while let Some(free) = block.get_mut(filled..).filter(|free| !free.is_empty()) {
            match self.reader.read(free)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(truncated()),
                length => filled += length,
            }
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        if header.cksum().ok() != Some(sum(header.as_bytes())) {
            return Err(invalid("it is not a tar archive, or a header in it is damaged"));
        }
        Ok(Some(header))
    }

    /// The content of an extension header.
    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(invalid(&format!("an extension header of {size} bytes is too long")));
        }
        self.begin(size);
        let mut content = Vec::new();
        self.read_to_end(&mut content)?;
        Ok(content)
    }

    fn begin(&mut self, size: u64) {
        self.rest = size;
        let over = size % BLOCK as u64;
        self.padding = if over == 0 { 0 } else { BLOCK as u64 - over };
    }

    /// Goes to the next header.
    fn pass_over(&mut self) -> io::Result<()> {
        let length = self.skipped();
        if io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())? < length {
            return Err(truncated());
        }
        Ok(())
    }
}

/// Reads the current entry's content.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let length = self.reader.by_ref().take(self.rest).read(buffer)?;
        if length == 0 {
            return Err(truncated());
        }
        self.rest = self.rest.saturating_sub(length as u64);
        Ok(length)
    }
}

impl Extensions {
    /// Takes what matters of a pax header's records: `LENGTH KEY=VALUE`, one a line.
    fn take(&mut self, records: &[u8]) -> io::Result<()> {
        for record in PaxExtensions::new(records) {
            let record = record?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number(value)?),
                b"uid" => self.uid = Some(number(value)?),
                b"gid" => self.gid = Some(number(value)?),
                b"mtime" => self.mtime = Some(time(value)?),
                CAPABILITIES => {
                    let parsed = FileCapabilities::parse(value);
                    self.capabilities = Some(parsed.map_err(|_| invalid("a file's capabilities are none"))?);
                }
                key if key.starts_with(b"GNU.sparse.") => return Err(sparse()),
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(self, header: &Header) -> io::Result<Entry> {
        let path = self.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = match self.link {
            Some(link) => link,
            None => header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default(),
        };
        let name = String::from_utf8_lossy(&path).into_owned();
        if path.len() > MAX_PATH || link.len() > MAX_PATH {
            return Err(invalid(&format!("the name or the link of the entry {name:.80?} is too long")));
        }
        let stated = match self.size {
            Some(size) => size,
            None => size(header)?,
        };
        let kind = match header.entry_type() {
            // The oldest form knew directories by their names.
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::Regular,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Link => Kind::HardLink(link),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char | EntryType::Block => Kind::Device,
            EntryType::GNUSparse => return Err(sparse()),
            other => {
                let flag = char::from(other.as_byte());
                return Err(invalid(&format!("the entry {name:.80?} is of an unknown kind, {flag:?}")));
            }
        };
        Ok(Entry {
            // Only files have content; some tools state the size of what a link leads to.
            size: if kind == Kind::Regular { stated } else { 0 },
            capabilities: self.capabilities.filter(|_| kind == Kind::Regular),
            path,
            kind,
            mode: or_zero(&header.as_old().mode, || header.mode())?,
            uid: self.uid.map_or_else(|| or_zero(&header.as_old().uid, || header.uid()), Ok)?,
            gid: self.gid.map_or_else(|| or_zero(&header.as_old().gid, || header.gid()), Ok)?,
            mtime: match self.mtime {
                Some(mtime) => mtime,
                None => {
                    let seconds = or_zero(&header.as_old().mtime, || header.mtime())?;
                    (i64::try_from(seconds).unwrap_or(i64::MAX), 0)
                }
            },
        })
    }
}

fn size(header: &Header) -> io::Result<u64> {
    or_zero(&header.as_old().size, || header.entry_size())
}

/// A number of a header. One that is left out is zero, for every other tool too.
fn or_zero<T: Default>(field: &[u8], read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if field.iter().all(|&byte| matches!(byte, 0 | b' ')) {
        return Ok(T::default());
    }
    // It may quote what is in the field.
    read().map_err(|error| invalid(&shown(error.to_string().as_bytes())))
}

/// The sum of a header's bytes, with its checksum counted as spaces.
fn sum(block: &[u8; BLOCK]) -> u32 {
    let byte = |(at, &byte): (usize, &u8)| u32::from(if (148..156).contains(&at) { b' ' } else { byte });
    block.iter().enumerate().map(byte).sum()
}

fn until_zero(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

fn number(text: &[u8]) -> io::Result<u64> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| invalid("a number in an extension header is none"))
}

/// `SECONDS[.FRACTION]`, perhaps negative.
fn time(text: &[u8]) -> io::Result<(i64, u32)> {
    let problem = || invalid("a time in an extension header is none");
    let text = std::str::from_utf8(text).map_err(|_| problem())?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| problem())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(problem());
    }
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: u32 = digits.parse().map_err(|_| problem())?;
    if !text.starts_with('-') || nanoseconds == 0 {
        return Ok((seconds, nanoseconds));
    }
    Ok((seconds.saturating_sub(1), 1_000_000_000 - nanoseconds))
}

fn sparse() -> io::Error {
    invalid("it has sparse entries, which layers do not have: write it without")
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle: it is truncated")
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
        let mut archive = Archive::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = archive.next()? {
            let mut content = Vec::new();
            archive.read_to_end(&mut content)?;
            entries.push((entry, content));
        }
        Ok(entries)
    }

    #[test]
    fn what_the_tar_crate_writes_is_read() {
        let long = format!("{}/file", "directory/".repeat(30));
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(7);
        header.set_mode(0o4755);
        header.set_uid(3_000_000);
        header.set_mtime(99);
        builder
            .append_pax_extensions([("mtime", b"-1.25".as_slice()), ("SCHILY.xattr.user.x", b"y")])
            .unwrap();
        builder.append_data(&mut header, "name", &b"content"[..]).unwrap();
        header.set_size(513);
        builder.append_data(&mut header, &long, &[1; 513][..]).unwrap();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "link", &long).unwrap();
        let found = entries(&builder.into_inner().unwrap()).unwrap();
        let (first, content) = &found[0];
        assert_eq!((first.path.as_slice(), content.as_slice()), (&b"name"[..], &b"content"[..]));
        assert_eq!((first.mode, first.uid, first.mtime), (0o4755, 3_000_000, (-2, 750_000_000)));
        assert_eq!((found[1].0.path.as_slice(), found[1].1.len()), (long.as_bytes(), 513));
        assert_eq!(found[2].0.kind, Kind::Symlink(long.into_bytes()));
    }

    #[test]
    fn an_archive_that_ends_anywhere_else_than_between_entries_is_truncated() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = Header::new_ustar();
        header.set_size(700);
        builder.append_data(&mut header, "name", &[7; 700][..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        for length in [1, 511, 512, 600, 1212, 1500, 1535] {
            let error = entries(&bytes[..length]).unwrap_err();
            assert!(error.to_string().contains("truncated"), "{length}: {error}");
        }
        assert_eq!(entries(&bytes[..1536]).unwrap().len(), 1);
        assert!(entries(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_in_a_field_is_quoted_on_one_line() {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[100..108].copy_from_slice(b"\n\nbad\n\n\n");
        header.set_size(0);
        header.set_cksum();
        let error = entries(header.as_bytes()).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn lengths_are_refused_before_memory_is_taken_for_them() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let error = entries(header.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }

    #[test]
    fn what_is_no_archive_is_said_to_be_none() {
        let error = entries(&[b'x'; 1024]).unwrap_err();
        assert!(error.to_string().contains("not a tar archive"), "{error}");
    }
}
