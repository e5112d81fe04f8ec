use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use usk_platform::Bell;

use super::*;
use crate::file::testing::{read, read_blocking, write, write_blocking};
use crate::wait::testing::{Registration, TestBell};

fn fifo(access: u32) -> (Arc<Pipe>, Arc<OpenFile>) {
    let pipe = Pipe::new();
    let file = open(&pipe, access).unwrap();
    (pipe, file)
}

fn open(pipe: &Arc<Pipe>, flags: u32) -> Result<Arc<OpenFile>, Errno> {
    let (end, _) = pipe.begin_open(flags)?;
    Ok(OpenFile::anonymous(end, flags, "fifo"))
}

#[test]
fn bytes_come_out_in_order() {
    let (reader, writer) = Pipe::pair(0);
    assert_eq!(write(&writer, b"hello "), Ok(6));
    assert_eq!(write(&writer, b"world"), Ok(5));
    assert_eq!(read(&reader, 8).unwrap(), b"hello wo");
    assert_eq!(read(&reader, 8).unwrap(), b"rld");
    assert_eq!(read(&reader, 8), Err(Errno::EAGAIN));
    assert_eq!(read(&reader, 0).unwrap(), b"");
}

#[test]
fn the_last_writer_is_end_of_file_and_the_last_reader_a_broken_pipe() {
    let (reader, writer) = Pipe::pair(0);
    write(&writer, b"x").unwrap();
    drop(writer);
    assert_eq!(reader.ops.poll(&reader), READABLE | PollEvents::HUP);
    assert_eq!(read(&reader, 8).unwrap(), b"x");
    assert_eq!(read(&reader, 8).unwrap(), b"");
    let (reader, writer) = Pipe::pair(0);
    drop(reader);
    assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE));
    assert_eq!(write(&writer, b""), Ok(0));
    assert_eq!(writer.ops.poll(&writer), WRITABLE | PollEvents::ERR);
}

#[test]
fn ends_refuse_the_wrong_direction() {
    let (reader, writer) = Pipe::pair(0);
    assert_eq!(write(&reader, b"x"), Err(Errno::EBADF));
    assert_eq!(read(&writer, 1), Err(Errno::EBADF));
}

#[test]
fn a_full_pipe_takes_small_writes_whole_or_not_at_all() {
    let (reader, writer) = Pipe::pair(0);
    assert_eq!(write(&writer, &vec![0; 100_000]), Ok(DEFAULT_CAPACITY));
    assert_eq!(write(&writer, b"x"), Err(Errno::EAGAIN));
    read(&reader, 10).unwrap();
    assert_eq!(write(&writer, &[0; 11]), Err(Errno::EAGAIN));
    assert_eq!(write(&writer, &[0; 10]), Ok(10));
    read(&reader, 4095).unwrap();
    assert_eq!(writer.ops.poll(&writer), PollEvents::empty());
    read(&reader, 1).unwrap();
    assert_eq!(writer.ops.poll(&writer), WRITABLE);
    assert_eq!(write(&writer, &[0; 5000]), Ok(4096));
}

#[test]
fn packets_are_read_one_at_a_time_and_their_rest_is_lost() {
    let (reader, writer) = Pipe::pair(O_DIRECT);
    write(&writer, b"first").unwrap();
    write(&writer, b"second").unwrap();
    assert_eq!(read(&reader, 3).unwrap(), b"fir");
    assert_eq!(read(&reader, 100).unwrap(), b"second");
    assert_eq!(write(&writer, &[1; PIPE_BUF + 1]), Ok(PIPE_BUF + 1));
    assert_eq!(read(&reader, 9000).unwrap().len(), PIPE_BUF);
    assert_eq!(read(&reader, 9000).unwrap().len(), 1);
    for _ in 0..DEFAULT_CAPACITY / PIPE_BUF {
        assert_eq!(write(&writer, b"p"), Ok(1));
    }
    assert_eq!(write(&writer, b"p"), Err(Errno::EAGAIN));
}

#[test]
fn the_capacity_is_rounded_and_bounded() {
    let (reader, writer) = Pipe::pair(0);
    let end = PipeEnd::of(&writer).unwrap();
    assert_eq!(end.capacity(), DEFAULT_CAPACITY);
    assert_eq!(end.set_capacity(1), Ok(4096));
    assert_eq!(end.set_capacity(5000), Ok(8192));
    assert_eq!(end.set_capacity(MAX_CAPACITY + 1), Err(Errno::EPERM));
    write(&writer, &[0; 8192]).unwrap();
    assert_eq!(end.set_capacity(4096), Err(Errno::EBUSY));
    assert_eq!(end.set_capacity(MAX_CAPACITY), Ok(MAX_CAPACITY));
    assert_eq!(write(&writer, &vec![0; MAX_CAPACITY]), Ok(MAX_CAPACITY - 8192));
    drop(reader);
}

