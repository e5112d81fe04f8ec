//! Mounts by descriptor: no path of the host is needed to build a tree, and none can race. mount_setattr(2),
//! open_tree(2), fsopen(2), pivot_root(2).

use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use linux_raw_sys::general as raw;
use nix::mount::{MsFlags, mount};
use thiserror::Error;
use usk_abi::Errno;

use super::descriptors::open_directory;
use super::namespaces::{Namespaces, enter_new, join};
use super::result::{check, from_nix};

/// Properties of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MountAttributes {
    /// Nothing can be changed through it.
    pub read_only: bool,
    /// Nothing can be executed from it.
    pub no_execute: bool,
}

impl MountAttributes {
    /// As `MOUNT_ATTR_*`. Devices and set-user-id bits are never honoured.
    fn bits(self) -> u64 {
        let mut bits = raw::MOUNT_ATTR_NOSUID | raw::MOUNT_ATTR_NODEV;
        if self.read_only {
            bits |= raw::MOUNT_ATTR_RDONLY;
        }
        if self.no_execute {
            bits |= raw::MOUNT_ATTR_NOEXEC;
        }
        u64::from(bits)
    }
}

/// Takes a mount descriptor that a system call has returned.
fn owned(returned: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = check(returned)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// An option of a file system: its name, and its value if it is none that only is there or not.
pub type FileSystemOption<'a> = (&'a CStr, Option<&'a CStr>);

/// Most bytes of a value of an option that the kernel takes by fsconfig(2): `strndup_user` in `fs/fsopen.c`, without the zero byte.
pub const MAX_OPTION_VALUE: usize = 255;

/// Why a file system was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct MakeError {
    /// What the call said that failed.
    pub errno: Errno,
    /// What the kernel said beside that, in its own words; mostly nothing.
    pub message: String,
}

impl fmt::Display for MakeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message[..] {
            "" => write!(formatter, "{}", self.errno),
            message => write!(formatter, "{message} ({})", self.errno),
        }
    }
}

/// A new tmpfs, mounted nowhere yet. `options` are names and values such as `mode` and `0555`. fsopen(2),
/// fsmount(2).
pub fn new_tmpfs(options: &[(&CStr, &CStr)], attributes: MountAttributes) -> Result<OwnedFd, Errno> {
    let options: Vec<FileSystemOption<'_>> =
        options.iter().map(|&(name, value)| (name, Some(value))).collect();
    new_file_system(c"tmpfs", &options, attributes).map_err(|error| error.errno)
}

/// A new file system of a kind of `/proc/filesystems`, mounted nowhere yet. Paths in options are resolved as the caller's. fsopen(2),
/// fsconfig(2), fsmount(2).
pub fn new_file_system(
    kind: &CStr,
    options: &[FileSystemOption<'_>],
    attributes: MountAttributes,
) -> Result<OwnedFd, MakeError> {
    let silent = |errno| MakeError { errno, message: String::new() };
    // SAFETY: the name is a C string; the rest are numbers.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), raw::FSOPEN_CLOEXEC) });
    let context = context.map_err(silent)?;
    let configured = options.iter().try_for_each(|&(name, value)| set_option(&context, name, value));
    configured
        .and_then(|()| configure(&context, raw::fsconfig_command::FSCONFIG_CMD_CREATE, None, None))
        .map_err(|errno| MakeError { errno, message: complaint(&context) })?;
    // SAFETY: takes numbers only.
    owned(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), raw::FSMOUNT_CLOEXEC, attributes.bits())
    })
    .map_err(|errno| MakeError { errno, message: complaint(&context) })
}

fn set_option(context: &OwnedFd, name: &CStr, value: Option<&CStr>) -> Result<(), Errno> {
    let command = match value {
        Some(_) => raw::fsconfig_command::FSCONFIG_SET_STRING,
        None => raw::fsconfig_command::FSCONFIG_SET_FLAG,
    };
    configure(context, command, Some(name), value)
}

fn configure(
    context: &OwnedFd,
    command: raw::fsconfig_command,
    name: Option<&CStr>,
    value: Option<&CStr>,
) -> Result<(), Errno> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: name and value are C strings, or null for a command that takes none.
    check(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, pointer(name), pointer(value), 0)
    })
    .map(drop)
}

