//! Patches that are known before the code runs, by the file that the code comes from.
//!
//! A site that has trapped in one process is executed in the next as well, and a `cpuid` never traps at all: on a virtual
//! machine it exits to the hypervisor, which takes 4 to 70 µs, and the C library's loader executes some forty of them before
//! each program. Both are patched when the file is mapped, before anybody can run there.
//!
//! What is known is known from the file's bytes alone, never from what a guest does: a process that jumps into the middle
//! of an instruction must not get that place patched in others. And it holds only where the same bytes are found again:
//! those that decided, not only those that are overwritten.
//!
//! The answer of `cpuid` is in the trampoline itself, as four loads of constants, if an
//! instruction that loads the leaf's number comes right before, and the answer does not depend on `ecx`, or `ecx` is
//! cleared in between. Others [look it up](super::oracle). What the host's processor says is told as it is.

use std::ops::Range;

use super::plan::{Code, DETOUR_REACH, MAX_INSTRUCTION, MAX_REACH, Plan, SITE_LENGTH, Service};
use crate::arch::cpuid;

/// The instructions.
const CPUID: [u8; 2] = [0x0f, 0xa2];
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// Leaves whose answer does not depend on `ecx`.
const PLAIN_LEAVES: [Range<u32>; 2] = [0..2, 0x8000_0000..0x8000_0009];
/// Leaves whose answer does, and is the same on all processors of a machine for 0.
const LEAVES_WITH_PARTS: [u32; 4] = [4, 7, 0xd, 0x14];

/// What the processor answers, by leaf and part: each is asked for once, for that takes as long here as it does in a guest.
#[derive(Default)]
pub struct Answers(Vec<((u32, u32), [u32; 4])>);

impl Answers {
    pub(super) fn of(&mut self, leaf: u32, part: u32) -> [u32; 4] {
        let known = self.0.iter().find(|(known, _)| *known == (leaf, part));
        known.map(|(_, answer)| *answer).unwrap_or_else(|| {
            let answer = cpuid(leaf, part);
            self.0.push(((leaf, part), answer));
            answer
        })
    }
}

/// A site of a file's code, and how it is patched. Addresses are offsets in the file.
#[derive(Debug)]
pub struct KnownPatch {
    pub(in crate::trap) plan: Plan,
    /// The bytes that have decided it.
    pub(in crate::trap) evidence: Code,
}

impl KnownPatch {
    /// The patch for the `syscall` instruction at offset `site` in a file, which is executed with `number` in `rax`; `bytes` are
    /// those of an executable mapping from offset `start` on, or some of them around the site. `None` if it cannot be
    /// patched, or its neighbourhood leaves doubt what is an instruction there.
    pub fn call(start: u64, bytes: &[u8], site: u64, number: u64) -> Option<KnownPatch> {
        let code = Code { start, bytes: bytes.to_vec() };
        let plan = Plan::new(&code, site, number).filter(|plan| code.is_surely_in_step(plan.start));
        KnownPatch::new(&code, plan.or_else(|| plain_plan(&code, site))?)
    }

    /// How much of what is around an instruction decides about it, on either side.
    pub const NEIGHBOURHOOD: u64 = DETOUR_REACH + MAX_REACH;

    /// More `cpuid`s than this are not worth a look in a file.
    pub const MAX_CPUIDS: usize = 256;

    /// The patches for the `cpuid` instructions in a file's executable mapping from offset `start` on. At most `left` of them are
    /// looked at; it counts down.
    pub fn cpuids(start: u64, bytes: &[u8], answers: &mut Answers, left: &mut usize) -> Vec<KnownPatch> {
        let at = |index: usize| start + index as u64;
        let piece = |site: u64| {
            let from = (site - start).saturating_sub(KnownPatch::NEIGHBOURHOOD) as usize;
            let to = ((site - start + KnownPatch::NEIGHBOURHOOD) as usize).min(bytes.len());
            Code { start: at(from), bytes: bytes[from..to].to_vec() }
        };
        let mut patch = |site: u64| {
            let code = piece(site);
            let plan = answer_plan(&code, site, answers).or_else(|| lookup_plan(&code, site))?;
            KnownPatch::new(&code, plan)
        };
        let looked_at = places_of_cpuid(bytes).take(*left).inspect(|_| *left -= 1);
        looked_at.filter_map(|index| patch(at(index))).collect()
    }

