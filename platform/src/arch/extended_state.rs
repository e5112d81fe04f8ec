//! Extended state: between the form of a signal frame and the form of `PTRACE_GETREGSET`.
//!
//! Both are an XSAVE area in the standard format (Intel SDM volume 1, chapter 13). In a signal frame bytes 464 to 511
//! hold `struct _fpx_sw_bytes`, `FP_XSTATE_MAGIC2` follows the area, and features that a process must ask for first
//! (AMX tiles) are left out (`arch/x86/kernel/fpu/signal.c`). An image may come from the guest, so nothing in it is
//! taken on trust.

use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::LazyLock;

use usk_abi::Errno;

/// `FP_XSTATE_MAGIC1` and `FP_XSTATE_MAGIC2` of `asm/sigcontext.h`.
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;

/// Bytes of the FXSAVE area, and of it with the XSAVE header.
const LEGACY: usize = 512;
const WITH_HEADER: usize = LEGACY + 64;
/// Offsets of fields in bytes.
const FCW: usize = 0;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
const XMM: usize = 160;
/// Of the legacy area, from here on nothing is written.
const RESERVED: usize = 416;
const SOFTWARE: usize = 464;
const XSTATE_BV: usize = 512;
/// Feature bits.
const X87: u64 = 1;
const SSE: u64 = 2;
/// Features that need permission first: `XFEATURE_MASK_USER_DYNAMIC`, the AMX tile data.
const DYNAMIC: u64 = 1 << 18;
/// What the processor starts with.
const INITIAL_FCW: u16 = 0x37f;
const INITIAL_MXCSR: u32 = 0x1f80;
const DEFAULT_MXCSR_MASK: u32 = 0xffbf;

/// What this processor and host have.
pub(crate) struct Format {
    /// Features that signal frames hold.
    features: u64,
    /// Size in bytes of the XSAVE area of a signal frame, without the magic number after it.
    area: usize,
    /// Offset and size of each feature's component; `(0, 0)` where it has none.
    components: [(usize, usize); 64],
}

/// The format on this machine.
pub(crate) static FORMAT: LazyLock<Format> = LazyLock::new(Format::detect);

impl Format {
    fn detect() -> Format {
        // SAFETY: XGETBV needs OSXSAVE, which Linux sets on every processor with XSAVE; the platform's `probe` has
        // asked for the register set that depends on it.
        let enabled = unsafe { read_xcr0() };
        let features = enabled & !DYNAMIC;
        let mut components = [(0, 0); 64];
        let mut area = WITH_HEADER;
        for feature in (2..63).filter(|feature| features & (1 << feature) != 0) {
            let leaf = __cpuid_count(0xd, feature);
            let (offset, size) = (leaf.ebx as usize, leaf.eax as usize);
            components[feature as usize] = (offset, size);
            area = area.max(offset + size);
        }
        Format { features, area, components }
    }

    /// The features that signal frames hold, as XSAVE and XRSTOR are told.
    pub(crate) fn features(&self) -> u64 {
        self.features
    }

    /// Size in bytes of an image: the area and the magic number after it.
    pub(crate) fn image_size(&self) -> usize {
        self.area + size_of::<u32>()
    }

    /// What tells a signal frame's extended state that is in this format: the 20 bytes that say so, and the magic number that
    /// follows the area.
    pub(crate) fn frame_words(&self) -> [u8; 24] {
        let mut words = [0; 24];
        self.put_software(&mut words);
        put(&mut words, 20, MAGIC2);
        words
    }

    /// `struct _fpx_sw_bytes`
    fn put_software(&self, bytes: &mut [u8]) {
        put(bytes, 0, MAGIC1);
        put(bytes, 4, self.image_size() as u32);
        put(bytes, 8, self.features);
        put(bytes, 16, self.area as u32);
    }

    /// The parts of an image that XSAVE leaves as they are, the features in its header apart: offsets and bytes.
    pub(crate) fn unwritten(&self) -> [(u64, Vec<u8>); 3] {
        let mut software = vec![0; LEGACY - RESERVED];
        self.put_software(&mut software[SOFTWARE - RESERVED..]);
        let header = vec![0; WITH_HEADER - XSTATE_BV - 8];
        [
            (RESERVED as u64, software),
            (XSTATE_BV as u64 + 8, header),
            (self.area as u64, MAGIC2.to_le_bytes().to_vec()),
        ]
    }

