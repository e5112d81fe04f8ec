//! Where the host put the vDSO and its data pages in this process (`proc_pid_maps(5)`).

use std::os::fd::BorrowedFd;

use usk_abi::Errno;

use super::descriptors::read_text_at;

/// The block of vvar mappings with the vDSO after them. They are contiguous and must stay so, because the vDSO's
/// code addresses its data relative to itself.
#[derive(Debug)]
pub(crate) struct VdsoMaps {
    /// Start of the first mapping.
    pub(crate) start: u64,
    /// Start of the vDSO proper.
    pub(crate) vdso_start: u64,
    /// End of the vDSO.
    pub(crate) end: u64,
    /// Start and end of each mapping.
    pub(crate) parts: Vec<(u64, u64)>,
}

impl VdsoMaps {
    /// `proc` is a mounted `proc(5)` in which `self` is this process.
    pub(crate) fn of_this_process(proc: BorrowedFd<'_>) -> Result<VdsoMaps, Errno> {
        VdsoMaps::parse(&read_text_at(proc, c"self/maps")?).ok_or(Errno::ENOENT)
    }

    fn parse(text: &str) -> Option<VdsoMaps> {
        let mut parts = Vec::new();
        let mut vdso = None;
        for line in text.lines() {
            let name = line.split_ascii_whitespace().nth(5).unwrap_or_default();
            if !matches!(name, "[vvar]" | "[vvar_vclock]" | "[vdso]") {
                continue;
            }
            let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
            let part = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
            if name == "[vdso]" {
                vdso = Some(part);
            }
            parts.push(part);
        }
        let (vdso_start, end) = vdso?;
        let is_contiguous = parts.windows(2).all(|pair| pair[0].1 == pair[1].0);
        (is_contiguous && parts.last() == vdso.as_ref()).then(|| VdsoMaps {
            start: parts[0].0,
            vdso_start,
            end,
            parts,
        })
    }

    /// Bytes of the whole block.
    pub(crate) fn length(&self) -> u64 {
        self.end - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vdso_block_of_a_recent_kernel_is_found() {
        let text = "55d0-55d1 r-xp 00000000 fe:00 12 /usr/bin/a b\n\
            7f8c5dab4000-7f8c5dab8000 r--p 00000000 00:00 0                          [vvar]\n\
            7f8c5dab8000-7f8c5daba000 r--p 00000000 00:00 0                          [vvar_vclock]\n\
            7f8c5daba000-7f8c5dabc000 r-xp 00000000 00:00 0                          [vdso]\n";
        let maps = VdsoMaps::parse(text).unwrap();
        assert_eq!(
            (maps.start, maps.vdso_start, maps.length()),
            (0x7f8c_5dab_4000, 0x7f8c_5dab_a000, 0x8000)
        );
        assert_eq!(maps.parts.len(), 3);
    }

    #[test]
    fn a_process_without_a_vdso_or_with_a_gap_is_refused() {
        assert!(VdsoMaps::parse("").is_none());
        assert!(VdsoMaps::parse("1000-2000 r--p 0 0:0 0 [vvar]\n3000-4000 r-xp 0 0:0 0 [vdso]\n").is_none());
    }
}