#[test]
fn a_fifo_opens_as_fifo_7_says() {
    let pipe = Pipe::new();
    assert_eq!(open(&pipe, O_WRONLY | O_NONBLOCK).err(), Some(Errno::ENXIO));
    let (reader, waits) = pipe.begin_open(O_RDONLY).unwrap();
    let waits = waits.expect("a reader waits for a writer");
    assert_eq!(waits.partner_has_come(&pipe), Err(Errno::EAGAIN));
    let (writer, ready) = pipe.begin_open(O_WRONLY).unwrap();
    assert!(ready.is_none());
    assert_eq!(waits.partner_has_come(&pipe), Ok(()));
    // A writer that has come and gone counts too.
    drop(writer);
    assert_eq!(waits.partner_has_come(&pipe), Ok(()));
    drop(reader);
    assert!(pipe.begin_open(O_RDWR).unwrap().1.is_none());
    assert!(pipe.begin_open(O_RDONLY | O_NONBLOCK).unwrap().1.is_none());
}

#[test]
fn a_fifo_hangs_up_only_after_a_writer_was_there() {
    let (pipe, reader) = fifo(O_RDONLY | O_NONBLOCK);
    assert_eq!(reader.ops.poll(&reader), PollEvents::empty());
    assert_eq!(read(&reader, 1).unwrap(), b"");
    let writer = open(&pipe, O_WRONLY).unwrap();
    assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
    write(&writer, b"left over").unwrap();
    drop(writer);
    assert_eq!(reader.ops.poll(&reader), READABLE | PollEvents::HUP);
    drop(reader);
    let reader = open(&pipe, O_RDONLY | O_NONBLOCK).unwrap();
    assert_eq!(reader.ops.poll(&reader), PollEvents::empty());
    assert_eq!(read(&reader, 1).unwrap(), b"");
}

#[test]
fn no_wake_up_is_lost_in_ten_megabytes() {
    let (reader, writer) = Pipe::pair(0);
    const TOTAL: usize = 10 << 20;
    let sender = thread::spawn(move || {
        let mut sent = 0usize;
        let mut size = 1;
        while sent < TOTAL {
            let chunk: Vec<u8> = (sent..(sent + size).min(TOTAL)).map(|at| (at % 251) as u8).collect();
            write_blocking(&writer, &chunk).unwrap();
            sent += chunk.len();
            size = (size * 7 + 3) % 100_000 + 1;
        }
    });
    let mut received = 0;
    let mut size = 5;
    loop {
        let chunk = read_blocking(&reader, size).unwrap();
        if chunk.is_empty() {
            break;
        }
        for byte in chunk {
            assert_eq!(byte, (received % 251) as u8);
            received += 1;
        }
        size = (size * 11 + 7) % 70_000 + 1;
    }
    assert_eq!(received, TOTAL);
    sender.join().unwrap();
}

