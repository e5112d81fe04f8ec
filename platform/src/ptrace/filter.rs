//! The stubs' seccomp filter, which every process made from the template has.
//!
//! Guest code runs under `PTRACE_SYSEMU`, which stops before the filter is asked, so the filter sees injected calls
//! only. It is the second lock: if the tracer ever resumed a stub in the wrong way, or was talked into injecting a
//! wrong call, the process ends. `seccompiler` cannot look at the instruction pointer, so it is assembled here.

use std::collections::BTreeSet;

use libc::{
    BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_MISC, BPF_RET, BPF_TAX, BPF_W, BPF_X,
};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRAP, sock_filter};

use super::geography::{CODE, GUEST_END, PAGE};

/// Flags for the clone that makes an address space.
pub(super) const CLONE_SPACE: u64 = libc::CLONE_PARENT as u64;
/// Flags for the clone that makes a guest thread: it shares the memory.
pub(super) const CLONE_THREAD: u64 = (libc::CLONE_PARENT | libc::CLONE_VM) as u64;
/// The descriptor of a stub from which it receives files to map.
pub(super) const SOCKET: u64 = 0;
/// The number that a received descriptor gets: the lowest free one.
pub(super) const RECEIVED: u64 = 1;

/// `AUDIT_ARCH_X86_64` of `linux/audit.h`.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const _: () = assert!(CODE >= (GUEST_END >> 32 << 32) + (1 << 32));
/// First address of the legacy vsyscall page; the calls that the host emulates there do reach the filter.
pub(super) const VSYSCALL: u64 = 0xffff_ffff_ff60_0000;

/// `struct seccomp_data`, offsets in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const INSTRUCTION_POINTER: u32 = 8;
const ARGUMENTS: u32 = 16;

/// What an argument must be.
enum Check {
    /// Exactly this.
    Equals(u32, u64),
    /// An address below the platform's region.
    Guest(u32),
    /// Two arguments, such an address and a length, are a range that ends below the next multiple of 4 GiB: the platform's region begins
    /// after that. Both are looked at by their halves, as the sum of the whole ones may be past 64 bits.
    EndsBelow(u32, u32),
    /// No bit outside this set.
    Within(u32, u32),
    /// At least one of these bits.
    Has(u32, u32),
}

/// The calls that the tracers inject, and why.
fn rules() -> Vec<(libc::c_long, Vec<Check>)> {
    use Check::{EndsBelow, Equals, Guest, Has, Within};
    let protection = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u32;
    let map_flags = (libc::MAP_FIXED
        | libc::MAP_PRIVATE
        | libc::MAP_SHARED
        | libc::MAP_ANONYMOUS
        | libc::MAP_POPULATE
        | libc::MAP_NORESERVE) as u32;
    let remap_flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP) as u32;
    vec![
        // Memory operations of the guest, never in the platform's region.
        (
            libc::SYS_mmap,
            vec![
                Guest(0),
                EndsBelow(0, 1),
                Within(2, protection),
                Within(3, map_flags),
                Has(3, libc::MAP_FIXED as u32),
            ],
        ),
        (libc::SYS_munmap, vec![Guest(0), EndsBelow(0, 1)]),
        (libc::SYS_mprotect, vec![Guest(0), EndsBelow(0, 1), Within(2, protection)]),
        (
            libc::SYS_mremap,
            vec![Guest(0), EndsBelow(0, 1), Within(3, remap_flags), Guest(4), EndsBelow(4, 2)],
        ),
        (libc::SYS_madvise, vec![Guest(0), EndsBelow(0, 1)]),
        // A file to map: received, mapped, closed.
        (libc::SYS_recvmsg, vec![Equals(0, SOCKET), Equals(2, libc::MSG_DONTWAIT as u64)]),
        (libc::SYS_close, vec![Equals(0, RECEIVED)]),
        // New address spaces and guest threads; what a newborn thread does until its tracer comes.
        (libc::SYS_clone, vec![Equals(0, CLONE_SPACE), Equals(1, 0)]),
        (libc::SYS_clone, vec![Equals(0, CLONE_THREAD), Equals(1, 0)]),
        (libc::SYS_prctl, vec![Equals(0, libc::PR_SET_PDEATHSIG as u64), Equals(1, libc::SIGKILL as u64)]),
        (libc::SYS_pause, vec![]),
    ]
}

/// Numbers of the host calls that a stub may make, all of them injected by its tracer.
pub fn stub_calls() -> BTreeSet<i64> {
    rules().into_iter().map(|(number, _)| number).collect()
}

