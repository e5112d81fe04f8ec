//! What a layer changes, by path: what it brings, and what it takes away from the layers below it.
//!
//! The cache keeps a layer's files in a tree, and this beside it: what a tree of one user's cannot hold. Owners, set-user-id
//! bits, whiteouts, and which directories the layer only passes through.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Bound;

use anyhow::{Context, Result, bail};
use usk_abi::capability::FileCapabilities;

/// A path below the root: no slash at either end, no `.`, no `..`; empty for the root itself. Parents sort before what
/// they hold.
pub(super) type Place = Vec<u8>;

/// What a layer says about a file. stat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permissions and the set-id and sticky bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    /// What a regular file gives to whoever executes it. capabilities(7).
    pub(super) capabilities: Option<FileCapabilities>,
}

impl Attributes {
    /// Of a directory that no layer describes.
    pub(super) const IMPLIED: Attributes =
        Attributes { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0), capabilities: None };
}

/// What a layer brings at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// A directory, which joins one that is there.
    Directory(Attributes),
    /// A directory that only leads to something: one that is there stays as it is.
    Implied,
    /// A regular file, a fifo or, if the second says so, a symbolic link.
    File(Attributes, bool),
}

/// What a layer changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) brought: BTreeMap<Place, Brought>,
    /// Places that are gone, whatever they held.
    pub(super) removed: BTreeSet<Place>,
    /// Directories of which nothing is left that layers below brought.
    pub(super) emptied: BTreeSet<Place>,
}

impl Listing {
    /// One record for each place, each ended by a zero byte: a letter, numbers, the path.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut record = |numbers: &str, place: &[u8]| {
            bytes.extend([numbers.as_bytes(), place, b"\0"].concat());
        };
        for (place, brought) in &self.brought {
            let described =
                |letter, Attributes { mode, uid, gid, mtime: (seconds, nanoseconds), capabilities }| {
                    let rights = rights(mode, capabilities);
                    format!("{letter} {rights} {uid} {gid} {seconds} {nanoseconds} ")
                };
            let numbers = match *brought {
                Brought::Directory(attributes) => described('d', attributes),
                Brought::Implied => "i ".to_owned(),
                Brought::File(attributes, false) => described('f', attributes),
                Brought::File(attributes, true) => described('l', attributes),
            };
            record(&numbers, place);
        }
        self.removed.iter().for_each(|place| record("w ", place));
        self.emptied.iter().for_each(|place| record("o ", place));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written.
    pub(super) fn parse(bytes: &[u8]) -> Result<Listing> {
        let mut listing = Listing::default();
        for record in bytes.split_inclusive(|&byte| byte == 0) {
            let Some(record) = record.strip_suffix(b"\0") else { bail!("its last record is cut off") };
            let (letter, rest) = record.split_at_checked(2).context("a record is too short")?;
            let described = || -> Result<(Attributes, Place)> {
                let mut fields = rest.splitn(6, |&byte| byte == b' ');
                let mut number = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
                let parsed = (|| {
                    let (mode, capabilities) = parse_rights(number()?)?;
                    let (uid, gid) = (number()?.parse().ok()?, number()?.parse().ok()?);
                    let mtime = (number()?.parse().ok()?, number()?.parse().ok()?);
                    Some(Attributes { mode, uid, gid, mtime, capabilities })
                })();
                Ok((parsed.context("a record has no numbers")?, fields.next().context("no path")?.to_vec()))
            };
            match letter {
                b"w " => drop(listing.removed.insert(rest.to_vec())),
                b"o " => drop(listing.emptied.insert(rest.to_vec())),
                b"i " => drop(listing.brought.insert(rest.to_vec(), Brought::Implied)),
                b"d " => {
                    let (attributes, place) = described()?;
                    listing.brought.insert(place, Brought::Directory(attributes));
                }
                b"f " | b"l " => {
                    let (attributes, place) = described()?;
                    listing.brought.insert(place, Brought::File(attributes, letter == b"l "));
                }
                _ => bail!("a record has an unknown letter"),
            }
        }
        Ok(listing)
    }
}

