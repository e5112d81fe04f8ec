//! At a terminal, under a shell with job control: what keys do is the same as without usk.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::sandbox::{PLATFORMS, wait_until_gone};

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shell at a terminal of its own.
struct Session {
    shell: Child,
    terminal: File,
    /// The end that the shell has.
    slave: OwnedFd,
    /// What has been printed and not been expected yet.
    printed: String,
}

/// Both ends of a terminal, which no program inherits: one that held the master would keep the terminal from hanging up.
fn pseudo_terminal() -> (File, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave =
        rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (master.into(), slave)
}

impl Session {
    fn start() -> Session {
        let (master, slave) = pseudo_terminal();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "bash", "--norc", "--noprofile", "-i"]);
        command
            .env("USK", env!("CARGO_BIN_EXE_usk"))
            .env("PS1", "ready> ")
            .env("TERM", "dumb")
            .current_dir("/");
        let shell = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let mut session = Session { shell, terminal: master, slave, printed: String::new() };
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

    /// Changes the window's size.
    fn resize(&self, rows: u16, columns: u16) {
        // Both at once; stty would set one and then the other, with a signal for each.
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.slave, size).unwrap();
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
        // No shell: one that is about to execute a program would swallow the signal.
        session.send(&format!(
            "$USK run --platform {platform} -- perl -e '$| = 1; print \"be\", \"gun\\n\"; sleep 100'\n"
        ));
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
        session.send("sh -c 'echo be\"\"gun; read x; echo go\"\"ing; exec cat'\n");
        session.expect("begun");
        session.send("\x1a");
        session.expect("Stopped");
        session.send("fg\n\n");
        session.expect("going");
        // Once echoed and once repeated. A shell that is about to execute a program would swallow the signal.
        session.send("ping\n");
        session.expect("ping");
        session.expect("ping");
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

/// With a terminal of the sandbox's own, and with the caller's as a mere stream.
const WAYS: [&str; 2] = ["-t", ""];

#[test]
fn the_command_sees_the_windows_size_and_hears_of_changes() {
    for platform in PLATFORMS {
        let mut session = Session::start();
        session.resize(31, 97);
        session.send(&format!(
            "$USK run -t --platform {platform} -- bash -c 'trap \"stty size; exit 6\" WINCH; stty size; \
             echo be\"\"gun; while :; do read -t 0.05; done'\n"
        ));
        let before = session.expect("begun");
        assert!(before.contains("31 97"), "{platform}: {before}");
        session.resize(50, 120);
        session.expect("50 120");
        session.expect("ready> ");
        assert_eq!(session.status(), "6");
    }
}

#[test]
fn an_editor_in_raw_mode_works_and_the_terminal_is_as_before() {
    for platform in PLATFORMS {
        let mut session = Session::start();
        session.resize(10, 80);
        session.send(&format!(
            "$USK run -t --platform {platform} -e TERM=vt100 -- sh -c 'busybox vi /tmp/written; echo ho\"\"lds; \
             cat /tmp/written'\n"
        ));
        // The line at the bottom of the screen: before, and once the editor is back from writing.
        session.expect("- /tmp/written 1/1");
        session.send("iedited text");
        session.expect("edited text");
        session.send("\x1b");
        session.expect("- /tmp/written");
        session.send(":wq\r");
        session.expect("holds");
        session.expect("edited text");
        session.expect("ready> ");
        assert_eq!(session.status(), "0");
        session.send("stty -a\n");
        let settings = session.expect("echoke");
        assert!(settings.contains("isig icanon") && settings.contains(" echo "), "{platform}: {settings}");
    }
}

#[test]
fn a_pager_reads_keys_and_leaves() {
    for platform in PLATFORMS {
        let mut session = Session::start();
        session.resize(10, 80);
        session.send(&format!(
            "$USK run -t --platform {platform} -e TERM=vt100 -- sh -c 'seq 1000 2000 | busybox less; echo le\"\"ft'\n"
        ));
        let first = session.expect("1008");
        assert!(first.contains("1000") && !first.contains("1010"), "{first}");
        session.send(" ");
        session.expect("1017");
        session.send("q");
        session.expect("left");
        session.expect("ready> ");
        assert_eq!(session.status(), "0");
    }
}

