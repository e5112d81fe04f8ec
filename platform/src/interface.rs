//! The traits between the sentry and the code that runs the guest.

use std::error::Error;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use usk_abi::signal::SignalAction;
use usk_abi::{Errno, Signal};

use crate::arch::Registers;
use crate::inlet::Inlet;
use crate::ledger::NotedCall;
use crate::lent::{
    LENT_DESCRIPTORS, LentCall, LentDescriptor, LentFile, LentMemory, MemoryWord, NotedChange, TakenBack,
};
use crate::names::{KnownName, LeftName, NameCall};
use crate::trap::CodeImage;

/// Makes address spaces. One platform serves one sandbox.
pub trait Platform: Send + Sync {
    /// `trap` or `ptrace`, as on the command line.
    fn name(&self) -> &'static str;

    /// Where guest memory may lie, and where the vDSO is.
    fn layout(&self) -> &Layout;

    /// A fresh address space that holds nothing of the guest's: only the platform's own region and the vDSO.
    fn create_space(&self) -> Result<Arc<dyn AddressSpace>, Errno>;

    /// Waits until the platform has come up, where making it has not: the caller has had other things to do meanwhile. An
    /// error names the cure.
    fn await_start(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    /// Sleeps until a host process of a guest's has ended behind the platform's back: then [`Kick::is_alive`] or
    /// [`AddressSpace::is_alive`] of whom it belonged to is false. For one thread of the sentry's, again and again.
    fn wait_for_death(&self) -> Result<(), Errno>;
}

/// The fixed geography of every guest address space. Addresses are the guest's.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Lowest address a guest mapping may have (`vm.mmap_min_addr` of the host, page aligned).
    pub guest_start: u64,
    /// First address above the guest's range, page aligned; the platform's region lies at or above it.
    pub guest_end: u64,
    /// Start and length in bytes of the vDSO's image (an ELF file), which `AT_SYSINFO_EHDR` names.
    pub vdso: (u64, u64),
    /// Start and length in bytes of the vDSO's data pages.
    pub vvar: (u64, u64),
    /// Size in bytes of the extended state in a signal frame (XSAVE area plus the trailing magic).
    pub extended_state_size: usize,
}

/// Exchanges the word at an address if it has the first value, for the second; see [`AddressSpace::exchanger`].
pub type Exchanger<'a> = Box<dyn FnMut(u64, u32, u32) -> Result<u32, Errno> + 'a>;

/// A guest address space: a host memory map that any number of guest threads share. Dropping the last reference,
/// threads included, frees it.
pub trait AddressSpace: Send + Sync {
    /// A copy-on-write duplicate that holds no thread yet, as `fork(2)` needs it. Mappings are duplicated as the
    /// host does it (private ones copied on write, shared ones shared, `MADV_DONTFORK` and `MADV_WIPEONFORK` heeded).
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, Errno>;

    /// A guest thread in this address space. It is parked: [`GuestThread::apply`] works, and the first
    /// [`GuestThread::run`] starts it in the given state. It may be sent to another sentry thread before that.
    fn create_thread(self: Arc<Self>, state: &ThreadState) -> Result<Box<dyn GuestThread>, Errno>;

    /// Copies guest memory into `buffer`, as the guest itself could read it. Returns the count of bytes copied
    /// before the first inaccessible one; `buffer.len()` if none was.
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize;

    /// Copies `data` into guest memory, as the guest itself could write it. Returns the count of bytes copied.
    fn write(&self, address: u64, data: &[u8]) -> usize;

    /// Has the host give the guest, and charge it, the pages of a range that it may write to (as MADV_POPULATE_WRITE of
    /// `madvise(2)`); otherwise the first copy to them does, in the caller's name. To be called before large copies where
    /// memory is limited: a host whose memory runs out in the name of a process that it does not end goes on to end
    /// others. What cannot be given shows when it is written to; an error only if nothing must be written any more, for the
    /// address space has come to its end.
    fn populate(&self, address: u64, length: usize) -> Result<(), Errno>;

    /// Atomically replaces the 32-bit word at `address` (4-byte aligned) by `new` if it is `current`, and returns
    /// what it was. `EFAULT` if it cannot be written.
    fn compare_exchange(&self, address: u64, current: u32, new: u32) -> Result<u32, Errno>;

