//! `mq_unlink(2)`.

use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::mq_open::read_name;
use crate::place::Names;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(241, "mq_unlink", &[Path], sys_mq_unlink)];

fn sys_mq_unlink(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let name = read_name(current, arguments.pointer(0))?;
    let names = Names::of(current);
    current.task.kernel.ipc.queues.unlink(&names.context(), &name)?;
    Ok(0)
}
