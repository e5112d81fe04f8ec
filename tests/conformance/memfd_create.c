/* memfd_create(2), and the seals of fcntl(2) */
#include "case.h"

static int sealable(void) {
    int fd = OK(memfd_create("test", MFD_ALLOW_SEALING));
    EXPECT_EQ(write(fd, "hello", 5), 5);
    return fd;
}

CASE(memfd_is_an_empty_file_that_can_be_written_and_mapped) {
    int fd = OK(memfd_create("test", 0));
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 0);
    EXPECT(S_ISREG(status.st_mode));
    OK(ftruncate(fd, PAGE_SIZE));
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(memory != MAP_FAILED);
    EXPECT_EQ(pwrite(fd, "x", 1, 7), 1);
    EXPECT_EQ(memory[7], 'x');
}

CASE(memfd_name_is_shown_in_proc) {
    int fd = OK(memfd_create("my name", 0));
    char link[64], target[64] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    OK(readlink(link, target, 63));
    EXPECT_STR(target, "/memfd:my name (deleted)");
}

CASE(memfd_flags_and_names_are_checked) {
    static char name[300];
    memset(name, 'n', 250);
    EXPECT_ERRNO(memfd_create(name, 0), EINVAL);
    name[249] = 0;
    OK(memfd_create(name, 0));
    EXPECT_ERRNO(memfd_create("x", 0x100), EINVAL);
    EXPECT_ERRNO(memfd_create(bad_page(), 0), EFAULT);
    EXPECT_EQ(fcntl(OK(memfd_create("x", MFD_CLOEXEC)), F_GETFD), FD_CLOEXEC);
}

CASE(memfd_without_sealing_is_sealed_against_seals) {
    int fd = OK(memfd_create("test", 0));
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
    EXPECT_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
}

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x8
#endif

CASE(memfd_seal_exec_fixes_the_executable_bits) {
    int fd = OK(memfd_create("test", MFD_NOEXEC_SEAL));
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_EXEC);
    EXPECT_ERRNO(fchmod(fd, 0777), EPERM);
    EXPECT_ERRNO(fchmod(fd, 0610), EPERM);
    OK(fchmod(fd, 0600));
    EXPECT_EQ(write(fd, "hello", 5), 5);
}

CASE(memfd_seal_exec_of_an_executable_file_stops_writing) {
    int fd = sealable();
    void *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_EXEC), EBUSY);
    OK(munmap(memory, PAGE_SIZE));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_EXEC));
    int implied = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_EXEC | implied);
    EXPECT_ERRNO(pwrite(fd, "x", 1, 0), EPERM);
    EXPECT_ERRNO(fchmod(fd, 0600), EPERM);
    OK(fchmod(fd, 0711));
}

