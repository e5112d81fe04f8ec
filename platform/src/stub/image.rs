//! The stub's code as bytes, and the addresses in it that the filters and the template need.

use std::arch::global_asm;
use std::mem::offset_of;

use usk_abi::epoll::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD};
use usk_abi::fs::{STATX_ATTR_MOUNT_ROOT, Statx, StatxMask};
use usk_abi::signal::{SignalContext, UserContext};

use crate::arch::extended_state::FORMAT;
use crate::interface::{HostCallKind, Memory, Shortcut};
use crate::ledger::NotedCall;
use crate::lent::{LentCall, STAT_SIZE};
use crate::names::NameCall;

use super::geometry::*;

global_asm!(
    include_str!("macros.S"),
    include_str!("stub.S"),
    include_str!("mask.S"),
    include_str!("return.S"),
    include_str!("clock.S"),
    include_str!("host_calls.S"),
    include_str!("lent.S"),
    include_str!("arrived.S"),
    include_str!("ledger.S"),
    include_str!("inlet.S"),
    include_str!("state.S"),
    include_str!("left.S"),
    include_str!("memory.S"),
    include_str!("advice.S"),
    include_str!("names.S"),
    include_str!("noted.S"),
    include_str!("actions.S"),
    include_str!("prepared.S"),
    include_str!("held.S"),
    include_str!("end.S"),
    receives = const RECEIVES,
    record_arrived = const RECORD_ARRIVED,
    record_receives = const RECORD_RECEIVES,
    harmless_receiving = const HARMLESS_RECEIVING,
    notes = const NOTES,
    noted = const NOTED,
    noted_count = const NOTED_COUNT,
    noted_watched = const NOTED_WATCHED,
    noted_shift = const NOTED_SIZE.trailing_zeros(),
    noted_never = const NOTED_NEVER,
    most_noted = const MOST_NOTED,
    record_watchable = const RECORD_WATCHABLE,
    epoll_ctl_add = const EPOLL_CTL_ADD,
    epoll_ctl_del = const EPOLL_CTL_DEL,
    epoll_ctl_mod = const EPOLL_CTL_MOD,
    brings_state = const BRINGS_STATE,
    sets_robust_list = const SETS_ROBUST_LIST,
    state_place = const STATE_PLACE,
    thread_stands = const THREAD_STANDS,
    left_tid_address = const LEFT_TID_ADDRESS,
    left_robust_list = const LEFT_ROBUST_LIST,
    robust_list_head_size = const ROBUST_LIST_HEAD_SIZE,
    sys_clone3 = const libc::SYS_clone3,
    windows_end = const WINDOWS_END,
    first_guest_slot = const SLOTS_BASE + SLOT_SIZE,
    slots_base = const SLOTS_BASE,
    slots_size = const SLOTS_SIZE,
    slot_shift = const SLOT_SIZE.trailing_zeros(),
    slot_size = const SLOT_SIZE,
    slots_number = const SLOTS_NUMBER,
    entry = const ENTRY,
    entry_rsp = const ENTRY_RSP,
    entry_rip = const ENTRY_RIP,
    entry_return = const ENTRY_RETURN,
    entry_rax = const ENTRY_RAX,
    entry_preserved = const ENTRY_PRESERVED,
    entry_arguments = const ENTRY_ARGUMENTS,
    entry_fs = const ENTRY_FS,
    entry_flags = const ENTRY_FLAGS,
    entry_r11 = const ENTRY_R11,
    entry_stack = const ENTRY_STACK,
    slots_shift = const SLOTS_SHIFT,
    orders_base = const ORDERS_BASE,
    orders_size = const ORDERS_SIZE,
    order_shift = const ORDER_SIZE.trailing_zeros(),
    thread_filter = const THREAD_FILTER,
    spawner_mask = const SPAWNER_MASK,
    signal_set_size = const SIGNAL_SET_SIZE,
    spawner_done = const SLOTS_BASE + DONE,
    spawner_result = const SLOTS_BASE + RESULT,
    spawner_pidfd_number = const SLOTS_BASE + PIDFD_NUMBER,
    spawner_found = const SLOTS_BASE + FOUND,
    spawner_faulted = const SLOTS_BASE + FAULTED,
    spawner_stack = const SLOTS_BASE + MAILBOX,
    hint_born = const HINT_BORN,
    hint_failed = const HINT_FAILED,
    order_number = const ORDER_NUMBER,
    order_kind = const ORDER_KIND,
    order_arguments = const ORDER_ARGUMENTS,
    order_thread = const ORDER_THREAD,
    order_fork = const ORDER_FORK,
    order_child = const ORDER_CHILD,
    order_compare_exchange = const ORDER_COMPARE_EXCHANGE,
    order_populate = const ORDER_POPULATE,
    fs_base = const FS_BASE,
    gs_base = const GS_BASE,
    features = const FEATURES,
    restore_from = const RESTORE_FROM,
    save_to = const SAVE_TO,
    call_count = const CALL_COUNT,
    calls = const CALLS,
    call_size = const CALL_SIZE,
    call_kinds = const CALL_KINDS,
    doorbell = const DOORBELL,
    ring_born = const RING_BORN,
    ring_calls_ended = const RING_CALLS_ENDED,
    answer_calls = const ANSWER_CALLS,
    answer_return = const ANSWER_RETURN,
    answer_fs = const ANSWER_FS,
    answer_gs = const ANSWER_GS,
    answer_frame = const ANSWER_FRAME,
    answer_registers = const ANSWER_REGISTERS,
    answer_restore = const ANSWER_RESTORE,
    answer_save = const ANSWER_SAVE,
    answer_copy = const ANSWER_COPY,
    copy_count = const COPY_COUNT,
    copies = const COPIES,
    copy_size = const COPY_SIZE,
    entry_handed_from = const ENTRY_HANDED_FROM,
    entry_handed_length = const ENTRY_HANDED_LENGTH,
    shortcut_count = const SHORTCUT_COUNT,
    shortcuts = const SHORTCUTS,
    stands = const STANDS,
    standing = const STANDING,
    answer_stands_bit = const ANSWER_STANDS.trailing_zeros(),
    host_calls = const HOST_CALLS,
    host_yield = const HOST_YIELD,
    host_calls_stand = const HOST_CALLS_STAND,
    host_call_guests = const HOST_CALL_GUESTS,
    host_call_ordered = const HOST_CALL_ORDERED,
    host_call_returned = const HOST_CALL_RETURNED,
    entry_host_call = const ENTRY_HOST_CALL,
    guest_end = const GUEST_END,
    guest_end_high = const GUEST_END_HIGH,
    futex_private_flag = const libc::FUTEX_PRIVATE_FLAG,
    futex_wait_bitset = const libc::FUTEX_WAIT_BITSET,
    futex_wait_bitset_realtime = const FUTEX_WAIT_BITSET_REALTIME,
    futex_one_word = const commands(&FUTEX_ONE_WORD),
    futex_two_words = const commands(&FUTEX_TWO_WORDS),
    sys_sched_yield = const libc::SYS_sched_yield,
    hand_over_part = const HAND_OVER_PART,
    hand_over_size = const HAND_OVER_SIZE,
    hands_over_first = const HANDS_OVER_FIRST,
    hands_over_buffer = const HANDS_OVER_BUFFER,
    hands_over_fourth = const HANDS_OVER_FOURTH,
    hands_over_second = const HANDS_OVER_SECOND,
    lends = const LENDS,
    lent_close = const LentCall::Close as u8,
    lent_dup = const LentCall::Dup as u8,
    lent_fcntl = const LentCall::Fcntl as u8,
    lent_fstatat = const LentCall::Fstatat as u8,
    lent_lseek = const LentCall::Lseek as u8,
    lent_read = const LentCall::Read as u8,
    lent_pread = const LentCall::Pread as u8,
    lent_fsync = const LentCall::Fsync as u8,
    lent_getdents = const LentCall::Getdents as u8,
    lent_answer = const STANDING + 8 * LENT_ANSWER as u64,
    lent_descriptors = const LENT_DESCRIPTORS,
    lent_words = const LENT_WORDS,
    lent_positions = const LENT_POSITIONS,
    lent_changed = const LENT_CHANGED,
    lent_moved = const LENT_MOVED,
    lent_record = const LENT_RECORD,
    lent_open_bit = const LENT_OPEN_BIT,
    lent_free_bit = const LENT_FREE_BIT,
    lent_cloexec_bit = const LENT_CLOEXEC_BIT,
    lent_silent_bit = const LENT_SILENT_BIT,
    lent_prepared_bit = const LENT_PREPARED_BIT,
    records = const RECORDS,
    record_size = const RECORD_SIZE,
    record_shift = const RECORD_SIZE.trailing_zeros(),
    record_mode = const RECORD_MODE,
    record_flags = const RECORD_FLAGS,
    record_length = const RECORD_LENGTH,
    record_window_start = const RECORD_WINDOW_START,
    record_window_length = const RECORD_WINDOW_LENGTH,
    record_window = const RECORD_WINDOW,
    record_file = const RECORD_FILE,
    record_stat = const RECORD_STAT,
    record_has_flags = const RECORD_HAS_FLAGS,
    record_has_stat = const RECORD_HAS_STAT,
    record_reads = const RECORD_READS,
    record_seeks = const RECORD_SEEKS,
    record_is_listed = const RECORD_IS_LISTED,
    record_has_entries = const RECORD_HAS_ENTRIES,
    record_reads_on = const RECORD_READS_ON,
    record_is_volatile = const RECORD_IS_VOLATILE,
    record_is_prepared = const RECORD_IS_PREPARED,
    name_opens = const NAME_OPENS,
    open_anyway = const OPEN_ANYWAY,
    open_always = const OPEN_ALWAYS,
    o_cloexec = const libc::O_CLOEXEC,
    ledger_write = const LEDGER_WRITE,
    ledger_pwrite = const LEDGER_PWRITE,
    ledger_used = const LEDGER_USED,
    ledger_size = const LEDGER_SIZE,
    ledgers_from_orders = const LEDGERS_BASE.wrapping_sub(ORDERS_BASE),
    longest_write = const LONGEST_WRITE,
    note_size = const NOTE_SIZE,
    note_write = const NOTE_WRITE,
    record_writes_end = const RECORD_WRITES_END,
    record_until_written = const RECORD_UNTIL_WRITTEN,
    ledger_written = const LEDGER_WRITTEN,
    name_is_held = const NAME_IS_HELD,
    record_locks = const RECORD_LOCKS,
    record_swallows = const RECORD_SWALLOWS,
    record_has_inlet = const RECORD_HAS_INLET,
    inlet_filled = const INLET_FILLED,
    longest_left = const LONGEST_LEFT,
    inlets_from_orders = const INLETS_BASE.wrapping_sub(ORDERS_BASE),
    most_written = const MOST_WRITTEN,
    f_setlk = const libc::F_SETLK,
    f_unlck = const libc::F_UNLCK,
    stat_size = const STAT_SIZE,
    names = const NAMES,
    names_stand = const NAMES_STAND,
    name_calls = const NAME_CALLS,
    name_kinds = const NAME_KINDS,
    name_at = const NAME_AT,
    name_access = const NameCall::Access as u8,
    name_open = const NameCall::Open as u8,
    name_statx = const NameCall::StatxAt as u8,
    name_has_statx = const NAME_HAS_STATX,
    statx_rest = const STATX_REST,
    statx_born_bit = const STATX_BORN_BIT,
    statx_mount_root_bit = const STATX_MOUNT_ROOT_BIT,
    statx_size = const size_of::<Statx>(),
    statx_always = const StatxMask::BASIC_STATS.bits() | StatxMask::MNT_ID.bits(),
    statx_btime = const StatxMask::BTIME.bits(),
    statx_attr_mount_root = const STATX_ATTR_MOUNT_ROOT,
    name_size = const NAME_SIZE,
    name_shift = const NAME_SIZE.trailing_zeros(),
    name_sets = const NAME_SETS,
    name_room = const NAME_ROOM,
    name_generation = const NAME_GENERATION,
    name_start = const NAME_START,
    name_key = const NAME_KEY,
    name_answer = const NAME_ANSWER,
    name_stat = const NAME_STAT,
    name_text = const NAME_TEXT,
    name_nofollow = const NAME_NOFOLLOW,
    name_key_hash = const NAME_KEY_HASH,
    name_missing = const NAME_MISSING,
    name_prime = const NAME_PRIME,
    name_fold = const NAME_FOLD,
    access_all = const ACCESS_ALL,
    at_fdcwd = const libc::AT_FDCWD,
    at_symlink_nofollow = const libc::AT_SYMLINK_NOFOLLOW,
    o_creates = const libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY),
    o_nofollow = const libc::O_NOFOLLOW,
    enoent = const libc::ENOENT,
    at_empty_path = const libc::AT_EMPTY_PATH,
    at_harmless = const libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW,
    f_dupfd = const libc::F_DUPFD,
    f_dupfd_cloexec = const libc::F_DUPFD_CLOEXEC,
    f_getfd = const libc::F_GETFD,
    f_setfd = const libc::F_SETFD,
    f_getfl = const libc::F_GETFL,
    fd_cloexec = const libc::FD_CLOEXEC,
    ebadf = const libc::EBADF,
    maps = const MAPS,
    memory_answer = const STANDING + 8 * MEMORY_ANSWER as u64,
    memory_low = const MEMORY,
    memory_top = const MEMORY_TOP,
    memory_shortest = const MEMORY_SHORTEST,
    memory_longest = const MEMORY_LONGEST,
    memory_bottom = const MEMORY_BOTTOM,
    memory_lowest = const MEMORY_LOWEST,
    advice_answer = const STANDING + 8 * ADVICE_ANSWER as u64,
    advice_low = const ADVICE,
    advice_top = const ADVICE_TOP,
    advises = const ADVISES,
    private_anonymous = const PRIVATE_ANONYMOUS,
    private_anonymous_fixed = const PRIVATE_ANONYMOUS_FIXED,
    madv_dontneed = const MEMORY_ADVICE[0],
    madv_free = const MEMORY_ADVICE[1],
    page_size = const 4096,
    mask = const MASK,
    quiet = const QUIET,
    changes_mask = const CHANGES_MASK,
    changes_action = const CHANGES_ACTION,
    actions_answer = const STANDING + 8 * ACTIONS_ANSWER as u64,
    actions = const ACTIONS,
    action_shift = const ACTION_SIZE.trailing_zeros(),
    action_count = const ACTION_COUNT,
    action_staged = const ACTION_STAGED,
    action_staged_for = const ACTION_STAGED_FOR,
    actions_asked_for = const ACTIONS_ASKED_FOR,
    action_flags = const ACTION_FLAGS,
    sig_ign = const libc::SIG_IGN,
    returns = const RETURNS,
    asks_host = const ASKS_HOST,
    host_clocks = const HOST_CLOCKS,
    clocks = const CLOCK_BITS,
    sys_clock_gettime = const libc::SYS_clock_gettime,
    sys_gettimeofday = const libc::SYS_gettimeofday,
    sys_getcpu = const libc::SYS_getcpu,
    return_stack = const RETURN_STACK,
    return_place = const RETURN_PLACE,
    returned_place = const RETURNED_PLACE,
    returned_registers = const RETURNED_REGISTERS,
    returned_rip = const RETURNED_RIP,
    returned_flags = const RETURNED_FLAGS,
    returned_mask = const RETURNED_MASK,
    flags_returned = const FLAGS_RETURNED,
    trap_flag = const 0x100,
    extended_format = const EXTENDED_FORMAT,
    extended_software = const 464,
    context_stack = const offset_of!(UserContext, stack),
    context_machine = const offset_of!(UserContext, registers),
    context_extended = const offset_of!(UserContext, registers) + offset_of!(SignalContext, extended_state),
    context_mask = const offset_of!(UserContext, mask),
    region_end = const REGION_END,
    sig_unblock = const libc::SIG_UNBLOCK,
    sigkill_bit = const UNBLOCKABLE[0] - 1,
    sigstop_bit = const UNBLOCKABLE[1] - 1,
    slots_descriptor = const SLOTS_DESCRIPTOR,
    orders_descriptor = const ORDERS_DESCRIPTOR,
    clone_thread_flags = const CLONE_THREAD_FLAGS,
    clone_fork_flags = const CLONE_FORK_FLAGS,
    listener_flags = const LISTENER_FLAGS,
    futex_wake = const libc::FUTEX_WAKE,
    sig_setmask = const libc::SIG_SETMASK,
    sigkill = const libc::SIGKILL,
    madv_populate_write = const libc::MADV_POPULATE_WRITE,
    pr_set_pdeathsig = const libc::PR_SET_PDEATHSIG,
    seccomp_set_mode_filter = const libc::SECCOMP_SET_MODE_FILTER,
    prot_read = const libc::PROT_READ,
    prot_read_write = const READ_WRITE,
    map_shared_fixed = const libc::MAP_SHARED | libc::MAP_FIXED,
    sys_clone = const libc::SYS_clone,
    sys_close = const libc::SYS_close,
    sys_close_range = const libc::SYS_close_range,
    sys_dup2 = const libc::SYS_dup2,
    sys_exit_group = const libc::SYS_exit_group,
    sys_futex = const libc::SYS_futex,
    sys_madvise = const libc::SYS_madvise,
    sys_mmap = const libc::SYS_mmap,
    sys_mprotect = const libc::SYS_mprotect,
    sys_mremap = const libc::SYS_mremap,
    sys_munmap = const libc::SYS_munmap,
    sys_prctl = const libc::SYS_prctl,
    sys_rt_sigprocmask = const libc::SYS_rt_sigprocmask,
    sys_rt_sigreturn = const libc::SYS_rt_sigreturn,
    sys_seccomp = const libc::SYS_seccomp,
);

