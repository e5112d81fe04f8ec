//! Terminals: settings, window sizes and `ioctl_tty(2)` (`asm-generic/termbits.h`, `asm-generic/ioctls.h`).

#![allow(missing_docs)]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Control characters in [`Termios`].
pub const NCCS: usize = 19;

/// Most terminals that one devpts can be told to allow.
pub const NR_UNIX98_PTY_MAX: u32 = 1 << 20;

/// `struct termios` as the kernel has it (the C library's is longer).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termios {
    pub input: u32,
    pub output: u32,
    pub control: u32,
    pub local: u32,
    pub line: u8,
    pub characters: [u8; NCCS],
}

/// `struct termios2`: [`Termios`] and the two speeds in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termios2 {
    pub settings: Termios,
    pub input_speed: u32,
    pub output_speed: u32,
}

/// Control characters of [`Termio`].
const NCC: usize = 8;

/// `struct termio`: the settings as System V had them, of which the low halves are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termio {
    pub input: u16,
    pub output: u16,
    pub control: u16,
    pub local: u16,
    pub line: u8,
    pub characters: [u8; NCC],
    /// Makes the size even.
    pub padding: u8,
}

impl Termio {
    /// The part of `settings` that it has room for.
    pub fn of(settings: &Termios) -> Self {
        let mut characters = [0; NCC];
        characters.copy_from_slice(&settings.characters[..NCC]);
        Termio {
            input: settings.input as u16,
            output: settings.output as u16,
            control: settings.control as u16,
            local: settings.local as u16,
            line: settings.line,
            characters,
            padding: 0,
        }
    }

    /// `settings` with that part of them changed.
    pub fn applied_to(self, settings: Termios) -> Termios {
        let low = |old: u32, new: u16| old & !0xffff | u32::from(new);
        let mut characters = settings.characters;
        characters[..NCC].copy_from_slice(&self.characters);
        Termios {
            input: low(settings.input, self.input),
            output: low(settings.output, self.output),
            control: low(settings.control, self.control),
            local: low(settings.local, self.local),
            line: self.line,
            characters,
        }
    }
}

/// `struct winsize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Winsize {
    pub rows: u16,
    pub columns: u16,
    pub width_pixels: u16,
    pub height_pixels: u16,
}

bitflags! {
    /// `c_iflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InputFlags: u32 {
        const IGNBRK = 0o1;
        const BRKINT = 0o2;
        const IGNPAR = 0o4;
        const PARMRK = 0o10;
        const INPCK = 0o20;
        const ISTRIP = 0o40;
        const INLCR = 0o100;
        const IGNCR = 0o200;
        const ICRNL = 0o400;
        const IUCLC = 0o1000;
        const IXON = 0o2000;
        const IXANY = 0o4000;
        const IXOFF = 0o10000;
        const IMAXBEL = 0o20000;
        const IUTF8 = 0o40000;
    }

    /// `c_oflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OutputFlags: u32 {
        const OPOST = 0o1;
        const OLCUC = 0o2;
        const ONLCR = 0o4;
        const OCRNL = 0o10;
        const ONOCR = 0o20;
        const ONLRET = 0o40;
        /// Expand tabs to spaces.
        const XTABS = 0o14000;
    }

    /// `c_lflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LocalFlags: u32 {
        const ISIG = 0o1;
        const ICANON = 0o2;
        const ECHO = 0o10;
        const ECHOE = 0o20;
        const ECHOK = 0o40;
        const ECHONL = 0o100;
        const NOFLSH = 0o200;
        const TOSTOP = 0o400;
        const ECHOCTL = 0o1000;
        const ECHOPRT = 0o2000;
        const ECHOKE = 0o4000;
        const FLUSHO = 0o10000;
        const PENDIN = 0o40000;
        const IEXTEN = 0o100000;
        const EXTPROC = 0o200000;
    }
}

/// `c_cflag`: 38400 bits per second, 8 bits, receiver on.
pub const DEFAULT_CONTROL: u32 = B38400 | CS8 | CREAD;
pub const B38400: u32 = 0o17;
pub const CS8: u32 = 0o60;
pub const CREAD: u32 = 0o200;

/// Indices of [`Termios::characters`].
pub mod character {
    pub const VINTR: usize = 0;
    pub const VQUIT: usize = 1;
    pub const VERASE: usize = 2;
    pub const VKILL: usize = 3;
    pub const VEOF: usize = 4;
    pub const VTIME: usize = 5;
    pub const VMIN: usize = 6;
    pub const VSWTC: usize = 7;
    pub const VSTART: usize = 8;
    pub const VSTOP: usize = 9;
    pub const VSUSP: usize = 10;
    pub const VEOL: usize = 11;
    pub const VREPRINT: usize = 12;
    pub const VDISCARD: usize = 13;
    pub const VWERASE: usize = 14;
    pub const VLNEXT: usize = 15;
    pub const VEOL2: usize = 16;
}

/// A control character with this value is switched off.
pub const DISABLED: u8 = 0;

