//! What the host told this process about the machine.

/// An entry of this process's auxiliary vector (`getauxval(3)`), `kind` being `AT_*`; 0 if there is none.
pub fn auxiliary_value(kind: u64) -> u64 {
    // SAFETY: the function takes a number and returns one; it has no precondition.
    unsafe { libc::getauxval(kind) }
}
