//! Writes to a pipe that the platform leaves where the pipe's readers look for them ([`Pipe::open_inlet`]). One pipe of each task has such
//! an inlet: the one that was written last.

use std::sync::Arc;

use usk_abi::fs::OpenFlags;
use usk_platform::GuestThread;

use super::Lending;
use crate::file::pipe::{Pipe, PipeEnd};
use crate::vfs::OpenFile;

/// Writes to a pipe that come here before it has an inlet, which costs as much as three of them.
const PATIENCE: u32 = 8;

/// What a task has of an inlet.
#[derive(Default)]
pub(super) struct Inlet {
    /// The pipe's end that was written last ([`OpenFile::id`]), and how often.
    written: Option<(u64, u32)>,
    open: Option<Arc<Pipe>>,
}

impl Inlet {
    /// A write to a file has come here.
    pub(super) fn note_write(&mut self, file: &OpenFile) {
        let times = match self.written {
            Some((id, times)) if id == file.id() => times.saturating_add(1),
            _ if PipeEnd::of(file).is_none() => return,
            _ => 1,
        };
        self.written = Some((file.id(), times));
    }

    /// Whether this is the end that was written last.
    pub(super) fn is_about(&self, file: &OpenFile) -> bool {
        self.written.is_some_and(|(id, _)| id == file.id())
    }

    /// The guest has stopped.
    pub(super) fn close(&mut self) {
        if let Some(pipe) = self.open.take() {
            pipe.close_inlet();
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.close();
    }
}

impl Lending {
    /// True for an end of a pipe to which the task alone writes, by this open file, and bytes, not packets.
    pub(super) fn may_have_inlet(&self, file: &OpenFile) -> bool {
        PipeEnd::of(file).is_some_and(PipeEnd::is_writer)
            && self.ledger.is_allowed
            && !self.is_watched
            && !file.open_flags().contains(OpenFlags::DIRECT)
    }

    /// The guest is about to run: gives the pipe that it has written often an inlet, if nobody waits for it.
    pub(super) fn open_inlet(&mut self, thread: &mut dyn GuestThread) {
        let Some((id, PATIENCE..)) = self.inlet.written else { return };
        let mut records = self.records.iter().enumerate();
        let found =
            records.find_map(|(number, record)| Some((number, record.as_ref().filter(|r| r.id == id)?)));
        let Some((number, record)) = found.filter(|(_, record)| record.lent.has_inlet) else { return };
        let Some(file) = record.file.upgrade() else { return };
        let Some(pipe) = PipeEnd::of(&file).map(PipeEnd::pipe) else { return };
        if pipe.open_inlet(|room| thread.open_inlet(number, room)) {
            self.inlet.open = Some(Arc::clone(pipe));
        }
    }
}
