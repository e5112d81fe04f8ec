//! Memory as a tracer sees it (`ptrace(2)`, `FOLL_FORCE` of `mm/gup.c`): the code as the program brought it along, and access to what
//! the traced program may not read or write itself.

use usk_abi::Errno;
use usk_abi::mm::PAGE_SIZE;
use usk_platform::{GuestThread, MemoryOp, Protection};

use crate::mm::mm::{Mm, State, apply};
use crate::mm::vma::Vma;
use crate::task::Task;

impl Mm {
    /// Restores all code that was rewritten, and keeps it as it is from now on, as long as the program runs: for the traced task
    /// itself, before its tracer can look. An error says that the host has refused it: then the code may still be rewritten.
    pub(crate) fn keep_code(&self, thread: &mut dyn GuestThread) -> Result<(), Errno> {
        if self.look().keeps_code {
            return Ok(());
        }
        let mut state = self.change();
        let all = self.layout.guest_start..self.layout.guest_end;
        self.clear_patches(&mut state, thread, all)?;
        state.keeps_code = true;
        Ok(())
    }

    /// Whether somebody traces a task that uses this memory.
    pub(in crate::mm) fn is_traced(&self) -> bool {
        self.tasks().iter().any(|task: &std::sync::Arc<Task>| task.tracing.is_traced())
    }

    /// Reads memory whatever its protection is, as far as it is mapped. Returns how many bytes. `thread` is a thread of this address
    /// space.
    pub(crate) fn force_read(&self, thread: &mut dyn GuestThread, address: u64, buffer: &mut [u8]) -> usize {
        let readable = |vma: &Vma| Some(Protection { read: true, ..vma.protection });
        self.force(thread, address, buffer.len(), readable, |at, range| {
            self.space.read(at, &mut buffer[range])
        })
    }

    /// Writes memory whatever its protection is, where it is private or may be written. The same as to the rest.
    pub(crate) fn force_write(&self, thread: &mut dyn GuestThread, address: u64, data: &[u8]) -> usize {
        let writable = |vma: &Vma| {
            (!vma.shared || vma.protection.write).then_some(Protection {
                read: true,
                write: true,
                ..vma.protection
            })
        };
        self.force(thread, address, data.len(), writable, |at, range| self.space.write(at, &data[range]))
    }

    /// Copies `length` bytes from `address` on with `copy`, page by page where that takes another protection than the guest has.
    /// `needed` is that protection; `None` if there is none.
    fn force(
        &self,
        thread: &mut dyn GuestThread,
        address: u64,
        length: usize,
        needed: impl Fn(&Vma) -> Option<Protection>,
        mut copy: impl FnMut(u64, std::ops::Range<usize>) -> usize,
    ) -> usize {
        let mut done = copy(address, 0..length);
        while done < length {
            let Some(at) = address.checked_add(done as u64) else { break };
            let page = at & !(PAGE_SIZE - 1);
            let in_page = usize::try_from(PAGE_SIZE - (at - page)).unwrap_or(length).min(length - done);
            // Held, so that the mapping stays what it is.
            let mut state = self.look();
            state.untouched = 0..0;
            let Some((own, needed)) = protections(&state, at, &needed) else { break };
            if apply(thread, &[protect(page, needed)]).is_err() {
                break;
            }
            let copied = copy(at, done..done + in_page);
            if let Err(error) = apply(thread, &[protect(page, own)]) {
                tracing::warn!(page, %error, "a page keeps the protection that a tracer's access needed");
            }
            done += copied;
            if copied < in_page {
                break;
            }
        }
        done
    }
}

/// The protection that memory has, and the one that it needs; `None` if it is not the guest's or cannot have that.
fn protections(
    state: &State,
    address: u64,
    needed: impl Fn(&Vma) -> Option<Protection>,
) -> Option<(Protection, Protection)> {
    let vma = state.tree.find(address).filter(|vma| !vma.is_hidden())?;
    Some((vma.protection, needed(vma)?))
}

fn protect(page: u64, protection: Protection) -> MemoryOp<'static> {
    MemoryOp::Protect { address: page, length: PAGE_SIZE, protection }
}
