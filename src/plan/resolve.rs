//! Where paths of the sandbox lead, before there is a sandbox: over its mounts, and along the links in its exports.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::readlinkat;

use super::exports::covering;
use crate::spec::{Export, Mount, MountSource};

/// Most links on the way: path_resolution(7).
const MAX_LINKS: u32 = 40;

/// The mounts where their destinations lead: each is found below those before it.
pub(super) fn settle(mounts: &[Mount], exports: &[Export]) -> Result<Vec<Mount>, Errno> {
    let mut settled: Vec<Mount> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let places =
            if settled.is_empty() { Vec::new() } else { follow(&mount.destination, &settled, exports)? };
        let destination = places.into_iter().next_back().unwrap_or_else(|| mount.destination.clone());
        settled.push(Mount { destination, ..mount.clone() });
    }
    Ok(settled)
}

/// The places that an absolute path names: each link that its last component is, in order, and then where it leads, whether
/// something is there or not. No place has a link before its last component. `ELOOP` for too many links; `mounts` are settled.
pub(super) fn follow(path: &Path, mounts: &[Mount], exports: &[Export]) -> Result<Vec<PathBuf>, Errno> {
    let mut places = Vec::new();
    let mut here = PathBuf::from("/");
    let mut rest = reversed(path);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        here.push(name);
        let Some(target) = link_at(&here, mounts, exports)? else { continue };
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        if rest.is_empty() {
            places.push(here.clone());
        }
        if target.is_absolute() {
            here = PathBuf::from("/");
        } else {
            here.pop();
        }
        rest.extend(reversed(&target));
    }
    places.push(here);
    Ok(places)
}

/// Names and `..` of a path, the last first.
fn reversed(path: &Path) -> Vec<OsString> {
    let is_step =
        |component: &Component<'_>| matches!(component, Component::Normal(_) | Component::ParentDir);
    path.components().rev().filter(is_step).map(|component| component.as_os_str().to_owned()).collect()
}

/// What the link at a place says; `None` if no link is there. Only exports have any.
fn link_at(place: &Path, mounts: &[Mount], exports: &[Export]) -> Result<Option<PathBuf>, Errno> {
    let mount = covering(place, mounts);
    let MountSource::Export { export, .. } = mount.source else { return Ok(None) };
    let inner = place.strip_prefix(&mount.destination).unwrap_or(place);
    let Some(export) = exports.get(export).filter(|_| inner != Path::new("")) else { return Ok(None) };
    match readlinkat(export.descriptor.as_fd(), inner) {
        Ok(target) => Ok(Some(target.into())),
        Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
