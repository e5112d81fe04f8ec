/* wait4(2), waitid(2), waitpid(2) */
#include "case.h"
#include <sys/syscall.h>

static pid_t exiting(int code) { return IN_CHILD({ _exit(code); }); }
static pid_t sleeping(void) { return IN_CHILD({ sleep_forever(); }); }

/* Waits until `pid` has ended, and leaves it waitable. */
static void until_dead(pid_t pid) {
    siginfo_t info;
    OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
}

CASE(wait4_returns_the_exit_status) {
    pid_t pid = exiting(42);
    int status;
    EXPECT_EQ(wait4(pid, &status, 0, NULL), pid);
    EXPECT(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 42);
}

CASE(wait4_keeps_eight_bits_of_the_status) {
    pid_t pid = exiting(0x1234);
    EXPECT_EXIT(pid, 0x34);
}

CASE(wait4_returns_the_killing_signal) {
    pid_t pid = sleeping();
    OK(kill(pid, SIGTERM));
    EXPECT_KILLED(pid, SIGTERM);
}

CASE(wait4_twice_returns_echild) {
    pid_t pid = exiting(0);
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(waitpid(pid, NULL, 0), ECHILD);
    EXPECT_ERRNO(waitpid(-1, NULL, 0), ECHILD);
    EXPECT_ERRNO(waitpid(-1, NULL, WNOHANG), ECHILD);
}

CASE(wait4_of_a_stranger_returns_echild) {
    pid_t pid = exiting(0);
    EXPECT_ERRNO(waitpid(1, NULL, 0), ECHILD);
    EXPECT_ERRNO(waitpid(getpid(), NULL, 0), ECHILD);
    EXPECT_EXIT(pid, 0);
}

CASE(wait4_of_any_child_returns_each_once) {
    int sum = 0;
    for (int i = 1; i <= 8; i *= 2)
        exiting(i);
    for (int i = 0; i < 4; i++) {
        int status;
        OK(waitpid(-1, &status, 0));
        sum += WEXITSTATUS(status);
    }
    EXPECT_EQ(sum, 15);
    EXPECT_ERRNO(waitpid(-1, NULL, 0), ECHILD);
}

CASE(wait4_nohang_returns_zero_while_the_child_runs) {
    pid_t pid = sleeping();
    int status = 77;
    EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
    EXPECT_EQ(status, 77);
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(wait4_by_process_group_selects) {
    pid_t one = sleeping(), two = sleeping();
    OK(setpgid(two, two));
    OK(kill(one, SIGKILL));
    OK(kill(two, SIGKILL));
    EXPECT_EQ(waitpid(-two, NULL, 0), two);
    EXPECT_ERRNO(waitpid(-two, NULL, 0), ECHILD);
    EXPECT_EQ(waitpid(0, NULL, 0), one);
}

CASE(wait4_is_interrupted_by_a_signal) {
    pid_t pid = sleeping();
    EXPECT_INTERRUPTED(waitpid(pid, NULL, 0));
}

static pid_t victim;

static void kill_on_third_tick(int signal) {
    count_signal(signal);
    if (signals_seen == 3)
        kill(victim, SIGKILL);
}

CASE(wait4_restarts_with_sa_restart) {
    victim = sleeping();
    tick(kill_on_third_tick, SA_RESTART);
    EXPECT_EQ(waitpid(victim, NULL, 0), victim);
}

CASE(wait4_reports_stop_and_continue_when_asked) {
    pid_t pid = sleeping();
    int status;
    OK(kill(pid, SIGSTOP));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    EXPECT(WIFSTOPPED(status));
    EXPECT_EQ(WSTOPSIG(status), SIGSTOP);
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0);
    OK(kill(pid, SIGCONT));
    EXPECT_EQ(waitpid(pid, &status, WCONTINUED), pid);
    EXPECT(WIFCONTINUED(status));
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(wait4_fills_in_the_usage) {
    pid_t pid = IN_CHILD({
        for (volatile long i = 0; i < 30000000; i++)
            ;
    });
    struct rusage usage;
    EXPECT_EQ(wait4(pid, NULL, 0, &usage), pid);
    EXPECT(usage.ru_utime.tv_sec > 0 || usage.ru_utime.tv_usec > 0);
}

CASE(wait4_with_bad_arguments_fails) {
    pid_t pid = exiting(0);
    EXPECT_ERRNO(waitpid(pid, NULL, 0x100), EINVAL);
    EXPECT_ERRNO(syscall(SYS_wait4, INT_MIN, NULL, 0, NULL), ESRCH);
    until_dead(pid);
    EXPECT_ERRNO(syscall(SYS_wait4, pid, bad_page(), 0, NULL), EFAULT);
}

CASE(waitid_describes_an_exit) {
    pid_t pid = exiting(42);
    siginfo_t info;
    OK(waitid(P_PID, pid, &info, WEXITED));
    EXPECT_EQ(info.si_signo, SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_EXITED);
    EXPECT_EQ(info.si_pid, pid);
    EXPECT_EQ(info.si_uid, getuid());
    EXPECT_EQ(info.si_status, 42);
}

CASE(waitid_describes_a_kill) {
    pid_t pid = sleeping();
    OK(kill(pid, SIGKILL));
    siginfo_t info;
    OK(waitid(P_PID, pid, &info, WEXITED));
    EXPECT_EQ(info.si_code, CLD_KILLED);
    EXPECT_EQ(info.si_status, SIGKILL);
}

CASE(waitid_nowait_leaves_the_child_waitable) {
    pid_t pid = exiting(3);
    siginfo_t info;
    OK(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT));
    EXPECT_EQ(info.si_pid, pid);
    EXPECT_EXIT(pid, 3);
}

