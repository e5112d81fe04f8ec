/* fork(2), vfork(2) */
#include "case.h"

CASE(fork_returns_twice_with_the_right_pids) {
    pid_t parent = getpid();
    pid_t pid = IN_CHILD({
        EXPECT(getpid() != parent);
        EXPECT_EQ(getppid(), parent);
    });
    EXPECT(pid > 0 && pid != parent);
    EXPECT_EXIT(pid, 0);
}

static int global = 1;

CASE(fork_copies_all_memory) {
    int local = 2, *heap = malloc(sizeof *heap);
    *heap = 3;
    pid_t pid = IN_CHILD({
        EXPECT(global == 1 && local == 2 && *heap == 3);
        global = local = *heap = 10;
    });
    EXPECT_EXIT(pid, 0);
    EXPECT(global == 1 && local == 2 && *heap == 3);
}

CASE(fork_copies_the_descriptor_table) {
    int fd = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    pid_t pid = IN_CHILD({
        EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
        OK(close(fd));
    });
    EXPECT_EXIT(pid, 0);
    OK(fcntl(fd, F_GETFD));
}

CASE(fork_keeps_handlers_and_mask_but_not_pending_signals) {
    handle(SIGUSR1, count_signal, 0);
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(kill(getpid(), SIGUSR1));
    pid_t pid = IN_CHILD({
        OK(sigpending(&pending));
        EXPECT(!sigismember(&pending, SIGUSR1));
        OK(kill(getpid(), SIGUSR1));
        OK(sigpending(&pending));
        EXPECT(sigismember(&pending, SIGUSR1));
        OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
        EXPECT_EQ(signals_seen, 1);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fork_does_not_inherit_timers_and_alarms) {
    OK(alarm(1000));
    pid_t pid = IN_CHILD({ EXPECT_EQ(alarm(0), 0); });
    EXPECT_EXIT(pid, 0);
    EXPECT(alarm(0) > 900);
}

CASE(fork_resets_times) {
    pid_t pid = IN_CHILD({
        struct rusage usage;
        OK(getrusage(RUSAGE_CHILDREN, &usage));
        EXPECT(usage.ru_utime.tv_sec == 0 && usage.ru_utime.tv_usec == 0);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fork_keeps_registers_of_floating_point) {
    double value = 1.5;
    __asm__ volatile("movsd %0, %%xmm9" : : "m"(value) : "xmm9");
    long pid;
    __asm__ volatile("syscall" : "=a"(pid) : "a"(SYS_fork) : "rcx", "r11", "memory");
    double after;
    __asm__ volatile("movsd %%xmm9, %0" : "=m"(after));
    if (pid == 0)
        _exit(after == 1.5 ? 0 : 1);
    EXPECT(after == 1.5);
    EXPECT_EXIT(pid, 0);
}

CASE(fork_a_hundred_children_at_once) {
    PIPE(hold);
    pid_t pids[100];
    for (int i = 0; i < 100; i++) {
        pids[i] = OK(fork());
        if (pids[i] == 0) {
            close(hold[1]);
            char byte;
            _exit(read(hold[0], &byte, 1) == 0 ? i : 255);
        }
    }
    OK(close(hold[1]));
    for (int i = 0; i < 100; i++)
        EXPECT_EXIT(pids[i], i);
}

CASE(fork_beyond_the_process_limit_returns_eagain) {
    NEEDS_ROOT();
    pid_t pid = IN_CHILD({
        struct rlimit limit = {1, 1};
        OK(syscall(SYS_setresuid, 54321, 54321, 54321));
        OK(setrlimit(RLIMIT_NPROC, &limit));
        EXPECT_ERRNO(syscall(SYS_fork), EAGAIN);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(vfork_shares_memory_until_exit) {
    volatile int shared = 1;
    pid_t pid = vfork();
    if (pid == 0) {
        shared = 2;
        _exit(5);
    }
    EXPECT_EQ(shared, 2);
    EXPECT_EXIT(pid, 5);
}

CASE(vfork_suspends_the_parent_until_exec) {
    PIPE(ends);
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(ends[1], 1);
        execl(program_path, "program", "--helper", "announce_now", NULL);
        _exit(1);
    }
    OK(close(ends[1]));
    await(ends[0]);
    EXPECT_EXIT(pid, 0);
}

HELPER(announce_now) { return write(1, "!", 1) == 1 ? 0 : 1; }

CASE(many_copies_make_the_same_calls_and_so_does_the_original_after_them) {
    for (int i = 0; i < 40; i++) {
        pid_t parent = getpid();
        int ends[2], status = 0;
        OK(pipe(ends));
        pid_t pid = fork();
        OK(pid);
        if (pid == 0) {
            /* By instructions that the parent has not used before. */
            EXPECT_EQ(syscall(SYS_getppid), parent);
            EXPECT_EQ(umask(i), 022);
            pid_t own = syscall(SYS_getpid);
            EXPECT_EQ(write(ends[1], &own, sizeof own), sizeof own);
            EXPECT_ERRNO(fchdir(OK(dup(ends[1]))), ENOTDIR);
            _exit(i);
        }
        pid_t told;
        EXPECT_EQ(read(ends[0], &told, sizeof told), sizeof told);
        EXPECT_EQ(told, pid);
        EXPECT_EQ(waitpid(pid, &status, 0), pid);
        EXPECT_EQ(status, i << 8);
        OK(close(ends[0]));
        OK(close(ends[1]));
    }
    EXPECT_EQ(syscall(SYS_getpid), getpid());
    EXPECT_EQ(umask(022), 022);
    EXPECT_ERRNO(fchdir(-1), EBADF);
}
