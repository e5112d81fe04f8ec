//! Deciding which instructions move.

use std::ops::Range;

use super::length::{Movable, length, movable};

/// Length of `jmp rel32`.
pub(in crate::trap) const JUMP_LENGTH: u64 = 5;
/// Length of `syscall` and of `cpuid`.
pub(in crate::trap) const SITE_LENGTH: u64 = 2;
/// Length of `jmp rel8`.
pub(in crate::trap) const SHORT_LENGTH: u64 = 2;
/// Length of both jumps.
const DETOUR_LENGTH: u64 = SHORT_LENGTH + JUMP_LENGTH;
/// How far from an instruction one is looked for that a short jump reaches.
pub(in crate::trap) const DETOUR_REACH: u64 = 128;
/// How many bytes on either side of a `syscall` instruction are looked at.
pub(in crate::trap) const MAX_REACH: u64 = 48;
/// One-byte opcodes that no processor executes in 64-bit mode, and that are no prefix either.
pub(in crate::trap) const NO_OPCODES: [u8; 16] =
    [0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x9a, 0xce, 0xea];
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

    /// Whether there is an instruction at `address` for half of all who begin to read somewhat before, wherever they begin, and
    /// for most of those who get that far. Of 45 libraries and programs, 600 MB, this takes one place for a `cpuid` that is none.
    pub(in crate::trap) fn is_plainly_in_step(&self, address: u64) -> bool {
        /// For each who passes.
        const MANY: usize = 3;
        let (arrive, pass) = self.count_readers(address);
        arrive > MANY * pass && arrive >= MAX_REACH as usize / 2
    }

    /// Whether there is an instruction at `address` for most who begin to read somewhat before, wherever they begin.
    pub(in crate::trap) fn is_surely_in_step(&self, address: u64) -> bool {
        let (arrive, pass) = self.count_readers(address);
        arrive > pass
    }

    /// How many readers come to `address`, and how many past it.
    fn count_readers(&self, address: u64) -> (usize, usize) {
        let count =
            |(arrive, pass), at: u64| (arrive + usize::from(at == address), pass + usize::from(at > address));
        self.readers(address).fold((0, 0), count)
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

/// What is executed for an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trap) enum Service {
    /// It is a `syscall`: the stub is entered.
    Call,
    /// It is a `cpuid` whose answer is known: `eax`, `ebx`, `ecx`, `edx`.
    Answer([u32; 4]),
    /// It is a `cpuid` whose answer is looked up, by what is in the registers.
    Lookup,
}

/// An instruction that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trap) struct Moved {
    /// Where it was.
    pub(in crate::trap) address: u64,
    bytes: Vec<u8>,
    /// As [`Movable::displacement`].
    displacement: Option<usize>,
}

impl Moved {
    /// Its bytes where it is now. `None` if its operand is too far from there.
    pub(in crate::trap) fn at(&self, place: u64) -> Option<Vec<u8>> {
        let mut bytes = self.bytes.clone();
        if let Some(at) = self.displacement {
            let field: &mut [u8; 4] = bytes.get_mut(at..at + 4)?.try_into().ok()?;
            let operand = self.address.wrapping_add_signed(i32::from_le_bytes(*field).into());
            *field = displacement(place, operand)?.to_le_bytes();
        }
        Some(bytes)
    }
}

/// How far it is, if that can be written in four bytes.
pub(in crate::trap) fn displacement(from: u64, to: u64) -> Option<i32> {
    i32::try_from(to.wrapping_sub(from).cast_signed()).ok()
}

/// What moves, and what is overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trap) struct Plan {
    /// The instruction: `syscall` or `cpuid`.
    pub(in crate::trap) site: u64,
    /// The first overwritten byte. Five are, or with a detour two.
    pub(in crate::trap) start: u64,
    /// What is executed before it: address, bytes.
    pub(in crate::trap) before: Option<(u64, Vec<u8>)>,
    /// What is executed after it.
    pub(in crate::trap) after: Vec<Moved>,
    /// Where the original code goes on.
    pub(in crate::trap) resume: u64,
    /// What is executed for it.
    pub(in crate::trap) service: Service,
    /// An instruction nearby that does nothing, and has room for the jump: address, bytes.
    pub(in crate::trap) detour: Option<(u64, Vec<u8>)>,
}

impl Plan {
    /// A plan for the instruction at `syscall`, which has been executed with `number` in `rax`. `None` if no shape
    /// fits.
    pub(in crate::trap) fn new(code: &Code, syscall: u64, number: u64) -> Option<Plan> {
        if code.at(syscall..syscall + SITE_LENGTH)? != [0x0f, 0x05] {
            return None;
        }
        Plan::before(code, syscall, number).or_else(|| Plan::after(code, syscall, Service::Call))
    }

