//! Which commands there are. Each is a script of bash's that runs in an empty directory and sees `$INPUTS`; its output goes
//! through a pipe where the program would notice that nobody reads it.

use crate::bench::results::Section;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Files of the generated repository.
    pub(crate) repository_files: usize,
    /// Transactions of sqlite.
    pub(crate) commits: usize,
    /// Processes of the shell loop.
    pub(crate) processes: usize,
    /// Small C files.
    pub(crate) small_files: usize,
    /// Functions of the one large C file.
    pub(crate) functions: usize,
    /// MiB of the file to be compressed and hashed.
    pub(crate) large_mib: usize,
    /// Steps of the planets.
    pub(crate) steps: usize,
    /// Requests of each of redis-benchmark's tests.
    pub(crate) requests: usize,
    /// Transactions of each of pgbench's clients.
    pub(crate) transactions: usize,
    /// The tree that is searched.
    pub(crate) tree: &'static str,
}

impl Scale {
    /// What is quoted.
    pub(crate) const FULL: Scale = Scale {
        repository_files: 2000,
        commits: 2000,
        processes: 100,
        small_files: 60,
        functions: 400,
        large_mib: 50,
        steps: 200_000,
        requests: 50_000,
        transactions: 1000,
        tree: "/usr/share",
    };
    /// What `--quick` has time for.
    pub(crate) const QUICK: Scale = Scale {
        repository_files: 300,
        commits: 200,
        processes: 30,
        small_files: 6,
        functions: 40,
        large_mib: 4,
        steps: 20_000,
        requests: 2000,
        transactions: 50,
        tree: "/usr/share/doc",
    };
}

/// A command.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// Its name for machines.
    pub(crate) id: &'static str,
    /// Its name for people.
    pub(crate) title: String,
    /// Whether it is I/O or computing: the section of its times in a running sandbox.
    pub(crate) section: Section,
    /// Programs that it needs.
    pub(crate) needs: &'static [&'static str],
    /// Makes its inputs in `$INPUTS`, once, natively.
    pub(crate) prepare: &'static str,
    /// Comes before, in the same sandbox, and is not timed.
    pub(crate) setup: &'static str,
    /// What is timed.
    pub(crate) script: String,
    /// Comes after, and is not timed.
    pub(crate) teardown: &'static str,
    /// The program refuses to be root: run it as somebody else.
    pub(crate) needs_other_user: bool,
}

/// All commands, of this size. Installers and servers come last: they take longest, and `--quick` may have no time left.
pub(crate) fn all(scale: Scale) -> Vec<Command> {
    [io(scale), compute(scale), heavy(scale)].concat()
}

/// A command without anything before and after.
fn command(
    section: Section,
    id: &'static str,
    needs: &'static [&'static str],
    title: impl Into<String>,
    script: impl Into<String>,
) -> Command {
    Command {
        id,
        title: title.into(),
        section,
        needs,
        prepare: "",
        setup: "",
        script: script.into(),
        teardown: "",
        needs_other_user: false,
    }
}

fn io(scale: Scale) -> Vec<Command> {
    let io = |id, needs, title: String, script: String| command(Section::Io, id, needs, title, script);
    let Scale { repository_files, commits, processes, small_files, tree, .. } = scale;
    vec![
        io("find", &["find"], format!("find {tree}"), format!("find {tree} -type f | cat")),
        io(
            "grep",
            &["grep"],
            "grep -r over /usr/share/doc".into(),
            "grep -r copyright /usr/share/doc | cat".into(),
        ),
        io(
            "tar",
            &["tar"],
            "tar c /usr/share/doc to a pipe".into(),
            "tar c -C /usr/share doc | cat".into(),
        ),
        Command {
            prepare: REPOSITORY,
            ..io(
                "git",
                &["git"],
                format!("git clone + status, {repository_files} files"),
                "git -c safe.directory='*' clone -q --no-hardlinks $INPUTS/repository copy && git -C copy status -s".into(),
            )
        },
        io("python_pass", &["python3"], "python3 -c pass".into(), "python3 -c pass".into()),
        io(
            "python_imports",
            &["python3"],
            "python3 importing six modules".into(),
            "python3 -c 'import asyncio, decimal, email.message, json, unittest, xml.dom.minidom'".into(),
        ),
        io(
            "sqlite",
            &["sqlite3"],
            format!("sqlite, {commits} commits"),
            "sqlite3 database <$INPUTS/commits.sql".into(),
        ),
        io(
            "shell_loop",
            &["true"],
            format!("shell loop of {processes} × /bin/true"),
            format!("for ((i = 0; i < {processes}; i++)); do /bin/true; done"),
        ),
        io(
            "gcc_small",
            &["gcc"],
            format!("gcc of {small_files} small files"),
            "for file in $INPUTS/small/*.c; do gcc -O1 -c $file -o object.o; done".into(),
        ),
    ]
}

