//! What the sandbox has not been told yet: one that is paused reads nothing, and its socket has room for a few hundred
//! messages.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use usk::control::ToSandbox;

/// Messages in order, with the descriptors beside them.
#[derive(Default)]
pub(super) struct Backlog(VecDeque<(ToSandbox, Vec<OwnedFd>)>);

impl Backlog {
    /// Adds a message. One that says the same takes an older one's place, as with signals that are pending; so there are never
    /// more than there are different signals, processes and limits.
    pub(super) fn push(&mut self, message: ToSandbox, descriptors: Vec<OwnedFd>) {
        self.0.retain(|(older, _)| !replaces(&message, older));
        self.0.push_back((message, descriptors));
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<&(ToSandbox, Vec<OwnedFd>)> {
        self.0.front()
    }

    /// Removes the oldest.
    pub(super) fn remove_first(&mut self) {
        self.0.pop_front();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn replaces(newer: &ToSandbox, older: &ToSandbox) -> bool {
    matches!((newer, older), (ToSandbox::Resize { .. }, ToSandbox::Resize { .. })) || newer == older
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_is_kept_once_and_the_last_window_counts() {
        let mut backlog = Backlog::default();
        let resize = |rows| ToSandbox::Resize { rows, columns: 80 };
        let (stop, go) = (ToSandbox::Signal(libc::SIGTSTP), ToSandbox::Signal(libc::SIGCONT));
        for message in [stop, resize(1), go, stop, resize(2), resize(3)] {
            backlog.push(message, Vec::new());
        }
        let mut kept = Vec::new();
        while let Some((message, _)) = backlog.first() {
            kept.push(*message);
            backlog.remove_first();
        }
        assert_eq!(kept, [go, stop, resize(3)]);
        assert!(backlog.is_empty());
    }
}
