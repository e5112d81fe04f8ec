//! The host calls that a serving gofer may make, each with its reason; anything else kills the process, but
//! for `openat(2)` of a path, which fails (`EACCES`): the C library's allocator tries to read
//! `/proc/sys/vm/overcommit_memory` when it gives memory back, and does well without.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::error::GoferError;
use crate::host::SelfDescriptors;

/// A line of the list.
#[derive(Clone, Copy, Debug)]
pub struct HostCall {
    /// Its number on this processor.
    pub number: i64,
    /// Its name.
    pub name: &'static str,
    /// When it is allowed at all.
    pub need: Need,
    /// In which form it is allowed.
    pub form: Form,
    /// Why.
    pub reason: &'static str,
}

/// When a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Always.
    Always,
    /// If an export is writable.
    Writable,
}

/// In which form a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With any arguments.
    Any,
    /// If the first argument is the number of `/proc/self/fd`.
    InSelfDescriptors,
    /// If the first argument is standard error.
    ToStandardError,
    /// If the third argument asks for no executable memory.
    NotExecutable,
    /// If the second argument is this number.
    Second(u64),
}

macro_rules! calls {
    ($($name:ident, $need:ident, $form:expr, $reason:literal;)*) => {
        &[$(HostCall {
            number: numbers::$name,
            name: stringify!($name),
            need: Need::$need,
            form: $form,
            reason: $reason,
        },)*]
    };
}

/// The numbers, under the names that the list uses.
mod numbers {
    pub(super) use libc::{
        SYS_brk as brk, SYS_close as close, SYS_exit as exit, SYS_exit_group as exit_group,
        SYS_fchmod as fchmod, SYS_fchmodat as fchmodat, SYS_fchownat as fchownat, SYS_fcntl as fcntl,
        SYS_fgetxattr as fgetxattr, SYS_flistxattr as flistxattr, SYS_fremovexattr as fremovexattr,
        SYS_fsetxattr as fsetxattr, SYS_fstatfs as fstatfs, SYS_ftruncate as ftruncate, SYS_futex as futex,
        SYS_getdents64 as getdents64, SYS_linkat as linkat, SYS_lseek as lseek, SYS_madvise as madvise,
        SYS_mkdirat as mkdirat, SYS_mknodat as mknodat, SYS_mmap as mmap, SYS_mprotect as mprotect,
        SYS_mremap as mremap, SYS_munmap as munmap, SYS_openat as openat, SYS_openat2 as openat2,
        SYS_readlinkat as readlinkat, SYS_recvmsg as recvmsg, SYS_renameat2 as renameat2,
        SYS_rt_sigprocmask as rt_sigprocmask, SYS_sendmsg as sendmsg, SYS_sigaltstack as sigaltstack,
        SYS_statx as statx, SYS_symlinkat as symlinkat, SYS_unlinkat as unlinkat, SYS_utimensat as utimensat,
        SYS_write as write,
    };
}

