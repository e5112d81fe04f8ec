//! The protocols of words that guest threads and the sentry share, in all interleavings, by loom.
//!
//! What the stub does is assembly: it is written here again, step by step, as its comments tell it; what the sentry does is
//! written as its code does it. A word whose both sides are Rust has its model beside it, over the same source
//! (`trap/handover`, the sentry's `task/standing`).
//!
//! | model | rule |
//! | --- | --- |
//! | [`masks`] | two words, each written by one side and then the other read: whoever comes second sees the first |
//! | [`copies`] | a list that is handed over with the right to go on |
//!
//! A model is a test with two or three threads and few steps. Loom takes an access as at most `AcqRel`, so where the order of a
//! write and a later read matters there is a fence in the model, and a locked instruction in the code.

#[path = "models/copies.rs"]
mod copies;
#[path = "models/masks.rs"]
mod masks;
