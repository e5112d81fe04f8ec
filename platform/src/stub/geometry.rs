//! Where things lie in the stub region and what their fields mean: the contract between the stub's assembly, the
//! filters and the sentry. All addresses are the guest's; all offsets and sizes are in bytes.

/// First address above what guest mappings may use.
pub(crate) const GUEST_END: u64 = 0x7ffd_7fff_f000;
/// The upper half of the highest address that the filters let calls about guest memory be about.
pub(crate) const GUEST_END_HIGH: u32 = (GUEST_END >> 32) as u32;
/// First address above what they let them be about: what lies from here on no guest can change.
pub(crate) const GUEST_REACH: u64 = (GUEST_END_HIGH as u64 + 1) << 32;

/// Where the vDSO and its data pages are moved to, the second if the first overlaps the place where the host put them.
pub(crate) const VDSO_PLACES: [u64; 2] = [0x7ffe_ff00_0000, 0x7ffe_fe00_0000];

/// Start of the region: the stub's code, read-execute.
pub(crate) const STUB_BASE: u64 = 0x7fff_0000_0000;
/// The upper half of every address in the region.
pub(crate) const STUB_BASE_HIGH: u32 = (STUB_BASE >> 32) as u32;
/// Size of the code.
pub(crate) const CODE_SIZE: u64 = 0x3000;
/// Constants for the code, in the page after it.
pub(crate) const CONSTANTS: u64 = STUB_BASE + CODE_SIZE;
/// Size of code and constants.
pub(crate) const IMAGE_SIZE: u64 = CODE_SIZE + 0x1000;
/// In the constants: `struct sock_fprog` of the thread filter.
pub(crate) const THREAD_FILTER: u64 = CONSTANTS;
/// In the constants: the thread filter's instructions.
pub(crate) const THREAD_FILTER_CODE: u64 = CONSTANTS + 0x40;
/// In the constants: for each call, by its number, one of the `HANDS_OVER_*` values, or [`STANDS`] and the number of an
/// answer; a byte each.
pub(crate) const SHORTCUTS: u64 = CONSTANTS + 0xe00;
/// Calls that the table has.
pub(crate) const SHORTCUT_COUNT: u64 = 0x200;
/// In the constants: the signal mask under which a spawner touches guest memory (SIGSEGV and SIGBUS let through).
pub(crate) const SPAWNER_MASK: u64 = CONSTANTS + 0x10;
/// Size of the kernel's `sigset_t`.
pub(crate) const SIGNAL_SET_SIZE: u64 = 8;

/// Slots: memory that the guest and the sentry both write. One per guest thread; number 0 is the spawner's.
pub(crate) const SLOTS_BASE: u64 = 0x7fff_1000_0000;
/// A slot holds what a call hands over, what it gives back, a thread's signal stack and, in its last bytes, the mailbox.
pub(crate) const SLOT_SIZE: u64 = 0x4000;
/// Slots in an address space, the spawner's included.
pub(crate) const SLOT_COUNT: u64 = 0x4000;
/// Size of all slots of an address space.
pub(crate) const SLOTS_SIZE: u64 = SLOT_SIZE * SLOT_COUNT;

/// Orders: memory that the sentry writes and the guest may read. For each guest thread, as with slots, a page, one for the records
/// of lent files, and room for what is left of files ([`CONTENTS`]) and for a table of names ([`NAMES`]).
pub(crate) const ORDERS_BASE: u64 = 0x7fff_2000_0000;
/// Size of one thread's orders.
pub(crate) const ORDER_SIZE: u64 = 0x20000;
/// Size of all orders of an address space.
pub(crate) const ORDERS_SIZE: u64 = ORDER_SIZE * SLOT_COUNT;

/// First address above the region; also the first that no user address reaches (`TASK_SIZE_MAX`).
pub(crate) const REGION_END: u64 = 0x7fff_ffff_f000;

/// Which multiple of 256 MiB (`1 << SLOTS_SHIFT`) all slots lie in: how a patched call knows that the GS base is usk's.
pub(crate) const SLOTS_NUMBER: u64 = SLOTS_BASE >> SLOTS_SHIFT;
/// See [`SLOTS_NUMBER`].
pub(crate) const SLOTS_SHIFT: u32 = SLOTS_SIZE.trailing_zeros();

/// At the start of a slot: guest memory that a call from a patched site hands over, as it was when the call began.
pub(crate) const HANDED_OVER: u64 = 0;
/// Most bytes that a call hands over.
pub(crate) const HAND_OVER_SIZE: u64 = 0x1000;
/// Most bytes of something whose length is not known: a name, as a rule.
pub(crate) const HAND_OVER_PART: u64 = 0x100;
/// In a slot: what is copied to guest memory on the way back.
pub(crate) const GIVEN_BACK: u64 = HANDED_OVER + HAND_OVER_SIZE;
/// Most bytes that are copied on the way back.
pub(crate) const GIVE_BACK_SIZE: u64 = 0x1000;
/// The signal stack, from the start of a slot to [`SIGNAL_STACK_END`].
pub(crate) const SIGNAL_STACK: u64 = GIVEN_BACK + GIVE_BACK_SIZE;

/// The mailbox, from the start of a slot. Everything in it is a hint: the guest can write it.
pub(crate) const MAILBOX: u64 = SLOT_SIZE - 0x500;
/// In the mailbox, `u32`: what a newborn thread, or its spawner, says: one of the `HINT_*` values.
pub(crate) const BIRTH: u64 = MAILBOX;
/// In the mailbox, `i32`: the result of the spawner's `clone`: a host process number, or a negated error.
pub(crate) const RESULT: u64 = MAILBOX + 4;
/// In the mailbox, `u32`: where the kernel writes the number of the descriptor that `CLONE_PIDFD` makes. Not read.
pub(crate) const PIDFD_NUMBER: u64 = MAILBOX + 8;
/// In the mailbox, `u32`: number of the last order that the spawner has finished.
pub(crate) const DONE: u64 = MAILBOX + 12;
/// In the mailbox, `u32`: the word that a compare-exchange found.
pub(crate) const FOUND: u64 = MAILBOX + 16;
/// In the mailbox, `u32`: 1 if a compare-exchange faulted.
pub(crate) const FAULTED: u64 = MAILBOX + 20;

