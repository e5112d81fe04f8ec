//! The abstract names of a sandbox's AF_UNIX sockets, and the count of open files in flight between them.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::Errno;

use crate::net::budget::Budget;
use crate::net::unix::core::{Core, UnixKind};

/// What the AF_UNIX sockets of one sandbox share.
#[derive(Default)]
pub struct UnixNamespace {
    names: Mutex<Names>,
    pub(super) in_flight: Arc<AtomicUsize>,
    /// What all sockets hold together.
    pub(super) memory: Arc<Budget>,
}

#[derive(Default)]
struct Names {
    /// Each kind has names of its own.
    sockets: HashMap<(UnixKind, Vec<u8>), Weak<Core>>,
    next_automatic: u32,
}

/// Automatic names are five hexadecimal digits.
const AUTOMATIC_NAMES: u32 = 1 << 20;

impl UnixNamespace {
    /// A name space without names.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One whose sockets together hold what a budget allows.
    #[cfg(test)]
    pub(super) fn within(memory: &Arc<Budget>) -> Arc<Self> {
        Arc::new(UnixNamespace { memory: Arc::clone(memory), ..UnixNamespace::default() })
    }

    /// Gives `socket` a name. `EADDRINUSE` if another has it.
    pub(super) fn bind(&self, name: &[u8], socket: &Arc<Core>) -> Result<(), Errno> {
        let mut names = self.names.lock();
        let key = (socket.kind, name.to_vec());
        if names.sockets.get(&key).is_some_and(|taken| taken.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        names.sockets.insert(key, Arc::downgrade(socket));
        Ok(())
    }

    /// Gives `socket` a free name (`unix(7)`, autobind) and returns it. `ENOSPC` if all are taken.
    pub(super) fn bind_automatic(&self, socket: &Arc<Core>) -> Result<Vec<u8>, Errno> {
        let mut names = self.names.lock();
        for _ in 0..AUTOMATIC_NAMES {
            let name = format!("{:05x}", names.next_automatic).into_bytes();
            names.next_automatic = (names.next_automatic + 1) % AUTOMATIC_NAMES;
            let key = (socket.kind, name.clone());
            if !names.sockets.contains_key(&key) {
                names.sockets.insert(key, Arc::downgrade(socket));
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// Takes a name away.
    pub(super) fn unbind(&self, kind: UnixKind, name: &[u8]) {
        self.names.lock().sockets.remove(&(kind, name.to_vec()));
    }

    /// The socket of this kind and name. `ECONNREFUSED` if there is none.
    pub(super) fn find(&self, kind: UnixKind, name: &[u8]) -> Result<Arc<Core>, Errno> {
        self.names
            .lock()
            .sockets
            .get(&(kind, name.to_vec()))
            .and_then(Weak::upgrade)
            .ok_or(Errno::ECONNREFUSED)
    }
}
