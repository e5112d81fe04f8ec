//! The auxiliary vector that a new program finds above its environment (`getauxval(3)`, `linux/auxvec.h`).

#![allow(missing_docs)]

pub const AT_NULL: u64 = 0;
pub const AT_PHDR: u64 = 3;
pub const AT_PHENT: u64 = 4;
pub const AT_PHNUM: u64 = 5;
pub const AT_PAGESZ: u64 = 6;
pub const AT_BASE: u64 = 7;
pub const AT_FLAGS: u64 = 8;
pub const AT_ENTRY: u64 = 9;
pub const AT_UID: u64 = 11;
pub const AT_EUID: u64 = 12;
pub const AT_GID: u64 = 13;
pub const AT_EGID: u64 = 14;
pub const AT_PLATFORM: u64 = 15;
pub const AT_HWCAP: u64 = 16;
pub const AT_CLKTCK: u64 = 17;
pub const AT_SECURE: u64 = 23;
pub const AT_RANDOM: u64 = 25;
pub const AT_HWCAP2: u64 = 26;
pub const AT_EXECFN: u64 = 31;
pub const AT_SYSINFO_EHDR: u64 = 33;
pub const AT_MINSIGSTKSZ: u64 = 51;

/// `HWCAP2_FSGSBASE`: user code may use `wrfsbase` and its kin.
pub const HWCAP2_FSGSBASE: u64 = 2;

/// `USER_HZ`: the unit of `times(2)`, per second.
pub const CLOCK_TICKS_PER_SECOND: u64 = 100;

#[cfg(test)]
mod tests {
    use linux_raw_sys::auxvec as raw;

    #[test]
    fn values_are_the_kernel_headers() {
        assert_eq!(super::AT_PHDR, u64::from(raw::AT_PHDR));
        assert_eq!(super::AT_SECURE, u64::from(raw::AT_SECURE));
        assert_eq!(super::AT_RANDOM, u64::from(raw::AT_RANDOM));
        assert_eq!(super::AT_HWCAP2, u64::from(raw::AT_HWCAP2));
        assert_eq!(super::AT_EXECFN, u64::from(raw::AT_EXECFN));
        assert_eq!(super::AT_SYSINFO_EHDR, u64::from(raw::AT_SYSINFO_EHDR));
        assert_eq!(super::AT_MINSIGSTKSZ, u64::from(raw::AT_MINSIGSTKSZ));
        assert_eq!(super::AT_CLKTCK, u64::from(raw::AT_CLKTCK));
        assert_eq!(super::AT_PLATFORM, u64::from(raw::AT_PLATFORM));
    }
}
