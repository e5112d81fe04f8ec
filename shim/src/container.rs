//! A container as a verb sees it: its directory, what is remembered in it, and its monitor.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use usk_platform::host::Pid;
use usk_platform::host::pidfd::ProcessDescriptor;

use crate::protocol::{Connection, NOT_RUNNING, Reply, Request, Status};
use crate::state::{Directory, OCI_VERSION, State, start_time};

/// How long a monitor may take to say how its container is, in milliseconds.
const STATUS_PATIENCE_MS: u16 = 10_000;

pub(crate) struct Container {
    pub(crate) directory: Directory,
    pub(crate) state: State,
}

impl Container {
    /// Finds a container.
    pub(crate) fn open(root: &Path, id: &str) -> Result<Container> {
        let directory = Directory::open(root, id)?;
        let state = directory.load()?;
        Ok(Container { directory, state })
    }

    /// Connects to the monitor; `None` if there is none.
    pub(crate) fn connect(&self) -> Result<Option<Connection>> {
        use rustix::io::Errno;
        match Connection::to(&self.directory.socket()) {
            Ok(connection) => Ok(Some(connection)),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
            Err(error) => Err(error).context("cannot reach the container's monitor"),
        }
    }

    /// The monitor's process, unless it has ended; its number may be another's by now.
    pub(crate) fn process(&self) -> Option<ProcessDescriptor> {
        let pid = self.state.pid;
        let process = ProcessDescriptor::open(Pid::from_raw(pid)).ok()?;
        (start_time(pid) == Some(self.state.start_time)).then_some(process)
    }

    /// How it is now.
    pub(crate) fn status(&self) -> Result<Status> {
        let Some(connection) = self.connect()? else {
            // Before the monitor has listened; afterwards it is ending, or gone.
            let lives = self.state.pid != 0 && start_time(self.state.pid) == Some(self.state.start_time);
            let is_new = lives && !self.directory.has_listened()
                || self.state.pid == 0 && self.directory.is_locked_by_another();
            return Ok(if is_new { Status::Creating } else { Status::Stopped });
        };
        match connection.ask(Request::Status, Some(STATUS_PATIENCE_MS)) {
            Ok(Reply::Status(_)) if self.state.cgroups.is_frozen() => Ok(Status::Paused),
            Ok(Reply::Status(status)) => Ok(status),
            Ok(_) => bail!("the container's monitor answers something else"),
            // It ends this moment.
            Err(error) if error.to_string() == NOT_RUNNING => Ok(Status::Stopped),
            Err(error) => Err(error),
        }
    }
}

/// What hooks read, and `state` prints, of the specification's own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pid: i32,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: &'a std::collections::BTreeMap<String, String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

/// The state as hooks read it.
pub(crate) fn for_hooks(state: &State, status: Status) -> Vec<u8> {
    let shown = Shown {
        oci_version: OCI_VERSION,
        id: &state.id,
        status: status.name(),
        pid: if status == Status::Stopped { 0 } else { state.pid },
        bundle: &state.bundle,
        annotations: &state.annotations,
    };
    serde_json::to_vec(&shown).unwrap_or_default()
}
