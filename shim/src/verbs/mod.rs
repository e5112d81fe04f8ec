//! The verbs: each a short-lived process that acts on a container's directory, cgroups and monitor.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod update;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use events::events;
pub(crate) use exec::exec;
pub(crate) use features::features;
pub(crate) use kill::kill;
pub(crate) use list::list;
pub(crate) use pause::{pause, resume};
pub(crate) use ps::ps;
pub(crate) use run::run;
pub(crate) use spec::{later, spec};
pub(crate) use start::start;
pub(crate) use state::state;
pub(crate) use update::update;
