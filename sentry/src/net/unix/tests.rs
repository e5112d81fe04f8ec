use std::sync::atomic::Ordering;
use std::thread;

use usk_abi::socket::{SHUT_RD, SHUT_WR};

use super::*;
use crate::file::testing::{read, read_blocking, write, write_blocking};
use crate::net::budget::Budget;
use crate::{BytesSink, BytesSource};

const ME: UserCredentials = UserCredentials { pid: 7, uid: 1000, gid: 100 };
const THEM: UserCredentials = UserCredentials { pid: 8, uid: 1001, gid: 101 };

fn pair(kind: UnixKind) -> (Arc<OpenFile>, Arc<OpenFile>) {
    UnixSocket::pair(kind, &UnixNamespace::new(), 0, ME)
}

fn socket(file: &OpenFile) -> &UnixSocket {
    UnixSocket::of(file).unwrap()
}

fn send(file: &OpenFile, bytes: &[u8], rights: Vec<Arc<OpenFile>>) -> Result<usize, Errno> {
    let mut message = Outgoing { rights, credentials: ME, ..Outgoing::default() };
    socket(file).try_send(&mut BytesSource::new(bytes), &mut message)
}

fn send_to(file: &OpenFile, target: &OpenFile, bytes: &[u8]) -> Result<usize, Errno> {
    let destination = Some(Target::Unix(socket(target).destination()));
    let mut message = Outgoing { destination, credentials: ME, ..Outgoing::default() };
    socket(file).try_send(&mut BytesSource::new(bytes), &mut message)
}

fn receive(file: &OpenFile, limit: usize, flags: MessageFlags) -> Result<(Vec<u8>, Incoming), Errno> {
    let mut sink = BytesSink::new(limit);
    let incoming = socket(file).try_receive(&mut sink, flags)?;
    Ok((sink.bytes, incoming))
}

/// A listener with the given backlog, and its name space.
fn listener(backlog: u32) -> (Arc<UnixNamespace>, Arc<OpenFile>) {
    let namespace = UnixNamespace::new();
    let file = UnixSocket::open(UnixKind::Stream, &namespace, 0);
    socket(&file).bind_abstract(Some(b"server")).unwrap();
    socket(&file).listen(backlog, THEM).unwrap();
    (namespace, file)
}

fn connect(namespace: &Arc<UnixNamespace>) -> Result<Arc<OpenFile>, Errno> {
    let client = UnixSocket::open(UnixKind::Stream, namespace, 0);
    let destination = socket(&client).find_abstract(b"server")?;
    socket(&client).connect(&destination, ME)?;
    Ok(client)
}

#[test]
fn a_stream_is_bytes_without_boundaries() {
    let (a, b) = pair(UnixKind::Stream);
    write(&a, b"hello ").unwrap();
    write(&a, b"world").unwrap();
    assert_eq!(receive(&b, 3, MessageFlags::PEEK).unwrap().0, b"hel");
    assert_eq!(receive(&b, 100, MessageFlags::PEEK).unwrap().0, b"hello world");
    assert_eq!(read(&b, 8).unwrap(), b"hello wo");
    assert_eq!(read(&b, 8).unwrap(), b"rld");
    assert_eq!(read(&b, 8), Err(Errno::EAGAIN));
}

#[test]
fn sequenced_packets_keep_their_boundaries_and_lose_what_does_not_fit() {
    let (a, b) = pair(UnixKind::SequencedPacket);
    write(&a, b"first").unwrap();
    write(&a, b"").unwrap();
    write(&a, b"third").unwrap();
    let (bytes, incoming) = receive(&b, 2, MessageFlags::empty()).unwrap();
    assert_eq!((bytes.as_slice(), incoming.full_length), (&b"fi"[..], 5));
    assert_eq!(read(&b, 10).unwrap(), b"");
    assert_eq!(read(&b, 10).unwrap(), b"third");
    assert_eq!(write(&a, &vec![0; 1 << 20]), Err(Errno::EMSGSIZE));
}

