//! The locked-down gofer, as a process of its own: it can do its work, and nothing else.
//!
//! The process is this test program again. Its standard input is a lane; what arrives at its standard output
//! makes a thread of it attempt a host call.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use common::{ROOT, RawClient, export, name, socket_pair};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendFlags};
use usk_abi::Errno;
use usk_gofer::{ExportMode, FILTER, Need, SelfDescriptors};
use usk_gofer_protocol::limits::VERSION;
use usk_gofer_protocol::{
    Access, AttributeChange, FileType, LinkTarget, Owner, RenameMode, Reply, Request, TimeChange, Timestamp,
    WalkEnd, XattrMode, XattrName, XattrValue,
};

const SIGSYS: i32 = 31;

/// The calls that the running of any Rust program makes; no request shows that they are needed.
const RUNTIME: &[&str] = &[
    "futex",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "brk",
    "rt_sigprocmask",
    "sigaltstack",
    "exit",
    "exit_group",
    "write",
    "fcntl",
    "close",
];

/// Calls that must kill a gofer with writable exports.
const FORBIDDEN: &[(&str, fn())] = &[
    ("socket", || {
        drop(rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None))
    }),
    ("open by a path, the old way", || drop(rustix::fs::open("/", OFlags::PATH, Mode::empty()))),
    ("open below an export's root", || {
        drop(rustix::fs::openat(std::io::stdin(), "x", OFlags::PATH, Mode::empty()));
    }),
    ("execve", || drop(Command::new("/bin/true").exec())),
    ("a new thread", || drop(std::thread::Builder::new().spawn(|| ()))),
    ("fork", || drop(Command::new("/bin/true").status())),
    ("kill", || ignore(rustix::process::test_kill_process(rustix::process::getpid()))),
    ("write to a descriptor", || ignore(rustix::io::write(std::io::stdout(), b"x"))),
    ("read from a descriptor", || ignore(rustix::io::read(std::io::stdout(), &mut [0; 1]))),
    ("chmod by a path", || {
        ignore(rustix::fs::chmodat(CWD, "/nothing", Mode::empty(), rustix::fs::AtFlags::empty()))
    }),
    ("link by a path", || {
        ignore(rustix::fs::linkat(CWD, "/nothing", CWD, "/nothing", rustix::fs::AtFlags::empty()));
    }),
    ("prctl", || ignore(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable))),
    ("capset", || {
        let none = rustix::thread::CapabilitySet::empty();
        let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
        ignore(rustix::thread::set_capabilities(None, sets));
    }),
];

/// Calls that must kill a gofer with read-only exports besides.
const FORBIDDEN_READ_ONLY: &[(&str, fn())] = &[
    ("mkdir", || ignore(rustix::fs::mkdirat(std::io::stdout(), "x", Mode::empty()))),
    ("unlink", || ignore(rustix::fs::unlinkat(std::io::stdout(), "x", rustix::fs::AtFlags::empty()))),
    ("truncate", || ignore(rustix::fs::ftruncate(std::io::stdout(), 0))),
];

/// What a call that was not allowed would have returned.
fn ignore<T>(_: T) {}

/// The order to open a path, which must fail rather than kill.
const OPEN_BY_PATH: u8 = 254;

/// The gofer's process. Not a test of its own: without the environment it has nothing to do.
#[test]
fn serving_process() {
    let Ok(root) = std::env::var("USK_TEST_ROOT") else { return };
    let mode = if std::env::var("USK_TEST_MODE").unwrap() == "rw" {
        ExportMode::ReadWrite
    } else {
        ExportMode::ReadOnly
    };
    if let Ok(number) = std::env::var("USK_TEST_WITHOUT") {
        forbid(number.parse().unwrap());
    }
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut order = [0];
        let mut parts = [IoSliceMut::new(&mut order)];
        ready.send(()).unwrap();
        // Allowed by the filter, so it does not matter whether that is installed before or during the call.
        let mut no_control = RecvAncillaryBuffer::default();
        rustix::net::recvmsg(std::io::stdout(), &mut parts, &mut no_control, RecvFlags::empty()).unwrap();
        if order[0] == OPEN_BY_PATH {
            let opened = rustix::fs::openat(CWD, "/", OFlags::PATH, Mode::empty());
            std::process::exit(if opened.is_err_and(|error| error == rustix::io::Errno::ACCESS) {
                5
            } else {
                6
            });
        }
        let forbidden: Vec<_> = FORBIDDEN.iter().chain(FORBIDDEN_READ_ONLY).collect();
        if let Some((_, attempt)) = forbidden.get(usize::from(order[0])) {
            attempt();
        }
        std::process::exit(7);
    });
    is_ready.recv().unwrap();
    let lane = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    // A lane that is closed from the beginning: its thread ends under the filter.
    let (_, closed) = socket_pair();
    let exports = vec![export(Path::new(&root), mode)];
    let serve = || usk_gofer::serve(vec![lane, closed], exports, SelfDescriptors::open().unwrap());
    // The calling thread is a worker, as those that it makes.
    let serving = std::thread::Builder::new().name("lane".into()).spawn(serve).unwrap();
    std::process::exit(i32::from(serving.join().unwrap().is_err()));
}

