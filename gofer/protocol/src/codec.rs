//! Bytes to values and back: little-endian integers, length-prefixed strings and lists, nothing else.

use thiserror::Error;
use usk_abi::Errno;

use crate::limits::MAX_MESSAGE;

/// Most items of a list that memory is reserved for before they are there.
const MAX_RESERVED: usize = 64;

/// Why bytes are not a message. The peer that sent them is broken or hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The message ends in the middle of a value, or a length points past its end.
    #[error("the message is cut short")]
    Truncated,
    /// Bytes are left over.
    #[error("bytes follow the end of the message")]
    Trailing,
    /// More than the named bound.
    #[error("{0} exceeds its bound")]
    TooLong(&'static str),
    /// A value that its type does not have.
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

/// A message that would not fit in its bound. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the message exceeds {MAX_MESSAGE} bytes")]
pub struct EncodeError;

/// A type that has a form on the wire. `'a` is the life of the message that borrowed values point into.
pub(crate) trait Wire<'a>: Sized {
    /// Appends the value.
    fn encode(&self, writer: &mut Writer);

    /// Takes the value off the front.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// Collects the bytes of one message.
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer { bytes: Vec::with_capacity(256) }
    }

    /// Makes room for so many bytes more.
    pub(crate) fn reserve(&mut self, length: usize) {
        self.bytes.reserve(length);
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A string with its length in front.
    pub(crate) fn put_string(&mut self, bytes: &[u8]) {
        self.put_length(bytes.len());
        self.put(bytes);
    }

    /// A list with its count in front.
    pub(crate) fn put_list<'a, T: Wire<'a>>(&mut self, items: &[T]) {
        self.put_length(items.len());
        for item in items {
            item.encode(self);
        }
    }

    /// A length or a count. One that does not fit saturates: such a message is far beyond [`MAX_MESSAGE`] and never leaves the encoder.
    pub(crate) fn put_length(&mut self, length: usize) {
        u32::try_from(length).unwrap_or(u32::MAX).encode(self);
    }

    /// The finished message, if it keeps the bound.
    pub(crate) fn finish(self) -> Result<Vec<u8>, EncodeError> {
        if self.bytes.len() <= MAX_MESSAGE { Ok(self.bytes) } else { Err(EncodeError) }
    }
}

/// Takes values off the front of one message.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Refuses a message longer than the bound.
    pub(crate) fn new(message: &'a [u8]) -> Result<Reader<'a>, DecodeError> {
        if message.len() > MAX_MESSAGE {
            return Err(DecodeError::TooLong("message"));
        }
        Ok(Reader { rest: message })
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A string with its length in front, at most `bound` bytes.
    pub(crate) fn take_string(&mut self, bound: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.take_length(bound, what)?;
        self.take(length)
    }

    /// A list with its count in front, at most `bound` items. Of a count that is not true, no more than [`MAX_RESERVED`] items have memory.
    pub(crate) fn take_list<T: Wire<'a>>(
        &mut self,
        bound: usize,
        what: &'static str,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.take_length(bound, what)?;
        if count > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        let mut items = Vec::with_capacity(count.min(MAX_RESERVED));
        for _ in 0..count {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }

    /// A count of items of no less than `least_length` bytes each, which the message has room for.
    pub(crate) fn take_count(
        &mut self,
        bound: usize,
        least_length: usize,
        what: &'static str,
    ) -> Result<usize, DecodeError> {
        let count = self.take_length(bound, what)?;
        if count * least_length > self.rest.len() { Err(DecodeError::Truncated) } else { Ok(count) }
    }

    fn take_length(&mut self, bound: usize, what: &'static str) -> Result<usize, DecodeError> {
        let length = usize::try_from(u32::decode(self)?).map_err(|_| DecodeError::TooLong(what))?;
        if length > bound { Err(DecodeError::TooLong(what)) } else { Ok(length) }
    }

    /// Everything must have been taken.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl<'a> Wire<'a> for $integer {
            fn encode(&self, writer: &mut Writer) {
                writer.put(&self.to_le_bytes());
            }

            fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                reader.take_array().map(<$integer>::from_le_bytes)
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i64);

impl<'a> Wire<'a> for bool {
    fn encode(&self, writer: &mut Writer) {
        u8::from(*self).encode(writer);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("boolean")),
        }
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    fn encode(&self, writer: &mut Writer) {
        self.is_some().encode(writer);
        if let Some(value) = self {
            value.encode(writer);
        }
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if bool::decode(reader)? { T::decode(reader).map(Some) } else { Ok(None) }
    }
}

/// Success is the byte 0 and the value; failure is the byte 1 and the error number.
impl<'a, T: Wire<'a>> Wire<'a> for Result<T, Errno> {
    fn encode(&self, writer: &mut Writer) {
        self.is_err().encode(writer);
        match self {
            Ok(value) => value.encode(writer),
            Err(errno) => errno.encode(writer),
        }
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if bool::decode(reader)? { Errno::decode(reader).map(Err) } else { T::decode(reader).map(Ok) }
    }
}

impl<'a> Wire<'a> for Errno {
    fn encode(&self, writer: &mut Writer) {
        self.raw().unsigned_abs().encode(writer);
    }

    /// Only numbers that Linux defines: the sentry hands them to the guest.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let raw = i32::try_from(u32::decode(reader)?).map_err(|_| DecodeError::Invalid("error number"))?;
        if raw < 1 || Errno::from_raw(raw).raw() != raw || Errno::from_raw(raw).name().is_none() {
            return Err(DecodeError::Invalid("error number"));
        }
        Ok(Errno::from_raw(raw))
    }
}