#[test]
fn closing_is_end_of_file_then_a_broken_pipe_and_a_reset_if_data_was_unread() {
    let (a, b) = pair(UnixKind::Stream);
    write(&a, b"last").unwrap();
    drop(a);
    let events = b.ops.poll(&b);
    assert!(events.contains(PollEvents::IN | PollEvents::HUP | PollEvents::RDHUP | PollEvents::OUT));
    assert_eq!(read(&b, 10).unwrap(), b"last");
    assert_eq!(read(&b, 10).unwrap(), b"");
    assert_eq!(write(&b, b"x"), Err(Errno::EPIPE));
    let (a, b) = pair(UnixKind::Stream);
    write(&b, b"unread").unwrap();
    drop(a);
    assert_eq!(read(&b, 10), Err(Errno::ECONNRESET));
    assert_eq!(read(&b, 10).unwrap(), b"");
}

#[test]
fn shutdown_ends_one_direction() {
    let (a, b) = pair(UnixKind::Stream);
    write(&a, b"before").unwrap();
    socket(&a).shutdown(SHUT_WR).unwrap();
    assert_eq!(write(&a, b"x"), Err(Errno::EPIPE));
    assert_eq!(read(&b, 10).unwrap(), b"before");
    assert_eq!(read(&b, 10).unwrap(), b"");
    write(&b, b"still").unwrap();
    assert_eq!(read(&a, 10).unwrap(), b"still");
    socket(&a).shutdown(SHUT_RD).unwrap();
    assert_eq!(write(&b, b"x"), Err(Errno::EPIPE));
    assert_eq!(socket(&a).shutdown(3), Err(Errno::EINVAL));
}

#[test]
fn connections_are_queued_accepted_and_know_each_other() {
    let (namespace, server) = listener(5);
    let client = connect(&namespace).unwrap();
    write(&client, b"early").unwrap();
    assert_eq!(server.ops.poll(&server), PollEvents::IN | PollEvents::RDNORM);
    let (accepted, address) = socket(&server).accept(0).unwrap();
    assert_eq!(address, UnixAddress::Unnamed.encode());
    assert_eq!(read(&accepted, 10).unwrap(), b"early");
    write(&accepted, b"answer").unwrap();
    assert_eq!(read(&client, 10).unwrap(), b"answer");
    assert_eq!(socket(&client).peer_credentials(), THEM);
    assert_eq!(socket(&accepted).peer_credentials(), ME);
    let name = UnixAddress::Abstract(b"server".to_vec()).encode();
    assert_eq!(socket(&client).peer_address().unwrap(), name);
    assert_eq!(socket(&accepted).local_address().unwrap(), name);
    assert_eq!(socket(&server).accept(0).err(), Some(Errno::EAGAIN));
    // Closing an accepted socket does not take the listener's name away.
    drop(accepted);
    assert!(connect(&namespace).is_ok());
}

#[test]
fn the_backlog_is_a_limit_and_a_closed_listener_refuses() {
    let (namespace, server) = listener(0);
    let first = connect(&namespace).unwrap();
    assert_eq!(connect(&namespace).err(), Some(Errno::EAGAIN));
    write(&first, b"lost").unwrap();
    drop(server);
    assert_eq!(read(&first, 10), Err(Errno::ECONNRESET));
    assert_eq!(connect(&namespace).err(), Some(Errno::ECONNREFUSED));
}

