//! The patched sites of an address space, and their trampolines.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::image::CodeImage;
use super::plan::{JUMP_LENGTH, Plan, SYSCALL_LENGTH};
use crate::stub::image::entry;

/// Bytes of a trampoline's cell. Cells are aligned to it.
pub(in crate::trap) const CELL_SIZE: u64 = 64;

/// One-byte opcodes that no processor executes in 64-bit mode, and that are no prefix either.
const NO_OPCODES: [u8; 16] =
    [0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x9a, 0xce, 0xea];

/// A patched site.
#[derive(Debug)]
pub(in crate::trap) struct Site {
    /// The `syscall` instruction of the original code.
    pub(in crate::trap) syscall: u64,
    /// The first overwritten byte.
    pub(in crate::trap) start: u64,
    /// What the overwritten bytes were.
    pub(in crate::trap) original: [u8; JUMP_LENGTH as usize],
    /// The jump that is there now.
    pub(in crate::trap) jump: [u8; JUMP_LENGTH as usize],
    /// Where the trampoline is.
    pub(in crate::trap) cell: u64,
    /// The trampoline.
    pub(in crate::trap) code: Vec<u8>,
    /// Where each instruction of the trampoline is, and the original address that it stands for.
    places: Vec<(u64, u64)>,
    /// The boundary inside the overwritten bytes, and its copy.
    boundary: Option<(u64, u64)>,
    /// Of a `cpuid`: where in the trampoline its answer has begun to be loaded, the answer, and where the code goes on.
    answer: Option<(u64, [u32; 4], u64)>,
}

impl Site {
    /// The original address for one in the trampoline.
    pub(in crate::trap) fn original(&self, address: u64) -> Option<u64> {
        self.places.iter().find(|&&(place, _)| place == address).map(|&(_, original)| original)
    }

    /// The answer to the site's `cpuid` and where the code goes on, if part of it may be loaded at `address`.
    pub(in crate::trap) fn answered(&self, address: u64) -> Option<([u32; 4], u64)> {
        let end = self.cell + self.code.len() as u64;
        self.answer
            .filter(|&(begin, ..)| (begin..end).contains(&address))
            .map(|(_, answer, resume)| (answer, resume))
    }

    /// The same site where its code and its trampoline are `distance` further on.
    fn moved_by(&self, distance: u64) -> Site {
        let there = |address: u64| address.wrapping_add(distance);
        let both = |(a, b): (u64, u64)| (there(a), there(b));
        Site {
            syscall: there(self.syscall),
            start: there(self.start),
            original: self.original,
            jump: self.jump,
            cell: there(self.cell),
            code: self.code.clone(),
            places: self.places.iter().copied().map(both).collect(),
            boundary: self.boundary.map(both),
            answer: self.answer.map(|(begun, answer, resume)| (there(begun), answer, there(resume))),
        }
    }

    fn is_in(&self, range: &Range<u64>) -> bool {
        let overlaps = |start: u64, length: u64| start < range.end && start + length > range.start;
        overlaps(self.start, JUMP_LENGTH) || overlaps(self.cell, CELL_SIZE)
    }

    /// Lays the trampoline out at `cell`.
    fn build(plan: &Plan, original: [u8; JUMP_LENGTH as usize], cell: u64) -> Option<Site> {
        let mut code = Vec::new();
        let mut places = Vec::new();
        let place = |code: &[u8]| cell + code.len() as u64;
        if let Some((address, bytes)) = &plan.before {
            places.push((place(&code), *address));
            code.extend_from_slice(bytes);
        }
        if let Some(answer) = plan.answer {
            return Site::build_answer(plan, original, cell, (code, answer));
        }
        // Both are thirteen bytes long; two words follow, aligned, because the guest may have alignment checks on.
        let padding = (code.len() + 13).next_multiple_of(8) - (code.len() + 13);
        // lea r11, [rip + …]: the `syscall` instruction below, past the jump and the words.
        places.push((place(&code), plan.syscall));
        code.extend([0x4c, 0x8d, 0x1d]);
        code.extend((22 + padding as u32).to_le_bytes());
        // jmp [rip + …]: the first word.
        places.push((place(&code), plan.syscall));
        code.extend([0xff, 0x25]);
        code.extend((padding as u32).to_le_bytes());
        code.resize(code.len() + padding, 0xcc);
        code.extend(entry::patched().to_le_bytes());
        // How far the original's successor is from here: the same wherever both are.
        let here = place(&code) + 8;
        code.extend((plan.syscall + SYSCALL_LENGTH).wrapping_sub(here).to_le_bytes());
        places.push((place(&code), plan.syscall));
        code.extend([0x0f, 0x05]);
        let mut boundary = None;
        for (address, bytes) in &plan.after {
            boundary.get_or_insert((*address, place(&code)));
            places.push((place(&code), *address));
            code.extend_from_slice(bytes);
        }
        places.push((place(&code), plan.resume));
        let back = displacement(place(&code) + JUMP_LENGTH, plan.resume)?;
        code.push(0xe9);
        code.extend(back.to_le_bytes());
        if code.len() as u64 > CELL_SIZE {
            return None;
        }
        let site = Site::of(plan, original, cell, code, places)?;
        if plan.boundary().is_some() && !NO_OPCODES.contains(&site.jump[2]) {
            return None;
        }
        Some(Site { boundary, ..site })
    }