fn compute(scale: Scale) -> Vec<Command> {
    let compute =
        |id, needs, title: String, script: String| command(Section::Compute, id, needs, title, script);
    let Scale { functions, large_mib, steps, .. } = scale;
    vec![
        compute(
            "nbody",
            &["python3"],
            format!("nbody in python, {steps} steps"),
            format!("python3 $INPUTS/nbody.py {steps}"),
        ),
        compute(
            "gcc_large",
            &["gcc"],
            format!("gcc -O2 of one file, {functions} functions"),
            "gcc -O2 -c $INPUTS/large.c -o object.o".into(),
        ),
        // `openssl speed` runs for a fixed time and reports a rate; a fixed amount of work can be timed like the rest.
        compute(
            "openssl",
            &["openssl"],
            format!("openssl, SHA-256 and AES of 4 × {large_mib} MiB"),
            "for i in 1 2 3 4; do openssl dgst -sha256 $INPUTS/large; \
             openssl enc -aes-256-ctr -K 00 -iv 00 -in $INPUTS/large 2>/dev/null | cat; done"
                .into(),
        ),
        compute(
            "xz",
            &["xz"],
            format!("xz -1 of {large_mib} MiB"),
            "xz -1 -T1 -c $INPUTS/large | cat".into(),
        ),
        compute("sweep", &[], "memory sweep, 256 MiB × 8".into(), "$INPUTS/../guest sweep 256 8".into()),
    ]
}

/// Installers and servers.
fn heavy(scale: Scale) -> Vec<Command> {
    let io = |id, needs, title: String, script: String| command(Section::Io, id, needs, title, script);
    let Scale { requests, transactions, .. } = scale;
    vec![
        Command {
            prepare: WHEEL,
            ..io("pip", &["python3", "pip3"], "pip install of a local wheel".into(), PIP.into())
        },
        Command {
            prepare: TARBALL,
            ..io("npm", &["node", "npm"], "npm install of a local tarball".into(), NPM.into())
        },
        Command {
            setup: REDIS_START,
            teardown: "redis-cli -s $PWD/redis.sock shutdown nosave",
            ..io(
                "redis",
                &["redis-server", "redis-cli", "redis-benchmark"],
                format!("redis-benchmark, 2 × {requests} requests, unix socket"),
                format!("redis-benchmark -s $PWD/redis.sock -q -n {requests} -c 8 -t set,get"),
            )
        },
        Command {
            setup: POSTGRESQL_START,
            teardown: "pg_ctl -D database -m immediate stop",
            needs_other_user: true,
            ..io(
                "pgbench",
                &["initdb", "pg_ctl", "pgbench", "setpriv"],
                format!("pgbench, 2 × {transactions} transactions, unix socket"),
                format!("pgbench -h $PWD -U bench -n -c 2 -t {transactions} postgres"),
            )
        },
    ]
}

const REPOSITORY: &str = "cd $INPUTS/repository && git init -q && git add . && \
    git -c user.name=bench -c user.email=bench@localhost commit -q -m everything";

/// A wheel is a zip archive with two files of metadata.
const WHEEL: &str = r#"cd $INPUTS && python3 - <<'END'
import zipfile
with zipfile.ZipFile('bench_wheel-1.0-py3-none-any.whl', 'w') as wheel:
    names = ['bench_wheel/__init__.py'] + [f'bench_wheel/module{i}.py' for i in range(100)]
    for name in names:
        wheel.writestr(name, 'VALUE = 1\n' * 20)
    info = 'bench_wheel-1.0.dist-info/'
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: bench-wheel\nVersion: 1.0\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    records = names + [info + 'METADATA', info + 'WHEEL', info + 'RECORD']
    wheel.writestr(info + 'RECORD', ''.join(f'{name},,\n' for name in records))
END"#;
const PIP: &str = "python3 -m pip install -q --no-index --no-deps --no-cache-dir --disable-pip-version-check \
    --root-user-action=ignore --target site $INPUTS/bench_wheel-1.0-py3-none-any.whl";

const TARBALL: &str = r#"cd $INPUTS && mkdir -p package && for i in {1..200}; do
    echo "module.exports = $i" >package/module$i.js
done && echo '{"name": "bench-package", "version": "1.0.0"}' >package/package.json && tar czf package.tgz package"#;
const NPM: &str =
    "npm install --silent --offline --no-audit --no-fund --no-update-notifier $INPUTS/package.tgz";

/// The server answers as soon as it can; asking costs a process each time, so that this is no busy loop.
const REDIS_START: &str = "redis-server --port 0 --unixsocket $PWD/redis.sock --save '' --daemonize yes && \
    for i in {1..500}; do redis-cli -s $PWD/redis.sock ping && exit 0; done; exit 1";
const POSTGRESQL_START: &str = "initdb -D database -A trust -U bench --no-sync && \
    pg_ctl -D database -w -s -l log -o \"-k $PWD -c listen_addresses=\" start && \
    pgbench -q -h $PWD -U bench -i -s 1 postgres 2>&1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commands_are_unique() {
        let mut ids: Vec<_> = all(Scale::QUICK).iter().map(|command| command.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
