/*
 * pthread_sigmask(3), and whatever else sees a thread's mask. A call site that is used often may be served in another way
 * than one that is not, so everything here happens often.
 */
#include "case.h"
#include <pthread.h>
#include <setjmp.h>
#include <sys/signalfd.h>

#define OFTEN 500
#define ROUNDS 300

#define BIT(signal) (1ULL << ((signal) - 1))
#define ALL ~(BIT(SIGKILL) | BIT(SIGSTOP))

/* The one call site of most cases. */
static __attribute__((noinline)) long change(int how, const uint64_t *set, uint64_t *old) {
    return syscall(SYS_rt_sigprocmask, how, set, old, 8);
}

static uint64_t mask_now(void) {
    uint64_t old = 0;
    OK(change(SIG_BLOCK, NULL, &old));
    return old;
}

static void set_mask(uint64_t mask) { OK(change(SIG_SETMASK, &mask, NULL)); }

static void become_frequent(void) {
    for (int i = 0; i < OFTEN; i++)
        mask_now();
}

static uint64_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005 + 1442695040888963407;
    return *state >> 11 ^ *state << 20;
}

/* The field of a status file that begins with `name`, a mask in hexadecimal. */
static uint64_t field_of_status(const char *path, const char *name) {
    char text[4096];
    int fd = OK(open(path, O_RDONLY));
    ssize_t length = OK(read(fd, text, sizeof text - 1));
    OK(close(fd));
    text[length] = 0;
    const char *line = strstr(text, name);
    EXPECT(line != NULL);
    return strtoull(line + strlen(name), NULL, 16);
}

CASE(a_mask_that_is_changed_often_is_what_the_changes_make_of_it) {
    uint64_t state = 1, mask = mask_now();
    for (int i = 0; i < 5000; i++) {
        uint64_t set = next_random(&state), old = 0, copy = set;
        int how = (int)(next_random(&state) % 3);
        if (i % 5 == 0) {
            /* The new set and the old are the same variable. */
            OK(change(how, &set, &set));
            old = set;
        } else if (i % 5 == 1) {
            OK(change(how, &set, NULL));
            old = mask;
        } else {
            OK(change(how, &set, &old));
        }
        EXPECT_EQ(old, mask);
        mask = (how == SIG_BLOCK ? mask | copy : how == SIG_UNBLOCK ? mask & ~copy : copy) & ALL;
        if (i % 3 == 0)
            EXPECT_EQ(mask_now(), mask);
        if (i % 500 == 0)
            EXPECT_EQ(field_of_status("/proc/self/status", "SigBlk:"), mask);
    }
}

CASE(the_flags_and_other_registers_survive_a_change_of_the_mask) {
    for (int i = 0; i < OFTEN; i++) {
        uint64_t set = BIT(SIGUSR1), old;
        long result;
        register long r8 __asm__("r8") = 8888, r9 __asm__("r9") = 9999, r10 __asm__("r10") = 8;
        unsigned char carry;
        void *first = &set, *second = &old;
        long how = SIG_SETMASK;
        __asm__ volatile("stc\n\tsyscall\n\tsetc %1"
                         : "=a"(result), "=r"(carry), "+r"(r8), "+r"(r9), "+r"(r10), "+D"(how), "+S"(first), "+d"(second)
                         : "0"(SYS_rt_sigprocmask)
                         : "rcx", "r11", "memory", "cc");
        EXPECT_EQ(result, 0);
        EXPECT(carry == 1 && r8 == 8888 && r9 == 9999 && r10 == 8);
        EXPECT(how == SIG_SETMASK && first == &set && second == &old);
    }
}

