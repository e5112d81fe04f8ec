//! Values as people write them on command lines: sizes, durations, volumes, users.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// A count of bytes: `4096`, `64k`, `512M`, `2G`, `1.5g`; powers of 1024, with or without a trailing `b` or `iB`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let problem = || format!("'{text}' is not a size; write for example 512M or 2G");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(problem()),
    };
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift).ok_or_else(problem)?,
        Err(_) => {
            let number: f64 = number.parse().map_err(|_| problem())?;
            let bytes = number * (1u64 << shift) as f64;
            if !bytes.is_finite() || bytes >= 2f64.powi(63) {
                return Err(problem());
            }
            bytes as u64
        }
    };
    if bytes == 0 || bytes > i64::MAX as u64 { Err(problem()) } else { Ok(bytes) }
}

/// A span of time: `90`, `60s`, `1.5h`, `2m`, `500ms`, `1d`; seconds where no unit is given.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("'{text}' is not a duration; write for example 60s, 5m or 1.5h");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(problem()),
    };
    let number: f64 = number.parse().map_err(|_| problem())?;
    match Duration::try_from_secs_f64(number * unit) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(problem()),
    }
}

/// A host file or directory made visible: `SRC:DST[:ro|rw]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Path on the host, as written.
    pub source: PathBuf,
    /// Absolute path in the sandbox, normalised.
    pub destination: PathBuf,
    /// Whether the sandbox may change it.
    pub writable: bool,
}

/// Reads `SRC:DST[:ro|rw]`; read-only unless it says `rw`.
pub fn parse_volume(text: &str) -> Result<Volume, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [source, destination] => (source, destination, "ro"),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(format!("'{text}' is not a volume; write SRC:DST or SRC:DST:rw")),
    };
    let writable = match mode {
        "ro" => false,
        "rw" => true,
        _ => return Err(format!("'{mode}' is not a volume's mode; write ro or rw")),
    };
    if source.is_empty() {
        return Err(format!("'{text}' names no host path; write SRC:DST"));
    }
    Ok(Volume { source: source.into(), destination: sandbox_path(destination)?, writable })
}

/// An empty, temporary file system: `DST[:size=N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Absolute path in the sandbox, normalised.
    pub destination: PathBuf,
    /// Bytes it can hold; `None` is half of the memory limit, as with Linux.
    pub size: Option<u64>,
}

/// Reads `DST[:size=N]`.
pub fn parse_tmpfs(text: &str) -> Result<Tmpfs, String> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let mut size = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(parse_size(value)?),
            _ => return Err(format!("'{option}' is not an option of --tmpfs; it knows size=N")),
        }
    }
    Ok(Tmpfs { destination: sandbox_path(destination)?, size })
}

/// An absolute path in the sandbox, without `.`, `..` and doubled slashes.
pub fn sandbox_path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err(format!("'{text}' is not an absolute path in the sandbox"));
    }
    normalise(Path::new(text)).ok_or_else(|| format!("'{text}' contains '..'; write the path without it"))
}

/// Drops `.` and empty components. `None` if the path is relative or contains `..`.
pub fn normalise(path: &Path) -> Option<PathBuf> {
    let mut result = PathBuf::from("/");
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return None;
    }
    for component in components {
        match component {
            Component::Normal(name) => result.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(result)
}

/// A user and perhaps a group, by number or by name: `1000`, `1000:1000`, `nobody`, `nobody:users`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// User id or name.
    pub user: String,
    /// Group id or name.
    pub group: Option<String>,
}

/// Reads `USER[:GROUP]`.
pub fn parse_user(text: &str) -> Result<UserSpec, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if user.is_empty() || group == Some("") || group.is_some_and(|group| group.contains(':')) {
        return Err(format!("'{text}' is not a user; write UID, UID:GID or names"));
    }
    Ok(UserSpec { user: user.into(), group: group.map(Into::into) })
}

/// A host name that `sethostname(2)` takes: 1 to 64 bytes, without spaces and control characters.
pub fn parse_hostname(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 64 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("'{text}' is not a host name; it has 1 to 64 characters and no spaces"));
    }
    Ok(text.into())
}

/// The runtimes that `usk bench` can drive.
const RUNTIMES: &[&str] = &["bubblewrap", "crun", "runc", "runsc", "usk"];

/// A program to measure, as `usk bench --runtime NAME=PATH` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedProgram {
    /// Its name in tables.
    pub name: String,
    /// The runtime that the name begins with: how the program is driven.
    pub kind: &'static str,
    /// The program.
    pub program: PathBuf,
}

/// `NAME=PATH`, where NAME is a runtime or begins with one: `runsc-nightly=/opt/runsc`.
pub fn parse_runtime(text: &str) -> Result<NamedProgram, String> {
    let (name, program) = text.split_once('=').ok_or("expected NAME=PATH")?;
    let kind = RUNTIMES
        .iter()
        .find(|kind| name.starts_with(**kind))
        .ok_or_else(|| format!("'{name}' begins like no runtime; those known are {}", RUNTIMES.join(", ")))?;
    if program.is_empty() {
        return Err("the path is missing".into());
    }
    Ok(NamedProgram { name: name.into(), kind, program: program.into() })
}

/// A name of a runtime as all engines take it: letters, digits, `-` and `_`.
pub fn parse_runtime_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
        return Err(format!("'{text}' is not a runtime's name; it has 1 to 64 letters, digits, - and _"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("1.5g"), Ok(3 << 29));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64KiB"), Ok(65536));
        for wrong in ["", "M", "-1", "5x", "0", "1e99", "99999999999T", "nan", "."] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_take_units_and_refuse_nonsense() {
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "s", "0", "-5s", "1w", "inf", "99999999999999999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn volumes_are_read_only_unless_they_say_otherwise() {
        assert!(!parse_volume("/a:/b").unwrap().writable);
        assert!(parse_volume("a:/b//c/./d:rw").unwrap().writable);
        assert_eq!(parse_volume("a:/b//c/./d").unwrap().destination, Path::new("/b/c/d"));
        for wrong in ["/a", "/a:b", "/a:/b:rx", ":/b", "/a:/b/../c", "/a:/b:ro:x"] {
            assert!(parse_volume(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tmpfs_takes_a_size() {
        assert_eq!(parse_tmpfs("/t:size=1M").unwrap().size, Some(1 << 20));
        assert_eq!(parse_tmpfs("/t").unwrap().size, None);
        assert!(parse_tmpfs("/t:mode=1").is_err());
        assert!(parse_tmpfs("t").is_err());
    }

    #[test]
    fn users_are_names_or_numbers() {
        assert_eq!(parse_user("1:2"), Ok(UserSpec { user: "1".into(), group: Some("2".into()) }));
        assert_eq!(parse_user("nobody"), Ok(UserSpec { user: "nobody".into(), group: None }));
        for wrong in ["", ":1", "1:", "1:2:3"] {
            assert!(parse_user(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn runtimes_are_named_after_what_they_are_driven_like() {
        let named = parse_runtime("runsc-nightly=/opt/runsc").unwrap();
        assert_eq!((named.name.as_str(), named.kind), ("runsc-nightly", "runsc"));
        assert_eq!(named.program, Path::new("/opt/runsc"));
        for wrong in ["runsc", "runsc=", "docker=/usr/bin/docker", "=x"] {
            assert!(parse_runtime(wrong).is_err(), "{wrong}");
        }
    }
}
