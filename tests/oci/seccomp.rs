//! The container's own profile for system calls, which the sandbox's kernel keeps.

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::runtime::{Outcome, Runtime, new_id};

/// Runs a script under a profile.
fn run(runtime: &Runtime, profile: &Value, script: &str) -> Outcome {
    let bundle = Bundle::with(|spec| {
        spec["linux"]["seccomp"] = profile.clone();
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    runtime.verb(&bundle, &["run", &new_id()])
}

/// Everything is allowed but what these rules say.
fn all_but(rules: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": rules })
}

/// A profile's effect is the same as with runc.
fn compare(profile: &Value, script: &str) -> Outcome {
    let (ours, theirs) = (run(&Runtime::usk(), profile, script), run(&Runtime::runc(), profile, script));
    let seen = |outcome: &Outcome| (outcome.status, outcome.output.clone(), outcome.error.clone());
    assert_eq!(seen(&ours), seen(&theirs), "usk-oci at left, runc at right");
    ours
}

#[test]
fn rules_refuse_with_their_errors_and_the_status_shows_it() {
    let profile = all_but(json!([
        { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" },
        { "names": ["sethostname", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2 },
    ]));
    let script =
        "mkdir /tmp/x; hostname new; grep Seccomp: /proc/self/status; grep NoNewPrivs /proc/self/status";
    let outcome = compare(&profile, script);
    assert_eq!(outcome.output, "Seccomp:\t2\nNoNewPrivs:\t1\n", "{outcome:?}");
    assert!(outcome.error.contains("mkdir: can't create directory '/tmp/x': Operation not permitted"));
    assert!(outcome.error.contains("hostname: sethostname: No such file or directory"), "{outcome:?}");
}

#[test]
fn arguments_are_compared() {
    let kill = |operator: &str, value: u64, second: u64| {
        let argument = json!({ "index": 1, "op": operator, "value": value, "valueTwo": second });
        let profile = all_but(
            json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 3, "args": [argument] }]),
        );
        // SIGCHLD is 17, SIGURG 23, SIGWINCH 28: none of them does anything.
        let script = "for signal in 17 23 28; do kill -$signal $$ 2>/dev/null && echo $signal; done; true";
        compare(&profile, script).output.replace('\n', " ")
    };
    assert_eq!(kill("SCMP_CMP_EQ", 23, 0), "17 28 ");
    assert_eq!(kill("SCMP_CMP_NE", 23, 0), "23 ");
    assert_eq!(kill("SCMP_CMP_LT", 23, 0), "23 28 ");
    assert_eq!(kill("SCMP_CMP_LE", 23, 0), "28 ");
    assert_eq!(kill("SCMP_CMP_GE", 23, 0), "17 ");
    assert_eq!(kill("SCMP_CMP_GT", 23, 0), "17 23 ");
    // 17 and 23 have bit 0.
    assert_eq!(kill("SCMP_CMP_MASKED_EQ", 1, 1), "28 ");
}

#[test]
fn a_killed_process_ends_by_sigsys() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let profile = all_but(json!([{ "names": ["mkdir", "mkdirat"], "action": action }]));
        let outcome = run(&Runtime::usk(), &profile, "mkdir /tmp/x; echo $?");
        assert_eq!(outcome.output, "159\n", "{action}: {outcome:?}");
    }
}

#[test]
fn calls_newer_than_a_profile_do_not_exist() {
    // The last that it knows is exit_group; openat is newer, mkdir is older and not in it.
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": [
            "arch_prctl", "brk", "close", "dup2", "execve", "exit_group", "fstat", "getegid", "geteuid", "getgid", "getpid",
            "getppid", "getuid", "ioctl", "lseek", "mmap", "mprotect", "munmap", "prctl", "read", "readlink", "rt_sigaction",
            "rt_sigprocmask", "rt_sigreturn", "set_tid_address", "stat", "uname", "wait4", "write", "writev",
        ] }],
    });
    let error = |command: &[&str]| {
        let bundle = Bundle::with(|spec| {
            spec["linux"]["seccomp"] = profile.clone();
            spec["process"]["args"] = json!(command);
        });
        Runtime::usk().verb(&bundle, &["run", &new_id()]).error
    };
    assert_eq!(error(&["cat", "/etc/passwd"]), "cat: can't open '/etc/passwd': Function not implemented\n");
    assert_eq!(
        error(&["mkdir", "/tmp/x"]),
        "mkdir: can't create directory '/tmp/x': Operation not permitted\n"
    );
}

#[test]
fn a_process_that_joins_is_under_the_profile_too() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::with(|spec| {
        spec["linux"]["seccomp"] = all_but(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]));
        spec["process"]["args"] = json!(["sleep", "1000"]);
        spec["process"]["noNewPrivileges"] = json!(false);
    });
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let outcome = usk.verb(&bundle, &["exec", &id, "mkdir", "/tmp/x"]);
    assert!(outcome.status == 1 && outcome.error.contains("Operation not permitted"), "{outcome:?}");
    let status = usk.must(&bundle, &["exec", &id, "grep", "-E", "Seccomp:|NoNewPrivs", "/proc/self/status"]);
    assert_eq!(status, "NoNewPrivs:\t0\nSeccomp:\t2\n");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn what_a_profile_cannot_have_is_named() {
    for (profile, field) in [
        (
            all_but(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }])),
            "linux.seccomp.syscalls[0].action:",
        ),
        (
            all_but(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_MOON" }])),
            "linux.seccomp.syscalls[0].action:",
        ),
        (json!({ "defaultAction": "SCMP_ACT_NOTIFY" }), "linux.seccomp.defaultAction:"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MOON"] }),
            "linux.seccomp.architectures[0]",
        ),
        (json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["MOON"] }), "linux.seccomp.flags[0]"),
    ] {
        let outcome = run(&Runtime::usk(), &profile, "true");
        assert_eq!(outcome.status, 1);
        assert!(outcome.error.contains(field), "{field}: {outcome:?}");
    }
}
