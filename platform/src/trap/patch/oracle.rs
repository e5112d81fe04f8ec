//! What the processor answers to `cpuid`, as code that looks it up.
//!
//! Which leaf and part a `cpuid` asks about is in `eax` and `ecx`, and often cannot be seen in the code before it. Trampolines of
//! such come here. `cpuid` changes four registers and nothing else, so neither may this: it compares by `lea` and `jecxz`, which
//! leave the flags alone, uses no memory, and has the four registers to itself:
//!
//! | | `eax` | `ebx` | `ecx` | `edx` |
//! | --- | --- | --- | --- | --- |
//! | comes | leaf | | part | where to go on |
//! | compares | leaf | part | difference | where to go on |
//! | has found | leaf | the answer's address | | where to go on |
//! | has not | leaf | part | part | where to ask the processor |
//!
//! A thread that is interrupted here is told as one that has executed the instruction, see [`Stage`].

use std::ops::Range;

use super::known::Answers;
use crate::arch::cpuid;

/// The highest part of a leaf that is kept, and so their number is bounded.
const MAX_PARTS: u32 = 8;
/// How far behind the place to go on with an answer the processor is asked, in the trampolines.
pub(super) const TO_ASK: u8 = 13;

/// How far the answering of a `cpuid` has come, by the address of the next instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The question is in `eax` and `ecx`.
    Asked,
    /// The question is in `eax` and `ebx`.
    Compares,
    /// The answer's address is in `rbx`.
    Found,
    /// The answer is in its registers.
    Answered,
    /// Some of the answer is, which the trampoline has in itself.
    Known,
}

/// The code, and the answers behind it. It can lie at any address that is a multiple of 16.
#[derive(Debug, Default)]
pub struct Oracle {
    code: Vec<u8>,
    /// From which offset on which stage it is.
    stages: Vec<(usize, Stage)>,
    /// Where the answers begin: 16 bytes each.
    answers: usize,
}

/// A jump or an address whose end is not known yet.
struct Open(usize);

impl Oracle {
    /// Asks the processor what programs ask it for when they start.
    pub fn new(answers: &mut Answers) -> Oracle {
        let questions = questions(answers);
        let records = questions.iter().map(|&(leaf, part)| (leaf, part, answers.of(leaf, part.unwrap_or(0))));
        Oracle::of(&records.collect::<Vec<_>>())
    }

    /// The code for these answers, by leaf and part; those of a leaf lie together. Without a part it does not matter.
    fn of(records: &[(u32, Option<u32>, [u32; 4])]) -> Oracle {
        let mut oracle = Oracle::default();
        let mut addresses = Vec::new();
        oracle.stage(Stage::Asked);
        // mov ebx, ecx
        oracle.code.extend([0x89, 0xcb]);
        oracle.stage(Stage::Compares);
        for group in records.chunk_by(|a, b| a.0 == b.0) {
            let leaf = group.first().map_or(0, |record| record.0);
            // lea ecx, [rax - leaf]
            let next_leaf = oracle.skip_unless_zero([0x8d, 0x88], leaf);
            for (_, part, _) in group {
                // lea ecx, [rbx - part]
                let next_part = part.map(|part| oracle.skip_unless_zero([0x8d, 0x8b], part));
                // lea rbx, [rip + …]; jmp rdx
                oracle.code.extend([0x48, 0x8d, 0x1d]);
                addresses.push(oracle.open());
                oracle.stage(Stage::Found);
                oracle.code.extend([0xff, 0xe2]);
                oracle.stage(Stage::Compares);
                next_part.into_iter().for_each(|open| oracle.close(&open));
            }
            oracle.close(&next_leaf);
        }
        // mov ecx, ebx; lea rdx, [rdx + …]; jmp rdx
        oracle.code.extend([0x89, 0xd9, 0x48, 0x8d, 0x52, TO_ASK, 0xff, 0xe2]);
        oracle.code.resize(oracle.code.len().next_multiple_of(16), 0xcc);
        oracle.answers = oracle.code.len();
        for (address, (.., answer)) in addresses.iter().zip(records) {
            oracle.close(address);
            oracle.code.extend(answer.iter().flat_map(|register| register.to_le_bytes()));
        }
        oracle
    }