/// After the mailbox: what a call from a patched site leaves here while the stub has the registers. All of it is the
/// guest's to forge; it is the guest's own registers.
pub(crate) const ENTRY: u64 = MAILBOX + 0x40;
/// In the entry area: the stack pointer.
pub(crate) const ENTRY_RSP: u64 = ENTRY;
/// In the entry area: the address after the `syscall` instruction of the original code.
pub(crate) const ENTRY_RIP: u64 = ENTRY + 0x08;
/// In the entry area: where the stub goes back to, in the site's trampoline.
pub(crate) const ENTRY_RETURN: u64 = ENTRY + 0x10;
/// In the entry area: the call's number; then its result.
pub(crate) const ENTRY_RAX: u64 = ENTRY + 0x18;
/// In the entry area: `rbx`, `rbp`, `r12` to `r15`.
pub(crate) const ENTRY_PRESERVED: u64 = ENTRY + 0x20;
/// In the entry area: `rdi`, `rsi`, `rdx`, `r10`, `r8`, `r9`, but only while a list of calls is carried out (the first two
/// also while memory is handed over): the host's notification brings them to the sentry, and leaves them as they are.
pub(crate) const ENTRY_ARGUMENTS: u64 = ENTRY + 0x50;
/// In the entry area: the FS base.
pub(crate) const ENTRY_FS: u64 = ENTRY + 0x80;
/// In the entry area: `r11`, if the sentry has set all registers or a list of calls is carried out.
pub(crate) const ENTRY_R11: u64 = ENTRY + 0x98;
/// In the entry area: the flags, pushed there.
pub(crate) const ENTRY_FLAGS: u64 = ENTRY + 0x88;
/// In the entry area: the top of the stack that the flags are pushed to.
pub(crate) const ENTRY_STACK: u64 = ENTRY + 0x90;

/// In the entry area: the address of the memory that the call hands over.
pub(crate) const ENTRY_HANDED_FROM: u64 = ENTRY + 0xa0;
/// In the entry area, `u32`: how many bytes of it; 0 if none.
pub(crate) const ENTRY_HANDED_LENGTH: u64 = ENTRY + 0xa8;

/// In a slot, its last word: the thread's mask of blocked signals, while the stub changes it by itself.
pub(crate) const MASK: u64 = SLOT_SIZE - 8;
/// In a guest thread's orders, `u64`: the signals that are not pending for the thread, so that it may unblock them without the
/// sentry. 0: the mask is the sentry's alone, and every call about it is.
pub(crate) const QUIET: u64 = 56;
/// In the table of shortcuts: the stub changes the mask of blocked signals.
pub(crate) const CHANGES_MASK: u8 = 5;
/// In the table of shortcuts: the stub returns from a signal's handler.
pub(crate) const RETURNS: u8 = 6;
/// In the table of shortcuts: the stub asks the host for the time, the processor, or random bytes.
pub(crate) const ASKS_HOST: u8 = 7;
/// Which of the answers that stand says that it may.
pub(crate) const HOST_IS_ASKED: u64 = STANDING + 8 * crate::interface::MAY_ASK_HOST as u64;
/// The clocks of `clock_gettime(2)` that it asks for.
pub(crate) const CLOCKS: [u32; 6] = [
    libc::CLOCK_REALTIME as u32,
    libc::CLOCK_MONOTONIC as u32,
    libc::CLOCK_MONOTONIC_RAW as u32,
    libc::CLOCK_REALTIME_COARSE as u32,
    libc::CLOCK_MONOTONIC_COARSE as u32,
    libc::CLOCK_BOOTTIME as u32,
];
/// These as bits.
pub(crate) const CLOCK_BITS: u32 =
    1 << CLOCKS[0] | 1 << CLOCKS[1] | 1 << CLOCKS[2] | 1 << CLOCKS[3] | 1 << CLOCKS[4] | 1 << CLOCKS[5];
/// Random bytes that it asks for at most. Nothing interrupts the host while it makes so few.
pub(crate) const FEW_RANDOM_BYTES: u64 = 256;
/// In a guest thread's orders: `uc_stack` of a frame that leaves the thread's alternate stack as it is, without `SS_ONSTACK`.
pub(crate) const RETURN_STACK: u64 = STANDING - 40;
/// In a guest thread's orders: an instruction pointer to return to, and where the code is that is to run there: elsewhere, if the
/// place is patched.
pub(crate) const RETURN_PLACE: u64 = RETURN_STACK + 24;
/// In the constants: how a signal frame's extended state begins and ends, as `Format::frame_words` of `extended_state.rs` has it.
pub(crate) const EXTENDED_FORMAT: u64 = CONSTANTS + 0x18;
/// At the start of a slot, while the stub returns from a handler: the registers as a frame has them, up to the flags.
pub(crate) const RETURNED: u64 = HANDED_OVER;
/// Count of these.
pub(crate) const RETURNED_REGISTERS: u64 = 18;
/// Among these, the instruction pointer, and the flags after it.
pub(crate) const RETURNED_RIP: u64 = RETURNED + 128;
/// See [`RETURNED_RIP`].
pub(crate) const RETURNED_FLAGS: u64 = RETURNED + 136;
/// After these, the mask.
pub(crate) const RETURNED_MASK: u64 = RETURNED + 144;
/// After it, where the stub goes.
pub(crate) const RETURNED_PLACE: u64 = RETURNED + 152;
/// Flags that a return from a handler sets, but for the trap and the resume flag: AC, OF, DF, SF, ZF, AF, PF, CF (`FIX_EFLAGS`).
pub(crate) const FLAGS_RETURNED: u32 = 0x4_0cd5;
/// Signals that nobody can block, as bits of a mask: SIGKILL and SIGSTOP.
pub(crate) const UNBLOCKABLE: [i32; 2] = [libc::SIGKILL, libc::SIGSTOP];

/// A newborn thread has its listener and is about to ring.
pub(crate) const HINT_BORN: u32 = 1;
/// The spawner could not make the thread.
pub(crate) const HINT_FAILED: u32 = 2;

/// In the spawner's orders, `u32`: number of the current order; the spawner sleeps until it changes.
pub(crate) const ORDER_NUMBER: u64 = 0;
/// In the spawner's orders, `u32`: which of the `ORDER_*` kinds.
pub(crate) const ORDER_KIND: u64 = 4;
/// In the spawner's orders: three arguments, `u64` each.
pub(crate) const ORDER_ARGUMENTS: u64 = 8;
/// In the spawner's orders, `u32`: which of [`CHILD_DESCRIPTORS`] what it makes has. It closes the other.
pub(crate) const ORDER_CHILD: u64 = ORDER_ARGUMENTS + 24;

/// Make a guest thread: address of its mailbox, address of its first signal frame's `ucontext`, token.
pub(crate) const ORDER_THREAD: u32 = 1;
/// Duplicate the address space: offsets of its new slots and orders in their files.
pub(crate) const ORDER_FORK: u32 = 2;
/// Compare and exchange a word of guest memory: address, current, new.
pub(crate) const ORDER_COMPARE_EXCHANGE: u32 = 4;
/// Have the host give the pages of a range: address, length.
pub(crate) const ORDER_POPULATE: u32 = 5;

