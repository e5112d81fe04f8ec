use usk_abi::auxv::{AT_PLATFORM, AT_RANDOM};
use usk_abi::elf::{ElfHeader, PF_R, PF_W, PT_LOAD};
use zerocopy::IntoBytes;

use super::*;
use crate::loader::testing::{open_bytes, open_path, small_elf};
use crate::loader::{Arguments, prepare};
use crate::mm::KnownCode;
use crate::mm::fake::{FakeThread, layout};

const STACK_LIMIT: u64 = 8 << 20;

struct Loaded {
    thread: FakeThread,
    mm: std::sync::Arc<Mm>,
    entry: Registers,
    image: PreparedImage,
}

impl Loaded {
    fn word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        assert_eq!(self.mm.space.read(address, &mut bytes), 8, "{address:#x}");
        u64::from_le_bytes(bytes)
    }

    fn auxiliary(&self, kind: u64) -> Option<u64> {
        let vector = self.mm.auxiliary_vector();
        let words: Vec<u64> =
            vector.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        words.chunks(2).find(|pair| pair[0] == kind).map(|pair| pair[1])
    }
}

fn load(file: std::sync::Arc<crate::vfs::OpenFile>, randomize: bool) -> Result<Loaded, Errno> {
    let arguments = Arguments { arguments: vec![b"prog".to_vec()], environment: vec![b"HOME=/".to_vec()] };
    let identity = ProcessIdentity { uid: 1, euid: 2, gid: 3, egid: 4, is_secure: true };
    let context = ExecContext { stack_limit: STACK_LIMIT, randomize, identity };
    let image = prepare(file, b"/bin/prog".to_vec(), arguments, context, &mut |path| {
        open_path(std::str::from_utf8(path).expect("a path")).ok_or(Errno::ENOENT)
    })?;
    let mut thread = FakeThread::new();
    let mm = Mm::new(thread.fake.clone(), &layout(), STACK_LIMIT, randomize)?;
    let entry = image.commit(&mut thread, &mm, &KnownCode::default())?;
    Ok(Loaded { thread, mm, entry, image })
}

/// What the tree says is what the host has.
fn assert_tree_agrees(loaded: &Loaded) {
    let pages = loaded.thread.fake.pages.lock();
    let mut count = 0;
    for vma in loaded.mm.snapshot().iter().filter(|vma| vma.end <= layout().guest_end) {
        for at in (vma.start..vma.end).step_by(4096) {
            assert_eq!(pages.get(&at).map(|page| page.protection), Some(vma.protection), "{at:#x}");
            count += 1;
        }
    }
    assert_eq!(count, pages.len());
}

#[test]
fn a_fixed_program_lies_where_it_says_and_its_bss_is_zero() {
    let loaded = load(open_bytes(&small_elf()), true).expect("loaded");
    assert_eq!(loaded.entry.rip, 0x40_0100);
    assert_eq!(loaded.word(0x40_0100), 0xcccc_cccc_cccc_cccc);
    assert_eq!(loaded.word(0x40_2178), 0xcccc_cccc_cccc_cccc);
    assert_eq!(loaded.word(0x40_2180), 0);
    assert_eq!(loaded.word(0x40_2ff8), 0);
    assert_eq!(loaded.word(0x40_4008), 0);
    assert_eq!(loaded.auxiliary(AT_PHDR), Some(0x40_0040));
    assert_eq!(loaded.auxiliary(AT_ENTRY), Some(0x40_0100));
    assert_eq!(loaded.auxiliary(AT_BASE), Some(0));
    assert_eq!(loaded.auxiliary(AT_EGID), Some(4));
    assert_eq!(loaded.auxiliary(AT_SECURE), Some(1));
    assert_eq!(loaded.auxiliary(AT_SYSINFO_EHDR), Some(layout().vdso.0));
    assert!(loaded.auxiliary(AT_RANDOM) > Some(loaded.entry.rsp));
    assert!(loaded.auxiliary(AT_PLATFORM).is_some());
    let image = loaded.mm.image();
    assert!(image.brk_start >= 0x40_5000 && image.brk_start < 0x40_5000 + (1 << 30));
    assert_eq!(loaded.word(loaded.entry.rsp), 1);
    assert_tree_agrees(&loaded);
}

#[test]
fn a_segment_that_begins_in_the_page_where_another_ends_keeps_its_bytes() {
    for flags in [PF_R, PF_R | PF_W] {
        let mut bytes = small_elf();
        let header = ElfHeader::of_executable(0x40_0100, 3);
        bytes[..64].copy_from_slice(header.as_bytes());
        // The second ends, with memory beyond its file part, where the third begins.
        bytes[120 + 40..120 + 48].copy_from_slice(&0x100u64.to_le_bytes());
        let third = ProgramHeader {
            p_type: PT_LOAD,
            p_flags: flags,
            p_offset: 0x1800,
            p_vaddr: 0x40_2800,
            p_paddr: 0,
            p_filesz: 0x10,
            p_memsz: 0x10,
            p_align: 0x1000,
        };
        bytes[176..232].copy_from_slice(third.as_bytes());
        let loaded = load(open_bytes(&bytes), true).expect("loaded");
        assert_eq!(loaded.word(0x40_2180), 0xcccc_cccc_cccc_cccc);
        assert_eq!(loaded.word(0x40_2800), 0xcccc_cccc_cccc_cccc);
        assert_tree_agrees(&loaded);
    }
}

#[test]
fn a_dynamic_program_starts_in_its_loader() {
    let loaded = load(open_path("/bin/true").expect("/bin/true"), false).expect("loaded");
    let base = loaded.auxiliary(AT_BASE).expect("a base");
    let loader = &loaded.image.interpreter.as_ref().expect("a loader").image;
    assert_eq!(loaded.entry.rip, base + loader.entry);
    assert_eq!(loaded.auxiliary(AT_PHNUM), Some(loaded.image.program.image.headers_count.into()));
    let program = Placement::new(&layout(), STACK_LIMIT, false).expect("a placement").program_base;
    assert_eq!(loaded.auxiliary(AT_PHDR), Some(program + loaded.image.program.image.headers_address));
    // The first bytes of both files are there.
    assert_eq!(loaded.word(program) as u32, 0x464c_457f);
    assert_eq!(loaded.word(base) as u32, 0x464c_457f);
    assert_tree_agrees(&loaded);
}

#[test]
fn places_are_random_unless_told_otherwise() {
    let places = |randomize| {
        let loaded = load(open_path("/bin/true").expect("/bin/true"), randomize).expect("loaded");
        let base = loaded.auxiliary(AT_BASE);
        (base, loaded.auxiliary(AT_PHDR), loaded.entry.rsp, loaded.mm.image().brk_start)
    };
    assert_eq!(places(false), places(false));
    let (a, b) = (places(true), places(true));
    assert!(a.0 != b.0 && a.1 != b.1 && a.2 != b.2 && a.3 != b.3);
}

#[test]
fn a_program_outside_the_guests_range_cannot_be_loaded() {
    for address in [0u64, 0x7fff_0000_0000 - 0x1000, 0x7fff_f000_4000 & !0xfff] {
        let mut bytes = small_elf();
        bytes[64 + 16..64 + 24].copy_from_slice(&address.to_le_bytes());
        bytes[120 + 16..120 + 24].copy_from_slice(&(address + 0x2100).to_le_bytes());
        assert_eq!(load(open_bytes(&bytes), false).err(), Some(Errno::ENOMEM), "{address:#x}");
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.entry)
    }
}
