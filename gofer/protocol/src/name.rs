//! Byte strings with rules: names of directory entries, targets of symbolic links, names and values of
//! extended attributes. A value of these types keeps the rules; decoding one that does not fails.

use std::fmt;

use usk_abi::Errno;

use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::limits::{MAX_LINK_TARGET, MAX_NAME, MAX_XATTR_NAME, MAX_XATTR_VALUE};

/// A name in a directory: 1 to [`MAX_NAME`] bytes without `/` and NUL, and neither `.` nor `..`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks the rules: `ENOENT` for an empty name, `ENAMETOOLONG` for a long one, `EINVAL` for one that is
    /// no name of an entry.
    pub fn new(bytes: &'a [u8]) -> Result<Name<'a>, Errno> {
        if bytes.is_empty() {
            return Err(Errno::ENOENT);
        }
        if bytes.len() > MAX_NAME {
            return Err(Errno::ENAMETOOLONG);
        }
        if bytes == b"." || bytes == b".." || bytes.iter().any(|&byte| byte == b'/' || byte == 0) {
            return Err(Errno::EINVAL);
        }
        Ok(Name(bytes))
    }

    /// A name whose bytes were checked before.
    pub(crate) fn known_to_be_one(bytes: &'a [u8]) -> Name<'a> {
        Name(bytes)
    }

    /// The bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Wire<'a> for Name<'a> {
    fn encode(&self, writer: &mut Writer) {
        writer.put_string(self.0);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Name::new(reader.take_string(MAX_NAME, "name")?).map_err(|_| DecodeError::Invalid("name"))
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// An owned [`Name`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NameBuf(Box<[u8]>);

impl NameBuf {
    /// The name, borrowed.
    pub fn as_name(&self) -> Name<'_> {
        Name(&self.0)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    pub fn into_bytes(self) -> Box<[u8]> {
        self.0
    }
}

impl From<Name<'_>> for NameBuf {
    fn from(name: Name<'_>) -> NameBuf {
        NameBuf(name.0.into())
    }
}

impl<'a> Wire<'a> for NameBuf {
    fn encode(&self, writer: &mut Writer) {
        self.as_name().encode(writer);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Name::decode(reader).map(NameBuf::from)
    }
}

impl fmt::Debug for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

/// What a symbolic link says: 1 to [`MAX_LINK_TARGET`] bytes without NUL.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkTarget(Box<[u8]>);

impl LinkTarget {
    /// Checks the rules, with the errors of `symlink(2)`: `ENOENT` for an empty target, `ENAMETOOLONG` for a
    /// long one, `EINVAL` for a NUL.
    pub fn new(bytes: &[u8]) -> Result<LinkTarget, Errno> {
        match bytes.len() {
            0 => Err(Errno::ENOENT),
            length if length > MAX_LINK_TARGET => Err(Errno::ENAMETOOLONG),
            _ if bytes.contains(&0) => Err(Errno::EINVAL),
            _ => Ok(LinkTarget(bytes.into())),
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    pub fn into_bytes(self) -> Box<[u8]> {
        self.0
    }
}

impl<'a> Wire<'a> for LinkTarget {
    fn encode(&self, writer: &mut Writer) {
        writer.put_string(&self.0);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let bytes = reader.take_string(MAX_LINK_TARGET, "link target")?;
        LinkTarget::new(bytes).map_err(|_| DecodeError::Invalid("link target"))
    }
}

impl fmt::Debug for LinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The name of an extended attribute: 1 to [`MAX_XATTR_NAME`] bytes without NUL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct XattrName<'a>(&'a [u8]);

impl<'a> XattrName<'a> {
    /// Checks the rules; `ERANGE` for a name that breaks them, as `setxattr(2)` says it.
    pub fn new(bytes: &'a [u8]) -> Result<XattrName<'a>, Errno> {
        if bytes.is_empty() || bytes.len() > MAX_XATTR_NAME || bytes.contains(&0) {
            return Err(Errno::ERANGE);
        }
        Ok(XattrName(bytes))
    }

    /// The bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Wire<'a> for XattrName<'a> {
    fn encode(&self, writer: &mut Writer) {
        writer.put_string(self.0);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let bytes = reader.take_string(MAX_XATTR_NAME, "attribute name")?;
        XattrName::new(bytes).map_err(|_| DecodeError::Invalid("attribute name"))
    }
}

impl fmt::Debug for XattrName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The value of an extended attribute, or the list of the names of all (each followed by NUL): at most
/// [`MAX_XATTR_VALUE`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XattrValue(Vec<u8>);

impl XattrValue {
    /// Checks the bound; `E2BIG` beyond it, as `setxattr(2)` says it.
    pub fn new(bytes: Vec<u8>) -> Result<XattrValue, Errno> {
        if bytes.len() > MAX_XATTR_VALUE { Err(Errno::E2BIG) } else { Ok(XattrValue(bytes)) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl<'a> Wire<'a> for XattrValue {
    fn encode(&self, writer: &mut Writer) {
        writer.put_string(&self.0);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(XattrValue(reader.take_string(MAX_XATTR_VALUE, "attribute value")?.to_vec()))
    }
}
