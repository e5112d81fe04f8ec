//! `/proc/PID` and `/proc/PID/task/TID`.

use std::fmt::Write;
use std::sync::Arc;

use usk_abi::Errno;

use super::descriptors::{DescriptorInformation, Descriptors};
use super::{Subject, inode_number, parse_id, process_text};
use crate::fs::synthetic::{Directory, Entry, LinkSource, SyntheticInode, Text};
use crate::mm::{FileLabel, MapsFormat, Mm};
use crate::ptrace::{read_memory, write_memory};
use crate::task::{Task, ThreadGroup};
use crate::vfs::{Access, Caller, FileType, InodeRef, Link, Mount, OpenFile, Path};

type Make = fn(&Subject) -> Result<Vec<u8>, Errno>;
/// Takes what is written to a file that the last, if it is a task, has opened.
type Take = fn(&Subject, &[u8], Option<&Arc<Task>>) -> Result<(), Errno>;

/// A file of the directory: its name, its permissions, what makes its contents, what takes writes.
struct FileRow {
    name: &'static str,
    permissions: u32,
    make: Make,
    take: Option<Take>,
    /// Only for those who may look into the process.
    is_guarded: bool,
    binding: Binding,
}

/// What becomes of an open file when its process executes another program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// It is about that.
    None,
    /// It is about memory that is not there any more.
    Memory,
    /// It keeps the contents that it had when it was opened.
    Contents,
    /// It tells as much as whoever has opened it may know.
    Asker,
}

const fn readable(name: &'static str, permissions: u32, make: Make) -> FileRow {
    FileRow { name, permissions, make, take: None, is_guarded: false, binding: Binding::None }
}

const fn guarded(name: &'static str, permissions: u32, make: Make) -> FileRow {
    FileRow { is_guarded: true, ..readable(name, permissions, make) }
}

/// Guarded, and about the memory of one program.
const fn bound(name: &'static str, permissions: u32, make: Make) -> FileRow {
    FileRow { binding: Binding::Memory, ..guarded(name, permissions, make) }
}

const fn writable(name: &'static str, permissions: u32, make: Make, take: Take) -> FileRow {
    FileRow { take: Some(take), ..readable(name, permissions, make) }
}

const FILES: &[FileRow] = &[
    FileRow { binding: Binding::Contents, ..guarded("auxv", 0o400, process_text::auxv) },
    readable("cgroup", 0o444, cgroup),
    readable("cmdline", 0o444, process_text::cmdline),
    writable("comm", 0o644, process_text::comm, process_text::write_comm),
    bound("environ", 0o400, process_text::environ),
    readable("gid_map", 0o444, gid_map),
    guarded("io", 0o400, process_text::io),
    readable("limits", 0o444, process_text::limits),
    writable("loginuid", 0o644, process_text::login_uid, process_text::write_login_uid),
    bound("maps", 0o444, maps),
    readable("mountinfo", 0o444, mountinfo),
    readable("mounts", 0o444, mounts),
    writable("oom_score_adj", 0o644, process_text::oom_score_adj, process_text::write_oom_score_adj),
    readable("oom_score", 0o444, |_| Ok(b"0\n".to_vec())),
    guarded("personality", 0o400, personality),
    readable("schedstat", 0o444, process_text::schedstat),
    readable("setgroups", 0o444, |_| Ok(b"allow\n".to_vec())),
    bound("smaps", 0o444, smaps),
    bound("smaps_rollup", 0o444, smaps_rollup),
    FileRow { binding: Binding::Asker, ..readable("stat", 0o444, process_text::stat) },
    readable("statm", 0o444, process_text::statm),
    readable("status", 0o444, process_text::status),
    guarded("syscall", 0o400, process_text::syscall),
    readable("uid_map", 0o444, uid_map),
    readable("wchan", 0o444, |_| Ok(b"0".to_vec())),
];

/// Names that are not plain files. Their inode numbers follow those of the files.
const OTHERS: &[(&str, FileType)] = &[
    ("cwd", FileType::Symlink),
    ("exe", FileType::Symlink),
    ("root", FileType::Symlink),
    ("fd", FileType::Directory),
    ("fdinfo", FileType::Directory),
    ("mem", FileType::Regular),
    ("net", FileType::Directory),
    ("ns", FileType::Directory),
    ("task", FileType::Directory),
    ("children", FileType::Regular),
];

