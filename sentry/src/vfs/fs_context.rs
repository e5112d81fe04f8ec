//! Root directory, working directory and umask.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::task::{Credentials, Task};
use crate::vfs::{Caller, MountNamespace, NameChange, NameContext, Path};

#[derive(Clone)]
struct State {
    root: Path,
    cwd: Path,
    umask: u32,
}

/// What `clone(2)` shares with `CLONE_FS` (`fs_struct`), and the mounts that it refers to.
pub struct FsContext {
    namespace: Arc<MountNamespace>,
    state: RwLock<State>,
}

impl FsContext {
    /// Root and working directory are the root of the namespace, the umask is 022.
    pub fn new(namespace: Arc<MountNamespace>) -> Self {
        let root = namespace.root();
        FsContext { namespace, state: RwLock::new(State { cwd: root.clone(), root, umask: 0o022 }) }
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> Self {
        FsContext { namespace: self.namespace.clone(), state: RwLock::new(self.state.read().clone()) }
    }

    /// The mounts.
    pub fn namespace(&self) -> &Arc<MountNamespace> {
        &self.namespace
    }

    /// The root directory.
    pub fn root(&self) -> Path {
        self.state.read().root.clone()
    }

    /// The working directory.
    pub fn cwd(&self) -> Path {
        self.state.read().cwd.clone()
    }

    /// The permissions that new files do not get.
    pub fn umask(&self) -> u32 {
        self.state.read().umask
    }

    /// Replaces the umask; returns the one before.
    pub fn set_umask(&self, umask: u32) -> u32 {
        std::mem::replace(&mut self.state.write().umask, umask & 0o777)
    }

    /// Replaces the working directory.
    pub fn set_cwd(&self, cwd: Path) {
        let change = NameChange::begin();
        let before = std::mem::replace(&mut self.state.write().cwd, cwd);
        drop(change);
        drop(before);
    }

    /// Replaces the root directory.
    pub fn set_root(&self, root: Path) {
        let change = NameChange::begin();
        let before = std::mem::replace(&mut self.state.write().root, root);
        drop(change);
        drop(before);
    }

    /// What a caller needs to use names. `task` is `None` for the kernel itself.
    pub fn names<'a>(&self, credentials: &'a Credentials, task: Option<&'a Arc<Task>>) -> NameContext<'a> {
        let state = self.state.read().clone();
        NameContext {
            caller: Caller { credentials, task },
            namespace: self.namespace.clone(),
            root: state.root,
            cwd: state.cwd,
            umask: state.umask,
        }
    }
}
