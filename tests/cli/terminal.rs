//! At a terminal, under a shell with job control: what keys do is the same as without usk.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;

use crate::sandbox::PLATFORMS;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shell at a terminal of its own.
struct Session {
    shell: Child,
    terminal: File,
    /// What has been printed and not been expected yet.
    printed: String,
}

impl Session {
    fn start() -> Session {
        let terminal = openpty(None, None).unwrap();
        let end = || Stdio::from(terminal.slave.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "bash", "--norc", "--noprofile", "-i"]);
        command
            .env("USK", env!("CARGO_BIN_EXE_usk"))
            .env("PS1", "ready> ")
            .env("TERM", "dumb")
            .current_dir("/");
        let shell = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let mut session = Session { shell, terminal: terminal.master.into(), printed: String::new() };
        session.expect("ready> ");
        session
    }

    fn send(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until the text has appeared, and returns what came before it.
    fn expect(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(index) = self.printed.find(text) {
                let rest = self.printed.split_off(index + text.len());
                let mut before = std::mem::replace(&mut self.printed, rest);
                before.truncate(index);
                return before;
            }
            assert!(begun.elapsed() < PATIENCE, "'{text}' does not appear in: {}", self.printed);
            let mut polled = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, PollTimeout::from(100u8)).unwrap() > 0 {
                let mut buffer = [0; 4096];
                let length = self.terminal.read(&mut buffer).unwrap_or(0);
                self.printed += &String::from_utf8_lossy(&buffer[..length]);
            }
        }
    }

    /// What the last command's exit status was.
    fn status(&mut self) -> String {
        self.send("echo \"status:\"$?:\n");
        // The echo of the keys has a quotation mark in that place.
        self.expect("\nstatus:");
        self.expect(":")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn the_interrupt_key_ends_the_command() {
    for platform in PLATFORMS {
        let mut session = Session::start();
        session.send(&format!("$USK run --platform {platform} -- sh -c 'echo be\"\"gun; sleep 100'\n"));
        session.expect("begun");
        session.send("\x03");
        session.expect("ready> ");
        assert_eq!(session.status(), "130");
    }
}

#[test]
fn the_interrupt_key_can_be_caught() {
    let mut session = Session::start();
    session.send("$USK run -- sh -c 'trap \"exit 5\" INT; echo be\"\"gun; while :; do sleep 0.1; done'\n");
    session.expect("begun");
    session.send("\x03");
    session.expect("ready> ");
    assert_eq!(session.status(), "5");
}

#[test]
fn the_stop_key_stops_the_command_and_the_shell_can_continue_it() {
    for platform in PLATFORMS {
        let mut session = Session::start();
        session.send(&format!(
            "$USK run --platform {platform} -- sh -c 'echo be\"\"gun; read x; echo got $x'\n"
        ));
        session.expect("begun");
        session.send("\x1a");
        session.expect("Stopped");
        session.send("fg\n");
        session.expect("read x");
        session.send("word\n");
        session.expect("got word");
        session.expect("ready> ");
        assert_eq!(session.status(), "0");
    }
}

#[test]
fn a_terminal_of_its_own_has_job_control_and_leaves_the_callers_as_it_was() {
    for platform in PLATFORMS {
        let mut session = Session::start();
        session.send(&format!("$USK run -t --platform {platform} -- bash --norc --noprofile -i\n"));
        session.expect("bash");
        session.send("PS1='inner''> '\n");
        session.expect("inner> ");
        session.send("sh -c 'echo be\"\"gun; read x; echo go\"\"ing; sleep 100'\n");
        session.expect("begun");
        session.send("\x1a");
        session.expect("Stopped");
        session.send("fg\n\n");
        session.expect("going");
        session.send("\x03");
        session.expect("inner> ");
        session.send("exit 4\n");
        session.expect("ready> ");
        assert_eq!(session.status(), "4");
        session.send("stty -a\n");
        let settings = session.expect("echoke");
        assert!(settings.contains("isig icanon"), "{settings}");
    }
}

#[test]
fn a_reader_that_closes_its_end_ends_the_command() {
    let mut session = Session::start();
    session.send("$USK run -- yes | head -n 1; echo ${PIPESTATUS[0]}:end\n");
    session.expect("141:end");
}
