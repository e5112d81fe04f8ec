//! The calls against the fake host: whatever is asked for, the tree and the host say the same.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Weak};

use proptest::prelude::*;
use usk_abi::Errno;
use usk_abi::mm::{MmapFlags, MremapFlags, MsyncFlags, Prot, madvise};
use usk_abi::signal::code::{SEGV_ACCERR, SEGV_MAPERR};
use usk_platform::GuestThread;

use super::*;
use crate::loader::testing::open_host;
use crate::mm::deferred::{Undo, take_back};
use crate::mm::fake::{FakeThread, PAGE, layout};
use crate::mm::{FutexKey, HostFault, MapRequest, SharedMemory};

const RW: Prot = Prot::READ.union(Prot::WRITE);
const PRIVATE: MmapFlags = MmapFlags::PRIVATE.union(MmapFlags::ANONYMOUS);
const SHARED: MmapFlags = MmapFlags::SHARED.union(MmapFlags::ANONYMOUS);
const BASE: u64 = 0x10_0000_0000;
const HEAP: u64 = 0x20_0000_0000;

struct Guest {
    thread: FakeThread,
    mm: Arc<Mm>,
    limits: MemoryLimits,
}

impl Guest {
    fn new() -> Self {
        let thread = FakeThread::new();
        let mm = Mm::new(thread.fake.clone(), &layout(), 8 << 20, true).expect("a memory map");
        mm.set_image(ImageRanges { brk_start: HEAP, ..ImageRanges::default() });
        mm.state.lock().brk = HEAP;
        Guest { thread, mm, limits: MemoryLimits::NONE }
    }

    fn map(&mut self, address: u64, length: u64, prot: Prot, flags: MmapFlags) -> Result<u64, Errno> {
        let request = MapRequest { address, length, protection: prot, flags, file: None, offset: 0 };
        self.mm.map(&mut self.thread, request, &self.limits)
    }

    fn map_file(
        &mut self,
        file: &Arc<OpenFile>,
        length: u64,
        prot: Prot,
        flags: MmapFlags,
    ) -> Result<u64, Errno> {
        let request =
            MapRequest { address: 0, length, protection: prot, flags, file: Some(file.clone()), offset: 0 };
        self.mm.map(&mut self.thread, request, &self.limits)
    }

    fn protect(&mut self, address: u64, length: u64, prot: Prot) -> Result<(), Errno> {
        self.mm.protect(&mut self.thread, address, length, prot, &self.limits)
    }

    fn unmap(&mut self, address: u64, length: u64) -> Result<(), Errno> {
        self.mm.unmap(&mut self.thread, address, length)
    }

    fn remap(&mut self, address: u64, old: u64, new: u64, flags: MremapFlags, to: u64) -> Result<u64, Errno> {
        self.mm.remap(&mut self.thread, address, old, new, flags, to, &self.limits)
    }

    fn advise(&mut self, address: u64, length: u64, advice: i32) -> Result<(), Errno> {
        self.mm.advise(&mut self.thread, address, length, advice)
    }

    fn ranges(&self) -> Vec<(u64, u64)> {
        let areas = self.mm.snapshot();
        areas.iter().filter(|vma| vma.end <= layout().guest_end).map(|vma| (vma.start, vma.end)).collect()
    }

    fn check(&self) {
        let pages = self.thread.fake.pages.lock();
        let mut count = 0;
        for vma in self.mm.snapshot().iter().filter(|vma| vma.end <= layout().guest_end) {
            for at in (vma.start..vma.end).step_by(PAGE as usize) {
                assert_eq!(pages.get(&at).map(|page| page.protection), Some(vma.protection), "{at:#x}");
                count += 1;
            }
        }
        assert_eq!(count, pages.len(), "the host has pages that the tree has not");
    }
}

fn file(length: usize) -> (File, File) {
    let file = File::from(usk_platform::host::create_memfd(c"test", length as u64).expect("a memfd"));
    (file.try_clone().expect("a descriptor"), file)
}

#[derive(Clone, Debug)]
enum Step {
    Map(u64, u64, u8, bool),
    Place(u64, u8),
    Unmap(u64, u64),
    Protect(u64, u64, u8),
    Remap(u64, u64, u64, Option<u64>, bool),
    Brk(u64),
    Advise(u64, u64, i32),
}

