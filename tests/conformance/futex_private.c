/* futex(2) with FUTEX_PRIVATE_FLAG: who meets whom, however the calls are made, and what interrupts them. */
#include "case.h"
#include <linux/futex.h>
#include <pthread.h>

static long futex(volatile uint32_t *word, int operation, uint32_t value, const struct timespec *timeout,
                  volatile uint32_t *word2, uint32_t value3) {
    return syscall(SYS_futex, word, operation, value, timeout, word2, value3);
}

/* The same from an instruction of its own in each place where it is written: one that has hardly ever been executed. */
#define RAW_FUTEX(word, operation, value, fourth, word2, value3)                                                       \
    ({                                                                                                                 \
        register long r10_ __asm__("r10") = (long)(fourth);                                                            \
        register long r8_ __asm__("r8") = (long)(word2);                                                               \
        register long r9_ __asm__("r9") = (long)(value3);                                                              \
        long result_;                                                                                                  \
        __asm__ volatile("syscall"                                                                                     \
                         : "=a"(result_)                                                                               \
                         : "a"((long)SYS_futex), "D"(word), "S"((long)(operation)), "d"((long)(value)), "r"(r10_),     \
                           "r"(r8_), "r"(r9_)                                                                          \
                         : "rcx", "r11", "memory");                                                                    \
        result_;                                                                                                       \
    })

/* The number of requeued waiters travels in the place of the timeout. */
#define COUNT(count) ((const struct timespec *)(uintptr_t)(count))

static volatile uint32_t word, other;

struct sleeper {
    volatile uint32_t *word;
    int operation;
    bool raw;
    pthread_t thread;
    volatile pid_t tid;
    volatile bool woken;
    long result;
};

static void *sleep_on_word(void *argument) {
    struct sleeper *sleeper = argument;
    sleeper->tid = gettid();
    if (sleeper->raw) {
        sleeper->result = RAW_FUTEX(sleeper->word, sleeper->operation, 0, NULL, NULL, UINT32_MAX);
    } else {
        sleeper->result = futex(sleeper->word, sleeper->operation, 0, NULL, NULL, UINT32_MAX);
    }
    sleeper->woken = true;
    return NULL;
}

static void launch(struct sleeper *sleeper, volatile uint32_t *on, int operation, bool raw) {
    *sleeper = (struct sleeper){.word = on, .operation = operation, .raw = raw};
    EXPECT_EQ(pthread_create(&sleeper->thread, NULL, sleep_on_word, sleeper), 0);
}

static void finish(struct sleeper *sleeper) {
    EXPECT_EQ(pthread_join(sleeper->thread, NULL), 0);
    EXPECT_EQ(sleeper->result, 0);
}

/* Moves who sleeps on `from` to `to`. */
static long move(volatile uint32_t *from, volatile uint32_t *to, int flag) {
    return OK(futex(from, FUTEX_REQUEUE | flag, 0, COUNT(INT_MAX), to, 0));
}

/* Waits until `count` sleep on `on`: moves them to a word that nobody else uses, and back. The kernel may wake who has just
   fallen asleep for reasons of its own, and puts him to sleep again where he fell asleep first: then they are counted again. */
static void await_sleepers_of(volatile uint32_t *on, int count, int flag) {
    static volatile uint32_t lot;
    for (long there = 0, back = 0; there != count || back != count; sched_yield()) {
        there = move(on, &lot, flag);
        back = move(&lot, on, flag);
    }
}

static void await_sleepers(volatile uint32_t *on, int count) { await_sleepers_of(on, count, FUTEX_PRIVATE_FLAG); }

CASE(futex_private_and_other_operations_do_not_meet) {
    struct sleeper private, other_one;
    launch(&private, &word, FUTEX_WAIT_PRIVATE, false);
    await_sleepers(&word, 1);
    EXPECT_EQ(futex(&word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0), 0);
    launch(&other_one, &word, FUTEX_WAIT, false);
    await_sleepers_of(&word, 1, 0);
    EXPECT_EQ(move(&word, &other, 0), 1);
    EXPECT_EQ(futex(&other, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 0);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 1);
    EXPECT_EQ(futex(&other, FUTEX_WAKE, INT_MAX, NULL, NULL, 0), 1);
    finish(&private);
    finish(&other_one);
}

