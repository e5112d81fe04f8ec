//! The object: an address space with its tree of mappings.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};
use usk_abi::Errno;
use usk_abi::mm::{DEFAULT_MAX_MAP_COUNT, PAGE_SIZE};
use usk_platform::{AddressSpace, GuestThread, Layout, MemoryOp, Protection};

use crate::aio::AioContexts;
use crate::mm::advisers::Advisers;
use crate::mm::barrier::BarrierKinds;
use crate::mm::deferred::Undo;
use crate::mm::known_code::KnownCode;
use crate::mm::lent::Lent;
use crate::mm::patching::KnownText;
use crate::mm::placement::Placement;
use crate::mm::program::ProgramNumber;
use crate::mm::slow_sites::SlowSites;
use crate::mm::tree::{Totals, VmaTree};
use crate::mm::vma::{ALL_ACCESS, Backing, Vma, VmaFlags};
use crate::task::{Resource, Task};
use crate::vfs::{FileClaim, OpenFile};

/// May lock memory without limit (`capabilities(7)`).
const CAP_IPC_LOCK: u32 = 14;

/// An address space (`mm_struct`).
pub struct Mm {
    /// The host's side of it.
    pub space: Arc<dyn AddressSpace>,
    pub(in crate::mm) id: u64,
    /// The tasks that use it.
    pub(in crate::mm) tasks: Mutex<Vec<Weak<Task>>>,
    /// Threads must stay out of guest code: code is being rewritten (`patching`).
    pub(in crate::mm) is_stopping: AtomicBool,
    /// The only task may unmap a file by itself ([`Mm::let_go_of_files`]).
    pub(in crate::mm) has_lent_file: AtomicBool,
    /// Sleepers on private futexes that hang in the sentry although the host keeps such futexes.
    pub(crate) futex_sleepers: AtomicU32,
    /// Held while threads are counted that are still in guest code.
    pub(in crate::mm) stopping: Mutex<()>,
    pub(in crate::mm) has_stopped: Condvar,
    /// How often call sites have trapped: which of them to patch.
    pub(crate) slow_sites: Mutex<SlowSites>,
    /// Operations that were submitted.
    pub aio: AioContexts,
    /// `PR_SET_DUMPABLE`: [`SUID_DUMP_USER`] or [`SUID_DUMP_DISABLE`].
    pub dumpable: AtomicU32,
    /// Which of the programs that have run in it does ([`Mm::of_program`]).
    pub(in crate::mm) program: ProgramNumber,
    /// Page aligned.
    pub(in crate::mm) layout: Layout,
    /// What [`Mm::recently_resident`] has found out last.
    pub(in crate::mm) resident: AtomicU64,
    /// Locked by [`Mm::look`] and [`Mm::change`].
    pub(in crate::mm) state: Mutex<State>,
}

/// Nobody but who may look into any process looks at the memory.
pub(crate) const SUID_DUMP_DISABLE: u32 = 0;
/// Its user may.
pub(crate) const SUID_DUMP_USER: u32 = 1;

/// What the lock protects.
#[derive(Clone)]
pub(in crate::mm) struct State {
    pub(in crate::mm) tree: VmaTree,
    pub(in crate::mm) placement: Placement,
    pub(in crate::mm) image: ImageRanges,
    /// The end of the heap, not page aligned.
    pub(in crate::mm) brk: u64,
    /// Flags of mappings to come, set by `mlockall(MCL_FUTURE)`.
    pub(in crate::mm) future_flags: VmaFlags,
    /// Largest total so far (`VmPeak`).
    pub(in crate::mm) peak: u64,
    /// Barriers that a process has registered for (`membarrier(2)`).
    pub(in crate::mm) barriers: BarrierKinds,
    /// How to take back the last change, if the host refuses it on the way back to the guest.
    pub(in crate::mm) undo: Option<Undo>,
    /// Where the file was mapped that was mapped last, without access to write or to execute, as long as nothing else has changed: nobody
    /// has written there ([`Mm::map`]).
    pub(in crate::mm) untouched: Range<u64>,
    /// What the only task maps and unmaps by itself.
    pub(in crate::mm) lent: Option<Lent>,
    /// Threads that let go of memory by themselves.
    pub(in crate::mm) advisers: Advisers,
    /// Areas of trampolines, which are also in the tree.
    pub(in crate::mm) trampolines: Vec<Range<u64>>,
    /// Whether the program was loaded with an interpreter, which maps its libraries.
    pub(in crate::mm) has_interpreter: bool,
    /// A tracer has seen the code, which is not rewritten as long as the program runs ([`Mm::keep_code`]).
    pub(in crate::mm) keeps_code: bool,
    auxiliary_vector: Arc<[u8]>,
    executable: Option<Executable>,
}

