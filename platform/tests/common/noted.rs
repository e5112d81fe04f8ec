//! Changes of an epoll instance that are noted: those that are sure to succeed, in their order, each once, whenever the guest is
//! interrupted. What the guest forges is told as something that could be.

use usk_abi::epoll::{
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLET, EPOLLEXCLUSIVE, EPOLLWAKEUP, EpollEvent,
};
use usk_platform::region::{NOTED, NOTED_SIZE, SLOT_SIZE, SLOTS};
use usk_platform::{LentFile, NotedChange, Platform, Shortcut, Trap};

use super::guest::{CODE, DATA, Guest, Rounds, STACK, guest_code, rounds, under_kicks};
use super::lent::{call, guest, lend, one_call, while_forged};

const CONTROL: u64 = 0x130;
/// Where the event is: not where [`while_forged`] has its code.
const PLACE: u64 = DATA + 0x2000;
/// The lent descriptor that is an instance, one that it watches, and one that it could.
const INSTANCE: u64 = 3;
const WATCHED: u64 = 4;
const OTHER: u64 = 5;
const ADD: u64 = EPOLL_CTL_ADD as u64;
const DELETE: u64 = EPOLL_CTL_DEL as u64;
const MODIFY: u64 = EPOLL_CTL_MOD as u64;
/// Changes that are noted at most.
const MOST: usize = 15;

/// What the tests' platforms note.
pub(crate) fn notes(number: u64) -> Option<Shortcut> {
    (number == CONTROL).then_some(Shortcut::NotesChange)
}

// Removes and adds, for ever: r12 is how often. Registers must be right.
guest_code!(removes_and_adds:
    "mov ebx, 0x130",
    "2:", "mov esi, 2", "call 4f", "cmp rax, 0", "jne 3f", "mov esi, 1", "call 4f", "cmp rax, 0", "jne 3f",
    "cmp edi, 3", "jne 3f", "cmp edx, 4", "jne 3f", "cmp r8, 99", "jne 3f", "add r12, 1", "jmp 2b",
    "3:", "ud2",
    "4:", "mov eax, ebx", "syscall", "cmp rax, -4096", "ret",
);

const EVENT: EpollEvent = EpollEvent { events: EPOLLET | 1, data: 0x1122_3344_5566_7788 };

fn lend_instance(guest: &mut Guest) {
    lend(guest);
    guest.thread.lend_file(0, &LentFile { watchable: 1 << WATCHED | 1 << OTHER, ..LentFile::default() });
    guest.thread.lend_watched(1 << WATCHED);
    put(guest, EVENT);
}

fn put(guest: &Guest, event: EpollEvent) {
    let (events, data) = (event.events, event.data);
    let written =
        guest.space.write(PLACE, &events.to_ne_bytes()) + guest.space.write(PLACE + 4, &data.to_ne_bytes());
    assert_eq!(written, size_of::<EpollEvent>());
}

fn control(guest: &mut Guest, operation: u64, descriptor: u64) -> Option<i64> {
    call(guest, CONTROL, [INSTANCE, operation, descriptor, PLACE])
}

fn change(operation: u64, descriptor: u64) -> NotedChange {
    let event = if operation == DELETE { EpollEvent::default() } else { EVENT };
    NotedChange { descriptor: descriptor as u8, operation: operation as i32, event }
}

