//! Names, links and races in a writable volume do not lead out of it.
//!
//! The root of these sandboxes is nearly empty, so that nothing of what lies outside the volume can be seen in another
//! way than by an escape.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::guest;
use crate::support::runtime::Runtime;
use crate::tree::{Fingerprint, Tree, fingerprints};

/// How often a guest goes through the name that changes under it. Natively it gets out in nearly every tenth round.
const ROUNDS: &str = "4000";

/// A volume, what lies outside of it, and a root for the sandbox.
struct Scene {
    directory: tempfile::TempDir,
    program: PathBuf,
    before: Tree<Fingerprint>,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        for part in ["outside", "volume/d/sub", "root/volume", "root/tmp"] {
            fs::create_dir_all(root.join(part)).expect("a directory");
        }
        for (file, text) in [
            ("outside/canary", "canary"),
            ("outside/victim", "canary"),
            ("outside/moving", "canary"),
            ("volume/d/canary", "inside"),
            ("volume/d/victim", "inside"),
            ("volume/d/moving", "inside"),
            ("volume/file", "inside"),
        ] {
            fs::write(root.join(file), text).expect("a file");
        }
        symlink("../outside", root.join("volume/l")).expect("a link");
        let program = root.join("root/escape");
        fs::copy(guest::program("escape"), &program).expect("a copy of the program");
        let before = fingerprints(&root.join("outside"));
        Self { directory, program, before }
    }

    fn volume(&self) -> PathBuf {
        self.directory.path().join("volume")
    }

    /// A command that runs the guest on the scene.
    fn command(&self, runtime: Runtime, verb: &str) -> Command {
        let root = self.directory.path().join("root");
        let volume = format!("{}:/volume:rw", self.volume().display());
        let options = ["--rootfs", root.to_str().expect("a name in UTF-8"), "-v", &volume];
        let is_native = runtime == Runtime::Native;
        let program = if is_native { self.program.as_path() } else { Path::new("/escape") };
        let mut command = guest::command(runtime, program, &options);
        command.arg(verb).arg(if is_native { self.volume() } else { PathBuf::from("/volume") });
        command
    }

    /// Whether anything outside of the volume was seen by a guest that wrote this, or was changed.
    fn is_left(&self, stdout: &str) -> bool {
        stdout.contains("escaped") || fingerprints(&self.directory.path().join("outside")) != self.before
    }
}

/// Runs the guest natively, where it escapes, and in a sandbox, where it does not.
fn compare(runtime: Runtime, run: impl Fn(&Scene, Runtime) -> String) {
    let scene = Scene::new();
    let stdout = run(&scene, Runtime::Native);
    assert!(scene.is_left(&stdout), "natively it escapes: {stdout}");
    let scene = Scene::new();
    let stdout = run(&scene, runtime);
    assert!(stdout.ends_with("finished\n"), "{stdout}");
    assert!(!scene.is_left(&stdout), "{stdout}");
}

pub(crate) fn links_do_not_lead_out_of_a_volume(runtime: Runtime) {
    compare(runtime, |scene, runtime| guest::run(scene.command(runtime, "links")).expect_success().stdout);
}

pub(crate) fn a_guest_that_swaps_directories_and_links_does_not_leave_a_volume(runtime: Runtime) {
    compare(runtime, |scene, runtime| {
        let mut command = scene.command(runtime, "swap");
        command.arg(ROUNDS);
        guest::run(command).expect_success().stdout
    });
}

pub(crate) fn a_process_of_the_host_that_swaps_them_does_not_let_a_guest_out(runtime: Runtime) {
    compare(runtime, |scene, runtime| {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let [one, other] = ["d", "l"].map(|name| scene.volume().join(name));
                while !is_over.load(Ordering::Relaxed) {
                    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("an exchange");
                }
            });
            let mut command = scene.command(runtime, "follow");
            command.arg(ROUNDS);
            let outcome = guest::run(command);
            is_over.store(true, Ordering::Relaxed);
            outcome.expect_success().stdout
        })
    });
}

pub(crate) fn a_directory_that_the_host_moves_away_does_not_lead_a_guest_out(runtime: Runtime) {
    assert!(is_led_out_by_a_moved_directory(Runtime::Native));
    assert!(!is_led_out_by_a_moved_directory(runtime));
}

fn is_led_out_by_a_moved_directory(runtime: Runtime) -> bool {
    let mut scene = Scene::new();
    let mut command = scene.command(runtime, "moved");
    let mut guest = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command starts");
    let mut output = BufReader::new(guest.stdout.take().expect("a pipe"));
    let mut said = String::new();
    output.read_line(&mut said).expect("a line");
    assert_eq!(said, "ready\n");
    let outside = scene.directory.path().join("outside");
    fs::rename(scene.volume().join("d/sub"), outside.join("sub")).expect("a rename");
    scene.before = fingerprints(&outside);
    guest.stdin.take().expect("a pipe").write_all(b"!").expect("it listens");
    output.read_to_string(&mut said).expect("its last words");
    assert!(guest.wait().expect("its end").success() && said.ends_with("finished\n"), "{said}");
    scene.is_left(&said)
}
