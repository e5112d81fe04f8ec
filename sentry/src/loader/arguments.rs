//! The strings that a new program gets, and how many they may be.

use usk_abi::Errno;
use usk_platform::AddressSpace;

use crate::{UserPtr, read_c_string};

/// `MAX_ARG_STRLEN`: most bytes of one string, its NUL included.
pub const MAX_ARGUMENT_LENGTH: usize = 32 * 4096;
/// `ARG_MAX`: bytes of strings and pointers that are always permitted.
const ALWAYS_PERMITTED: u64 = 128 * 1024;
/// Three quarters of `_STK_LIM`: what no stack limit raises it above.
const MOST_PERMITTED: u64 = 6 << 20;
/// Most strings, so that the pointers alone stay within [`MOST_PERMITTED`].
const MAX_STRINGS: usize = (MOST_PERMITTED / 8) as usize;

/// Arguments and environment of a new program, without their NULs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `argv`
    pub arguments: Vec<Vec<u8>>,
    /// `envp`
    pub environment: Vec<Vec<u8>>,
}

impl Arguments {
    /// Copies both arrays of `execve(2)` in. A null array counts as empty. `stack_limit` is `RLIMIT_STACK` in bytes.
    /// `E2BIG` if they are too much, `EFAULT` if they cannot be read.
    pub fn read(
        space: &dyn AddressSpace,
        argv: UserPtr<u64>,
        envp: UserPtr<u64>,
        stack_limit: u64,
    ) -> Result<Self, Errno> {
        let mut left = Self::permitted(stack_limit);
        let arguments = read_strings(space, argv, &mut left)?;
        let environment = read_strings(space, envp, &mut left)?;
        Ok(Arguments { arguments, environment })
    }

    /// `E2BIG` if the strings, their pointers and `path` are more than `stack_limit` permits.
    pub fn check(&self, path: &[u8], stack_limit: u64) -> Result<(), Errno> {
        let strings = self.arguments.iter().chain(&self.environment);
        if strings.clone().any(|string| string.len() >= MAX_ARGUMENT_LENGTH) {
            return Err(Errno::E2BIG);
        }
        let pointers = (self.arguments.len().max(1) + self.environment.len()) as u64 * 8;
        let bytes: u64 = strings.map(|string| string.len() as u64 + 1).sum::<u64>() + path.len() as u64 + 1;
        if pointers + bytes > Self::permitted(stack_limit) { Err(Errno::E2BIG) } else { Ok(()) }
    }

    fn permitted(stack_limit: u64) -> u64 {
        (stack_limit / 4).clamp(ALWAYS_PERMITTED, MOST_PERMITTED)
    }
}

/// The rest of a page of guest memory, read once: strings mostly lie one after the other.
struct Near<'a> {
    space: &'a dyn AddressSpace,
    start: u64,
    bytes: Vec<u8>,
}

impl Near<'_> {
    /// The string at an address if it ends on the page where it begins.
    fn read(&mut self, address: u64) -> Option<Vec<u8>> {
        const PAGE: u64 = 4096;
        let is_here = address.checked_sub(self.start).is_some_and(|at| at < self.bytes.len() as u64);
        if !is_here {
            self.bytes.resize((PAGE - address % PAGE) as usize, 0);
            let count = self.space.read(address, &mut self.bytes);
            self.bytes.truncate(count);
            self.start = address;
        }
        let rest = self.bytes.get(usize::try_from(address.checked_sub(self.start)?).ok()?..)?;
        rest.iter().position(|&byte| byte == 0).map(|end| rest[..end].to_vec())
    }
}

fn read_strings(
    space: &dyn AddressSpace,
    array: UserPtr<u64>,
    left: &mut u64,
) -> Result<Vec<Vec<u8>>, Errno> {
    const CHUNK: usize = 64;
    let mut strings = Vec::new();
    let mut near = Near { space, start: 0, bytes: Vec::new() };
    if array.is_null() {
        return Ok(strings);
    }
    loop {
        // As many pointers as there may be before the end of the page, so that the copy does not run past the array.
        let first = array.element(strings.len())?;
        let in_page = (4096 - (first.address() % 4096) as usize) / 8;
        for pointer in first.read_array(space, in_page.clamp(1, CHUNK))? {
            if pointer == 0 {
                return Ok(strings);
            }
            if strings.len() >= MAX_STRINGS {
                return Err(Errno::E2BIG);
            }
            let string = match near.read(pointer) {
                Some(string) => string,
                None => read_c_string(space, pointer, MAX_ARGUMENT_LENGTH, Errno::E2BIG)?,
            };
            *left = left.checked_sub(string.len() as u64 + 1 + 8).ok_or(Errno::E2BIG)?;
            strings.push(string);
        }
    }
}
