//! What the host has mounted, as far as a sandbox can have left it there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where namespaces are mounted that are meant to stay (`src/sandbox/empty.rs`).
const KEPT: &str = "/run/usk";

/// The host's mounts; but in its directory for temporary files only what lies in `temporary`, which is the sandbox's `TMPDIR`: others
/// use that directory for mounts that come and go.
pub(crate) fn mounts(temporary: &Path) -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/self/mounts").expect("the host's mounts");
    let is_ours = |line: &&str| {
        let point = Path::new(line.split(' ').nth(1).unwrap_or_default());
        let is_others = point.starts_with(std::env::temp_dir()) || point.starts_with(KEPT);
        point.starts_with(temporary) || !is_others
    };
    table.lines().filter(is_ours).map(str::to_owned).collect()
}
