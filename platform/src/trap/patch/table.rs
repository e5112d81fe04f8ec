//! The patched sites of an address space, and their trampolines.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::image::CodeImage;
use super::oracle::{self, Oracle, Stage};
use super::plan::{
    JUMP_LENGTH, Plan, SHORT_LENGTH, SITE_LENGTH, Service, displacement, displacement_of_short,
};
use crate::arch::Registers;
use crate::stub::addresses::entry;

/// Bytes of a trampoline's cell. Cells are aligned to it.
pub(in crate::trap) const CELL_SIZE: u64 = 64;

/// A piece of code that is another one while the site is patched.
#[derive(Clone, Debug)]
pub(in crate::trap) struct Edit {
    /// Where.
    pub(in crate::trap) address: u64,
    /// What was there.
    pub(in crate::trap) original: Vec<u8>,
    /// What is there now.
    pub(in crate::trap) patched: Vec<u8>,
}

impl Edit {
    fn moved_by(&self, distance: u64) -> Edit {
        Edit { address: self.address.wrapping_add(distance), ..self.clone() }
    }

    /// The bytes that it changes.
    pub(in crate::trap) fn range(&self) -> Range<u64> {
        self.address..self.address + self.original.len() as u64
    }
}

/// A patched site.
#[derive(Debug)]
pub(in crate::trap) struct Site {
    /// The instruction of the original code: `syscall` or `cpuid`.
    pub(in crate::trap) instruction: u64,
    /// The first overwritten byte.
    pub(in crate::trap) start: u64,
    /// The jump that is at `start` now, and with a detour what is there, which is what the short jump at `start` leads to.
    pub(in crate::trap) edits: Vec<Edit>,
    /// Where the trampoline is.
    pub(in crate::trap) cell: u64,
    /// The trampoline.
    pub(in crate::trap) code: Vec<u8>,
    /// What the trampoline does.
    service: Service,
    /// Where each instruction of the trampoline is, and the original address that it stands for.
    places: Vec<(u64, u64)>,
    /// The boundary inside the overwritten bytes, and its copy.
    boundary: Option<(u64, u64)>,
    /// Of a `cpuid`: from where in the trampoline on which stage its answering is, and where it has ended.
    stages: Vec<(u64, Stage)>,
}

impl Site {
    /// The original address for one in the trampoline, or on the way there.
    pub(in crate::trap) fn original(&self, address: u64) -> Option<u64> {
        let place = self.places.iter().find(|&&(place, _)| place == address);
        let is_on_the_way = self.detour().is_some_and(|detour| detour + SHORT_LENGTH == address);
        let detour = is_on_the_way.then_some(self.instruction);
        place.map(|&(_, original)| original).or(detour)
    }

    /// Whether its instruction is a `syscall`.
    pub(in crate::trap) fn is_call(&self) -> bool {
        self.service == Service::Call
    }

    /// Where the detour begins, if there is one. The short jump leads to what is behind its first.
    fn detour(&self) -> Option<u64> {
        self.edits.get(1).map(|edit| edit.address)
    }

    /// How far the answer to its `cpuid` has come for who is at `address` in the trampoline.
    fn stage_at(&self, address: u64) -> Option<Stage> {
        let begun = self.stages.partition_point(|&(from, _)| from <= address).checked_sub(1)?;
        let is_before_end = self.stages.last().is_some_and(|&(end, _)| address < end);
        self.stages.get(begun).filter(|_| is_before_end).map(|&(_, stage)| stage)
    }

    /// The same site where its code and its trampoline are `distance` further on.
    fn moved_by(&self, distance: u64) -> Site {
        let there = |address: u64| address.wrapping_add(distance);
        let both = |(a, b): (u64, u64)| (there(a), there(b));
        Site {
            instruction: there(self.instruction),
            start: there(self.start),
            edits: self.edits.iter().map(|edit| edit.moved_by(distance)).collect(),
            cell: there(self.cell),
            code: self.code.clone(),
            service: self.service,
            places: self.places.iter().copied().map(both).collect(),
            boundary: self.boundary.map(both),
            stages: self.stages.iter().map(|&(from, stage)| (there(from), stage)).collect(),
        }
    }

