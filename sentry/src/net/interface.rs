//! The one network interface, `lo`, as `ioctl(2)` and `/sys` show it. netdevice(7).

use std::net::Ipv4Addr;

use usk_abi::Errno;
use usk_abi::socket::AF_INET;

use crate::task::Current;
use crate::{SysResult, UserPtr};

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;

/// Bytes of `struct ifreq`, and of the name at its start.
const REQUEST_LENGTH: usize = 40;
const NAME_LENGTH: usize = 16;
/// Bytes of the address in a `struct ifreq`.
const ADDRESS_LENGTH: usize = 16;

pub(super) const NAME: &[u8] = b"lo\0";
pub(super) const INDEX: i32 = 1;
pub(super) const MTU: i32 = 65_536;
/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING`
const FLAGS: i16 = 0x1 | 0x8 | 0x40;
pub(super) const QUEUE_LENGTH: i32 = 1000;
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 0, 0, 0);
/// `ARPHRD_LOOPBACK`
pub(super) const HARDWARE: u16 = 772;

/// The files of `/sys/class/net/lo`, and what they hold.
pub const FACTS: &[(&str, &str)] = &[
    ("addr_len", "6"),
    ("address", "00:00:00:00:00:00"),
    ("broadcast", "00:00:00:00:00:00"),
    ("carrier", "1"),
    ("flags", "0x9"),
    ("ifindex", "1"),
    ("iflink", "1"),
    ("mtu", "65536"),
    ("operstate", "unknown"),
    ("tx_queue_len", "1000"),
    ("type", "772"),
];

/// Answers a question about interfaces, which any socket can be asked; `None` if `command` is none.
pub(super) fn ioctl(current: &mut Current, command: u32, argument: u64) -> Option<SysResult> {
    match command {
        SIOCGIFCONF => Some(list(current, argument)),
        SIOCGIFNAME | SIOCGIFFLAGS | SIOCGIFADDR | SIOCGIFNETMASK | SIOCGIFMETRIC | SIOCGIFMTU
        | SIOCGIFHWADDR | SIOCGIFINDEX | SIOCGIFTXQLEN => Some(ask(current, command, argument)),
        _ => None,
    }
}

/// A `struct sockaddr_in`.
fn address_of(ip: Ipv4Addr) -> Vec<u8> {
    let mut address = AF_INET.to_ne_bytes().to_vec();
    address.extend([0; 2]);
    address.extend(ip.octets());
    address.resize(ADDRESS_LENGTH, 0);
    address
}

/// `SIOCGIFCONF`: `struct ifconf` says how much room there is, and is told how much was used; without a buffer, how much
/// it takes.
fn list(current: &mut Current, argument: u64) -> SysResult {
    let length_pointer = UserPtr::<i32>::new(argument);
    let length = usize::try_from(length_pointer.read(current.space())?).map_err(|_| Errno::EINVAL)?;
    let buffer = UserPtr::<u64>::new(argument).byte_offset(size_of::<u64>() as u64)?.read(current.space())?;
    let mut request = NAME.to_vec();
    request.resize(NAME_LENGTH, 0);
    request.extend(address_of(Ipv4Addr::LOCALHOST));
    request.resize(REQUEST_LENGTH, 0);
    let used = if buffer == 0 || length >= REQUEST_LENGTH { REQUEST_LENGTH as i32 } else { 0 };
    if buffer != 0 && used > 0 {
        UserPtr::<u8>::new(buffer).write_array(current.space(), &request)?;
    }
    length_pointer.write(current.space(), &used)?;
    Ok(0)
}

/// The others take a `struct ifreq` with a name or an index, and fill in the rest. `ENODEV` for another interface.
fn ask(current: &mut Current, command: u32, argument: u64) -> SysResult {
    let name_pointer = UserPtr::<u8>::new(argument);
    let value_pointer = name_pointer.byte_offset(NAME_LENGTH as u64)?;
    if command == SIOCGIFNAME {
        let index: i32 = value_pointer.cast().read(current.space())?;
        if index != INDEX {
            return Err(Errno::ENODEV.into());
        }
        let mut name = NAME.to_vec();
        name.resize(NAME_LENGTH, 0);
        name_pointer.write_array(current.space(), &name)?;
        return Ok(0);
    }
    let name = name_pointer.read_array(current.space(), NAME_LENGTH)?;
    if !name.starts_with(NAME) {
        return Err(Errno::ENODEV.into());
    }
    let value = match command {
        SIOCGIFFLAGS => FLAGS.to_ne_bytes().to_vec(),
        SIOCGIFADDR => address_of(Ipv4Addr::LOCALHOST),
        SIOCGIFNETMASK => address_of(NETMASK),
        SIOCGIFMETRIC => 0i32.to_ne_bytes().to_vec(),
        SIOCGIFMTU => MTU.to_ne_bytes().to_vec(),
        SIOCGIFINDEX => INDEX.to_ne_bytes().to_vec(),
        SIOCGIFTXQLEN => QUEUE_LENGTH.to_ne_bytes().to_vec(),
        _ => {
            let mut address = HARDWARE.to_ne_bytes().to_vec();
            address.resize(ADDRESS_LENGTH, 0);
            address
        }
    };
    value_pointer.write_array(current.space(), &value)?;
    Ok(0)
}