    /// From the host's form, which is at least as long as the area.
    pub(crate) fn encode(&self, host: &[u8]) -> Vec<u8> {
        let mut image = vec![0; self.image_size()];
        let length = host.len().min(self.area);
        image[..length].copy_from_slice(&host[..length]);
        put(&mut image, XSTATE_BV, get_u64(host, XSTATE_BV) & self.features);
        image[SOFTWARE..LEGACY].fill(0);
        self.put_software(&mut image[SOFTWARE..]);
        put(&mut image, self.area, MAGIC2);
        image
    }

    /// The processor's initial state, as an image.
    pub(crate) fn initial_image(&self) -> Vec<u8> {
        self.encode(&self.initial(self.area))
    }

    /// An image that says the same in this host's own words, safe to give to a signal return.
    pub(crate) fn normalize(&self, image: &[u8]) -> Result<Vec<u8>, Errno> {
        Ok(self.encode(&self.decode(image, self.area)?))
    }

    /// The processor's initial state, in the host's form and `host_size` bytes.
    pub(crate) fn initial(&self, host_size: usize) -> Vec<u8> {
        let mut host = vec![0; host_size];
        put(&mut host, FCW, INITIAL_FCW);
        put(&mut host, MXCSR, INITIAL_MXCSR);
        put(&mut host, XSTATE_BV, X87 | SSE);
        host
    }

    /// From an image of the guest's to the host's form in `host_size` bytes. Like the host's `rt_sigreturn(2)`, it
    /// takes an image without the first magic number for an FXSAVE area, with everything else initial, and honours
    /// only the features that the frame says it has.
    pub(crate) fn decode(&self, image: &[u8], host_size: usize) -> Result<Vec<u8>, Errno> {
        if image.len() < LEGACY || host_size < self.area {
            return Err(Errno::EINVAL);
        }
        let mut host = self.initial(host_size);
        let present = self.present(image)?;
        let mxcsr = get_u32(image, MXCSR);
        let mask = match get_u32(host_legacy_defaults(), MXCSR_MASK) {
            0 => DEFAULT_MXCSR_MASK,
            mask => mask,
        };
        if mxcsr & !mask != 0 {
            return Err(Errno::EINVAL);
        }
        put(&mut host, MXCSR, mxcsr);
        if present & X87 != 0 {
            host[..MXCSR].copy_from_slice(&image[..MXCSR]);
            host[MXCSR_MASK + 4..XMM].copy_from_slice(&image[MXCSR_MASK + 4..XMM]);
        }
        if present & SSE != 0 {
            host[XMM..XMM + 256].copy_from_slice(&image[XMM..XMM + 256]);
        }
        for (feature, &(offset, size)) in self.components.iter().enumerate().skip(2) {
            if present & (1 << feature) != 0 {
                host[offset..offset + size].copy_from_slice(&image[offset..offset + size]);
            }
        }
        // x87 and SSE are always written, as what they are or as initial.
        put(&mut host, XSTATE_BV, present | X87 | SSE);
        Ok(host)
    }

    /// Which features the image holds.
    fn present(&self, image: &[u8]) -> Result<u64, Errno> {
        let extended_size = get_u32(image, SOFTWARE + 4) as usize;
        let size = get_u32(image, SOFTWARE + 16) as usize;
        let is_extended = get_u32(image, SOFTWARE) == MAGIC1
            && (WITH_HEADER..=self.area).contains(&size)
            && size <= extended_size;
        if !is_extended {
            return Ok(X87 | SSE);
        }
        if image.len() < size + size_of::<u32>() {
            return Err(Errno::EINVAL);
        }
        // Somebody has copied the frame without knowing of more (`check_xstate_in_sigframe`).
        if get_u32(image, size) != MAGIC2 {
            return Ok(X87 | SSE);
        }
        // The rest of the header (XCOMP_BV and reserved bytes) must be zero in the standard format.
        if image[XSTATE_BV + 8..WITH_HEADER].iter().any(|&byte| byte != 0) {
            return Err(Errno::EINVAL);
        }
        let in_header = get_u64(image, XSTATE_BV);
        if in_header & !self.features != 0 {
            return Err(Errno::EINVAL);
        }
        let present = in_header & get_u64(image, SOFTWARE + 8);
        let is_cut = |feature: usize| {
            let (offset, length) = self.components[feature];
            present & (1 << feature) != 0 && offset + length > size
        };
        if (2..64).any(is_cut) { Err(Errno::EINVAL) } else { Ok(present) }
    }
}