    /// Writes that what comes next is for an `ecx` of 0 after `lea`, whose operand is a register less `value`.
    fn skip_unless_zero(&mut self, lea: [u8; 2], value: u32) -> Open {
        self.code.extend(lea);
        self.code.extend(value.wrapping_neg().to_le_bytes());
        // jecxz over the jump
        self.code.extend([0x67, 0xe3, 5, 0xe9]);
        self.open()
    }

    /// Leaves four bytes for a distance.
    fn open(&mut self) -> Open {
        self.code.extend([0; 4]);
        Open(self.code.len())
    }

    /// The distance is to here.
    fn close(&mut self, open: &Open) {
        let distance = (self.code.len() - open.0) as u32;
        if let Some(field) = self.code.get_mut(open.0 - 4..open.0) {
            field.copy_from_slice(&distance.to_le_bytes());
        }
    }

    fn stage(&mut self, stage: Stage) {
        self.stages.push((self.code.len(), stage));
    }

    /// Its bytes.
    pub(super) fn code(&self) -> &[u8] {
        &self.code
    }

    /// Where it is if it begins at `start`.
    pub(super) fn range(&self, start: u64) -> Range<u64> {
        start..start + self.code.len() as u64
    }

    /// How far a thread has come whose next instruction is at an offset. `None` if that is not here.
    pub(super) fn stage_at(&self, offset: u64) -> Option<Stage> {
        let offset = usize::try_from(offset).ok().filter(|&offset| offset < self.answers)?;
        let begun = self.stages.partition_point(|&(from, _)| from <= offset).checked_sub(1)?;
        self.stages.get(begun).map(|&(_, stage)| stage)
    }

    /// The answer at an offset.
    pub(super) fn answer_at(&self, offset: u64) -> Option<[u32; 4]> {
        let offset =
            usize::try_from(offset).ok().filter(|&offset| offset >= self.answers && offset % 16 == 0)?;
        let (registers, _) = self.code.get(offset..)?.first_chunk::<16>()?.as_chunks();
        <[_; 4]>::try_from(registers).ok().map(|registers| registers.map(u32::from_le_bytes))
    }
}

/// What the C library's loader asks about, as far as the answer is the same on all processors of a machine and the processor has
/// it: by leaf and part.
fn questions(answers: &mut Answers) -> Vec<(u32, Option<u32>)> {
    /// The letters `Genu`, of `GenuineIntel`.
    const INTEL: u32 = 0x756e_6547;
    const CACHES: u32 = 4;
    const FEATURES: u32 = 7;
    const EXTENDED_STATE: u32 = 0xd;
    let [highest, vendor, ..] = answers.of(0, 0);
    let mut questions = vec![(0, None)];
    let mut add = |leaf: u32, part| questions.extend((leaf <= highest).then_some((leaf, part)));
    if vendor == INTEL {
        add(2, None);
        let is_cache = |part: &u32| *part == 0 || answers.of(CACHES, part - 1)[0] & 0x1f != 0;
        (0..MAX_PARTS).take_while(is_cache).for_each(|part| add(CACHES, Some(part)));
    }
    (0..2).for_each(|part| add(FEATURES, Some(part)));
    let [components, ..] = if EXTENDED_STATE <= highest { answers.of(EXTENDED_STATE, 0) } else { [0; 4] };
    let has = |part: &u32| *part < 2 || components >> part & 1 != 0;
    (0..MAX_PARTS).filter(has).for_each(|part| add(EXTENDED_STATE, Some(part)));
    [0x14, 0x19].into_iter().for_each(|leaf| add(leaf, Some(0)));
    questions
}

