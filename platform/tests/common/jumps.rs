//! Guests that jump to the host calls in the platform's code, with registers of their choice, or tell it of calls that were never made.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use usk_platform::arch::Registers;
use usk_platform::host::{Pid, signal_process};
use usk_platform::region::{CODE as REGION, CODE_SIZE, ORDERS, SLOT_SIZE, SLOTS};
use usk_platform::{MapFlags, MemoryOp, Platform, ThreadState, Trap};

use super::guest::{CODE, DATA, DATA_SIZE, Guest, PAGE, READ_WRITE, guest_code, map, start};
use super::patching::patched;

guest_code!(call: "2:", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(copy: "2:", "rep movsb", "mov eax, 39", "syscall", "jmp 2b");
// Writes the words at rbx to rbp, again and again, and counts at rdx.
guest_code!(forge: "2:", "mov rsi, rbx", "mov rdi, rbp", "mov ecx, 18", "rep movsq", "inc qword ptr [rdx]", "jmp 2b");
guest_code!(call_and_jump: "mov eax, 39", "syscall", "mov rax, r13", "jmp r12");
guest_code!(call_and_tell: "mov eax, 39", "syscall", "mov edi, 0x101", "mov rsi, rsp", "xor edx, edx", "mov r10, -12",
    "mov eax, 400", "jmp r12");

/// Where nothing is mapped.
const ELSEWHERE: u64 = 0xa0_0000;
/// Where the second and the third piece of code in a guest's page begin.
const SECOND: u64 = 0x400;
const THIRD: u64 = 0x800;
/// Size of the orders of one thread.
const ORDER_SIZE: u64 = 0x20000;
/// In the orders: the list of calls.
const CALLS: u64 = 0x40;
/// What an answer says that has calls made.
const ANSWER_CALLS: u64 = 1;
const MARK: u64 = 0x6d61_726b_0000_cafe;
/// `SIGURG`, which interrupts guest threads.
const KICK: i32 = libc::SIGURG;

/// Addresses of the `syscall` instructions in the platform's code. None where a guest cannot read that.
fn sites(platform: &dyn Platform) -> (Vec<u8>, Vec<u64>) {
    let mut code = Vec::new();
    for page in (REGION..REGION + CODE_SIZE).step_by(PAGE as usize) {
        let mut reader = Guest::new(platform, copy());
        let registers = reader.thread.registers_mut();
        (registers.rsi, registers.rdi, registers.rcx) = (page, DATA, PAGE);
        if !matches!(reader.thread.run(), Trap::Syscall { .. }) {
            break;
        }
        code.extend(reader.read::<4096>(DATA));
    }
    let sites = code.windows(2).enumerate().filter(|(_, pair)| *pair == [0x0f, 0x05]);
    let sites: Vec<u64> = sites.map(|(at, _)| REGION + at as u64).collect();
    assert!(sites.len() >= 32 || platform.name() != "trap", "{sites:x?}");
    (code, sites)
}

pub(crate) fn a_mapping_is_moved_only_if_that_was_ordered(platform: &dyn Platform) {
    let (_, sites) = sites(platform);
    let (fixed, kept) = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, libc::MREMAP_DONTUNMAP);
    for (&site, flags) in sites.iter().flat_map(|site| [(site, fixed), (site, fixed | kept)]) {
        let mut guest = Guest::new(platform, call_and_jump());
        guest.syscall();
        let registers = guest.thread.registers_mut();
        (registers.r12, registers.r13) = (site, libc::SYS_mremap as u64);
        (registers.rdi, registers.rsi, registers.rdx) = (DATA, PAGE, PAGE);
        (registers.r10, registers.r8) = (flags as u64, ELSEWHERE);
        guest.thread.run();
        assert_eq!(guest.space.read(ELSEWHERE, &mut [0]), 0, "{site:#x} {flags:#x}");
    }
    let mut guest = Guest::new(platform, call());
    guest.syscall();
    let remap = |address, new_address, new_length| MemoryOp::Remap {
        address,
        length: PAGE,
        new_address,
        new_length,
        keep_old: false,
    };
    // As ordered: also what lies so high that it could not become as long there.
    let high = 0x7ffd_7000_0000;
    let flags = MapFlags { no_reserve: true, ..MapFlags::default() };
    guest.apply(&[MemoryOp::MapAnonymous { address: high, length: PAGE, protection: READ_WRITE, flags }]);
    guest.apply(&[remap(DATA, ELSEWHERE, PAGE), remap(high, 0x10_0000_0000, 3 << 30)]);
    assert_eq!(guest.space.read(ELSEWHERE, &mut [0]), 1);
    assert_eq!(guest.syscall(), 39);
}

