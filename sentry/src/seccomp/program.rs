//! One filter: a program for the classic BPF machine, checked before it runs (`bpf_check_classic`, `seccomp_check_filter`).

use usk_abi::Errno;
use usk_abi::seccomp::{
    AUDIT_ARCH_X86_64, BPF_MAXINSNS, BPF_MEMWORDS, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_THREAD, SeccompData,
    SockFilter, bpf,
};
use zerocopy::IntoBytes;

/// Where the number of the call and the architecture are in what a program reads.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
/// Bytes of what a program reads.
const DATA_SIZE: u32 = size_of::<SeccompData>() as u32;

/// A checked program: every jump goes forward to an instruction of it, and the last instruction returns.
pub struct Program {
    instructions: Box<[SockFilter]>,
}

impl Program {
    /// Checks a program. `EINVAL` if it is not one that may filter system calls.
    pub fn new(instructions: Vec<SockFilter>) -> Result<Self, Errno> {
        if instructions.is_empty() || instructions.len() > BPF_MAXINSNS {
            return Err(Errno::EINVAL);
        }
        for (at, instruction) in instructions.iter().enumerate() {
            let is_valid = is_valid(instruction, instructions.len() - at - 1);
            if !is_valid {
                return Err(Errno::EINVAL);
            }
        }
        let returns = |last: &SockFilter| matches!(last.code, bpf::RET_K | bpf::RET_A);
        if !instructions.last().is_some_and(returns) || !loads_follow_stores(&instructions) {
            return Err(Errno::EINVAL);
        }
        Ok(Program { instructions: instructions.into() })
    }

    /// Count of instructions.
    pub fn length(&self) -> usize {
        self.instructions.len()
    }

    /// What the program says about a call: `SECCOMP_RET_*`.
    pub fn run(&self, data: &SeccompData) -> u32 {
        let bytes = data.as_bytes();
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; BPF_MEMWORDS];
        let mut at = 0;
        // Jumps go forward only, so this ends; what the check rules out ends as the strictest action.
        while let Some(instruction) = self.instructions.get(at) {
            at += 1;
            let k = instruction.k;
            let cell = memory.get(k as usize).copied().unwrap_or(0);
            match instruction.code {
                bpf::LD_W_ABS => a = word(bytes, k),
                bpf::LD_W_LEN => a = DATA_SIZE,
                bpf::LDX_W_LEN => x = DATA_SIZE,
                bpf::LD_IMM => a = k,
                bpf::LDX_IMM => x = k,
                bpf::LD_MEM => a = cell,
                bpf::LDX_MEM => x = cell,
                bpf::ST | bpf::STX => {
                    if let Some(cell) = memory.get_mut(k as usize) {
                        *cell = if instruction.code == bpf::ST { a } else { x };
                    }
                }
                bpf::TAX => x = a,
                bpf::TXA => a = x,
                bpf::RET_K => return k,
                bpf::RET_A => return a,
                code => {
                    let operand = if code & bpf::X != 0 { x } else { k };
                    if code & 7 == bpf::ALU {
                        match calculate(code & 0xf0, a, operand) {
                            Some(result) => a = result,
                            // Division by an X of zero ends a program with 0.
                            None => return SECCOMP_RET_KILL_THREAD,
                        }
                    } else {
                        at = at.saturating_add(jump(code & 0xf0, a, operand, instruction));
                    }
                }
            }
        }
        SECCOMP_RET_KILL_THREAD
    }

    /// True if the program allows this call whatever its arguments are (`seccomp_is_const_allow`). False says nothing.
    pub(super) fn always_allows(&self, number: u32) -> bool {
        let mut a = 0u32;
        let mut at = 0;
        while let Some(instruction) = self.instructions.get(at) {
            at += 1;
            match instruction.code {
                bpf::LD_W_ABS if instruction.k == NUMBER_OFFSET => a = number,
                bpf::LD_W_ABS if instruction.k == ARCHITECTURE_OFFSET => a = AUDIT_ARCH_X86_64,
                bpf::RET_K => return instruction.k == SECCOMP_RET_ALLOW,
                code if code == bpf::ALU | bpf::AND => a &= instruction.k,
                code if code & 7 == bpf::JMP && code & bpf::X == 0 => {
                    at = at.saturating_add(jump(code & 0xf0, a, instruction.k, instruction));
                }
                _ => return false,
            }
        }
        false
    }
}

