//! Directories that the host's kernel shows as one. Documentation/filesystems/overlayfs.rst.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use nix::fcntl::OFlag;
use usk_abi::Errno;
use usk_platform::host::mounts::{
    FileSystemOption, MAX_OPTION_VALUE, MakeError, MountAttributes, new_file_system, twins,
};

use super::exports::shared;
use crate::spec::Export;

/// Most lower layers: `OVL_MAX_STACK` in the kernel's `fs/overlayfs/params.h`.
const MAX_LAYERS: usize = 500;

/// What an overlay is made of. Paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// What is shown unless a layer before it, or the upper one, has something else in its place.
    pub lower: Vec<Layer>,
    /// Where changes go. Without one nothing can be changed.
    pub upper: Option<PathBuf>,
    /// An empty directory of the upper layer's file system, in which changes are prepared.
    pub work: Option<PathBuf>,
    /// Other options of the file system, with their values.
    pub settings: Vec<(CString, Option<CString>)>,
}

/// A lower layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its directory.
    pub path: PathBuf,
    /// Whether its files are shown only where a layer before it refers to them.
    pub is_data_only: bool,
}

/// A layer's directory, opened. The kernel is told descriptors and no paths: those have no length that matters, and nothing to escape.
struct OpenLayer {
    directory: OwnedFd,
    is_data_only: bool,
}

/// Has the host's kernel show them as one, for the gofer. The caller must have one thread, and be root of a user namespace that owns
/// its mount namespace.
pub fn overlay_export(overlay: &Overlay, writable: bool) -> Result<Export> {
    let first = overlay.lower.first().context("'lowerdir' is missing")?;
    if overlay.lower.len() > MAX_LAYERS {
        bail!("'lowerdir' has {} layers, and more than {MAX_LAYERS} cannot be", overlay.lower.len());
    }
    let lower: Vec<OpenLayer> = overlay.lower.iter().map(OpenLayer::open).collect::<Result<_>>()?;
    let changes = match (&overlay.upper, &overlay.work) {
        (Some(upper), Some(work)) => vec![(c"upperdir", open(upper)?), (c"workdir", open(work)?)],
        (Some(_), None) => {
            bail!("'upperdir' needs 'workdir' beside it, an empty directory of its file system")
        }
        (None, _) if overlay.lower.len() < 2 => {
            bail!("'lowerdir' needs two directories where there is no 'upperdir': bind one alone")
        }
        (None, _) => Vec::new(),
    };
    let writable = writable && !changes.is_empty();
    let mut options = lower_options(&lower)?;
    for (name, directory) in &changes {
        options.push((CString::from(*name), Some(by_descriptor(directory)?)));
    }
    options.extend(overlay.settings.iter().cloned());
    let source = overlay.upper.as_ref().unwrap_or(&first.path).clone();
    let made = mount(&options)?;
    let [descriptor, twin] = twins(made.as_fd()).context("cannot mount an overlay twice")?;
    let export = shared(source, descriptor, true, writable);
    Ok(Export { detached: true, twin: Some(twin), recursive: false, ..export })
}

impl OpenLayer {
    fn open(layer: &Layer) -> Result<OpenLayer> {
        Ok(OpenLayer { directory: open(&layer.path)?, is_data_only: layer.is_data_only })
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let mut options = File::options();
    options.read(true).custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits());
    let opened = options.open(path).map(OwnedFd::from);
    opened.with_context(|| format!("cannot use {} as a directory of an overlay", path.display()))
}

/// The path of a directory that is open.
fn by_descriptor(directory: &OwnedFd) -> Result<CString> {
    Ok(CString::new(format!("/proc/self/fd/{}", directory.as_raw_fd()))?)
}

/// The lower layers: together where they fit, as every kernel takes them, else one by one.
fn lower_options(layers: &[OpenLayer]) -> Result<Vec<(CString, Option<CString>)>> {
    let mut together = Vec::new();
    let mut alone = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let path = by_descriptor(&layer.directory)?;
        let (separator, name) = if layer.is_data_only { ("::", c"datadir+") } else { (":", c"lowerdir+") };
        if index > 0 {
            together.extend_from_slice(separator.as_bytes());
        }
        together.extend_from_slice(path.as_bytes());
        alone.push((name.to_owned(), Some(path)));
    }
    Ok(match together.len() <= MAX_OPTION_VALUE {
        true => vec![(c"lowerdir".to_owned(), Some(CString::new(together)?))],
        false => alone,
    })
}

fn mount(options: &[(CString, Option<CString>)]) -> Result<OwnedFd> {
    let borrowed: Vec<FileSystemOption<'_>> =
        options.iter().map(|(name, value)| (name.as_c_str(), value.as_deref())).collect();
    // What more is to be taken away the gofer takes, as from a bind mount.
    new_file_system(c"overlay", &borrowed, MountAttributes::default())
        .map_err(|error| explain(error, options))
}

/// What to do about it, where that is known.
fn explain(error: MakeError, options: &[(CString, Option<CString>)]) -> Error {
    let is_long = options.iter().any(|(name, _)| name.as_c_str() == c"lowerdir+");
    let cure = match error.errno {
        Errno::EPERM => {
            "only root, of the host or of a user namespace that has mounts of its own, can have one: bind a directory instead"
        }
        Errno::ENODEV => "the host's kernel has none: load its module ('modprobe overlay')",
        Errno::EINVAL if is_long => "so many layers need Linux 6.8",
        _ if error.message.is_empty() => "the host's kernel says why in its log (dmesg)",
        _ => "the host's kernel refuses it",
    };
    Error::new(error).context(format!("cannot mount an overlay: {cure}"))
}
