use proptest::prelude::*;

use super::*;
use crate::loader::testing::small_elf;

const LIMIT: u64 = 1 << 47;

fn parse(bytes: &[u8]) -> Result<ElfImage, Errno> {
    let read = |offset: u64, length: usize| {
        let start = usize::try_from(offset).map_err(|_| Errno::ENOEXEC)?;
        let end = start.checked_add(length).ok_or(Errno::ENOEXEC)?;
        bytes.get(start..end).map(<[u8]>::to_vec).ok_or(Errno::ENOEXEC)
    };
    ElfImage::parse(&read, LIMIT)
}

#[test]
fn programs_of_the_host_parse() {
    let programs =
        ["/bin/busybox", "/bin/true", "/bin/sh", "/usr/bin/python3", "/lib64/ld-linux-x86-64.so.2"];
    let mut seen = 0;
    for path in programs {
        let Ok(bytes) = std::fs::read(path) else { continue };
        let image = parse(&bytes).expect(path);
        assert!(!image.has_executable_stack, "{path}");
        assert!(image.segments.iter().any(|segment| segment.protection.execute), "{path}");
        assert!(image.headers_address != 0 || image.is_relocatable, "{path}");
        if path == "/bin/true" {
            assert_eq!(image.interpreter.as_deref(), Some(&b"/lib64/ld-linux-x86-64.so.2"[..]));
        }
        seen += 1;
    }
    assert!(seen >= 3, "this host has no programs to read");
}

#[test]
fn the_small_program_is_read_as_written() {
    let image = parse(&small_elf()).expect("well formed");
    assert_eq!(image.entry, 0x40_0100);
    assert_eq!(image.headers_address, 0x40_0040);
    assert_eq!(image.page_span(), (0x40_0000, 0x40_5000));
    assert_eq!(image.segments.len(), 2);
}

#[test]
fn other_machines_classes_and_types_are_refused() {
    let changes: [(usize, &[u8]); 8] = [
        (0, b"\x7fELG"),
        (4, &[1]),      // 32 bits
        (5, &[2]),      // big endian
        (16, &[1, 0]),  // relocatable object
        (16, &[4, 0]),  // core dump
        (18, &[3, 0]),  // i386
        (54, &[32, 0]), // size of a program header
        (56, &[0, 0]),  // count of program headers
    ];
    for (at, change) in changes {
        let mut bytes = small_elf();
        bytes[at..at + change.len()].copy_from_slice(change);
        assert_eq!(parse(&bytes), Err(Errno::ENOEXEC), "byte {at}");
    }
}

#[test]
fn segments_that_make_no_sense_are_refused() {
    // Offsets within the second program header, which begins at byte 120.
    let changes: [(usize, u64); 5] = [
        (120 + 32, 0x4000),           // more in the file than in memory
        (120 + 40, u64::MAX),         // does not fit in memory
        (120 + 16, 0x40_0100),        // overlaps the first
        (120 + 8, 0x1101),            // offset and address differ within the page
        (120 + 16, u64::MAX - 0xeff), // wraps around
    ];
    for (at, value) in changes {
        let mut bytes = small_elf();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        assert_eq!(parse(&bytes), Err(Errno::ENOEXEC), "byte {at} {value:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn mutations_never_panic_and_what_parses_is_in_bounds(
        changes in proptest::collection::vec((0usize..176, any::<u8>()), 1..12),
        length in 0usize..0x3000,
    ) {
        let mut bytes = small_elf();
        for (at, value) in changes {
            bytes[at] = value;
        }
        for bytes in [&bytes[..], &bytes[..length]] {
            match parse(bytes) {
                Ok(image) => {
                    let mut last = 0;
                    for segment in &image.segments {
                        prop_assert!(segment.address >= last);
                        prop_assert!(segment.end() <= LIMIT && segment.file_size <= segment.memory_size);
                        last = segment.end();
                    }
                    prop_assert!(image.alignment.is_power_of_two());
                }
                Err(error) => prop_assert_eq!(error, Errno::ENOEXEC),
            }
        }
    }
}
