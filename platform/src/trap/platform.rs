//! The platform: what it needs of the host and of its caller.

use std::error::Error;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;
use usk_abi::Errno;

use crate::arch::extended_state::FORMAT;
use crate::deaths::DeathWatch;
use crate::host::descriptors::read_text_at;
use crate::host::timeline::{self, Steps, Track};
use crate::host::vdso::VdsoMaps;
use crate::host::{self, Cpus, Pid, create_memfd, reopen_read_only};
use crate::interface::{AddressSpace, HostCallKind, Layout, Platform, Shortcut};
use crate::stub::geometry::*;
use crate::stub::image;

use super::filters::{base_filter, thread_filter};
use super::frame;
use super::graveyard::Graveyard;
use super::probe::{Offer, probe};
use super::space::{Ordered, Sandbox, Space};
use super::spare::Spares;
use super::spawner::Spawner;
use super::spin::Company;
use super::template::{self, Move, Plan};
use super::windows::Windows;

/// Why the platform cannot start; the text names the cure.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The host lacks something.
    #[error("this host lacks {0}: use --platform=ptrace")]
    Unsupported(&'static str),
    /// Spinning was asked for where it cannot be.
    #[error(
        "this host lacks two processors, or Linux 6.6 on a processor with BMI2, which --spin needs: leave it out"
    )]
    CannotSpin,
    /// A host call failed.
    #[error("cannot start the trap platform: {step}: {errno}")]
    Host {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        errno: Errno,
    },
    /// The first process did not come through.
    #[error("cannot start the trap platform: the first stub failed at: {0}; use --platform=ptrace")]
    Template(String),
}

impl SetupError {
    fn at(step: &'static str) -> impl FnOnce(Errno) -> SetupError {
        move |errno| SetupError::Host { step, errno }
    }
}

/// The first address space. The template makes it, with its first guest thread, as soon as it is there, and not when somebody has found
/// out what is to run in it: 0.1 to 0.2 ms of each start.
#[derive(Default)]
enum First {
    Ordered(Ordered),
    Made(Arc<Space>),
    #[default]
    Taken,
}

/// The trap platform. See the module's description.
pub struct TrapPlatform {
    sandbox: Arc<Sandbox>,
    template: Arc<Space>,
    first: Mutex<First>,
    /// Since when the template sets itself up, for the time line.
    begun_ns: Option<u64>,
}

impl TrapPlatform {
    /// Starts the platform.
    ///
    /// The caller must have one thread only, be able to read `proc(5)` (afterwards it may be gone), be dumpable
    /// (`PR_SET_DUMPABLE`; otherwise it may not look into its stubs), have its final credentials and capabilities,
    /// and be in the PID namespace of its children. A filter of the caller's own must come later, since stubs would
    /// inherit it. Stubs die when the calling thread ends. They have no exit signal: only waits with `__WALL` would
    /// see them, and nobody but the platform should wait for them.
    pub fn new() -> Result<TrapPlatform, SetupError> {
        let proc = host::descriptors::open_directory(c"/proc").map_err(SetupError::at("opening /proc"))?;
        TrapPlatform::with_proc(proc.as_fd())
    }

    /// As [`TrapPlatform::new`], where `/proc` is out of sight already: `proc` refers to a mounted `proc(5)` in which
    /// `self` is this process.
    pub fn with_proc(proc: BorrowedFd<'_>) -> Result<TrapPlatform, SetupError> {
        TrapPlatform::with_offer(proc, probe(), |_| Shortcut::None)
    }

    /// As [`TrapPlatform::begin`], and waits until the platform has come up.
    pub fn with_offer(
        proc: BorrowedFd<'_>,
        offer: Offer,
        shortcut: impl Fn(u64) -> Shortcut,
    ) -> Result<TrapPlatform, SetupError> {
        let platform = TrapPlatform::begin(proc, offer, shortcut)?;
        platform.wait_for_template().map(|()| platform)
    }