/// In a guest thread's orders, `u64`: the FS base to set before the guest goes on.
pub(crate) const FS_BASE: u64 = 0;
/// In a guest thread's orders, `u64`: the GS base.
pub(crate) const GS_BASE: u64 = 8;
/// In a guest thread's orders, `u64`: count of calls in the list.
pub(crate) const CALL_COUNT: u64 = 16;
/// In a guest thread's orders, `u64`: which features of the extended state are saved and restored.
pub(crate) const FEATURES: u64 = 24;
/// In a guest thread's orders, `u64`: where the extended state is restored from, an XSAVE area.
pub(crate) const RESTORE_FROM: u64 = 32;
/// In a guest thread's orders, `u64`: where the extended state is saved to.
pub(crate) const SAVE_TO: u64 = 40;
/// In a guest thread's orders, `u64`: count of copies in the list of copies.
pub(crate) const COPY_COUNT: u64 = 48;
/// In a guest thread's orders: the list of calls.
pub(crate) const CALLS: u64 = 0x40;
/// Size of a call: which one (`u64`, a [`CallKind`]), six arguments.
pub(crate) const CALL_SIZE: u64 = 0x40;
/// Calls that fit.
pub(crate) const MAX_CALLS: usize = ((ADVICE - CALLS) / CALL_SIZE) as usize;
/// In a guest thread's orders: answers that stand, `u64` each: [`ANSWER_STANDS`] and the answer, or 0.
pub(crate) const STANDING: u64 = COPIES - 8 * MAX_STANDING as u64;
/// Answers that fit.
pub(crate) const MAX_STANDING: usize = 16;
/// An answer stands.
pub(crate) const ANSWER_STANDS: u64 = 1 << 32;
/// In a guest thread's orders: the list of copies to guest memory: address there, offset in the slot, bytes.
pub(crate) const COPIES: u64 = 0xf40;
/// Size of a copy.
pub(crate) const COPY_SIZE: u64 = 24;
/// Copies that fit.
pub(crate) const MAX_COPIES: usize = ((RECORDS - COPIES) / COPY_SIZE) as usize;

// --- Lent descriptors (see `trap/lent.rs`) ---

/// In a slot: what the stub keeps of the descriptors that are lent to its thread. All of it is the guest's to forge.
pub(crate) const LENT: u64 = SLOT_SIZE - 0x200;
/// In a slot, `u64`: a bit for each descriptor whose word the stub has written.
pub(crate) const LENT_CHANGED: u64 = LENT;
/// In a slot, `u64`: a bit for each record whose position the stub has written.
pub(crate) const LENT_MOVED: u64 = LENT + 8;
/// In a slot: the position of each record's file, `u64` each.
pub(crate) const LENT_POSITIONS: u64 = LEFT_TID_ADDRESS - 8 * MAX_RECORDS as u64;
/// In a slot: a word for each descriptor, `u32`: which file ([`LENT_FILE`]), which record, and `LENT_*_BIT`s. 0: ask the sentry.
pub(crate) const LENT_WORDS: u64 = LENT + 0x10;
/// Descriptors that have words: those below this number.
pub(crate) const LENT_DESCRIPTORS: usize = crate::lent::LENT_DESCRIPTORS;
/// In a descriptor's word: which file it is, by the lowest descriptor that it had when it was lent.
pub(crate) const LENT_FILE: u32 = 0x3f;
/// In a descriptor's word: the file's record, counted from one; 0 is none.
pub(crate) const LENT_RECORD: u32 = 0x1f00;
/// In a descriptor's word: it is open.
pub(crate) const LENT_OPEN_BIT: u32 = 16;
/// In a descriptor's word: it is free.
pub(crate) const LENT_FREE_BIT: u32 = 17;
/// In a descriptor's word: it is closed on exec.
pub(crate) const LENT_CLOEXEC_BIT: u32 = 18;
/// In a descriptor's word: nobody can tell when it is closed.
pub(crate) const LENT_SILENT_BIT: u32 = 19;
/// In a guest thread's orders: records of lent files.
pub(crate) const RECORDS: u64 = 0x1000;
/// Size of a record.
pub(crate) const RECORD_SIZE: u64 = 0x100;
/// Records that fit.
pub(crate) const MAX_RECORDS: usize = crate::lent::LENT_RECORDS;
/// First address after the records.
pub(crate) const RECORDS_END: u64 = RECORDS + RECORD_SIZE * MAX_RECORDS as u64;
/// In a record, `u64`: what the stub may do by itself: `RECORD_*` bits.
pub(crate) const RECORD_MODE: u64 = 0;
/// In a record's mode: return its flags.
pub(crate) const RECORD_HAS_FLAGS: u64 = 1;
/// In a record's mode: return its attributes.
pub(crate) const RECORD_HAS_STAT: u64 = 2;
/// In a record's mode: read at a given position.
pub(crate) const RECORD_READS: u64 = 4;
/// In a record's mode: look at its position, and move it.
pub(crate) const RECORD_SEEKS: u64 = 8;
/// In a record's mode: read at its position.
pub(crate) const RECORD_READS_ON: u64 = 16;
/// In a record's mode: it is a directory without further entries.
pub(crate) const RECORD_IS_LISTED: u64 = 32;
/// In a record's mode: nothing of it has to be written elsewhere.
pub(crate) const RECORD_IS_VOLATILE: u64 = 64;
/// In a record's mode: its window has all entries of the directory, and its length is the position after the last.
pub(crate) const RECORD_HAS_ENTRIES: u64 = 128;
/// In a record, `u64`: what F_GETFL returns.
pub(crate) const RECORD_FLAGS: u64 = 0x08;
/// In a record, `u64`: the file's length.
pub(crate) const RECORD_LENGTH: u64 = 0x10;
/// In a record, `u64`: from which byte of the file on its window is.
pub(crate) const RECORD_WINDOW_START: u64 = 0x18;
/// In a record, `u64`: the window's length; 0 is none.
pub(crate) const RECORD_WINDOW_LENGTH: u64 = 0x20;
/// In a record, `u64`: the window's address.
pub(crate) const RECORD_WINDOW: u64 = 0x28;
/// In a record, `u64`: a number that no other open file has; 0 is none.
pub(crate) const RECORD_FILE: u64 = 0x30;
/// In a record: `struct stat`, and [`STATX_REST`] in it.
pub(crate) const RECORD_STAT: u64 = 0x40;
/// Windows on files, in each address space, above what guest mappings may use: lists of calls may map files there, as in the
/// guest's range, and nothing but windows is there.
pub(crate) const WINDOWS_BASE: u64 = 0x7ffd_8000_0000;
/// First address above the windows.
pub(crate) const WINDOWS_END: u64 = 0x7ffd_ffff_f000;
/// Size of one window's place.
pub(crate) const WINDOW_SIZE: u64 = crate::lent::WINDOW_SIZE;
/// Windows of one thread.
pub(crate) const MAX_WINDOWS: usize = crate::lent::LENT_WINDOWS;
/// Threads that have windows: those whose slot's number is below this.
pub(crate) const THREADS_WITH_WINDOWS: u64 =
    (WINDOWS_END - WINDOWS_BASE) / (WINDOW_SIZE * MAX_WINDOWS as u64);
