//! The `#!` line of a script (`fs/binfmt_script.c`).

use usk_abi::Errno;

/// `BINPRM_BUF_SIZE`: how much of a file is looked at to find out what it is.
const PROBE_SIZE: usize = 256;

/// What a `#!` line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptLine {
    /// Path of the interpreter.
    pub interpreter: Vec<u8>,
    /// All that follows it, as one argument.
    pub argument: Option<Vec<u8>>,
}

/// Parses the first [`PROBE_SIZE`] bytes of a file (fewer if it is shorter). `None` if it does not begin with `#!`;
/// `ENOEXEC` if what follows names no interpreter, or only part of one.
pub fn parse_script_line(probe: &[u8]) -> Result<Option<ScriptLine>, Errno> {
    // Linux sees the buffer filled up with NULs, and never looks at its last byte.
    let mut buffer = [0u8; PROBE_SIZE];
    let length = probe.len().min(PROBE_SIZE);
    buffer[..length].copy_from_slice(&probe[..length]);
    let Some(line) = buffer.strip_prefix(b"#!") else { return Ok(None) };

    // The line ends at a newline; a NUL before it hides the newline.
    let newline = line.iter().position(|&byte| byte == b'\n' || byte == 0).filter(|&at| line[at] == b'\n');
    let line = match newline {
        Some(end) => &line[..end],
        None => {
            let line = &line[..line.len() - 1];
            let name = line.iter().position(|&byte| !is_blank(byte)).ok_or(Errno::ENOEXEC)?;
            // Without an end of the name within the buffer, the name may have been cut off.
            if !line[name..].iter().any(|&byte| is_blank(byte) || byte == 0) {
                return Err(Errno::ENOEXEC);
            }
            line
        }
    };
    let end = line.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
    let line = &line[..end];
    let name = line.iter().position(|&byte| !is_blank(byte)).ok_or(Errno::ENOEXEC)?;
    let line = &line[name..];
    let name_end = line.iter().position(|&byte| is_blank(byte) || byte == 0).unwrap_or(line.len());
    if name_end == 0 {
        return Err(Errno::ENOEXEC);
    }
    let rest = &line[name_end..];
    let argument = match rest.iter().position(|&byte| !is_blank(byte)) {
        Some(start) if rest[0] != 0 => {
            let rest = &rest[start..];
            let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
            (end > 0).then(|| rest[..end].to_vec())
        }
        _ => None,
    };
    Ok(Some(ScriptLine { interpreter: line[..name_end].to_vec(), argument }))
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(line: &[u8]) -> Option<(String, Option<String>)> {
        let line = parse_script_line(line).ok()??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Some((text(line.interpreter), line.argument.map(text)))
    }

    #[test]
    fn one_argument_takes_the_rest_of_the_line() {
        assert_eq!(parsed(b"#!/bin/sh\necho"), Some(("/bin/sh".into(), None)));
        assert_eq!(
            parsed(b"#! /usr/bin/env -S  a b \n"),
            Some(("/usr/bin/env".into(), Some("-S  a b".into())))
        );
        assert_eq!(parsed(b"#!\t/bin/sh\t-e\n"), Some(("/bin/sh".into(), Some("-e".into()))));
        assert_eq!(parsed(b"#!/bin/sh"), Some(("/bin/sh".into(), None)));
        assert_eq!(parsed(b"#!/bin/sh\r\n"), Some(("/bin/sh\r".into(), None)));
    }

    #[test]
    fn lines_without_an_interpreter_are_not_executable() {
        for line in [&b"#!"[..], b"#!\n", b"#!   \n", b"#!\0"] {
            assert_eq!(parse_script_line(line), Err(Errno::ENOEXEC), "{line:?}");
        }
        assert_eq!(parse_script_line(b"echo"), Ok(None));
        assert_eq!(parse_script_line(b""), Ok(None));
    }

    #[test]
    fn names_that_reach_the_end_of_the_buffer_are_refused_but_arguments_are_cut() {
        let mut line = b"#!/".to_vec();
        line.resize(300, b'x');
        assert_eq!(parse_script_line(&line), Err(Errno::ENOEXEC));
        line[100] = b' ';
        let (name, argument) = parsed(&line).expect("a line");
        assert_eq!(name.len(), 98);
        assert_eq!(argument.expect("an argument").len(), 255 - 101);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_script_line(&bytes);
            bytes.splice(0..0, *b"#!");
            if let Ok(Some(line)) = parse_script_line(&bytes) {
                prop_assert!(!line.interpreter.is_empty());
                prop_assert!(!line.interpreter.contains(&b'\n'));
            }
        }
    }
}