fn word(bytes: &[u8], offset: u32) -> u32 {
    let start = offset as usize;
    let taken = bytes.get(start..start + 4).and_then(|word| word.try_into().ok());
    taken.map_or(0, u32::from_ne_bytes)
}

fn calculate(operation: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        bpf::ADD => a.wrapping_add(operand),
        bpf::SUB => a.wrapping_sub(operand),
        bpf::MUL => a.wrapping_mul(operand),
        bpf::DIV => a.checked_div(operand)?,
        bpf::OR => a | operand,
        bpf::AND => a & operand,
        // The kernel's machine takes a shift modulo the width.
        bpf::LSH => a.wrapping_shl(operand),
        bpf::RSH => a.wrapping_shr(operand),
        bpf::XOR => a ^ operand,
        _ => a.wrapping_neg(),
    })
}

/// How many instructions are passed over.
fn jump(operation: u16, a: u32, operand: u32, instruction: &SockFilter) -> usize {
    let holds = match operation {
        bpf::JA => return instruction.k as usize,
        bpf::JEQ => a == operand,
        bpf::JGT => a > operand,
        bpf::JGE => a >= operand,
        _ => a & operand != 0,
    };
    usize::from(if holds { instruction.jump_true } else { instruction.jump_false })
}

/// May the instruction stand in a filter, with `left` instructions after it?
fn is_valid(instruction: &SockFilter, left: usize) -> bool {
    let k = instruction.k;
    match instruction.code {
        bpf::LD_W_ABS => k < DATA_SIZE && k.is_multiple_of(4),
        bpf::LD_MEM | bpf::LDX_MEM | bpf::ST | bpf::STX => (k as usize) < BPF_MEMWORDS,
        bpf::LD_W_LEN
        | bpf::LDX_W_LEN
        | bpf::LD_IMM
        | bpf::LDX_IMM
        | bpf::TAX
        | bpf::TXA
        | bpf::RET_K
        | bpf::RET_A => true,
        code if code > 0xff => false,
        code if code & 7 == bpf::ALU => match code & 0xf0 {
            bpf::DIV => code & bpf::X != 0 || k != 0,
            bpf::LSH | bpf::RSH => code & bpf::X != 0 || k < 32,
            bpf::NEG => code & bpf::X == 0,
            bpf::ADD | bpf::SUB | bpf::MUL | bpf::OR | bpf::AND | bpf::XOR => true,
            _ => false,
        },
        code if code & 7 == bpf::JMP => match code & 0xf0 {
            bpf::JA => code & bpf::X == 0 && (k as usize) < left,
            bpf::JEQ | bpf::JGT | bpf::JGE | bpf::JSET => {
                usize::from(instruction.jump_true) < left && usize::from(instruction.jump_false) < left
            }
            _ => false,
        },
        _ => false,
    }
}

