//! The host's system calls, typed, each wrapped once for the whole project. Functions take and return owned or
//! borrowed descriptors and `Errno`s, and are safe to call with any argument.

mod affinity;
mod auxiliary;
mod barrier;
pub mod child;
mod clock;
pub mod credentials;
mod descriptor;
mod descriptor_passing;
pub mod descriptors;
mod event_poll;
pub mod features;
mod file;
pub mod filter_probe;
pub mod inheritance;
mod memfd;
pub mod message_socket;
pub mod mounts;
pub mod namespaces;
mod network;
pub mod own_memory;
pub mod pidfd;
mod process;
mod process_vm;
pub mod ptrace;
mod random;
mod result;
pub mod rlimit;
pub mod seccomp;
mod shared_mapping;
pub mod signals;
mod socket;
mod stream;
pub mod terminal;
mod terminal_control;
mod thread;
pub mod timeline;
pub mod user_namespace;
pub(crate) mod vdso;
pub mod wait;
mod words;

pub(crate) use result::last_error;

pub use affinity::{Cpus, Stay, Together, count_processors, current_cpu, pin, pin_together, processor_count};
pub use auxiliary::auxiliary_value;
pub use barrier::memory_barrier_everywhere;
pub use clock::{Clock, clock_ns};
pub use descriptor::is_regular_file;
pub use descriptor_passing::{discard_messages, message_socket_pair, send_descriptor};
pub use event_poll::{EdgePoll, WakeDescriptor};
pub use file::{Extent, allocate, extent, read_at, seek_data, seek_hole, set_length, sync, write_at};
pub use memfd::{create_memfd, file_identity, reopen_read_only};
pub use network::is_network_empty;
pub use nix::unistd::Pid;
pub use process::{fork_idle_child, keep_children_for_wait, process_cpu_time, signal_process};
pub use process_vm::{MAX_PIECES, read_pieces, read_process, write_pieces, write_process};
pub use random::fill_random;
pub use shared_mapping::SharedMapping;
pub use socket::{MAX_PACKET_DESCRIPTORS, ReceivedPacket, receive_packet, send_packet, try_send_packet};
pub use stream::{
    StreamKind, StreamStatus, Waiting, poll_now, read_stream, readable_bytes, seek_stream, stream_status,
    unsent_bytes, write_stream,
};
pub use terminal_control::{
    Effect, flush_terminal, set_terminal_settings, set_terminal_window, suspend_terminal, terminal_settings,
    terminal_window,
};
pub use thread::{ThreadId, current_thread, thread_cpu_time};
pub use words::{can_wait_for_two, wait_for_two, wake_word};
