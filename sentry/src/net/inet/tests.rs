use std::net::SocketAddr;

use usk_abi::socket::{SHUT_RD, SHUT_WR};

use super::*;
use crate::file::testing::{read, read_blocking, write, write_blocking};
use crate::net::budget::Budget;

fn address(text: &str) -> Vec<u8> {
    let address: SocketAddr = text.parse().unwrap();
    address::encode(address, if address.is_ipv4() { AF_INET } else { AF_INET6 })
}

fn open(namespace: &Arc<InetNamespace>, family: u16, kind: u32) -> Arc<OpenFile> {
    InetSocket::open(namespace, family, kind, 0, 0, 0).unwrap()
}

fn socket(file: &OpenFile) -> &InetSocket {
    InetSocket::of(file).unwrap()
}

fn listener(namespace: &Arc<InetNamespace>, backlog: u32) -> Arc<OpenFile> {
    let file = open(namespace, AF_INET, SOCK_STREAM);
    socket(&file).bind(&address("127.0.0.1:0"), false).unwrap();
    socket(&file).listen(backlog, UserCredentials::default()).unwrap();
    file
}

/// Two ends of a connection.
fn pair() -> (Arc<OpenFile>, Arc<OpenFile>) {
    let namespace = InetNamespace::new();
    let server = listener(&namespace, 1);
    let client = open(&namespace, AF_INET, SOCK_STREAM);
    socket(&client).connect(&socket(&server).local_address().unwrap(), true).unwrap();
    let accepted = socket(&server).accept(0).unwrap().0;
    (client, accepted)
}