    /// What exchanges words as [`AddressSpace::compare_exchange`] does, without waiting for others first. For who holds locks meanwhile
    /// that other address spaces need: an exchange takes half a second at most, and ends an address space whose guest makes it
    /// take longer. While somebody has it, nobody else gets one, or a thread or a copy of the address space.
    fn exchanger(&self) -> Result<Exchanger<'_>, Errno> {
        Ok(Box::new(move |address, current, new| self.compare_exchange(address, current, new)))
    }

    /// Ends it at once, and returns when the host has its memory back. Its guest threads have been dropped before. After
    /// that it is not alive.
    fn end(&self);

    /// False once the host has ended this address space behind the platform's back (its OOM killer does that).
    fn is_alive(&self) -> bool;
}

/// The pages that hold a range, as far as they lie below `end`. `None` if there are none.
pub(crate) fn pages_below(end: u64, address: u64, length: usize) -> Option<Range<u64>> {
    const PAGE: u64 = 4096;
    let start = address & !(PAGE - 1);
    let last = address.saturating_add(length as u64).min(end);
    (last > address).then(|| start..last.next_multiple_of(PAGE))
}

/// What a new guest thread starts with.
#[derive(Clone, Default)]
pub struct ThreadState {
    /// General registers, segment bases included.
    pub registers: Registers,
    /// Extended state as [`GuestThread::extended_state`] returns it; `None` is the processor's initial state.
    pub extended: Option<Arc<[u8]>>,
}

/// A guest thread, driven by exactly one sentry thread at a time. Dropping it ends it; its host process may be kept for
/// another guest thread of the address space, which finds nothing of it.
pub trait GuestThread: Send {
    /// Runs guest code from [`GuestThread::registers`] until something happens. After that the registers are
    /// current, and stay so until the next call.
    fn run(&mut self) -> Trap;

    /// The general registers at the last trap, with the changes made since.
    fn registers(&self) -> &Registers;

    /// The general registers, to change. Changes take effect at the next [`GuestThread::run`]. Values that the
    /// hardware or the host would refuse (a non-canonical instruction pointer, privileged flags) are the platform's
    /// to sanitise; the sentry need not.
    fn registers_mut(&mut self) -> &mut Registers;

    /// Extended state (x87, SSE, AVX, AVX-512, …) in the format of a Linux signal frame: the XSAVE area with
    /// `fp_sw_bytes` filled in, followed by `FP_XSTATE_MAGIC2`.
    fn extended_state(&mut self) -> Vec<u8>;

