//! A client of D-Bus that asks and waits: dbus.freedesktop.org's specification, "Message Protocol" and "Authentication
//! Protocol". How values are laid out is zbus's, of which nothing else is used: it would bring an executor along.
//!
//! A conversation has one deadline. What the peer says is bounded.

use std::collections::VecDeque;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use zbus::wire::serialized::{Context as Layout, Data};
use zbus::wire::{LE, to_bytes};
use zbus::{ObjectPath, Signature, Type, Variant};

/// How long a conversation may take, as with runc.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of a message.
const MAX_MESSAGE: usize = 1 << 20;
/// Most bytes of a line of the authentication.
const MAX_LINE: usize = 1 << 10;
/// Most signals that are kept while something else is awaited.
const MAX_SIGNALS: usize = 256;

/// Bytes of a message before its fields, whose length is the last four of them.
const START: usize = 16;
/// Messages, and the end of the header, begin at multiples of this.
const ALIGNMENT: usize = 8;

/// What a method belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    /// Who has it.
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
}

/// A stream to a bus, or to a peer that is alone behind its socket.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    deadline: Instant,
    last_serial: u32,
    /// What came while an answer was awaited, oldest first.
    signals: VecDeque<Signal>,
}

/// A peer's own error, by its name.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) name: String,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.message, self.name)
    }
}

impl std::error::Error for Refusal {}

/// Something that a peer announces.
#[derive(Debug)]
pub(super) struct Signal {
    pub(super) member: String,
    body: Body,
}

impl Signal {
    /// Its arguments.
    pub(super) fn arguments<T: DeserializeOwned + Type>(&self) -> Result<T> {
        self.body.decode()
    }
}

impl Bus {
    /// Connects, and has the peer ask the host's kernel who this is: in a user namespace a number would be another user's.
    pub(super) fn connect(path: &Path) -> Result<Bus> {
        let stream = UnixStream::connect(path)?;
        let mut bus =
            Bus { stream, deadline: Instant::now() + PATIENCE, last_serial: 0, signals: VecDeque::new() };
        // All at once, as systemd's own clients do: its server does not see a call that comes right behind the last line.
        bus.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let line = bus.read_line()?;
            match line.split(' ').next() {
                Some("OK") => break,
                Some("DATA") => {}
                _ => bail!("it refuses the caller: {line:?}"),
            }
        }
        Ok(bus)
    }

    /// Calls a method and waits for its results; a refusal is a [`Refusal`].
    pub(super) fn call<A, R>(&mut self, object: Object, method: &str, arguments: &A) -> Result<R>
    where
        A: Serialize + Type,
        R: DeserializeOwned + Type,
    {
        self.last_serial += 1;
        let message = encode_call(self.last_serial, object, method, arguments)?;
        self.stream.write_all(&message)?;
        loop {
            match self.receive()? {
                Message::Answer { to, body } if to == self.last_serial => return body.decode(),
                Message::Error { to, name, body } if to == self.last_serial => {
                    let message = body.decode::<(String,)>().map(|(message,)| message).unwrap_or_default();
                    return Err(Refusal { name, message }.into());
                }
                Message::Signal(signal) => {
                    if self.signals.len() == MAX_SIGNALS {
                        self.signals.pop_front();
                    }
                    self.signals.push_back(signal);
                }
                _ => {}
            }
        }
    }

    /// Waits for the next signal.
    pub(super) fn signal(&mut self) -> Result<Signal> {
        if let Some(signal) = self.signals.pop_front() {
            return Ok(signal);
        }
        loop {
            if let Message::Signal(signal) = self.receive()? {
                return Ok(signal);
            }
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let mut start = [0; START];
        self.read(&mut start)?;
        let [endian, _, _, _, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = start;
        let length = |bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
        ensure!(endian == b'l', "it speaks another order of bytes");
        let (fields, body) = (length([f0, f1, f2, f3]), length([b0, b1, b2, b3]));
        ensure!(fields <= MAX_MESSAGE && body <= MAX_MESSAGE, "its message is too long");
        let mut header = vec![0; fields.next_multiple_of(ALIGNMENT)];
        let mut body = vec![0; body];
        self.read(&mut header)?;
        self.read(&mut body)?;
        Message::decode([&start[..], &header].concat(), body)
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            ensure!(line.len() < MAX_LINE, "its answer is too long");
            let mut byte = [0];
            self.read(&mut byte)?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "it does not answer within {PATIENCE:?}");
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read_exact(bytes).context("it does not answer")
    }
}