/// The bytes of the code.
fn code() -> &'static [u8] {
    unsafe extern "C" {
        static usk_stub_start: u8;
        static usk_stub_end: u8;
    }
    // SAFETY: the two symbols are the ends of one read-only piece of this program's image (`stub.S`).
    unsafe {
        let start = &raw const usk_stub_start;
        let length = (&raw const usk_stub_end).offset_from_unsigned(start);
        std::slice::from_raw_parts(start, length)
    }
}

macro_rules! addresses {
    ($($(#[$about:meta])* $name:ident = $symbol:ident;)*) => {
        $(
            $(#[$about])*
            pub(crate) fn $name() -> u64 {
                unsafe extern "C" {
                    static $symbol: u8;
                }
                // Only the symbol's address is used; it lies in the stub's code.
                let here = &raw const $symbol;
                STUB_BASE + (here.addr() - code().as_ptr().addr()) as u64
            }
        )*
    };
}

/// Addresses of the places where the code is entered.
pub(crate) mod entry {
    use super::*;

    addresses! {
        /// Handler of the signals that only guest threads get.
        signal = usk_stub_entry;
        /// Handler of SIGSEGV and SIGBUS.
        memory_fault = usk_stub_memory_fault;
        /// Where the trampolines of patched sites jump to.
        patched = usk_stub_patched;
        /// Where the template goes once the base filter is in force.
        template = usk_stub_template;
        /// Ends the process. Also the return address of signal handlers, which do not return.
        die = usk_stub_die;
    }
}

/// Addresses in the entry from patched sites at which something has happened to the registers.
pub(crate) mod patched {
    use super::*;

    addresses! {
        /// `rax`, `rsp` and where the call came from are in the slot; the stack pointer is about to change.
        saved = usk_patched_saved;
        /// The flags are in the slot too.
        flags_saved = usk_patched_flags_saved;
        /// `rdi` and `rsi` are in the slot too; guest memory is read.
        hands_over = usk_patched_hands_over;
        /// They are back.
        handed_over = usk_patched_handed_over;
        /// On the way back, guest memory is written.
        copies = usk_stub_copies;
        /// It has been written.
        copied = usk_stub_copied;
    }
}

/// Addresses in the code that serves calls about lent descriptors.
pub(crate) mod lent {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_lent_begin;
        /// `rdi`, `rsi`, `r8` and `r9` are in the entry area, too.
        saved = usk_lent_saved;
        /// They are not any more.
        restored = usk_lent_restored;
        /// A position has moved: the call is over.
        moved = usk_lent_moved;
        /// The end of this.
        going = usk_lent_going;
        /// The call is over.
        done = usk_lent_done;
        /// The code ends.
        end = usk_lent_end;
    }
}

/// Addresses in the code that receives what has arrived.
pub(crate) mod arrived {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_arrived_begin;
        /// It ends.
        end = usk_arrived_end;
    }
}

/// Addresses in the code that notes what is to be done.
pub(crate) mod ledger {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_ledger_begin;
        /// `rdi`, `rsi`, `rdx`, `r8` and `r9` are in the entry area, too.
        saved = usk_ledger_saved;
        /// They are not any more.
        restored = usk_ledger_restored;
        /// The note counts; a position may have to be moved.
        noted = usk_ledger_noted;
        /// The end of this.
        going = usk_ledger_going;
        /// The call is over.
        done = usk_ledger_done;
        /// The code ends.
        end = usk_ledger_end;
    }
}