    fn is_in(&self, range: &Range<u64>) -> bool {
        let overlaps = |own: Range<u64>| own.start < range.end && own.end > range.start;
        overlaps(self.cell..self.cell + CELL_SIZE) || self.edits.iter().any(|edit| overlaps(edit.range()))
    }

    /// Lays the trampoline out at `cell`; `overwritten` is what is at the plan's start, and `oracle` where questions are answered.
    fn build(
        plan: &Plan,
        overwritten: [u8; JUMP_LENGTH as usize],
        cell: u64,
        oracle: Option<u64>,
    ) -> Option<Site> {
        let mut trampoline = Trampoline { cell, code: Vec::new(), places: Vec::new(), stages: Vec::new() };
        if let Some((address, bytes)) = &plan.before {
            trampoline.place(*address);
            trampoline.code.extend_from_slice(bytes);
        }
        match plan.service {
            Service::Call => trampoline.call(plan),
            Service::Answer(answer) => trampoline.answer(plan, answer),
            Service::Lookup => trampoline.look_up(plan, oracle?)?,
        }
        let mut boundary = None;
        for moved in &plan.after {
            boundary.get_or_insert((moved.address, trampoline.here()));
            trampoline.place(moved.address);
            let bytes = moved.at(trampoline.here())?;
            trampoline.code.extend(bytes);
        }
        trampoline.place(plan.resume);
        trampoline.jump(plan.resume)?;
        let Trampoline { code, places, stages, .. } = trampoline;
        if code.len() as u64 > CELL_SIZE {
            return None;
        }
        let edits = edits(plan, overwritten, cell)?;
        let (instruction, start, service) = (plan.site, plan.start, plan.service);
        Some(Site { instruction, start, edits, cell, code, service, places, boundary, stages })
    }
}

/// What is written for a plan whose trampoline is at `cell`.
fn edits(plan: &Plan, overwritten: [u8; JUMP_LENGTH as usize], cell: u64) -> Option<Vec<Edit>> {
    let jump = |from: u64| {
        let [a, b, c, d] = displacement(from + JUMP_LENGTH, cell)?.to_le_bytes();
        Some([0xe9, a, b, c, d])
    };
    let Some((address, nop)) = &plan.detour else {
        let patched = jump(plan.start)?.to_vec();
        return Some(vec![Edit { address: plan.start, original: overwritten.to_vec(), patched }]);
    };
    // The nop becomes a jump over itself, with the other one in what is jumped over.
    let inside = address + SHORT_LENGTH;
    let mut patched = nop.clone();
    let over = displacement_of_short(*address, address + nop.len() as u64)?;
    patched.get_mut(..SHORT_LENGTH as usize)?.copy_from_slice(&[0xeb, over]);
    patched
        .get_mut(SHORT_LENGTH as usize..)?
        .get_mut(..JUMP_LENGTH as usize)?
        .copy_from_slice(&jump(inside)?);
    let site = overwritten.get(..SHORT_LENGTH as usize)?.to_vec();
    let short = vec![0xeb, displacement_of_short(plan.start, inside)?];
    Some(vec![
        Edit { address: plan.start, original: site, patched: short },
        Edit { address: *address, original: nop.clone(), patched },
    ])
}

/// One that is being laid out.
struct Trampoline {
    cell: u64,
    code: Vec<u8>,
    places: Vec<(u64, u64)>,
    stages: Vec<(u64, Stage)>,
}

impl Trampoline {
    /// Where the next instruction goes.
    fn here(&self) -> u64 {
        self.cell + self.code.len() as u64
    }

    /// The next instruction stands for the one at `original`.
    fn place(&mut self, original: u64) {
        self.places.push((self.here(), original));
    }

    fn stage(&mut self, stage: Stage) {
        self.stages.push((self.here(), stage));
    }

