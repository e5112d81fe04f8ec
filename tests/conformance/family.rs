//! The guest programs: compiled once for each content of their sources, and asked for the names of their cases.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// How each program is compiled. The warnings that are off are about bad arguments, which are the point here.
#[rustfmt::skip]
const COMPILER_ARGUMENTS: &[&str] = &[
    "-std=gnu17", "-O1", "-g", "-static", "-pthread", "-fno-toplevel-reorder",
    "-Wall", "-Wno-nonnull", "-Wno-stringop-overflow", "-Wno-stringop-overread",
];

/// Names to a program where files are that are there before it runs.
pub(crate) const GIVEN: &str = "GIVEN";

/// One compiled guest program.
pub(crate) struct Family {
    /// The name of the manual page it is about.
    pub(crate) name: String,
    /// The compiled program.
    pub(crate) program: PathBuf,
    /// It asks for [`GIVEN`] files.
    pub(crate) wants_files: bool,
    /// Its cases, in the order in which it runs them.
    pub(crate) cases: Vec<String>,
}

/// Compiles every program whose content changed since the last time.
///
/// # Errors
///
/// One line that says which program does not compile, with the compiler's messages.
pub(crate) fn build_all() -> Result<Vec<Arc<Family>>, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    fs::create_dir_all(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    let mut programs = Vec::new();
    let mut headers = Vec::new();
    let entries = fs::read_dir(&sources).map_err(|error| format!("{}: {error}", sources.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("c") => programs.push(path),
            Some("h") => headers.push(path),
            _ => {}
        }
    }
    programs.sort();
    headers.sort();
    let mut common = DefaultHasher::new();
    COMPILER_ARGUMENTS.hash(&mut common);
    for header in &headers {
        read(header)?.hash(&mut common);
    }
    let common = common.finish();

    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(source) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let family = build(source, common, &output);
                    if let Ok(mut results) = results.lock() {
                        results.push(family);
                    }
                }
            });
        }
    });
    let results = results.into_inner().map_err(|error| error.to_string())?;
    let mut families = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    families.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(families.into_iter().map(Arc::new).collect())
}

/// Compiles `source` unless that was done before, and lists its cases.
fn build(source: &Path, common: u64, output: &Path) -> Result<Family, String> {
    let name = source.file_stem().and_then(|stem| stem.to_str()).ok_or("a source without a name")?.to_owned();
    let mut hasher = DefaultHasher::new();
    common.hash(&mut hasher);
    let text = read(source)?;
    text.hash(&mut hasher);
    let hash = hasher.finish();
    let program = output.join(format!("{name}-{hash:016x}"));
    let list = program.with_extension("cases");
    if !list.exists() {
        // Two test processes may do this at the same time: each writes its own file and renames it.
        let fresh = program.with_extension(format!("new-{}", std::process::id()));
        run(Command::new("gcc").args(COMPILER_ARGUMENTS).arg("-o").arg(&fresh).arg(source))?;
        fs::rename(&fresh, &program).map_err(|error| format!("{}: {error}", program.display()))?;
        let cases = run(Command::new(&program).arg("--list"))?;
        fs::write(&fresh, cases).map_err(|error| format!("{}: {error}", fresh.display()))?;
        fs::rename(&fresh, &list).map_err(|error| format!("{}: {error}", list.display()))?;
    }
    let cases: Vec<String> = read(&list)?.lines().map(str::to_owned).collect();
    if cases.is_empty() {
        return Err(format!("{}: no cases", source.display()));
    }
    Ok(Family { name, program, wants_files: text.contains(GIVEN), cases })
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs `command` and returns what it wrote.
fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(output.stdout)
}