/// Addresses in the code that leaves what is written to a pipe.
pub(crate) mod inlet {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_inlet_begin;
        /// `rdi`, `rsi`, `r8` and `r9` are in the entry area, too.
        saved = usk_inlet_saved;
        /// They are not any more.
        restored = usk_inlet_restored;
        /// The call is over.
        left = usk_inlet_left;
        /// The code ends.
        end = usk_inlet_end;
    }
}

/// Addresses in the code that maps and unmaps lent memory.
pub(crate) mod memory {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_memory_begin;
        /// Two registers are changed: memory is mapped.
        maps = usk_memory_maps;
        /// They are as they were.
        mapped = usk_memory_mapped;
        /// The call is over.
        set = usk_memory_set;
        /// The end of this.
        gone = usk_memory_gone;
        /// The code ends.
        end = usk_memory_end;
    }
}

/// Addresses in the code that opens prepared files. All of the time four registers are in the entry area.
pub(crate) mod prepared {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_prepared_begin;
        /// The code ends.
        end = usk_prepared_end;
    }
}

/// Addresses in the code that answers calls about names of files that are held. All of the time four registers are in the entry area.
pub(crate) mod held {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_held_begin;
        /// The code ends.
        end = usk_held_end;
    }
}

/// Addresses in the code that answers calls about names.
pub(crate) mod names {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_names_begin;
        /// `rdi`, `rsi`, `r8` and `r9` are in the entry area, too.
        saved = usk_names_saved;
        /// They are not any more.
        restored = usk_names_restored;
        /// The code ends.
        end = usk_names_end;
    }
}

