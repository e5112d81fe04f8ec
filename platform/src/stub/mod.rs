//! The stub: the code that runs in a guest's address space on behalf of the sentry, and the shape of the memory that
//! the two share.
//!
//! [`geometry`] says where things lie and what their fields mean; `stub.S` is the code, continued in
//! `mask.S`, `return.S` and `asked.S`, which serve calls without the sentry; [`image`] is the code and its
//! constants as bytes, ready to be mapped; [`addresses`] are places in it, its system-call instructions among them.

pub(crate) mod addresses;
pub(crate) mod geometry;
pub(crate) mod image;
