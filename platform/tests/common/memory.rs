//! Memory operations, copies, and copies of whole address spaces.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use usk_abi::Errno;
use usk_platform::{MapFlags, MemoryOp, Platform, Protection, Trap};

use super::guest::{
    CODE, DATA, DATA_SIZE, Guest, PAGE, READ, READ_WRITE, guest_code, map, rounds, start, under_kicks,
};
use super::patching::patched;

guest_code!(store: "mov qword ptr [rsi], rdx", "mov rbx, [rsi]", "mov eax, 1", "syscall", "jmp usk_guest_store");

const PLACE: u64 = 0x70_0000;
const ELSEWHERE: u64 = 0x90_0000;

/// A memfd with this content.
pub(crate) fn file(content: &[u8]) -> File {
    // SAFETY: the name is a C string, and the descriptor is new and ours.
    let mut file = unsafe { File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC)) };
    file.write_all(content).expect("memory");
    file
}

/// A descriptor of it, to be mapped.
pub(crate) fn descriptor(file: &File) -> Arc<OwnedFd> {
    Arc::new(file.try_clone().expect("a descriptor").into())
}

pub(crate) fn map_file(file: &Arc<OwnedFd>, shared: bool, offset: u64) -> MemoryOp<'_> {
    MemoryOp::MapFile {
        address: PLACE,
        length: PAGE,
        protection: READ_WRITE,
        shared,
        flags: MapFlags::default(),
        file,
        offset,
    }
}

/// Has the guest store a value.
fn store_at(guest: &mut Guest, address: u64, value: u64) {
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsi, registers.rdx) = (CODE, address, value);
    assert_eq!(guest.syscall(), 1);
    assert_eq!(guest.thread.registers().rbx, value);
}

pub(crate) fn reads_and_writes_stop_at_the_first_inaccessible_page(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    let end = DATA + DATA_SIZE;
    let mut buffer = vec![0; 3 * PAGE as usize];
    assert_eq!(guest.space.read(end - 100, &mut buffer), 100);
    assert_eq!(guest.space.write(end - PAGE - 1, &buffer), PAGE as usize + 1);
    assert_eq!(guest.space.read(end, &mut buffer), 0);
    assert_eq!(guest.space.read(end - 1, &mut []), 0);
    guest.apply(&[MemoryOp::Protect { address: DATA + PAGE, length: PAGE, protection: READ }]);
    assert_eq!(guest.space.write(DATA + 10, &buffer), PAGE as usize - 10);
    assert_eq!(guest.space.read(DATA + 10, &mut buffer), buffer.len());
    guest.apply(&[MemoryOp::Protect { address: DATA, length: PAGE, protection: Protection::default() }]);
    assert_eq!(guest.space.read(DATA, &mut buffer), 0);
    for wild in [0, 1, u64::MAX, u64::MAX - 4, 1 << 47, 1 << 63] {
        assert_eq!(guest.space.read(wild, &mut [0; 8]), 0);
        assert_eq!(guest.space.write(wild, &[0; 8]), 0);
    }
    // Large copies are exact as well.
    let length = 5 << 20;
    guest.apply(&[map(0x1000_0000, length, READ_WRITE)]);
    let pattern: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
    assert_eq!(guest.space.write(0x1000_0000, &pattern), pattern.len());
    let mut back = vec![0; pattern.len() + 1];
    assert_eq!(guest.space.read(0x1000_0000, &mut back), pattern.len());
    assert!(back[..pattern.len()] == pattern);
}

pub(crate) fn compare_exchange_works_and_faults(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    guest.write_u64(DATA, 0x1111_1111_0000_0005);
    assert_eq!(guest.space.compare_exchange(DATA, 5, 6), Ok(5));
    assert_eq!(guest.read_u64(DATA), 0x1111_1111_0000_0006);
    assert_eq!(guest.space.compare_exchange(DATA, 5, 7), Ok(6));
    assert_eq!(guest.read_u64(DATA), 0x1111_1111_0000_0006);
    assert_eq!(guest.space.compare_exchange(DATA + DATA_SIZE, 0, 1), Err(Errno::EFAULT));
    assert_eq!(guest.space.compare_exchange(CODE, 0, 1), Err(Errno::EFAULT));
    assert_eq!(guest.space.compare_exchange(platform.layout().guest_end, 0, 1), Err(Errno::EFAULT));
    assert_eq!(guest.space.compare_exchange(u64::MAX - 3, 0, 1), Err(Errno::EFAULT));
    assert_eq!(guest.space.compare_exchange(DATA + 2, 0, 1), Err(Errno::EINVAL));
    // And once more, after faults.
    assert_eq!(guest.space.compare_exchange(DATA, 6, 8), Ok(6));
    store_at(&mut guest, DATA + 8, 3);
}