#[test]
fn names_are_unique_while_their_socket_lives() {
    let namespace = UnixNamespace::new();
    let first = UnixSocket::open(UnixKind::Datagram, &namespace, 0);
    let second = UnixSocket::open(UnixKind::Datagram, &namespace, 0);
    socket(&first).bind_abstract(Some(b"name")).unwrap();
    assert_eq!(socket(&second).bind_abstract(Some(b"name")), Err(Errno::EADDRINUSE));
    assert_eq!(socket(&first).bind_abstract(Some(b"other")), Err(Errno::EINVAL));
    drop(first);
    assert_eq!(socket(&second).bind_abstract(Some(b"name")), Ok(()));
    let automatic = UnixSocket::open(UnixKind::Datagram, &namespace, 0);
    socket(&automatic).bind_abstract(None).unwrap();
    assert_eq!(socket(&automatic).local_address().unwrap().len(), 2 + 1 + 5);
}

#[test]
fn datagrams_go_to_addresses_and_say_where_they_come_from() {
    let namespace = UnixNamespace::new();
    let [a, b, c] = [(); 3].map(|()| UnixSocket::open(UnixKind::Datagram, &namespace, 0));
    socket(&a).bind_abstract(Some(b"a")).unwrap();
    assert_eq!(write(&a, b"x"), Err(Errno::ENOTCONN));
    assert_eq!(send_to(&a, &b, b"hello"), Ok(5));
    let (bytes, incoming) = receive(&b, 10, MessageFlags::empty()).unwrap();
    assert_eq!(bytes, b"hello");
    assert_eq!(incoming.source, Some(UnixAddress::Abstract(b"a".to_vec()).encode()));
    socket(&b).connect(&socket(&a).destination(), ME).unwrap();
    assert_eq!(send_to(&c, &b, b"x"), Err(Errno::EPERM));
    for _ in 0..10 {
        write(&b, b"x").unwrap();
    }
    assert_eq!(write(&b, b"x"), Err(Errno::EAGAIN));
    assert!(!b.ops.poll(&b).contains(PollEvents::OUT));
    read(&a, 1).unwrap();
    assert!(b.ops.poll(&b).contains(PollEvents::OUT));
    drop(a);
    assert_eq!(write(&b, b"x"), Err(Errno::ECONNREFUSED));
    assert_eq!(write(&b, b"x"), Err(Errno::ENOTCONN));
}

#[test]
fn open_files_travel_and_stop_a_streams_receive() {
    let (a, b) = pair(UnixKind::Stream);
    let (reader, writer) = crate::file::pipe::Pipe::pair(0);
    send(&a, b"one", Vec::new()).unwrap();
    send(&a, b"two", vec![writer]).unwrap();
    send(&a, b"three", Vec::new()).unwrap();
    let (bytes, mut incoming) = receive(&b, 100, MessageFlags::empty()).unwrap();
    assert_eq!(bytes, b"onetwo");
    let writer = incoming.rights.pop().unwrap();
    assert_eq!(read(&b, 100).unwrap(), b"three");
    write(&writer, b"through").unwrap();
    assert_eq!(read(&reader, 100).unwrap(), b"through");
    // In flight, an open file is open; lost on the way, it is closed.
    send(&a, b"x", vec![writer]).unwrap();
    assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
    drop((a, b));
    assert_eq!(read(&reader, 1).unwrap(), b"");
}

#[test]
fn a_long_chain_of_sockets_in_sockets_is_dropped_without_recursion() {
    let (mut carrier, mut inbox) = pair(UnixKind::Datagram);
    for _ in 0..10_000 {
        let (next_carrier, next_inbox) = pair(UnixKind::Datagram);
        send(&next_carrier, b"x", vec![carrier, inbox]).unwrap();
        (carrier, inbox) = (next_carrier, next_inbox);
    }
    drop((carrier, inbox));
}

#[test]
fn files_in_flight_are_bounded() {
    let namespace = UnixNamespace::new();
    let (a, b) = UnixSocket::pair(UnixKind::Stream, &namespace, 0, ME);
    let file = crate::file::eventfd::EventFd::open(0, false, 0);
    let mut sent = 0;
    while send(&a, b"x", vec![file.clone(); 200]).is_ok() {
        sent += 200;
    }
    assert!(sent <= 16_384);
    drop(b);
    assert_eq!(namespace.in_flight.load(Ordering::Relaxed), 0);
}

