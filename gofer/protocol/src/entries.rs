//! The entries of a directory.

use crate::attributes::{Attributes, FileType};
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::limits::{MAX_DIRECTORY_ENTRIES, MAX_NAME};
use crate::name::Name;

/// Length of attributes on the wire: five 64-bit and five 32-bit fields, three times, and an optional one.
const ATTRIBUTES_LENGTH: usize = 5 * 8 + 5 * 4 + 4 * 12 + 1;

/// Least length of attributes on the wire, with the number of their entry.
const LEAST_TOLD_LENGTH: usize = 4 + ATTRIBUTES_LENGTH - 12;

/// Least length of an entry on the wire, but for its name: length of the name, whether its type is known, inode number.
const LEAST_ENTRY_LENGTH: usize = 1 + 1 + 8;

/// Entries that there is room for when the first comes: few directories have more, and those do not come alone.
const USUAL_ENTRIES: usize = 16;

/// The same for bytes of names.
const USUAL_NAMES: usize = 256;

/// A name in a directory, with the attributes of what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry<'a> {
    /// The name; never `.` or `..`.
    pub name: Name<'a>,
    /// Inode number that the directory says (`d_ino`). Below a mount point it differs from the one in
    /// `attributes`, as on Linux.
    pub ino: u64,
    /// Type that the directory says (`d_type`); `None` for `DT_UNKNOWN`.
    pub file_type: Option<FileType>,
    /// Attributes, as a walk would report them; of a symbolic link, its own. Not a reference to a node.
    /// `None` when the host refuses to tell them.
    pub attributes: Option<Attributes>,
}

impl DirectoryEntry<'_> {
    /// No less than its length on the wire.
    pub fn encoded_length(&self) -> usize {
        let bound = Self::encoded_bound(self.name.as_bytes().len());
        if self.attributes.is_some() { bound } else { bound - ATTRIBUTES_LENGTH }
    }

    /// Length of the longest form on the wire of an entry whose name has `name_length` bytes.
    pub const fn encoded_bound(name_length: usize) -> usize {
        // The name and what is beside it, with the number of its type; then the number of the entry with attributes.
        name_length + LEAST_ENTRY_LENGTH + 1 + 4 + ATTRIBUTES_LENGTH
    }
}

/// Entries of a directory, packed: all names one after the other, and attributes apart, since most listings have those of directories
/// only. The form on the wire is the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryEntries {
    names: Vec<u8>,
    entries: Vec<PackedEntry>,
    /// By number of the entry, ascending.
    attributes: Vec<(u32, Attributes)>,
}

/// What [`DirectoryEntries`] holds of an entry beside its name and its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedEntry {
    /// As in [`DirectoryEntry`].
    pub ino: u64,
    /// Where the name ends among the names of all entries; it begins where the one before ends.
    pub name_end: u32,
    /// As in [`DirectoryEntry`].
    pub file_type: Option<FileType>,
}

impl DirectoryEntries {
    /// Length of the longest form on the wire of no entries: the length of all names, the count of entries, and that of attributes.
    pub const EMPTY_LENGTH: usize = 3 * 4;

    /// None yet.
    pub fn new() -> DirectoryEntries {
        DirectoryEntries::default()
    }

    /// Adds an entry at the end. No more than 4 GiB of names have room, which is far beyond every bound.
    pub fn push(&mut self, entry: &DirectoryEntry<'_>) {
        let name = entry.name.as_bytes();
        let (Ok(number), Ok(name_end)) =
            (u32::try_from(self.entries.len()), u32::try_from(self.names.len() + name.len()))
        else {
            return;
        };
        if number == 0 {
            self.names.reserve(USUAL_NAMES);
            self.entries.reserve(USUAL_ENTRIES);
        }
        self.names.extend_from_slice(name);
        self.entries.push(PackedEntry { ino: entry.ino, name_end, file_type: entry.file_type });
        self.attributes.extend(entry.attributes.map(|attributes| (number, attributes)));
    }

    /// Adds the entries of the next page.
    pub fn append(&mut self, next: DirectoryEntries) {
        if self.is_empty() {
            *self = next;
        } else {
            next.iter().for_each(|entry| self.push(&entry));
        }
    }

