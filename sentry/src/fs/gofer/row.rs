//! A row of what may be gone meanwhile.

use std::collections::VecDeque;
use std::sync::Weak;

/// Members before those that are gone are looked for at first.
const FEW: usize = 1024;

/// Weak references, each of which holds the memory of what it refers to. So those to what is gone are taken out, whenever the row has become
/// twice as long as what was left the last time.
pub(super) struct Row<T> {
    members: VecDeque<Weak<T>>,
    /// How many there may be before those that are gone are looked for.
    most: usize,
}

impl<T> Default for Row<T> {
    fn default() -> Self {
        Row { members: VecDeque::new(), most: FEW }
    }
}

impl<T> Row<T> {
    /// Adds one at the end.
    pub(super) fn push(&mut self, member: Weak<T>) {
        if self.members.len() >= self.most {
            self.members.retain(|member| member.strong_count() > 0);
            self.most = (2 * self.members.len()).max(FEW);
        }
        self.members.push_back(member);
    }

    /// Takes the first.
    pub(super) fn pop(&mut self) -> Option<Weak<T>> {
        self.members.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_gone_leaves_the_row_and_the_others_stay_in_order() {
        let mut row = Row::default();
        let kept: Vec<_> = (0..3 * FEW).map(Arc::new).collect();
        for number in 0..20 * FEW {
            let member = kept.get(number).map_or_else(Weak::new, Arc::downgrade);
            row.push(member);
            assert!(row.members.len() <= 6 * FEW);
        }
        let left: Vec<_> = std::iter::from_fn(|| row.pop()).filter_map(|member| member.upgrade()).collect();
        assert_eq!(left, kept);
    }
}
