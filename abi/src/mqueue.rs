//! POSIX message queues (`mq_overview(7)`, `linux/mqueue.h`, `ipc/mqueue.c`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One more than the highest priority of a message.
pub const MQ_PRIO_MAX: u32 = 32768;
/// Most messages of a queue, and most bytes of a message, whoever asks (`HARD_MSGMAX`, `HARD_MSGSIZEMAX`).
pub const HARD_MSGMAX: u64 = 65536;
/// See [`HARD_MSGMAX`].
pub const HARD_MSGSIZEMAX: u64 = 16 << 20;
/// The least that `/proc/sys/fs/mqueue/msgsize_max` can be set to.
pub const MIN_MSGSIZEMAX: u64 = 128;
/// What a message takes of `RLIMIT_MSGQUEUE` besides its text, and each priority that is in use (`struct msg_msg`,
/// `struct posix_msg_tree_node`).
pub const MESSAGE_OVERHEAD: u64 = 48;
/// See [`MESSAGE_OVERHEAD`].
pub const PRIORITY_OVERHEAD: u64 = 48;

/// Bytes that `SIGEV_THREAD` sends to its socket.
pub const NOTIFY_COOKIE_LEN: usize = 32;
/// What the last of them says: a message has come.
pub const NOTIFY_WOKENUP: u8 = 1;
/// What the last of them says: nobody waits for messages any more.
pub const NOTIFY_REMOVED: u8 = 2;

/// `struct mq_attr`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct MqAttr {
    pub flags: i64,
    pub max_messages: i64,
    pub message_size: i64,
    pub messages: i64,
    pub reserved: [i64; 4],
}
