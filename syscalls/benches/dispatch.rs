//! What a system call costs between the platform's trap and the next entry into the guest: the sentry thread's loop, the
//! table, the handler, the result. The platform is a fake whose guest makes the same call as often as it is told to.

#![allow(missing_docs)]

#[path = "../../sentry/src/mm/fake.rs"]
#[allow(dead_code, unreachable_pub)]
mod fake;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use fake::{FakeThread, layout};
use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::elf::{ElfHeader, PF_R, PF_X, PT_LOAD, ProgramHeader};
use usk_abi::fs::{OpenFlags, ResolveFlags};
use usk_abi::signal::SignalSet;
use usk_platform::arch::Registers;
use usk_platform::{
    AddressSpace, ExitReason, GuestThread, Kick, Layout, MemoryOp, Platform, ThreadState, Trap,
};
use usk_sentry::fs::tmpfs::{Tmpfs, TmpfsOptions};
use usk_sentry::loader::Arguments;
use usk_sentry::task::{Credentials, MainProcess, ProgramRequest, ResourceLimits, find_program, spawn_main};
use usk_sentry::vfs::{FdTable, FsContext, MountFlags, MountNamespace, OpenHow, WalkOptions};
use usk_sentry::{BytesSource, Kernel, SandboxLimits};
use usk_syscalls::TableDispatcher;
use zerocopy::IntoBytes;

/// The calls that are made: number and arguments, of which `STACK` stands for an address on the stack.
const GETPPID: (u64, [u64; 6]) = (110, [0; 6]);
const UNKNOWN: (u64, [u64; 6]) = (1000, [0; 6]);
const LSEEK: (u64, [u64; 6]) = (8, [0; 6]);
const FSTAT: (u64, [u64; 6]) = (5, [0, STACK, 0, 0, 0, 0]);
const STAT: (u64, [u64; 6]) = (4, [STACK, STACK, 0, 0, 0, 0]);
const STACK: u64 = u64::MAX;
/// How far below the first stack pointer that is.
const BELOW_STACK: u64 = 4096;
/// Room for a `struct stat` and no more, so that a name behind it is not overwritten.
const PATH: &[u8] = b"/program\0";

/// So many calls of this number with these arguments.
struct Order {
    call: (u64, [u64; 6]),
    count: u64,
}

/// What the bench says to the guest, and hears from it: how long the calls took, and what the last one returned.
struct Line {
    orders: Receiver<Order>,
    answers: Sender<(Duration, u64)>,
}

struct FakePlatform {
    layout: Layout,
    line: Mutex<Option<Line>>,
}

/// The fake address space, with one thread.
struct Space {
    memory: Mutex<Option<FakeThread>>,
    bytes: Arc<dyn AddressSpace>,
    line: Mutex<Option<Line>>,
}

struct Guest {
    memory: FakeThread,
    space: Arc<dyn AddressSpace>,
    line: Line,
    stack: Option<u64>,
    order: Option<Order>,
    begun: Instant,
    left: u64,
}

impl Platform for FakePlatform {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn create_space(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        let memory = FakeThread::new();
        let bytes = memory.space().clone();
        let line = Mutex::new(self.line.lock().take());
        Ok(Arc::new(Space { memory: Mutex::new(Some(memory)), bytes, line }))
    }

    /// Nothing dies behind its back.
    fn wait_for_death(&self) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
}

impl AddressSpace for Space {
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, Errno> {
        Err(Errno::ENOSYS)
    }

    fn create_thread(self: Arc<Self>, _state: &ThreadState) -> Result<Box<dyn GuestThread>, Errno> {
        let memory = self.memory.lock().take().ok_or(Errno::EAGAIN)?;
        let line = self.line.lock().take().ok_or(Errno::EAGAIN)?;
        let (order, stack, begun) = (None, None, Instant::now());
        Ok(Box::new(Guest { memory, space: self, line, stack, order, begun, left: 0 }))
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.bytes.read(address, buffer)
    }

    fn write(&self, address: u64, data: &[u8]) -> usize {
        self.bytes.write(address, data)
    }

    fn populate(&self, _address: u64, _length: usize) -> Result<(), Errno> {
        Ok(())
    }

    fn compare_exchange(&self, address: u64, current: u32, new: u32) -> Result<u32, Errno> {
        self.bytes.compare_exchange(address, current, new)
    }

    fn end(&self) {}

    fn is_alive(&self) -> bool {
        true
    }
}

impl GuestThread for Guest {
    fn run(&mut self) -> Trap {
        let stack = *self.stack.get_or_insert(self.memory.registers().rsp - BELOW_STACK);
        if self.left == 0 {
            if self.order.is_some() {
                let answer = (self.begun.elapsed(), self.memory.registers().rax);
                if self.line.answers.send(answer).is_err() {
                    return Trap::Exited(ExitReason::Killed);
                }
            }
            let Ok(order) = self.line.orders.recv() else { return Trap::Exited(ExitReason::Killed) };
            self.space.write(stack, PATH);
            self.left = order.count;
            self.order = Some(order);
            self.begun = Instant::now();
        }
        self.left -= 1;
        if let Some(Order { call: (number, arguments), .. }) = &self.order {
            let registers = self.memory.registers_mut();
            // The second one is where something is written to, clear of the path.
            let place = |index: usize| match arguments[index] {
                STACK => stack + if index == 0 { 0 } else { BELOW_STACK / 2 },
                value => value,
            };
            registers.rax = *number;
            (registers.rdi, registers.rsi, registers.rdx) = (place(0), place(1), place(2));
        }
        Trap::Syscall { instruction: 0 }
    }

