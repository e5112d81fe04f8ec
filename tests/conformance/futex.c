/* futex(2), set_robust_list(2), set_tid_address(2) */
#include "case.h"
#include <linux/futex.h>
#include <pthread.h>

static long futex(volatile uint32_t *word, int operation, uint32_t value, const struct timespec *timeout,
                  volatile uint32_t *word2, uint32_t value3) {
    return syscall(SYS_futex, word, operation, value, timeout, word2, value3);
}

/* Wakes `count` waiters, waiting for them to come. */
static void wake_exactly(volatile uint32_t *word, int operation, int count) {
    for (int woken = 0; woken < count;) {
        woken += OK(futex(word, operation, count - woken, NULL, NULL, 0));
        sched_yield();
    }
}

struct waiter {
    volatile uint32_t *word;
    int operation;
    uint32_t bitset;
    pthread_t thread;
    volatile long result;
    volatile int error;
};

static void *wait_on_futex(void *argument) {
    struct waiter *waiter = argument;
    waiter->result = futex(waiter->word, waiter->operation, 0, NULL, NULL, waiter->bitset);
    waiter->error = errno;
    return NULL;
}

static void start(struct waiter *waiter, volatile uint32_t *word, int operation, uint32_t bitset) {
    *waiter = (struct waiter){.word = word, .operation = operation, .bitset = bitset, .result = 99};
    EXPECT_EQ(pthread_create(&waiter->thread, NULL, wait_on_futex, waiter), 0);
}

static void join(struct waiter *waiter) {
    EXPECT_EQ(pthread_join(waiter->thread, NULL), 0);
    EXPECT_EQ(waiter->result, 0);
}

/* The number of requeued waiters travels in the place of the timeout. */
#define COUNT(count) ((const struct timespec *)(uintptr_t)(count))

static long move(volatile uint32_t *from, volatile uint32_t *to) {
    return OK(futex(from, FUTEX_REQUEUE_PRIVATE, 0, COUNT(INT_MAX), to, 0));
}

/* Waits until `count` wait on `on`: moves them to a word that nobody else uses, and back. The kernel may wake who has just begun to
   wait for reasons of its own, and then he waits where he did at first. */
static void await_waiters(volatile uint32_t *on, int count) {
    static volatile uint32_t lot;
    for (long there = 0, back = 0; there != count || back != count; sched_yield()) {
        there = move(on, &lot);
        back = move(&lot, on);
    }
}

static volatile uint32_t word, other;

CASE(futex_wait_of_another_value_returns_eagain) {
    word = 5;
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0), EAGAIN);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 4, NULL, NULL, 0), EAGAIN);
}

CASE(futex_wake_without_waiters_returns_zero) { EXPECT_EQ(futex(&word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0), 0); }

CASE(futex_wake_wakes_a_thread) {
    int operations[][2] = {{FUTEX_WAIT, FUTEX_WAKE}, {FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE}};
    for (int i = 0; i < 2; i++) {
        struct waiter waiter;
        start(&waiter, &word, operations[i][0], 0);
        wake_exactly(&word, operations[i][1], 1);
        join(&waiter);
    }
}

CASE(futex_wake_wakes_no_more_than_asked) {
    struct waiter waiters[4];
    for (int i = 0; i < 4; i++)
        start(&waiters[i], &word, FUTEX_WAIT_PRIVATE, 0);
    wake_exactly(&word, FUTEX_WAKE_PRIVATE, 4);
    for (int i = 0; i < 4; i++)
        join(&waiters[i]);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0), 0);
}

CASE(futex_wait_times_out_after_a_relative_time) {
    struct timespec time = milliseconds(20);
    int64_t before = now_ns(CLOCK_MONOTONIC);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 0, &time, NULL, 0), ETIMEDOUT);
    EXPECT(now_ns(CLOCK_MONOTONIC) - before >= 20000000);
}

