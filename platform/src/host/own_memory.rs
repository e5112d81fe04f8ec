//! What this process holds of the host's memory without asking for it: the allocator's arenas, and the program itself.
//! mallopt(3), madvise(2).

/// Page size, which is a power of two.
const PAGE: usize = 4096;

unsafe extern "C" {
    /// Where the program begins. The linker defines both.
    #[link_name = "__executable_start"]
    static PROGRAM_START: u8;
    /// Where its code ends.
    #[link_name = "etext"]
    static CODE_END: u8;
}

/// Has all threads of this process, those that it will make as well, allocate from one arena. An arena for each is made when a
/// thread allocates first, and unmade when it ends, which takes six host calls and four page faults: for threads that
/// hardly allocate that is more than they would ever wait for each other.
pub fn use_one_arena() {
    // SAFETY: takes numbers only. What it answers says whether the C library knows the option; one that does not has one arena.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Lets go of the program's code and constants, for a process that has its set-up behind it. The host has mapped what was near to
/// what was used, 64 KiB at a time, which is most of the program; what is used again it finds in its file cache, 1.5 µs for each
/// piece. A debugger's breakpoints are forgotten.
pub fn let_go_of_code() {
    advise_on_code(libc::MADV_DONTNEED);
}

/// `advice` must leave what a file's pages say as it is.
fn advise_on_code(advice: i32) {
    let start = &raw const PROGRAM_START as usize;
    let length = (&raw const CODE_END as usize).saturating_sub(start) & !(PAGE - 1);
    // SAFETY: (1) the range begins with a page of the program's mapping, and ends before the segments that are written to; (2) its
    // pages are the file's, and come back as they were when they are touched, also by who is executing them.
    unsafe { libc::madvise(start as *mut libc::c_void, length, advice) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KiB of this process's program that are mapped and can be executed.
    fn mapped_code() -> u64 {
        let program = std::env::current_exe().unwrap();
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut is_code, mut sum) = (false, 0);
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some(range) if !range.ends_with(':') => {
                    is_code = line.contains(" r-xp ") && line.ends_with(program.to_str().unwrap());
                }
                Some("Rss:") if is_code => sum += words.next().unwrap().parse::<u64>().unwrap(),
                _ => {}
            }
        }
        sum
    }

    #[test]
    fn code_that_was_let_go_of_is_mapped_when_it_is_used_again() {
        advise_on_code(libc::MADV_POPULATE_READ);
        let before = mapped_code();
        // Other tests have what they execute mapped again at once.
        let mut rests = (0..100).map(|_| {
            let_go_of_code();
            mapped_code()
        });
        assert!(rests.any(|after| 0 < after && after * 2 < before), "of {before} KiB");
    }
}