    /// Count of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The name of entry number `index`, from 0.
    pub fn name(&self, index: usize) -> Option<Name<'_>> {
        let start = match index.checked_sub(1) {
            Some(before) => self.entries.get(before)?.name_end,
            None => 0,
        };
        let end = self.entries.get(index)?.name_end;
        let name = self.names.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
        Some(Name::known_to_be_one(name))
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = DirectoryEntry<'_>> {
        let mut told = self.attributes.iter().peekable();
        (0..).zip(&self.entries).filter_map(move |(number, entry)| {
            let attributes = told.next_if(|(of, _)| *of == number).map(|(_, attributes)| *attributes);
            let name = usize::try_from(number).ok().and_then(|index| self.name(index))?;
            Some(DirectoryEntry { name, ino: entry.ino, file_type: entry.file_type, attributes })
        })
    }

    /// The attributes that there are, each with the number of its entry, ascending.
    pub fn attributes(&self) -> &[(u32, Attributes)] {
        &self.attributes
    }

    /// All names one after the other, what else is said of each entry, and [`DirectoryEntries::attributes`].
    pub fn into_parts(self) -> (Vec<u8>, Vec<PackedEntry>, Vec<(u32, Attributes)>) {
        (self.names, self.entries, self.attributes)
    }

    /// Takes what is said of each entry but its attributes. Each name must be one, and all together what there is of names.
    fn take_entries(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let has_wrong = |wrong: bool, byte: &u8| wrong | (*byte == b'/') | (*byte == 0);
        if self.names.iter().fold(false, has_wrong) {
            return Err(DecodeError::Invalid("name"));
        }
        let count = reader.take_count(MAX_DIRECTORY_ENTRIES, LEAST_ENTRY_LENGTH, "directory entries")?;
        self.entries.reserve_exact(count);
        let mut rest = self.names.as_slice();
        let mut name_end = 0;
        for _ in 0..count {
            let length = u8::decode(reader)?;
            let name;
            (name, rest) = rest.split_at_checked(length.into()).ok_or(DecodeError::Truncated)?;
            if matches!(name, b"" | b"." | b"..") {
                return Err(DecodeError::Invalid("name"));
            }
            name_end += u32::from(length);
            let (file_type, ino) = (Option::decode(reader)?, u64::decode(reader)?);
            self.entries.push(PackedEntry { ino, name_end, file_type });
        }
        if rest.is_empty() { Ok(()) } else { Err(DecodeError::Invalid("names")) }
    }

    /// Takes attributes, in order and of entries that there are.
    fn take_attributes(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let count = reader.take_count(self.entries.len(), LEAST_TOLD_LENGTH, "attributes of entries")?;
        self.attributes.reserve_exact(count);
        let mut least = 0;
        for _ in 0..count {
            let number = u32::decode(reader)?;
            let is_entry = usize::try_from(number).is_ok_and(|number| number < self.entries.len());
            if number < least || !is_entry {
                return Err(DecodeError::Invalid("number of an entry"));
            }
            least = number + 1;
            self.attributes.push((number, Attributes::decode(reader)?));
        }
        Ok(())
    }
}

impl<'a> Wire<'a> for DirectoryEntries {
    fn encode(&self, writer: &mut Writer) {
        let told = self.attributes.len() * (4 + ATTRIBUTES_LENGTH);
        let entries = self.entries.len() * (LEAST_ENTRY_LENGTH + 1);
        writer.reserve(Self::EMPTY_LENGTH + self.names.len() + entries + told);
        writer.put_string(&self.names);
        writer.put_length(self.entries.len());
        let mut start = 0;
        for entry in &self.entries {
            // A name has no more than 255 bytes.
            u8::try_from(entry.name_end - start).unwrap_or(u8::MAX).encode(writer);
            start = entry.name_end;
            entry.file_type.encode(writer);
            entry.ino.encode(writer);
        }
        writer.put_length(self.attributes.len());
        for (number, attributes) in &self.attributes {
            number.encode(writer);
            attributes.encode(writer);
        }
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let names = reader.take_string(MAX_DIRECTORY_ENTRIES * MAX_NAME, "names")?.to_vec();
        let mut entries = DirectoryEntries { names, ..DirectoryEntries::default() };
        entries.take_entries(reader)?;
        entries.take_attributes(reader)?;
        Ok(entries)
    }
}

const _: () = assert!(size_of::<PackedEntry>() == 16);
// The length of a name fits in its byte.
const _: () = assert!(MAX_NAME <= u8::MAX as usize);