    fn jump(&mut self, to: u64) -> Option<()> {
        let distance = displacement(self.here() + JUMP_LENGTH, to)?;
        self.code.push(0xe9);
        self.code.extend(distance.to_le_bytes());
        Some(())
    }

    /// Enters the stub.
    fn call(&mut self, plan: &Plan) {
        // Both are thirteen bytes long; two words follow, aligned, because the guest may have alignment checks on.
        let padding = (self.code.len() + 13).next_multiple_of(8) - (self.code.len() + 13);
        // lea r11, [rip + …]: the `syscall` instruction below, past the jump and the words.
        self.place(plan.site);
        self.code.extend([0x4c, 0x8d, 0x1d]);
        self.code.extend((22 + padding as u32).to_le_bytes());
        // jmp [rip + …]: the first word.
        self.place(plan.site);
        self.code.extend([0xff, 0x25]);
        self.code.extend((padding as u32).to_le_bytes());
        self.code.resize(self.code.len() + padding, 0xcc);
        self.code.extend(entry::patched().to_le_bytes());
        // How far the original's successor is from here: the same wherever both are.
        let here = self.here() + 8;
        self.code.extend((plan.site + SITE_LENGTH).wrapping_sub(here).to_le_bytes());
        self.place(plan.site);
        self.code.extend([0x0f, 0x05]);
    }

    /// Loads the answer to a `cpuid`.
    fn answer(&mut self, plan: &Plan, answer: [u32; 4]) {
        // mov eax, …; mov ebx, …; mov ecx, …; mov edx, …
        const LOADS: [u8; 4] = [0xb8, 0xbb, 0xb9, 0xba];
        // The first instruction has not been executed yet, or it has and is not executed again: a guest that steps through
        // its code must come forward. Where it clears ecx only flags have changed then, as they are meant to.
        self.places = vec![(self.cell, plan.start)];
        for (load, value) in LOADS.into_iter().zip(answer) {
            if !self.code.is_empty() && self.stages.is_empty() {
                self.stage(Stage::Known);
            }
            self.code.push(load);
            self.code.extend(value.to_le_bytes());
        }
        self.stages.push((self.here() + JUMP_LENGTH, Stage::Known));
    }

    /// Has a question answered, see [`oracle`].
    fn look_up(&mut self, plan: &Plan, oracle: u64) -> Option<()> {
        // lea rdx, [rip + 5]: past the jump.
        self.place(plan.site);
        self.code.extend([0x48, 0x8d, 0x15, JUMP_LENGTH as u8, 0, 0, 0]);
        self.stage(Stage::Asked);
        self.jump(oracle)?;
        // mov eax, [rbx]; mov ecx, [rbx + 8]; mov edx, [rbx + 12]; mov ebx, [rbx + 4]
        self.stage(Stage::Found);
        self.code.extend([0x8b, 0x03, 0x8b, 0x4b, 8, 0x8b, 0x53, 12, 0x8b, 0x5b, 4]);
        // jmp over the cpuid
        self.stage(Stage::Answered);
        self.code.extend([0xeb, SITE_LENGTH as u8]);
        self.stage(Stage::Asked);
        self.code.extend([0x0f, 0xa2]);
        self.stage(Stage::Answered);
        Some(())
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
        let is_near_any = |sites| ends(sites).is_some_and(|(first, last)| is_near(first, last));
        let overlaps = |own: Range<u64>| {
            let start = own.start.wrapping_add(distance);
            start < range.end && start.saturating_add(own.end - own.start) > range.start
        };
        if self.table.oracle.as_ref().is_some_and(|(start, oracle)| overlaps(oracle.range(*start))) {
            return true;
        }
        (is_near_any(&self.table.by_start)
            || is_near_any(&self.table.by_cell)
            || is_near_any(&self.table.by_detour))
            && self.table.sites().any(|site| {
                overlaps(site.cell..site.cell + CELL_SIZE)
                    || site.edits.iter().any(|edit| overlaps(edit.range()))
            })
    }
}

