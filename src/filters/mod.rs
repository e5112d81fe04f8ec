//! What the sandbox's processes may ask of the host: lists with a reason in each line, and the filters made of them.
//!
//! The stubs' filters are the platform's, the gofer's is in `gofer/`. `docs/security.md` counts them all.

mod program;
mod sentry;
mod unpacker;

use anyhow::Result;
use libc::{SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_LOG};
use seccompiler::BpfProgram;

pub use sentry::{REFUSED, RefusedCall, SENTRY};
pub use unpacker::UNPACKER;

use crate::command_line::PlatformChoice;

/// A host call that a process may make.
#[derive(Clone, Copy, Debug)]
pub struct HostCall {
    /// Its name.
    pub name: &'static str,
    /// Its number on this architecture.
    pub number: i64,
    /// On which platform it is needed.
    pub platform: Needed,
    /// Which calls of it are meant.
    pub form: Form,
    /// What for.
    pub reason: &'static str,
}

/// On which platform a call is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// On both.
    Always,
    /// For seccomp traps.
    Trap,
    /// For ptrace.
    Ptrace,
}

/// Which calls are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All.
    Any,
    /// Those whose argument `index`, 32 bits of it, is one of these values.
    OneOf {
        /// Which argument, from 0.
        index: u8,
        /// The values.
        values: &'static [u64],
    },
    /// Those that have these bits of argument `index` set and these others clear.
    Bits {
        /// Which argument, from 0.
        index: u8,
        /// Bits that must be set.
        set: u64,
        /// Bits that must be clear.
        clear: u64,
    },
}

impl HostCall {
    /// Whether a sentry of this platform needs the call.
    pub fn is_needed_by(&self, platform: PlatformChoice) -> bool {
        match self.platform {
            Needed::Always => true,
            Needed::Trap => platform == PlatformChoice::Trap,
            Needed::Ptrace => platform == PlatformChoice::Ptrace,
        }
    }
}

/// Restricts this thread, and the threads it makes, to what a sentry may do; whatever else they call ends the process.
/// With `log`, the host's audit log gets a line instead, and nothing is forbidden.
pub fn install_sentry(platform: PlatformChoice, log: bool) -> Result<()> {
    seccompiler::apply_filter(&sentry_filter(platform, log)?)?;
    Ok(())
}

/// The sentry's filter as the host wants it. One filter instead of two, for the list and for what is refused, takes the host
/// a tenth of a millisecond less to install, and a doorbell's `ioctl` passes one.
pub fn sentry_filter(platform: PlatformChoice, log: bool) -> Result<BpfProgram> {
    let needed = SENTRY.iter().filter(|call| call.is_needed_by(platform));
    program::program(needed, REFUSED, if log { SECCOMP_RET_LOG } else { SECCOMP_RET_KILL_PROCESS })
}

/// Restricts this thread to what a process that unpacks images may do.
pub fn install_unpacker() -> Result<()> {
    Ok(seccompiler::apply_filter(&unpacker_filter()?)?)
}

/// The filter of a process that unpacks images, as the host wants it.
pub fn unpacker_filter() -> Result<BpfProgram> {
    program::program(UNPACKER.iter(), &[], SECCOMP_RET_KILL_PROCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_reason_and_no_call_is_listed_twice_in_full() {
        for (index, call) in SENTRY.iter().enumerate() {
            assert!(call.reason.len() >= 10, "{}", call.name);
            for other in &SENTRY[..index] {
                if other.number == call.number {
                    assert!(other.form != Form::Any && call.form != Form::Any, "{}", call.name);
                }
            }
        }
    }

    #[test]
    fn nothing_that_reaches_files_or_networks_by_name_is_listed() {
        let forbidden = [
            "open",
            "openat",
            "openat2",
            "creat",
            "socket",
            "connect",
            "bind",
            "listen",
            "execve",
            "execveat",
            "mount",
            "ptrace_attach",
            "unlink",
            "rename",
            "chmod",
            "chown",
            "kexec_load",
            "bpf",
            "setns",
            "unshare",
            "fork",
            "vfork",
            "io_uring_setup",
            "open_by_handle_at",
            "init_module",
            "perf_event_open",
            "keyctl",
        ];
        for call in SENTRY {
            assert!(!forbidden.contains(&call.name), "{}", call.name);
        }
    }

    #[test]
    fn both_filters_compile() {
        for platform in [PlatformChoice::Trap, PlatformChoice::Ptrace] {
            assert!(!sentry_filter(platform, false).unwrap().is_empty());
        }
    }
}
