/* madvise(2), mincore(2), msync(2), brk(2) */
#include "case.h"
#include <pthread.h>

CASE(madvise_dontneed_zeroes_private_anonymous_memory) {
    char *memory = map(2 * PAGE_SIZE);
    memset(memory, 'x', 2 * PAGE_SIZE);
    OK(madvise(memory, PAGE_SIZE, MADV_DONTNEED));
    EXPECT_EQ(memory[0], 0);
    EXPECT_EQ(memory[PAGE_SIZE], 'x');
}

CASE(madvise_dontneed_of_a_private_file_mapping_shows_the_file_again) {
    make_file("f", "hello");
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, OK(open("f", O_RDONLY)), 0);
    EXPECT(memory != MAP_FAILED);
    memory[0] = 'J';
    OK(madvise(memory, PAGE_SIZE, MADV_DONTNEED));
    EXPECT_EQ(memory[0], 'h');
}

/* Memory that a thread has its stack in, and lets go of when it is told that somebody has changed it. */
struct own_stack {
    char *low;
    int expected;
    pthread_barrier_t used, changed;
};

static void *let_go_of_own_stack(void *argument) {
    struct own_stack *stack = argument;
    stack->low[0] = 'x';
    OK(madvise(stack->low, PAGE_SIZE, MADV_DONTNEED));
    EXPECT_EQ(stack->low[0], 0);
    stack->low[0] = 'y';
    pthread_barrier_wait(&stack->used);
    pthread_barrier_wait(&stack->changed);
    errno = 0;
    madvise(stack->low, PAGE_SIZE, MADV_DONTNEED);
    EXPECT_EQ(errno, stack->expected);
    return NULL;
}

CASE(madvise_dontneed_of_a_threads_own_stack_heeds_what_another_thread_has_just_changed) {
    size_t size = 64 * PAGE_SIZE;
    for (int round = 0; round < 60; round++) {
        struct own_stack stack = {.low = map(size)};
        OK(pthread_barrier_init(&stack.used, NULL, 2) || pthread_barrier_init(&stack.changed, NULL, 2));
        pthread_attr_t attributes;
        EXPECT_EQ(pthread_attr_init(&attributes), 0);
        EXPECT_EQ(pthread_attr_setstack(&attributes, stack.low, size), 0);
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, &attributes, let_go_of_own_stack, &stack), 0);
        pthread_barrier_wait(&stack.used);
        switch (round % 4) {
        case 0:
            break;
        case 1:
            OK(mlock(stack.low, PAGE_SIZE));
            stack.expected = EINVAL;
            break;
        case 2:
            OK(munmap(stack.low, PAGE_SIZE));
            stack.expected = ENOMEM;
            break;
        case 3:
            EXPECT(mmap(stack.low, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == stack.low);
            stack.low[0] = 'y';
            break;
        }
        pthread_barrier_wait(&stack.changed);
        EXPECT_EQ(pthread_join(thread, NULL), 0);
        EXPECT(round % 4 == 2 || stack.low[0] == (round % 4 ? 'y' : 0));
        OK(munmap(stack.low, size));
    }
}

CASE(madvise_dontneed_keeps_shared_memory) {
    char *memory = map_shared(PAGE_SIZE);
    memory[0] = 'x';
    OK(madvise(memory, PAGE_SIZE, MADV_DONTNEED));
    EXPECT_EQ(memory[0], 'x');
}

CASE(madvise_remove_punches_shared_memory) {
    char *memory = map_shared(2 * PAGE_SIZE);
    memset(memory, 'x', 2 * PAGE_SIZE);
    OK(madvise(memory, PAGE_SIZE, MADV_REMOVE));
    EXPECT_EQ(memory[0], 0);
    EXPECT_EQ(memory[PAGE_SIZE], 'x');
}

CASE(madvise_free_gives_old_or_zero_bytes) {
    char *memory = map(PAGE_SIZE);
    memory[0] = 'x';
    OK(madvise(memory, PAGE_SIZE, MADV_FREE));
    EXPECT(memory[0] == 'x' || memory[0] == 0);
    memory[0] = 'y';
    EXPECT_EQ(memory[0], 'y');
}

CASE(madvise_dontfork_hides_memory_from_children) {
    volatile char *memory = map(PAGE_SIZE);
    OK(madvise((void *)memory, PAGE_SIZE, MADV_DONTFORK));
    pid_t pid = IN_CHILD({ (void)memory[0]; });
    EXPECT_KILLED(pid, SIGSEGV);
    memory[0] = 1;
}

CASE(madvise_wipeonfork_gives_children_zeroes) {
    char *memory = map(PAGE_SIZE);
    memory[0] = 'x';
    OK(madvise(memory, PAGE_SIZE, MADV_WIPEONFORK));
    pid_t pid = IN_CHILD({ EXPECT_EQ(memory[0], 0); });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(memory[0], 'x');
}