pub(crate) fn a_guest_that_says_that_a_change_has_failed_does_not_keep_it(platform: &dyn Platform) {
    let (_, sites) = sites(platform);
    for site in sites {
        let mut guest = patched(platform, call_and_tell());
        guest.thread.registers_mut().r12 = site;
        guest.thread.apply_on_return(&[map(ELSEWHERE, PAGE, READ_WRITE)]).expect("it is left");
        if let Trap::Refused(error) = guest.thread.run() {
            assert_eq!(guest.space.read(ELSEWHERE, &mut [0]), 0, "{site:#x}: {error:?}");
        }
    }
}

/// What becomes of a kick of every guest thread when it comes late: also to those that do not run any more.
pub(crate) fn kick_late() {
    for pid in super::children() {
        // It may be one that has just ended.
        let _ = signal_process(Pid::from_raw(pid), KICK);
    }
}

/// Code of two threads, one of which calls from a patched site while the other forges its frames.
struct Forgery {
    guest: Guest,
    /// Where the registers lie in the frame of a signal that meets the first.
    frame: u64,
}

impl Forgery {
    /// `None` where there are no such frames.
    fn new(platform: &dyn Platform) -> Option<Forgery> {
        let mut code = call().to_vec();
        for (place, part) in [(SECOND, copy()), (THIRD, forge())] {
            code.resize(place as usize, 0x90);
            code.extend_from_slice(part);
        }
        let mut guest = patched(platform, &code);
        if !guest.thread.patches_code() {
            return None;
        }
        guest.thread.registers_mut().r12 = MARK;
        guest.syscall();
        let mut forgery = Forgery { guest, frame: 0 };
        kick_late();
        forgery.guest.syscall();
        forgery.frame = forgery.find_frame();
        Some(forgery)
    }

    fn find_frame(&self) -> u64 {
        let slot = SLOTS + SLOT_SIZE;
        let registers = Registers { rip: CODE + SECOND, rsi: slot, rcx: SLOT_SIZE, ..start().registers };
        let mut reader = self.guest.sibling(&ThreadState { registers, extended: None });
        assert_eq!(reader.syscall(), 39);
        let bytes = self.guest.read::<{ DATA_SIZE as usize }>(DATA);
        let words: Vec<u64> =
            bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        let is_frame = |at: &usize| words[*at] == MARK && (CODE..CODE + PAGE).contains(&words[at + 12]);
        let at = (0..words.len() - 14).find(is_frame).expect("a kick has come");
        slot + 8 * (at as u64 - 4)
    }
}

pub(crate) fn a_late_kick_lets_nobody_map_a_file_in_another_way(platform: &dyn Platform) {
    let (code, sites) = sites(platform);
    let maps =
        |site: &u64| code[..(site - REGION) as usize].ends_with(&[0xb8, libc::SYS_mmap as u8, 0, 0, 0]);
    let content = [0x11; 8192];
    let file = super::memory::file(&content);
    let descriptor: Arc<OwnedFd> = super::memory::descriptor(&file);
    for site in sites.into_iter().filter(maps).flat_map(|site| [site; 8]) {
        let Some(Forgery { mut guest, frame }) = Forgery::new(platform) else { return };
        let shared = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        // r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags: at the call, as if the list were at its end.
        let list = ORDERS + ORDER_SIZE + CALLS;
        let stack = SLOTS + SLOT_SIZE + SLOT_SIZE - 64;
        let forged =
            [1, 0, shared, 0, 0, 0, ANSWER_CALLS, 1, ELSEWHERE, PAGE, 0, list, 3, 9, 0, stack, site, 0x202];
        let (words, count) = (DATA, DATA + PAGE);
        (0..).zip(forged).for_each(|(index, word)| guest.write_u64(words + 8 * index, word));
        guest.write_u64(count, 0);
        let registers =
            Registers { rip: CODE + THIRD, rbx: words, rbp: frame, rdx: count, ..start().registers };
        let mut forger = guest.sibling(&ThreadState { registers, extended: None });
        let kicker = forger.thread.kicker();
        thread::scope(|scope| {
            scope.spawn(move || while !matches!(forger.thread.run(), Trap::Exited(_)) {});
            while guest.read_u64(count) == 0 {
                thread::yield_now();
            }
            kick_late();
            let operation = MemoryOp::MapFile {
                address: ELSEWHERE,
                length: PAGE,
                protection: READ_WRITE,
                shared: false,
                flags: MapFlags::default(),
                file: &descriptor,
                offset: 0,
            };
            let _ = guest.thread.apply(&[operation]);
            guest.space.write(ELSEWHERE, &[0x22; 64]);
            kicker.kill();
        });
        let mut found = vec![0; content.len()];
        file.read_exact_at(&mut found, 0).expect("the file");
        assert!(found == content, "{site:#x}");
    }
}