    /// A plan that overwrites nothing yet.
    pub(in crate::trap) fn at(site: u64, service: Service) -> Plan {
        let resume = site + SITE_LENGTH;
        Plan { site, start: site, before: None, after: Vec::new(), resume, service, detour: None }
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
                return Some(Plan { start, before, ..Plan::at(syscall, Service::Call) });
            }
        }
        None
    }

    /// The shape in which the instruction and its successors are overwritten.
    pub(in crate::trap) fn after(code: &Code, site: u64, service: Service) -> Option<Plan> {
        let mut after = Vec::new();
        let mut address = site + SITE_LENGTH;
        while address < site + JUMP_LENGTH {
            // Boundaries must lie where the displacement's second byte does, or behind the jump.
            if address != site + SITE_LENGTH {
                return None;
            }
            let Movable { length, displacement } = movable(code.from(address)?)?;
            let end = address + length as u64;
            after.push(Moved { address, bytes: code.at(address..end)?.to_vec(), displacement });
            address = end;
        }
        Some(Plan { after, resume: address, ..Plan::at(site, service) })
    }

    /// The shape in which what is executed right before the instruction is overwritten, whatever it is, and moves. The instruction
    /// stays: who arrives there from elsewhere executes it.
    pub(in crate::trap) fn behind(code: &Code, site: u64, service: Service) -> Option<Plan> {
        let ends_here = |start: &u64| {
            // The load of another number: whoever calls comes from elsewhere.
            let moves = code.from(*start).filter(|bytes| !bytes.starts_with(&[0xb8])).and_then(movable);
            let moves =
                moves.filter(|moves| start + moves.length as u64 == site && moves.displacement.is_none());
            moves.is_some() && !code.is_prefixed(*start) && code.is_plainly_in_step(*start)
        };
        let farthest = site.saturating_sub(MAX_INSTRUCTION as u64);
        let start = (farthest..=site.checked_sub(JUMP_LENGTH)?).find(ends_here)?;
        let before = Some((start, code.at(start..site)?.to_vec()));
        Some(Plan { start, before, ..Plan::at(site, service) })
    }

    /// The shape in which the instruction becomes a short jump into one nearby that does nothing and is long enough for a short
    /// jump over it and the long one: nobody arrives inside of either.
    pub(in crate::trap) fn by_detour(code: &Code, site: u64, service: Service) -> Option<Plan> {
        let reach = |address: &u64| displacement_of_short(site, address + SHORT_LENGTH).is_some();
        let nearby = (site.saturating_sub(DETOUR_REACH)..site.saturating_add(DETOUR_REACH)).filter(reach);
        let mut roomy = nearby.filter_map(|address| {
            let length = length_of_nop(code.from(address)?).filter(|&length| length >= DETOUR_LENGTH)?;
            let is_one = !code.is_prefixed(address) && code.is_plainly_in_step(address);
            is_one.then_some((address, code.at(address..address + length)?.to_vec()))
        });
        Some(Plan { detour: Some(roomy.next()?), ..Plan::at(site, service) })
    }

    /// The same for code that lies `distance` further on.
    pub(in crate::trap) fn moved_by(&self, distance: u64) -> Plan {
        let there = |address: u64| address.wrapping_add(distance);
        let piece = |(address, bytes): &(u64, Vec<u8>)| (there(*address), bytes.clone());
        let moved = |moved: &Moved| Moved { address: there(moved.address), ..moved.clone() };
        Plan {
            site: there(self.site),
            start: there(self.start),
            before: self.before.as_ref().map(piece),
            after: self.after.iter().map(moved).collect(),
            resume: there(self.resume),
            service: self.service,
            detour: self.detour.as_ref().map(piece),
        }
    }

    /// What is overwritten, or moves.
    pub(in crate::trap) fn pieces(&self) -> impl Iterator<Item = Range<u64>> {
        let jump = if self.detour.is_some() { SHORT_LENGTH } else { JUMP_LENGTH };
        let site = self.start..self.resume.max(self.start + jump);
        let detour = self.detour.as_ref().map(|(address, bytes)| *address..address + bytes.len() as u64);
        [site].into_iter().chain(detour)
    }

    /// What decides: all of that, and what lies between.
    pub(in crate::trap) fn range(&self) -> Range<u64> {
        let hull = |all: Range<u64>, piece: Range<u64>| all.start.min(piece.start)..all.end.max(piece.end);
        self.pieces().fold(self.start..self.resume, hull)
    }

    /// Whether the jump to a trampoline at `cell` has no instruction at the boundary inside of it, if there is one.
    pub(in crate::trap) fn spares_boundary(&self, cell: u64) -> bool {
        let jump = displacement(self.start + JUMP_LENGTH, cell).map(i32::to_le_bytes);
        self.after.is_empty() || jump.is_some_and(|[_, second, ..]| NO_OPCODES.contains(&second))
    }
}

