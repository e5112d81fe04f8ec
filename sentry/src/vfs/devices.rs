//! Numbers of devices that no hardware has: one for each file system (`st_dev`).

use std::sync::atomic::{AtomicU32, Ordering};

use usk_abi::fs::make_device;

/// The device of files without a name.
pub const ANONYMOUS: u64 = make_device(0, 1);

/// A fresh number, with major number 0 as on Linux.
pub fn allocate() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(20);
    make_device(0, NEXT.fetch_add(1, Ordering::Relaxed))
}
