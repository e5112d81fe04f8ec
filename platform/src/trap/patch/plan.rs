//! Deciding which instructions move.

use std::ops::Range;

use super::length::{length, length_of_movable};

/// Length of `jmp rel32`.
pub(in crate::trap) const JUMP_LENGTH: u64 = 5;
/// Length of `syscall`.
pub(in crate::trap) const SYSCALL_LENGTH: u64 = 2;
/// How many bytes on either side of a `syscall` instruction are looked at.
pub(in crate::trap) const MAX_REACH: u64 = 48;
/// Longest x86 instruction.
pub(in crate::trap) const MAX_INSTRUCTION: usize = 15;

/// A piece of guest code.
#[derive(Debug)]
pub(in crate::trap) struct Code {
    /// Where it lies in the guest.
    pub(in crate::trap) start: u64,
    /// Its bytes.
    pub(in crate::trap) bytes: Vec<u8>,
}

impl Code {
    /// The bytes at a range of guest addresses, if all of them are here.
    pub(in crate::trap) fn at(&self, range: Range<u64>) -> Option<&[u8]> {
        let from = usize::try_from(range.start.checked_sub(self.start)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..to)
    }

    /// Whether the byte before an instruction is a prefix, which would make it another instruction.
    pub(in crate::trap) fn is_prefixed(&self, address: u64) -> bool {
        self.at(address.wrapping_sub(1)..address).is_some_and(|byte| is_prefix(byte[0]))
    }

    /// What is there from an address on.
    fn from(&self, address: u64) -> Option<&[u8]> {
        self.bytes.get(usize::try_from(address.checked_sub(self.start)?).ok()?..)
    }

    /// Where the instruction at an address ends.
    fn end(&self, address: u64) -> Option<u64> {
        Some(address + length(self.from(address)?)? as u64)
    }

    /// Where those come out, or get stuck before, who begin to read somewhat before `address`, wherever they begin.
    ///
    /// Each place is read once: who comes to a place goes on as one who begins there.
    fn readers(&self, address: u64) -> impl Iterator<Item = u64> {
        let mut ends = [0; MAX_REACH as usize];
        for (distance, begun) in (1..).zip(0..ends.len()) {
            let at = address.wrapping_sub(distance);
            let next = self.end(at).unwrap_or(at);
            // The distance that is left, if the reader has not come out, and has come further at all.
            let left = address.checked_sub(next).filter(|&left| left != 0 && left < distance);
            let known = left.and_then(|left| ends.get(usize::try_from(left - 1).ok()?));
            ends[begun] = known.copied().unwrap_or(next);
        }
        ends.into_iter()
    }

    /// Whether there is an instruction at `address` for most who begin to read somewhat before, wherever they begin.
    pub(in crate::trap) fn is_surely_in_step(&self, address: u64) -> bool {
        let (mut arrive, mut pass) = (0, 0);
        for at in self.readers(address) {
            if at == address {
                arrive += 1;
            } else if at > address {
                pass += 1;
            }
        }
        arrive > pass
    }

    /// Whether code that is read from somewhat before has an instruction at `address` rather than one that ends at
    /// `end` and begins elsewhere: x86 code cannot be read backwards, but falls into step after a few instructions
    /// wherever it is begun.
    fn is_in_step(&self, address: u64, end: u64) -> bool {
        let (mut agree, mut differ) = (0, 0);
        for at in self.readers(address) {
            if at == address {
                agree += 1;
            } else if at == end {
                differ += 1;
            }
        }
        agree > 2 * differ || differ == 0
    }
}

/// What moves, and what is overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trap) struct Plan {
    /// The `syscall` instruction.
    pub(in crate::trap) syscall: u64,
    /// The first overwritten byte; five are.
    pub(in crate::trap) start: u64,
    /// What is executed before the call: address, bytes.
    pub(in crate::trap) before: Option<(u64, Vec<u8>)>,
    /// What is executed after it.
    pub(in crate::trap) after: Vec<(u64, Vec<u8>)>,
    /// Where the original code goes on.
    pub(in crate::trap) resume: u64,
    /// The instruction is a `cpuid` whose answer is known: `eax`, `ebx`, `ecx`, `edx`.
    pub(in crate::trap) answer: Option<[u32; 4]>,
}

impl Plan {
    /// A plan for the instruction at `syscall`, which has been executed with `number` in `rax`. `None` if no shape
    /// fits.
    pub(in crate::trap) fn new(code: &Code, syscall: u64, number: u64) -> Option<Plan> {
        if code.at(syscall..syscall + SYSCALL_LENGTH)? != [0x0f, 0x05] {
            return None;
        }
        Plan::before(code, syscall, number).or_else(|| Plan::after(code, syscall))
    }

