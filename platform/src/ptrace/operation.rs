//! Memory operations as host calls: checks them and carries them out in a tracee.

use std::os::fd::{AsFd, BorrowedFd};

use usk_abi::Errno;

use crate::interface::{MapFlags, MemoryOp, Protection};

use super::filter::RECEIVED;
use super::geography::{GUEST_END, PAGE};
use super::passing::Mailbox;
use super::platform::Shared;
use super::scratch::Scratch;
use super::tracee::Tracee;

/// Carries out operations in a tracee, in order. Fails as [`GuestThread::apply`](crate::GuestThread::apply) does.
pub(super) fn carry_out(
    operations: &[MemoryOp<'_>],
    tracee: &mut Tracee,
    scratch: &Scratch<'_>,
    shared: &Shared,
) -> Result<(), (usize, Errno)> {
    for (index, operation) in operations.iter().enumerate() {
        Step::new(operation, shared.layout.guest_start)
            .and_then(|step| step.carry_out(tracee, scratch, &shared.mailbox))
            .map_err(|error| (index, error))?;
    }
    Ok(())
}

/// A checked operation: a host call, and the file that it maps if any.
struct Step<'a> {
    number: libc::c_long,
    arguments: [u64; 6],
    file: Option<BorrowedFd<'a>>,
}

impl<'a> Step<'a> {
    /// Translates an operation. `EINVAL` if it leaves the guest's range or asks for something that is not offered.
    fn new(operation: &MemoryOp<'a>, guest_start: u64) -> Result<Self, Errno> {
        let guest = |address: u64, length: u64| {
            let is_aligned = address.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && length > 0;
            let end = address.checked_add(length);
            let is_inside = address >= guest_start && end.is_some_and(|end| end <= GUEST_END);
            if is_aligned && is_inside { Ok(()) } else { Err(Errno::EINVAL) }
        };
        let call = |number, arguments| Ok(Step { number, arguments, file: None });
        match *operation {
            MemoryOp::MapAnonymous { address, length, protection, flags } => {
                guest(address, length)?;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | map_flags(flags);
                call(libc::SYS_mmap, [address, length, bits(protection), flags as u64, u64::MAX, 0])
            }
            MemoryOp::MapFile { address, length, protection, shared, flags, file, offset } => {
                guest(address, length)?;
                if !offset.is_multiple_of(PAGE) {
                    return Err(Errno::EINVAL);
                }
                let sharing = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
                let flags = (sharing | map_flags(flags)) as u64;
                let arguments = [address, length, bits(protection), flags, RECEIVED, offset];
                Ok(Step { number: libc::SYS_mmap, arguments, file: Some(file.as_fd()) })
            }
            MemoryOp::Unmap { address, length } => {
                guest(address, length)?;
                call(libc::SYS_munmap, [address, length, 0, 0, 0, 0])
            }
            MemoryOp::Protect { address, length, protection } => {
                guest(address, length)?;
                call(libc::SYS_mprotect, [address, length, bits(protection), 0, 0, 0])
            }
            MemoryOp::Remap { address, length, new_address, new_length, keep_old } => {
                guest(address, length)?;
                guest(new_address, new_length)?;
                let flags = match (address == new_address, keep_old) {
                    (true, false) => 0,
                    (true, true) => return Err(Errno::EINVAL),
                    (false, false) => libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                    (false, true) => libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP,
                };
                // Without MREMAP_FIXED the host ignores the fifth argument; the filter wants an address there.
                call(libc::SYS_mremap, [address, length, new_length, flags as u64, new_address, 0])
            }
            MemoryOp::Advise { address, length, advice } => {
                guest(address, length)?;
                if !is_offered(advice) {
                    return Err(Errno::EINVAL);
                }
                call(libc::SYS_madvise, [address, length, advice as u64, 0, 0, 0])
            }
            MemoryOp::UnmapAll => call(libc::SYS_munmap, [guest_start, GUEST_END - guest_start, 0, 0, 0, 0]),
        }
    }

    /// Carries it out in a tracee. `ESRCH` if the process has ended.
    pub(super) fn carry_out(
        &self,
        tracee: &mut Tracee,
        scratch: &Scratch,
        mailbox: &Mailbox,
    ) -> Result<(), Errno> {
        let Some(file) = self.file else {
            return tracee.call(self.number, &self.arguments).map(drop);
        };
        mailbox.pass(tracee, scratch, file)?;
        let mapped = tracee.call(self.number, &self.arguments);
        let closed = tracee.call(libc::SYS_close, &[RECEIVED]);
        mapped.and(closed).map(drop)
    }
}

fn bits(protection: Protection) -> u64 {
    let bit = |is_set: bool, bit: i32| if is_set { bit as u64 } else { 0 };
    bit(protection.read, libc::PROT_READ)
        | bit(protection.write, libc::PROT_WRITE)
        | bit(protection.execute, libc::PROT_EXEC)
}

fn map_flags(flags: MapFlags) -> i32 {
    let bit = |is_set: bool, bit: i32| if is_set { bit } else { 0 };
    libc::MAP_FIXED | bit(flags.populate, libc::MAP_POPULATE) | bit(flags.no_reserve, libc::MAP_NORESERVE)
}

/// The advice that [`MemoryOp::Advise`] lists.
fn is_offered(advice: i32) -> bool {
    matches!(
        advice,
        libc::MADV_NORMAL
            | libc::MADV_RANDOM
            | libc::MADV_SEQUENTIAL
            | libc::MADV_WILLNEED
            | libc::MADV_DONTNEED
            | libc::MADV_FREE
            | libc::MADV_DONTFORK
            | libc::MADV_DOFORK
            | libc::MADV_HUGEPAGE
            | libc::MADV_NOHUGEPAGE
            | libc::MADV_DONTDUMP
            | libc::MADV_DODUMP
            | libc::MADV_WIPEONFORK
            | libc::MADV_KEEPONFORK
            | libc::MADV_COLD
            | libc::MADV_PAGEOUT
            | libc::MADV_POPULATE_READ
            | libc::MADV_POPULATE_WRITE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x1_0000;

    fn check(operation: MemoryOp<'_>) -> Result<(), Errno> {
        Step::new(&operation, START).map(drop)
    }

    #[test]
    fn ranges_outside_the_guests_or_unaligned_are_refused() {
        let refused =
            [(0, PAGE), (GUEST_END, PAGE), (GUEST_END - PAGE, 2 * PAGE), (START, 0), (START + 1, PAGE)];
        for (address, length) in refused.into_iter().chain([(START, u64::MAX), (START, PAGE + 1)]) {
            assert_eq!(
                check(MemoryOp::Unmap { address, length }),
                Err(Errno::EINVAL),
                "{address:#x} {length:#x}"
            );
        }
        assert_eq!(check(MemoryOp::Unmap { address: START, length: GUEST_END - START }), Ok(()));
    }

    #[test]
    fn advice_that_is_not_listed_is_refused() {
        let advise = |advice| check(MemoryOp::Advise { address: START, length: PAGE, advice });
        assert_eq!(advise(libc::MADV_DONTNEED), Ok(()));
        assert_eq!(advise(libc::MADV_HWPOISON), Err(Errno::EINVAL));
        assert_eq!(advise(libc::MADV_MERGEABLE), Err(Errno::EINVAL));
    }
}
