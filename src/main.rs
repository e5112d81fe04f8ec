//! The `usk` command.

#![forbid(unsafe_code)]

fn main() {
    std::process::exit(usk::main());
}