CASE(madvise_hints_are_accepted) {
    char *memory = map(PAGE_SIZE);
    memory[0] = 'x';
    int hints[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTDUMP, MADV_DODUMP, MADV_COLD};
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        OK(madvise(memory, PAGE_SIZE, hints[i]));
    EXPECT_EQ(memory[0], 'x');
}

CASE(madvise_with_bad_arguments_fails) {
    char *memory = map(2 * PAGE_SIZE);
    EXPECT_ERRNO(madvise(memory + 1, PAGE_SIZE, MADV_NORMAL), EINVAL);
    EXPECT_ERRNO(madvise(memory, PAGE_SIZE, 9999), EINVAL);
    OK(madvise(memory, 0, MADV_NORMAL));
    OK(munmap(memory, PAGE_SIZE));
    EXPECT_ERRNO(madvise(memory, PAGE_SIZE, MADV_DONTNEED), ENOMEM);
}

CASE(mincore_marks_touched_pages) {
    char *memory = map(2 * PAGE_SIZE);
    memory[0] = 1;
    unsigned char pages[2];
    OK(mincore(memory, 2 * PAGE_SIZE, pages));
    EXPECT_EQ(pages[0] & 1, 1);
}

CASE(mincore_with_bad_arguments_fails) {
    char *memory = map(PAGE_SIZE);
    unsigned char pages[2];
    EXPECT_ERRNO(mincore(memory + 1, PAGE_SIZE, pages), EINVAL);
    EXPECT_ERRNO(mincore(memory, PAGE_SIZE, bad_page()), EFAULT);
    OK(munmap(memory, PAGE_SIZE));
    EXPECT_ERRNO(mincore(memory, PAGE_SIZE, pages), ENOMEM);
}

CASE(msync_of_a_mapping_succeeds) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(memory != MAP_FAILED);
    memory[0] = 'J';
    OK(msync(memory, PAGE_SIZE, MS_SYNC));
    OK(msync(memory, PAGE_SIZE, MS_ASYNC | MS_INVALIDATE));
    EXPECT_STR(file_content("f"), "Jello");
}

CASE(msync_of_a_length_that_rounds_up_to_nothing_succeeds) {
    char *memory = map_shared(PAGE_SIZE);
    OK(msync(memory, SIZE_MAX, MS_SYNC));
    EXPECT_ERRNO(msync(memory, SIZE_MAX - PAGE_SIZE, MS_SYNC), ENOMEM);
}

CASE(msync_with_bad_arguments_fails) {
    char *memory = map(PAGE_SIZE);
    EXPECT_ERRNO(msync(memory + 1, PAGE_SIZE, MS_SYNC), EINVAL);
    EXPECT_ERRNO(msync(memory, PAGE_SIZE, MS_SYNC | MS_ASYNC), EINVAL);
    EXPECT_ERRNO(msync(memory, PAGE_SIZE, 0x100), EINVAL);
    OK(munmap(memory, PAGE_SIZE));
    EXPECT_ERRNO(msync(memory, PAGE_SIZE, MS_SYNC), ENOMEM);
}

CASE(brk_grows_and_shrinks_the_heap) {
    char *start = (char *)syscall(SYS_brk, 0);
    EXPECT((char *)syscall(SYS_brk, start + 3 * PAGE_SIZE) == start + 3 * PAGE_SIZE);
    start[3 * PAGE_SIZE - 1] = 'x';
    EXPECT((char *)syscall(SYS_brk, start) == start);
    EXPECT((char *)syscall(SYS_brk, start + 3 * PAGE_SIZE) == start + 3 * PAGE_SIZE);
    EXPECT_EQ(start[3 * PAGE_SIZE - 1], 0);
}

CASE(brk_to_impossible_places_returns_the_present_break) {
    long now = syscall(SYS_brk, 0);
    EXPECT_EQ(syscall(SYS_brk, 1), now);
    EXPECT_EQ(syscall(SYS_brk, -1L), now);
    struct rlimit limit = {0, 0};
    OK(setrlimit(RLIMIT_DATA, &limit));
    EXPECT_EQ(syscall(SYS_brk, now + (64 << 20)), now);
}

CASE(brk_does_not_grow_into_a_mapping) {
    long now = syscall(SYS_brk, 0);
    uintptr_t next = (now + 16 * PAGE_SIZE) & -PAGE_SIZE;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    EXPECT(mmap((void *)next, PAGE_SIZE, PROT_READ, flags, -1, 0) == (void *)next);
    EXPECT_EQ(syscall(SYS_brk, next + 4 * PAGE_SIZE), now);
}
