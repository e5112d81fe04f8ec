//! Links the commands statically, position-independent as before.
//!
//! What a dynamic loader does before `main` is a sixth of a sandbox's start: it opens, maps and links three libraries, and the
//! pages that it writes to are each sandbox's own. Rust's own switch for this (`crt-static`) cannot be a default: cargo would give
//! it to procedural macros as well, which are libraries. So the linker finds, where it looks for the C library, a script that
//! names the static one. Where a host has none the commands are linked as usual, and start half a millisecond later.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is linked to, and where the parts are in the static C library.
const LIBRARIES: [(&str, &[&str]); 3] = [
    ("libc.so", &["libc.a", "libgcc_eh.a", "libgcc.a"]),
    ("libm.so", &["libm.a"]),
    ("libgcc_s.so", &["libgcc_eh.a", "libgcc.a", "libc.a"]),
];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed=CC");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let is_native = variable("HOST") == variable("TARGET");
    if !is_native || variable("CARGO_CFG_TARGET_ENV") != "gnu" {
        return Ok(());
    }
    let directory = Path::new(&variable("OUT_DIR")).join("static");
    std::fs::create_dir_all(&directory)?;
    for (name, parts) in LIBRARIES {
        let Some(parts) = parts.iter().map(|part| find(part)).collect::<Option<Vec<_>>>() else {
            println!("cargo::warning=linked dynamically: install the static C library for faster starts");
            return Ok(());
        };
        let parts: Vec<String> = parts.iter().map(|part| part.display().to_string()).collect();
        std::fs::write(directory.join(name), format!("GROUP({})\n", parts.join(" ")))?;
    }
    // The last makes 10,000 relocations, which are carried out at each start, take 2 KiB instead of 250.
    let flags = [&format!("-L{}", directory.display()), "-static-pie", "-Wl,-z,pack-relative-relocs"];
    flags.iter().for_each(|flag| println!("cargo::rustc-link-arg-bins={flag}"));
    Ok(())
}

/// Where the C compiler has a part of the C library.
fn find(part: &str) -> Option<PathBuf> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let output = Command::new(compiler).arg(format!("-print-file-name={part}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    // A name that comes back as it is was not found.
    (path.is_absolute() && path.exists()).then_some(path)
}
