/* signal(7): default actions, and the order of delivery */
#include "case.h"
#include <pthread.h>

CASE(default_action_of_terminating_signals_kills) {
    int signals[] = {SIGHUP,  SIGINT,  SIGKILL,   SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM,  SIGTERM,
                     SIGPROF, SIGVTALRM, SIGSTKFLT, SIGIO, SIGPWR,  SIGRTMIN, SIGRTMAX};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        pid_t pid = IN_CHILD({
            kill(getpid(), signals[i]);
            sleep_forever();
        });
        int status = wait_for(pid);
        EXPECT_EQ(status & 0x7f, signals[i]);
        EXPECT_EQ(status & 0x80, 0);
    }
}

CASE(default_action_of_core_signals_kills) {
    struct rlimit limit = {0, 0};
    OK(setrlimit(RLIMIT_CORE, &limit));
    int signals[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        pid_t pid = IN_CHILD({
            kill(getpid(), signals[i]);
            sleep_forever();
        });
        EXPECT_KILLED(pid, signals[i]);
    }
}

CASE(default_action_of_ignored_signals_does_nothing) {
    int signals[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        OK(kill(getpid(), signals[i]));
}

CASE(default_action_of_stop_signals_stops) {
    int signals[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        pid_t pid = IN_CHILD({
            kill(getpid(), signals[i]);
            _exit(5);
        });
        int status;
        EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
        EXPECT(WIFSTOPPED(status));
        EXPECT_EQ(WSTOPSIG(status), signals[i]);
        OK(kill(pid, SIGCONT));
        EXPECT_EXIT(pid, 5);
    }
}

CASE(stopped_process_is_killed_by_sigkill_only) {
    pid_t pid = IN_CHILD({ sleep_forever(); });
    int status;
    OK(kill(pid, SIGSTOP));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    OK(kill(pid, SIGTERM));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0);
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(sigcont_discards_pending_stops_and_stops_discard_sigcont) {
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(kill(getpid(), SIGTSTP));
    OK(kill(getpid(), SIGCONT));
    OK(sigpending(&pending));
    EXPECT(!sigismember(&pending, SIGTSTP));
    EXPECT(sigismember(&pending, SIGCONT));
    OK(kill(getpid(), SIGTSTP));
    OK(sigpending(&pending));
    EXPECT(!sigismember(&pending, SIGCONT));
}

CASE(sigcont_handler_runs_after_continuing) {
    PIPE(ends);
    pid_t pid = IN_CHILD({
        handle(SIGCONT, count_signal, 0);
        announce(ends[1]);
        while (signals_seen == 0)
            sched_yield();
    });
    await(ends[0]);
    int status;
    OK(kill(pid, SIGSTOP));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    OK(kill(pid, SIGCONT));
    EXPECT_EXIT(pid, 0);
}

static int order[64];

static void note_order(int signal, siginfo_t *info, void *context) {
    (void)context;
    order[signals_seen++] = signal * 1000 + info->si_value.sival_int;
}

static sigset_t block_all(void) {
    sigset_t all;
    sigfillset(&all);
    OK(sigprocmask(SIG_SETMASK, &all, NULL));
    return all;
}

static void unblock_all(void) {
    sigset_t none;
    sigemptyset(&none);
    OK(sigprocmask(SIG_SETMASK, &none, NULL));
}

CASE(standard_signals_are_merged_while_pending) {
    block_all();
    handle(SIGUSR1, count_signal, 0);
    for (int i = 0; i < 5; i++)
        OK(kill(getpid(), SIGUSR1));
    unblock_all();
    EXPECT_EQ(signals_seen, 1);
}

CASE(real_time_signals_are_queued_in_order) {
    block_all();
    struct sigaction action = {.sa_sigaction = note_order, .sa_flags = SA_SIGINFO};
    OK(sigaction(SIGRTMIN, &action, NULL));
    for (int i = 0; i < 10; i++)
        OK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}));
    unblock_all();
    EXPECT_EQ(signals_seen, 10);
    for (int i = 0; i < 10; i++)
        EXPECT_EQ(order[i], SIGRTMIN * 1000 + i);
}

CASE(lower_real_time_signals_are_taken_first) {
    sigset_t all = block_all();
    int base = SIGRTMIN;
    OK(sigqueue(getpid(), base + 3, (union sigval){0}));
    OK(sigqueue(getpid(), base + 1, (union sigval){0}));
    OK(sigqueue(getpid(), base + 2, (union sigval){0}));
    EXPECT_EQ(sigwaitinfo(&all, NULL), base + 1);
    EXPECT_EQ(sigwaitinfo(&all, NULL), base + 2);
    EXPECT_EQ(sigwaitinfo(&all, NULL), base + 3);
}

static void note_number(int signal) { order[signals_seen++] = signal; }

CASE(signals_of_faults_are_taken_first_whoever_sent_them) {
    int signals[] = {SIGHUP, SIGSEGV, SIGFPE};
    for (int to_thread = 0; to_thread <= 1; to_thread++) {
        sigset_t all = block_all();
        for (int i = 0; i < 3; i++) {
            handle(signals[i], note_number, 0);
            OK(to_thread ? syscall(SYS_tgkill, getpid(), gettid(), signals[i]) : kill(getpid(), signals[i]));
        }
        /* The handler of what is taken last begins to run first. */
        signals_seen = 0;
        unblock_all();
        EXPECT_EQ(order[0], SIGHUP);
        EXPECT_EQ(order[1], SIGSEGV);
        EXPECT_EQ(order[2], SIGFPE);
        block_all();
        OK(kill(getpid(), SIGHUP));
        OK(kill(getpid(), SIGSEGV));
        EXPECT_EQ(sigwaitinfo(&all, NULL), SIGSEGV);
        EXPECT_EQ(sigwaitinfo(&all, NULL), SIGHUP);
    }
}

