//! Files that are made up when somebody looks: what `proc` and `sys` are built of.
//!
//! A [`SyntheticInode`] is a directory whose names a [`Directory`] knows, a file whose contents a [`Text`] makes, or a symbolic link
//! whose target a [`LinkSource`] makes. Nothing can be created or removed in them.

mod file;
mod inode;

pub use inode::{Directory, Entry, FixedLink, LinkSource, Names, SyntheticFs, SyntheticInode, Text};
