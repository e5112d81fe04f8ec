//! Places that hold credentials, and are hidden wherever an export would show them.

use std::path::{Path, PathBuf};

use usk_platform::host::credentials::Identity;

/// Below a home directory.
const SECRETS: [&str; 6] = [".ssh", ".aws", ".gnupg", ".kube", ".docker", ".config/gh"];

/// Canonical host paths of secrets that exist: of the caller, of root, and of the user behind `sudo`.
pub(super) fn secrets(caller: &Identity) -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = std::env::var_os("HOME").map(PathBuf::from).into_iter().collect();
    homes.push("/root".into());
    let invoker = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    for uid in [Some(caller.uid), invoker].into_iter().flatten() {
        homes.extend(home_of(uid));
    }
    homes.sort();
    homes.dedup();
    let mut found: Vec<PathBuf> = Vec::new();
    for home in homes.iter().filter(|home| home.is_absolute() && home.as_path() != Path::new("/")) {
        // The real place is hidden, and the name too if it is a link: both lead there.
        found.extend(SECRETS.iter().filter_map(|secret| std::fs::canonicalize(home.join(secret)).ok()));
    }
    found.sort();
    found.dedup();
    found
}

fn home_of(uid: u32) -> Option<PathBuf> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields.get(5).map(PathBuf::from))?
    })
}
