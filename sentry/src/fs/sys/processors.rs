//! `/sys/devices/system/cpu`: a directory for each processor that there is now.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_platform::host;

use super::Maker;
use crate::fs::synthetic::{Directory, Entry, Names};
use crate::vfs::{FileType, InodeRef};

/// Inode numbers of a processor's files: how many each has, and how many before the first's.
const INODES_OF_ONE: u64 = 16;
const FIRST_INODE: u64 = 1 << 16;

/// The names in the directory.
pub(super) struct Processors {
    device: u64,
    /// Those that tell of all processors.
    summaries: Names,
    /// The directories that somebody has looked at or listed, by their processor.
    made: Mutex<BTreeMap<usize, InodeRef>>,
}

impl Processors {
    pub(super) fn new(device: u64, summaries: Names) -> Self {
        Processors { device, summaries, made: Mutex::default() }
    }

    /// The directory of one processor.
    fn directory(&self, index: usize) -> InodeRef {
        let make = || {
            let next = FIRST_INODE + index as u64 * INODES_OF_ONE;
            Maker { device: self.device, next }.processor(index)
        };
        self.made.lock().entry(index).or_insert_with(make).clone()
    }
}

impl Directory for Processors {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        match number(name).filter(|&index| index < host::processor_count()) {
            Some(index) => Ok(self.directory(index)),
            None => self.summaries.lookup(name),
        }
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let entry = |index| {
            let inode = self.directory(index).attributes()?.inode;
            Ok(Entry { name: format!("cpu{index}").into_bytes(), inode, file_type: FileType::Directory })
        };
        let mut entries = (0..host::processor_count()).map(entry).collect::<Result<Vec<Entry>, Errno>>()?;
        entries.extend(self.summaries.entries()?);
        Ok(entries)
    }

    fn is_current(&self, name: &[u8], child: &InodeRef) -> bool {
        self.lookup(name).is_ok_and(|now| Arc::ptr_eq(&now, child))
    }

    fn subdirectories(&self) -> u32 {
        u32::try_from(host::processor_count()).unwrap_or(u32::MAX)
    }
}

/// The processor whose directory has this name.
fn number(name: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(name.strip_prefix(b"cpu")?).ok()?;
    let number = digits.parse().ok()?;
    (format!("{number}") == digits).then_some(number)
}