/// The directory of a process or thread.
pub(super) fn process_directory(device: u64, subject: Subject) -> InodeRef {
    let number = inode_number(subject.id(), 0);
    let owner = subject.clone();
    owner.owns(SyntheticInode::directory(device, number, 0o555, ProcessDirectory { device, subject }))
}

/// True if a directory that [`process_directory`] made still is about a process that exists.
pub(super) fn is_current(inode: &InodeRef) -> bool {
    // A process directory is made anew at each look-up; keeping the old one would show a dead process.
    let _ = inode;
    false
}

struct ProcessDirectory {
    device: u64,
    subject: Subject,
}

impl ProcessDirectory {
    /// Whether a name is for this kind of directory.
    fn has(&self, name: &str) -> bool {
        match name {
            "task" => !self.subject.is_thread,
            "children" => self.subject.is_thread,
            _ => true,
        }
    }

    fn number(&self, slot: usize) -> u64 {
        inode_number(self.subject.id(), slot as u64 + 1)
    }

    fn special(&self, name: &str, number: u64) -> Result<SyntheticInode, Errno> {
        let (device, subject) = (self.device, self.subject.clone());
        Ok(match name {
            "cwd" => SyntheticInode::link(device, number, TaskLink { subject, which: Which::Cwd }),
            "exe" => SyntheticInode::link(device, number, TaskLink { subject, which: Which::Exe }),
            "root" => SyntheticInode::link(device, number, TaskLink { subject, which: Which::Root }),
            "fd" => SyntheticInode::directory(device, number, 0o500, Descriptors { device, subject }),
            "fdinfo" => {
                SyntheticInode::directory(device, number, 0o555, DescriptorInformation { device, subject })
            }
            "mem" => SyntheticInode::text(device, number, 0o600, Memory { subject }),
            "net" => {
                let names = super::descriptors::network(device, number, &subject.kernel);
                SyntheticInode::directory(device, number, 0o555, names)
            }
            "ns" => SyntheticInode::directory(
                device,
                number,
                0o511,
                super::descriptors::Namespaces { device, number, subject },
            ),
            "task" => SyntheticInode::directory(device, number, 0o555, Threads { device, subject }),
            "children" => SyntheticInode::text(device, number, 0o444, About { subject, row: &CHILDREN }),
            _ => return Err(Errno::ENOENT),
        })
    }
}

static CHILDREN: FileRow = readable("children", 0o444, process_text::children);

impl Directory for ProcessDirectory {
    fn process(&self) -> Option<Arc<ThreadGroup>> {
        (!self.subject.is_thread).then(|| self.subject.group.clone())
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        if !self.has(name) || !self.subject.is_current() {
            return Err(Errno::ENOENT);
        }
        let inode = match FILES.iter().position(|row| row.name == name) {
            Some(slot) => {
                let row = &FILES[slot];
                let about = About { subject: self.subject.clone(), row };
                SyntheticInode::text(self.device, self.number(slot), row.permissions, about)
            }
            None => {
                let slot = OTHERS.iter().position(|(known, _)| *known == name).ok_or(Errno::ENOENT)?;
                self.special(name, self.number(FILES.len() + slot))?
            }
        };
        Ok(self.subject.owns(inode))
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let files = FILES.iter().map(|row| (row.name, FileType::Regular));
        let all = files.chain(OTHERS.iter().copied()).enumerate();
        Ok(all
            .filter(|(_, (name, _))| self.has(name))
            .map(|(slot, (name, file_type))| Entry {
                name: name.as_bytes().to_vec(),
                inode: self.number(slot),
                file_type,
            })
            .collect())
    }

    fn is_current(&self, _name: &[u8], _child: &InodeRef) -> bool {
        self.subject.is_current()
    }

    fn subdirectories(&self) -> u32 {
        let directories = OTHERS.iter().filter(|(name, kind)| *kind == FileType::Directory && self.has(name));
        u32::try_from(directories.count()).unwrap_or(0)
    }
}

/// A file about a process.
struct About {
    subject: Subject,
    row: &'static FileRow,
}

impl Text for About {
    /// The name of a thread is for the other threads of its process to read and write (`proc_tid_comm_permission`).
    fn judge(&self, caller: Caller<'_>, wanted: Access) -> Option<bool> {
        let is_name = self.subject.is_thread && self.row.name == "comm" && !wanted.contains(Access::EXECUTE);
        (is_name && self.subject.is_own(caller)).then_some(true)
    }