    fn registers(&self) -> &Registers {
        self.memory.registers()
    }

    fn registers_mut(&mut self) -> &mut Registers {
        self.memory.registers_mut()
    }

    fn extended_state(&mut self) -> Vec<u8> {
        self.memory.extended_state()
    }

    fn set_extended_state(&mut self, image: Option<&[u8]>) -> Result<(), Errno> {
        self.memory.set_extended_state(image)
    }

    fn apply(&mut self, operations: &[MemoryOp<'_>]) -> Result<(), (usize, Errno)> {
        self.memory.apply(operations)
    }

    fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        self.memory.kicker()
    }
}

/// A program of one page, which is never executed.
fn program() -> Vec<u8> {
    const LENGTH: u64 = 4096;
    let header = ElfHeader::of_executable(0x40_0100, 1);
    let text = ProgramHeader {
        p_type: PT_LOAD,
        p_flags: PF_R | PF_X,
        p_offset: 0,
        p_vaddr: 0x40_0000,
        p_paddr: 0,
        p_filesz: LENGTH,
        p_memsz: LENGTH,
        p_align: LENGTH,
    };
    let mut bytes = [header.as_bytes(), text.as_bytes()].concat();
    bytes.resize(LENGTH as usize, 0xcc);
    bytes
}

/// A kernel with one process, which has its own program open as descriptor 0 and does as it is told.
fn start() -> (Sender<Order>, Receiver<(Duration, u64)>) {
    let ((orders, to_guest), (from_guest, answers)) = (channel(), channel());
    let line = Line { orders: to_guest, answers: from_guest };
    let platform = Arc::new(FakePlatform { layout: layout(), line: Mutex::new(Some(line)) });
    let kernel = Kernel::new(
        platform,
        SandboxLimits { tasks: Some(10), memory: Some(1 << 30), processor: None },
        b"bench",
        false,
    );
    kernel.set_dispatcher(TableDispatcher::new(None));

    let tmpfs = Tmpfs::new(TmpfsOptions::default());
    let fs = FsContext::new(MountNamespace::new(tmpfs, MountFlags::empty(), "root"));
    let credentials = Credentials::user(0, 0);
    let files = FdTable::new();
    let request = {
        let names = fs.names(&credentials, None);
        let open = |flags| {
            let how = OpenHow { flags, mode: 0o755, resolve: ResolveFlags::empty() };
            names.open(&names.cwd, b"/program", how, None).expect("a file in an empty tmpfs")
        };
        let file = open(OpenFlags::CREAT | OpenFlags::WRONLY);
        file.ops.write(&file, &mut BytesSource::new(&program()), 0).expect("room");
        // A file that is open for writing cannot be executed.
        drop(file);
        files.install(open(OpenFlags::empty()), false, 16).expect("a descriptor");
        let request = ProgramRequest {
            start: &names.cwd,
            name: b"/program",
            options: WalkOptions::FOLLOW,
            shown_name: b"/program".to_vec(),
            is_unreachable: false,
            arguments: Arguments { arguments: vec![b"program".to_vec()], environment: Vec::new() },
            stack_limit: 8 << 20,
            randomize: false,
            no_new_privs: false,
        };
        find_program(&names, request).expect("a program")
    };
    let limits = ResourceLimits::default();
    let (files, fs) = (Arc::new(files), Arc::new(fs));
    let main = MainProcess {
        request,
        files,
        fs,
        limits,
        ignored_signals: SignalSet(0),
        oom_score_adj: 0,
        seccomp: None,
        nice: 0,
        policy: 0,
        io_priority: 0,
        personality: 0,
        no_new_privs: false,
    };
    spawn_main(&kernel, main).expect("a process");
    (orders, answers)
}

fn calls(criterion: &mut Criterion) {
    let (orders, answers) = start();
    let run = |call, count| {
        orders.send(Order { call, count }).expect("the guest listens");
        answers.recv().expect("the guest answers")
    };
    for (title, call, expected) in [
        ("getppid", GETPPID, Ok(1)),
        ("a call that does not exist", UNKNOWN, Err(Errno::ENOSYS)),
        ("lseek", LSEEK, Ok(0)),
        ("fstat, with a copy out", FSTAT, Ok(0)),
        ("stat, with a path in, a walk and a copy out", STAT, Ok(0)),
    ] {
        // What is timed must be what it says.
        let (_, result) = run(call, 1);
        assert_eq!(result, expected.unwrap_or_else(Errno::as_return_value), "{title}");
        criterion.bench_function(title, |bench| bench.iter_custom(|count| run(call, count).0));
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
