//! What a run has cost: `--report`.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::caller::Caller;
use crate::guest::{directory_of, run, text};
use crate::sandbox::{PLATFORMS, everybody};

/// Looks fifty times for a name, makes twice a call that usk does not have, and a process.
const SCRIPT: &str = "\
import ctypes, os
for _ in range(50):
    os.stat('/')
for _ in range(2):
    ctypes.CDLL(None).syscall(134, 0)
os.waitpid(os.fork() or os._exit(0), 0)
print('done')
";

fn parse(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number: {value}"))
}

/// A family's line, or all zeroes.
fn family<'a>(report: &'a Value, name: &str) -> &'a Value {
    let lines = report["families"].as_array().unwrap();
    lines.iter().find(|line| line["family"] == name).unwrap_or_else(|| panic!("{name} in {report}"))
}

/// How many calls of a family came to the kernel from a command.
fn calls_from(options: &[&str], command: &[&str], name: &str) -> u64 {
    let outcome = run(Caller::Myself, "trap", &[options, &["--report", "json"]].concat(), command);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    number(&family(&parse(&outcome.stderr), name)["calls"])
}

#[test]
fn a_report_in_json_says_what_came_to_the_kernel_and_what_it_cost() {
    for (caller, platform) in everybody() {
        let outcome = run(caller, platform, &["--report", "json"], &["/usr/bin/python3", "-c", SCRIPT]);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), "done\n"), "{outcome:?}");
        let report = parse(&outcome.stderr);
        assert_eq!(
            (&report["report"], &report["status"], &report["reason"], &report["platform"]),
            (&1.into(), &0.into(), &"exit".into(), &platform.into())
        );
        assert!(number(&family(&report, "names")["calls"]) >= 50, "{report}");
        let lines = report["families"].as_array().unwrap();
        for member in ["calls", "slow", "worked_ns", "slept_ns", "over_native_ns"] {
            let sum: u64 = lines.iter().map(|line| number(&line[member])).sum();
            assert_eq!(number(&report["all"][member]), sum, "{member} in {report}");
        }
        assert!(lines.iter().all(|line| number(&line["slow"]) <= number(&line["calls"])), "{report}");
        let uselib = serde_json::json!({ "name": "uselib", "number": 134, "count": 2 });
        assert!(report["unimplemented"].as_array().unwrap().contains(&uselib), "{report}");
        assert!(number(&family(&report, "unimplemented")["calls"]) >= 2, "{report}");
        // Libraries were looked for.
        assert!(number(&report["questions"]) > 0 && number(&report["question_ns"]) > 0, "{report}");
        assert!(number(&report["command_ns"]) <= number(&report["whole_ns"]), "{report}");
        assert!(number(&report["tasks"]) >= 1);
        let costliest = report["costliest"].as_array().unwrap();
        let costs: Vec<u64> = costliest.iter().map(|costly| number(&costly["over_native_ns"])).collect();
        assert!(costs.len() == 3 && costs.is_sorted_by(|a, b| a >= b), "{report}");
        let model = &report["model"];
        assert!(number(&model["slow_ns"]) > number(&model["native_ns"]), "{report}");
        assert_eq!(model["slow_measured"], true, "a start has more calls than are needed to tell");
        let unseen = report["not_counted"].as_array().unwrap();
        assert_eq!(unseen.contains(&"getpid".into()), platform == "trap", "{report}");
    }
}

/// Makes a process as by `vfork(2)` that opens a pipe before it executes its program, and so waits for another that opens it 0.3 s later.
const WAITS_FOR_A_CHILD: &str = "\
import os, time
os.mkfifo('/tmp/fifo')
if os.fork() == 0:
    time.sleep(0.3)
    open('/tmp/fifo', 'w').close()
    os._exit(0)
opens = (os.POSIX_SPAWN_OPEN, 0, '/tmp/fifo', os.O_RDONLY, 0)
begun = time.monotonic()
os.posix_spawn('/bin/true', ['true'], {}, file_actions=[opens])
assert time.monotonic() - begun > 0.2
";

#[test]
fn what_a_parent_waits_for_its_childs_program_is_no_work() {
    for platform in PLATFORMS {
        let command = ["/usr/bin/python3", "-c", WAITS_FOR_A_CHILD];
        let outcome = run(Caller::Myself, platform, &["--tmpfs", "/tmp", "--report", "json"], &command);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let report = parse(&outcome.stderr);
        let processes = family(&report, "processes");
        let (worked, slept) = (number(&processes["worked_ns"]), number(&processes["slept_ns"]));
        assert!(slept > 200_000_000 && worked < slept, "{report}");
    }
}

