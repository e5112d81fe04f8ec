//! 64-bit ELF executables, as `execve(2)` reads them (`elf(5)`, `linux/elf.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of every ELF file.
pub const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
/// `e_ident[EI_CLASS]` of a 64-bit file.
pub const ELFCLASS64: u8 = 2;
/// `e_ident[EI_DATA]` of a little-endian file.
pub const ELFDATA2LSB: u8 = 1;
/// `e_type`: an executable at fixed addresses.
pub const ET_EXEC: u16 = 2;
/// `e_type`: a position-independent executable or a shared object.
pub const ET_DYN: u16 = 3;
/// `e_machine`: x86-64.
pub const EM_X86_64: u16 = 62;

/// `p_type`: a segment to map.
pub const PT_LOAD: u32 = 1;
/// `p_type`: the path of the interpreter.
pub const PT_INTERP: u32 = 3;
/// `p_type`: where the program headers themselves are.
pub const PT_PHDR: u32 = 6;
/// `p_type`: whether the stack is executable.
pub const PT_GNU_STACK: u32 = 0x6474_e551;

/// `p_flags`: executable.
pub const PF_X: u32 = 1;
/// `p_flags`: writable.
pub const PF_W: u32 = 2;
/// `p_flags`: readable.
pub const PF_R: u32 = 4;

/// `Elf64_Ehdr`
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ElfHeader {
    pub e_ident: [u8; 16],
    pub e_type: u16,
    pub e_machine: u16,
    pub e_version: u32,
    pub e_entry: u64,
    pub e_phoff: u64,
    pub e_shoff: u64,
    pub e_flags: u32,
    pub e_ehsize: u16,
    pub e_phentsize: u16,
    pub e_phnum: u16,
    pub e_shentsize: u16,
    pub e_shnum: u16,
    pub e_shstrndx: u16,
}

impl ElfHeader {
    /// Of an executable for this machine: `segments` program headers follow, and there are no sections.
    pub fn of_executable(entry: u64, segments: u16) -> Self {
        let mut e_ident = [0; 16];
        e_ident[..4].copy_from_slice(&ELF_MAGIC);
        e_ident[4..7].copy_from_slice(&[ELFCLASS64, ELFDATA2LSB, 1]);
        ElfHeader {
            e_ident,
            e_type: ET_EXEC,
            e_machine: EM_X86_64,
            e_version: 1,
            e_entry: entry,
            e_phoff: size_of::<ElfHeader>() as u64,
            e_shoff: 0,
            e_flags: 0,
            e_ehsize: size_of::<ElfHeader>() as u16,
            e_phentsize: size_of::<ProgramHeader>() as u16,
            e_phnum: segments,
            e_shentsize: 64,
            e_shnum: 0,
            e_shstrndx: 0,
        }
    }
}

/// `Elf64_Phdr`
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ProgramHeader {
    pub p_type: u32,
    pub p_flags: u32,
    pub p_offset: u64,
    pub p_vaddr: u64,
    pub p_paddr: u64,
    pub p_filesz: u64,
    pub p_memsz: u64,
    pub p_align: u64,
}

const _: () = assert!(size_of::<ElfHeader>() == 64 && size_of::<ProgramHeader>() == 56);
