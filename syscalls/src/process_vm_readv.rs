//! `process_vm_readv(2)`, `process_vm_writev(2)`: copies between the memory of two processes of the sandbox.

use std::sync::Arc;

use usk_abi::Errno;
use usk_platform::AddressSpace;
use usk_sentry::mm::ProgramMemory;
use usk_sentry::task::{AccessAs, Current, SyscallArguments, Task, may_access};
use usk_sentry::{IoVec, MAX_TRANSFER, SysResult, UserPtr};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(310, "process_vm_readv", &[Int, Pointer, Uint, Pointer, Uint, Flags], sys_process_vm_readv),
    Row::full(311, "process_vm_writev", &[Int, Pointer, Uint, Pointer, Uint, Flags], sys_process_vm_writev),
];

/// `UIO_MAXIOV`
const MAX_RANGES: u64 = 1024;
/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;

fn sys_process_vm_readv(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    transfer(current, arguments, false)
}

fn sys_process_vm_writev(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    transfer(current, arguments, true)
}

fn transfer(current: &mut Current, arguments: SyscallArguments, writes: bool) -> SysResult {
    if arguments.u64(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut own = read_ranges(current.space(), arguments.pointer(1), arguments.u64(2))?;
    cut(&mut own, MAX_TRANSFER);
    let theirs = read_ranges(current.space(), arguments.pointer(3), arguments.u64(4))?;
    if own.is_empty() || theirs.is_empty() {
        return Ok(0);
    }
    let task = current.task.kernel.find_task(arguments.i32(0))?;
    // Taken before the question, which an execution under way would make one about another program.
    let their_mm = task.mm().of_program();
    if !may_access(&current.task.credentials(), &current.task.group, &task, AccessAs::Real) {
        return Err(Errno::EPERM.into());
    }
    let own = Side { ranges: &own, memory: Memory::Own(current.space()) };
    let theirs = Side { ranges: &theirs, memory: Memory::Theirs(&their_mm) };
    let copied = if writes { copy(&current.task, own, theirs) } else { copy(&current.task, theirs, own) };
    if copied == 0 { Err(Errno::EFAULT.into()) } else { Ok(copied) }
}

/// Whose memory.
enum Memory<'a> {
    Own(&'a dyn AddressSpace),
    /// Gone as soon as its process executes another program.
    Theirs(&'a ProgramMemory),
}

impl Memory<'_> {
    /// How many bytes were there to read.
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        match self {
            Memory::Own(space) => space.read(address, buffer),
            Memory::Theirs(memory) => memory.with(|mm| mm.space.read(address, buffer)).unwrap_or(0),
        }
    }

    /// How many bytes could be written.
    fn write(&self, address: u64, bytes: &[u8]) -> usize {
        match self {
            Memory::Own(space) => space.write(address, bytes),
            Memory::Theirs(memory) => memory.with(|mm| mm.space.write(address, bytes)).unwrap_or(0),
        }
    }
}

/// One of the two sides of a copy.
struct Side<'a> {
    ranges: &'a [IoVec],
    memory: Memory<'a>,
}

/// The ranges that are not empty.
fn read_ranges(space: &dyn AddressSpace, array: UserPtr<[u64; 2]>, count: u64) -> Result<Vec<IoVec>, Errno> {
    if count > MAX_RANGES {
        return Err(Errno::EINVAL);
    }
    let mut ranges = Vec::new();
    for [address, length] in array.read_array(space, count as usize)? {
        let length = usize::try_from(length).ok().filter(|&length| length <= isize::MAX as usize);
        let length = length.ok_or(Errno::EINVAL)?;
        if length > 0 {
            ranges.push(IoVec { address, length });
        }
    }
    Ok(ranges)
}

/// Cuts ranges to `left` bytes in total.
fn cut(ranges: &mut Vec<IoVec>, mut left: usize) {
    for range in &mut *ranges {
        range.length = range.length.min(left);
        left -= range.length;
    }
    ranges.retain(|range| range.length > 0);
}

/// Copies as far as both sides permit, unless the caller is killed meanwhile; returns the count of bytes.
fn copy(caller: &Arc<Task>, from: Side<'_>, to: Side<'_>) -> u64 {
    let mut sources = Cursor::new(from.ranges);
    let mut destinations = Cursor::new(to.ranges);
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    while let (Some((source, from_length)), Some((destination, to_length))) =
        (sources.current(), destinations.current())
    {
        let wanted = from_length.min(to_length).min(CHUNK);
        let read = from.memory.read(source, &mut buffer[..wanted]);
        let written = to.memory.write(destination, &buffer[..read]);
        total += written as u64;
        if written < wanted || caller.is_to_end() {
            break;
        }
        sources.advance(written);
        destinations.advance(written);
    }
    total
}

/// A place in a list of ranges.
struct Cursor<'a> {
    ranges: &'a [IoVec],
    within: usize,
}

impl<'a> Cursor<'a> {
    fn new(ranges: &'a [IoVec]) -> Self {
        Cursor { ranges, within: 0 }
    }

    /// Address and length of what is left of the current range.
    fn current(&self) -> Option<(u64, usize)> {
        let range = self.ranges.first()?;
        Some((range.address.wrapping_add(self.within as u64), range.length - self.within))
    }

    fn advance(&mut self, count: usize) {
        self.within += count;
        if self.ranges.first().is_some_and(|range| self.within == range.length) {
            self.ranges = &self.ranges[1..];
            self.within = 0;
        }
    }
}