    /// As [`TrapPlatform::with_proc`], making use only of what `offer` says of the host, and without waiting for the
    /// platform to come up: that is what [`Platform::await_start`] is for. The process has the platform's own set-up
    /// behind it, and may lay a filter on itself. `shortcut` says how to make a call cheaper, by its number.
    pub fn begin(
        proc: BorrowedFd<'_>,
        offer: Offer,
        shortcut: impl Fn(u64) -> Shortcut,
    ) -> Result<TrapPlatform, SetupError> {
        let needs = [
            (offer.user_notification, "seccomp user notification (Linux 5.0)"),
            (offer.killable_notification, "killable user notification (Linux 5.19)"),
            (offer.process_descriptors, "process descriptors (Linux 5.6)"),
            (offer.fsgsbase, "the FSGSBASE instructions (Linux 5.9)"),
            (frame::fits(), "signal frames below 8 KiB"),
        ];
        let cpus = Cpus::of(Pid::from_raw(0)).map_err(SetupError::at("reading the CPU mask"))?;
        let may_spin = offer.patching && offer.synchronous_wake_up && cpus.count() > 1;
        if offer.spinning && !may_spin {
            return Err(SetupError::CannotSpin);
        }
        if let Some((_, what)) = needs.iter().find(|(is_there, _)| !is_there) {
            return Err(SetupError::Unsupported(what));
        }
        let step = SetupError::at;
        // It looks each up by the names of a hundred: once is enough, and saves 70 µs.
        let shortcuts: Vec<Shortcut> = (0..SHORTCUT_COUNT).map(shortcut).collect();
        let shortcut = |number: u64| shortcuts.get(number as usize).copied().unwrap_or(Shortcut::None);
        let is_lent = |number| matches!(shortcut(number), Shortcut::Lends(_));
        let lends = offer.patching && (0..SHORTCUT_COUNT).any(is_lent);
        let mut steps = Steps::begin();
        let slots = create_memfd(c"usk-slots", Windows::SLOTS_FILE_SIZE)
            .map_err(step("making shared memory (is the limit on file sizes unlimited?)"))?;
        let orders = create_memfd(c"usk-orders", Windows::ORDERS_FILE_SIZE)
            .map_err(step("making shared memory (is the limit on file sizes unlimited?)"))?;
        let windows = Windows::new(&slots, &orders)
            .map_err(step("mapping shared memory (is the limit on address space unlimited?)"))?;
        let orders = reopen_read_only(proc, orders.as_fd())
            .map_err(step("reopening shared memory (is /proc mounted?)"))?;
        steps.done("make shared memory");
        let maps = VdsoMaps::of_this_process(proc).map_err(step("finding the vDSO (is /proc mounted?)"))?;
        let (layout, moves) = plan_layout(&maps, lowest_address(proc)).map_err(step("placing the vDSO"))?;
        let window = windows.take().map_err(step("taking the first window"))?;
        let plan = Plan {
            slots: slots.as_fd(),
            orders: orders.as_fd(),
            image: &image::build(&thread_filter(), frame::extended_place(), shortcut),
            base_filter: &base_filter(),
            moves: &moves,
        };
        steps.done("plan the first stub");
        let (process, pid) = template::start(&plan).map_err(step("forking"))?;
        let begun_ns = timeline::now();
        steps.done("fork the first stub");
        let sandbox = Arc::new(Sandbox {
            windows,
            graveyard: Graveyard::default(),
            spares: Spares::default(),
            deaths: DeathWatch::new().map_err(step("making an epoll instance"))?,
            layout,
            company: Company::new(if offer.spinning { cpus.count() } else { 0 }),
            cpus,
            has_synchronous_wake_up: offer.synchronous_wake_up,
            receive_sees_death: offer.receive_sees_death,
            patches: offer.patching,
            lends,
            changes_masks: (0..SHORTCUT_COUNT).any(|number| shortcut(number) == Shortcut::ChangesMask),
            state_calls: (0..SHORTCUT_COUNT)
                .filter(|&number| shortcut(number) == Shortcut::BringsState)
                .collect(),
            has_host_calls: offer.patching && shortcut(libc::SYS_futex as u64) == HOST_FUTEX_CALL,
        });
        let spawner = Spawner::new(window.spawner_slot(), None);
        let template = Space::new(Arc::clone(&sandbox), window, process, pid, spawner)
            .map_err(step("watching the first process"))?;
        let first = First::Ordered(template.order_first().map_err(step("ordering the first address space"))?);
        Ok(TrapPlatform { sandbox, template, first: Mutex::new(first), begun_ns })
    }

    /// Waits for the template, by waiting for the first address space.
    fn wait_for_template(&self) -> Result<(), SetupError> {
        let mut first = self.first.lock();
        let First::Ordered(ordered) = std::mem::take(&mut *first) else { return Ok(()) };
        let mut steps = Steps::begin();
        let made = self.template.take_first(ordered);
        timeline::span_of(Track::Stub, "set itself up", self.begun_ns);
        steps.done("wait for the first stub");
        *first = First::Made(made.map_err(|_| SetupError::Template(self.template.how_it_ended()))?);
        Ok(())
    }
}

impl Platform for TrapPlatform {
    fn name(&self) -> &'static str {
        "trap"
    }

    fn layout(&self) -> &Layout {
        &self.sandbox.layout
    }

    fn create_space(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        // A statement of its own, so that the lock is not held while another is made.
        let first = std::mem::take(&mut *self.first.lock());
        match first {
            First::Made(space) => Ok(space),
            First::Ordered(ordered) => Ok(self.template.take_first(ordered)?),
            First::Taken => Ok(self.template.empty()?),
        }
    }

    fn await_start(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.wait_for_template()?)
    }

    fn wait_for_death(&self) -> Result<(), Errno> {
        self.sandbox.deaths.wait()
    }
}

/// Where everything will lie, and how the vDSO gets there: start, length, new start of each piece.
fn plan_layout(maps: &VdsoMaps, guest_start: u64) -> Result<(Layout, Vec<Move>), Errno> {
    let is_free = |&place: &u64| place >= maps.end || place + maps.length() <= maps.start;
    let place = VDSO_PLACES.into_iter().find(is_free).ok_or(Errno::ENOMEM)?;
    // The code finds its data by their distance, so all pieces move together.
    let moves =
        maps.parts.iter().map(|&(start, end)| (start, end - start, start - maps.start + place)).collect();
    let data_length = maps.vdso_start - maps.start;
    let layout = Layout {
        guest_start,
        guest_end: GUEST_END,
        vdso: (place + data_length, maps.end - maps.vdso_start),
        vvar: (place, data_length),
        extended_state_size: FORMAT.image_size(),
    };
    Ok((layout, moves))
}

const HOST_FUTEX_CALL: Shortcut = Shortcut::HostCall(HostCallKind::Futex);

/// `vm.mmap_min_addr`, or the usual value where it cannot be read, rounded up to pages.
fn lowest_address(proc: BorrowedFd<'_>) -> u64 {
    let text = read_text_at(proc, c"sys/vm/mmap_min_addr").unwrap_or_default();
    text.trim().parse().unwrap_or(USUAL_LOWEST_ADDRESS).next_multiple_of(4096).max(4096)
}

/// The kernel's default for `vm.mmap_min_addr`.
const USUAL_LOWEST_ADDRESS: u64 = 65536;
