use std::thread;

use super::*;
use crate::file::eventfd::EventFd;
use crate::file::pipe::Pipe;
use crate::file::testing::{block, read, write};

const IN: u32 = PollEvents::IN.bits();
const OUT: u32 = PollEvents::OUT.bits();

fn event(events: u32, data: u64) -> EpollEvent {
    EpollEvent { events, data }
}

fn epoll(file: &OpenFile) -> &Epoll {
    Epoll::of(file).unwrap()
}

/// The events of what is collected.
fn collect(epoll: &Epoll, most: usize) -> Result<Vec<EpollEvent>, Errno> {
    Ok(epoll.collect(most)?.into_iter().map(|report| report.event).collect())
}

fn one() -> [u8; 8] {
    1u64.to_ne_bytes()
}

#[test]
fn a_level_is_reported_until_it_falls() {
    let instance = Epoll::open();
    let file = EventFd::open(0, false, 0);
    epoll(&instance).add(5, &file, event(IN, 42)).unwrap();
    assert_eq!(collect(epoll(&instance), 8), Err(Errno::EAGAIN));
    write(&file, &one()).unwrap();
    for _ in 0..3 {
        assert_eq!(collect(epoll(&instance), 8).unwrap(), [event(IN, 42)]);
    }
    read(&file, 8).unwrap();
    assert_eq!(collect(epoll(&instance), 8), Err(Errno::EAGAIN));
}

#[test]
fn an_edge_is_reported_once_per_change() {
    let instance = Epoll::open();
    let file = EventFd::open(1, false, 0);
    epoll(&instance).add(5, &file, event(IN | EPOLLET, 1)).unwrap();
    assert_eq!(collect(epoll(&instance), 8).unwrap().len(), 1);
    assert_eq!(collect(epoll(&instance), 8), Err(Errno::EAGAIN));
    write(&file, &one()).unwrap();
    assert_eq!(collect(epoll(&instance), 8).unwrap().len(), 1);
    assert_eq!(collect(epoll(&instance), 8), Err(Errno::EAGAIN));
}

#[test]
fn what_is_given_back_comes_before_others() {
    let instance = Epoll::open();
    let files: Vec<_> = (0..3).map(|_| EventFd::open(1, false, 0)).collect();
    for (number, file) in files.iter().enumerate() {
        epoll(&instance).add(5, file, event(IN, number as u64)).unwrap();
    }
    let reports = epoll(&instance).collect(8).unwrap();
    epoll(&instance).give_back(&reports[1..]);
    assert_eq!(collect(epoll(&instance), 8).unwrap(), [1, 2, 0].map(|number| event(IN, number)));
}

#[test]
fn one_shot_that_another_has_been_told_of_is_not_told_again() {
    let instance = Epoll::open();
    let file = EventFd::open(1, false, 0);
    epoll(&instance).add(5, &file, event(IN | EPOLLONESHOT, 1)).unwrap();
    let untold = epoll(&instance).collect(8).unwrap();
    epoll(&instance).modify(5, &file, event(IN | EPOLLONESHOT, 2)).unwrap();
    let told = epoll(&instance).collect(8).unwrap();
    epoll(&instance).give_back(&untold);
    assert_eq!(collect(epoll(&instance), 8), Err(Errno::EAGAIN));
    epoll(&instance).give_back(&told);
    assert_eq!(collect(epoll(&instance), 8).unwrap(), [event(IN, 2)]);
}

#[test]
fn one_shot_waits_to_be_armed_again() {
    let instance = Epoll::open();
    let file = EventFd::open(1, false, 0);
    epoll(&instance).add(5, &file, event(IN | EPOLLONESHOT, 1)).unwrap();
    assert_eq!(collect(epoll(&instance), 8).unwrap().len(), 1);
    write(&file, &one()).unwrap();
    assert_eq!(collect(epoll(&instance), 8), Err(Errno::EAGAIN));
    epoll(&instance).modify(5, &file, event(IN | OUT | EPOLLONESHOT, 2)).unwrap();
    assert_eq!(collect(epoll(&instance), 8).unwrap(), [event(IN | OUT, 2)]);
}

