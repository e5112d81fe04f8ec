//! What the sentry's own work costs, without a guest and without the host: walking names, keeping a memory map, copying
//! between guest and sentry. The address space is the tests' fake, which is part of what is measured where it is named.

#![allow(missing_docs)]

#[path = "../src/mm/fake.rs"]
#[allow(dead_code, unreachable_pub)]
mod fake;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fake::{FakeThread, PAGE, layout};
use usk_abi::Errno;
use usk_abi::mm::{MmapFlags, Prot};
use usk_platform::{GuestThread, MapFlags, MemoryOp, Protection};
use usk_sentry::fs::tmpfs::{Tmpfs, TmpfsOptions};
use usk_sentry::mm::{ALL_ACCESS, Backing, MapRequest, MemoryLimits, Mm, Vma, VmaFlags, VmaTree};
use usk_sentry::task::Credentials;
use usk_sentry::vfs::{FsContext, MountFlags, MountNamespace, WalkOptions};
use usk_sentry::{IoVec, Source, UserPtr, UserSource, read_c_string};

/// As many mappings as a program with a few dozen libraries has.
const MAPPINGS: u64 = 200;
const READ_WRITE: Protection = Protection { read: true, write: true, execute: false };
const BASE: u64 = 0x10_0000;

fn names(criterion: &mut Criterion) {
    let tmpfs = Tmpfs::new(TmpfsOptions::default());
    let context = FsContext::new(MountNamespace::new(tmpfs, MountFlags::empty(), "root"));
    let credentials = Credentials::user(0, 0);
    let names = context.names(&credentials, None);
    for directory in ["/usr", "/usr/lib", "/usr/lib/python3", "/usr/lib/python3/json"] {
        names.make_directory(&names.cwd, directory.as_bytes(), 0o755).expect("a directory");
    }
    names.make_symlink(&names.cwd, b"/lib", b"usr/lib").expect("a link");
    let walk = |path: &str| names.resolve(&names.cwd, path.as_bytes(), WalkOptions::FOLLOW).is_ok();
    for (title, path, is_there) in [
        ("walk of one name", "/usr", true),
        ("walk of four names", "/usr/lib/python3/json", true),
        ("walk through a link", "/lib/python3/json", true),
        ("walk to a missing name", "/usr/lib/python3/missing", false),
    ] {
        assert_eq!(walk(path), is_there, "{path}");
        criterion.bench_function(title, |bench| bench.iter(|| walk(black_box(path))));
    }
}

fn vma(index: u64) -> Vma {
    // A hole behind each, so that they stay apart.
    let start = BASE + index * 8 * PAGE;
    Vma {
        start,
        end: start + 4 * PAGE,
        protection: READ_WRITE,
        max_protection: ALL_ACCESS,
        shared: false,
        backing: Backing::Anonymous,
        offset: start,
        flags: VmaFlags::empty(),
    }
}

fn memory_map(criterion: &mut Criterion) {
    let mut tree = VmaTree::new();
    (0..MAPPINGS).for_each(|index| tree.insert(vma(index)));
    let middle = vma(MAPPINGS / 2);
    criterion.bench_function("find one of 200 mappings", |bench| {
        bench.iter(|| tree.find(black_box(middle.start + PAGE)).is_some())
    });
    criterion.bench_function("take one of 200 mappings out and put it back", |bench| {
        bench.iter(|| {
            tree.remove(middle.start, middle.end);
            tree.insert(middle.clone());
        })
    });
    criterion.bench_function("split and merge one of 200 mappings", |bench| {
        bench.iter(|| {
            let (start, end) = (middle.start + PAGE, middle.start + 2 * PAGE);
            tree.change(start, end, |vma| vma.protection.write = false);
            tree.change(start, end, |vma| vma.protection.write = true);
        })
    });
    let end = BASE + MAPPINGS * 8 * PAGE;
    criterion.bench_function("find room among 200 mappings", |bench| {
        bench.iter(|| tree.gap_from_top(black_box(6 * PAGE), PAGE, BASE, end))
    });

    let mut thread = FakeThread::new();
    let mm = Mm::new(thread.space().clone(), &layout(), 8 << 20, false).expect("a memory map");
    let flags = MmapFlags::PRIVATE | MmapFlags::ANONYMOUS;
    let mut map = |length| {
        let protection = Prot::READ | Prot::WRITE;
        let request = MapRequest { address: 0, length, protection, flags, file: None, offset: 0 };
        let address = mm.map(&mut thread, request, &MemoryLimits::NONE).expect("room");
        mm.unmap(&mut thread, address, length).expect("it is mapped");
    };
    criterion.bench_function("mmap and munmap of two pages on the fake host", |bench| {
        bench.iter(|| map(2 * PAGE))
    });
}

fn copies(criterion: &mut Criterion) {
    const LENGTH: usize = 64 << 10;
    let mut thread = FakeThread::new();
    let flags = MapFlags::default();
    let length = 2 * LENGTH as u64;
    let room = MemoryOp::MapAnonymous { address: BASE, length, protection: READ_WRITE, flags };
    thread.apply(&[room]).expect("room");
    let space = &**thread.space();
    let path = b"/usr/lib/python3/json/__init__.py\0";
    assert_eq!(space.write(BASE, path), path.len());
    criterion.bench_function("copy a path in", |bench| {
        bench.iter(|| read_c_string(space, black_box(BASE), 4096, Errno::ENAMETOOLONG).is_ok())
    });
    let pointer = UserPtr::<u64>::new(BASE);
    criterion.bench_function("copy a word in and out", |bench| {
        bench.iter(|| pointer.read(space).and_then(|word| pointer.write(space, &word)).is_ok())
    });
    let data = vec![7; LENGTH];
    let mut buffer = vec![0; LENGTH];
    let bytes = UserPtr::<u8>::new(BASE);
    let half = LENGTH / 2;
    let ranges = [0, LENGTH].map(|offset| IoVec { address: BASE + offset as u64, length: half });
    let mut group = criterion.benchmark_group("64 KiB on the fake host");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    group.bench_function("out", |bench| bench.iter(|| bytes.write_array(space, black_box(&data)).is_ok()));
    group.bench_function("in, from two ranges", |bench| {
        bench.iter(|| UserSource::new(space, &ranges).take(&mut buffer))
    });
    group.finish();
}

criterion_group!(benches, names, memory_map, copies);
criterion_main!(benches);
