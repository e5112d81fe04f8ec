//! `docs/security.md` says what the filters say. `USK_UPDATE_DOCS=1 cargo test --test cli security` rewrites its tables.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use usk::command_line::PlatformChoice;
use usk::filters::{HostCall, REFUSED, SENTRY, UNPACKER};

const BEGIN: &str = "<!-- generated: begin -->\n";
const END: &str = "<!-- generated: end -->\n";

fn sentry(platform: PlatformChoice) -> BTreeSet<&'static str> {
    let needed = |call: &&HostCall| call.is_needed_by(platform);
    SENTRY.iter().filter(needed).map(|call| call.name).collect()
}

fn generate() -> String {
    let (spawner, thread) = usk_platform::trap::stub_calls();
    let gofer_always = usk_gofer::FILTER.iter().filter(|call| call.need == usk_gofer::Need::Always).count();
    let mut text = String::from("| process | platform | host calls |\n| --- | --- | ---: |\n");
    for (process, platform, count) in [
        ("stub: spawner", "trap", spawner.len()),
        ("stub: guest thread", "trap", thread.len()),
        ("stub", "ptrace", usk_platform::ptrace::stub_calls().len()),
        ("sentry", "trap", sentry(PlatformChoice::Trap).len()),
        ("sentry", "ptrace", sentry(PlatformChoice::Ptrace).len()),
        ("gofer, nothing writable", "both", gofer_always),
        ("gofer", "both", usk_gofer::FILTER.len()),
        ("unpacker of images", "both", UNPACKER.len()),
    ] {
        let _ = writeln!(text, "| {process} | {platform} | {count} |");
    }
    text += "\n### The sentry's calls\n\n| call | what for |\n| --- | --- |\n";
    for call in SENTRY {
        let _ = writeln!(text, "| `{}` | {} |", call.name, call.reason);
    }
    text += "\nRefused with `ENOSYS` without ending the process, and never reaching the host:\n\n| call | who tries it |\n| --- | --- |\n";
    for call in REFUSED {
        let _ = writeln!(text, "| `{}` | {} |", call.name, call.reason);
    }
    text += "\n### The gofer's calls\n\n| call | what for |\n| --- | --- |\n";
    for call in usk_gofer::FILTER {
        let _ = writeln!(text, "| `{}` | {} |", call.name, call.reason);
    }
    text += "\n### The unpacker's calls\n\n| call | what for |\n| --- | --- |\n";
    for call in UNPACKER {
        let _ = writeln!(text, "| `{}` | {} |", call.name, call.reason);
    }
    text
}

#[test]
fn the_security_document_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
    let document = fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("the beginning is marked");
    let (found, after) = rest.split_once(END).expect("the end is marked");
    let expected = format!("\n{}\n", generate());
    if std::env::var_os("USK_UPDATE_DOCS").is_some() {
        fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(found == expected, "docs/security.md is stale: USK_UPDATE_DOCS=1 cargo test --test cli security");
}