    /// A site whose trampoline at `cell` is `code`, with the jump that leads there.
    fn of(
        plan: &Plan,
        original: [u8; JUMP_LENGTH as usize],
        cell: u64,
        code: Vec<u8>,
        places: Vec<(u64, u64)>,
    ) -> Option<Site> {
        let [a, b, c, d] = displacement(plan.start + JUMP_LENGTH, cell)?.to_le_bytes();
        let jump = [0xe9, a, b, c, d];
        let (syscall, start) = (plan.syscall, plan.start);
        Some(Site { syscall, start, original, jump, cell, code, places, boundary: None, answer: None })
    }

    /// Lays out the trampoline of a `cpuid`: after `code`, what the answer is and where it goes on.
    fn build_answer(
        plan: &Plan,
        original: [u8; JUMP_LENGTH as usize],
        cell: u64,
        (mut code, answer): (Vec<u8>, [u32; 4]),
    ) -> Option<Site> {
        // mov eax, …; mov ebx, …; mov ecx, …; mov edx, …
        const LOADS: [u8; 4] = [0xb8, 0xbb, 0xb9, 0xba];
        const LOAD_LENGTH: u64 = 5;
        // The first instruction has not been executed yet, or it has and is not executed again: a guest that steps through
        // its code must come forward. Where it clears ecx only flags have changed then, as they are meant to.
        let places = vec![(cell, plan.start)];
        let begun = cell + if code.is_empty() { LOAD_LENGTH } else { code.len() as u64 };
        for (load, value) in LOADS.into_iter().zip(answer) {
            code.push(load);
            code.extend(value.to_le_bytes());
        }
        let back = displacement(cell + code.len() as u64 + JUMP_LENGTH, plan.resume)?;
        code.push(0xe9);
        code.extend(back.to_le_bytes());
        let site = Site::of(plan, original, cell, code, places)?;
        Some(Site { answer: Some((begun, answer, plan.resume)), ..site })
    }
}

impl CodeImage {
    /// Whether it has a site in a range when it is written `distance` from where it has them.
    fn has_site_in(&self, distance: u64, range: &Range<u64>) -> bool {
        let is_near = |first: u64, last: u64| {
            first.wrapping_add(distance) < range.end
                && last.wrapping_add(distance).saturating_add(CELL_SIZE) > range.start
        };
        let ends =
            |sites: &BTreeMap<u64, Arc<Site>>| Some((*sites.keys().next()?, *sites.keys().next_back()?));
        let is_near = |sites| ends(sites).is_some_and(|(first, last)| is_near(first, last));
        (is_near(&self.table.by_start) || is_near(&self.table.by_cell))
            && self.table.sites().any(|site| {
                let overlaps = |start: u64, length: u64| {
                    let start = start.wrapping_add(distance);
                    start < range.end && start.saturating_add(length) > range.start
                };
                overlaps(site.start, JUMP_LENGTH) || overlaps(site.cell, CELL_SIZE)
            })
    }
}

/// A jump's displacement, if it reaches.
fn displacement(from: u64, to: u64) -> Option<i32> {
    i32::try_from(to.wrapping_sub(from) as i64).ok()
}

/// All sites of an address space.
#[derive(Clone, Debug, Default)]
pub(in crate::trap) struct PatchTable {
    by_start: BTreeMap<u64, Arc<Site>>,
    by_cell: BTreeMap<u64, Arc<Site>>,
    /// Sites that were written together, and how far from where their image has them.
    images: Vec<(u64, Arc<CodeImage>)>,
    /// Changes whenever a site goes: a thread on its way back through a trampoline must look.
    generation: u64,
}

impl PatchTable {
    /// See the field.
    pub(in crate::trap) fn generation(&self) -> u64 {
        self.generation
    }

