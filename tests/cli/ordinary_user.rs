//! A user without any privilege gets everything that a sandbox is: files, processes, programs.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::caller::Caller;
use crate::guest::{directory_of, run, shell, text};
use crate::sandbox::everybody;

#[test]
fn programs_start_programs_and_use_files() {
    for (caller, platform) in everybody() {
        let script = "set -e; cd $(mktemp -d); for i in 1 2 3; do (echo $i > file$i) & done; wait; cat file*; ls /proc/self/fd | wc -l";
        assert_eq!(shell(caller, platform, &[], script).succeeded(), "1\n2\n3\n4\n", "{caller:?} {platform}");
    }
}

#[test]
fn python_runs_with_processes_and_threads() {
    let script = "\
import concurrent.futures, subprocess, tempfile
with tempfile.TemporaryFile() as file:
    file.write(b'kept')
    file.seek(0)
    print(file.read().decode())
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(lambda number: number * number, range(100))))
print(subprocess.run(['sh', '-c', 'echo child; exit 3'], capture_output=True))
";
    for (caller, platform) in everybody() {
        let output = run(caller, platform, &[], &["/usr/bin/python3", "-c", script]).succeeded();
        let expected = "kept\n328350\nCompletedProcess(args=['sh', '-c', 'echo child; exit 3'], returncode=3, \
                        stdout=b'child\\n', stderr=b'')\n";
        assert_eq!(output, expected, "{caller:?} {platform}");
    }
}

#[test]
fn what_is_made_in_a_writable_volume_belongs_to_the_caller() {
    for (caller, platform) in everybody() {
        let directory = directory_of(caller);
        let volume = format!("{}:/work:rw", text(directory.path()));
        let script = "set -e; umask 022; cd /work; echo text > file; mkdir d; ln -s file link; chmod 640 file; mv file d/moved";
        shell(caller, platform, &["-v", &volume], script).succeeded();
        let owner = fs::metadata(directory.path()).unwrap();
        for (name, mode) in [("d", 0o40755), ("d/moved", 0o100640), ("link", 0o120777)] {
            let made = fs::symlink_metadata(directory.path().join(name)).unwrap();
            assert_eq!((made.uid(), made.gid()), (owner.uid(), owner.gid()), "{caller:?} {platform} {name}");
            assert_eq!(made.mode(), mode, "{caller:?} {platform} {name}");
        }
        assert_eq!(fs::read_to_string(directory.path().join("d/moved")).unwrap(), "text\n");
    }
}

#[test]
fn what_the_caller_may_not_read_the_command_may_not_read() {
    for (caller, platform) in everybody() {
        if caller == Caller::Myself {
            continue;
        }
        let outcome = run(caller, platform, &[], &["cat", "/etc/shadow"]);
        assert_eq!(outcome.status, Some(1));
        assert!(outcome.stderr.contains("Permission denied"), "{outcome:?}");
    }
}