pub(crate) fn operations_outside_the_guests_range_are_refused(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    for _ in 0..2 {
        let layout = platform.layout();
        let (start, end) = (layout.guest_start, layout.guest_end);
        let ranges = [(end, PAGE), (end - PAGE, 2 * PAGE), (0, PAGE), (start, 0), (layout.vdso.0, PAGE)];
        for (address, length) in
            ranges.into_iter().chain([(0x7fff_0000_0000, PAGE), (PAGE * 16, u64::MAX - 4095)])
        {
            let protection = READ_WRITE;
            let refused = [
                map(address, length, protection),
                MemoryOp::Unmap { address, length },
                MemoryOp::Protect { address, length, protection },
                MemoryOp::Advise { address, length, advice: libc::MADV_DONTNEED },
                MemoryOp::Remap { address, length, new_address: PLACE, new_length: PAGE, keep_old: false },
                MemoryOp::Remap {
                    address: DATA,
                    length: PAGE,
                    new_address: address,
                    new_length: length,
                    keep_old: false,
                },
            ];
            for operation in refused {
                assert_eq!(guest.thread.apply(&[operation]), Err((0, Errno::EINVAL)), "{operation:x?}");
            }
        }
        // The second time with a thread that has run.
        store_at(&mut guest, DATA, 1);
    }
}

pub(crate) fn a_private_file_mapping_does_not_change_the_file(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    let mut content = vec![1; PAGE as usize];
    content.extend([2; PAGE as usize]);
    let file = file(&content);
    for offset in [0, PAGE] {
        guest.apply(&[map_file(&descriptor(&file), false, offset)]);
        let byte = if offset == 0 { 1 } else { 2 };
        assert_eq!(guest.read(PLACE), [byte; 16]);
        store_at(&mut guest, PLACE, 9);
        let mut there = [0; 16];
        file.read_exact_at(&mut there, offset).expect("the file");
        assert_eq!(there, [byte; 16]);
    }
}

pub(crate) fn a_shared_file_mapping_changes_the_file(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    let file = file(&[7; 8192]);
    for value in [11, 12] {
        guest.apply(&[map_file(&descriptor(&file), true, PAGE)]);
        store_at(&mut guest, PLACE + 8, value);
        let mut there = [0; 8];
        file.read_exact_at(&mut there, PAGE + 8).expect("the file");
        assert_eq!(u64::from_le_bytes(there), value);
        file.write_all_at(&[5; 8], PAGE).expect("the file");
        assert_eq!(guest.read(PLACE), [5; 8]);
    }
}

guest_code!(looks: "2:", "mov eax, 39", "syscall", "mov rbx, [rsi]", "jmp 2b");

/// Whether any process of this one's has the file open.
fn is_open_in_a_child(file: &File) -> bool {
    let name = |path: std::path::PathBuf| std::fs::read_link(path).unwrap_or_default();
    let own = name(format!("/proc/self/fd/{}", file.as_raw_fd()).into());
    super::children().into_iter().any(|child| {
        let descriptors = std::fs::read_dir(format!("/proc/{child}/fd")).into_iter().flatten().flatten();
        descriptors.map(|descriptor| name(descriptor.path())).any(|path| path == own)
    })
}