#[test]
fn credentials_come_along_where_they_are_wanted() {
    let (a, b) = pair(UnixKind::Stream);
    send(&a, b"x", Vec::new()).unwrap();
    assert_eq!(receive(&b, 1, MessageFlags::empty()).unwrap().1.credentials, None);
    socket(&b).options().lock().passes_credentials = true;
    send(&a, b"mine", Vec::new()).unwrap();
    let mut theirs = Outgoing { credentials: THEM, ..Outgoing::default() };
    socket(&a).try_send(&mut BytesSource::new(b"theirs"), &mut theirs).unwrap();
    let (bytes, incoming) = receive(&b, 100, MessageFlags::empty()).unwrap();
    assert_eq!((bytes.as_slice(), incoming.credentials), (&b"mine"[..], Some(ME)));
    assert_eq!(receive(&b, 100, MessageFlags::empty()).unwrap().1.credentials, Some(THEM));
}

#[test]
fn unconnected_streams_say_so() {
    let file = UnixSocket::open(UnixKind::Stream, &UnixNamespace::new(), 0);
    assert_eq!(write(&file, b"x"), Err(Errno::ENOTCONN));
    assert_eq!(read(&file, 1), Err(Errno::EINVAL));
    assert!(file.ops.poll(&file).contains(PollEvents::HUP | PollEvents::OUT));
    assert_eq!(socket(&file).listen(1, ME), Err(Errno::EINVAL));
    assert_eq!(socket(&file).accept(0).err(), Some(Errno::EINVAL));
}

#[test]
fn no_wake_up_is_lost_through_a_socket() {
    for kind in [UnixKind::Stream, UnixKind::SequencedPacket, UnixKind::Datagram] {
        let (a, b) = pair(kind);
        const COUNT: usize = 3000;
        let sender = thread::spawn(move || {
            for number in 0..COUNT {
                write_blocking(&a, &[number as u8; 1000]).unwrap();
            }
            a
        });
        let mut received = 0;
        while received < COUNT * 1000 {
            let bytes = read_blocking(&b, 700 + received % 500).unwrap();
            assert!(!bytes.is_empty());
            assert_eq!(bytes[0], if kind == UnixKind::Stream { (received / 1000) as u8 } else { bytes[0] });
            received += if kind == UnixKind::Stream { bytes.len() } else { 1000 };
        }
        drop(sender.join().unwrap());
    }
}

#[test]
fn sockets_together_hold_so_much_and_each_comes_on_all_the_same() {
    const MEMORY: usize = 1 << 20;
    const SOCKETS: usize = 100;
    for kind in [UnixKind::Stream, UnixKind::SequencedPacket, UnixKind::Datagram] {
        let memory = Arc::new(Budget::new(MEMORY));
        let namespace = UnixNamespace::within(&memory);
        let pairs: Vec<_> = (0..SOCKETS).map(|_| UnixSocket::pair(kind, &namespace, 0, ME)).collect();
        let message = [b'x'; 8000];
        for (a, b) in &pairs {
            while write(a, &message).is_ok() {}
            let (received, _) = receive(b, message.len(), MessageFlags::PEEK).unwrap();
            assert!(received.len() >= if kind == UnixKind::Stream { 3000 } else { message.len() });
        }
        assert!(memory.used() <= MEMORY + SOCKETS * (message.len() + MESSAGE_OVERHEAD));
        let has_room = |file: &Arc<OpenFile>| file.ops.poll(file).contains(PollEvents::OUT);
        assert!(!pairs.iter().any(|(a, _)| has_room(a)));
        for (a, b) in &pairs {
            while receive(b, message.len(), MessageFlags::empty()).is_ok() {}
            assert!(has_room(a));
        }
        drop(pairs);
        assert_eq!(memory.used(), 0);
    }
}
