//! The execution domain that this process has inherited (`personality(2)`).

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::personality::{self, Persona};

/// Executes this program anew, with its addresses randomised, if whoever started it has switched that off, as `setarch -R` and
/// debuggers do: it would lie at the top of the address space, where a guest's platform has its memory. Comes back if there is
/// nothing to do, or if that cannot be done; then the platform says that it cannot start.
pub fn randomize_addresses() {
    let Ok(persona) = personality::get() else { return };
    if !persona.contains(Persona::ADDR_NO_RANDOMIZE)
        || personality::set(persona - Persona::ADDR_NO_RANDOMIZE).is_err()
    {
        return;
    }
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // It comes back with an error only.
    let _ = again.args(arguments).exec();
}
