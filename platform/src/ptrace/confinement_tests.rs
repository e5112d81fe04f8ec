//! A stub from outside and from inside: what it has, and what its filter lets it do.

use std::fs;
use std::sync::Arc;

use usk_abi::Errno;

use super::super::geography::{CODE, GUEST_END, PAGE, SCRATCH, SCRATCH_SLOTS};
use super::super::platform::PtracePlatform;
use super::super::scratch::slot_size;
use super::PtraceSpace;
use crate::host::wait::Change;
use crate::interface::{AddressSpace, Platform};

fn space() -> (PtracePlatform, Arc<PtraceSpace>) {
    let platform = PtracePlatform::new().expect("the platform");
    let space = platform.shared().create_space().expect("an address space");
    (platform, space)
}

/// A file of proc(5) about the anchor.
fn proc(space: &PtraceSpace, name: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{name}", space.anchor())).expect("a file of /proc")
}

#[test]
fn a_stub_has_no_capabilities_and_a_filter() {
    let (_platform, space) = space();
    let status = proc(&space, "status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
        line.rsplit(['\t', ' ']).next().expect("a value").to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("TracerPid:"), "0");
}

#[test]
fn a_stub_has_one_descriptor_and_it_is_a_socket() {
    let (_platform, space) = space();
    let directory = format!("/proc/{}/fd", space.anchor());
    let names: Vec<_> =
        fs::read_dir(&directory).expect("/proc").map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["0"]);
    let target = fs::read_link(format!("{directory}/0")).expect("a link");
    assert!(target.to_string_lossy().starts_with("socket:"));
}

#[test]
fn a_stub_maps_the_platforms_region_and_nothing_else() {
    let (platform, space) = space();
    let layout = platform.layout();
    let vdso = (layout.vvar.0, layout.vdso.0 + layout.vdso.1);
    let region = [(CODE, CODE + PAGE), (SCRATCH, SCRATCH + SCRATCH_SLOTS * slot_size()), vdso];
    for line in proc(&space, "maps").lines().filter(|line| !line.ends_with("[vsyscall]")) {
        let (start, end) =
            line.split_once(' ').and_then(|(range, _)| range.split_once('-')).expect("a range");
        let parse = |text| u64::from_str_radix(text, 16).expect("a number");
        let (start, end) = (parse(start), parse(end));
        assert!(region.iter().any(|&(from, to)| from <= start && end <= to && start >= GUEST_END), "{line}");
        assert!(!(line.contains("rwx") || start == CODE && line.contains("w")), "{line}");
    }
}

#[test]
fn the_filter_kills_a_stub_that_makes_another_call() {
    for (number, arguments) in [
        (libc::SYS_getpid, [0; 6]),
        (libc::SYS_openat, [0; 6]),
        (libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
        (libc::SYS_execve, [0; 6]),
        (libc::SYS_ptrace, [0; 6]),
        (libc::SYS_kill, [1, 0, 0, 0, 0, 0]),
        (libc::SYS_munmap, [CODE, PAGE, 0, 0, 0, 0]),
        (libc::SYS_mprotect, [CODE, PAGE, 7, 0, 0, 0]),
        (libc::SYS_mmap, [0x10_0000, PAGE, 3, 0x22, u64::MAX, 0]),
        (libc::SYS_mremap, [0x10_0000, PAGE, PAGE, 3, CODE, 0]),
        (libc::SYS_recvmsg, [3, SCRATCH, 0x40, 0, 0, 0]),
        (libc::SYS_close, [0; 6]),
        (libc::SYS_clone, [0x100, 0, 0, 0, 0, 0]),
        (libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 0, 0, 0, 0, 0]),
        (libc::SYS_rt_sigreturn, [0; 6]),
        (libc::SYS_exit, [0; 6]),
    ] {
        let (_platform, space) = space();
        let result = space.anchor.visit(|stub| stub.call(number, &arguments));
        assert_eq!(result, Err(Errno::ESRCH), "call {number}");
        assert_eq!(space.anchor.process().outcome(), Some(Change::Killed(libc::SIGSYS)), "call {number}");
        assert!(!space.is_alive());
    }
}

#[test]
fn the_filter_lets_the_platforms_own_calls_pass() {
    let (_platform, space) = space();
    let fixed = (libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let place = 0x10_0000;
    for (number, arguments) in [
        (libc::SYS_mmap, [place, PAGE, 3, fixed, u64::MAX, 0]),
        (libc::SYS_mprotect, [place, PAGE, 1, 0, 0, 0]),
        (libc::SYS_madvise, [place, PAGE, libc::MADV_DONTNEED as u64, 0, 0, 0]),
        (libc::SYS_mremap, [place, PAGE, 2 * PAGE, 0, place, 0]),
        (libc::SYS_munmap, [place, 2 * PAGE, 0, 0, 0, 0]),
    ] {
        let result = space.anchor.visit(|stub| stub.call(number, &arguments));
        assert!(result.is_ok(), "call {number}: {result:?}");
    }
    assert!(space.is_alive());
}
