//! The count of pages that is kept, against the host's.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;
use crate::BytesSource;
use crate::fs::tmpfs::TmpfsOptions;
use crate::vfs::Timestamp;

/// Pages in which files of these tests lie: some are longer than what the sentry keeps itself.
const PAGES: u64 = 12;

fn volume() -> Volume {
    Volume {
        options: TmpfsOptions::default(),
        device: 0,
        next_inode: AtomicU64::new(1),
        files: AtomicU64::new(0),
        pages: AtomicU64::new(0),
    }
}

/// What becomes of a file, in bytes.
#[derive(Clone, Debug)]
enum Act {
    Write { offset: u64, length: usize },
    WriteLate { offset: u64, length: usize },
    SetSize(u64),
    Allocate { keeps_size: bool, offset: u64, length: u64 },
    Punch { offset: u64, length: u64 },
    Map { shared: bool },
}

fn act() -> impl Strategy<Value = Act> {
    // Ends of pages, and what is beside them.
    let place = || (0..PAGES, 0..3u64).prop_map(|(page, beside)| (page * PAGE + beside).saturating_sub(1));
    let length = || place().prop_map(|length| length + 1);
    let short = || length().prop_map(|length| length as usize);
    prop_oneof![
        (place(), short()).prop_map(|(offset, length)| Act::Write { offset, length }),
        (place(), short()).prop_map(|(offset, length)| Act::WriteLate { offset, length }),
        place().prop_map(Act::SetSize),
        (any::<bool>(), place(), length()).prop_map(|(keeps_size, offset, length)| Act::Allocate {
            keeps_size,
            offset,
            length
        }),
        (place(), length()).prop_map(|(offset, length)| Act::Punch { offset, length }),
        any::<bool>().prop_map(|shared| Act::Map { shared }),
    ]
}

fn perform(contents: &mut Contents, volume: &Volume, act: &Act) -> Result<(), Errno> {
    match *act {
        Act::Write { offset, length } => {
            contents.write(volume, &mut BytesSource::new(&vec![1; length]), offset).map(drop)
        }
        Act::WriteLate { offset, length } => {
            let data = vec![1; length];
            contents.write_late(volume, &[LateWrite { offset, data: &data, when: Timestamp::now() }])
        }
        Act::SetSize(size) => contents.set_size(volume, size),
        Act::Allocate { keeps_size, offset, length } => {
            let mode = if keeps_size { FallocateMode::KEEP_SIZE } else { FallocateMode::empty() };
            contents.allocate(volume, mode, offset, length)
        }
        Act::Punch { offset, length } => {
            let mode = FallocateMode::PUNCH_HOLE | FallocateMode::KEEP_SIZE;
            contents.allocate(volume, mode, offset, length)
        }
        Act::Map { shared } => contents.host_file(shared).map(drop),
    }
}

/// What the host says, if it has the file.
fn pages_of_host(contents: &Contents) -> Option<u64> {
    match &contents.store {
        Store::Small(_) => None,
        Store::Host(file) => Some(host::extent(&*file.0).expect("a memfd").blocks * 512 / PAGE),
    }
}

proptest! {
    #[test]
    fn pages_are_what_the_host_says(acts in prop::collection::vec(act(), 1..12)) {
        let (mut contents, volume) = (Contents::new(Seals::SEAL), volume());
        for act in acts {
            perform(&mut contents, &volume, &act).expect("no limit is met");
            if let Some(pages) = pages_of_host(&contents) {
                prop_assert_eq!(contents.pages(), pages, "after {:?}", act);
            }
            prop_assert_eq!(contents.has_no_holes(), contents.pages() >= contents.size().div_ceil(PAGE));
        }
    }
}

#[test]
fn the_host_is_not_asked_about_a_file_that_is_written_from_the_front() {
    let (mut contents, volume) = (Contents::new(Seals::SEAL), volume());
    for chunk in 0..20 {
        let data = vec![1; 3000];
        contents.write(&volume, &mut BytesSource::new(&data), 3000 * chunk).expect("room");
    }
    contents.host_file(false).expect("a memfd");
    contents.set_size(&volume, 5000).expect("it can be cut");
    assert!(matches!(contents.store, Store::Host(_)) && contents.is_full);
    // What is mapped shared may lose pages.
    contents.host_file(true).expect("a memfd");
    assert!(!contents.is_full);
}
