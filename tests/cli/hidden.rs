//! What `--hide` names and what holds credentials stays out of sight, whatever the host does with it and wherever it is mounted.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::caller::is_root;
use crate::guest::{Outcome, directory_of, shell, text, usk_run};
use crate::sandbox::everybody;

/// Runs `usk`, whose guest begins with [`WAIT`], and has the host do something meanwhile.
fn with_a_change(mut usk: Command, change: impl FnOnce()) -> Outcome {
    usk.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = usk.spawn().expect("usk can be started");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut begun = String::new();
    output.read_line(&mut begun).expect("a line");
    assert_eq!(begun, "begun\n");
    change();
    writeln!(child.stdin.take().expect("a pipe"), "go").expect("the guest reads");
    let mut stdout = String::new();
    output.read_to_string(&mut stdout).expect("its output");
    Outcome { stdout, ..child.wait_with_output().expect("its end").into() }
}

const WAIT: &str = "echo begun; read go;";

fn replace(file: &Path, content: &str) {
    let new = file.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn what_the_host_puts_in_the_place_of_a_hidden_file_is_hidden() {
    for (caller, platform) in everybody() {
        let data = directory_of(caller);
        let data = data.path();
        fs::write(data.join("removed"), "SECRET").unwrap();
        fs::write(data.join("file"), "SECRET").unwrap();
        fs::write(data.join("target"), "SECRET").unwrap();
        symlink("target", data.join("link")).unwrap();
        fs::write(data.join("plain"), "plain\n").unwrap();
        let (volume, named) =
            (format!("{}:/mnt", text(data)), |name: &str| text(&data.join(name)).to_owned());
        for (options, place) in [(vec![], text(data)), (vec!["-v", &volume], "/mnt")] {
            let hidden = ["file", "removed", "link"].map(|name| format!("{place}/{name}"));
            let mut options = options;
            hidden.iter().for_each(|path| options.extend(["--hide", path]));
            let script = format!("{WAIT} cd {place}; cat file removed link target plain; ls -A; find .");
            let usk = usk_run(caller, platform, &options, &["sh", "-c", &script]);
            let outcome = with_a_change(usk, || {
                replace(&data.join("file"), "SECRET");
                fs::remove_file(named("removed")).unwrap();
                fs::write(named("removed"), "SECRET").unwrap();
                replace(&data.join("link"), "SECRET");
            });
            let shown = "plain\nplain\ntarget\n.\n./plain\n./target\n";
            let sorted = |text: &str| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(&outcome.stdout), sorted(shown), "{caller:?} {platform} {place}: {outcome:?}");
            fs::remove_file(data.join("link")).unwrap();
            symlink("target", data.join("link")).unwrap();
        }
    }
}

#[test]
fn a_writer_of_the_directory_does_not_reach_what_is_hidden_in_it() {
    for (caller, platform) in everybody() {
        let data = directory_of(caller);
        let secret = data.path().join("secret");
        fs::write(&secret, "SECRET").unwrap();
        let volume = format!("{}:/mnt:rw", text(data.path()));
        let script = format!(
            "{WAIT} cd /mnt; mv secret moved; ln secret linked; mkdir secret; ln -s x secret; mkfifo secret; \
             rm -f secret; echo other > secret; echo other > other; mv other secret; cat *"
        );
        let options = ["-v", &volume, "--hide", "/mnt/secret"];
        let usk = usk_run(caller, platform, &options, &["sh", "-c", &script]);
        let outcome = with_a_change(usk, || replace(&secret, "SECRET"));
        assert_eq!(outcome.stdout, "other\n", "{caller:?} {platform}: {outcome:?}");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "SECRET");
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 2, "{caller:?} {platform}");
    }
}

#[test]
fn credentials_that_the_host_makes_or_replaces_are_hidden() {
    for (caller, platform) in everybody() {
        let home = directory_of(caller);
        let home = home.path();
        let make = |name: &str| {
            fs::create_dir_all(home.join(name)).unwrap();
            fs::write(home.join(name).join("key"), "SECRET").unwrap();
        };
        make(".ssh");
        make(".config/other");
        let volume = format!("{}:/mnt", text(home));
        let show = "cat .ssh/* .aws/* .config/*/*; ls -A . .config";
        let script = format!("{WAIT} for home in {} /mnt; do cd $home; {show}; done", text(home));
        let mut usk = usk_run(caller, platform, &["-v", &volume], &["sh", "-c", &script]);
        usk.env("HOME", home);
        let outcome = with_a_change(usk, || {
            fs::remove_dir_all(home.join(".ssh")).unwrap();
            [".ssh", ".aws", ".config/gh"].into_iter().for_each(make);
        });
        let shown = "SECRET.:\n.config\n\n.config:\nother\n".repeat(2);
        assert_eq!(outcome.stdout, shown, "{caller:?} {platform}: {outcome:?}");
    }
}

#[test]
fn credentials_are_hidden_in_other_mounts_of_the_same_files() {
    if !is_root() {
        return;
    }
    for (caller, platform) in everybody() {
        let (home, other) = (directory_of(caller), directory_of(caller));
        fs::create_dir(home.path().join(".ssh")).unwrap();
        fs::write(home.path().join(".ssh/key"), "SECRET").unwrap();
        fs::write(home.path().join("plain"), "plain\n").unwrap();
        let script = "cd \"$0\" && ls -A . .ssh; cat .ssh/key plain";
        let usk = usk_run(caller, platform, &[], &["sh", "-c", script, text(other.path())]);
        let mut unshare = Command::new("unshare");
        let bind = "mount --bind \"$HOME\" \"$0\" && exec \"$@\"";
        unshare.args(["--mount", "sh", "-ec", bind, text(other.path())]);
        unshare.arg(usk.get_program()).args(usk.get_args()).env("HOME", home.path());
        unshare.envs(usk.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let outcome: Outcome = unshare.output().expect("unshare runs").into();
        assert_eq!(outcome.stdout, ".:\nplain\nplain\n", "{caller:?} {platform}: {outcome:?}");
    }
}

#[test]
fn a_hidden_path_is_followed_as_the_sandbox_follows_it() {
    for (caller, platform) in everybody() {
        let [data, volume] = [(); 2].map(|()| directory_of(caller));
        let data = data.path();
        for directory in [&data.join("real"), volume.path()] {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join("secret"), "SECRET").unwrap();
            symlink("secret", directory.join("name")).unwrap();
        }
        symlink("real", data.join("relative")).unwrap();
        symlink(data.join("relative"), data.join("absolute")).unwrap();
        for destination in ["real", "relative"] {
            let volume = format!("{}:{}", text(volume.path()), text(&data.join(destination)));
            for name in ["relative/secret", "absolute/secret", "absolute/../real/secret", "absolute/name"] {
                let hidden = data.join(name);
                let script =
                    format!("cat {}; ls {}", text(&data.join("real/secret")), text(&data.join("real")));
                let options = ["-v", &volume, "--hide", text(&hidden)];
                let outcome = shell(caller, platform, &options, &script);
                if name.contains("..") {
                    outcome.refused(125);
                    continue;
                }
                assert!(!outcome.stdout.contains("SECRET"), "{caller:?} {platform} {name}: {outcome:?}");
                assert_eq!(outcome.status, Some(0), "{caller:?} {platform} {name}: {outcome:?}");
            }
        }
    }
}