/// The number of the answer that stands while descriptors are lent.
pub(crate) const LENT_ANSWER: usize = 9;
/// The first of the values in the table of shortcuts that say that a call may be served by what is lent; the call's number in
/// [`LentCall`](crate::lent::LentCall) is added.
pub(crate) const LENDS: u8 = 0x20;

/// In a guest thread's orders: what is left of files for windows that are not mapped.
pub(crate) const CONTENTS: u64 = NAMES - CONTENTS_SIZE;
/// Bytes that fit.
pub(crate) const CONTENTS_SIZE: u64 = crate::lent::LENT_CONTENTS as u64;

const _: () = assert!(LENT_WORDS + 4 * LENT_DESCRIPTORS as u64 <= MEMORY_BOTTOM);
const _: () = assert!(GUEST_END < WINDOWS_BASE && WINDOWS_END < GUEST_REACH && GUEST_REACH <= VDSO_PLACES[1]);
const _: () = assert!(RECORDS_END <= CONTENTS && CONTENTS_SIZE.is_multiple_of(8));
const _: () = assert!(RECORD_STAT + crate::status::STAT_SIZE as u64 <= RECORD_SIZE);

// --- What has arrived in streams (`arrived.S`, see `trap/arrived.rs`) ---

/// In the table of shortcuts: `recvfrom`, which may be served by what has arrived.
pub(crate) const RECEIVES: u8 = LENDS + crate::lent::LentCall::Receive as u8;
/// In a record's mode: after its length comes what only the sentry knows.
pub(crate) const RECORD_ARRIVED: u64 = 1 << 31;
/// In a record's mode: it is a socket that has arrived bytes.
pub(crate) const RECORD_RECEIVES: u64 = 1 << 30;
/// In a guest thread's orders: the bytes.
pub(crate) const ARRIVED: u64 = CONTENTS - ARRIVED_SIZE;
/// Bytes that fit.
pub(crate) const ARRIVED_SIZE: u64 = crate::lent::ARRIVED_ROOM as u64;
/// Flags of `recvfrom` that make no difference where something has arrived.
pub(crate) const HARMLESS_RECEIVING: u32 = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;

const _: () = assert!(RECORDS_END <= ARRIVED && ARRIVED_SIZE.is_multiple_of(8));
const _: () = assert!(NOTES < RECEIVES);

// --- Ledgers (see `trap/ledger.rs`) ---

/// Ledgers, above the windows and mapped in the same way: memory that the guest and the sentry both write.
pub(crate) const LEDGERS_BASE: u64 = WINDOWS_BASE + THREADS_WITH_WINDOWS * MAX_WINDOWS as u64 * WINDOW_SIZE;
/// Size of a thread's ledger. As far apart as its orders are, by which the stub finds it.
pub(crate) const LEDGER_SIZE: u64 = ORDER_SIZE;
/// Threads that have ledgers: those whose slot's number is below this.
pub(crate) const THREADS_WITH_LEDGERS: u64 =
    (WINDOWS_END - LEDGERS_BASE) / (LEDGER_SIZE + INLET_SIZE + SHELF_SIZE);
/// In a slot, `u64`: how much of the ledger is used. The guest's to forge, as is the ledger.
pub(crate) const LEDGER_USED: u64 = LENT_WORDS + 4 * LENT_DESCRIPTORS as u64;
/// Size of a note: what (`u32`: [`NOTE_WRITE`], or `l_type` of a lock), the record's number (`u32`), from which byte of the file on, how
/// many bytes (`u64` each), and, of a write, the time stamp counter (`u64`). What is written follows, and fills eights up.
pub(crate) const NOTE_SIZE: u64 = 32;
/// A note about a write.
pub(crate) const NOTE_WRITE: u32 = 8;
/// More bytes are not noted: to copy them twice takes as long as to call.
pub(crate) const LONGEST_WRITE: u64 = 0x2000;
/// In a record's mode: record locks are noted.
pub(crate) const RECORD_LOCKS: u64 = 256;
/// In a record, `u64`: the first byte of the file that writes are not noted for.
pub(crate) const RECORD_WRITES_END: u64 = 0x38;
/// In a record's mode: writes succeed, and leave nothing behind.
pub(crate) const RECORD_SWALLOWS: u64 = 0x1000;
/// The most that one call writes, whatever it is asked for (`MAX_RW_COUNT`).
pub(crate) const MOST_WRITTEN: u64 = 0x7fff_f000;
/// In the table of shortcuts: `write`, which may be noted. From here on all values below [`NAME_CALLS`] are about ledgers, but for [`NOTES`].
pub(crate) const LEDGER_WRITE: u8 = 0x40;
/// In the table of shortcuts: `pwrite64`.
pub(crate) const LEDGER_PWRITE: u8 = 0x41;

// --- Inlets (see `trap/inlet.rs`) ---

/// Inlets, above the ledgers and like them.
pub(crate) const INLETS_BASE: u64 = LEDGERS_BASE + THREADS_WITH_LEDGERS * LEDGER_SIZE;
/// Size of a thread's inlet. As far apart as its orders are, by which the stub finds it.
pub(crate) const INLET_SIZE: u64 = ORDER_SIZE;
/// In a slot, `u64`: how much has been left there. The guest's to forge.
pub(crate) const INLET_FILLED: u64 = LEDGER_USED + 8;
/// More bytes are not left: to copy them three times takes as long as to call.
pub(crate) const LONGEST_LEFT: u64 = 0x4000;
/// In a record's mode: as far as [`RECORD_WRITES_END`] says writes go to the inlet.
pub(crate) const RECORD_HAS_INLET: u64 = 0x2000;

/// In [`RECORD_WRITES_END`] of such a record, the number of the bit that says that a listener waits: who leaves something rings the bell.
pub(crate) const INLET_LISTENER_BIT: u32 = 32;
/// In a slot, `u32`: how often the thread has rung its inlet's bell, and the word on which a listener sleeps. The guest's to forge.
pub(crate) const INLET_BELL: u64 = LEDGER_WRITTEN + 8;
/// How many it wakes: who listens sleeps there, whichever pipe it reads.
pub(crate) const ALL_WAITERS: u32 = i32::MAX as u32;

