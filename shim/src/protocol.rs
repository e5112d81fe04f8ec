//! What verbs and monitors say to each other: JSON in packets, with descriptors beside them, over a socket in the
//! container's directory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use usk_abi::Errno;
use usk_platform::host::{receive_packet, send_packet};

/// Most bytes of a packet.
const MAX_PACKET: usize = 16 << 10;
/// Most bytes of a message for people inside one.
const MAX_TEXT: usize = 4096;

/// What a verb asks a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// How the container is.
    Status,
    /// Let the command run.
    Start,
    /// Send a signal to the first process, or to all.
    Signal { signal: i32, all: bool },
    /// What the caller's terminal sends to whoever is in the foreground, and `SIGWINCH`.
    SignalTerminal { signal: i32 },
    /// Other limits: 0 leaves one as it is, the largest lifts it.
    Limit { memory: u64, tasks: u64, quota_us: u64, period_us: u64 },
    /// Run another process. With a file that describes it, and its descriptors. The connection is then its: signals go to
    /// it, and a hang-up ends it.
    Execute,
}

/// What a monitor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// How the container is.
    Status(Status),
    /// It has been done.
    Done,
    /// It has not.
    Failed(String),
    /// The other process runs.
    Joined,
    /// It does not.
    Refused { status: u8, message: String },
    /// It has ended, with this exit status as a shell tells it.
    Left { status: i32 },
}

/// How a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// As the specification spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// What verbs say, in runc's words, of a container whose monitor has ended.
pub(crate) const NOT_RUNNING: &str = "container not running";

/// One end of a connection.
pub(crate) struct Connection(OwnedFd);

impl Connection {
    /// Connects to a monitor. `ECONNREFUSED` or `ENOENT` if there is none.
    pub(crate) fn to(path: &Path) -> rustix::io::Result<Connection> {
        let end = new_socket()?;
        connect(&end, &SocketAddrUnix::new(path)?)?;
        Ok(Connection(end))
    }

    /// Sends a message with descriptors beside it.
    pub(crate) fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = serde_json::to_vec(message).context("a message cannot be written")?;
        match send_packet(self.0.as_fd(), &bytes, descriptors) {
            // It has ended since it was connected to.
            Err(Errno::EPIPE | Errno::ECONNRESET) => bail!(NOT_RUNNING),
            sent => sent.context("cannot tell the container's monitor"),
        }
    }

    /// Waits for a message. `None` once the other end is gone.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>> {
        let mut buffer = [0; MAX_PACKET];
        let packet = match receive_packet(self.0.as_fd(), &mut buffer) {
            Err(Errno::ECONNRESET) => return Ok(None),
            packet => packet.context("cannot hear the other side")?,
        };
        if packet.length == 0 {
            return Ok(None);
        }
        if packet.truncated {
            bail!("a message is too long");
        }
        if packet.lacks_descriptors {
            bail!("there is no room for the descriptors of a message");
        }
        let message = serde_json::from_slice(buffer.get(..packet.length).unwrap_or_default())
            .context("a message makes no sense: do the versions of usk-oci differ?")?;
        Ok(Some((message, packet.descriptors)))
    }

    /// Asks and waits for the answer, no longer than `timeout_ms`.
    pub(crate) fn ask(&self, request: Request, timeout_ms: Option<u16>) -> Result<Reply> {
        self.send(&request, &[])?;
        if let Some(timeout_ms) = timeout_ms {
            let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let ready =
                poll(&mut polled, PollTimeout::from(timeout_ms)).context("cannot wait for an answer")?;
            if ready == 0 {
                bail!("the container's monitor does not answer: delete the container with --force");
            }
        }
        match self.receive()? {
            Some((reply, _)) => Ok(reply),
            None => bail!(NOT_RUNNING),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where verbs connect to.
pub(crate) struct Listener(OwnedFd);

impl Listener {
    /// Begins to listen at a path that must not exist yet. Once it exists it can be connected to: before it listens, a socket has
    /// another name.
    pub(crate) fn at(path: &Path) -> Result<Listener> {
        const WAITING: i32 = 128;
        let begin = || -> io::Result<OwnedFd> {
            let end = new_socket()?;
            let new = path.with_extension("new");
            bind(&end, &SocketAddrUnix::new(&new)?)?;
            listen(&end, WAITING)?;
            std::fs::rename(&new, path)?;
            Ok(end)
        };
        Ok(Listener(begin().context("cannot make the container's socket")?))
    }

    /// Accepts a connection that is waiting.
    pub(crate) fn accept(&self) -> rustix::io::Result<Connection> {
        accept_with(&self.0, SocketFlags::CLOEXEC).map(Connection)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn new_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// At most [`MAX_TEXT`] bytes of a text, at a character's boundary.
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}
