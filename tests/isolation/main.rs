//! Isolation tests: hostile guests in whole sandboxes, on both platforms.
//!
//! A test starts programs of this directory (C, compiled here, static) in a sandbox and looks from the host at what they
//! did. It is called `PLATFORM::SENTENCE`. Most have a control: the same program does the same natively, where it must
//! succeed, because an attack that cannot succeed anywhere shows nothing.
//!
//! | module | about |
//! | --- | --- |
//! | [`writes`] | files: what a guest writes reaches the host in writable volumes only |
//! | [`reach`] | processes, secrets, networks, IPC, devices, privileged calls: what a guest cannot reach |
//! | [`escapes`] | names, links and races that lead out of a volume |
//! | [`ends`] | `kill -9` of each part of a sandbox with a busy guest |
//! | [`region`] | the platform's own memory and code in a guest's address space |
//! | [`resources`] | too much of everything |
//! | [`fuzz`] | random system calls |

mod ends;
mod escapes;
mod fuzz;
mod guest;
mod reach;
mod region;
mod resources;
#[path = "../support/mod.rs"]
mod support;
mod tree;
mod writes;

use std::process::ExitCode;
use std::sync::{PoisonError, RwLock};

use libtest_mimic::{Arguments, Trial};

use crate::support::runtime::Runtime;

/// Held alone by tests that measure how soon something ends, together by all others. A host's scheduler can keep a killed
/// process from running for many seconds while others on its CPU take turns quickly, as sandboxes do.
static QUIET: RwLock<()> = RwLock::new(());

/// Runs a test beside no other if it is one of [`ends`].
fn run(name: &str, test: fn(Runtime), runtime: Runtime) {
    if name.starts_with("ends::") {
        let _alone = QUIET.write().unwrap_or_else(PoisonError::into_inner);
        test(runtime);
    } else {
        let _together = QUIET.read().unwrap_or_else(PoisonError::into_inner);
        test(runtime);
    }
}

/// A test: its name, and what it does on a platform. It fails by a panic.
type Test = (&'static str, fn(Runtime));

/// Lists test functions with their names.
macro_rules! tests {
    ($($module:ident { $($name:ident,)+ })+) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),+),+]
    };
}

const TESTS: &[Test] = tests! {
    writes {
        nothing_written_to_the_root_reaches_the_host,
        a_read_only_volume_refuses_every_write,
        what_is_written_to_a_writable_volume_arrives_as_if_written_natively,
    }
    reach {
        what_is_the_hosts_cannot_be_reached,
        the_host_does_not_reach_what_listens_in_a_sandbox,
    }
    escapes {
        links_do_not_lead_out_of_a_volume,
        a_guest_that_swaps_directories_and_links_does_not_leave_a_volume,
        a_process_of_the_host_that_swaps_them_does_not_let_a_guest_out,
        a_directory_that_the_host_moves_away_does_not_lead_a_guest_out,
    }
    ends {
        killing_the_monitor_ends_a_busy_guest,
        killing_the_sentry_ends_a_busy_guest_with_a_message,
        killing_the_gofer_ends_a_busy_guest_with_a_message,
        killing_a_stub_kills_its_guest_process_alone,
        guest_processes_that_have_ended_leave_no_processes_of_the_host,
        a_guest_that_blocks_kicks_is_ended_when_it_is_killed_or_waited_for,
    }
    region {
        jumps_into_the_platforms_code_gain_nothing,
        calls_that_name_the_platforms_memory_fail,
        forged_platform_memory_hurts_only_its_process,
        forged_loans_give_no_file,
        forged_positions_in_streams_give_nothing_that_has_not_arrived,
        forged_loans_of_threads_that_share_descriptors_give_no_file,
        forged_words_of_lent_memory_hurt_only_their_process,
        forged_changes_of_an_epoll_instance_hurt_only_their_process,
        forged_ledgers_write_and_lock_no_others_files,
        forged_inlets_reach_no_others_pipe,
        forged_names_give_no_others_attributes,
        a_flood_of_doorbells_hurts_only_its_process,
        forged_frames_hurt_only_their_process,
        forged_masks_hurt_only_their_process,
        forged_actions_hurt_only_their_process,
        forged_returns_hurt_only_their_process,
        a_sealed_file_is_not_written_by_way_of_a_hidden_mapping,
    }
    resources {
        too_much_of_everything_is_refused_as_on_linux,
        a_memory_bomb_is_killed_and_its_parent_goes_on,
        memory_that_the_sentry_fills_is_charged_to_the_guest_that_asked,
        memory_that_the_sentry_holds_for_a_guest_counts_as_the_guests,
        an_ordinary_user_who_uses_up_descriptors_leaves_enough_of_them,
    }
    fuzz {
        the_sentry_survives_random_system_calls,
        the_sentry_survives_a_tracer_that_writes_rubbish,
    }
};

fn main() -> ExitCode {
    // One at a time, unless told otherwise: guests that take all the processor they can get are each other's load, and a host
    // that shares processors out among sessions can keep one of two waiting for longer than a test does.
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let mut trials = Vec::new();
    for runtime in Runtime::selected(&Runtime::ALL).into_iter().filter(|&runtime| runtime != Runtime::Native)
    {
        for &(name, test) in TESTS {
            trials.push(Trial::test(format!("{}::{name}", runtime.name()), move || {
                run(name, test, runtime);
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
