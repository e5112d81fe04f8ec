//! Container images without an engine: from an OCI image layout or an archive of `docker save` to a root, and to what the
//! image says about its command.
//!
//! [`mod@reference`] says which image, [`source`] where its parts are read from, [`manifest`] what they are. Each layer is
//! decompressed ([`compression`]), read as an [`archive`], and unpacked ([`layer`]) into the [`cache`], by its digest
//! ([`digest`]): its files into a [`tree`], what a tree cannot hold into a [`listing`]. A [`root`] is made of layers by hard
//! links. [`mod@prepare`] does all of this, [`settings`] takes what the image's configuration says, `verb` is `usk image`.
//!
//! All that is read here may be hostile: every length has a bound in `limits`, names never lead out of a tree, and nothing
//! is executed, owned by others, or made that is not a file, a directory, a link or a fifo. Documents and the headers of
//! archives are read by the monitor; layers are by a process that is confined to the cache (`sandbox::confined`).

mod archive;
mod cache;
mod compression;
mod digest;
mod layer;
mod limits;
mod listing;
mod manifest;
mod prepare;
mod reference;
mod root;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod verb;

pub use prepare::{ImageRoot, prepare};
pub use reference::{Reference, Transport, parse_reference};
pub use settings::Settings;
pub(crate) use verb::image;