    /// Writes the extended state, as [`GuestThread::extended_state`] returns it, to guest memory, where it is before the
    /// guest goes on. `EFAULT` if it cannot be written; where it can by all that is known (`is_writable`) that may show on the way
    /// back, as with [`GuestThread::copy_on_return`].
    fn save_extended_state(&mut self, address: u64, _is_writable: bool) -> Result<(), Errno> {
        let image = self.extended_state();
        if self.space().write(address, &image) == image.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Replaces the extended state by an image of the format above; `None` sets the processor's initial state.
    /// `EINVAL` for an image that is malformed (the guest may have written it): then nothing has changed.
    fn set_extended_state(&mut self, image: Option<&[u8]>) -> Result<(), Errno>;

    /// Carries out memory operations in this thread's address space, in order. On failure returns the index of the
    /// operation that failed and the host's error; earlier ones stay done. Ranges outside [`Layout`]'s guest range
    /// are refused with `EINVAL` and never reach the host. Only while the thread is not in [`GuestThread::run`].
    fn apply(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)>;

    /// Guest memory that the call has brought along, as it was when the call began: as many of the bytes at `address` as
    /// are there and fit. Returns how many; 0 says nothing about the memory.
    fn handed_over(&self, _address: u64, _buffer: &mut [u8]) -> usize {
        0
    }

    /// Leaves answers to calls that need no sentry ([`Shortcut::Stands`]), by their numbers: from the next
    /// [`GuestThread::run`] on the platform may give them by itself, until [`Kick::withdraw_answers`]. Those that are left
    /// out, or are `None`, do not stand. At most nine.
    fn set_answers(&mut self, _answers: &[Option<u32>]) {}

    /// Whether the host carries out private futex operations for the guests of this platform: then it has to carry out all of
    /// them ([`GuestThread::futex`]), for those who sleep are in its queues.
    fn has_host_futexes(&self) -> bool {
        false
    }

    /// Has the host carry out a private futex operation for the guest thread, which is at a trap, and stays there. Sleeps as
    /// long as the host does. `EFAULT` for words outside the guest's range, `ENOSYS` for other operations than
    /// [`FutexCall`] names.
    fn futex(&mut self, _call: &FutexCall) -> HostCalled {
        HostCalled::Failed(Errno::ENOSYS)
    }

    /// Whether the platform can serve calls about descriptors by itself, as far as they are lent. If so it does
    /// ([`Shortcut::Lends`]) while [`GuestThread::set_lending`] says so.
    fn can_lend(&self) -> bool {
        false
    }

    /// Lends those of the descriptors from number 0 on that a bit each says, instead of what was lent of them before.
    fn lend_descriptors(&mut self, _descriptors: &[LentDescriptor; LENT_DESCRIPTORS], _which: u64) {}

    /// Says what record `number` of a lent file is: below [`LENT_RECORDS`](crate::LENT_RECORDS).
    fn lend_file(&mut self, _number: usize, _file: &LentFile) {}

    /// Sets the position of the file of a record.
    fn lend_position(&mut self, _number: usize, _position: u64) {}

    /// Maps a part of a file, read-only, as window `number` (below [`LENT_WINDOWS`](crate::LENT_WINDOWS)) in place of what that was:
    /// `length` bytes, at most [`WINDOW_SIZE`](crate::WINDOW_SIZE), from `offset` on, which is page aligned. Guest mappings
    /// are never there, and copies of the address space have nothing there. Returns its address; `None` if it cannot be.
    fn open_window(
        &mut self,
        _number: usize,
        _file: BorrowedFd<'_>,
        _offset: u64,
        _length: u64,
    ) -> Option<u64> {
        None
    }

    /// Unmaps a window before the guest goes on. No record refers to it.
    fn close_window(&mut self, _number: usize) {}

    /// Sees to it that there is memory for the notes of [`LentFile::writes_end`] and [`LentFile::locks`]. False if there cannot be.
    fn open_ledger(&mut self) -> bool {
        false
    }

    /// Opens the thread's inlet for the file of a record ([`LentFile::has_inlet`]), after everything that
    /// [`GuestThread::lend_file`] says of it: from the next [`GuestThread::run`] on, up to so many bytes, until [`Inlet::close`]. There is
    /// one at a time. `None` if there cannot be.
    fn open_inlet(&mut self, _record: usize, _room: u64) -> Option<Arc<dyn Inlet>> {
        None
    }

    /// Leaves bytes where the guest can read them, for the [`LentWindow`](crate::LentWindow) of a record: at byte `at`, a multiple of eight,
    /// of [`LENT_CONTENTS`](crate::LENT_CONTENTS), or after these, of the shelf. Returns their guest address; `None` if there is no room.
    fn leave_contents(&mut self, _at: usize, _contents: &[u8]) -> Option<u64> {
        None
    }

    /// Sees to it that there is a shelf: room for [`LENT_SHELF`](crate::LENT_SHELF) more bytes that are left. False if there cannot be.
    fn open_shelf(&mut self) -> bool {
        false
    }

    /// Leaves bytes where the guest can read them, for [`LentFile::arrived`]: from byte `offset`, a multiple of eight, of
    /// [`ARRIVED_ROOM`](crate::ARRIVED_ROOM) on, in place of those that were left there. Returns their guest address; `None` if there is
    /// no room.
    fn leave_arrived(&mut self, _offset: usize, _bytes: &[u8]) -> Option<u64> {
        None
    }

    /// From the next [`GuestThread::run`] on serves calls from what is lent, or not. [`Kick::withdraw_answers`] ends it as well.
    fn set_lending(&mut self, _lends: bool) {}

    /// Leaves what a name means: from the next [`GuestThread::run`] on the platform may answer calls about it by itself
    /// ([`Shortcut::Knows`]), as the thread asks it, until [`Kick::withdraw_names`], [`Kick::withdraw_answers`] or
    /// [`GuestThread::set_answers`]. `None` if it cannot be left. Names may be forgotten at any time.
    fn leave_name(&mut self, _known: &KnownName<'_>) -> Option<LeftName> {
        None
    }

    /// Erases what was left of names, of files' contents, and of streams.
    fn forget_names(&mut self) {}

    /// What has become of the descriptors that were lent, if the guest has changed any: the guest may have forged
    /// everything, within the types. What is told is told once.
    fn take_back(&mut self) -> Option<TakenBack> {
        None
    }

    /// Says which of the descriptors that are [watchable](LentFile::watchable) by an instance are watched. Nothing is noted so far.
    fn lend_watched(&mut self, _watched: u64) {}

    /// The changes of that instance that have been noted since ([`Shortcut::NotesChange`]), in their order: the guest may have forged
    /// everything, within the types.
    fn noted(&mut self) -> Vec<NotedChange> {
        Vec::new()
    }

    /// Has the platform answer `rt_sigprocmask(2)` by itself ([`Shortcut::ChangesMask`]) from the next [`GuestThread::run`] on,
    /// until [`MaskWord::withdraw`]: `mask` is the thread's now, `quiet` as of [`MaskWord::set_quiet`]. From then on the mask is in
    /// the returned word. `None` if the platform has no way to do so.
    fn share_mask(&mut self, _mask: u64, _quiet: u64) -> Option<Arc<dyn MaskWord>> {
        None
    }

    /// Has the platform answer `rt_sigaction(2)` by itself ([`Shortcut::ChangesAction`]) from the next [`GuestThread::run`] on, until
    /// [`ActionWords::withdraw_actions`] or [`GuestThread::set_answers`], where the thread also has its mask
    /// ([`GuestThread::share_mask`]): `actions` are those of all signals now. From then on they are in the returned words. `None` if the
    /// platform has no way to do so.
    fn share_actions(&mut self, _actions: &[SignalAction; SIGNAL_COUNT]) -> Option<Arc<dyn ActionWords>> {
        None
    }

    /// Has the platform let go of pages in a range, `madvise(MADV_DONTNEED)`, by itself ([`Shortcut::MapsMemory`]) from the next
    /// [`GuestThread::run`] on, until [`Kick::withdraw_advice`] or [`GuestThread::set_answers`]: private anonymous memory, which others
    /// may use too. False if the platform has no way to do so. Only one range is lent at a time.
    fn lend_advice(&mut self, _range: &Range<u64>) -> bool {
        false
    }

    /// Has the platform map, unmap and advise about private anonymous memory in a range by itself ([`Shortcut::MapsMemory`]) from
    /// the next [`GuestThread::run`] on, until [`MemoryWord::withdraw_memory`] or [`GuestThread::set_answers`]. `None` if the platform has
    /// no way to do so. Only one range is lent at a time.
    fn lend_memory(&mut self, _memory: &LentMemory) -> Option<Arc<dyn MemoryWord>> {
        None
    }

    /// The thread's alternate signal stack, as `uc_stack` of a frame that does not change it (address, flags without
    /// `SS_ONSTACK`, size): where the thread also has its mask ([`GuestThread::share_mask`]) the platform may return from handlers
    /// by such frames by itself ([`Shortcut::ReturnsFromHandler`]). All zero, and at first: by none.
    fn set_return_stack(&mut self, _stack: [u64; 3]) {}

    /// What it has left for its end ([`Shortcut::SetsRobustList`]).
    fn left(&self) -> Left {
        Left::default()
    }

    /// Forgets that.
    fn forget_left(&mut self) {}

    /// Has data copied to guest memory on the way back to the guest, where nobody can look at it before this thread goes
    /// on, and where the guest can write by all that is known. If it cannot, the next [`GuestThread::run`] returns
    /// [`Trap::Unwritable`]. False if the platform has no room or no way to do so: nothing has happened.
    fn copy_on_return(&mut self, _address: u64, _data: &[u8]) -> bool {
        false
    }

    /// As [`GuestThread::apply`], for changes that nobody can look at before this thread goes on: the platform may leave
    /// them for its way back to the guest. If one fails there, the next [`GuestThread::run`] returns [`Trap::Refused`].
    fn apply_on_return(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        self.apply(operations)
    }

    /// Makes the copies that [`GuestThread::copy_on_return`] has left for the way back. `EFAULT` if one could not be made.
    fn settle_copies(&mut self) -> Result<(), Errno> {
        Ok(())
    }

    /// Carries out what [`GuestThread::apply_on_return`] has left for the way back, and returns the error of what fails.
    fn settle(&mut self) -> Result<(), Errno> {
        Ok(())
    }

    /// Whether the last call came the slow way, by a signal or a stop, and not from a call site that was made fast.
    fn came_slowly(&self) -> bool {
        true
    }

    /// The `syscall` instruction of the last trap, if it trapped the slow way and [`GuestThread::patch`] may help.
    fn patchable_site(&self) -> Option<u64> {
        None
    }

    /// Makes the call site whose `syscall` instruction is at `site`, and which has called `number`, fast, by rewriting guest code. Only
    /// while the thread is at a trap, with its registers unchanged, and while no other thread of the address space runs or can
    /// begin to. `EOPNOTSUPP` if the code there, or the room, does not permit it: then nothing has changed.
    fn patch(&mut self, _site: u64, _number: u64, _request: &PatchRequest) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Whether call sites are patched here.
    fn patches_code(&self) -> bool {
        false
    }

    /// Writes a file's patched code over the code in `request.text`, where the file has just been mapped from its byte `offset`
    /// on; [`PatchRequest::trampolines`] is where the image wants them. Only before anybody runs there, and while text and
    /// trampolines can be written. `ESTALE` if the code is not what the image was made of, `EFAULT` if it cannot be
    /// written: then nothing has changed.
    fn patch_known(
        &mut self,
        _request: &PatchRequest,
        _offset: u64,
        _image: &Arc<CodeImage>,
    ) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Whether a site whose code or trampoline has a byte in `range` is patched.
    fn is_patched(&self, _range: &Range<u64>) -> bool {
        false
    }

    /// Restores the original code of all sites whose code or trampoline has a byte in a range. The same conditions.
    fn unpatch(&mut self, _range: Range<u64>) -> Result<(), Errno> {
        Ok(())
    }

    /// The address space this thread lives in.
    fn space(&self) -> &Arc<dyn AddressSpace>;

    /// A handle by which other sentry threads interrupt this one.
    fn kicker(&self) -> Arc<dyn Kick>;
}

/// Where a call site may be rewritten.
#[derive(Clone, Debug)]
pub struct PatchRequest {
    /// The mapping that holds the code: private, readable and executable, not writable.
    pub text: Range<u64>,
    /// Room for trampolines near it: a private anonymous mapping, readable and executable, that holds nothing else. The
    /// same range for all sites that it serves.
    pub trampolines: Range<u64>,
}

/// The number of the answer that lets a thread ask the host ([`Shortcut::AsksHost`]). What the answer is does not matter.
pub const MAY_ASK_HOST: u8 = 7;

/// How a platform may make a call cheaper: a hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shortcut {
    /// Not at all.
    #[default]
    None,
    /// It may bring guest memory along (see [`GuestThread::handed_over`]).
    HandsOver(Memory),
    /// It is `rt_sigprocmask(2)`, which needs nobody as long as it unblocks no pending signal (see
    /// [`GuestThread::share_mask`]); otherwise it brings along what its second argument points to.
    ChangesMask,
    /// It is `rt_sigaction(2)`, which needs nobody as long as it ignores no pending signal (see [`GuestThread::share_actions`]);
    /// otherwise it brings along what its second argument points to.
    ChangesAction,
    /// It is `rt_sigreturn(2)`, which needs nobody if the frame asks for nothing unusual (see
    /// [`GuestThread::set_return_stack`]).
    ReturnsFromHandler,
    /// It is `clock_gettime(2)`, `gettimeofday(2)`, `getcpu(2)` or `getrandom(2)`, which the platform may have the host answer while
    /// answer number [`MAY_ASK_HOST`] stands.
    AsksHost,
    /// It is `mmap(2)`, `munmap(2)` or `madvise(2)`, which needs nobody where it is about lent memory alone (see
    /// [`GuestThread::lend_memory`]).
    MapsMemory,
    /// It has no arguments, and is answered by answer number N while that stands (see [`GuestThread::set_answers`]).
    Stands(u8),
    /// It may be served by what is lent (see [`GuestThread::lend_descriptors`]).
    Lends(LentCall),
    /// It may be noted instead ([`LentFile::writes_end`]); otherwise it brings along what it writes.
    Notes(NotedCall),
    /// It may be answered by what is known of names (see [`GuestThread::leave_name`]); otherwise it brings its name along.
    Knows(NameCall),
    /// The host carries it out where the guest calls, in the forms that are the guest's own affair, while
    /// [`HOST_CALLS_STAND`] stands. A kick that interrupts it makes it an ordinary call.
    HostCall(HostCallKind),
    /// It makes a thread or a process, and may bring the extended state along, for which [`GuestThread::extended_state`] would ask.
    BringsState,
    /// It is `set_robust_list(2)`, which needs nobody until the thread ends ([`Left`]), while answer number [`THREAD_STANDS`] stands.
    SetsRobustList,
    /// It is `set_tid_address(2)`: the same.
    SetsTidAddress,
    /// It is `epoll_ctl(2)`, which may be noted if it is sure to succeed (see [`GuestThread::lend_watched`]); otherwise it brings
    /// its event along.
    NotesChange,
}