/// The program's file, which nobody may write while it runs.
#[derive(Clone)]
pub(crate) struct Executable {
    pub(crate) file: Arc<OpenFile>,
    #[expect(dead_code, reason = "held, not used")]
    pub(crate) claim: Arc<FileClaim>,
}

/// What a new program brings along.
pub(crate) struct NewImage<'a> {
    pub(crate) ranges: ImageRanges,
    pub(crate) executable: Executable,
    pub(crate) has_interpreter: bool,
    pub(crate) known: &'a KnownCode,
}

/// Where the parts of a program are: what `/proc/PID/stat` and the heap need. Addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageRanges {
    /// Code: first address.
    pub code_start: u64,
    /// Code: first address after it.
    pub code_end: u64,
    /// Initialised data: first address.
    pub data_start: u64,
    /// Initialised data: first address after it.
    pub data_end: u64,
    /// Where the heap begins.
    pub brk_start: u64,
    /// The stack pointer that the program started with.
    pub stack_start: u64,
    /// The argument strings: first address.
    pub arguments_start: u64,
    /// The argument strings: first address after them.
    pub arguments_end: u64,
    /// The environment strings: first address.
    pub environment_start: u64,
    /// The environment strings: first address after them.
    pub environment_end: u64,
}

/// The resource limits that a memory call heeds, in bytes; `u64::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// `RLIMIT_AS`
    pub address_space: u64,
    /// `RLIMIT_DATA`
    pub data: u64,
    /// `RLIMIT_MEMLOCK`
    pub locked: u64,
    /// The caller has `CAP_IPC_LOCK`: no limit on locked memory.
    pub ignores_locked_limit: bool,
}

impl MemoryLimits {
    /// No limits at all.
    pub const NONE: MemoryLimits = MemoryLimits {
        address_space: u64::MAX,
        data: u64::MAX,
        locked: u64::MAX,
        ignores_locked_limit: true,
    };

    /// The limits that `task` is subject to.
    pub fn of(task: &Task) -> Self {
        let limits = task.group.limits.lock();
        MemoryLimits {
            address_space: limits.soft(Resource::AddressSpace),
            data: limits.soft(Resource::Data),
            locked: limits.soft(Resource::LockedMemory),
            ignores_locked_limit: task.credentials().has_capability(CAP_IPC_LOCK),
        }
    }

    /// `EPERM` if the caller may not lock anything.
    pub(in crate::mm) fn check_may_lock(&self) -> Result<(), Errno> {
        if self.locked == 0 && !self.ignores_locked_limit { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// False if `bytes` of locked memory are more than the caller may have.
    pub(in crate::mm) fn permits_locked(&self, bytes: u64) -> bool {
        self.ignores_locked_limit || bytes <= self.locked
    }
}

/// Memory in use, for `/proc`. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// By kind of mapping.
    pub totals: Totals,
    /// The largest total so far.
    pub peak: u64,
    /// Resident. The host does not tell which pages it has given to the guest, so this is an estimate from above: all that
    /// is mapped with access and reserves memory.
    pub resident: u64,
    /// The part of `resident` that files and shared memory back.
    pub resident_shared: u64,
}

impl Mm {
    /// Whether other processes of its user may look into it (`get_dumpable`).
    pub fn is_dumpable(&self) -> bool {
        self.dumpable.load(Ordering::Relaxed) == SUID_DUMP_USER
    }

