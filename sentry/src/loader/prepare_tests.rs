use super::*;
use crate::loader::testing::{open_bytes, open_path, small_elf};

const CONTEXT: ExecContext = ExecContext {
    stack_limit: 8 << 20,
    randomize: true,
    identity: ProcessIdentity { uid: 0, euid: 0, gid: 0, egid: 0, is_secure: false },
};

fn arguments(strings: &[&str]) -> Arguments {
    let arguments = strings.iter().map(|string| string.as_bytes().to_vec()).collect();
    Arguments { arguments, environment: vec![] }
}

fn prepare_file(
    contents: &[u8],
    arguments: Arguments,
    open: &mut OpenExecutable<'_>,
) -> Result<PreparedImage, Errno> {
    prepare(open_bytes(contents), b"/tmp/file".to_vec(), arguments, CONTEXT, open)
}

#[test]
fn scripts_name_their_interpreter_and_pass_their_own_path() {
    let image = prepare_file(b"#!/bin/one -x y \n", arguments(&["zero", "a", "b"]), &mut |path| match path {
        b"/bin/one" => Ok(open_bytes(b"#! /bin/two\n")),
        b"/bin/two" => Ok(open_bytes(&small_elf())),
        _ => Err(Errno::ENOENT),
    })
    .expect("a program");
    assert_eq!(image.arguments, arguments(&["/bin/two", "/bin/one", "-x y", "/tmp/file", "a", "b"]),);
    assert_eq!(image.path, b"/tmp/file");
    assert!(image.interpreter.is_none());
}

#[test]
fn five_interpreters_may_be_scripts_but_not_six() {
    let chain = |length: u8| {
        prepare_file(b"#!/1\n", arguments(&["x"]), &mut |path| {
            let number = path[1] - b'0';
            if number == length {
                return Ok(open_bytes(&small_elf()));
            }
            Ok(open_bytes(format!("#!/{}\n", number + 1).as_bytes()))
        })
        .map(|image| image.arguments.arguments.len())
    };
    assert_eq!(chain(5), Ok(6));
    assert_eq!(chain(6), Err(Errno::ELOOP));
}

#[test]
fn what_is_no_program_is_refused() {
    let mut none = |_: &[u8]| Err(Errno::ENOENT);
    for contents in [&b""[..], b"echo hello\n", b"\x7fELF", b"#!\n"] {
        assert_eq!(prepare_file(contents, arguments(&["x"]), &mut none).err(), Some(Errno::ENOEXEC));
    }
    assert_eq!(prepare_file(b"#!/missing\n", arguments(&["x"]), &mut none).err(), Some(Errno::ENOENT));
}

#[test]
fn a_bad_dynamic_loader_is_a_bad_library() {
    let program = open_path("/bin/true").expect("/bin/true");
    let result = prepare(program, b"/bin/true".to_vec(), arguments(&["true"]), CONTEXT, &mut |path| {
        assert_eq!(path, b"/lib64/ld-linux-x86-64.so.2");
        Ok(open_bytes(b"not a loader"))
    });
    assert_eq!(result.err(), Some(Errno::ELIBBAD));
}

#[test]
fn too_many_or_too_long_strings_are_too_big() {
    let mut none = |_: &[u8]| Err(Errno::ENOENT);
    let long = "x".repeat(crate::loader::MAX_ARGUMENT_LENGTH);
    assert_eq!(prepare_file(&small_elf(), arguments(&[&long]), &mut none).err(), Some(Errno::E2BIG));
    assert!(prepare_file(&small_elf(), arguments(&[&long[1..]]), &mut none).is_ok());
    let many: Vec<&str> = vec![&long[1..]; 17];
    assert_eq!(prepare_file(&small_elf(), arguments(&many), &mut none).err(), Some(Errno::E2BIG));
    let image = prepare_file(&small_elf(), arguments(&[]), &mut none).expect("a program");
    assert_eq!(image.arguments, arguments(&[""]));
}
