//! How long an instruction is, and whether it does the same elsewhere.
//!
//! That is all that a patch needs to know of instructions. A whole decoder knows more and keeps tables for that: half a megabyte in
//! each sandbox, which took a quarter of a millisecond of its start to fill. One serves the tests here as the judge.
//!
//! 64-bit mode; Intel's manual, volume 2, chapter 2 and appendix A. What is not an instruction may have a length all the same.

use super::plan::MAX_INSTRUCTION;

/// What follows an opcode.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    has_modrm: bool,
    /// Bytes of immediate operand, or of displacement of a branch.
    immediate: usize,
}

const NOTHING: Shape = Shape { has_modrm: false, immediate: 0 };
const MODRM: Shape = Shape { has_modrm: true, immediate: 0 };

const fn immediate(bytes: usize) -> Shape {
    Shape { has_modrm: false, immediate: bytes }
}

const fn modrm_and(bytes: usize) -> Shape {
    Shape { has_modrm: true, immediate: bytes }
}

/// Prefixes that matter.
#[derive(Clone, Copy, Default)]
struct Prefixes {
    operand_size: bool,
    address_size: bool,
    /// `f2`
    repeat: bool,
    lock: bool,
    /// REX.W
    wide: bool,
}

/// The length of the instruction that begins some bytes; `None` if it is none, or is not all there.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let mut prefixes = Prefixes::default();
    let mut at = 0;
    let opcode = loop {
        let byte = *bytes.get(at)?;
        at += 1;
        match byte {
            0x66 => prefixes.operand_size = true,
            0x67 => prefixes.address_size = true,
            0xf2 => prefixes.repeat = true,
            0xf0 => prefixes.lock = true,
            0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => {}
            // The last prefix, or it counts for nothing.
            0x40..=0x4f => {
                let next = *bytes.get(at)?;
                if !is_prefix(next) {
                    prefixes.wide = byte & 8 != 0;
                    at += 1;
                    break next;
                }
            }
            _ => break byte,
        }
    };
    let shape = match opcode {
        0x0f => {
            let second = *bytes.get(at)?;
            at += 1;
            match second {
                0x38 | 0x3a => {
                    at += 1;
                    if second == 0x38 { MODRM } else { modrm_and(1) }
                }
                _ => second_map(second, prefixes)?,
            }
        }
        // VEX and EVEX: the map is in the first byte of theirs, but for the short form of VEX.
        0xc5 => {
            at += 1;
            vector(1, bytes, &mut at)?
        }
        0xc4 | 0x62 => {
            let map = bytes.get(at)? & if opcode == 0xc4 { 0x1f } else { 7 };
            at += if opcode == 0xc4 { 2 } else { 3 };
            vector(map, bytes, &mut at)?
        }
        // XOP, unless it is `pop`.
        0x8f if bytes.get(at)? & 0x1f >= 8 => {
            let map = bytes.get(at)? & 0x1f;
            at += 3;
            match map {
                8 => modrm_and(1),
                9 => MODRM,
                _ => modrm_and(4),
            }
        }
        _ => {
            let shape = first_map(opcode, bytes.get(at).copied(), prefixes)?;
            if shape.has_modrm && !is_there(opcode, *bytes.get(at)?) {
                return None;
            }
            shape
        }
    };
    if prefixes.lock && !is_lockable(opcode, bytes, at) {
        return None;
    }
    if shape.has_modrm {
        at += address(bytes.get(at..)?)?;
    }
    at += shape.immediate;
    (at <= bytes.len() && at <= MAX_INSTRUCTION).then_some(at)
}

/// Whether the instruction, whose ModRM byte is at `at`, may be locked: it reads, changes and writes memory.
fn is_lockable(opcode: u8, bytes: &[u8], at: usize) -> bool {
    let Some(&modrm) = bytes.get(at) else { return false };
    let which = modrm >> 3 & 7;
    let is_known = match opcode {
        // Bits, comparing and exchanging, adding.
        0x0f => true,
        0x00..=0x37 => opcode & 7 <= 1,
        0x80 | 0x81 | 0x83 => which != 7,
        0x86 | 0x87 => true,
        0xf6 | 0xf7 => matches!(which, 2 | 3),
        0xfe | 0xff => which <= 1,
        _ => false,
    };
    is_known && modrm < 0xc0
}

