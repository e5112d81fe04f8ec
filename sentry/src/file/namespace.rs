//! Namespaces as files (`namespaces(7)`, `ioctl_nsfs(2)`): the sandbox has one of each kind, which nobody in it has made.

use std::any::Any;
use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::nsfs::{NS_GET_NSTYPE, NS_GET_OWNER_UID, NS_GET_PARENT, NS_GET_USERNS};

use crate::task::{CloneFlags, Current, Resource};
use crate::vfs::{FileOps, OpenFile, Path, path_without_name};
use crate::{SysResult, UserPtr};

/// A namespace.
pub struct Namespace {
    /// What links to it in `/proc/PID/ns` say before the number.
    pub name: &'static str,
    /// Its inode number, of those that Linux gives the namespaces that are there from the beginning (`linux/nsfs.h`).
    pub number: u64,
    /// Its kind.
    pub kind: CloneFlags,
}

/// Those of the sandbox.
pub static NAMESPACES: [Namespace; 8] = [
    Namespace { name: "cgroup", number: 4_026_531_835, kind: CloneFlags::NEWCGROUP },
    Namespace { name: "ipc", number: 4_026_531_839, kind: CloneFlags::NEWIPC },
    Namespace { name: "mnt", number: 4_026_531_841, kind: CloneFlags::NEWNS },
    Namespace { name: "net", number: 4_026_531_840, kind: CloneFlags::NEWNET },
    Namespace { name: "pid", number: 4_026_531_836, kind: CloneFlags::NEWPID },
    Namespace { name: "time", number: 4_026_531_834, kind: CloneFlags::NEWTIME },
    Namespace { name: "user", number: 4_026_531_837, kind: CloneFlags::NEWUSER },
    Namespace { name: "uts", number: 4_026_531_838, kind: CloneFlags::NEWUTS },
];

impl Namespace {
    fn label(&self) -> String {
        format!("{}:[{}]", self.name, self.number)
    }

    /// The place of the file that it is.
    pub fn path(&'static self) -> Path {
        let ops: Arc<dyn FileOps> = Arc::new(NamespaceFile(self));
        path_without_name(&self.label(), &ops)
    }
}

/// An open namespace.
pub struct NamespaceFile(&'static Namespace);

impl NamespaceFile {
    /// The namespace that an open file is.
    pub fn of(file: &OpenFile) -> Option<&'static Namespace> {
        file.ops.as_any().downcast_ref::<NamespaceFile>().map(|file| file.0)
    }
}

impl FileOps for NamespaceFile {
    fn can_be_reopened(&self) -> bool {
        true
    }

    fn ioctl(&self, current: &mut Current, _file: &OpenFile, command: u32, argument: u64) -> SysResult {
        let kind = self.0.kind;
        match command {
            NS_GET_NSTYPE => Ok(kind.bits()),
            NS_GET_USERNS if kind != CloneFlags::NEWUSER => open(current, CloneFlags::NEWUSER),
            NS_GET_OWNER_UID if kind == CloneFlags::NEWUSER => {
                UserPtr::<u32>::new(argument).write(current.space(), &0)?;
                Ok(0)
            }
            // What is above is not the sandbox's.
            NS_GET_USERNS => Err(Errno::EPERM.into()),
            NS_GET_PARENT if CloneFlags::NEWUSER.union(CloneFlags::NEWPID).contains(kind) => {
                Err(Errno::EPERM.into())
            }
            NS_GET_PARENT | NS_GET_OWNER_UID => Err(Errno::EINVAL.into()),
            _ => Err(Errno::ENOTTY.into()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A new descriptor of the namespace of this kind, which is closed on exec.
fn open(current: &Current, kind: CloneFlags) -> SysResult {
    let namespace = NAMESPACES.iter().find(|namespace| namespace.kind == kind).ok_or(Errno::EPERM)?;
    let file = OpenFile::anonymous(Arc::new(NamespaceFile(namespace)), 0, namespace.label());
    let limit = current.task.group.limits.lock().soft(Resource::Files);
    let descriptor = current.task.files().install(file, true, limit)?;
    Ok(u64::from(descriptor.unsigned_abs()))
}
