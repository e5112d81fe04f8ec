//! Where the platforms' own memory lies in a guest's address space. A guest can find all of this out; it is public for
//! the tests that attack it.

use crate::ptrace::geography;
use crate::stub::geometry;

/// First address above what guest mappings may use, on both platforms.
pub const GUEST_END: u64 = geometry::GUEST_END;
/// The page of code that a guest can execute, on both platforms.
pub const CODE: u64 = geometry::STUB_BASE;
/// Size of the code; constants follow.
pub const CODE_SIZE: u64 = geometry::CODE_SIZE;
/// First address above the region, on both platforms.
pub const END: u64 = geometry::REGION_END;
/// On the trap platform: one slot for each guest thread, which guest and sentry both write.
pub const SLOTS: u64 = geometry::SLOTS_BASE;
/// Size of a slot.
pub const SLOT_SIZE: u64 = geometry::SLOT_SIZE;
/// Where in a slot the positions of lent files are, and after them all that the stub keeps of what is lent.
pub const LENT: u64 = geometry::LENT_POSITIONS;
/// Where in a slot it says which lent descriptors have been changed.
pub const LENT_CHANGED: u64 = geometry::LENT_CHANGED;
/// Where in a slot it says that its thread is in a host call.
pub const HOST_CALL: u64 = geometry::ENTRY_HOST_CALL;
/// Where in a slot the noted changes of an epoll instance are.
pub const NOTED: u64 = geometry::NOTED_WATCHED;
/// Size of those.
pub const NOTED_SIZE: u64 = geometry::NOTED + geometry::NOTED_SIZE * geometry::MOST_NOTED as u64 - NOTED;
/// Where in a slot it says how much of the ledger is used.
pub const LEDGER_USED: u64 = geometry::LEDGER_USED;
/// In a slot: of which records a write has been noted.
pub const LEDGER_WRITTEN: u64 = geometry::LEDGER_WRITTEN;
/// Where in a slot it says how much of the inlet is filled.
pub const INLET_FILLED: u64 = geometry::INLET_FILLED;
/// Where in a slot it says how often the inlet's bell was rung.
pub const INLET_BELL: u64 = geometry::INLET_BELL;
/// Where in a slot it says what of lent memory is mapped.
pub const MEMORY_WORDS: u64 = geometry::MEMORY_BOTTOM;
/// Where in a slot it says that its thread is about to let go of memory.
pub const ADVISES: u64 = geometry::ADVISES;
/// Where in a slot it says whether a call is there.
pub const HAND: u64 = geometry::HAND;
/// Where in a slot its mailbox begins.
pub const MAILBOX: u64 = geometry::MAILBOX;
/// On the trap platform: a page of orders for each guest thread, which the guest can only read.
pub const ORDERS: u64 = geometry::ORDERS_BASE;
/// On the trap platform: a ledger for each guest thread that has one, as far apart as orders are, which guest and sentry both write.
pub const LEDGERS: u64 = geometry::LEDGERS_BASE;
/// Its inlet, in the same way.
pub const INLETS: u64 = geometry::INLETS_BASE;
/// Size of an inlet.
pub const INLET_SIZE: u64 = geometry::INLET_SIZE;
/// Size of a ledger.
pub const LEDGER_SIZE: u64 = geometry::LEDGER_SIZE;
/// On the ptrace platform: the buffers of injected calls.
pub const SCRATCH: u64 = geography::SCRATCH;

const _: () =
    assert!(geography::CODE == CODE && geography::GUEST_END == GUEST_END && geography::TASK_SIZE == END);