/// Makes one host call deadly from now on.
fn forbid(number: i64) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let rules = BTreeMap::from([(number, Vec::new())]);
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, TargetArch::x86_64)
            .unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

struct Gofer {
    process: Child,
    client: RawClient,
    orders: OwnedFd,
}

impl Gofer {
    fn start(root: &Path, mode: &str, without: Option<i64>) -> Gofer {
        let (lane, theirs) = socket_pair();
        let (orders, their_orders) = socket_pair();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "serving_process", "--nocapture", "--test-threads=1"]);
        command.env("USK_TEST_ROOT", root).env("USK_TEST_MODE", mode);
        if let Some(number) = without {
            command.env("USK_TEST_WITHOUT", number.to_string());
        }
        command.stdin(Stdio::from(theirs)).stdout(Stdio::from(their_orders)).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        // Closes our copies of its sockets.
        drop(command);
        Gofer { process, client: RawClient::new(lane), orders }
    }

    /// Returns when the gofer serves, so its filter is installed.
    fn attach(&mut self) {
        let (reply, _) = self.client.ask(&Request::Attach { version: VERSION });
        assert!(matches!(reply, Reply::Attached { .. }));
    }

    fn attempt(mut self, index: usize) -> ExitStatus {
        self.attach();
        rustix::net::send(&self.orders, &[u8::try_from(index).unwrap()], SendFlags::empty()).unwrap();
        self.process.wait().unwrap()
    }

    fn end(mut self) -> ExitStatus {
        drop(self.client);
        self.process.wait().unwrap()
    }
}

/// Every request, with what it takes to make the gofer use all of its calls. Stops quietly when the gofer
/// dies.
fn exercise(client: &mut RawClient, root: &Path) -> Option<()> {
    let mut ask = |request: &Request<'_>| -> Option<Result<(Reply, Option<OwnedFd>), Errno>> {
        client.tell(request);
        if !request.has_reply() {
            return Some(Ok((Reply::Done {}, None)));
        }
        let (bytes, mut descriptors) = client.receive_raw()?;
        Some(match Reply::decode(&bytes).unwrap().1 {
            Reply::Failed { errno } => Err(errno),
            reply => Ok((reply, descriptors.pop())),
        })
    };
    let mut make = |request: &Request<'_>| match ask(request)?.unwrap().0 {
        Reply::Created { entry } => Some(entry.node),
        reply => panic!("{reply:?}"),
    };
    let owner = rustix::process::geteuid().is_root().then_some(Owner { uid: 12, gid: 34 });
    let directory =
        make(&Request::MakeDirectory { parent: ROOT, name: name("d"), permissions: 0o755, owner })?;
    let parent = directory;
    let file = make(&Request::CreateFile {
        parent,
        name: name("f"),
        permissions: 0o640,
        owner,
        access: Access::ReadWrite,
    })?;
    let target = LinkTarget::new(b"f").unwrap();
    let link = make(&Request::MakeSymlink { parent, name: name("l"), target, owner })?;
    make(&Request::MakeSpecial {
        parent,
        name: name("p"),
        file_type: FileType::Fifo,
        permissions: 0o600,
        owner,
    })?;
    make(&Request::Link { node: file, parent, name: name("second") })?;
    let key = XattrName::new(b"user.k").unwrap();
    let value = XattrValue::new(vec![1; 100]).unwrap();
    let time = TimeChange::At(Timestamp::new(1, 2).unwrap());
    let change = AttributeChange {
        permissions: Some(0o600),
        uid: owner.map(|owner| owner.uid),
        gid: owner.map(|owner| owner.gid),
        size: Some(10),
        atime: Some(time),
        mtime: Some(TimeChange::Now),
    };
    for request in [
        Request::Walk { node: ROOT, names: common::names("d/f"), open: Some(Access::ReadWrite) },
        Request::Open { node: file, access: Access::Write },
        Request::GetAttributes { nodes: vec![ROOT, file] },
        Request::SetAttributes { node: file, change },
        Request::ReadLink { node: link },
        Request::StatFileSystem { node: file },
        Request::SetXattr { node: file, name: key, value, mode: XattrMode::Any },
        Request::GetXattr { node: file, name: key },
        Request::ListXattrs { node: file },
        Request::RemoveXattr { node: file, name: key },
        Request::Rename {
            parent,
            name: name("f"),
            new_parent: ROOT,
            new_name: name("g"),
            mode: RenameMode::Replace,
        },
        Request::Unlink { parent, name: name("l") },
        Request::Unlink { parent, name: name("p") },
        Request::Unlink { parent, name: name("second") },
        Request::RemoveDirectory { parent: ROOT, name: name("d") },
        Request::ReadDirectory { node: ROOT, stream: 0, cursor: 0, all_attributes: true },
        // From a position, which takes a seek.
        Request::ReadDirectory { node: ROOT, stream: 0, cursor: 1, all_attributes: true },
        Request::CloseDirectory { stream: 1 },
        Request::ReadDirectories { parent: ROOT, names: common::names("g"), below: 64, all_attributes: true },
        Request::OpenFiles { files: common::files("g") },
        Request::CheckXattrs { files: common::files("g/none") },
        Request::Forget { nodes: vec![file, link] },
    ] {
        ask(&request)?.unwrap_or_else(|errno| panic!("{request:?}: {errno:?}"));
    }
    assert!(root.join("g").exists() && !root.join("d").exists());
    ask(&Request::Attach { version: VERSION })?.unwrap();
    Some(())
}

