//! The codec against messages of every kind, and against bytes that are none.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use usk_abi::Errno;
use usk_gofer_protocol::limits::*;
use usk_gofer_protocol::*;

fn name_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>().prop_filter("no slash, no NUL", |&byte| byte != b'/' && byte != 0), 1..=MAX_NAME)
        .prop_filter("a name", |bytes| bytes != b"." && bytes != b"..")
}

fn short_name_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(b'a'..=b'z', 1..=60)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, rest)| Timestamp::new(seconds, rest).unwrap())
}

fn file_type() -> impl Strategy<Value = FileType> {
    prop_oneof![
        Just(FileType::Regular),
        Just(FileType::Directory),
        Just(FileType::Symlink),
        Just(FileType::Fifo),
        Just(FileType::Socket),
        Just(FileType::CharacterDevice),
        Just(FileType::BlockDevice),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    (
        (any::<u64>(), any::<u64>(), file_type(), 0..0o10_000u16, any::<u32>(), any::<u32>(), any::<u32>()),
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>()),
        (timestamp(), timestamp(), timestamp(), option::of(timestamp())),
    )
        .prop_map(
            |(
                (dev, ino, file_type, permissions, nlink, uid, gid),
                (rdev, size, blocks, blksize),
                (atime, mtime, ctime, btime),
            )| Attributes {
                dev,
                ino,
                mode: Mode { file_type, permissions },
                nlink,
                uid,
                gid,
                rdev,
                size,
                blocks,
                blksize,
                atime,
                mtime,
                ctime,
                btime,
            },
        )
}

fn errno() -> impl Strategy<Value = Errno> {
    (1..134i32).prop_map(Errno::from_raw).prop_filter("defined", |errno| errno.name().is_some())
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![Just(Access::Read), Just(Access::Write), Just(Access::ReadWrite)]
}

fn owner() -> impl Strategy<Value = Option<Owner>> {
    option::of((any::<u32>(), any::<u32>()).prop_map(|(uid, gid)| Owner { uid, gid }))
}

fn change() -> impl Strategy<Value = AttributeChange> {
    let time = || option::of(prop_oneof![Just(TimeChange::Now), timestamp().prop_map(TimeChange::At)]);
    (
        option::of(any::<u16>()),
        option::of(any::<u32>()),
        option::of(any::<u32>()),
        option::of(any::<u64>()),
        time(),
        time(),
    )
        .prop_map(|(permissions, uid, gid, size, atime, mtime)| AttributeChange {
            permissions,
            uid,
            gid,
            size,
            atime,
            mtime,
        })
}

/// Encoded requests of every kind. They borrow their names, so they are made and checked in one place.
fn request() -> impl Strategy<Value = (u64, Vec<u8>)> {
    let small = (any::<u64>(), any::<u64>(), any::<u16>(), 0..25u32);
    let names = (
        name_bytes(),
        name_bytes(),
        vec(short_name_bytes(), 1..=MAX_COMPONENTS),
        vec(any::<u64>(), 0..=MAX_NODES),
    );
    let rest = (access(), option::of(access()), owner(), change(), file_type(), vec(any::<u8>(), 0..2000));
    (small, names, rest).prop_map(
        |(
            (id, number, permissions, kind),
            (one, two, path, nodes),
            (access, open, owner, change, file_type, bytes),
        )| {
            let node = NodeId(number);
            let parent = node;
            let (name, new_name) = (Name::new(&one).unwrap(), Name::new(&two).unwrap());
            let names = path.iter().map(|name| Name::new(name).unwrap()).collect();
            let nodes: Vec<NodeId> = nodes.into_iter().map(NodeId).collect();
            let xattr = XattrName::new(&one).unwrap();
            let target = LinkTarget::new(&two).unwrap();
            let value = XattrValue::new(bytes).unwrap();
            let (stream, cursor) = (number.rotate_left(7), number.rotate_left(13));
            let new_parent = NodeId(cursor);
            let mode = RenameMode::Exchange;
            let request = match kind {
                0 => Request::Attach { version: u32::from(permissions) },
                1 => Request::Forget { nodes },
                2 => Request::Walk { node, names, open },
                3 => Request::Open { node, access },
                4 => Request::GetAttributes { nodes },
                5 => Request::SetAttributes { node, change },
                6 => Request::ReadDirectory { node, stream, cursor, all_attributes: permissions > 3 },
                7 => Request::CloseDirectory { stream },
                8 => Request::CreateFile { parent, name, permissions, owner, access },
                9 => Request::MakeDirectory { parent, name, permissions, owner },
                10 => Request::MakeSymlink { parent, name, target, owner },
                11 => Request::MakeSpecial { parent, name, file_type, permissions, owner },
                12 => Request::Link { node, parent: new_parent, name },
                13 => Request::Unlink { parent, name },
                14 => Request::RemoveDirectory { parent, name },
                15 => Request::Rename { parent, name, new_parent, new_name, mode },
                16 => Request::ReadLink { node },
                17 => Request::StatFileSystem { node },
                18 => Request::GetXattr { node, name: xattr },
                19 => Request::ListXattrs { node },
                20 => Request::SetXattr { node, name: xattr, value, mode: XattrMode::Create },
                21 => Request::RemoveXattr { node, name: xattr },
                22 => Request::ReadDirectories {
                    parent,
                    names,
                    below: permissions,
                    all_attributes: permissions > 3,
                },
                kind => {
                    let files = names.into_iter().map(|name| FileIn { parent, name }).collect();
                    if kind == 23 { Request::OpenFiles { files } } else { Request::CheckXattrs { files } }
                }
            };
            let bytes = request.encode(id).unwrap();
            assert_eq!(Request::decode(&bytes), Ok((id, request)));
            (id, bytes)
        },
    )
}

