//! Reading the headers of an ELF executable (`elf(5)`, `fs/binfmt_elf.c`).

use usk_abi::Errno;
use usk_abi::elf::{
    ELF_MAGIC, ELFCLASS64, ELFDATA2LSB, EM_X86_64, ET_DYN, ET_EXEC, ElfHeader, PF_R, PF_W, PF_X,
    PT_GNU_STACK, PT_INTERP, PT_LOAD, ProgramHeader,
};
use usk_abi::mm::PAGE_SIZE;
use usk_platform::Protection;
use zerocopy::FromBytes;

/// Most bytes of program headers, as in Linux.
const MAX_HEADERS_SIZE: usize = 65536;
/// `PATH_MAX`
const MAX_INTERPRETER_LENGTH: u64 = 4096;

/// Reads bytes of a file at an offset: all of them, or an error.
pub(crate) type ReadAt<'a> = dyn Fn(u64, usize) -> Result<Vec<u8>, Errno> + 'a;

/// What an ELF file says about how it wants to be loaded. Every segment fits below `limit` (see [`ElfImage::parse`]), and
/// they are in ascending order without overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfImage {
    /// `ET_DYN`: can be loaded anywhere.
    pub is_relocatable: bool,
    /// Where execution begins.
    pub entry: u64,
    /// What to map; at least one.
    pub segments: Vec<Segment>,
    /// Path of the program that loads this one (`PT_INTERP`).
    pub interpreter: Option<Vec<u8>>,
    /// `PT_GNU_STACK` asks for an executable stack.
    pub has_executable_stack: bool,
    /// Address of the program headers in memory, for `AT_PHDR`; 0 if no segment holds them.
    pub headers_address: u64,
    /// Count of program headers.
    pub headers_count: u16,
    /// Largest alignment of a segment: a power of two, at least a page.
    pub alignment: u64,
}

/// A part of the file to map (`PT_LOAD`). Addresses are those in the file, before it is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address; equal to `offset` modulo the page size.
    pub address: u64,
    /// Byte offset in the file.
    pub offset: u64,
    /// Bytes from the file.
    pub file_size: u64,
    /// Bytes in memory; what is more than in the file is zero.
    pub memory_size: u64,
    /// Access.
    pub protection: Protection,
}

impl Segment {
    /// First address after it, not page aligned.
    pub fn end(&self) -> u64 {
        self.address + self.memory_size
    }

    /// The address of the page where it begins.
    pub fn first_page(&self) -> u64 {
        self.address & !(PAGE_SIZE - 1)
    }

    /// First address after its last page.
    pub fn page_end(&self) -> u64 {
        (self.end() + PAGE_SIZE - 1) & !(PAGE_SIZE - 1)
    }
}

impl ElfImage {
    /// Reads the headers. Segments must lie below `limit`, the size of an address space. `ENOEXEC` for a file that is not an
    /// x86-64 executable or is malformed; errors of `read` as they are.
    pub(crate) fn parse(read: &ReadAt<'_>, limit: u64) -> Result<ElfImage, Errno> {
        let bytes = read(0, size_of::<ElfHeader>())?;
        let header = ElfHeader::read_from_bytes(&bytes).map_err(|_| Errno::ENOEXEC)?;
        let is_relocatable = check_header(&header)?;
        let headers = read_program_headers(read, &header)?;

        let mut interpreter = None;
        let mut has_executable_stack = false;
        let mut segments: Vec<Segment> = Vec::new();
        let mut alignment = PAGE_SIZE;
        let mut headers_address = 0;
        for program_header in &headers {
            match program_header.p_type {
                PT_INTERP if interpreter.is_none() => {
                    interpreter = Some(read_interpreter(read, program_header)?);
                }
                PT_GNU_STACK => has_executable_stack = program_header.p_flags & PF_X != 0,
                PT_LOAD => {
                    let Some(segment) = segment_of(program_header, limit)? else { continue };
                    if segments.last().is_some_and(|last| last.end() > segment.address) {
                        return Err(Errno::ENOEXEC);
                    }
                    let file_end = segment.offset + segment.file_size;
                    if (segment.offset..file_end).contains(&header.e_phoff) {
                        headers_address = header.e_phoff - segment.offset + segment.address;
                    }
                    if program_header.p_align.is_power_of_two() && program_header.p_align < limit {
                        alignment = alignment.max(program_header.p_align);
                    }
                    segments.push(segment);
                }
                _ => {}
            }
        }
        if segments.is_empty() || header.e_entry >= limit {
            return Err(Errno::ENOEXEC);
        }
        Ok(ElfImage {
            is_relocatable,
            entry: header.e_entry,
            segments,
            interpreter,
            has_executable_stack,
            headers_address,
            headers_count: header.e_phnum,
            alignment,
        })
    }

