//! What is known of the code in files, so that a program starts with the patches that others have earned.
//!
//! A program that runs for a millisecond ends before any of its call sites has paid for a patch, and its loader has made the same
//! calls from the same places in every program before it. So traps are also counted by file, over all programs; and in
//! dynamic loaders the `cpuid` instructions are looked for, which never trap. What is found is patched as soon as the
//! file is mapped for execution: whole pages are compared and written, some 25 µs however many sites there are.
//!
//! Only the file's bytes decide (see [`KnownPatch`]), and they must be found again in the mapping: a guest's calls only
//! draw attention to a place.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::mm::PAGE_SIZE;
use usk_platform::host::{self, timeline};
use usk_platform::trap::{Answers, CodeImage, KnownPatch, Oracle};

use crate::loader::{ElfImage, LoadableFile};
use crate::mm::slow_sites::{ENDINGS, SlowCalls, THRESHOLD};
use crate::mm::{FileBacking, Vma};

/// Files that are known at the same time. What is kept of one is bounded by its image: at most half a megabyte.
const MAX_FILES: usize = 32;
/// Sites that are counted in a file.
const MAX_SITES: usize = 128;
/// Calls in a program that are worth the patches of a file: one saves 3 µs.
const WORTH: u32 = 5;
/// How much code of a file is searched, in bytes: loaders have some 150 KiB.
const MAX_TEXT: u64 = 2 << 20;
/// How much of it is read at a time.
const PIECE: u64 = 16 << 10;
/// How much of a file's code is read around a site, on either side: as much as a patch depends on.
const NEIGHBOURHOOD: u64 = KnownPatch::NEIGHBOURHOOD + 16;

/// A sandbox's.
#[derive(Default)]
pub(crate) struct KnownCode {
    files: Mutex<HashMap<(u64, u64), FileCode>>,
    /// What the processor answers, once a loader is there that asks.
    oracle: OnceLock<Arc<Oracle>>,
}

/// A file.
#[derive(Default)]
struct FileCode {
    /// Programs that have made slow calls from here.
    programs: u32,
    sites: HashMap<u64, Site>,
    /// The patches of `cpuid`s, once they have been looked for.
    cpuids: Option<Vec<Arc<KnownPatch>>>,
    /// What is written wherever it is mapped.
    image: Option<Arc<CodeImage>>,
    /// How many patches the image was made of.
    patches: usize,
}

/// A site by its offset in the file.
#[derive(Default)]
struct Site {
    calls: u32,
    patch: Outcome,
}

/// Whether a site can be patched.
#[derive(Default)]
enum Outcome {
    #[default]
    NotTried,
    Known(Arc<KnownPatch>),
    Impossible,
}

impl KnownCode {
    /// What is written where a file is mapped for execution.
    pub(in crate::mm) fn image(&self, identity: (u64, u64)) -> Option<Arc<CodeImage>> {
        self.files.lock().get(&identity)?.image.clone()
    }

    /// The file's code is not what it was.
    pub(in crate::mm) fn forget(&self, identity: (u64, u64)) {
        self.files.lock().remove(&identity);
    }

    /// Looks for `cpuid`s in the code of a dynamic loader, once.
    pub(crate) fn look_at_loader(&self, loader: &LoadableFile) {
        let backing = &loader.backing;
        let Ok(identity) = backing.identity() else { return };
        if self.files.lock().get(&identity).is_some_and(|file| file.cpuids.is_some()) {
            return;
        }
        let begun_ns = timeline::now();
        let (mut found, mut answers) = (Vec::new(), Answers::default());
        let (mut bytes_left, mut places_left) = (MAX_TEXT, KnownPatch::MAX_CPUIDS);
        for code in code_ranges(&loader.image) {
            let Some(left) = bytes_left.checked_sub(code.end - code.start) else { continue };
            bytes_left = left;
            found.extend(cpuids(backing, code, &mut answers, &mut places_left).into_iter().map(Arc::new));
        }
        if found.iter().any(|patch| patch.looks_up()) {
            self.oracle.get_or_init(|| Arc::new(Oracle::new(&mut answers)));
        }
        timeline::span("look at the loader", begun_ns);
        self.with_file(identity, |file| {
            file.cpuids = Some(found);
            file.publish(backing, self.oracle.get());
        });
    }