pub(crate) fn a_file_is_mapped_on_the_way_back_and_not_kept(platform: &dyn Platform) {
    let mut file = file(&[0x11; PAGE as usize]);
    file.write_all(&[0x22; PAGE as usize]).expect("memory");
    let mut guest = patched(platform, looks());
    guest.apply(&[map(PLACE, PAGE, READ_WRITE)]);
    guest.thread.registers_mut().rsi = PLACE;
    let kicks = guest.thread.kicker();
    under_kicks(kicks, || {
        for round in rounds(1000).map(u64::from) {
            let page = round % 2;
            guest
                .thread
                .apply_on_return(&[map_file(&descriptor(&file), false, page * PAGE)])
                .expect("it can be mapped");
            // Kicks may come before it is mapped, and between that and the call.
            while guest.thread.run() == Trap::Interrupted {}
            assert_eq!(guest.thread.registers().rbx, 0x1111_1111_1111_1111 * (page + 1));
        }
    });
    assert!(!is_open_in_a_child(&file));
    // One that the host refuses is not kept either.
    let unwritable = File::open("/proc/self/exe").expect("this program");
    match guest.thread.apply_on_return(&[map_file(&descriptor(&unwritable), true, 0)]) {
        Ok(()) => assert_eq!(run_uninterrupted(&mut guest), Trap::Refused(Errno::EACCES)),
        refused => assert_eq!(refused, Err((0, Errno::EACCES))),
    }
    assert!(!is_open_in_a_child(&unwritable));
    assert!(matches!(run_uninterrupted(&mut guest), Trap::Syscall { .. }));
}

/// Runs the guest until something else happens than that a last kick arrives.
fn run_uninterrupted(guest: &mut Guest) -> Trap {
    match guest.thread.run() {
        Trap::Interrupted => guest.thread.run(),
        trap => trap,
    }
}

pub(crate) fn protection_can_be_changed(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    guest.apply(&[map(PLACE, PAGE, READ_WRITE)]);
    store_at(&mut guest, PLACE, 1);
    guest.apply(&[MemoryOp::Protect { address: PLACE, length: PAGE, protection: READ }]);
    guest.thread.registers_mut().rip = CODE;
    assert!(matches!(guest.thread.run(), Trap::Fault { signal: libc::SIGSEGV, address: PLACE, .. }));
    guest.apply(&[MemoryOp::Unmap { address: PLACE, length: PAGE }]);
    assert!(matches!(guest.thread.run(), Trap::Fault { signal: libc::SIGSEGV, code: 1, address: PLACE, .. }));
    guest.apply(&[map(PLACE, PAGE, READ_WRITE)]);
    assert_eq!(guest.read_u64(PLACE), 0);
    store_at(&mut guest, PLACE, 2);
}

pub(crate) fn mappings_can_be_moved_and_resized(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    guest.apply(&[map(PLACE, PAGE, READ_WRITE)]);
    store_at(&mut guest, PLACE, 42);
    let resize = |address, new_address, length, new_length, keep_old| {
        [MemoryOp::Remap {
            address,
            length: length * PAGE,
            new_address,
            new_length: new_length * PAGE,
            keep_old,
        }]
    };
    guest.apply(&resize(PLACE, PLACE, 1, 3, false));
    store_at(&mut guest, PLACE + 2 * PAGE, 43);
    guest.apply(&resize(PLACE, ELSEWHERE, 3, 4, false));
    assert_eq!((guest.read_u64(ELSEWHERE), guest.read_u64(ELSEWHERE + 2 * PAGE)), (42, 43));
    assert_eq!(guest.space.read(PLACE, &mut [0; 8]), 0);
    guest.apply(&resize(ELSEWHERE, PLACE, 4, 4, true));
    assert_eq!((guest.read_u64(PLACE), guest.read_u64(ELSEWHERE)), (42, 0));
    guest.apply(&resize(PLACE, PLACE, 4, 1, false));
    assert_eq!(guest.space.read(PLACE, &mut [0; 8192]), PAGE as usize);
}

pub(crate) fn advice_is_carried_out(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    guest.apply(&[map(PLACE, PAGE, READ_WRITE)]);
    store_at(&mut guest, PLACE, 42);
    guest.apply(&[MemoryOp::Advise { address: PLACE, length: PAGE, advice: libc::MADV_DONTNEED }]);
    assert_eq!(guest.read_u64(PLACE), 0);
    let poison = MemoryOp::Advise { address: PLACE, length: PAGE, advice: libc::MADV_HWPOISON };
    assert_eq!(guest.thread.apply(&[poison]), Err((0, Errno::EINVAL)));
}

pub(crate) fn a_failed_operation_is_reported_with_its_index(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    for _ in 0..2 {
        let hole = MemoryOp::Protect { address: ELSEWHERE, length: PAGE, protection: READ };
        let operations = [map(PLACE, PAGE, READ_WRITE), hole, map(ELSEWHERE, PAGE, READ_WRITE)];
        assert_eq!(guest.thread.apply(&operations), Err((1, Errno::ENOMEM)));
        assert_eq!(guest.space.read(PLACE, &mut [0; 8]), 8);
        assert_eq!(guest.space.read(ELSEWHERE, &mut [0; 8]), 0);
        store_at(&mut guest, PLACE, 1);
    }
}