    /// The memory map of `space`, which holds nothing yet but the vDSO. `stack_limit` is `RLIMIT_STACK` in bytes;
    /// `randomize` is false under `personality(ADDR_NO_RANDOMIZE)`.
    pub fn new(
        space: Arc<dyn AddressSpace>,
        layout: &Layout,
        stack_limit: u64,
        randomize: bool,
    ) -> Result<Arc<Mm>, Errno> {
        let mut layout = layout.clone();
        layout.guest_start = page_align(layout.guest_start).ok_or(Errno::EINVAL)?.max(PAGE_SIZE);
        layout.guest_end &= !(PAGE_SIZE - 1);
        let placement = Placement::new(&layout, stack_limit, randomize)?;
        let mut tree = VmaTree::new();
        let parts = [(layout.vvar, Backing::Vvar, false), (layout.vdso, Backing::Vdso, true)];
        for ((start, length), backing, execute) in parts {
            let protection = Protection { read: true, write: false, execute };
            let end = page_align(start.saturating_add(length)).unwrap_or(start);
            if end > start && tree.is_free(start, end) {
                let flags = VmaFlags::DONTDUMP;
                let max_protection = protection;
                tree.insert(Vma {
                    start,
                    end,
                    protection,
                    max_protection,
                    shared: false,
                    backing,
                    offset: 0,
                    flags,
                });
            }
        }
        let state = State {
            tree,
            placement,
            image: ImageRanges::default(),
            brk: 0,
            future_flags: VmaFlags::empty(),
            peak: 0,
            barriers: BarrierKinds::empty(),
            undo: None,
            untouched: 0..0,
            lent: None,
            advisers: Advisers::default(),
            trampolines: Vec::new(),
            has_interpreter: false,
            keeps_code: false,
            auxiliary_vector: Arc::default(),
            executable: None,
        };
        Ok(Mm::with_state(space, layout, state))
    }

