//! An open synthetic file.

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::Errno;

use crate::fs::synthetic::Text;
use crate::task::Task;
use crate::vfs::{FileOps, OpenFile};
use crate::{Sink, Source};

/// Most bytes that one write may bring.
const WRITE_LIMIT: usize = 64 << 10;
/// Bytes of large contents that are made at a time.
const PART: usize = 64 << 10;

/// The contents are made when the file is read from its start, and stay until it is again, so that a reader that takes
/// several steps sees one moment.
pub(super) struct TextFile {
    text: Arc<dyn Text>,
    opener: Option<Arc<Task>>,
    made: Mutex<Option<Vec<u8>>>,
}

impl TextFile {
    pub(super) fn new(text: Arc<dyn Text>, opener: Option<Arc<Task>>) -> Self {
        TextFile { text, opener, made: Mutex::new(None) }
    }
}

impl TextFile {
    /// Reads large contents part by part, as far as that goes. `None` if they are made as a whole.
    fn read_parts(&self, destination: &mut dyn Sink, offset: u64) -> Option<Result<usize, Errno>> {
        let mut done = 0;
        loop {
            let wanted = destination.remaining().min(PART);
            let part = self.text.read_part(offset.saturating_add(done as u64), wanted)?;
            let put = part.and_then(|part| destination.put(&part));
            match put {
                Ok(put) => done += put,
                Err(error) if done == 0 => return Some(Err(error)),
                Err(_) => return Some(Ok(done)),
            }
            if put != Ok(PART) {
                return Some(Ok(done));
            }
        }
    }

    /// Writes what is left of `source` behind the first `done` bytes at `offset`, as far as that goes. Returns how much that was.
    fn write_parts(&self, source: &mut dyn Source, offset: u64, done: usize) -> usize {
        let mut more = 0;
        while source.remaining() > 0 {
            let Ok(bytes) = take_part(source) else { break };
            let at = offset.saturating_add((done + more) as u64);
            let Some(Ok(written)) = self.text.write_part(at, &bytes) else { break };
            more += written;
            if written < bytes.len() || written == 0 {
                break;
            }
        }
        more
    }
}

/// The next bytes of `source`, as many as are taken at a time.
fn take_part(source: &mut dyn Source) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; source.remaining().min(PART)];
    let length = source.take(&mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

impl FileOps for TextFile {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        if let Some(read) = self.read_parts(destination, offset) {
            return read;
        }
        let mut made = self.made.lock();
        if offset == 0 || made.is_none() {
            *made = Some(self.text.read(self.opener.as_ref())?);
        }
        let Some(contents) = &*made else { return Ok(0) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(contents.len());
        let rest = &contents[start..];
        let rest = &rest[..rest.len().min(destination.remaining())];
        if rest.is_empty() { Ok(0) } else { destination.put(rest) }
    }

    fn write(&self, _file: &OpenFile, source: &mut dyn Source, offset: u64) -> Result<usize, Errno> {
        let is_too_long = source.remaining() > WRITE_LIMIT;
        let bytes = take_part(source)?;
        if let Some(written) = self.text.write_part(offset, &bytes) {
            let written = written?;
            return Ok(
                written + if written == bytes.len() { self.write_parts(source, offset, written) } else { 0 }
            );
        }
        if is_too_long {
            return Err(Errno::EINVAL);
        }
        self.text.write(&bytes, self.opener.as_ref())?;
        Ok(bytes.len())
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
