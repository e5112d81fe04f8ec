//! Addresses in the stub's code: those that the filters and the template need, and between which something has or has not happened to a
//! thread that a signal meets there.

#[cfg(doc)]
use super::geometry::CallKind;
use super::geometry::STUB_BASE;
use super::image::code;

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
        /// `rdi`, `rsi` and `rdx`, which the call returns, are in the entry area.
        rings = usk_inlet_rings;
        /// They are not any more.
        rung = usk_inlet_rung;
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

/// Addresses in the code that shows what `statx(2)` does. All of the time four registers are in the entry area.
pub(crate) mod statx {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_statx_begin;
        /// The code ends.
        end = usk_statx_end;
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

/// Addresses in the code that hands calls over without the host.
pub(crate) mod spin {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_spin_begin;
        /// The call is handed over, if the flags say so.
        rung = usk_spin_rung;
        /// The thread has stopped looking for its answer, if the flags say so.
        slept = usk_spin_slept;
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

/// Addresses in the code that asks the host.
pub(crate) mod asked {
    use super::*;

    addresses! {
        /// It begins.
        begin = usk_asked_begin;
        /// It has ended.
        end = usk_asked_end;
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
        /// Random bytes.
        random = usk_site_random;
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
        mask_kicks = usk_site_mask_kicks;
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
        /// A guest thread wakes who waits for what it has left in its inlet.
        inlet_bell = usk_site_inlet_bell;
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
