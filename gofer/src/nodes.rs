//! The files that the client knows, by number.
//!
//! A node is one name of one file: where it was found (directory and name), what it is ([`Identity`]), and an
//! `O_PATH` descriptor, or that of a directory with which it was listed. Descriptors are scarce, nodes are not:
//! beyond a budget the descriptors that were used least are closed, and found again by walking down from the
//! nearest ancestor that has one. What is found must be the same file, else the node is stale (`ESTALE`). A node
//! whose name is gone (removed, replaced) keeps its descriptor for as long as the budget allows; after that it is
//! stale.
//!
//! The table's lock is never held over a call to the host.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use usk_abi::Errno;
use usk_gofer_protocol::{FileType, Name, NodeId, RenameMode};

use crate::export::MountCrossing;
use crate::host::{self, Identity};

/// Most nodes at a time. A node costs about 200 bytes, so a hostile client can take 200 MB this way.
const MAX_NODES: usize = 1 << 20;

/// Longest chain of ancestors that is walked to find a file again.
const MAX_DEPTH: usize = 4096;

/// A node, with its descriptor, for the length of one request.
#[derive(Clone, Debug)]
pub(crate) struct OpenNode {
    pub(crate) id: NodeId,
    /// Number of the export that it belongs to.
    pub(crate) export: usize,
    pub(crate) identity: Identity,
    /// Number of the mount it is on.
    pub(crate) mount: Option<u64>,
    /// It is the root of a file system that the client must not look into.
    pub(crate) is_sealed: bool,
    file: Arc<OwnedFd>,
}

impl OpenNode {
    pub(crate) fn is_directory(&self) -> bool {
        self.identity.file_type() == Some(FileType::Directory)
    }
}