CASE(futex_private_sleepers_wake_in_their_order_however_they_called) {
    struct sleeper sleepers[6];
    static volatile uint32_t beds[6];
    for (int i = 0; i < 6; i++) {
        launch(&sleepers[i], &beds[i], i < 3 ? FUTEX_WAIT_PRIVATE : FUTEX_WAIT_BITSET_PRIVATE, i % 2);
        await_sleepers(&beds[i], 1);
        EXPECT_EQ(move(&beds[i], &word, FUTEX_PRIVATE_FLAG), 1);
    }
    for (int i = 0; i < 6; i++) {
        long woken = i % 3 ? futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)
                           : RAW_FUTEX(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        EXPECT_EQ(woken, 1);
        finish(&sleepers[i]);
        for (int later = i + 1; later < 6; later++)
            EXPECT(!sleepers[later].woken);
    }
}

CASE(futex_private_calls_from_all_kinds_of_sites_count_the_same) {
    struct sleeper sleepers[5];
    for (int i = 0; i < 5; i++)
        launch(&sleepers[i], &word, FUTEX_WAIT_PRIVATE, i % 2);
    await_sleepers(&word, 5);
    word = 8;
    EXPECT_EQ(RAW_FUTEX(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &other, 7), -EAGAIN);
    EXPECT_EQ(RAW_FUTEX(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &other, 8), 3);
    EXPECT_EQ(RAW_FUTEX(&word, FUTEX_CMP_REQUEUE_PRIVATE, -1, 2, &other, 8), -EINVAL);
    /* Two are left, and two are at the other word. */
    uint32_t operation = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0);
    EXPECT_EQ(RAW_FUTEX(&word, FUTEX_WAKE_OP_PRIVATE, 1, 1, &other, operation), 2);
    EXPECT_EQ(other, 3);
    EXPECT_EQ(RAW_FUTEX(&word, FUTEX_WAKE_OP_PRIVATE, 1, 1, &other, operation), 1);
    EXPECT_EQ(other, 6);
    EXPECT_EQ(futex(&other, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 4), 1);
    EXPECT_EQ(RAW_FUTEX(&word, FUTEX_WAIT_PRIVATE, 7, NULL, NULL, 0), -EAGAIN);
    for (int i = 0; i < 5; i++)
        finish(&sleepers[i]);
}

CASE(futex_wake_of_none_wakes_one) {
    int wakes[] = {FUTEX_WAKE, FUTEX_WAKE_PRIVATE};
    int waits[] = {FUTEX_WAIT, FUTEX_WAIT_PRIVATE};
    for (int i = 0; i < 2; i++)
        for (int count = -1; count <= 0; count++) {
            struct sleeper sleepers[2];
            launch(&sleepers[0], &word, waits[i], false);
            launch(&sleepers[1], &word, waits[i], false);
            for (int woken = 0; woken < 2; sched_yield())
                woken += OK(futex(&word, wakes[i], count, NULL, NULL, 0));
            finish(&sleepers[0]);
            finish(&sleepers[1]);
        }
}

CASE(futex_wait_with_a_timeout_is_ended_by_any_handler) {
    int flags[] = {0, SA_RESTART};
    for (int i = 0; i < 2; i++)
        for (int private = 0; private <= FUTEX_PRIVATE_FLAG; private += FUTEX_PRIVATE_FLAG) {
            tick(count_signal, flags[i]);
            struct timespec time = {5, 0};
            EXPECT_ERRNO(futex(&word, FUTEX_WAIT | private, 0, &time, NULL, 0), EINTR);
            OK(clock_gettime(CLOCK_MONOTONIC, &time));
            time.tv_sec += 5;
            EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET | private, 0, &time, NULL, UINT32_MAX), EINTR);
            EXPECT_EQ(RAW_FUTEX(&word, FUTEX_WAIT_BITSET | private, 0, &time, NULL, UINT32_MAX), -EINTR);
            OK(clock_gettime(CLOCK_REALTIME, &time));
            time.tv_sec += 5;
            EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME | private, 0, &time, NULL, UINT32_MAX), EINTR);
            stop_ticking();
        }
}

static void wake_on_third_tick(int signal) {
    count_signal(signal);
    if (signals_seen == 3)
        word = 1;
}

