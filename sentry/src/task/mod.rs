//! Tasks: threads, processes, groups and sessions, from `clone(2)` to `wait4(2)`, and the loop that runs a guest thread.

mod access;
mod arguments;
mod clone;
mod completion;
mod copies;
mod credentials;
mod current;
mod exec;
mod exit;
mod group;
mod known_names;
mod last_words;
mod lending;
mod limits;
mod lost;
pub mod pidfd;
mod program;
mod run;
mod standing;
mod table;
#[allow(clippy::module_inception)]
mod task;
mod wait;
pub(crate) mod workers;

pub use access::{AccessAs, may_access};
pub use arguments::SyscallArguments;
pub use clone::{CloneArguments, CloneFlags, clone};
pub use completion::Completion;
pub use credentials::{ALL_CAPABILITIES, Credentials};
pub(crate) use current::PendingRestart;
pub use current::{Current, LastFault};
pub use exec::{ExecuteRequest, MainProcess, execute, reserve_main, spawn_beside, spawn_main};
pub(crate) use exit::ticks;
pub(crate) use group::begin_exit_locked;
pub use group::{ExitStatus, GroupState, GroupStop, ThreadGroup};
pub use known_names::NameQuestion;
pub use lending::{BorrowedFiles, WatchAnnounced};
pub use limits::{Limit, RESOURCE_COUNT, Resource, ResourceLimits, UNLIMITED, Usage};
pub use lost::watch as watch_for_lost;
pub use program::{ProgramRequest, find_program};
pub use run::Dispatcher;
pub use standing::Standing;
pub(crate) use table::OUTSIDE_PID;
pub use table::{INIT_PID, Process, StopEvent, TaskTable, Zombie};
pub use task::{COMMAND_NAME_LENGTH, Task, TaskSignals};
pub use wait::{WaitOptions, WaitTarget, Waited, wait};
