//! The second half of an exec: the old image goes, the new one is mapped.

use usk_abi::Errno;
use usk_abi::auxv::{
    AT_BASE, AT_CLKTCK, AT_EGID, AT_ENTRY, AT_EUID, AT_FLAGS, AT_GID, AT_HWCAP, AT_HWCAP2, AT_MINSIGSTKSZ,
    AT_PAGESZ, AT_PHDR, AT_PHENT, AT_PHNUM, AT_SECURE, AT_SYSINFO_EHDR, AT_UID, CLOCK_TICKS_PER_SECOND,
    HWCAP2_FSGSBASE,
};
use usk_abi::elf::ProgramHeader;
use usk_abi::mm::PAGE_SIZE;
use usk_platform::arch::Registers;
use usk_platform::{GuestThread, MapFlags, MemoryOp, Protection, host};

use crate::loader::prepare::{ExecContext, LoadableFile, PreparedImage, ProcessIdentity};
use crate::loader::stack::InitialStack;
use crate::mm::{
    ALL_ACCESS, Backing, Executable, ImageRanges, KnownCode, Mm, NewImage, Placement, Vma, VmaFlags, VmaTree,
};

/// Least and most that is mapped for a stack, whatever `RLIMIT_STACK` says. Where that permits more, the stack grows as it is used:
/// what nobody uses must not count against `RLIMIT_AS`.
const LEAST_STACK: u64 = 256 << 10;
const MOST_STACK: u64 = 8 << 20;
/// Room below the initial contents of a stack that a program can count on.
const STACK_HEADROOM: u64 = 128 << 10;
/// Interrupts on, and the bit that is always one.
const INITIAL_FLAGS: u64 = 0x202;

impl PreparedImage {
    /// Replaces whatever `mm` maps by the program and returns the registers that it starts with. `mm` is that of `thread`
    /// and nobody else uses it; it may still hold the old image. After a failure nothing can run in the address space: the
    /// task must be killed.
    pub(crate) fn commit(
        &self,
        thread: &mut dyn GuestThread,
        mm: &Mm,
        known: &KnownCode,
    ) -> Result<Registers, Errno> {
        if let Some(loader) = &self.interpreter
            && thread.patches_code()
        {
            known.look_at_loader(loader);
        }
        load(self, thread, mm, known)
    }
}

fn load(
    image: &PreparedImage,
    thread: &mut dyn GuestThread,
    mm: &Mm,
    known: &KnownCode,
) -> Result<Registers, Errno> {
    let ExecContext { stack_limit, randomize, identity } = image.context;
    let placement = Placement::new(mm.layout(), stack_limit, randomize)?;
    let mut plan = Plan::new(mm, &placement);
    let program = plan.add_program(&image.program, image.interpreter.is_some())?;
    let interpreter = image.interpreter.as_ref().map(|file| plan.add_interpreter(file)).transpose()?;

    let mut random = [0u8; 16];
    host::fill_random(&mut random)?;
    let entries = auxiliary_entries(image, &program, interpreter.as_ref(), plan.vdso, identity);
    let stack = InitialStack::build(
        placement.stack_top,
        &image.arguments,
        &image.path,
        random,
        &entries,
        placement.stack_jitter,
    )?;
    plan.add_stack(&stack, stack_limit, image.program.image.has_executable_stack)?;

    let mut ranges = program_ranges(&image.program, program.bias);
    let program_end = image.program.image.page_span().1.wrapping_add(program.bias);
    let loads_itself = image.program.image.is_relocatable && image.interpreter.is_none();
    // A program that is its own loader lies among the mappings, where a heap would have no room to grow.
    ranges.brk_start = if loads_itself { placement.program_base } else { program_end } + placement.brk_gap;
    ranges.stack_start = stack.stack_pointer;
    (ranges.arguments_start, ranges.arguments_end) = stack.arguments;
    (ranges.environment_start, ranges.environment_end) = stack.environment;

    let file = image.program.backing.file.clone();
    let executable = Executable { file, claim: image.program.claim.clone() };
    let has_interpreter = interpreter.is_some();
    plan.carry_out(thread, NewImage { ranges, executable, has_interpreter, known })?;
    write_all(mm, stack.stack_pointer, &stack.bytes)?;
    mm.set_auxiliary_vector(&stack.auxiliary_vector);
    Ok(Registers {
        rip: interpreter.unwrap_or(program).entry,
        rsp: stack.stack_pointer,
        rflags: INITIAL_FLAGS,
        ..Registers::default()
    })
}

