/* mremap(2) */
#include "case.h"

CASE(mremap_shrinks_in_place) {
    char *memory = map(4 * PAGE_SIZE);
    memory[0] = 'x';
    EXPECT(mremap(memory, 4 * PAGE_SIZE, PAGE_SIZE, 0) == memory);
    EXPECT_EQ(memory[0], 'x');
    EXPECT_ERRNO(madvise(memory + PAGE_SIZE, PAGE_SIZE, MADV_NORMAL), ENOMEM);
}

CASE(mremap_grows_in_place_where_there_is_room) {
    char *memory = map(4 * PAGE_SIZE);
    OK(munmap(memory + PAGE_SIZE, 3 * PAGE_SIZE));
    memory[0] = 'x';
    EXPECT(mremap(memory, PAGE_SIZE, 4 * PAGE_SIZE, 0) == memory);
    EXPECT_EQ(memory[3 * PAGE_SIZE], 0);
}

CASE(mremap_moves_when_it_may_and_must) {
    char *memory = map(3 * PAGE_SIZE);
    OK(mprotect(memory + PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ));
    memory[0] = 'x';
    EXPECT_ERRNO(mremap(memory, PAGE_SIZE, 2 * PAGE_SIZE, 0), ENOMEM);
    char *moved = mremap(memory, PAGE_SIZE, 8 * PAGE_SIZE, MREMAP_MAYMOVE);
    EXPECT(moved != MAP_FAILED && moved != memory);
    EXPECT_EQ(moved[0], 'x');
    EXPECT_EQ(moved[8 * PAGE_SIZE - 1], 0);
    EXPECT_ERRNO(madvise(memory, PAGE_SIZE, MADV_NORMAL), ENOMEM);
}

CASE(mremap_fixed_replaces_the_target) {
    char *memory = map(PAGE_SIZE), *target = map(3 * PAGE_SIZE);
    memory[0] = 'x';
    memset(target, 'y', 3 * PAGE_SIZE);
    char *moved =
        mremap(memory, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGE_SIZE);
    EXPECT(moved == target + PAGE_SIZE);
    EXPECT_EQ(moved[0], 'x');
    EXPECT_EQ(moved[-1], 'y');
    EXPECT_EQ(moved[PAGE_SIZE], 'y');
}

CASE(mremap_of_a_shared_mapping_keeps_sharing) {
    char *memory = map_shared(PAGE_SIZE);
    char *target = map(2 * PAGE_SIZE);
    pid_t pid = IN_CHILD({
        char *moved = mremap(memory, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, target);
        EXPECT(moved == target);
        moved[5] = 'x';
    });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(memory[5], 'x');
}

CASE(mremap_of_size_zero_duplicates_a_shared_mapping) {
    char *memory = map_shared(PAGE_SIZE);
    char *copy = mremap(memory, 0, PAGE_SIZE, MREMAP_MAYMOVE);
    EXPECT(copy != MAP_FAILED && copy != memory);
    memory[0] = 'x';
    EXPECT_EQ(copy[0], 'x');
}

CASE(mremap_of_a_file_mapping_shows_more_of_the_file) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(fd, 4 * PAGE_SIZE));
    EXPECT_EQ(pwrite(fd, "x", 1, 3 * PAGE_SIZE), 1);
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(memory != MAP_FAILED);
    memory = mremap(memory, PAGE_SIZE, 4 * PAGE_SIZE, MREMAP_MAYMOVE);
    EXPECT(memory != MAP_FAILED);
    EXPECT_EQ(memory[3 * PAGE_SIZE], 'x');
}

CASE(mremap_dontunmap_leaves_empty_pages_behind) {
    char *memory = map(PAGE_SIZE);
    memory[0] = 'x';
    char *moved = mremap(memory, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    EXPECT(moved != MAP_FAILED);
    EXPECT_EQ(moved[0], 'x');
    EXPECT_EQ(memory[0], 0);
}

CASE(mremap_with_bad_arguments_fails) {
    char *memory = map(4 * PAGE_SIZE);
    EXPECT_ERRNO(mremap(memory + 1, PAGE_SIZE, PAGE_SIZE, 0), EINVAL);
    EXPECT_ERRNO(mremap(memory, PAGE_SIZE, 0, 0), EINVAL);
    EXPECT_ERRNO(mremap(memory, PAGE_SIZE, PAGE_SIZE, 0x100), EINVAL);
    EXPECT_ERRNO(mremap(memory, PAGE_SIZE, PAGE_SIZE, MREMAP_FIXED, memory), EINVAL);
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    EXPECT_ERRNO(mremap(memory, 2 * PAGE_SIZE, 2 * PAGE_SIZE, flags, memory + PAGE_SIZE), EINVAL);
    OK(munmap(memory, PAGE_SIZE));
    EXPECT_ERRNO(mremap(memory, PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE), EFAULT);
}

CASE(mremap_that_shrinks_from_beyond_the_addresses_returns_einval) {
    char *memory = map(2 * PAGE_SIZE);
    EXPECT_ERRNO(syscall(SYS_mremap, memory, 1UL << 47, PAGE_SIZE, 0, NULL), EINVAL);
    memory[PAGE_SIZE] = 'x';
}