/// Addresses in the code that notes changes of an epoll instance.
pub(crate) mod noted {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_noted_begin;
        /// The change is noted: the call is over.
        done = usk_noted_done;
        /// The end of this.
        asks = usk_noted_asks;
        /// The code ends.
        end = usk_noted_end;
    }
}

/// Addresses in the code that changes the mask of blocked signals.
pub(crate) mod mask {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_mask_begin;
        /// The new mask is in force, and the old one in guest memory.
        set = usk_mask_set;
        /// The old one is in force again: the sentry makes the call.
        reset = usk_mask_reset;
        /// All is done.
        done = usk_mask_done;
        /// It has ended.
        end = usk_mask_end;
    }
}

/// Addresses in the code that changes the actions of signals.
pub(crate) mod actions {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_action_begin;
        /// The call has been made; the new action has yet to take its place.
        set = usk_action_set;
        /// It has.
        done = usk_action_done;
        /// Only the way back is left.
        asks = usk_action_asks;
        /// It has ended.
        end = usk_action_end;
    }
}

/// Addresses in the code that brings the extended state along.
pub(crate) mod state {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_state_begin;
        /// `rdx` is in the entry area.
        saves = usk_state_saves;
        /// It has ended.
        end = usk_state_end;
    }
}

/// Addresses in the code that leaves words for the end of the thread.
pub(crate) mod left {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_left_begin;
        /// It has ended.
        end = usk_left_end;
    }
}