CASE(futex_private_wait_without_a_timeout_heeds_sa_restart) {
    EXPECT_INTERRUPTED(futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    EXPECT_INTERRUPTED(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 1));
    for (int raw = 0; raw < 2; raw++) {
        word = signals_seen = 0;
        tick(wake_on_third_tick, SA_RESTART);
        long result = raw ? RAW_FUTEX(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0)
                          : RAW_FUTEX(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 1);
        EXPECT_EQ(result, -EAGAIN);
        EXPECT(signals_seen >= 3);
        stop_ticking();
        word = signals_seen = 0;
        tick(wake_on_third_tick, SA_RESTART);
        EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EAGAIN);
        EXPECT(signals_seen >= 3);
        stop_ticking();
    }
}

CASE(futex_wait_does_not_end_by_being_stopped) {
    volatile uint32_t *shared = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(shared != MAP_FAILED);
    int operations[] = {FUTEX_WAIT_PRIVATE, FUTEX_WAIT_BITSET_PRIVATE, FUTEX_WAIT, FUTEX_WAIT_BITSET};
    for (int i = 0; i < 4; i++) {
        *shared = 0;
        pid_t pid = IN_CHILD({
            int64_t until = now_ns(CLOCK_MONOTONIC) + 120000000;
            struct timespec time = {0, 120000000};
            if (i % 2)
                time = (struct timespec){until / 1000000000, until % 1000000000};
            *shared = 1;
            EXPECT_ERRNO(futex(&word, operations[i], 0, &time, NULL, UINT32_MAX), ETIMEDOUT);
            EXPECT(now_ns(CLOCK_MONOTONIC) >= until);
        });
        while (*shared == 0)
            sched_yield();
        for (int stops = 0; stops < 3; stops++) {
            int status;
            OK(kill(pid, SIGSTOP));
            EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
            EXPECT(WIFSTOPPED(status));
            OK(kill(pid, SIGCONT));
        }
        EXPECT_EXIT(pid, 0);
    }
}

CASE(futex_operations_take_the_clock_flag_only_with_a_bit_set) {
    struct timespec time = {0, 1};
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &time, NULL, 0), ENOSYS);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0), ENOSYS);
    EXPECT_ERRNO(futex(&word, FUTEX_WAKE_PRIVATE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
}

CASE(futex_private_words_that_are_not_there_return_efault) {
    uint32_t *bad = bad_page(), *unaligned = (uint32_t *)((char *)&word + 1);
    uint32_t *constant = map(PAGE_SIZE);
    OK(mprotect(constant, PAGE_SIZE, PROT_READ));
    EXPECT_ERRNO(futex(bad, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EFAULT);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, (void *)bad, NULL, 1), EFAULT);
    EXPECT_ERRNO(futex(unaligned, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(unaligned, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex((uint32_t *)-4096L, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EFAULT);
    EXPECT_ERRNO(futex((uint32_t *)(1L << 62), FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EFAULT);
    EXPECT_ERRNO(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, COUNT(1), (uint32_t *)-4096L, 0), EFAULT);
    EXPECT_ERRNO(futex(bad, FUTEX_CMP_REQUEUE_PRIVATE, 1, COUNT(1), &word, 0), EFAULT);
    uint32_t operation = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0);
    EXPECT_ERRNO(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, COUNT(1), bad, operation), EFAULT);
    EXPECT_ERRNO(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, COUNT(1), constant, operation), EFAULT);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 0), EINVAL);
    EXPECT_ERRNO(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    struct timespec wrong = {0, -1};
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &wrong, NULL, 1), EINVAL);
    EXPECT_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0, &wrong, NULL, 1), EINVAL);
}

CASE(futex_of_a_child_that_shares_memory_is_the_parents) {
    struct sleeper sleeper;
    launch(&sleeper, &word, FUTEX_WAIT_PRIVATE, false);
    await_sleepers(&word, 1);
    pid_t pid = vfork();
    if (pid == 0)
        _exit(futex(&word, FUTEX_WAKE_PRIVATE, 5, NULL, NULL, 0));
    EXPECT_EXIT(pid, 1);
    finish(&sleeper);
}

CASE(futex_sleepers_of_a_process_do_not_sleep_in_its_child) {
    struct sleeper sleepers[2];
    launch(&sleepers[0], &word, FUTEX_WAIT_PRIVATE, false);
    launch(&sleepers[1], &word, FUTEX_WAIT_PRIVATE, true);
    await_sleepers(&word, 2);
    pid_t pid = IN_CHILD({
        EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 5, NULL, NULL, 0), 0);
        struct sleeper own;
        launch(&own, &word, FUTEX_WAIT_PRIVATE, false);
        await_sleepers(&word, 1);
        EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 5, NULL, NULL, 0), 1);
        finish(&own);
    });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 5, NULL, NULL, 0), 2);
    finish(&sleepers[0]);
    finish(&sleepers[1]);
}

