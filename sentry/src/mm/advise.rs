//! `madvise(2)`.

use usk_abi::Errno;
use usk_abi::fs::FallocateMode;
use usk_abi::mm::madvise;
use usk_platform::{GuestThread, MemoryOp, host};

use crate::mm::mm::{Mm, State, apply, is_page_aligned, page_align};
use crate::mm::vma::{Backing, Vma, VmaFlags};

/// How `MADV_REMOVE` frees memory.
const PUNCH_HOLE: FallocateMode = FallocateMode::PUNCH_HOLE.union(FallocateMode::KEEP_SIZE);

/// What a piece of advice does.
#[derive(Clone, Copy)]
struct Effect {
    /// What the host is told; `None` if it need not know.
    host: Option<i32>,
    /// Flags to set.
    set: VmaFlags,
    /// Flags to clear.
    clear: VmaFlags,
}

impl Mm {
    /// Follows advice about a range. Like Linux it skips holes and reports them at the end (`ENOMEM`), and stops at the
    /// first mapping that refuses. Errors as in `madvise(2)`.
    pub fn advise(
        &self,
        thread: &mut dyn GuestThread,
        address: u64,
        length: u64,
        advice: i32,
    ) -> Result<(), Errno> {
        if matches!(advice, madvise::HWPOISON | madvise::SOFT_OFFLINE) {
            return Err(Errno::EPERM);
        }
        let effect = effect_of(advice)?;
        if !is_page_aligned(address) {
            return Err(Errno::EINVAL);
        }
        let end = page_align(length).and_then(|length| address.checked_add(length)).ok_or(Errno::EINVAL)?;
        if end == address {
            return Ok(());
        }
        // What changes nothing that is remembered leaves what is lent as it is.
        let mut state = if (effect.set | effect.clear).is_empty() { self.look() } else { self.change() };
        self.clear_patches(&mut state, thread, address..end)?;
        if advice == madvise::REMOVE {
            let (holes, outcome) = holes_to_punch(&state, address, end);
            // Files have locks and seals of their own.
            drop(state);
            return holes.into_iter().try_for_each(Hole::punch).and(outcome);
        }
        let stops_at_hole = matches!(advice, madvise::POPULATE_READ | madvise::POPULATE_WRITE);
        let (ranges, outcome) = accepting(&state, address, end, advice, stops_at_hole);
        if let Some(host_advice) = effect.host {
            let operations: Vec<_> = ranges
                .iter()
                .map(|&(start, end)| MemoryOp::Advise {
                    address: start,
                    length: end - start,
                    advice: host_advice,
                })
                .collect();
            // What changes nothing that is remembered needs no undoing.
            match outcome.is_ok() && (effect.set | effect.clear).is_empty() {
                true => self.apply_last_of_all(&mut state, thread, &operations)?,
                false => apply(thread, &operations)?,
            }
        }
        if !(effect.set | effect.clear).is_empty() {
            for (start, end) in ranges {
                state.check_map_count(state.tree.splits(start, end))?;
                state.tree.change(start, end, |vma| {
                    vma.flags = (vma.flags - effect.clear) | effect.set;
                });
            }
        }
        outcome
    }
}

fn effect_of(advice: i32) -> Result<Effect, Errno> {
    let pattern = VmaFlags::RANDOM | VmaFlags::SEQUENTIAL;
    let huge = VmaFlags::HUGEPAGE | VmaFlags::NOHUGEPAGE;
    let none = VmaFlags::empty();
    let (host, set, clear) = match advice {
        madvise::NORMAL => (Some(advice), none, pattern),
        madvise::RANDOM => (Some(advice), VmaFlags::RANDOM, pattern),
        madvise::SEQUENTIAL => (Some(advice), VmaFlags::SEQUENTIAL, pattern),
        // The host does not lock what is locked here, so it needs no leave to drop it.
        madvise::DONTNEED_LOCKED => (Some(madvise::DONTNEED), none, none),
        madvise::WILLNEED
        | madvise::DONTNEED
        | madvise::FREE
        | madvise::COLD
        | madvise::PAGEOUT
        | madvise::POPULATE_READ
        | madvise::POPULATE_WRITE => (Some(advice), none, none),
        madvise::REMOVE => (None, none, none),
        madvise::DONTFORK => (Some(advice), VmaFlags::DONTFORK, none),
        madvise::DOFORK => (Some(advice), none, VmaFlags::DONTFORK),
        madvise::MERGEABLE => (None, VmaFlags::MERGEABLE, none),
        madvise::UNMERGEABLE => (None, none, VmaFlags::MERGEABLE),
        madvise::HUGEPAGE => (Some(advice), VmaFlags::HUGEPAGE, huge),
        madvise::NOHUGEPAGE => (Some(advice), VmaFlags::NOHUGEPAGE, huge),
        madvise::DONTDUMP => (None, VmaFlags::DONTDUMP, none),
        madvise::DODUMP => (None, none, VmaFlags::DONTDUMP),
        madvise::WIPEONFORK => (Some(advice), VmaFlags::WIPEONFORK, none),
        madvise::KEEPONFORK => (Some(advice), none, VmaFlags::WIPEONFORK),
        _ => return Err(Errno::EINVAL),
    };
    Ok(Effect { host, set, clear })
}