    /// `plan` is for an instruction that is in step.
    fn new(code: &Code, plan: Plan) -> Option<KnownPatch> {
        let decides = plan.range();
        let from = decides.start.saturating_sub(MAX_REACH).max(code.start);
        let end =
            decides.end.saturating_add(MAX_INSTRUCTION as u64).min(code.start + code.bytes.len() as u64);
        let evidence = Code { start: from, bytes: code.at(from..end)?.to_vec() };
        Some(KnownPatch { plan, evidence })
    }

    /// Where the instruction is in the file.
    pub fn site(&self) -> u64 {
        self.plan.site
    }

    /// Whether it needs an [`Oracle`](super::Oracle).
    pub fn looks_up(&self) -> bool {
        self.plan.service == Service::Lookup
    }

    /// The part of the file that it depends on.
    pub fn range(&self) -> Range<u64> {
        self.evidence.start..self.evidence.start + self.evidence.bytes.len() as u64
    }
}

/// Where `cpuid` is written in some bytes. Most pieces of code have not even its second byte, which is found out for a
/// whole piece at once: of 150 KiB that takes 15 µs instead of 150.
fn places_of_cpuid(bytes: &[u8]) -> impl Iterator<Item = usize> {
    const PIECE: usize = 64;
    let [first, second] = CPUID;
    let is_promising = move |piece: &[u8]| piece.iter().fold(false, |found, &byte| found | (byte == second));
    let pieces = bytes.chunks(PIECE).enumerate().filter(move |(_, piece)| is_promising(piece));
    pieces.flat_map(move |(number, piece)| {
        let seconds = (number * PIECE..).zip(piece).filter(move |&(_, &byte)| byte == second);
        seconds
            .filter_map(move |(at, _)| at.checked_sub(1).filter(|&before| bytes.get(before) == Some(&first)))
    })
}

/// The plan for a `cpuid` whose leaf is loaded right before it.
fn answer_plan(code: &Code, site: u64, answers: &mut Answers) -> Option<Plan> {
    /// `mov eax, …`: this and four bytes.
    const LOAD: u8 = 0xb8;
    const LOAD_LENGTH: u64 = 5;
    /// `xor ecx, ecx`, in either encoding.
    const CLEARING: [[u8; 2]; 2] = [[0x31, 0xc9], [0x33, 0xc9]];
    const CLEARING_LENGTH: u64 = 2;
    let load = |start: u64| match code.at(start..start + LOAD_LENGTH)? {
        &[LOAD, ref leaf @ ..] => Some((start, u32::from_le_bytes(leaf.try_into().ok()?))),
        _ => None,
    };
    let is_plain = |leaf: u32| PLAIN_LEAVES.iter().any(|leaves| leaves.contains(&leaf));
    let (start, leaf, cleared) = match load(site.checked_sub(LOAD_LENGTH)?) {
        Some((start, leaf)) if is_plain(leaf) => (start, leaf, None),
        _ => {
            let clearing = site - CLEARING_LENGTH;
            let (start, leaf) = load(clearing.checked_sub(LOAD_LENGTH)?)?;
            let is_cleared = CLEARING.iter().any(|bytes| code.at(clearing..site) == Some(bytes));
            let is_known = is_plain(leaf) || LEAVES_WITH_PARTS.contains(&leaf);
            (is_cleared && is_known).then_some((start, leaf, Some(clearing)))?
        }
    };
    if !code.is_surely_in_step(start) {
        return None;
    }
    let before = cleared.map(|address| Some((address, code.at(address..site)?.to_vec())));
    let service = Service::Answer(answers.of(leaf, 0));
    Some(Plan { start, before: before.flatten(), ..Plan::at(site, service) })
}

/// The plan for any other `cpuid`. Two bytes are soon found where they are part of something else, so the neighbourhood must
/// leave less doubt.
fn lookup_plan(code: &Code, site: u64) -> Option<Plan> {
    if code.is_prefixed(site) || !code.is_plainly_in_step(site) {
        return None;
    }
    Plan::after(code, site, Service::Lookup).or_else(|| Plan::by_detour(code, site, Service::Lookup))
}

