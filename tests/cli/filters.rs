//! The sentry's filter, from inside: listed calls work, others end the process.

use std::collections::HashSet;

use usk::command_line::PlatformChoice;
use usk::filters::{Form, REFUSED, SENTRY, UNPACKER, sentry_filter, unpacker_filter};
use usk_platform::host::filter_probe::{Verdict, probe};

/// uretprobe and uprobe: the host's kernel plants them itself, and lets them pass every filter; for whoever else makes
/// them they do nothing, or end the process.
const PROBES: [i64; 2] = [335, 336];

/// Beyond the last call of any kernel so far.
const CALLS: i64 = 480;

/// The filter as eight-byte instructions.
fn instructions(platform: PlatformChoice) -> Vec<u64> {
    packed(&sentry_filter(platform, false).unwrap())
}

fn packed(program: &seccompiler::BpfProgram) -> Vec<u64> {
    let pack = |line: &seccompiler::sock_filter| {
        u64::from(line.code) | u64::from(line.jt) << 16 | u64::from(line.jf) << 24 | u64::from(line.k) << 32
    };
    program.iter().map(pack).collect()
}

#[test]
fn calls_that_are_not_listed_end_the_process() {
    for platform in [PlatformChoice::Trap, PlatformChoice::Ptrace] {
        let filter = instructions(platform);
        let mut listed: HashSet<i64> =
            SENTRY.iter().filter(|call| call.is_needed_by(platform)).map(|call| call.number).collect();
        // These are answered with an error.
        listed.extend(REFUSED.iter().map(|call| call.number));
        for number in (0..CALLS).filter(|number| !listed.contains(number) && !PROBES.contains(number)) {
            let verdict = probe(&filter, number, [0; 6]).unwrap();
            assert_eq!(verdict, Verdict::Killed, "call {number} on {platform:?}");
        }
    }
}

#[test]
fn calls_that_are_listed_get_through() {
    for platform in [PlatformChoice::Trap, PlatformChoice::Ptrace] {
        let filter = instructions(platform);
        for call in SENTRY.iter().filter(|call| call.is_needed_by(platform)) {
            let mut arguments = [0u32; 6];
            match call.form {
                Form::Any => {}
                Form::OneOf { index, values } => arguments[usize::from(index)] = values[0] as u32,
                // Threads need a stack to come back to; that clone gets through is seen by every sandbox that runs.
                Form::Bits { .. } if call.name == "clone" => continue,
                Form::Bits { index, set, .. } => arguments[usize::from(index)] = set as u32,
            }
            let verdict = probe(&filter, call.number, arguments).unwrap();
            assert_ne!(verdict, Verdict::Killed, "{} on {platform:?}", call.name);
        }
    }
}

#[test]
fn calls_that_are_refused_do_not_end_the_process() {
    for platform in [PlatformChoice::Trap, PlatformChoice::Ptrace] {
        let filter = instructions(platform);
        for call in REFUSED {
            assert_eq!(probe(&filter, call.number, [0; 6]).unwrap(), Verdict::Returned, "{}", call.name);
        }
    }
}

#[test]
fn listed_calls_in_other_forms_end_the_process() {
    let filter = instructions(PlatformChoice::Trap);
    let execute = libc::PROT_EXEC as u32;
    let user = libc::CLONE_NEWUSER as u32;
    for (name, number, arguments) in [
        ("mmap", libc::SYS_mmap, [0, 4096, execute, 0x22, 0, 0]),
        ("mprotect", libc::SYS_mprotect, [0, 4096, execute | 1, 0, 0, 0]),
        ("clone as fork", libc::SYS_clone, [0, 0, 0, 0, 0, 0]),
        ("clone of a namespace", libc::SYS_clone, [user, 0, 0, 0, 0, 0]),
        ("ioctl TIOCSTI", libc::SYS_ioctl, [0, libc::TIOCSTI as u32, 0, 0, 0, 0]),
        ("prctl", libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u32, 1, 0, 0, 0, 0]),
        ("socketpair", libc::SYS_socketpair, [libc::AF_INET as u32, 1, 0, 0, 0, 0]),
    ] {
        assert_eq!(probe(&filter, number, arguments).unwrap(), Verdict::Killed, "{name}");
    }
}

#[test]
fn the_process_that_unpacks_images_makes_no_other_calls_than_its_own() {
    let filter = packed(&unpacker_filter().unwrap());
    for number in (0..CALLS).filter(|number| !PROBES.contains(number)) {
        let listed = UNPACKER.iter().find(|call| call.number == number);
        let mut arguments = [0u32; 6];
        if let Some(call) = listed {
            match call.form {
                Form::Any => {}
                Form::OneOf { index, values } => arguments[usize::from(index)] = values[0] as u32,
                Form::Bits { index, set, .. } => arguments[usize::from(index)] = set as u32,
            }
        }
        let verdict = probe(&filter, number, arguments).unwrap();
        assert_eq!(verdict == Verdict::Killed, listed.is_none(), "call {number}: {verdict:?}");
    }
    for (name, number, arguments) in [
        ("mmap", libc::SYS_mmap, [0, 4096, libc::PROT_EXEC as u32, 0x22, 0, 0]),
        ("mknodat of a device", libc::SYS_mknodat, [0, 0, libc::S_IFCHR, 0, 0, 0]),
        ("mknodat of a disk", libc::SYS_mknodat, [0, 0, libc::S_IFBLK, 0, 0, 0]),
        ("fcntl F_SETFL", libc::SYS_fcntl, [0, libc::F_SETFL as u32, 0, 0, 0, 0]),
    ] {
        assert_eq!(probe(&filter, number, arguments).unwrap(), Verdict::Killed, "{name}");
    }
}
