//! The cases, and what they have in common.

mod actions;
mod advice;
mod arrived;
mod ends;
mod faults;
pub(crate) mod guest;
mod held;
mod host_calls;
mod hostile;
mod inlet;
mod jumps;
mod known;
mod ledger;
mod lent;
mod lives;
mod mask;
pub(crate) mod memory;
mod names;
mod noted;
mod patching;
mod prepared;
mod programs;
mod shelf;
mod shortcuts;
mod spin;
mod state;
mod statx;
mod threads;

use std::os::fd::AsFd;

use usk_platform::Platform;
use usk_platform::trap::{self, TrapPlatform};

/// A case gets a fresh platform.
pub(crate) type Case = fn(&dyn Platform);

/// Makes a platform.
pub(crate) type Maker = fn() -> Box<dyn Platform>;

/// The platforms to test.
const PLATFORMS: &[(&str, Maker)] = &[
    ("ptrace", || Box::new(usk_platform::ptrace::PtracePlatform::new().expect("the ptrace platform"))),
    ("trap", || Box::new(trap(trap::probe()))),
    (SPINS, || Box::new(trap(trap::Offer { spinning: true, ..trap::probe() }))),
    // Last: it binds whoever runs a guest thread to one processor.
    ("trap-without-synchronous-wake-up", || Box::new(old_host())),
];

/// The one that needs two processors.
const SPINS: &str = "trap-that-spins";

/// The platforms that this machine can run, and on standard output what it cannot.
pub(crate) fn platforms() -> Vec<&'static (&'static str, Maker)> {
    let is_alone = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
    let can_run = |name: &str| {
        let can_run = name != SPINS || !is_alone;
        if !can_run {
            println!("skipped: {name}: all {} cases (needs two processors)", CASES.len());
        }
        can_run
    };
    PLATFORMS.iter().filter(|(name, _)| can_run(name)).collect()
}

/// The trap platform as on a host of 2022.
fn old_host() -> TrapPlatform {
    trap(trap::Offer { synchronous_wake_up: false, receive_sees_death: false, ..trap::probe() })
}

fn trap(offer: trap::Offer) -> TrapPlatform {
    let proc = usk_platform::host::descriptors::open_directory(c"/proc").expect("/proc");
    TrapPlatform::with_offer(proc.as_fd(), offer, shortcuts::shortcut).expect("the trap platform")
}

macro_rules! cases {
    ($($module:ident::$case:ident,)*) => { &[$((stringify!($case), $module::$case as Case)),*] };
}