#[test]
fn control_reports_what_is_wrong() {
    let instance = Epoll::open();
    let file = EventFd::open(0, false, 0);
    let epoll = epoll(&instance);
    assert_eq!(epoll.modify(5, &file, event(IN, 0)), Err(Errno::ENOENT));
    assert_eq!(epoll.remove(5, &file), Err(Errno::ENOENT));
    epoll.add(5, &file, event(IN, 0)).unwrap();
    assert_eq!(epoll.add(5, &file, event(IN, 0)), Err(Errno::EEXIST));
    epoll.add(6, &file, event(IN | EPOLLEXCLUSIVE, 0)).unwrap();
    assert_eq!(epoll.modify(6, &file, event(IN, 0)), Err(Errno::EINVAL));
    assert_eq!(epoll.modify(5, &file, event(IN | EPOLLEXCLUSIVE, 0)), Err(Errno::EINVAL));
    assert_eq!(epoll.add(7, &file, event(IN | EPOLLEXCLUSIVE | EPOLLONESHOT, 0)), Err(Errno::EINVAL));
    assert_eq!(epoll.information().lines().count(), 2);
    epoll.remove(5, &file).unwrap();
    write(&file, &one()).unwrap();
    assert_eq!(collect(epoll, 8).unwrap().len(), 1);
}

fn watchable(instance: &Arc<OpenFile>, files: &[&Arc<OpenFile>]) -> Watchable {
    epoll(instance).watchable((0..).zip(files.iter().copied()))
}

#[test]
fn what_is_watchable_is_what_no_call_can_fail_for() {
    let (instance, other) = (Epoll::open(), Epoll::open());
    let [plain, exclusive, watched] = [(); 3].map(|()| EventFd::open(0, false, 0));
    epoll(&instance).add(1, &exclusive, event(IN | EPOLLEXCLUSIVE, 0)).unwrap();
    epoll(&instance).add(2, &watched, event(IN, 0)).unwrap();
    let files = [&plain, &exclusive, &watched, &other];
    assert_eq!(watchable(&instance, &files), Watchable { watchable: 0b101, watched: 0b100 });
    let version = epoll(&instance).version();
    epoll(&instance).modify(2, &watched, event(OUT, 0)).unwrap();
    assert_eq!(epoll(&instance).version(), version);
    // As long as another instance watches this one, its waiters see each change.
    epoll(&other).add(9, &instance, event(IN, 0)).unwrap();
    assert_eq!(watchable(&instance, &files), Watchable::default());
    assert_ne!(epoll(&instance).version(), version);
    let version = epoll(&instance).version();
    epoll(&other).remove(9, &instance).unwrap();
    epoll(&instance).remove(2, &watched).unwrap();
    assert_eq!(watchable(&instance, &files), Watchable { watchable: 0b101, watched: 0 });
    assert_ne!(epoll(&instance).version(), version);
}

#[test]
fn a_closed_file_is_forgotten() {
    let instance = Epoll::open();
    let (reader, writer) = Pipe::pair(0);
    epoll(&instance).add(5, &reader, event(IN, 0)).unwrap();
    epoll(&instance).add(6, &writer, event(OUT, 0)).unwrap();
    write(&writer, b"x").unwrap();
    drop(reader);
    assert_eq!(epoll(&instance).information().lines().count(), 1);
    // The reader is gone for the writer too: the instance does not keep it.
    assert_eq!(collect(epoll(&instance), 8).unwrap(), [event(OUT | PollEvents::ERR.bits(), 0)]);
}

#[test]
fn what_is_forgotten_does_not_stay_on_the_ready_list() {
    let instance = Epoll::open();
    let [other, file] = [(); 2].map(|()| EventFd::open(1, false, 0));
    epoll(&instance).add(6, &other, event(IN, 6)).unwrap();
    for _ in 0..10 * FORGOTTEN {
        epoll(&instance).add(5, &file, event(IN, 5)).unwrap();
        epoll(&instance).remove(5, &file).unwrap();
    }
    assert!(epoll(&instance).shared.ready.lock().list.len() <= FORGOTTEN + 2);
    epoll(&instance).add(5, &file, event(IN, 7)).unwrap();
    assert_eq!(collect(epoll(&instance), 8).unwrap(), [event(IN, 6), event(IN, 7)]);
}