/// The plan for a `syscall` that has neither the load of its number before it nor one instruction behind it that can move: a branch
/// follows soon, or several short ones. The neighbourhood must leave as little doubt as with [`lookup_plan`].
fn plain_plan(code: &Code, site: u64) -> Option<Plan> {
    let is_call = code.at(site..site.checked_add(SITE_LENGTH)?)? == SYSCALL;
    if !is_call || code.is_prefixed(site) || !code.is_plainly_in_step(site) {
        return None;
    }
    Plan::behind(code, site, Service::Call).or_else(|| Plan::by_detour(code, site, Service::Call))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpuids(start: u64, bytes: &[u8]) -> Vec<KnownPatch> {
        KnownPatch::cpuids(start, bytes, &mut Answers::default(), &mut { KnownPatch::MAX_CPUIDS })
    }

    /// As in a C library's loader: `mov eax, leaf; cpuid; mov esi, eax`, in code that is easily read.
    fn loader(leaf: u32) -> Vec<u8> {
        let mut bytes = vec![0x90; 64];
        bytes.extend([0x53, 0x89, 0xfe, 0xb8]);
        bytes.extend(leaf.to_le_bytes());
        bytes.extend([0x0f, 0xa2, 0x89, 0xc6, 0x5b, 0xc3]);
        bytes.extend([0x90; 64]);
        bytes
    }

    #[test]
    fn a_cpuid_whose_leaf_is_loaded_before_it_is_known() {
        for leaf in [0, 1, 0x8000_0000, 0x8000_0006] {
            let known = cpuids(0x1000, &loader(leaf));
            let [patch] = &known[..] else { panic!("{known:?}") };
            assert_eq!((patch.plan.start, patch.site(), patch.plan.resume), (0x1043, 0x1048, 0x104a));
            assert_eq!(patch.plan.service, Service::Answer(cpuid(leaf, 0)));
        }
    }

    #[test]
    fn a_cpuid_whose_answer_depends_on_what_is_not_seen_looks_it_up() {
        for leaf in [4, 7, 0xb, 0xd, 0x8000_001d] {
            let mut bytes = loader(leaf);
            // What follows are two instructions in three bytes, and nothing near has room.
            assert!(cpuids(0, &bytes).is_empty(), "{leaf:x}");
            // mov r14d, edx
            bytes.splice(74..76, [0x41, 0x89, 0xd6]);
            let known = cpuids(0, &bytes);
            let [patch] = &known[..] else { panic!("{leaf:x}: {known:?}") };
            assert_eq!((patch.plan.start, patch.site(), patch.plan.resume), (72, 72, 77));
            assert!(patch.looks_up());
        }
        // Not where ecx is cleared before it.
        let mut bytes = vec![0x90; 64];
        bytes.extend([0xb8, 0xd, 0, 0, 0, 0x31, 0xc9, 0x0f, 0xa2, 0x85, 0xdb]);
        bytes.extend([0x90; 64]);
        let known = cpuids(0, &bytes);
        let [patch] = &known[..] else { panic!("{known:?}") };
        assert_eq!((patch.plan.start, patch.plan.before.as_ref()), (64, Some(&(69, vec![0x31, 0xc9]))));
        assert_eq!(patch.plan.service, Service::Answer(cpuid(0xd, 0)));
    }

    #[test]
    fn what_decides_is_all_evidence() {
        // A gap that is filled, a hundred bytes before `cpuid; mov [rdi], eax; cmp esi, 2`.
        let mut bytes = vec![0x90; 300];
        bytes[100..110].copy_from_slice(&[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]);
        bytes[200..207].copy_from_slice(&[0x0f, 0xa2, 0x89, 0x07, 0x83, 0xfe, 2]);
        let known = cpuids(0x1000, &bytes);
        let [patch] = &known[..] else { panic!("{known:?}") };
        assert!(patch.looks_up() && patch.plan.detour.is_some());
        assert!(patch.range().start <= 0x1064 - MAX_REACH && patch.range().end > 0x10ca);
    }

    #[test]
    fn what_lies_inside_other_instructions_is_not_known() {
        // movabs rax, …, over and over: its operand reads as a load and a cpuid, or as a load and a call.
        for last in [0xa2, 0x05] {
            let instruction = [0x48, 0xb8, 0xb8, 1, 0, 0, 0, 0x0f, last, 0x90];
            let bytes: Vec<u8> = instruction.iter().copied().cycle().take(200).collect();
            assert!(cpuids(0, &bytes).is_empty());
            assert!(KnownPatch::call(0, &bytes, 107, 1).is_none());
        }
    }

    #[test]
    fn a_call_is_known_by_its_number() {
        let mut bytes = vec![0x90; 64];
        bytes.extend([0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]);
        bytes.extend([0x90; 64]);
        let patch = KnownPatch::call(0x2000, &bytes, 0x2000 + 69, 39).expect("a patch");
        assert_eq!(patch.site(), 0x2000 + 69);
        assert!(patch.range().contains(&0x2040));
        assert!(KnownPatch::call(0x2000, &bytes, 0x2000 + 69, 40).is_none());
        assert!(KnownPatch::call(0x2000, &bytes, 0x2000 + 70, 39).is_none());
        assert!(KnownPatch::call(0x2000, &bytes, 0x9000, 39).is_none());
    }

    /// As in a C library's loader: the number is loaded first, and a branch, or two short instructions, follow.
    fn call_between(before: &[u8], after: &[u8], far: &[u8]) -> (Vec<u8>, u64) {
        let mut bytes = vec![0x90; 200];
        bytes.extend([0xb8, 158, 0, 0, 0, 0x48, 0x89, 0x1b]);
        bytes.extend_from_slice(before);
        let site = bytes.len() as u64;
        bytes.extend([0x0f, 0x05]);
        bytes.extend_from_slice(after);
        bytes.extend([0x90; 20]);
        bytes.extend_from_slice(far);
        bytes.extend([0x90; 200]);
        (bytes, site)
    }

    #[test]
    fn a_call_is_known_by_what_is_before_it_or_by_a_gap_nearby() {
        const BRANCH: [u8; 4] = [0x85, 0xc0, 0x75, 0x1e];
        // mov [rbx + 16], rbx; nop [rax + rax + 0]
        let (bytes, site) =
            call_between(&[0x48, 0x89, 0x5b, 0x10], &BRANCH, &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]);
        let patch = KnownPatch::call(0, &bytes, site, 158).expect("a patch");
        let gap = patch.plan.detour.as_ref().expect("a detour").0;
        assert_eq!((patch.plan.start, patch.plan.resume, gap), (site, site + 2, site + 26));
        assert!(patch.range().start <= site - MAX_REACH && patch.range().end >= site + 34);
        // movups [rbx + 728], xmm0; mov [rbx + 728], rax; xor edx, edx; lea rsi, [rsp + 12]
        const SHORT: [u8; 7] = [0x31, 0xd2, 0x48, 0x8d, 0x74, 0x24, 12];
        for before in [[0x0f, 0x11, 0x83, 0xd8, 2, 0, 0], [0x48, 0x89, 0x83, 0xd8, 2, 0, 0]] {
            let (bytes, site) = call_between(&before, &SHORT, &[]);
            let patch = KnownPatch::call(0, &bytes, site, 158).expect("a patch");
            assert_eq!((patch.plan.start, patch.plan.resume), (site - 7, site + 2));
            assert_eq!(patch.plan.before, Some((site - 7, before.to_vec())));
        }
        // Four bytes, a call, and one whose operand is found from where it is have no room, or do not move.
        for before in [&[0x48, 0x89, 0x5b, 0x10][..], &[0xe8, 0, 1, 0, 0], &[0x48, 0x89, 0x1d, 0, 1, 0, 0]] {
            let (bytes, site) = call_between(before, &SHORT, &[]);
            assert!(KnownPatch::call(0, &bytes, site, 158).is_none(), "{before:02x?}");
        }
    }

    #[test]
    fn each_cpuid_is_found_once_wherever_it_lies() {
        for length in [0, 1, 2, 63, 64, 65, 128, 129, 200] {
            for place in 0..length {
                let mut bytes = vec![0x0f; length];
                bytes[place] = 0xa2;
                let expected: Vec<usize> = place.checked_sub(1).into_iter().collect();
                assert_eq!(places_of_cpuid(&bytes).collect::<Vec<_>>(), expected, "{place} of {length}");
            }
        }
    }

    #[test]
    fn any_bytes_are_searched() {
        let mut seed = 7u32;
        let mut bytes: Vec<u8> = (0..100_000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        (0..bytes.len()).step_by(500).for_each(|at| bytes[at..at + 2].copy_from_slice(&CPUID));
        for length in [0, 1, 2, 3, 500, 501, 502, bytes.len()] {
            assert!(cpuids(0, &bytes[..length]).len() <= KnownPatch::MAX_CPUIDS);
        }
    }

    #[test]
    fn no_more_are_looked_at_than_are_left() {
        let bytes = loader(0).repeat(4);
        let (mut answers, mut left) = (Answers::default(), 6);
        for (found, then_left) in [(4, 2), (2, 0), (0, 0)] {
            assert_eq!(KnownPatch::cpuids(0, &bytes, &mut answers, &mut left).len(), found);
            assert_eq!(left, then_left);
        }
    }
}