/// The list.
pub const FILTER: &[HostCall] = calls! {
    recvmsg, Always, Form::Any, "requests arrive";
    sendmsg, Always, Form::Any, "replies leave, with the descriptors they donate";
    openat2, Always, Form::Any, "looks a name up, beneath an export's root; opens a directory; creates a file";
    openat, Always, Form::InSelfDescriptors, "opens the file that an O_PATH descriptor stands for";
    statx, Always, Form::Any, "attributes";
    fstatfs, Always, Form::Any, "statfs, and telling kernel interfaces from file systems";
    readlinkat, Always, Form::Any, "what a symbolic link says";
    getdents64, Always, Form::Any, "lists a directory";
    lseek, Always, Form::Any, "goes on where a directory's page ended";
    fgetxattr, Always, Form::Any, "reads an extended attribute";
    flistxattr, Always, Form::Any, "lists extended attributes";
    close, Always, Form::Any, "drops descriptors that were donated or are used least";
    futex, Always, Form::Any, "the locks between lanes";
    mmap, Always, Form::NotExecutable, "memory";
    munmap, Always, Form::Any, "memory";
    mremap, Always, Form::Any, "memory";
    mprotect, Always, Form::NotExecutable, "the allocator grows a thread's heap with it";
    madvise, Always, Form::Any, "memory that is freed, and the stack of a thread that ends";
    brk, Always, Form::Any, "memory";
    rt_sigprocmask, Always, Form::Any, "a thread that ends blocks its signals";
    sigaltstack, Always, Form::Any, "a thread that ends drops its signal stack";
    exit, Always, Form::Any, "a closed lane ends its thread";
    exit_group, Always, Form::Any, "the end";
    write, Always, Form::ToStandardError, "a last message";
    fcntl, Always, Form::Second(libc::F_GETFD as u64), "debug builds check a descriptor that they close";
    mkdirat, Writable, Form::Any, "mkdir";
    mknodat, Writable, Form::Any, "fifos and sockets";
    symlinkat, Writable, Form::Any, "symlink";
    linkat, Writable, Form::InSelfDescriptors, "link, by the descriptor of the file";
    unlinkat, Writable, Form::Any, "unlink and rmdir";
    renameat2, Writable, Form::Any, "rename";
    ftruncate, Writable, Form::Any, "truncate";
    fchmod, Writable, Form::Any, "the exact permission bits of a new file";
    fchmodat, Writable, Form::InSelfDescriptors, "chmod, by the descriptor of the file";
    fchownat, Writable, Form::Any, "chown";
    utimensat, Writable, Form::Any, "utimensat";
    fsetxattr, Writable, Form::Any, "sets an extended attribute";
    fremovexattr, Writable, Form::Any, "removes an extended attribute";
};

/// The list, compiled. Two filters: of what they say about a call, the host follows the stricter.
pub(crate) struct Programs {
    /// Refuses what must not kill.
    refusal: BpfProgram,
    /// Kills whatever is not in the list.
    list: BpfProgram,
}

/// Compiles the list for a gofer whose `/proc/self/fd` is `descriptors`.
pub(crate) fn compile(descriptors: &SelfDescriptors, any_writable: bool) -> Result<Programs, GoferError> {
    let by_path = Condition { argument: 0, operator: SeccompCmpOp::Eq, value: u64::from(AT_FDCWD) };
    let mut rules = BTreeMap::new();
    for call in FILTER.iter().filter(|call| any_writable || call.need == Need::Always) {
        // A call without rules is allowed whatever its arguments.
        let mut call_rules = match condition(call.form, descriptors) {
            None => Vec::new(),
            Some(condition) => vec![condition.rule()?],
        };
        if call.number == libc::SYS_openat {
            call_rules.push(by_path.rule()?);
        }
        rules.insert(call.number, call_rules);
    }
    let refused = BTreeMap::from([(libc::SYS_openat, vec![by_path.rule()?])]);
    let refuse = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    Ok(Programs {
        refusal: program(refused, SeccompAction::Allow, refuse)?,
        list: program(rules, SeccompAction::KillProcess, SeccompAction::Allow)?,
    })
}

/// `AT_FDCWD`, as the low half of a register.
const AT_FDCWD: u32 = libc::AT_FDCWD as u32;

/// A comparison with the low half of an argument.
struct Condition {
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
}