/// The mapped parts of the range up to the first mapping that refuses the advice, neighbours joined, and what is to be
/// reported after they were dealt with.
fn accepting(
    state: &State,
    start: u64,
    end: u64,
    advice: i32,
    stops_at_hole: bool,
) -> (Vec<(u64, u64)>, Result<(), Errno>) {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut at = start;
    let mut outcome = Ok(());
    for vma in state.tree.overlapping(start, end) {
        let (from, to) = (vma.start.max(start), vma.end.min(end));
        if from > at {
            outcome = Err(Errno::ENOMEM);
            if stops_at_hole {
                return (ranges, outcome);
            }
        }
        if let Err(error) = check_accepts(vma, advice) {
            return (ranges, Err(error));
        }
        match ranges.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => ranges.push((from, to)),
        }
        at = to;
    }
    if at < end {
        outcome = Err(Errno::ENOMEM);
    }
    (ranges, outcome)
}

fn check_accepts(vma: &Vma, advice: i32) -> Result<(), Errno> {
    if matches!(vma.backing, Backing::Vdso | Backing::Vvar) {
        return Err(Errno::EINVAL);
    }
    let locked = vma.flags.contains(VmaFlags::LOCKED);
    let refused = match advice {
        madvise::DONTNEED | madvise::COLD | madvise::PAGEOUT => locked,
        madvise::FREE => locked || !vma.is_private_anonymous(),
        madvise::WIPEONFORK => !vma.is_private_anonymous(),
        _ => false,
    };
    if refused {
        return Err(Errno::EINVAL);
    }
    let discards = matches!(
        advice,
        madvise::DONTNEED
            | madvise::DONTNEED_LOCKED
            | madvise::FREE
            | madvise::DONTFORK
            | madvise::WIPEONFORK
    );
    if discards && vma.is_sealed() && vma.is_private_anonymous() && !vma.protection.write {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// What `MADV_REMOVE` frees of one mapping, so that everybody reads zeros there.
struct Hole {
    backing: Backing,
    offset: u64,
    length: u64,
}

impl Hole {
    fn punch(self) -> Result<(), Errno> {
        let Hole { backing, offset, length } = self;
        match backing {
            Backing::File(backing) => backing.file.ops.allocate(&backing.file, PUNCH_HOLE, offset, length),
            Backing::Memory(memory) => host::allocate(&*memory.host.0, PUNCH_HOLE.bits(), offset, length),
            Backing::Anonymous | Backing::Vdso | Backing::Vvar | Backing::Trampolines => Err(Errno::EINVAL),
        }
    }
}

/// What is to be freed, and what is to be said when that is done: `ENOMEM` if not all is mapped, or why the last mapping refused.
fn holes_to_punch(state: &State, start: u64, end: u64) -> (Vec<Hole>, Result<(), Errno>) {
    let (mut holes, mut at, mut outcome) = (Vec::new(), start, Ok(()));
    for vma in state.tree.overlapping(start, end) {
        if vma.start > at {
            outcome = Err(Errno::ENOMEM);
        }
        at = vma.end;
        if vma.flags.contains(VmaFlags::LOCKED)
            || !matches!(vma.backing, Backing::File(_) | Backing::Memory(_))
        {
            return (holes, Err(Errno::EINVAL));
        }
        if !vma.shared || !vma.max_protection.write {
            return (holes, Err(Errno::EACCES));
        }
        let (from, to) = (vma.start.max(start), vma.end.min(end));
        holes.push(Hole { backing: vma.backing.clone(), offset: vma.offset_of(from), length: to - from });
    }
    (holes, if at < end { Err(Errno::ENOMEM) } else { outcome })
}
