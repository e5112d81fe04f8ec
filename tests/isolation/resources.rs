//! Too much of everything: a guest gets the errno that Linux has for it, or ends.

use std::process::Command;

use crate::guest::{self, expect_attacks};
use crate::support::caller::is_root;
use crate::support::runtime::Runtime;

/// How each attack ends.
const EXPECTED: &[(&str, &[&str])] = &[
    ("EAGAIN", &["fork_until_refused", "leave_zombies_until_refused", "make_threads_until_refused"]),
    ("EAGAIN", &["queue_signals_until_refused", "make_timers_until_refused"]),
    ("E2BIG", &["pass_a_long_argument", "pass_many_arguments"]),
    (
        "EMFILE",
        &["open_a_million_files", "fill_many_pipes", "make_timer_descriptors_that_expire_all_the_time"],
    ),
    ("ELOOP", &["nest_epolls", "let_epolls_watch_each_other"]),
    ("ELOOP", &["follow_ten_thousand_links", "follow_links_that_multiply"]),
    ("ETOOMANYREFS", &["send_as_many_descriptors_as_fit", "send_sockets_through_themselves"]),
    ("ENAMETOOLONG", &["use_a_long_name", "use_a_long_path"]),
    ("ENOSPC", &["fill_a_file_system", "make_shared_memory_until_refused", "make_semaphores_until_refused"]),
    ("ENOMEM", &["map_until_refused", "map_all_addresses"]),
    (
        "done",
        &[
            "nest_directories_and_remove_them_from_around_a_process",
            "nest_sockets_in_flight",
            "name_huge_lengths",
        ],
    ),
];

pub(crate) fn too_much_of_everything_is_refused_as_on_linux(runtime: Runtime) {
    let options = ["--pids-limit", "300", "--tmpfs", "/tmp:size=64M"];
    let command = guest::command(runtime, &guest::program("resources"), &options);
    let attacks = guest::run(command).expect_success().attacks();
    let count: usize = EXPECTED.iter().map(|(_, names)| names.len()).sum();
    assert_eq!(attacks.len(), count, "each expectation has its attack");
    expect_attacks(&attacks, |name| {
        let row = EXPECTED.iter().find(|(_, names)| names.contains(&name));
        row.map_or("something, but it is not in the table", |(outcome, _)| outcome)
    });
}

pub(crate) fn an_ordinary_user_who_uses_up_descriptors_leaves_enough_of_them(runtime: Runtime) {
    let inner = guest::command(runtime, &guest::program("descriptors"), &["--tmpfs", "/tmp"]);
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n 512 && exec "$@""#, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let attacks = guest::run(command).expect_success().attacks();
    assert_eq!(attacks.len(), 3);
    expect_attacks(&attacks, |_| "done");
}

/// Runs `memory` with a limit that it exceeds, where the caller can set one.
fn exceed(runtime: Runtime, verb: &str) -> Option<guest::Outcome> {
    if !is_root() {
        return None;
    }
    let mut command = guest::command(runtime, &guest::program("memory"), &["-m", "96M"]);
    command.arg(verb);
    Some(guest::run(command))
}

pub(crate) fn a_memory_bomb_is_killed_and_its_parent_goes_on(runtime: Runtime) {
    let Some(outcome) = exceed(runtime, "touch") else { return };
    assert_eq!(outcome.expect_success().stdout, "SIGNAL 9\n");
}

pub(crate) fn memory_that_the_sentry_fills_is_charged_to_the_guest_that_asked(runtime: Runtime) {
    let Some(outcome) = exceed(runtime, "read") else { return };
    assert_eq!(outcome.expect_success().stdout, "SIGNAL 9\n".repeat(10));
}

pub(crate) fn memory_that_the_sentry_holds_for_a_guest_counts_as_the_guests(runtime: Runtime) {
    let Some(outcome) = exceed(runtime, "files") else { return };
    assert_eq!(outcome.status, 137, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--memory"), "{}", outcome.stderr);
}
