//! What an image's configuration says about how to run it. OCI image specification, config.md.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::image::ImageConfiguration;

use super::limits::MAX_PATH;
use super::listing::shown;
use crate::values::{UserSpec, normalise, parse_user};

/// What applies unless the command line says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What the command is an argument of.
    pub entry_point: Vec<String>,
    /// The command, or the entry point's arguments.
    pub command: Vec<String>,
    /// `K=V` strings.
    pub environment: Vec<String>,
    /// Who it is; nobody said is root.
    pub user: Option<UserSpec>,
    /// Where it starts; absolute.
    pub workdir: PathBuf,
    /// Where it writes data.
    pub volumes: Vec<PathBuf>,
}

impl Settings {
    /// Takes what matters of a configuration, and checks it.
    pub(super) fn of(configuration: &ImageConfiguration) -> Result<Settings> {
        let Some(config) = configuration.config() else {
            return Ok(Settings { workdir: "/".into(), ..Settings::default() });
        };
        let strings = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let settings = Settings {
            entry_point: strings(config.entrypoint()),
            command: strings(config.cmd()),
            environment: strings(config.env()),
            user: match config.user().as_deref() {
                None | Some("") => None,
                Some(user) => Some(parse_user(user).map_err(|problem| {
                    anyhow::anyhow!("its configuration names a user: {}", shown(problem.as_bytes()))
                })?),
            },
            workdir: match config.working_dir().as_deref() {
                None | Some("") => "/".into(),
                Some(path) => place(path).context("its configuration names a directory to start in")?,
            },
            volumes: strings(config.volumes())
                .iter()
                .map(|path| place(path).context("its configuration names a volume"))
                .collect::<Result<_>>()?,
        };
        let all = [&settings.entry_point, &settings.command, &settings.environment];
        if let Some(text) = all.into_iter().flatten().find(|text| text.contains('\0')) {
            bail!("its configuration has a zero byte in {}", shown(text.as_bytes()));
        }
        if let Some(text) = settings.environment.iter().find(|text| text.split('=').next() == Some("")) {
            bail!("its configuration sets no variable: {}", shown(text.as_bytes()));
        }
        Ok(settings)
    }
}

/// A path in the sandbox. One that does not begin at the root means one that does.
fn place(path: &str) -> Result<PathBuf> {
    let usable = !path.contains('\0') && path.len() <= MAX_PATH;
    let place = usable.then(|| normalise(&Path::new("/").join(path))).flatten();
    place.with_context(|| format!("{} is no path in a sandbox", shown(path.as_bytes())))
}
