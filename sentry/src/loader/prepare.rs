//! The first half of an exec: everything that can fail while the old program still runs.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::elf::ELF_MAGIC;

use crate::BytesSink;
use crate::loader::arguments::Arguments;
use crate::loader::elf::ElfImage;
use crate::loader::script::parse_script_line;
use crate::mm::FileBacking;
use crate::vfs::{FileClaim, Mapping, OpenFile};

/// Most interpreters that a script may go through.
const MAX_INTERPRETERS: usize = 5;
/// How much of a file is read at first. All headers lie there, as a rule, and the name of the dynamic loader; a script's line does.
const HEAD_SIZE: usize = 4096;
/// Addresses below which segments must lie: 47 bits. The platform's range may be smaller, which shows when it is mapped.
const ADDRESS_LIMIT: u64 = 1 << 47;

/// A program that can be loaded.
#[derive(Debug)]
pub struct PreparedImage {
    /// What the caller named: `AT_EXECFN`, and for the task's name.
    pub path: Vec<u8>,
    /// Under which circumstances.
    pub context: ExecContext,
    /// With what `#!` lines put in.
    pub arguments: Arguments,
    /// The program's ELF file: the last interpreter if the caller named a script. Its set-user-ID bits count, and
    /// `/proc/PID/exe` shows it.
    pub program: LoadableFile,
    /// The dynamic loader.
    pub interpreter: Option<LoadableFile>,
}

/// Whose program it will be and what it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecContext {
    /// `RLIMIT_STACK` in bytes.
    pub stack_limit: u64,
    /// False under `personality(ADDR_NO_RANDOMIZE)`.
    pub randomize: bool,
    /// For the auxiliary vector. The caller may change it up to the commit, when it knows the program's file.
    pub identity: ProcessIdentity,
}

/// Who the new program runs as, for its auxiliary vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ProcessIdentity {
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
    /// The program gained privileges by being executed (`AT_SECURE`).
    pub is_secure: bool,
}

/// An ELF file and what it says.
#[derive(Debug)]
pub struct LoadableFile {
    /// What to map.
    pub backing: Arc<FileBacking>,
    /// The headers.
    pub image: ElfImage,
    /// Nobody may write it meanwhile. The program's goes on as long as the program does.
    pub claim: Arc<FileClaim>,
}

/// Opens a file for execution, by its path.
pub type OpenExecutable<'a> = dyn FnMut(&[u8]) -> Result<Arc<OpenFile>, Errno> + 'a;

/// Finds out how to load `file`, which the caller has opened for execution as `path`. `open` opens interpreters the same
/// way, with the caller's permission checks. Errors as in `execve(2)`.
pub fn prepare(
    file: Arc<OpenFile>,
    path: Vec<u8>,
    mut arguments: Arguments,
    context: ExecContext,
    open: &mut OpenExecutable<'_>,
) -> Result<PreparedImage, Errno> {
    if arguments.arguments.is_empty() {
        // So that programs which take argv[0] for granted do not run into the environment.
        arguments.arguments.push(Vec::new());
    }
    arguments.check(&path, context.stack_limit)?;

    let mut file = file;
    let mut script_path = path.clone();
    for _ in 0..=MAX_INTERPRETERS {
        let claim = FileClaim::execute(file.inode())?;
        let head = read_some(&file, 0, HEAD_SIZE)?;
        let Some(line) = parse_script_line(&head)? else {
            let program = load(file, claim, &head)?;
            let interpreter = match &program.image.interpreter {
                Some(interpreter) => Some(load_interpreter(open(interpreter)?)?),
                None => None,
            };
            return Ok(PreparedImage { path, context, arguments, program, interpreter });
        };
        let mut prefix = vec![line.interpreter.clone()];
        prefix.extend(line.argument);
        prefix.push(script_path);
        arguments.arguments.splice(0..1, prefix);
        arguments.check(&path, context.stack_limit)?;
        file = open(&line.interpreter)?;
        script_path = line.interpreter;
    }
    Err(Errno::ELOOP)
}

fn load(file: Arc<OpenFile>, claim: FileClaim, head: &[u8]) -> Result<LoadableFile, Errno> {
    if !head.starts_with(&ELF_MAGIC) {
        return Err(Errno::ENOEXEC);
    }
    let read = |offset, length| match part_of(head, offset, length) {
        Some(part) => Ok(part.to_vec()),
        None => read_exactly(&file, offset, length),
    };
    let image = ElfImage::parse(&read, ADDRESS_LIMIT)?;
    let Mapping::Host(host_file) = file.ops.mapping(&file, false).map_err(|_| Errno::ENOEXEC)? else {
        return Err(Errno::ENOEXEC);
    };
    let backing = FileBacking::new(file, host_file, None);
    Ok(LoadableFile { backing, image, claim: Arc::new(claim) })
}

/// What is wrong with an interpreter is reported as `ELIBBAD`.
fn load_interpreter(file: Arc<OpenFile>) -> Result<LoadableFile, Errno> {
    let claim = FileClaim::execute(file.inode())?;
    let head = read_some(&file, 0, HEAD_SIZE)?;
    let bad = |error| if error == Errno::ENOEXEC { Errno::ELIBBAD } else { error };
    load(file, claim, &head).map_err(bad)
}

/// Bytes of a file that lie in its head.
fn part_of(head: &[u8], offset: u64, length: usize) -> Option<&[u8]> {
    head.get(usize::try_from(offset).ok()?..)?.get(..length)
}

fn read_some(file: &Arc<OpenFile>, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let mut sink = BytesSink::new(length);
    while sink.bytes.len() < length {
        let at = offset.checked_add(sink.bytes.len() as u64).ok_or(Errno::ENOEXEC)?;
        if file.ops.read(file, &mut sink, at)? == 0 {
            break;
        }
    }
    Ok(sink.bytes)
}

/// `ENOEXEC` if the file ends before.
fn read_exactly(file: &Arc<OpenFile>, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
    if offset > i64::MAX as u64 - length as u64 {
        return Err(Errno::ENOEXEC);
    }
    let bytes = read_some(file, offset, length)?;
    if bytes.len() == length { Ok(bytes) } else { Err(Errno::ENOEXEC) }
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;