/// The last error that the kernel has to tell of a file system that it has not made: lines that begin with their kind, `e`, `w` or `i`,
/// and a blank, one for each read(2).
fn complaint(context: &OwnedFd) -> String {
    let mut complaint = String::new();
    let mut line = [0; 512];
    while let Ok(length) = nix::unistd::read(context, &mut line) {
        let line = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
        match line.split_once(' ') {
            Some(("e", message)) => complaint = message.trim_end().to_owned(),
            Some(_) => {}
            None => break,
        }
    }
    complaint
}

/// A copy of the mount at `path` and of all mounts below it, mounted nowhere yet. Its root has no parent: `..` ends
/// there. The path is resolved in the caller's mount namespace. open_tree(2).
pub fn clone_tree(path: &CStr) -> Result<OwnedFd, Errno> {
    open_clone(libc::AT_FDCWD, path, raw::AT_RECURSIVE)
}

/// As [`clone_tree`], without the mounts below: what they cover is seen. `EINVAL` where the namespace's owner may not see it, as the
/// mounts came together from one of somebody more privileged: mount_namespaces(7).
pub fn clone_mount_of(path: &CStr) -> Result<OwnedFd, Errno> {
    open_clone(libc::AT_FDCWD, path, 0)
}

/// A copy of the one mount that `place` is on, rooted at `place`. open_tree(2).
pub fn clone_mount(place: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    open_clone(place.as_raw_fd(), c"", raw::AT_EMPTY_PATH)
}

/// As [`clone_mount`], with all mounts below the place.
pub fn clone_tree_at(place: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    open_clone(place.as_raw_fd(), c"", raw::AT_EMPTY_PATH | raw::AT_RECURSIVE)
}

/// Two copies of a mount that is nowhere yet, which is used up: a mount is copied where it is mounted, and be it in a namespace that goes
/// again. Moves this process, which has one thread, there and back. Needs CAP_SYS_ADMIN and CAP_SYS_CHROOT.
pub fn twins(mount: BorrowedFd<'_>) -> Result<[OwnedFd; 2], Errno> {
    let home = Whereabouts::current()?;
    enter_new(Namespaces::MOUNT)?;
    let copies = copy_twice(mount);
    home.go_back()?;
    copies
}

fn copy_twice(mount: BorrowedFd<'_>) -> Result<[OwnedFd; 2], Errno> {
    make_all_private()?;
    cover_root(mount)?;
    Ok([clone_mount(mount)?, clone_mount(mount)?])
}

fn open_clone(directory: RawFd, path: &CStr, flags: u32) -> Result<OwnedFd, Errno> {
    let flags = raw::OPEN_TREE_CLONE | raw::OPEN_TREE_CLOEXEC | flags;
    // SAFETY: the path is a C string; the rest are numbers.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, directory, path.as_ptr(), flags) })
}

/// Has a mount that is nowhere yet and, with `recursive`, all below it show other owners of files than their file systems
/// have: those that the user namespace `users` maps them to. Needs CAP_SYS_ADMIN where the file system was mounted, and
/// one that can be shown so. mount_setattr(2), "ID-mapped mounts".
pub fn translate_owners(mount: BorrowedFd<'_>, users: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    let namespace = u64::try_from(users.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    let set = u64::from(raw::MOUNT_ATTR_IDMAP);
    set_attributes(mount, recursive, raw::mount_attr { attr_set: set, userns_fd: namespace, ..NO_CHANGE })
}

/// Adds properties to a mount and, with `recursive`, to all below it; takes none away. mount_setattr(2).
pub fn restrict(mount: BorrowedFd<'_>, attributes: MountAttributes, recursive: bool) -> Result<(), Errno> {
    set_attributes(mount, recursive, raw::mount_attr { attr_set: attributes.bits(), ..NO_CHANGE })
}

/// Cuts all mounts of this namespace off from its ancestors: nothing that is mounted later comes in or goes out.
/// mount_namespaces(7).
pub fn make_all_private() -> Result<(), Errno> {
    propagate_all(MsFlags::MS_PRIVATE)
}

/// As [`make_all_private`], but what is mounted later in an ancestor comes in, also into copies of these mounts.
pub fn make_all_slaves() -> Result<(), Errno> {
    propagate_all(MsFlags::MS_SLAVE)
}

