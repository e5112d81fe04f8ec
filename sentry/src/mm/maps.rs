//! How `/proc/PID/maps` and `smaps` show a memory map (`proc_pid_maps(5)`, `fs/proc/task_mmu.c`).

use std::fmt::Write;

use crate::mm::mm::{Mm, State};
use crate::mm::vma::{Backing, Vma, VmaFlags};
use crate::vfs::{OpenFile, Path};

/// The column at which Linux puts the name: `25 + sizeof(void *) * 6 - 1`, and a space.
const NAME_COLUMN: usize = 73;

/// What the lines say about a mapped file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileLabel {
    /// Its path as the reader sees it, with ` (deleted)` where that applies.
    pub path: Vec<u8>,
    /// Device: major and minor number.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
}

impl FileLabel {
    /// What a task whose root directory is `root` sees.
    pub fn seen_from(root: &Path, file: &OpenFile) -> FileLabel {
        let (device, inode) = match file.inode().attributes() {
            Ok(attributes) => (attributes.device, attributes.inode),
            // The file system does not answer; the mapping is there all the same.
            Err(_) => (0, 0),
        };
        let major = (device >> 8 & 0xfff) | (device >> 32 & 0xffff_f000);
        let minor = (device & 0xff) | (device >> 12 & 0xffff_ff00);
        FileLabel { path: file.display_name(root), device: (major as u32, minor as u32), inode }
    }
}

/// Writes maps. Whoever knows names tells it how files are called.
pub struct MapsFormat<'a> {
    /// Says what a mapped file is called.
    pub label: &'a dyn Fn(&OpenFile) -> FileLabel,
}

impl MapsFormat<'_> {
    /// `/proc/PID/maps`
    pub fn maps(&self, mm: &Mm) -> Vec<u8> {
        let (areas, state) = mm.for_display();
        let mut text = Vec::new();
        for vma in &areas {
            self.line(&mut text, vma, &state);
        }
        text
    }

    /// `/proc/PID/smaps`. Which pages are resident only the host knows: all that is accessible and reserves memory is
    /// shown as if it were.
    pub fn smaps(&self, mm: &Mm) -> Vec<u8> {
        let (areas, state) = mm.for_display();
        let mut text = Vec::new();
        for vma in &areas {
            self.line(&mut text, vma, &state);
            details(&mut text, vma);
        }
        text
    }

    /// `/proc/PID/smaps_rollup`
    pub fn smaps_rollup(&self, mm: &Mm) -> Vec<u8> {
        let (areas, _) = mm.for_display();
        let first = areas.first().map_or(0, |vma| vma.start);
        let last = areas.last().map_or(0, |vma| vma.end);
        let mut text = String::new();
        let _ = write!(text, "{first:08x}-{last:08x} ---p 00000000 00:00 0 ");
        pad(&mut text);
        text.push_str("[rollup]\n");
        let mut text = text.into_bytes();
        usage(&mut text, &areas);
        text
    }

    fn line(&self, text: &mut Vec<u8>, vma: &Vma, state: &DisplayState) {
        let mut label = FileLabel::default();
        let mut offset = 0;
        match &vma.backing {
            Backing::File(backing) => {
                label = (self.label)(&backing.file);
                offset = vma.offset;
            }
            Backing::Memory(memory) => {
                label.path = memory.name.clone().into_bytes();
                label.device = (0, 1);
                label.inode = memory.inode;
                offset = vma.offset;
            }
            Backing::Anonymous if state.is_heap(vma) => label.path = b"[heap]".to_vec(),
            Backing::Anonymous if state.is_stack(vma) => label.path = b"[stack]".to_vec(),
            Backing::Anonymous | Backing::Trampolines => {}
            Backing::Vdso => label.path = b"[vdso]".to_vec(),
            Backing::Vvar => label.path = b"[vvar]".to_vec(),
        }
        let bit = |set: bool, letter: char| if set { letter } else { '-' };
        let access = vma.protection;
        let mut line = String::new();
        let (major, minor) = label.device;
        let _ = write!(
            line,
            "{:08x}-{:08x} {}{}{}{} {offset:08x} {major:02x}:{minor:02x} {} ",
            vma.start,
            vma.end,
            bit(access.read, 'r'),
            bit(access.write, 'w'),
            bit(access.execute, 'x'),
            if vma.shared { 's' } else { 'p' },
            label.inode,
        );
        if !label.path.is_empty() {
            pad(&mut line);
        }
        text.extend_from_slice(line.as_bytes());
        for &byte in &label.path {
            match byte {
                b'\n' => text.extend_from_slice(b"\\012"),
                byte => text.push(byte),
            }
        }
        text.push(b'\n');
    }
}