/// False if scratch memory may be read before it is written (`check_load_and_stores`).
fn loads_follow_stores(instructions: &[SockFilter]) -> bool {
    // The words that are written on every way to an instruction.
    let mut written = vec![u16::MAX; instructions.len() + 1];
    let mut here = 0u16;
    for (at, instruction) in instructions.iter().enumerate() {
        here &= written[at];
        let mut reach = |distance: usize, here: u16| {
            if let Some(there) = written.get_mut(at + 1 + distance) {
                *there &= here;
            }
        };
        let bit = 1u16.checked_shl(instruction.k).unwrap_or(0);
        match instruction.code {
            bpf::ST | bpf::STX => here |= bit,
            bpf::LD_MEM | bpf::LDX_MEM if here & bit == 0 => return false,
            code if code == bpf::JMP | bpf::JA => {
                reach(instruction.k as usize, here);
                here = u16::MAX;
            }
            code if code & 7 == bpf::JMP => {
                reach(usize::from(instruction.jump_true), here);
                reach(usize::from(instruction.jump_false), here);
                here = u16::MAX;
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(code: u16, k: u32) -> SockFilter {
        SockFilter { code, k, ..SockFilter::default() }
    }

    fn branch(code: u16, k: u32, jump_true: u8, jump_false: u8) -> SockFilter {
        SockFilter { code, jump_true, jump_false, k }
    }

    fn call(number: i32) -> SeccompData {
        SeccompData { number, arguments: [7, u64::MAX, 0, 0, 0, 0], ..SeccompData::default() }
    }

    #[test]
    fn a_program_decides_by_number_and_arguments() {
        let program = Program::new(vec![
            op(bpf::LD_W_ABS, 0),
            branch(bpf::JMP | bpf::JEQ, 39, 0, 1),
            op(bpf::RET_K, 5),
            op(bpf::LD_W_ABS, 16),
            op(bpf::ALU | bpf::LSH, 4),
            op(bpf::ST, 3),
            op(bpf::LDX_MEM, 3),
            op(bpf::TXA, 0),
            op(bpf::RET_A, 0),
        ]);
        let program = program.unwrap();
        assert_eq!(program.run(&call(39)), 5);
        assert_eq!(program.run(&call(1)), 0x70);
    }

    #[test]
    fn what_is_always_allowed_does_not_depend_on_arguments() {
        let program = Program::new(vec![
            op(bpf::LD_W_ABS, ARCHITECTURE_OFFSET),
            branch(bpf::JMP | bpf::JEQ, AUDIT_ARCH_X86_64, 1, 0),
            op(bpf::RET_K, 0),
            op(bpf::LD_W_ABS, NUMBER_OFFSET),
            branch(bpf::JMP | bpf::JEQ, 1, 3, 0),
            branch(bpf::JMP | bpf::JEQ, 2, 0, 3),
            op(bpf::LD_W_ABS, 16),
            branch(bpf::JMP | bpf::JEQ, 0, 0, 1),
            op(bpf::RET_K, SECCOMP_RET_ALLOW),
            op(bpf::RET_K, 5),
        ]);
        let program = program.unwrap();
        // 1 is allowed, 2 with one argument only, all others never.
        assert_eq!([1, 2, 3].map(|number| program.always_allows(number)), [true, false, false]);
    }

    #[test]
    fn a_division_by_zero_ends_with_zero() {
        let program = Program::new(vec![
            op(bpf::LD_IMM, 9),
            op(bpf::ALU | bpf::DIV | bpf::X, 0),
            op(bpf::RET_K, 0x7fff_0000),
        ]);
        assert_eq!(program.unwrap().run(&call(0)), 0);
    }

    #[test]
    fn programs_that_are_none_are_refused() {
        let refused: [&[SockFilter]; 9] = [
            &[],
            &[op(bpf::LD_IMM, 0)],
            &[op(bpf::LD_W_ABS, 2), op(bpf::RET_K, 0)],
            &[op(bpf::LD_W_ABS, 64), op(bpf::RET_K, 0)],
            &[op(bpf::LD_MEM, 0), op(bpf::RET_A, 0)],
            &[op(bpf::ST, 16), op(bpf::RET_K, 0)],
            &[op(bpf::ALU | bpf::DIV, 0), op(bpf::RET_K, 0)],
            &[branch(bpf::JMP | bpf::JEQ, 0, 0, 1), op(bpf::RET_K, 0)],
            &[op(0x28, 0), op(bpf::RET_K, 0)],
        ];
        for program in refused {
            assert_eq!(Program::new(program.to_vec()).err(), Some(Errno::EINVAL), "{program:?}");
        }
        assert!(Program::new(vec![op(bpf::RET_K, 0); BPF_MAXINSNS + 1]).is_err());
    }

    #[test]
    fn memory_that_only_one_branch_writes_cannot_be_read() {
        let body = |with_store: bool| {
            vec![
                op(bpf::LD_IMM, 1),
                branch(bpf::JMP | bpf::JEQ, 1, u8::from(!with_store), 1),
                op(bpf::ST, 0),
                op(bpf::LD_MEM, 0),
                op(bpf::RET_A, 0),
            ]
        };
        assert!(Program::new(body(true)).is_err());
        let mut straight = body(true);
        straight[1] = branch(bpf::JMP | bpf::JEQ, 1, 0, 0);
        assert!(Program::new(straight).is_ok());
    }
}
