//! What the processor says of itself.

use std::arch::x86_64::__cpuid_count;

/// A processor's identity, as `/proc/cpuinfo` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Vendor string of leaf 0.
    pub vendor: String,
    /// Marketing name of leaves 0x80000002 to 0x80000004.
    pub name: String,
    /// Family, extended family included.
    pub family: u32,
    /// Model, extended model included.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Highest basic leaf.
    pub highest_leaf: u32,
    /// Nominal frequency in MHz, or that of the time stamp counter; 0 if the processor does not say.
    pub megahertz: u32,
    /// Feature flags by Linux's names.
    pub flags: Vec<&'static str>,
}

struct Leaf {
    eax: u32,
    ebx: u32,
    ecx: u32,
    edx: u32,
}

#[allow(unused_unsafe)]
fn leaf(number: u32, sub: u32) -> Leaf {
    // SAFETY: every 64-bit x86 processor has the instruction; it changes nothing but its result registers.
    let result = unsafe { __cpuid_count(number, sub) };
    Leaf { eax: result.eax, ebx: result.ebx, ecx: result.ecx, edx: result.edx }
}

/// The time stamp counter.
#[allow(unused_unsafe)]
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: every 64-bit x86 processor has the instruction; nobody has forbidden it to this process.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// What the processor answers to `cpuid`: `eax`, `ebx`, `ecx`, `edx`.
pub(crate) fn cpuid(number: u32, sub: u32) -> [u32; 4] {
    let Leaf { eax, ebx, ecx, edx } = leaf(number, sub);
    [eax, ebx, ecx, edx]
}

/// Whether there are the instructions that shift without touching the flags (BMI2). The standard library would ask for all
/// features at once: a dozen questions, each of which takes a virtual machine some 4 µs, at every start.
pub(crate) fn has_bmi2() -> bool {
    const STRUCTURED_FEATURES: u32 = 7;
    leaf(0, 0).eax >= STRUCTURED_FEATURES && leaf(STRUCTURED_FEATURES, 0).ebx & (1 << 8) != 0
}

const LEAF_1_EDX: &[(u32, &str)] = &[
    (0, "fpu"),
    (1, "vme"),
    (2, "de"),
    (3, "pse"),
    (4, "tsc"),
    (5, "msr"),
    (6, "pae"),
    (7, "mce"),
    (8, "cx8"),
    (9, "apic"),
    (11, "sep"),
    (12, "mtrr"),
    (13, "pge"),
    (14, "mca"),
    (15, "cmov"),
    (16, "pat"),
    (17, "pse36"),
    (19, "clflush"),
    (23, "mmx"),
    (24, "fxsr"),
    (25, "sse"),
    (26, "sse2"),
    (27, "ss"),
    (28, "ht"),
];
const LEAF_1_ECX: &[(u32, &str)] = &[
    (0, "pni"),
    (1, "pclmulqdq"),
    (9, "ssse3"),
    (12, "fma"),
    (13, "cx16"),
    (17, "pcid"),
    (19, "sse4_1"),
    (20, "sse4_2"),
    (21, "x2apic"),
    (22, "movbe"),
    (23, "popcnt"),
    (24, "tsc_deadline_timer"),
    (25, "aes"),
    (26, "xsave"),
    (28, "avx"),
    (29, "f16c"),
    (30, "rdrand"),
    (31, "hypervisor"),
];
const LEAF_7_EBX: &[(u32, &str)] = &[
    (0, "fsgsbase"),
    (3, "bmi1"),
    (5, "avx2"),
    (7, "smep"),
    (8, "bmi2"),
    (9, "erms"),
    (10, "invpcid"),
    (16, "avx512f"),
    (17, "avx512dq"),
    (18, "rdseed"),
    (19, "adx"),
    (20, "smap"),
    (21, "avx512ifma"),
    (23, "clflushopt"),
    (24, "clwb"),
    (28, "avx512cd"),
    (29, "sha_ni"),
    (30, "avx512bw"),
    (31, "avx512vl"),
];
const LEAF_7_ECX: &[(u32, &str)] = &[
    (1, "avx512vbmi"),
    (6, "avx512_vbmi2"),
    (8, "gfni"),
    (9, "vaes"),
    (10, "vpclmulqdq"),
    (11, "avx512_vnni"),
    (12, "avx512_bitalg"),
    (14, "avx512_vpopcntdq"),
    (22, "rdpid"),
];
const LEAF_80000001_EDX: &[(u32, &str)] =
    &[(11, "syscall"), (20, "nx"), (26, "pdpe1gb"), (27, "rdtscp"), (29, "lm")];
const LEAF_80000001_ECX: &[(u32, &str)] = &[(0, "lahf_lm"), (5, "abm"), (6, "sse4a"), (8, "3dnowprefetch")];

/// Asks the processor that runs the caller.
pub fn processor() -> Processor {
    let basic = leaf(0, 0);
    let vendor: Vec<u8> =
        [basic.ebx, basic.edx, basic.ecx].iter().flat_map(|register| register.to_le_bytes()).collect();
    let one = leaf(1, 0);
    let base_family = one.eax >> 8 & 0xf;
    let family = if base_family == 0xf { base_family + (one.eax >> 20 & 0xff) } else { base_family };
    let base_model = one.eax >> 4 & 0xf;
    let model = if family >= 6 { base_model | (one.eax >> 16 & 0xf) << 4 } else { base_model };
    let seven = if basic.eax >= 7 { leaf(7, 0) } else { Leaf { eax: 0, ebx: 0, ecx: 0, edx: 0 } };
    let extended = leaf(0x8000_0001, 0);
    let registers = [
        (one.edx, LEAF_1_EDX),
        (extended.edx, LEAF_80000001_EDX),
        (one.ecx, LEAF_1_ECX),
        (extended.ecx, LEAF_80000001_ECX),
        (seven.ebx, LEAF_7_EBX),
        (seven.ecx, LEAF_7_ECX),
    ];
    let flags = registers
        .iter()
        .flat_map(|(register, names)| {
            names.iter().filter(move |(bit, _)| register >> bit & 1 != 0).map(|(_, name)| *name)
        })
        .collect();
    let megahertz = if basic.eax >= 0x16 { leaf(0x16, 0).eax & 0xffff } else { 0 };
    Processor {
        vendor: String::from_utf8_lossy(&vendor).into_owned(),
        name: name(),
        family,
        model,
        stepping: one.eax & 0xf,
        highest_leaf: basic.eax,
        megahertz,
        flags,
    }
}

fn name() -> String {
    if leaf(0x8000_0000, 0).eax < 0x8000_0004 {
        return "unknown".to_owned();
    }
    let bytes: Vec<u8> = (0x8000_0002..=0x8000_0004)
        .map(|number| leaf(number, 0))
        .flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx])
        .flat_map(u32::to_le_bytes)
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bmi2_is_what_the_standard_library_and_the_list_of_flags_say() {
        assert_eq!(has_bmi2(), std::arch::is_x86_feature_detected!("bmi2"));
        assert_eq!(has_bmi2(), processor().flags.contains(&"bmi2"));
    }
}