#[test]
fn files_of_a_tree_that_is_gone_through_come_to_the_kernel_by_the_dozen() {
    let tree = tempfile::tempdir().expect("a directory");
    for directory in (0..20).map(|number| tree.path().join(number.to_string())) {
        fs::create_dir(&directory).expect("a new one");
        (0..20).for_each(|file| fs::write(directory.join(file.to_string()), "text").expect("room"));
    }
    let tree = tree.path().to_str().expect("a name");
    let calls = |options: &[&str]| calls_from(options, &["/usr/bin/grep", "-r", "text", tree], "names");
    let (all, some) = (calls(&["--tiers=2"]), calls(&[]));
    assert!(all > 400 && some < 200, "{all}, {some}");
}

#[test]
fn a_file_that_is_opened_again_and_again_comes_to_the_kernel_a_few_times() {
    let script = "import os\nfor _ in range(1000): os.close(os.open('/etc/passwd', os.O_RDONLY))";
    let calls = |options: &[&str]| calls_from(options, &["/usr/bin/python3", "-c", script], "names");
    let (all, some) = (calls(&["--tiers=2"]), calls(&[]));
    assert!(all >= 1000 && some < 1000, "{all}, {some}");
}

/// Changes what is known of files but not what is in them, asks for it many times, then changes all of it by a second name.
const CHANGED: &str = "\
import os, sys
os.chdir(sys.argv[1])
names = [str(number) for number in range(20)]
for name in names:
    os.chmod(name, 0o640)
    os.link(name, name + '.two')
for _ in range(50):
    for name in names:
        fd = os.open(name, os.O_RDONLY)
        status = os.fstat(fd)
        assert (status.st_mode & 0o777, status.st_nlink, status.st_size) == (0o640, 2, 4), status
        os.close(fd)
for name in names:
    fd = os.open(name, os.O_RDONLY)
    shown = lambda: (lambda status: (status.st_mode & 0o777, status.st_nlink, status.st_size))(os.fstat(fd))
    assert shown() == shown() == (0o640, 2, 4) and os.pread(fd, 9, 0) == os.pread(fd, 9, 0) == b'text'
    os.chmod(name + '.two', 0o600)
    assert shown() == (0o600, 2, 4), shown()
    with open(name + '.two', 'ab') as file:
        file.write(b' more')
    assert shown() == (0o600, 2, 9) and os.pread(fd, 9, 0) == b'text more', shown()
    os.unlink(name + '.two')
    assert shown() == (0o600, 1, 9) == shown(), shown()
    os.truncate(name, 1)
    assert shown() == (0o600, 1, 1) and os.pread(fd, 9, 0) == b't', shown()
    os.close(fd)
";

#[test]
fn a_file_is_answered_for_where_only_its_attributes_have_changed() {
    let tree = tempfile::tempdir().expect("a directory");
    (0..20).for_each(|file| fs::write(tree.path().join(file.to_string()), "text").expect("room"));
    let path = tree.path().to_str().expect("a name");
    let command = ["/usr/bin/python3", "-c", CHANGED, path];
    let (all, some) =
        (calls_from(&["--tiers=2"], &command, "descriptors"), calls_from(&[], &command, "descriptors"));
    assert!(all > 1000 && some < 500, "{all}, {some}");
    let natively = Command::new(command[0]).args(&command[1..]).status().expect("it starts");
    assert!(natively.success());
}

/// Looks for links in a path, as `realpath(3)` does, a thousand times.
const LOOKS_FOR_LINKS: &str = "\
import errno, os
for _ in range(500):
    for name, error in ('/usr/include', errno.EINVAL), ('/usr/no such', errno.ENOENT):
        try:
            os.readlink(name)
        except OSError as found:
            assert found.errno == error, found
        else:
            raise AssertionError(name)
";

#[test]
fn what_is_no_link_is_looked_at_once() {
    let command = ["/usr/bin/python3", "-c", LOOKS_FOR_LINKS];
    let (all, some) = (calls_from(&["--tiers=2"], &command, "names"), calls_from(&[], &command, "names"));
    assert!(all > 1000 && some < all - 800, "{all}, {some}");
}

#[test]
fn calls_that_the_program_answers_itself_are_counted_where_they_come_to_the_kernel() {
    let script = "import os\nfor _ in range(1000): os.getppid()";
    for (options, is_counted) in [(&["--tiers=2"][..], true), (&[], false)] {
        let options = [options, &["--report", "json"]].concat();
        let outcome = run(Caller::Myself, "trap", &options, &["/usr/bin/python3", "-c", script]);
        let report = parse(&outcome.stderr);
        assert_eq!(report["not_counted"].as_array().unwrap().is_empty(), is_counted, "{report}");
        assert_eq!(number(&family(&report, "identity")["calls"]) >= 1000, is_counted, "{report}");
    }
}

