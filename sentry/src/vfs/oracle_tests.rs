//! The operations on names, compared with the host kernel's: random operations are done in a directory of the host and in the
//! VFS, first on a tmpfs, then on an overlay over it, and must have the same results and errors.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path as HostPath, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, RenameFlags, ResolveFlags, S_IFMT};

use crate::fs::overlay::Overlay;
use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::task::Credentials;
use crate::vfs::{
    Caller, FileSystem, FileType, FsContext, Link as LinkTarget, MountFlags, MountNamespace, NameContext,
    OpenHow, Path, WalkOptions,
};
use crate::{BytesSource, SysError};

/// Directories above the one that is worked in, so that `..` has somewhere to go.
const ABOVE: &str = "x/x/x/x/x/x/x/x/w";

#[derive(Clone, Debug)]
pub(super) enum Operation {
    MakeDirectory(String),
    Open(String, OpenFlags),
    Symlink(String, String),
    Link(String, String),
    Unlink(String),
    RemoveDirectory(String),
    Rename(String, String),
    Stat(String),
    LinkStat(String),
    ReadLink(String),
    List(String),
}

/// What an operation says, as far as the two sides must agree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Done,
    /// Type; for what is no directory, links and size.
    Is(u32, u64, u64),
    Names(Vec<Vec<u8>>),
    Text(Vec<u8>),
}

pub(super) fn path() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c"]),
        1 => Just("."),
        1 => Just(".."),
    ];
    let components = prop::collection::vec(component, 1..5);
    (components, prop::sample::select(vec!["", "", "", "", "/", "//"]))
        .prop_map(|(names, end)| names.join("/") + end)
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let flags = prop::sample::select(vec![
        OpenFlags::empty(),
        OpenFlags::WRONLY,
        OpenFlags::CREAT | OpenFlags::WRONLY,
        OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::EXCL,
        OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::NOFOLLOW,
        OpenFlags::WRONLY | OpenFlags::TRUNC,
        OpenFlags::DIRECTORY,
        OpenFlags::NOFOLLOW,
        OpenFlags::PATH | OpenFlags::NOFOLLOW,
    ]);
    prop_oneof![
        3 => path().prop_map(MakeDirectory),
        4 => (path(), flags).prop_map(|(path, flags)| Open(path, flags)),
        2 => (path(), path()).prop_map(|(target, path)| Symlink(target, path)),
        2 => (path(), path()).prop_map(|(old, new)| Link(old, new)),
        2 => path().prop_map(Unlink),
        2 => path().prop_map(RemoveDirectory),
        3 => (path(), path()).prop_map(|(old, new)| Rename(old, new)),
        2 => path().prop_map(Stat),
        1 => path().prop_map(LinkStat),
        1 => path().prop_map(ReadLink),
        2 => path().prop_map(List),
    ]
}

impl Operation {
    fn paths(&self) -> Vec<&str> {
        use Operation::*;
        match self {
            MakeDirectory(path)
            | Open(path, _)
            | Symlink(_, path)
            | Unlink(path)
            | RemoveDirectory(path)
            | Stat(path)
            | LinkStat(path)
            | ReadLink(path)
            | List(path) => vec![path],
            Link(old, new) | Rename(old, new) => vec![old, new],
        }
    }

    fn on_host(&self, base: &HostPath) -> io::Result<Said> {
        use Operation::*;
        // Joined as text: a trailing slash means something.
        let at = |path: &str| PathBuf::from(format!("{}/{path}", base.display()));
        match self {
            MakeDirectory(path) => fs::create_dir(at(path)).map(|()| Said::Done),
            Open(path, flags) => {
                let (created, other) = (OpenFlags::CREAT | OpenFlags::EXCL, OpenFlags::TRUNC);
                let mut options = OpenOptions::new();
                options.read(!flags.is_writable()).write(flags.is_writable());
                options.create(flags.contains(OpenFlags::CREAT) && !flags.contains(OpenFlags::EXCL));
                options.create_new(flags.contains(created)).truncate(flags.contains(other));
                let rest = *flags & (OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::PATH);
                options.custom_flags(rest.bits().cast_signed());
                let mut file = options.open(at(path))?;
                if flags.is_writable() {
                    io::Write::write_all(&mut file, b"data")?;
                }
                Ok(Said::Done)
            }
            Symlink(target, path) => symlink(target, at(path)).map(|()| Said::Done),
            Link(old, new) => fs::hard_link(at(old), at(new)).map(|()| Said::Done),
            Unlink(path) => fs::remove_file(at(path)).map(|()| Said::Done),
            RemoveDirectory(path) => fs::remove_dir(at(path)).map(|()| Said::Done),
            Rename(old, new) => fs::rename(at(old), at(new)).map(|()| Said::Done),
            Stat(path) => fs::metadata(at(path)).map(|metadata| host_said(&metadata)),
            LinkStat(path) => fs::symlink_metadata(at(path)).map(|metadata| host_said(&metadata)),
            ReadLink(path) => {
                fs::read_link(at(path)).map(|target| Said::Text(target.as_os_str().as_bytes().to_vec()))
            }
            List(path) => {
                let mut names = Vec::new();
                for entry in fs::read_dir(at(path))? {
                    names.push(entry?.file_name().as_bytes().to_vec());
                }
                names.sort();
                Ok(Said::Names(names))
            }
        }
    }

