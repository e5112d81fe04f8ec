//! The abstract names of a sandbox's AF_UNIX sockets, and the count of open files in flight between them.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::Errno;

use crate::net::unix::core::Core;

/// What the AF_UNIX sockets of one sandbox share.
#[derive(Default)]
pub struct UnixNamespace {
    names: Mutex<Names>,
    pub(super) in_flight: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Names {
    sockets: HashMap<Vec<u8>, Weak<Core>>,
    next_automatic: u32,
}

/// Automatic names are five hexadecimal digits.
const AUTOMATIC_NAMES: u32 = 1 << 20;

impl UnixNamespace {
    /// A name space without names.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Gives `socket` a name. `EADDRINUSE` if another has it.
    pub(super) fn bind(&self, name: &[u8], socket: &Arc<Core>) -> Result<(), Errno> {
        let mut names = self.names.lock();
        if names.sockets.get(name).is_some_and(|taken| taken.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        names.sockets.insert(name.to_vec(), Arc::downgrade(socket));
        Ok(())
    }

    /// Gives `socket` a free name (`unix(7)`, autobind) and returns it. `ENOSPC` if all are taken.
    pub(super) fn bind_automatic(&self, socket: &Arc<Core>) -> Result<Vec<u8>, Errno> {
        let mut names = self.names.lock();
        for _ in 0..AUTOMATIC_NAMES {
            let name = format!("{:05x}", names.next_automatic).into_bytes();
            names.next_automatic = (names.next_automatic + 1) % AUTOMATIC_NAMES;
            if !names.sockets.contains_key(&name) {
                names.sockets.insert(name.clone(), Arc::downgrade(socket));
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// Takes a name away.
    pub(super) fn unbind(&self, name: &[u8]) {
        self.names.lock().sockets.remove(name);
    }

    /// The socket of this name. `ECONNREFUSED` if there is none.
    pub(super) fn find(&self, name: &[u8]) -> Result<Arc<Core>, Errno> {
        self.names.lock().sockets.get(name).and_then(Weak::upgrade).ok_or(Errno::ECONNREFUSED)
    }
}
