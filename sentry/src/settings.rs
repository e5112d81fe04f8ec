//! Settings of the kernel by name (`sysctl(8)`, `/proc/sys`): those that can be changed, and mean something.

use usk_abi::Errno;

use crate::ipc::Bound;
use crate::kernel::Kernel;

/// A setting: one number, or several in a row.
pub struct Setting {
    /// Its name, with dots.
    pub name: &'static str,
    numbers: &'static [fn(&Kernel) -> &Bound],
}

/// All of them.
pub const SETTINGS: &[Setting] = &[
    Setting { name: "fs.aio-max-nr", numbers: &[|kernel| &kernel.aio.most] },
    Setting { name: "fs.mqueue.msg_default", numbers: &[|kernel| &kernel.ipc.limits.mq_msg_default] },
    Setting { name: "fs.mqueue.msg_max", numbers: &[|kernel| &kernel.ipc.limits.mq_msg_max] },
    Setting { name: "fs.mqueue.msgsize_default", numbers: &[|kernel| &kernel.ipc.limits.mq_msgsize_default] },
    Setting { name: "fs.mqueue.msgsize_max", numbers: &[|kernel| &kernel.ipc.limits.mq_msgsize_max] },
    Setting { name: "fs.mqueue.queues_max", numbers: &[|kernel| &kernel.ipc.limits.mq_queues_max] },
    Setting { name: "kernel.msgmax", numbers: &[|kernel| &kernel.ipc.limits.msgmax] },
    Setting { name: "kernel.msgmnb", numbers: &[|kernel| &kernel.ipc.limits.msgmnb] },
    Setting { name: "kernel.msgmni", numbers: &[|kernel| &kernel.ipc.limits.msgmni] },
    Setting {
        name: "kernel.sem",
        numbers: &[
            |kernel| &kernel.ipc.limits.semmsl,
            |kernel| &kernel.ipc.limits.semmns,
            |kernel| &kernel.ipc.limits.semopm,
            |kernel| &kernel.ipc.limits.semmni,
        ],
    },
    Setting { name: "kernel.shm_rmid_forced", numbers: &[|kernel| &kernel.ipc.limits.shm_rmid_forced] },
    Setting { name: "kernel.shmall", numbers: &[|kernel| &kernel.ipc.limits.shmall] },
    Setting { name: "kernel.shmmax", numbers: &[|kernel| &kernel.ipc.limits.shmmax] },
    Setting { name: "kernel.shmmni", numbers: &[|kernel| &kernel.ipc.limits.shmmni] },
    Setting { name: "net.core.somaxconn", numbers: &[|kernel| &kernel.somaxconn] },
];

impl Setting {
    /// The setting with this name.
    pub fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// What it is now, as its file shows it.
    pub fn read(&self, kernel: &Kernel) -> Vec<u8> {
        let numbers: Vec<String> = self.numbers.iter().map(|place| place(kernel).get().to_string()).collect();
        format!("{}\n", numbers.join("\t")).into_bytes()
    }

    /// Changes it: as many of its numbers as the text has. `EINVAL` if the text is something else, or out of range.
    pub fn write(&self, kernel: &Kernel, text: &[u8]) -> Result<(), Errno> {
        let text = str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if words.is_empty() || words.len() > self.numbers.len() {
            return Err(Errno::EINVAL);
        }
        let mut changes = Vec::with_capacity(words.len());
        for (place, word) in self.numbers.iter().zip(words) {
            let bound = place(kernel);
            let value = word.parse::<u64>().ok().filter(|&value| bound.allows(value)).ok_or(Errno::EINVAL)?;
            changes.push((bound, value));
        }
        changes.into_iter().for_each(|(bound, value)| bound.set(value));
        Ok(())
    }
}
