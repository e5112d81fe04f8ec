/* mlock(2), mlock2(2), munlock(2), mlockall(2), munlockall(2), mincore(2), msync(2), membarrier(2), mseal(2), brk(2) */
#include "case.h"

CASE(mlock_of_unmapped_memory_returns_enomem) {
    char *memory = map(3 * PAGE_SIZE);
    OK(munmap(memory + PAGE_SIZE, PAGE_SIZE));
    EXPECT_ERRNO(mlock(memory, 3 * PAGE_SIZE), ENOMEM);
    EXPECT_ERRNO(munlock(memory, 3 * PAGE_SIZE), ENOMEM);
    EXPECT_EQ(mlock(memory + 10, 20), 0);
    EXPECT_EQ(munlock(memory + 10, 20), 0);
    EXPECT_EQ(mlock(memory, 0), 0);
}

CASE(locked_memory_cannot_be_discarded) {
    char *memory = map(PAGE_SIZE);
    OK(mlock(memory, PAGE_SIZE));
    memory[0] = 'x';
    EXPECT_ERRNO(madvise(memory, PAGE_SIZE, MADV_DONTNEED), EINVAL);
    EXPECT_EQ(memory[0], 'x');
    OK(munlock(memory, PAGE_SIZE));
    EXPECT_EQ(madvise(memory, PAGE_SIZE, MADV_DONTNEED), 0);
    EXPECT_EQ(memory[0], 0);
}

CASE(mlockall_checks_its_flags) {
    EXPECT_ERRNO(mlockall(0), EINVAL);
    EXPECT_ERRNO(mlockall(64), EINVAL);
    EXPECT_ERRNO(mlockall(MCL_ONFAULT), EINVAL);
    EXPECT_ERRNO(syscall(SYS_mlock2, map(PAGE_SIZE), PAGE_SIZE, 2), EINVAL);
    EXPECT_EQ(munlockall(), 0);
}

CASE(mincore_checks_its_range) {
    char *memory = map(3 * PAGE_SIZE);
    unsigned char pages[3];
    memory[0] = 1;
    OK(munmap(memory + 2 * PAGE_SIZE, PAGE_SIZE));
    EXPECT_EQ(mincore(memory, PAGE_SIZE, pages), 0);
    EXPECT_EQ(pages[0] & 1, 1);
    EXPECT_ERRNO(mincore(memory, 3 * PAGE_SIZE, pages), ENOMEM);
    EXPECT_ERRNO(mincore(memory + 1, PAGE_SIZE, pages), EINVAL);
    EXPECT_ERRNO(mincore(memory, PAGE_SIZE, bad_page()), EFAULT);
    EXPECT_EQ(mincore(memory, 0, pages), 0);
}

CASE(msync_checks_its_arguments) {
    char *memory = map_shared(3 * PAGE_SIZE);
    OK(munmap(memory + PAGE_SIZE, PAGE_SIZE));
    EXPECT_EQ(msync(memory, PAGE_SIZE, MS_SYNC), 0);
    EXPECT_EQ(msync(memory, PAGE_SIZE, 0), 0);
    EXPECT_ERRNO(msync(memory, 3 * PAGE_SIZE, MS_SYNC), ENOMEM);
    EXPECT_ERRNO(msync(memory, 3 * PAGE_SIZE, MS_ASYNC), ENOMEM);
    EXPECT_ERRNO(msync(memory + 1, PAGE_SIZE, MS_SYNC), EINVAL);
    EXPECT_ERRNO(msync(memory, PAGE_SIZE, MS_SYNC | MS_ASYNC), EINVAL);
    EXPECT_ERRNO(msync(memory, PAGE_SIZE, 64), EINVAL);
}

CASE(msync_makes_changes_visible_in_the_file) {
    make_file("file", "before");
    int fd = OK(open("file", O_RDWR));
    char *memory = OK(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    memcpy(memory, "after!", 6);
    OK(msync(memory, PAGE_SIZE, MS_SYNC));
    EXPECT_STR(file_content("file"), "after!");
}

CASE(membarrier_private_expedited_must_be_registered_for) {
    EXPECT(OK(syscall(SYS_membarrier, 0, 0, 0)) & 8);
    EXPECT_ERRNO(syscall(SYS_membarrier, 8, 0, 0), EPERM);
    EXPECT_EQ(syscall(SYS_membarrier, 16, 0, 0), 0);
    EXPECT_EQ(syscall(SYS_membarrier, 8, 0, 0), 0);
    EXPECT_EQ(syscall(SYS_membarrier, 1, 0, 0), 0);
    EXPECT_ERRNO(syscall(SYS_membarrier, 0, 5, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_membarrier, 1 << 26, 0, 0), EINVAL);
}

CASE(sealed_memory_cannot_be_changed) {
    char *memory = map(2 * PAGE_SIZE);
    if (syscall(462, memory, 0, 0) == -1 && errno == ENOSYS)
        SKIP("the host has no mseal");
    EXPECT_ERRNO(syscall(462, memory, PAGE_SIZE, 1), EINVAL);
    EXPECT_ERRNO(syscall(462, memory + 1, PAGE_SIZE, 0), EINVAL);
    EXPECT_EQ(syscall(462, memory, PAGE_SIZE, 0), 0);
    EXPECT_ERRNO(munmap(memory, PAGE_SIZE), EPERM);
    EXPECT_ERRNO(mprotect(memory, PAGE_SIZE, PROT_READ), EPERM);
    EXPECT_ERRNO((long)mremap(memory, PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE), EPERM);
    EXPECT_ERRNO((long)mmap(memory, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EPERM);
    EXPECT_EQ(munmap(memory + PAGE_SIZE, PAGE_SIZE), 0);
    memory[0] = 'x';
}

CASE(brk_moves_the_end_of_the_heap) {
    char *end = sbrk(0);
    OK(brk(end + 20 * PAGE_SIZE));
    end[19 * PAGE_SIZE] = 'x';
    OK(brk(end));
    pid_t pid = IN_CHILD({ *(volatile char *)(end + 19 * PAGE_SIZE) = 1; });
    EXPECT_KILLED(pid, SIGSEGV);
    EXPECT_EQ(syscall(SYS_brk, 0L), (long)end);
    EXPECT_EQ(syscall(SYS_brk, 1L), (long)end);
    EXPECT_EQ(syscall(SYS_brk, -1L), (long)end);
}

CASE(brk_obeys_the_limit_on_data) {
    char *end = sbrk(0);
    struct rlimit limit = {4 << 20, RLIM_INFINITY};
    OK(setrlimit(RLIMIT_DATA, &limit));
    EXPECT_ERRNO(brk(end + (16 << 20)), ENOMEM);
    EXPECT_ERRNO((long)mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    EXPECT(mmap(NULL, 16 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

CASE(the_limit_on_address_space_is_obeyed) {
    struct rlimit limit = {64 << 20, RLIM_INFINITY};
    OK(setrlimit(RLIMIT_AS, &limit));
    EXPECT_ERRNO((long)mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    EXPECT(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}