/// What the processor answers to a question that is in registers.
pub(super) fn ask(leaf: u64, part: u64) -> [u32; 4] {
    cpuid(leaf as u32, part as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two trampolines' ends, for a `jmp rdx` to come to.
    const FOUND: u64 = 1 << 20;
    const NOT_FOUND: u64 = FOUND + TO_ASK as u64;

    /// What the code does, by its bytes: where it ends and what is in `eax`, `ebx`, `ecx`.
    fn run(oracle: &Oracle, leaf: u32, part: u32) -> (u64, [u64; 3]) {
        let (eax, mut at, mut rbx, mut ecx, mut rdx) = (leaf, 0, 0xdead_u64, part, FOUND);
        let word = |at: usize| u32::from_le_bytes(oracle.code[at..at + 4].try_into().unwrap());
        for _ in 0..1000 {
            let stage = oracle.stage_at(at as u64).expect("it is in the code");
            match stage {
                Stage::Asked => assert_eq!((eax, ecx), (leaf, part)),
                Stage::Compares => assert_eq!((eax, rbx), (leaf, part.into())),
                Stage::Found => assert!(oracle.answer_at(rbx).is_some()),
                Stage::Answered | Stage::Known => unreachable!(),
            }
            match oracle.code[at..] {
                [0x89, 0xcb, ..] => (rbx, at) = (ecx.into(), at + 2),
                [0x89, 0xd9, ..] => (ecx, at) = (rbx as u32, at + 2),
                [0x8d, 0x88, ..] => (ecx, at) = (eax.wrapping_add(word(at + 2)), at + 6),
                [0x8d, 0x8b, ..] => (ecx, at) = ((rbx as u32).wrapping_add(word(at + 2)), at + 6),
                [0x67, 0xe3, over, ..] => at += 3 + if ecx == 0 { usize::from(over) } else { 0 },
                [0xe9, ..] => at += 5 + word(at + 1) as usize,
                [0x48, 0x8d, 0x1d, ..] => (rbx, at) = (at as u64 + 7 + u64::from(word(at + 3)), at + 7),
                [0x48, 0x8d, 0x52, further, ..] => (rdx, at) = (rdx + u64::from(further), at + 4),
                [0xff, 0xe2, ..] => return (rdx, [eax.into(), rbx, ecx.into()]),
                _ => panic!("{:02x?}", &oracle.code[at..]),
            }
        }
        panic!("it does not end");
    }

    fn answer(oracle: &Oracle, leaf: u32, part: u32) -> Option<[u32; 4]> {
        let (end, [eax, rbx, ecx]) = run(oracle, leaf, part);
        if end == NOT_FOUND {
            assert_eq!([eax, ecx], [leaf, part].map(u64::from));
            return None;
        }
        assert_eq!(end, FOUND);
        Some(oracle.answer_at(rbx).expect("an answer"))
    }

    #[test]
    fn what_is_known_is_found_and_nothing_else() {
        let records = [
            (0, None, [1, 2, 3, 4]),
            (4, Some(0), [5; 4]),
            (4, Some(1), [6; 4]),
            (0xd, Some(2), [7; 4]),
            (0x8000_0008, None, [8; 4]),
        ];
        let oracle = Oracle::of(&records);
        for leaf in (0..0x20).chain([0x8000_0000, 0x8000_0008, u32::MAX]) {
            for part in [0, 1, 2, 3, 0x8000_0000, u32::MAX] {
                let is_it = |record: &&(u32, Option<u32>, [u32; 4])| {
                    record.0 == leaf && record.1.is_none_or(|of| of == part)
                };
                let expected = records.iter().find(is_it).map(|record| record.2);
                assert_eq!(answer(&oracle, leaf, part), expected, "{leaf:x}, {part:x}");
            }
        }
    }

    #[test]
    fn it_says_what_the_processor_says() {
        let oracle = Oracle::new(&mut Answers::default());
        let known: Vec<_> = (0..0x20).flat_map(|leaf| (0..MAX_PARTS).map(move |part| (leaf, part))).collect();
        let mut found = 0;
        for &(leaf, part) in &known {
            let answer = answer(&oracle, leaf, part);
            assert!(answer.is_none_or(|answer| answer == cpuid(leaf, part)), "{leaf:x}, {part:x}");
            found += usize::from(answer.is_some());
        }
        assert!(found > 4, "{found}");
    }

    #[test]
    fn what_a_guest_claims_is_looked_at() {
        let oracle = Oracle::of(&[(0, None, [1, 2, 3, 4])]);
        let end = oracle.code.len() as u64;
        for offset in (0..end + 40).chain([u64::MAX, u64::MAX - 15, 1 << 63]) {
            let is_answer = offset == end - 16;
            assert_eq!(oracle.answer_at(offset), is_answer.then_some([1, 2, 3, 4]), "{offset:x}");
            assert_eq!(oracle.stage_at(offset).is_some(), offset < end - 16, "{offset:x}");
        }
    }
}
