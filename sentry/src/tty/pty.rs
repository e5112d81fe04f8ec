//! Pseudo-terminals. pty(7), `drivers/tty/pty.c`.
//!
//! A [`Pty`] is the pair; a [`PtyMaster`] is the open file of the side that plays the terminal, a [`PtySlave`] one of
//! those that programs use. Closing the master hangs the slaves up; while no slave is open, the master reads `EIO`
//! (once there was one).

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use usk_abi::fcntl::{O_ACCMODE, O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDWR};
use usk_abi::fs::{OpenFlags, make_device};
use usk_abi::tty::*;
use usk_abi::{Errno, PollEvents, Signal};
use usk_platform::host::Effect;

use crate::task::{Current, Resource};
use crate::time::{Deadline, Expire, TimerId};
use crate::tty::Terminals;
use crate::tty::control::{Controlled, End, control};
use crate::tty::job_control::{self, Jobs, Terminal};
use crate::tty::line_discipline::LineDiscipline;
use crate::vfs::{FileOps, OpenFile, Path, WalkOptions};
use crate::wait::WaitQueue;
use crate::{Sink, Source, SysResult, UserPtr};

/// Major number of slaves.
pub const PTS_MAJOR: u32 = 136;
/// Most bytes moved by one operation.
const CHUNK: usize = 4096;
/// `c_ospeed` of `B38400`.
const SPEED: u32 = 38400;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);

/// See the module.
pub struct Pty {
    own: Weak<Pty>,
    number: u32,
    owner: (u32, u32),
    terminals: Arc<Terminals>,
    jobs: Jobs,
    state: Mutex<State>,
    master_queue: WaitQueue,
    slave_queue: WaitQueue,
}

struct State {
    discipline: LineDiscipline,
    window: Winsize,
    is_locked: bool,
    is_exclusive: bool,
    /// `Some` in packet mode: the status bits that the master has not read.
    packet_status: Option<u8>,
    slaves: usize,
    had_slave: bool,
    master_is_gone: bool,
    read_timer: ReadTimer,
}

/// The timer of `VTIME`.
#[derive(Default)]
struct ReadTimer {
    generation: u64,
    scheduled: Option<TimerId>,
    has_expired: bool,
}

impl State {
    fn set_packet_status(&mut self, set: u8, cleared: u8) {
        if let Some(status) = &mut self.packet_status {
            *status = (*status & !cleared) | set;
        }
    }

    fn has_packet_status(&self) -> bool {
        self.packet_status.is_some_and(|status| status != 0)
    }

    fn master_is_alone(&self) -> bool {
        self.had_slave && self.slaves == 0
    }
}

impl Pty {
    pub(super) fn new(number: u32, terminals: &Arc<Terminals>, uid: u32, gid: u32) -> Arc<Self> {
        Arc::new_cyclic(|own| Pty {
            own: own.clone(),
            number,
            owner: (uid, gid),
            terminals: terminals.clone(),
            jobs: Jobs::default(),
            state: Mutex::new(State {
                discipline: LineDiscipline::new(),
                window: Winsize::default(),
                is_locked: true,
                is_exclusive: false,
                packet_status: None,
                slaves: 0,
                had_slave: false,
                master_is_gone: false,
                read_timer: ReadTimer::default(),
            }),
            master_queue: WaitQueue::new(),
            slave_queue: WaitQueue::new(),
        })
    }

    /// Its number: the name in `/dev/pts`.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The object of an open file of the slave. `EIO` while it is locked or after the master is closed, `EBUSY` if
    /// another has it for itself.
    pub fn open_slave(self: &Arc<Self>) -> Result<Arc<PtySlave>, Errno> {
        let mut state = self.state.lock();
        if state.is_locked || state.master_is_gone {
            return Err(Errno::EIO);
        }
        if state.is_exclusive && state.slaves > 0 {
            return Err(Errno::EBUSY);
        }
        state.slaves += 1;
        state.had_slave = true;
        Ok(Arc::new(PtySlave { pty: self.clone() }))
    }

    fn signal_foreground(&self, signals: &[Signal]) {
        for signal in signals {
            self.terminals.signal_group(self.jobs.foreground(), *signal);
        }
    }