/// All cases.
pub(crate) const CASES: &[(&str, Case)] = cases![
    shortcuts::a_call_brings_along_the_memory_that_it_is_about,
    shortcuts::memory_that_is_not_there_does_not_come_along,
    shortcuts::copies_are_made_on_the_way_back,
    shortcuts::a_copy_to_memory_that_is_gone_is_refused,
    shortcuts::what_travels_with_a_call_survives_kicks,
    shortcuts::an_answer_is_given_while_it_stands,
    shortcuts::kicks_do_not_tear_what_is_answered_without_the_sentry,
    advice::a_thread_lets_go_of_what_it_has_leave_for,
    advice::whatever_a_thread_has_no_leave_for_makes_a_call,
    advice::a_word_that_lies_about_advice_is_taken_for_advice,
    advice::another_thread_begins_without_the_leave_of_the_one_before,
    advice::kicks_do_not_tear_advice,
    lent::what_is_lent_is_served_and_told,
    lent::entries_are_returned_all_at_once,
    lent::contents_that_are_left_are_read_and_cannot_be_written,
    names::names_that_are_left_are_answered,
    names::names_of_what_is_no_link_are_not_read,
    statx::statx_shows_of_names_what_was_left,
    statx::statx_shows_of_descriptors_what_was_lent,
    statx::statx_of_what_was_not_lent_makes_a_call,
    statx::statx_of_a_held_file_is_answered_until_a_write_is_noted,
    statx::statx_of_a_prepared_file_is_answered_by_name_and_descriptor,
    statx::kicks_and_withdrawals_do_not_tear_statx,
    names::names_of_before_stand_no_more,
    names::kicks_and_withdrawals_do_not_tear_answers,
    names::forged_memory_gets_no_answer_that_was_not_left,
    arrived::what_has_arrived_is_read_as_far_as_it_goes,
    arrived::what_has_arrived_in_part_is_not_read_beyond_that,
    arrived::what_has_arrived_is_left_within_its_room_and_erased,
    prepared::a_prepared_file_is_opened_and_told,
    prepared::what_is_not_prepared_any_more_is_not_opened,
    prepared::kicks_do_not_tear_opens,
    prepared::forged_memory_opens_nothing_that_could_not_be,
    lent::kicks_do_not_tear_calls_that_change_descriptors,
    lent::kicks_do_not_tear_reads_that_move_the_position,
    lent::forged_loans_are_told_as_something_that_could_be,
    noted::changes_that_are_sure_to_succeed_are_noted_in_their_order,
    noted::kicks_do_not_tear_changes_that_are_noted,
    noted::forged_changes_are_told_as_changes_that_could_be,
    held::a_held_file_shows_its_attributes_until_a_write_is_noted,
    held::a_file_that_is_not_held_any_more_is_not_shown,
    held::what_is_known_of_other_names_outlives_what_is_lent,
    held::forged_words_show_nothing_of_a_held_file_that_was_not_lent,
    ledger::what_is_noted_is_told,
    ledger::what_is_not_to_be_noted_is_called,
    ledger::what_is_swallowed_is_over_and_leaves_nothing,
    ledger::kicks_do_not_tear_writes,
    ledger::kicks_do_not_disturb_what_is_swallowed,
    ledger::forged_ledgers_are_told_as_notes_or_not_at_all,
    inlet::what_is_left_can_be_read,
    inlet::what_cannot_be_left_is_called,
    inlet::the_bell_is_rung_for_a_listener_only,
    inlet::all_who_listen_find_all_or_are_woken,
    inlet::kicks_do_not_tear_what_is_left,
    inlet::kicks_do_not_tear_what_the_bell_is_rung_for,
    inlet::who_closes_an_inlet_finds_all_or_is_told,
    inlet::forged_inlets_hold_what_fits_or_nothing,
    shelf::what_is_on_a_shelf_is_read_as_it_was_left_last,
    shelf::a_guest_cannot_write_on_its_shelf,
    shelf::a_new_program_has_no_shelf,
    programs::a_new_program_finds_nothing_of_the_last_one,
    lives::a_call_that_makes_a_thread_brings_the_extended_state_along,
    lives::kicks_do_not_tear_the_state_that_a_call_brings_along,
    lives::a_thread_leaves_what_is_to_be_done_at_its_end,
    lives::another_thread_begins_with_nothing_left,
    lives::kicks_do_not_tear_what_a_thread_leaves,
    lives::forged_last_words_are_only_addresses,
    mask::a_mask_is_changed_without_a_call_while_nothing_is_in_the_way,
    mask::whatever_is_in_the_way_of_a_change_makes_a_call,
    mask::another_thread_begins_without_the_mask_of_the_one_before,
    mask::kicks_do_not_tear_a_change_of_the_mask,
    mask::a_forged_mask_is_only_a_mask,
    actions::an_action_is_changed_without_a_call_while_nothing_is_in_the_way,
    actions::whatever_is_in_the_way_of_an_action_makes_a_call,
    actions::another_thread_begins_without_the_actions_of_the_one_before,
    actions::kicks_do_not_tear_a_change_of_an_action,
    actions::forged_actions_are_only_actions,
    host_calls::the_host_carries_out_private_futexes_while_they_stand,
    host_calls::other_futexes_reach_the_sentry_as_they_are,
    host_calls::a_kick_makes_a_call_of_a_wait,
    host_calls::the_sentry_has_futex_calls_made,
    host_calls::kicks_do_not_tear_host_calls,
    host_calls::the_host_yields_for_the_guest,
    host_calls::stops_from_outside_do_not_end_a_host_call,
    host_calls::a_host_call_that_returns_when_none_is_allowed_any_more_is_told_of,
    spin::calls_in_quick_succession_keep_everything_but_their_result,
    spin::kicks_do_not_tear_calls_in_quick_succession,
    spin::a_guest_that_pretends_to_have_called_is_found_out,
    spin::who_scribbles_on_the_hand_spoils_its_own_process_alone,
    state::a_system_call_stops_with_all_registers,
    state::the_return_value_reaches_the_guest,
    state::a_system_call_can_be_restarted,
    state::vector_registers_survive_system_calls_and_memory_operations,
    state::extended_state_can_be_read_and_written,
    state::malformed_extended_state_is_refused,
    state::a_new_thread_has_initial_extended_state,
    state::a_new_thread_takes_over_extended_state,
    state::segment_bases_are_the_guests_own,
    state::the_vdso_tells_the_time,
    state::int_0x80_is_a_general_protection_fault,
    state::a_legacy_vsyscall_is_a_system_call_or_a_fault,
    faults::reading_unmapped_memory,
    faults::writing_read_only_memory,
    faults::executing_data,
    faults::reading_past_the_end_of_a_file,
    faults::dividing_by_zero,
    faults::an_invalid_opcode,
    faults::a_breakpoint,
    faults::a_privileged_instruction,
    faults::single_stepping,
    faults::a_jump_to_a_non_canonical_address,
    faults::a_fault_can_be_repaired_and_retried,
    faults::jumping_into_the_platforms_region_gains_nothing,
    memory::reads_and_writes_stop_at_the_first_inaccessible_page,
    memory::compare_exchange_works_and_faults,
    memory::operations_outside_the_guests_range_are_refused,
    memory::a_file_is_mapped_on_the_way_back_and_not_kept,
    memory::a_private_file_mapping_does_not_change_the_file,
    memory::a_shared_file_mapping_changes_the_file,
    memory::protection_can_be_changed,
    memory::mappings_can_be_moved_and_resized,
    memory::advice_is_carried_out,
    memory::a_failed_operation_is_reported_with_its_index,
    memory::unmap_all_empties_the_address_space,
    memory::a_fork_copies_on_write,
    memory::a_fork_shares_shared_mappings,
    memory::a_forked_space_forks_again,
    memory::the_vdso_is_mapped_in_every_space,
    state::a_thread_finds_nothing_of_one_that_has_ended,
    threads::threads_share_memory,
    threads::a_parked_thread_can_change_hands,
    threads::a_kick_interrupts_a_spinning_thread,
    threads::a_kick_before_the_run_is_not_lost,
    threads::kicks_are_never_lost,
    threads::a_kick_during_memory_operations_is_not_lost,
    threads::kill_ends_a_spinning_thread,
    threads::killing_a_parked_thread,
    ends::death_from_outside_is_noticed,
    ends::a_copy_that_nobody_has_got_disturbs_no_other,
    ends::the_death_of_any_one_stub_is_noticed,
    ends::a_death_is_heard_of_that_no_run_waits_for,
    ends::the_stubs_die_with_the_sentry,
    ends::an_idle_platform_uses_no_processor_time,
    threads::signals_from_outside_do_not_disturb,
    threads::processor_time_is_counted,
    threads::a_copy_is_whole_before_it_has_a_thread,
    threads::two_threads_run_at_the_same_time,
    threads::a_thousand_threads_in_one_address_space,
    threads::many_threads_and_forks_come_and_go,
    patching::a_patched_call_stops_with_the_registers_of_the_original,
    patching::a_patched_call_returns_its_result_and_keeps_everything_else,
    patching::code_after_a_patched_call_can_be_jumped_to,
    patching::a_call_can_be_restarted_where_it_was_patched,
    patching::kicks_never_tear_a_patched_call,
    patching::memory_operations_work_in_a_patched_call,
    patching::changes_left_for_the_way_back_are_made_or_refused,
    patching::changes_left_for_the_way_back_are_made_whatever_kicks_the_thread,
    patching::a_late_kick_does_not_end_a_thread_that_is_to_have_a_frame,
    patching::a_late_kick_leaves_the_extended_state_that_is_read_as_it_is,
    patching::extended_state_can_be_read_and_written_in_a_patched_call,
    patching::extended_state_follows_the_registers_of_a_patched_call_whatever_kicks_it,
    patching::registers_can_be_replaced_in_a_patched_call,
    patching::a_guest_with_a_gs_base_of_its_own_traps,
    patching::a_fork_inherits_patches,
    patching::patches_can_be_taken_back,
    patching::patches_taken_back_during_a_call_do_not_matter_to_it,
    patching::what_cannot_be_patched_is_refused,
    patching::a_step_over_a_patched_call_is_a_call,
    known::known_code_is_patched_before_it_runs,
    known::known_calls_are_patched_by_what_is_before_them_or_by_a_gap,
    known::code_that_is_not_what_is_known_stays_as_it_is,
    known::code_that_cannot_be_written_stays_as_it_is,
    known::cpuid_answers_what_the_processor_does,
    known::kicks_never_tear_a_cpuid,
    known::a_step_over_a_patched_cpuid_is_a_cpuid,
    known::a_cpuid_that_looks_it_up_answers_what_the_processor_does,
    known::kicks_never_tear_a_cpuid_that_looks_it_up,
    known::steps_come_forward_past_a_cpuid_that_looks_it_up,
    hostile::no_system_call_instruction_of_the_platform_serves_a_guest,
    hostile::a_list_comes_from_the_threads_own_orders_whatever_its_stack_pointer_says,
    hostile::the_platforms_code_cannot_be_changed_by_its_own_guest,
    hostile::a_flood_of_forged_doorbells_is_only_a_flood_of_calls,
    hostile::a_forged_slot_hurts_only_its_guest,
    hostile::an_address_space_holds_nothing_of_the_one_before,
    hostile::what_a_guest_forges_does_not_hurt_the_next_in_its_address_space,
    hostile::a_file_that_is_mapped_for_a_guest_is_mapped_as_it_was_ordered,
    hostile::forged_mailboxes_delay_but_do_not_deceive,
    hostile::a_guest_that_denies_that_exchanges_are_done_does_not_hold_them_up,
    hostile::forged_mailboxes_leave_no_processes_behind,
    hostile::a_forged_signal_frame_is_only_a_jump,
    jumps::a_mapping_is_moved_only_if_that_was_ordered,
    jumps::a_guest_that_says_that_a_change_has_failed_does_not_keep_it,
    jumps::a_late_kick_lets_nobody_map_a_file_in_another_way,
];

/// What cases run in processes of their own: like cases, but they are not tests.
pub(crate) const HELPERS: &[(&str, Case)] = &[("wait_to_be_killed", ends::wait_to_be_killed)];

/// Host processes that this process has started and that still exist.
pub(crate) fn children() -> Vec<i32> {
    let mut children = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").expect("/proc") {
        let path = task.expect("an entry").path().join("children");
        let list = std::fs::read_to_string(path).unwrap_or_default();
        children.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    children
}

/// All stubs are gone, zombies included. Fails after a while.
pub(crate) fn assert_no_children() {
    for _ in 0..1000 {
        if children().is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    panic!("these processes were left: {:?}", children());
}
