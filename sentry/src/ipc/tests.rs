use usk_abi::Errno;
use usk_abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_NOWAIT, SEM_UNDO, SHM_DEST, SemaphoreOperation};

use super::*;
use crate::task::Credentials;

fn request(key: i32, flags: u32, credentials: &Credentials) -> GetRequest<'_> {
    GetRequest { key, flags, credentials }
}

fn operation(number: u16, operation: i16, flags: u16) -> SemaphoreOperation {
    SemaphoreOperation { number, operation, flags }
}

#[test]
fn keys_find_objects_and_modes_guard_them() {
    let queues = MessageQueues::new(Arc::default());
    let (one, two) = (Credentials::user(1000, 1000), Credentials::user(1001, 1001));
    assert_eq!(queues.get(request(5, 0o600, &one), 0), Err(Errno::ENOENT));
    let id = queues.get(request(5, IPC_CREAT | 0o600, &one), 0).expect("a queue");
    assert_eq!(queues.get(request(5, 0o600, &one), 0), Ok(id));
    assert_eq!(queues.get(request(5, 0o600, &two), 0), Err(Errno::EACCES));
    assert_eq!(queues.get(request(5, IPC_CREAT | IPC_EXCL | 0o600, &one), 0), Err(Errno::EEXIST));
    assert_ne!(queues.get(request(0, 0o600, &one), 0), Ok(id));
    assert_eq!(queues.remove(id, &two), Err(Errno::EPERM));
    assert_eq!(queues.remove(id, &one), Ok(()));
    assert_eq!(queues.remove(id, &one), Err(Errno::EINVAL));
    assert_ne!(queues.get(request(5, IPC_CREAT | 0o600, &one), 0), Ok(id));
}

#[test]
fn a_removed_segment_lives_until_the_last_detaches() {
    let segments = Segments::new(Arc::default());
    let user = Credentials::user(0, 0);
    assert_eq!(segments.get(request(7, IPC_CREAT, &user), 0, 1, 0), Err(Errno::EINVAL));
    let id = segments.get(request(7, IPC_CREAT | 0o600, &user), 5000, 1, 0).expect("a segment");
    assert_eq!(segments.get(request(7, 0, &user), 6000, 1, 0), Err(Errno::EINVAL));
    let attachment = segments.attach(id, &user, 0o666).expect("attached");
    assert_eq!(attachment.length, 8192);
    assert_eq!(segments.status(id, &user).map(|status| status.attached), Ok(1));
    segments.remove(id, &user).expect("removed");
    let status = segments.status(id, &user).expect("still there");
    assert_eq!((status.attached, status.perm.mode & SHM_DEST, status.size), (1, SHM_DEST, 5000));
    assert_ne!(segments.get(request(7, IPC_CREAT, &user), 100, 1, 0), Ok(id));
    drop(attachment);
    assert_eq!(segments.status(id, &user), Err(Errno::EINVAL));
}

#[test]
fn semaphore_operations_are_all_or_nothing_and_undone_at_exit() {
    let sets = SemaphoreSets::new(Arc::default());
    let user = Credentials::user(0, 0);
    let id = sets.get(request(0, 0o600, &user), 2, 0).expect("a set");
    let perform = |operations: &[SemaphoreOperation]| {
        sets.for_operations(id, operations, &user)?.perform(operations, 10, 0)
    };
    assert_eq!(perform(&[operation(0, 2, SEM_UNDO)]), Ok(Ok(())));
    let blocked = perform(&[operation(0, -1, 0), operation(1, -1, IPC_NOWAIT as u16)]);
    assert!(matches!(blocked, Ok(Err(wait)) if wait.no_wait));
    assert_eq!(sets.values(id, &user), Ok(vec![2, 0]));
    assert!(matches!(perform(&[operation(0, 0, 0)]), Ok(Err(wait)) if !wait.no_wait));
    assert_eq!(perform(&[operation(2, 1, 0)]), Err(Errno::EFBIG));
    assert_eq!(perform(&[operation(0, i16::MAX, 0)]), Err(Errno::ERANGE));
    sets.process_exited(10, 0);
    assert_eq!(sets.values(id, &user), Ok(vec![0, 0]));
    assert_eq!(sets.set_values(id, Some(2), &[1], &user, 1, 0), Err(Errno::EINVAL));
    assert_eq!(sets.set_values(id, Some(1), &[40000], &user, 1, 0), Err(Errno::ERANGE));
    assert_eq!(sets.set_values(id, None, &[3, 4], &user, 1, 0), Ok(()));
    assert_eq!(sets.read_one(id, 1, &user), Ok([4, 1, 0, 0]));
    let set = sets.for_operations(id, &[], &user).expect("the set");
    sets.remove(id, &user).expect("removed");
    assert_eq!(set.perform(&[operation(0, 1, 0)], 1, 0), Err(Errno::EIDRM));
}

