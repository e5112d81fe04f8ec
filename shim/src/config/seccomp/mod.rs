//! `linux.seccomp`: a profile for system calls becomes a program for the classic BPF machine, which the sandbox's kernel
//! checks and runs as it does a guest's own.
//!
//! [`profile`] understands the configuration as runc and libseccomp do; [`compile`] makes the program.

mod compile;
mod profile;

use anyhow::{Result, bail};
use oci_spec::runtime::LinuxSeccomp;
use usk_abi::seccomp::{BPF_MAXINSNS, SockFilter};

/// The program of a profile.
pub(super) fn program(profile: &LinuxSeccomp) -> Result<Vec<SockFilter>> {
    let program = compile::compile(&profile::rules(profile)?);
    if program.len() > BPF_MAXINSNS {
        bail!(
            "linux.seccomp.syscalls: the profile becomes {} instructions, and a filter has at most {BPF_MAXINSNS}; use \
             fewer rules",
            program.len()
        );
    }
    Ok(program)
}