CASE(bad_arguments_fail_at_a_frequent_site_as_at_any) {
    uint64_t usr1 = BIT(SIGUSR1), usr2 = BIT(SIGUSR2);
    become_frequent();
    for (int i = 0; i < 3; i++) {
        EXPECT_ERRNO(change(77, &usr1, NULL), EINVAL);
        EXPECT_ERRNO(change(-1, &usr1, NULL), EINVAL);
        OK(change(77, NULL, NULL));
        EXPECT_ERRNO(change(SIG_BLOCK, bad_page(), NULL), EFAULT);
        EXPECT_ERRNO(change(SIG_BLOCK, (void *)(page_end() - 4), NULL), EFAULT);
        EXPECT_ERRNO(change(SIG_BLOCK, (void *)0x8000000000000000, NULL), EFAULT);
        EXPECT_ERRNO(change(SIG_BLOCK, NULL, bad_page()), EFAULT);
        EXPECT_EQ(mask_now(), 0);
        /* The mask is set before the old one is written. */
        EXPECT_ERRNO(change(SIG_BLOCK, &usr1, bad_page()), EFAULT);
        EXPECT_EQ(mask_now(), BIT(SIGUSR1));
        EXPECT_ERRNO(change(SIG_SETMASK, &usr2, (void *)"read only"), EFAULT);
        EXPECT_EQ(mask_now(), BIT(SIGUSR2));
        set_mask(0);
    }
    EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &usr1, NULL, 4), EINVAL);
}

CASE(a_pending_signal_is_delivered_before_the_unblocking_call_returns) {
    handle(SIGUSR1, count_signal, 0);
    uint64_t usr1 = BIT(SIGUSR1), old;
    for (int i = 0; i < OFTEN; i++) {
        OK(change(SIG_BLOCK, &usr1, NULL));
        OK(i % 2 ? raise(SIGUSR1) : kill(getpid(), SIGUSR1));
        EXPECT_EQ(signals_seen, i);
        OK(change(SIG_UNBLOCK, &usr1, &old));
        EXPECT_EQ(signals_seen, i + 1);
        EXPECT_EQ(old, usr1);
        EXPECT_EQ(mask_now(), 0);
    }
}

CASE(a_pending_signal_stays_while_others_are_unblocked) {
    uint64_t usr1 = BIT(SIGUSR1), usr2 = BIT(SIGUSR2);
    handle(SIGUSR1, count_signal, 0);
    OK(change(SIG_BLOCK, &usr1, NULL));
    OK(kill(getpid(), SIGUSR1));
    for (int i = 0; i < OFTEN; i++) {
        OK(change(SIG_BLOCK, &usr2, NULL));
        OK(change(SIG_UNBLOCK, &usr2, NULL));
    }
    EXPECT_EQ(signals_seen, 0);
    OK(change(SIG_UNBLOCK, &usr1, NULL));
    EXPECT_EQ(signals_seen, 1);
}

/* --- Races ---------------------------------------------------------------------------------------------------------- */

struct race {
    _Atomic int round, received, over;
    pthread_t target;
};

static struct race *race;

static void receive_round(int signal) {
    (void)signal;
    race->received++;
}

/* Waits without a call that could help, for as long as that is no burden. */
static void wait_for_round(int round) {
    for (long spins = 1; race->received < round; spins++)
        if (spins % 10000 == 0)
            sched_yield();
}

/* Unblocks at about the time that somebody sends. */
static void race_to_unblock(void) {
    uint64_t usr1 = BIT(SIGUSR1);
    become_frequent();
    for (int round = 1; round <= ROUNDS; round++) {
        OK(change(SIG_BLOCK, &usr1, NULL));
        race->round = round;
        for (volatile int delay = 0; delay < round % 97; delay++) {
        }
        OK(change(SIG_UNBLOCK, &usr1, NULL));
        wait_for_round(round);
    }
    race->over = 1;
    EXPECT_EQ(race->received, ROUNDS);
}

static void *send_to_the_thread(void *unused) {
    (void)unused;
    for (int round = 1; round <= ROUNDS; round++) {
        while (race->round < round)
            sched_yield();
        if (pthread_kill(race->target, SIGUSR1) != 0)
            break;
    }
    return NULL;
}

