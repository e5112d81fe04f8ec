//! A guest to run code in: one page of code, some data, a stack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use usk_platform::arch::Registers;
use usk_platform::{
    AddressSpace, GuestThread, Kick, MapFlags, MemoryOp, Platform, Protection, ThreadState, Trap,
};

/// Where the code goes.
pub(crate) const CODE: u64 = 0x40_0000;
/// Where the data goes: [`DATA_SIZE`] bytes, readable and writable.
pub(crate) const DATA: u64 = 0x50_0000;
pub(crate) const DATA_SIZE: u64 = 0x4000;
/// First address above the stack.
pub(crate) const STACK: u64 = 0x60_0000;
pub(crate) const PAGE: u64 = 4096;

pub(crate) const READ: Protection = Protection { read: true, write: false, execute: false };
pub(crate) const READ_WRITE: Protection = Protection { read: true, write: true, execute: false };
pub(crate) const READ_EXECUTE: Protection = Protection { read: true, write: false, execute: true };

/// Kicks until `is_done`.
pub(crate) fn kick_until(is_done: &AtomicBool, kicker: &dyn Kick) {
    while !is_done.load(Ordering::Relaxed) {
        kicker.kick();
        (0..200).for_each(|_| std::hint::spin_loop());
    }
}

/// How long [`rounds`] go on beside others.
const BUSY: Duration = Duration::from_secs(15);

/// The numbers of rounds that each need a kick, up to `count`. On a busy machine, where a turn of the guest's and one of the kicker's take
/// tens of milliseconds, there are fewer, but a tenth at least.
pub(crate) fn rounds(count: u32) -> impl Iterator<Item = u32> {
    let mut rounds = Rounds::up_to(count);
    (0..count).take_while(move |_| rounds.go_on(true))
}

/// [`rounds`] that are enough only when the guest has come on: a kick may come before each of its instructions where it is much slower
/// than its kicker.
pub(crate) struct Rounds {
    left: u32,
    fewest_left: u32,
    begun: Instant,
}

impl Rounds {
    /// How long a guest may take to come on.
    const STUCK: Duration = Duration::from_secs(40);

    pub(crate) fn up_to(count: u32) -> Self {
        Self { left: count, fewest_left: count - count / 10, begun: Instant::now() }
    }

    /// Whether there is another one.
    pub(crate) fn go_on(&mut self, has_come_on: bool) -> bool {
        let is_next = self.left > self.fewest_left || (self.left > 0 && self.begun.elapsed() < BUSY);
        self.left = self.left.saturating_sub(1);
        assert!(is_next || has_come_on || self.begun.elapsed() < Self::STUCK, "the guest has come on");
        is_next || !has_come_on
    }
}

/// Does `work` while another thread does something `again` and again, until told that the work is done or has failed.
fn beside(again: impl FnOnce(&AtomicBool) + Send, work: impl FnOnce()) {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| again(&is_done));
        let _done = Done(&is_done);
        work();
    });
}

/// Does `work` while another thread kicks all the time, until that is done or has failed.
pub(crate) fn under_kicks(kicker: Arc<dyn Kick>, work: impl FnOnce()) {
    beside(|is_done| kick_until(is_done, &*kicker), work);
}

/// The same with some time between the kicks, in which the guest gets into its stride.
pub(crate) fn under_rare_kicks(kicker: &dyn Kick, pause: Duration, work: impl FnOnce()) {
    let kick = |is_done: &AtomicBool| {
        while !is_done.load(Ordering::Relaxed) {
            kicker.kick();
            thread::sleep(pause);
        }
    };
    beside(kick, work);
}

