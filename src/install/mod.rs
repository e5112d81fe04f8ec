//! `usk install` and `usk uninstall`: what container engines are told about usk.
//!
//! Each engine has one file of settings. What is in it stays: only the runtime's own entry is added, replaced or taken out.
//! The file as it was before usk's first change is kept beside it. A file that cannot be understood is not touched. `usk uninstall`
//! also takes away what sandboxes leave on the host for those that follow.

mod containerd;
mod docker;
mod podman;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command_line::{EngineChoice, InstallArguments};
use crate::entry::FAILURE;
use crate::sandbox::{EMPTY_NAMESPACES, remove_empty_namespaces};

/// Ends the name of the file as it was.
const BACKUP: &str = ".before-usk";

/// What becomes of the runtime's entry.
#[derive(Clone, Copy, Debug)]
enum Change<'a> {
    /// It names this program.
    Set(&'a Path),
    /// It is taken out.
    Remove,
}

/// The settings of one engine.
struct Engine {
    choice: EngineChoice,
    name: &'static str,
    /// Below `/etc`.
    file: &'static str,
    /// The program whose presence says that the engine is there.
    program: &'static str,
    /// The contents changed; the old ones are `None` if there is no file.
    edit: fn(Option<&str>, &str, Change<'_>) -> Result<String>,
    /// What makes the engine notice, and how to use the runtime.
    advice: fn(&str) -> String,
}

const ENGINES: [Engine; 3] = [
    Engine {
        choice: EngineChoice::Docker,
        name: "Docker",
        file: "docker/daemon.json",
        program: "dockerd",
        edit: docker::edit,
        advice: |name| format!("reload it (systemctl reload docker), then: docker run --runtime {name} …"),
    },
    Engine {
        choice: EngineChoice::Containerd,
        name: "containerd",
        file: "containerd/config.toml",
        program: "containerd",
        edit: containerd::edit,
        advice: |name| format!("restart it, then name {name} in a RuntimeClass as the handler"),
    },
    Engine {
        choice: EngineChoice::Podman,
        name: "Podman",
        file: "containers/containers.conf",
        program: "podman",
        edit: podman::edit,
        advice: |name| format!("podman --runtime {name} run …"),
    },
];

pub(crate) fn install(arguments: &InstallArguments) -> i32 {
    finish(runtime(arguments).and_then(|runtime| change_all(arguments, Change::Set(&runtime))))
}

pub(crate) fn uninstall(arguments: &InstallArguments) -> i32 {
    finish(change_all(arguments, Change::Remove).and_then(|()| remove_what_sandboxes_leave()))
}

fn remove_what_sandboxes_leave() -> Result<()> {
    let is_removed =
        remove_empty_namespaces().with_context(|| format!("cannot remove {EMPTY_NAMESPACES}"))?;
    if is_removed {
        println!("removed {EMPTY_NAMESPACES}; the next sandbox of root's makes it again");
    }
    Ok(())
}

fn finish(outcome: Result<()>) -> i32 {
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("usk: {error:#}");
            FAILURE
        }
    }
}

/// The program that engines shall run.
fn runtime(arguments: &InstallArguments) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let path = arguments.runtime.clone().unwrap_or_else(|| own.with_file_name("usk-oci"));
    let path = fs::canonicalize(&path).with_context(|| {
        format!(
            "cannot use {} as the runtime: install usk-oci there, or name it with --runtime",
            path.display()
        )
    })?;
    if path.to_str().is_none() {
        bail!("cannot use {} as the runtime: settings are text, its path is not", path.display());
    }
    Ok(path)
}

fn change_all(arguments: &InstallArguments, change: Change<'_>) -> Result<()> {
    let wanted = |engine: &&Engine| {
        let is_named = arguments.engines.contains(&engine.choice);
        let is_there = || arguments.etc.join(engine.file).exists() || is_installed(engine.program);
        is_named || (arguments.engines.is_empty() && is_there())
    };
    let engines: Vec<&Engine> = ENGINES.iter().filter(wanted).collect();
    if engines.is_empty() && matches!(change, Change::Set(_)) {
        bail!(
            "found neither Docker nor containerd nor Podman: name an engine to write its settings all the same"
        );
    }
    // All are understood before any is changed.
    let mut changes = Vec::new();
    for engine in engines {
        let path = arguments.etc.join(engine.file);
        let old = read(&path)?;
        let new = (engine.edit)(old.as_deref(), &arguments.name, change)
            .with_context(|| format!("cannot change {}, which is left as it is", path.display()))?;
        changes.push((engine, path, old, new));
    }
    for (engine, path, old, new) in changes {
        let is_same = old.as_ref().is_some_and(|old| *old == new);
        if is_same || (old.is_none() && matches!(change, Change::Remove)) {
            println!("{}: nothing to change in {}", engine.name, path.display());
            continue;
        }
        replace(&path, old.as_deref(), &new)?;
        match change {
            Change::Set(_) => {
                println!("{}: wrote {}; {}", engine.name, path.display(), (engine.advice)(&arguments.name));
            }
            Change::Remove => println!("{}: took {} out of {}", engine.name, arguments.name, path.display()),
        }
    }
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons are where an ordinary user's PATH does not lead.
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .any(|directory| directory.join(program).is_file())
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Replaces a file, wholly or not at all, and keeps what it was before the first time. Who may read and write it stays; a symbolic
/// link goes on leading to it.
fn replace(path: &Path, old: Option<&str>, new: &str) -> Result<()> {
    let describe = || format!("cannot write {}", path.display());
    let directory = path.parent().with_context(describe)?;
    fs::create_dir_all(directory).with_context(describe)?;
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    if old.is_some() {
        // The file itself, with its owner and permissions: it may hold what others must not read.
        match fs::hard_link(path, beside(BACKUP)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(describe);
            }
            _ => {}
        }
    }
    let temporary = beside(".new-usk");
    write_alike(&temporary, old.map(|_| path.as_path()), new)
        .and_then(|()| fs::rename(&temporary, path))
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .with_context(describe)
}

/// Writes a file that has the owner and permissions of another.
fn write_alike(path: &Path, other: Option<&Path>, text: &str) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    let Some(other) = other else { return options.open(path)?.write_all(text.as_bytes()) };
    let wanted = fs::metadata(other)?;
    let mut file = options.mode(0o600).open(path)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (wanted.uid(), wanted.gid()) {
        fchown(&file, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    file.set_permissions(wanted.permissions())?;
    file.write_all(text.as_bytes())
}