    /// The site whose trampoline holds `address`.
    pub(in crate::trap) fn by_trampoline(&self, address: u64) -> Option<Arc<Site>> {
        let own = self.by_cell.get(&(address & !(CELL_SIZE - 1))).cloned();
        own.or_else(|| {
            let there = |(distance, image): &(u64, Arc<CodeImage>)| {
                let site = image.table.by_trampoline(address.wrapping_sub(*distance))?;
                Some(Arc::new(site.moved_by(*distance)))
            };
            self.images.iter().find_map(there)
        })
    }

    /// The moved copy of an instruction, if `address` is a boundary inside a jump.
    pub(in crate::trap) fn copy_of_boundary(&self, address: u64) -> Option<u64> {
        let own = self.by_start.range(..address).next_back().and_then(|(_, site)| site.boundary);
        own.filter(|&(boundary, _)| boundary == address).map(|(_, copy)| copy).or_else(|| {
            let there = |(distance, image): &(u64, Arc<CodeImage>)| {
                let copy = image.table.copy_of_boundary(address.wrapping_sub(*distance))?;
                Some(copy.wrapping_add(*distance))
            };
            self.images.iter().find_map(there)
        })
    }

    /// Where a thread must go on that would go on at `address`: in a trampoline, if there is a jump.
    pub(in crate::trap) fn redirect(&self, address: u64) -> u64 {
        let there = |(distance, image): &(u64, Arc<CodeImage>)| {
            let cell = image.table.by_start.get(&address.wrapping_sub(*distance))?.cell;
            Some(cell.wrapping_add(*distance))
        };
        let cell = self.by_start.get(&address).map(|site| site.cell);
        cell.or_else(|| self.images.iter().find_map(there))
            .or_else(|| self.copy_of_boundary(address))
            .unwrap_or(address)
    }

    /// Chooses a free cell in `area` for a plan and lays the site out; nothing is recorded yet. `None` if it does not
    /// fit, or overlaps a patched site.
    pub(in crate::trap) fn lay_out(
        &self,
        plan: &Plan,
        original: [u8; JUMP_LENGTH as usize],
        area: Range<u64>,
    ) -> Option<Site> {
        let bytes = plan.start..plan.resume.max(plan.start + JUMP_LENGTH);
        if self.by_start.range(..bytes.end).next_back().is_some_and(|(_, site)| site.is_in(&bytes)) {
            return None;
        }
        if self.images.iter().any(|(distance, image)| image.has_site_in(*distance, &bytes)) {
            return None;
        }
        let own = self.by_cell.range(area.clone()).map(|(&cell, _)| cell);
        let others = self.images.iter().flat_map(|(distance, image)| {
            image.table.by_cell.keys().map(move |cell| cell.wrapping_add(*distance))
        });
        let used: BTreeSet<u64> = own.chain(others).collect();
        (area.start..area.end)
            .step_by(CELL_SIZE as usize)
            .filter(|cell| !used.contains(cell))
            .find_map(|cell| Site::build(plan, original, cell))
    }

    /// Records a site.
    pub(in crate::trap) fn insert(&mut self, site: Site) -> Arc<Site> {
        let site = Arc::new(site);
        self.by_start.insert(site.start, Arc::clone(&site));
        self.by_cell.insert(site.cell, Arc::clone(&site));
        site
    }

    /// Records the sites of an image that has been written `distance` from where it has them.
    pub(in crate::trap) fn insert_image(&mut self, distance: u64, image: Arc<CodeImage>) {
        self.images.push((distance, image));
    }

    /// All sites that are not of an image.
    pub(super) fn sites(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.by_start.values()
    }

    /// The sites whose code or trampoline lies in a range. Those of an image come and go together.
    pub(in crate::trap) fn sites_in(&self, range: &Range<u64>) -> Vec<Arc<Site>> {
        let mut sites: Vec<_> = self.sites().filter(|site| site.is_in(range)).cloned().collect();
        for (distance, image) in &self.images {
            if image.has_site_in(*distance, range) {
                sites.extend(image.table.sites().map(|site| Arc::new(site.moved_by(*distance))));
            }
        }
        sites
    }

    /// Whether there is such a site.
    pub(in crate::trap) fn has_site_in(&self, range: &Range<u64>) -> bool {
        let near = |sites: &BTreeMap<u64, Arc<Site>>| {
            let first = range.start.saturating_sub(CELL_SIZE);
            range.end > first && sites.range(first..range.end).any(|(_, site)| site.is_in(range))
        };
        near(&self.by_start)
            || near(&self.by_cell)
            || self.images.iter().any(|(distance, image)| image.has_site_in(*distance, range))
    }