/// Runs the guest while it is kicked, and `withdraw` is called, all the time, until it has counted in r12 and has made calls. `answer` is
/// called for each of them, which return 1 then.
pub(crate) fn run_under_kicks_and(
    guest: &mut Guest,
    withdraw: impl Fn(&dyn Kick) + Sync,
    mut answer: impl FnMut(&mut Guest),
) {
    let kicker = guest.thread.kicker();
    let withdraw = |is_done: &AtomicBool| {
        while !is_done.load(Ordering::Relaxed) {
            withdraw(&*kicker);
            thread::yield_now();
        }
    };
    let run = || {
        let (mut rounds, mut calls) = (Rounds::up_to(2000), 0);
        while rounds.go_on(guest.thread.registers().r12 > 10 && calls > 1) {
            match guest.thread.run() {
                Trap::Interrupted => {
                    let registers = *guest.thread.registers();
                    assert!((CODE..CODE + 4096).contains(&registers.rip), "{registers:x?}");
                    assert_eq!((registers.rsp, registers.gs_base), (STACK, 0));
                }
                Trap::Syscall { .. } => {
                    answer(guest);
                    calls += 1;
                    guest.thread.registers_mut().set_return_value(1);
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    };
    beside(withdraw, || under_kicks(kicker.clone(), run));
}

/// Defines a function that returns machine code.
macro_rules! guest_code {
    ($name:ident: $($line:literal),* $(,)?) => {
        mod $name {
            std::arch::global_asm!(
                ".pushsection .text.usk_guest, \"ax\", @progbits",
                concat!(".globl usk_guest_", stringify!($name), ", usk_guest_", stringify!($name), "_end"),
                concat!("usk_guest_", stringify!($name), ":"),
                $($line,)*
                concat!("usk_guest_", stringify!($name), "_end:"),
                ".popsection",
            );
        }
        pub(crate) fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("usk_guest_", stringify!($name))]
                static START: u8;
                #[link_name = concat!("usk_guest_", stringify!($name), "_end")]
                static END: u8;
            }
            let length = (&raw const END).addr() - (&raw const START).addr();
            // SAFETY: the symbols enclose the bytes assembled above.
            unsafe { std::slice::from_raw_parts(&raw const START, length) }
        }
    };
}
pub(crate) use guest_code;

/// A guest thread and its address space.
pub(crate) struct Guest {
    pub(crate) space: Arc<dyn AddressSpace>,
    pub(crate) thread: Box<dyn GuestThread>,
}

impl Guest {
    /// A guest that is about to execute `code`.
    pub(crate) fn new(platform: &dyn Platform, code: &[u8]) -> Guest {
        let space = platform.create_space().expect("an address space");
        let thread = Arc::clone(&space).create_thread(&start()).expect("a thread");
        let mut guest = Guest { space, thread };
        guest.load(code);
        guest
    }

    /// Maps code, data and stack.
    pub(crate) fn load(&mut self, code: &[u8]) {
        self.apply(&[
            map(CODE, PAGE, READ_WRITE),
            map(DATA, DATA_SIZE, READ_WRITE),
            map(STACK - 4 * PAGE, 4 * PAGE, READ_WRITE),
        ]);
        assert_eq!(self.space.write(CODE, code), code.len());
        self.apply(&[MemoryOp::Protect { address: CODE, length: PAGE, protection: READ_EXECUTE }]);
    }

    /// Another thread in the same address space.
    pub(crate) fn sibling(&self, state: &ThreadState) -> Guest {
        let thread = Arc::clone(&self.space).create_thread(state).expect("a thread");
        Guest { space: Arc::clone(&self.space), thread }
    }

    pub(crate) fn apply(&mut self, operations: &[MemoryOp<'_>]) {
        self.thread.apply(operations).expect("the operations succeed");
    }

    /// Runs to the next system call and returns its number. A kick may come late, in an address space that is used again that of the guest
    /// before.
    pub(crate) fn syscall(&mut self) -> u64 {
        let mut trap = self.thread.run();
        if trap == Trap::Interrupted {
            trap = self.thread.run();
        }
        match trap {
            Trap::Syscall { instruction } => {
                assert_eq!(instruction, self.thread.registers().rip - 2);
                self.thread.registers().syscall_number()
            }
            trap => panic!("{trap:x?} at {:x?}", self.thread.registers()),
        }
    }

    pub(crate) fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        assert_eq!(self.space.read(address, &mut bytes), N);
        bytes
    }

    pub(crate) fn read_u64(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.read(address))
    }

    pub(crate) fn write_u64(&self, address: u64, value: u64) {
        assert_eq!(self.space.write(address, &value.to_le_bytes()), 8);
    }
}

/// Registers to start the code with: the data in `rdi`, a stack.
pub(crate) fn start() -> ThreadState {
    let registers = Registers { rip: CODE, rsp: STACK, rdi: DATA, rflags: 0x202, ..Registers::default() };
    ThreadState { registers, extended: None }
}

/// Anonymous memory.
pub(crate) fn map(address: u64, length: u64, protection: Protection) -> MemoryOp<'static> {
    MemoryOp::MapAnonymous { address, length, protection, flags: MapFlags::default() }
}
