//! `linux.devices`: device files besides those that every container has. Only what the sandbox's own kernel has can be
//! opened; nothing leads to the host's devices.

use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};
use usk::spec::{DeviceFile, DeviceKind};

use super::mounts::clean;

/// Most devices: an engine lists all of the host's for a container that may do anything.
const MAX_DEVICES: usize = 4096;

pub(super) fn devices(linux: Option<&Linux>) -> Result<Vec<DeviceFile>> {
    let listed = linux.and_then(|linux| linux.devices().as_ref()).map_or(&[][..], Vec::as_slice);
    if listed.len() > MAX_DEVICES {
        bail!("linux.devices: more than {MAX_DEVICES}");
    }
    let one = |(index, listed)| device(listed).with_context(|| format!("linux.devices[{index}]"));
    listed.iter().enumerate().map(one).collect()
}

fn device(listed: &LinuxDevice) -> Result<DeviceFile> {
    const PERMISSIONS: u32 = 0o7777;
    let path =
        clean(listed.path()).with_context(|| format!("path: {:?} is not an absolute path", listed.path()))?;
    if !path.starts_with("/dev") || path == Path::new("/dev") {
        bail!("path: {} is not below /dev, where device files can be", path.display());
    }
    let number = |value: i64, field: &str| {
        u32::try_from(value).with_context(|| format!("{field}: {value} is no number of a device"))
    };
    let (major, minor) = (number(listed.major(), "major"), number(listed.minor(), "minor"));
    let kind = match listed.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Character { major: major?, minor: minor? },
        LinuxDeviceType::B => DeviceKind::Block { major: major?, minor: minor? },
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => bail!("type: \"a\" is no type of a device"),
    };
    Ok(DeviceFile {
        path,
        kind,
        permissions: listed.file_mode().unwrap_or(0o666) & PERMISSIONS,
        uid: listed.uid().unwrap_or(0),
        gid: listed.gid().unwrap_or(0),
    })
}