pub(crate) fn changes_that_are_sure_to_succeed_are_noted_in_their_order(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    lend_instance(&mut guest);
    if !guest.thread.can_lend() {
        assert_eq!(control(&mut guest, MODIFY, WATCHED), None);
        return;
    }
    let changes = [(ADD, OTHER), (MODIFY, WATCHED), (DELETE, WATCHED), (MODIFY, OTHER), (ADD, WATCHED)];
    for (operation, descriptor) in changes {
        assert_eq!(control(&mut guest, operation, descriptor), Some(0));
    }
    assert_eq!(guest.thread.noted(), changes.map(|(operation, descriptor)| change(operation, descriptor)));
    guest.thread.lend_watched(1 << WATCHED);
    assert_eq!(guest.thread.noted(), []);
    // What would fail, or might.
    for (operation, descriptor) in [(ADD, WATCHED), (MODIFY, OTHER), (DELETE, OTHER)] {
        assert_eq!(control(&mut guest, operation, descriptor), None);
    }
    for operation in [0, 4, 0x101, u64::from(u32::MAX)] {
        assert_eq!(control(&mut guest, operation, WATCHED), None);
    }
    for descriptor in [0, 6, 64, 64 + WATCHED, u64::from(u32::MAX)] {
        assert_eq!(control(&mut guest, MODIFY, descriptor), None);
    }
    for instance in [0, 4, 9, 64 + INSTANCE, u64::from(u32::MAX)] {
        assert_eq!(call(&mut guest, CONTROL, [instance, MODIFY, WATCHED, PLACE]), None);
    }
    for address in [0, STACK - 3, 0x7ffe_0000_0000, SLOTS, 0x8000_0000_0000, u64::MAX - 3] {
        assert_eq!(call(&mut guest, CONTROL, [INSTANCE, MODIFY, WATCHED, address]), None, "{address:x}");
    }
    for flag in [EPOLLEXCLUSIVE, EPOLLWAKEUP] {
        put(&guest, EpollEvent { events: flag | 1, ..EVENT });
        assert_eq!(control(&mut guest, MODIFY, WATCHED), None);
    }
    assert_eq!(guest.thread.noted(), []);
    put(&guest, EVENT);
    for _ in 0..MOST {
        assert_eq!(control(&mut guest, MODIFY, WATCHED), Some(0));
    }
    assert_eq!(control(&mut guest, MODIFY, WATCHED), None);
    assert_eq!(guest.thread.noted(), [change(MODIFY, WATCHED); MOST]);
    guest.thread.lend_watched(1 << WATCHED);
    guest.thread.kicker().withdraw_answers();
    assert_eq!(control(&mut guest, MODIFY, WATCHED), None);
}

pub(crate) fn kicks_do_not_tear_changes_that_are_noted(platform: &dyn Platform) {
    let mut guest = guest(platform, removes_and_adds());
    if !guest.thread.can_lend() {
        return;
    }
    lend_instance(&mut guest);
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.r8, registers.r12) = (CODE, STACK, 99, 0);
    (registers.rdi, registers.rdx, registers.r10) = (INSTANCE, WATCHED, PLACE);
    let (mut is_watched, mut most) = (true, 0);
    let mut make = |change: NotedChange| {
        assert_eq!(change, self::change(if is_watched { DELETE } else { ADD }, WATCHED));
        is_watched = !is_watched;
        u64::from(is_watched) << WATCHED
    };
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(2000);
        while rounds.go_on(guest.thread.registers().r12 > 100 && most == MOST) {
            let trap = guest.thread.run();
            let noted = guest.thread.noted();
            most = most.max(noted.len());
            if let Some(watched) = noted.into_iter().map(&mut make).last() {
                guest.thread.lend_watched(watched);
            }
            match trap {
                Trap::Interrupted => {
                    let registers = *guest.thread.registers();
                    assert!((CODE..CODE + 4096).contains(&registers.rip), "{registers:x?}");
                    assert!(registers.rsp == STACK || registers.rsp == STACK - 8, "{registers:x?}");
                }
                Trap::Syscall { .. } => {
                    // There was no room.
                    let operation = guest.thread.registers().rsi;
                    guest.thread.lend_watched(make(change(operation, WATCHED)));
                    guest.thread.registers_mut().set_return_value(0);
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
}

pub(crate) fn forged_changes_are_told_as_changes_that_could_be(platform: &dyn Platform) {
    let mut guest = guest(platform, super::lent::any_calls());
    if !guest.thread.can_lend() {
        return;
    }
    lend_instance(&mut guest);
    // All that is noted.
    let noted = SLOTS + SLOT_SIZE + NOTED;
    let noted = noted..noted + NOTED_SIZE;
    while_forged(&mut guest, [noted], |guest| {
        under_kicks(guest.thread.kicker(), || {
            for round in rounds(600).map(u64::from) {
                let registers = guest.thread.registers_mut();
                (registers.rbx, registers.rdi, registers.rsi) = (CONTROL, INSTANCE, 1 + round % 3);
                (registers.rdx, registers.r10) = (WATCHED + round % 2, PLACE);
                assert!(!matches!(guest.thread.run(), Trap::Exited(_)));
                let noted = guest.thread.noted();
                assert!(noted.len() <= MOST);
                for change in noted.iter().filter(|change| change.operation == EPOLL_CTL_DEL) {
                    assert_eq!(change.event, EpollEvent::default());
                }
                lend_instance(guest);
            }
        });
    });
}