fn walk_end() -> impl Strategy<Value = WalkEnd> {
    prop_oneof![
        Just(WalkEnd::Complete(Ok(Opened::No))),
        Just(WalkEnd::Complete(Ok(Opened::Donated))),
        errno().prop_map(|errno| WalkEnd::Complete(Err(errno))),
        Just(WalkEnd::Missing),
        name_bytes().prop_map(|bytes| WalkEnd::Symlink(LinkTarget::new(&bytes).unwrap())),
        Just(WalkEnd::NotDirectory),
        errno().prop_map(WalkEnd::Failed),
    ]
}

fn directory_entries(most: usize) -> impl Strategy<Value = DirectoryEntries> {
    let entry = (name_bytes(), any::<u64>(), option::of(file_type()), option::of(attributes()));
    vec(entry, 0..=most).prop_map(|all| {
        let mut entries = DirectoryEntries::new();
        for (name, ino, file_type, attributes) in &all {
            let name = Name::new(name).unwrap();
            entries.push(&DirectoryEntry { name, ino: *ino, file_type: *file_type, attributes: *attributes });
        }
        // What was put in is what comes out.
        let found: Vec<_> = entries.iter().collect();
        assert_eq!((found.len(), entries.len()), (all.len(), all.len()));
        for (number, (found, (name, ino, file_type, attributes))) in found.iter().zip(&all).enumerate() {
            assert_eq!(found.name.as_bytes(), name);
            assert_eq!((found.ino, found.file_type, found.attributes), (*ino, *file_type, *attributes));
            assert_eq!(entries.name(number), Some(found.name));
        }
        assert_eq!(entries.name(all.len()), None);
        entries
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (any::<u64>(), attributes()).prop_map(|(node, attributes)| Entry { node: NodeId(node), attributes })
}

fn directory_below() -> impl Strategy<Value = DirectoryBelow> {
    (any::<u32>(), any::<u32>(), whole_directory()).prop_map(|(above, entry, read)| DirectoryBelow {
        above,
        entry,
        read,
    })
}

fn whole_directory() -> impl Strategy<Value = WholeDirectory> {
    (entry(), directory_entries(8)).prop_map(|(directory, entries)| WholeDirectory { directory, entries })
}

fn reply() -> impl Strategy<Value = Reply> {
    let export = (any::<bool>(), any::<bool>(), attributes())
        .prop_map(|(read_only, shared, attributes)| ExportDescription { read_only, shared, attributes });
    let next = option::of(
        (any::<u64>(), any::<u64>()).prop_map(|(stream, cursor)| DirectoryPosition { stream, cursor }),
    );
    prop_oneof![
        errno().prop_map(|errno| Reply::Failed { errno }),
        Just(Reply::Done {}),
        (any::<u32>(), vec(export, 0..=MAX_EXPORTS))
            .prop_map(|(version, exports)| Reply::Attached { version, exports }),
        (vec(entry(), 0..=MAX_COMPONENTS), walk_end()).prop_map(|(steps, end)| Reply::Walked { steps, end }),
        Just(Reply::Opened {}),
        vec(prop_oneof![attributes().prop_map(Ok), errno().prop_map(Err)], 0..=40)
            .prop_map(|results| Reply::Attributes { results }),
        (directory_entries(40), next).prop_map(|(entries, next)| Reply::Directory { entries, next }),
        entry().prop_map(|entry| Reply::Created { entry }),
        name_bytes().prop_map(|bytes| Reply::LinkTarget { target: LinkTarget::new(&bytes).unwrap() }),
        any::<[u64; 9]>().prop_map(
            |[
                kind,
                block_size,
                blocks,
                blocks_free,
                blocks_available,
                files,
                files_free,
                name_length,
                fragment_size,
            ]| {
                Reply::FileSystem {
                    statistics: FileSystemStatistics {
                        kind,
                        block_size,
                        blocks,
                        blocks_free,
                        blocks_available,
                        files,
                        files_free,
                        name_length,
                        fragment_size,
                    },
                }
            }
        ),
        vec(any::<u8>(), 0..3000).prop_map(|bytes| Reply::Xattr { value: XattrValue::new(bytes).unwrap() }),
        (
            vec(prop_oneof![whole_directory().prop_map(Ok), errno().prop_map(Err)], 0..=8),
            vec(directory_below(), 0..=8)
        )
            .prop_map(|(directories, below)| Reply::Directories { directories, below }),
        vec(prop_oneof![attributes().prop_map(Ok), errno().prop_map(Err)], 0..=MAX_DESCRIPTORS)
            .prop_map(|results| Reply::Files { results }),
    ]
}

/// What a hostile peer makes of a good message.
fn mutate(
    mut bytes: Vec<u8>,
    edits: &[(prop::sample::Index, u8)],
    cut: Option<prop::sample::Index>,
) -> Vec<u8> {
    for (place, byte) in edits {
        let index = place.index(bytes.len());
        bytes[index] = *byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

/// A message that decodes is encoded to the same bytes again: there is one form for each meaning.
fn check_request(bytes: &[u8]) {
    if let Ok((id, request)) = Request::decode(bytes) {
        assert_eq!(request.encode(id).unwrap(), bytes);
        if let Request::Walk { names, .. } = &request {
            assert!((1..=MAX_COMPONENTS).contains(&names.len()));
            assert!(names.iter().all(|name| Name::new(name.as_bytes()).is_ok()));
        }
    }
}

fn check_reply(bytes: &[u8]) {
    if let Ok((id, reply)) = Reply::decode(bytes) {
        assert_eq!(reply.encode(id).unwrap(), bytes);
    }
}

type Edits = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>);

fn edits() -> impl Strategy<Value = Edits> {
    (vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), option::of(any::<prop::sample::Index>()))
}

proptest! {
    #[test]
    fn requests_survive_the_round_trip((id, bytes) in request()) {
        let (decoded, _) = Request::decode(&bytes).unwrap();
        prop_assert_eq!(decoded, id);
        prop_assert!(bytes.len() <= MAX_MESSAGE);
    }

    #[test]
    fn replies_survive_the_round_trip(id: u64, reply in reply()) {
        let bytes = reply.encode(id).unwrap();
        prop_assert_eq!(Reply::decode(&bytes), Ok((id, reply)));
    }

    #[test]
    fn arbitrary_bytes_are_decoded_without_harm(bytes in vec(any::<u8>(), 0..4096)) {
        check_request(&bytes);
        check_reply(&bytes);
    }

    /// A valid number first, so that more than the header is looked at.
    #[test]
    fn arbitrary_bodies_are_decoded_without_harm(number in 1..25u16, body in vec(any::<u8>(), 0..512)) {
        let bytes = [&[0; 8][..], &number.to_le_bytes(), &body].concat();
        check_request(&bytes);
        check_reply(&bytes);
    }

    #[test]
    fn mutated_requests_are_decoded_without_harm((_, bytes) in request(), (edits, cut) in edits()) {
        check_request(&mutate(bytes, &edits, cut));
    }

    #[test]
    fn mutated_replies_are_decoded_without_harm(reply in reply(), (edits, cut) in edits()) {
        check_reply(&mutate(reply.encode(1).unwrap(), &edits, cut));
    }

    #[test]
    fn every_proper_prefix_is_refused((_, bytes) in request(), cut in any::<prop::sample::Index>()) {
        prop_assert!(Request::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }
}

#[test]
fn bytes_that_are_left_over_are_refused() {
    let mut bytes = Reply::Done {}.encode(1).unwrap();
    bytes.push(0);
    assert_eq!(Reply::decode(&bytes), Err(DecodeError::Trailing));
}

#[test]
fn what_exceeds_its_bound_is_refused() {
    let long = vec![0; MAX_MESSAGE + 1];
    assert_eq!(Request::decode(&long), Err(DecodeError::TooLong("message")));
    // A count that the message cannot hold reserves nothing.
    for count in [u32::MAX, MAX_NODES as u32 + 1, MAX_NODES as u32] {
        let bytes = [&[0; 8][..], &2u16.to_le_bytes(), &count.to_le_bytes()].concat();
        assert!(Request::decode(&bytes).is_err());
    }
    let names: Vec<Vec<u8>> = (0..MAX_COMPONENTS).map(|_| vec![b'a'; 65]).collect();
    let names = names.iter().map(|name| Name::new(name).unwrap()).collect();
    let bytes = Request::Walk { node: NodeId(0), names, open: None }.encode(1).unwrap();
    assert_eq!(Request::decode(&bytes), Err(DecodeError::TooLong("components")));
    let file = FileIn { parent: NodeId(0), name: Name::new(b"a").unwrap() };
    for (count, error) in
        [(MAX_DESCRIPTORS + 1, DecodeError::TooLong("files")), (0, DecodeError::Invalid("files"))]
    {
        let bytes = Request::OpenFiles { files: vec![file; count] }.encode(1).unwrap();
        assert_eq!(Request::decode(&bytes), Err(error));
    }
}

#[test]
fn the_largest_messages_fit() {
    let time = Timestamp::new(1, 1).unwrap();
    let mode = Mode { file_type: FileType::Regular, permissions: 0o644 };
    let attributes = Attributes {
        dev: 1,
        ino: 1,
        mode,
        nlink: 1,
        uid: 1,
        gid: 1,
        rdev: 1,
        size: 1,
        blocks: 1,
        blksize: 1,
        atime: time,
        mtime: time,
        ctime: time,
        btime: Some(time),
    };
    let results = vec![Ok(attributes); MAX_NODES];
    assert!(Reply::Attributes { results }.encode(1).is_ok());
    let entry = Entry { node: NodeId(1), attributes };
    let target = LinkTarget::new(&[b'x'; MAX_LINK_TARGET]).unwrap();
    assert!(
        Reply::Walked { steps: vec![entry; MAX_COMPONENTS], end: WalkEnd::Symlink(target) }.encode(1).is_ok()
    );
    let exports = vec![ExportDescription { read_only: true, shared: true, attributes }; MAX_EXPORTS];
    assert!(Reply::Attached { version: 1, exports }.encode(1).is_ok());
    let value = XattrValue::new(vec![0; MAX_XATTR_VALUE]).unwrap();
    let name = [b'n'; MAX_XATTR_NAME];
    let name = XattrName::new(&name).unwrap();
    let set = Request::SetXattr { node: NodeId(1), name, value, mode: XattrMode::Any };
    assert!(set.encode(1).is_ok());
    let long = [b'n'; MAX_NAME];
    let file = FileIn { parent: NodeId(1), name: Name::new(&long).unwrap() };
    assert!(Request::OpenFiles { files: vec![file; MAX_DESCRIPTORS] }.encode(1).is_ok());
    let name = Name::new(b"name").unwrap();
    let mut entry =
        DirectoryEntry { name, ino: 1, file_type: Some(FileType::Regular), attributes: Some(attributes) };
    let mut entries = DirectoryEntries::new();
    let length = |entries: &DirectoryEntries| {
        Reply::Directory { entries: entries.clone(), next: None }.encode(1).unwrap().len()
    };
    let empty = length(&entries);
    entries.push(&entry);
    assert_eq!(length(&entries) - empty, DirectoryEntry::encoded_bound(4));
    assert_eq!(entry.encoded_length(), DirectoryEntry::encoded_bound(4));
    entry.attributes = None;
    let one = length(&entries);
    entries.push(&entry);
    assert!(length(&entries) - one <= entry.encoded_length());
    let directory = Entry { node: NodeId(1), attributes };
    let read = WholeDirectory { directory, entries: DirectoryEntries::new() };
    let length = |directories, below| Reply::Directories { directories, below }.encode(1).unwrap().len();
    let none = length(vec![], vec![]);
    assert!(length(vec![Ok(read.clone())], vec![]) - none <= WholeDirectory::encoded_bound());
    let below = DirectoryBelow { above: 0, entry: 0, read };
    assert!(length(vec![], vec![below]) - none <= WholeDirectory::encoded_bound());
}

/// A page of a directory whose names, one after the other, are `names`; then come the count of entries, for each the length of its name, that
/// its type is not known, and its inode number, and then the numbers of the entries whose attributes come.
fn page(names: &[u8], lengths: &[u8], numbers: &[u32]) -> Vec<u8> {
    let time = [0; 12];
    let attributes =
        [&[0; 16][..], &0o100_644u32.to_le_bytes(), &[0; 40], &time, &time, &time, &[0]].concat();
    let mut bytes = [&[0; 8][..], &7u16.to_le_bytes(), &(names.len() as u32).to_le_bytes(), names].concat();
    bytes.extend((lengths.len() as u32).to_le_bytes());
    lengths.iter().for_each(|length| bytes.extend([&[*length, 0][..], &[0; 8]].concat()));
    bytes.extend((numbers.len() as u32).to_le_bytes());
    numbers.iter().for_each(|number| bytes.extend([&number.to_le_bytes()[..], &attributes].concat()));
    bytes.push(0);
    bytes
}

#[test]
fn entries_are_names_and_attributes_are_in_order() {
    let decode = |names: &[u8], lengths: &[u8], numbers: &[u32]| match Reply::decode(&page(
        names, lengths, numbers,
    ))? {
        (_, Reply::Directory { entries, .. }) => Ok(entries),
        (_, reply) => panic!("{reply:?}"),
    };
    let good = decode(b"abb...", &[1, 2, 3], &[0, 2]).unwrap();
    let told: Vec<_> = good.iter().map(|entry| (entry.name, entry.attributes.is_some())).collect();
    let name = |name| Name::new(name).unwrap();
    assert_eq!(told, [(name(b"a"), true), (name(b"bb"), false), (name(b"..."), true)]);
    assert_eq!(decode(b"", &[], &[]), Ok(DirectoryEntries::new()));
    let wrong = |what| Err(DecodeError::Invalid(what));
    for (names, lengths) in [
        (&b"a/c"[..], &[3][..]),
        (b"a\0c", &[3]),
        (b"abc", &[3, 0]),
        (b"abc", &[0, 3]),
        (b".abc", &[1, 3]),
        (b"abc..", &[3, 2]),
    ] {
        assert_eq!(decode(names, lengths, &[]), wrong("name"), "{names:?} {lengths:?}");
    }
    assert_eq!(decode(b"abc", &[1, 1], &[]), wrong("names"));
    assert_eq!(decode(b"abc", &[], &[]), wrong("names"));
    assert_eq!(decode(b"abc", &[1, 3], &[]), Err(DecodeError::Truncated));
    for numbers in [&[1, 0][..], &[1, 1], &[2], &[u32::MAX]] {
        assert_eq!(decode(b"ab", &[1, 1], numbers), wrong("number of an entry"), "{numbers:?}");
    }
    assert_eq!(decode(b"a", &[1], &[0, 1]), Err(DecodeError::TooLong("attributes of entries")));
    let many = vec![1; MAX_DIRECTORY_ENTRIES + 1];
    let names = vec![b'a'; many.len()];
    assert_eq!(decode(&names, &many, &[]), Err(DecodeError::TooLong("directory entries")));
    // Counts that the message has no room for are seen before anything else is: what follows is wrong, too.
    let cut = |bytes: Vec<u8>, by: usize| Reply::decode(&bytes[..bytes.len() - by]).map(drop);
    assert_eq!(cut(page(b"ab", &[1, 1], &[1, 0]), 30), Err(DecodeError::Truncated));
    assert_eq!(cut(page(b"ab", &[1, 1], &[1, 0]), 0), wrong("number of an entry").map(drop));
    assert_eq!(cut(page(b".bc", &[1, 1, 1], &[]), 12), Err(DecodeError::Truncated));
    assert_eq!(cut(page(b".bc", &[1, 1, 1], &[]), 0), wrong("name").map(drop));
}
