//! What belongs to the host and is not shown to a guest: processes, secrets, networks, named objects, devices, and the
//! calls that reach deep into its kernel.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::guest::{self, Attacks, expect_attacks};
use crate::support::caller::is_root;
use crate::support::runtime::Runtime;

/// Whether an attack succeeds natively.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    /// It does.
    Works,
    /// It depends on privileges and on what the host offers.
    Depends,
    /// It would do harm, and is not tried.
    Harmful,
}
use Control::{Depends, Harmful, Works};

/// Each attack: whether it succeeds natively, and how it ends in a sandbox.
const EXPECTED: &[(Control, &str, &[&str])] = &[
    (Works, "done", &["read_a_visible_file"]),
    // Processes.
    (
        Works,
        "ESRCH",
        &[
            "signal_a_process",
            "signal_the_monitor",
            "signal_any_process_of_the_host",
            "signal_a_thread",
            "queue_a_signal",
            "refer_to_a_process",
            "ask_for_the_group_of_a_process",
            "ask_for_the_session_of_a_process",
            "ask_for_the_limits_of_a_process",
            "ask_for_the_priority_of_a_process",
            "ask_for_the_processors_of_a_process",
            "ask_for_the_scheduler_of_a_process",
            "ask_for_the_robust_list_of_a_process",
        ],
    ),
    (Works, "EINVAL", &["ask_for_the_clock_of_a_process"]),
    (
        Works,
        "ENOENT",
        &[
            "see_a_process",
            "read_a_process_command_line",
            "go_through_the_root_of_a_process",
            "go_through_the_directory_of_a_process",
            "open_a_descriptor_of_a_process",
            "change_the_score_of_a_process",
            "read_a_hidden_file",
        ],
    ),
    // The host may restrict ptrace to descendants.
    (
        Depends,
        "ESRCH",
        &[
            "read_the_memory_of_a_process",
            "write_the_memory_of_a_process",
            "compare_processes",
            "attach_to_a_process",
        ],
    ),
    (Depends, "ENOENT", &["open_a_process_memory"]),
    (Depends, "ENOSYS", &["move_pages_of_a_process"]),
    // Networks. The sandbox has a loopback of its own, where nobody listens.
    (
        Works,
        "ECONNREFUSED",
        &[
            "connect_to_a_listener_on_ipv4",
            "connect_to_a_listener_on_ipv6",
            "send_a_datagram_on_ipv4",
            "send_a_datagram_on_ipv6",
            "connect_to_an_abstract_socket",
            "send_to_an_abstract_socket",
            "connect_to_a_socket_in_the_root",
            "connect_to_a_socket_in_a_volume",
        ],
    ),
    (
        Depends,
        "EAFNOSUPPORT",
        &[
            "open_a_packet_socket",
            "open_a_socket_of_the_virtual_machine",
            "open_a_socket_of_the_crypto_layer",
        ],
    ),
    (Depends, "EPERM", &["open_a_raw_socket"]),
    // The list of the sandbox's own interface.
    (Depends, "done", &["list_interfaces_by_netlink"]),
    (Depends, "EPROTONOSUPPORT", &["listen_to_the_kernel_by_netlink"]),
    // Named objects.
    (
        Works,
        "ENOENT",
        &[
            "find_shared_memory_by_key",
            "find_semaphores_by_key",
            "find_messages_by_key",
            "open_posix_shared_memory",
        ],
    ),
    (
        Works,
        "EINVAL",
        &["attach_shared_memory_by_number", "read_a_semaphore_by_number", "send_a_message_by_number"],
    ),
    (Depends, "ENOENT", &["open_a_posix_message_queue"]),
    (Depends, "ENOSYS", &["ask_for_the_session_keyring", "add_a_key"]),
    // Devices and the kernel's files. A node can be made, as in every file system of a container, and stands for nothing.
    (Depends, "EACCES", &["make_and_open_a_character_device", "make_and_open_a_block_device"]),
    (
        Depends,
        "ENOENT",
        &[
            "open_the_kernel_log",
            "open_the_virtual_machine_device",
            "open_the_fuse_device",
            "open_the_tunnel_device",
            "open_the_userfaultfd_device",
            "open_the_loop_control_device",
            "open_the_debugging_file_system",
            "read_kernel_memory",
            "read_kernel_symbols",
            "list_keys",
        ],
    ),
    (
        Harmful,
        "ENOENT",
        &[
            "open_physical_memory",
            "open_ports",
            "change_the_module_loader",
            "change_the_firmware_path",
            "trigger_a_system_request",
        ],
    ),
    (Harmful, "EPERM", &["change_the_core_pattern"]),
    (Harmful, "EROFS", &["make_a_control_group"]),
    // Deep calls.
    (
        Depends,
        "ENOSYS",
        &[
            "set_up_io_uring",
            "make_a_bpf_map",
            "handle_page_faults",
            "count_events",
            "open_a_mount",
            "set_up_a_file_system",
            "open_a_file_by_handle",
            "read_the_kernel_log",
            "watch_file_systems",
            "make_secret_memory",
        ],
    ),
    (
        Depends,
        "EPERM",
        &[
            "make_a_user_namespace",
            "make_a_mount_namespace",
            "make_a_network_namespace",
            "clone_into_a_user_namespace",
            "clone3_into_a_user_namespace",
        ],
    ),
    (Harmful, "EPERM", &["enter_a_namespace", "set_the_clock"]),
    (
        Harmful,
        "ENOSYS",
        &[
            "mount_a_file_system",
            "unmount_a_file_system",
            "exchange_the_root",
            "load_a_module",
            "load_a_module_from_a_file",
            "load_another_kernel",
            "reboot_the_machine",
            "swap_on_a_file",
            "account_processes",
            "raise_the_privilege_of_ports",
            "allow_ports",
            "hang_the_terminal_up",
        ],
    ),
    // Its own name: the host keeps its own.
    (Harmful, "done", &["rename_the_host"]),
];

