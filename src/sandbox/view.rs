//! A container's files where tools of the host look for them: in the mount namespace of the container's process.
//!
//! Who joins that namespace takes its root for the container's (`podman cp`, nsenter(1)); were it the host's, files for the
//! container would be written to the host. So the process gets one that holds the exports, each at its place and with its
//! rights. Nothing can be executed there: on the host's kernel a guest's program would be out of the sandbox. What lies in the
//! sentry's memory is not the host's to show; an empty directory that cannot be written to is in its place.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use usk_abi::Errno;
use usk_platform::host::mounts::{self, MountAttributes};
use usk_platform::host::namespaces::{self, Namespaces};

use super::gofer::{copy_tree, settle_propagation};
use super::sentry::CANNOT_PIVOT;
use crate::plan::{Plan, open_in_root};
use crate::spec::{Export, ExportAccess, MountSource};

/// What a plan shows, in the order in which it is mounted; the root is the first.
#[derive(Debug)]
pub struct View(Vec<Place>);

#[derive(Debug)]
struct Place {
    destination: PathBuf,
    /// `None` is what the host does not show.
    export: Option<Export>,
}

/// A view of which the root is mounted where the host has it. Paths still lead to the host's files, and below there to the container's.
#[derive(Debug)]
pub struct MountedView {
    root: OwnedFd,
    /// What is not mounted yet.
    others: Vec<Place>,
}

impl View {
    /// Takes from a plan what there is to see.
    pub fn of(plan: &Plan) -> Result<View> {
        let place = |mount: &crate::spec::Mount| -> Result<Place> {
            let export = match mount.source {
                MountSource::Export { access: ExportAccess::Overlay { .. }, .. } => None,
                MountSource::Export { export, .. } => plan.exports.get(export),
                _ => None,
            };
            let export = export.map(own).transpose().context("cannot duplicate a descriptor of an export")?;
            Ok(Place { destination: mount.destination.clone(), export })
        };
        plan.spec.mounts.iter().map(place).collect::<Result<_>>().map(View)
    }

    /// Moves this process, which has one thread, into a mount namespace in which the view's root is mounted at `rootfs`, its path on the
    /// host. `None` for an ordinary user, who may not make one, and could not join one either.
    pub fn mount_root(self, rootfs: &Path) -> Result<Option<MountedView>> {
        match namespaces::enter_new(Namespaces::MOUNT) {
            Err(Errno::EPERM) => return Ok(None),
            made => made.context("cannot make a mount namespace for the container's process")?,
        }
        mounts::make_all_slaves().context("cannot separate the mounts of the container's process")?;
        let mut places = self.0.into_iter();
        let root = places.next().context("a view has a root")?.tree()?;
        let describe = || format!("cannot mount the container's root at {}", rootfs.display());
        // As it is called in this namespace.
        let at = File::open(rootfs).with_context(describe)?;
        mounts::attach(root.as_fd(), at.as_fd()).with_context(describe)?;
        Ok(Some(MountedView { root, others: places.collect() }))
    }
}

/// The export by a descriptor of the view's own: of what is a mount of its own already, the other is the gofer's.
fn own(export: &Export) -> std::io::Result<Export> {
    let mut own = export.try_clone()?;
    if let Some(twin) = own.twin.take() {
        own.descriptor = twin;
    }
    Ok(own)
}

impl MountedView {
    /// Mounts what lies below the root. The sandbox must have made the places that were missing.
    pub fn mount_others(&mut self) -> Result<()> {
        for place in self.others.drain(..) {
            let describe = || format!("cannot show {}", place.destination.display());
            place.attach_below(&self.root).with_context(describe)?;
        }
        Ok(())
    }

    /// Makes it the process's root, and lets go of the host's.
    pub fn enter(self) -> Result<()> {
        mounts::enter_root(self.root.as_fd()).context(CANNOT_PIVOT)
    }
}

impl Place {
    fn attach_below(&self, root: &OwnedFd) -> Result<()> {
        let path = self.destination.strip_prefix("/").unwrap_or(Path::new(""));
        // What is still missing lies in something that is not shown. Links lead nowhere out of the root.
        let Ok(at) = open_in_root(root, path, true) else { return Ok(()) };
        let is_directory = at.metadata().context("its type cannot be read")?.is_dir();
        if is_directory != self.export.as_ref().is_none_or(|export| export.directory) {
            return Ok(());
        }
        Ok(mounts::attach(self.tree()?.as_fd(), at.as_fd())?)
    }

    /// What is mounted there, mounted nowhere yet.
    fn tree(&self) -> Result<OwnedFd> {
        let Some(export) = &self.export else {
            let options = [(c"mode", c"0555"), (c"size", c"4k"), (c"nr_inodes", c"1")];
            let attributes = MountAttributes { read_only: true, no_execute: true };
            return mounts::new_tmpfs(&options, attributes).context("cannot make an empty directory");
        };
        let tree = copy_tree(export)?;
        let attributes = MountAttributes { read_only: false, no_execute: true };
        mounts::restrict(tree.as_fd(), attributes, true).context("its mounts cannot be restricted")?;
        settle_propagation(export, &tree, true)?;
        Ok(tree)
    }
}
