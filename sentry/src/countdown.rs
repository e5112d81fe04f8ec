//! Something that lasts for so many times.

/// How many are left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Countdown(u32);

impl Countdown {
    /// It lasts for so many times.
    pub(crate) const fn of(times: u32) -> Countdown {
        Countdown(times)
    }

    /// Whether it lasts still, which is one time less then.
    pub(crate) fn step(&mut self) -> bool {
        let lasts = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        lasts
    }
}
