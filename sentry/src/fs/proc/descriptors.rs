//! `/proc/PID/fd`, `fdinfo`, `ns` and `net`.

use std::sync::Arc;

use usk_abi::Errno;

use super::{Subject, inode_number, parse_id};
use crate::Kernel;
use crate::file::namespace::{NAMESPACES, Namespace};
use crate::fs::synthetic::{Directory, Entry, LinkSource, Names, SyntheticInode, Text};
use crate::net::inet::InetNamespace;
use crate::net::inet::proc::{DEVICES, INTERFACES_IPV6};
use crate::task::Task;
use crate::vfs::{Access, Caller, FileType, InodeRef, Link, OpenFile};

/// Inode numbers of descriptors lie above those of a process's other files.
fn number(subject: &Subject, fd: i32, information: bool) -> u64 {
    inode_number(subject.id(), 0)
        | 0x100_0000_0000_0000
        | (fd as u64) << 32 << 9
        | u64::from(information) << 55
}

fn open_file(subject: &Subject, name: &[u8]) -> Result<(i32, Arc<OpenFile>), Errno> {
    let fd = if name == b"0" { 0 } else { parse_id(name)? };
    let task = subject.task.as_ref().ok_or(Errno::ENOENT)?;
    let file = task.borrow_files().get(fd).map_err(|_| Errno::ENOENT)?;
    Ok((fd, file))
}

fn entries(subject: &Subject, file_type: FileType) -> Result<Vec<Entry>, Errno> {
    let task = subject.task.as_ref().ok_or(Errno::ENOENT)?;
    let is_information = file_type == FileType::Regular;
    let descriptors = task.borrow_files().descriptors();
    Ok(descriptors
        .iter()
        .map(|(fd, _, _)| Entry {
            name: fd.to_string().into_bytes(),
            inode: number(subject, *fd, is_information),
            file_type,
        })
        .collect())
}

/// `fd`: a link for each descriptor, to the very file.
pub(super) struct Descriptors {
    pub(super) device: u64,
    pub(super) subject: Subject,
}

impl Directory for Descriptors {
    /// The process's own threads may always look (`proc_fd_permission`).
    fn judge(&self, caller: Caller<'_>, _wanted: Access) -> Option<bool> {
        self.subject.is_own(caller).then_some(true)
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let (fd, _) = open_file(&self.subject, name)?;
        let link = DescriptorLink { subject: self.subject.clone(), fd };
        let inode = SyntheticInode::link(self.device, number(&self.subject, fd, false), link);
        Ok(self.subject.owns(inode))
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        entries(&self.subject, FileType::Symlink)
    }

    fn is_current(&self, name: &[u8], _child: &InodeRef) -> bool {
        open_file(&self.subject, name).is_ok()
    }
}

/// `proc_fd_instantiate` of `fs/proc/fd.c`.
const LINK_SIZE: u64 = 64;

struct DescriptorLink {
    subject: Subject,
    fd: i32,
}

impl LinkSource for DescriptorLink {
    fn target(&self, caller: Caller<'_>) -> Result<Link, Errno> {
        self.subject.check_access(caller)?;
        let task = self.subject.task.as_ref().ok_or(Errno::ENOENT)?;
        let file = task.borrow_files().get(self.fd).map_err(|_| Errno::ENOENT)?;
        Ok(Link::Magic(file.path().clone()))
    }

    /// Readable and writable as the descriptor is (`tid_fd_mode`).
    fn appearance(&self) -> Option<(u32, u64)> {
        let task = self.subject.task.as_ref()?;
        let file = task.borrow_files().get(self.fd).ok()?;
        let readable = if file.check_readable().is_ok() { 0o500 } else { 0 };
        let writable = if file.check_writable().is_ok() { 0o300 } else { 0 };
        Some((readable | writable, LINK_SIZE))
    }
}

/// `fdinfo`: position, flags and mount of each descriptor.
pub(super) struct DescriptorInformation {
    pub(super) device: u64,
    pub(super) subject: Subject,
}

impl Directory for DescriptorInformation {
    /// For those who may look into the process, whatever they do with the names (`proc_fdinfo_permission`).
    fn judge(&self, caller: Caller<'_>, _wanted: Access) -> Option<bool> {
        self.subject.check_access(caller).is_err().then_some(false)
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let (fd, _) = open_file(&self.subject, name)?;
        let text = DescriptorText { subject: self.subject.clone(), fd };
        let inode = SyntheticInode::text(self.device, number(&self.subject, fd, true), 0o444, text);
        Ok(self.subject.owns(inode))
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        entries(&self.subject, FileType::Regular)
    }

