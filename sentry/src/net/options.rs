//! The options that are the same for every socket: level `SOL_SOCKET`. socket(7).

use std::time::Duration;

use usk_abi::Errno;
use usk_abi::socket::*;
use usk_abi::time::Timeval;
use zerocopy::{FromBytes, IntoBytes};

/// `/proc/sys/net/core/{r,w}mem_default`, and the most that may be asked for.
pub const DEFAULT_BUFFER: u32 = 212_992;
/// Smallest send buffer (`SOCK_MIN_SNDBUF`).
const SMALLEST_SEND_BUFFER: u32 = 4608;
/// Smallest receive buffer (`SOCK_MIN_RCVBUF`).
const SMALLEST_RECEIVE_BUFFER: u32 = 2304;

/// A TCP socket's buffers before it is connected.
const TCP_SEND_BUFFER: u32 = 16_384;
const TCP_RECEIVE_BUFFER: u32 = 131_072;

/// Options that programs set and get back, and those that change what the socket does.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// `SO_SNDBUF`, as the kernel keeps it: twice what was asked for.
    pub send_buffer: u32,
    /// `SO_RCVBUF`, likewise.
    pub receive_buffer: u32,
    /// `SO_RCVTIMEO`; `None` is for ever.
    pub receive_timeout: Option<Duration>,
    /// `SO_SNDTIMEO`; `None` is for ever.
    pub send_timeout: Option<Duration>,
    /// `SO_PASSCRED`.
    pub passes_credentials: bool,
    /// The program has not set `SO_SNDBUF`, so that it may grow.
    send_buffer_grows: bool,
    linger: Linger,
    receive_low_water: i32,
    /// On or off, or a small number, with no effect on most sockets.
    inert: Vec<(i32, i32)>,
}

/// Options that take an `int` and change nothing here. The second value is true for those that are on or off.
const INERT: &[(i32, bool)] = &[
    (SO_DEBUG, true),
    (SO_REUSEADDR, true),
    (SO_DONTROUTE, true),
    (SO_BROADCAST, true),
    (SO_KEEPALIVE, true),
    (SO_OOBINLINE, true),
    (SO_PRIORITY, false),
    (SO_REUSEPORT, true),
    (SO_TIMESTAMP, true),
    (SO_TIMESTAMPNS, true),
    (SO_MARK, false),
];

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            send_buffer: DEFAULT_BUFFER,
            receive_buffer: DEFAULT_BUFFER,
            receive_timeout: None,
            send_timeout: None,
            passes_credentials: false,
            send_buffer_grows: false,
            linger: Linger::default(),
            receive_low_water: 1,
            inert: Vec::new(),
        }
    }
}

fn int(value: &[u8]) -> Result<i32, Errno> {
    i32::read_from_prefix(value).map(|(value, _)| value).map_err(|_| Errno::EINVAL)
}

fn timeout(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let (time, _) = Timeval::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    if !(0..1_000_000).contains(&time.microseconds) {
        return Err(Errno::EDOM);
    }
    // A negative time is "at once" on Linux; zero is for ever.
    let Ok(seconds) = u64::try_from(time.seconds) else { return Ok(Some(Duration::ZERO)) };
    let time = Duration::new(seconds, time.microseconds as u32 * 1000);
    Ok(if time.is_zero() { None } else { Some(time) })
}

fn timeout_value(timeout: Option<Duration>) -> Vec<u8> {
    let nanoseconds = timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    Timeval::from_nanoseconds(nanoseconds).as_bytes().to_vec()
}

impl SocketOptions {
    /// What a TCP socket has at first (`/proc/sys/net/ipv4/tcp_{r,w}mem`).
    pub fn tcp() -> Self {
        SocketOptions {
            send_buffer: TCP_SEND_BUFFER,
            receive_buffer: TCP_RECEIVE_BUFFER,
            send_buffer_grows: true,
            ..SocketOptions::default()
        }
    }

    /// A connection has come to be: unless the program has set its send buffer, that becomes the largest one that it
    /// could ask for. Linux goes on to several megabytes, which would be the sentry's memory here.
    pub fn grow_send_buffer(&mut self) {
        if std::mem::take(&mut self.send_buffer_grows) {
            self.send_buffer = 2 * DEFAULT_BUFFER;
        }
    }

    /// True if `option`, which is on or off and kept here, is on.
    pub fn is_on(&self, option: i32) -> bool {
        self.inert.iter().any(|(known, value)| *known == option && *value != 0)
    }

    /// True if a connection is to be reset by close (`SO_LINGER` with no time).
    pub fn lingers_not_at_all(&self) -> bool {
        self.linger.is_on != 0 && self.linger.seconds == 0
    }