/// An ELF file in its place.
#[derive(Clone, Copy)]
struct Placed {
    /// What is added to the addresses in the file.
    bias: u64,
    entry: u64,
}

/// What is going to be mapped.
struct Plan<'a> {
    mm: &'a Mm,
    placement: &'a Placement,
    /// For finding room: what is mapped already, and the pieces.
    tree: VmaTree,
    /// In the order of mapping; a later one may replace pages of an earlier one.
    pieces: Vec<Vma>,
    /// Ranges that the file's pages fill with something else than zeros: address and length.
    zeros: Vec<(u64, u64)>,
    vdso: Option<u64>,
}

impl<'a> Plan<'a> {
    fn new(mm: &'a Mm, placement: &'a Placement) -> Self {
        let mut tree = VmaTree::new();
        let mut vdso = None;
        for vma in mm.snapshot() {
            match vma.backing {
                Backing::Vdso => vdso = Some(vma.start),
                Backing::Vvar => {}
                _ => continue,
            }
            tree.insert(vma);
        }
        Plan { mm, placement, tree, pieces: Vec::new(), zeros: Vec::new(), vdso }
    }

    fn add_program(&mut self, file: &LoadableFile, has_interpreter: bool) -> Result<Placed, Errno> {
        let (first, _) = file.image.page_span();
        if !file.image.is_relocatable {
            return self.add_file(file, first);
        }
        if !has_interpreter {
            return self.add_interpreter(file);
        }
        let base = self.placement.program_base & !(file.image.alignment - 1);
        self.add_file(file, base)
    }

    /// Among the mappings, as `mmap` would place it.
    fn add_interpreter(&mut self, file: &LoadableFile) -> Result<Placed, Errno> {
        let (first, end) = file.image.page_span();
        if !file.image.is_relocatable {
            return self.add_file(file, first);
        }
        let guest_start = self.mm.layout().guest_start;
        let alignment = file.image.alignment;
        let base = self
            .tree
            .gap_from_top(end - first, alignment, guest_start, self.placement.mmap_base)
            .ok_or(Errno::ENOMEM)?;
        self.add_file(file, base)
    }

    /// Plans the segments so that the first page of the file's image is at `base`.
    fn add_file(&mut self, file: &LoadableFile, base: u64) -> Result<Placed, Errno> {
        let (first, end) = file.image.page_span();
        let layout = self.mm.layout();
        let room = layout.guest_end.checked_sub(end - first).ok_or(Errno::ENOMEM)?;
        if base < layout.guest_start || base > room || !self.tree.is_free(base, base + (end - first)) {
            return Err(Errno::ENOMEM);
        }
        let bias = base.wrapping_sub(first);
        for segment in &file.image.segments {
            let start = segment.first_page().wrapping_add(bias);
            let page_end = segment.page_end().wrapping_add(bias);
            let data_end = segment.address.wrapping_add(bias) + segment.file_size;
            let within = segment.address % PAGE_SIZE;
            let mut at = start;
            if segment.file_size > 0 {
                at = data_end.next_multiple_of(PAGE_SIZE);
                let backing = Backing::File(file.backing.clone());
                self.add(start, at, segment.protection, backing, segment.offset - within, VmaFlags::empty());
                if segment.memory_size > segment.file_size && segment.protection.write && data_end < at {
                    self.zeros.push((data_end, at - data_end));
                }
            }
            if at < page_end {
                self.add(at, page_end, segment.protection, Backing::Anonymous, at, VmaFlags::empty());
            }
        }
        Ok(Placed { bias, entry: file.image.entry.wrapping_add(bias) })
    }