    /// A copy-on-write duplicate (`fork(2)`): mappings marked `MADV_DONTFORK` are left out, locks are not inherited.
    pub fn fork(&self) -> Result<Arc<Mm>, Errno> {
        let state = self.look();
        let space = self.space.fork()?;
        let mut child = State {
            future_flags: VmaFlags::empty(),
            undo: None,
            untouched: 0..0,
            lent: None,
            advisers: Advisers::default(),
            ..state.clone()
        };
        let locks = VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT;
        let differs = |vma: &Vma| vma.flags.intersects(locks | VmaFlags::DONTFORK);
        if child.tree.iter().any(differs) {
            child.tree = VmaTree::new();
            for vma in state.tree.iter().filter(|vma| !vma.flags.contains(VmaFlags::DONTFORK)) {
                child.tree.insert(Vma { flags: vma.flags - locks, ..vma.clone() });
            }
        }
        child.peak = child.tree.totals().total;
        let copy = Mm::with_state(space, self.layout.clone(), child);
        *copy.slow_sites.lock() = self.slow_sites.lock().of_copy();
        copy.dumpable.store(self.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(copy)
    }

    fn with_state(space: Arc<dyn AddressSpace>, layout: Layout, state: State) -> Arc<Mm> {
        Arc::new(Mm {
            space,
            id: next_id(),
            tasks: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            has_lent_file: AtomicBool::new(false),
            futex_sleepers: AtomicU32::new(0),
            stopping: Mutex::default(),
            has_stopped: Condvar::new(),
            slow_sites: Mutex::default(),
            aio: AioContexts::default(),
            dumpable: AtomicU32::new(SUID_DUMP_USER),
            program: ProgramNumber::default(),
            layout,
            resident: AtomicU64::new(0),
            state: Mutex::new(state),
        })
    }

    /// The tasks that use this memory.
    pub(crate) fn tasks(&self) -> Vec<Arc<Task>> {
        self.tasks.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Has every task ask for what stands, until its own sentry thread leaves it anew; not before what the caller has changed
    /// can be seen.
    pub(crate) fn withdraw_answers(&self) {
        for task in self.tasks() {
            // Under this lock nobody is about to leave new ones.
            let _group = task.group.state.lock();
            task.withdraw_answers();
        }
    }

    /// Count of tasks that use this memory.
    pub fn users(&self) -> usize {
        self.tasks.lock().len()
    }

    /// A task begins to use it.
    pub(crate) fn enter(&self, task: &Arc<Task>) {
        let mut tasks = self.tasks.lock();
        tasks.push(Arc::downgrade(task));
        let is_second = tasks.len() == 2;
        drop(tasks);
        // Who shares memory is lent none; the only one to have been is making the call by which the second comes.
        if is_second {
            drop(self.change());
        }
    }

    /// A task uses it no more.
    pub(crate) fn leave(&self, task: &Arc<Task>) {
        let mut tasks = self.tasks.lock();
        if let Some(index) = tasks.iter().position(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(task))) {
            tasks.swap_remove(index);
        }
        let is_unused = tasks.is_empty();
        drop(tasks);
        if is_unused {
            drop(self.begin_program());
            // What it mapped is free for others now, however long somebody keeps this object.
            let mut state = self.state.lock();
            // Its thread is no more.
            state.lent = None;
            let mapped = (state.executable.take(), std::mem::take(&mut state.tree));
            drop(state);
            drop(mapped);
        }
    }

    /// True if all of a range is mapped.
    pub fn is_mapped(&self, start: u64, end: u64) -> bool {
        self.look().tree.first_hole(start, end) >= end
    }

    /// True if all of a range lies in one mapping that the guest may write to, and that no file's end can cut short.
    pub(crate) fn is_writable(&self, address: u64, length: u64) -> bool {
        let Some(end) = address.checked_add(length) else { return false };
        self.look().tree.find(address).is_some_and(|vma| {
            end <= vma.end && vma.protection.write && !matches!(vma.backing, Backing::File(_))
        })
    }

    /// True if nobody but its only task can ever see what is written to it now: none of it is shared.
    pub(crate) fn is_nobody_elses(&self) -> bool {
        self.users() == 1 && self.look().tree.totals().shared == 0
    }

    /// A number that no other address space of this sentry ever has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The geography of the address space.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where the program's parts are.
    pub fn image(&self) -> ImageRanges {
        self.look().image
    }

    /// Replaces what [`Mm::image`] returns (`prctl(PR_SET_MM)`).
    pub fn set_image(&self, image: ImageRanges) {
        self.change().image = image;
    }

    /// The auxiliary vector that the program was started with, for `/proc/PID/auxv`.
    pub fn auxiliary_vector(&self) -> Arc<[u8]> {
        self.look().auxiliary_vector.clone()
    }

    /// The program's file, for `/proc/PID/exe`.
    pub fn executable(&self) -> Option<Arc<OpenFile>> {
        self.look().executable.as_ref().map(|executable| executable.file.clone())
    }

    /// Memory in use.
    pub fn memory_use(&self) -> MemoryUse {
        self.look().memory_use()
    }

    /// Resident memory in bytes, as in [`MemoryUse`], for whoever must not wait for a change of the map, which may take the host
    /// seconds: while one is under way, what was found the last time.
    pub(crate) fn recently_resident(&self) -> u64 {
        if let Some(state) = self.try_look() {
            self.resident.store(state.memory_use().resident, Ordering::Relaxed);
        }
        self.resident.load(Ordering::Relaxed)
    }

    /// A copy of every mapping that the guest may know of, lowest first.
    pub fn snapshot(&self) -> Vec<Vma> {
        self.look().tree.iter().filter(|vma| !vma.is_hidden()).cloned().collect()
    }

    /// Replaces everything by a new program: empties the guest's range on the host, carries out `operations`, and records
    /// `areas`; code that is `known` is patched. On failure the address space is unusable and its tasks must end.
    pub(crate) fn install_image(
        &self,
        thread: &mut dyn GuestThread,
        mut operations: Vec<MemoryOp<'_>>,
        areas: Vec<Vma>,
        placement: Placement,
        image: NewImage<'_>,
    ) -> Result<(), Errno> {
        let mut state = self.change();
        let mut tree = state.tree.clone();
        tree.remove(self.layout.guest_start, self.layout.guest_end);
        for vma in areas {
            if !tree.is_free(vma.start, vma.end) {
                return Err(Errno::ENOEXEC);
            }
            tree.insert(vma);
        }
        let keeps_code = self.is_traced();
        let texts = match thread.patches_code() && !keeps_code {
            true => self.known_texts(&tree, image.known, 0..self.layout.guest_end),
            false => Vec::new(),
        };
        operations.extend(texts.iter().flat_map(KnownText::opening));
        apply(thread, &operations)?;
        state.tree = tree;
        state.brk = image.ranges.brk_start;
        state.image = image.ranges;
        state.placement = placement;
        state.future_flags = VmaFlags::empty();
        state.peak = 0;
        state.barriers = BarrierKinds::empty();
        state.trampolines.clear();
        state.executable = Some(image.executable);
        state.has_interpreter = image.has_interpreter;
        state.keeps_code = keeps_code;
        state.note_peak();
        if !texts.is_empty() {
            self.write_known_code(&mut state, thread, image.known, &texts);
        }
        Ok(())
    }

    /// Records the auxiliary vector.
    pub(crate) fn set_auxiliary_vector(&self, vector: &[u8]) {
        self.change().auxiliary_vector = vector.into();
    }
}

impl State {
    fn memory_use(&self) -> MemoryUse {
        let mut resident = 0;
        let mut resident_shared = 0;
        for vma in self.tree.iter().filter(|vma| !vma.is_hidden()) {
            if !vma.protection.read && !vma.protection.write && !vma.protection.execute {
                continue;
            }
            if vma.flags.intersects(VmaFlags::NORESERVE | VmaFlags::STACK) {
                continue;
            }
            resident += vma.length();
            if !matches!(vma.backing, Backing::Anonymous) {
                resident_shared += vma.length();
            }
        }
        MemoryUse { totals: self.tree.totals(), peak: self.peak, resident, resident_shared }
    }

