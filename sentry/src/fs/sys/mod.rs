//! `/sys`: what C libraries and language runtimes read of it (`sysfs(5)`): processors, huge pages, the loopback interface,
//! an empty cgroup tree.

mod processors;

use std::sync::Arc;

use usk_platform::host;

use crate::fs::bitmap;
use crate::fs::synthetic::{FixedLink, Names, SyntheticFs, SyntheticInode};
use crate::net::interface;
use crate::vfs::{Caching, InodeRef};

use processors::Processors;

/// `SYSFS_MAGIC`
const MAGIC: i64 = 0x6265_6572;

/// The file system. Processors come and go as the sandbox may use more of the host's or fewer.
pub fn new() -> Arc<SyntheticFs> {
    SyntheticFs::new("sysfs", MAGIC, Caching::Revalidate, |device| Maker { device, next: 1 }.root())
}

/// Makes inodes with numbers of their own.
struct Maker {
    device: u64,
    next: u64,
}

impl Maker {
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn directory(&mut self, names: Names) -> InodeRef {
        SyntheticInode::directory(self.device, self.number(), 0o555, names).into_ref()
    }

    fn text(&mut self, text: String) -> InodeRef {
        self.made(move || text.clone())
    }

    /// A text that is made when it is read.
    fn made(&mut self, text: impl Fn() -> String + Send + Sync + 'static) -> InodeRef {
        let make = move || Ok(text().into_bytes());
        SyntheticInode::text(self.device, self.number(), 0o444, make).into_ref()
    }

    fn root(mut self) -> InodeRef {
        let devices = self.devices();
        let kernel = self.kernel();
        let cgroup = self.directory(Names::default());
        let fs = self.directory(Names::default().with("cgroup", cgroup));
        let block = self.directory(Names::default());
        let class = self.class();
        let module = self.directory(Names::default());
        let names = Names::default()
            .with("block", block)
            .with("class", class)
            .with("devices", devices)
            .with("fs", fs)
            .with("kernel", kernel)
            .with("module", module);
        self.directory(names)
    }

    /// `class/net`: a link to the loopback interface's directory.
    fn class(&mut self) -> InodeRef {
        let lo = FixedLink("../../devices/virtual/net/lo");
        let lo = SyntheticInode::link(self.device, self.number(), lo).into_ref();
        let net = self.directory(Names::default().with("lo", lo));
        self.directory(Names::default().with("net", net))
    }

    /// `devices/virtual/net/lo`
    fn virtual_devices(&mut self) -> InodeRef {
        let names = interface::FACTS
            .iter()
            .fold(Names::default(), |names, (name, value)| names.with(name, self.text(format!("{value}\n"))));
        let lo = self.directory(names);
        let net = self.directory(Names::default().with("lo", lo));
        self.directory(Names::default().with("net", net))
    }

    /// `devices/system/cpu/cpuN`
    fn processor(&mut self, index: usize) -> InodeRef {
        let core = self.text(format!("{index}\n"));
        let package = self.text("0\n".to_owned());
        let siblings = self.text(format!("{index}\n"));
        let siblings_mask = self.made(move || mask(|processor| processor == index));
        let neighbours = self.made(all_processors);
        let neighbours_mask = self.made(mask_of_all);
        let topology = Names::default()
            .with("core_id", core)
            .with("core_siblings", neighbours_mask)
            .with("core_siblings_list", neighbours)
            .with("physical_package_id", package)
            .with("thread_siblings", siblings_mask)
            .with("thread_siblings_list", siblings);
        let topology = self.directory(topology);
        self.directory(Names::default().with("topology", topology))
    }

    /// `devices/system/cpu` and `node`: every processor is online, on one node.
    fn devices(&mut self) -> InodeRef {
        let mut cpu = Names::default();
        for name in ["online", "possible", "present"] {
            let file = self.made(all_processors);
            cpu = cpu.with(name, file);
        }
        let offline = self.text("\n".to_owned());
        let kernel_max = self.made(|| format!("{}\n", host::processor_count() - 1));
        let cpu = Processors::new(self.device, cpu.with("offline", offline).with("kernel_max", kernel_max));
        let cpu = SyntheticInode::directory(self.device, self.number(), 0o555, cpu).into_ref();
        let node_cpus = self.made(all_processors);
        let node_mask = self.made(mask_of_all);
        let node = self.directory(Names::default().with("cpulist", node_cpus).with("cpumap", node_mask));
        let online = self.text("0\n".to_owned());
        let node = self.directory(Names::default().with("node0", node).with("online", online));
        let system = self.directory(Names::default().with("cpu", cpu).with("node", node));
        let loopback = self.virtual_devices();
        self.directory(Names::default().with("system", system).with("virtual", loopback))
    }

    /// `kernel/mm/transparent_hugepage`: left to each program's `madvise(2)`.
    fn kernel(&mut self) -> InodeRef {
        let enabled = self.text("always [madvise] never\n".to_owned());
        let size = self.text("2097152\n".to_owned());
        let huge = self.directory(Names::default().with("enabled", enabled).with("hpage_pmd_size", size));
        let pools = self.directory(Names::default());
        let mm = Names::default().with("hugepages", pools).with("transparent_hugepage", huge);
        let mm = self.directory(mm);
        self.directory(Names::default().with("mm", mm))
    }
}

/// The numbers of all processors.
fn all_processors() -> String {
    format!("{}\n", bitmap::ranges(host::processor_count(), |_| true))
}

/// The set of all processors.
fn mask_of_all() -> String {
    mask(|_| true)
}

/// The set of those processors that `contains`.
fn mask(contains: impl Fn(usize) -> bool) -> String {
    format!("{}\n", bitmap::mask(host::processor_count(), contains))
}
