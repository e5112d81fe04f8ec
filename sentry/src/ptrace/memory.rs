//! The memory of a stopped task.

use usk_abi::Errno;

use super::stop::on_tracee;
use crate::mm::Mm;
use crate::task::Task;

/// `PTRACE_PEEKDATA`: the word at `address`, whatever its protection. `EIO` if it is not mapped.
pub fn peek(task: &Task, address: u64) -> Result<u64, Errno> {
    let mut word = [0; 8];
    if task.mm().space.read(address, &mut word) < word.len() {
        let bytes = force_read(task, task.mm().id(), address, word.len())?;
        word = bytes.try_into().map_err(|_| Errno::EIO)?;
    }
    Ok(u64::from_le_bytes(word))
}

/// `PTRACE_POKEDATA`: writes the word at `address`, whatever its protection. `EIO` if it is not mapped, or shared and not writable.
pub fn poke(task: &Task, address: u64, word: u64) -> Result<(), Errno> {
    let bytes = word.to_le_bytes();
    if task.mm().space.write(address, &bytes) < bytes.len()
        && force_write(task, task.mm().id(), address, &bytes)? < bytes.len()
    {
        return Err(Errno::EIO);
    }
    Ok(())
}

/// Reads memory for `/proc/PID/mem`: whatever the protection if it is that of `task`, which is stopped for its tracer. Returns as much as
/// can be read.
pub fn read_memory(task: &Task, mm: &Mm, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let read = mm.space.read(address, &mut bytes);
    bytes.truncate(read);
    if read < length
        && task.tracing.is_stopped()
        && let Some(rest) = address.checked_add(read as u64)
    {
        bytes.extend(force_read(task, mm.id(), rest, length - read).unwrap_or_default());
    }
    bytes
}

/// Writes memory for `/proc/PID/mem`, as [`read_memory`] reads it. Returns how many bytes could be written.
pub fn write_memory(task: &Task, mm: &Mm, address: u64, bytes: &[u8]) -> usize {
    let written = mm.space.write(address, bytes);
    match address.checked_add(written as u64) {
        Some(rest) if written < bytes.len() && task.tracing.is_stopped() => {
            written + force_write(task, mm.id(), rest, &bytes[written..]).unwrap_or(0)
        }
        _ => written,
    }
}

/// Has the stopped task read the address space `space`. `ESRCH` if it is not stopped, or uses another by now.
fn force_read(task: &Task, space: u64, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
    on_tracee(task, move |current| {
        let mm = current.task.mm();
        if mm.id() != space {
            return Err(Errno::ESRCH);
        }
        let mut bytes = vec![0; length];
        let read = mm.force_read(&mut *current.thread, address, &mut bytes);
        bytes.truncate(read);
        Ok(bytes)
    })?
}

/// Has the stopped task write to the address space `space`, as [`force_read`] reads it.
fn force_write(task: &Task, space: u64, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
    let bytes = bytes.to_vec();
    on_tracee(task, move |current| {
        let mm = current.task.mm();
        if mm.id() != space {
            return Err(Errno::ESRCH);
        }
        let written = mm.force_write(&mut *current.thread, address, &bytes);
        current.has_stale_copies = true;
        Ok(written)
    })?
}