fn propagate_all(kind: MsFlags) -> Result<(), Errno> {
    let nothing: Option<&CStr> = None;
    mount(nothing, c"/", nothing, MsFlags::MS_REC | kind, nothing).map_err(from_nix)
}

/// Cuts a mount and, with `recursive`, all below it off from others.
pub fn make_private(mount: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    propagate(mount, recursive, MsFlags::MS_PRIVATE)
}

/// Has a mount and all below it get what is mounted in those that they are copies of, and give nothing back.
pub fn make_slave(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    propagate(mount, true, MsFlags::MS_SLAVE)
}

fn propagate(mount: BorrowedFd<'_>, recursive: bool, kind: MsFlags) -> Result<(), Errno> {
    set_attributes(mount, recursive, raw::mount_attr { propagation: kind.bits(), ..NO_CHANGE })
}

const NO_CHANGE: raw::mount_attr = raw::mount_attr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };

fn set_attributes(mount: BorrowedFd<'_>, recursive: bool, attributes: raw::mount_attr) -> Result<(), Errno> {
    let flags = raw::AT_EMPTY_PATH | if recursive { raw::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, the structure is what the size says.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<raw::mount_attr>(),
        )
    })
    .map(drop)
}

/// Mounts a mount that is nowhere yet on `place`, which it covers. move_mount(2).
pub fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = raw::MOVE_MOUNT_F_EMPTY_PATH | raw::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: the paths are C strings; the rest are numbers.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            place.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    })
    .map(drop)
}

/// Mounts a mount that is nowhere yet on top of this namespace's root, as [`enter_root`] needs it. Paths still lead to
/// the old root: a process's root directory stays below what covers it. move_mount(2).
pub fn cover_root(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the paths are C strings; the rest are numbers.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            c"/".as_ptr(),
            raw::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Makes a mount that covers the root the root of this mount namespace, and drops the old root with everything below
/// it. Working and root directory become the new root. `EINVAL` where the host's own root is its initial RAM file
/// system, which cannot be left. pivot_root(2).
pub fn enter_root(new_root: BorrowedFd<'_>) -> Result<(), Errno> {
    use nix::mount::{MntFlags, umount2};
    // With the same directory for both, the old root comes to lie on top of the new one, and is what "." finds.
    pivot(new_root, c".")?;
    umount2(c".", MntFlags::MNT_DETACH).map_err(from_nix)?;
    nix::unistd::chdir(c"/").map_err(from_nix)
}

/// As [`enter_root`], but the old root, with everything below it, comes to lie on a directory of the new one. Nothing is let go of,
/// which is what the host waits for otherwise, until none of its processors can look at it any more.
pub fn exchange_root(new_root: BorrowedFd<'_>, place: &CStr) -> Result<(), Errno> {
    pivot(new_root, place)?;
    nix::unistd::chdir(c"/").map_err(from_nix)
}

fn pivot(new_root: BorrowedFd<'_>, place: &CStr) -> Result<(), Errno> {
    nix::unistd::fchdir(new_root).map_err(from_nix)?;
    nix::unistd::pivot_root(c".", place).map_err(from_nix)
}

/// Where a process is among mounts.
pub struct Whereabouts {
    namespace: OwnedFd,
    root: OwnedFd,
    directory: OwnedFd,
}

impl Whereabouts {
    /// Where this process is.
    pub fn current() -> Result<Whereabouts, Errno> {
        use nix::fcntl::{OFlag, open};
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let namespace = open(c"/proc/self/ns/mnt", flags, nix::sys::stat::Mode::empty()).map_err(from_nix)?;
        Ok(Whereabouts { namespace, root: open_directory(c"/")?, directory: open_directory(c".")? })
    }

    /// Moves this process, which has one thread, back there. It may have been in a directory of its own (chroot(2)), which entering a
    /// namespace leaves.
    pub fn go_back(&self) -> Result<(), Errno> {
        use nix::unistd::{chroot, fchdir};
        join(self.namespace.as_fd(), Namespaces::MOUNT)?;
        fchdir(&self.root).map_err(from_nix)?;
        chroot(c".").map_err(from_nix)?;
        fchdir(&self.directory).map_err(from_nix)
    }
}