fn steps() -> impl Strategy<Value = Vec<(Step, Option<usize>)>> {
    let page = || 0u64..32;
    let count = || 1u64..8;
    let advice = prop_oneof![
        Just(madvise::DONTNEED),
        Just(madvise::DONTFORK),
        Just(madvise::DOFORK),
        Just(madvise::HUGEPAGE),
        Just(madvise::WIPEONFORK),
    ];
    let step = prop_oneof![
        (page(), count(), 0u8..8, any::<bool>()).prop_map(|(a, n, p, s)| Step::Map(a, n, p, s)),
        (count(), 0u8..8).prop_map(|(n, p)| Step::Place(n, p)),
        (page(), count()).prop_map(|(a, n)| Step::Unmap(a, n)),
        (page(), count(), 0u8..8).prop_map(|(a, n, p)| Step::Protect(a, n, p)),
        (page(), 0u64..6, count(), proptest::option::of(page()), any::<bool>())
            .prop_map(|(a, o, n, t, k)| Step::Remap(a, o, n, t, k)),
        (0u64..0x6000).prop_map(Step::Brk),
        (page(), count(), advice).prop_map(|(a, n, v)| Step::Advise(a, n, v)),
    ];
    let failure = prop_oneof![4 => Just(None), 1 => (0usize..3).prop_map(Some)];
    proptest::collection::vec((step, failure), 1..40)
}