/// All sites of an address space.
#[derive(Clone, Debug, Default)]
pub(in crate::trap) struct PatchTable {
    by_start: BTreeMap<u64, Arc<Site>>,
    by_cell: BTreeMap<u64, Arc<Site>>,
    /// Those with detours, by where these begin.
    by_detour: BTreeMap<u64, Arc<Site>>,
    /// What their trampolines ask, and where it is. Only an image has one.
    oracle: Option<(u64, Arc<Oracle>)>,
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

    /// Whose trampolines may ask an oracle that is at `start`.
    pub(super) fn with_oracle(start: u64, oracle: Arc<Oracle>) -> PatchTable {
        PatchTable { oracle: Some((start, oracle)), ..PatchTable::default() }
    }

    /// The registers of a thread that was interrupted while a `cpuid` is answered for it: it has been answered. `None` if that is not
    /// so, or the guest's registers are not those that the code has there.
    pub(in crate::trap) fn answered(&self, raw: &Registers) -> Option<Registers> {
        let there = |(distance, image): &(u64, Arc<CodeImage>)| {
            let near = Registers { rip: raw.rip.wrapping_sub(*distance), ..*raw };
            let registers = image.table.answered_here(&near, *distance)?;
            Some(Registers { rip: registers.rip.wrapping_add(*distance), ..registers })
        };
        self.images.iter().find_map(there)
    }

    /// The same for this table's own sites, where it is taken `distance` from where addresses in registers are.
    fn answered_here(&self, raw: &Registers, distance: u64) -> Option<Registers> {
        let oracle = self.oracle.as_ref();
        let asked = oracle.and_then(|(start, oracle)| oracle.stage_at(raw.rip.wrapping_sub(*start)));
        let trampoline = if asked.is_some() { raw.rdx.wrapping_sub(distance) } else { raw.rip };
        let site = self.by_cell.get(&(trampoline & !(CELL_SIZE - 1)))?;
        let answer = match asked.or_else(|| site.stage_at(raw.rip))? {
            Stage::Asked => Some(oracle::ask(raw.rax, raw.rcx)),
            Stage::Compares => Some(oracle::ask(raw.rax, raw.rbx)),
            Stage::Found => {
                let (start, oracle) = oracle?;
                Some(oracle.answer_at(raw.rbx.wrapping_sub(distance).wrapping_sub(*start))?)
            }
            Stage::Answered => None,
            Stage::Known => match site.service {
                Service::Answer(answer) => Some(answer),
                Service::Call | Service::Lookup => None,
            },
        };
        let rip = site.instruction + SITE_LENGTH;
        let Some([rax, rbx, rcx, rdx]) = answer.map(|answer| answer.map(u64::from)) else {
            return Some(Registers { rip, ..*raw });
        };
        Some(Registers { rax, rbx, rcx, rdx, rip, ..*raw })
    }

    /// The site whose trampoline holds `address`, or whose detour leads by it.
    pub(in crate::trap) fn by_trampoline(&self, address: u64) -> Option<Arc<Site>> {
        let by_cell = self.by_cell.get(&(address & !(CELL_SIZE - 1)));
        let own = by_cell.or_else(|| self.by_detour.get(&address.wrapping_sub(SHORT_LENGTH))).cloned();
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
        overwritten: [u8; JUMP_LENGTH as usize],
        area: Range<u64>,
    ) -> Option<Site> {
        if plan.pieces().any(|piece| self.has_site_in(&piece)) {
            return None;
        }
        let own = self.by_cell.range(area.clone()).map(|(&cell, _)| cell);
        let others = self.images.iter().flat_map(|(distance, image)| {
            image.table.by_cell.keys().map(move |cell| cell.wrapping_add(*distance))
        });
        let used: BTreeSet<u64> = own.chain(others).collect();
        let oracle = self.oracle.as_ref().map(|(start, oracle)| oracle.range(*start));
        let is_free =
            |cell: &u64| !used.contains(cell) && !oracle.as_ref().is_some_and(|range| range.contains(cell));
        (area.start..area.end)
            .step_by(CELL_SIZE as usize)
            .filter(|&cell| plan.spares_boundary(cell))
            .filter(is_free)
            .find_map(|cell| Site::build(plan, overwritten, cell, oracle.as_ref().map(|range| range.start)))
    }

