//! Where things go in an address space: the stack, the mappings, the program and its heap, each moved by a random distance as
//! Linux does (`arch/x86/mm/mmap.c`, `fs/binfmt_elf.c`).

use usk_abi::Errno;
use usk_abi::mm::PAGE_SIZE;
use usk_platform::{Layout, host};

/// 28 bits of pages: `mmap_rnd_bits` on x86-64.
const MAP_RANDOM_BITS: u32 = 28;
/// 22 bits of pages: `STACK_RND_MASK`.
const STACK_RANDOM_BITS: u32 = 22;
/// Linux's `stack_guard_gap`.
const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;
/// Least room between the top of the address space and the mappings.
const LEAST_STACK_GAP: u64 = 128 << 20;
/// How far the heap may start from the program's end.
const BRK_RANDOM_RANGE: u64 = 1 << 30;

/// Places for one address space, chosen when its image is loaded.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Mappings are placed downwards from here.
    pub mmap_base: u64,
    /// First address above the stack.
    pub stack_top: u64,
    /// Where a position-independent program is loaded.
    pub program_base: u64,
    /// How far the heap starts from the program's end, in bytes.
    pub brk_gap: u64,
    /// How far below the strings the stack pointer starts, in bytes.
    pub stack_jitter: u64,
}

impl Placement {
    /// Places within `layout`, whose limits are page aligned, for a program whose stack may grow to `stack_limit` bytes (`RLIMIT_STACK`). `randomize` is
    /// false under `personality(ADDR_NO_RANDOMIZE)`.
    pub fn new(layout: &Layout, stack_limit: u64, randomize: bool) -> Result<Self, Errno> {
        let random = if randomize { Random::new()? } else { Random::default() };
        let guest_end = layout.guest_end;
        let pad = (PAGE_SIZE << STACK_RANDOM_BITS) + STACK_GUARD_GAP;
        let gap = stack_limit.checked_add(pad).unwrap_or(stack_limit);
        let gap = gap.clamp(LEAST_STACK_GAP, guest_end / 6 * 5);
        let map_random = random.pages(random.map, MAP_RANDOM_BITS);
        let base = guest_end.saturating_sub(gap).saturating_sub(map_random);
        let program_base = guest_end / 3 * 2 + random.pages(random.program, MAP_RANDOM_BITS);
        Ok(Placement {
            mmap_base: base & !(PAGE_SIZE - 1),
            stack_top: guest_end - random.pages(random.stack, STACK_RANDOM_BITS),
            program_base: program_base & !(PAGE_SIZE - 1),
            brk_gap: (random.brk % BRK_RANDOM_RANGE) & !(PAGE_SIZE - 1),
            stack_jitter: random.jitter % 8192,
        })
    }
}

#[derive(Default)]
struct Random {
    map: u64,
    stack: u64,
    program: u64,
    brk: u64,
    jitter: u64,
}

impl Random {
    fn new() -> Result<Self, Errno> {
        let mut bytes = [0u8; 40];
        host::fill_random(&mut bytes)?;
        let mut words = bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk));
        let mut next = || words.next().unwrap_or_default();
        Ok(Random { map: next(), stack: next(), program: next(), brk: next(), jitter: next() })
    }

    /// A distance of less than `2^bits` pages.
    fn pages(&self, value: u64, bits: u32) -> u64 {
        (value & ((1 << bits) - 1)) * PAGE_SIZE
    }
}