CASE(a_signal_of_another_thread_meets_a_changing_mask_and_is_not_lost) {
    race = map_shared(sizeof *race);
    race->target = pthread_self();
    handle(SIGUSR1, receive_round, 0);
    pthread_t sender;
    EXPECT_EQ(pthread_create(&sender, NULL, send_to_the_thread, NULL), 0);
    race_to_unblock();
    EXPECT_EQ(pthread_join(sender, NULL), 0);
}

CASE(a_signal_of_another_process_meets_a_changing_mask_and_is_not_lost) {
    race = map_shared(sizeof *race);
    handle(SIGUSR1, receive_round, 0);
    pid_t parent = getpid();
    pid_t pid = IN_CHILD({
        for (int round = 1; round <= ROUNDS; round++) {
            while (race->round < round)
                sched_yield();
            OK(kill(parent, SIGUSR1));
        }
    });
    race_to_unblock();
    EXPECT_EXIT(pid, 0);
}

static void *unblock_in_a_thread(void *unused) {
    (void)unused;
    set_mask(0);
    race_to_unblock();
    return NULL;
}

CASE(a_signal_of_the_process_goes_to_the_thread_whose_mask_lets_it_through) {
    race = map_shared(sizeof *race);
    handle(SIGUSR1, receive_round, 0);
    become_frequent();
    set_mask(BIT(SIGUSR1));
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, unblock_in_a_thread, NULL), 0);
    for (int round = 1; round <= ROUNDS; round++) {
        while (race->round < round)
            sched_yield();
        OK(kill(getpid(), SIGUSR1));
        EXPECT_EQ(mask_now(), BIT(SIGUSR1));
    }
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

static void *toggle(void *unused) {
    (void)unused;
    uint64_t usr1 = BIT(SIGUSR1);
    while (!race->over) {
        change(SIG_BLOCK, &usr1, NULL);
        change(SIG_UNBLOCK, &usr1, NULL);
    }
    return NULL;
}

CASE(signals_that_hit_every_moment_of_a_change_leave_mask_and_result_whole) {
    race = map_shared(sizeof *race);
    handle(SIGUSR1, receive_round, 0);
    pthread_t target;
    EXPECT_EQ(pthread_create(&target, NULL, toggle, NULL), 0);
    set_mask(BIT(SIGUSR1));
    for (int sent = 0; sent < ROUNDS; sent++) {
        OK(pthread_kill(target, SIGUSR1) == 0 ? 0 : -1);
        while (race->received <= sent)
            sched_yield();
    }
    race->over = 1;
    EXPECT_EQ(pthread_join(target, NULL), 0);
    EXPECT_EQ(race->received, ROUNDS);
}

/* Each round sees the old mask that the round before has set, with signals all the time. */
CASE(the_old_mask_is_right_though_signals_interrupt) {
    handle(SIGALRM, count_signal, 0);
    struct itimerval often = {{0, 100}, {0, 100}};
    OK(setitimer(ITIMER_REAL, &often, NULL));
    uint64_t last = mask_now();
    for (uint64_t i = 0; i < 20000 || signals_seen < 20; i++) {
        uint64_t set = (i << 33 | (i & 1 ? BIT(SIGUSR1) : BIT(SIGUSR2))) & ALL, old;
        OK(change(SIG_SETMASK, &set, &old));
        EXPECT_EQ(old, last);
        last = set;
    }
}

/* --- Who else sees the mask ----------------------------------------------------------------------------------------- */

static void *expect_usr2(void *unused) {
    (void)unused;
    return (void *)(uintptr_t)(mask_now() == BIT(SIGUSR2));
}

HELPER(expect_usr2_blocked) {
    (void)argc, (void)argv;
    return mask_now() == BIT(SIGUSR2) ? 0 : 1;
}

