//! What a guest does by itself with what it was lent, against a guest that makes calls for all of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;
use usk_abi::Errno;
use usk_abi::fs::OpenFlags;
use usk_abi::mm::{MmapFlags, MremapFlags, Prot, madvise};
use usk_platform::{MapFlags, MemoryOp, Protection};

use super::*;
use crate::loader::testing::open_bytes;
use crate::mm::fake::{FakeThread, PAGE, layout};
use crate::mm::{MapRequest, MemoryUse};

/// The words in the slot, and whether the answer stands.
#[derive(Default)]
struct Words {
    bottom: AtomicU64,
    lowest: AtomicU64,
    is_lent: AtomicBool,
}

impl MemoryWord for Words {
    fn bottom(&self) -> u64 {
        self.bottom.load(Ordering::Relaxed)
    }

    fn lowest(&self) -> u64 {
        self.lowest.load(Ordering::Relaxed)
    }

    fn withdraw_memory(&self) {
        self.is_lent.store(false, Ordering::Relaxed);
    }
}

struct Guest {
    thread: FakeThread,
    mm: Arc<Mm>,
    limits: MemoryLimits,
    words: Arc<Words>,
    lends: bool,
}

impl Guest {
    fn new(lends: bool) -> Guest {
        let thread = FakeThread::new();
        let mm = Mm::new(thread.fake.clone(), &layout(), 8 << 20, false).expect("a memory map");
        let limits = MemoryLimits { address_space: 64 * PAGE, ..MemoryLimits::NONE };
        Guest { thread, mm, limits, words: Arc::default(), lends }
    }

    /// What is lent, as the stub knows it.
    fn range(&self) -> Option<LentMemory> {
        let lent = self.mm.state.lock().lent.as_ref().map(|lent| lent.range)?;
        self.words.is_lent.load(Ordering::Relaxed).then(|| LentMemory { bottom: self.words.bottom(), ..lent })
    }

    /// Has the host do it.
    fn make(&mut self, operation: MemoryOp<'_>) {
        self.thread.apply(&[operation]).expect("the host does it");
    }

    fn set_bottom(&self, bottom: u64) {
        self.words.lowest.fetch_min(bottom, Ordering::Relaxed);
        self.words.bottom.store(bottom, Ordering::Relaxed);
    }

    fn map(&mut self, length: u64) -> Result<u64, Errno> {
        if let Some(range) = self.range()
            && (range.shortest..=range.longest).contains(&length)
            && range.bottom - range.low >= length
        {
            let address = range.bottom - length;
            let (protection, flags) = (READ_WRITE, MapFlags::default());
            self.make(MemoryOp::MapAnonymous { address, length, protection, flags });
            self.set_bottom(address);
            return Ok(address);
        }
        let flags = MmapFlags::PRIVATE | MmapFlags::ANONYMOUS;
        let protection = Prot::READ | Prot::WRITE;
        let request = MapRequest { address: 0, length, protection, flags, file: None, offset: 0 };
        self.map_by_call(request)
    }

    fn map_file(&mut self, length: u64) -> Result<u64, Errno> {
        let (protection, flags) = (Prot::READ, MmapFlags::PRIVATE);
        let file = Some(open_bytes(&[1; 9 * PAGE as usize]));
        self.map_by_call(MapRequest { address: 0, length, protection, flags, file, offset: 0 })
    }

    fn map_by_call(&mut self, request: MapRequest) -> Result<u64, Errno> {
        assert!(request.is_plain());
        let address = self.mm.map(&mut self.thread, request, &self.limits)?;
        self.lend();
        Ok(address)
    }

    fn lend(&mut self) {
        if self.lends {
            let words = Arc::clone(&self.words);
            self.thread.lends = Some(Box::new(move |range| {
                words.bottom.store(range.bottom, Ordering::Relaxed);
                words.lowest.store(range.bottom, Ordering::Relaxed);
                words.is_lent.store(true, Ordering::Relaxed);
                Arc::clone(&words) as Arc<dyn MemoryWord>
            }));
            let limits = self.limits;
            self.mm.lend(&mut self.thread, || limits);
        }
    }

