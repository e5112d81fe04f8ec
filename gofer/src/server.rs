//! Workers, one for each lane, and what they share.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Barrier, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::Statx;
use rustix::thread::CpuSet;
use usk_abi::Errno;
use usk_gofer_protocol::limits::{MAX_DESCRIPTORS, MAX_EXPORTS, VERSION};
use usk_gofer_protocol::{Attributes, ExportDescription, FileType, Name, NodeId, Reply, Request};

use crate::error::GoferError;
use crate::export::{Export, ExportMode, HiddenNames, MountCrossing, Owners, Sharing};
use crate::host::{self, Identity, SelfDescriptors};
use crate::lane::{Lane, LaneClosed};
use crate::nodes::{Found, NodeTable, OpenNode};
use crate::operations::DirectoryStreams;
use crate::{filter, lockdown};

/// Stack of a worker, in bytes. Nothing recurses.
const WORKER_STACK: usize = 256 * 1024;

/// Most descriptors of nodes, whatever the limit of the process.
const MAX_NODE_DESCRIPTORS: usize = 1 << 16;

/// Descriptors that are not nodes': standard error, `/proc/self/fd`, roots, directory streams.
const OTHER_DESCRIPTORS: usize = 3 + MAX_EXPORTS + crate::operations::MAX_STREAMS;

/// Descriptors that one lane needs at most: its socket, and what one request has open and donates.
const DESCRIPTORS_PER_LANE: usize = 8 + MAX_DESCRIPTORS;

/// Gives up all privileges that serving does not need, then answers requests until every lane is closed. See
/// the crate's documentation for what must be arranged before. The process must have no other thread, and is
/// good for nothing but ending afterwards.
pub fn serve(
    lanes: Vec<OwnedFd>,
    exports: Vec<Export>,
    descriptors: SelfDescriptors,
) -> Result<(), GoferError> {
    let any_writable = exports.iter().any(|export| export.mode == ExportMode::ReadWrite);
    let program = filter::compile(&descriptors, any_writable)?;
    let limit = lockdown::raise_descriptor_limit()?;
    let server = Arc::new(Server::new(exports, descriptors, lanes.len(), limit)?);
    lockdown::drop_privileges(any_writable)?;
    run(server, lanes, || filter::install(&program))
}

/// Answers requests until every lane is closed, with all the privileges that the process has, keeping at most
/// `descriptor_limit` descriptors: to test requests within one process, and to measure them.
pub fn serve_without_lockdown(
    lanes: Vec<OwnedFd>,
    exports: Vec<Export>,
    descriptors: SelfDescriptors,
    descriptor_limit: usize,
) -> Result<(), GoferError> {
    let server = Arc::new(Server::new(exports, descriptors, lanes.len(), descriptor_limit)?);
    run(server, lanes, || Ok(()))
}

/// Starts the workers, calls `before_first` when all of them are ready, and lets them go if it succeeds. The
/// filter does not allow what starting a thread takes. The calling thread is the first lane's worker: to make and to end one
/// takes the host a tenth of a millisecond.
fn run(
    server: Arc<Server>,
    lanes: Vec<OwnedFd>,
    before_first: impl FnOnce() -> Result<(), GoferError>,
) -> Result<(), GoferError> {
    let cpus = allowed_cpus();
    let cpu = |index: usize| cpus.get(index % cpus.len().max(1)).copied();
    let mut lanes = lanes.into_iter().enumerate().map(|(index, socket)| (Lane::new(socket), cpu(index)));
    let Some((mut own_lane, own_cpu)) = lanes.next() else { return Err(GoferError::NoLanes) };
    let arrival = Arc::new(Barrier::new(lanes.len() + 1));
    let gate = Arc::new(Gate::default());
    let mut workers: Vec<JoinHandle<()>> = Vec::new();
    for (mut lane, cpu) in lanes {
        let (server, arrival, gate) = (Arc::clone(&server), Arc::clone(&arrival), Arc::clone(&gate));
        let started =
            std::thread::Builder::new().name("lane".into()).stack_size(WORKER_STACK).spawn(move || {
                stay_on(cpu);
                arrival.wait();
                if gate.pass() {
                    // The lane is over, for whichever reason; so is the worker.
                    let LaneClosed = server.work(&mut lane);
                }
            });
        // On failure the process ends, and the workers that wait already with it.
        workers.push(started.map_err(GoferError::Thread)?);
    }
    stay_on(own_cpu);
    arrival.wait();
    let result = before_first();
    gate.open(result.is_ok());
    if result.is_ok() {
        let LaneClosed = server.work(&mut own_lane);
    }
    drop(own_lane);
    for worker in workers {
        // A worker that panicked has closed its lane, which is what the client gets to see.
        let _ = worker.join();
    }
    result
}