    fn add_stack(&mut self, stack: &InitialStack, limit: u64, executable: bool) -> Result<(), Errno> {
        let top = self.placement.stack_top;
        let contents = (top - stack.stack_pointer).next_multiple_of(PAGE_SIZE);
        let size = limit.clamp(LEAST_STACK, MOST_STACK).max(contents + STACK_HEADROOM);
        let start = (top & !(PAGE_SIZE - 1)) - (size & !(PAGE_SIZE - 1));
        if start < self.mm.layout().guest_start || !self.tree.is_free(start, top) {
            return Err(Errno::ENOMEM);
        }
        let protection = Protection { read: true, write: true, execute: executable };
        let flags = VmaFlags::STACK | VmaFlags::NORESERVE | VmaFlags::GROWSDOWN;
        self.add(start, top, protection, Backing::Anonymous, start, flags);
        Ok(())
    }

    fn add(
        &mut self,
        start: u64,
        end: u64,
        protection: Protection,
        backing: Backing,
        offset: u64,
        flags: VmaFlags,
    ) {
        let max_protection = ALL_ACCESS;
        let vma = Vma { start, end, protection, max_protection, shared: false, backing, offset, flags };
        self.tree.remove(start, end);
        self.tree.insert(vma.clone());
        // They lie in one page each, which is not there any more.
        self.zeros.retain(|(at, _)| !(start..end).contains(at));
        self.pieces.push(vma);
    }

    fn carry_out(self, thread: &mut dyn GuestThread, image: NewImage<'_>) -> Result<(), Errno> {
        let mm = self.mm;
        let mut operations = vec![MemoryOp::UnmapAll];
        operations.extend(self.pieces.iter().map(|vma| {
            let no_reserve = vma.flags.contains(VmaFlags::NORESERVE);
            vma.host_mapping(MapFlags { populate: false, no_reserve })
        }));
        let areas = self
            .tree
            .iter()
            .filter(|vma| !matches!(vma.backing, Backing::Vdso | Backing::Vvar))
            .cloned()
            .collect();
        mm.install_image(thread, operations, areas, self.placement.clone(), image)?;
        const ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];
        self.zeros.iter().try_for_each(|&(at, length)| write_all(mm, at, &ZEROS[..length as usize]))
    }
}

fn write_all(mm: &Mm, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    if mm.space.write(address, bytes) == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
}

/// The auxiliary vector in Linux's order, but for the entries that point into the stack.
fn auxiliary_entries(
    image: &PreparedImage,
    program: &Placed,
    interpreter: Option<&Placed>,
    vdso: Option<u64>,
    identity: ProcessIdentity,
) -> Vec<(u64, u64)> {
    let headers = image.program.image.headers_address;
    let headers = if headers == 0 { 0 } else { headers.wrapping_add(program.bias) };
    let mut entries = Vec::with_capacity(20);
    if let Some(vdso) = vdso {
        entries.push((AT_SYSINFO_EHDR, vdso));
    }
    entries.extend([
        (AT_MINSIGSTKSZ, host::auxiliary_value(AT_MINSIGSTKSZ)),
        (AT_HWCAP, host::auxiliary_value(AT_HWCAP)),
        (AT_PAGESZ, PAGE_SIZE),
        (AT_CLKTCK, CLOCK_TICKS_PER_SECOND),
        (AT_PHDR, headers),
        (AT_PHENT, size_of::<ProgramHeader>() as u64),
        (AT_PHNUM, image.program.image.headers_count.into()),
        (AT_BASE, interpreter.map_or(0, |placed| placed.bias)),
        (AT_FLAGS, 0),
        (AT_ENTRY, program.entry),
        (AT_UID, identity.uid.into()),
        (AT_EUID, identity.euid.into()),
        (AT_GID, identity.gid.into()),
        (AT_EGID, identity.egid.into()),
        (AT_SECURE, identity.is_secure.into()),
        (AT_HWCAP2, host::auxiliary_value(AT_HWCAP2) & HWCAP2_FSGSBASE),
    ]);
    entries
}

/// Code and data of the program, as Linux reckons them.
fn program_ranges(file: &LoadableFile, bias: u64) -> ImageRanges {
    let mut ranges = ImageRanges { code_start: u64::MAX, ..ImageRanges::default() };
    for segment in &file.image.segments {
        let start = segment.address.wrapping_add(bias);
        let end = start + segment.file_size;
        ranges.code_start = ranges.code_start.min(start);
        ranges.data_start = ranges.data_start.max(start);
        if segment.protection.execute {
            ranges.code_end = ranges.code_end.max(end);
        }
        ranges.data_end = ranges.data_end.max(end);
    }
    ranges
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