/// What is to be done when a guest thread ends, as far as it has said so without asking. All of it is the guest's to forge, as it could
/// name any address by the calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// What it has told `set_tid_address(2)`.
    pub tid_address: Option<u64>,
    /// What it has told `set_robust_list(2)`.
    pub robust_list: Option<u64>,
}

/// The number of the answer to `gettid(2)` (see [`GuestThread::set_answers`]).
pub const THREAD_STANDS: u8 = 1;

/// Calls that the host may carry out for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostCallKind {
    /// `futex(2)` with `FUTEX_PRIVATE_FLAG`: waiting without a timeout or until an absolute time, waking, moving waiters. Not
    /// what inherits priorities.
    Futex,
    /// `sched_yield(2)`
    Yield,
}

/// The number of the answer (see [`GuestThread::set_answers`]) that stands while the host carries out calls for the guest. The
/// answer itself has no meaning.
pub const HOST_CALLS_STAND: u8 = 8;

/// A private futex operation that the sentry has a guest thread make. The numbers are those of `futex(2)`, without its flags.
#[derive(Clone, Copy, Debug)]
pub struct FutexCall {
    /// `FUTEX_WAIT_BITSET`, `FUTEX_WAKE_BITSET`, `FUTEX_REQUEUE`, `FUTEX_CMP_REQUEUE` or `FUTEX_WAKE_OP`.
    pub operation: u32,
    /// The word.
    pub address: u64,
    /// What it is to hold, or how many to wake.
    pub value: u32,
    /// When to give up waiting, in nanoseconds on `CLOCK_MONOTONIC`.
    pub deadline_ns: Option<u64>,
    /// How many to move, or to wake at the second word.
    pub second_count: u32,
    /// The second word, if there is one.
    pub second: u64,
    /// The bit set, the value of a compare, or what is to be done to the second word.
    pub third_value: u32,
}

