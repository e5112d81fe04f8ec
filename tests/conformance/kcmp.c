/* kcmp(2) */
#include "case.h"
#include <sys/sem.h>

static long kcmp(pid_t one, pid_t other, int type, unsigned long first, unsigned long second) {
    return syscall(SYS_kcmp, one, other, type, first, second);
}

CASE(kcmp_tells_whether_descriptors_are_one_file) {
    PIPE(ends);
    int copy = OK(dup(ends[0]));
    EXPECT_EQ(kcmp(getpid(), getpid(), 0, ends[0], copy), 0);
    long order = kcmp(getpid(), getpid(), 0, ends[0], ends[1]);
    EXPECT(order == 1 || order == 2);
    EXPECT_EQ(kcmp(getpid(), getpid(), 0, ends[1], ends[0]), 3 - order);
    pid_t parent = getpid();
    pid_t pid = IN_CHILD({
        NEEDS_ROOT();
        EXPECT_EQ(kcmp(getpid(), parent, 0, ends[0], copy), 0);
        EXPECT(kcmp(getpid(), parent, 1, 0, 0) > 0);
        EXPECT(kcmp(getpid(), parent, 2, 0, 0) > 0);
        EXPECT(kcmp(getpid(), parent, 3, 0, 0) > 0);
        EXPECT(kcmp(getpid(), parent, 4, 0, 0) > 0);
    });
    EXPECT(wait_for(pid) == 0 || geteuid() != 0);
}

CASE(kcmp_with_bad_arguments_fails) {
    EXPECT_EQ(kcmp(getpid(), getpid(), 1, 0, 0), 0);
    EXPECT_ERRNO(kcmp(getpid(), getpid(), 99, 0, 0), EINVAL);
    EXPECT_ERRNO(kcmp(getpid(), INT_MAX, 1, 0, 0), ESRCH);
    EXPECT_ERRNO(kcmp(getpid(), getpid(), 0, 0, 850), EBADF);
}

CASE(kcmp_finds_adjustments_of_semaphores_equal_until_there_are_some) {
    NEEDS_ROOT();
    pid_t parent = getpid();
    int set = OK(semget(IPC_PRIVATE, 1, 0600));
    pid_t pid = IN_CHILD({
        EXPECT_EQ(kcmp(getpid(), parent, 6, 0, 0), 0);
        OK(semop(set, &(struct sembuf){.sem_op = 1, .sem_flg = SEM_UNDO}, 1));
        EXPECT(kcmp(getpid(), parent, 6, 0, 0) > 0);
        EXPECT_EQ(kcmp(getpid(), getpid(), 6, 0, 0), 0);
    });
    EXPECT_EXIT(pid, 0);
    OK(semctl(set, 0, IPC_RMID));
}
