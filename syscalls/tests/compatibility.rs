//! `docs/compatibility.md` says what the table says. After a change of the table:
//!
//!     USK_BLESS=1 cargo test -p usk-syscalls --test compatibility

use std::fmt::Write;
use std::path::Path;

use usk_syscalls::{NAMES, Support, Table};

const DOCUMENT: &str = "../docs/compatibility.md";

#[test]
fn compatibility_document_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let expected = document(&Table::new());
    if std::env::var_os("USK_BLESS").is_some() {
        std::fs::write(&path, &expected).expect("the document can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{DOCUMENT} is stale: run USK_BLESS=1 cargo test -p usk-syscalls --test compatibility"
    );
}

#[test]
fn rows_are_called_as_linux_calls_them() {
    let table = Table::new();
    for number in 0..=NAMES.iter().map(|(number, _)| *number).max().unwrap_or(0) {
        let Some(row) = table.row(number) else { continue };
        let name = NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
        assert_eq!(Some(row.name), name, "call {number}");
    }
}

fn document(table: &Table) -> String {
    let mut rows = String::new();
    let mut missing = Vec::new();
    let (mut full, mut partial) = (0, 0);
    for (number, name) in NAMES {
        let Some(row) = table.row(*number) else {
            missing.push(format!("`{name}`"));
            continue;
        };
        let support = match row.support {
            Support::Full => {
                full += 1;
                "full".to_owned()
            }
            Support::Partial(what) => {
                partial += 1;
                format!("partial: {what}")
            }
        };
        writeln!(rows, "| {number} | `{name}` | {support} |").expect("writing to a string does not fail");
    }
    format!(
        "# System calls\n\n\
         Generated from the table in `syscalls/src` by `syscalls/tests/compatibility.rs`; do not edit.\n\n\
         The interface is that of Linux 6.12 on x86-64. Of its {known} calls {full} are there in full, {partial} in\n\
         part, and {absent} are not. A call that is not there returns `ENOSYS`, is counted, and is named in the\n\
         report at the sandbox's end and by `usk run --strace`.\n\n\
         | number | call | support |\n| ---: | --- | --- |\n{rows}\n\
         ## Not there\n\n{missing}.\n",
        known = NAMES.len(),
        absent = missing.len(),
        missing = wrap(&missing),
    )
}

/// The words in lines of at most 110 columns, with commas between.
fn wrap(words: &[String]) -> String {
    let mut text = String::new();
    let mut column = 0;
    for (index, word) in words.iter().enumerate() {
        let word = if index + 1 < words.len() { format!("{word},") } else { word.clone() };
        if column > 0 && column + 1 + word.len() > 110 {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        column += word.len();
        text.push_str(&word);
    }
    text
}
