//! A small assembler for seccomp filters (classic BPF, `seccomp(2)`), as far as the stubs' two filters need it.
//!
//! A filter is a sequence of instructions that read the call (`struct seccomp_data`) and end with a verdict.
//! [`Assembler`] has one method per step that reads like a sentence; labels are resolved at the end.

/// What a filter decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The call is made.
    Allow,
    /// The call is not made; the thread gets SIGSYS with the call in it.
    Trap,
    /// The call waits for the listener's answer.
    Notify,
    /// The process ends by SIGSYS.
    Kill,
}

impl Verdict {
    pub(super) const fn code(self) -> u32 {
        match self {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Trap => libc::SECCOMP_RET_TRAP,
            Verdict::Notify => libc::SECCOMP_RET_USER_NOTIF,
            Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// A 32-bit field of `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The call's number.
    Number,
    /// `AUDIT_ARCH_*`.
    Architecture,
    /// Instruction pointer after the `syscall` instruction, lower half.
    PointerLow,
    /// Its upper half.
    PointerHigh,
    /// Lower half of an argument, 0 to 5.
    Low(u32),
    /// Upper half of an argument.
    High(u32),
}

impl Field {
    const fn offset(self) -> u32 {
        match self {
            Field::Number => 0,
            Field::Architecture => 4,
            Field::PointerLow => 8,
            Field::PointerHigh => 12,
            Field::Low(argument) => 16 + 8 * argument,
            Field::High(argument) => 20 + 8 * argument,
        }
    }
}

/// How to compare the accumulator with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// Equal.
    Equal(u32),
    /// Greater, unsigned.
    Greater(u32),
    /// Any of these bits is set.
    AnyBit(u32),
    /// At least what was kept: after [`Assembler::add_kept`], the sum did not wrap.
    KeptOrMore,
}

/// A place in the program that jumps name before it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Collects instructions.
#[derive(Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    labels: Vec<Option<usize>>,
}

enum Instruction {
    Plain { code: u16, constant: u32 },
    Jump { code: u16, constant: u32, target: Label, when: bool },
}

const LOAD_FIELD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const COPY_TO_INDEX: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
const ADD_INDEX: u16 = (libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const JUMP_INDEX_OR_MORE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_X) as u16;
const JUMP_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;

impl Assembler {
    /// A label to be placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Puts a label here.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.instructions.len());
    }

    /// Loads a field into the accumulator.
    pub(super) fn load(&mut self, field: Field) {
        self.instructions.push(Instruction::Plain { code: LOAD_FIELD, constant: field.offset() });
    }

    /// Keeps the accumulator for [`Assembler::add_kept`].
    pub(super) fn keep(&mut self) {
        self.instructions.push(Instruction::Plain { code: COPY_TO_INDEX, constant: 0 });
    }

    /// Adds what was kept to the accumulator, modulo 2³².
    pub(super) fn add_kept(&mut self) {
        self.instructions.push(Instruction::Plain { code: ADD_INDEX, constant: 0 });
    }

    /// Ends with a verdict.
    pub(super) fn verdict(&mut self, verdict: Verdict) {
        self.instructions.push(Instruction::Plain { code: RETURN, constant: verdict.code() });
    }

    /// Goes to the label if the accumulator passes the test.
    pub(super) fn jump_if(&mut self, test: Test, target: Label) {
        self.jump(test, target, true);
    }

    /// Goes to the label unless the accumulator passes the test.
    pub(super) fn jump_unless(&mut self, test: Test, target: Label) {
        self.jump(test, target, false);
    }

    fn jump(&mut self, test: Test, target: Label, when: bool) {
        let (code, constant) = match test {
            Test::Equal(constant) => (JUMP_EQUAL, constant),
            Test::Greater(constant) => (JUMP_GREATER, constant),
            Test::AnyBit(constant) => (JUMP_BIT, constant),
            Test::KeptOrMore => (JUMP_INDEX_OR_MORE, 0),
        };
        self.instructions.push(Instruction::Jump { code, constant, target, when });
    }

    /// The program as the kernel wants it: each `struct sock_filter` in eight bytes (u16 code, u8 true, u8 false,
    /// u32 constant, little-endian).
    ///
    /// Panics on a label that is missing, behind, or too far away: the programs are fixed, and tests assemble them.
    pub(super) fn finish(self) -> Vec<u64> {
        let place = |label: Label, from: usize| -> u8 {
            let target = self.labels[label.0].expect("a label is placed");
            let distance = target.checked_sub(from + 1).expect("a jump goes forward");
            u8::try_from(distance).expect("a jump spans at most 255 instructions")
        };
        let encode = |(index, instruction): (usize, &Instruction)| match *instruction {
            Instruction::Plain { code, constant } => pack(code, 0, 0, constant),
            Instruction::Jump { code, constant, target, when } => {
                let distance = place(target, index);
                let (taken, other) = if when { (distance, 0) } else { (0, distance) };
                pack(code, taken, other, constant)
            }
        };
        self.instructions.iter().enumerate().map(encode).collect()
    }
}