CASE(threads_forks_and_programs_inherit_the_mask_of_the_moment) {
    become_frequent();
    for (int i = 0; i < 10; i++) {
        set_mask(BIT(SIGUSR1));
        set_mask(BIT(SIGUSR2));
        pthread_t thread;
        void *is_right = NULL;
        EXPECT_EQ(pthread_create(&thread, NULL, expect_usr2, NULL), 0);
        EXPECT_EQ(pthread_join(thread, &is_right), 0);
        EXPECT(is_right != NULL);
        pid_t pid = IN_CHILD({
            EXPECT_EQ(mask_now(), BIT(SIGUSR2));
            set_mask(BIT(SIGHUP));
        });
        EXPECT_EXIT(pid, 0);
        EXPECT_EQ(mask_now(), BIT(SIGUSR2));
        pid = vfork();
        if (pid == 0) {
            execl(program_path, "x", "--helper", "expect_usr2_blocked", NULL);
            _exit(1);
        }
        EXPECT_EXIT(pid, 0);
        pid = fork();
        if (pid == 0) {
            execl(program_path, "x", "--helper", "expect_usr2_blocked", NULL);
            _exit(1);
        }
        EXPECT_EXIT(pid, 0);
    }
}

CASE(status_shows_the_mask_of_a_process_that_is_running) {
    race = map_shared(sizeof *race);
    pid_t pid = IN_CHILD({
        become_frequent();
        for (int round = 1; !race->over; round++) {
            set_mask(BIT(SIGUSR2) | (uint64_t)round << 33);
            race->round = round;
            while (race->received < round && !race->over)
                sched_yield();
        }
    });
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    for (int round = 1; round < 100; round++) {
        while (race->round < round)
            sched_yield();
        EXPECT_EQ(field_of_status(path, "SigBlk:"), BIT(SIGUSR2) | (uint64_t)round << 33);
        race->received = round;
    }
    race->over = 1;
    EXPECT_EXIT(pid, 0);
}

static uint64_t mask_in_handler;

static void look_at_mask(int signal, siginfo_t *info, void *context) {
    (void)info;
    mask_in_handler = mask_now();
    EXPECT_EQ(*(uint64_t *)&((ucontext_t *)context)->uc_sigmask, BIT(SIGUSR2));
    count_signal(signal);
}

CASE(a_handler_runs_with_its_own_mask_and_its_frame_has_the_old_one) {
    become_frequent();
    for (int i = 0; i < OFTEN; i++) {
        handle_info(SIGUSR1, look_at_mask, i % 2 ? SA_NODEFER : 0);
        set_mask(BIT(SIGUSR2));
        OK(raise(SIGUSR1));
        EXPECT_EQ(mask_in_handler, BIT(SIGUSR2) | (i % 2 ? 0 : BIT(SIGUSR1)));
        EXPECT_EQ(mask_now(), BIT(SIGUSR2));
    }
}

static void change_mask_of_frame(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    set_mask(BIT(SIGHUP));
    *(uint64_t *)&((ucontext_t *)context)->uc_sigmask = BIT(SIGINT) | BIT(SIGKILL);
}

CASE(a_handler_returns_to_the_mask_in_its_frame) {
    handle_info(SIGUSR1, change_mask_of_frame, 0);
    for (int i = 0; i < OFTEN; i++) {
        set_mask(0);
        OK(raise(SIGUSR1));
        EXPECT_EQ(mask_now(), BIT(SIGINT));
    }
}

static int depth;

static void nest(int signal) {
    (void)signal;
    uint64_t usr1 = BIT(SIGUSR1);
    signals_seen++;
    if (++depth < 5) {
        raise(SIGUSR1);
        EXPECT_EQ(signals_seen % 5, depth % 5);
        OK(change(SIG_UNBLOCK, &usr1, NULL));
    }
    depth--;
}

CASE(a_handler_that_unblocks_its_signal_is_interrupted_by_it) {
    become_frequent();
    handle(SIGUSR1, nest, 0);
    for (int i = 0; i < OFTEN / 5; i++) {
        OK(raise(SIGUSR1));
        EXPECT_EQ(signals_seen, 5 * (i + 1));
        EXPECT_EQ(depth, 0);
        EXPECT_EQ(mask_now(), 0);
    }
}

