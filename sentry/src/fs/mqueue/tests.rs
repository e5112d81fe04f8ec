use super::*;
use crate::vfs::{FileType, NewNode};

fn space() -> (Arc<MqueueFileSystem>, Shape) {
    let shape = Shape { size: Some((4, 16)), is_privileged: false, limit: 10_000 };
    (MqueueFileSystem::new(Arc::default()), shape)
}

fn make(system: &MqueueFileSystem, name: &[u8], shape: Shape) -> Result<InodeRef, Errno> {
    let node = NewNode {
        file_type: FileType::Regular,
        permissions: 0o600,
        uid: 7,
        gid: 7,
        special_device: 0,
        target: b"",
    };
    RootInode::of(&system.root).unwrap().make(name, &node, shape)
}

#[test]
fn a_queue_is_charged_to_its_maker_until_it_is_gone() {
    let (system, shape) = space();
    let charge = 4 * (16 + MESSAGE_OVERHEAD) + 4 * PRIORITY_OVERHEAD;
    let shape = Shape { limit: charge, ..shape };
    let inode = make(&system, b"a", shape).unwrap();
    assert_eq!(make(&system, b"b", shape).err(), Some(Errno::EMFILE));
    system.root.unlink(b"a", &inode).unwrap();
    drop(inode);
    make(&system, b"b", shape).unwrap();
}

#[test]
fn sizes_are_bounded_by_the_settings_and_for_the_privileged_by_the_kernel() {
    let (system, shape) = space();
    for (size, privileged, expected) in [
        ((0, 1), true, Some(Errno::EINVAL)),
        ((1, 0), true, Some(Errno::EINVAL)),
        ((-1, 1), true, Some(Errno::EINVAL)),
        ((11, 1), false, Some(Errno::EINVAL)),
        ((1, 8193), false, Some(Errno::EINVAL)),
        ((i64::MAX, i64::MAX), true, Some(Errno::EINVAL)),
        ((11, 1), true, None),
        ((65536, 16 << 20), true, Some(Errno::EMFILE)),
    ] {
        let shape = Shape { size: Some(size), is_privileged: privileged, ..shape };
        assert_eq!(make(&system, format!("{size:?}").as_bytes(), shape).err(), expected, "{size:?}");
    }
}

#[test]
fn messages_leave_by_priority_and_then_by_age() {
    let (system, shape) = space();
    let inode = make(&system, b"a", shape).unwrap();
    let ops = inode.open(
        &inode,
        OpenFlags::empty(),
        crate::vfs::Caller { credentials: &crate::task::Credentials::user(0, 0), task: None },
    );
    let ops = ops.unwrap();
    let queue: &Queue = ops.as_any().downcast_ref().unwrap();
    for (text, priority) in [("a", 1), ("b", 5), ("c", 1), ("d", 5)] {
        assert!(queue.send(&mut text.as_bytes().to_vec(), priority).unwrap().is_none());
    }
    assert_eq!(queue.send(&mut vec![1], 0).err(), Some(Errno::EAGAIN));
    for (text, priority) in [("b", 5), ("d", 5), ("a", 1), ("c", 1)] {
        assert_eq!(queue.receive(), Ok((text.as_bytes().to_vec(), priority)));
    }
    assert_eq!(queue.receive(), Err(Errno::EAGAIN));
}