/// The operand of a short jump, if it reaches.
pub(in crate::trap) fn displacement_of_short(from: u64, to: u64) -> Option<u8> {
    let distance = i8::try_from(displacement(from + SHORT_LENGTH, to)?).ok()?;
    Some(distance.cast_unsigned())
}

/// The length of the instruction if it is one of those with an address that assemblers fill gaps with: `nop [rax + 0]` and
/// `nop [rax + rax + 0]`, with four bytes of zeros, behind prefixes that mean nothing to it.
fn length_of_nop(bytes: &[u8]) -> Option<u64> {
    let prefixes = bytes.iter().take_while(|&&byte| byte == 0x66).count();
    let prefixes = prefixes + usize::from(bytes.get(prefixes) == Some(&0x2e));
    let is_nop = match bytes.get(prefixes..)? {
        [0x0f, 0x1f, 0x80, rest @ ..] | [0x0f, 0x1f, 0x84, 0, rest @ ..] => rest.starts_with(&[0; 4]),
        _ => false,
    };
    if is_nop { Some(length(bytes)? as u64) } else { None }
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
        let [moved] = &plan.after[..] else { panic!("{plan:?}") };
        assert_eq!((moved.address, moved.at(0)), (START + 4, Some(code[4..10].to_vec())));
    }

    #[test]
    fn branches_do_not_move_nor_does_more_than_one_instruction() {
        // xor eax, eax; syscall; jmp
        assert_eq!(plan(&[0x31, 0xc0, 0x0f, 0x05, 0xe9, 1, 2, 3, 4], 2, 0), None);
        // xor eax, eax; syscall; mov edx, eax; test edx, edx: a boundary where none may be
        assert_eq!(plan(&[0x31, 0xc0, 0x0f, 0x05, 0x89, 0xc2, 0x85, 0xd2], 2, 0), None);
    }

    #[test]
    fn a_moved_instruction_finds_its_operand() {
        // xor eax, eax; syscall; mov rdx, [rip + 8]
        let plan = plan(&[0x31, 0xc0, 0x0f, 0x05, 0x48, 0x8b, 0x15, 8, 0, 0, 0], 2, 0).unwrap();
        let [moved] = &plan.after[..] else { panic!("{plan:?}") };
        let at = |distance: i32| {
            let mut bytes = vec![0x48, 0x8b, 0x15];
            bytes.extend((8 - distance).to_le_bytes());
            Some(bytes)
        };
        assert_eq!(moved.at(START + 4), at(0));
        assert_eq!(moved.at(START + 0x1004), at(0x1000));
        assert_eq!(moved.at(4), at(-0x1000));
        assert_eq!(moved.at(START + (1 << 32)), None);
        assert_eq!(plan.moved_by(0x5000).after[0].at(START + 0x6004), at(0x1000));
    }

    /// `cpuid; mov edx, eax; and edx, 31` with some bytes `distance` before it.
    fn beside(bytes: &[u8], distance: usize) -> Code {
        let mut code = vec![0x90; 300];
        code[200 - distance..][..bytes.len()].copy_from_slice(bytes);
        code[200..207].copy_from_slice(&[0x0f, 0xa2, 0x89, 0xc2, 0x83, 0xe2, 0x1f]);
        Code { start: START, bytes: code }
    }

    const SITE: u64 = START + 200;
    /// `nop word ptr cs:[rax + rax + 0]`
    const NOP: [u8; 10] = [0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];

    #[test]
    fn a_gap_that_is_filled_holds_a_jump() {
        for distance in [20, 100, 126] {
            let code = beside(&NOP, distance);
            assert_eq!(Plan::after(&code, SITE, Service::Lookup), None);
            let plan = Plan::by_detour(&code, SITE, Service::Lookup).expect("a plan");
            assert_eq!(plan.detour, Some((SITE - distance as u64, NOP.to_vec())));
            assert_eq!((plan.start, plan.resume), (SITE, SITE + 2));
            assert_eq!(plan.range(), SITE - distance as u64..SITE + 2);
        }
    }

    #[test]
    fn what_is_too_far_or_too_short_or_no_gap_holds_none() {
        // Too far; `nop [rax + rax + 0]` of five bytes; with an address; behind another prefix; a part of `movabs`.
        assert_eq!(Plan::by_detour(&beside(&NOP, 130), SITE, Service::Lookup), None);
        let inside: Vec<u8> = [0x48, 0xb8].into_iter().chain(NOP[2..].iter().copied()).collect();
        for bytes in [
            &[0x0f, 0x1f, 0x44, 0, 0][..],
            &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 1],
            &[0xf3, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
            &inside,
        ] {
            assert_eq!(Plan::by_detour(&beside(bytes, 60), SITE, Service::Lookup), None, "{bytes:02x?}");
        }
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
