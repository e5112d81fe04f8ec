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

impl FileOps for TextFile {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        if let Some(part) = self.text.read_part(offset, destination.remaining().min(PART)) {
            return destination.put(&part?);
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
        let length = source.remaining();
        if length > WRITE_LIMIT {
            return Err(Errno::EINVAL);
        }
        let mut bytes = vec![0; length];
        let length = source.take(&mut bytes)?;
        bytes.truncate(length);
        if let Some(written) = self.text.write_part(offset, &bytes) {
            return written;
        }
        self.text.write(&bytes, self.opener.as_ref())?;
        Ok(length)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
