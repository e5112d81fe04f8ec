//! Guests that turn against the platform's own code and memory in their address space gain nothing, and hurt only their
//! own process. `platform/tests/common/hostile.rs` shows the same below the sentry.

use crate::guest;
use crate::support::runtime::Runtime;

/// What the guest ends with, as in `region.c`.
const STATUS: i32 = 43;

fn attack(runtime: Runtime, verb: &str) {
    let mut command = guest::command(runtime, &guest::program("region"), &[]);
    command.arg(verb);
    let outcome = guest::run(command);
    let report = format!("{}\n{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.status, STATUS, "{report}");
    assert!(outcome.stdout.ends_with("finished\n") && outcome.stderr.is_empty(), "{report}");
    // That the attacks have something to attack. The trap platform's stub has an instruction for each thing it does.
    let sites: usize = outcome.attacks()["sites"].parse().expect("a number");
    assert!(sites >= if runtime == Runtime::Trap { 32 } else { 1 }, "{sites}");
}

pub(crate) fn jumps_into_the_platforms_code_gain_nothing(runtime: Runtime) {
    attack(runtime, "jump");
}

pub(crate) fn calls_that_name_the_platforms_memory_fail(runtime: Runtime) {
    attack(runtime, "calls");
}

pub(crate) fn forged_platform_memory_hurts_only_its_process(runtime: Runtime) {
    attack(runtime, "forge");
}

pub(crate) fn forged_loans_give_no_file(runtime: Runtime) {
    attack(runtime, "loans");
}

pub(crate) fn forged_positions_in_streams_give_nothing_that_has_not_arrived(runtime: Runtime) {
    attack(runtime, "arrivals");
}

pub(crate) fn forged_loans_of_threads_that_share_descriptors_give_no_file(runtime: Runtime) {
    attack(runtime, "shared");
}

pub(crate) fn forged_words_of_lent_memory_hurt_only_their_process(runtime: Runtime) {
    attack(runtime, "memory");
}

pub(crate) fn forged_changes_of_an_epoll_instance_hurt_only_their_process(runtime: Runtime) {
    attack(runtime, "changes");
}

pub(crate) fn forged_ledgers_write_and_lock_no_others_files(runtime: Runtime) {
    attack(runtime, "ledger");
}

pub(crate) fn forged_inlets_reach_no_others_pipe(runtime: Runtime) {
    attack(runtime, "inlet");
}

pub(crate) fn forged_names_give_no_others_attributes(runtime: Runtime) {
    attack(runtime, "names");
}

pub(crate) fn a_flood_of_doorbells_hurts_only_its_process(runtime: Runtime) {
    attack(runtime, "flood");
}

pub(crate) fn forged_frames_hurt_only_their_process(runtime: Runtime) {
    attack(runtime, "frames");
}

pub(crate) fn forged_returns_hurt_only_their_process(runtime: Runtime) {
    attack(runtime, "returns");
}

pub(crate) fn forged_actions_hurt_only_their_process(runtime: Runtime) {
    attack(runtime, "actions");
}

pub(crate) fn forged_masks_hurt_only_their_process(runtime: Runtime) {
    attack(runtime, "masks");
}

pub(crate) fn a_sealed_file_is_not_written_by_way_of_a_hidden_mapping(runtime: Runtime) {
    let outcome = guest::run(guest::command(runtime, &guest::program("seals"), &[]));
    let found = (outcome.stdout.as_str(), outcome.status);
    let sound = "moved: sound\ndenied: sound\ndenied for good: sound\nreplaced: sound\n";
    assert_eq!(found, (sound, 0), "{}", outcome.stderr);
}
