//! Places that hold credentials, and are hidden wherever an export would show them.

use std::path::{Path, PathBuf};

use usk_platform::host::credentials::Identity;

/// Below a home directory.
const SECRETS: [&str; 6] = [".ssh", ".aws", ".gnupg", ".kube", ".docker", ".config/gh"];

/// Host paths of secrets, of the caller, of root, and of the user behind `sudo`: in a directory that exists and has a canonical path,
/// whether they exist themselves or not; and where they are links, also where those lead.
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
        for path in SECRETS.map(|secret| home.join(secret)) {
            found.extend(std::fs::canonicalize(&path).ok());
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                found.extend(std::fs::canonicalize(parent).ok().map(|parent| parent.join(name)));
            }
        }
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
