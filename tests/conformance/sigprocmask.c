/* rt_sigprocmask(2), rt_sigpending(2), rt_sigsuspend(2), rt_sigtimedwait(2) */
#include "case.h"

static sigset_t set_of(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

CASE(sigprocmask_blocks_unblocks_and_sets) {
    sigset_t usr1 = set_of(SIGUSR1), usr2 = set_of(SIGUSR2), old;
    OK(sigprocmask(SIG_BLOCK, &usr1, NULL));
    OK(sigprocmask(SIG_BLOCK, &usr2, &old));
    EXPECT(sigismember(&old, SIGUSR1) && !sigismember(&old, SIGUSR2));
    OK(sigprocmask(SIG_UNBLOCK, &usr1, &old));
    EXPECT(sigismember(&old, SIGUSR2));
    OK(sigprocmask(SIG_SETMASK, &usr1, &old));
    EXPECT(!sigismember(&old, SIGUSR1) && sigismember(&old, SIGUSR2));
}

CASE(sigprocmask_cannot_block_kill_and_stop) {
    sigset_t all, old;
    memset(&all, 0xff, sizeof all);
    OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8));
    OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &old, 8));
    EXPECT(!sigismember(&old, SIGKILL) && !sigismember(&old, SIGSTOP));
    EXPECT(sigismember(&old, SIGTERM));
}

CASE(sigprocmask_with_bad_arguments_fails) {
    sigset_t set = set_of(SIGUSR1);
    EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, 77, &set, NULL, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad_page(), NULL, 8), EFAULT);
    EXPECT_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad_page(), 8), EFAULT);
    OK(syscall(SYS_rt_sigprocmask, 77, NULL, NULL, 8));
}

CASE(unblocking_delivers_before_the_call_returns) {
    sigset_t set = set_of(SIGUSR1);
    handle(SIGUSR1, count_signal, 0);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(raise(SIGUSR1));
    EXPECT_EQ(signals_seen, 0);
    OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    EXPECT_EQ(signals_seen, 1);
}

CASE(sigpending_shows_thread_and_process_signals) {
    sigset_t set = set_of(SIGUSR1), pending;
    sigaddset(&set, SIGUSR2);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(kill(getpid(), SIGUSR1));
    OK(tgkill(getpid(), gettid(), SIGUSR2));
    OK(sigpending(&pending));
    EXPECT(sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGUSR2));
    EXPECT(!sigismember(&pending, SIGHUP));
    EXPECT_ERRNO(syscall(SYS_rt_sigpending, bad_page(), 8), EFAULT);
    EXPECT_ERRNO(syscall(SYS_rt_sigpending, &pending, 16), EINVAL);
}

CASE(sigsuspend_waits_with_another_mask_and_restores_the_old) {
    sigset_t set = set_of(SIGUSR1), none, mask;
    sigemptyset(&none);
    handle(SIGUSR1, count_signal, SA_RESTART);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    pid_t parent = getpid();
    pid_t pid = IN_CHILD({ OK(kill(parent, SIGUSR1)); });
    EXPECT_ERRNO(sigsuspend(&none), EINTR);
    EXPECT_EQ(signals_seen, 1);
    OK(sigprocmask(SIG_BLOCK, NULL, &mask));
    EXPECT(sigismember(&mask, SIGUSR1));
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(syscall(SYS_rt_sigsuspend, bad_page(), 8), EFAULT);
    EXPECT_ERRNO(syscall(SYS_rt_sigsuspend, &none, 4), EINVAL);
}

CASE(pause_returns_eintr) { EXPECT_INTERRUPTED(pause()); }

CASE(sigtimedwait_takes_a_pending_signal_without_its_handler) {
    sigset_t set = set_of(SIGUSR1);
    handle(SIGUSR1, count_signal, 0);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 99}));
    siginfo_t info;
    struct timespec zero = {0, 0};
    EXPECT_EQ(sigtimedwait(&set, &info, &zero), SIGUSR1);
    EXPECT_EQ(info.si_value.sival_int, 99);
    EXPECT_EQ(info.si_code, SI_QUEUE);
    EXPECT_EQ(signals_seen, 0);
    EXPECT_ERRNO(sigtimedwait(&set, &info, &zero), EAGAIN);
}

CASE(sigtimedwait_times_out) {
    sigset_t set = set_of(SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    struct timespec time = milliseconds(20);
    int64_t before = now_ns(CLOCK_MONOTONIC);
    EXPECT_ERRNO(sigtimedwait(&set, NULL, &time), EAGAIN);
    EXPECT(now_ns(CLOCK_MONOTONIC) - before >= 20000000);
}

CASE(sigwaitinfo_waits_for_another_process) {
    sigset_t set = set_of(SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    pid_t parent = getpid();
    pid_t pid = IN_CHILD({ OK(kill(parent, SIGUSR1)); });
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGUSR1);
    EXPECT_EQ(info.si_pid, pid);
    EXPECT_EXIT(pid, 0);
}

CASE(sigwaitinfo_is_interrupted_by_other_signals) {
    sigset_t set = set_of(SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    tick(count_signal, SA_RESTART);
    EXPECT_ERRNO(sigwaitinfo(&set, NULL), EINTR);
}

CASE(sigtimedwait_with_bad_arguments_fails) {
    sigset_t set = set_of(SIGUSR1);
    struct timespec time = {0, 1000000000};
    EXPECT_ERRNO(syscall(SYS_rt_sigtimedwait, &set, NULL, &time, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 4), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigtimedwait, bad_page(), NULL, NULL, 8), EFAULT);
    EXPECT_ERRNO(syscall(SYS_rt_sigtimedwait, &set, NULL, bad_page(), 8), EFAULT);
}