/// The filter's program.
pub(super) fn program() -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCHITECTURE),
        jump(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0),
        ret(SECCOMP_RET_KILL_PROCESS),
        // The instruction pointer is past the `syscall`: in the code page, or at the vsyscall page.
        load(INSTRUCTION_POINTER + 4),
        jump(BPF_JEQ, (CODE >> 32) as u32, 5, 0),
        jump(BPF_JEQ, (VSYSCALL >> 32) as u32, 0, 3),
        load(INSTRUCTION_POINTER),
        jump(BPF_JGE, VSYSCALL as u32, 0, 1),
        ret(SECCOMP_RET_TRAP),
        ret(SECCOMP_RET_KILL_PROCESS),
        load(INSTRUCTION_POINTER),
        jump(BPF_JGE, CODE as u32, 1, 0),
        ret(SECCOMP_RET_KILL_PROCESS),
        jump(BPF_JGT, (CODE + PAGE) as u32, 0, 1),
        ret(SECCOMP_RET_KILL_PROCESS),
    ];
    for (number, checks) in rules() {
        let body = rule(&checks);
        program.push(load(NUMBER));
        program.push(jump(BPF_JEQ, number as u32, 0, body.len() as u8));
        program.extend(body);
    }
    program.push(ret(SECCOMP_RET_KILL_PROCESS));
    program
}

/// Allows if all checks hold; else goes past its own end, to the next rule.
fn rule(checks: &[Check]) -> Vec<sock_filter> {
    // Back to front, because a jump counts the instructions that come after it.
    let mut body = vec![ret(SECCOMP_RET_ALLOW)];
    for check in checks.iter().rev() {
        let mut block = Vec::new();
        // Instructions from the end of a block to the end of the rule.
        let rest = body.len() as u8;
        match *check {
            Check::Equals(index, value) => {
                block.push(load(argument(index) + 4));
                block.push(jump(BPF_JEQ, (value >> 32) as u32, 0, rest + 2));
                block.push(load(argument(index)));
                block.push(jump(BPF_JEQ, value as u32, 0, rest));
            }
            Check::Guest(index) => {
                block.push(load(argument(index) + 4));
                block.push(jump(BPF_JGT, (GUEST_END >> 32) as u32, rest + 3, 0));
                block.push(jump(BPF_JEQ, (GUEST_END >> 32) as u32, 0, 2));
                block.push(load(argument(index)));
                block.push(jump(BPF_JGE, GUEST_END as u32, rest, 0));
            }
            Check::EndsBelow(address, length) => {
                let end = (GUEST_END >> 32) as u32;
                block.push(load(argument(address) + 4));
                block.push(jump(BPF_JGT, end, rest + 11, 0));
                block.push(statement(BPF_MISC | BPF_TAX, 0));
                block.push(load(argument(length) + 4));
                block.push(jump(BPF_JGT, end, rest + 8, 0));
                block.push(statement(BPF_ALU | BPF_ADD | BPF_X, 0));
                block.push(jump(BPF_JGT, end, rest + 6, 0));
                block.push(jump(BPF_JEQ, end, 0, 5));
                // The sum of the lower halves must not carry.
                block.push(load(argument(address)));
                block.push(statement(BPF_MISC | BPF_TAX, 0));
                block.push(load(argument(length)));
                block.push(statement(BPF_ALU | BPF_ADD | BPF_X, 0));
                block.push(jump(BPF_JGE | BPF_X, 0, 0, rest));
            }
            Check::Within(index, bits) => {
                block.push(load(argument(index) + 4));
                block.push(jump(BPF_JEQ, 0, 0, rest + 3));
                block.push(load(argument(index)));
                block.push(statement(BPF_ALU | BPF_AND | BPF_K, !bits));
                block.push(jump(BPF_JEQ, 0, 0, rest));
            }
            Check::Has(index, bits) => {
                block.push(load(argument(index)));
                block.push(jump(BPF_JSET, bits, 0, rest));
            }
        }
        block.extend(body);
        body = block;
    }
    body
}

fn argument(index: u32) -> u32 {
    ARGUMENTS + 8 * index
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn ret(action: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, action)
}

fn jump(condition: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    // `BPF_K` is no bit: what is compared is `value`, or the index with `BPF_X`.
    sock_filter { code: (BPF_JMP | condition | BPF_K) as u16, jt: if_true, jf: if_false, k: value }
}

