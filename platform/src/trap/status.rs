//! Attributes of files as records and entries of the table of names have them.

use crate::status::{FileStatus, STAT_SIZE};
use crate::stub::geometry::*;

/// The words of `struct stat`, with [`STATX_REST`] in the place of its unused end.
pub(super) fn status_words(status: &FileStatus) -> [u64; STAT_SIZE / 8] {
    let rest = &status.rest;
    let (seconds, nanoseconds) = rest.born.unwrap_or_default();
    let bit = |is_set: bool, bit: u32| u64::from(is_set) << bit;
    let born = u64::from(nanoseconds)
        | bit(rest.born.is_some(), STATX_BORN_BIT)
        | bit(rest.is_mount_root, STATX_MOUNT_ROOT_BIT);
    let mut words = [0; STAT_SIZE / 8];
    for (word, bytes) in words.iter_mut().zip(status.stat.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words[STATX_REST as usize / 8..].copy_from_slice(&[seconds.cast_unsigned(), born, rest.mount]);
    words
}