    /// The pages that all segments and the holes between them take: first address and first address after.
    pub fn page_span(&self) -> (u64, u64) {
        let first = self.segments.first().map_or(0, Segment::first_page);
        let end = self.segments.last().map_or(0, Segment::page_end);
        (first, end)
    }
}

/// True for a file that can be loaded anywhere, false for one at fixed addresses.
fn check_header(header: &ElfHeader) -> Result<bool, Errno> {
    let ident = &header.e_ident;
    if ident[..4] != ELF_MAGIC || ident[4] != ELFCLASS64 || ident[5] != ELFDATA2LSB {
        return Err(Errno::ENOEXEC);
    }
    if header.e_machine != EM_X86_64 {
        return Err(Errno::ENOEXEC);
    }
    match header.e_type {
        ET_EXEC => Ok(false),
        ET_DYN => Ok(true),
        _ => Err(Errno::ENOEXEC),
    }
}

fn read_program_headers(read: &ReadAt<'_>, header: &ElfHeader) -> Result<Vec<ProgramHeader>, Errno> {
    let size = size_of::<ProgramHeader>();
    let total = size * usize::from(header.e_phnum);
    if usize::from(header.e_phentsize) != size || total == 0 || total > MAX_HEADERS_SIZE {
        return Err(Errno::ENOEXEC);
    }
    let bytes = read(header.e_phoff, total)?;
    let headers = bytes.chunks_exact(size).map(ProgramHeader::read_from_bytes);
    headers.collect::<Result<_, _>>().map_err(|_| Errno::ENOEXEC)
}

fn read_interpreter(read: &ReadAt<'_>, header: &ProgramHeader) -> Result<Vec<u8>, Errno> {
    if header.p_filesz < 2 || header.p_filesz > MAX_INTERPRETER_LENGTH {
        return Err(Errno::ENOEXEC);
    }
    let mut path = read(header.p_offset, header.p_filesz as usize)?;
    if path.pop() != Some(0) {
        return Err(Errno::ENOEXEC);
    }
    // The name ends at its first NUL.
    if let Some(end) = path.iter().position(|&byte| byte == 0) {
        path.truncate(end);
    }
    Ok(path)
}

/// The segment of a `PT_LOAD` header; `None` if it is empty.
fn segment_of(header: &ProgramHeader, limit: u64) -> Result<Option<Segment>, Errno> {
    let ProgramHeader { p_vaddr, p_offset, p_filesz, p_memsz, p_flags, .. } = *header;
    if p_filesz > p_memsz || p_memsz > limit || p_vaddr > limit - p_memsz {
        return Err(Errno::ENOEXEC);
    }
    if p_memsz == 0 {
        return Ok(None);
    }
    if p_filesz > 0 {
        let file_end = p_offset.checked_add(p_filesz).ok_or(Errno::ENOEXEC)?;
        if p_offset % PAGE_SIZE != p_vaddr % PAGE_SIZE || file_end > i64::MAX as u64 - PAGE_SIZE {
            return Err(Errno::ENOEXEC);
        }
    }
    let protection =
        Protection { read: p_flags & PF_R != 0, write: p_flags & PF_W != 0, execute: p_flags & PF_X != 0 };
    let offset = if p_filesz > 0 { p_offset } else { 0 };
    Ok(Some(Segment { address: p_vaddr, offset, file_size: p_filesz, memory_size: p_memsz, protection }))
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