    /// `setsockopt(2)`. `ENOPROTOOPT` for an option that is not known or cannot be set, `EINVAL` for a value that is too
    /// short.
    pub fn set(&mut self, option: i32, value: &[u8]) -> Result<(), Errno> {
        match option {
            SO_SNDBUF | SO_SNDBUFFORCE => {
                let asked = (int(value)?.max(0) as u32).min(DEFAULT_BUFFER);
                self.send_buffer = (asked * 2).max(SMALLEST_SEND_BUFFER);
                self.send_buffer_grows = false;
            }
            SO_RCVBUF | SO_RCVBUFFORCE => {
                let asked = (int(value)?.max(0) as u32).min(DEFAULT_BUFFER);
                self.receive_buffer = (asked * 2).max(SMALLEST_RECEIVE_BUFFER);
            }
            SO_RCVTIMEO | SO_RCVTIMEO_NEW => self.receive_timeout = timeout(value)?,
            SO_SNDTIMEO | SO_SNDTIMEO_NEW => self.send_timeout = timeout(value)?,
            SO_PASSCRED => self.passes_credentials = int(value)? != 0,
            SO_LINGER => {
                let (linger, _) = Linger::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
                self.linger = Linger { is_on: i32::from(linger.is_on != 0), ..linger };
            }
            SO_RCVLOWAT => {
                let value = int(value)?;
                self.receive_low_water = if value < 0 { i32::MAX } else { value.max(1) };
            }
            _ => {
                let (_, is_switch) =
                    *INERT.iter().find(|(known, _)| *known == option).ok_or(Errno::ENOPROTOOPT)?;
                let value = int(value)?;
                let value = if is_switch { i32::from(value != 0) } else { value };
                self.inert.retain(|(known, _)| *known != option);
                self.inert.push((option, value));
            }
        }
        Ok(())
    }

    /// `getsockopt(2)`, for the options kept here: the value's bytes. `ENOPROTOOPT` for one that is not known.
    pub fn get(&self, option: i32) -> Result<Vec<u8>, Errno> {
        let number = |value: i32| Ok(value.as_bytes().to_vec());
        match option {
            SO_SNDBUF => number(self.send_buffer as i32),
            SO_RCVBUF => number(self.receive_buffer as i32),
            SO_RCVTIMEO | SO_RCVTIMEO_NEW => Ok(timeout_value(self.receive_timeout)),
            SO_SNDTIMEO | SO_SNDTIMEO_NEW => Ok(timeout_value(self.send_timeout)),
            SO_PASSCRED => number(i32::from(self.passes_credentials)),
            SO_LINGER => Ok(self.linger.as_bytes().to_vec()),
            SO_RCVLOWAT => number(self.receive_low_water),
            SO_SNDLOWAT => number(1),
            _ if INERT.iter().any(|(known, _)| *known == option) => {
                let set = self.inert.iter().find(|(known, _)| *known == option);
                number(set.map_or(0, |(_, value)| *value))
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(options: &SocketOptions, option: i32) -> i32 {
        int(&options.get(option).unwrap()).unwrap()
    }

    #[test]
    fn buffers_are_doubled_and_bounded() {
        let mut options = SocketOptions::default();
        options.set(SO_SNDBUF, &10_000i32.to_ne_bytes()).unwrap();
        assert_eq!(get(&options, SO_SNDBUF), 20_000);
        options.set(SO_SNDBUF, &0i32.to_ne_bytes()).unwrap();
        assert_eq!(get(&options, SO_SNDBUF), 4608);
        options.set(SO_RCVBUF, &i32::MAX.to_ne_bytes()).unwrap();
        assert_eq!(get(&options, SO_RCVBUF), 425_984);
    }

    #[test]
    fn timeouts_are_checked_and_come_back() {
        let mut options = SocketOptions::default();
        let time = Timeval { seconds: 1, microseconds: 500_000 };
        options.set(SO_RCVTIMEO, time.as_bytes()).unwrap();
        assert_eq!(options.receive_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(options.get(SO_RCVTIMEO).unwrap(), time.as_bytes());
        let wrong = Timeval { seconds: 1, microseconds: 1_000_000 };
        assert_eq!(options.set(SO_RCVTIMEO, wrong.as_bytes()), Err(Errno::EDOM));
        options.set(SO_RCVTIMEO, Timeval::default().as_bytes()).unwrap();
        assert_eq!(options.receive_timeout, None);
        assert_eq!(options.set(SO_RCVTIMEO, &[0; 4]), Err(Errno::EINVAL));
    }

    #[test]
    fn switches_are_kept_and_unknown_options_refused() {
        let mut options = SocketOptions::default();
        options.set(SO_REUSEADDR, &17i32.to_ne_bytes()).unwrap();
        assert_eq!(get(&options, SO_REUSEADDR), 1);
        assert_eq!(get(&options, SO_KEEPALIVE), 0);
        assert_eq!(options.set(SO_TYPE, &1i32.to_ne_bytes()), Err(Errno::ENOPROTOOPT));
        assert_eq!(options.get(9999), Err(Errno::ENOPROTOOPT));
    }
}
