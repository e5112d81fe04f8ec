//! The platform: set-up, and what all its address spaces share.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use thiserror::Error;
use usk_abi::Errno;

use crate::arch::extended_state::FORMAT;
use crate::deaths::DeathWatch;
use crate::host;
use crate::interface::{AddressSpace, Layout, Platform};

use super::geography::GUEST_END;
use super::parked::Parked;
use super::passing::Mailbox;
use super::placement::Placement;
use super::space::PtraceSpace;
use super::template;

/// Why the platform cannot be set up.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The host forbids ptrace.
    #[error(
        "the host does not let this process trace its own children: kernel.yama.ptrace_scope is 2 or 3, a seccomp \
         filter or a security module forbids ptrace, or this process is not dumpable; set \
         kernel.yama.ptrace_scope to 0 or 1, or use another platform"
    )]
    Refused,
    /// The calling process is not in the PID namespace that its children are in.
    #[error(
        "the children of this process are in a PID namespace of their own: fork once after unshare(CLONE_NEWPID)"
    )]
    PidNamespace,
    /// Anything else.
    #[error("cannot {step}: {error}")]
    Host {
        /// What was tried.
        step: &'static str,
        /// What the host said.
        error: Errno,
    },
}

impl SetupError {
    pub(super) fn at(step: &'static str) -> impl FnOnce(Errno) -> SetupError {
        move |error| SetupError::Host { step, error }
    }
}

/// The ptrace platform.
pub struct PtracePlatform {
    shared: Arc<Shared>,
}

/// What address spaces and guest threads need of their platform.
pub(super) struct Shared {
    pub(super) layout: Layout,
    /// Bytes of extended state as the host hands it out.
    pub(super) state_size: usize,
    pub(super) mailbox: Mailbox,
    pub(super) placement: Arc<Placement>,
    pub(super) deaths: Arc<DeathWatch>,
    template: Parked,
}

impl PtracePlatform {
    /// Forks the template and confines it. Starts no thread; the first guest thread that runs starts one.
    ///
    /// - Call it before the process confines itself by seccomp, and after it has taken on its final user and group
    ///   numbers: tracing needs the same numbers on both sides. Capabilities may be dropped before or after; the
    ///   stubs never have any.
    /// - The process must be dumpable (`prctl(PR_SET_DUMPABLE)`), be in the PID namespace of its children, and see
    ///   `/proc/self/maps`. It should have one thread, and few open descriptors.
    /// - The calling thread must live as long as the platform: the stubs' parent-death signal is bound to it.
    /// - SIGCHLD is reset to its default action, and must not be ignored later.
    pub fn new() -> Result<PtracePlatform, SetupError> {
        let proc = host::descriptors::open_directory(c"/proc").map_err(SetupError::at("open /proc"))?;
        PtracePlatform::with_proc(proc.as_fd())
    }

    /// As [`PtracePlatform::new`], where `/proc` is out of sight already: `proc` refers to a mounted `proc(5)` in
    /// which `self` is this process.
    pub fn with_proc(proc: BorrowedFd<'_>) -> Result<PtracePlatform, SetupError> {
        host::keep_children_for_wait().map_err(SetupError::at("reset SIGCHLD"))?;
        let mailbox = Mailbox::new().map_err(SetupError::at("make a socket pair"))?;
        let template = template::make(mailbox.receiver(), proc)?;
        let layout = Layout {
            guest_start: template.guest_start,
            guest_end: GUEST_END,
            vdso: template.vdso,
            vvar: template.vvar,
            extended_state_size: FORMAT.image_size(),
        };
        let shared = Shared {
            layout,
            state_size: template.state_size,
            mailbox,
            placement: Arc::new(Placement::new()),
            deaths: Arc::new(DeathWatch::new().map_err(SetupError::at("make an epoll instance"))?),
            template: Parked::new(template.process),
        };
        Ok(PtracePlatform { shared: Arc::new(shared) })
    }
}

#[cfg(test)]
impl PtracePlatform {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Platform for PtracePlatform {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    fn create_space(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        let space = self.shared.create_space()?;
        Ok(space)
    }

    fn wait_for_death(&self) -> Result<(), Errno> {
        self.shared.deaths.wait()
    }
}

impl Shared {
    /// A copy of the template.
    pub(super) fn create_space(self: &Arc<Self>) -> Result<Arc<PtraceSpace>, Errno> {
        self.template.visit(|template| PtraceSpace::copy_of(template, Arc::clone(self)))
    }
}