CASE(memfd_seal_write_stops_writing) {
    int fd = sealable();
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    EXPECT_ERRNO(pwrite(fd, "x", 1, 0), EPERM);
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    EXPECT(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
}

CASE(memfd_seal_write_needs_that_nobody_maps_it_writable) {
    int fd = sealable();
    void *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    OK(munmap(memory, PAGE_SIZE));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
}

CASE(memfd_seal_write_waits_for_a_childs_mapping_too) {
    int fd = sealable();
    void *memory = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    PIPE(hold);
    pid_t pid = IN_CHILD({ await(hold[0]); });
    OK(munmap(memory, PAGE_SIZE));
    EXPECT_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    OK(munmap((char *)memory + PAGE_SIZE, PAGE_SIZE));
    EXPECT_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    announce(hold[1]);
    EXPECT_EXIT(pid, 0);
    OK(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    EXPECT_ERRNO((long)mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
}

CASE(memfd_seal_grow_and_shrink_fix_the_size) {
    int fd = sealable();
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    EXPECT_ERRNO(ftruncate(fd, 6), EPERM);
    EXPECT_ERRNO(pwrite(fd, "x", 1, 5), EPERM);
    OK(ftruncate(fd, 4));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    EXPECT_ERRNO(ftruncate(fd, 3), EPERM);
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK);
}

CASE(memfd_seal_future_write_keeps_present_mappings) {
    int fd = sealable();
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    memory[0] = 'J';
    EXPECT_ERRNO(pwrite(fd, "x", 1, 0), EPERM);
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
}

CASE(memfd_seal_future_write_stops_removal_through_a_mapping) {
    int fd = sealable();
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memory[0] = 'J';
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
    EXPECT_ERRNO(madvise(memory, PAGE_SIZE, MADV_REMOVE), EPERM);
    EXPECT_EQ(memory[0], 'J');
}

CASE(memfd_seal_seal_stops_more_seals) {
    int fd = sealable();
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    EXPECT_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
}

CASE(seals_of_other_files_return_einval) {
    PIPE(ends);
    EXPECT_ERRNO(fcntl(ends[0], F_GET_SEALS), EINVAL);
    EXPECT_ERRNO(fcntl(sealable(), F_ADD_SEALS, 0x1000), EINVAL);
}

static long pages_of(int fd) {
    struct stat status;
    OK(fstat(fd, &status));
    return status.st_blocks * 512 / PAGE_SIZE;
}

static void write_page(int fd, long page) {
    EXPECT_EQ(pwrite(fd, "x", 1, page * PAGE_SIZE), 1);
}

CASE(memfd_blocks_count_pages_that_were_written) {
    int fd = OK(memfd_create("test", 0));
    EXPECT_EQ(pages_of(fd), 0);
    for (long page = 0; page < 8; page++) {
        write_page(fd, page);
        EXPECT_EQ(pages_of(fd), page + 1);
    }
    OK(ftruncate(fd, 6 * PAGE_SIZE + 1));
    EXPECT_EQ(pages_of(fd), 7);
    OK(ftruncate(fd, 9 * PAGE_SIZE));
    EXPECT_EQ(pages_of(fd), 7);
    write_page(fd, 20);
    EXPECT_EQ(pages_of(fd), 8);
    write_page(fd, 8);
    EXPECT_EQ(pages_of(fd), 9);
    OK(ftruncate(fd, 0));
    EXPECT_EQ(pages_of(fd), 0);
    write_page(fd, 9);
    EXPECT_EQ(pages_of(fd), 1);
}

CASE(memfd_blocks_count_pages_that_were_allocated_or_given_back) {
    int fd = OK(memfd_create("test", 0));
    for (long page = 0; page < 8; page++)
        write_page(fd, page);
    OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 6 * PAGE_SIZE, 4 * PAGE_SIZE));
    EXPECT_EQ(pages_of(fd), 10);
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE_SIZE - 1, 2 * PAGE_SIZE));
    EXPECT_EQ(pages_of(fd), 9);
    OK(ftruncate(fd, 4 * PAGE_SIZE));
    EXPECT_EQ(pages_of(fd), 3);
    OK(fallocate(fd, 0, 0, 6 * PAGE_SIZE));
    EXPECT_EQ(pages_of(fd), 6);
    OK(fallocate(fd, 0, 8 * PAGE_SIZE, PAGE_SIZE));
    EXPECT_EQ(pages_of(fd), 7);
}

CASE(memfd_blocks_count_pages_that_a_mapping_touches) {
    int fd = OK(memfd_create("test", 0));
    for (long page = 0; page < 4; page++)
        write_page(fd, page);
    char *copy = mmap(NULL, 8 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    EXPECT(copy != MAP_FAILED);
    memset(copy, 'y', 4 * PAGE_SIZE);
    EXPECT_EQ(pages_of(fd), 4);
    OK(ftruncate(fd, 8 * PAGE_SIZE));
    EXPECT_EQ(((volatile char *)copy)[7 * PAGE_SIZE], 0);
    EXPECT_EQ(pages_of(fd), 5);
    char *memory = mmap(NULL, 8 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(memory != MAP_FAILED);
    memory[6 * PAGE_SIZE] = 'z';
    EXPECT_EQ(pages_of(fd), 6);
    OK(madvise(memory, 3 * PAGE_SIZE, MADV_REMOVE));
    EXPECT_EQ(pages_of(fd), 3);
    memory[PAGE_SIZE] = 'z';
    EXPECT_EQ(pages_of(fd), 4);
}

CASE(memfd_blocks_are_fewer_once_a_shared_mapping_of_all_pages_has_freed_some) {
    int fd = OK(memfd_create("test", 0));
    for (long page = 0; page < 4; page++)
        write_page(fd, page);
    char *memory = mmap(NULL, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(memory != MAP_FAILED);
    EXPECT_EQ(pages_of(fd), 4);
    OK(madvise(memory + PAGE_SIZE, PAGE_SIZE, MADV_REMOVE));
    EXPECT_EQ(pages_of(fd), 3);
    write_page(fd, 4);
    EXPECT_EQ(pages_of(fd), 4);
    OK(munmap(memory, 4 * PAGE_SIZE));
    EXPECT_EQ(pages_of(fd), 4);
    OK(ftruncate(fd, 3 * PAGE_SIZE));
    EXPECT_EQ(pages_of(fd), 2);
}