    fn admit(&self, caller: Caller<'_>) -> Result<(), Errno> {
        if self.row.is_guarded { self.subject.check_access(caller) } else { Ok(()) }
    }

    fn bind(&self, caller: Caller<'_>) -> Option<Arc<dyn Text>> {
        match self.row.binding {
            Binding::None => None,
            Binding::Memory => Some(Arc::new(About { subject: self.subject.bound(), row: self.row })),
            Binding::Asker => {
                Some(Arc::new(About { subject: self.subject.opened_by(caller), row: self.row }))
            }
            Binding::Contents => {
                let contents = (self.row.make)(&self.subject.bound());
                Some(Arc::new(move || contents.clone()))
            }
        }
    }

    fn read(&self, reader: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        (self.row.make)(&self.opened_by(reader))
    }

    fn write(&self, bytes: &[u8], opener: Option<&Arc<Task>>) -> Result<(), Errno> {
        match self.row.take {
            Some(take) => take(&self.opened_by(opener), bytes, opener),
            None => Err(Errno::EACCES),
        }
    }
}

impl About {
    /// The subject, for a file that `opener` has opened.
    fn opened_by(&self, opener: Option<&Arc<Task>>) -> Subject {
        let mut subject = self.subject.clone();
        subject.is_opener = match (opener, &subject.task) {
            (Some(opener), Some(task)) => Arc::ptr_eq(opener, task),
            _ => false,
        };
        subject
    }
}

#[derive(Clone, Copy)]
enum Which {
    Cwd,
    Exe,
    Root,
}

/// `cwd`, `exe` and `root`: links to the very place.
struct TaskLink {
    subject: Subject,
    which: Which,
}

impl LinkSource for TaskLink {
    fn target(&self, caller: Caller<'_>) -> Result<Link, Errno> {
        self.subject.check_access(caller)?;
        let task = self.subject.task.as_ref().ok_or(Errno::ENOENT)?;
        let path = match self.which {
            Which::Cwd => task.fs().cwd(),
            Which::Root => task.fs().root(),
            Which::Exe => task.mm().executable().ok_or(Errno::ENOENT)?.path().clone(),
        };
        Ok(Link::Magic(path))
    }
}

/// `task`: the threads of a process.
struct Threads {
    device: u64,
    subject: Subject,
}

impl Directory for Threads {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let subject = Subject::find_thread(&self.subject.kernel, &self.subject.group, parse_id(name)?)?;
        Ok(process_directory(self.device, subject))
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let threads = self.subject.group.threads();
        if threads.is_empty() {
            return Err(Errno::ENOENT);
        }
        Ok(threads
            .iter()
            .map(|task| Entry {
                name: task.tid().to_string().into_bytes(),
                inode: inode_number(task.tid(), 0),
                file_type: FileType::Directory,
            })
            .collect())
    }

    fn is_current(&self, _name: &[u8], _child: &InodeRef) -> bool {
        false
    }

    fn subdirectories(&self) -> u32 {
        u32::try_from(self.subject.group.threads().len()).unwrap_or(0)
    }
}

/// `mem`: the memory of the process; of an open file, that of the program that ran when it was opened.
struct Memory {
    subject: Subject,
}

impl Text for Memory {
    fn admit(&self, caller: Caller<'_>) -> Result<(), Errno> {
        self.subject.check_access(caller)
    }

    fn bind(&self, _caller: Caller<'_>) -> Option<Arc<dyn Text>> {
        Some(Arc::new(Memory { subject: self.subject.bound() }))
    }

    fn read(&self, _reader: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        Ok(Vec::new())
    }

    fn read_part(&self, offset: u64, length: usize) -> Option<Result<Vec<u8>, Errno>> {
        Some(self.read_memory(offset, length))
    }

    fn write_part(&self, offset: u64, bytes: &[u8]) -> Option<Result<usize, Errno>> {
        let written = self.subject.in_memory(|task, mm| write_memory(task, mm, offset, bytes));
        Some(match written {
            Some(0) if !bytes.is_empty() => Err(Errno::EIO),
            Some(written) => Ok(written),
            None => Ok(0),
        })
    }
}

impl Memory {
    fn read_memory(&self, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let bytes = self.subject.in_memory(|task, mm| read_memory(task, mm, offset, length));
        match bytes {
            Some(bytes) if bytes.is_empty() && length > 0 => Err(Errno::EIO),
            bytes => Ok(bytes.unwrap_or_default()),
        }
    }
}