/// What FXSAVE stores on this machine; the mask of valid MXCSR bits is what matters.
fn host_legacy_defaults() -> &'static [u8; LEGACY] {
    #[repr(align(16))]
    struct Area([u8; LEGACY]);
    static AREA: LazyLock<Area> = LazyLock::new(|| {
        let mut area = Area([0; LEGACY]);
        // SAFETY: every 64-bit processor has FXSAVE, and the area is 512 bytes, aligned to 16.
        unsafe { std::arch::x86_64::_fxsave64(area.0.as_mut_ptr()) };
        area
    });
    &AREA.0
}

/// # Safety
/// The processor must have XSAVE and the host must have enabled it.
#[target_feature(enable = "xsave")]
unsafe fn read_xcr0() -> u64 {
    // SAFETY: the caller vouches for XSAVE.
    unsafe { _xgetbv(0) }
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(get_u32(bytes, at)) | u64::from(get_u32(bytes, at + 4)) << 32
}

fn put<T: LittleEndian>(bytes: &mut [u8], at: usize, value: T) {
    value.put(&mut bytes[at..]);
}

trait LittleEndian {
    fn put(self, bytes: &mut [u8]);
}

macro_rules! little_endian {
    ($($kind:ty)*) => {
        $(impl LittleEndian for $kind {
            fn put(self, bytes: &mut [u8]) {
                bytes[..size_of::<$kind>()].copy_from_slice(&self.to_le_bytes());
            }
        })*
    };
}

little_endian!(u16 u32 u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        let host = FORMAT.initial(FORMAT.area);
        FORMAT.encode(&host)
    }

    #[test]
    fn an_image_survives_the_round_trip() {
        let mut host = FORMAT.initial(FORMAT.area);
        host[XMM..XMM + 16].fill(0xa5);
        let image = FORMAT.encode(&host);
        assert_eq!(image.len(), FORMAT.image_size());
        assert_eq!(FORMAT.decode(&image, host.len()), Ok(host));
    }

    #[test]
    fn malformed_images_are_refused() {
        let size = FORMAT.area;
        assert_eq!(FORMAT.decode(&[0; 100], size), Err(Errno::EINVAL));
        let mut reserved_mxcsr = image();
        put(&mut reserved_mxcsr, MXCSR, u32::MAX);
        assert_eq!(FORMAT.decode(&reserved_mxcsr, size), Err(Errno::EINVAL));
        let mut unknown_feature = image();
        put(&mut unknown_feature, XSTATE_BV, 1u64 << 62);
        assert_eq!(FORMAT.decode(&unknown_feature, size), Err(Errno::EINVAL));
        let mut compacted = image();
        put(&mut compacted, XSTATE_BV + 8, 1u64 << 63);
        assert_eq!(FORMAT.decode(&compacted, size), Err(Errno::EINVAL));
        let mut no_end = image();
        put(&mut no_end, size, 0u32);
        // As if of a program that knows the legacy registers only.
        assert!(FORMAT.decode(&no_end, size).is_ok_and(|host| get_u64(&host, XSTATE_BV) == X87 | SSE));
        assert_eq!(FORMAT.decode(&image()[..size], size), Err(Errno::EINVAL));
    }

    #[test]
    fn an_image_without_the_magic_number_is_an_fxsave_area() {
        let mut image = image();
        put(&mut image, SOFTWARE, 0u32);
        image[XMM] = 7;
        let host = FORMAT.decode(&image[..LEGACY], FORMAT.area).unwrap();
        assert_eq!((host[XMM], get_u64(&host, XSTATE_BV)), (7, X87 | SSE));
    }
}
