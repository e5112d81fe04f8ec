//! The OCI runtime from outside: what engines see of it, beside runc where runc is there to compare with.
//!
//! As root: containers of an ordinary user need an engine that prepares for them.

#![forbid(unsafe_code)]

mod beside_runc;
mod bundle;
mod configuration;
mod console;
mod containerd;
mod docker;
mod exec;
mod files;
mod life_cycle;
mod limits;
mod podman;
mod process;
mod runtime;
mod sudden_death;