CASE(futex_wait_bitset_times_out_at_an_absolute_time) {
    int64_t until = now_ns(CLOCK_MONOTONIC) + 20000000;
    struct timespec time = {until / 1000000000, until % 1000000000};
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET, 0, &time, NULL, FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
    EXPECT(now_ns(CLOCK_MONOTONIC) >= until);
    until = now_ns(CLOCK_REALTIME) + 20000000;
    time = (struct timespec){until / 1000000000, until % 1000000000};
    int operation = FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME;
    EXPECT_ERRNO(futex(&word, operation, 0, &time, NULL, FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
    EXPECT(now_ns(CLOCK_REALTIME) >= until);
}

CASE(futex_wait_is_interrupted_by_a_signal) { EXPECT_INTERRUPTED(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0)); }

static void wake_on_third_tick(int signal) {
    count_signal(signal);
    if (signals_seen == 3)
        word = 1;
}

CASE(futex_wait_restarts_with_sa_restart_and_checks_the_value_again) {
    tick(wake_on_third_tick, SA_RESTART);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0), EAGAIN);
    EXPECT(signals_seen >= 3);
}

CASE(futex_in_shared_memory_works_between_processes) {
    volatile uint32_t *shared = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({ EXPECT_EQ(futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0), 0); });
    wake_exactly(shared, FUTEX_WAKE, 1);
    EXPECT_EXIT(pid, 0);
}

CASE(futex_in_two_mappings_of_a_file_is_one_futex) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(fd, PAGE_SIZE));
    volatile uint32_t *one = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    volatile uint32_t *two = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(one != two && one != MAP_FAILED && two != MAP_FAILED);
    struct waiter waiter;
    start(&waiter, one, FUTEX_WAIT, 0);
    wake_exactly(two, FUTEX_WAKE, 1);
    join(&waiter);
}

CASE(futex_in_private_memory_is_not_shared_with_a_child) {
    volatile uint32_t *private = map(PAGE_SIZE);
    struct waiter waiter;
    start(&waiter, private, FUTEX_WAIT, 0);
    pid_t pid = IN_CHILD({
        for (int i = 0; i < 100; i++)
            EXPECT_EQ(futex(private, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
    });
    EXPECT_EXIT(pid, 0);
    wake_exactly(private, FUTEX_WAKE, 1);
    join(&waiter);
}

CASE(futex_wake_bitset_wakes_only_matching_waiters) {
    struct waiter one, two;
    start(&one, &word, FUTEX_WAIT_BITSET_PRIVATE, 1);
    start(&two, &word, FUTEX_WAIT_BITSET_PRIVATE, 2);
    while (OK(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 2)) == 0)
        sched_yield();
    join(&two);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 2), 0);
    EXPECT_EQ(one.result, 99);
    while (OK(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 1)) == 0)
        sched_yield();
    join(&one);
}

CASE(futex_bitset_of_zero_returns_einval) {
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
}

CASE(futex_requeue_moves_waiters_without_waking_them) {
    struct waiter waiters[3];
    for (int i = 0; i < 3; i++)
        start(&waiters[i], &word, FUTEX_WAIT_PRIVATE, 0);
    await_waiters(&word, 3);
    EXPECT_EQ(move(&word, &other), 3);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 0);
    EXPECT_EQ(futex(&other, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 3);
    for (int i = 0; i < 3; i++)
        join(&waiters[i]);
}

CASE(futex_cmp_requeue_checks_the_value) {
    word = 7;
    EXPECT_ERRNO(futex(&word, FUTEX_CMP_REQUEUE, 1, COUNT(1), &other, 6), EAGAIN);
    EXPECT_EQ(futex(&word, FUTEX_CMP_REQUEUE, 1, COUNT(1), &other, 7), 0);
    EXPECT_ERRNO(futex(&word, FUTEX_CMP_REQUEUE, -1, COUNT(1), &other, 7), EINVAL);
}

CASE(futex_wake_op_changes_the_second_word_and_wakes_by_its_old_value) {
    struct waiter one, two;
    start(&one, &word, FUTEX_WAIT_PRIVATE, 0);
    start(&two, &other, FUTEX_WAIT_PRIVATE, 0);
    await_waiters(&word, 1);
    await_waiters(&other, 1);
    other = 10;
    uint32_t operation = FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 10);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, COUNT(1), &other, operation), 2);
    EXPECT_EQ(other, 15);
    join(&one);
    join(&two);
}