/// Addresses in the code that asks the host for the time.
pub(crate) mod clock {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_clock_begin;
        /// It has ended.
        end = usk_clock_end;
    }
}

/// Addresses in the code that returns from a signal's handler.
pub(crate) mod returns {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_return_begin;
        /// Three registers are in the entry area; guest memory is read.
        reads = usk_return_reads;
        /// The new mask is in force; the registers of the frame are in the slot.
        set = usk_return_set;
        /// The old one is in force again: the sentry makes the call.
        reset = usk_return_reset;
        /// The three registers are back.
        asked = usk_return_asked;
        /// All is done.
        done = usk_return_done;
        /// It has ended.
        end = usk_return_end;
    }
}

/// Addresses in the host calls of the guest's own, and where the sentry has one made.
pub(crate) mod host_call {
    use super::*;

    addresses! {
        /// The first instruction.
        begin = usk_host_call;
        /// A call on one word, by order.
        ordered_futex_one = usk_ordered_futex_one;
        /// A call on two words, by order.
        ordered_futex_two = usk_ordered_futex_two;
        /// The call has been made: its result is in `rax`.
        made = usk_host_call_made;
        /// Its result is in `rdi`, to be reported.
        reports = usk_host_call_reports;
        /// Behind the last instruction before which the sentry has not heard of it.
        end = usk_host_calls_end;
    }
}

