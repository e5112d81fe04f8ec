//! Patched call sites: a `syscall` instruction whose neighbourhood jumps to the stub, so that a call costs the doorbell
//! and no signal. Measured on one machine: 6.5 µs by signal, 3.8 µs by jump, for the hand-over alone.
//!
//! Five bytes make a jump (`jmp rel32`), and a `syscall` instruction has two, so a neighbour must move: to the site's
//! **trampoline**, a cell near the code that executes the moved instructions and enters the stub. Two shapes serve:
//!
//! - the instruction before loads the number (`mov eax, imm32`, `mov rax, imm32`). It is overwritten and the
//!   `syscall` stays as it is: whoever jumps to it traps as before.
//! - else `syscall` and what follows it are overwritten, up to five bytes. A thread that jumps or returns to the
//!   instruction after the `syscall` meets the second byte of the displacement: the cell is chosen so that this byte is
//!   no opcode in 64-bit mode. The fault leads to the moved copy.
//!
//! What is known of a file's code before it runs, `cpuid` instructions among it, is patched as a whole when the file is mapped:
//! [`known`] decides it, [`image`] lays it out. There two more shapes serve: a short jump into a gap nearby that holds a long one, and,
//! for a `cpuid` about which the code does not say what it asks, a trampoline that has it [looked up](oracle).
//!
//! No thread of the address space may run while code is written. To everybody above the platform the code looks
//! unpatched: instruction pointers in cells are told as those of the original code.

mod image;
mod known;
mod length;
mod oracle;
mod plan;
mod shared;
mod table;

pub use image::CodeImage;
pub use known::{Answers, KnownPatch};
pub use oracle::Oracle;
pub(super) use plan::{Code, MAX_REACH, Plan};
pub(super) use shared::Patches;
pub(super) use table::{Edit, PatchTable, Site};
