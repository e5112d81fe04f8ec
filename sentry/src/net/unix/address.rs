//! Addresses of AF_UNIX sockets (`struct sockaddr_un`).

use usk_abi::Errno;
use usk_abi::socket::{AF_UNIX, UNIX_PATH_MAX};

/// The address of a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// It has none.
    #[default]
    Unnamed,
    /// A file's name, without the trailing NUL.
    Path(Vec<u8>),
    /// A name in the sandbox's abstract name space, without the leading NUL. Every byte counts.
    Abstract(Vec<u8>),
}

/// Bytes of `sa_family`.
const FAMILY_SIZE: usize = 2;

impl UnixAddress {
    /// Decodes a `struct sockaddr_un`. `EINVAL` for another family or a bad length.
    pub fn decode(bytes: &[u8]) -> Result<Self, Errno> {
        if bytes.len() < FAMILY_SIZE || bytes.len() > FAMILY_SIZE + UNIX_PATH_MAX {
            return Err(Errno::EINVAL);
        }
        let (family, name) = bytes.split_at(FAMILY_SIZE);
        if family != AF_UNIX.to_ne_bytes() {
            return Err(Errno::EINVAL);
        }
        Ok(match name {
            [] => UnixAddress::Unnamed,
            [0, name @ ..] => UnixAddress::Abstract(name.to_vec()),
            path => {
                let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                UnixAddress::Path(path[..end].to_vec())
            }
        })
    }

    /// The `struct sockaddr_un`, as long as it has to be: a path has its NUL.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
        match self {
            UnixAddress::Unnamed => {}
            UnixAddress::Path(path) => {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
            UnixAddress::Abstract(name) => {
                bytes.push(0);
                bytes.extend_from_slice(name);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(name: &[u8]) -> Vec<u8> {
        [&AF_UNIX.to_ne_bytes(), name].concat()
    }

    #[test]
    fn addresses_survive_the_round_trip() {
        for address in [
            UnixAddress::Unnamed,
            UnixAddress::Path(b"/run/socket".to_vec()),
            UnixAddress::Abstract(b"name\0with\0nuls".to_vec()),
            UnixAddress::Abstract(Vec::new()),
        ] {
            assert_eq!(UnixAddress::decode(&address.encode()), Ok(address));
        }
    }

    #[test]
    fn lengths_and_families_are_checked() {
        assert_eq!(UnixAddress::decode(&[]), Err(Errno::EINVAL));
        assert_eq!(UnixAddress::decode(&[2, 0, 0, 0]), Err(Errno::EINVAL));
        assert_eq!(UnixAddress::decode(&raw(&[b'x'; 109])), Err(Errno::EINVAL));
        assert_eq!(UnixAddress::decode(&raw(&[b'x'; 108])), Ok(UnixAddress::Path(vec![b'x'; 108])));
        assert_eq!(UnixAddress::decode(&raw(b"a\0b")), Ok(UnixAddress::Path(b"a".to_vec())));
    }
}