    /// Whether `VTIME` lets a read go that has not got `VMIN` bytes; starts the timer if it has to run.
    fn read_timer_allows(&self, state: &mut State, available: usize) -> Result<bool, Errno> {
        let (minimum, tenths) = state.discipline.read_limits();
        if tenths == 0 {
            return Ok(minimum == 0);
        }
        if std::mem::take(&mut state.read_timer.has_expired) {
            return Ok(true);
        }
        // With VMIN the timer runs between bytes, without it from the beginning of the read.
        if minimum > 0 && available == 0 {
            return Ok(false);
        }
        if state.read_timer.scheduled.is_none() {
            self.start_read_timer(state, tenths)?;
        }
        Ok(false)
    }

    fn start_read_timer(&self, state: &mut State, tenths: u64) -> Result<(), Errno> {
        state.read_timer.generation += 1;
        let target: Weak<dyn Expire> = self.own.clone();
        let deadline = Deadline::after(Duration::from_millis(tenths * 100));
        let id = self.terminals.timers().schedule(deadline, target, state.read_timer.generation)?;
        state.read_timer.scheduled = Some(id);
        Ok(())
    }

    fn stop_read_timer(&self, state: &mut State) {
        state.read_timer.generation += 1;
        state.read_timer.has_expired = false;
        if let Some(id) = state.read_timer.scheduled.take() {
            self.terminals.timers().cancel(id);
        }
    }

    fn read_slave(&self, sink: &mut dyn Sink) -> Result<usize, Errno> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.master_is_gone {
            return Ok(0);
        }
        if !state.discipline.is_canonical() {
            let available = state.discipline.readable();
            let (minimum, _) = state.discipline.read_limits();
            let enough = available > 0 && available >= minimum.min(sink.remaining());
            if !enough && !self.read_timer_allows(&mut state, available)? {
                return Err(Errno::EAGAIN);
            }
            self.stop_read_timer(&mut state);
            if available == 0 {
                return Ok(0);
            }
        } else if !state.discipline.has_readable(false) {
            return Err(Errno::EAGAIN);
        }
        let count = state.discipline.read(sink)?;
        drop(state);
        // The master may write again what there was no room for.
        self.master_queue.notify(WRITABLE);
        Ok(count)
    }

    fn write_slave(&self, source: &mut dyn Source) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        if state.master_is_gone {
            return Err(Errno::EIO);
        }
        if source.remaining() == 0 {
            return Ok(0);
        }
        let room = state.discipline.output_room();
        if room == 0 {
            return Err(Errno::EAGAIN);
        }
        let mut buffer = vec![0; source.remaining().min(room).min(CHUNK)];
        let taken = source.take(&mut buffer)?;
        state.discipline.write(&buffer[..taken]);
        drop(state);
        self.master_queue.notify(READABLE);
        Ok(taken)
    }

    fn read_master(&self, sink: &mut dyn Sink) -> Result<usize, Errno> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.has_packet_status() {
            let status = state.packet_status.replace(TIOCPKT_DATA).unwrap_or(TIOCPKT_DATA);
            return sink.put(&[status]);
        }
        if state.discipline.output_length() == 0 {
            return Err(if state.master_is_alone() { Errno::EIO } else { Errno::EAGAIN });
        }
        let mut header = 0;
        if state.packet_status.is_some() {
            header = sink.put(&[TIOCPKT_DATA])?;
        }
        let count = state.discipline.take_output(sink)?;
        drop(state);
        self.slave_queue.notify(WRITABLE);
        Ok(header + count)
    }

    fn write_master(&self, source: &mut dyn Source) -> Result<usize, Errno> {
        if source.remaining() == 0 {
            return Ok(0);
        }
        let state = self.state.lock();
        let room = state.discipline.input_room();
        if room == 0 {
            return Err(Errno::EAGAIN);
        }
        let mut buffer = vec![0; source.remaining().min(room).min(CHUNK)];
        let taken = source.take(&mut buffer)?;
        self.type_in(state, &buffer[..taken]);
        Ok(taken)
    }

    /// Gives typed bytes to the line discipline and does what follows.
    fn type_in(&self, mut state: MutexGuard<'_, State>, bytes: &[u8]) {
        let effects = state.discipline.receive(bytes);
        if effects.flushed {
            state.set_packet_status(TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE, 0);
        }
        match effects.stopped {
            Some(true) => state.set_packet_status(TIOCPKT_STOP, TIOCPKT_START),
            Some(false) => state.set_packet_status(TIOCPKT_START, TIOCPKT_STOP),
            None => {}
        }
        if state.read_timer.scheduled.is_some() {
            // Another byte: the time between bytes begins anew. Whoever reads starts it again.
            let is_between_bytes = state.discipline.read_limits().0 > 0;
            if is_between_bytes {
                self.stop_read_timer(&mut state);
            }
        }
        drop(state);
        self.signal_foreground(&effects.signals);
        self.slave_queue.notify(READABLE | WRITABLE);
        self.master_queue.notify(READABLE | WRITABLE | PollEvents::PRI);
    }

    fn close_master(&self) {
        let mut state = self.state.lock();
        state.master_is_gone = true;
        self.stop_read_timer(&mut state);
        drop(state);
        self.terminals.forget(self.number);
        self.terminals.hang_up(self);
        self.slave_queue.notify(READABLE | WRITABLE | PollEvents::HUP | PollEvents::ERR);
    }

    fn close_slave(&self) {
        let mut state = self.state.lock();
        state.slaves -= 1;
        let was_last = state.slaves == 0;
        if was_last {
            state.is_exclusive = false;
        }
        drop(state);
        if was_last {
            self.master_queue.notify(READABLE | PollEvents::HUP);
        }
    }
}

