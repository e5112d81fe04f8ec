//! Tests that depend on how fast the machine is, natively as well: lines `MODULE.CLASS.TEST | WHAT IT BOUNDS`, where `*` stands for any
//! class.

use std::path::Path;

/// The list.
pub(crate) struct TimingDependent {
    /// Module, class, test, and what is bounded.
    entries: Vec<([String; 3], String)>,
}

impl TimingDependent {
    /// Reads the list in `path`, relative to the package's root.
    ///
    /// # Panics
    ///
    /// When a line is malformed.
    pub(crate) fn read(path: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entry = |line: &str| {
            let (test, bound) = line.split_once('|')?;
            Some((parts(test.trim())?, bound.trim().to_owned()))
        };
        let parse = |line: &str| {
            entry(line).unwrap_or_else(|| {
                panic!("{}: expected `MODULE.CLASS.TEST | WHAT IT BOUNDS`: {line}", path.display())
            })
        };
        Self { entries: lines.map(parse).collect() }
    }

    /// What `test` bounds, if it is listed.
    pub(crate) fn bound(&self, test: &str) -> Option<&str> {
        let [module, class, name] = parts(test)?;
        let matches = |entry: &&([String; 3], String)| {
            let [known_module, known_class, known_name] = &entry.0;
            *known_module == module && (known_class == "*" || *known_class == class) && *known_name == name
        };
        self.entries.iter().find(matches).map(|(_, bound)| bound.as_str())
    }
}

fn parts(test: &str) -> Option<[String; 3]> {
    let parts: Vec<String> = test.split('.').map(str::to_owned).collect();
    parts.try_into().ok()
}