#[test]
fn writes_of_up_to_pipe_buf_are_not_torn() {
    let (reader, writer) = Pipe::pair(0);
    PipeEnd::of(&writer).unwrap().set_capacity(PIPE_BUF).unwrap();
    let writers: Vec<_> = (0..4u8)
        .map(|name| {
            let writer = writer.clone();
            thread::spawn(move || (0..200).for_each(|_| write_blocking(&writer, &[name; 1000]).unwrap()))
        })
        .collect();
    drop(writer);
    let mut all = Vec::new();
    loop {
        match read_blocking(&reader, 777).unwrap() {
            chunk if chunk.is_empty() => break,
            chunk => all.extend(chunk),
        }
    }
    assert_eq!(all.len(), 4 * 200 * 1000);
    assert!(all.chunks(1000).all(|record| record.iter().all(|byte| *byte == record[0])));
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

/// What a guest thread has left, or says that it has.
#[derive(Default)]
struct Left {
    bytes: Vec<u8>,
    filled: AtomicU64,
    is_closed: AtomicBool,
    rings: AtomicBool,
    bell: Option<Arc<dyn Bell>>,
}

impl Inlet for Left {
    fn filled(&self) -> u64 {
        self.filled.load(Ordering::SeqCst)
    }

    fn read(&self, start: u64, buffer: &mut [u8]) -> usize {
        let rest = self.bytes.get(start as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    fn bell(&self) -> Option<&Arc<dyn Bell>> {
        self.bell.as_ref()
    }

    fn set_listener(&self, listens: bool) {
        assert!(!self.is_closed.load(Ordering::SeqCst), "it is closed for good");
        self.rings.store(listens, Ordering::SeqCst);
    }
}

/// A pipe with an inlet in which `bytes` will be left.
fn with_inlet(bytes: &[u8]) -> (Arc<OpenFile>, Arc<OpenFile>, Arc<Left>) {
    let (reader, writer) = Pipe::pair(0);
    let left = Arc::new(Left { bytes: bytes.to_vec(), ..Left::default() });
    let inlet = Arc::clone(&left);
    assert!(pipe_of(&writer).open_inlet(|room| (room == DEFAULT_CAPACITY as u64).then_some(inlet as _)));
    (reader, writer, left)
}

fn pipe_of(file: &OpenFile) -> &Arc<Pipe> {
    PipeEnd::of(file).unwrap().pipe()
}

fn leave(left: &Left, count: u64) {
    left.filled.store(count, Ordering::SeqCst);
}

#[test]
fn what_is_left_is_read_after_what_was_written() {
    let (reader, writer, left) = with_inlet(b"hello, world");
    assert_eq!(read(&reader, 9), Err(Errno::EAGAIN));
    leave(&left, 5);
    assert_eq!(reader.ops.poll(&reader), READABLE);
    assert_eq!(read(&reader, 3).unwrap(), b"hel");
    leave(&left, 12);
    assert_eq!(read(&reader, 100).unwrap(), b"lo, world");
    assert_eq!(read(&reader, 100), Err(Errno::EAGAIN));
    assert!(!left.is_closed.load(Ordering::SeqCst));
    pipe_of(&writer).close_inlet();
    assert!(left.is_closed.load(Ordering::SeqCst));
    write(&writer, b"!").unwrap();
    assert_eq!(read(&reader, 100).unwrap(), b"!");
}

#[test]
fn what_is_left_last_is_read_after_the_inlet_and_the_writer_are_gone() {
    let (reader, writer, left) = with_inlet(b"hello");
    leave(&left, 5);
    pipe_of(&writer).close_inlet();
    drop(writer);
    assert_eq!(read(&reader, 100).unwrap(), b"hello");
    assert_eq!(read(&reader, 100).unwrap(), b"");
}

#[test]
fn who_waits_has_the_writer_call() {
    let (reader, writer, left) = with_inlet(b"x");
    let queue = reader.ops.wait_queue().unwrap();
    let token = queue.add(crate::wait::Waiter::new(), 0, PollEvents::IN);
    assert!(!left.is_closed.load(Ordering::SeqCst));
    assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
    assert!(left.is_closed.load(Ordering::SeqCst));
    pipe_of(&writer).close_inlet();
    assert!(!pipe_of(&writer).open_inlet(|_| unreachable!("while somebody waits")));
    queue.remove(token);
    assert!(pipe_of(&writer).open_inlet(|_| Some(Arc::<Left>::default())));
}

#[test]
fn who_has_been_woken_and_not_run_yet_lets_the_writer_go_on() {
    let (reader, writer) = Pipe::pair(0);
    let queue = reader.ops.wait_queue().unwrap();
    let token = queue.add_sleeper(crate::wait::Waiter::new(), PollEvents::IN);
    assert!(!pipe_of(&writer).open_inlet(|_| unreachable!("while somebody waits")));
    write(&writer, b"woken").unwrap();
    let left = Arc::new(Left { bytes: b" and more".to_vec(), ..Left::default() });
    let inlet = Arc::clone(&left);
    assert!(pipe_of(&writer).open_inlet(|_| Some(inlet as _)));
    leave(&left, 9);
    queue.remove(token);
    assert_eq!(read(&reader, 100).unwrap(), b"woken and more");
    assert!(!left.is_closed.load(Ordering::SeqCst));
}

/// A pipe whose writer has a bell, and somebody who waits to read.
fn with_listener() -> (Arc<OpenFile>, Arc<OpenFile>, Arc<Left>, Registration) {
    let (reader, writer) = Pipe::pair(0);
    let left = Arc::new(Left { bytes: b"hello".to_vec(), bell: Some(TestBell::new()), ..Left::default() });
    assert!(pipe_of(&writer).open_inlet(|_| Some(Arc::<Left>::clone(&left) as _)));
    let listener = Registration::new(&reader, PollEvents::IN);
    (reader, writer, left, listener)
}

#[test]
fn a_listener_has_the_writer_ring_as_long_as_it_waits() {
    let (reader, writer, left, listener) = with_listener();
    assert!(!left.rings.load(Ordering::SeqCst));
    assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
    assert!(left.rings.load(Ordering::SeqCst));
    // It has slept over the writer's call.
    pipe_of(&writer).close_inlet();
    let left = Arc::new(Left { bell: left.bell.clone(), bytes: b"hello".to_vec(), ..Left::default() });
    assert!(pipe_of(&writer).open_inlet(|_| Some(Arc::<Left>::clone(&left) as _)));
    assert!(left.rings.load(Ordering::SeqCst));
    leave(&left, 5);
    drop(listener);
    assert_eq!(read(&reader, 9).unwrap(), b"hello");
    assert!(!left.rings.load(Ordering::SeqCst) && !left.is_closed.load(Ordering::SeqCst));
}

#[test]
fn who_waits_beside_a_listener_or_for_another_bell_has_the_writer_call() {
    let (reader, writer, left, listener) = with_listener();
    let other = Registration::new(&writer, PollEvents::IN);
    assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
    assert!(left.is_closed.load(Ordering::SeqCst));
    pipe_of(&writer).close_inlet();
    assert!(!pipe_of(&writer).open_inlet(|_| unreachable!("while two wait")));
    drop(other);
    let another = Arc::new(Left { bell: Some(TestBell::new()), ..Left::default() });
    assert!(pipe_of(&writer).open_inlet(|_| Some(Arc::<Left>::clone(&another) as _)));
    assert!(another.is_closed.load(Ordering::SeqCst));
    drop(listener);
}

#[test]
fn who_waits_for_room_is_no_listener() {
    let (_reader, writer, left, listener) = with_listener();
    drop(listener);
    let sender = Registration::new(&writer, PollEvents::OUT);
    assert_eq!(writer.ops.poll(&writer), WRITABLE);
    assert!(left.is_closed.load(Ordering::SeqCst));
    drop(sender);
}

#[test]
fn a_listener_that_was_not_rung_for_is_told_when_the_inlet_closes() {
    let (reader, writer, left, listener) = with_listener();
    assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
    leave(&left, 5);
    pipe_of(&writer).close_inlet();
    assert!(!pipe_of(&writer).queue.has_waiters());
    drop(listener);
    assert_eq!(read(&reader, 9).unwrap(), b"hello");
}

#[test]
fn the_last_reader_has_the_writer_call() {
    let (reader, writer, left) = with_inlet(b"x");
    drop(reader);
    assert!(left.is_closed.load(Ordering::SeqCst));
    pipe_of(&writer).close_inlet();
    assert!(!pipe_of(&writer).open_inlet(|_| unreachable!("without a reader")));
    assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE));
}

#[test]
fn a_pipe_that_is_full_has_no_inlet() {
    let (_reader, writer) = Pipe::pair(0);
    write(&writer, &vec![0; DEFAULT_CAPACITY - PIPE_BUF + 1]).unwrap();
    assert!(!pipe_of(&writer).open_inlet(|_| unreachable!("without room for a page")));
}

#[test]
fn what_is_forged_about_an_inlet_is_no_more_than_there_was_room_for() {
    let (reader, writer, left) = with_inlet(&vec![b'x'; 2 * DEFAULT_CAPACITY]);
    for (forged, found) in [(3, Ok(3)), (2, Err(Errno::EAGAIN)), (u64::MAX, Ok(DEFAULT_CAPACITY - 3))] {
        leave(&left, forged);
        assert_eq!(read(&reader, 1 << 20).map(|bytes| bytes.len()), found);
    }
    leave(&left, 0);
    pipe_of(&writer).close_inlet();
    assert_eq!(read(&reader, 1 << 20), Err(Errno::EAGAIN));
    // More is said to be there than can be read.
    let (reader, _writer, left) = with_inlet(b"short");
    leave(&left, 1000);
    assert_eq!(read(&reader, 1 << 20).unwrap(), b"short");
    assert_eq!(read(&reader, 1 << 20), Err(Errno::EAGAIN));
}