CASE(waitid_nohang_without_news_clears_the_pid) {
    pid_t pid = sleeping();
    siginfo_t info;
    memset(&info, 0x7f, sizeof info);
    OK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG));
    EXPECT_EQ(info.si_pid, 0);
    EXPECT_EQ(info.si_signo, 0);
    OK(kill(pid, SIGKILL));
}

CASE(waitid_reports_stop_and_continue) {
    pid_t pid = sleeping();
    siginfo_t info;
    OK(kill(pid, SIGSTOP));
    OK(waitid(P_PID, pid, &info, WSTOPPED));
    EXPECT_EQ(info.si_code, CLD_STOPPED);
    EXPECT_EQ(info.si_status, SIGSTOP);
    OK(kill(pid, SIGCONT));
    OK(waitid(P_PID, pid, &info, WCONTINUED));
    EXPECT_EQ(info.si_code, CLD_CONTINUED);
    EXPECT_EQ(info.si_status, SIGCONT);
    OK(kill(pid, SIGKILL));
}

CASE(waitid_stopped_does_not_report_an_exit) {
    pid_t pid = exiting(0);
    until_dead(pid);
    siginfo_t info;
    EXPECT_ERRNO(waitid(P_PID, pid, &info, WSTOPPED | WNOHANG), ECHILD);
    EXPECT_EXIT(pid, 0);
}

CASE(waitid_by_group_and_pidfd_selects) {
    pid_t pid = sleeping();
    OK(setpgid(pid, pid));
    int pidfd = OK(syscall(SYS_pidfd_open, pid, 0));
    OK(kill(pid, SIGKILL));
    siginfo_t info;
    OK(waitid(P_PGID, pid, &info, WEXITED | WNOWAIT));
    EXPECT_EQ(info.si_pid, pid);
    OK(waitid(P_PIDFD, pidfd, &info, WEXITED));
    EXPECT_EQ(info.si_pid, pid);
}

CASE(waitid_with_bad_arguments_fails) {
    pid_t pid = exiting(0);
    siginfo_t info;
    EXPECT_ERRNO(waitid(P_PID, pid, &info, 0), EINVAL);
    EXPECT_ERRNO(waitid(P_PID, pid, &info, WEXITED | 0x100), EINVAL);
    EXPECT_ERRNO(waitid(99, pid, &info, WEXITED), EINVAL);
    EXPECT_ERRNO(waitid(P_PID, 0, &info, WEXITED), EINVAL);
    EXPECT_ERRNO(waitid(P_PIDFD, -1, &info, WEXITED), EINVAL);
    EXPECT_ERRNO(waitid(P_PIDFD, next_fd(), &info, WEXITED), EBADF);
    EXPECT_EXIT(pid, 0);
}

CASE(wait_with_sigchld_ignored_reaps_children_by_itself) {
    handle(SIGCHLD, SIG_IGN, 0);
    exiting(0);
    EXPECT_ERRNO(waitpid(-1, NULL, 0), ECHILD);
}

CASE(wait_with_sa_nocldwait_reaps_children_by_itself) {
    handle(SIGCHLD, count_signal, SA_NOCLDWAIT | SA_RESTART);
    exiting(0);
    EXPECT_ERRNO(waitpid(-1, NULL, 0), ECHILD);
}

CASE(a_zombie_can_be_signalled_and_has_its_group) {
    pid_t pid = exiting(0);
    until_dead(pid);
    OK(kill(pid, 0));
    OK(kill(pid, SIGTERM));
    EXPECT_EQ(getpgid(pid), getpgrp());
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(kill(pid, 0), ESRCH);
}

CASE(an_orphan_gets_another_parent) {
    PIPE(ready);
    PIPE(gone);
    pid_t parent = IN_CHILD({
        pid_t middle = getpid();
        IN_CHILD({
            announce(ready[1]);
            close(gone[1]);
            char byte;
            EXPECT_EQ(read(gone[0], &byte, 1), 0);
            while (getppid() == middle)
                sched_yield();
            announce(ready[1]);
        });
        await(ready[0]);
    });
    OK(close(gone[1]));
    EXPECT_EXIT(parent, 0);
    await(ready[0]);
}

CASE(waitid_that_fails_clears_what_it_would_report) {
    siginfo_t info;
    int options[] = {WEXITED, 0};
    int errors[] = {ECHILD, EINVAL};
    for (int i = 0; i < 2; i++) {
        memset(&info, 0x55, sizeof info);
        EXPECT_ERRNO(waitid(P_ALL, 0, &info, options[i]), errors[i]);
        EXPECT_EQ(info.si_signo, 0);
        EXPECT_EQ(info.si_code, 0);
        EXPECT_EQ(info.si_pid, 0);
        EXPECT_EQ(info.si_uid, 0);
        EXPECT_EQ(info.si_status, 0);
        /* The rest is left alone. */
        EXPECT_EQ(((unsigned char *)&info)[sizeof info - 1], 0x55);
    }
    EXPECT_ERRNO(waitid(P_ALL, 0, bad_page(), WEXITED), EFAULT);
}

CASE(waitid_of_a_nonblocking_pidfd_returns_eagain) {
    pid_t pid = sleeping();
    int pidfd = OK(syscall(SYS_pidfd_open, pid, O_NONBLOCK));
    siginfo_t info;
    EXPECT_ERRNO(waitid(P_PIDFD, pidfd, &info, WEXITED), EAGAIN);
    EXPECT_EQ(waitid(P_PIDFD, pidfd, &info, WEXITED | WNOHANG), 0);
    EXPECT_EQ(info.si_signo, 0);
    OK(kill(pid, SIGKILL));
    until_dead(pid);
    OK(waitid(P_PIDFD, pidfd, &info, WEXITED));
    EXPECT_EQ(info.si_pid, pid);
}