CASE(futex_wake_op_operations_compute) {
    struct {
        int operation, argument;
        uint32_t before, after;
    } rows[] = {{FUTEX_OP_SET, 9, 1, 9},    {FUTEX_OP_ADD, 3, 1, 4},  {FUTEX_OP_OR, 6, 1, 7},
                {FUTEX_OP_ANDN, 1, 7, 6},   {FUTEX_OP_XOR, 5, 6, 3},  {FUTEX_OP_ADD, -1, 5, 4},
                {FUTEX_OP_SET | 8, 4, 1, 16}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        other = rows[i].before;
        uint32_t operation = FUTEX_OP(rows[i].operation, rows[i].argument, FUTEX_OP_CMP_EQ, 0);
        EXPECT_EQ(futex(&word, FUTEX_WAKE_OP, 1, COUNT(1), &other, operation), 0);
        EXPECT_EQ(other, rows[i].after);
    }
    EXPECT_ERRNO(futex(&word, FUTEX_WAKE_OP, 1, COUNT(1), &other, 0x7fU << 28), ENOSYS);
}

CASE(futex_with_bad_arguments_fails) {
    volatile uint32_t *unaligned = (volatile uint32_t *)((char *)map(PAGE_SIZE) + 1);
    struct timespec bad = {0, 1000000000};
    EXPECT_ERRNO(futex(unaligned, FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(unaligned, FUTEX_WAKE, 1, NULL, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(bad_page(), FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
    EXPECT_ERRNO(futex(bad_page(), FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EFAULT);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT, 0, bad_page(), NULL, 0), EFAULT);
    EXPECT_ERRNO(futex(&word, 127, 0, NULL, NULL, 0), ENOSYS);
    EXPECT_ERRNO(futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0), ENOSYS);
}

CASE(futex_of_a_huge_timeout_waits) {
    struct timespec long_time = {INT64_MAX, 999999999};
    EXPECT_INTERRUPTED(futex(&word, FUTEX_WAIT, 0, &long_time, NULL, 0));
}

CASE(futex_lock_pi_is_an_uncontended_lock) {
    word = 0;
    OK(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EQ(word & FUTEX_TID_MASK, gettid());
    EXPECT_ERRNO(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0), EDEADLK);
    OK(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EQ(word, 0);
    EXPECT_ERRNO(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), EPERM);
}

/* A lock in memory that processes share. */
static uint32_t *shared_word(void) {
    return OK(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

/* Waits until somebody waits for the lock. */
static void until_contended(uint32_t *lock) {
    while (!(__atomic_load_n(lock, __ATOMIC_SEQ_CST) & FUTEX_WAITERS))
        sched_yield();
}

CASE(futex_unlock_pi_hands_the_lock_to_the_first_waiter) {
    uint32_t *lock = shared_word();
    *lock = gettid();
    pid_t pid = IN_CHILD({
        OK(futex(lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
        EXPECT_EQ(*lock & FUTEX_TID_MASK, gettid());
        OK(futex(lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    });
    until_contended(lock);
    EXPECT_ERRNO(futex(lock, FUTEX_WAKE, 1, NULL, NULL, 0), EINVAL);
    OK(futex(lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(*lock, 0);
}

CASE(futex_trylock_pi_does_not_wait) {
    uint32_t *lock = shared_word();
    OK(futex(lock, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EQ(*lock, gettid());
    pid_t pid = IN_CHILD({ EXPECT_ERRNO(futex(lock, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0), EAGAIN); });
    EXPECT_EXIT(pid, 0);
    OK(futex(lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EQ(*lock, 0);
}

CASE(futex_lock_pi_of_a_thread_that_does_not_exist_returns_esrch) {
    word = 4194303;
    EXPECT_ERRNO(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0), ESRCH);
    EXPECT_ERRNO(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), EPERM);
}

CASE(futex_lock_pi_times_out) {
    uint32_t *lock = shared_word();
    *lock = gettid();
    pid_t pid = IN_CHILD({
        struct timespec now;
        OK(clock_gettime(CLOCK_REALTIME, &now));
        EXPECT_ERRNO(futex(lock, FUTEX_LOCK_PI, 0, &now, NULL, 0), ETIMEDOUT);
        OK(clock_gettime(CLOCK_MONOTONIC, &now));
        EXPECT_ERRNO(futex(lock, 13 /* FUTEX_LOCK_PI2 */, 0, &now, NULL, 0), ETIMEDOUT);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(futex_lock_pi_finds_a_circle) {
    uint32_t *locks = shared_word();
    locks[0] = gettid();
    PIPE(ready);
    pid_t pid = IN_CHILD({
        OK(futex(&locks[1], FUTEX_LOCK_PI, 0, NULL, NULL, 0));
        announce(ready[1]);
        OK(futex(&locks[0], FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    });
    await(ready[0]);
    until_contended(&locks[0]);
    EXPECT_ERRNO(futex(&locks[1], FUTEX_LOCK_PI, 0, NULL, NULL, 0), EDEADLK);
    OK(futex(&locks[0], FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EXIT(pid, 0);
}

CASE(futex_pi_lock_of_a_dead_owner_goes_to_the_waiter) {
    uint32_t *lock = shared_word();
    PIPE(ready);
    pid_t owner = IN_CHILD({
        OK(futex(lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
        announce(ready[1]);
        until_contended(lock);
    });
    await(ready[0]);
    OK(futex(lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EQ(*lock & FUTEX_TID_MASK, gettid());
    EXPECT(*lock & FUTEX_OWNER_DIED);
    EXPECT_EXIT(owner, 0);
    OK(futex(lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
}

CASE(futex_cmp_requeue_pi_moves_waiters_to_a_lock) {
    uint32_t *words = shared_word();
    pid_t pids[2];
    for (int i = 0; i < 2; i++)
        pids[i] = IN_CHILD({
            words[2 + i] = 1;
            OK(futex(&words[0], FUTEX_WAIT_REQUEUE_PI, 0, NULL, &words[1], 0));
            EXPECT_EQ(words[1] & FUTEX_TID_MASK, gettid());
            OK(futex(&words[1], FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
        });
    OK(futex(&words[1], FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    for (int moved = 0; moved < 2; sched_yield())
        moved += OK(futex(&words[0], FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &words[1], 0));
    OK(futex(&words[1], FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EXIT(pids[0], 0);
    EXPECT_EXIT(pids[1], 0);
    EXPECT_ERRNO(futex(&words[0], FUTEX_CMP_REQUEUE_PI, 2, (void *)1, &words[1], 0), EINVAL);
    EXPECT_ERRNO(futex(&words[0], FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &words[0], 0), EINVAL);
    EXPECT_ERRNO(futex(&words[0], FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &words[1], 7), EAGAIN);
}

static void *take_and_leave(void *mutex) {
    return (void *)(long)pthread_mutex_lock(mutex);
}

CASE(robust_pi_mutex_of_a_dead_thread_says_eownerdead) {
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    EXPECT_EQ(pthread_mutex_init(&mutex, &attributes), 0);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, take_and_leave, &mutex), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(pthread_mutex_lock(&mutex), EOWNERDEAD);
    EXPECT_EQ(pthread_mutex_consistent(&mutex), 0);
    EXPECT_EQ(pthread_mutex_unlock(&mutex), 0);
    EXPECT_EQ(pthread_mutex_lock(&mutex), 0);
}

static int counter;

static void *count_under_lock(void *mutex) {
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(mutex);
        counter++;
        pthread_mutex_unlock(mutex);
    }
    return NULL;
}

CASE(pi_mutexes_exclude_threads) {
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    EXPECT_EQ(pthread_mutex_init(&mutex, &attributes), 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, count_under_lock, &mutex), 0);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    EXPECT_EQ(counter, 8000);
}

static void *die_with_lock(void *mutex) {
    pthread_mutex_lock(mutex);
    return NULL;
}

CASE(robust_mutex_of_a_dead_thread_says_eownerdead) {
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, &attributes);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, die_with_lock, &mutex), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(pthread_mutex_lock(&mutex), EOWNERDEAD);
    EXPECT_EQ(pthread_mutex_consistent(&mutex), 0);
    EXPECT_EQ(pthread_mutex_unlock(&mutex), 0);
    EXPECT_EQ(pthread_mutex_lock(&mutex), 0);
}

CASE(robust_mutex_of_a_killed_process_wakes_the_waiter) {
    pthread_mutex_t *mutex = map_shared(PAGE_SIZE);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(mutex, &attributes);
    PIPE(ends);
    pid_t pid = IN_CHILD({
        pthread_mutex_lock(mutex);
        announce(ends[1]);
        sleep_forever();
    });
    await(ends[0]);
    pid_t killer = IN_CHILD({ OK(kill(pid, SIGKILL)); });
    EXPECT_EQ(pthread_mutex_lock(mutex), EOWNERDEAD);
    EXPECT_KILLED(pid, SIGKILL);
    EXPECT_EXIT(killer, 0);
}

CASE(get_robust_list_returns_what_was_set) {
    struct robust_list_head head = {.list = {&head.list}}, *got;
    size_t length;
    OK(syscall(SYS_set_robust_list, &head, sizeof head));
    OK(syscall(SYS_get_robust_list, 0, &got, &length));
    EXPECT(got == &head);
    EXPECT_EQ(length, sizeof head);
    EXPECT_ERRNO(syscall(SYS_set_robust_list, &head, 1), EINVAL);
    EXPECT_ERRNO(syscall(SYS_get_robust_list, INT_MAX, &got, &length), ESRCH);
    EXPECT_ERRNO(syscall(SYS_get_robust_list, 0, bad_page(), &length), EFAULT);
}

/* Often enough that the call is made as it is in a program that makes it all the time. */
static void set_robust_list(struct robust_list_head *head) {
    for (int i = 0; i < 40; i++)
        OK(syscall(SYS_set_robust_list, i % 2 ? head : NULL, sizeof *head));
}

CASE(get_robust_list_returns_what_was_set_last) {
    struct robust_list_head heads[2], *got;
    size_t length;
    for (int i = 0; i < 100; i++) {
        struct robust_list_head *head = i % 3 ? &heads[i % 2] : NULL;
        OK(syscall(SYS_set_robust_list, head, sizeof *head));
        OK(syscall(SYS_get_robust_list, i % 2 ? 0 : gettid(), &got, &length));
        EXPECT(got == head);
        EXPECT_ERRNO(syscall(SYS_set_robust_list, &heads[0], sizeof *head + 1), EINVAL);
    }
}

struct list_owner {
    struct robust_list_head head;
    volatile int tid;
    int ends[2], done[2];
};

static void *have_a_list(void *argument) {
    struct list_owner *owner = argument;
    owner->head.list.next = &owner->head.list;
    set_robust_list(&owner->head);
    owner->tid = gettid();
    announce(owner->ends[1]);
    await(owner->done[0]);
    return NULL;
}

CASE(get_robust_list_returns_that_of_another_thread) {
    struct list_owner owner = {0};
    OK(pipe(owner.ends));
    OK(pipe(owner.done));
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, have_a_list, &owner), 0);
    await(owner.ends[0]);
    struct robust_list_head *got;
    size_t length;
    OK(syscall(SYS_get_robust_list, owner.tid, &got, &length));
    EXPECT(got == &owner.head);
    announce(owner.done[1]);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

CASE(a_new_process_has_no_robust_list) {
    struct robust_list_head head = {.list = {&head.list}}, *got;
    size_t length;
    set_robust_list(&head);
    /* Not by the C library, which sets one. */
    pid_t pid = OK(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        OK(syscall(SYS_get_robust_list, 0, &got, &length));
        _exit(got == NULL ? 0 : 1);
    }
    EXPECT_EXIT(pid, 0);
}

/* A list of one entry, whose futex word lies behind it. */
struct held {
    struct robust_list_head head;
    struct robust_list entry;
    volatile uint32_t word;
};

static void hold(struct held *held) {
    held->entry.next = &held->head.list;
    held->head.list.next = &held->entry;
    held->head.futex_offset = offsetof(struct held, word) - offsetof(struct held, entry);
    held->head.list_op_pending = NULL;
    held->word = gettid() | FUTEX_WAITERS;
    set_robust_list(&held->head);
}

static void expect_marked(struct held *held, pid_t pid) {
    while (futex(&held->word, FUTEX_WAIT, pid | FUTEX_WAITERS, NULL, NULL, 0) != 0 && errno == EINTR)
        continue;
    EXPECT_EQ(held->word, FUTEX_WAITERS | FUTEX_OWNER_DIED);
}

CASE(robust_list_of_a_process_that_exits_is_marked) {
    struct held *held = map_shared(PAGE_SIZE);
    PIPE(ends);
    pid_t pid = IN_CHILD({
        hold(held);
        announce(ends[1]);
    });
    await(ends[0]);
    expect_marked(held, pid);
    EXPECT_EXIT(pid, 0);
}

CASE(robust_list_of_a_killed_process_is_marked) {
    struct held *held = map_shared(PAGE_SIZE);
    PIPE(ends);
    pid_t pid = IN_CHILD({
        hold(held);
        announce(ends[1]);
        sleep_forever();
    });
    await(ends[0]);
    OK(kill(pid, SIGKILL));
    expect_marked(held, pid);
    EXPECT_KILLED(pid, SIGKILL);
}

HELPER(has_another_robust_list) {
    struct robust_list_head *got;
    size_t length;
    OK(syscall(SYS_get_robust_list, 0, &got, &length));
    /* The C library of the new program has set its own. */
    return argc == 1 && (uintptr_t)got != strtoull(argv[0], NULL, 16) ? 0 : 1;
}

CASE(robust_list_of_a_process_that_executes_is_marked) {
    struct held *held = map_shared(PAGE_SIZE);
    PIPE(ends);
    pid_t pid = IN_CHILD({
        hold(held);
        announce(ends[1]);
        char address[32];
        snprintf(address, sizeof address, "%lx", (unsigned long)&held->head);
        OK(execl(program_path, program_path, "--helper", "has_another_robust_list", address, NULL));
    });
    await(ends[0]);
    expect_marked(held, pid);
    EXPECT_EXIT(pid, 0);
}

/* A process whose list is `head` ends, and its neighbours live on. */
static void expect_end(struct robust_list_head *head) {
    pid_t pid = IN_CHILD({ set_robust_list(head); });
    EXPECT_EXIT(pid, 0);
}

CASE(robust_list_that_is_circular_or_nowhere_does_not_keep_its_process) {
    struct robust_list_head head = {.futex_offset = 16};
    struct robust_list entries[2];
    head.list.next = &entries[0];
    entries[0].next = &entries[1];
    entries[1].next = &entries[0];
    expect_end(&head);
    head.list.next = (struct robust_list *)bad_page();
    expect_end(&head);
    head.list.next = &head.list;
    head.list_op_pending = (struct robust_list *)bad_page();
    expect_end(&head);
    head.list_op_pending = (struct robust_list *)8;
    expect_end(&head);
    expect_end((struct robust_list_head *)bad_page());
    expect_end((struct robust_list_head *)1);
    expect_end((struct robust_list_head *)0x7fff10000000);
    expect_end((struct robust_list_head *)0x800000000000);
    expect_end((struct robust_list_head *)-1L);
}

static void *name_another_word(void *word) {
    for (int i = 0; i < 40; i++)
        EXPECT_EQ(syscall(SYS_set_tid_address, i % 2 ? word : NULL), gettid());
    return NULL;
}

CASE(set_tid_address_names_the_word_that_the_end_of_a_thread_clears) {
    volatile uint32_t word = 1;
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, &detached, name_another_word, (void *)&word), 0);
    while (word != 0)
        futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0);
}

CASE(set_tid_address_returns_the_tid) {
    volatile int *shared = map_shared(PAGE_SIZE);
    *shared = 1;
    pid_t pid = IN_CHILD({ EXPECT_EQ(syscall(SYS_set_tid_address, shared), gettid()); });
    EXPECT_EXIT(pid, 0);
    /* Nobody else has the child's memory, so nothing is cleared. */
    EXPECT_EQ(*shared, 1);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int turn;

static void *take_turns(void *own) {
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != (long)own)
            pthread_cond_wait(&condition, &mutex);
        turn = !turn;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

CASE(condition_variables_hand_over_a_thousand_times) {
    pthread_t threads[2];
    for (long i = 0; i < 2; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, take_turns, (void *)i), 0);
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    EXPECT_EQ(turn, 0);
}

static int counter;

static void *count_up(void *unused) {
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return unused;
}

CASE(mutex_excludes_four_threads) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    EXPECT_EQ(counter, 80000);
}

static pthread_barrier_t barrier;

static void *pass_barrier(void *unused) {
    for (int i = 0; i < 100; i++)
        pthread_barrier_wait(&barrier);
    return unused;
}

CASE(barrier_lets_four_threads_pass_a_hundred_times) {
    pthread_t threads[4];
    pthread_barrier_init(&barrier, NULL, 4);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, pass_barrier, NULL), 0);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
}