    /// Records a site.
    pub(in crate::trap) fn insert(&mut self, site: Site) -> Arc<Site> {
        let site = Arc::new(site);
        self.by_start.insert(site.start, Arc::clone(&site));
        self.by_cell.insert(site.cell, Arc::clone(&site));
        if let Some(detour) = site.detour() {
            self.by_detour.insert(detour, Arc::clone(&site));
        }
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
            || near(&self.by_detour)
            || self.images.iter().any(|(distance, image)| image.has_site_in(*distance, range))
    }

    /// Forgets sites.
    pub(in crate::trap) fn remove(&mut self, sites: &[Arc<Site>]) {
        for site in sites {
            self.by_start.remove(&site.start);
            self.by_cell.remove(&site.cell);
            self.by_detour.retain(|_, other| other.start != site.start);
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
    use super::super::plan::{Code, NO_OPCODES};
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
            assert!(NO_OPCODES.contains(&site.edits[0].patched[2]));
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
        let before = Some((0x40_0005, vec![0x31, 0xc9]));
        let answer = Service::Answer([1, 2, 3, 4]);
        let plan = Plan { start: 0x40_0000, before, ..Plan::at(0x40_0007, answer) };
        let mut table = PatchTable::default();
        let site = table.insert(table.lay_out(&plan, [0; 5], AREA).expect("room"));
        let cell = site.cell;
        let answered = |rip| table.answered_here(&Registers { rip, ..Registers::default() }, 0);
        assert_eq!((site.original(cell), answered(cell)), (Some(0x40_0000), None));
        let end = cell + site.code.len() as u64;
        let all = Registers { rax: 1, rbx: 2, rcx: 3, rdx: 4, rip: 0x40_0009, ..Registers::default() };
        for address in cell + 2..end {
            assert_eq!(answered(address), Some(all));
        }
        assert_eq!(answered(end), None);
        let back = i32::from_le_bytes(site.code[site.code.len() - 4..].try_into().unwrap());
        assert_eq!(end.wrapping_add_signed(back.into()), 0x40_0009);
    }

    /// A `cpuid` at 0x40_0000 whose answer is looked up; with a detour, a gap at 0x40_0040 is filled with the jump.
    fn looks_up(has_detour: bool) -> (PatchTable, Arc<Site>) {
        let oracle = Arc::new(Oracle::new(&mut super::super::Answers::default()));
        let mut table = PatchTable::with_oracle(AREA.start, oracle);
        let detour = has_detour.then(|| (0x40_0040, vec![0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]));
        let plan = Plan { detour, ..Plan::at(0x40_0000, Service::Lookup) };
        let site = table.lay_out(&plan, [0x0f, 0xa2, 1, 2, 3], AREA).expect("room");
        let site = table.insert(site);
        (table, site)
    }

    #[test]
    fn an_answer_that_is_looked_up_is_whole_wherever_a_thread_is() {
        let (table, site) = looks_up(false);
        let (start, oracle) = table.oracle.clone().unwrap();
        let expected = oracle::ask(7, 0).map(u64::from);
        let has_answered = |raw: Registers| {
            let after = table.answered_here(&raw, 0).expect("it has been asked");
            assert_eq!(after.rip, 0x40_0002);
            [after.rax, after.rbx, after.rcx, after.rdx] == expected
        };
        let go_on = site.cell + 12;
        let asked = Registers { rax: 7, rcx: 0, rbx: 99, rdx: go_on, ..Registers::default() };
        assert!(has_answered(Registers { rip: site.cell + 7, ..asked }));
        assert!(has_answered(Registers { rip: start, ..asked }));
        assert!(has_answered(Registers { rip: start + 2, rbx: 0, rcx: 99, ..asked }));
        assert!(has_answered(Registers { rip: go_on + u64::from(oracle::TO_ASK), ..asked }));
        let found = (start..).find(|&at| oracle.answer_at(at - start) == Some(oracle::ask(7, 0))).unwrap();
        assert!(has_answered(Registers { rip: go_on, rbx: found, rcx: 99, ..asked }));
        assert!(has_answered(Registers { rip: go_on + 2, rbx: found, rax: expected[0], ..asked }));
        let [rax, rbx, rcx, rdx] = expected;
        assert!(has_answered(Registers { rip: go_on + 11, rax, rbx, rcx, rdx, ..Registers::default() }));
    }

    #[test]
    fn registers_that_the_code_does_not_have_there_are_the_guests() {
        let (table, site) = looks_up(false);
        let start = table.oracle.as_ref().unwrap().0;
        for lie in [0, 1, start + 1, site.cell, u64::MAX, u64::MAX - 15] {
            let raw = Registers { rip: site.cell + 12, rbx: lie, ..Registers::default() };
            assert_eq!(table.answered_here(&raw, 0), None, "{lie:x}");
            let raw =
                Registers { rip: start + 2, rdx: lie & !(CELL_SIZE - 1) ^ 1 << 40, ..Registers::default() };
            assert_eq!(table.answered_here(&raw, 0), None, "{lie:x}");
        }
    }

    #[test]
    fn a_detour_may_lead_past_another_site() {
        let (mut table, _) = looks_up(true);
        for (site, fits) in [(0x40_0010, true), (0x40_0002, true), (0x40_003f, false), (0x40_0042, false)] {
            let plan = Plan::at(site, Service::Answer([1, 2, 3, 4]));
            let laid_out = table.lay_out(&plan, [0; 5], AREA);
            assert_eq!(laid_out.is_some(), fits, "{site:x}");
            laid_out.into_iter().for_each(|site| _ = table.insert(site));
        }
    }

    #[test]
    fn a_detour_is_on_the_way_and_goes_with_its_site() {
        let (mut table, site) = looks_up(true);
        let [short, gap] = &site.edits[..] else { panic!("{site:?}") };
        assert_eq!((&short.original[..], &short.patched[..]), (&[0x0f, 0xa2][..], &[0xeb, 0x40][..]));
        // Over itself, with the jump in between.
        assert_eq!((&gap.patched[..3], &gap.patched[7..]), (&[0xeb, 7, 0xe9][..], &[0, 0][..]));
        let there = i32::from_le_bytes(gap.patched[3..7].try_into().unwrap());
        assert_eq!(0x40_0047_u64.wrapping_add_signed(there.into()), site.cell);
        let found = table.by_trampoline(0x40_0042).expect("the site");
        assert_eq!(found.original(0x40_0042), Some(0x40_0000));
        for range in [0x40_0001..0x40_0002, 0x40_0040..0x40_0041, 0x40_0048..0x40_0049] {
            assert_eq!(table.sites_in(&range).len(), 1, "{range:x?}");
            assert!(table.has_site_in(&range));
        }
        assert!(!table.has_site_in(&(0x40_0049..0x40_0050)));
        table.remove(&[site]);
        assert!(table.by_trampoline(0x40_0042).is_none() && !table.has_site_in(&(0x40_0000..0x40_0050)));
    }

    #[test]
    fn a_trampoline_jumps_back_to_where_the_code_goes_on() {
        let site = site(&PatchTable::default(), 0x40_0002).unwrap();
        let end = site.cell + site.code.len() as u64;
        let back = i32::from_le_bytes(site.code[site.code.len() - 4..].try_into().unwrap());
        assert_eq!(end.wrapping_add_signed(back.into()), 0x40_000a);
        let there = i32::from_le_bytes(site.edits[0].patched[1..].try_into().unwrap());
        assert_eq!((site.start + JUMP_LENGTH).wrapping_add_signed(there.into()), site.cell);
    }
}