/// What ends otherwise for a guest that is no root in its sandbox.
const EXPECTED_OF_ORDINARY_USERS: &[(&str, &str)] = &[
    ("make_and_open_a_character_device", "EPERM"),
    ("make_and_open_a_block_device", "EPERM"),
    ("change_the_core_pattern", "EACCES"),
    ("rename_the_host", "EPERM"),
];

/// How an attack ends in a sandbox.
fn outcome(name: &str) -> &'static str {
    let otherwise = EXPECTED_OF_ORDINARY_USERS.iter().find(|(other, _)| *other == name && !is_root());
    otherwise.map_or(expected(name).1, |(_, outcome)| outcome)
}

/// The expectation for an attack.
fn expected(name: &str) -> (Control, &'static str) {
    let row = EXPECTED.iter().find(|(_, _, names)| names.contains(&name));
    row.map(|&(control, outcome, _)| (control, outcome))
        .unwrap_or_else(|| panic!("{name} is not in the table"))
}

/// Everything of the host's, for one run of the attacks.
struct Host {
    process: Child,
    /// Closing it ends the process.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    facts: HashMap<String, String>,
    home: tempfile::TempDir,
    volume: tempfile::TempDir,
}

impl Host {
    fn start() -> Self {
        Self::start_on(Runtime::Native)
    }