CASE(signal_queue_is_bounded_by_the_limit) {
    block_all();
    struct rlimit limit = {5, 5};
    OK(setrlimit(RLIMIT_SIGPENDING, &limit));
    int sent = 0;
    while (sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0)
        EXPECT(++sent < 100);
    EXPECT_EQ(errno, EAGAIN);
    OK(kill(getpid(), SIGUSR1));
}

/* What is pending of `signal`. */
static siginfo_t pending_of(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    siginfo_t info;
    struct timespec now = {0};
    EXPECT_EQ(sigtimedwait(&set, &info, &now), signal);
    EXPECT_EQ(info.si_signo, signal);
    EXPECT_ERRNO(sigtimedwait(&set, NULL, &now), EAGAIN);
    return info;
}

CASE(signal_beyond_the_limit_is_pending_without_information) {
    block_all();
    struct rlimit limit = {0, 0};
    OK(setrlimit(RLIMIT_SIGPENDING, &limit));
    union sigval value = {.sival_int = 1};
    EXPECT_ERRNO(sigqueue(getpid(), SIGRTMIN, value), EAGAIN);
    EXPECT_ERRNO(syscall(SYS_tgkill, getpid(), gettid(), SIGRTMIN), EAGAIN);
    OK(kill(getpid(), SIGRTMIN));
    siginfo_t info = pending_of(SIGRTMIN);
    EXPECT_EQ(info.si_code, SI_USER);
    EXPECT_EQ(info.si_pid, 0);
    OK(sigqueue(getpid(), SIGUSR1, value));
    info = pending_of(SIGUSR1);
    EXPECT_EQ(info.si_code, SI_USER);
    EXPECT_EQ(info.si_pid, 0);
    OK(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
    info = pending_of(SIGUSR1);
    EXPECT_EQ(info.si_code, SI_USER);
    EXPECT_EQ(info.si_pid, 0);
    /* What the kernel says, and kill(2), is not limited. */
    OK(kill(getpid(), SIGUSR1));
    EXPECT_EQ(pending_of(SIGUSR1).si_pid, getpid());
    pid_t pid = IN_CHILD({});
    EXPECT_EXIT(pid, 0);
    info = pending_of(SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_EXITED);
    EXPECT_EQ(info.si_pid, pid);
}

static void note_tid(int signal) {
    (void)signal;
    signals_seen = gettid();
}

static void *wait_for_usr1(void *unused) {
    (void)unused;
    sigset_t set;
    sigfillset(&set);
    sigdelset(&set, SIGUSR1);
    sigsuspend(&set);
    return (void *)(long)gettid();
}

CASE(process_signal_goes_to_a_thread_that_does_not_block_it) {
    block_all();
    handle(SIGUSR1, note_tid, 0);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, wait_for_usr1, NULL), 0);
    OK(kill(getpid(), SIGUSR1));
    void *tid;
    EXPECT_EQ(pthread_join(thread, &tid), 0);
    EXPECT((long)tid != getpid() && (long)tid == signals_seen);
}

static void *sleep_thread(void *unused) {
    (void)unused;
    sleep_forever();
}

CASE(fatal_signal_ends_all_threads) {
    pid_t pid = IN_CHILD({
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            EXPECT_EQ(pthread_create(&thread, NULL, sleep_thread, NULL), 0);
        kill(getpid(), SIGTERM);
        sleep_forever();
    });
    EXPECT_KILLED(pid, SIGTERM);
}

CASE(running_loop_is_interrupted_by_a_signal) {
    tick(count_signal, 0);
    while (signals_seen < 3)
        ;
}

CASE(running_loop_without_calls_can_be_killed) {
    PIPE(ends);
    pid_t pid = IN_CHILD({
        announce(ends[1]);
        for (;;)
            __asm__ volatile("pause");
    });
    await(ends[0]);
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(many_ticks_do_not_disturb_a_computation) {
    struct itimerval every = {{0, 1000}, {0, 1000}};
    handle(SIGALRM, count_signal, SA_RESTART);
    OK(setitimer(ITIMER_REAL, &every, NULL));
    uint64_t sum = 0;
    double product = 1.0;
    for (uint64_t i = 0; i < 40000000; i++) {
        sum += i * i;
        product = product * 1.0000001;
    }
    stop_ticking();
    EXPECT(product > 54.59 && product < 54.60);
    uint64_t n = 40000000;
    EXPECT_EQ(sum, (uint64_t)((__uint128_t)(n - 1) * n * (2 * n - 1) / 6));
}

CASE(fatal_signal_ends_a_process_that_waits_for_its_vfork_child) {
    PIPE(hold);
    pid_t pid = IN_CHILD({
        pid_t child = vfork();
        if (child == 0) {
            char byte;
            kill(getppid(), SIGTERM);
            if (read(hold[0], &byte, 1) != 1)
                _exit(1);
            _exit(0);
        }
    });
    EXPECT_KILLED(pid, SIGTERM);
    announce(hold[1]);
}