/// What a mapped file is called, as seen by the process.
fn label(root: Path) -> impl Fn(&OpenFile) -> FileLabel {
    move |file| {
        let attributes = file.inode().attributes().ok();
        let device = attributes.as_ref().map_or((0, 0), |known| usk_abi::fs::split_device(known.device));
        let inode = attributes.map_or(0, |known| known.inode);
        FileLabel { path: file.display_name(&root), device, inode }
    }
}

/// What `make` says of the memory, nothing if it is not there any more. `ESRCH` if the process is not there, not even as a zombie.
fn with_format(
    subject: &Subject,
    make: impl FnOnce(&MapsFormat<'_>, &Mm) -> Vec<u8>,
) -> Result<Option<Vec<u8>>, Errno> {
    if !subject.is_current() {
        return Err(Errno::ESRCH);
    }
    Ok(subject.in_memory(|task, mm| {
        let label = label(task.fs().root());
        make(&MapsFormat { label: &label }, mm)
    }))
}

fn maps(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(with_format(subject, |format, mm| format.maps(mm))?.unwrap_or_default())
}

fn smaps(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(with_format(subject, |format, mm| format.smaps(mm))?.unwrap_or_default())
}

fn smaps_rollup(subject: &Subject) -> Result<Vec<u8>, Errno> {
    with_format(subject, |format, mm| format.smaps_rollup(mm))?.ok_or(Errno::ESRCH)
}

fn personality(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let value = subject.task()?.personality.load(std::sync::atomic::Ordering::Relaxed);
    Ok(format!("{value:08x}\n").into_bytes())
}

fn cgroup(_subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(b"0::/\n".to_vec())
}

/// The sandbox has one user namespace.
fn uid_map(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(identity_map(&subject.kernel.identity_maps().users))
}

fn gid_map(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(identity_map(&subject.kernel.identity_maps().groups))
}

fn identity_map(ranges: &[[u32; 3]]) -> Vec<u8> {
    let line = |[inner, outer, count]: &[u32; 3]| format!("{inner:10} {outer:10} {count:10}\n");
    ranges.iter().map(line).collect::<String>().into_bytes()
}

/// A mount and where it is seen.
type PlacedMount = (Arc<Mount>, Vec<u8>);

/// The mounts that a process can reach, with the places where it sees them.
fn visible_mounts(subject: &Subject) -> Result<Vec<PlacedMount>, Errno> {
    let fs = subject.task()?.fs();
    let root = fs.root();
    let all = fs.namespace().mounts();
    Ok(all
        .into_iter()
        .filter_map(|mount| {
            let place = match &mount.parent {
                None => b"/".to_vec(),
                Some(_) => {
                    let at = Path { mount: mount.clone(), dentry: mount.root.clone() };
                    let seen = at.seen_from(&root);
                    if !seen.is_reachable {
                        return None;
                    }
                    seen.name
                }
            };
            Some((mount, place))
        })
        .collect())
}

/// Spaces, tabs, newlines and backslashes are shown in octal.
fn escape(name: &[u8]) -> String {
    let mut text = String::new();
    for byte in name {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                let _ = write!(text, "\\{byte:03o}");
            }
            other => text.push(char::from(*other)),
        }
    }
    text
}

fn joined(first: String, more: String) -> String {
    if more.is_empty() { first } else { format!("{first},{more}") }
}

fn mounts(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let mut text = String::new();
    for (mount, place) in visible_mounts(subject)? {
        let system = mount.file_system();
        let options = joined(mount.flags.options(), system.options());
        let source = escape(mount.source.as_bytes());
        let _ = writeln!(text, "{source} {} {} {options} 0 0", escape(&place), system.type_name());
    }
    Ok(text.into_bytes())
}

fn mountinfo(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let mut text = String::new();
    for (mount, place) in visible_mounts(subject)? {
        let system = mount.file_system();
        let parent = mount.parent.as_ref().map_or(0, |parent| parent.mount.id);
        let device = mount.root.require()?.attributes()?.device;
        let (major, minor) = usk_abi::fs::split_device(device);
        let source = escape(mount.source.as_bytes());
        let _ = writeln!(
            text,
            "{} {parent} {major}:{minor} / {} {} - {} {source} {}",
            mount.id,
            escape(&place),
            mount.flags.options(),
            system.type_name(),
            joined("rw".to_owned(), system.options()),
        );
    }
    Ok(text.into_bytes())
}