const _: () = assert!(INLET_FILLED + 8 <= MEMORY_BOTTOM && INLET_BELL + 4 <= MEMORY_BOTTOM);
const _: () = assert!(INLET_SIZE >> INLET_LISTENER_BIT == 0);
const _: () = assert!(LEDGER_USED + 8 <= MEMORY_BOTTOM && RECORD_WRITES_END + 8 <= RECORD_STAT);
const _: () = assert!(RECORD_LOCKS > RECORD_HAS_ENTRIES);
const _: () = assert!(SETS_TID_ADDRESS < LEDGER_WRITE && NOTE_WRITE > libc::F_UNLCK as u32);

// --- Attributes of files that are held (`held.S`) ---

/// In a record's mode: its attributes hold until a write to the file is noted.
pub(crate) const RECORD_UNTIL_WRITTEN: u64 = 0x10000;
/// In a slot, `u64`: a bit for each record of whose file a write has been noted. The guest's to forge.
pub(crate) const LEDGER_WRITTEN: u64 = INLET_FILLED + 8;
/// What an entry of the table of names says: the attributes are those in the record that the answer names as [`NAME_OPENS`] has it, as
/// long as they hold.
pub(crate) const NAME_IS_HELD: u32 = 0x2000;

const _: () = assert!(LEDGER_WRITTEN + 8 <= MEMORY_BOTTOM && MAX_RECORDS <= 64);
const _: () = assert!(NAME_IS_HELD & (LENT_RECORD | NAME_MISSING | ACCESS_ALL) == 0);

// --- Shelves (see `trap/shelf.rs`) ---

/// Shelves, above the inlets. The stub knows nothing of them: records say where on them a file's bytes are.
pub(crate) const SHELVES_BASE: u64 = INLETS_BASE + THREADS_WITH_LEDGERS * INLET_SIZE;
/// Size of a thread's shelf.
pub(crate) const SHELF_SIZE: u64 = crate::lent::LENT_SHELF as u64;

const _: () = assert!(SHELVES_BASE + THREADS_WITH_LEDGERS * SHELF_SIZE <= WINDOWS_END);
const _: () = assert!(SHELF_SIZE.is_multiple_of(0x1000));

// --- Beginnings and ends of threads (`state.S`, `left.S`) ---

/// In the table of shortcuts: a call that makes a thread or a process, and brings the extended state along. All values from here
/// to [`LEDGER_WRITE`] have to do with threads.
pub(crate) const BRINGS_STATE: u8 = 0x38;
/// In the table of shortcuts: `set_robust_list`.
pub(crate) const SETS_ROBUST_LIST: u8 = 0x39;
/// In the table of shortcuts: `set_tid_address`.
pub(crate) const SETS_TID_ADDRESS: u8 = 0x3a;
/// In the constants, `u64`: where in a slot the extended state is saved.
pub(crate) const STATE_PLACE: u64 = EXTENDED_FORMAT + 24;
/// In a guest thread's orders: the answer to `gettid`, while it stands.
pub(crate) const THREAD_STANDS: u64 = STANDING + 8 * crate::interface::THREAD_STANDS as u64;
/// In a slot, `u64`: the address that `set_tid_address` has named, unless it is [`NOTHING_LEFT`].
pub(crate) const LEFT_TID_ADDRESS: u64 = LENT - 16;
/// In a slot, `u64`: the head that `set_robust_list` has named, unless it is [`NOTHING_LEFT`].
pub(crate) const LEFT_ROBUST_LIST: u64 = LENT - 8;
/// What no address of a guest's is.
pub(crate) const NOTHING_LEFT: u64 = u64::MAX;
/// Bytes of `struct robust_list_head`.
pub(crate) const ROBUST_LIST_HEAD_SIZE: u64 = 24;

/// In the constants: the set of signals that has the kick in it and no other.
pub(crate) const KICK_MASK: u64 = STATE_PLACE + 8;
const _: () = assert!(KICK_MASK + SIGNAL_SET_SIZE <= THREAD_FILTER_CODE);

// --- Lent memory (see `trap/memory.rs`) ---

/// In a slot, `u64`: where what is mapped of the lent range begins. The guest's to forge, as is the next one.
pub(crate) const MEMORY_BOTTOM: u64 = SLOT_SIZE - 0x20;
/// In a slot, `u64`: the lowest value that the former has had since the range was lent.
pub(crate) const MEMORY_LOWEST: u64 = SLOT_SIZE - 0x18;
/// In a guest thread's orders: the lent range, four `u64`. Its first address.
pub(crate) const MEMORY: u64 = RETURN_STACK - 32;
/// In a guest thread's orders, `u64`: the first address after the lent range.
pub(crate) const MEMORY_TOP: u64 = MEMORY + 8;
/// In a guest thread's orders, `u64`: the shortest mapping that goes there.
pub(crate) const MEMORY_SHORTEST: u64 = MEMORY + 16;
/// In a guest thread's orders, `u64`: the longest.
pub(crate) const MEMORY_LONGEST: u64 = MEMORY + 24;
/// The number of the answer that stands while memory is lent.
pub(crate) const MEMORY_ANSWER: usize = LENT_ANSWER + 1;
/// In the table of shortcuts: the call may be served by the lent range.
pub(crate) const MAPS: u8 = 0x2f;
/// How it maps there, but for [`PRIVATE_ANONYMOUS_FIXED`]'s last flag, as the guest has asked for.
pub(crate) const PRIVATE_ANONYMOUS: u32 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u32;
/// How it maps there.
pub(crate) const PRIVATE_ANONYMOUS_FIXED: u32 = PRIVATE_ANONYMOUS | libc::MAP_FIXED as u32;
/// With which access.
pub(crate) const READ_WRITE: u32 = (libc::PROT_READ | libc::PROT_WRITE) as u32;
/// What of `madvise(2)` it passes on.
pub(crate) const MEMORY_ADVICE: [u32; 2] = [libc::MADV_DONTNEED as u32, libc::MADV_FREE as u32];

const _: () = assert!(MEMORY_LOWEST + 8 <= MASK && MEMORY_ANSWER < MAX_STANDING);

// --- Lent memory that others use, too (see `trap/advice.rs`) ---

/// In a guest thread's orders: the range about which the thread may advise the host, two `u64`. Its first address.
pub(crate) const ADVICE: u64 = NAMES_STAND - 16;
/// In a guest thread's orders, `u64`: the first address after that range.
pub(crate) const ADVICE_TOP: u64 = ADVICE + 8;
/// The number of the answer that stands while it may.
pub(crate) const ADVICE_ANSWER: usize = 13;
/// In the mailbox, `u32`: the thread is about to advise the host. The guest's to forge.
pub(crate) const ADVISES: u64 = MAILBOX + 0x20;

const _: () = assert!(ADVISES + 4 <= ENTRY && FAULTED + 4 <= ADVISES);
const _: () = assert!(MEMORY_ANSWER < ADVICE_ANSWER && ADVICE_ANSWER < ACTIONS_ANSWER);

