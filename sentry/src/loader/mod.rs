//! From an executable file to a running image: what `execve(2)` does after it has opened the file.
//!
//! It happens in two steps, as in Linux. [`prepare()`] does everything that can fail and leave the old program running: it
//! follows `#!` lines ([`script`]), reads the headers of the program and of its interpreter ([`elf`]), and counts the
//! arguments ([`Arguments`]). [`PreparedImage::commit`] empties the address space, maps the new program and builds its stack ([`stack`]);
//! a failure there can only end the task.
//!
//! Everything read from the file is hostile: every offset, size and count is checked before it is used.

mod arguments;
mod commit;
mod elf;
mod prepare;
mod script;
mod stack;
#[cfg(test)]
pub(crate) mod testing;

pub use arguments::{Arguments, MAX_ARGUMENT_LENGTH};
pub use elf::{ElfImage, Segment};
pub use prepare::{ExecContext, LoadableFile, OpenExecutable, PreparedImage, ProcessIdentity, prepare};
pub use script::{ScriptLine, parse_script_line};