impl FutexCall {
    /// An operation on one word.
    pub fn new(operation: u32, address: u64, value: u32, bitset: u32) -> FutexCall {
        let (deadline_ns, second_count, second) = (None, 0, 0);
        FutexCall { operation, address, value, deadline_ns, second_count, second, third_value: bitset }
    }
}

/// What came of a call that the host was to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostCalled {
    /// It has returned this.
    Returned(u64),
    /// It has failed with this.
    Failed(Errno),
    /// A kick has come: it has done nothing.
    Interrupted,
}

/// The guest memory that a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What its first argument points to: a name, or a small structure.
    First,
    /// What its second argument points to.
    Second,
    /// What its fourth argument points to.
    Fourth,
    /// The buffer that its second argument points to and its third gives the length of, if it is small.
    Buffer,
}

/// A guest thread's mask of blocked signals, as bits, where the guest may change it at any time: to whatever it likes, and
/// without asking. So who reads it looks once, and lets nobody block what cannot be blocked.
pub trait MaskWord: Send + Sync {
    /// The mask of the moment.
    fn mask(&self) -> u64;

    /// Replaces the mask: for the thread's own sentry thread, while the thread does not run.
    fn set_mask(&self, mask: u64);

    /// Says which signals are not pending for the thread, the two that cannot be blocked included. A thread that unblocks one
    /// which is not among them calls. After this returns, [`MaskWord::mask`] shows any change that was made without
    /// knowing of it.
    fn set_quiet(&self, quiet: u64);

