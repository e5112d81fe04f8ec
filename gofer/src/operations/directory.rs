//! Listing directories, page by page.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, MutexGuard, PoisonError};

use rustix::fs::{OFlags, RawDir, RawDirEntry, SeekFrom};
use usk_abi::Errno;
use usk_gofer_protocol::limits::{DIRECTORY_PAGE, MAX_COMPONENTS, MAX_DIRECTORY_ENTRIES};
use usk_gofer_protocol::{
    DirectoryBelow, DirectoryEntries, DirectoryEntry, DirectoryPosition, Entry, FileType, Name, NodeId,
    Reply, WholeDirectory,
};

use crate::host;
use crate::nodes::OpenNode;
use crate::server::{Answer, Server};

/// Most open directories that are kept between pages.
pub(crate) const MAX_STREAMS: usize = 64;

/// Bytes that are asked of the host at a time. Small, so that a page ends between two reads and need not seek
/// back.
const READ_SIZE: usize = 4096;

/// The same for a directory that is read as a whole.
const WHOLE_READ_SIZE: usize = 16384;

/// Most entries in [`READ_SIZE`] bytes: the host's shortest record has 24.
const ENTRIES_PER_READ: usize = READ_SIZE / 24 + 1;

/// Most bytes that the entries of one read take in a reply: many short names take the most.
const ENCODED_PER_READ: usize = ENTRIES_PER_READ * DirectoryEntry::encoded_bound(0) + READ_SIZE;

const _: () = assert!(ENCODED_PER_READ < DIRECTORY_PAGE && ENTRIES_PER_READ < MAX_DIRECTORY_ENTRIES);

/// Open directories between two pages, by number, and the last number given out. A stream is out of here
/// while a page is read from it.
pub(crate) struct DirectoryStreams(pub(crate) BTreeMap<u64, DirectoryStream>, pub(crate) u64);

/// An open directory between two pages.
pub(crate) struct DirectoryStream {
    node: NodeId,
    directory: OwnedFd,
    /// The host's position of the descriptor.
    cursor: u64,
}

impl Server {
    /// A page of the directory, from `cursor` on; `stream` helps if it is still there.
    pub(crate) fn read_directory(
        &self,
        node: NodeId,
        (stream, cursor): (u64, u64),
        all_attributes: bool,
    ) -> Answer {
        let node = self.nodes.get(node)?;
        if !node.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        if node.is_sealed {
            return Ok((Reply::Directory { entries: DirectoryEntries::new(), next: None }, None));
        }
        let mut stream = self.stream_at(&node, stream, cursor)?;
        let (entries, is_end) = self.read_page(&node, &mut stream, all_attributes)?;
        let next = if is_end { None } else { Some(self.keep(stream)) };
        Ok((Reply::Directory { entries, next }, None))
    }

