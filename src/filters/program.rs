//! Filters made of lists.
//!
//! The host asks a new filter about each of its 460 calls, to remember which ones are allowed whatever their arguments, and
//! about the others each time. So a filter finds a call by bisection, in some seven steps, not by going through a list.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
};
use seccompiler::{BpfProgram, sock_filter};

use super::{Form, HostCall, RefusedCall};

/// Offset of the call's number in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
/// Offset of the architecture.
const ARCHITECTURE: u32 = 4;
/// Offset of the first argument's lower half.
const ARGUMENTS: u32 = 16;
/// linux/audit.h
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// What becomes of the calls from a number on, up to the next one's.
enum Piece<'a> {
    Verdict(u32),
    /// Allowed in these forms, else what becomes of all others.
    Forms(Vec<&'a Form>),
}

/// The filter that allows what a list says, answers what is refused with `ENOSYS`, and has `other` for the rest.
pub(super) fn program<'a>(
    allowed: impl Iterator<Item = &'a HostCall>,
    refused: &[RefusedCall],
    other: u32,
) -> Result<BpfProgram> {
    let mut calls: BTreeMap<u32, Piece<'a>> = BTreeMap::new();
    for HostCall { name, number, form, .. } in allowed {
        let number = u32::try_from(*number).with_context(|| format!("{name} has no number"))?;
        match (calls.get_mut(&number), form) {
            (Some(Piece::Verdict(_)), _) => {}
            (_, Form::Any) => drop(calls.insert(number, Piece::Verdict(SECCOMP_RET_ALLOW))),
            // A second line for the same call adds forms to the first.
            (Some(Piece::Forms(forms)), form) => forms.push(form),
            (None, form) => drop(calls.insert(number, Piece::Forms(vec![form]))),
        }
    }
    for RefusedCall { name, number, .. } in refused {
        let number = u32::try_from(*number).with_context(|| format!("{name} has no number"))?;
        calls.insert(number, Piece::Verdict(SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()));
    }
    let mut program = vec![
        load(ARCHITECTURE),
        line(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64),
        verdict(SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    search(&pieces(calls, other), other, &mut program)?;
    Ok(program)
}

/// The whole range of numbers, in pieces with their first numbers.
fn pieces(calls: BTreeMap<u32, Piece<'_>>, other: u32) -> Vec<(u32, Piece<'_>)> {
    let mut pieces = vec![(0, Piece::Verdict(other))];
    let mut add = |first: u32, piece| {
        // What is nothing but the end of the one before, and what goes on with it.
        pieces.pop_if(|(last, _)| *last == first);
        let goes_on =
            |last: &Piece<'_>| matches!((last, &piece), (Piece::Verdict(a), Piece::Verdict(b)) if a == b);
        if !pieces.last().is_some_and(|(_, last)| goes_on(last)) {
            pieces.push((first, piece));
        }
    };
    for (number, piece) in calls {
        add(number, piece);
        add(number + 1, Piece::Verdict(other));
    }
    pieces
}

/// Instructions that find the piece of the number in the accumulator.
fn search(pieces: &[(u32, Piece<'_>)], other: u32, program: &mut BpfProgram) -> Result<()> {
    let (lower, upper) = pieces.split_at(pieces.len() / 2);
    let Some((middle, piece)) = upper.first() else { return Ok(()) };
    if lower.is_empty() {
        return decide(piece, other, program);
    }
    let jump = program.len();
    program.push(line(BPF_JMP | BPF_JGE | BPF_K, 0, 0, *middle));
    search(lower, other, program)?;
    aim(program, jump)?;
    search(upper, other, program)
}

/// Instructions that end with a verdict.
fn decide(piece: &Piece<'_>, other: u32, program: &mut BpfProgram) -> Result<()> {
    let forms = match piece {
        Piece::Verdict(what) => {
            program.push(verdict(*what));
            return Ok(());
        }
        Piece::Forms(forms) => forms,
    };
    let mut jumps = Vec::new();
    let mut allow_if = |program: &mut BpfProgram, value: u64| {
        jumps.push(program.len());
        // Lower halves: the host looks at no more of these arguments.
        program.push(line(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, value as u32));
    };
    for form in forms {
        match **form {
            Form::Any => {}
            Form::OneOf { index, values } => {
                program.push(load(ARGUMENTS + 8 * u32::from(index)));
                values.iter().for_each(|&value| allow_if(program, value));
            }
            Form::Bits { index, set, clear } => {
                program.push(load(ARGUMENTS + 8 * u32::from(index)));
                program.push(line(BPF_ALU | BPF_AND | BPF_K, 0, 0, (set | clear) as u32));
                allow_if(program, set);
            }
        }
    }
    program.push(verdict(other));
    for jump in jumps {
        aim(program, jump)?;
    }
    program.push(verdict(SECCOMP_RET_ALLOW));
    Ok(())
}

/// Has a jump lead to what comes next.
fn aim(program: &mut BpfProgram, jump: usize) -> Result<()> {
    let distance = u8::try_from(program.len() - jump - 1).context("the list is too long for a filter")?;
    if let Some(jump) = program.get_mut(jump) {
        jump.jt = distance;
    }
    Ok(())
}

fn line(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    line(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn verdict(what: u32) -> sock_filter {
    line(BPF_RET | BPF_K, 0, 0, what)
}

#[cfg(test)]
mod tests {
    use libc::SECCOMP_RET_LOG;

    use super::super::{Needed, REFUSED, SENTRY, UNPACKER};
    use super::*;

    /// What the host's interpreter makes of a call, and in how many steps.
    fn run(program: &BpfProgram, architecture: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
        let (mut at, mut steps, mut accumulator) = (0, 0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            steps += 1;
            let mut jump = |passes: bool| at += usize::from(if passes { jt } else { jf });
            match u32::from(code) {
                0x20 => {
                    accumulator = match k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        offset => arguments[(offset as usize - 16) / 8] as u32,
                    }
                }
                0x54 => accumulator &= k,
                0x15 => jump(accumulator == k),
                0x35 => jump(accumulator >= k),
                0x06 => return (k, steps),
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    /// What the list says of a call.
    fn expected(list: &[&HostCall], refused: &[RefusedCall], number: u32, arguments: [u64; 6]) -> u32 {
        if refused.iter().any(|call| call.number == i64::from(number)) {
            return SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
        }
        let allows = |call: &&&HostCall| {
            call.number == i64::from(number)
                && match call.form {
                    Form::Any => true,
                    Form::OneOf { index, values } => {
                        values.iter().any(|&value| value as u32 == arguments[usize::from(index)] as u32)
                    }
                    Form::Bits { index, set, clear } => {
                        let value = arguments[usize::from(index)];
                        value & set == set && value & clear & 0xffff_ffff == 0
                    }
                }
        };
        if list.iter().any(|call| allows(&call)) { SECCOMP_RET_ALLOW } else { SECCOMP_RET_LOG }
    }

    #[test]
    fn each_call_gets_the_verdict_that_the_list_says_in_a_few_steps() {
        let lists = [Needed::Trap, Needed::Ptrace]
            .map(|platform| SENTRY.iter().filter(move |c| [Needed::Always, platform].contains(&c.platform)));
        let [trap, ptrace] = lists.map(Iterator::collect::<Vec<_>>);
        let unpacker: Vec<_> = UNPACKER.iter().collect();
        for (list, refused) in [(trap, REFUSED), (ptrace, REFUSED), (unpacker, &[])] {
            let program = program(list.iter().copied(), refused, SECCOMP_RET_LOG).unwrap();
            // Values that matter in some line, and those beside them.
            let mut values = vec![0, 1, u64::MAX, 0xffff_ffff];
            for call in &list {
                match call.form {
                    Form::Any => {}
                    Form::OneOf { values: listed, .. } => values.extend(listed),
                    Form::Bits { set, clear, .. } => {
                        values.extend([set, clear, set | clear, set | 1 << 20, set | 1 << 40])
                    }
                }
            }
            values.extend(values.clone().iter().map(|value| value.wrapping_add(1)));
            for number in (0..600).chain([0x4000_0000, 0x4000_0010, u32::MAX]) {
                for &value in &values {
                    let (verdict, steps) = run(&program, AUDIT_ARCH_X86_64, number, [value; 6]);
                    assert_eq!(verdict, expected(&list, refused, number, [value; 6]), "{number} {value:x}");
                    assert!(steps <= 40, "{number}: {steps} steps");
                }
                let (foreign, _) = run(&program, 0x4000_0003, number, [0; 6]);
                assert_eq!(foreign, SECCOMP_RET_KILL_PROCESS);
            }
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_no_filter() {
        const VALUES: &[u64] = &[7; 300];
        let reason = "a test of what is too long";
        let form = Form::OneOf { index: 0, values: VALUES };
        let call = HostCall { name: "read", number: 0, platform: Needed::Always, form, reason };
        assert!(program([call].iter(), &[], SECCOMP_RET_LOG).is_err());
    }
}