pub const TCGETS: u32 = 0x5401;
pub const TCSETS: u32 = 0x5402;
pub const TCSETSW: u32 = 0x5403;
pub const TCSETSF: u32 = 0x5404;
pub const TCGETA: u32 = 0x5405;
pub const TCSETA: u32 = 0x5406;
pub const TCSETAW: u32 = 0x5407;
pub const TCSETAF: u32 = 0x5408;
pub const TCSBRK: u32 = 0x5409;
pub const TCXONC: u32 = 0x540a;
pub const TCFLSH: u32 = 0x540b;
pub const TIOCEXCL: u32 = 0x540c;
pub const TIOCNXCL: u32 = 0x540d;
pub const TIOCSCTTY: u32 = 0x540e;
pub const TIOCGPGRP: u32 = 0x540f;
pub const TIOCSPGRP: u32 = 0x5410;
pub const TIOCOUTQ: u32 = 0x5411;
pub const TIOCSTI: u32 = 0x5412;
pub const TIOCGWINSZ: u32 = 0x5413;
pub const TIOCSWINSZ: u32 = 0x5414;
pub const FIONREAD: u32 = 0x541b;
pub const TIOCCONS: u32 = 0x541d;
pub const TIOCPKT: u32 = 0x5420;
pub const FIONBIO: u32 = 0x5421;
pub const TIOCNOTTY: u32 = 0x5422;
pub const TIOCSETD: u32 = 0x5423;
pub const TIOCGETD: u32 = 0x5424;
pub const TCSBRKP: u32 = 0x5425;
pub const TIOCGSID: u32 = 0x5429;
pub const TCGETS2: u32 = 0x802c_542a;
pub const TCSETS2: u32 = 0x402c_542b;
pub const TCSETSW2: u32 = 0x402c_542c;
pub const TCSETSF2: u32 = 0x402c_542d;
pub const TIOCGPTN: u32 = 0x8004_5430;
pub const TIOCSPTLCK: u32 = 0x4004_5431;
pub const TIOCSIG: u32 = 0x4004_5436;
pub const TIOCVHANGUP: u32 = 0x5437;
pub const TIOCGPKT: u32 = 0x8004_5438;
pub const TIOCGPTLCK: u32 = 0x8004_5439;
pub const TIOCGEXCL: u32 = 0x8004_5440;
pub const TIOCGPTPEER: u32 = 0x5441;

/// Arguments of `TCFLSH`.
pub const TCIFLUSH: u64 = 0;
pub const TCOFLUSH: u64 = 1;
pub const TCIOFLUSH: u64 = 2;

/// Arguments of `TCXONC`.
pub const TCOOFF: u64 = 0;
pub const TCOON: u64 = 1;
pub const TCIOFF: u64 = 2;
pub const TCION: u64 = 3;

/// First byte of what a master in packet mode reads.
pub const TIOCPKT_DATA: u8 = 0;
pub const TIOCPKT_FLUSHREAD: u8 = 1;
pub const TIOCPKT_FLUSHWRITE: u8 = 2;
pub const TIOCPKT_STOP: u8 = 4;
pub const TIOCPKT_START: u8 = 8;
pub const TIOCPKT_NOSTOP: u8 = 16;
pub const TIOCPKT_DOSTOP: u8 = 32;
pub const TIOCPKT_IOCTL: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_match_the_headers() {
        assert_eq!(size_of::<Termios>(), size_of::<linux_raw_sys::general::termios>());
        assert_eq!(size_of::<Termios2>(), size_of::<linux_raw_sys::general::termios2>());
        assert_eq!(size_of::<Winsize>(), size_of::<libc::winsize>());
        assert_eq!(size_of::<Termio>(), size_of::<linux_raw_sys::general::termio>());
        assert_eq!(NCCS, linux_raw_sys::general::NCCS as usize);
    }

    #[test]
    fn flags_match_the_headers() {
        assert_eq!(InputFlags::IUTF8.bits(), libc::IUTF8);
        assert_eq!(InputFlags::IXOFF.bits(), libc::IXOFF);
        assert_eq!(OutputFlags::ONLRET.bits(), libc::ONLRET);
        assert_eq!(OutputFlags::XTABS.bits(), libc::XTABS);
        assert_eq!(LocalFlags::EXTPROC.bits(), libc::EXTPROC);
        assert_eq!(LocalFlags::TOSTOP.bits(), libc::TOSTOP);
        assert_eq!(DEFAULT_CONTROL, libc::B38400 | libc::CS8 | libc::CREAD);
        assert_eq!(character::VEOL2, libc::VEOL2);
        assert_eq!(character::VLNEXT, libc::VLNEXT);
    }

    #[test]
    fn commands_match_the_headers() {
        use linux_raw_sys::ioctl as header;
        let ours = [TCGETS, TCSETSF, TIOCSCTTY, TIOCSPGRP, TIOCSWINSZ, FIONREAD, TIOCPKT, TIOCGSID];
        let theirs = [
            header::TCGETS,
            header::TCSETSF,
            header::TIOCSCTTY,
            header::TIOCSPGRP,
            header::TIOCSWINSZ,
            header::FIONREAD,
            header::TIOCPKT,
            header::TIOCGSID,
        ];
        assert_eq!(ours, theirs);
        let ours = [TCGETS2, TCSETSF2, TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER, TIOCGPKT, TIOCSIG, TIOCGEXCL];
        let theirs = [
            header::TCGETS2,
            header::TCSETSF2,
            header::TIOCGPTN,
            header::TIOCSPTLCK,
            header::TIOCGPTPEER,
            header::TIOCGPKT,
            header::TIOCSIG,
            header::TIOCGEXCL,
        ];
        assert_eq!(ours, theirs);
    }
}