HELPER(end) {
    (void)argv;
    return argc;
}

CASE(futex_sleepers_do_not_keep_a_process_from_ending) {
    for (int way = 0; way < 3; way++) {
        pid_t pid = IN_CHILD({
            struct sleeper sleepers[8];
            for (int i = 0; i < 8; i++)
                launch(&sleepers[i], &word, FUTEX_WAIT_PRIVATE, i % 2);
            await_sleepers(&word, 8);
            if (way == 0)
                _exit(0);
            if (way == 1)
                execl(program_path, program_path, "--helper", "end", NULL);
            kill(getpid(), SIGKILL);
        });
        if (way == 2)
            EXPECT_KILLED(pid, SIGKILL);
        else
            EXPECT_EXIT(pid, 0);
    }
}

CASE(futex_sleeper_looks_asleep) {
    struct sleeper sleepers[2];
    launch(&sleepers[0], &word, FUTEX_WAIT_PRIVATE, false);
    launch(&sleepers[1], &word, FUTEX_WAIT_PRIVATE, true);
    await_sleepers(&word, 2);
    for (int i = 0; i < 2; i++) {
        char name[64], text[512];
        snprintf(name, sizeof name, "/proc/self/task/%d/stat", (int)sleepers[i].tid);
        for (;; sched_yield()) {
            int fd = OK(open(name, O_RDONLY));
            ssize_t length = OK(read(fd, text, sizeof text - 1));
            OK(close(fd));
            text[length] = 0;
            const char *state = strrchr(text, ')');
            EXPECT(state != NULL);
            /* It may have been awake to be moved. */
            if (state[2] == 'S')
                break;
        }
    }
    EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0), 2);
    finish(&sleepers[0]);
    finish(&sleepers[1]);
}

/* Two threads that wait for each other, in many ways. */
static volatile uint32_t ball;

static void *play(void *argument) {
    uint32_t own = (uintptr_t)argument;
    for (int i = 0; i < 3000; i++) {
        for (uint32_t seen; (seen = __atomic_load_n(&ball, __ATOMIC_SEQ_CST)) % 2 != own;) {
            struct timespec time;
            clock_gettime(CLOCK_MONOTONIC, &time);
            time.tv_sec += 5;
            int result = i % 3 == 0   ? futex(&ball, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0)
                         : i % 3 == 1 ? futex(&ball, FUTEX_WAIT_BITSET_PRIVATE, seen, &time, NULL, UINT32_MAX)
                                      : RAW_FUTEX(&ball, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
            EXPECT(result == 0 || i % 3 == 2 || errno == EAGAIN || errno == EINTR);
        }
        __atomic_fetch_add(&ball, 1, __ATOMIC_SEQ_CST);
        long woken = i % 2 ? futex(&ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)
                           : RAW_FUTEX(&ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        EXPECT(woken == 0 || woken == 1);
    }
    return NULL;
}

CASE(futex_hand_overs_are_not_lost_while_signals_come) {
    handle(SIGALRM, count_signal, SA_RESTART);
    struct itimerval every = {{0, 300}, {0, 300}};
    OK(setitimer(ITIMER_REAL, &every, NULL));
    pthread_t threads[2];
    for (uintptr_t i = 0; i < 2; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, play, (void *)i), 0);
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    EXPECT_EQ(ball, 6000);
    stop_ticking();
}

CASE(futex_wake_is_not_interrupted_by_signals) {
    handle(SIGALRM, count_signal, 0);
    struct itimerval every = {{0, 100}, {0, 100}};
    OK(setitimer(ITIMER_REAL, &every, NULL));
    uint32_t operation = FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0);
    for (int i = 1; i <= 1000 || signals_seen < 50; i++) {
        EXPECT_EQ(RAW_FUTEX(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
        EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
        EXPECT_EQ(RAW_FUTEX(&word, FUTEX_WAKE_OP_PRIVATE, 1, 1, &other, operation), 0);
        EXPECT_EQ(other, i);
        EXPECT_EQ(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, COUNT(1), &other, 0), 0);
    }
    stop_ticking();
}

CASE(sched_yield_returns_zero) {
    tick(count_signal, 0);
    while (signals_seen < 5)
        EXPECT_EQ(sched_yield(), 0);
    stop_ticking();
}
