//! What is run: the command line's command, and what an image says about it.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::command_line::RunArguments;
use crate::image::Settings;

/// The entry point, then the command; each as the command line says, else as the image does. An entry point of the command
/// line's has no use for the image's command, which was written for another.
pub(super) fn command(arguments: &RunArguments, image: Option<&Settings>) -> Result<Vec<OsString>> {
    let Some(image) = image else { return Ok(arguments.command.clone()) };
    let strings = |list: &[String]| list.iter().map(OsString::from).collect::<Vec<_>>();
    let (mut command, rest) = match &arguments.entrypoint {
        None => (strings(&image.entry_point), strings(&image.command)),
        Some(program) if program.is_empty() => (Vec::new(), Vec::new()),
        Some(program) => (vec![program.clone()], Vec::new()),
    };
    command.extend(if arguments.command.is_empty() { rest } else { arguments.command.clone() });
    if command.is_empty() {
        bail!("the image names no command: write one after --");
    }
    Ok(command)
}