/// Whether there is an instruction of the first map with this ModRM byte.
fn is_there(opcode: u8, modrm: u8) -> bool {
    let (is_register, which) = (modrm >= 0xc0, modrm >> 3 & 7);
    match opcode {
        0x8c => which <= 5,
        0x8d => !is_register,
        0x8e => which <= 5 && which != 1,
        0x8f => which == 0,
        // `xabort` and `xbegin` besides `mov`.
        0xc6 | 0xc7 => which == 0 || modrm == 0xf8,
        0xfe => which <= 1,
        0xff => which <= 6 && !(is_register && matches!(which, 3 | 5)),
        0xd9 if is_register => !matches!(modrm, 0xd1..=0xd7 | 0xe2 | 0xe3 | 0xe6 | 0xe7 | 0xef),
        0xd9 => which != 1,
        0xda if is_register => modrm < 0xe0 || modrm == 0xe9,
        0xdb if is_register => !matches!(modrm, 0xe5..=0xe7 | 0xf8..=0xff),
        0xdb => !matches!(which, 4 | 6),
        0xdd if is_register => modrm < 0xf0,
        0xdd => which != 5,
        0xde if is_register => !matches!(modrm, 0xd8 | 0xda..=0xdf),
        0xdf if is_register => !matches!(modrm, 0xe1..=0xe7 | 0xf8..=0xff),
        _ => true,
    }
}

/// An instruction that does the same wherever it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Movable {
    /// Its length.
    pub(super) length: usize,
    /// Where in it the four bytes are that say how far from its end its operand is, if that is so: they must be others elsewhere.
    pub(super) displacement: Option<usize>,
}

/// The instruction that begins some bytes, if it is surely one that can be moved: it goes on with the next one. Only what
/// compilers write is known, without other prefixes than for the operands' size.
pub(super) fn movable(bytes: &[u8]) -> Option<Movable> {
    if let [0xf3, 0x0f, 0xae, modrm, ..] | [0xf3, 0x48, 0x0f, 0xae, modrm, ..] = *bytes
        && (0xc0..0xe0).contains(&modrm)
    {
        // `rdfsbase` and its kin.
        return Some(Movable { length: length(bytes)?, displacement: None });
    }
    let at = usize::from(*bytes.first()? == 0x66);
    let at = at + usize::from(matches!(bytes.get(at)?, 0x40..=0x4f));
    let (opcode, next) = (*bytes.get(at)?, bytes.get(at + 1).copied());
    // The middle bits of a ModRM byte: for some opcodes, which instruction it is.
    let which = next.map(|modrm| modrm >> 3 & 7);
    let (is_known, modrm) = match opcode {
        0x0f => match next? {
            0x1f | 0x40..=0x4f | 0x90..=0x9f | 0xaf | 0xb6 | 0xb7 | 0xbe | 0xbf => (true, Some(at + 2)),
            // `movups`, `movaps` and their kin, to memory and back.
            0x10 | 0x11 | 0x28 | 0x29 => (true, Some(at + 2)),
            _ => (false, None),
        },
        0x00..=0x3f => (opcode & 7 <= 5, Some(at + 1).filter(|_| opcode & 7 <= 3)),
        0x63 | 0x80 | 0x81 | 0x83..=0x8b => (true, Some(at + 1)),
        // `lea`, which has no register as its source.
        0x8d => (next? < 0xc0, Some(at + 1)),
        0xc0 | 0xc1 | 0xd0..=0xd3 => (which? != 6, Some(at + 1)),
        0xc6 | 0xc7 => (which? == 0, Some(at + 1)),
        0xf6 | 0xf7 => (which? != 1, Some(at + 1)),
        0xfe | 0xff => (which? <= 1, Some(at + 1)),
        0x90 | 0x98 | 0x99 | 0xa8 | 0xa9 | 0xb0..=0xbf => (true, None),
        _ => (false, None),
    };
    const RELATIVE: u8 = 0b00_000_101;
    let is_relative = |at: &usize| bytes.get(*at).is_some_and(|modrm| modrm & 0b11_000_111 == RELATIVE);
    let displacement = modrm.filter(is_relative).map(|modrm| modrm + 1);
    is_known.then_some(Movable { length: length(bytes)?, displacement })
}

fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x66 | 0x67 | 0xf0 | 0xf2 | 0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x40..=0x4f)
}

