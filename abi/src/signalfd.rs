//! What a signalfd reads (`linux/signalfd.h`).

#![allow(missing_docs)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Signal;
use crate::signal::{SignalInfo, code};

/// `struct signalfd_siginfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalfdInfo {
    pub signo: u32,
    pub errno: i32,
    pub code: i32,
    pub pid: u32,
    pub uid: u32,
    pub fd: i32,
    pub timer: u32,
    pub band: u32,
    pub overrun: u32,
    pub trap_number: u32,
    pub status: i32,
    pub value_int: i32,
    pub value_pointer: u64,
    pub user_time: u64,
    pub system_time: u64,
    pub address: u64,
    pub address_lsb: u16,
    pub padding: u16,
    pub syscall: i32,
    pub call_address: u64,
    pub architecture: u32,
    pub padding2: [u8; 28],
}

/// Offsets of `si_utime` and `si_stime` in `siginfo_t`.
const USER_TIME: usize = 32;
const SYSTEM_TIME: usize = 40;

impl SignalfdInfo {
    /// The record of a signal: the fields that its kind of `siginfo_t` has.
    pub fn from_signal(signal: Signal, info: &SignalInfo) -> Self {
        let word = |offset: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&info.as_bytes()[offset..offset + 8]);
            u64::from_ne_bytes(word)
        };
        let mut record = SignalfdInfo {
            signo: signal.number() as u32,
            errno: info.errno,
            code: info.code,
            ..SignalfdInfo::default()
        };
        let is_fault = matches!(
            signal,
            Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL | Signal::SIGFPE | Signal::SIGTRAP
        );
        match info.code {
            code::SI_TIMER => {
                record.timer = info.pid() as u32;
                record.overrun = info.uid();
                record.value_pointer = info.value();
                record.value_int = info.value() as i32;
            }
            code if code > 0 && code != code::SI_KERNEL && is_fault => record.address = info.address(),
            code if code > 0 && code != code::SI_KERNEL && signal == Signal::SIGCHLD => {
                record.pid = info.pid() as u32;
                record.uid = info.uid();
                record.status = info.status();
                record.user_time = word(USER_TIME);
                record.system_time = word(SYSTEM_TIME);
            }
            code if code > 0 && code != code::SI_KERNEL && signal == Signal::SIGIO => {
                record.band = info.address() as u32;
                record.fd = info.fd();
            }
            _ => {
                record.pid = info.pid() as u32;
                record.uid = info.uid();
                record.value_pointer = info.value();
                record.value_int = info.value() as i32;
            }
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_matches_the_headers() {
        assert_eq!(size_of::<SignalfdInfo>(), size_of::<libc::signalfd_siginfo>());
        let ours = std::mem::offset_of!(SignalfdInfo, address);
        assert_eq!(ours, std::mem::offset_of!(libc::signalfd_siginfo, ssi_addr));
        let ours = std::mem::offset_of!(SignalfdInfo, value_pointer);
        assert_eq!(ours, std::mem::offset_of!(libc::signalfd_siginfo, ssi_ptr));
    }

    #[test]
    fn each_kind_of_signal_fills_its_fields() {
        let child = SignalInfo::child(1, 42, 1000, 7, 11, 12);
        let record = SignalfdInfo::from_signal(Signal::SIGCHLD, &child);
        assert_eq!((record.pid, record.uid, record.status), (42, 1000, 7));
        assert_eq!((record.user_time, record.system_time), (11, 12));
        let timer = SignalInfo::timer(Signal::SIGALRM, 3, 5, 99);
        let record = SignalfdInfo::from_signal(Signal::SIGALRM, &timer);
        assert_eq!((record.timer, record.overrun, record.value_int, record.pid), (3, 5, 99, 0));
    }
}