impl AsFd for OpenNode {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A file that has been found and is not in the table yet.
pub(crate) struct Found {
    pub(crate) file: Arc<OwnedFd>,
    pub(crate) identity: Identity,
    pub(crate) mount: Option<u64>,
    pub(crate) is_sealed: bool,
}

/// The table.
pub(crate) struct NodeTable {
    state: Mutex<State>,
    /// Most descriptors of nodes at a time; the roots' do not count.
    budget: usize,
    /// How each export resolves names.
    crossings: Vec<MountCrossing>,
}

struct State {
    nodes: HashMap<u64, Node>,
    /// The node of each name that has one.
    names: HashMap<(u64, Box<[u8]>), u64>,
    next: u64,
    open_count: usize,
    /// Named nodes with descriptors, in the order of a clock: the front is asked next. May hold ids that are
    /// gone.
    clock: VecDeque<u64>,
    /// Nodes with descriptors whose name is gone, oldest first. May hold ids that are gone.
    nameless: VecDeque<u64>,
}

struct Node {
    export: usize,
    identity: Identity,
    mount: Option<u64>,
    is_sealed: bool,
    is_root: bool,
    /// Directory and name; `None` for a root, and once the name is gone.
    place: Option<(u64, Box<[u8]>)>,
    /// Counts what the client holds.
    references: u64,
    /// Nodes whose `place` is in this one.
    children: u64,
    file: Option<Arc<OwnedFd>>,
    is_used: bool,
}

impl NodeTable {
    /// A table that holds the exports' roots, numbered in order, and keeps at most `budget` other
    /// descriptors.
    pub(crate) fn new(roots: Vec<(Found, MountCrossing)>, budget: usize) -> NodeTable {
        let mut state = State {
            nodes: HashMap::new(),
            names: HashMap::new(),
            next: roots.len() as u64,
            open_count: 0,
            clock: VecDeque::new(),
            nameless: VecDeque::new(),
        };
        let mut crossings = Vec::new();
        for (export, (found, crossing)) in roots.into_iter().enumerate() {
            crossings.push(crossing);
            let node = Node {
                export,
                identity: found.identity,
                mount: found.mount,
                is_sealed: found.is_sealed,
                is_root: true,
                place: None,
                references: 0,
                children: 0,
                file: Some(found.file),
                is_used: false,
            };
            state.nodes.insert(export as u64, node);
        }
        NodeTable { state: Mutex::new(state), budget: budget.max(1), crossings }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked ends the process (the filter sees to that); nothing is half done in
        // practice.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How names of an export are resolved.
    pub(crate) fn crossing(&self, export: usize) -> MountCrossing {
        self.crossings.get(export).copied().unwrap_or(MountCrossing::Stay)
    }

    /// The node with its descriptor, opened again if it was closed. `ESTALE` if the client does not hold it
    /// or its file is not to be found.
    pub(crate) fn get(&self, id: NodeId) -> Result<OpenNode, Errno> {
        let (mut above, below) = {
            let mut state = self.lock();
            let node = state.nodes.get(&id.0).ok_or(Errno::ESTALE)?;
            if node.references == 0 && !node.is_root {
                return Err(Errno::ESTALE);
            }
            state.open_ancestor(id.0)?
        };
        // Walks down from the ancestor that is open, and keeps what it opens.
        for (child, name) in below {
            let name = Name::new(&name).map_err(|_| Errno::ESTALE)?;
            let file = host::look_up(above.as_fd(), name, self.crossing(above.export)).map_err(stale)?;
            let status = host::status(file.as_fd()).map_err(host::errno)?;
            above = self.reinstall(child, file, Identity::of(&status))?;
        }
        Ok(above)
    }

    /// Gives a node its descriptor back, if what was found under its name is the same file.
    fn reinstall(&self, id: u64, file: OwnedFd, found: Identity) -> Result<OpenNode, Errno> {
        let mut state = self.lock();
        let node = state.nodes.get_mut(&id).ok_or(Errno::ESTALE)?;
        if node.identity != found {
            return Err(Errno::ESTALE);
        }
        if node.file.is_none() {
            node.file = Some(Arc::new(file));
            let queue = if node.place.is_some() { &mut state.clock } else { &mut state.nameless };
            queue.push_back(id);
            state.open_count += 1;
        }
        self.hand_out(state, id)
    }

    /// Hands out a reference to the file that was found under `name` in `parent`. `ENFILE` when the table is
    /// full.
    pub(crate) fn adopt(&self, parent: &OpenNode, name: Name<'_>, found: Found) -> Result<OpenNode, Errno> {
        let mut state = self.lock();
        let place = (parent.id.0, Box::from(name.as_bytes()));
        if let Some(&id) = state.names.get(&place) {
            if let Some(node) = state.nodes.get_mut(&id)
                && node.identity == found.identity
                && node.mount == found.mount
            {
                node.references = node.references.saturating_add(1);
                if node.file.is_none() {
                    node.file = Some(found.file);
                    state.clock.push_back(id);
                    state.open_count += 1;
                }
                return self.hand_out(state, id);
            }
            // Somebody else has put another file there.
            state.lose_name(id);
        }
        if state.nodes.len() >= MAX_NODES {
            return Err(Errno::ENFILE);
        }
        // A parent that was forgotten meanwhile cannot lead here again: the node is nameless from the
        // beginning.
        let has_parent = state.nodes.get_mut(&parent.id.0).map(|node| node.children += 1).is_some();
        let id = state.next;
        state.next += 1;
        let node = Node {
            export: parent.export,
            identity: found.identity,
            mount: found.mount,
            is_sealed: found.is_sealed,
            is_root: false,
            place: has_parent.then(|| place.clone()),
            references: 1,
            children: 0,
            file: Some(found.file),
            is_used: true,
        };
        state.nodes.insert(id, node);
        if has_parent {
            state.names.insert(place, id);
            state.clock.push_back(id);
        } else {
            state.nameless.push_back(id);
        }
        state.open_count += 1;
        self.hand_out(state, id)
    }

    /// The node for a request. Descriptors that are too many now are closed when the table is free.
    fn hand_out(&self, mut state: MutexGuard<'_, State>, id: u64) -> Result<OpenNode, Errno> {
        let open = state.open(id).ok_or(Errno::ESTALE)?;
        let closed = state.evict(self.budget);
        drop(state);
        drop(closed);
        Ok(open)
    }

    /// Takes references back. Numbers that the client does not hold are ignored: it harms only itself.
    pub(crate) fn forget(&self, ids: &[NodeId]) {
        let mut closed = Vec::new();
        let mut state = self.lock();
        for id in ids {
            if let Some(node) = state.nodes.get_mut(&id.0) {
                node.references = node.references.saturating_sub(1);
                closed.extend(state.collect(id.0));
            }
        }
        drop(state);
    }

    /// The node that `name` in `parent` has, made sure to be open: its name is about to go.
    pub(crate) fn hold(&self, parent: &OpenNode, name: Name<'_>) {
        let id = self.lock().names.get(&(parent.id.0, Box::from(name.as_bytes()))).copied();
        if let Some(id) = id {
            // If it cannot be opened it is stale already.
            let _ = self.get(NodeId(id));
        }
    }

    /// `name` in `parent` was removed.
    pub(crate) fn removed(&self, parent: &OpenNode, name: Name<'_>) {
        let mut state = self.lock();
        if let Some(&id) = state.names.get(&(parent.id.0, Box::from(name.as_bytes()))) {
            state.lose_name(id);
        }
    }

    /// `old` was renamed to `new`; each is a directory and a name in it.
    pub(crate) fn renamed(&self, old: (&OpenNode, Name<'_>), new: (&OpenNode, Name<'_>), mode: RenameMode) {
        let place = |(parent, name): (&OpenNode, Name<'_>)| (parent.id.0, Box::<[u8]>::from(name.as_bytes()));
        let (old, new) = (place(old), place(new));
        if old == new {
            return;
        }
        let mut state = self.lock();
        let moved = state.names.get(&old).copied();
        let replaced = state.names.get(&new).copied();
        if moved.is_some() && moved == replaced {
            return;
        }
        // Both lose their names first, so that neither stands in the other's way.
        for id in [moved, replaced].into_iter().flatten() {
            state.unlink(id);
        }
        if let Some(id) = moved {
            state.link(id, new);
        }
        match (replaced, mode) {
            (Some(id), RenameMode::Exchange) => state.link(id, old),
            (Some(id), _) => state.retire(id),
            (None, _) => {}
        }
    }
}

/// A name that is not there any more makes the node stale.
fn stale(errno: Errno) -> Errno {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR | Errno::EXDEV | Errno::ELOOP => Errno::ESTALE,
        other => other,
    }
}

/// Nodes and their names from an open ancestor down.
type Below = Vec<(u64, Box<[u8]>)>;

impl State {
    /// The nearest of `id` and its ancestors that has a descriptor, and the way down from there.
    fn open_ancestor(&mut self, id: u64) -> Result<(OpenNode, Below), Errno> {
        let mut below = Vec::new();
        let mut at = id;
        loop {
            if let Some(open) = self.open(at) {
                below.reverse();
                return Ok((open, below));
            }
            let node = self.nodes.get(&at).ok_or(Errno::ESTALE)?;
            let (parent, name) = node.place.clone().ok_or(Errno::ESTALE)?;
            below.push((at, name));
            if below.len() > MAX_DEPTH {
                return Err(Errno::ESTALE);
            }
            at = parent;
        }
    }

