//! `getuid(2)` and its kin, `setuid(2)` and its kin, `getgroups(2)`, `setgroups(2)` (`credentials(7)`).

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::{Credentials, Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(102, "getuid", &[], sys_getuid),
    Row::full(104, "getgid", &[], sys_getgid),
    Row::full(105, "setuid", &[Uint], sys_setuid),
    Row::full(106, "setgid", &[Uint], sys_setgid),
    Row::full(107, "geteuid", &[], sys_geteuid),
    Row::full(108, "getegid", &[], sys_getegid),
    Row::full(113, "setreuid", &[Int, Int], sys_setreuid),
    Row::full(114, "setregid", &[Int, Int], sys_setregid),
    Row::full(115, "getgroups", &[Int, Pointer], sys_getgroups),
    Row::full(116, "setgroups", &[Int, Pointer], sys_setgroups),
    Row::full(117, "setresuid", &[Int, Int, Int], sys_setresuid),
    Row::full(118, "getresuid", &[Pointer, Pointer, Pointer], sys_getresuid),
    Row::full(119, "setresgid", &[Int, Int, Int], sys_setresgid),
    Row::full(120, "getresgid", &[Pointer, Pointer, Pointer], sys_getresgid),
    Row::full(122, "setfsuid", &[Uint], sys_setfsuid),
    Row::full(123, "setfsgid", &[Uint], sys_setfsgid),
];

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
/// The identifier that stands for "leave as it is".
const UNCHANGED: u32 = u32::MAX;
/// `NGROUPS_MAX`
const GROUPS_MAX: usize = 65536;
/// `SECBIT_NO_SETUID_FIXUP`
const SECBIT_NO_SETUID_FIXUP: u32 = 1 << 2;
/// `SECBIT_KEEP_CAPS`
const SECBIT_KEEP_CAPS: u32 = 1 << 4;
/// The capabilities that follow the file-system user (`CAP_FS_MASK`): CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, LINUX_IMMUTABLE,
/// MKNOD, MAC_OVERRIDE.
const FS_CAPABILITIES: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;

fn sys_getuid(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    Ok(current.task.credentials().uid.into())
}

fn sys_geteuid(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    Ok(current.task.credentials().euid.into())
}

fn sys_getgid(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    Ok(current.task.credentials().gid.into())
}

fn sys_getegid(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    Ok(current.task.credentials().egid.into())
}

/// What a change of user does to capabilities (`cap_emulate_setxuid`): leaving user 0 loses them.
fn adjust_capabilities(old: &Credentials, new: &mut Credentials) {
    if old.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
        return;
    }
    let had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
    let has_root = new.uid == 0 || new.euid == 0 || new.suid == 0;
    if had_root && !has_root {
        if old.securebits & SECBIT_KEEP_CAPS == 0 {
            new.permitted = 0;
            new.effective = 0;
        }
        new.ambient = 0;
    }
    if old.euid == 0 && new.euid != 0 {
        new.effective = 0;
    }
    if old.euid != 0 && new.euid == 0 {
        new.effective = new.permitted;
    }
}

fn publish_user(current: &Current, old: &Credentials, mut new: Credentials) {
    new.fsuid = new.euid;
    adjust_capabilities(old, &mut new);
    current.task.set_credentials(new);
}

fn publish_group(current: &Current, mut new: Credentials) {
    new.fsgid = new.egid;
    current.task.set_credentials(new);
}

fn sys_setuid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let uid = arguments.u32(0);
    if uid == UNCHANGED {
        return Err(Errno::EINVAL.into());
    }
    let old = current.task.credentials();
    let mut new = (*old).clone();
    if old.has_capability(CAP_SETUID) {
        (new.uid, new.suid) = (uid, uid);
    } else if uid != old.uid && uid != old.suid {
        return Err(Errno::EPERM.into());
    }
    new.euid = uid;
    publish_user(current, &old, new);
    Ok(0)
}

fn sys_setgid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let gid = arguments.u32(0);
    if gid == UNCHANGED {
        return Err(Errno::EINVAL.into());
    }
    let old = current.task.credentials();
    let mut new = (*old).clone();
    if old.has_capability(CAP_SETGID) {
        (new.gid, new.sgid) = (gid, gid);
    } else if gid != old.gid && gid != old.sgid {
        return Err(Errno::EPERM.into());
    }
    new.egid = gid;
    publish_group(current, new);
    Ok(0)
}

fn sys_setreuid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (real, effective) = (arguments.u32(0), arguments.u32(1));
    let old = current.task.credentials();
    let privileged = old.has_capability(CAP_SETUID);
    let mut new = (*old).clone();
    if real != UNCHANGED {
        if !privileged && real != old.uid && real != old.euid {
            return Err(Errno::EPERM.into());
        }
        new.uid = real;
    }
    if effective != UNCHANGED {
        if !privileged && ![old.uid, old.euid, old.suid].contains(&effective) {
            return Err(Errno::EPERM.into());
        }
        new.euid = effective;
    }
    if real != UNCHANGED || (effective != UNCHANGED && effective != old.uid) {
        new.suid = new.euid;
    }
    publish_user(current, &old, new);
    Ok(0)
}

