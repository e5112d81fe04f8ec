//! The process that makes a sandbox's two: it has a session of its own, which they are born into, and is gone when they are made.
//!
//! Hosts share their processors out among sessions first (autogroups, sched(7)). Sentry, stubs and gofer answer one another, so
//! they have to be one session: as two they are made to wait for each other, for milliseconds as a rule, and on some
//! hosts for seconds ([why](../../docs/decisions/0030-one-session.md)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, bail};
use usk_abi::Errno;
use usk_platform::host::child::{self, ChildProcess, Spawned};
use usk_platform::host::namespaces::Namespaces;
use usk_platform::host::{message_socket_pair, receive_packet, send_packet};

use super::launch::explain_spawn;

/// The process that makes others, seen by the monitor.
pub(super) struct Maker {
    process: ChildProcess,
    born: OwnedFd,
}

/// How that process tells the monitor what it has made.
pub(super) struct Register {
    born: OwnedFd,
}

impl Maker {
    /// Starts it. It does `work` and ends; what `work` forks are the monitor's children. The caller must have one thread.
    pub(super) fn start(work: impl FnOnce(Register) -> Result<(), Errno>) -> Result<Maker> {
        let (born, told) = message_socket_pair().context("cannot make a socket")?;
        match child::spawn(Namespaces::NONE, None).map_err(explain_spawn)? {
            Spawned::Parent(process) => Ok(Maker { process, born }),
            Spawned::Child => {
                drop(born);
                // The monitor hears of a failure by the word that does not come.
                let work = || child::new_session().and_then(|()| work(Register { born: told }));
                child::exit(i32::from(!matches!(catch_unwind(AssertUnwindSafe(work)), Ok(Ok(())))))
            }
        }
    }

    /// The next process that it has made.
    pub(super) fn next(&self) -> Result<ChildProcess> {
        let mut word = [0; 8];
        let packet = receive_packet(self.born.as_fd(), &mut word).context("cannot hear of a new process")?;
        let [a, b, c, d, error @ ..] = word;
        match (packet.length, packet.descriptors.into_iter().next()) {
            (8, Some(process)) => Ok(ChildProcess::adopt(i32::from_ne_bytes([a, b, c, d]), process)),
            (8, None) => Err(explain_spawn(Errno::from_raw(i32::from_ne_bytes(error)))),
            _ => bail!("the process that makes the sandbox's ended too early; is memory short?"),
        }
    }

    /// Waits for its end.
    pub(super) fn wait(self) -> Result<()> {
        self.process.wait().map(drop).context("cannot wait for the process that makes the sandbox's")
    }
}

impl Register {
    /// Forks a child of the monitor's and tells the monitor. In the child this returns `None`.
    pub(super) fn make(
        &self,
        namespaces: Namespaces,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Option<ChildProcess>, Errno> {
        match child::spawn_sibling(namespaces, cgroup) {
            Ok(Spawned::Child) => Ok(None),
            Ok(Spawned::Parent(process)) => {
                self.tell(process.pid(), 0, &[process.as_fd()])?;
                Ok(Some(process))
            }
            Err(error) => {
                self.tell(0, error.raw(), &[])?;
                Err(error)
            }
        }
    }

    fn tell(&self, pid: i32, error: i32, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let word = [pid.to_ne_bytes(), error.to_ne_bytes()].concat();
        send_packet(self.born.as_fd(), &word, descriptors)
    }
}