    /// Forgets sites.
    pub(in crate::trap) fn remove(&mut self, sites: &[Arc<Site>]) {
        for site in sites {
            self.by_start.remove(&site.start);
            self.by_cell.remove(&site.cell);
            let is_its = |distance: u64, image: &CodeImage| {
                image.table.by_start.contains_key(&site.start.wrapping_sub(distance))
            };
            self.images.retain(|(distance, image)| !is_its(*distance, image));
        }
        if !sites.is_empty() {
            self.generation += 1;
        }
    }

    /// Forgets all.
    pub(in crate::trap) fn clear(&mut self) {
        *self = PatchTable { generation: self.generation + 1, ..PatchTable::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Code;
    use super::*;

    const AREA: Range<u64> = 0x50_0000..0x51_0000;

    /// `xor eax, eax; syscall; cmp rax, -4096` over and over.
    fn code() -> Code {
        let round = [0x31, 0xc0, 0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff];
        Code { start: 0x40_0000, bytes: round.iter().copied().cycle().take(1000).collect() }
    }

    fn site(table: &PatchTable, syscall: u64) -> Option<Site> {
        let code = code();
        let plan = Plan::new(&code, syscall, 0)?;
        let original = code.at(plan.start..plan.start + JUMP_LENGTH)?.try_into().ok()?;
        table.lay_out(&plan, original, AREA)
    }

    #[test]
    fn a_boundary_inside_the_jump_is_no_instruction_and_leads_to_its_copy() {
        let mut table = PatchTable::default();
        for index in 0..40 {
            let syscall = 0x40_0002 + 10 * index;
            let site = site(&table, syscall).expect("room");
            assert!(NO_OPCODES.contains(&site.jump[2]));
            table.insert(site);
            let copy = table.copy_of_boundary(syscall + 2).expect("a boundary");
            let found = table.by_trampoline(copy).expect("the site");
            assert_eq!(found.original(copy), Some(syscall + 2));
            assert_eq!(table.redirect(syscall + 2), copy);
            assert_eq!(table.redirect(syscall), found.cell);
            assert_eq!(table.redirect(syscall + 8), syscall + 8);
        }
    }

    #[test]
    fn a_site_is_patched_once_and_can_be_taken_back() {
        let mut table = PatchTable::default();
        let first = site(&table, 0x40_0002).unwrap();
        let (cell, start) = (first.cell, first.start);
        table.insert(first);
        assert!(site(&table, 0x40_0002).is_none());
        let generation = table.generation();
        let gone = table.sites_in(&(start + 4..start + 5));
        assert_eq!(gone.len(), 1);
        assert_eq!(table.sites_in(&(cell..cell + 1)).len(), 1);
        assert!(table.sites_in(&(start + 5..start + 100)).is_empty());
        table.remove(&gone);
        assert_ne!(table.generation(), generation);
        assert!(table.by_trampoline(cell).is_none());
    }

    #[test]
    fn the_trampoline_of_a_cpuid_answers_it_as_a_whole() {
        let plan = Plan {
            syscall: 0x40_0007,
            start: 0x40_0000,
            before: Some((0x40_0005, vec![0x31, 0xc9])),
            after: Vec::new(),
            resume: 0x40_0009,
            answer: Some([1, 2, 3, 4]),
        };
        let site = PatchTable::default().lay_out(&plan, [0; 5], AREA).expect("room");
        let cell = site.cell;
        assert_eq!((site.original(cell), site.answered(cell)), (Some(0x40_0000), None));
        let end = cell + site.code.len() as u64;
        for address in cell + 2..end {
            assert_eq!(site.answered(address), Some(([1, 2, 3, 4], 0x40_0009)));
        }
        assert_eq!(site.answered(end), None);
        let back = i32::from_le_bytes(site.code[site.code.len() - 4..].try_into().unwrap());
        assert_eq!(end.wrapping_add_signed(back.into()), 0x40_0009);
    }

    #[test]
    fn a_trampoline_jumps_back_to_where_the_code_goes_on() {
        let site = site(&PatchTable::default(), 0x40_0002).unwrap();
        let end = site.cell + site.code.len() as u64;
        let back = i32::from_le_bytes(site.code[site.code.len() - 4..].try_into().unwrap());
        assert_eq!(end.wrapping_add_signed(back.into()), 0x40_000a);
        let there = i32::from_le_bytes(site.jump[1..].try_into().unwrap());
        assert_eq!((site.start + JUMP_LENGTH).wrapping_add_signed(there.into()), site.cell);
    }
}