// --- Noted changes of an epoll instance (see `trap/noted.rs`) ---

/// In the table of shortcuts: `epoll_ctl`, which may be noted.
pub(crate) const NOTES: u8 = 0x48;
/// In a record, `u64`: a bit for each descriptor of which changes of this instance may be noted.
pub(crate) const RECORD_WATCHABLE: u64 = RECORD_STAT + crate::status::STAT_SIZE as u64;
/// In a slot, `u64`: a bit for each of these that is watched. The guest's to forge, as is all that follows.
pub(crate) const NOTED_WATCHED: u64 = ENTRY_HOST_CALL + 4;
/// In a slot, `u32`: how many changes are noted.
pub(crate) const NOTED_COUNT: u64 = NOTED_WATCHED + 8;
/// In a slot: the changes: descriptor and operation, a byte each; at 4 and 8 `struct epoll_event`.
pub(crate) const NOTED: u64 = NOTED_WATCHED + 16;
/// Size of a change.
pub(crate) const NOTED_SIZE: u64 = 16;
/// Changes that fit.
pub(crate) const MOST_NOTED: u32 = 15;
/// Flags of an event that are never noted: the one makes an addition fail or not, the other is taken away.
pub(crate) const NOTED_NEVER: u32 = usk_abi::epoll::EPOLLEXCLUSIVE | usk_abi::epoll::EPOLLWAKEUP;

const _: () = assert!(NOTED + NOTED_SIZE * MOST_NOTED as u64 <= LENT_POSITIONS);
const _: () = assert!(SETS_TID_ADDRESS < NOTES && RECORD_WATCHABLE + 8 <= RECORD_SIZE);
const _: () = assert!(LENT_DESCRIPTORS <= u64::BITS as usize);

// --- Actions of signals (see `trap/actions.rs`) ---

/// In the table of shortcuts: `rt_sigaction`, which the stub may make in the slot. Above all others.
pub(crate) const CHANGES_ACTION: u8 = 0x60;
/// The number of the answer that stands while the actions are in the slot.
pub(crate) const ACTIONS_ANSWER: usize = 15;
/// In a slot, above the signal stack: the actions of all signals. The guest's to forge, as is what follows.
pub(crate) const ACTIONS: u64 = MAILBOX - 0x840;
/// Size of an action: handler, flags, restorer, mask, `u64` each.
pub(crate) const ACTION_SIZE: u64 = 32;
/// Signals that have actions, from number 1 on.
pub(crate) const ACTION_COUNT: usize = crate::interface::SIGNAL_COUNT;
/// In a slot: the action that is about to take its place.
pub(crate) const ACTION_STAGED: u64 = ACTIONS + ACTION_SIZE * ACTION_COUNT as u64;
/// In a slot, `u32`: the number of its signal.
pub(crate) const ACTION_STAGED_FOR: u64 = ACTION_STAGED + ACTION_SIZE;
/// Signals as bits of a mask whose actions the stub does not set: those that have none, and the one whose action says what
/// becomes of children, which is more than one word.
pub(crate) const ACTIONS_ASKED_FOR: u32 =
    1 << (UNBLOCKABLE[0] - 1) | 1 << (UNBLOCKABLE[1] - 1) | 1 << (libc::SIGCHLD - 1);
/// The flags that an action keeps.
pub(crate) const ACTION_FLAGS: u32 = usk_abi::signal::ActionFlags::all().bits() as u32;
/// First address above the signal stack, from the start of a slot.
pub(crate) const SIGNAL_STACK_END: u64 = ACTIONS;

const _: () = assert!(ACTION_STAGED_FOR + 4 <= MAILBOX && SIGNAL_STACK_END.is_multiple_of(64));
const _: () =
    assert!(NOTES < CHANGES_ACTION && MEMORY_ANSWER < ACTIONS_ANSWER && ACTIONS_ANSWER < MAX_STANDING);
const _: () = assert!(ACTION_FLAGS as u64 == usk_abi::signal::ActionFlags::all().bits());

// --- Known names (see `trap/names.rs`) ---

/// The first of the values in the table of shortcuts that say that a call is about a name: [`NameCall`](crate::names::NameCall) is
/// added.
pub(crate) const NAME_CALLS: u8 = 0x50;
/// In such a value: which call it is, leaving aside where the name starts.
pub(crate) const NAME_KINDS: u32 = 3;
/// In such a value: the name is the second argument, and the first a descriptor where it starts.
pub(crate) const NAME_AT: u32 = 4;
/// In such a value: it is `statx`, which has its name like that.
pub(crate) const NAME_STATX: u32 = NAME_AT + 1;
/// In such a value: it reads a link.
pub(crate) const NAME_READS_LINK: u32 = 8;
/// In a guest thread's orders, `u64`: which generation of its table of names stands; 0: none.
pub(crate) const NAMES_STAND: u64 = MEMORY - 8;
/// In a guest thread's orders: the table of names, [`NAME_SETS`] pairs of entries.
pub(crate) const NAMES: u64 = ORDER_SIZE - NAMES_SIZE;
/// Size of an entry.
pub(crate) const NAME_SIZE: u64 = 0x100;
/// Pairs of entries.
pub(crate) const NAME_SETS: u32 = 64;
/// Size of the table.
pub(crate) const NAMES_SIZE: u64 = 2 * NAME_SETS as u64 * NAME_SIZE;
/// In an entry, `u64`: the generation that it is of.
pub(crate) const NAME_GENERATION: u64 = 0;
/// In an entry, `u64`: where the name starts: [`RECORD_FILE`] of an open file, or 0.
pub(crate) const NAME_START: u64 = 0x08;
/// In an entry, `u32`: the name's length, [`NAME_NOFOLLOW`], and [`NAME_KEY_HASH`] of its hash.
pub(crate) const NAME_KEY: u64 = 0x10;
/// In an entry, `u32`: what the name means: [`NAME_MISSING`], or which access is allowed and which record is prepared for it.
pub(crate) const NAME_ANSWER: u64 = 0x14;
/// In an entry: `struct stat`, and [`STATX_REST`] in it.
pub(crate) const NAME_STAT: u64 = 0x20;
/// In an entry, `u32`: the file's type and permission bits, in `struct stat`.
pub(crate) const NAME_MODE: u64 = NAME_STAT + std::mem::offset_of!(usk_abi::fs::Stat, st_mode) as u64;
/// In an entry: the name, and NUL.
pub(crate) const NAME_TEXT: u64 = NAME_STAT + crate::status::STAT_SIZE as u64;
/// Bytes of a name that the stub looks at: the longest, and NUL.
pub(crate) const NAME_ROOM: u64 = crate::names::MAX_KNOWN_NAME as u64 + 1;
/// In a key, and in the value of a call that is being served: a link at the end is not followed.
pub(crate) const NAME_NOFOLLOW: u32 = 0x80;
/// In a key: these bits are the hash's.
pub(crate) const NAME_KEY_HASH: u32 = 0xffff_ff00;
/// What an entry says: there is no such file.
pub(crate) const NAME_MISSING: u32 = 8;
/// In `struct stat`, as records and entries have it, three words that it does not use: what `statx(2)` shows besides. Seconds of the time
/// of birth; its nanoseconds and two bits; the mount.
pub(crate) const STATX_REST: u64 = std::mem::offset_of!(usk_abi::fs::Stat, __unused) as u64;
/// In the second of these words: there is a time of birth.
pub(crate) const STATX_BORN_BIT: u32 = 32;
/// In the second of these words: the file is the root of a mount.
pub(crate) const STATX_MOUNT_ROOT_BIT: u32 = 33;
/// What `access(2)` knows: read, write, execute.
pub(crate) const ACCESS_ALL: u32 = (libc::R_OK | libc::W_OK | libc::X_OK) as u32;
/// The hash of a name takes a byte in and multiplies by this, for each (FNV-1a).
pub(crate) const NAME_PRIME: u32 = 0x0100_0193;
/// The set of a name is its hash, folded by this many bits.
pub(crate) const NAME_FOLD: u32 = 15;