    /// The same as a guest, whom the host shall not reach.
    fn start_on(runtime: Runtime) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let volume = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join(".ssh")).expect("a directory of secrets");
        fs::write(home.path().join(".ssh/key"), b"secret").expect("a secret");
        fs::write(home.path().join("visible"), b"no secret").expect("a file");
        let mut command = guest::command(runtime, &guest::program("host"), &[]);
        if runtime == Runtime::Native {
            command.args([home.path(), volume.path()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let input = process.stdin.take();
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut facts = HashMap::new();
        loop {
            let mut line = String::new();
            output.read_line(&mut line).expect("a line");
            let Some((name, value)) = line.trim_end().split_once('=') else { break };
            facts.insert(name.to_owned(), value.to_owned());
        }
        assert!(facts.contains_key("key"), "it did not come up: {facts:?}");
        Self { process, input, output, facts, home, volume }
    }

    /// The attacks on `runtime`, where the volume is at `volume`.
    fn attack(&self, runtime: Runtime, volume: &Path, options: &[&str]) -> Attacks {
        let mut command = guest::command(runtime, &guest::program("reach"), options);
        command.args(self.facts.iter().map(|(name, value)| format!("{name}={value}")));
        let pids: Vec<String> = procfs::process::all_processes()
            .expect("processes")
            .flatten()
            .map(|process| process.pid.to_string())
            .filter(|pid| pid.len() > 3)
            .collect();
        command.arg(format!("pids={}", pids.join(",")));
        let mut path = |name: &str, path: &Path| {
            command.arg(format!("{name}={}", path.display()));
        };
        path("hidden", &self.home.path().join(".ssh/key"));
        path("visible", &self.home.path().join("visible"));
        path("root_socket", &self.home.path().join("socket"));
        path("volume_socket", &volume.join("socket"));
        // A shell that becomes the command knows the process id that this will have: in a sandbox the monitor's.
        let mut shell = Command::new("sh");
        shell
            .args(["-c", r#"exec "$0" "$@" monitor=$$"#])
            .arg(command.get_program())
            .args(command.get_args());
        shell.env("HOME", self.home.path());
        guest::run(shell).expect_success().attacks()
    }

    /// Which of its sockets were reached.
    fn reached(mut self) -> BTreeSet<String> {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("its last words");
        assert!(self.process.wait().expect("its end").success());
        rest.lines().map(str::to_owned).collect()
    }
}

/// Tries to reach the Internet sockets of `guest` from the host; which were reached.
fn reached_from_the_host(guest: Host) -> BTreeSet<String> {
    let port = |name: &str| -> u16 { guest.facts[name].parse().expect("a port") };
    // Whether these succeed depends on who else listens on the host: what counts is what the guest saw.
    let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port("tcp4")));
    let _ = TcpStream::connect((Ipv6Addr::LOCALHOST, port("tcp6")));
    let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let _ = v4.send_to(b"x", (Ipv4Addr::LOCALHOST, port("udp4")));
    let v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("a socket");
    let _ = v6.send_to(b"x", (Ipv6Addr::LOCALHOST, port("udp6")));
    guest.reached()
}

pub(crate) fn the_host_does_not_reach_what_listens_in_a_sandbox(runtime: Runtime) {
    let sockets = ["tcp4", "tcp6", "udp4", "udp6"];
    let natively = reached_from_the_host(Host::start());
    assert_eq!(natively, BTreeSet::from(sockets.map(str::to_owned)), "natively all are reached");
    assert_eq!(reached_from_the_host(Host::start_on(runtime)), BTreeSet::new(), "in the sandbox none is");
}

fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name")
}

pub(crate) fn what_is_the_hosts_cannot_be_reached(runtime: Runtime) {
    let host = Host::start();
    let attacks = host.attack(Runtime::Native, host.volume.path(), &[]);
    let works = |name: &str| expected(name).0 == Works;
    let control = attacks.into_iter().filter(|(name, _)| works(name)).collect();
    expect_attacks(&control, |_| "done");
    let sockets = ["tcp4", "tcp6", "udp4", "udp6", "abstract", "abstract_datagram", "path"];
    assert_eq!(host.reached(), BTreeSet::from(sockets.map(str::to_owned)), "natively all are reached");

    let host = Host::start();
    let name = host_name();
    let volume = format!("{}:/volume:rw", host.volume.path().display());
    let attacks = host.attack(runtime, Path::new("/volume"), &["-v", &volume]);
    let count: usize = EXPECTED.iter().map(|(_, _, names)| names.len()).sum();
    assert_eq!(attacks.len(), count, "each expectation has its attack");
    expect_attacks(&attacks, outcome);
    assert_eq!(host.reached(), BTreeSet::new(), "in the sandbox none is");
    assert_eq!(host_name(), name);
}
