/* futex_waitv(2), futex_wake, futex_wait, futex_requeue */
#include "case.h"

#define SYS_FUTEX_WAITV 449
#define SYS_FUTEX_WAKE 454
#define SYS_FUTEX_WAIT 455
#define SYS_FUTEX_REQUEUE 456
#define SIZE_U32 2

struct waiter {
    uint64_t value, address;
    uint32_t flags, reserved;
};

static uint32_t *shared_words(void) {
    return OK(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

static struct waiter on(uint32_t *word, uint64_t value) {
    return (struct waiter){value, (uintptr_t)word, SIZE_U32, 0};
}

CASE(futex_waitv_says_which_word_was_woken) {
    uint32_t *words = shared_words();
    pid_t pid = IN_CHILD({
        struct waiter waiters[3] = {on(&words[0], 0), on(&words[1], 0), on(&words[2], 0)};
        EXPECT_EQ(syscall(SYS_FUTEX_WAITV, waiters, 3, 0, NULL, 0), 1);
    });
    while (OK(syscall(SYS_FUTEX_WAKE, &words[1], UINT32_MAX, 1, SIZE_U32)) == 0)
        sched_yield();
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(syscall(SYS_FUTEX_WAKE, &words[0], UINT32_MAX, 1, SIZE_U32), 0);
}

CASE(futex_waitv_times_out_and_is_interrupted) {
    uint32_t *words = shared_words();
    struct waiter waiters[2] = {on(&words[0], 0), on(&words[1], 0)};
    struct timespec now;
    OK(clock_gettime(CLOCK_MONOTONIC, &now));
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, waiters, 2, 0, &now, CLOCK_MONOTONIC), ETIMEDOUT);
    EXPECT_INTERRUPTED(syscall(SYS_FUTEX_WAITV, waiters, 2, 0, NULL, 0));
    words[1] = 1;
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, waiters, 2, 0, NULL, 0), EAGAIN);
}

CASE(futex_waitv_with_bad_arguments_fails) {
    uint32_t *words = shared_words();
    struct waiter waiter = on(words, 0);
    struct timespec time = {1, 0};
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, &waiter, 0, 0, NULL, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, &waiter, 129, 0, NULL, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, &waiter, 1, 1, NULL, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, NULL, 1, 0, NULL, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, bad_page(), 1, 0, NULL, 0), EFAULT);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, &waiter, 1, 0, bad_page(), CLOCK_MONOTONIC), EFAULT);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, &waiter, 1, 0, &time, CLOCK_BOOTTIME), EINVAL);
    waiter.reserved = 1;
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, &waiter, 1, 0, NULL, 0), EINVAL);
    waiter = on(words, 0);
    waiter.flags = 1;
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAITV, &waiter, 1, 0, NULL, 0), EINVAL);
}

CASE(futex_wait_and_wake_of_linux_6_7_work) {
    uint32_t *words = shared_words();
    pid_t pid = IN_CHILD({ OK(syscall(SYS_FUTEX_WAIT, &words[0], 0, 2, SIZE_U32, NULL, CLOCK_MONOTONIC)); });
    EXPECT_EQ(syscall(SYS_FUTEX_WAKE, &words[0], 1, 1, SIZE_U32), 0);
    while (OK(syscall(SYS_FUTEX_WAKE, &words[0], 2, 1, SIZE_U32)) == 0)
        sched_yield();
    EXPECT_EXIT(pid, 0);
    struct timespec now = {0, 0};
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAIT, words, 1, 1, SIZE_U32, NULL, CLOCK_MONOTONIC), EAGAIN);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAIT, words, 0, 1, SIZE_U32, &now, CLOCK_MONOTONIC), ETIMEDOUT);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAIT, words, 0, 0, SIZE_U32, NULL, CLOCK_MONOTONIC), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAKE, words, 0, 1, SIZE_U32), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAKE, words, 1UL << 32, 1, SIZE_U32), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAKE, words, 1, 1, 3), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_WAKE, bad_page(), 1, 1, SIZE_U32), EFAULT);
}

CASE(futex_requeue_of_linux_6_7_moves_waiters) {
    uint32_t *words = shared_words();
    pid_t pid = IN_CHILD({ OK(syscall(SYS_FUTEX_WAIT, &words[0], 0, 1, SIZE_U32, NULL, CLOCK_MONOTONIC)); });
    struct waiter pair[2] = {on(&words[0], 0), on(&words[1], 0)};
    while (OK(syscall(SYS_FUTEX_REQUEUE, pair, 0, 0, 1)) == 0)
        sched_yield();
    EXPECT_EQ(syscall(SYS_FUTEX_WAKE, &words[0], 1, 1, SIZE_U32), 0);
    EXPECT_EQ(syscall(SYS_FUTEX_WAKE, &words[1], 1, 1, SIZE_U32), 1);
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(syscall(SYS_FUTEX_REQUEUE, pair, 1, 0, 1), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_REQUEUE, pair, 0, -1, 1), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_REQUEUE, NULL, 0, 0, 1), EINVAL);
    EXPECT_ERRNO(syscall(SYS_FUTEX_REQUEUE, bad_page(), 0, 0, 1), EFAULT);
    pair[0].value = 9;
    EXPECT_ERRNO(syscall(SYS_FUTEX_REQUEUE, pair, 0, 0, 1), EAGAIN);
}
