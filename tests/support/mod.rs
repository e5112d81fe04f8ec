//! What test binaries share: the runtimes that a test runs on, the list of expected failures, running a command under
//! a time limit, and a sandbox that is looked at while it runs.
//!
//! Every conformance and program test is *native first*: the host kernel is the specification, so a test that fails
//! natively is wrong, whatever usk does. The same test then runs under usk, once for each platform.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

pub(crate) mod caller;
pub(crate) mod engines;
pub(crate) mod expectations;
pub(crate) mod mounts;
pub(crate) mod runtime;
pub(crate) mod sandbox;
pub(crate) mod watched;