/// Permissions as records have them: in octal, and after a colon what the file gives to whoever executes it, if it gives
/// something.
pub(super) fn rights(mode: u32, capabilities: Option<FileCapabilities>) -> String {
    match capabilities {
        None => format!("{mode:o}"),
        Some(FileCapabilities { permitted, inheritable, effective, root }) => {
            format!("{mode:o}:{permitted:x}:{inheritable:x}:{}:{root:x}", u8::from(effective))
        }
    }
}

/// Reads what [`rights`] has written.
pub(super) fn parse_rights(text: &str) -> Option<(u32, Option<FileCapabilities>)> {
    let mut fields = text.split(':');
    let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
    let Some(permitted) = fields.next() else { return Some((mode, None)) };
    let capabilities = FileCapabilities {
        permitted: u64::from_str_radix(permitted, 16).ok()?,
        inheritable: u64::from_str_radix(fields.next()?, 16).ok()?,
        effective: fields.next()? == "1",
        root: u32::from_str_radix(fields.next()?, 16).ok()?,
    };
    Some((mode, Some(capabilities)))
}

/// The directory that a place is in, and its name there.
pub(super) fn split(place: &[u8]) -> (&[u8], &[u8]) {
    match place.iter().rposition(|&byte| byte == b'/') {
        Some(at) => {
            let (directory, rest) = place.split_at(at);
            (directory, rest.get(1..).unwrap_or_default())
        }
        None => (&[], place),
    }
}

/// Takes what lies below a place out of a map; the place itself stays. In order, parents first.
pub(super) fn take_below<V>(map: &mut BTreeMap<Place, V>, place: &[u8]) -> Vec<Place> {
    let below: Vec<Place> = if place.is_empty() {
        map.keys().filter(|key| !key.is_empty()).cloned().collect()
    } else {
        // Everything that begins with the path and a slash; the byte after the slash bounds it.
        let bounds = ([place, b"/"].concat(), [place, b"0"].concat());
        map.range((Bound::Included(bounds.0), Bound::Excluded(bounds.1)))
            .map(|(key, _)| key.clone())
            .collect()
    };
    for key in &below {
        map.remove(key);
    }
    below
}

/// A path for people, on one line and not too long.
pub(super) fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(path);
    let mut shown = String::new();
    for c in text.chars().take(LONGEST) {
        // Writing to a string does not fail.
        let _ = if c.is_control() { write!(shown, "{}", c.escape_debug()) } else { write!(shown, "{c}") };
    }
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let capabilities =
            Some(FileCapabilities { permitted: 1 << 40 | 1, inheritable: 2, effective: true, root: 9 });
        let attributes =
            Attributes { mode: 0o4711, uid: 7, gid: 4_000_000_000, mtime: (-5, 999), capabilities: None };
        let gives = Attributes { capabilities, ..attributes };
        let mut listing = Listing::default();
        listing.brought.insert(b"".to_vec(), Brought::Directory(attributes));
        listing.brought.insert(b"a b".to_vec(), Brought::Implied);
        listing.brought.insert(b"a b/\xff\n c".to_vec(), Brought::File(attributes, true));
        listing.brought.insert(b"ping".to_vec(), Brought::File(gives, false));
        listing.removed.insert(b"gone".to_vec());
        listing.emptied.insert(b"".to_vec());
        let bytes = listing.to_bytes();
        assert_eq!(Listing::parse(&bytes).unwrap(), listing);
        assert!(Listing::parse(&bytes[..bytes.len() - 1]).is_err());
        assert!(Listing::parse(b"x y\0").is_err() && Listing::parse(b"d 1\0").is_err());
        assert!(Listing::parse(b"f 755:1:2 0 0 0 0 x\0").is_err());
    }

    #[test]
    fn what_lies_below_a_place_is_not_what_begins_like_it() {
        let mut map: BTreeMap<Place, ()> =
            ["", "a", "a-b", "a/b", "a/b/c", "a0", "ab"].map(|key| (key.as_bytes().to_vec(), ())).into();
        assert_eq!(take_below(&mut map, b"a"), [b"a/b".to_vec(), b"a/b/c".to_vec()]);
        assert_eq!(take_below(&mut map, b"").len(), 4);
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn names_are_shown_on_one_line() {
        assert_eq!(shown(b"a\nb\x1b[1m"), "a\\nb\\u{1b}[1m");
        assert!(shown(&[b'x'; 5000]).len() < 300);
    }
}
