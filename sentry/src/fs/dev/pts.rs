//! `/dev/pts`: a device file for each pseudo-terminal (`pts(4)`).

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::fs::make_device;

use crate::fs::synthetic::{Directory, Entry, SyntheticFs, SyntheticInode};
use crate::tty::pty::PTS_MAJOR;
use crate::tty::{Terminal, Terminals};
use crate::vfs::{Attributes, Caching, FileType, Inode, InodeCommon, InodeRef, SetAttributes, Timestamp};

/// `DEVPTS_SUPER_MAGIC`
const MAGIC: i64 = 0x1cd1;
/// Inode numbers: the root's, `ptmx`'s, and that of terminal 0, as on Linux.
const ROOT_INODE: u64 = 1;
const MASTER_INODE: u64 = 2;
const FIRST_INODE: u64 = 3;
/// Device number of `/dev/ptmx`.
const MASTER_DEVICE: (u32, u32) = (5, 2);

/// Options of the file system (the kernel's `Documentation/filesystems/devpts.rst`).
#[derive(Clone, Copy, Debug)]
pub struct DevptsOptions {
    /// Owner of terminals' files (`uid`); whoever opens the terminal if `None`.
    pub user: Option<u32>,
    /// Group of terminals' files (`gid`); that of whoever opens the terminal if `None`.
    pub group: Option<u32>,
    /// Permissions of terminals' files (`mode`).
    pub permissions: u32,
    /// Permissions of `ptmx` (`ptmxmode`).
    pub master_permissions: u32,
    /// Most terminals at one time (`max`), where 0 is no limit; nothing is said about it if `None`.
    pub most: Option<u32>,
}

impl DevptsOptions {
    /// As `devpts_show_options` of the kernel writes them.
    fn show(&self) -> String {
        let given = |name: &str, value: Option<u32>| value.map(|value| format!("{name}={value}"));
        let own = [given("uid", self.user), given("gid", self.group)];
        let mode = format!("mode={:03o}", self.permissions);
        let master_mode = format!("ptmxmode={:03o}", self.master_permissions);
        let shown = own.into_iter().chain([Some(mode), Some(master_mode), given("max", self.most)]);
        shown.flatten().collect::<Vec<String>>().join(",")
    }
}

/// The file system that shows the pseudo-terminals of `terminals`, and limits them.
pub(super) fn new(terminals: &Arc<Terminals>, options: DevptsOptions) -> Arc<SyntheticFs> {
    if let Some(most) = options.most.filter(|&most| most != 0) {
        terminals.set_most(most);
    }
    SyntheticFs::with_options("devpts", MAGIC, Caching::Revalidate, options.show(), |device| {
        let number = make_device(MASTER_DEVICE.0, MASTER_DEVICE.1);
        let permissions = options.master_permissions;
        let master = Arc::new(TerminalNode::new(device, MASTER_INODE, number, permissions, (0, 0)));
        let names = Names { device, terminals: terminals.clone(), options, master, nodes: Mutex::default() };
        SyntheticInode::directory(device, ROOT_INODE, 0o755, names).into_ref()
    })
}

/// A terminal and its file.
type Node = (Weak<dyn Terminal>, Arc<TerminalNode>);

struct Names {
    device: u64,
    terminals: Arc<Terminals>,
    options: DevptsOptions,
    master: Arc<TerminalNode>,
    /// The files of terminals that somebody has looked at: they keep their owner and mode.
    nodes: Mutex<BTreeMap<u32, Node>>,
}

impl Names {
    fn node(&self, number: u32) -> Result<Arc<TerminalNode>, Errno> {
        let terminal = self.terminals.numbered(number).map_err(|_| Errno::ENOENT)?;
        let mut nodes = self.nodes.lock();
        nodes.retain(|_, (terminal, _)| terminal.strong_count() > 0);
        if let Some((known, node)) = nodes.get(&number)
            && known.as_ptr().addr() == Arc::as_ptr(&terminal).addr()
        {
            return Ok(node.clone());
        }
        let inode = FIRST_INODE + u64::from(number);
        let (uid, gid) = terminal.owner();
        let owner = (self.options.user.unwrap_or(uid), self.options.group.unwrap_or(gid));
        let device_number = make_device(PTS_MAJOR, number);
        let node = TerminalNode::new(self.device, inode, device_number, self.options.permissions, owner);
        let node = Arc::new(node);
        nodes.insert(number, (Arc::downgrade(&terminal), node.clone()));
        Ok(node)
    }
}

impl Directory for Names {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        if name == b"ptmx" {
            return Ok(self.master.clone());
        }
        let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let number: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        if number.to_string() != text { Err(Errno::ENOENT) } else { Ok(self.node(number)?) }
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let file_type = FileType::CharacterDevice;
        let mut entries = vec![Entry { name: b"ptmx".to_vec(), inode: MASTER_INODE, file_type }];
        entries.extend(self.terminals.numbers().into_iter().map(|number| Entry {
            name: number.to_string().into_bytes(),
            inode: FIRST_INODE + u64::from(number),
            file_type,
        }));
        Ok(entries)
    }

    fn is_current(&self, name: &[u8], child: &InodeRef) -> bool {
        self.lookup(name).is_ok_and(|now| Arc::ptr_eq(&now, child))
    }
}

/// The device file of one terminal.
struct TerminalNode {
    common: InodeCommon,
    attributes: Mutex<Attributes>,
}

impl TerminalNode {
    fn new(device: u64, inode: u64, number: u64, permissions: u32, (uid, gid): (u32, u32)) -> Self {
        let mode = FileType::CharacterDevice.mode() | permissions;
        let fresh = Attributes::new(device, inode, mode, Timestamp::now());
        let attributes = Attributes { uid, gid, special_device: number, ..fresh };
        TerminalNode { common: InodeCommon::default(), attributes: Mutex::new(attributes) }
    }
}

impl Inode for TerminalNode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn file_type(&self) -> FileType {
        FileType::CharacterDevice
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(*self.attributes.lock())
    }

    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno> {
        change.apply(&mut self.attributes.lock());
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