/// Addresses after the code's system-call instructions: the instruction pointers that the filters see.
pub(crate) mod site {
    use super::*;

    addresses! {
        /// The template empties the guest's range.
        clear = usk_site_clear;
        /// The spawner has memory given to the guest.
        populate = usk_site_populate;
        /// The doorbell.
        doorbell = usk_site_doorbell;
        /// The doorbell of calls from patched sites.
        patched = usk_site_patched;
        /// A clock of the host's.
        clock = usk_site_clock;
        /// The time of day.
        time_of_day = usk_site_time_of_day;
        /// The processor.
        cpu = usk_site_cpu;
        /// The doorbell after a host call that the sentry has ordered.
        host_called = usk_site_host_called;
        /// A futex call on one word.
        futex_one = usk_site_futex_one;
        /// A futex call on two words.
        futex_two = usk_site_futex_two;
        /// `sched_yield`
        yields = usk_site_yield;
        /// Mapping lent memory.
        memory_map = usk_site_memory_map;
        /// Unmapping it.
        memory_unmap = usk_site_memory_unmap;
        /// Advice about it.
        memory_advise = usk_site_memory_advise;
        /// The first doorbell of a thread.
        birth = usk_site_birth;
        /// Back to the guest.
        sigreturn = usk_site_sigreturn;
        /// The end.
        exit = usk_site_exit;
        /// See [`CallKind`].
        map_anonymous = usk_site_map_anonymous;
        /// See [`CallKind`].
        map_file = usk_site_map_file;
        /// See [`CallKind`].
        map_file_unasked = usk_site_map_file_unasked;
        /// See [`CallKind`].
        unmap = usk_site_unmap;
        /// See [`CallKind`].
        protect = usk_site_protect;
        /// See [`CallKind`].
        remap = usk_site_remap;
        /// See [`CallKind`].
        advise = usk_site_advise;
        /// See [`CallKind`].
        close = usk_site_close;
        /// The spawner tells that an order is finished.
        wake = usk_site_wake;
        /// The spawner waits for an order.
        sleep = usk_site_sleep;
        /// The spawner closes the descriptor of the process that it has made before.
        spawner_close = usk_site_spawner_close;
        /// The spawner duplicates the address space.
        clone_fork = usk_site_clone_fork;
        /// The spawner tells that it could not make what it was asked for.
        not_made = usk_site_not_made;
        /// The copy's spawner arranges to die with the sentry.
        forked_deathsig = usk_site_forked_deathsig;
        /// The copy's spawner maps its own slots.
        map_slots = usk_site_map_slots;
        /// The copy's spawner maps its own orders.
        map_orders = usk_site_map_orders;
        /// The spawner makes a guest thread.
        clone_thread = usk_site_clone_thread;
        /// A newborn thread closes what it has inherited.
        close_all = usk_site_close_all;
        /// A newborn thread arranges to die with the sentry.
        born_deathsig = usk_site_born_deathsig;
        /// A newborn thread installs its filter.
        listen = usk_site_listen;
        /// A newborn thread tells that it is there.
        born_wake = usk_site_born_wake;
        /// A newborn thread closes its listener.
        close_listener = usk_site_close_listener;
        /// The spawner lets faults through.
        unblock_faults = usk_site_unblock_faults;
    }
}

