/* setpgid(2), getpgid(2), setsid(2), getsid(2), getpid(2), gettid(2) */
#include "case.h"

CASE(getpid_and_its_kin_agree_with_proc) {
    char self[16] = {0};
    OK(readlink("/proc/self", self, 15));
    EXPECT_EQ(syscall(SYS_getpid), atoi(self));
    EXPECT_EQ(syscall(SYS_gettid), getpid());
}

CASE(pids_of_children_grow_and_differ) {
    pid_t one = IN_CHILD({}), two = IN_CHILD({});
    EXPECT(one != two);
    EXPECT_EXIT(one, 0);
    EXPECT_EXIT(two, 0);
}

CASE(setpgid_makes_a_group_leader) {
    pid_t pid = IN_CHILD({
        OK(setpgid(0, 0));
        EXPECT_EQ(getpgrp(), getpid());
        EXPECT_EQ(getpgid(0), getpid());
        EXPECT_EQ(syscall(SYS_getpgrp), getpid());
    });
    EXPECT_EXIT(pid, 0);
}

CASE(setpgid_of_a_child_works_until_it_executes) {
    PIPE(ends);
    PIPE(hold);
    pid_t pid = IN_CHILD({
        OK(dup2(ends[1], 1));
        OK(dup2(hold[0], 0));
        close(hold[1]);
        await(0);
        execl(program_path, "program", "--helper", "announce_and_wait", NULL);
    });
    OK(setpgid(pid, pid));
    EXPECT_EQ(getpgid(pid), pid);
    announce(hold[1]);
    await(ends[0]);
    EXPECT_ERRNO(setpgid(pid, getpgrp()), EACCES);
    OK(close(hold[1]));
    EXPECT_EXIT(pid, 0);
}

HELPER(announce_and_wait) {
    (void)argc, (void)argv;
    announce(1);
    char byte;
    return read(0, &byte, 1) == 0 ? 0 : 1;
}

CASE(setpgid_with_bad_arguments_fails) {
    EXPECT_ERRNO(setpgid(INT_MAX, 0), ESRCH);
    EXPECT_ERRNO(setpgid(0, -1), EINVAL);
    EXPECT_ERRNO(setpgid(1, 0), ESRCH);
    pid_t pid = IN_CHILD({ EXPECT_ERRNO(setpgid(0, INT_MAX), EPERM); });
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(getpgid(INT_MAX), ESRCH);
}

CASE(setpgid_of_a_session_leader_returns_eperm) {
    pid_t pid = IN_CHILD({
        OK(setsid());
        EXPECT_ERRNO(setpgid(0, 0), EPERM);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(setpgid_into_another_session_returns_eperm) {
    PIPE(ends);
    PIPE(hold);
    pid_t leader = IN_CHILD({
        OK(setsid());
        announce(ends[1]);
        await(hold[0]);
    });
    await(ends[0]);
    pid_t pid = IN_CHILD({ EXPECT_ERRNO(setpgid(0, leader), EPERM); });
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(setpgid(leader, 0), EPERM);
    announce(hold[1]);
    EXPECT_EXIT(leader, 0);
}

CASE(setsid_makes_a_session_and_group) {
    pid_t pid = IN_CHILD({
        EXPECT_EQ(setsid(), getpid());
        EXPECT_EQ(getsid(0), getpid());
        EXPECT_EQ(getpgrp(), getpid());
        EXPECT_ERRNO(setsid(), EPERM);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(setsid_of_a_group_leader_returns_eperm) { EXPECT_ERRNO(setsid(), EPERM); }

CASE(getsid_of_a_child_is_the_own) {
    pid_t pid = IN_CHILD({ sleep_forever(); });
    EXPECT_EQ(getsid(pid), getsid(0));
    EXPECT_EQ(getpgid(pid), getpgrp());
    OK(kill(pid, SIGKILL));
    EXPECT_ERRNO(getsid(INT_MAX), ESRCH);
}