    /// `ENOMEM` if `added` more bytes would be too many; `replaced` bytes of the total go away. `is_data` says whether the
    /// new bytes are private and writable.
    pub(in crate::mm) fn check_room(
        &self,
        limits: &MemoryLimits,
        added: u64,
        replaced: u64,
        is_data: bool,
    ) -> Result<(), Errno> {
        let totals = self.tree.totals();
        let total = (totals.total - replaced.min(totals.total)).saturating_add(added);
        if total > limits.address_space {
            return Err(Errno::ENOMEM);
        }
        if is_data && totals.data.saturating_add(added) > limits.data {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// `ENOMEM` if `added` more mappings would be too many.
    pub(in crate::mm) fn check_map_count(&self, added: usize) -> Result<(), Errno> {
        if self.tree.len() + added > DEFAULT_MAX_MAP_COUNT + 1 { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// `EPERM` if anything in the range may not be changed.
    pub(in crate::mm) fn check_not_sealed(&self, start: u64, end: u64) -> Result<(), Errno> {
        if self.tree.overlapping(start, end).any(Vma::is_sealed) { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Whether a file in the range is mapped shared and may be written. Others go by that (`F_SEAL_WRITE`), so it is told until the host has
    /// surely unmapped it.
    pub(in crate::mm) fn has_claims(&self, start: u64, end: u64) -> bool {
        let has_claim = |vma: &Vma| matches!(&vma.backing, Backing::File(file) if file.claim.is_some());
        self.tree.overlapping(start, end).any(has_claim)
    }

    /// Copies of the mappings in a range, cut to it.
    pub(in crate::mm) fn parts(&self, start: u64, end: u64) -> Vec<Vma> {
        self.tree.overlapping(start, end).map(|vma| vma.part(start, end)).collect()
    }

    /// Keeps `VmPeak` up to date; called after the total may have grown.
    pub(in crate::mm) fn note_peak(&mut self) {
        self.peak = self.peak.max(self.tree.totals().total);
    }
}

/// Has the host carry out operations; the error of the one that failed.
pub(in crate::mm) fn apply(thread: &mut dyn GuestThread, operations: &[MemoryOp<'_>]) -> Result<(), Errno> {
    thread.apply(operations).map_err(|(_, error)| error)
}

/// A new anonymous mapping's fields that hardly ever differ.
pub(in crate::mm) fn anonymous_vma(start: u64, end: u64, protection: Protection, flags: VmaFlags) -> Vma {
    Vma {
        start,
        end,
        protection,
        max_protection: ALL_ACCESS,
        shared: false,
        backing: Backing::Anonymous,
        offset: start,
        flags,
    }
}

/// Rounds up to a page; `None` if that overflows.
pub(crate) fn page_align(value: u64) -> Option<u64> {
    value.checked_add(PAGE_SIZE - 1).map(|sum| sum & !(PAGE_SIZE - 1))
}

/// True for a multiple of the page size.
pub(crate) fn is_page_aligned(value: u64) -> bool {
    value.is_multiple_of(PAGE_SIZE)
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
#[path = "mm_tests.rs"]
mod tests;
