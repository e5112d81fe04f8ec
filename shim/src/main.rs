//! The `usk-oci` command.

#![forbid(unsafe_code)]

fn main() {
    std::process::exit(usk_oci::main());
}
