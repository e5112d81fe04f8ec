//! What the device files of terminals open: `/dev/ptmx`, `/dev/pts/N`, `/dev/tty`, `/dev/console`.

use std::sync::Arc;

use usk_abi::Errno;

use crate::SysResult;
use crate::tty::Terminals;
use crate::tty::job_control::{self, Terminal};
use crate::tty::pty::{PTS_MAJOR, PtyMaster};
use crate::vfs::{Device, DeviceOpening, FileOps, FileType, SpecialFiles};

/// Major number of the three devices that stand for others.
const TTY_AUX_MAJOR: u32 = 5;
const TTY_MINOR: u32 = 0;
const CONSOLE_MINOR: u32 = 1;
const PTMX_MINOR: u32 = 2;

/// Says what the numbers of terminal devices mean.
pub fn register(special: &SpecialFiles, terminals: &Arc<Terminals>) {
    let device = |role| Arc::new(TerminalDevice { terminals: terminals.clone(), role });
    let character = FileType::CharacterDevice;
    special.register(character, TTY_AUX_MAJOR, Some(TTY_MINOR), device(Role::Own));
    special.register(character, TTY_AUX_MAJOR, Some(CONSOLE_MINOR), device(Role::Console));
    special.register(character, TTY_AUX_MAJOR, Some(PTMX_MINOR), device(Role::Master));
    special.register(character, PTS_MAJOR, None, device(Role::Slave));
}

/// What a device file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// `/dev/tty`: the caller's controlling terminal.
    Own,
    /// `/dev/console`
    Console,
    /// `/dev/ptmx`: a new pseudo-terminal's master.
    Master,
    /// `/dev/pts/N`
    Slave,
}

struct TerminalDevice {
    terminals: Arc<Terminals>,
    role: Role,
}

impl Device for TerminalDevice {
    fn open(&self, opening: DeviceOpening<'_>) -> SysResult<Arc<dyn FileOps>> {
        let current = opening.current.as_deref();
        let flags = opening.flags.bits();
        let terminal: Arc<dyn Terminal> = match self.role {
            Role::Master => {
                let (uid, gid) = current.map_or((0, 0), |current| {
                    let credentials = current.task.credentials();
                    (credentials.fsuid, credentials.fsgid)
                });
                return Ok(PtyMaster::create(&self.terminals, uid, gid)?);
            }
            Role::Own => {
                let terminal = job_control::own_terminal(current.ok_or(Errno::ENXIO)?)?;
                return Ok(terminal.open()?);
            }
            Role::Console => self.terminals.console().ok_or(Errno::ENODEV)?,
            Role::Slave => self.terminals.numbered(opening.minor)?,
        };
        let object = terminal.clone().open()?;
        if let Some(current) = current {
            job_control::acquire_on_open(current, &terminal, flags);
        }
        Ok(object)
    }
}