fn pack(code: u16, when_true: u8, when_false: u8, constant: u32) -> u64 {
    u64::from(code) | u64::from(when_true) << 16 | u64::from(when_false) << 24 | u64::from(constant) << 32
}

/// An interpreter, to test filters without installing them.
#[cfg(test)]
pub(super) mod interpreter {
    use super::*;

    /// A call as a filter sees it.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::trap) struct Call {
        pub(in crate::trap) architecture: u32,
        pub(in crate::trap) number: u32,
        pub(in crate::trap) pointer: u64,
        pub(in crate::trap) arguments: [u64; 6],
    }

    impl Call {
        fn word(&self, offset: u32) -> u32 {
            let halves = |value: u64, high: bool| if high { (value >> 32) as u32 } else { value as u32 };
            match offset {
                0 => self.number,
                4 => self.architecture,
                8 | 12 => halves(self.pointer, offset == 12),
                16..64 => halves(self.arguments[(offset as usize - 16) / 8], offset % 8 == 4),
                _ => panic!("offset {offset} is outside seccomp_data"),
            }
        }
    }

    /// Runs a program.
    pub(in crate::trap) fn run(program: &[u64], call: &Call) -> Verdict {
        let (mut accumulator, mut index, mut at) = (0u32, 0u32, 0usize);
        loop {
            let instruction = program[at];
            let (code, constant) = (instruction as u16, (instruction >> 32) as u32);
            let (taken, other) = ((instruction >> 16) as u8 as usize, (instruction >> 24) as u8 as usize);
            at += 1;
            let passes = match code {
                LOAD_FIELD => {
                    accumulator = call.word(constant);
                    continue;
                }
                COPY_TO_INDEX => {
                    index = accumulator;
                    continue;
                }
                ADD_INDEX => {
                    accumulator = accumulator.wrapping_add(index);
                    continue;
                }
                RETURN => {
                    return [Verdict::Allow, Verdict::Trap, Verdict::Notify, Verdict::Kill]
                        .into_iter()
                        .find(|verdict| verdict.code() == constant)
                        .expect("a known verdict");
                }
                JUMP_EQUAL => accumulator == constant,
                JUMP_GREATER => accumulator > constant,
                JUMP_BIT => accumulator & constant != 0,
                JUMP_INDEX_OR_MORE => accumulator >= index,
                _ => panic!("unknown instruction {code:#x}"),
            };
            at += if passes { taken } else { other };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::interpreter::{Call, run};
    use super::*;

    #[test]
    fn jumps_skip_exactly_what_lies_between() {
        let mut assembler = Assembler::default();
        let far = assembler.label();
        assembler.load(Field::Low(2));
        assembler.jump_if(Test::Greater(10), far);
        assembler.verdict(Verdict::Trap);
        assembler.place(far);
        assembler.verdict(Verdict::Allow);
        let program = assembler.finish();
        let call = |value| Call { architecture: 0, number: 0, pointer: 0, arguments: [0, 0, value, 0, 0, 0] };
        assert_eq!(run(&program, &call(10)), Verdict::Trap);
        assert_eq!(run(&program, &call(11)), Verdict::Allow);
    }
}
