//! The arguments of a system call. Registers are narrowed here and nowhere else.

use crate::UserPtr;

/// The six argument registers of a system call. Each method narrows as the C prototype of the call does: the kernel ignores
/// the upper half of a register that holds an `int`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallArguments(pub [u64; 6]);

impl SyscallArguments {
    /// A whole register, `unsigned long`.
    pub fn u64(self, index: usize) -> u64 {
        self.0[index]
    }

    /// `long` or `off_t`.
    pub fn i64(self, index: usize) -> i64 {
        self.0[index] as i64
    }

    /// `unsigned int`, flags among them.
    pub fn u32(self, index: usize) -> u32 {
        self.0[index] as u32
    }

    /// `int`, file descriptors among them.
    pub fn i32(self, index: usize) -> i32 {
        self.0[index] as i32
    }

    /// `umode_t`.
    pub fn u16(self, index: usize) -> u16 {
        self.0[index] as u16
    }

    /// `size_t`.
    pub fn usize(self, index: usize) -> usize {
        self.0[index] as usize
    }

    /// A guest pointer.
    pub fn pointer<T>(self, index: usize) -> UserPtr<T> {
        UserPtr::new(self.0[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_ignores_the_upper_half() {
        let arguments = SyscallArguments([0xdead_beef_ffff_ffff, 0xffff_ffff_0000_0001, 0x1_2345, 0, 0, 0]);
        assert_eq!(arguments.i32(0), -1);
        assert_eq!(arguments.u32(1), 1);
        assert_eq!(arguments.u16(2), 0x2345);
    }
}