    /// Reads directories of one directory as wholes, as many from the front as fit in a page, and then `below` that are in them. What is
    /// too long is left for [`Server::read_directory`].
    pub(crate) fn read_directories(
        &self,
        parent: NodeId,
        names: &[Name<'_>],
        below: usize,
        all_attributes: bool,
    ) -> Answer {
        let parent = self.nodes.get(parent)?;
        if !parent.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        let mut directories = Vec::new();
        let mut room = DIRECTORY_PAGE;
        for &name in names {
            match self.read_one(&parent, name, all_attributes, &mut room) {
                Ok(Some(read)) => directories.push(Ok(read)),
                Ok(None) => break,
                // The table is full: what was read is worth more than what was not.
                Err(Errno::ENFILE) if !directories.is_empty() => break,
                Err(Errno::ENFILE) => return Err(Errno::ENFILE),
                Err(error) => directories.push(Err(error)),
            }
        }
        let below = self.read_below(&directories, below.min(MAX_COMPONENTS), all_attributes, &mut room);
        Ok((Reply::Directories { directories, below }, None))
    }

    /// Reads directories that are in those that were read, level by level: as many as fit, at most `most`. Why one cannot be read is for
    /// those to hear who ask for it.
    fn read_below(
        &self,
        directories: &[Result<WholeDirectory, Errno>],
        most: usize,
        all_attributes: bool,
        room: &mut usize,
    ) -> Vec<DirectoryBelow> {
        let mut below: Vec<DirectoryBelow> = Vec::new();
        for (number, above) in (0..).zip(0..directories.len() + most) {
            let Some(read) = read_before(directories, &below, above) else { continue };
            let Ok(parent) = self.nodes.get(read.directory.node) else { continue };
            for entry in subdirectories(read) {
                if below.len() == most {
                    return below;
                }
                let Some(name) = name_in(directories, &below, (above, entry)) else { continue };
                match self.read_one(&parent, name, all_attributes, room) {
                    Ok(Some(read)) => below.push(DirectoryBelow { above: number, entry, read }),
                    Ok(None) | Err(Errno::ENFILE) => return below,
                    Err(_) => {}
                }
            }
        }
        below
    }

    /// A directory as a whole, if it fits in `room` bytes, which it is subtracted from.
    fn read_one(
        &self,
        parent: &OpenNode,
        name: Name<'_>,
        all_attributes: bool,
        room: &mut usize,
    ) -> Result<Option<WholeDirectory>, Errno> {
        let Some(left) = room.checked_sub(WholeDirectory::encoded_bound()) else { return Ok(None) };
        *room = left;
        let (node, directory, opened) = self.step_into(parent, name)?;
        let entries = self.read_whole(&node, opened, all_attributes, room);
        if !matches!(entries, Ok(Some(_))) {
            self.nodes.forget(&[directory.node]);
        }
        Ok(entries?.map(|entries| WholeDirectory { directory, entries }))
    }

    /// Looks `name` up in `parent` and hands out a reference. A directory on the same mount, which is the usual case, is opened by its name to
    /// be listed; then that is the node's descriptor, too (2.6 µs instead of 5.1). Nothing else can be opened like that.
    fn step_into(
        &self,
        parent: &OpenNode,
        name: Name<'_>,
    ) -> Result<(OpenNode, Entry, Option<Arc<OwnedFd>>), Errno> {
        if !parent.is_sealed
            && !self.hides(parent, name)
            && let Ok(opened) = host::open_by_name(parent.as_fd(), name, OFlags::DIRECTORY)
        {
            let status = host::status(opened.as_fd()).map_err(host::errno)?;
            let opened = Arc::new(opened);
            let (node, entry) = self.adopt(parent, name, opened.clone(), &status)?;
            return Ok((node, entry, Some(opened)));
        }
        self.step(parent, name).map(|(node, entry)| (node, entry, None))
    }

    /// All entries of a directory, if they fit in `room` bytes, which they are subtracted from. By a descriptor that nobody else reads.
    fn read_whole(
        &self,
        node: &OpenNode,
        opened: Option<Arc<OwnedFd>>,
        all_attributes: bool,
        room: &mut usize,
    ) -> Result<Option<DirectoryEntries>, Errno> {
        if !node.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        let mut entries = DirectoryEntries::new();
        if node.is_sealed {
            return Ok(Some(entries));
        }
        let directory = match opened {
            Some(opened) => opened,
            None => host::open_directory(node.as_fd())?.into(),
        };
        let hidden = self.hidden_names(node);
        let mut buffer = [MaybeUninit::<u8>::uninit(); WHOLE_READ_SIZE];
        let mut reader = RawDir::new(directory.as_fd(), &mut buffer);
        while let Some(record) = reader.next() {
            let record = record.map_err(host::errno)?;
            let entry = self.read_entry((node.export, hidden), &directory, &record, all_attributes);
            let Some(entry) = entry else { continue };
            let length = entry.encoded_length();
            match room.checked_sub(length) {
                Some(left) if entries.len() < MAX_DIRECTORY_ENTRIES => *room = left,
                _ => return Ok(None),
            }
            entries.push(&entry);
        }
        Ok(Some(entries))
    }

    /// Drops a stream.
    pub(crate) fn close_directory(&self, stream: u64) -> Answer {
        let closed = self.lock_streams().0.remove(&stream);
        drop(closed);
        Ok((Reply::Done {}, None))
    }

    /// The stream with that number, or a new one, at `cursor`.
    fn stream_at(&self, node: &OpenNode, number: u64, cursor: u64) -> Result<DirectoryStream, Errno> {
        let kept = {
            let mut streams = self.lock_streams();
            let is_right = streams.0.get(&number).is_some_and(|stream| stream.node == node.id);
            if is_right { streams.0.remove(&number) } else { None }
        };
        let mut stream = match kept {
            Some(stream) => stream,
            None => {
                let directory = host::open_directory(node.as_fd())?;
                DirectoryStream { node: node.id, directory, cursor: 0 }
            }
        };
        if stream.cursor != cursor {
            // The host refuses a position that makes no sense to it.
            rustix::fs::seek(&stream.directory, SeekFrom::Start(cursor)).map_err(host::errno)?;
            stream.cursor = cursor;
        }
        Ok(stream)
    }

    /// Keeps a stream for its next page, at the cost of the oldest if there are too many.
    fn keep(&self, stream: DirectoryStream) -> DirectoryPosition {
        let cursor = stream.cursor;
        let mut streams = self.lock_streams();
        streams.1 += 1;
        let number = streams.1;
        streams.0.insert(number, stream);
        let oldest = if streams.0.len() > MAX_STREAMS { streams.0.pop_first() } else { None };
        drop(streams);
        drop(oldest);
        DirectoryPosition { stream: number, cursor }
    }

    /// Entries until the page is full or the directory ends, and whether it did. A page is empty only at the end.
    fn read_page(
        &self,
        node: &OpenNode,
        stream: &mut DirectoryStream,
        all_attributes: bool,
    ) -> Result<(DirectoryEntries, bool), Errno> {
        let mut entries = DirectoryEntries::new();
        let mut size = 0;
        let hidden = self.hidden_names(node);
        let mut buffer = [MaybeUninit::<u8>::uninit(); READ_SIZE];
        let mut reader = RawDir::new(stream.directory.as_fd(), &mut buffer);
        loop {
            let is_full = size + ENCODED_PER_READ > DIRECTORY_PAGE
                || entries.len() + ENTRIES_PER_READ > MAX_DIRECTORY_ENTRIES;
            if reader.is_buffer_empty() && is_full {
                return Ok((entries, false));
            }
            let Some(record) = reader.next() else { return Ok((entries, true)) };
            let record = record.map_err(host::errno)?;
            stream.cursor = record.next_entry_cookie();
            if let Some(entry) =
                self.read_entry((node.export, hidden), &stream.directory, &record, all_attributes)
            {
                size += entry.encoded_length();
                entries.push(&entry);
            }
        }
    }

    /// The entry with its attributes; `None` for `.` and `..`, for what is hidden, and for what has gone since. Without `all_attributes` those of
    /// directories only: a `statx(2)` is most of what an entry costs.
    fn read_entry<'a>(
        &self,
        (export, hidden): (usize, &[Box<[u8]>]),
        directory: &OwnedFd,
        record: &'a RawDirEntry<'_>,
        all_attributes: bool,
    ) -> Option<DirectoryEntry<'a>> {
        let name = Name::new(record.file_name().to_bytes()).ok()?;
        let file_type = file_type(record);
        let is_hidden = hidden.iter().any(|hidden| **hidden == *name.as_bytes());
        let is_wanted =
            all_attributes || is_hidden || file_type.is_none_or(|file_type| file_type == FileType::Directory);
        let attributes = match is_wanted.then(|| host::status_at(directory.as_fd(), name)) {
            Some(Ok(status)) if is_hidden && !self.is_cover(export, &status) => return None,
            Some(Ok(status)) => self.attributes(export, &status).ok(),
            Some(Err(rustix::io::Errno::NOENT)) => return None,
            Some(Err(_)) if is_hidden => return None,
            Some(Err(_)) | None => None,
        };
        Some(DirectoryEntry { name, ino: record.ino(), file_type, attributes })
    }

    fn lock_streams(&self) -> MutexGuard<'_, DirectoryStreams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A directory that was read, by its number among those that were named and, counted on, those below.
fn read_before<'a>(
    directories: &'a [Result<WholeDirectory, Errno>],
    below: &'a [DirectoryBelow],
    number: usize,
) -> Option<&'a WholeDirectory> {
    match number.checked_sub(directories.len()) {
        Some(number) => below.get(number).map(|below| &below.read),
        None => directories.get(number)?.as_ref().ok(),
    }
}

/// The name of an entry, by the number of its directory and its own there.
fn name_in<'a>(
    directories: &'a [Result<WholeDirectory, Errno>],
    below: &'a [DirectoryBelow],
    (number, entry): (usize, u32),
) -> Option<Name<'a>> {
    read_before(directories, below, number)?.entries.name(usize::try_from(entry).ok()?)
}

/// Numbers of the directories among the entries of one.
fn subdirectories(read: &WholeDirectory) -> Vec<u32> {
    let told = read.entries.attributes().iter();
    told.filter(|(_, found)| found.is_directory()).map(|(entry, _)| *entry).collect()
}

fn file_type(record: &RawDirEntry<'_>) -> Option<FileType> {
    Some(match record.file_type() {
        rustix::fs::FileType::RegularFile => FileType::Regular,
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::Fifo,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharacterDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        rustix::fs::FileType::Unknown => return None,
    })
}