impl Expire for Pty {
    fn expire(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.read_timer.generation != generation {
            return;
        }
        state.read_timer.scheduled = None;
        state.read_timer.has_expired = true;
        drop(state);
        self.slave_queue.notify(READABLE);
    }
}

impl Terminal for Pty {
    fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    fn settings(&self) -> Termios {
        *self.state.lock().discipline.settings()
    }

    /// Those of whoever made it.
    fn owner(&self) -> (u32, u32) {
        self.owner
    }

    fn device(&self) -> u64 {
        make_device(PTS_MAJOR, self.number)
    }

    fn open(self: Arc<Self>) -> Result<Arc<dyn FileOps>, Errno> {
        Ok(self.open_slave()?)
    }
}

impl Controlled for Pty {
    fn get_settings(&self) -> Result<Termios2, Errno> {
        Ok(Termios2 { settings: self.settings(), input_speed: SPEED, output_speed: SPEED })
    }

    fn change_settings(&self, settings: &Termios2, effect: Effect) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if effect == Effect::Flushed {
            state.discipline.flush_input();
        }
        let old = *state.discipline.settings();
        let stop_keys = |settings: &Termios| {
            settings.input & InputFlags::IXON.bits() != 0
                && settings.characters[character::VSTART] == 0x11
                && settings.characters[character::VSTOP] == 0x13
        };
        match (stop_keys(&old), stop_keys(&settings.settings)) {
            (true, false) => state.set_packet_status(TIOCPKT_NOSTOP, TIOCPKT_DOSTOP),
            (false, true) => state.set_packet_status(TIOCPKT_DOSTOP, TIOCPKT_NOSTOP),
            _ => {}
        }
        let extproc = LocalFlags::EXTPROC.bits();
        if (old.local | settings.settings.local) & extproc != 0 {
            state.set_packet_status(TIOCPKT_IOCTL, 0);
        }
        state.discipline.set_settings(Termios { line: 0, ..settings.settings });
        self.stop_read_timer(&mut state);
        drop(state);
        self.slave_queue.notify(READABLE | WRITABLE);
        self.master_queue.notify(READABLE | WRITABLE | PollEvents::PRI);
        Ok(())
    }

    fn window(&self) -> Result<Winsize, Errno> {
        Ok(self.state.lock().window)
    }

    fn set_window(&self, window: &Winsize) -> Result<(), Errno> {
        let changed = std::mem::replace(&mut self.state.lock().window, *window) != *window;
        if changed {
            self.signal_foreground(&[Signal::SIGWINCH]);
        }
        Ok(())
    }

    fn flush(&self, queue: u64) -> Result<(), Errno> {
        let (input, output) = match queue {
            TCIFLUSH => (true, false),
            TCOFLUSH => (false, true),
            TCIOFLUSH => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let mut state = self.state.lock();
        if input {
            state.discipline.flush_input();
            state.set_packet_status(TIOCPKT_FLUSHREAD, 0);
        }
        if output {
            state.discipline.flush_output();
            state.set_packet_status(TIOCPKT_FLUSHWRITE, 0);
        }
        drop(state);
        self.slave_queue.notify(WRITABLE);
        self.master_queue.notify(WRITABLE | READABLE | PollEvents::PRI);
        Ok(())
    }

    fn suspend(&self, action: u64) -> Result<(), Errno> {
        let mut state = self.state.lock();
        match action {
            TCOOFF | TCOON => {
                let stops = action == TCOOFF;
                if state.discipline.suspend_output(stops) {
                    let (set, cleared) =
                        if stops { (TIOCPKT_STOP, TIOCPKT_START) } else { (TIOCPKT_START, TIOCPKT_STOP) };
                    state.set_packet_status(set, cleared);
                }
            }
            TCIOFF | TCION => {
                // The terminal is told to stop or to go on sending.
                let key = if action == TCIOFF { character::VSTOP } else { character::VSTART };
                let byte = state.discipline.settings().characters[key];
                if byte != DISABLED {
                    state.discipline.write(&[byte]);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        drop(state);
        self.slave_queue.notify(WRITABLE);
        self.master_queue.notify(READABLE | PollEvents::PRI);
        Ok(())
    }

    fn input_length(&self) -> Result<i32, Errno> {
        Ok(i32::try_from(self.state.lock().discipline.readable()).unwrap_or(i32::MAX))
    }

    fn output_length(&self) -> Result<i32, Errno> {
        // What a program wrote has arrived at the master, read or not.
        Ok(0)
    }
}

/// The side that plays the terminal. There is one open file of it.
pub struct PtyMaster {
    pty: Arc<Pty>,
}

impl PtyMaster {
    /// A new pseudo-terminal, owned by the given user and group. `ENOSPC` if there are too many.
    pub fn create(terminals: &Arc<Terminals>, uid: u32, gid: u32) -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(PtyMaster { pty: terminals.create_pty(uid, gid)? }))
    }

    /// The pair.
    pub fn pty(&self) -> &Arc<Pty> {
        &self.pty
    }

    /// `TIOCGPTPEER`: an open file of the slave, by descriptor.
    /// The slave has its name in the file system of the master's own name.
    fn open_peer(&self, current: &Current, master: &OpenFile, flags: u64) -> SysResult {
        let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
        if flags & !(O_ACCMODE | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let slave = self.pty.open_slave()?;
        let terminal: Arc<dyn Terminal> = self.pty.clone();
        job_control::acquire_on_open(current, &terminal, flags);
        let mount = &master.path().mount;
        let terminals = Path { mount: mount.clone(), dentry: mount.root.clone() };
        let number = self.pty.number.to_string();
        let credentials = current.task.credentials();
        let names = current.task.fs().names(&credentials, Some(&current.task));
        let path = names.resolve(&terminals, number.as_bytes(), WalkOptions::NO_FOLLOW)?;
        let kept = OpenFlags::from_bits_retain(flags & (O_ACCMODE | O_NONBLOCK));
        let file = OpenFile::opened(slave, kept, path, None, names.caller);
        let limit = current.task.group.limits.lock().soft(Resource::Files);
        let fd = current.task.files().install(file, flags & O_CLOEXEC != 0, limit)?;
        Ok(u64::from(fd.unsigned_abs()))
    }

    fn set_packet_mode(&self, on: bool) {
        let mut state = self.pty.state.lock();
        if on != state.packet_status.is_some() {
            state.packet_status = on.then_some(TIOCPKT_DATA);
        }
    }
}

impl FileOps for PtyMaster {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        self.pty.read_master(destination)
    }

    fn write(&self, _file: &OpenFile, source: &mut dyn Source, _offset: u64) -> Result<usize, Errno> {
        self.pty.write_master(source)
    }

    fn write_is_all_or_wait(&self) -> bool {
        true
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let state = self.pty.state.lock();
        let mut events = PollEvents::empty();
        let has_status = state.has_packet_status();
        events.set(READABLE, state.discipline.output_length() > 0 || has_status);
        events.set(PollEvents::PRI, has_status);
        events.set(WRITABLE, state.discipline.input_room() > 0);
        events.set(PollEvents::HUP, state.master_is_alone());
        events
    }

    fn raises_signals(&self) -> bool {
        true
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pty.master_queue)
    }

    fn ioctl(&self, current: &mut Current, file: &OpenFile, command: u32, argument: u64) -> SysResult {
        let integer = UserPtr::<i32>::new(argument);
        match command {
            TIOCGPTN => {
                UserPtr::<u32>::new(argument).write(current.space(), &self.pty.number)?;
            }
            TIOCSPTLCK => self.pty.state.lock().is_locked = integer.read(current.space())? != 0,
            TIOCGPTLCK => {
                let locked = i32::from(self.pty.state.lock().is_locked);
                integer.write(current.space(), &locked)?;
            }
            TIOCPKT => self.set_packet_mode(integer.read(current.space())? != 0),
            TIOCGPKT => {
                let on = i32::from(self.pty.state.lock().packet_status.is_some());
                integer.write(current.space(), &on)?;
            }
            TIOCGPTPEER => return self.open_peer(current, file, argument),
            TIOCSIG => {
                let signal = i32::try_from(argument).ok().and_then(Signal::from_number);
                let signal = signal
                    .filter(|signal| matches!(*signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP));
                self.pty.signal_foreground(&[signal.ok_or(Errno::EINVAL)?]);
            }
            FIONREAD => {
                let waiting = self.pty.state.lock().discipline.output_length();
                integer.write(current.space(), &i32::try_from(waiting).unwrap_or(i32::MAX))?;
            }
            _ => return control(current, &self.pty, End::Master, command, argument),
        }
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for PtyMaster {
    fn drop(&mut self) {
        self.pty.close_master();
    }
}

/// The side that programs use.
pub struct PtySlave {
    pty: Arc<Pty>,
}

impl PtySlave {
    /// The pair.
    pub fn pty(&self) -> &Arc<Pty> {
        &self.pty
    }

    fn terminal(&self) -> Arc<dyn Terminal> {
        self.pty.clone()
    }
}

impl FileOps for PtySlave {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        self.pty.read_slave(destination)
    }

    fn write(&self, _file: &OpenFile, source: &mut dyn Source, _offset: u64) -> Result<usize, Errno> {
        self.pty.write_slave(source)
    }

    fn admit(&self, current: &mut Current, _file: &OpenFile, writing: bool) -> SysResult<()> {
        let terminal = self.terminal();
        if writing {
            job_control::check_write(current, &terminal)
        } else {
            job_control::check_read(current, &terminal)
        }
    }

    fn write_is_all_or_wait(&self) -> bool {
        true
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let state = self.pty.state.lock();
        if state.master_is_gone {
            return READABLE | WRITABLE | PollEvents::ERR | PollEvents::HUP;
        }
        let mut events = PollEvents::empty();
        events.set(READABLE, state.discipline.has_readable(true));
        events.set(WRITABLE, state.discipline.output_room() > 0);
        events
    }

    fn raises_signals(&self) -> bool {
        true
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pty.slave_queue)
    }

    fn ioctl(&self, current: &mut Current, _file: &OpenFile, command: u32, argument: u64) -> SysResult {
        if self.pty.state.lock().master_is_gone {
            return Err(if command == TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO }.into());
        }
        match command {
            TIOCEXCL => self.pty.state.lock().is_exclusive = true,
            TIOCNXCL => self.pty.state.lock().is_exclusive = false,
            TIOCGEXCL => {
                let exclusive = i32::from(self.pty.state.lock().is_exclusive);
                UserPtr::<i32>::new(argument).write(current.space(), &exclusive)?;
            }
            _ => return control(current, &self.pty, End::Slave, command, argument),
        }
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for PtySlave {
    fn drop(&mut self) {
        self.pty.close_slave();
    }
}

/// An open file of a new master; for tests and for terminals that the sentry makes itself.
pub fn open_master(master: Arc<PtyMaster>) -> Arc<OpenFile> {
    OpenFile::anonymous(master, O_RDWR, "/dev/ptmx")
}

#[cfg(test)]
mod tests;