static sigjmp_buf place;

static void jump_away(int signal) {
    (void)signal;
    signals_seen++;
    siglongjmp(place, 1);
}

CASE(siglongjmp_restores_the_mask) {
    handle(SIGUSR1, jump_away, 0);
    for (volatile int i = 0; i < OFTEN; i++) {
        set_mask(i % 2 ? BIT(SIGHUP) : 0);
        if (sigsetjmp(place, 1) == 0) {
            raise(SIGUSR1);
            FAIL("the handler returned");
        }
        EXPECT_EQ(mask_now(), i % 2 ? BIT(SIGHUP) : 0);
        EXPECT_EQ(signals_seen, i + 1);
    }
}

CASE(temporary_masks_end_with_the_mask_of_before) {
    sigset_t none;
    sigemptyset(&none);
    handle(SIGUSR1, count_signal, 0);
    become_frequent();
    PIPE(pipes);
    for (int i = 0; i < 100; i++) {
        uint64_t mask = BIT(SIGUSR1) | (uint64_t)i << 33;
        set_mask(mask);
        OK(kill(getpid(), SIGUSR1));
        EXPECT_ERRNO(sigsuspend(&none), EINTR);
        EXPECT_EQ(signals_seen, 3 * i + 1);
        EXPECT_EQ(mask_now(), mask);
        struct timespec second = {1, 0};
        struct pollfd poll = {pipes[0], POLLIN, 0};
        OK(raise(SIGUSR1));
        EXPECT_ERRNO(ppoll(&poll, 1, &second, &none), EINTR);
        EXPECT_EQ(signals_seen, 3 * i + 2);
        EXPECT_EQ(mask_now(), mask);
        fd_set fds;
        FD_ZERO(&fds);
        OK(raise(SIGUSR1));
        EXPECT_ERRNO(pselect(0, &fds, NULL, NULL, &second, &none), EINTR);
        EXPECT_EQ(signals_seen, 3 * i + 3);
        EXPECT_EQ(mask_now(), mask);
    }
}

CASE(blocked_signals_are_taken_from_sigtimedwait_and_signalfd) {
    handle(SIGUSR1, count_signal, 0);
    become_frequent();
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    int fd = OK(signalfd(-1, &usr1, SFD_NONBLOCK));
    for (int i = 0; i < 100; i++) {
        uint64_t mask = BIT(SIGUSR1);
        struct timespec zero = {0, 0};
        struct signalfd_siginfo info;
        OK(change(SIG_BLOCK, &mask, NULL));
        OK(kill(getpid(), SIGUSR1));
        EXPECT_EQ(sigtimedwait(&usr1, NULL, &zero), SIGUSR1);
        OK(change(SIG_UNBLOCK, &mask, NULL));
        OK(change(SIG_BLOCK, &mask, NULL));
        OK(raise(SIGUSR1));
        EXPECT_EQ(read(fd, &info, sizeof info), (ssize_t)sizeof info);
        OK(change(SIG_UNBLOCK, &mask, NULL));
        EXPECT_EQ(signals_seen, 0);
    }
}

CASE(a_fault_whose_signal_is_blocked_ends_the_process) {
    pid_t pid = IN_CHILD({
        handle(SIGSEGV, count_signal, 0);
        become_frequent();
        set_mask(BIT(SIGSEGV));
        *(volatile char *)bad_page() = 1;
    });
    EXPECT_KILLED(pid, SIGSEGV);
}

CASE(what_cannot_be_blocked_ends_a_process_that_tries_all_the_time) {
    race = map_shared(sizeof *race);
    pid_t pid = IN_CHILD({
        for (;; race->round++)
            set_mask(~0ULL);
    });
    while (race->round < OFTEN)
        sched_yield();
    OK(kill(pid, SIGSTOP));
    int status;
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    EXPECT(WIFSTOPPED(status));
    EXPECT_EQ(field_of_status("/proc/self/status", "SigBlk:"), 0);
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}