/// The part of a message before its body.
#[derive(Serialize, Deserialize, Type)]
struct Header<F: Type> {
    endian: u8,
    kind: u8,
    flags: u8,
    version: u8,
    body: u32,
    serial: u32,
    fields: F,
}

// Kinds of messages, and codes of fields.
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The value of a field that is sent.
enum Field<'a> {
    Value(Variant<'a>),
    /// Of the body: several types in a row, which a `Variant` would put into parentheses.
    Signature(&'a Signature),
}

impl Type for Field<'_> {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Field::Value(value) => value.serialize(serializer),
            Field::Signature(signature) => {
                // What zbus knows a variant by.
                let mut variant = serializer.serialize_struct("Variant", 2)?;
                variant.serialize_field("signature", &Signature::Signature)?;
                variant.serialize_field("value", &signature.to_string_no_parens())?;
                variant.end()
            }
        }
    }
}

fn encode_call<A: Serialize + Type>(
    serial: u32,
    object: Object,
    method: &str,
    arguments: &A,
) -> Result<Vec<u8>> {
    let layout = Layout::new(LE, 0);
    let body = to_bytes(layout, arguments).context("cannot encode a call")?;
    let mut fields = vec![
        (PATH, Field::Value(ObjectPath::try_from(object.path)?.into())),
        (INTERFACE, Field::Value(object.interface.into())),
        (MEMBER, Field::Value(method.into())),
        (DESTINATION, Field::Value(object.name.into())),
    ];
    if !body.is_empty() {
        fields.push((SIGNATURE, Field::Signature(A::SIGNATURE)));
    }
    let header = Header {
        endian: b'l',
        kind: METHOD_CALL,
        flags: 0,
        version: 1,
        body: u32::try_from(body.len()).context("a call is too long")?,
        serial,
        fields,
    };
    let mut message = to_bytes(layout, &header).context("cannot encode a call")?.to_vec();
    message.resize(message.len().next_multiple_of(ALIGNMENT), 0);
    message.extend_from_slice(&body);
    Ok(message)
}

/// What a peer says.
enum Message {
    Answer {
        to: u32,
        body: Body,
    },
    Error {
        to: u32,
        name: String,
        body: Body,
    },
    Signal(Signal),
    /// Calls, and what comes in later versions.
    Other,
}