    /// Learns from the slow calls that a program has made from a mapping of a file.
    pub(in crate::mm) fn learn(&self, backing: &FileBacking, calls: &[(u64, SlowCalls, &Vma)]) {
        let Ok(identity) = backing.identity() else { return };
        self.with_file(identity, |file| {
            file.programs = file.programs.saturating_add(1);
            for &(site, SlowCalls { count, number }, text) in calls {
                if ENDINGS.contains(&number) {
                    continue;
                }
                let offset = site - text.start + text.offset;
                if file.sites.len() == MAX_SITES && !file.sites.contains_key(&offset) {
                    continue;
                }
                let known = file.sites.entry(offset).or_default();
                known.calls = known.calls.saturating_add(u32::from(count));
                let is_usual =
                    known.calls >= u32::from(THRESHOLD) && known.calls.saturating_mul(2) >= file.programs;
                if is_usual && matches!(known.patch, Outcome::NotTried) {
                    known.patch = plan(backing, text, offset, number);
                }
            }
            file.publish(backing, self.oracle.get());
        });
    }

    fn with_file(&self, identity: (u64, u64), change: impl FnOnce(&mut FileCode)) {
        let mut files = self.files.lock();
        if files.len() == MAX_FILES && !files.contains_key(&identity) {
            files.clear();
        }
        change(files.entry(identity).or_default());
    }
}

impl FileCode {
    /// Puts together what is to be written.
    fn publish(&mut self, backing: &FileBacking, oracle: Option<&Arc<Oracle>>) {
        let mut patches: Vec<_> = self.cpuids.iter().flatten().cloned().collect();
        let known = |site: &Site| match &site.patch {
            Outcome::Known(patch) => Some((site.calls, patch.clone())),
            Outcome::NotTried | Outcome::Impossible => None,
        };
        let calls: Vec<_> = self.sites.values().filter_map(known).collect();
        let saved: u32 = calls.iter().map(|(calls, _)| calls / self.programs.max(1)).sum();
        // A file that is written to in any case bears more.
        if saved >= WORTH || !patches.is_empty() {
            patches.extend(calls.into_iter().map(|(_, patch)| patch));
        }
        if patches.len() != self.patches {
            self.patches = patches.len();
            let image = CodeImage::new(&patches, oracle, &mut |offset| read_page(backing, offset));
            self.image = image.map(Arc::new);
        }
    }
}

/// Where code is in the file, lowest first and each part once, however many segments a guest's file shows it in.
fn code_ranges(image: &ElfImage) -> Vec<Range<u64>> {
    let code =
        image.segments.iter().filter(|segment| segment.protection.execute && !segment.protection.write);
    let range = |offset: u64, size| offset & !(PAGE_SIZE - 1)..offset.saturating_add(size);
    let mut ranges: Vec<_> = code.map(|segment| range(segment.offset, segment.file_size)).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut end = 0;
    for range in &mut ranges {
        range.start = range.start.max(end);
        end = end.max(range.end);
    }
    ranges.retain(|range| !range.is_empty());
    ranges
}

/// The patches for the `cpuid`s of some code, which is read in pieces: the pages of one are used for all. At most `left`
/// are looked at; it counts down.
fn cpuids(
    backing: &FileBacking,
    code: Range<u64>,
    answers: &mut Answers,
    left: &mut usize,
) -> Vec<KnownPatch> {
    let mut found = Vec::new();
    let mut bytes = vec![0; (PIECE + 2 * KnownPatch::NEIGHBOURHOOD) as usize];
    for piece in code.clone().step_by(PIECE as usize) {
        if *left == 0 {
            break;
        }
        let start = piece.saturating_sub(KnownPatch::NEIGHBOURHOOD).max(code.start);
        let end = (piece + PIECE + KnownPatch::NEIGHBOURHOOD).min(code.end);
        let length = usize::try_from(end - start).unwrap_or(0);
        let Some(buffer) = bytes.get_mut(..length) else { break };
        let count = host::read_at(&*backing.host, buffer, start).unwrap_or(0);
        let own = |patch: &KnownPatch| (piece..piece + PIECE).contains(&patch.site());
        let known = buffer.get(..count).map(|bytes| KnownPatch::cpuids(start, bytes, answers, left));
        found.extend(known.into_iter().flatten().filter(own));
    }
    found
}