    /// The shape in which the number's load is overwritten.
    fn before(code: &Code, syscall: u64, number: u64) -> Option<Plan> {
        // `mov eax, …`, and `mov rax, …`, whose four bytes are extended by their sign.
        let loaded = |load: &[u8]| match *load {
            [0xb8, a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d]).into()),
            [0x48, 0xc7, 0xc0, a, b, c, d] => {
                Some(i64::from(i32::from_le_bytes([a, b, c, d])).cast_unsigned())
            }
            _ => None,
        };
        for length in [JUMP_LENGTH, 7] {
            let start = syscall.checked_sub(length)?;
            let Some(load) = code.at(start..syscall) else { continue };
            let is_load = loaded(load) == Some(number);
            if is_load && !code.is_prefixed(start) && code.is_in_step(start, syscall) {
                let before = Some((start, load.to_vec()));
                let resume = syscall + SYSCALL_LENGTH;
                return Some(Plan { syscall, start, before, after: Vec::new(), resume, answer: None });
            }
        }
        None
    }

    /// The shape in which `syscall` and its successors are overwritten.
    fn after(code: &Code, syscall: u64) -> Option<Plan> {
        let mut after = Vec::new();
        let mut at = syscall + SYSCALL_LENGTH;
        while at < syscall + JUMP_LENGTH {
            // Boundaries must lie where the displacement's second byte does, or behind the jump.
            if at != syscall + SYSCALL_LENGTH {
                return None;
            }
            let end = at + length_of_movable(code.from(at)?)? as u64;
            after.push((at, code.at(at..end)?.to_vec()));
            at = end;
        }
        Some(Plan { syscall, start: syscall, before: None, after, resume: at, answer: None })
    }

    /// The same for code that lies `distance` further on.
    pub(in crate::trap) fn moved_by(&self, distance: u64) -> Plan {
        let there = |address: u64| address.wrapping_add(distance);
        let moved = |(address, bytes): &(u64, Vec<u8>)| (there(*address), bytes.clone());
        Plan {
            syscall: there(self.syscall),
            start: there(self.start),
            before: self.before.as_ref().map(moved),
            after: self.after.iter().map(moved).collect(),
            resume: there(self.resume),
            answer: self.answer,
        }
    }

    /// The boundary inside the overwritten bytes at which somebody may arrive.
    pub(in crate::trap) fn boundary(&self) -> Option<u64> {
        self.after.first().map(|&(address, _)| address)
    }
}

/// REX and the legacy prefixes, which would change the instruction after them.
fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1000;

    fn plan(bytes: &[u8], syscall: u64, number: u64) -> Option<Plan> {
        let mut padded = vec![0x90; MAX_REACH as usize];
        padded.extend_from_slice(bytes);
        padded.extend([0x90; MAX_INSTRUCTION]);
        Plan::new(&Code { start: START - MAX_REACH, bytes: padded }, START + syscall, number)
    }

    #[test]
    fn a_load_of_the_number_is_overwritten_and_the_call_stays() {
        // mov eax, 39; syscall; ret
        let code = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3];
        let plan = plan(&code, 5, 39).unwrap();
        assert_eq!((plan.start, plan.resume), (START, START + 7));
        assert_eq!(plan.before, Some((START, code[..5].to_vec())));
        assert_eq!(plan.boundary(), None);
        // mov rax, -1; syscall
        let code = [0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x05];
        assert_eq!(super::tests::plan(&code, 7, u64::MAX).unwrap().start, START);
    }

    #[test]
    fn what_only_looks_like_a_load_stays() {
        // mov r8d, 39; syscall; ret: the prefix makes it another register's.
        assert_eq!(plan(&[0x41, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3], 6, 39), None);
        // mov dword ptr [rax - 0x48], 39; syscall; ret
        assert_eq!(plan(&[0xc7, 0x40, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3], 7, 39), None);
        // mov eax, 39; syscall; ret, reached by a jump with another number.
        assert_eq!(plan(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3], 5, 40), None);
    }

    #[test]
    fn a_comparison_after_the_call_moves() {
        // xor eax, eax; syscall; cmp rax, -4096; ja
        let code = [0x31, 0xc0, 0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77, 0x10];
        let plan = plan(&code, 2, 0).unwrap();
        assert_eq!((plan.start, plan.resume), (START + 2, START + 10));
        assert_eq!(plan.after, [(START + 4, code[4..10].to_vec())]);
        assert_eq!(plan.boundary(), Some(START + 4));
    }

    #[test]
    fn branches_and_relative_addresses_do_not_move() {
        // xor eax, eax; syscall; jmp
        assert_eq!(plan(&[0x31, 0xc0, 0x0f, 0x05, 0xe9, 1, 2, 3, 4], 2, 0), None);
        // xor eax, eax; syscall; mov rdx, [rip + 8]
        assert_eq!(plan(&[0x31, 0xc0, 0x0f, 0x05, 0x48, 0x8b, 0x15, 8, 0, 0, 0], 2, 0), None);
        // xor eax, eax; syscall; mov edx, eax; test edx, edx: a boundary where none may be
        assert_eq!(plan(&[0x31, 0xc0, 0x0f, 0x05, 0x89, 0xc2, 0x85, 0xd2], 2, 0), None);
    }

    #[test]
    fn any_bytes_make_a_plan_or_none() {
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..80)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 24) as u8
                })
                .collect();
            let mut bytes = bytes;
            bytes[40..42].copy_from_slice(&[0x0f, 0x05]);
            let code = Code { start: START, bytes };
            if let Some(plan) = Plan::new(&code, START + 40, 39) {
                assert!(plan.start <= START + 40 && plan.resume >= plan.start + JUMP_LENGTH);
                assert!(plan.before.is_none() || plan.after.is_empty());
            }
        }
    }

    #[test]
    fn readers_come_out_where_they_do_step_by_step() {
        let mut seed = 3u32;
        for length in [0, 1, 20, 200] {
            let mut random = || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            };
            let code = Code { start: START, bytes: (0..length).map(|_| random()).collect() };
            for address in [0, 10, START, START + 1, START + 60, START + length, START + 300] {
                let step_by_step = (1..=MAX_REACH).map(|distance| {
                    let mut at = address.wrapping_sub(distance);
                    while at < address
                        && let Some(end) = code.end(at)
                    {
                        at = end;
                    }
                    at
                });
                assert!(code.readers(address).eq(step_by_step), "{address:x} of {length}");
            }
        }
    }
}