impl Condition {
    fn rule(&self) -> Result<SeccompRule, GoferError> {
        SeccompCondition::new(self.argument, SeccompCmpArgLen::Dword, self.operator.clone(), self.value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(fail)
    }
}

fn condition(form: Form, descriptors: &SelfDescriptors) -> Option<Condition> {
    let (argument, operator, value) = match form {
        Form::Any => return None,
        Form::InSelfDescriptors => (0, SeccompCmpOp::Eq, u64::from(descriptors.number().unsigned_abs())),
        Form::ToStandardError => (0, SeccompCmpOp::Eq, 2),
        Form::NotExecutable => (2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0),
        Form::Second(value) => (1, SeccompCmpOp::Eq, value),
    };
    Some(Condition { argument, operator, value })
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, GoferError> {
    SeccompFilter::new(rules, otherwise, matching, TargetArch::x86_64)
        .and_then(BpfProgram::try_from)
        .map_err(fail)
}

fn fail(error: seccompiler::BackendError) -> GoferError {
    GoferError::Filter(error.to_string())
}

/// Installs the compiled list on every thread of the process.
pub(crate) fn install(programs: &Programs) -> Result<(), GoferError> {
    for program in [&programs.refusal, &programs.list] {
        seccompiler::apply_filter_all_threads(program)
            .map_err(|error| GoferError::Filter(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    const ARCH_X86_64: u32 = 0xc000_003e;

    /// What the host's interpreter makes of a call: enough of classic BPF for what the compiler emits.
    fn verdict(program: &BpfProgram, number: i64, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend((number as u32).to_le_bytes());
        data.extend(ARCH_X86_64.to_le_bytes());
        data.extend([0; 8]);
        arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let instruction = &program[at];
            at += 1;
            let (k, operand) = (instruction.k, instruction.k as usize);
            let mut jump = |taken: bool| {
                at += usize::from(if taken { instruction.jt } else { instruction.jf });
            };
            match instruction.code {
                0x20 => accumulator = u32::from_le_bytes(data[operand..operand + 4].try_into().unwrap()),
                0x54 => accumulator &= k,
                0x15 => jump(accumulator == k),
                0x25 => jump(accumulator > k),
                0x35 => jump(accumulator >= k),
                0x05 => at += operand,
                0x06 => return k,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn each_call_is_allowed_in_its_form_only_and_no_other_is() {
        let descriptors = SelfDescriptors::open().unwrap();
        let right = u64::from(descriptors.number().unsigned_abs());
        for any_writable in [false, true] {
            let programs = compile(&descriptors, any_writable).unwrap();
            for number in 0..1024 {
                let line = FILTER.iter().find(|call| call.number == number);
                let allowed = line.filter(|call| any_writable || call.need == Need::Always);
                let check = |arguments: [u64; 6], expected| {
                    assert_eq!(
                        verdict(&programs.list, number, arguments),
                        expected,
                        "{number} {arguments:x?}"
                    );
                };
                let [any, executable] = [[9; 6], [9, 9, 7, 9, 9, 9]];
                match allowed.map(|call| call.form) {
                    None => check(any, KILL),
                    Some(Form::Any) => check(any, ALLOW),
                    Some(Form::InSelfDescriptors) => {
                        check([right, 9, 9, 9, 9, 9], ALLOW);
                        check([right + 1, 9, 9, 9, 9, 9], KILL);
                    }
                    Some(Form::ToStandardError) => {
                        check([2; 6], ALLOW);
                        check([1; 6], KILL);
                    }
                    Some(Form::NotExecutable) => {
                        check([9, 9, 3, 9, 9, 9], ALLOW);
                        check(executable, KILL);
                        check([9, 9, 4, 9, 9, 9], KILL);
                    }
                    Some(Form::Second(value)) => {
                        check([9, value, 9, 9, 9, 9], ALLOW);
                        check([9, value + 1, 9, 9, 9, 9], KILL);
                    }
                }
            }
            // The other architectures' numbers, and x32's.
            assert_eq!(verdict(&programs.list, 0x4000_0000, [0; 6]), KILL);
        }
    }

    #[test]
    fn a_path_is_refused_and_everything_else_is_the_lists_business() {
        let descriptors = SelfDescriptors::open().unwrap();
        let programs = compile(&descriptors, true).unwrap();
        let by_path = [libc::AT_FDCWD as u64, 9, 9, 9, 9, 9];
        let refused = verdict(&programs.refusal, libc::SYS_openat, by_path);
        assert_eq!(refused, ERRNO | libc::EACCES.unsigned_abs());
        assert_eq!(verdict(&programs.list, libc::SYS_openat, by_path), ALLOW);
        assert_eq!(verdict(&programs.refusal, libc::SYS_openat, [3; 6]), ALLOW);
        assert_eq!(verdict(&programs.refusal, libc::SYS_linkat, by_path), ALLOW);
        assert_eq!(verdict(&programs.list, libc::SYS_linkat, by_path), KILL);
    }
}