const _: () = assert!(CALLS + CALL_SIZE * MAX_CALLS as u64 <= ADVICE);
const _: () = assert!(NAMES.is_multiple_of(2 * NAME_SIZE) && NAMES + NAMES_SIZE <= ORDER_SIZE);
const _: () = assert!(crate::names::NAME_PLACES == 2 * NAME_SETS as usize && NAME_SETS == u64::BITS);
const _: () = assert!(NAME_TEXT + NAME_ROOM <= NAME_SIZE && NAME_ROOM <= NAME_NOFOLLOW as u64);
const _: () = assert!(ORDER_SIZE >= SLOT_SIZE && ORDERS_SIZE <= u32::MAX as u64);

// --- Prepared opens (see `prepared.S`) ---

/// In a descriptor's word: it has been opened by the stub, and is the file that was prepared under its record.
pub(crate) const LENT_PREPARED_BIT: u32 = 20;
/// In a record's mode: it has no descriptor, and may get one.
pub(crate) const RECORD_IS_PREPARED: u64 = 512;
/// In an entry of the table of names, `u64`: [`RECORD_FILE`] of the file that is prepared, in the record that the answer names as a
/// descriptor's word does ([`LENT_RECORD`]); 0 is none.
pub(crate) const NAME_OPENS: u64 = NAME_ANSWER + 4;
/// Flags of `open(2)` that a file's own do not tell: they may be there or not.
pub(crate) const OPEN_ANYWAY: i32 = libc::O_CLOEXEC | libc::O_NOCTTY;
/// The flag that every file has, whether its `open(2)` had it or not.
pub(crate) const OPEN_ALWAYS: u32 = usk_abi::fs::OpenFlags::LARGEFILE.bits();

const _: () = assert!(NAME_OPENS + 8 <= NAME_STAT && RECORD_IS_PREPARED > RECORD_LOCKS);
const _: () = assert!(LENT_RECORD & (NAME_MISSING | ACCESS_ALL) == 0);
const _: () = assert!(1 << LENT_RECORD.trailing_zeros() == RECORD_SIZE);
const _: () = assert!(MAX_RECORDS as u32 <= LENT_RECORD >> LENT_RECORD.trailing_zeros());

// --- Hand-overs without the host (see `trap/spin.rs`) ---

/// In the mailbox, `u32`: the hand, which says where a call from a patched site stands that may be handed over in the slot: one of the
/// `HAND_*` values. The guest's to forge, as is the answer.
pub(crate) const HAND: u64 = ADVISES + 8;
/// In the mailbox, `u64`: the answer to such a call, as the doorbell's, or [`ANSWER_RINGS`].
pub(crate) const HAND_ANSWER: u64 = HAND + 8;
/// The sentry does not look.
pub(crate) const HAND_RESTS: u32 = 0;
/// The sentry looks whether the thread calls.
pub(crate) const HAND_LISTENS: u32 = 1;
/// The thread has put a call there, and looks for its answer.
pub(crate) const HAND_RUNG: u32 = 2;
/// The thread has stopped looking, and waits for the answer at the doorbell.
pub(crate) const HAND_SLEEPS: u32 = 3;
/// How often the thread looks: some ten to fifty microseconds, by the time that a `pause` takes.
pub(crate) const HAND_TURNS: u32 = 1000;
/// What only an answer in the slot says: ring the doorbell.
pub(crate) const ANSWER_RINGS: u32 = u32::MAX;

const _: () = assert!(HAND_ANSWER + 8 <= ENTRY && HAND_ANSWER.is_multiple_of(8));

// --- The list of calls ---

/// A host call that a list may ask for; the number is an index into the stub's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum CallKind {
    /// Private anonymous `mmap`.
    MapAnonymous = 0,
    /// `mmap` of a descriptor.
    MapFile = 1,
    /// `munmap`
    Unmap = 2,
    /// `mprotect`
    Protect = 3,
    /// `mremap`
    Remap = 4,
    /// `madvise`
    Advise = 5,
    /// `close`
    Close = 6,
    /// `rt_sigprocmask` of the kick alone.
    MaskKicks = 7,
}
/// Count of [`CallKind`]s.
pub(crate) const CALL_KINDS: u64 = 8;

/// The doorbell's number: reserved for ever in the x86-64 table, so that the host would answer ENOSYS.
pub(crate) const DOORBELL: u32 = 400;
/// First argument of the doorbell when a thread is born; otherwise the number of the signal that trapped.
pub(crate) const RING_BORN: u32 = 0x100;
/// First argument of the doorbell when a list has ended: calls done, and the last result, follow after the frame.
pub(crate) const RING_CALLS_ENDED: u32 = 0x101;

/// In the doorbell's answer, from this bit on: the number of the slot whose orders the thread follows. What the thread says of itself when
/// it rings is the guest's to choose.
pub(crate) const ANSWER_SLOT_SHIFT: u32 = 32;
/// In the doorbell's answer: carry out the list of calls.
pub(crate) const ANSWER_CALLS: u32 = 1;
/// In the doorbell's answer: if the list succeeds, return to the guest without ringing again.
pub(crate) const ANSWER_RETURN: u32 = 2;
/// In the doorbell's answer: set the FS base.
pub(crate) const ANSWER_FS: u32 = 4;
/// In the doorbell's answer: set the GS base.
pub(crate) const ANSWER_GS: u32 = 8;
/// In the doorbell's answer, for a call from a patched site: raise a signal, so that the host writes a whole frame.
pub(crate) const ANSWER_FRAME: u32 = 16;

