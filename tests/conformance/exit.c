/* exit(2), exit_group(2) */
#include "case.h"

CASE(exit_closes_descriptors) {
    PIPE(ends);
    pid_t pid = IN_CHILD({});
    OK(close(ends[1]));
    char byte;
    EXPECT_EQ(read(ends[0], &byte, 1), 0);
    EXPECT_EXIT(pid, 0);
}

CASE(exit_sends_sigchld_to_the_parent) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    pid_t pid = IN_CHILD({ _exit(6); });
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    EXPECT_EQ(info.si_pid, pid);
    EXPECT_EQ(info.si_code, CLD_EXITED);
    EXPECT_EQ(info.si_status, 6);
    EXPECT_EXIT(pid, 6);
}

CASE(exit_of_a_session_leader_hangs_up_nobody_without_a_terminal) {
    PIPE(ready);
    PIPE(hold);
    pid_t pid = IN_CHILD({
        OK(setsid());
        IN_CHILD({
            close(hold[1]);
            char byte;
            EXPECT_EQ(read(hold[0], &byte, 1), 0);
            announce(ready[1]);
        });
    });
    EXPECT_EXIT(pid, 0);
    OK(close(hold[1]));
    await(ready[0]);
}

CASE(exit_of_the_last_parent_hangs_up_a_stopped_orphaned_group) {
    PIPE(ready);
    pid_t pid = IN_CHILD({
        OK(setsid());
        pid_t child = IN_CHILD({
            OK(setpgid(0, 0));
            handle(SIGHUP, count_signal, 0);
            announce(ready[1]);
            OK(raise(SIGSTOP));
            while (signals_seen == 0)
                sched_yield();
            announce(ready[1]);
        });
        await(ready[0]);
        int status;
        EXPECT_EQ(waitpid(child, &status, WUNTRACED), child);
    });
    EXPECT_EXIT(pid, 0);
    await(ready[0]);
}

CASE(exit_status_of_a_core_dumping_signal_has_the_core_bit_clear_without_a_core) {
    struct rlimit limit = {0, 0};
    OK(setrlimit(RLIMIT_CORE, &limit));
    pid_t pid = IN_CHILD({ abort(); });
    EXPECT_EQ(wait_for(pid), SIGABRT);
}
