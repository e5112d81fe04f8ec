//! Memory operations as lists of host calls in a thread's orders.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use usk_abi::Errno;

use crate::interface::{Layout, MapFlags, MemoryOp, Protection};
use crate::stub::geometry::*;

use super::filters::{ADVICE, REMAP_FLAGS};
use super::windows::Slot;

/// The host's page size.
const PAGE: u64 = 4096;

/// A host call that the stub is asked to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) kind: CallKind,
    pub(super) arguments: [u64; 6],
}

impl Call {
    /// Writes it as number `index` of the list.
    pub(super) fn write(&self, slot: &Slot, index: usize) {
        let place = CALLS + CALL_SIZE * index as u64;
        slot.write_order(place, self.kind as u64);
        for (index, argument) in (1..).zip(self.arguments) {
            slot.write_order(place + 8 * index, argument);
        }
    }

    /// The call that maps a file, with its descriptor.
    pub(super) fn with_file(mut self, descriptor: u32) -> Call {
        self.arguments[4] = u64::from(descriptor);
        self
    }

    /// The call that closes a descriptor.
    pub(super) fn close(descriptor: u32) -> Call {
        Call { kind: CallKind::Close, arguments: [u64::from(descriptor), 0, 0, 0, 0, 0] }
    }

    /// The call that keeps kicks away, or lets them come again.
    pub(super) fn mask_kicks(keeps_away: bool) -> Call {
        let how = if keeps_away { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
        Call { kind: CallKind::MaskKicks, arguments: [how as u64, KICK_MASK, 0, SIGNAL_SET_SIZE, 0, 0] }
    }
}

/// The host call for an operation, and the file that it needs; the file's descriptor is the fifth argument, to be
/// filled in. `EINVAL` for what must not reach the host.
pub(super) fn translate<'a>(
    operation: &MemoryOp<'a>,
    layout: &Layout,
) -> Result<(Call, Option<&'a Arc<OwnedFd>>), Errno> {
    let range = |address: u64, length: u64| {
        let end = address.checked_add(length).ok_or(Errno::EINVAL)?;
        let is_good = length != 0
            && address.is_multiple_of(PAGE)
            && length.is_multiple_of(PAGE)
            && address >= layout.guest_start
            && end <= layout.guest_end;
        if is_good { Ok(()) } else { Err(Errno::EINVAL) }
    };
    let call = |kind, arguments| Ok((Call { kind, arguments }, None));
    match *operation {
        MemoryOp::MapAnonymous { address, length, protection, flags } => {
            range(address, length)?;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | options(flags);
            let protection = bits(protection);
            call(CallKind::MapAnonymous, [address, length, protection, flags as u64, u64::MAX, 0])
        }
        MemoryOp::MapFile { address, length, protection, shared, flags, file, offset } => {
            range(address, length)?;
            if !offset.is_multiple_of(PAGE) || offset.checked_add(length).is_none() {
                return Err(Errno::EINVAL);
            }
            let sharing = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
            let flags = sharing | libc::MAP_FIXED | options(flags);
            let arguments = [address, length, bits(protection), flags as u64, 0, offset];
            Ok((Call { kind: CallKind::MapFile, arguments }, Some(file)))
        }
        MemoryOp::Unmap { address, length } => {
            range(address, length)?;
            call(CallKind::Unmap, [address, length, 0, 0, 0, 0])
        }
        MemoryOp::Protect { address, length, protection } => {
            range(address, length)?;
            call(CallKind::Protect, [address, length, bits(protection), 0, 0, 0])
        }
        MemoryOp::Remap { address, length, new_address, new_length, keep_old } => {
            range(address, length)?;
            range(new_address, new_length)?;
            let [in_place, moved, moved_and_kept] = REMAP_FLAGS;
            let flags = match (new_address == address, keep_old) {
                (true, false) => in_place,
                (false, false) => moved,
                (false, true) => moved_and_kept,
                (true, true) => return Err(Errno::EINVAL),
            };
            call(CallKind::Remap, [address, length, new_length, u64::from(flags), new_address, 0])
        }
        MemoryOp::Advise { address, length, advice } => {
            range(address, length)?;
            let advice = u32::try_from(advice).map_err(|_| Errno::EINVAL)?;
            if !ADVICE.contains(&advice) {
                return Err(Errno::EINVAL);
            }
            call(CallKind::Advise, [address, length, u64::from(advice), 0, 0, 0])
        }
        MemoryOp::UnmapAll => {
            // What was lent goes as well, and whatever the guest has had the stub map outside of its range.
            call(CallKind::Unmap, [0, GUEST_REACH - 1, 0, 0, 0, 0])
        }
    }
}

fn bits(protection: Protection) -> u64 {
    let bit = |set, bit: i32| if set { bit as u64 } else { 0 };
    bit(protection.read, libc::PROT_READ)
        | bit(protection.write, libc::PROT_WRITE)
        | bit(protection.execute, libc::PROT_EXEC)
}

fn options(flags: MapFlags) -> i32 {
    let bit = |set, bit| if set { bit } else { 0 };
    bit(flags.populate, libc::MAP_POPULATE) | bit(flags.no_reserve, libc::MAP_NORESERVE)
}
