//! The conversation with one gofer.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_gofer_protocol::limits::{MAX_NODES, VERSION};
use usk_gofer_protocol::{Attributes, ExportDescription, NodeId, Reply, Request};
use usk_platform::host::{Clock, Cpus, Pid, clock_ns, timeline};

use super::failure::GoferFailure;
use super::lane::{Lane, LanePool};
use super::node::Node;

/// References that are collected before they are given back in one message.
const FORGET_BATCH: usize = 128;

type FailureHook = Box<dyn Fn(&GoferFailure) + Send + Sync>;

/// A gofer, as the sentry sees it. Shared by all sentry threads.
pub struct GoferClient {
    lanes: LanePool,
    exports: OnceLock<Vec<ExportDescription>>,
    forgotten: Mutex<Vec<NodeId>>,
    failure: OnceLock<GoferFailure>,
    on_failure: OnceLock<FailureHook>,
    questions: AtomicU64,
    question_ns: AtomicU64,
}

impl GoferClient {
    /// Greets the gofer at the other end of `lanes` (`SOCK_SEQPACKET`, at least one) and learns its exports.
    pub fn new(lanes: Vec<OwnedFd>) -> Result<Arc<GoferClient>, GoferFailure> {
        if lanes.is_empty() {
            return Err(GoferFailure::Closed);
        }
        // As the protocol says: the workers take turns on the CPUs that they may use, which are ours too.
        let cpus = Cpus::of(Pid::from_raw(0)).map_err(GoferFailure::Transport)?.numbers();
        let lanes = lanes.into_iter().zip(cpus.into_iter().cycle());
        let client = GoferClient {
            lanes: LanePool::new(lanes.map(|(socket, cpu)| Lane::new(socket, cpu)).collect()),
            exports: OnceLock::new(),
            forgotten: Mutex::new(Vec::new()),
            failure: OnceLock::new(),
            on_failure: OnceLock::new(),
            questions: AtomicU64::new(0),
            question_ns: AtomicU64::new(0),
        };
        let wrong = |reason| GoferFailure::Contradiction { request: "attach", reason };
        let (reply, descriptors) =
            client.exchange(&Request::Attach { version: VERSION }).map_err(|error| match error {
                ExchangeError::Failure(failure) => failure,
                ExchangeError::TooLong => wrong("it exceeds the bound"),
            })?;
        match reply {
            Reply::Attached { version: VERSION, exports } if descriptors.is_empty() => {
                client.exports.set(exports).map_err(|_| wrong("it came twice"))?;
            }
            Reply::Failed { errno } => return Err(GoferFailure::Refused(errno)),
            _ => return Err(wrong("it is something else")),
        }
        Ok(Arc::new(client))
    }

    /// Calls `hook` once, on the thread that notices, when the gofer fails; at once if it already has. Only
    /// the first hook counts.
    pub fn on_failure(&self, hook: impl Fn(&GoferFailure) + Send + Sync + 'static) {
        if self.on_failure.set(Box::new(hook)).is_ok() {
            self.report();
        }
    }

    /// Why the gofer is dead; `None` while it is well.
    pub fn failure(&self) -> Option<&GoferFailure> {
        self.failure.get()
    }

    /// How many questions the gofer has answered, and in how many nanoseconds together.
    pub fn questions(&self) -> (u64, u64) {
        (self.questions.load(Ordering::Relaxed), self.question_ns.load(Ordering::Relaxed))
    }

    /// What the gofer exports, by number.
    pub fn exports(&self) -> &[ExportDescription] {
        self.exports.get().map_or(&[], Vec::as_slice)
    }

    /// The root directory (or file) of export `number`, with its attributes at the beginning.
    pub fn root(self: &Arc<Self>, number: usize) -> Option<(Node, Attributes)> {
        let export = self.exports().get(number)?;
        Some((Node::root(self, NodeId(u64::try_from(number).ok()?)), export.attributes))
    }

    /// Attributes of several files, in as few round trips as the bounds allow; one result for each.
    pub fn attributes(&self, nodes: &[&Node]) -> Result<Vec<Result<Attributes, Errno>>, Errno> {
        let mut all = Vec::with_capacity(nodes.len());
        for chunk in nodes.chunks(MAX_NODES) {
            let request = Request::GetAttributes { nodes: chunk.iter().map(|node| node.id()).collect() };
            match self.call(&request)? {
                (Reply::Attributes { results }, None) if results.len() == chunk.len() => all.extend(results),
                _ => return Err(self.contradiction("getattr", "it is something else")),
            }
        }
        Ok(all)
    }