/// Of one byte. `next` is the byte that follows, whose middle bits are part of some opcodes.
fn first_map(opcode: u8, next: Option<u8>, prefixes: Prefixes) -> Option<Shape> {
    let Prefixes { operand_size, address_size, wide, .. } = prefixes;
    let full = if operand_size && !wide { 2 } else { 4 };
    Some(match opcode {
        // Arithmetic, in eight rows of six.
        0x00..=0x3f => match opcode & 7 {
            0..=3 => MODRM,
            4 => immediate(1),
            5 => immediate(full),
            _ => return None,
        },
        0x50..=0x5f | 0x6c..=0x6f | 0x90..=0x99 | 0x9b..=0x9f | 0xa4..=0xa7 | 0xaa..=0xaf => NOTHING,
        0x63 | 0x84..=0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => MODRM,
        0x68 | 0xa9 => immediate(full),
        0x69 | 0x81 | 0xc7 => modrm_and(full),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => immediate(1),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => modrm_and(1),
        0xa0..=0xa3 => immediate(if address_size { 4 } else { 8 }),
        0xb8..=0xbf => immediate(if wide { 8 } else { full }),
        0xc2 | 0xca => immediate(2),
        0xc3 | 0xc9 | 0xcb | 0xcc | 0xcf | 0xd7 | 0xec..=0xef | 0xf1 | 0xf4 | 0xf5 | 0xf8..=0xfd => NOTHING,
        0xc8 => immediate(3),
        0xe8 | 0xe9 => immediate(4),
        // `test` has an immediate operand, the others of the group have none.
        0xf6 | 0xf7 => match (next? >> 3 & 7, opcode) {
            (0 | 1, 0xf6) => modrm_and(1),
            (0 | 1, _) => modrm_and(full),
            _ => MODRM,
        },
        _ => return None,
    })
}

/// Of those that begin with `0f`.
fn second_map(opcode: u8, prefixes: Prefixes) -> Option<Shape> {
    Some(match opcode {
        0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x35 | 0x37 | 0x77 | 0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => {
            NOTHING
        }
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f | 0x7a | 0x7b => {
            return None;
        }
        0x80..=0x8f => immediate(4),
        // Control and debug registers: the next byte names two registers, whatever its upper bits.
        0x20..=0x23 => immediate(1),
        // AMD's `extrq` and `insertq`.
        0x78 if prefixes.operand_size || prefixes.repeat => modrm_and(2),
        // Instructions of VIA: the third byte is one more of the opcode.
        0xa6 | 0xa7 => immediate(1),
        0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => modrm_and(1),
        _ => MODRM,
    })
}

/// Of those with a vector prefix, whose opcode is at `at`.
fn vector(map: u8, bytes: &[u8], at: &mut usize) -> Option<Shape> {
    let opcode = *bytes.get(*at)?;
    *at += 1;
    match (map, opcode) {
        (1, 0x77) => Some(NOTHING),
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) | (3, _) => Some(modrm_and(1)),
        (1 | 2 | 5 | 6, _) => Some(MODRM),
        _ => None,
    }
}