/// The patch for a site, by the bytes of the file.
fn plan(backing: &FileBacking, text: &Vma, site: u64, number: u64) -> Outcome {
    let start = site.saturating_sub(NEIGHBOURHOOD).max(text.offset);
    let end = site.saturating_add(NEIGHBOURHOOD).min(text.offset.saturating_add(text.length()));
    let bytes = read(backing, start, end.saturating_sub(start));
    match KnownPatch::call(start, &bytes, site, number) {
        Some(patch) => Outcome::Known(Arc::new(patch)),
        None => Outcome::Impossible,
    }
}

/// Bytes of a file, as many as there are.
fn read(backing: &FileBacking, at: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let count = host::read_at(&*backing.host, &mut bytes, at).unwrap_or(0);
    bytes.truncate(count);
    bytes
}

/// A page of a file as a mapping shows it.
fn read_page(backing: &FileBacking, at: u64) -> Option<[u8; PAGE_SIZE as usize]> {
    let mut page = [0; PAGE_SIZE as usize];
    host::read_at(&*backing.host, &mut page, at).ok()?;
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::testing::open_bytes;
    use crate::loader::{Arguments, ExecContext, ProcessIdentity, prepare};

    fn identity(number: u64) -> (u64, u64) {
        (1, number)
    }

    #[test]
    fn files_and_their_sites_are_bounded() {
        let known = KnownCode::default();
        for number in 0..1000 {
            known.with_file(identity(number), |file| {
                file.programs += 1;
            });
            assert!(known.files.lock().len() <= MAX_FILES);
        }
        assert!(known.image(identity(999)).is_none());
        known.forget(identity(999));
        assert!(!known.files.lock().contains_key(&identity(999)));
    }

    /// An ELF file that shows the same code, `cpuid` after `cpuid`, in `segments` segments.
    fn loader_of_cpuids(segments: u16) -> LoadableFile {
        use usk_abi::elf::{ElfHeader, PF_R, PF_X, PT_LOAD, ProgramHeader};
        use zerocopy::IntoBytes;
        const SIZE: u64 = 256 << 10;
        let mut bytes = ElfHeader::of_executable(0x40_0000, segments).as_bytes().to_vec();
        for number in 0..u64::from(segments) {
            let header = ProgramHeader {
                p_type: PT_LOAD,
                p_flags: PF_R | PF_X,
                p_offset: 0,
                p_vaddr: 0x40_0000 + number * SIZE,
                p_paddr: 0,
                p_filesz: SIZE,
                p_memsz: SIZE,
                p_align: PAGE_SIZE,
            };
            bytes.extend_from_slice(header.as_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0x90);
        while bytes.len() < SIZE as usize {
            // mov eax, 1; cpuid; nop
            bytes.extend([0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x90]);
        }
        let arguments = Arguments { arguments: Vec::new(), environment: Vec::new() };
        let identity = ProcessIdentity::default();
        let context = ExecContext { stack_limit: 8 << 20, randomize: false, identity };
        let path = b"/loader".to_vec();
        prepare(open_bytes(&bytes), path, arguments, context, &mut |_| unreachable!())
            .expect("an ELF file")
            .program
    }

    #[test]
    fn what_is_searched_of_a_file_is_bounded_whatever_its_headers_say() {
        for segments in [1, 3, 20] {
            let (known, loader) = (KnownCode::default(), loader_of_cpuids(segments));
            assert_eq!(code_ranges(&loader.image).as_slice(), std::slice::from_ref(&(0..256 << 10)));
            known.look_at_loader(&loader);
            let identity = loader.backing.identity().expect("an identity");
            let found = known.files.lock()[&identity].cpuids.as_ref().map_or(0, Vec::len);
            assert!((100..=KnownPatch::MAX_CPUIDS).contains(&found), "{found} in {segments} segments");
        }
    }
}