/// A thread duplicates and closes a descriptor, while another sleeps.
const THREADS: &str = "\
import os, threading
done = threading.Event()
threading.Thread(target=done.wait).start()
fd = os.open('/usr/bin/python3', os.O_RDONLY)
for _ in range(2000):
    os.close(os.dup(fd))
done.set()
";

#[test]
fn a_thread_serves_itself_what_it_asks_of_descriptors_that_others_share_and_do_not_use() {
    let calls = |options: &[&str]| calls_from(options, &["/usr/bin/python3", "-c", THREADS], "descriptors");
    let (all, some) = (calls(&["--tiers=2"]), calls(&[]));
    assert!(all >= 4000 && some < 1000, "{all}, {some}");
}

#[test]
fn a_report_in_text_has_a_line_for_each_family_and_names_what_cost_most() {
    for platform in PLATFORMS {
        let command = ["/usr/bin/python3", "-c", SCRIPT];
        let outcome = run(Caller::Myself, platform, &["--report", "text"], &command);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(0), "done\n"), "{outcome:?}");
        let report = &outcome.stderr;
        assert!(report.starts_with("usk: "), "{report}");
        let columns = |name: &str| {
            let line =
                report.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{report}"));
            line.split_whitespace().skip(1).map(|column| column.parse::<f64>().unwrap()).collect::<Vec<_>>()
        };
        let (names, all) = (columns("names "), columns("all "));
        assert!(names.len() == 5 && names[0] >= 50.0 && all[0] > names[0], "{report}");
        for line in ["Costs most: ", "The estimate: ", "Not implemented: uselib (2)"] {
            assert!(report.lines().any(|found| found.starts_with(line)), "{line} in {report}");
        }
    }
}

#[test]
fn sleep_is_not_work() {
    for platform in PLATFORMS {
        let outcome = run(Caller::Myself, platform, &["--report", "json"], &["sleep", "0.5"]);
        let report = parse(&outcome.stderr);
        let time = family(&report, "time");
        assert!(number(&time["slept_ns"]) >= 450_000_000, "{report}");
        assert!(number(&time["over_native_ns"]) < 450_000_000, "{report}");
        assert!(number(&report["command_ns"]) >= 500_000_000, "{report}");
    }
}

#[test]
fn a_report_goes_to_a_file_if_one_is_named() {
    for caller in Caller::all() {
        let directory = directory_of(caller);
        let file = directory.path().join("report");
        let options = ["--report=json", "--report-file", text(&file)];
        run(caller, PLATFORMS[0], &options, &["true"]).succeeded();
        let report = parse(&fs::read_to_string(&file).unwrap());
        assert!(number(&report["all"]["calls"]) > 0, "{report}");
    }
}

#[test]
fn a_run_that_takes_too_long_has_a_report_too() {
    for platform in PLATFORMS {
        let options = ["--timeout", "3s", "--report", "json"];
        let outcome = run(Caller::Myself, platform, &options, &["sleep", "1000"]);
        assert_eq!(outcome.status, Some(124), "{outcome:?}");
        let report = outcome.stderr.lines().find(|line| line.starts_with('{'));
        let report = parse(report.unwrap_or_else(|| panic!("{outcome:?}")));
        assert_eq!((&report["status"], &report["reason"]), (&124.into(), &"timeout".into()));
        assert!(number(&report["all"]["calls"]) > 0, "{report}");
    }
}

#[test]
fn a_command_that_does_not_start_has_no_report() {
    let outcome = run(Caller::Myself, PLATFORMS[0], &["--report", "text"], &["no-such-command"]);
    assert!(outcome.refused(127).contains("no-such-command"));
}

#[test]
fn reports_that_cannot_be_written_are_told_in_one_line() {
    let run = |options: &[&str]| run(Caller::Myself, PLATFORMS[0], options, &["true"]);
    assert!(run(&["--report", "xml"]).refused(125).contains("xml"));
    assert!(run(&["--report-file", "/tmp/x"]).refused(125).contains("--report"));
    let missing = ["--report=text", "--report-file", "/nonexistent/report"];
    assert!(run(&missing).refused(125).contains("/nonexistent/report"));
    // The command has run, and its status is the command's.
    assert!(run(&["--report=text", "--report-file", "/dev/full"]).refused(0).contains("/dev/full"));
}
