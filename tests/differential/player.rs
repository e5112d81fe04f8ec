//! Sandboxes, and the host beside them, that play sequences one after another.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::sequence::{Place, Sequence};
use crate::support::runtime::{self, Runtime};

/// A sequence takes milliseconds; one that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one player plays. Each sequence finds files of its own, which are made before the sandbox begins: nobody changes an
/// exported tree while it is used.
const SEQUENCES_MAX: usize = 100;

/// Plays sequences on a runtime.
pub(crate) struct Player {
    runtime: Runtime,
    running: Option<Running>,
}

struct Running {
    child: Child,
    input: ChildStdin,
    reports: Receiver<String>,
    errors: fs::File,
    exported: TempDir,
    /// The directory that temporary files are in.
    temporary: PathBuf,
    /// The sequences begun.
    count: usize,
    /// Natively the working directory.
    _scratch: TempDir,
}

impl Player {
    pub(crate) fn new(runtime: Runtime) -> Player {
        Player { runtime, running: None }
    }

    pub(crate) fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// Begins to play a sequence.
    pub(crate) fn begin(&mut self, sequence: &Sequence) -> io::Result<()> {
        let running = match self.running.take() {
            Some(running) if running.count < SEQUENCES_MAX => self.running.insert(running),
            _ => self.running.insert(Running::start(self.runtime)?),
        };
        running.begin(sequence)
    }

    /// What became of the sequence that was begun.
    pub(crate) fn report(&mut self) -> String {
        let Some(running) = &mut self.running else { return "it did not begin".to_owned() };
        if let Ok(report) = running.reports.recv_timeout(PATIENCE) {
            return report;
        }
        let ending = running.end();
        self.running = None;
        ending
    }
}

impl Running {
    fn start(runtime: Runtime) -> io::Result<Running> {
        let scratch = runtime::scratch_directory()?;
        let exported = if runtime == Runtime::Native {
            runtime::scratch_directory()?
        } else {
            tempfile::Builder::new().prefix("exported-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?
        };
        for directory in [&scratch, &exported] {
            fs::set_permissions(directory, PermissionsExt::from_mode(0o755))?;
        }
        (0..SEQUENCES_MAX).try_for_each(|number| make_files(&files_of(exported.path(), number)))?;
        let errors = tempfile::tempfile()?;
        let mut command = runtime.command(guest(), scratch.path(), &[]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors.try_clone()?);
        let mut child = command.spawn()?;
        let (Some(input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes"));
        };
        let (sender, reports) = channel();
        thread::spawn(move || {
            while let Ok(report) = read_report(&mut output) {
                if sender.send(report).is_err() {
                    break;
                }
            }
        });
        let is_native = runtime == Runtime::Native;
        let temporary = if is_native { scratch.path().to_owned() } else { PathBuf::from("/tmp") };
        Ok(Running { child, input, reports, errors, exported, temporary, count: 0, _scratch: scratch })
    }

    fn begin(&mut self, sequence: &Sequence) -> io::Result<()> {
        let parent = match sequence.place {
            Place::Temporary => &self.temporary,
            Place::Exported => self.exported.path(),
        };
        let directory = files_of(parent, self.count);
        self.count += 1;
        self.input.write_all(&sequence.encode(&directory.to_string_lossy()))
    }

    /// Ends it, and says how it ended.
    fn end(&mut self) -> String {
        let by_itself = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let status = self.child.wait();
        let mut errors = String::new();
        let _ = io::Seek::rewind(&mut self.errors).and_then(|()| self.errors.read_to_string(&mut errors));
        match (by_itself, status) {
            (None, _) => format!("it hangs\n{errors}"),
            (Some(_), status) => format!("the sandbox has ended: {status:?}\n{errors}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_report(output: &mut impl Read) -> io::Result<String> {
    let mut length = [0; 4];
    output.read_exact(&mut length)?;
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    output.read_exact(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The directory of a sequence's files. Nothing but it is in the one above, where a link to `.` and `..` lead a sequence.
fn files_of(parent: &Path, number: usize) -> PathBuf {
    parent.join(number.to_string()).join("files")
}

/// As `make_files` in `guest.c`.
fn make_files(directory: &Path) -> io::Result<()> {
    let content = |counted: usize, size: usize| {
        let mut bytes: Vec<u8> = (0..counted).map(|index| (index % 251) as u8).collect();
        bytes.resize(size, 0);
        bytes
    };
    fs::create_dir_all(directory.join("d"))?;
    for (name, counted, size) in [("a", 10, 10), ("b", 500, 5000), ("big", 600, 40_000), ("d/c", 100, 100)] {
        fs::write(directory.join(name), content(counted, size))?;
        fs::set_permissions(directory.join(name), PermissionsExt::from_mode(0o644))?;
    }
    symlink("a", directory.join("l"))?;
    fs::set_permissions(directory.join("d"), PermissionsExt::from_mode(0o755))?;
    fs::set_permissions(directory, PermissionsExt::from_mode(0o777))
}

/// The program, compiled once for each run of the tests.
fn guest() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/guest.c");
        let output = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let fresh = tempfile::NamedTempFile::new_in(output).expect("a temporary file").into_temp_path();
        let mut compiler = Command::new("gcc");
        compiler
            .args(["-std=gnu17", "-O1", "-g", "-Wall", "-static", "-pthread", "-o"])
            .arg(&fresh)
            .arg(source);
        let compiled = compiler.output().expect("gcc runs");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755)).expect("the program is public");
        let program = output.join("differential-guest");
        // Others may run the tests at the same time: whoever is last gives it its name.
        fresh.persist(&program).expect("the program gets its name");
        program
    })
}
