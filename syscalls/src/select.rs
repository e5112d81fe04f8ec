//! `select(2)`, `pselect6(2)`.

use std::time::Duration;

use usk_abi::signal::SignalSet;
use usk_abi::time::Timeval;
use usk_abi::{Errno, PollEvents};
use usk_sentry::file::poll::{self, Polled};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::{SysResult, UserPtr};

use crate::copy::read_signal_set;
use crate::descriptor::file_of;
use crate::poll::{read_deadline, write_remaining};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(23, "select", &[Int, Pointer, Pointer, Pointer, Pointer], sys_select),
    Row::full(270, "pselect6", &[Int, Pointer, Pointer, Pointer, Pointer, Pointer], sys_pselect6),
];

const WORD_BITS: usize = u64::BITS as usize;
const MICROSECONDS: i64 = 1_000_000;

const READ_EVENTS: PollEvents = PollEvents::IN
    .union(PollEvents::RDNORM)
    .union(PollEvents::RDBAND)
    .union(PollEvents::HUP)
    .union(PollEvents::ERR);
const WRITE_EVENTS: PollEvents =
    PollEvents::OUT.union(PollEvents::WRNORM).union(PollEvents::WRBAND).union(PollEvents::ERR);
/// What each of the three sets waits for, in their order.
const EVENTS: [PollEvents; 3] = [READ_EVENTS, WRITE_EVENTS, PollEvents::PRI];

fn sys_select(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let timeout = arguments.pointer::<Timeval>(4);
    let deadline = if timeout.is_null() {
        None
    } else {
        let time = timeout.read(current.space())?;
        // Microseconds above a million carry over; that is select's own rule.
        let seconds = time.seconds.saturating_add(time.microseconds / MICROSECONDS);
        let microseconds = time.microseconds % MICROSECONDS;
        let (Ok(seconds), Ok(microseconds)) = (u64::try_from(seconds), u32::try_from(microseconds)) else {
            return Err(Errno::EINVAL.into());
        };
        Some(Deadline::after(Duration::new(seconds, microseconds * 1000)))
    };
    let result = select(current, arguments, deadline);
    if let Some(deadline) = deadline {
        let nanoseconds = u64::try_from(deadline.remaining().as_nanos()).unwrap_or(u64::MAX);
        let _ = current.copy_out(timeout, &Timeval::from_nanoseconds(nanoseconds));
    }
    result
}

fn sys_pselect6(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let deadline = read_deadline(current, arguments.pointer(4))?;
    let mask = match arguments.pointer::<[u64; 2]>(5) {
        packed if packed.is_null() => None,
        packed => {
            let [set, size] = packed.read(current.space())?;
            read_signal_set(current, UserPtr::<SignalSet>::new(set), usize::try_from(size).unwrap_or(0))?
        }
    };
    let result = current.with_signal_mask(mask, |current| select(current, arguments, deadline));
    write_remaining(current, arguments.pointer(4), deadline);
    result
}

fn select(current: &mut Current, arguments: SyscallArguments, deadline: Option<Deadline>) -> SysResult {
    let count = usize::try_from(arguments.i32(0)).map_err(|_| Errno::EINVAL)?;
    let count = count.min(current.task.files().size());
    let words = count.div_ceil(WORD_BITS);
    let sets = [1, 2, 3].map(|index| arguments.pointer::<u64>(index));
    let mut wanted = [const { Vec::new() }; 3];
    for (set, wanted) in sets.iter().zip(&mut wanted) {
        *wanted = match set.is_null() {
            true => vec![0; words],
            false => set.read_array(current.space(), words)?,
        };
    }
    let is_in = |set: &[u64], fd: usize| set[fd / WORD_BITS] & (1 << (fd % WORD_BITS)) != 0;
    let mut descriptors = Vec::new();
    let mut polled = Vec::new();
    for fd in 0..count {
        let mut interest = PollEvents::empty();
        for (set, events) in wanted.iter().zip(EVENTS) {
            if is_in(set, fd) {
                interest |= events;
            }
        }
        if !interest.is_empty() {
            polled.push(Polled::new(Some(file_of(current, fd as i32)?), interest));
            descriptors.push(fd);
        }
    }
    poll::wait(current, &mut polled, deadline)?;
    let mut found = [const { Vec::new() }; 3];
    found.fill_with(|| vec![0u64; words]);
    let mut total = 0;
    for (polled, fd) in polled.iter().zip(descriptors) {
        for ((set, found), events) in wanted.iter().zip(&mut found).zip(EVENTS) {
            if is_in(set, fd) && polled.ready.intersects(events) {
                found[fd / WORD_BITS] |= 1 << (fd % WORD_BITS);
                total += 1;
            }
        }
    }
    for (set, found) in sets.iter().zip(&found) {
        if !set.is_null() {
            current.copy_out_array(*set, found)?;
        }
    }
    Ok(total)
}