    pub(super) fn on_vfs(&self, names: &NameContext<'_>, base: &Path) -> Result<Said, Errno> {
        use Operation::*;
        let stat = |path: &str, follow| -> Result<Said, Errno> {
            let path = names.resolve(base, path.as_bytes(), WalkOptions::following(follow))?;
            let attributes = path.inode()?.attributes()?;
            Ok(said(attributes.mode, attributes.links.into(), attributes.size))
        };
        match self {
            MakeDirectory(path) => names.make_directory(base, path.as_bytes(), 0o777)?,
            Open(path, flags) => {
                let how = OpenHow { flags: *flags, mode: 0o666, resolve: ResolveFlags::empty() };
                let opened = names.open(base, path.as_bytes(), how, None);
                let file = opened.map_err(|error| match error {
                    SysError::Errno(error) => error,
                    SysError::Restart(_) => Errno::EINTR,
                })?;
                if flags.is_writable() {
                    file.ops.write(&file, &mut BytesSource::new(b"data"), 0)?;
                }
            }
            Symlink(target, path) => names.make_symlink(base, path.as_bytes(), target.as_bytes())?,
            Link(old, new) => {
                let target = names.resolve(base, old.as_bytes(), WalkOptions::NO_FOLLOW)?;
                names.link(&target, base, new.as_bytes())?;
            }
            Unlink(path) => {
                names.unlink(base, path.as_bytes())?;
            }
            RemoveDirectory(path) => names.remove_directory(base, path.as_bytes())?,
            Rename(old, new) => {
                names.rename(
                    (base, old.as_bytes()),
                    || Ok((base.clone(), new.clone().into())),
                    RenameFlags::empty(),
                )?;
            }
            Stat(path) => return stat(path, true),
            LinkStat(path) => return stat(path, false),
            ReadLink(path) => {
                let path = names.resolve(base, path.as_bytes(), WalkOptions::NO_FOLLOW)?;
                let inode = path.inode()?;
                if inode.file_type() != FileType::Symlink {
                    return Err(Errno::EINVAL);
                }
                let caller: Caller<'_> = names.caller;
                let LinkTarget::Target(target) = inode.read_link(caller)? else { return Err(Errno::EIO) };
                return Ok(Said::Text(target));
            }
            List(path) => {
                let path = names.resolve(base, path.as_bytes(), WalkOptions::DIRECTORY)?;
                let listing = path.inode()?.list()?;
                let mut found: Vec<Vec<u8>> = listing.iter().map(|entry| entry.name.to_vec()).collect();
                found.sort();
                return Ok(Said::Names(found));
            }
        }
        Ok(Said::Done)
    }
}

fn said(mode: u32, links: u64, size: u64) -> Said {
    match FileType::from_mode(mode) {
        Some(FileType::Directory) => Said::Is(mode & S_IFMT, 0, 0),
        _ => Said::Is(mode & S_IFMT, links, size),
    }
}

fn host_said(metadata: &fs::Metadata) -> Said {
    said(metadata.mode(), metadata.nlink(), metadata.len())
}

/// True if the operation's directories lie where both sides have the same names: below the directory that is worked in.
fn stays_inside(operation: &Operation, names: &NameContext<'_>, base: &Path) -> bool {
    let inside = base.full_name();
    operation.paths().iter().all(|path| {
        // Wherever the walk comes by; too strict for names that lead out and back in, which do not exist.
        let mut ends = vec![path.len()];
        ends.extend(path.match_indices('/').map(|(at, _)| at));
        ends.iter().all(|end| match names.resolve(base, &path.as_bytes()[..*end], WalkOptions::FOLLOW) {
            Ok(found) => found.full_name().starts_with(&inside),
            Err(_) => true,
        })
    })
}

/// True if a symbolic link on the way, dangling ones included, could lead out.
fn may_create_outside(operation: &Operation) -> bool {
    let ups = |path: &str| path.split('/').filter(|name| *name == "..").count();
    matches!(operation, Operation::Symlink(target, _) if ups(target) > 1)
}

fn compare(operations: &[Operation], context: &FsContext, host: &HostPath) -> Result<(), TestCaseError> {
    let credentials = Credentials::user(0, 0);
    let names = context.names(&credentials, None);
    let base = names.resolve(&names.root, ABOVE.as_bytes(), WalkOptions::DIRECTORY).unwrap();
    for operation in operations {
        if may_create_outside(operation) || !stays_inside(operation, &names, &base) {
            continue;
        }
        let ours = operation.on_vfs(&names, &base);
        let theirs = operation
            .on_host(host)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()));
        prop_assert_eq!(ours, theirs, "{:?}", operation);
    }
    Ok(())
}

pub(super) fn context(file_system: Arc<dyn FileSystem>) -> FsContext {
    FsContext::new(MountNamespace::new(file_system, MountFlags::empty(), "test"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_mean_what_they_mean_on_the_host(
        below in prop::collection::vec(operation(), 0..30),
        above in prop::collection::vec(operation(), 1..40),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let host = directory.path().join(ABOVE);
        fs::create_dir_all(&host).unwrap();
        let tree = Tmpfs::new(TmpfsOptions::default());
        let lower = context(tree.clone());
        let credentials = Credentials::user(0, 0);
        let names = lower.names(&credentials, None);
        let mut made = String::new();
        for name in ABOVE.split('/') {
            made = format!("{made}/{name}");
            names.make_directory(&names.root, made.as_bytes(), 0o755).unwrap();
        }
        compare(&below, &lower, &host)?;
        compare(&above, &context(Overlay::new(tree, None, None).unwrap()), &host)?;
    }
}
