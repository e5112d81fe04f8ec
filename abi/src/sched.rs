//! Scheduling (`linux/sched.h`, `linux/sched/types.h`, `linux/ioprio.h`).

#![allow(missing_docs)]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const SCHED_OTHER: u32 = 0;
pub const SCHED_FIFO: u32 = 1;
pub const SCHED_RR: u32 = 2;
pub const SCHED_BATCH: u32 = 3;
pub const SCHED_IDLE: u32 = 5;
pub const SCHED_DEADLINE: u32 = 6;
/// A bit of `sched_setscheduler(2)`'s policy: children start with the default.
pub const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;

/// Bytes of `struct sched_attr` as first published.
pub const SCHED_ATTR_SIZE_FIRST: usize = 48;

bitflags! {
    /// `SCHED_FLAG_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SchedFlags: u64 {
        const RESET_ON_FORK = 0x01;
        const RECLAIM = 0x02;
        const DL_OVERRUN = 0x04;
        const KEEP_POLICY = 0x08;
        const KEEP_PARAMS = 0x10;
        const UTIL_CLAMP_MIN = 0x20;
        const UTIL_CLAMP_MAX = 0x40;
    }
}

/// `struct sched_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedAttributes {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime_ns: u64,
    pub deadline_ns: u64,
    pub period_ns: u64,
    pub util_min: u32,
    pub util_max: u32,
}

pub const IOPRIO_WHO_PROCESS: i32 = 1;
pub const IOPRIO_WHO_PGRP: i32 = 2;
pub const IOPRIO_WHO_USER: i32 = 3;

pub const IOPRIO_CLASS_NONE: u32 = 0;
pub const IOPRIO_CLASS_RT: u32 = 1;
pub const IOPRIO_CLASS_BE: u32 = 2;
pub const IOPRIO_CLASS_IDLE: u32 = 3;

/// `IOPRIO_PRIO_VALUE`
pub const fn ioprio_value(class: u32, level: u32) -> u32 {
    class << 13 | level
}

/// `IOPRIO_PRIO_CLASS`
pub const fn ioprio_class(value: u32) -> u32 {
    value >> 13 & 7
}

/// `IOPRIO_PRIO_LEVEL`
pub const fn ioprio_level(value: u32) -> u32 {
    value & 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_sizes_match_the_headers() {
        let ours = [SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE];
        let theirs = [
            libc::SCHED_OTHER,
            libc::SCHED_FIFO,
            libc::SCHED_RR,
            libc::SCHED_BATCH,
            libc::SCHED_IDLE,
            libc::SCHED_DEADLINE,
        ];
        assert_eq!(ours.map(|policy| policy as i32), theirs);
        assert_eq!(size_of::<SchedAttributes>(), 56);
    }
}