fn root() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn every_request_works_under_the_filter() {
    let root = root();
    let mut gofer = Gofer::start(root.path(), "rw", None);
    gofer.attach();
    exercise(&mut gofer.client, root.path()).expect("the filter has killed the gofer");
    assert_eq!(gofer.end().code(), Some(0));
}

#[test]
fn reading_works_under_the_filter_of_read_only_exports() {
    let root = root();
    fs::create_dir(root.path().join("d")).unwrap();
    fs::write(root.path().join("d/file"), "text").unwrap();
    let mut gofer = Gofer::start(root.path(), "ro", None);
    gofer.attach();
    let client = &mut gofer.client;
    let (_, end, file) = client.walk(ROOT, "d/file", Some(Access::Read));
    assert!(matches!(end, WalkEnd::Complete(Ok(_))) && file.is_some());
    assert_eq!(client.read_directory(ROOT).len(), 1);
    let refused = client.try_ask(&Request::Unlink { parent: ROOT, name: name("d") }).unwrap_err();
    assert_eq!(refused, Errno::EROFS);
    assert_eq!(gofer.end().code(), Some(0));
}

#[test]
fn anything_else_kills_it() {
    let root = root();
    for (index, (what, _)) in FORBIDDEN.iter().enumerate() {
        let signal = Gofer::start(root.path(), "rw", None).attempt(index).signal();
        assert_eq!(signal, Some(SIGSYS), "{what}");
    }
    for (index, (what, _)) in FORBIDDEN_READ_ONLY.iter().enumerate() {
        let signal = Gofer::start(root.path(), "ro", None).attempt(FORBIDDEN.len() + index).signal();
        assert_eq!(signal, Some(SIGSYS), "{what}");
    }
    // The method itself: an attempt of nothing ends by itself.
    assert_eq!(Gofer::start(root.path(), "rw", None).attempt(255).code(), Some(7));
}

#[test]
fn a_path_cannot_be_opened() {
    let root = root();
    assert_eq!(Gofer::start(root.path(), "rw", None).attempt(usize::from(OPEN_BY_PATH)).code(), Some(5));
}

#[test]
fn every_file_call_in_the_list_is_needed() {
    for call in FILTER.iter().filter(|call| !RUNTIME.contains(&call.name)) {
        let root = root();
        let mut gofer = Gofer::start(root.path(), "rw", Some(call.number));
        let survived = exercise(&mut gofer.client, root.path());
        drop(gofer.client);
        let status = gofer.process.wait().unwrap();
        assert_eq!((survived, status.signal()), (None, Some(SIGSYS)), "{} is not needed", call.name);
    }
}

#[test]
fn its_workers_hold_no_other_privilege() {
    let (read, change) = (0b110, 0b11011);
    for (mode, expected) in [("ro", read), ("rw", read | change)] {
        let root = root();
        let mut gofer = Gofer::start(root.path(), mode, None);
        gofer.attach();
        let tasks = format!("/proc/{}/task", gofer.process.id());
        let mut workers = 0;
        for task in fs::read_dir(tasks).unwrap() {
            // The worker of the lane that is closed ends just now.
            let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace().nth(1).unwrap().to_owned()
            };
            assert_eq!(field("Seccomp:"), "2");
            if field("Name:") != "lane" {
                continue;
            }
            workers += 1;
            assert_eq!(field("NoNewPrivs:"), "1");
            let is_root = rustix::process::geteuid().is_root();
            for set in ["CapEff:", "CapPrm:"] {
                let held = u64::from_str_radix(&field(set), 16).unwrap();
                // Fewer where this process itself has fewer.
                assert_eq!(held & !expected, 0, "{set} {held:x}");
                assert!(!is_root || held != 0);
            }
            for set in ["CapInh:", "CapAmb:"] {
                assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), 0);
            }
        }
        assert!(workers >= 1);
        assert_eq!(gofer.end().code(), Some(0));
    }
}

#[test]
fn fewer_calls_are_allowed_for_read_only_exports() {
    let always = FILTER.iter().filter(|call| call.need == Need::Always).count();
    // gVisor's gofer has 54.
    assert!(always <= 25, "{always}");
    assert!(FILTER.len() <= 38, "{}", FILTER.len());
    assert!(FILTER.iter().all(|call| !call.reason.is_empty()));
}