    fn unmap(&mut self, address: u64, length: u64) -> Result<(), Errno> {
        if let Some(range) = self.range()
            && address == range.bottom
            && length <= range.top - range.bottom
        {
            self.make(MemoryOp::Unmap { address, length });
            self.set_bottom(address + length);
            return Ok(());
        }
        self.mm.unmap(&mut self.thread, address, length)?;
        self.lend();
        Ok(())
    }

    /// What others can see of its memory.
    fn seen(&self) -> (Vec<(u64, u64, Protection, VmaFlags)>, MemoryUse) {
        let vmas = self.mm.snapshot().into_iter();
        let vmas = vmas.map(|vma| (vma.start, vma.end, vma.protection, vma.flags)).collect();
        (vmas, self.mm.memory_use())
    }
}

/// Numbers name one of the mappings that there are.
#[derive(Clone, Copy, Debug)]
enum Act {
    Map(u64),
    MapFile(u64),
    UnmapLast,
    UnmapStart(usize, u64),
    UnmapAll(usize),
    Protect(usize),
    Advise(usize),
    Grow(usize),
    Look,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..9u64).prop_map(Act::Map),
        3 => (1..9u64).prop_map(Act::MapFile),
        5 => Just(Act::UnmapLast),
        1 => (0..8usize, 1..4u64).prop_map(|(which, pages)| Act::UnmapStart(which, pages)),
        1 => (0..8usize).prop_map(Act::UnmapAll),
        1 => (0..8usize).prop_map(Act::Protect),
        1 => (0..8usize).prop_map(Act::Advise),
        1 => (0..8usize).prop_map(Act::Grow),
        2 => Just(Act::Look),
    ]
}

/// Carries it out, and returns what a guest is told.
fn carry_out(guest: &mut Guest, mapped: &[(u64, u64)], act: Act) -> Result<u64, Errno> {
    let of = |which: usize| mapped.get(which % mapped.len().max(1)).copied().ok_or(Errno::ENOENT);
    let (thread, limits) = (&mut guest.thread, &guest.limits);
    match act {
        Act::Map(pages) => guest.map(pages * PAGE),
        Act::MapFile(pages) => guest.map_file(pages * PAGE),
        Act::UnmapLast => {
            let (address, length) = mapped.last().copied().ok_or(Errno::ENOENT)?;
            guest.unmap(address, length).map(|()| 0)
        }
        Act::UnmapStart(which, pages) => {
            let (address, length) = of(which)?;
            guest.unmap(address, length.min(pages * PAGE)).map(|()| 0)
        }
        Act::UnmapAll(which) => {
            let (address, length) = of(which)?;
            guest.unmap(address, length).map(|()| 0)
        }
        Act::Protect(which) => {
            let (address, length) = of(which)?;
            guest.mm.protect(thread, address, length, Prot::READ, limits).map(|()| 0)
        }
        Act::Advise(which) => {
            let (address, length) = of(which)?;
            guest.mm.advise(thread, address, length, madvise::DONTDUMP)?;
            guest.lend();
            Ok(0)
        }
        Act::Grow(which) => {
            let (address, length) = of(which)?;
            let flags = MremapFlags::MAYMOVE;
            guest.mm.remap(thread, address, length, length + PAGE, flags, 0, limits)
        }
        Act::Look => Ok(guest.mm.memory_use().totals.total),
    }
}

