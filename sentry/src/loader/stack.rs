//! What a new program finds on its stack (`create_elf_tables` in `fs/binfmt_elf.c`): from the stack pointer upwards the
//! count of arguments, the pointers to them, the pointers to the environment, the auxiliary vector, then the strings.

use usk_abi::Errno;
use usk_abi::auxv::{AT_EXECFN, AT_NULL, AT_PLATFORM, AT_RANDOM};

use crate::loader::arguments::Arguments;

/// `ELF_PLATFORM`
const PLATFORM: &[u8] = b"x86_64\0";

/// The contents of a new stack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InitialStack {
    /// The first stack pointer: where `bytes` go. A multiple of 16.
    pub(crate) stack_pointer: u64,
    /// From the stack pointer to the top of the stack.
    pub(crate) bytes: Vec<u8>,
    /// The argument strings: first address, and first address after.
    pub(crate) arguments: (u64, u64),
    /// The environment strings: first address, and first address after.
    pub(crate) environment: (u64, u64),
    /// The auxiliary vector, as `/proc/PID/auxv` shows it.
    pub(crate) auxiliary_vector: Vec<u8>,
}

impl InitialStack {
    /// Lays out the stack that ends at `top`. `entries` are the auxiliary vector without the entries that point into the
    /// stack itself. `jitter` moves the pointers down from the strings by up to that many bytes. `E2BIG` if it does not fit
    /// below `top`.
    pub(crate) fn build(
        top: u64,
        arguments: &Arguments,
        path: &[u8],
        random: [u8; 16],
        entries: &[(u64, u64)],
        jitter: u64,
    ) -> Result<InitialStack, Errno> {
        let length =
            |strings: &[Vec<u8>]| -> u64 { strings.iter().map(|string| string.len() as u64 + 1).sum() };
        let below = |from: u64, bytes: u64| from.checked_sub(bytes).ok_or(Errno::E2BIG);

        // The last word of the stack is zero, as on Linux.
        let path_at = below(top, 8 + path.len() as u64 + 1)?;
        let environment_at = below(path_at, length(&arguments.environment))?;
        let arguments_at = below(environment_at, length(&arguments.arguments))?;
        let platform_at = below(below(arguments_at, jitter)? & !15, PLATFORM.len() as u64)?;
        let random_at = below(platform_at, 16)?;

        let mut vector: Vec<(u64, u64)> = entries.to_vec();
        vector.extend([
            (AT_RANDOM, random_at),
            (AT_EXECFN, path_at),
            (AT_PLATFORM, platform_at),
            (AT_NULL, 0),
        ]);
        let words = 1 + arguments.arguments.len() + 1 + arguments.environment.len() + 1 + vector.len() * 2;
        let stack_pointer = below(random_at, words as u64 * 8)? & !15;

        let mut bytes = Vec::with_capacity((top - stack_pointer) as usize);
        let mut word = |value: u64| bytes.extend_from_slice(&value.to_le_bytes());
        word(arguments.arguments.len() as u64);
        let mut at = arguments_at;
        for strings in [&arguments.arguments, &arguments.environment] {
            for string in strings {
                word(at);
                at += string.len() as u64 + 1;
            }
            word(0);
        }
        let auxiliary_vector: Vec<u8> =
            vector.iter().flat_map(|&(kind, value)| [kind, value]).flat_map(u64::to_le_bytes).collect();
        bytes.extend_from_slice(&auxiliary_vector);
        bytes.resize((random_at - stack_pointer) as usize, 0);
        bytes.extend_from_slice(&random);
        bytes.extend_from_slice(PLATFORM);
        bytes.resize((arguments_at - stack_pointer) as usize, 0);
        for string in arguments.arguments.iter().chain(&arguments.environment) {
            bytes.extend_from_slice(string);
            bytes.push(0);
        }
        bytes.extend_from_slice(path);
        bytes.resize((top - stack_pointer) as usize, 0);
        Ok(InitialStack {
            stack_pointer,
            bytes,
            arguments: (arguments_at, environment_at),
            environment: (environment_at, path_at),
            auxiliary_vector,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(stack: &InitialStack, address: u64) -> u64 {
        let at = (address - stack.stack_pointer) as usize;
        u64::from_le_bytes(stack.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    fn string(stack: &InitialStack, address: u64) -> &[u8] {
        let rest = &stack.bytes[(address - stack.stack_pointer) as usize..];
        &rest[..rest.iter().position(|&byte| byte == 0).expect("a NUL")]
    }

    #[test]
    fn everything_is_where_a_program_looks_for_it() {
        let arguments = Arguments {
            arguments: vec![b"prog".to_vec(), b"".to_vec(), b"two".to_vec()],
            environment: vec![b"A=1".to_vec(), b"B=22".to_vec()],
        };
        for jitter in [0, 1, 7, 4000, 8191] {
            let top = 0x7fff_ffff_f000;
            let stack = InitialStack::build(top, &arguments, b"/bin/prog", [7; 16], &[(6, 4096)], jitter)
                .expect("room");
            assert_eq!(stack.stack_pointer % 16, 0);
            assert_eq!(stack.stack_pointer + stack.bytes.len() as u64, top);
            let sp = stack.stack_pointer;
            assert_eq!(word(&stack, sp), 3);
            assert_eq!(string(&stack, word(&stack, sp + 8)), b"prog");
            assert_eq!(string(&stack, word(&stack, sp + 16)), b"");
            assert_eq!(string(&stack, word(&stack, sp + 24)), b"two");
            assert_eq!(word(&stack, sp + 32), 0);
            assert_eq!(string(&stack, word(&stack, sp + 40)), b"A=1");
            assert_eq!(string(&stack, word(&stack, sp + 48)), b"B=22");
            assert_eq!(word(&stack, sp + 56), 0);
            assert_eq!((word(&stack, sp + 64), word(&stack, sp + 72)), (6, 4096));
            assert_eq!(word(&stack, sp + 80), AT_RANDOM);
            let random = (word(&stack, sp + 88) - sp) as usize;
            assert_eq!(stack.bytes[random..random + 16], [7; 16]);
            assert_eq!(word(&stack, sp + 96), AT_EXECFN);
            assert_eq!(string(&stack, word(&stack, sp + 104)), b"/bin/prog");
            assert_eq!(word(&stack, sp + 112), AT_PLATFORM);
            assert_eq!(string(&stack, word(&stack, sp + 120)), b"x86_64");
            assert_eq!((word(&stack, sp + 128), word(&stack, sp + 136)), (AT_NULL, 0));
            assert_eq!(word(&stack, top - 8), 0);
            assert_eq!(stack.arguments.1 - stack.arguments.0, 5 + 1 + 4);
            assert_eq!(stack.environment.1 - stack.environment.0, 4 + 5);
            assert_eq!(stack.auxiliary_vector.len(), 5 * 16);
        }
    }

    #[test]
    fn a_stack_that_does_not_fit_is_too_big() {
        let arguments = Arguments { arguments: vec![vec![b'x'; 9000]], environment: vec![] };
        assert_eq!(InitialStack::build(8192, &arguments, b"x", [0; 16], &[], 0), Err(Errno::E2BIG));
    }
}
