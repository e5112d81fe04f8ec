//! Resource limits and accounting (`getrlimit(2)`, `getrusage(2)`).

use std::time::Duration;

/// Count of `RLIMIT_*` resources.
pub const RESOURCE_COUNT: usize = 16;
/// `RLIM_INFINITY`
pub const UNLIMITED: u64 = u64::MAX;

/// A resource of `getrlimit(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(usize)]
pub enum Resource {
    Cpu = 0,
    FileSize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Processes = 6,
    Files = 7,
    LockedMemory = 8,
    AddressSpace = 9,
    Locks = 10,
    PendingSignals = 11,
    MessageQueue = 12,
    Nice = 13,
    RealtimePriority = 14,
    RealtimeTime = 15,
}

/// A soft and a hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The limit in force.
    pub soft: u64,
    /// The most that the soft one may be raised to.
    pub hard: u64,
}

/// The limits of a process, by resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimits(pub [Limit; RESOURCE_COUNT]);

impl ResourceLimits {
    /// The limit in force for `resource`.
    pub fn soft(&self, resource: Resource) -> u64 {
        self.0[resource as usize].soft
    }
}

impl Default for ResourceLimits {
    /// What Linux gives the first process, with the number of processes unlimited (the sandbox has a limit of its own).
    fn default() -> Self {
        let mut limits = [Limit { soft: UNLIMITED, hard: UNLIMITED }; RESOURCE_COUNT];
        let mut set = |resource: Resource, soft, hard| limits[resource as usize] = Limit { soft, hard };
        set(Resource::Stack, 8 << 20, UNLIMITED);
        set(Resource::Core, 0, UNLIMITED);
        set(Resource::Files, 1024, 1 << 20);
        set(Resource::LockedMemory, 8 << 20, 8 << 20);
        set(Resource::PendingSignals, 95_000, 95_000);
        set(Resource::MessageQueue, 819_200, 819_200);
        set(Resource::Nice, 0, 0);
        set(Resource::RealtimePriority, 0, 0);
        ResourceLimits(limits)
    }
}

/// Resources used. User time is what the guest's code took on the host; system time is what the sentry took to serve it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time in guest code.
    pub user: Duration,
    /// Time in the sentry.
    pub system: Duration,
    /// Times the task gave up the processor to wait.
    pub voluntary_switches: u64,
}

impl Usage {
    /// The sum of two.
    pub fn plus(self, other: Usage) -> Usage {
        Usage {
            user: self.user + other.user,
            system: self.system + other.system,
            voluntary_switches: self.voluntary_switches + other.voluntary_switches,
        }
    }

    /// User and system time together.
    pub fn total(&self) -> Duration {
        self.user + self.system
    }
}