#[test]
fn only_the_loopback_is_there() {
    let namespace = InetNamespace::new();
    let file = open(&namespace, AF_INET, SOCK_STREAM);
    let socket = socket(&file);
    assert_eq!(socket.connect(&address("10.0.0.1:80"), true), Err(Errno::ENETUNREACH));
    assert_eq!(socket.connect(&address("127.0.0.1:80"), true), Err(Errno::ECONNREFUSED));
    assert_eq!(socket.connect(&[2], true), Err(Errno::EINVAL));
    assert_eq!(socket.bind(&address("10.0.0.1:0"), true), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(socket.bind(&address("0.0.0.0:80"), false), Err(Errno::EACCES));
    assert_eq!(socket.bind(&address("0.0.0.0:80"), true), Ok(()));
    let open = |kind, protocol| InetSocket::open(&namespace, AF_INET, kind, protocol, 0, 0).err();
    assert_eq!(open(SOCK_RAW, 1), Some(Errno::EPERM));
    assert_eq!(open(SOCK_STREAM, 17), Some(Errno::EPROTONOSUPPORT));
}

#[test]
fn sockets_ports_and_connections_leave_nothing_behind() {
    let namespace = InetNamespace::new();
    let server = listener(&namespace, 8);
    let clients: Vec<_> = (0..5).map(|_| open(&namespace, AF_INET, SOCK_STREAM)).collect();
    for client in &clients {
        socket(client).connect(&socket(&server).local_address().unwrap(), true).unwrap();
        write(client, b"unread").unwrap();
    }
    let accepted = socket(&server).accept(0).unwrap().0;
    drop((server, accepted, clients));
    assert_eq!(namespace.sockets.lock().len(), 0);
    assert!(namespace.tcp.is_unused());
}

#[test]
fn a_connection_waits_for_room_in_the_backlog_and_is_let_in() {
    let namespace = InetNamespace::new();
    let server = listener(&namespace, 0);
    let to = socket(&server).local_address().unwrap();
    let [first, second] = [(); 2].map(|()| open(&namespace, AF_INET, SOCK_STREAM));
    assert_eq!(socket(&first).connect(&to, true), Ok(()));
    assert_eq!(socket(&second).connect(&to, false), Err(Errno::EINPROGRESS));
    assert_eq!(socket(&second).connect(&to, false), Err(Errno::EALREADY));
    assert_eq!(second.ops.poll(&second), PollEvents::empty());
    socket(&server).accept(0).unwrap();
    assert!(second.ops.poll(&second).contains(PollEvents::OUT));
    assert_eq!(socket(&second).connect(&to, false), Ok(()));
    assert_eq!(socket(&second).connect(&to, false), Err(Errno::EISCONN));
    let third = open(&namespace, AF_INET, SOCK_STREAM);
    assert_eq!(socket(&third).connect(&to, true), Err(Errno::EAGAIN));
    drop(server);
    assert_eq!(socket(&third).connect(&to, true), Err(Errno::ECONNREFUSED));
    assert_eq!(read(&second, 1), Err(Errno::ECONNRESET));
}

#[test]
fn many_small_writes_cost_what_their_bytes_cost() {
    let (client, server) = pair();
    for _ in 0..100_000 {
        write(&client, b"x").unwrap();
    }
    let mut received = 0;
    while let Ok(bytes) = read(&server, 1000) {
        received += bytes.len();
    }
    assert_eq!(received, 100_000);
}

#[test]
fn a_stream_that_nobody_reads_is_bounded() {
    let (client, _server) = pair();
    let mut sent = 0;
    while let Ok(count) = write(&client, &[0; 4096]) {
        sent += count;
    }
    assert!((400_000..600_000).contains(&sent), "{sent}");
    assert!(!client.ops.poll(&client).contains(PollEvents::OUT));
}

#[test]
fn each_direction_ends_by_itself() {
    let (client, server) = pair();
    write(&client, b"last").unwrap();
    socket(&client).shutdown(SHUT_WR).unwrap();
    assert_eq!(write(&client, b"x"), Err(Errno::EPIPE));
    assert_eq!(read(&server, 10).unwrap(), b"last");
    assert_eq!(read(&server, 10).unwrap(), b"");
    socket(&client).shutdown(SHUT_RD).unwrap();
    write(&server, b"late").unwrap();
    assert_eq!(read(&client, 10).unwrap(), b"late");
    drop(server);
    assert_eq!(socket(&client).shutdown(SHUT_WR), Err(Errno::ENOTCONN));
}

#[test]
fn connections_that_race_with_their_listeners_end_are_told() {
    for _ in 0..500 {
        let namespace = InetNamespace::new();
        let server = listener(&namespace, 1);
        let to = socket(&server).local_address().unwrap();
        let client = open(&namespace, AF_INET, SOCK_STREAM);
        let closer = std::thread::spawn(move || drop(server));
        match socket(&client).connect(&to, true) {
            Ok(()) => assert_eq!(read_blocking(&client, 1), Err(Errno::ECONNRESET)),
            refused => assert_eq!(refused, Err(Errno::ECONNREFUSED)),
        }
        closer.join().unwrap();
    }
}

#[test]
fn no_wake_up_is_lost_through_a_connection() {
    const COUNT: usize = 3000;
    let (client, server) = pair();
    let sender = std::thread::spawn(move || {
        for number in 0..COUNT {
            write_blocking(&client, &[number as u8; 1000]).unwrap();
        }
        client
    });
    let mut received = 0;
    while received < COUNT * 1000 {
        let bytes = read_blocking(&server, 700 + received % 500).unwrap();
        assert_eq!(bytes.first(), Some(&((received / 1000) as u8)));
        received += bytes.len();
    }
    drop(sender.join().unwrap());
    assert_eq!(read_blocking(&server, 1).unwrap(), b"");
}

/// A namespace whose sockets hold so many bytes together.
fn namespace_of(memory: usize) -> Arc<InetNamespace> {
    Arc::new(InetNamespace { memory: Arc::new(Budget::new(memory)), ..InetNamespace::default() })
}

/// Sends until there is no room; returns how much.
fn fill(file: &Arc<OpenFile>) -> usize {
    std::iter::repeat_with(|| write(file, &[7; 10_000])).map_while(Result::ok).sum()
}

#[test]
fn connections_that_nobody_accepts_hold_no_more_than_all_sockets_may() {
    const MEMORY: usize = 1 << 20;
    let namespace = namespace_of(MEMORY);
    let server = listener(&namespace, 100);
    let clients: Vec<_> = (0..100).map(|_| open(&namespace, AF_INET, SOCK_STREAM)).collect();
    let connect = |client| socket(client).connect(&socket(&server).local_address().unwrap(), true);
    assert!(clients.iter().all(|client| connect(client).is_ok()));
    let sent: Vec<usize> = clients.iter().map(fill).collect();
    // Each has the little that keeps it alive, and all together no more than that besides.
    assert!(sent.iter().all(|&count| count > 2000));
    assert!(namespace.memory.used() <= MEMORY + 100 * 4096 + 10_000);
    // What has been read makes room, for the one that has been waiting for it too.
    let poor = clients.last().unwrap();
    assert!(!poor.ops.poll(poor).contains(PollEvents::OUT));
    let accepted: Vec<_> = clients.iter().map(|_| socket(&server).accept(0).unwrap().0).collect();
    while read(accepted.last().unwrap(), 65536).is_ok_and(|bytes| !bytes.is_empty()) {}
    assert!(poor.ops.poll(poor).contains(PollEvents::OUT));
    drop((clients, accepted));
    assert_eq!(namespace.memory.used(), 0);
}

#[test]
fn datagrams_are_lost_where_all_sockets_hold_enough() {
    let namespace = namespace_of(50_000);
    let receivers: Vec<_> = (0..4).map(|_| open(&namespace, AF_INET, SOCK_DGRAM)).collect();
    for receiver in &receivers {
        socket(receiver).bind(&address("127.0.0.1:0"), false).unwrap();
        let sender = open(&namespace, AF_INET, SOCK_DGRAM);
        socket(&sender).connect(&socket(receiver).local_address().unwrap(), true).unwrap();
        (0..4).for_each(|_| assert_eq!(write(&sender, &[7; 8000]), Ok(8000)));
    }
    let queued = receivers.iter().map(|receiver| socket(receiver).core.endpoint.inbox.bytes());
    assert_eq!(queued.collect::<Vec<_>>(), [32_000, 8000, 0, 0]);
}
