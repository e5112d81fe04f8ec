//! What the sentry writes for the operator: the list of system calls (`--strace`) and its own messages (`--log`). Neither
//! stops the guest when it cannot be written any more; the operator is told at the end.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;
use usk_syscalls::TableDispatcher;

/// Both.
pub(super) struct Lists {
    dispatcher: Arc<TableDispatcher>,
    log: Option<Log>,
}

impl Lists {
    /// Writes to these files from now on.
    pub(super) fn begin(trace: Option<OwnedFd>, log: Option<OwnedFd>) -> Result<Lists> {
        let trace = trace.map(|file| Box::new(File::from(file)) as Box<dyn Write + Send>);
        let log = log.map(|file| Log { file: Arc::new(file.into()), failure: Arc::default() });
        if let Some(log) = &log {
            // What a guest can cause as often as it likes is below this level.
            tracing_subscriber::fmt()
                .with_max_level(Level::INFO)
                .with_ansi(false)
                .with_writer(log.clone())
                .try_init()
                .map_err(anyhow::Error::from_boxed)
                .context("cannot begin the log")?;
        }
        Ok(Lists { dispatcher: TableDispatcher::new(trace), log })
    }

    /// What carries out system calls, and lists them.
    pub(super) fn dispatcher(&self) -> Arc<TableDispatcher> {
        self.dispatcher.clone()
    }

    /// A line for each list that is not complete.
    pub(super) fn failures(&self) -> Vec<String> {
        let trace = self.dispatcher.trace_failure().map(|failure| incomplete("--strace", &failure));
        let log = self.log.as_ref().and_then(|log| log.failure.get());
        trace.into_iter().chain(log.map(|failure| incomplete("--log", &failure.to_string()))).collect()
    }
}

fn incomplete(option: &str, failure: &str) -> String {
    format!("what {option} lists is incomplete: {failure}; name a file that can take it")
}

/// Where messages go.
#[derive(Clone)]
struct Log {
    file: Arc<File>,
    failure: Arc<OnceLock<io::Error>>,
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Nobody hears of an error that is returned here.
        if let Err(error) = (&*self.file).write_all(bytes) {
            let _ = self.failure.set(error);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}