    /// From now on the thread calls for each change.
    fn withdraw(&self) {
        self.set_quiet(0);
    }
}

/// Signals that there are, from number 1 on.
pub const SIGNAL_COUNT: usize = Signal::MAX as usize;

/// The actions of a guest thread's signals, where the guest may change them at any time: to whatever it likes, and without asking. Who
/// reads one while the thread runs gets a handler that was there, but perhaps the flags of another. The action of SIGCHLD
/// changes by calls alone, unless the guest forges it.
pub trait ActionWords: Send + Sync {
    /// The action of signal number `index + 1`.
    fn action(&self, index: usize) -> SignalAction;

    /// Replaces it: for the thread's own sentry thread, while the thread does not run.
    fn set_action(&self, index: usize, action: SignalAction);

    /// After [`GuestThread::set_answers`], the same as [`GuestThread::share_actions`] of what is in the words.
    fn share_again(&self);

    /// From now on the thread calls for each action: for its own sentry thread, while the thread does not run.
    fn withdraw_actions(&self);
}

/// Interrupts a guest thread from another sentry thread.
pub trait Kick: Send + Sync {
    /// Makes a [`GuestThread::run`] that is under way, or the next one if none is, return [`Trap::Interrupted`]
    /// soon, or [`Trap::Syscall`] for a host call of the guest's own that it has interrupted ([`Shortcut::HostCall`]). The same
    /// with [`GuestThread::futex`]. A kick that arrives while the thread is trapped may be merged with that trap's successor, but is never
    /// lost: no guest instruction stream longer than one scheduling delay runs after it.
    fn kick(&self);