/// Code and constants, [`IMAGE_SIZE`] bytes to be mapped at [`STUB_BASE`]. The thread filter is part of it, because a
/// newborn thread installs it from there, and so is what `shortcut` says of each call. `state_place` is where in a slot the
/// extended state is saved.
pub(crate) fn build(thread_filter: &[u64], state_place: u64, shortcut: impl Fn(u64) -> Shortcut) -> Vec<u8> {
    let mut image = vec![0; IMAGE_SIZE as usize];
    let code = code();
    assert!(code.len() as u64 <= CODE_SIZE, "the stub has outgrown its page");
    let filter_end = THREAD_FILTER_CODE + 8 * thread_filter.len() as u64;
    assert!(filter_end <= SHORTCUTS, "the filter has outgrown its place");
    image[..code.len()].copy_from_slice(code);
    let mut put = |address: u64, bytes: &[u8]| {
        let at = (address - STUB_BASE) as usize;
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(THREAD_FILTER, &(thread_filter.len() as u64).to_le_bytes());
    put(THREAD_FILTER + 8, &THREAD_FILTER_CODE.to_le_bytes());
    for (index, instruction) in thread_filter.iter().enumerate() {
        put(THREAD_FILTER_CODE + 8 * index as u64, &instruction.to_le_bytes());
    }
    put(EXTENDED_FORMAT, &FORMAT.frame_words());
    put(STATE_PLACE, &state_place.to_le_bytes());
    for number in 0..SHORTCUT_COUNT {
        let kind = match shortcut(number) {
            Shortcut::None => HANDS_OVER_NOTHING,
            Shortcut::HandsOver(Memory::First) => HANDS_OVER_FIRST,
            Shortcut::HandsOver(Memory::Second) => HANDS_OVER_SECOND,
            Shortcut::HandsOver(Memory::Fourth) => HANDS_OVER_FOURTH,
            Shortcut::HandsOver(Memory::Buffer) => HANDS_OVER_BUFFER,
            Shortcut::ChangesMask => CHANGES_MASK,
            Shortcut::ChangesAction => CHANGES_ACTION,
            Shortcut::ReturnsFromHandler => RETURNS,
            Shortcut::AsksHost => ASKS_HOST,
            Shortcut::MapsMemory => MAPS,
            Shortcut::Stands(answer) => {
                assert!(usize::from(answer) < LENT_ANSWER, "there is no answer {answer}");
                STANDS + answer
            }
            Shortcut::Lends(call) => LENDS + call as u8,
            Shortcut::Notes(NotedCall::Write) => LEDGER_WRITE,
            Shortcut::Notes(NotedCall::Pwrite) => LEDGER_PWRITE,
            Shortcut::Knows(call) => NAME_CALLS + call as u8,
            Shortcut::HostCall(HostCallKind::Futex) => HOST_FUTEX,
            Shortcut::HostCall(HostCallKind::Yield) => HOST_YIELD,
            Shortcut::BringsState => BRINGS_STATE,
            Shortcut::SetsRobustList => SETS_ROBUST_LIST,
            Shortcut::SetsTidAddress => SETS_TID_ADDRESS,
            Shortcut::NotesChange => NOTES,
        };
        put(SHORTCUTS + number, &[kind]);
    }
    let let_through = 1u64 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1);
    put(SPAWNER_MASK, &(!let_through).to_le_bytes());
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_syscall_instruction_of_the_stub_is_followed_by_a_site() {
        let sites = [
            site::clear(),
            site::populate(),
            site::doorbell(),
            site::patched(),
            site::clock(),
            site::time_of_day(),
            site::cpu(),
            site::host_called(),
            site::futex_one(),
            site::futex_two(),
            site::yields(),
            site::memory_map(),
            site::memory_unmap(),
            site::memory_advise(),
            site::birth(),
            site::sigreturn(),
            site::exit(),
            site::map_anonymous(),
            site::map_file(),
            site::map_file_unasked(),
            site::unmap(),
            site::protect(),
            site::remap(),
            site::advise(),
            site::close(),
            site::wake(),
            site::sleep(),
            site::spawner_close(),
            site::clone_fork(),
            site::not_made(),
            site::forked_deathsig(),
            site::map_slots(),
            site::map_orders(),
            site::clone_thread(),
            site::close_all(),
            site::born_deathsig(),
            site::listen(),
            site::born_wake(),
            site::close_listener(),
            site::unblock_faults(),
        ];
        let code = code();
        let found: Vec<u64> = (0..code.len() - 1)
            .filter(|&at| code[at..at + 2] == [0x0f, 0x05])
            .map(|at| STUB_BASE + at as u64 + 2)
            .collect();
        let mut expected = sites.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
