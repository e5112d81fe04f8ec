//! Which runtimes there are here: each is looked for, and tried.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Job, Kind, Runtime};
use crate::bench::guest::Guest;
use crate::bench::launch;
use crate::bench::place::Place;
use crate::bench::results::Absence;
use crate::values::NamedProgram;

/// A sandbox that does nothing takes less, even on a busy machine. Some runtimes hang where they cannot work.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_QUICK: Duration = Duration::from_secs(10);
/// gVisor's ways to run guest code.
const GVISOR_PLATFORMS: &[&str] = &["systrap", "kvm", "ptrace"];
/// Runtimes by how they are driven, and their programs; usk's is this one. It comes first: when the time is over, it is others
/// that have no figures.
const PROGRAMS: &[(&str, &str)] =
    &[("usk", ""), ("bubblewrap", "bwrap"), ("crun", "crun"), ("runc", "runc"), ("runsc", "runsc")];
/// What usk is measured with: the name in tables, the options, and the option that must exist for it.
const USK: &[(&str, &[&str], Option<&str>)] = &[
    ("trap", &["--platform=trap"], None),
    ("trap, tiers=2", &["--platform=trap", "--tiers=2"], Some("--tiers")),
    ("trap, no patch", &["--platform=trap", "--no-patch"], Some("--no-patch")),
    ("trap, spin", &["--platform=trap", "--spin"], Some("--spin")),
    ("ptrace", &["--platform=ptrace"], None),
];

/// The runtimes that work, native first, and those that do not, with the reason. `wanted` says by name which to look at.
pub(crate) fn discover(
    place: &Place,
    guest: &Guest,
    named: &[NamedProgram],
    quick: bool,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Vec<Runtime>, Vec<Absence>)> {
    let patience = if quick { PATIENCE_QUICK } else { PATIENCE };
    let mut found = vec![Runtime::native()];
    let mut absent = Vec::new();
    for (name, kind, program) in programs(place, named)? {
        let Some(program) = program else {
            let reason = "not installed".to_owned();
            absent.extend(wanted(&name).then_some(Absence { name, reason }));
            continue;
        };
        for candidate in variants(&name, kind, &program) {
            match candidate {
                Ok(runtime) if !wanted(&runtime.name) => {}
                Ok(runtime) => match try_it(place, guest, &runtime, patience) {
                    Ok(()) => found.push(runtime),
                    Err(reason) => absent.push(Absence { name: runtime.name, reason }),
                },
                Err(absence) => absent.extend(wanted(&absence.name).then_some(absence)),
            }
        }
    }
    Ok((found, absent))
}

/// Each runtime's name, kind and program, if there is one: those that were named, in place of what is installed if the
/// name is the same.
fn programs(place: &Place, named: &[NamedProgram]) -> Result<Vec<(String, &'static str, Option<PathBuf>)>> {
    let mut programs = Vec::new();
    for (kind, program) in PROGRAMS {
        if !named.iter().any(|named| named.name == *kind) {
            let installed = match *kind {
                "usk" => Some(std::env::current_exe().context("cannot find usk's own program")?),
                _ => place.find_program(program),
            };
            programs.push(((*kind).to_owned(), *kind, installed));
        }
        let of_kind = named.iter().filter(|named| named.kind == *kind);
        programs.extend(of_kind.map(|named| (named.name.clone(), *kind, Some(named.program.clone()))));
    }
    Ok(programs)
}

/// A program in each of the ways that it is measured in.
fn variants(name: &str, kind: &str, program: &Path) -> Vec<Result<Runtime, Absence>> {
    let version = first_line(program, "--version");
    let runtime = |name: String, kind: Kind| {
        Ok(Runtime { name, version: version.clone(), program: program.to_owned(), kind })
    };
    match kind {
        "bubblewrap" => vec![runtime(name.into(), Kind::Bubblewrap)],
        "runsc" => {
            let of_platform = |platform: &&str| {
                let options = ["--platform", platform, "--network", "none", "--ignore-cgroups"];
                let options = options.map(str::to_owned).to_vec();
                runtime(format!("{name} {platform}"), Kind::Oci { options, is_gvisor: true })
            };
            GVISOR_PLATFORMS.iter().map(of_platform).collect()
        }
        "usk" => {
            let help = output(program, &["run", "--help"]);
            let variant = |(variant, options, needed): &(&str, &[&str], Option<&str>)| {
                let name = format!("{name} {variant}");
                match needed {
                    Some(option) if !help.contains(option) => {
                        Err(Absence { name, reason: format!("this usk has no option {option}") })
                    }
                    _ => {
                        let options = options.iter().map(|&option| option.to_owned()).collect();
                        runtime(name, Kind::Usk { options })
                    }
                }
            };
            USK.iter().map(variant).collect()
        }
        _ => vec![runtime(name.into(), Kind::Oci { options: Vec::new(), is_gvisor: false })],
    }
}

fn try_it(place: &Place, guest: &Guest, runtime: &Runtime, patience: Duration) -> Result<(), String> {
    let job = Job::new([&guest.nothing]);
    match launch::run(place, runtime, &job, patience) {
        Ok(ended) => ended.failure.map_or(Ok(()), |failure| Err(format!("does not work here: {failure}"))),
        Err(error) => Err(format!("does not work here: {error:#}")),
    }
}

fn output(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn first_line(program: &Path, option: &str) -> String {
    output(program, &[option]).lines().next().unwrap_or_default().to_owned()
}