    /// Ends the host process at once (SIGKILL). A [`GuestThread::run`] under way returns [`Trap::Exited`].
    fn kill(&self);

    /// Makes the answers that were left for the thread stand no more. Once this returns it gives none of them.
    fn withdraw_answers(&self) {}

    /// Makes what was lent of files to the thread stand no more. Once this returns it serves nothing from it, but what names mean.
    fn withdraw_lending(&self) {}

    /// Makes what was left of names for the thread stand no more. Once this returns it answers from none of them.
    fn withdraw_names(&self) {}

    /// The same of the name that was [left at a place](LeftName::place). Not while a name is left there.
    fn withdraw_name(&self, _place: usize) {}

    /// Has the thread call for what it was let do ([`GuestThread::lend_advice`]). True if it may be about to do it once more; one that has
    /// been out of guest code since does not. A guest can make believe that it is, to its own harm.
    fn withdraw_advice(&self) -> bool {
        false
    }

    /// Whether the thread is in a host call of its own, and may sleep there. If the permission for these calls
    /// ([`HOST_CALLS_STAND`]) was withdrawn before, it does not go on in guest code: its [`GuestThread::run`] returns. A guest can
    /// make believe that it is there, to its own harm.
    fn is_in_host_call(&self) -> bool {
        false
    }

    /// Whether it is there and has done nothing with the descriptors that it was lent.
    fn sleeps_with_nothing(&self) -> bool {
        false
    }

    /// What the thread has left for its end ([`Shortcut::SetsRobustList`]).
    fn left(&self) -> Left {
        Left::default()
    }

    /// False once the host process has ended.
    fn is_alive(&self) -> bool;

    /// Processor time the thread has used so far, in user and kernel mode together.
    fn cpu_time(&self) -> Duration;
}

