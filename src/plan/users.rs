//! Users and groups by name, in the sandbox's own `/etc/passwd` and `/etc/group`. passwd(5), group(5).

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use usk_platform::host::credentials::Identity;

use super::exports::{Layout, open_in_root};
use crate::spec::User;
use crate::values::UserSpec;

/// Most bytes that are read of a file of the root file system, which may be hostile.
const MAX_FILE: u64 = 4 << 20;

/// A line of `/etc/passwd`.
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// Who the first process is: the caller, unless `-u` or an image says otherwise.
pub(super) fn resolve(wanted: Option<&UserSpec>, layout: &Layout, caller: &Identity) -> Result<User> {
    let Some(wanted) = wanted else {
        return Ok(User { uid: caller.uid, gid: caller.gid, groups: caller.groups.clone() });
    };
    let root = &layout.exports[0].descriptor;
    let accounts = accounts(root);
    let (uid, account) = match wanted.user.parse::<u32>() {
        Ok(uid) if uid != u32::MAX => (uid, accounts.iter().find(|account| account.uid == uid)),
        _ => match accounts.iter().find(|account| account.name == wanted.user) {
            Some(account) => (account.uid, Some(account)),
            None => {
                bail!("no user '{}' in the sandbox's /etc/passwd: use a number, or another name", wanted.user)
            }
        },
    };
    let groups = groups(root);
    let gid = match &wanted.group {
        None => account.map_or(0, |account| account.gid),
        Some(group) => match group.parse::<u32>() {
            Ok(gid) if gid != u32::MAX => gid,
            _ => {
                let found = groups.iter().find(|(name, ..)| name == group);
                let missing = || format!("no group '{group}' in the sandbox's /etc/group: use a number");
                found.map(|(_, gid, _)| *gid).with_context(missing)?
            }
        },
    };
    let member = |(_, gid, members): &(String, u32, Vec<String>)| {
        let name = &account?.name;
        members.contains(name).then_some(*gid)
    };
    let mut supplementary: Vec<u32> = groups.iter().filter_map(member).collect();
    supplementary.sort_unstable();
    supplementary.dedup();
    Ok(User { uid, gid, groups: supplementary })
}

/// The home directory of a user in a root file system; `/` for one without an account.
pub fn home(uid: u32, root: &OwnedFd) -> OsString {
    let account = accounts(root).into_iter().find(|account| account.uid == uid);
    account.map_or_else(|| "/".into(), |account| account.home.into())
}

fn accounts(root: &OwnedFd) -> Vec<Account> {
    let account = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?;
        let home = if home.starts_with('/') { home } else { "/" };
        Some(Account { name, uid, gid, home: home.to_owned() })
    };
    read(root, "etc/passwd").lines().filter_map(account).collect()
}

/// Name, id and members of each group.
fn groups(root: &OwnedFd) -> Vec<(String, u32, Vec<String>)> {
    let group = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default();
        Some((name, gid, members.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()))
    };
    read(root, "etc/group").lines().filter_map(group).collect()
}

/// A text file of the root file system; empty if it is missing or no regular file.
fn read(root: &OwnedFd, path: &str) -> String {
    let mut contents = Vec::new();
    if let Ok(file) = open_in_root(root, Path::new(path), false)
        && file.metadata().is_ok_and(|metadata| metadata.is_file())
    {
        // A partial file is as good as a partial answer: what cannot be read is not there.
        let _ = file.take(MAX_FILE).read_to_end(&mut contents);
    }
    String::from_utf8_lossy(&contents).into_owned()
}
