//! The extended registers of a stopped task: x87, SSE, AVX and the like (`arch/x86/kernel/fpu/regset.c`).
//!
//! Both of a tracer's forms are parts of what a signal frame holds: the XSAVE area in the standard format, behind which a magic number
//! says that it is whole. What a tracer writes is checked by the platform, as it checks what a guest's signal frame says.

use usk_abi::Errno;

use super::stop::on_tracee;
use crate::task::{Current, Task};

/// Bytes of an FXSAVE area (`struct user_fpregs_struct`).
pub const FP_REGISTERS_SIZE: usize = 512;
/// Where software may keep something in it: a frame's description, or a tracer's features.
const SOFTWARE: std::ops::Range<usize> = 464..512;
/// Where XSAVE says which features are there (`XSTATE_BV`).
const PRESENT: std::ops::Range<usize> = 512..520;
/// x87 and SSE, which are in the FXSAVE area.
const LEGACY_FEATURES: u64 = 3;
/// Where a frame's description says which features it may hold.
const FRAME_FEATURES: std::ops::Range<usize> = 472..480;
/// Bytes of the magic number behind the area.
const MAGIC_SIZE: usize = 4;

/// `PTRACE_GETFPREGS`
pub fn fp_registers(task: &Task) -> Result<Vec<u8>, Errno> {
    on_tracee(task, |current| {
        let mut area = current.thread.extended_state();
        area.truncate(FP_REGISTERS_SIZE);
        area[SOFTWARE].fill(0);
        area
    })
}

/// `PTRACE_SETFPREGS`: an FXSAVE area. `EINVAL` for one that the processor would not load.
pub fn set_fp_registers(task: &Task, area: Vec<u8>) -> Result<(), Errno> {
    if area.len() != FP_REGISTERS_SIZE {
        return Err(Errno::EINVAL);
    }
    on_tracee(task, move |current| {
        let mut image = current.thread.extended_state();
        image[..SOFTWARE.start].copy_from_slice(&area[..SOFTWARE.start]);
        let present = word(&image, PRESENT) | LEGACY_FEATURES;
        image[PRESENT].copy_from_slice(&present.to_le_bytes());
        current.thread.set_extended_state(Some(&image))
    })?
}

/// `PTRACE_GETREGSET` with `NT_X86_XSTATE`: the XSAVE area, with the features that it can hold where software may keep something.
pub fn xstate(task: &Task) -> Result<Vec<u8>, Errno> {
    on_tracee(task, show)
}

fn show(current: &mut Current) -> Vec<u8> {
    let mut area = current.thread.extended_state();
    area.truncate(area.len() - MAGIC_SIZE);
    let features = word(&area, FRAME_FEATURES);
    area[SOFTWARE].fill(0);
    area[SOFTWARE.start..SOFTWARE.start + 8].copy_from_slice(&features.to_le_bytes());
    area
}

/// `PTRACE_SETREGSET` with `NT_X86_XSTATE`. `EFAULT` for an area that is not of the machine's size, `EINVAL` for one that the processor
/// would not load: then nothing has changed.
pub fn set_xstate(task: &Task, area: Vec<u8>) -> Result<(), Errno> {
    on_tracee(task, move |current| {
        let mut image = current.thread.extended_state();
        let size = image.len() - MAGIC_SIZE;
        if area.len() != size {
            return Err(Errno::EFAULT);
        }
        image[..SOFTWARE.start].copy_from_slice(&area[..SOFTWARE.start]);
        image[SOFTWARE.end..size].copy_from_slice(&area[SOFTWARE.end..]);
        current.thread.set_extended_state(Some(&image))
    })?
}

fn word(area: &[u8], at: std::ops::Range<usize>) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&area[at]);
    u64::from_le_bytes(bytes)
}
