//! `usk-oci state`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::container::Container;
use crate::entry::Settings;
use crate::output;
use crate::protocol::Status;
use crate::state::OCI_VERSION;

/// What `state` and `list` print, in runc's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: &'static str,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: String,
}

/// A container's state in that form.
pub(super) fn shown(container: &Container, status: Status) -> Shown<'_> {
    let state = &container.state;
    Shown {
        oci_version: OCI_VERSION,
        id: &state.id,
        pid: if status == Status::Stopped { 0 } else { state.pid },
        status: status.name(),
        bundle: &state.bundle,
        rootfs: &state.rootfs,
        created: &state.created,
        annotations: &state.annotations,
        owner: owner(state.owner),
    }
}

/// The name of a user; the number if it has none.
pub(super) fn owner(uid: u32) -> String {
    // `state` prints nothing for root, as runc does.
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("#{uid}"),
    }
}

pub(crate) fn state(settings: &Settings, id: &str) -> Result<i32> {
    let container = Container::open(&settings.root, id)?;
    let status = container.status()?;
    let shown = Shown { owner: String::new(), ..shown(&container, status) };
    output::pretty(&shown)?;
    Ok(0)
}