/// What besides the mappings decides names.
struct DisplayState {
    brk_start: u64,
    brk: u64,
    stack: u64,
}

impl DisplayState {
    fn is_heap(&self, vma: &Vma) -> bool {
        vma.start < self.brk && vma.end > self.brk_start
    }

    fn is_stack(&self, vma: &Vma) -> bool {
        vma.start <= self.stack && vma.end >= self.stack
    }
}

impl Mm {
    fn for_display(&self) -> (Vec<Vma>, DisplayState) {
        let state: &State = &self.look();
        let shown =
            DisplayState { brk_start: state.image.brk_start, brk: state.brk, stack: state.image.stack_start };
        (state.tree.iter().filter(|vma| !vma.is_hidden()).cloned().collect(), shown)
    }
}

fn pad(line: &mut String) {
    while line.len() < NAME_COLUMN {
        line.push(' ');
    }
}

fn resident(vma: &Vma) -> u64 {
    let access = vma.protection;
    let accessible = access.read || access.write || access.execute;
    if accessible && !vma.flags.intersects(VmaFlags::NORESERVE | VmaFlags::STACK) { vma.length() } else { 0 }
}

fn details(text: &mut Vec<u8>, vma: &Vma) {
    kilobytes(text, "Size", vma.length());
    kilobytes(text, "KernelPageSize", 4096);
    kilobytes(text, "MMUPageSize", 4096);
    usage(text, std::slice::from_ref(vma));
    text.extend_from_slice(b"THPeligible:           0\nVmFlags:");
    for (name, set) in vm_flags(vma) {
        if set {
            text.push(b' ');
            text.extend_from_slice(name.as_bytes());
        }
    }
    // Linux ends the line with a space.
    text.extend_from_slice(b" \n");
}

fn usage(text: &mut Vec<u8>, areas: &[Vma]) {
    let sum =
        |wanted: &dyn Fn(&Vma) -> bool| -> u64 { areas.iter().filter(|vma| wanted(vma)).map(resident).sum() };
    let all = sum(&|_| true);
    let anonymous = sum(&Vma::is_private_anonymous);
    let dirty = sum(&|vma| !vma.shared && vma.protection.write);
    let shared = sum(&|vma| vma.shared);
    let locked = sum(&|vma| vma.flags.contains(VmaFlags::LOCKED));
    let rows = [
        ("Rss", all),
        ("Pss", all),
        ("Pss_Dirty", dirty),
        ("Shared_Clean", 0),
        ("Shared_Dirty", shared),
        ("Private_Clean", all - shared - dirty),
        ("Private_Dirty", dirty),
        ("Referenced", all),
        ("Anonymous", anonymous),
        ("KSM", 0),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", locked),
    ];
    for (name, bytes) in rows {
        kilobytes(text, name, bytes);
    }
}

fn kilobytes(text: &mut Vec<u8>, name: &str, bytes: u64) {
    let label = format!("{name}:");
    text.extend_from_slice(format!("{label:<16}{:>8} kB\n", bytes / 1024).as_bytes());
}

fn vm_flags(vma: &Vma) -> [(&'static str, bool); 19] {
    let has = |flag| vma.flags.contains(flag);
    [
        ("rd", vma.protection.read),
        ("wr", vma.protection.write),
        ("ex", vma.protection.execute),
        ("sh", vma.shared),
        ("mr", vma.max_protection.read),
        ("mw", vma.max_protection.write),
        ("me", vma.max_protection.execute),
        ("ms", vma.shared),
        ("gd", has(VmaFlags::GROWSDOWN)),
        ("lo", has(VmaFlags::LOCKED)),
        ("sr", has(VmaFlags::SEQUENTIAL)),
        ("rr", has(VmaFlags::RANDOM)),
        ("dc", has(VmaFlags::DONTFORK)),
        ("nr", has(VmaFlags::NORESERVE)),
        ("wf", has(VmaFlags::WIPEONFORK)),
        ("dd", has(VmaFlags::DONTDUMP)),
        ("hg", has(VmaFlags::HUGEPAGE)),
        ("nh", has(VmaFlags::NOHUGEPAGE)),
        ("mg", has(VmaFlags::MERGEABLE)),
    ]
}
