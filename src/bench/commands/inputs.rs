//! The inputs of the commands: generated, the same in every run.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use super::catalogue::Scale;

/// Names in the directory that is listed, as many as its operation's title says.
const LISTED_NAMES: usize = 1000;
/// Bytes of the file that single operations read.
const DATA_BYTES: usize = 1 << 20;
/// Files in a directory of the repository.
const FILES_IN_DIRECTORY: usize = 50;

/// Writes everything that needs no program but this one.
pub(super) fn write(inputs: &Path, scale: Scale) -> io::Result<()> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    fs::write(inputs.join("data"), random.text(DATA_BYTES))?;
    let names = inputs.join("names");
    fs::create_dir_all(&names)?;
    for number in 0..LISTED_NAMES {
        fs::write(names.join(format!("a file with number {number:04}")), "")?;
    }
    fs::write(inputs.join("large"), random.text(scale.large_mib << 20))?;
    let repository = inputs.join("repository");
    for number in 0..scale.repository_files {
        let directory = repository.join(format!("part{:02}", number / FILES_IN_DIRECTORY));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(format!("file{number}.txt")), random.text(2000))?;
    }
    fs::write(inputs.join("commits.sql"), commits(scale.commits))?;
    let small = inputs.join("small");
    fs::create_dir_all(&small)?;
    for number in 0..scale.small_files {
        fs::write(small.join(format!("small{number}.c")), small_source(number))?;
    }
    fs::write(inputs.join("large.c"), large_source(scale.functions))?;
    fs::write(inputs.join("nbody.py"), NBODY)
}

/// Numbers that look random: the same ones every time (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Words of few letters in lines: it compresses as text does.
    fn text(&mut self, bytes: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes + 16);
        while text.len() < bytes {
            let mut number = self.next();
            for _ in 0..2 + number % 8 {
                text.push(b'a' + (number >> 8) as u8 % 20);
                number >>= 5;
            }
            text.push(if number & 7 == 0 { b'\n' } else { b' ' });
        }
        text.truncate(bytes);
        text
    }
}

fn commits(count: usize) -> String {
    let mut script = "CREATE TABLE t(id INTEGER PRIMARY KEY, value TEXT);\n".to_owned();
    for number in 0..count {
        // Each statement is a transaction of its own. Writing to a String cannot fail.
        let _ = writeln!(script, "INSERT INTO t(value) VALUES('value number {number}');");
    }
    script
}

fn small_source(number: usize) -> String {
    format!(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
         int function{number}(const char *text) {{\n    char copy[64];\n    snprintf(copy, sizeof copy, \"%s\", text);\n    \
         return atoi(copy) + (int)strlen(text) * {number};\n}}\n"
    )
}

fn large_source(functions: usize) -> String {
    let mut source = "double state[64];\n".to_owned();
    for number in 0..functions {
        let _ = write!(
            source,
            "double function{number}(double x, int n) {{\n    double sum = {number};\n    \
             for (int i = 0; i < n; i++) {{\n        sum += x * i + state[(i + {number}) % 64];\n        \
             if (sum > 1e6) sum /= 3;\n        state[i % 64] = sum;\n    }}\n    return sum;\n}}\n"
        );
    }
    source
}

/// The planets of the benchmarks game, reduced to two bodies and a probe: floating point and attribute access.
const NBODY: &str = "import sys

def advance(bodies, dt, steps):
    for _ in range(steps):
        for i, a in enumerate(bodies):
            for b in bodies[i + 1:]:
                d = [p - q for p, q in zip(a[0], b[0])]
                force = dt / (sum(x * x for x in d) ** 1.5)
                for k in range(3):
                    a[1][k] -= d[k] * b[2] * force
                    b[1][k] += d[k] * a[2] * force
        for place, speed, _ in bodies:
            for k in range(3):
                place[k] += dt * speed[k]

bodies = [([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 39.47),
          ([4.84, -1.16, -0.10], [0.60, 2.81, -0.02], 0.037),
          ([8.34, 4.12, -0.40], [-1.01, 1.82, 0.008], 0.011)]
advance(bodies, 0.01, int(sys.argv[1]))
print(bodies[0][0])
";
