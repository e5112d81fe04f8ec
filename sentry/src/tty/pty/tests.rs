use super::*;
use crate::file::testing::{read, read_blocking, write};
use crate::time::Timers;

fn pair() -> (Arc<OpenFile>, Arc<OpenFile>, Arc<Pty>) {
    let terminals = Terminals::new(&Arc::new(Timers::new()));
    let master = PtyMaster::create(&terminals, 0, 0).unwrap();
    let pty = master.pty().clone();
    assert_eq!(pty.open_slave().err(), Some(Errno::EIO));
    pty.state.lock().is_locked = false;
    let slave = OpenFile::anonymous(pty.open_slave().unwrap(), O_RDWR, "/dev/pts/0");
    (open_master(master), slave, pty)
}

fn set(pty: &Pty, change: impl FnOnce(&mut Termios)) {
    let mut settings = pty.get_settings().unwrap();
    change(&mut settings.settings);
    pty.change_settings(&settings, Effect::Now).unwrap();
}

fn make_raw(pty: &Pty, minimum: u8, time: u8) {
    set(pty, |settings| {
        settings.local = 0;
        settings.characters[character::VMIN] = minimum;
        settings.characters[character::VTIME] = time;
    });
}

#[test]
fn a_typed_line_is_echoed_and_read() {
    let (master, slave, _) = pair();
    write(&master, b"hel").unwrap();
    assert_eq!(read(&slave, 100), Err(Errno::EAGAIN));
    write(&master, b"lo\r").unwrap();
    assert_eq!(read(&slave, 3).unwrap(), b"hel");
    assert_eq!(read(&slave, 100).unwrap(), b"lo\n");
    assert_eq!(read(&master, 100).unwrap(), b"hello\r\n");
    write(&slave, b"a\nb").unwrap();
    assert_eq!(read(&master, 100).unwrap(), b"a\r\nb");
}

#[test]
fn closing_an_end_is_seen_at_the_other() {
    let (master, slave, pty) = pair();
    write(&slave, b"bye").unwrap();
    drop(slave);
    assert!(master.ops.poll(&master).contains(PollEvents::HUP | PollEvents::IN));
    assert_eq!(read(&master, 100).unwrap(), b"bye");
    assert_eq!(read(&master, 100), Err(Errno::EIO));
    let slave = OpenFile::anonymous(pty.open_slave().unwrap(), O_RDWR, "/dev/pts/0");
    assert_eq!(read(&master, 100), Err(Errno::EAGAIN));
    drop(master);
    assert_eq!(read(&slave, 100).unwrap(), b"");
    assert_eq!(write(&slave, b"x"), Err(Errno::EIO));
    assert_eq!(pty.open_slave().err(), Some(Errno::EIO));
    assert!(slave.ops.poll(&slave).contains(PollEvents::HUP | PollEvents::IN));
}

#[test]
fn raw_reads_wait_for_the_minimum_or_the_timer() {
    let (master, slave, pty) = pair();
    make_raw(&pty, 3, 0);
    write(&master, b"ab").unwrap();
    assert_eq!(read(&slave, 10), Err(Errno::EAGAIN));
    assert_eq!(slave.ops.poll(&slave) & PollEvents::IN, PollEvents::empty());
    assert_eq!(read(&slave, 2).unwrap(), b"ab");
    write(&master, b"abc").unwrap();
    assert_eq!(read(&slave, 10).unwrap(), b"abc");
    make_raw(&pty, 0, 0);
    assert_eq!(read(&slave, 10).unwrap(), b"");
    make_raw(&pty, 0, 1);
    assert_eq!(read_blocking(&slave, 10).unwrap(), b"");
    make_raw(&pty, 100, 1);
    write(&master, b"x").unwrap();
    assert_eq!(read_blocking(&slave, 10).unwrap(), b"x");
}

#[test]
fn packet_mode_tells_of_flushes_and_marks_data() {
    let (master, slave, pty) = pair();
    pty.state.lock().packet_status = Some(TIOCPKT_DATA);
    write(&slave, b"data").unwrap();
    assert_eq!(read(&master, 100).unwrap(), b"\0data");
    pty.flush(TCIOFLUSH).unwrap();
    assert!(master.ops.poll(&master).contains(PollEvents::PRI));
    assert_eq!(read(&master, 100).unwrap(), [TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE]);
    assert_eq!(read(&master, 100), Err(Errno::EAGAIN));
}

#[test]
fn output_that_nobody_takes_makes_the_writer_wait() {
    let (master, slave, _) = pair();
    let mut written = 0;
    loop {
        match write(&slave, &[b'x'; 4096]) {
            Ok(count) => written += count,
            Err(errno) => {
                assert_eq!(errno, Errno::EAGAIN);
                break;
            }
        }
    }
    assert_eq!(written, crate::tty::line_discipline::OUTPUT_SIZE);
    assert!(!slave.ops.poll(&slave).contains(PollEvents::OUT));
    assert_eq!(read(&master, 100_000).unwrap().len(), written);
    assert!(slave.ops.poll(&slave).contains(PollEvents::OUT));
}

#[test]
fn numbers_are_reused() {
    let terminals = Terminals::new(&Arc::new(Timers::new()));
    let first = PtyMaster::create(&terminals, 0, 0).unwrap();
    let second = PtyMaster::create(&terminals, 0, 0).unwrap();
    assert_eq!((first.pty().number(), second.pty().number()), (0, 1));
    drop(first);
    assert_eq!(PtyMaster::create(&terminals, 0, 0).unwrap().pty().number(), 0);
    assert_eq!(terminals.numbers().len(), 1);
    assert!(terminals.numbered(7).is_err());
}
