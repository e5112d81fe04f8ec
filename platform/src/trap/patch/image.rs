//! A file's code with all its known patches in it, laid out once and written wherever the file is mapped.
//!
//! Trampolines lie at the same distance from the code everywhere, so what is written is the same everywhere: whole pages.
//! A page is written only over the page that it was made from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::known::KnownPatch;
use super::oracle::Oracle;
use super::table::PatchTable;

const PAGE: u64 = 4096;
/// Where the file is taken to be mapped while it is laid out: anywhere that leaves room on both sides.
const BASE: u64 = 1 << 40;
/// Where the trampolines are then.
const AREA: Range<u64> = BASE - CodeImage::AREA_SIZE..BASE;
/// More pages than this of a file are not written: each is a page of the process's own.
const MAX_PAGES: usize = 48;

/// See the module's description. Offsets are those in the file.
#[derive(Debug)]
pub struct CodeImage {
    /// The sites, as if the file were mapped at [`BASE`].
    pub(super) table: PatchTable,
    pages: BTreeMap<u64, Page>,
    /// The trampolines, from the start of their area on.
    cells: Vec<u8>,
}

/// A page of code.
#[derive(Debug)]
struct Page {
    original: Vec<u8>,
    /// `None` for one that has only helped to decide.
    patched: Option<Vec<u8>>,
}

impl CodeImage {
    /// Bytes of the area of trampolines, which ends where the file's first byte would be mapped.
    pub const AREA_SIZE: u64 = 64 << 10;

    /// Lays the patches out, those that look up answers only if there is an oracle. `read` returns a page of the file. `None` if
    /// nothing is left to be patched.
    pub fn new(
        patches: &[Arc<KnownPatch>],
        oracle: Option<&Arc<Oracle>>,
        read: &mut dyn FnMut(u64) -> Option<[u8; PAGE as usize]>,
    ) -> Option<CodeImage> {
        let oracle = oracle.filter(|_| patches.iter().any(|patch| patch.looks_up()));
        let cells = oracle.map_or_else(Vec::new, |oracle| oracle.code().to_vec());
        let table = oracle.map_or_else(PatchTable::default, |oracle| {
            PatchTable::with_oracle(AREA.start, Arc::clone(oracle))
        });
        let mut image = CodeImage { table, pages: BTreeMap::new(), cells };
        for patch in patches {
            image.add(patch, read);
        }
        image.table.sites().next()?;
        Some(image)
    }

    fn add(
        &mut self,
        patch: &KnownPatch,
        read: &mut dyn FnMut(u64) -> Option<[u8; PAGE as usize]>,
    ) -> Option<()> {
        let range = patch.range();
        let pages = || (range.start & !(PAGE - 1)..range.end).step_by(PAGE as usize);
        for page in pages() {
            if !self.pages.contains_key(&page) {
                if self.pages.len() == MAX_PAGES {
                    return None;
                }
                let original = read(page)?.to_vec();
                self.pages.insert(page, Page { original, patched: None });
            }
        }
        let original =
            |at: u64| Some(*self.pages.get(&(at & !(PAGE - 1)))?.original.get((at % PAGE) as usize)?);
        // The file may have changed since.
        if !(range.clone()).zip(&patch.evidence.bytes).all(|(at, byte)| original(at) == Some(*byte)) {
            return None;
        }
        let start = patch.plan.start;
        let overwritten = patch.evidence.at(start..start + 5)?.try_into().ok()?;
        let site = self.table.lay_out(&patch.plan.moved_by(BASE), overwritten, AREA)?;
        let site = self.table.insert(site);
        for edit in &site.edits {
            for (at, byte) in (edit.address - BASE..).zip(&edit.patched) {
                let page = self.pages.get_mut(&(at & !(PAGE - 1)))?;
                let patched = page.patched.get_or_insert_with(|| page.original.clone());
                *patched.get_mut((at % PAGE) as usize)? = *byte;
            }
        }
        let at = (site.cell - AREA.start) as usize;
        self.cells.resize(self.cells.len().max(at + site.code.len()), 0);
        self.cells.get_mut(at..at + site.code.len())?.copy_from_slice(&site.code);
        Some(())
    }

    /// The part of the file that it depends on: whole pages.
    pub fn range(&self) -> Range<u64> {
        let first = self.pages.keys().next().copied().unwrap_or(0);
        first..self.pages.keys().next_back().map_or(first, |last| last + PAGE)
    }

    /// How far the sites of the table are from those of a mapping in which the file's first byte is at `base`.
    pub(in crate::trap) fn distance(base: u64) -> u64 {
        base.wrapping_sub(BASE)
    }

    /// The pages that must be there, by their offsets.
    pub(in crate::trap) fn originals(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pages.iter().map(|(&offset, page)| (offset, &page.original[..]))
    }

    /// The pages that are written over them.
    pub(in crate::trap) fn patched(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pages.iter().filter_map(|(&offset, page)| Some((offset, page.patched.as_deref()?)))
    }

    /// The trampolines, for the start of their area.
    pub(in crate::trap) fn cells(&self) -> &[u8] {
        &self.cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls with their numbers before them, at the start, across the end of a page, and after it.
    fn code() -> Vec<u8> {
        let mut code = vec![0x90; 3 * PAGE as usize];
        for at in [100, PAGE as usize - 3, PAGE as usize + 500] {
            code[at..at + 7].copy_from_slice(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05]);
        }
        code
    }

    fn image(code: &[u8], known: &[Arc<KnownPatch>]) -> Option<CodeImage> {
        CodeImage::new(known, None, &mut |offset| {
            let at = offset as usize;
            code.get(at..at + PAGE as usize)?.try_into().ok()
        })
    }

    fn known(code: &[u8]) -> Vec<Arc<KnownPatch>> {
        let sites = [105, PAGE + 2, PAGE + 505];
        sites.iter().filter_map(|&site| KnownPatch::call(0, code, site, 39)).map(Arc::new).collect()
    }

    #[test]
    fn pages_are_patched_and_nothing_else_in_them_changes() {
        let code = code();
        let image = image(&code, &known(&code)).expect("an image");
        assert_eq!(image.range(), 0..2 * PAGE);
        let mut changed = Vec::new();
        for (offset, page) in image.patched() {
            let original = &code[offset as usize..offset as usize + page.len()];
            let differs = |(_, (old, new)): &(u64, (&u8, &u8))| old != new;
            changed.extend((offset..).zip(original.iter().zip(page)).filter(differs).map(|(at, _)| at));
        }
        let jumps = [100..105, PAGE - 3..PAGE + 2, PAGE + 500..PAGE + 505];
        assert!(changed.iter().all(|at| jumps.iter().any(|jump| jump.contains(at))));
        assert!(jumps.iter().all(|jump| changed.contains(&jump.start)));
    }

    #[test]
    fn patches_for_other_bytes_are_left_out() {
        let code = code();
        let known = known(&code);
        let mut changed = code.clone();
        changed[90] = 0xcc;
        assert_eq!(image(&changed, &known).expect("an image").table.sites().count(), 2);
        assert!(image(&vec![0; code.len()], &known).is_none());
        assert!(image(&code[..50], &known).is_none());
        assert!(image(&code, &[]).is_none());
    }
}