pub(crate) fn unmap_all_empties_the_address_space(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    let layout = platform.layout();
    guest.apply(&[map(layout.guest_start, PAGE, READ_WRITE), map(layout.guest_end - PAGE, PAGE, READ_WRITE)]);
    store_at(&mut guest, layout.guest_end - PAGE, 1);
    store_at(&mut guest, layout.guest_start, 1);
    guest.apply(&[MemoryOp::UnmapAll]);
    for address in [CODE, DATA, layout.guest_start, layout.guest_end - PAGE] {
        assert_eq!(guest.space.read(address, &mut [0]), 0, "{address:#x}");
    }
    guest.thread.registers_mut().rip = CODE;
    assert!(matches!(guest.thread.run(), Trap::Fault { signal: libc::SIGSEGV, address: CODE, .. }));
    guest.load(store());
    store_at(&mut guest, DATA, 5);
}

pub(crate) fn a_fork_copies_on_write(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    store_at(&mut guest, DATA, 1);
    let copy = guest.space.fork().expect("a copy");
    let thread = Arc::clone(&copy).create_thread(&start()).expect("a thread");
    let mut child = Guest { space: copy, thread };
    assert_eq!(child.read_u64(DATA), 1);
    store_at(&mut child, DATA, 2);
    store_at(&mut guest, DATA + 8, 3);
    assert_eq!((guest.read_u64(DATA), guest.read_u64(DATA + 8)), (1, 3));
    assert_eq!((child.read_u64(DATA), child.read_u64(DATA + 8)), (2, 0));
    drop(guest);
    store_at(&mut child, DATA, 4);
}

pub(crate) fn a_fork_shares_shared_mappings(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, store());
    let file = file(&[0; 4096]);
    guest.apply(&[map_file(&descriptor(&file), true, 0)]);
    guest.apply(&[MemoryOp::Advise { address: DATA, length: PAGE, advice: libc::MADV_DONTFORK }]);
    let copy = guest.space.fork().expect("a copy");
    store_at(&mut guest, PLACE, 77);
    let mut word = [0; 8];
    assert_eq!(copy.read(PLACE, &mut word), 8);
    assert_eq!(u64::from_le_bytes(word), 77);
    assert_eq!(copy.read(DATA, &mut word), 0, "MADV_DONTFORK is heeded");
}

pub(crate) fn a_forked_space_forks_again(platform: &dyn Platform) {
    let guest = Guest::new(platform, store());
    guest.write_u64(DATA, 0);
    let mut generations = vec![guest];
    for generation in 1..6 {
        let copy = generations[generation - 1].space.fork().expect("a copy");
        let thread = Arc::clone(&copy).create_thread(&start()).expect("a thread");
        let mut child = Guest { space: copy, thread };
        let file = file(&[generation as u8; 4096]);
        child.apply(&[map_file(&descriptor(&file), false, 0)]);
        store_at(&mut child, DATA, generation as u64);
        child.apply(&[map_file(&descriptor(&file), false, 0)]);
        generations.push(child);
    }
    for (generation, guest) in generations.iter().enumerate() {
        assert_eq!(guest.read_u64(DATA), generation as u64);
    }
    assert_eq!(generations[5].read(PLACE), [5; 16]);
}

pub(crate) fn the_vdso_is_mapped_in_every_space(platform: &dyn Platform) {
    let layout = platform.layout().clone();
    let mut guest = Guest::new(platform, store());
    guest.apply(&[MemoryOp::UnmapAll]);
    let fresh = platform.create_space().expect("a space");
    for space in [Arc::clone(&guest.space), guest.space.fork().expect("a copy"), fresh] {
        let mut magic = [0; 4];
        assert_eq!(space.read(layout.vdso.0, &mut magic), 4);
        assert_eq!(&magic, b"\x7fELF");
        assert_eq!(space.write(layout.vdso.0, &magic), 0);
    }
    assert!(layout.vdso.0 >= layout.guest_end && layout.vvar.0 >= layout.guest_end);
}
