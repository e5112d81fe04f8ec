//! The documents say what the code says. After a change of the options:
//!
//!     USK_BLESS=1 cargo test --test documents

use std::path::{Path, PathBuf};

use clap::{Arg, Args, Command};
use usk::command_line::RunArguments;

const BEGIN: &str = "<!-- options of run: from src/command_line.rs by tests/documents.rs -->\n";
const END: &str = "<!-- end of options -->\n";

fn project(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn readme_lists_the_options_of_run() {
    let path = project("README.md");
    let text = read(&path);
    let (before, rest) = text.split_once(BEGIN).expect("README.md has the mark before the options");
    let (found, after) = rest.split_once(END).expect("README.md has the mark after the options");
    let expected = options();
    if std::env::var_os("USK_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}"))
            .expect("README.md is writable");
        return;
    }
    assert!(found == expected, "README.md is stale: run USK_BLESS=1 cargo test --test documents");
}

/// The rows of the table, in the order of `usk run --help`.
fn options() -> String {
    let run = RunArguments::augment_args(Command::new("run"));
    let shown = run.get_arguments().filter(|option| !option.is_hide_set() && !option.is_positional());
    format!("| option | |\n| --- | --- |\n{}", shown.map(row).collect::<String>())
}

fn row(option: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(option.get_short().map(|short| format!("-{short}")));
    names.extend(option.get_long().map(|long| format!("--{long}")));
    let value = match option.get_value_names() {
        Some([name]) if option.get_action().takes_values() => match option.get_num_args() {
            Some(count) if count.min_values() == 0 => format!("[={name}]"),
            _ => format!(" {name}"),
        },
        _ => String::new(),
    };
    let value = match option.get_possible_values().as_slice() {
        [] => value,
        _ if !option.get_action().takes_values() => value,
        values => format!(" {}", values.iter().map(|value| value.get_name()).collect::<Vec<_>>().join("|")),
    };
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    let default = match option.get_default_values() {
        [] => String::new(),
        values => format!(" [default: {}]", values.join(std::ffi::OsStr::new(" ")).display()),
    };
    // A bar ends a cell, inside of code too.
    let cell = |text: String| text.replace('|', "\\|");
    let name = cell(format!("{}{value}", names.join(", ")));
    format!("| `{name}` | {} |\n", cell(format!("{help}{default}")))
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SPECIFICATION.md",
        "CHANGELOG.md",
        "docs/benchmarks.md",
        "docs/roadmap.md",
    ];
    for document in documents {
        let path = project(document);
        for part in read(&path).split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let place = path.parent().unwrap_or(Path::new("")).join(target);
            assert!(place.exists(), "{document} links to {target}, which is not there");
        }
    }
}