    /// The node for a request, if it has its descriptor.
    fn open(&mut self, id: u64) -> Option<OpenNode> {
        let node = self.nodes.get_mut(&id)?;
        let file = Arc::clone(node.file.as_ref()?);
        node.is_used = true;
        Some(OpenNode {
            id: NodeId(id),
            export: node.export,
            identity: node.identity,
            mount: node.mount,
            is_sealed: node.is_sealed,
            file,
        })
    }

    /// The name is gone for good.
    fn lose_name(&mut self, id: u64) {
        self.unlink(id);
        self.retire(id);
    }

    /// Takes the node out of its place.
    fn unlink(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(place) = node.place.take() else { return };
        let parent = place.0;
        if self.names.get(&place) == Some(&id) {
            self.names.remove(&place);
        }
        if let Some(parent_node) = self.nodes.get_mut(&parent) {
            parent_node.children = parent_node.children.saturating_sub(1);
        }
        drop(self.collect(parent));
    }

    /// Puts a node that is out of place into another.
    fn link(&mut self, id: u64, place: (u64, Box<[u8]>)) {
        let Some(parent) = self.nodes.get_mut(&place.0) else { return self.retire(id) };
        parent.children += 1;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.place = Some(place.clone());
            self.names.insert(place, id);
        }
    }

    /// Queues a node that is out of place among the nameless.
    fn retire(&mut self, id: u64) {
        if self.nodes.get(&id).is_some_and(|node| node.file.is_some() && !node.is_root) {
            self.nameless.push_back(id);
        }
        drop(self.collect(id));
    }

    /// Drops the node if nobody needs it, and then its ancestors that were kept only for it. Returns what is
    /// to be closed.
    fn collect(&mut self, id: u64) -> Vec<Arc<OwnedFd>> {
        let mut closed = Vec::new();
        let mut at = Some(id);
        while let Some(id) = at.take() {
            let is_needed = |node: &Node| node.is_root || node.references > 0 || node.children > 0;
            if self.nodes.get(&id).is_none_or(is_needed) {
                break;
            }
            let Some(node) = self.nodes.remove(&id) else { break };
            if let Some(file) = node.file {
                self.open_count = self.open_count.saturating_sub(1);
                closed.push(file);
            }
            if let Some(place) = node.place {
                if self.names.get(&place) == Some(&id) {
                    self.names.remove(&place);
                }
                if let Some(parent) = self.nodes.get_mut(&place.0) {
                    parent.children = parent.children.saturating_sub(1);
                }
                at = Some(place.0);
            }
        }
        self.compact();
        closed
    }

    /// Takes descriptors away until the budget is kept: first those of named nodes that were not used since
    /// they were last asked, unless nameless ones hold more than half. Returns what is to be closed.
    fn evict(&mut self, budget: usize) -> Vec<Arc<OwnedFd>> {
        let mut closed = Vec::new();
        let mut spared = self.clock.len();
        while self.open_count > budget {
            let takes_nameless = self.nameless.len() > budget / 2 || self.clock.is_empty();
            let queue = if takes_nameless { &mut self.nameless } else { &mut self.clock };
            let Some(id) = queue.pop_front() else { break };
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            if node.place.is_some() == takes_nameless {
                // It has changed queues since.
                continue;
            }
            if !takes_nameless && node.is_used && spared > 0 {
                node.is_used = false;
                spared -= 1;
                self.clock.push_back(id);
                continue;
            }
            if let Some(file) = node.file.take() {
                self.open_count -= 1;
                closed.push(file);
            }
        }
        closed
    }

    /// Removes ids from the queues that are gone, once they are many.
    fn compact(&mut self) {
        let bound = 2 * self.open_count + 64;
        let State { nodes, clock, nameless, .. } = self;
        for (queue, is_nameless) in [(clock, false), (nameless, true)] {
            if queue.len() > bound {
                queue.retain(|id| {
                    nodes
                        .get(id)
                        .is_some_and(|node| node.file.is_some() && node.place.is_none() == is_nameless)
                });
            }
        }
    }
}