/// The length of a ModRM byte and what it brings along.
fn address(bytes: &[u8]) -> Option<usize> {
    let modrm = *bytes.first()?;
    let (mode, register) = (modrm >> 6, modrm & 7);
    let has_sib = mode != 3 && register == 4;
    let base = if has_sib { bytes.get(1)? & 7 } else { register };
    let displacement = match mode {
        0 if base == 5 => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    Some(1 + usize::from(has_sib) + displacement)
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, FlowControl};

    use super::*;

    /// Compares with what the decoder says.
    fn check(bytes: &[u8]) {
        let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
        let is_valid = !instruction.is_invalid();
        if is_valid {
            assert_eq!(length(bytes), Some(instruction.len()), "{bytes:02x?}");
        }
        if let Some(Movable { length, displacement }) = movable(bytes) {
            assert!(is_valid && length == instruction.len(), "{bytes:02x?}");
            assert_eq!(instruction.flow_control(), FlowControl::Next, "{bytes:02x?}");
            let is_relative = instruction.is_ip_rel_memory_operand();
            assert_eq!(displacement.is_some(), is_relative, "{bytes:02x?}");
            if let Some(at) = displacement {
                let distance = i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                let operand = (length as u64).wrapping_add_signed(distance.into());
                assert_eq!(operand, instruction.ip_rel_memory_address(), "{bytes:02x?}");
            }
        }
    }

    #[test]
    fn every_instruction_has_the_length_that_the_decoder_says() {
        let mut seed = 11u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        let beginnings: [&[u8]; 16] = [
            &[],
            &[0x66],
            &[0x48],
            &[0x66, 0x48],
            &[0x48, 0x66],
            &[0x67],
            &[0xf3],
            &[0xf2, 0x41],
            &[0x0f],
            &[0x66, 0x0f],
            &[0x0f, 0x38],
            &[0x66, 0x0f, 0x3a],
            &[0xc5, 0xf8],
            &[0xc4, 0xe2, 0x79],
            &[0xc4, 0xe3, 0xfd],
            &[0x62, 0xf1, 0x7c, 0x48],
        ];
        for beginning in beginnings {
            for opcode in 0..=255 {
                for second in (0..=255).step_by(7) {
                    let mut bytes = beginning.to_vec();
                    bytes.extend([opcode, second]);
                    bytes.resize_with(MAX_INSTRUCTION, &mut random);
                    check(&bytes);
                }
            }
        }
        for _ in 0..300_000 {
            let bytes: [u8; MAX_INSTRUCTION] = std::array::from_fn(|_| random());
            check(&bytes);
        }
    }

    #[test]
    fn what_is_no_instruction_of_the_first_map_has_no_length() {
        for prefix in [&[][..], &[0x48]] {
            for (opcode, modrm) in (0..=255).flat_map(|opcode| (0..=255).map(move |modrm| (opcode, modrm))) {
                // Prefixes, and what begins other maps.
                if is_prefix(opcode) || matches!(opcode, 0x0f | 0x62 | 0x8f | 0xc4 | 0xc5) {
                    continue;
                }
                let mut bytes = prefix.to_vec();
                bytes.extend([opcode, modrm]);
                bytes.resize(MAX_INSTRUCTION, 0x11);
                let is_valid = !Decoder::with_ip(64, &bytes, 0, DecoderOptions::NONE).decode().is_invalid();
                assert_eq!(length(&bytes).is_some(), is_valid, "{bytes:02x?}");
            }
        }
    }

    #[test]
    fn what_follows_calls_in_libraries_can_be_moved() {
        for bytes in [
            // cmp rax, -4096; cmp eax, -4095; cmp rax, -1
            &[0x48, 0x3d, 0, 0xf0, 0xff, 0xff][..],
            &[0x3d, 1, 0xf0, 0xff, 0xff],
            &[0x48, 0x83, 0xf8, 0xff],
            // test eax, eax; mov rdi, rax; mov [rsp + 8], rax; movsxd rax, eax
            &[0x85, 0xc0],
            &[0x48, 0x89, 0xc7],
            &[0x48, 0x89, 0x44, 0x24, 8],
            &[0x48, 0x63, 0xc0],
            // sete al; movzx eax, al; lea rdx, [rax + rax]
            &[0x0f, 0x94, 0xc0],
            &[0x0f, 0xb6, 0xc0],
            &[0x48, 0x8d, 0x14, 0],
            // rdgsbase rbx
            &[0xf3, 0x48, 0x0f, 0xae, 0xcb],
        ] {
            check(bytes);
            let expected = Movable { length: bytes.len(), displacement: None };
            assert_eq!(movable(bytes), Some(expected), "{bytes:02x?}");
        }
    }

    #[test]
    fn operands_that_are_relative_have_their_place() {
        for (bytes, at) in [
            // mov [rip + 1], eax; cmp dword ptr [rip + 1], 12; lea rax, [rip + 1]; movzx eax, word ptr [rip + 1]
            (&[0x89, 5, 1, 0, 0, 0][..], 2),
            (&[0x83, 0x3d, 1, 0, 0, 0, 12], 2),
            (&[0x48, 0x8d, 5, 1, 0, 0, 0], 3),
            (&[0x0f, 0xb7, 5, 1, 0, 0, 0], 3),
        ] {
            check(bytes);
            let expected = Movable { length: bytes.len(), displacement: Some(at) };
            assert_eq!(movable(bytes), Some(expected), "{bytes:02x?}");
        }
    }

    #[test]
    fn branches_cannot_be_moved() {
        for bytes in [
            // ret; jmp; ja; call; int3; syscall; ud2; jmp [rax]; lock cmpxchg [rdx], ecx; xbegin
            &[0xc3][..],
            &[0xeb, 1],
            &[0x77, 1],
            &[0xe8, 0, 0, 0, 0],
            &[0xcc],
            &[0x0f, 0x05],
            &[0x0f, 0x0b],
            &[0xff, 0x20],
            &[0xf0, 0x0f, 0xb1, 0x0a],
            &[0xc7, 0xf8, 0, 0, 0, 0],
        ] {
            assert_eq!(movable(bytes), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_not_all_there_has_no_length() {
        for whole in [
            &[0xb8, 1, 0, 0, 0][..],
            &[0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x0f, 0xa2],
            &[0x48, 0x8b, 0x84, 0x24, 1, 2, 3, 4],
            &[0x66, 0x0f, 0x3a, 0x0f, 0xc1, 8],
            &[0xf0, 0x0f, 0xb1, 0x0a],
            &[0xf0, 0x48, 0xff, 0x07],
        ] {
            assert_eq!(length(whole), Some(whole.len()), "{whole:02x?}");
            for end in 0..whole.len() {
                assert_eq!(length(&whole[..end]), None, "{:02x?}", &whole[..end]);
                assert_eq!(movable(&whole[..end]), None, "{:02x?}", &whole[..end]);
            }
        }
    }
}
