//! Rules as a program: a search by halves over the numbers, and where arguments decide, comparisons of their words.

use usk_abi::seccomp::*;

use super::profile::{Call, Comparison, Condition, Rules};

/// Offsets of `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// Bytes of an argument, and of its upper half's place behind the lower.
const ARGUMENT_SIZE: u32 = 8;
const UPPER: u32 = 4;
/// Most instructions that a conditional jump passes over.
const MAX_JUMP: usize = 255;

pub(super) fn compile(rules: &Rules) -> Vec<SockFilter> {
    let mut program = vec![
        load(ARCHITECTURE),
        jump(bpf::JEQ, AUDIT_ARCH_X86_64, 1, 0),
        returns(SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    program.extend(search(&ranges(rules)));
    program
}

/// Numbers from this one on, up to the next range, have these instructions.
struct Range {
    first: u32,
    body: Vec<SockFilter>,
}

/// All numbers; neighbours with the same instructions are one range.
fn ranges(rules: &Rules) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut add = |first, body: Vec<SockFilter>| {
        if ranges.last().is_none_or(|last| last.body != body) {
            ranges.push(Range { first, body });
        }
    };
    let mut next = 0;
    for (&number, call) in &rules.calls {
        if number > next {
            add(next, vec![returns(rules.default)]);
        }
        let body = match call {
            Call::Always(returned) => vec![returns(*returned)],
            Call::Depends(alternatives) => {
                let mut body = Vec::new();
                for alternative in alternatives {
                    body.extend(all_hold(&alternative.conditions));
                    body.push(returns(alternative.returned));
                }
                body.push(returns(rules.default));
                body
            }
        };
        add(number, body);
        next = number + 1;
    }
    if next < rules.first_unknown {
        add(next, vec![returns(rules.default)]);
    }
    add(next.max(rules.first_unknown), vec![returns(rules.unknown)]);
    ranges
}

/// Finds the range of the number in A.
fn search(ranges: &[Range]) -> Vec<SockFilter> {
    match ranges {
        [] => Vec::new(),
        [one] => one.body.clone(),
        _ => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let middle = upper.first().map_or(0, |range| range.first);
            let lower = search(lower);
            let mut program = match u8::try_from(lower.len()) {
                Ok(length) => vec![jump(bpf::JGE, middle, length, 0)],
                Err(_) => {
                    let far = u32::try_from(lower.len()).unwrap_or(u32::MAX);
                    let always = SockFilter { code: bpf::JMP | bpf::JA, k: far, ..SockFilter::default() };
                    vec![jump(bpf::JGE, middle, 0, 1), always]
                }
            };
            program.extend(lower);
            program.extend(search(upper));
            program
        }
    }
}

/// Where a comparison of a word leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// To the next instruction.
    On,
    /// The condition holds.
    Holds,
    /// It does not.
    Fails,
}

/// An instruction whose jumps are not known yet.
enum Step {
    Plain(SockFilter),
    Branch { operation: u16, k: u32, if_true: Then, if_false: Then },
}

/// Falls through to the instruction after the next one unless all conditions hold. What follows is one instruction.
fn all_hold(conditions: &[Condition]) -> Vec<SockFilter> {
    let blocks: Vec<Vec<Step>> = conditions.iter().map(steps).collect();
    let total: usize = blocks.iter().map(Vec::len).sum();
    let mut program = Vec::with_capacity(total);
    for block in blocks {
        let end = program.len() + block.len();
        for step in block {
            let after = program.len() + 1;
            let distance = |then| {
                let target = match then {
                    Then::On => after,
                    Then::Holds => end,
                    Then::Fails => total + 1,
                };
                // At most six conditions of at most six instructions each.
                debug_assert!(target - after <= MAX_JUMP);
                u8::try_from(target - after).unwrap_or(u8::MAX)
            };
            program.push(match step {
                Step::Plain(instruction) => instruction,
                Step::Branch { operation, k, if_true, if_false } => {
                    jump(operation, k, distance(if_true), distance(if_false))
                }
            });
        }
    }
    program
}

/// One condition: first the upper half of the argument, then the lower.
fn steps(condition: &Condition) -> Vec<Step> {
    use Then::{Fails, Holds, On};
    let lower = ARGUMENTS + condition.argument * ARGUMENT_SIZE;
    let upper = lower + UPPER;
    let branch = |operation, k, if_true, if_false| Step::Branch { operation, k, if_true, if_false };
    let word = |offset| Step::Plain(load(offset));
    let mask = |k| Step::Plain(SockFilter { code: bpf::ALU | bpf::AND, k, ..SockFilter::default() });
    let equal = |value, holds, fails| {
        let (high, low) = halves(value);
        vec![word(upper), branch(bpf::JEQ, high, On, fails), word(lower), branch(bpf::JEQ, low, holds, fails)]
    };
    let above = |operation, value, holds, fails| {
        let (high, low) = halves(value);
        vec![
            word(upper),
            branch(bpf::JGT, high, holds, On),
            branch(bpf::JEQ, high, On, fails),
            word(lower),
            branch(operation, low, holds, fails),
        ]
    };
    match condition.comparison {
        Comparison::Equal(value) => equal(value, Holds, Fails),
        Comparison::NotEqual(value) => equal(value, Fails, Holds),
        Comparison::Greater(value) => above(bpf::JGT, value, Holds, Fails),
        Comparison::LessOrEqual(value) => above(bpf::JGT, value, Fails, Holds),
        Comparison::GreaterOrEqual(value) => above(bpf::JGE, value, Holds, Fails),
        Comparison::Less(value) => above(bpf::JGE, value, Fails, Holds),
        Comparison::MaskedEqual { mask: bits, value } => {
            let ((high_bits, low_bits), (high, low)) = (halves(bits), halves(value));
            vec![
                word(upper),
                mask(high_bits),
                branch(bpf::JEQ, high, On, Fails),
                word(lower),
                mask(low_bits),
                branch(bpf::JEQ, low, Holds, Fails),
            ]
        }
    }
}