#[test]
fn a_command_that_is_killed_in_raw_mode_leaves_the_terminal_as_it_was() {
    for platform in PLATFORMS {
        let mut session = Session::start();
        session
            .send(&format!("$USK run -t --platform {platform} -- sh -c 'stty raw -echo; kill -KILL $$'\n"));
        session.expect("ready> ");
        assert_eq!(session.status(), "137");
        session.send("stty -a\n");
        let settings = session.expect("echoke");
        assert!(settings.contains("isig icanon") && settings.contains(" echo "), "{platform}: {settings}");
    }
}

#[test]
fn the_keys_that_quit_and_end_input_work() {
    for platform in PLATFORMS {
        for way in WAYS {
            let mut session = Session::start();
            session
                .send(&format!("$USK run {way} --platform {platform} -- sh -c 'echo be\"\"gun; exec cat'\n"));
            session.expect("begun");
            session.send("line\n");
            session.expect("line\r\nline\r\n");
            session.send("\x04");
            session.expect("ready> ");
            assert_eq!(session.status(), "0", "{platform} {way}");
            session
                .send(&format!("$USK run {way} --platform {platform} -- sh -c 'echo be\"\"gun; exec cat'\n"));
            session.expect("begun");
            session.send("\x1c");
            session.expect("ready> ");
            assert_eq!(session.status(), "131", "{platform} {way}");
        }
    }
}

/// The first line of a file, once it is there: the command may be quicker than the monitor that reports its start.
fn first_line(path: &Path) -> String {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap();
        if let Some((line, _)) = text.split_once('\n') {
            return line.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is reported");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Types `command`, which reports to descriptor 9, and `more` at the prompt of a shell inside; takes the terminal away
/// once something inside has said that it has begun, and waits until all of the sandbox is gone.
fn hang_up(command: &str, more: Option<&str>) {
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events");
    let mut session = Session::start();
    session.send(&format!("{command} 9>{}\n", events.display()));
    if let Some(more) = more {
        session.expect("inner> ");
        session.send(more);
    }
    session.expect("begun");
    let started: serde_json::Value = serde_json::from_str(&first_line(&events)).unwrap();
    let processes = ["monitor", "sentry", "gofer"].map(|name| started[name].as_i64().unwrap() as i32);
    // With the end that the shell does not have, the terminal is gone.
    drop(session);
    wait_until_gone(&processes);
}

#[test]
fn a_terminal_that_hangs_up_ends_the_sandbox() {
    for platform in PLATFORMS {
        for way in WAYS {
            let run = format!("$USK run {way} --status-fd 9 --platform {platform}");
            hang_up(&format!("{run} -- sh -c 'echo be\"\"gun; sleep 100'"), None);
        }
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_a_shell_whose_job_does_not_care() {
    for platform in PLATFORMS {
        let run = format!("$USK run -t --status-fd 9 --platform {platform} -e PS1='inner> '");
        let job = "sh -c 'trap \"\" HUP; echo be\"\"gun; while :; do sleep 100; done'\n";
        hang_up(&format!("{run} -- bash --norc --noprofile -i"), Some(job));
    }
}

#[test]
fn a_terminal_that_hangs_up_is_heard_without_a_shell_that_passes_it_on() {
    for platform in PLATFORMS {
        // The monitor ignores SIGHUP and passes none on: only the terminal itself says that it is gone.
        let run = format!("trap '' HUP; exec $USK run -t --status-fd 9 --platform {platform}");
        let script = "\
            import signal, sys; signal.signal(signal.SIGHUP, lambda *_: sys.exit(3)); print(\"be\" + \"gun\", flush=True)\n\
            while True: signal.pause()";
        hang_up(&format!("({run} -- python3 -c '{script}')"), None);
    }
}

#[test]
fn what_is_redirected_does_not_go_to_the_terminal() {
    for platform in PLATFORMS {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("output");
        let mut session = Session::start();
        session.send(&format!(
            "$USK run -t --platform {platform} -- sh -c 'echo kept; [ -t 0 ] && ! [ -t 1 ] && echo ti\"\"dings >&2' >{}\n",
            file.display()
        ));
        session.expect("tidings");
        session.expect("ready> ");
        assert_eq!(session.status(), "0", "{platform}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept\n", "{platform}");
    }
}