fn sys_setregid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (real, effective) = (arguments.u32(0), arguments.u32(1));
    let old = current.task.credentials();
    let privileged = old.has_capability(CAP_SETGID);
    let mut new = (*old).clone();
    if real != UNCHANGED {
        if !privileged && real != old.gid && real != old.egid {
            return Err(Errno::EPERM.into());
        }
        new.gid = real;
    }
    if effective != UNCHANGED {
        if !privileged && ![old.gid, old.egid, old.sgid].contains(&effective) {
            return Err(Errno::EPERM.into());
        }
        new.egid = effective;
    }
    if real != UNCHANGED || (effective != UNCHANGED && effective != old.gid) {
        new.sgid = new.egid;
    }
    publish_group(current, new);
    Ok(0)
}

fn sys_setresuid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let wanted = [arguments.u32(0), arguments.u32(1), arguments.u32(2)];
    let old = current.task.credentials();
    let may_be = [old.uid, old.euid, old.suid];
    let allowed =
        old.has_capability(CAP_SETUID) || wanted.iter().all(|uid| *uid == UNCHANGED || may_be.contains(uid));
    if !allowed {
        return Err(Errno::EPERM.into());
    }
    let mut new = (*old).clone();
    for (uid, place) in wanted.iter().zip([&mut new.uid, &mut new.euid, &mut new.suid]) {
        if *uid != UNCHANGED {
            *place = *uid;
        }
    }
    publish_user(current, &old, new);
    Ok(0)
}

fn sys_setresgid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let wanted = [arguments.u32(0), arguments.u32(1), arguments.u32(2)];
    let old = current.task.credentials();
    let may_be = [old.gid, old.egid, old.sgid];
    let allowed =
        old.has_capability(CAP_SETGID) || wanted.iter().all(|gid| *gid == UNCHANGED || may_be.contains(gid));
    if !allowed {
        return Err(Errno::EPERM.into());
    }
    let mut new = (*old).clone();
    for (gid, place) in wanted.iter().zip([&mut new.gid, &mut new.egid, &mut new.sgid]) {
        if *gid != UNCHANGED {
            *place = *gid;
        }
    }
    publish_group(current, new);
    Ok(0)
}

fn write_three(current: &mut Current, arguments: SyscallArguments, values: [u32; 3]) -> SysResult {
    for (index, value) in values.iter().enumerate() {
        current.copy_out(arguments.pointer::<u32>(index), value)?;
    }
    Ok(0)
}

fn sys_getresuid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let own = current.task.credentials();
    write_three(current, arguments, [own.uid, own.euid, own.suid])
}

fn sys_getresgid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let own = current.task.credentials();
    write_three(current, arguments, [own.gid, own.egid, own.sgid])
}

/// Returns the old identifier whether it changes or not.
fn sys_setfsuid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let uid = arguments.u32(0);
    let old = current.task.credentials();
    let may = old.has_capability(CAP_SETUID) || [old.uid, old.euid, old.suid, old.fsuid].contains(&uid);
    if uid != UNCHANGED && uid != old.fsuid && may {
        let mut new = (*old).clone();
        new.fsuid = uid;
        if old.fsuid == 0 && uid != 0 {
            new.effective &= !FS_CAPABILITIES;
        } else if old.fsuid != 0 && uid == 0 {
            new.effective |= new.permitted & FS_CAPABILITIES;
        }
        current.task.set_credentials(new);
    }
    Ok(old.fsuid.into())
}

fn sys_setfsgid(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let gid = arguments.u32(0);
    let old = current.task.credentials();
    let may = old.has_capability(CAP_SETGID) || [old.gid, old.egid, old.sgid, old.fsgid].contains(&gid);
    if gid != UNCHANGED && gid != old.fsgid && may {
        let mut new = (*old).clone();
        new.fsgid = gid;
        current.task.set_credentials(new);
    }
    Ok(old.fsgid.into())
}

fn sys_getgroups(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let room = usize::try_from(arguments.i32(0)).map_err(|_| Errno::EINVAL)?;
    let own = current.task.credentials();
    if room != 0 {
        if room < own.groups.len() {
            return Err(Errno::EINVAL.into());
        }
        current.copy_out_array(arguments.pointer::<u32>(1), &own.groups)?;
    }
    Ok(own.groups.len() as u64)
}

fn sys_setgroups(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let old = current.task.credentials();
    if !old.has_capability(CAP_SETGID) {
        return Err(Errno::EPERM.into());
    }
    let count = usize::try_from(arguments.i32(0)).map_err(|_| Errno::EINVAL)?;
    if count > GROUPS_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut groups = arguments.pointer::<u32>(1).read_array(current.space(), count)?;
    groups.sort_unstable();
    current.task.set_credentials(Credentials { groups: groups.into(), ..(*old).clone() });
    Ok(0)
}