/// A file that is always ready, and changes what an instance wants of it while that looks at it.
struct Changing {
    queue: WaitQueue,
    change: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl FileOps for Changing {
    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let change = self.change.lock().take();
        if let Some(change) = change {
            change();
        }
        PollEvents::IN | PollEvents::OUT
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn changing() -> (Arc<Changing>, Arc<OpenFile>) {
    let changing = Arc::new(Changing { queue: WaitQueue::new(), change: Mutex::default() });
    (changing.clone(), OpenFile::anonymous(changing, O_RDWR, ""))
}

#[test]
fn what_is_changed_while_it_is_collected_is_reported_as_it_is_wanted_then() {
    let instance = Epoll::open();
    let (changing, file) = changing();
    epoll(&instance).add(5, &file, event(IN | EPOLLONESHOT, 1)).unwrap();
    let (at, watched) = (instance.clone(), file.clone());
    let change = move || epoll(&at).modify(5, &watched, event(OUT | EPOLLONESHOT, 2)).unwrap();
    *changing.change.lock() = Some(Box::new(change));
    assert_eq!(collect(epoll(&instance), 8).unwrap(), [event(OUT, 2)]);
    assert_eq!(collect(epoll(&instance), 8), Err(Errno::EAGAIN));
    assert!(!changing.queue.has_waiters());
}

#[test]
fn what_is_removed_while_it_is_changed_is_watched_no_more() {
    let instance = Epoll::open();
    let (changing, file) = changing();
    epoll(&instance).add(5, &file, event(IN, 1)).unwrap();
    let (at, watched) = (instance.clone(), file.clone());
    *changing.change.lock() = Some(Box::new(move || epoll(&at).remove(5, &watched).unwrap()));
    epoll(&instance).modify(5, &file, event(IN, 2)).unwrap();
    assert!(!changing.queue.has_waiters());
    assert!(epoll(&instance).shared.ready.lock().members.is_empty());
    assert_eq!(collect(epoll(&instance), 8), Err(Errno::EAGAIN));
}

#[test]
fn a_closed_instance_leaves_no_trace_on_its_files() {
    let instance = Epoll::open();
    let file = EventFd::open(0, false, 0);
    epoll(&instance).add(5, &file, event(IN, 0)).unwrap();
    let shared = Arc::downgrade(&epoll(&instance).shared);
    drop(instance);
    assert!(shared.upgrade().is_none());
}

#[test]
fn instances_nest_without_circles_and_to_a_limit() {
    let chain: Vec<_> = (0..6).map(|_| Epoll::open()).collect();
    // Built from the top down, so that the limit has to look upwards.
    for pair in chain.windows(2).take(4) {
        epoll(&pair[0]).add(9, &pair[1], event(IN, 0)).unwrap();
    }
    assert_eq!(epoll(&chain[4]).add(9, &chain[5], event(IN, 0)), Err(Errno::ELOOP));
    assert_eq!(epoll(&chain[4]).add(9, &chain[0], event(IN, 0)), Err(Errno::ELOOP));
    assert_eq!(epoll(&chain[5]).add(9, &chain[5], event(IN, 0)), Err(Errno::ELOOP));
    let file = EventFd::open(0, false, 0);
    epoll(&chain[4]).add(5, &file, event(IN, 7)).unwrap();
    assert_eq!(collect(epoll(&chain[0]), 1), Err(Errno::EAGAIN));
    write(&file, &one()).unwrap();
    assert_eq!(collect(epoll(&chain[0]), 1).unwrap(), [event(IN, 0)]);
    assert_eq!(collect(epoll(&chain[4]), 1).unwrap(), [event(IN, 7)]);
    // What is removed may be added elsewhere.
    epoll(&chain[3]).remove(9, &chain[4]).unwrap();
    epoll(&chain[4]).add(9, &chain[5], event(IN, 0)).unwrap();
}

#[test]
fn ready_items_take_turns() {
    let instance = Epoll::open();
    let files: Vec<_> = (0..4).map(|_| EventFd::open(1, false, 0)).collect();
    for (number, file) in files.iter().enumerate() {
        epoll(&instance).add(number as i32, file, event(IN, number as u64)).unwrap();
    }
    let order: Vec<u64> = (0..8).map(|_| collect(epoll(&instance), 1).unwrap()[0].data).collect();
    assert_eq!(order, [0, 1, 2, 3, 0, 1, 2, 3]);
}

#[test]
fn no_event_is_lost_between_many_writers_and_readers() {
    const EACH: u64 = 2000;
    for flags in [IN, IN | EPOLLET] {
        let instance = Epoll::open();
        let files: Vec<_> = (0..4).map(|_| EventFd::open(0, false, 0)).collect();
        for (number, file) in files.iter().enumerate() {
            epoll(&instance).add(number as i32, file, event(flags, number as u64)).unwrap();
        }
        let writers: Vec<_> = files
            .iter()
            .cloned()
            .map(|file| {
                thread::spawn(move || {
                    (0..EACH).for_each(|_| {
                        let _ = write(&file, &one());
                    })
                })
            })
            .collect();
        let mut total = 0;
        while total < EACH * 4 {
            let events = block(&instance, PollEvents::IN, || collect(epoll(&instance), 2)).unwrap();
            for event in events {
                let data = event.data;
                if let Ok(bytes) = read(&files[data as usize], 8) {
                    total += u64::from_ne_bytes(bytes.try_into().unwrap());
                }
            }
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
}
