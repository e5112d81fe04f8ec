/* semget(2), semop(2), semctl(2) */
#include "case.h"
#include <sys/sem.h>

static int set_id = -1;

static void remove_set(void) {
    if (set_id != -1)
        semctl(set_id, 0, IPC_RMID);
}

/* A set that goes when the case's process exits by itself; its children do not remove it. */
static int new_set(int count) { return set_id = OK(semget(IPC_PRIVATE, count, 0600)); }

static int operate(int id, int number, int change, int flags) {
    struct sembuf operation = {number, change, flags};
    return semop(id, &operation, 1);
}

CASE(semget_checks_its_count) {
    EXPECT_ERRNO(semget(IPC_PRIVATE, 0, 0600), EINVAL);
    EXPECT_ERRNO(semget(IPC_PRIVATE, -1, 0600), EINVAL);
    EXPECT_ERRNO(semget(0x5eed0002, 1, 0600), ENOENT);
}

CASE(semop_counts_up_and_down) {
    int id = new_set(2);
    EXPECT_EQ(operate(id, 1, 3, 0), 0);
    EXPECT_EQ(operate(id, 1, -2, 0), 0);
    EXPECT_EQ(semctl(id, 1, GETVAL), 1);
    EXPECT_EQ(semctl(id, 0, GETVAL), 0);
    EXPECT_EQ(semctl(id, 1, GETPID), getpid());
    EXPECT_ERRNO(operate(id, 1, -2, IPC_NOWAIT), EAGAIN);
    EXPECT_ERRNO(operate(id, 1, 0, IPC_NOWAIT), EAGAIN);
    EXPECT_EQ(operate(id, 0, 0, IPC_NOWAIT), 0);
    EXPECT_ERRNO(operate(id, 2, 1, 0), EFBIG);
    EXPECT_ERRNO(operate(id, 1, 32767, 0), ERANGE);
    remove_set();
}

CASE(semop_does_all_operations_or_none) {
    int id = new_set(2);
    struct sembuf operations[] = {{0, 1, 0}, {1, -1, IPC_NOWAIT}};
    EXPECT_ERRNO(semop(id, operations, 2), EAGAIN);
    EXPECT_EQ(semctl(id, 0, GETVAL), 0);
    EXPECT_ERRNO(semop(id, operations, 0), EINVAL);
    EXPECT_ERRNO(semop(id, operations, 501), E2BIG);
    EXPECT_ERRNO(semop(id, bad_page(), 1), EFAULT);
    EXPECT_ERRNO(semop(-1, operations, 1), EINVAL);
    remove_set();
}

CASE(semop_waits_until_the_value_is_there) {
    int id = new_set(1);
    pid_t pid = IN_CHILD({ EXPECT_EQ(operate(id, 0, -2, 0), 0); });
    while (semctl(id, 0, GETNCNT) != 1)
        sched_yield();
    EXPECT_EQ(operate(id, 0, 1, 0), 0);
    EXPECT_EQ(operate(id, 0, 1, 0), 0);
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(semctl(id, 0, GETVAL), 0);
    EXPECT_EQ(semctl(id, 0, GETNCNT), 0);
    remove_set();
}

CASE(semop_waits_for_zero) {
    int id = new_set(1);
    OK(semctl(id, 0, SETVAL, 1));
    pid_t pid = IN_CHILD({ EXPECT_EQ(operate(id, 0, 0, 0), 0); });
    while (semctl(id, 0, GETZCNT) != 1)
        sched_yield();
    EXPECT_EQ(operate(id, 0, -1, 0), 0);
    EXPECT_EXIT(pid, 0);
    remove_set();
}

CASE(semop_waiting_for_a_removed_set_returns_eidrm) {
    int id = new_set(1);
    pid_t pid = IN_CHILD({ EXPECT_ERRNO(operate(id, 0, -1, 0), EIDRM); });
    while (semctl(id, 0, GETNCNT) != 1)
        sched_yield();
    OK(semctl(id, 0, IPC_RMID));
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(operate(id, 0, 1, 0), EINVAL);
}

CASE(semop_is_not_restarted_after_a_signal) {
    int id = new_set(1);
    tick(count_signal, SA_RESTART);
    EXPECT_ERRNO(operate(id, 0, -1, 0), EINTR);
    stop_ticking();
    remove_set();
}

CASE(semtimedop_gives_up_after_its_timeout) {
    int id = new_set(1);
    struct sembuf operation = {0, -1, 0};
    struct timespec timeout = milliseconds(20), bad = {0, 1000000000};
    int64_t start = now_ns(CLOCK_MONOTONIC);
    EXPECT_ERRNO(semtimedop(id, &operation, 1, &timeout), EAGAIN);
    EXPECT(now_ns(CLOCK_MONOTONIC) - start >= 20000000);
    EXPECT_ERRNO(semtimedop(id, &operation, 1, &bad), EINVAL);
    remove_set();
}

CASE(semop_undo_takes_back_at_exit) {
    int id = new_set(1);
    OK(semctl(id, 0, SETVAL, 5));
    pid_t pid = IN_CHILD({
        EXPECT_EQ(operate(id, 0, -3, SEM_UNDO), 0);
        EXPECT_EQ(operate(id, 0, 1, SEM_UNDO), 0);
        EXPECT_EQ(semctl(id, 0, GETVAL), 3);
    });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(semctl(id, 0, GETVAL), 5);
    remove_set();
}

CASE(semctl_sets_and_gets_all_values) {
    int id = new_set(3);
    unsigned short values[3] = {1, 2, 3}, got[3] = {0};
    OK(semctl(id, 0, SETALL, values));
    OK(semctl(id, 0, GETALL, got));
    EXPECT_EQ(memcmp(values, got, sizeof values), 0);
    EXPECT_ERRNO(semctl(id, 0, SETVAL, 40000), ERANGE);
    EXPECT_ERRNO(semctl(id, 0, SETVAL, -1), ERANGE);
    EXPECT_ERRNO(semctl(id, 3, GETVAL), EINVAL);
    EXPECT_ERRNO(semctl(id, 0, GETALL, bad_page()), EFAULT);
    struct semid_ds status;
    OK(semctl(id, 0, IPC_STAT, &status));
    EXPECT_EQ(status.sem_nsems, 3);
    EXPECT_EQ(status.sem_perm.mode, 0600);
    remove_set();
}