impl Message {
    fn decode(header: Vec<u8>, body: Vec<u8>) -> Result<Message> {
        let header = Data::new(header, Layout::new(LE, 0));
        let (Header { kind, fields, .. }, _) = header
            .deserialize::<Header<Vec<(u8, Variant<'_>)>>>()
            .context("its message cannot be understood")?;
        let (mut to, mut member, mut name, mut signature) = (0, String::new(), String::new(), String::new());
        for (code, value) in fields {
            match (code, value) {
                (REPLY_SERIAL, Variant::U32(serial)) => to = serial,
                (MEMBER, Variant::Str(text)) => member = text.as_str().to_owned(),
                (ERROR_NAME, Variant::Str(text)) => name = text.as_str().to_owned(),
                (SIGNATURE, Variant::Signature(types)) => signature = types.to_string_no_parens(),
                _ => {}
            }
        }
        let body = Body { signature, bytes: body };
        Ok(match kind {
            METHOD_RETURN => Message::Answer { to, body },
            ERROR => Message::Error { to, name, body },
            SIGNAL => Message::Signal(Signal { member, body }),
            _ => Message::Other,
        })
    }
}

/// The arguments of a message.
#[derive(Debug)]
struct Body {
    signature: String,
    bytes: Vec<u8>,
}

impl Body {
    fn decode<T: DeserializeOwned + Type>(&self) -> Result<T> {
        let wanted = T::SIGNATURE.to_string_no_parens();
        ensure!(self.signature == wanted, "it answers {:?}, not {wanted:?}", self.signature);
        let data = Data::new(&self.bytes[..], Layout::new(LE, 0));
        data.deserialize().map(|(value, _)| value).context("its answer cannot be understood")
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixListener;

    use proptest::prelude::*;

    use super::*;

    const OBJECT: Object = Object { name: "a.b", path: "/a", interface: "a.c" };

    /// A conversation with a peer that lets everybody in, and then says this and nothing else.
    fn with_peer(says: Vec<u8>) -> Result<(u32,)> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"DATA\r\nOK 0123\r\n").unwrap();
            stream.write_all(&says).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let answer = Bus::connect(&path).and_then(|mut bus| bus.call(OBJECT, "Method", &("text", true)));
        peer.join().unwrap();
        answer
    }

    /// A message of this kind that answers the first call.
    fn answer(kind: u8, signature: &'static Signature, body: &[u8]) -> Vec<u8> {
        let fields =
            vec![(REPLY_SERIAL, Field::Value(1u32.into())), (SIGNATURE, Field::Signature(signature))];
        let length = u32::try_from(body.len()).unwrap();
        let header = Header { endian: b'l', kind, flags: 0, version: 1, body: length, serial: 9, fields };
        let mut message = to_bytes(Layout::new(LE, 0), &header).unwrap().to_vec();
        message.resize(message.len().next_multiple_of(ALIGNMENT), 0);
        [&message, body].concat()
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let message = encode_call(7, OBJECT, "Method", &("text", true)).unwrap();
        let start = b"l\x01\0\x01\x10\0\0\0\x07\0\0\0";
        let signature = b"\x08\x01g\0\x02sb\0";
        let body = b"\x04\0\0\0text\0\0\0\0\x01\0\0\0";
        assert!(message.starts_with(start), "{message:?}");
        assert!(message.ends_with(&[&signature[..], body].concat()), "{message:?}");
    }

    #[test]
    fn an_answer_is_the_calls_whatever_else_is_said_before() {
        let other = answer(SIGNAL, <(u32,)>::SIGNATURE, &[1, 0, 0, 0]);
        let own = answer(METHOD_RETURN, <(u32,)>::SIGNATURE, &[5, 0, 0, 0]);
        assert_eq!(with_peer([other, own].concat()).unwrap(), (5,));
    }

    #[test]
    fn what_a_peer_may_not_say_is_an_error() {
        let too_long = [&b"l\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\x08\0\0\0"[..], &[0; 8]].concat();
        let other_type = answer(METHOD_RETURN, <(bool,)>::SIGNATURE, &[1, 0, 0, 0]);
        let cut_off = answer(METHOD_RETURN, <(u32,)>::SIGNATURE, &[1, 0]);
        for (says, error) in [
            (too_long, "its message is too long"),
            (b"B\x02\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0".to_vec(), "it speaks another order of bytes"),
            (other_type, "it answers \"b\", not \"u\""),
            (cut_off, "its answer cannot be understood"),
            (Vec::new(), "it does not answer"),
        ] {
            let told = with_peer(says).unwrap_err().to_string();
            assert_eq!(told, error);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_messages_do_not_panic(header: Vec<u8>, body: Vec<u8>) {
            let start = b"l\x02\0\x01\0\0\0\0\0\0\0\x01".to_vec();
            let length = u32::try_from(header.len()).unwrap().to_le_bytes();
            if let Ok(Message::Answer { body, .. }) = Message::decode([&start[..], &length, &header].concat(), body) {
                let _ = body.decode::<(String,)>();
            }
        }
    }
}
