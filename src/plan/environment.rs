//! The environment of the first process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::exports::Layout;
use super::users;
use crate::command_line::RunArguments;
use crate::image::Settings;
use crate::spec::User;

/// `PATH` where the caller's makes no sense: in another root file system.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Most bytes of an environment file.
const MAX_FILE: u64 = 1 << 20;

/// The variables as `K=V`, each name once: the defaults, then the image's, then `--env-file`s, then `-e`s.
pub(super) fn environment(
    arguments: &RunArguments,
    image: Option<&Settings>,
    layout: &Layout,
    user: &User,
) -> Result<Vec<OsString>> {
    let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
    if arguments.inherit_env {
        variables.extend(std::env::vars_os());
    } else if !arguments.clear_env {
        let mut default = |name: &str, own: bool, value: &dyn Fn() -> OsString| {
            let inherited = if own { std::env::var_os(name) } else { None };
            variables.insert(name.into(), inherited.unwrap_or_else(value));
        };
        default("PATH", layout.host_root, &|| DEFAULT_PATH.into());
        let caller_is_user = layout.host_root && arguments.user.is_none();
        default("HOME", caller_is_user, &|| users::home(user.uid, &layout.exports[0].descriptor));
        default("LANG", true, &|| "C.UTF-8".into());
        default("TERM", true, &|| if arguments.terminal { "xterm".into() } else { "dumb".into() });
    }
    if let Some(image) = image.filter(|_| !arguments.clear_env) {
        let pairs = image.environment.iter().filter_map(|assignment| assignment.split_once('='));
        variables.extend(pairs.map(|(name, value)| (name.into(), value.into())));
    }
    for file in &arguments.env_file {
        read_file(file, &mut variables)?;
    }
    for assignment in &arguments.environment {
        assign(assignment, &mut variables)
            .with_context(|| format!("cannot use -e {}", assignment.display()))?;
    }
    let join = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        name
    };
    Ok(variables.into_iter().map(join).collect())
}

/// Sets `K=V`; `K` alone takes the caller's value, and does nothing if there is none.
fn assign(assignment: &OsStr, variables: &mut BTreeMap<OsString, OsString>) -> Result<()> {
    let bytes = assignment.as_bytes();
    let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
        Some(index) => {
            (OsStr::from_bytes(&bytes[..index]), Some(OsStr::from_bytes(&bytes[index + 1..]).to_owned()))
        }
        None => (assignment, std::env::var_os(assignment)),
    };
    if name.is_empty() || name.as_bytes().contains(&0) {
        bail!("it names no variable: write K=V or K");
    }
    if let Some(value) = value {
        variables.insert(name.to_owned(), value);
    }
    Ok(())
}

/// Reads lines of `K=V` or `K`. Empty lines and lines that begin with `#` say nothing; there is no quoting.
fn read_file(path: &Path, variables: &mut BTreeMap<OsString, OsString>) -> Result<()> {
    let describe = || format!("cannot read the environment file {}", path.display());
    if std::fs::metadata(path).with_context(describe)?.len() > MAX_FILE {
        bail!("the environment file {} is larger than 1 MiB", path.display());
    }
    let contents = std::fs::read(path).with_context(describe)?;
    for (index, line) in contents.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii_start();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let assignment = OsString::from_vec(line.to_vec());
        assign(&assignment, variables)
            .with_context(|| format!("{} line {} is no assignment", path.display(), index + 1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_assignment_wins_and_a_bare_name_inherits() {
        let mut variables = BTreeMap::new();
        for text in ["A=1", "A=2=3", "B=", "NO_SUCH_VARIABLE_HERE"] {
            assign(OsStr::new(text), &mut variables).unwrap();
        }
        assert_eq!(variables.len(), 2);
        assert_eq!(variables[OsStr::new("A")], "2=3");
        assert_eq!(variables[OsStr::new("B")], "");
        assert!(assign(OsStr::new("=x"), &mut variables).is_err());
    }

    #[test]
    fn an_environment_file_has_comments_and_no_quoting() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"# comment\n\nA=\"1\"\r\n  B=2 3\n").unwrap();
        let mut variables = BTreeMap::new();
        read_file(file.path(), &mut variables).unwrap();
        assert_eq!(variables[OsStr::new("A")], "\"1\"");
        assert_eq!(variables[OsStr::new("B")], "2 3");
    }
}