    fn is_current(&self, name: &[u8], _child: &InodeRef) -> bool {
        open_file(&self.subject, name).is_ok()
    }
}

/// A file of `fdinfo`, for those who may look into the process (`proc_fdinfo_access_allowed`).
struct DescriptorText {
    subject: Subject,
    fd: i32,
}

impl Text for DescriptorText {
    fn admit(&self, caller: Caller<'_>) -> Result<(), Errno> {
        self.subject.check_access(caller)
    }

    fn read(&self, _reader: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        let task = self.subject.task.as_ref().ok_or(Errno::ENOENT)?;
        let files = task.borrow_files();
        let file = files.get(self.fd).map_err(|_| Errno::ENOENT)?;
        let close_on_exec = if files.is_close_on_exec(self.fd)? { 0o2_000_000 } else { 0 };
        let path = file.path();
        let position = *file.position.lock();
        let inode = file.inode().attributes().map_or(0, |known| known.inode);
        let flags = file.flags() | close_on_exec;
        let more = file.ops.information();
        let text = format!(
            "pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{inode}\n{more}",
            path.mount.id
        );
        Ok(text.into_bytes())
    }
}

/// The names in `ns`, and those of the namespaces to which they lead: children have their parent's.
const NAMESPACE_LINKS: &[(&str, &str)] = &[
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mnt", "mnt"),
    ("net", "net"),
    ("pid", "pid"),
    ("pid_for_children", "pid"),
    ("time", "time"),
    ("time_for_children", "time"),
    ("user", "user"),
    ("uts", "uts"),
];

/// `ns`: what tells namespaces apart.
pub(super) struct Namespaces {
    pub(super) device: u64,
    pub(super) number: u64,
    pub(super) subject: Subject,
}

impl Directory for Namespaces {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let slot = NAMESPACE_LINKS.iter().position(|(known, _)| known.as_bytes() == name);
        let slot = slot.ok_or(Errno::ENOENT)?;
        let of_name = |namespace: &&Namespace| namespace.name == NAMESPACE_LINKS[slot].1;
        let namespace = NAMESPACES.iter().find(of_name).ok_or(Errno::ENOENT)?;
        let link = NamespaceLink { subject: self.subject.clone(), namespace };
        Ok(self.subject.owns(SyntheticInode::link(self.device, self.number << 8 | slot as u64, link)))
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        Ok(NAMESPACE_LINKS
            .iter()
            .enumerate()
            .map(|(slot, (name, _))| Entry {
                name: name.as_bytes().to_vec(),
                inode: self.number << 8 | slot as u64,
                file_type: FileType::Symlink,
            })
            .collect())
    }
}

struct NamespaceLink {
    subject: Subject,
    namespace: &'static Namespace,
}

impl LinkSource for NamespaceLink {
    fn target(&self, caller: Caller<'_>) -> Result<Link, Errno> {
        self.subject.check_access(caller)?;
        Ok(Link::Magic(self.namespace.path()))
    }
}

/// `net`: the loopback interface, and the sockets over it.
pub(super) fn network(device: u64, number: u64, kernel: &Arc<Kernel>) -> Names {
    type Table = fn(&InetNamespace) -> Vec<u8>;
    const FILES: &[(&str, Table)] = &[
        ("dev", |_| DEVICES.into()),
        ("if_inet6", |_| INTERFACES_IPV6.into()),
        ("route", |_| {
            b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n".into()
        }),
        ("tcp", InetNamespace::tcp_table),
        ("tcp6", InetNamespace::tcp6_table),
        ("udp", InetNamespace::udp_table),
        ("udp6", InetNamespace::udp6_table),
        ("unix", |_| b"Num       RefCount Protocol Flags    Type St Inode Path\n".into()),
    ];
    FILES.iter().enumerate().fold(Names::default(), |names, (index, (name, table))| {
        let inet = kernel.inet.clone();
        let inode = SyntheticInode::text(device, number << 8 | index as u64, 0o444, move || Ok(table(&inet)));
        names.with(name, inode.into_ref())
    })
}
