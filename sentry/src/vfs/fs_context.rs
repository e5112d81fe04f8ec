//! Root directory, working directory and umask.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// Count of [`FsHold`]s.
    holds: AtomicUsize,
}

/// While it exists no more tasks may share the context: a program that gains is about to be executed by its user (`fs_struct::in_exec`).
/// It is made, and looked for, with the task table locked.
pub(crate) struct FsHold(Arc<FsContext>);

impl FsHold {
    pub(crate) fn new(fs: Arc<FsContext>) -> Self {
        fs.holds.fetch_add(1, Ordering::Relaxed);
        FsHold(fs)
    }
}

impl Drop for FsHold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FsContext {
    /// Root and working directory are the root of the namespace, the umask is 022.
    pub fn new(namespace: Arc<MountNamespace>) -> Self {
        let root = namespace.root();
        FsContext::with_state(namespace, State { cwd: root.clone(), root, umask: 0o022 })
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> Self {
        FsContext::with_state(self.namespace.clone(), self.state.read().clone())
    }

    fn with_state(namespace: Arc<MountNamespace>, state: State) -> Self {
        FsContext { namespace, state: RwLock::new(state), holds: AtomicUsize::new(0) }
    }

    /// Whether there is an [`FsHold`].
    pub(crate) fn is_held(&self) -> bool {
        self.holds.load(Ordering::Relaxed) != 0
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
