//! Terminals that are sent to an engine.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;
use usk_platform::host::receive_packet;

use crate::bundle::Bundle;
use crate::runtime::{Runtime, new_id, wait_until};

/// The engine's end of a terminal.
struct Master {
    terminal: File,
    /// What has come and was not expected yet.
    seen: String,
}

impl Master {
    /// Takes it from a console socket.
    fn receive(listener: &UnixListener) -> Master {
        let (connection, _) = listener.accept().expect("the runtime connects");
        let mut name = [0; 4096];
        let packet = receive_packet(connection.as_fd(), &mut name).expect("a packet");
        let descriptor: OwnedFd = packet.descriptors.into_iter().next().expect("a descriptor");
        Master { terminal: descriptor.into(), seen: String::new() }
    }

    /// Reads until this text has come, and passes over it.
    fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let mut polled = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut polled, PollTimeout::from(30_000_u16)).expect("poll works");
            assert!(ready > 0, "{text:?} does not come: {:?}", self.seen);
            let mut buffer = [0; 1024];
            match self.terminal.read(&mut buffer) {
                Ok(length) => self.seen.push_str(&String::from_utf8_lossy(&buffer[..length])),
                Err(error) => panic!("{text:?} does not come: {:?}: {error}", self.seen),
            }
        }
    }

    fn write(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).expect("somebody listens");
    }

    fn resize(&self, rows: u16, columns: u16) {
        let window = usk_abi::tty::Winsize { rows, columns, ..usk_abi::tty::Winsize::default() };
        usk_platform::host::set_terminal_window(self.terminal.as_fd(), &window).expect("it is a terminal");
    }
}

#[test]
fn the_engine_is_sent_a_terminal_that_can_be_typed_at_and_resized() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::with(|spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["consoleSize"] = json!({ "height": 33, "width": 44 });
        spec["process"]["args"] = json!(["sh"]);
    });
    let listener = UnixListener::bind(bundle.file("console")).expect("a socket");
    let outcome = usk.background(&bundle, &["run", "-d", "--console-socket", "console", &id]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let mut master = Master::receive(&listener);
    master.expect("#");
    master.write("stty size\n");
    master.expect("33 44");
    master.resize(11, 22);
    master.write("stty size; sh -c \"trap 'echo int''errupted; exit' INT; echo re''ady; while :; do sleep 0.1; done\"\n");
    master.expect("11 22");
    master.expect("ready");
    // Who is in the foreground gets it, and not the shell that waits.
    master.write("\x03");
    master.expect("interrupted");
    // A window that changes is told to who is in the foreground.
    master.write("sh -c \"trap 'stty size' WINCH; echo se''t; while :; do sleep 0.1; done\"\n");
    master.expect("set");
    master.resize(55, 66);
    master.expect("55 66");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn a_process_that_joins_has_a_terminal_of_its_own() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let listener = UnixListener::bind(bundle.file("console")).expect("a socket");
    let arguments = ["exec", "-t", "-d", "--console-socket", "console", &id, "sh"];
    let outcome = usk.background(&bundle, &arguments);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let mut master = Master::receive(&listener);
    master.expect("#");
    master.resize(12, 34);
    master.write("stty size; test -t 0 && echo a term''inal\n");
    master.expect("12 34");
    master.expect("a terminal");
    master
        .write("sh -c \"trap 'echo int''errupted; exit' INT; echo re''ady; while :; do sleep 0.1; done\"\n");
    master.expect("ready");
    master.write("\x03");
    master.expect("interrupted");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn terminals_of_processes_that_join_have_names_of_their_own() {
    let (usk, id) = (Runtime::usk(), new_id());
    let bundle = Bundle::of_command(&["sleep", "1000"]);
    assert_eq!(usk.background(&bundle, &["run", "-d", &id]).status, 0);
    let listener = UnixListener::bind(bundle.file("console")).expect("a socket");
    let join = |user: &str| {
        let arguments =
            ["exec", "-t", "-d", "--user", user, "--console-socket", "console", &id, "/bin/busybox", "sh"];
        let outcome = usk.background(&bundle, &arguments);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        Master::receive(&listener)
    };
    let (mut first, mut second) = (join("0:0"), join("1000:7"));
    first.write("tty\n");
    first.expect("/dev/pts/0");
    second.write(
        "tty; stat -c '%u %g %a %t' /dev/pts/1; echo writ''ten > /dev/pts/1; ls /dev/pts | head -n1\n",
    );
    for text in ["/dev/pts/1", "1000 5 620 88", "written", "0"] {
        second.expect(text);
    }
    // The name is free again once nobody has the terminal open.
    first.write("exit\n");
    wait_until("the first is gone", || !usk.must(&bundle, &["exec", &id, "ls", "/dev/pts"]).contains('0'));
    let mut third = join("0:0");
    third.write("tty\n");
    third.expect("/dev/pts/0");
    usk.must(&bundle, &["delete", "--force", &id]);
}

#[test]
fn a_terminal_needs_somebody_to_be_sent_to() {
    let usk = Runtime::usk();
    let bundle = Bundle::with(|spec| spec["process"]["terminal"] = json!(true));
    let outcome = usk.background(&bundle, &["create", &new_id()]);
    assert_eq!(outcome.status, 1);
    assert!(outcome.error.contains("cannot allocate tty"), "{outcome:?}");
    bundle.configure(|_| ());
    let outcome = usk.background(&bundle, &["create", "--console-socket", "console", &new_id()]);
    assert!(outcome.error.contains("cannot use console socket"), "{outcome:?}");
}
