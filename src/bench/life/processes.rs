//! What `/proc` says of a sandbox's processes.

use std::collections::HashMap;
use std::fs;

/// All descendants of a process that live now, parents before children.
pub(crate) fn descendants(ancestor: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, parent) in processes() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut waiting = vec![ancestor];
    while let Some(pid) = waiting.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.push(child);
            waiting.push(child);
        }
    }
    found
}

/// Each process and its parent.
fn processes() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// The parent in a line of `/proc/PID/stat`: the second field after the command's name, which may hold anything. proc(5).
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Proportional set size of a process in KiB: its own pages, and its share of those that it shares. proc(5).
pub(super) fn proportional_set_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor time that all threads of a process have used, in nanoseconds: the first field of `schedstat`.
pub(super) fn processor_ns(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(of_thread).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_the_strangest_name() {
        assert_eq!(parent("7 (a) b (c) 9) S 3 7 7 0"), Some(3));
        assert_eq!(parent("7 a S 3"), None);
    }

    #[test]
    fn this_process_has_a_size_and_has_used_time() {
        assert!(proportional_set_kib(std::process::id()).unwrap() > 0);
        assert!(processor_ns(std::process::id()) > 0);
    }
}
