//! `set_mempolicy(2)`, `get_mempolicy(2)`, `mbind(2)`: the sandbox shows one node.

use usk_abi::Errno;
use usk_abi::mm::PAGE_SIZE;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(
        237,
        "mbind",
        &[Pointer, Uint, Int, Pointer, Uint, Flags],
        sys_mbind,
        "checked against the one node and not remembered",
    ),
    Row::partial(
        238,
        "set_mempolicy",
        &[Int, Pointer, Uint],
        sys_set_mempolicy,
        "remembered; there is one node to take memory from",
    ),
    Row::partial(
        239,
        "get_mempolicy",
        &[Pointer, Pointer, Uint, Pointer, Flags],
        sys_get_mempolicy,
        "addresses have the thread's policy",
    ),
];

const MPOL_DEFAULT: u32 = 0;
const MPOL_PREFERRED: u32 = 1;
const MPOL_BIND: u32 = 2;
const MPOL_INTERLEAVE: u32 = 3;
const MPOL_LOCAL: u32 = 4;
const MPOL_PREFERRED_MANY: u32 = 5;
const MPOL_WEIGHTED_INTERLEAVE: u32 = 6;
/// `MPOL_F_STATIC_NODES`, `MPOL_F_RELATIVE_NODES`, `MPOL_F_NUMA_BALANCING`
const MODE_FLAGS: u32 = 1 << 15 | 1 << 14 | 1 << 13;
const MPOL_F_NODE: u32 = 1;
const MPOL_F_ADDR: u32 = 2;
const MPOL_F_MEMS_ALLOWED: u32 = 4;
/// `MPOL_MF_STRICT`, `MPOL_MF_MOVE`, `MPOL_MF_MOVE_ALL`
const BIND_FLAGS: u32 = 7;
/// Bits of a node mask that are read at most: a page of them, as on Linux.
const MAX_NODE_BITS: u64 = 8 * PAGE_SIZE;
/// The mask of the one node.
const NODE_ZERO: u64 = 1;

/// Reads a mask of `bits - 1` nodes. `EINVAL` if it names nodes that are not there.
fn read_nodes(current: &Current, pointer: UserPtr<u64>, bits: u64) -> Result<u64, Errno> {
    let bits = bits.saturating_sub(1);
    if pointer.is_null() || bits == 0 {
        return Ok(0);
    }
    if bits > MAX_NODE_BITS {
        return Err(Errno::EINVAL);
    }
    let words = usize::try_from(bits.div_ceil(64)).map_err(|_| Errno::EINVAL)?;
    let words = pointer.read_array(current.space(), words)?;
    let first = words.first().copied().unwrap_or(0);
    let first = if bits < 64 { first & ((1 << bits) - 1) } else { first };
    if first & !NODE_ZERO != 0 || words.iter().skip(1).any(|word| *word != 0) {
        return Err(Errno::EINVAL);
    }
    Ok(first)
}

/// The mode and its nodes, if they go together (`mpol_new`).
fn policy(current: &Current, mode: u32, pointer: UserPtr<u64>, bits: u64) -> Result<(u32, u64), Errno> {
    if mode & MODE_FLAGS & !(1 << 13) == 1 << 15 | 1 << 14 {
        return Err(Errno::EINVAL);
    }
    let nodes = read_nodes(current, pointer, bits)?;
    let is_valid = match mode & !MODE_FLAGS {
        MPOL_DEFAULT | MPOL_LOCAL => nodes == 0,
        MPOL_PREFERRED => true,
        MPOL_BIND | MPOL_INTERLEAVE | MPOL_PREFERRED_MANY | MPOL_WEIGHTED_INTERLEAVE => nodes != 0,
        _ => false,
    };
    if is_valid { Ok((mode, nodes)) } else { Err(Errno::EINVAL) }
}

fn sys_set_mempolicy(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let policy = policy(current, arguments.u32(0), arguments.pointer(1), arguments.u64(2))?;
    *current.task.memory_policy.lock() = policy;
    Ok(0)
}

fn sys_mbind(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (start, length, flags) = (arguments.u64(0), arguments.u64(1), arguments.u32(5));
    if flags & !BIND_FLAGS != 0 || !start.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let end = length
        .checked_next_multiple_of(PAGE_SIZE)
        .and_then(|length| start.checked_add(length))
        .ok_or(Errno::EINVAL)?;
    policy(current, arguments.u32(2), arguments.pointer(3), arguments.u64(4))?;
    if end > start && !current.task.mm().is_mapped(start, end) {
        return Err(Errno::EFAULT.into());
    }
    Ok(0)
}

fn sys_get_mempolicy(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (mode, mask) = (arguments.pointer::<u32>(0), arguments.pointer::<u64>(1));
    let (bits, address, flags) = (arguments.u64(2), arguments.u64(3), arguments.u32(4));
    if flags & !(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let allowed = flags & MPOL_F_MEMS_ALLOWED != 0;
    if allowed && flags & (MPOL_F_NODE | MPOL_F_ADDR) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let by_address = flags & MPOL_F_ADDR != 0;
    if !by_address && address != 0 {
        return Err(Errno::EINVAL.into());
    }
    if by_address && !current.task.mm().is_mapped(address, address.saturating_add(1)) {
        return Err(Errno::EFAULT.into());
    }
    let (policy, nodes) = *current.task.memory_policy.lock();
    let shown = match (allowed, flags & MPOL_F_NODE != 0) {
        (true, _) => 0,
        (_, false) => policy,
        // The node that memory at the address is on, or that the next interleaved page comes from.
        (_, true) if by_address || policy & !MODE_FLAGS == MPOL_INTERLEAVE => 0,
        _ => return Err(Errno::EINVAL.into()),
    };
    if !mode.is_null() {
        mode.write(current.space(), &shown)?;
    }
    if !mask.is_null() {
        let words = usize::try_from(bits.min(MAX_NODE_BITS).div_ceil(64)).map_err(|_| Errno::EINVAL)?;
        let mut shown = vec![0; words];
        if let Some(first) = shown.first_mut() {
            *first = if allowed { NODE_ZERO } else { nodes };
        }
        mask.write_array(current.space(), &shown)?;
    }
    Ok(0)
}