fn perform(guest: &mut Guest, step: &Step) {
    let at = |page: u64| BASE + page * PAGE;
    let prot = |bits: u8| Prot::from_bits_truncate(bits.into());
    match *step {
        Step::Map(page, count, bits, shared) => {
            let flags = if shared { SHARED } else { PRIVATE } | MmapFlags::FIXED;
            let _ = guest.map(at(page), count * PAGE, prot(bits), flags);
        }
        Step::Place(count, bits) => {
            let _ = guest.map(0, count * PAGE, prot(bits), PRIVATE);
        }
        Step::Unmap(page, count) => {
            let _ = guest.unmap(at(page), count * PAGE);
        }
        Step::Protect(page, count, bits) => {
            let _ = guest.protect(at(page), count * PAGE, prot(bits));
        }
        Step::Remap(page, old, new, to, keep) => {
            let mut flags = MremapFlags::MAYMOVE;
            flags.set(MremapFlags::FIXED, to.is_some());
            flags.set(MremapFlags::DONTUNMAP, keep);
            let new = if keep { old } else { new };
            let _ = guest.remap(at(page), old * PAGE, new * PAGE, flags, to.map_or(0, at));
        }
        Step::Brk(offset) => {
            guest.mm.set_brk(&mut guest.thread, HEAP + offset, &guest.limits);
        }
        Step::Advise(page, count, advice) => {
            let _ = guest.advise(at(page), count * PAGE, advice);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_tree_says_what_the_host_has(steps in steps()) {
        let mut guest = Guest::new();
        for (step, failure) in &steps {
            guest.thread.fail_after = *failure;
            perform(&mut guest, step);
            guest.thread.fail_after = None;
            guest.check();
        }
        let child = guest.mm.fork().expect("a child");
        for vma in child.snapshot() {
            prop_assert!(!vma.flags.contains(VmaFlags::DONTFORK));
        }
    }
}

#[test]
fn mappings_go_downwards_and_merge() {
    let mut guest = Guest::new();
    let first = guest.map(0, PAGE, RW, PRIVATE).expect("mapped");
    let second = guest.map(0, 1, RW, PRIVATE).expect("mapped");
    assert_eq!(second + PAGE, first);
    assert_eq!(guest.ranges(), [(second, first + PAGE)]);
    guest.protect(first, PAGE, Prot::READ).expect("protected");
    assert_eq!(guest.ranges(), [(second, first), (first, first + PAGE)]);
    guest.protect(second, 2 * PAGE, RW).expect("protected");
    assert_eq!(guest.ranges().len(), 1);
    let big = guest.map(0, 4 << 20, RW, PRIVATE).expect("mapped");
    assert_eq!(big % (2 << 20), 0);
}

#[test]
fn fixed_mappings_replace_unless_told_not_to() {
    let mut guest = Guest::new();
    let fixed = PRIVATE | MmapFlags::FIXED;
    guest.map(BASE, 4 * PAGE, RW, fixed).expect("mapped");
    guest.map(BASE + PAGE, PAGE, Prot::READ, fixed).expect("replaced");
    assert_eq!(guest.ranges().len(), 3);
    let noreplace = PRIVATE | MmapFlags::FIXED_NOREPLACE;
    assert_eq!(guest.map(BASE, PAGE, RW, noreplace), Err(Errno::EEXIST));
    assert_eq!(guest.map(BASE + 1, PAGE, RW, fixed), Err(Errno::EINVAL));
    assert_eq!(guest.map(0, PAGE, RW, fixed), Err(Errno::EPERM));
    assert_eq!(guest.map(layout().guest_end, PAGE, RW, fixed), Err(Errno::ENOMEM));
    assert_eq!(guest.map(BASE, 0, RW, PRIVATE), Err(Errno::EINVAL));
    assert_eq!(guest.map(0, u64::MAX, RW, PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(guest.map(0, PAGE, RW, MmapFlags::ANONYMOUS), Err(Errno::EINVAL));
    // A hint is taken if there is room.
    assert_eq!(guest.map(BASE + 8 * PAGE, PAGE, RW, PRIVATE), Ok(BASE + 8 * PAGE));
    assert_ne!(guest.map(BASE, PAGE, RW, PRIVATE), Ok(BASE));
    let low = guest.map(0, PAGE, RW, PRIVATE | MmapFlags::MAP_32BIT).expect("mapped");
    assert!(low < 1 << 31);
}

#[test]
fn the_vdso_cannot_be_touched() {
    let mut guest = Guest::new();
    let (start, _) = layout().vdso;
    assert_eq!(guest.unmap(start, PAGE), Err(Errno::EINVAL));
    assert_eq!(guest.protect(start, PAGE, RW), Err(Errno::EPERM));
    assert_eq!(guest.remap(start, PAGE, PAGE, MremapFlags::MAYMOVE, 0), Err(Errno::EPERM));
    assert_eq!(guest.advise(start, PAGE, madvise::DONTNEED), Err(Errno::EINVAL));
}

#[test]
fn access_to_a_file_limits_its_mappings() {
    let mut guest = Guest::new();
    let (host, _) = file(4096);
    let readonly = open_host(host.try_clone().expect("a descriptor"), 0);
    let writeonly = open_host(host.try_clone().expect("a descriptor"), 1);
    let both = open_host(host, 2);
    let (shared, private) = (MmapFlags::SHARED, MmapFlags::PRIVATE);
    assert_eq!(guest.map_file(&readonly, PAGE, RW, shared), Err(Errno::EACCES));
    assert_eq!(guest.map_file(&writeonly, PAGE, Prot::READ, private), Err(Errno::EACCES));
    assert!(guest.map_file(&readonly, PAGE, RW, private).is_ok());
    assert!(guest.map_file(&both, PAGE, RW, shared).is_ok());
    let mapped = guest.map_file(&readonly, PAGE, Prot::READ, shared).expect("mapped");
    assert_eq!(guest.protect(mapped, PAGE, RW), Err(Errno::EACCES));
    assert_eq!(guest.map_file(&both, PAGE, RW, shared | MmapFlags::GROWSDOWN), Err(Errno::EINVAL));
    let validate = MmapFlags::SHARED_VALIDATE | MmapFlags::SYNC;
    assert_eq!(guest.map_file(&both, PAGE, RW, validate), Err(Errno::EOPNOTSUPP));
    guest.check();
}

/// A guest that has mapped a file of eight pages to look at, its address, and the file.
fn guest_with_file() -> (Guest, u64, Arc<OpenFile>) {
    let mut guest = Guest::new();
    let (host, _) = file(8 * 4096);
    let file = open_host(host, 0);
    let start = guest.map_file(&file, 8 * PAGE, Prot::READ, MmapFlags::PRIVATE).expect("mapped");
    (guest, start, file)
}

impl Guest {
    /// Maps a page of a file over what `start` and the pages after it show of the same file. Returns whether the host mapped it anew, and
    /// checks that what somebody has written there is not to be seen.
    fn map_over(&mut self, start: u64, page: u64, prot: Prot, file: &Arc<OpenFile>) -> bool {
        let (address, offset) = (start + page * PAGE, page * PAGE);
        let flags = MmapFlags::PRIVATE | MmapFlags::FIXED;
        let before = self.thread.files_mapped;
        let request =
            MapRequest { address, length: PAGE, protection: prot, flags, file: Some(file.clone()), offset };
        assert_eq!(self.mm.map(&mut self.thread, request, &self.limits), Ok(address));
        self.check();
        let mut bytes = [1; 16];
        assert_eq!(self.thread.fake.read(address, &mut bytes), bytes.len());
        assert_eq!(bytes, [0; 16], "page {page} shows what was written");
        self.thread.files_mapped > before
    }
}

#[test]
fn segments_of_a_library_are_mapped_with_the_whole_of_it() {
    let (mut guest, start, file) = guest_with_file();
    assert!(!guest.map_over(start, 1, Prot::READ | Prot::EXEC, &file));
    let operations = guest.thread.operations;
    assert!(!guest.map_over(start, 3, Prot::READ, &file));
    assert_eq!(guest.thread.operations, operations, "it was there");
    assert!(!guest.map_over(start, 5, RW, &file));
    // What comes before the last segment may have been written since, and so may all after another change.
    assert!(guest.map_over(start, 5, Prot::READ, &file));
    let (mut guest, start, file) = guest_with_file();
    guest.map(0, PAGE, RW, PRIVATE).expect("mapped");
    assert!(guest.map_over(start, 1, Prot::READ, &file));
    // Access that was given at once.
    let start = guest.map_file(&file, 8 * PAGE, RW, MmapFlags::PRIVATE).expect("mapped");
    guest.thread.fake.write(start, b"text");
    assert!(guest.map_over(start, 0, RW, &file));
}

#[test]
fn what_was_written_to_a_file_is_not_shown_by_a_new_mapping() {
    let (mut guest, start, file) = guest_with_file();
    guest.protect(start, PAGE, RW).expect("access");
    guest.thread.fake.write(start, b"text");
    guest.protect(start, PAGE, Prot::READ).expect("access");
    assert!(guest.map_over(start, 0, Prot::READ, &file));
    let (mut guest, start, file) = guest_with_file();
    guest.mm.force_write(&mut guest.thread, start, b"text");
    assert!(guest.map_over(start, 0, RW, &file));
    guest.thread.fake.write(start, b"text");
    assert!(guest.map_over(start, 0, Prot::READ, &file));
}

#[test]
fn only_the_same_place_of_the_same_file_is_there_already() {
    let (mut guest, start, _) = guest_with_file();
    let (host, _) = self::file(8 * 4096);
    let other = open_host(host, 0);
    assert!(guest.map_over(start, 0, Prot::READ, &other));
    let (mut guest, start, file) = guest_with_file();
    assert!(guest.map_over(start - PAGE, 2, Prot::READ, &file), "another place in the file");
    let (mut guest, start, file) = guest_with_file();
    guest.advise(start, PAGE, madvise::DONTFORK).expect("taken");
    assert!(guest.map_over(start, 0, Prot::READ, &file));
    let (mut guest, start, file) = guest_with_file();
    guest.mm.state.lock().future_flags = VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT;
    assert!(guest.map_over(start, 0, Prot::READ, &file));
}

#[test]
fn a_segment_whose_access_the_host_refuses_is_not_mapped() {
    let (mut guest, start, file) = guest_with_file();
    guest.thread.fail_after = Some(0);
    let request = MapRequest {
        address: start + PAGE,
        length: PAGE,
        protection: RW,
        flags: MmapFlags::PRIVATE | MmapFlags::FIXED,
        file: Some(file),
        offset: PAGE,
    };
    assert_eq!(guest.mm.map(&mut guest.thread, request, &guest.limits), Err(Errno::ENOMEM));
    assert_eq!(guest.ranges(), [(start, start + PAGE), (start + 2 * PAGE, start + 8 * PAGE)]);
    guest.check();
}

#[test]
fn limits_refuse_more() {
    let mut guest = Guest::new();
    guest.limits = MemoryLimits {
        address_space: 40 * PAGE,
        data: 4 * PAGE,
        locked: 2 * PAGE,
        ignores_locked_limit: false,
    };
    assert_eq!(guest.map(0, 5 * PAGE, RW, PRIVATE), Err(Errno::ENOMEM));
    let readonly = guest.map(0, 5 * PAGE, Prot::READ, PRIVATE).expect("mapped");
    assert_eq!(guest.protect(readonly, 5 * PAGE, RW), Err(Errno::ENOMEM));
    assert_eq!(guest.map(0, 64 * PAGE, Prot::READ, PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(
        guest.mm.lock(&mut guest.thread, readonly, 3 * PAGE, false, &guest.limits),
        Err(Errno::ENOMEM)
    );
    assert_eq!(guest.mm.lock(&mut guest.thread, readonly, 2 * PAGE, true, &guest.limits), Ok(()));
    assert_eq!(guest.mm.lock(&mut guest.thread, readonly + 1, PAGE, true, &guest.limits), Ok(()));
    assert_eq!(guest.map(0, PAGE, RW, PRIVATE | MmapFlags::LOCKED), Err(Errno::EAGAIN));
    assert_eq!(guest.mm.memory_use().totals.locked, 2 * PAGE);
    assert_eq!(guest.mm.unlock(readonly, 5 * PAGE), Ok(()));
    assert_eq!(guest.mm.memory_use().totals.locked, 0);
    guest.limits.locked = 0;
    assert_eq!(guest.mm.lock(&mut guest.thread, readonly, PAGE, false, &guest.limits), Err(Errno::EPERM));
}

#[test]
fn protect_changes_what_precedes_a_hole() {
    let mut guest = Guest::new();
    guest.map(BASE, 2 * PAGE, RW, PRIVATE | MmapFlags::FIXED).expect("mapped");
    guest.map(BASE + 3 * PAGE, PAGE, RW, PRIVATE | MmapFlags::FIXED).expect("mapped");
    assert_eq!(guest.protect(BASE, 4 * PAGE, Prot::READ), Err(Errno::ENOMEM));
    let access: Vec<bool> = guest.mm.snapshot().iter().take(2).map(|vma| vma.protection.write).collect();
    assert_eq!(access, [false, true]);
    assert_eq!(guest.protect(BASE + 2 * PAGE, PAGE, Prot::READ), Err(Errno::ENOMEM));
    assert_eq!(guest.protect(BASE + 1, PAGE, Prot::READ), Err(Errno::EINVAL));
    assert_eq!(guest.protect(BASE, 0, Prot::READ), Ok(()));
    guest.check();
}

#[test]
fn remap_keeps_contents_and_refuses_what_linux_refuses() {
    let mut guest = Guest::new();
    let fixed = PRIVATE | MmapFlags::FIXED;
    guest.map(BASE, 2 * PAGE, RW, fixed).expect("mapped");
    guest.thread.fake.write(BASE, b"content");
    assert_eq!(guest.remap(BASE, 2 * PAGE, 4 * PAGE, MremapFlags::empty(), 0), Ok(BASE));
    guest.map(BASE + 4 * PAGE, PAGE, Prot::READ, fixed).expect("mapped");
    assert_eq!(guest.remap(BASE, 4 * PAGE, 5 * PAGE, MremapFlags::empty(), 0), Err(Errno::ENOMEM));
    let moved = guest.remap(BASE, 4 * PAGE, 5 * PAGE, MremapFlags::MAYMOVE, 0).expect("moved");
    let mut buffer = [0; 7];
    assert_eq!(guest.thread.space().read(moved, &mut buffer), 7);
    assert_eq!(&buffer, b"content");
    let to = MremapFlags::MAYMOVE | MremapFlags::FIXED;
    assert_eq!(guest.remap(moved, 5 * PAGE, 5 * PAGE, to, BASE), Ok(BASE));
    assert_eq!(guest.remap(BASE, 5 * PAGE, 5 * PAGE, to, BASE + PAGE), Err(Errno::EINVAL));
    assert_eq!(guest.remap(BASE, 5 * PAGE, PAGE, MremapFlags::FIXED, 0), Err(Errno::EINVAL));
    assert_eq!(guest.remap(BASE, 6 * PAGE, 7 * PAGE, MremapFlags::MAYMOVE, 0), Err(Errno::EFAULT));
    assert_eq!(guest.remap(BASE + 64 * PAGE, PAGE, PAGE, MremapFlags::MAYMOVE, 0), Err(Errno::EFAULT));
    assert_eq!(guest.remap(BASE, 0, PAGE, MremapFlags::MAYMOVE, 0), Err(Errno::EINVAL));
    let keep = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
    let copy = guest.remap(BASE, 5 * PAGE, 5 * PAGE, keep, 0).expect("moved");
    assert_eq!(guest.thread.space().read(copy, &mut buffer), 7);
    assert_eq!(&buffer, b"content");
    assert_eq!(guest.thread.space().read(BASE, &mut buffer), 7);
    assert_eq!(buffer, [0; 7]);
    let shared = guest.map(0, PAGE, RW, SHARED).expect("mapped");
    let twin = guest.remap(shared, 0, PAGE, MremapFlags::MAYMOVE, 0).expect("a second mapping");
    assert_eq!(guest.mm.futex_key(shared, false), guest.mm.futex_key(twin, false));
    guest.check();
}

#[test]
fn a_heap_that_the_host_does_not_let_grow_ends_where_it_did() {
    let mut guest = Guest::new();
    assert_eq!(guest.mm.set_brk(&mut guest.thread, HEAP + PAGE, &guest.limits), HEAP + PAGE);
    assert_eq!(guest.mm.set_brk(&mut guest.thread, HEAP + 4 * PAGE, &guest.limits), HEAP + 4 * PAGE);
    let mut state = guest.mm.change();
    state.undo = Some(Undo::Heap { start: HEAP + PAGE, end: HEAP + 4 * PAGE, brk: HEAP + PAGE });
    assert_eq!(take_back(&mut state, &mut guest.thread), Some(HEAP + PAGE));
    drop(state);
    assert_eq!(guest.mm.set_brk(&mut guest.thread, 0, &guest.limits), HEAP + PAGE);
    assert_eq!(guest.ranges(), [(HEAP, HEAP + PAGE)]);
}

#[test]
fn what_the_host_is_said_not_to_have_mapped_is_unmapped_or_stays_in_the_tree() {
    let mut guest = Guest::new();
    guest.map(BASE, PAGE, RW, PRIVATE | MmapFlags::FIXED).expect("mapped");
    let undo = Undo::Map { start: BASE, end: BASE + PAGE };
    guest.mm.change().undo = Some(undo.clone());
    guest.thread.fail_after = Some(0);
    take_back(&mut guest.mm.change(), &mut guest.thread);
    assert_eq!(guest.ranges(), [(BASE, BASE + PAGE)]);
    guest.mm.change().undo = Some(undo);
    take_back(&mut guest.mm.change(), &mut guest.thread);
    assert_eq!(guest.ranges(), []);
    guest.check();
}

#[test]
fn a_heap_is_made_shorter_on_the_way_back_and_ends_where_it_did_if_the_host_refuses() {
    let mut guest = Guest::new();
    // Changes are left for the way back where one task uses the map.
    guest.mm.tasks.lock().push(Weak::new());
    guest.mm.set_brk(&mut guest.thread, HEAP + 4 * PAGE, &guest.limits);
    assert_eq!(guest.mm.set_brk(&mut guest.thread, HEAP + PAGE, &guest.limits), HEAP + PAGE);
    assert_eq!(guest.ranges(), [(HEAP, HEAP + PAGE)]);
    assert_eq!(take_back(&mut guest.mm.change(), &mut guest.thread), Some(HEAP + 4 * PAGE));
    assert_eq!(guest.mm.set_brk(&mut guest.thread, 0, &guest.limits), HEAP + 4 * PAGE);
    assert_eq!(guest.ranges(), [(HEAP, HEAP + 4 * PAGE)]);
    // Where something else was mapped it goes, too.
    guest.map(HEAP + 2 * PAGE, PAGE, RW, SHARED | MmapFlags::FIXED).expect("mapped");
    assert_eq!(guest.mm.set_brk(&mut guest.thread, HEAP, &guest.limits), HEAP);
    assert_eq!(guest.ranges(), []);
}

#[test]
fn the_heap_grows_and_shrinks_and_stops_at_its_neighbours() {
    let mut guest = Guest::new();
    let brk = |guest: &mut Guest, at| guest.mm.set_brk(&mut guest.thread, at, &guest.limits);
    assert_eq!(brk(&mut guest, 0), HEAP);
    assert_eq!(brk(&mut guest, HEAP + 5000), HEAP + 5000);
    assert_eq!(guest.ranges(), [(HEAP, HEAP + 2 * PAGE)]);
    assert_eq!(brk(&mut guest, HEAP + 10), HEAP + 10);
    assert_eq!(guest.ranges(), [(HEAP, HEAP + PAGE)]);
    guest.map(HEAP + 4 * PAGE, PAGE, RW, PRIVATE | MmapFlags::FIXED).expect("mapped");
    assert_eq!(brk(&mut guest, HEAP + 4 * PAGE), HEAP + 10);
    assert_eq!(brk(&mut guest, HEAP + 3 * PAGE), HEAP + 3 * PAGE);
    guest.thread.fail_after = Some(0);
    assert_eq!(brk(&mut guest, HEAP + PAGE), HEAP + 3 * PAGE);
    guest.limits.data = PAGE;
    assert_eq!(brk(&mut guest, HEAP + 2 * PAGE), HEAP + 3 * PAGE);
    guest.check();
}

#[test]
fn advice_skips_holes_and_stops_at_refusals() {
    let mut guest = Guest::new();
    let fixed = MmapFlags::FIXED;
    guest.map(BASE, PAGE, RW, PRIVATE | fixed).expect("mapped");
    guest.map(BASE + 2 * PAGE, PAGE, RW, PRIVATE | fixed).expect("mapped");
    guest.map(BASE + 3 * PAGE, PAGE, RW, SHARED | fixed).expect("mapped");
    guest.thread.fake.write(BASE + 2 * PAGE, b"x");
    assert_eq!(guest.advise(BASE, 3 * PAGE, madvise::DONTNEED), Err(Errno::ENOMEM));
    let mut byte = [1];
    guest.thread.fake.read(BASE + 2 * PAGE, &mut byte);
    assert_eq!(byte, [0]);
    assert_eq!(guest.advise(BASE + 2 * PAGE, 2 * PAGE, madvise::WIPEONFORK), Err(Errno::EINVAL));
    assert_eq!(guest.advise(BASE, PAGE, 77), Err(Errno::EINVAL));
    assert_eq!(guest.advise(BASE + 1, PAGE, madvise::NORMAL), Err(Errno::EINVAL));
    assert_eq!(guest.advise(BASE, 0, madvise::NORMAL), Ok(()));
    assert_eq!(guest.advise(BASE, PAGE, madvise::REMOVE), Err(Errno::EINVAL));
    assert_eq!(guest.advise(BASE + 3 * PAGE, PAGE, madvise::REMOVE), Ok(()));
    assert_eq!(guest.advise(BASE, PAGE, madvise::DONTFORK), Ok(()));
    let child = guest.mm.fork().expect("a child");
    assert!(child.snapshot().iter().all(|vma| vma.start != BASE));
}

#[test]
fn futexes_in_shared_memory_have_one_key_everywhere() {
    let mut guest = Guest::new();
    let (host, _) = file(8192);
    let one = open_host(host.try_clone().expect("a descriptor"), 2);
    let two = open_host(host, 2);
    let first = guest.map_file(&one, 2 * PAGE, RW, MmapFlags::SHARED).expect("mapped");
    let second = guest.map_file(&two, 2 * PAGE, RW, MmapFlags::SHARED).expect("mapped");
    let key = |address, private| guest.mm.futex_key(address, private);
    assert_eq!(key(first + PAGE + 8, false), key(second + PAGE + 8, false));
    assert_ne!(key(first, false), key(first + 4, false));
    assert_eq!(key(first, true), Ok(FutexKey::Private { mm: guest.mm.id(), address: first }));
    assert_eq!(key(0x1000, false), Err(Errno::EFAULT));
    assert_eq!(key(u64::MAX - 7, true), Err(Errno::EFAULT));
    assert_ne!(key(first, true), key(second, true));
}

#[test]
fn stacks_grow_down_to_their_limit() {
    let mut guest = Guest::new();
    let code = SEGV_MAPERR;
    let fault = |guest: &mut Guest, address| {
        let fault = HostFault { signal: 11, code, address };
        guest.mm.fault(&mut guest.thread, fault, 64 * PAGE, &guest.limits)
    };
    guest.map(BASE, PAGE, RW, PRIVATE | MmapFlags::FIXED | MmapFlags::GROWSDOWN).expect("mapped");
    assert_eq!(fault(&mut guest, BASE - 1), None);
    assert_eq!(fault(&mut guest, BASE - 10 * PAGE + 8), None);
    assert_eq!(guest.ranges(), [(BASE - 10 * PAGE, BASE + PAGE)]);
    assert_eq!(fault(&mut guest, BASE - 64 * PAGE), Some(code));
    guest.map(BASE - 260 * PAGE, PAGE, RW, PRIVATE | MmapFlags::FIXED).expect("mapped");
    assert_eq!(fault(&mut guest, BASE - 11 * PAGE), Some(code));
    // Mapped meanwhile.
    assert_eq!(fault(&mut guest, BASE - 260 * PAGE), None);
    let denied = HostFault { signal: 11, code: SEGV_ACCERR, address: BASE - 260 * PAGE };
    assert_eq!(guest.mm.fault(&mut guest.thread, denied, 64 * PAGE, &guest.limits), Some(SEGV_ACCERR));
    guest.protect(BASE - 260 * PAGE, PAGE, Prot::empty()).expect("protected");
    assert_eq!(fault(&mut guest, BASE - 11 * PAGE), None);
    let (vdso, _) = layout().vdso;
    assert_eq!(fault(&mut guest, vdso - 0x10_0000), Some(code));
    guest.check();
}

#[test]
fn sync_reports_holes_and_locks() {
    let mut guest = Guest::new();
    guest.map(BASE, PAGE, RW, PRIVATE | MmapFlags::FIXED).expect("mapped");
    assert_eq!(guest.mm.sync(BASE, PAGE, MsyncFlags::SYNC), Ok(()));
    assert_eq!(guest.mm.sync(BASE, 2 * PAGE, MsyncFlags::SYNC), Err(Errno::ENOMEM));
    assert_eq!(guest.mm.sync(BASE, PAGE, MsyncFlags::SYNC | MsyncFlags::ASYNC), Err(Errno::EINVAL));
    assert_eq!(guest.mm.check_mapped(BASE, PAGE), Ok(1));
    assert_eq!(guest.mm.check_mapped(BASE, 2 * PAGE), Err(Errno::ENOMEM));
    guest.mm.lock(&mut guest.thread, BASE, PAGE, true, &guest.limits).expect("locked");
    assert_eq!(guest.mm.sync(BASE, PAGE, MsyncFlags::INVALIDATE), Err(Errno::EBUSY));
}

#[test]
fn sealed_mappings_stay_as_they_are() {
    let mut guest = Guest::new();
    guest.map(BASE, 2 * PAGE, Prot::READ, PRIVATE | MmapFlags::FIXED).expect("mapped");
    assert_eq!(guest.mm.seal(BASE, 3 * PAGE), Err(Errno::ENOMEM));
    assert_eq!(guest.mm.seal(BASE, PAGE), Ok(()));
    assert_eq!(guest.unmap(BASE, 2 * PAGE), Err(Errno::EPERM));
    assert_eq!(guest.protect(BASE, PAGE, RW), Err(Errno::EPERM));
    assert_eq!(guest.map(BASE, PAGE, RW, PRIVATE | MmapFlags::FIXED), Err(Errno::EPERM));
    assert_eq!(guest.advise(BASE, PAGE, madvise::DONTNEED), Err(Errno::EPERM));
    assert_eq!(guest.unmap(BASE + PAGE, PAGE), Ok(()));
}

#[test]
fn shared_memory_is_shared() {
    let memory = SharedMemory::anonymous(8192).expect("memory");
    let file = File::from(memory.host.0.try_clone().expect("a descriptor"));
    file.write_all_at(b"there", 4096).expect("written");
    let mut buffer = [0; 5];
    file.read_exact_at(&mut buffer, 4096).expect("read");
    assert_eq!(&buffer, b"there");
}

#[test]
fn what_is_resident_is_told_also_while_the_map_is_changed() {
    let mut guest = Guest::new();
    guest.map(BASE, 4 * PAGE, RW, PRIVATE | MmapFlags::FIXED).expect("mapped");
    let resident = guest.mm.recently_resident();
    assert!(resident >= 4 * PAGE && resident == guest.mm.memory_use().resident);
    let change = guest.mm.change();
    assert_eq!(guest.mm.recently_resident(), resident);
    drop(change);
    guest.unmap(BASE, 4 * PAGE).expect("unmapped");
    assert_eq!(guest.mm.recently_resident(), resident - 4 * PAGE);
}