fn statement(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does.
    fn run(instruction_pointer: u64, number: libc::c_long, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend((number as u32).to_le_bytes());
        data.extend(AUDIT_ARCH_X86_64.to_le_bytes());
        data.extend(instruction_pointer.to_le_bytes());
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let (program, mut pc, mut accumulator, mut index) = (program(), 0, 0u32, 0u32);
        loop {
            let step = program[pc];
            pc += 1;
            let code = u32::from(step.code);
            if code == BPF_LD | BPF_W | BPF_ABS {
                let at = step.k as usize;
                accumulator = u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
            } else if code == BPF_ALU | BPF_AND | BPF_K {
                accumulator &= step.k;
            } else if code == BPF_ALU | BPF_ADD | BPF_X {
                accumulator = accumulator.wrapping_add(index);
            } else if code == BPF_MISC | BPF_TAX {
                index = accumulator;
            } else if code == BPF_RET | BPF_K {
                return step.k;
            } else {
                let value = if code & BPF_X != 0 { index } else { step.k };
                let holds = match code & !BPF_JMP & !BPF_X {
                    BPF_JEQ => accumulator == value,
                    BPF_JGT => accumulator > value,
                    BPF_JGE => accumulator >= value,
                    BPF_JSET => accumulator & value != 0,
                    other => panic!("unknown condition {other}"),
                };
                pc += usize::from(if holds { step.jt } else { step.jf });
            }
        }
    }

    const FIXED: u64 = (libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;

    #[test]
    fn a_mapping_of_guest_memory_from_the_code_page_is_allowed() {
        let arguments = [0x10_0000, 0x1000, 3, FIXED, u64::MAX, 0];
        assert_eq!(run(CODE + 2, libc::SYS_mmap, arguments), SECCOMP_RET_ALLOW);
        let high = [GUEST_END - 0x1000, 0x1000, 3, FIXED, u64::MAX, 0];
        assert_eq!(run(CODE + 2, libc::SYS_mmap, high), SECCOMP_RET_ALLOW);
    }

    #[test]
    fn the_platform_region_wrong_flags_and_wrong_places_kill() {
        let kill = SECCOMP_RET_KILL_PROCESS;
        assert_eq!(run(CODE + 2, libc::SYS_mmap, [GUEST_END, 0x1000, 3, FIXED, u64::MAX, 0]), kill);
        assert_eq!(run(CODE + 2, libc::SYS_mmap, [CODE, 0x1000, 3, FIXED, u64::MAX, 0]), kill);
        assert_eq!(run(CODE + 2, libc::SYS_mmap, [1 << 48, 0x1000, 3, FIXED, u64::MAX, 0]), kill);
        assert_eq!(run(CODE + 2, libc::SYS_mmap, [0x10_0000, 0x1000, 8, FIXED, u64::MAX, 0]), kill);
        assert_eq!(run(CODE + 2, libc::SYS_mmap, [0x10_0000, 0x1000, 3, 0x22, u64::MAX, 0]), kill);
        assert_eq!(run(0x40_0000, libc::SYS_mmap, [0x10_0000, 0x1000, 3, FIXED, u64::MAX, 0]), kill);
        assert_eq!(run(CODE + PAGE + 2, libc::SYS_pause, [0; 6]), kill);
        assert_eq!(run(CODE + 2, libc::SYS_openat, [0; 6]), kill);
        assert_eq!(run(CODE + 2, libc::SYS_close, [0; 6]), kill);
        assert_eq!(run(CODE + 2, libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]), kill);
    }

    #[test]
    fn a_range_that_reaches_into_the_platforms_region_kills() {
        let last = GUEST_END - PAGE;
        let moved = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        let calls = |address: u64, length: u64| {
            [
                (libc::SYS_mmap, [address, length, 3, FIXED, u64::MAX, 0]),
                (libc::SYS_munmap, [address, length, 0, 0, 0, 0]),
                (libc::SYS_mprotect, [address, length, 3, 0, 0, 0]),
                (libc::SYS_madvise, [address, length, libc::MADV_DONTNEED as u64, 0, 0, 0]),
                (libc::SYS_mremap, [address, length, PAGE, moved, 0x10_0000, 0]),
                (libc::SYS_mremap, [0x10_0000, PAGE, length, moved, address, 0]),
            ]
        };
        let ranges = [
            (last, CODE - last + PAGE),
            (last, GUEST_END - PAGE),
            (CODE - (1 << 32), 1 << 33),
            (0x10_0000, CODE),
            (0xffff_f000, CODE - 0xffff_f000),
            (last, u64::MAX - last),
            (PAGE, u64::MAX),
        ];
        for (number, arguments) in ranges.into_iter().flat_map(|(address, length)| calls(address, length)) {
            let verdict = run(CODE + 2, number, arguments);
            assert_eq!(verdict, SECCOMP_RET_KILL_PROCESS, "{number} {arguments:x?}");
        }
        for (address, length) in [(last, PAGE), (PAGE, last), (0xffff_f000, 1 << 33)] {
            for (number, arguments) in calls(address, length) {
                assert_eq!(run(CODE + 2, number, arguments), SECCOMP_RET_ALLOW, "{number} {arguments:x?}");
            }
        }
    }

    #[test]
    fn both_clones_pass_and_a_vsyscall_traps() {
        assert_eq!(run(CODE + 2, libc::SYS_clone, [CLONE_SPACE, 0, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
        assert_eq!(run(CODE + 5, libc::SYS_clone, [CLONE_THREAD, 0, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
        assert_eq!(run(VSYSCALL + 0x400, libc::SYS_time, [0; 6]), SECCOMP_RET_TRAP);
        assert_eq!(run(VSYSCALL - 2, libc::SYS_time, [0; 6]), SECCOMP_RET_KILL_PROCESS);
    }
}
