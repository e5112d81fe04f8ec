//! The OCI runtime from outside: what engines see of it, beside runc where runc is there to compare with.
//!
//! As root, also what an ordinary user does: root becomes one for it.

#![forbid(unsafe_code)]

mod at_once;
mod beside_runc;
mod bundle;
mod configuration;
mod console;
mod containerd;
mod docker;
#[path = "../support/engines.rs"]
mod engines;
mod exec;
mod files;
mod hooks;
mod ipc;
mod life_cycle;
mod limits;
mod mounts;
mod namespaces;
mod ordinary_user;
mod overlay;
mod podman;
mod process;
mod runtime;
mod seccomp;
mod start_up;
mod sudden_death;
mod systemd;
mod users;