#[test]
fn semaphores_in_all_are_bounded() {
    let sets = SemaphoreSets::new(Arc::default());
    let user = Credentials::user(0, 0);
    let ids: Vec<_> = (0..100).map_while(|_| sets.get(request(0, 0o600, &user), 32000, 0).ok()).collect();
    assert_eq!(ids.len(), (1 << 20) / 32000);
    sets.remove(ids[0], &user).expect("removed");
    assert!(sets.get(request(0, 0o600, &user), 32000, 0).is_ok());
}

#[test]
fn messages_are_received_by_type() {
    let queues = MessageQueues::new(Arc::default());
    let user = Credentials::user(0, 0);
    let id = queues.get(request(0, 0o600, &user), 0).expect("a queue");
    let queue = queues.open(id, &user, 0o666).expect("open");
    for (kind, text) in [(3, &b"three"[..]), (1, b"one"), (2, b"two"), (1, b"another")] {
        queue.send(&Message { kind, text: text.to_vec() }, 1, 0).expect("sent");
    }
    let take = |selector| queue.receive(selector, 100, false, 1, 0).map(|message| message.text);
    assert_eq!(take(MessageSelector::CopyAt(1)), Ok(b"one".to_vec()));
    assert_eq!(take(MessageSelector::UpTo(2)), Ok(b"one".to_vec()));
    assert_eq!(take(MessageSelector::Kind(2)), Ok(b"two".to_vec()));
    assert_eq!(take(MessageSelector::Except(3)), Ok(b"another".to_vec()));
    assert_eq!(take(MessageSelector::Kind(9)), Err(Errno::EAGAIN));
    assert_eq!(queue.receive(MessageSelector::Any, 2, false, 1, 0), Err(Errno::E2BIG));
    let cut = queue.receive(MessageSelector::Any, 2, true, 1, 0).expect("received");
    assert_eq!(cut.text, b"th");
    let big = Message { kind: 1, text: vec![0; 8192] };
    assert_eq!(queue.send(&big, 1, 0), Ok(()));
    assert_eq!(queue.send(&big, 1, 0), Ok(()));
    assert_eq!(queue.send(&big, 1, 0), Err(Errno::EAGAIN));
    queues.remove(id, &user).expect("removed");
    assert_eq!(take(MessageSelector::Any), Err(Errno::EIDRM));
}

#[test]
fn bounds_can_be_changed() {
    let (limits, user) = (Arc::<IpcLimits>::default(), Credentials::user(0, 0));
    let segments = Segments::new(limits.clone());
    limits.shmmax.set(8192);
    limits.shmall.set(3);
    let get = |size| segments.get(request(0, IPC_CREAT | 0o600, &user), size, 1, 0);
    assert_eq!(get(8193), Err(Errno::EINVAL));
    let first = get(8192).expect("a segment");
    assert_eq!(get(8192), Err(Errno::ENOSPC));
    get(4096).expect("a segment of one page");
    segments.remove(first, &user).expect("removed");
    get(8192).expect("there is room again");
    limits.shmmni.set(2);
    assert_eq!(get(1), Err(Errno::ENOSPC));
}

#[test]
fn segments_do_not_outlive_their_use_where_that_is_wanted() {
    let (limits, user) = (Arc::<IpcLimits>::default(), Credentials::user(0, 0));
    let segments = Segments::new(limits.clone());
    let get = |key, flags, pid| segments.get(request(key, flags | 0o600, &user), 100, pid, 0);
    let kept = get(1, IPC_CREAT, 5).expect("a segment");
    segments.process_exited(5);
    assert!(segments.status(kept, &user).is_ok());
    limits.shm_rmid_forced.set(1);
    let (unused, used) = (get(2, IPC_CREAT, 6).expect("a segment"), get(3, IPC_CREAT, 6).expect("a segment"));
    let attachment = segments.attach(used, &user, 0o666).expect("attached");
    segments.process_exited(6);
    assert_eq!(segments.status(unused, &user), Err(Errno::EINVAL));
    // It is not marked as removed: others find it, and may attach it as well.
    assert_eq!(get(3, 0, 7), Ok(used));
    assert_eq!(
        segments.status(used, &user).map(|status| (status.attached, status.perm.mode)),
        Ok((1, 0o600))
    );
    drop(attachment);
    assert_eq!(get(3, 0, 7), Err(Errno::ENOENT));
}
