//! Which calls a thread's filters allow whatever their arguments are (`seccomp_cache_prepare`): those need not be run.

use super::Program;

/// Numbers of calls that are looked at; Linux 6.12 has fewer.
const NUMBERS: u32 = 512;
/// Bits of a word.
const BITS: u32 = u64::BITS;
const WORDS: usize = (NUMBERS / BITS) as usize;

/// A set of calls. Without filters it is all of them.
#[derive(Clone)]
pub(super) struct AlwaysAllowed([u64; WORDS]);

impl Default for AlwaysAllowed {
    fn default() -> Self {
        AlwaysAllowed([u64::MAX; WORDS])
    }
}

impl AlwaysAllowed {
    /// These but for what `program` may not allow.
    pub(super) fn and(&self, program: &Program) -> AlwaysAllowed {
        let mut both = self.clone();
        for (word, first) in both.0.iter_mut().zip((0..).step_by(BITS as usize)) {
            for bit in 0..BITS {
                if *word & 1 << bit != 0 && !program.always_allows(first + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
        both
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.get((number / BITS) as usize).is_some_and(|word| word & 1 << (number % BITS) != 0)
    }
}

#[cfg(test)]
mod tests {
    use usk_abi::seccomp::{SECCOMP_RET_ALLOW, SockFilter, bpf};

    use super::*;

    fn allows_all_but(number: u32) -> Program {
        let op = |code, k| SockFilter { code, k, ..SockFilter::default() };
        Program::new(vec![
            op(bpf::LD_W_ABS, 0),
            SockFilter { jump_true: 1, ..op(bpf::JMP | bpf::JEQ, number) },
            op(bpf::RET_K, SECCOMP_RET_ALLOW),
            op(bpf::RET_K, 0),
        ])
        .unwrap()
    }

    #[test]
    fn a_call_is_allowed_if_all_programs_allow_it() {
        let both = AlwaysAllowed::default().and(&allows_all_but(70)).and(&allows_all_but(511));
        for (number, allowed) in
            [(0, true), (70, false), (71, true), (511, false), (512, false), (u32::MAX, false)]
        {
            assert_eq!(both.contains(number), allowed, "{number}");
        }
    }
}
