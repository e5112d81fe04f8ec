//! What encoding and decoding cost, for the messages that are frequent: a walk, its reply, a page of a
//! directory.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use usk_gofer_protocol::{
    Access, Attributes, DirectoryEntries, DirectoryEntry, Entry, FileType, Mode, Name, NodeId, Opened, Reply,
    Request, Timestamp, WalkEnd,
};

fn attributes(ino: u64) -> Attributes {
    let time = Timestamp::new(1_700_000_000, 123_456_789);
    let at = time.unwrap_or_default();
    Attributes {
        dev: 0xfd01,
        ino,
        mode: Mode { file_type: FileType::Regular, permissions: 0o644 },
        nlink: 1,
        uid: 1000,
        gid: 1000,
        rdev: 0,
        size: 4096,
        blocks: 8,
        blksize: 4096,
        atime: at,
        mtime: at,
        ctime: at,
        btime: time,
    }
}

fn walk(criterion: &mut Criterion) {
    let path = ["usr", "lib", "python3", "os.py"];
    let names = path.iter().filter_map(|name| Name::new(name.as_bytes()).ok()).collect();
    let request = Request::Walk { node: NodeId(0), names, open: Some(Access::Read) };
    let bytes = request.encode(1).unwrap_or_default();
    criterion
        .bench_function("encode a walk of four names", |bench| bench.iter(|| black_box(&request).encode(1)));
    criterion.bench_function("decode a walk of four names", |bench| {
        bench.iter(|| Request::decode(black_box(&bytes)).is_ok())
    });
    let steps = (0..4).map(|ino| Entry { node: NodeId(ino), attributes: attributes(ino) }).collect();
    let reply = Reply::Walked { steps, end: WalkEnd::Complete(Ok(Opened::Donated)) };
    let bytes = reply.encode(1).unwrap_or_default();
    criterion.bench_function("encode its reply", |bench| bench.iter(|| black_box(&reply).encode(1)));
    criterion
        .bench_function("decode its reply", |bench| bench.iter(|| Reply::decode(black_box(&bytes)).is_ok()));
}

fn directory(criterion: &mut Criterion) {
    const ENTRIES: u64 = 400;
    let mut entries = DirectoryEntries::new();
    for ino in 0..ENTRIES {
        let name = format!("some file number {ino}");
        let Ok(name) = Name::new(name.as_bytes()) else { continue };
        let file_type = Some(FileType::Regular);
        entries.push(&DirectoryEntry { name, ino, file_type, attributes: Some(attributes(ino)) });
    }
    let reply = Reply::Directory { entries, next: None };
    let bytes = reply.encode(1).unwrap_or_default();
    let mut group = criterion.benchmark_group("a page of 400 entries");
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("encode", |bench| bench.iter(|| black_box(&reply).encode(1)));
    group.bench_function("decode", |bench| bench.iter(|| Reply::decode(black_box(&bytes)).is_ok()));
    group.finish();
}

criterion_group!(benches, walk, directory);
criterion_main!(benches);