    /// Drops the gofer's side of a directory that is not read to its end. It would drop it by itself in time.
    pub fn close_directory(&self, stream: u64) {
        self.tell(&Request::CloseDirectory { stream });
    }

    /// As [`GoferClient::call_for_several`], for a request whose reply brings one descriptor at most.
    pub(super) fn call(&self, request: &Request<'_>) -> Result<(Reply, Option<OwnedFd>), Errno> {
        let (reply, mut descriptors) = self.call_for_several(request)?;
        let descriptor = descriptors.pop();
        if descriptors.is_empty() {
            Ok((reply, descriptor))
        } else {
            Err(self.contradiction("request", "more than one descriptor came with it"))
        }
    }

    /// Sends a request and returns its reply, `Failed` excepted, with the descriptors that came along. When
    /// the gofer's table of nodes is full, gives back what is due and tries again, once.
    pub(super) fn call_for_several(&self, request: &Request<'_>) -> Result<(Reply, Vec<OwnedFd>), Errno> {
        let mut retried = false;
        loop {
            if self.failure.get().is_some() {
                return Err(Errno::EIO);
            }
            let (reply, descriptors) = self.exchange(request).map_err(|error| match error {
                ExchangeError::Failure(failure) => self.fail(failure),
                ExchangeError::TooLong => Errno::E2BIG,
            })?;
            match reply {
                Reply::Failed { .. } if !descriptors.is_empty() => {
                    return Err(self.contradiction("request", "a failure came with a descriptor"));
                }
                Reply::Failed { errno: Errno::ENFILE } if !retried => {
                    retried = true;
                    self.give_back(0);
                }
                Reply::Failed { errno } => return Err(errno),
                reply => return Ok((reply, descriptors)),
            }
        }
    }

    /// Notes that a reference is not needed any more.
    pub(super) fn forget(&self, node: NodeId) {
        self.forgotten.lock().push(node);
        self.give_back(FORGET_BATCH);
    }

    /// Ends the conversation because of a reply; returns what the caller gets.
    pub(super) fn contradiction(&self, request: &'static str, reason: &'static str) -> Errno {
        self.fail(GoferFailure::Contradiction { request, reason })
    }

    fn exchange(&self, request: &Request<'_>) -> Result<(Reply, Vec<OwnedFd>), ExchangeError> {
        let mut lane = self.lanes.borrow();
        let message = request.encode(lane.number()).map_err(|_| ExchangeError::TooLong)?;
        let (begun_ns, asked_ns) = (timeline::now(), clock_ns(Clock::Monotonic));
        let reply = lane.ask(&message).map_err(ExchangeError::Failure);
        timeline::span("ask the gofer", begun_ns);
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.question_ns.fetch_add(clock_ns(Clock::Monotonic).saturating_sub(asked_ns), Ordering::Relaxed);
        reply
    }

    fn tell(&self, request: &Request<'_>) {
        if self.failure.get().is_none() {
            let told = self.lanes.borrow().tell(request);
            if let Err(failure) = told {
                self.fail(failure);
            }
        }
    }

    /// Gives references back in batches while more than `keep` are due.
    fn give_back(&self, keep: usize) {
        loop {
            let nodes: Vec<NodeId> = {
                let mut forgotten = self.forgotten.lock();
                if forgotten.len() <= keep {
                    return;
                }
                let rest = forgotten.len().saturating_sub(MAX_NODES);
                forgotten.split_off(rest)
            };
            self.tell(&Request::Forget { nodes });
        }
    }

    fn fail(&self, failure: GoferFailure) -> Errno {
        if self.failure.set(failure).is_ok() {
            self.report();
        }
        Errno::EIO
    }

    fn report(&self) {
        if let (Some(failure), Some(hook)) = (self.failure.get(), self.on_failure.get()) {
            hook(failure);
        }
    }
}

/// Why an exchange brought no reply.
enum ExchangeError {
    /// The conversation is over.
    Failure(GoferFailure),
    /// The request was not sent: it exceeds the bound of a message.
    TooLong,
}