/// Why [`GuestThread::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// The guest made a system call. `rax` holds the number, `rip` points after the `syscall` instruction, `rcx` and
    /// `r11` are what the instruction leaves there. `instruction` is the address of the `syscall` instruction.
    Syscall {
        /// Address of the two-byte `syscall` instruction, to restart it.
        instruction: u64,
    },
    /// The guest faulted. The fields are the host's siginfo and signal frame.
    Fault {
        /// SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGTRAP.
        signal: i32,
        /// `si_code`.
        code: i32,
        /// `si_addr`.
        address: u64,
        /// Trap number and error code, as `sigcontext` has them.
        trap_number: u64,
        /// See `trap_number`.
        error_code: u64,
    },
    /// A change that was left for the way back has failed with this error ([`GuestThread::apply_on_return`]). No guest code
    /// has run.
    Refused(Errno),
    /// The guest has not gone on: what [`GuestThread::copy_on_return`] has left for the way back could not be written. The
    /// registers are those it was to have.
    Unwritable,
    /// [`Kick::kick`] was called, or a kick of whoever had the address space before came late. Nothing of the guest's state has changed.
    Interrupted,
    /// The host process is gone; the thread can only be dropped.
    Exited(ExitReason),
}

/// How a guest thread's host process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// By SIGKILL: the sentry's own, or from outside (the host's OOM killer, an operator).
    Killed,
    /// By a filter, a fault in the stub, or another signal that only a guest that tampers with the platform's
    /// region can cause; the number is the host's signal.
    Violation(i32),
}

/// One operation on guest memory. Addresses and lengths are page aligned, lengths not zero.
#[derive(Clone, Copy, Debug)]
pub enum MemoryOp<'a> {
    /// Private anonymous memory, replacing what was there.
    MapAnonymous {
        /// Where.
        address: u64,
        /// Bytes.
        length: u64,
        /// Access.
        protection: Protection,
        /// Options.
        flags: MapFlags,
    },
    /// A file, replacing what was there.
    MapFile {
        /// Where.
        address: u64,
        /// Bytes.
        length: u64,
        /// Access.
        protection: Protection,
        /// Shared, or private (copy on write).
        shared: bool,
        /// Options.
        flags: MapFlags,
        /// A regular file or memfd of the host. It is kept until it is mapped.
        file: &'a Arc<OwnedFd>,
        /// Byte offset into the file, page aligned.
        offset: u64,
    },
    /// Removes mappings.
    Unmap {
        /// Where.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// Changes access.
    Protect {
        /// Where.
        address: u64,
        /// Bytes.
        length: u64,
        /// Access.
        protection: Protection,
    },
    /// Moves or resizes a mapping to exactly `new_address` (`MREMAP_MAYMOVE | MREMAP_FIXED`, or in place when the
    /// addresses are equal).
    Remap {
        /// Old place.
        address: u64,
        /// Old length in bytes.
        length: u64,
        /// New place; must not overlap the old one unless equal.
        new_address: u64,
        /// New length in bytes.
        new_length: u64,
        /// `MREMAP_DONTUNMAP`: leave the old range mapped and empty.
        keep_old: bool,
    },
    /// `madvise(2)`; only the advice values that the platform's filter allows: MADV_NORMAL, RANDOM, SEQUENTIAL,
    /// WILLNEED, DONTNEED, FREE, DONTFORK, DOFORK, HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP, WIPEONFORK, KEEPONFORK,
    /// COLD, PAGEOUT, POPULATE_READ, POPULATE_WRITE. Others are refused with `EINVAL`.
    Advise {
        /// Where.
        address: u64,
        /// Bytes.
        length: u64,
        /// `MADV_*`.
        advice: i32,
    },
    /// Empties the whole guest range (everything between [`Layout::guest_start`] and [`Layout::guest_end`]).
    UnmapAll,
}

/// Access to a range of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Protection {
    /// `PROT_READ`.
    pub read: bool,
    /// `PROT_WRITE`.
    pub write: bool,
    /// `PROT_EXEC`.
    pub execute: bool,
}

/// Options of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MapFlags {
    /// `MAP_POPULATE`.
    pub populate: bool,
    /// `MAP_NORESERVE`.
    pub no_reserve: bool,
}