proptest! {
    #[test]
    fn what_a_guest_does_by_itself_is_what_calls_would_have_done(acts in prop::collection::vec(act(), 1..120)) {
        let (mut lent, mut calling) = (Guest::new(true), Guest::new(false));
        let mut mapped: Vec<(u64, u64)> = Vec::new();
        for act in acts {
            let told = carry_out(&mut lent, &mapped, act);
            prop_assert_eq!(told, carry_out(&mut calling, &mapped, act), "{:?}", act);
            match (act, told) {
                (Act::Map(pages) | Act::MapFile(pages), Ok(address)) => mapped.push((address, pages * PAGE)),
                (Act::UnmapLast, Ok(_)) => _ = mapped.pop(),
                (Act::UnmapAll(which), Ok(_)) => _ = mapped.swap_remove(which % mapped.len()),
                (Act::UnmapStart(which, pages), Ok(_)) => {
                    let which = which % mapped.len();
                    let (address, length) = &mut mapped[which];
                    let gone = (*length).min(pages * PAGE);
                    (*address, *length) = (*address + gone, *length - gone);
                    mapped.retain(|&(_, length)| length > 0);
                }
                (Act::Grow(which), Ok(address)) => {
                    let which = which % mapped.len();
                    mapped[which] = (address, mapped[which].1 + PAGE);
                }
                _ => {}
            }
        }
        prop_assert_eq!(lent.seen(), calling.seen());
    }

    #[test]
    fn forged_words_are_ignored_or_mean_memory_of_the_range(words: [u64; 2], pages in 0..80u64) {
        let mut guest = Guest::new(true);
        guest.map(4 * PAGE).expect("memory");
        let range = guest.range().expect("lent");
        for bottom in [words[0], range.low.wrapping_add(pages * PAGE), range.top, range.low.wrapping_sub(PAGE)] {
            guest.words.bottom.store(bottom, Ordering::Relaxed);
            guest.words.lowest.store(words[1], Ordering::Relaxed);
            let (vmas, used) = guest.seen();
            prop_assert!(used.totals.total <= 64 * PAGE && used.peak <= 64 * PAGE);
            prop_assert!(vmas.iter().all(|&(start, end, ..)| start >= 0x7fff_f000_0000 || (range.low..=range.top).contains(&start) && end <= range.top));
        }
    }
}

#[test]
fn whoever_changes_the_map_ends_the_lending() {
    let mut guest = Guest::new(true);
    guest.map(4 * PAGE).expect("memory");
    let range = guest.range().expect("lent");
    guest.set_bottom(range.bottom - PAGE);
    assert_eq!(guest.mm.snapshot()[0].start, range.bottom - PAGE);
    assert!(guest.range().is_some());
    guest.mm.set_image(guest.mm.image());
    assert!(guest.range().is_none());
    guest.set_bottom(range.top);
    assert_eq!(guest.mm.snapshot()[0].start, range.bottom - PAGE);
}

#[test]
fn a_file_that_was_unmapped_is_let_go_of_when_somebody_looks() {
    let mut guest = Guest::new(true);
    let file = open_bytes(&[1; PAGE as usize]);
    let request = |file| {
        let (protection, flags) = (Prot::READ, MmapFlags::PRIVATE);
        MapRequest { address: 0, length: PAGE, protection, flags, file, offset: 0 }
    };
    let address = guest.map_by_call(request(Some(file.clone()))).expect("room");
    assert!(guest.range().is_some_and(|range| range.bottom == address));
    assert!(!file.is_only_mapped_beyond(0) && file.is_only_mapped_beyond(1));
    guest.mm.let_go_of_files();
    assert_eq!(Arc::strong_count(&file), 2);
    guest.unmap(address, PAGE).expect("mapped");
    guest.mm.let_go_of_files();
    assert_eq!(Arc::strong_count(&file), 1);
    assert!(!guest.mm.has_lent_file.load(Relaxed));
}

#[test]
fn files_whose_end_is_noticed_are_not_lent() {
    let mut guest = Guest::new(true);
    let memory = std::fs::File::from(usk_platform::host::create_memfd(c"test", PAGE).expect("a memfd"));
    let file = Some(crate::loader::testing::open_host(memory, OpenFlags::RDWR.bits()));
    let (protection, flags) = (Prot::READ, MmapFlags::PRIVATE);
    let request = MapRequest { address: 0, length: PAGE, protection, flags, file, offset: 0 };
    guest.map_by_call(request).expect("room");
    assert!(guest.range().is_none());
}