/// The upper and the lower half.
fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn load(offset: u32) -> SockFilter {
    SockFilter { code: bpf::LD_W_ABS, k: offset, ..SockFilter::default() }
}

fn returns(value: u32) -> SockFilter {
    SockFilter { code: bpf::RET_K, k: value, ..SockFilter::default() }
}

fn jump(operation: u16, k: u32, jump_true: u8, jump_false: u8) -> SockFilter {
    SockFilter { code: bpf::JMP | operation, jump_true, jump_false, k }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use usk_sentry::seccomp::Program;

    use super::*;
    use crate::config::seccomp::profile::Alternative;

    /// What the rules say, by themselves.
    fn judge(rules: &Rules, number: u32, arguments: [u64; 6]) -> u32 {
        let holds = |condition: &Condition| {
            let argument = arguments[condition.argument as usize];
            match condition.comparison {
                Comparison::NotEqual(value) => argument != value,
                Comparison::Less(value) => argument < value,
                Comparison::LessOrEqual(value) => argument <= value,
                Comparison::Equal(value) => argument == value,
                Comparison::GreaterOrEqual(value) => argument >= value,
                Comparison::Greater(value) => argument > value,
                Comparison::MaskedEqual { mask, value } => argument & mask == value,
            }
        };
        match rules.calls.get(&number) {
            Some(Call::Always(returned)) => *returned,
            Some(Call::Depends(alternatives)) => alternatives
                .iter()
                .find(|alternative| alternative.conditions.iter().all(holds))
                .map_or(rules.default, |alternative| alternative.returned),
            None if number >= rules.first_unknown => rules.unknown,
            None => rules.default,
        }
    }

    /// Numbers whose halves are alike, so that comparisons differ in one half only.
    fn word() -> impl Strategy<Value = u64> {
        let half = || prop_oneof![Just(0u64), Just(1), Just(2), Just(0x8000_0000), Just(0xffff_ffff)];
        (half(), half()).prop_map(|(high, low)| high << 32 | low)
    }

    fn conditions() -> impl Strategy<Value = Vec<Condition>> {
        let condition = (0..6u32, 0..7, word(), word()).prop_map(|(argument, kind, value, mask)| {
            let comparison = match kind {
                0 => Comparison::NotEqual(value),
                1 => Comparison::Less(value),
                2 => Comparison::LessOrEqual(value),
                3 => Comparison::Equal(value),
                4 => Comparison::GreaterOrEqual(value),
                5 => Comparison::Greater(value),
                _ => Comparison::MaskedEqual { mask, value: value & mask },
            };
            Condition { argument, comparison }
        });
        prop::collection::vec(condition, 1..=6)
    }

    fn call() -> impl Strategy<Value = Call> {
        let alternative =
            (conditions(), 1..9u32).prop_map(|(conditions, returned)| Alternative { conditions, returned });
        prop_oneof![
            (1..4u32).prop_map(Call::Always),
            prop::collection::vec(alternative, 1..4).prop_map(Call::Depends),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_program_says_what_the_rules_say(
            calls in prop::collection::btree_map(0..60u32, call(), 0..50), known in 0..80u32,
            data in prop::collection::vec((0..90u32, prop::array::uniform6(word())), 100),
        ) {
            let last = calls.keys().last().map_or(0, |number| number + 1);
            let rules = Rules { default: 100, unknown: 101, first_unknown: known.max(last), calls };
            let program = Program::new(compile(&rules)).expect("the kernel takes it");
            for (number, arguments) in data {
                let call = SeccompData {
                    number: number.cast_signed(), architecture: AUDIT_ARCH_X86_64, arguments, instruction_pointer: 0,
                };
                prop_assert_eq!(program.run(&call), judge(&rules, number, arguments), "{}", number);
            }
        }
    }

    #[test]
    fn other_architectures_are_killed() {
        let rules = Rules { default: SECCOMP_RET_ALLOW, unknown: 0, first_unknown: 0, calls: [].into() };
        let program = Program::new(compile(&rules)).unwrap();
        assert_eq!(program.run(&SeccompData::default()), SECCOMP_RET_KILL_PROCESS);
    }
}
