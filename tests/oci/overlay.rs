//! Mounts of type `overlay`: the host's kernel shows several directories as one.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::runtime::{Outcome, Runtime, new_id, outcome};

/// Directories beside a bundle's root, and files in the first of them: two lower layers, an upper one and its working directory.
const DIRECTORIES: [&str; 4] = ["first", "second", "upper", "work"];

fn directories(bundle: &Bundle) -> [PathBuf; 4] {
    let made = DIRECTORIES.map(|name| bundle.file(name));
    for directory in &made {
        fs::create_dir_all(directory).expect("a directory can be made");
    }
    for (place, text) in [("first/both", "first\n"), ("second/both", "second\n"), ("second/one", "one\n")] {
        fs::write(bundle.file(place), text).expect("a file can be written");
    }
    fs::create_dir_all(bundle.file("second/tree/inner")).expect("a directory can be made");
    fs::write(bundle.file("second/tree/inner/leaf"), "leaf\n").expect("a file can be written");
    made
}

/// Mounts an overlay at `/x` with these options, and runs a script.
fn configure(bundle: &Bundle, options: &[&str], script: &str) {
    bundle.configure(|spec| {
        add(spec, options);
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
}

fn add(spec: &mut Value, options: &[&str]) {
    let mount = json!({ "destination": "/x", "type": "overlay", "source": "overlay", "options": options });
    spec["mounts"].as_array_mut().expect("a list").push(mount);
}

fn run(runtime: &Runtime, bundle: &Bundle) -> Outcome {
    runtime.verb(bundle, &["run", &new_id()])
}

/// The options that name a bundle's directories.
fn all(bundle: &Bundle) -> Vec<String> {
    let [first, second, upper, work] = directories(bundle).map(|path| path.display().to_string());
    vec![format!("lowerdir={first}:{second}"), format!("upperdir={upper}"), format!("workdir={work}")]
}

fn text(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[test]
fn an_overlay_shows_its_layers_and_keeps_changes_in_the_upper_one() {
    let script = "cd /x; ls; cat both one tree/inner/leaf; echo more >> one; cat one; rm both; ls both; mv tree/inner tree/moved; \
                  rm -r tree/moved; ls tree; mkdir both && echo new > both/new; ls both; cat < one; touch tree && ls";
    for further in [&[][..], &["volatile"], &["metacopy=on", "redirect_dir=on", "index=on", "xino=on"]] {
        let outcomes = [Runtime::usk(), Runtime::runc()].map(|runtime| {
            let bundle = Bundle::of_command(&["true"]);
            let options = all(&bundle);
            configure(&bundle, &[&text(&options)[..], further].concat(), script);
            let outcome = run(&runtime, &bundle);
            let read = |name: &str| fs::read_to_string(bundle.file(name)).expect("a file");
            assert_eq!((read("second/one"), read("upper/one")), ("one\n".into(), "one\nmore\n".into()));
            assert_eq!((read("first/both"), read("upper/both/new")), ("first\n".into(), "new\n".into()));
            assert_eq!(read("second/tree/inner/leaf"), "leaf\n");
            let hidden = fs::symlink_metadata(bundle.file("upper/tree/inner")).expect("a whiteout");
            assert!(hidden.file_type().is_char_device() && hidden.rdev() == 0);
            (outcome.status, outcome.output, outcome.error)
        });
        let [ours, theirs] = outcomes;
        assert_eq!(ours, theirs, "{further:?}");
        assert_eq!(ours.0, 0, "{ours:?}");
    }
}

#[test]
fn an_overlay_without_an_upper_layer_and_one_that_says_so_are_read_only() {
    for options in [&["ro"][..], &[]] {
        let bundle = Bundle::of_command(&["true"]);
        let all = all(&bundle);
        let options = if options.is_empty() { text(&all[..1]) } else { [&text(&all)[..], options].concat() };
        configure(&bundle, &options, "cat /x/both; echo more > /x/one");
        for runtime in [Runtime::usk(), Runtime::runc()] {
            let outcome = run(&runtime, &bundle);
            assert_eq!((outcome.status, &outcome.output[..]), (1, "first\n"), "{outcome:?}");
            assert!(outcome.error.contains("Read-only file system"), "{outcome:?}");
        }
        assert_eq!(fs::read_to_string(bundle.file("second/one")).expect("a file"), "one\n");
    }
}

#[test]
fn what_was_read_before_it_was_written_is_read_anew() {
    let bundle = Bundle::of_command(&["true"]);
    let options = all(&bundle);
    let script = "for at in 1 2 3; do cat /x/one; stat -c %s /x/one; echo $at >> /x/one; done; cat /x/one; \
                  ls /x/tree; touch /x/tree/new; ls /x/tree";
    configure(&bundle, &text(&options), script);
    let outcome = run(&Runtime::usk(), &bundle);
    let seen = "one\n4\none\n1\n6\none\n1\n2\n8\none\n1\n2\n3\ninner\ninner\nnew\n";
    assert_eq!(outcome.output, seen, "{outcome:?}");
}

#[test]
fn names_with_colons_commas_and_backslashes_are_escaped() {
    for runtime in [Runtime::usk(), Runtime::runc()] {
        let bundle = Bundle::of_command(&["true"]);
        for name in ["a:b,c\\d", "upper,e", "work,e"] {
            fs::create_dir(bundle.file(name)).expect("a directory can be made");
        }
        fs::write(bundle.file("a:b,c\\d/file"), "there\n").expect("a file can be written");
        let place = bundle.path().display();
        let options = [
            format!("lowerdir={place}/a\\:b\\,c\\\\d"),
            format!("upperdir={place}/upper\\,e"),
            format!("workdir={place}/work\\,e"),
        ];
        configure(&bundle, &text(&options), "cat /x/file; echo made > /x/made");
        assert_eq!(run(&runtime, &bundle).output, "there\n");
        assert_eq!(fs::read_to_string(bundle.file("upper,e/made")).expect("a file"), "made\n");
    }
}

#[test]
fn relative_paths_begin_at_the_root_file_system() {
    for runtime in [Runtime::usk(), Runtime::runc()] {
        let bundle = Bundle::of_command(&["true"]);
        directories(&bundle);
        let options = ["lowerdir=../first:../second", "upperdir=../upper", "workdir=../work"];
        configure(&bundle, &options, "cat /x/both; echo made > /x/made");
        let outcome = run(&runtime, &bundle);
        assert_eq!(outcome.output, "first\n", "{outcome:?}");
        assert_eq!(fs::read_to_string(bundle.file("upper/made")).expect("a file"), "made\n");
    }
}

#[test]
fn an_overlay_can_have_many_layers() {
    let bundle = Bundle::of_command(&["true"]);
    let mut layers = Vec::new();
    for number in 0..100 {
        let layer = bundle.file(&format!("layer-{number}"));
        fs::create_dir(&layer).expect("a directory can be made");
        fs::write(layer.join(format!("file-{number}")), "").expect("a file can be written");
        fs::write(layer.join("all"), format!("{number}\n")).expect("a file can be written");
        layers.push(layer.display().to_string());
    }
    configure(&bundle, &[&format!("lowerdir={}", layers.join(":"))], "ls /x | wc -l; cat /x/all");
    assert_eq!(run(&Runtime::usk(), &bundle).output, "101\n0\n");
    let too_many = layers.iter().cycle().take(501).cloned().collect::<Vec<_>>().join(":");
    configure(&bundle, &[&format!("lowerdir={too_many}")], "true");
    let outcome = run(&Runtime::usk(), &bundle);
    assert!(outcome.status == 1 && outcome.error.contains("mounts[5]: options: 'lowerdir' "), "{outcome:?}");
}

#[test]
fn an_overlay_that_cannot_be_is_refused_with_the_option() {
    let bundle = Bundle::of_command(&["true"]);
    let all = all(&bundle);
    let [lower, upper, work] = [&all[0], &all[1], &all[2]].map(String::as_str);
    fs::write(bundle.file("file"), "").expect("a file can be written");
    let file = format!("lowerdir={}", bundle.file("file").display());
    let below = format!("workdir={}", bundle.file("upper/below").display());
    fs::create_dir(bundle.file("upper/below")).expect("a directory can be made");
    for (options, told) in [
        (&[][..], "options: 'lowerdir' is missing"),
        (&[upper, work], "options: 'lowerdir' is missing"),
        (&[lower, upper], "options: 'upperdir' needs 'workdir'"),
        (&["lowerdir=/tmp"], "options: 'lowerdir' needs two directories"),
        (&["lowerdir=/no/such"], "options: cannot use /no/such as a directory of an overlay: No such file"),
        (&[&file], "/file as a directory of an overlay: Not a directory"),
        (&["lowerdir="], "options: \"lowerdir=\": "),
        (&["lowerdir"], "options: \"lowerdir\": "),
        (&["lowerdir=/tmp::"], "options: \"lowerdir=/tmp::\": "),
        (&[lower, "index=perhaps"], "options: \"index=perhaps\": it must be one of on, off"),
        (&[lower, "xino"], "options: \"xino\": "),
        (&[lower, "volatile=1"], "options: \"volatile=1\": "),
        (&[lower, "size=1m"], "options: \"size=1m\": an overlay has no such option"),
        (&[lower, upper, &below], "options: cannot mount an overlay: "),
    ] {
        configure(&bundle, options, "true");
        let outcome = run(&Runtime::usk(), &bundle);
        let error = outcome.error.replace("\\\"", "\"");
        let field = error.split_once("mounts[5]: ").map(|(_, error)| error);
        let is_told = field.is_some_and(|error| error.contains(told));
        assert!(
            outcome.status == 1 && is_told && outcome.error.lines().count() == 1,
            "{options:?}: {outcome:?}"
        );
    }
}

#[test]
fn owners_in_an_overlay_are_translated_with_the_containers() {
    const FIRST: u32 = 210_000;
    let bundle = Bundle::of_command(&["true"]);
    let options = all(&bundle);
    for place in ["", "rootfs", "first", "second", "second/one", "upper", "work"] {
        std::os::unix::fs::chown(bundle.file(place), Some(FIRST), Some(FIRST)).expect("it can be given away");
    }
    bundle.configure(|spec| {
        add(spec, &text(&options));
        let map = json!([{ "containerID": 0, "hostID": FIRST, "size": 1000 }]);
        (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (map.clone(), map);
        spec["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({ "type": "user" }));
        let script = "stat -c %u /x/one /x/both; echo more >> /x/one; cat /x/one; touch /x/made; \
                      echo x > /x/both || echo refused";
        spec["process"]["args"] = json!(["sh", "-c", script]);
    });
    let outcome = run(&Runtime::usk(), &bundle);
    assert_eq!(outcome.output, "0\n65534\none\nmore\nrefused\n", "{outcome:?}");
    for name in ["upper/one", "upper/made"] {
        assert_eq!(fs::metadata(bundle.file(name)).expect("a file").uid(), FIRST);
    }
}

/// Runs the bundle as an ordinary user does, by a command that has a say before.
fn run_as_nobody(bundle: &Bundle, before: &[&str]) -> Outcome {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).args(before);
    command.arg(bundle.file("usk-oci")).arg("--root").arg(bundle.file("state")).args(["run", &new_id()]);
    outcome(command.current_dir(bundle.path()).stdin(Stdio::null()).output().expect("setpriv runs"))
}

#[test]
fn an_ordinary_user_has_overlays_as_root_of_other_users_and_mounts_only() {
    let bundle = Bundle::of_command(&["true"]);
    let options = all(&bundle);
    configure(
        &bundle,
        &[&text(&options)[..], &["userxattr"]].concat(),
        "cat /x/both; echo more >> /x/one; rm /x/both; ls /x",
    );
    fs::copy(env!("CARGO_BIN_EXE_usk-oci"), bundle.file("usk-oci")).expect("the runtime can be copied");
    give_to_nobody(bundle.path());
    let outcome = run_as_nobody(&bundle, &[]);
    let told = "mounts[5]: options: cannot mount an overlay: only root";
    assert!(outcome.status == 1 && outcome.error.contains(told), "{outcome:?}");
    let outcome = run_as_nobody(&bundle, &["unshare", "--user", "--map-root-user", "--mount"]);
    assert_eq!((outcome.status, &outcome.output[..]), (0, "first\none\ntree\n"), "{outcome:?}");
    assert_eq!(fs::read_to_string(bundle.file("upper/one")).expect("a file"), "one\nmore\n");
}

fn give_to_nobody(directory: &Path) {
    const NOBODY: u32 = 65534;
    let mut places = vec![directory.to_owned()];
    while let Some(place) = places.pop() {
        std::os::unix::fs::lchown(&place, Some(NOBODY), Some(NOBODY)).expect("it can be given away");
        if place.symlink_metadata().expect("it is there").is_dir() {
            let entries = fs::read_dir(&place).expect("it can be read");
            places.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
}
