/* futex_waitv(2), futex_wake, futex_wait, futex_requeue */
#include "case.h"
#include <linux/futex.h>
#include <pthread.h>

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
    struct waiter reversed[2] = {pair[1], pair[0]};
    /* There, back and there again: Linux may wake who has just fallen asleep, and then he sleeps where he did at first. */
    for (long there = 0, back = 0; there != 1 || back != 1; sched_yield()) {
        there = OK(syscall(SYS_FUTEX_REQUEUE, pair, 0, 0, 1));
        back = OK(syscall(SYS_FUTEX_REQUEUE, reversed, 0, 0, 1));
    }
    EXPECT_EQ(syscall(SYS_FUTEX_REQUEUE, pair, 0, 0, 1), 1);
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

#define PRIVATE 128

static void *wait_for_three(void *result) {
    struct waiter *waiters = result;
    *(volatile long *)&waiters[3].value = syscall(SYS_FUTEX_WAITV, waiters, 3, 0, NULL, 0);
    return NULL;
}

CASE(futex_waitv_of_private_words_is_woken_by_private_calls) {
    static uint32_t own[2];
    uint32_t *shared = shared_words();
    uint32_t *words[] = {&own[0], &own[1], shared};
    for (int woken = 0; woken < 3; woken++)
        for (int way = 0; way < 3; way++) {
            struct waiter waiters[4] = {on(words[0], 0), on(words[1], 0), on(words[2], 0), {99, 0, 0, 0}};
            waiters[0].flags |= PRIVATE;
            waiters[1].flags |= PRIVATE;
            pthread_t thread;
            EXPECT_EQ(pthread_create(&thread, NULL, wait_for_three, waiters), 0);
            int private = woken < 2 ? PRIVATE : 0;
            for (long done = 0; done == 0; sched_yield())
                done = way == 0   ? OK(syscall(SYS_futex, words[woken], FUTEX_WAKE | private, 9, NULL, NULL, 0))
                       : way == 1 ? OK(syscall(SYS_FUTEX_WAKE, words[woken], UINT32_MAX, 9, SIZE_U32 | private))
                                  : OK(syscall(SYS_futex, words[woken], FUTEX_WAKE_OP | private, 9, 9L, &own[1],
                                               FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_NE, 0)));
            EXPECT_EQ(pthread_join(thread, NULL), 0);
            EXPECT_EQ(waiters[3].value, woken);
        }
}

static void *wait_plainly(void *word) {
    EXPECT_EQ(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), 0);
    return NULL;
}

CASE(futex_waitv_and_futex_sleep_on_one_private_word) {
    static uint32_t own[3];
    struct waiter waiters[4] = {on(&own[0], 0), on(&own[1], 0), on(&own[2], 0), {99, 0, 0, 0}};
    for (int i = 0; i < 3; i++)
        waiters[i].flags |= PRIVATE;
    pthread_t many, one;
    EXPECT_EQ(pthread_create(&many, NULL, wait_for_three, waiters), 0);
    EXPECT_EQ(pthread_create(&one, NULL, wait_plainly, &own[0]), 0);
    for (long woken = 0; woken < 2; sched_yield())
        woken += OK(syscall(SYS_futex, &own[0], FUTEX_WAKE_PRIVATE, 5, NULL, NULL, 0));
    EXPECT_EQ(pthread_join(many, NULL), 0);
    EXPECT_EQ(pthread_join(one, NULL), 0);
    EXPECT_EQ(waiters[3].value, 0);
    EXPECT_EQ(syscall(SYS_futex, &own[0], FUTEX_WAKE_PRIVATE, 5, NULL, NULL, 0), 0);
}
