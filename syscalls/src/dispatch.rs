//! From a trapped call to its handler and back.

use std::sync::Arc;

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, Dispatcher, SyscallArguments};

use crate::strace::Trace;
use crate::table::Table;

/// Carries out calls by the table, and writes a trace of them if it is asked to.
pub struct TableDispatcher {
    table: Table,
    trace: Option<Trace>,
}

impl TableDispatcher {
    /// A dispatcher; `trace` is where each call is reported (`--strace`).
    pub fn new(trace: Option<Box<dyn std::io::Write + Send>>) -> Arc<Self> {
        Arc::new(TableDispatcher { table: Table::new(), trace: trace.map(Trace::new) })
    }

    /// Why the trace has ended early, if it has.
    pub fn trace_failure(&self) -> Option<String> {
        self.trace.as_ref().and_then(Trace::failure)
    }

    fn call(&self, current: &mut Current, number: u64, arguments: SyscallArguments) -> SysResult {
        match self.table.row(number) {
            Some(row) => (row.handler)(current, arguments),
            None => {
                current.task.kernel.note_unimplemented(number);
                Err(Errno::ENOSYS.into())
            }
        }
    }
}

impl Dispatcher for TableDispatcher {
    fn dispatch(&self, current: &mut Current, number: u64, arguments: SyscallArguments) -> SysResult {
        let Some(trace) = &self.trace else { return self.call(current, number, arguments) };
        let before = trace.before(current, self.table.row(number), number, arguments);
        let result = self.call(current, number, arguments);
        // The trace shows what the guest will find in its memory.
        let result = current.settle_copies().map_err(Into::into).and(result);
        trace.after(current, before, self.table.row(number), arguments, &result);
        result
    }
}