/// In the doorbell's answer, for a call from a patched site: the sentry has written all registers into the entry area.
pub(crate) const ANSWER_REGISTERS: u32 = 32;
/// In the doorbell's answer: restore the extended state, before anything else.
pub(crate) const ANSWER_RESTORE: u32 = 64;
/// In the doorbell's answer: save the extended state.
pub(crate) const ANSWER_SAVE: u32 = 128;
/// In the doorbell's answer, for a call from a patched site: carry out the list of copies.
pub(crate) const ANSWER_COPY: u32 = 256;

/// What a call hands over: nothing.
pub(crate) const HANDS_OVER_NOTHING: u8 = 0;
/// The bytes at its first argument, to the end of their page or up to [`HAND_OVER_PART`].
pub(crate) const HANDS_OVER_FIRST: u8 = 1;
/// The bytes at its second argument.
pub(crate) const HANDS_OVER_SECOND: u8 = 2;
/// The bytes at its second argument, as many as its third says, if they fit.
pub(crate) const HANDS_OVER_BUFFER: u8 = 3;
/// The bytes at its fourth argument.
pub(crate) const HANDS_OVER_FOURTH: u8 = 4;
/// The first of the values that say that an answer may stand.
pub(crate) const STANDS: u8 = 0x10;

// --- Host calls of the guest's own (`host_calls.S`) ---

/// The first of the values of a call's shortcut that say that the host carries it out.
pub(crate) const HOST_CALLS: u8 = 0x1c;
/// `futex`
pub(crate) const HOST_FUTEX: u8 = HOST_CALLS;
/// `sched_yield`
pub(crate) const HOST_YIELD: u8 = HOST_CALLS + 1;
/// In a guest thread's orders, `u64`, among the standing answers: [`ANSWER_STANDS`] while host calls are carried out for it
/// without the sentry.
pub(crate) const HOST_CALLS_STAND: u64 = STANDING + 8 * crate::interface::HOST_CALLS_STAND as u64;
/// In the entry area, `u32`: which host call is being made, a hint: one of the following, or 0.
pub(crate) const ENTRY_HOST_CALL: u64 = ENTRY + 0xac;
/// The guest's own.
pub(crate) const HOST_CALL_GUESTS: u32 = 1;
/// By order of the sentry.
pub(crate) const HOST_CALL_ORDERED: u32 = 2;
/// None: the call has returned what stands in the place of the number, and the stub is about to ring.
pub(crate) const HOST_CALL_RETURNED: u32 = 3;
/// In a guest thread's orders, after a list of one call: the `timespec` of a host call that the sentry orders.
pub(crate) const HOST_CALL_TIME: u64 = CALLS + CALL_SIZE;
/// `FUTEX_PRIVATE_FLAG`: what all futex operations of the stub's have in common.
const PRIVATE: u32 = libc::FUTEX_PRIVATE_FLAG as u32;
/// Operations on one word. No other flag goes with them but for one case.
pub(crate) const FUTEX_ONE_WORD: [u32; 5] = [
    libc::FUTEX_WAIT as u32 | PRIVATE,
    libc::FUTEX_WAKE as u32 | PRIVATE,
    libc::FUTEX_WAIT_BITSET as u32 | PRIVATE,
    libc::FUTEX_WAKE_BITSET as u32 | PRIVATE,
    FUTEX_WAIT_BITSET_REALTIME,
];
/// That case.
pub(crate) const FUTEX_WAIT_BITSET_REALTIME: u32 =
    (libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME) as u32 | PRIVATE;
/// Operations on two words.
pub(crate) const FUTEX_TWO_WORDS: [u32; 3] = [
    libc::FUTEX_REQUEUE as u32 | PRIVATE,
    libc::FUTEX_CMP_REQUEUE as u32 | PRIVATE,
    libc::FUTEX_WAKE_OP as u32 | PRIVATE,
];

/// Operations as a set of bits, one for each command; those with another flag than the private one are left out.
pub(crate) const fn commands(operations: &[u32]) -> u32 {
    let (mut set, mut index) = (0, 0);
    while index < operations.len() {
        let command = operations[index] & !PRIVATE;
        if command < u32::BITS {
            set |= 1 << command;
        }
        index += 1;
    }
    set
}

// The stub tells the values of shortcuts apart from the highest down.
const _: () = assert!(STANDS + LENT_ANSWER as u8 <= HOST_CALLS && HOST_YIELD < LENDS);
const _: () = assert!(LENDS + (crate::lent::LentCall::Fdatasync as u8) < MAPS && MAPS < BRINGS_STATE);
const _: () = assert!(LEDGER_PWRITE < NAME_CALLS && NOTES < NAME_CALLS);
const _: () = assert!(NAME_CALLS + (crate::names::NameCall::ReadLinkAt as u8) < CHANGES_ACTION);
// Names that turn out not to be empty (`lent.S`).
const _: () = assert!(crate::lent::LentCall::Statx as u8 == crate::lent::LentCall::Fstatat as u8 + 1);
const _: () = assert!(HOST_CALLS_STAND < STANDING + 8 * MAX_STANDING as u64);
const _: () = assert!(STANDING + 8 * MAX_STANDING as u64 <= COPIES);

/// Descriptors of a spawner: the file of the slots, read and write.
pub(crate) const SLOTS_DESCRIPTOR: u32 = 0;
/// Descriptors of a spawner: the file of the orders, read only.
pub(crate) const ORDERS_DESCRIPTOR: u32 = 1;
/// Descriptors of a spawner: the process it has just made; or, if that failed, a duplicate of the slots' file. Each in turn, because
/// it closes one only when it has made the next.
pub(crate) const CHILD_DESCRIPTORS: [u32; 2] = [2, 3];
/// The listener in a newborn's otherwise empty descriptor table.
pub(crate) const LISTENER_DESCRIPTOR: u32 = 0;

/// `clone` flags of a guest thread and of a fork. The exit signal is none: with CLONE_PARENT it is inherited anyway.
pub(crate) const CLONE_THREAD_FLAGS: u32 = (libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PIDFD) as u32;
/// See [`CLONE_THREAD_FLAGS`].
pub(crate) const CLONE_FORK_FLAGS: u32 = (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u32;
/// Flags with which a guest thread installs its filter. WAIT_KILLABLE_RECV: once the sentry has taken a call, only
/// death takes it back.
pub(crate) const LISTENER_FLAGS: u32 =
    (libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) as u32;

/// The signal that interrupts a guest thread. Nothing in a stub ever causes it.
pub(crate) const KICK_SIGNAL: i32 = libc::SIGURG;
/// The signals that have a handler in the stub.
pub(crate) const TRAP_SIGNALS: [i32; 7] =
    [libc::SIGSYS, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, KICK_SIGNAL];
