//! What the command finds itself in: variables, user, directory, names.

use std::fs;

use crate::caller::Caller;
use crate::guest::{directory_of, run, shell, text, usk_run};
use crate::sandbox::{PLATFORMS, everybody};

/// The command's environment, sorted, when usk is run with exactly these variables.
fn environment(variables: &[(&str, &str)], options: &[&str]) -> Vec<String> {
    let mut usk = usk_run(Caller::Myself, PLATFORMS[0], options, &["/usr/bin/env"]);
    usk.env_clear().envs(variables.iter().copied());
    let output = crate::guest::Outcome::from(usk.output().unwrap()).succeeded();
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

const CALLERS: [(&str, &str); 3] = [("HOME", "/home/me"), ("PATH", "/bin"), ("SECRET", "token")];

#[test]
fn a_few_variables_are_passed_on_and_others_are_not() {
    assert_eq!(environment(&CALLERS, &[]), ["HOME=/home/me", "LANG=C.UTF-8", "PATH=/bin", "TERM=dumb"]);
}

#[test]
fn the_whole_environment_is_passed_on_where_asked() {
    assert_eq!(environment(&CALLERS, &["--inherit-env"]), ["HOME=/home/me", "PATH=/bin", "SECRET=token"]);
}

#[test]
fn nothing_is_passed_on_where_asked() {
    assert_eq!(environment(&CALLERS, &["--clear-env"]), [""; 0]);
    assert_eq!(environment(&CALLERS, &["--clear-env", "-e", "A=1"]), ["A=1"]);
}

#[test]
fn variables_are_set_by_option_and_by_file_and_the_option_wins() {
    let directory = directory_of(Caller::Myself);
    let file = directory.path().join("variables");
    fs::write(&file, "# a comment\n\nFILE=from the file\nBOTH=file\nSECRET\nABSENT\n").unwrap();
    let options =
        ["--clear-env", "-e", "BOTH=option", "-e", "EMPTY=", "--env-file", text(&file), "-e", "GONE"];
    assert_eq!(
        environment(&CALLERS, &options),
        ["BOTH=option", "EMPTY=", "FILE=from the file", "SECRET=token"]
    );
}

#[test]
fn the_user_is_the_caller_or_who_was_asked_for() {
    let id = |caller, platform, user: &[&str]| {
        let script = "echo $(id -u):$(id -g):$(id -G):$(id -un):$HOME";
        shell(caller, platform, user, script).succeeded()
    };
    for platform in PLATFORMS {
        if crate::caller::is_root() {
            assert_eq!(id(Caller::Ordinary, platform, &[]).split(':').next(), Some("65534"));
        }
        let caller = Caller::Myself;
        assert_eq!(id(caller, platform, &["-u", "1:2"]), "1:2:2:daemon:/usr/sbin\n");
        assert_eq!(id(caller, platform, &["-u", "1"]), "1:1:1:daemon:/usr/sbin\n");
        assert_eq!(id(caller, platform, &["-u", "daemon"]), "1:1:1:daemon:/usr/sbin\n");
        assert_eq!(id(caller, platform, &["-u", "daemon:bin"]), "1:2:2:daemon:/usr/sbin\n");
        assert_eq!(id(caller, platform, &["-u", "root"]).split(':').next(), Some("0"));
    }
}

#[test]
fn the_host_name_can_be_looked_up_or_is_what_was_asked_for() {
    for (caller, platform) in everybody() {
        assert_eq!(run(caller, platform, &[], &["uname", "-n"]).succeeded(), "localhost\n");
        let found = run(caller, platform, &[], &["sh", "-c", "getent hosts \"$(uname -n)\""]).succeeded();
        assert!(found.contains("localhost"), "{found}");
        let named = run(caller, platform, &["--hostname", "box.example"], &["hostname"]);
        assert_eq!(named.succeeded(), "box.example\n");
    }
}

#[test]
fn the_directory_is_the_callers_where_it_exists_or_what_was_asked_for() {
    for (caller, platform) in everybody() {
        let pwd = |directory: &str, options: &[&str]| {
            let mut usk = usk_run(caller, platform, options, &["pwd"]);
            crate::guest::Outcome::from(usk.current_dir(directory).output().unwrap()).succeeded()
        };
        assert_eq!(pwd("/usr/share", &[]), "/usr/share\n");
        assert_eq!(pwd("/usr/share", &["-w", "/etc"]), "/etc\n");
        assert_eq!(pwd("/usr/share", &["--hide", "/usr/share"]), "/\n");
        assert_eq!(pwd("/sys", &["-w", "/proc"]), "/proc\n");
        let line = run(caller, platform, &["-w", "/no/such/place"], &["true"]).refused(125);
        assert!(line.contains("/no/such/place") && line.contains("another working directory"), "{line}");
    }
}

#[test]
fn whoever_switches_randomised_addresses_off_does_so_for_himself() {
    for platform in PLATFORMS {
        let usk = usk_run(
            Caller::Myself,
            platform,
            &[],
            &["sh", "-c", "echo $0 $*; cat /proc/self/personality", "a", "b c"],
        );
        let mut setarch = std::process::Command::new("setarch");
        setarch.arg("-R").arg(usk.get_program()).args(usk.get_args()).current_dir("/");
        let output = crate::guest::Outcome::from(setarch.output().unwrap()).succeeded();
        assert_eq!(output.trim_end(), "a b c\n00000000", "{platform}");
    }
}