/// The CPUs that this process may use, ascending.
fn allowed_cpus() -> Vec<usize> {
    rustix::thread::sched_getaffinity(None)
        .map(|set| (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
        .unwrap_or_default()
}

/// Binds the calling thread to a CPU, if one is known: clients prefer the lane whose worker is on theirs.
fn stay_on(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut set = CpuSet::new();
    set.set(cpu);
    // Without it everything works, slower.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Where workers wait until they are told whether to go.
#[derive(Default)]
struct Gate {
    verdict: Mutex<Option<bool>>,
    opened: Condvar,
}

impl Gate {
    fn open(&self, go: bool) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(go);
        self.opened.notify_all();
    }

    fn pass(&self) -> bool {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(go) = *verdict {
                return go;
            }
            verdict = self.opened.wait(verdict).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What the workers share.
pub(crate) struct Server {
    pub(crate) nodes: NodeTable,
    pub(crate) descriptors: SelfDescriptors,
    pub(crate) streams: Mutex<DirectoryStreams>,
    exports: Vec<(ExportMode, Sharing)>,
    owners: Vec<Option<OwnersAt>>,
    hidden: Vec<HiddenNames>,
}

/// Whose the files of an export are said to be, and the mount that this is about.
struct OwnersAt {
    mount: Option<u64>,
    owners: Owners,
}

/// A reply, and the descriptor that goes with it.
pub(crate) type Answer = Result<(Reply, Option<OwnedFd>), Errno>;

impl Server {
    fn new(
        exports: Vec<Export>,
        descriptors: SelfDescriptors,
        lanes: usize,
        descriptor_limit: usize,
    ) -> Result<Server, GoferError> {
        if exports.len() > MAX_EXPORTS {
            return Err(GoferError::TooManyExports(exports.len()));
        }
        let mut roots = Vec::new();
        let mut modes = Vec::new();
        let mut owners = Vec::new();
        let mut hidden = Vec::new();
        for (number, export) in exports.into_iter().enumerate() {
            let fail = |errno| GoferError::Root { number, errno };
            let status = host::status(export.root.as_fd()).map_err(host::errno).map_err(fail)?;
            if host::is_kernel_interface(export.root.as_fd()).map_err(fail)? {
                return Err(GoferError::KernelInterface { number });
            }
            descriptors.verify(export.root.as_fd())?;
            let root = Found {
                file: export.root.into(),
                identity: Identity::of(&status),
                mount: host::mount(&status),
                is_sealed: false,
            };
            roots.push((root, export.crossing));
            modes.push((export.mode, export.sharing));
            let mount = host::mount(&status);
            hidden.push(export.hidden);
            owners.push(export.owners.map(|owners| OwnersAt { mount, owners }));
        }
        let reserved = OTHER_DESCRIPTORS + lanes * DESCRIPTORS_PER_LANE;
        let budget = descriptor_limit.saturating_sub(reserved).clamp(1, MAX_NODE_DESCRIPTORS);
        Ok(Server {
            nodes: NodeTable::new(roots, budget),
            descriptors,
            streams: Mutex::new(DirectoryStreams(BTreeMap::new(), 0)),
            exports: modes,
            owners,
            hidden,
        })
    }

    /// Serves one lane to its end.
    fn work(&self, lane: &mut Lane) -> LaneClosed {
        loop {
            if let Err(closed) = self.answer(lane) {
                return closed;
            }
        }
    }

    fn answer(&self, lane: &mut Lane) -> Result<(), LaneClosed> {
        let message = lane.receive()?;
        // Whoever sends what is no request is not to be spoken to any more.
        let (id, request) = Request::decode(message).map_err(|_| LaneClosed)?;
        let has_reply = request.has_reply();
        let (reply, donated) =
            self.act(request).unwrap_or_else(|errno| (Reply::Failed { errno }, Vec::new()));
        if !has_reply {
            return Ok(());
        }
        match reply.encode(id) {
            Ok(bytes) => lane.send(&bytes, &donated),
            Err(_) => {
                let failed = Reply::Failed { errno: Errno::EOVERFLOW };
                lane.send(&failed.encode(id).map_err(|_| LaneClosed)?, &[])
            }
        }
    }

    fn act(&self, request: Request<'_>) -> Result<(Reply, Vec<OwnedFd>), Errno> {
        match request {
            Request::OpenFiles { files } => Ok(self.open_files(&files)),
            request => {
                self.act_on_one(request).map(|(reply, donated)| (reply, donated.into_iter().collect()))
            }
        }
    }

    /// Carries out a request that donates one descriptor at most.
    fn act_on_one(&self, request: Request<'_>) -> Answer {
        match request {
            Request::Attach { version } => self.attach(version),
            Request::Forget { nodes } => {
                self.nodes.forget(&nodes);
                Ok((Reply::Done {}, None))
            }
            Request::Walk { node, names, open } => self.walk(node, &names, open),
            Request::Open { node, access } => self.open(node, access),
            Request::GetAttributes { nodes } => self.get_attributes(&nodes),
            Request::SetAttributes { node, change } => self.set_attributes(node, change),
            Request::ReadDirectory { node, stream, cursor, all_attributes } => {
                self.read_directory(node, (stream, cursor), all_attributes)
            }
            Request::ReadDirectories { parent, names, below, all_attributes } => {
                self.read_directories(parent, &names, below.into(), all_attributes)
            }
            Request::CloseDirectory { stream } => self.close_directory(stream),
            Request::CreateFile { parent, name, permissions, owner, access } => {
                self.create_file(parent, name, permissions, owner, access)
            }
            Request::MakeDirectory { parent, name, permissions, owner } => {
                self.make_directory(parent, name, permissions, owner)
            }
            Request::MakeSymlink { parent, name, target, owner } => {
                self.make_symlink(parent, name, &target, owner)
            }
            Request::MakeSpecial { parent, name, file_type, permissions, owner } => {
                self.make_special(parent, name, file_type, permissions, owner)
            }
            Request::Link { node, parent, name } => self.link(node, parent, name),
            Request::Unlink { parent, name } => self.remove(parent, name, false),
            Request::RemoveDirectory { parent, name } => self.remove(parent, name, true),
            Request::Rename { parent, name, new_parent, new_name, mode } => {
                self.rename((parent, name), (new_parent, new_name), mode)
            }
            Request::ReadLink { node } => {
                let target = host::read_link(self.nodes.get(node)?.as_fd())?;
                Ok((Reply::LinkTarget { target }, None))
            }
            Request::StatFileSystem { node } => {
                let statistics = host::file_system(self.nodes.get(node)?.as_fd())?;
                Ok((Reply::FileSystem { statistics }, None))
            }
            Request::GetXattr { node, name } => self.get_xattr(node, name),
            Request::ListXattrs { node } => self.list_xattrs(node),
            Request::CheckXattrs { files } => Ok((self.check_xattrs(&files), None)),
            Request::SetXattr { node, name, value, mode } => self.set_xattr(node, name, &value, mode),
            Request::RemoveXattr { node, name } => self.remove_xattr(node, name),
            // Donates several: see `act`.
            Request::OpenFiles { .. } => Err(Errno::EINVAL),
        }
    }

    fn attach(&self, version: u32) -> Answer {
        if version != VERSION {
            return Err(Errno::EPROTO);
        }
        let mut exports = Vec::new();
        for (number, (mode, sharing)) in self.exports.iter().enumerate() {
            let root = self.nodes.get(NodeId(number as u64))?;
            let status = host::status(root.as_fd()).map_err(host::errno)?;
            exports.push(ExportDescription {
                read_only: *mode == ExportMode::ReadOnly,
                shared: *sharing == Sharing::Shared,
                attributes: self.attributes(number, &status)?,
            });
        }
        Ok((Reply::Attached { version: VERSION, exports }, None))
    }

    /// What is told instead of what the host says, if something is, about files of an export on that mount.
    pub(crate) fn owners(&self, export: usize, mount: Option<u64>) -> Option<&Owners> {
        let at = self.owners.get(export)?.as_ref()?;
        // What is mounted below covers something, and is not in the list.
        (at.mount == mount).then_some(&at.owners)
    }

    /// What the client is told about a file of an export.
    pub(crate) fn attributes(&self, export: usize, status: &Statx) -> Result<Attributes, Errno> {
        let mut attributes = host::attributes(status)?;
        let Some(owners) = self.owners(export, host::mount(status)) else { return Ok(attributes) };
        let is_directory = attributes.mode.file_type == FileType::Directory;
        let held = owners.get(status.stx_ino);
        if let Some(held) = held {
            attributes.mode.permissions = held.permissions & 0o7777;
        }
        (attributes.uid, attributes.gid) = held.map_or((0, 0), |held| (held.uid, held.gid));
        if !is_directory {
            attributes.nlink = held.map_or(1, |held| held.nlink);
        }
        Ok(attributes)
    }

    /// The node, if it may be changed: `EROFS` on a read-only export and in what is sealed.
    pub(crate) fn writable(&self, id: NodeId) -> Result<OpenNode, Errno> {
        let node = self.nodes.get(id)?;
        if self.is_read_only(&node) { Err(Errno::EROFS) } else { Ok(node) }
    }

    /// The directory, if entries may be made and removed in it.
    pub(crate) fn writable_directory(&self, id: NodeId) -> Result<OpenNode, Errno> {
        let node = self.writable(id)?;
        if node.is_directory() { Ok(node) } else { Err(Errno::ENOTDIR) }
    }

    /// The directory, if `name` may be made, replaced and removed in it: `EACCES` for a name that is hidden.
    pub(crate) fn writable_place(&self, id: NodeId, name: Name<'_>) -> Result<OpenNode, Errno> {
        let directory = self.writable_directory(id)?;
        if self.hides(&directory, name) { Err(Errno::EACCES) } else { Ok(directory) }
    }

    /// The names in this directory that are not shown.
    pub(crate) fn hidden_names(&self, directory: &OpenNode) -> &[Box<[u8]>] {
        let hidden = self.hidden.get(directory.export);
        hidden.map_or(&[], |hidden| hidden.in_directory(directory.identity.dev_ino()))
    }

    /// Whether `name` in this directory is not shown, unless it is a cover.
    pub(crate) fn hides(&self, directory: &OpenNode, name: Name<'_>) -> bool {
        self.hidden_names(directory).iter().any(|hidden| **hidden == *name.as_bytes())
    }

    /// Whether this is what was put over a hidden place of an export.
    pub(crate) fn is_cover(&self, export: usize, status: &Statx) -> bool {
        self.hidden.get(export).is_some_and(|hidden| hidden.is_cover(Identity::of(status).dev_ino()))
    }

    pub(crate) fn is_read_only(&self, node: &OpenNode) -> bool {
        let mode = self.exports.get(node.export).map_or(ExportMode::ReadOnly, |(mode, _)| *mode);
        node.is_sealed || mode == ExportMode::ReadOnly
    }

    /// True if nobody else changes what this node's export holds.
    pub(crate) fn is_exclusive(&self, node: &OpenNode) -> bool {
        self.exports.get(node.export).is_some_and(|(_, sharing)| *sharing == Sharing::Exclusive)
    }

    /// How names below this node are resolved.
    pub(crate) fn crossing(&self, node: &OpenNode) -> MountCrossing {
        self.nodes.crossing(node.export)
    }
}
