//! What the sandbox's processes may ask of the host: lists with a reason in each line, and the filters made of them.
//!
//! The stubs' filters are the platform's, the gofer's is in `gofer/`. `docs/security.md` counts them all.

mod sentry;
mod unpacker;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

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

    fn rules(&self) -> Result<Vec<SeccompRule>, BackendError> {
        let condition = |index, operator, value| {
            SeccompRule::new(vec![SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?])
        };
        match self.form {
            // No rule matches any arguments.
            Form::Any => Ok(Vec::new()),
            Form::OneOf { index, values } => {
                values.iter().map(|&value| condition(index, SeccompCmpOp::Eq, value)).collect()
            }
            Form::Bits { index, set, clear } => {
                Ok(vec![condition(index, SeccompCmpOp::MaskedEq(set | clear), set)?])
            }
        }
    }
}

/// Restricts this thread, and the threads it makes, to what a sentry may do; whatever else they call ends the process.
/// With `log`, the host's audit log gets a line instead, and nothing is forbidden.
pub fn install_sentry(platform: PlatformChoice, log: bool) -> Result<()> {
    seccompiler::apply_filter(&sentry_filter(platform, log)?)?;
    Ok(())
}

/// The sentry's filter as the host wants it: what is refused comes first, and what that lets pass comes to the list. One
/// filter instead of two takes the host a tenth of a millisecond less to install, and a doorbell's `ioctl` passes one.
pub fn sentry_filter(platform: PlatformChoice, log: bool) -> Result<BpfProgram> {
    let rules = rules(SENTRY.iter().filter(|call| call.is_needed_by(platform)))?;
    let other = if log { SeccompAction::Log } else { SeccompAction::KillProcess };
    let list: BpfProgram =
        SeccompFilter::new(rules, other, SeccompAction::Allow, TargetArch::x86_64)?.try_into()?;
    let mut program = refusals();
    program.extend(list);
    Ok(program)
}

/// Restricts this thread to what a process that unpacks images may do.
pub fn install_unpacker() -> Result<()> {
    Ok(seccompiler::apply_filter(&unpacker_filter()?)?)
}

/// The filter of a process that unpacks images, as the host wants it.
pub fn unpacker_filter() -> Result<BpfProgram> {
    let rules = rules(UNPACKER.iter())?;
    Ok(SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?
        .try_into()?)
}

/// What a list allows, by call.
fn rules<'a>(list: impl Iterator<Item = &'a HostCall>) -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in list {
        let mut call_rules =
            call.rules().with_context(|| format!("the line of {} makes no sense", call.name))?;
        match rules.get_mut(&call.number) {
            // A second line for the same call adds forms to the first.
            Some(earlier) => earlier.append(&mut call_rules),
            None => drop(rules.insert(call.number, call_rules)),
        }
    }
    Ok(rules)
}

/// Instructions that answer the refused calls with an error; all others come to what follows, which looks at the
/// architecture again. linux/bpf_common.h, linux/seccomp.h.
fn refusals() -> BpfProgram {
    use libc::{
        BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
    };
    let line = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| line(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
    let answer = |verdict| line(BPF_RET | BPF_K, 0, 0, verdict);
    let equal = |value, skip_if, skip_unless| line(BPF_JMP | BPF_JEQ | BPF_K, skip_if, skip_unless, value);
    let error = SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut program = vec![
        load(ARCHITECTURE),
        equal(AUDIT_ARCH_X86_64, 1, 0),
        answer(SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    for refused in REFUSED {
        program.extend([equal(refused.number as u32, 0, 1), answer(error)]);
    }
    program
}

/// Offset of the call's number in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
/// Offset of the architecture.
const ARCHITECTURE: u32 = 4;
/// linux/audit.h
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

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
