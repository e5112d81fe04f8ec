/* fcntl(2): record locks of processes and of open files; flock(2) */
#include "case.h"
#include <sys/file.h>

static struct flock range(int type, off_t start, off_t length) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static int lock(int fd, int command, int type, off_t start, off_t length) {
    struct flock wanted = range(type, start, length);
    return fcntl(fd, command, &wanted);
}

static int open_file(void) { return OK(open("f", O_RDWR | O_CREAT, 0600)); }

CASE(fcntl_lock_conflicts_between_processes) {
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    pid_t pid = IN_CHILD({
        EXPECT_ERRNO(lock(fd, F_SETLK, F_RDLCK, 5, 1), EAGAIN);
        EXPECT_ERRNO(lock(fd, F_SETLK, F_WRLCK, 9, 5), EAGAIN);
        OK(lock(fd, F_SETLK, F_WRLCK, 10, 5));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_read_locks_are_shared) {
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_RDLCK, 0, 0));
    pid_t pid = IN_CHILD({
        OK(lock(fd, F_SETLK, F_RDLCK, 0, 0));
        EXPECT_ERRNO(lock(fd, F_SETLK, F_WRLCK, 0, 1), EAGAIN);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_getlk_describes_the_lock_in_the_way) {
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 3, 7));
    pid_t holder = getpid();
    pid_t pid = IN_CHILD({
        struct flock found = range(F_RDLCK, 0, 100);
        OK(fcntl(fd, F_GETLK, &found));
        EXPECT_EQ(found.l_type, F_WRLCK);
        EXPECT_EQ(found.l_whence, SEEK_SET);
        EXPECT_EQ(found.l_start, 3);
        EXPECT_EQ(found.l_len, 7);
        EXPECT_EQ(found.l_pid, holder);
        found = range(F_RDLCK, 20, 5);
        OK(fcntl(fd, F_GETLK, &found));
        EXPECT_EQ(found.l_type, F_UNLCK);
        EXPECT_EQ(found.l_start, 20);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_own_locks_never_conflict_and_are_replaced) {
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    OK(lock(fd, F_SETLK, F_RDLCK, 0, 10));
    pid_t pid = IN_CHILD({ OK(lock(fd, F_SETLK, F_RDLCK, 0, 10)); });
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_unlocking_the_middle_splits_the_lock) {
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    OK(lock(fd, F_SETLK, F_UNLCK, 4, 2));
    pid_t pid = IN_CHILD({
        OK(lock(fd, F_SETLK, F_WRLCK, 4, 2));
        EXPECT_ERRNO(lock(fd, F_SETLK, F_WRLCK, 3, 1), EAGAIN);
        EXPECT_ERRNO(lock(fd, F_SETLK, F_WRLCK, 6, 1), EAGAIN);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_locks_go_when_any_descriptor_of_the_file_is_closed) {
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
    OK(close(open_file()));
    pid_t pid = IN_CHILD({ OK(lock(fd, F_SETLK, F_WRLCK, 0, 0)); });
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_locks_go_with_the_process) {
    int fd = open_file();
    pid_t pid = IN_CHILD({ OK(lock(fd, F_SETLK, F_WRLCK, 0, 0)); });
    EXPECT_EXIT(pid, 0);
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
}

CASE(fcntl_locks_are_not_inherited_by_fork) {
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
    pid_t pid = IN_CHILD({
        struct flock found = range(F_WRLCK, 0, 0);
        OK(fcntl(fd, F_GETLK, &found));
        EXPECT_EQ(found.l_pid, getppid());
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_setlkw_waits_for_the_other_process) {
    int fd = open_file();
    PIPE(locked);
    PIPE(release);
    pid_t pid = IN_CHILD({
        OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
        announce(locked[1]);
        await(release[0]);
    });
    await(locked[0]);
    EXPECT_INTERRUPTED(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
    announce(release[1]);
    OK(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_setlkw_of_two_processes_that_wait_for_each_other_returns_edeadlk) {
    int fd = open_file();
    PIPE(locked);
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t pid = IN_CHILD({
        OK(lock(fd, F_SETLK, F_WRLCK, 1, 1));
        announce(locked[1]);
        int result = lock(fd, F_SETLKW, F_WRLCK, 0, 1);
        _exit(result == 0 ? 10 : errno == EDEADLK ? 20 : 30);
    });
    await(locked[0]);
    int result = lock(fd, F_SETLKW, F_WRLCK, 1, 1), error = errno;
    OK(lock(fd, F_SETLK, F_UNLCK, 0, 1));
    int status = wait_for(pid);
    EXPECT(WIFEXITED(status));
    if (result == 0)
        EXPECT_EQ(WEXITSTATUS(status), 20);
    else {
        EXPECT_EQ(error, EDEADLK);
        EXPECT_EQ(WEXITSTATUS(status), 10);
    }
}

/* The pattern of ctdb's ping_pong: the next byte is taken before the last one is released. */
static void ping_pong(int rounds) {
    int fd = open_file();
    OK(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
    for (int round = 0; round < rounds; round++) {
        OK(lock(fd, F_SETLKW, F_WRLCK, (round + 1) % 3, 1));
        OK(lock(fd, F_SETLK, F_UNLCK, round % 3, 1));
    }
}

CASE(fcntl_setlkw_of_two_processes_that_hand_on_locks_is_no_deadlock) {
    pid_t one = IN_CHILD({ ping_pong(500); });
    pid_t other = IN_CHILD({ ping_pong(500); });
    EXPECT_EXIT(one, 0);
    EXPECT_EXIT(other, 0);
}

CASE(fcntl_lock_needs_the_matching_access_mode) {
    make_file("f", "");
    int reader = OK(open("f", O_RDONLY)), writer = OK(open("f", O_WRONLY));
    EXPECT_ERRNO(lock(reader, F_SETLK, F_WRLCK, 0, 0), EBADF);
    EXPECT_ERRNO(lock(writer, F_SETLK, F_RDLCK, 0, 0), EBADF);
    OK(lock(reader, F_SETLK, F_RDLCK, 0, 0));
}

CASE(fcntl_lock_of_a_bad_range_or_type_returns_einval) {
    int fd = open_file();
    EXPECT_ERRNO(lock(fd, F_SETLK, F_WRLCK, -1, 1), EINVAL);
    EXPECT_ERRNO(lock(fd, F_SETLK, 77, 0, 1), EINVAL);
    struct flock wanted = {.l_type = F_WRLCK, .l_whence = 9};
    EXPECT_ERRNO(fcntl(fd, F_SETLK, &wanted), EINVAL);
    EXPECT_ERRNO(fcntl(fd, F_SETLK, bad_page()), EFAULT);
}

CASE(fcntl_lock_of_negative_length_lies_before_the_start) {
    int fd = open_file();
    OK(lock(fd, F_SETLK, F_WRLCK, 10, -4));
    pid_t pid = IN_CHILD({
        struct flock found = range(F_WRLCK, 0, 0);
        OK(fcntl(fd, F_GETLK, &found));
        EXPECT_EQ(found.l_start, 6);
        EXPECT_EQ(found.l_len, 4);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(ofd_locks_conflict_between_opens_of_one_process) {
    int one = open_file(), two = open_file();
    OK(lock(one, F_OFD_SETLK, F_WRLCK, 0, 0));
    EXPECT_ERRNO(lock(two, F_OFD_SETLK, F_WRLCK, 0, 0), EAGAIN);
    struct flock found = range(F_WRLCK, 0, 0);
    OK(fcntl(two, F_OFD_GETLK, &found));
    EXPECT_EQ(found.l_type, F_WRLCK);
    EXPECT_EQ(found.l_pid, -1);
}

CASE(ofd_locks_are_shared_with_duplicates_and_children) {
    int fd = open_file();
    OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0));
    OK(lock(OK(dup(fd)), F_OFD_SETLK, F_WRLCK, 0, 0));
    pid_t pid = IN_CHILD({ OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0)); });
    EXPECT_EXIT(pid, 0);
}

CASE(ofd_locks_go_with_the_last_duplicate) {
    int one = open_file(), two = open_file(), copy = OK(dup(one));
    OK(lock(one, F_OFD_SETLK, F_WRLCK, 0, 0));
    OK(close(one));
    EXPECT_ERRNO(lock(two, F_OFD_SETLK, F_WRLCK, 0, 0), EAGAIN);
    OK(close(copy));
    OK(lock(two, F_OFD_SETLK, F_WRLCK, 0, 0));
}

CASE(ofd_locks_want_a_zero_pid) {
    int fd = open_file();
    struct flock wanted = range(F_WRLCK, 0, 0);
    wanted.l_pid = 1;
    EXPECT_ERRNO(fcntl(fd, F_OFD_SETLK, &wanted), EINVAL);
}

CASE(ofd_and_process_locks_conflict) {
    int one = open_file(), two = open_file();
    OK(lock(one, F_OFD_SETLK, F_WRLCK, 0, 0));
    EXPECT_ERRNO(lock(two, F_SETLK, F_RDLCK, 0, 0), EAGAIN);
}

CASE(flock_conflicts_between_opens) {
    int one = open_file(), two = open_file();
    OK(flock(one, LOCK_EX));
    EXPECT_ERRNO(flock(two, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    EXPECT_ERRNO(flock(two, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    OK(flock(one, LOCK_SH));
    OK(flock(two, LOCK_SH | LOCK_NB));
    OK(flock(one, LOCK_UN));
    OK(flock(two, LOCK_EX | LOCK_NB));
}

CASE(flock_is_interrupted_by_a_signal) {
    int one = open_file(), two = open_file();
    OK(flock(one, LOCK_EX));
    EXPECT_INTERRUPTED(flock(two, LOCK_EX));
}

CASE(flock_goes_with_the_last_duplicate) {
    int one = open_file(), two = open_file(), copy = OK(dup(one));
    OK(flock(one, LOCK_EX));
    OK(close(one));
    EXPECT_ERRNO(flock(two, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    OK(close(copy));
    OK(flock(two, LOCK_EX | LOCK_NB));
}

CASE(flock_and_record_locks_are_independent) {
    int one = open_file(), two = open_file();
    OK(flock(one, LOCK_EX));
    OK(lock(two, F_SETLK, F_WRLCK, 0, 0));
}

CASE(flock_of_a_bad_operation_or_descriptor_fails) {
    EXPECT_ERRNO(flock(open_file(), 0x40), EINVAL);
    EXPECT_ERRNO(flock(-1, LOCK_EX), EBADF);
}

/* Locks and unlocks the file often, and leaves a write lock on bytes 5 to 9. */
static void lock_often(int fd) {
    for (int round = 0; round < 60; round++) {
        OK(lock(fd, F_SETLK, F_RDLCK, round, 3));
        OK(lock(fd, F_SETLK, F_WRLCK, 5, 10));
        OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    }
    OK(lock(fd, F_SETLK, F_WRLCK, 5, 10));
    OK(lock(fd, F_SETLK, F_UNLCK, 10, 5));
}

CASE(fcntl_lock_is_seen_at_once_by_who_opens_the_file) {
    volatile int *turn = map_shared(PAGE_SIZE);
    pid_t holder = getpid();
    pid_t pid = IN_CHILD({
        for (int round = 1; round < 16; round += 2) {
            await_value(turn, round);
            int fd = open_file();
            EXPECT_ERRNO(lock(fd, F_SETLK, F_RDLCK, 0, 0), EAGAIN);
            OK(lock(fd, F_SETLK, F_WRLCK, 10, 5));
            struct flock found = range(F_RDLCK, 0, 100);
            OK(fcntl(fd, F_GETLK, &found));
            EXPECT_EQ(found.l_start, 5);
            EXPECT_EQ(found.l_len, 5);
            EXPECT_EQ(found.l_pid, holder);
            OK(close(fd));
            *turn = round + 1;
        }
    });
    int fd = open_file();
    for (int round = 1; round < 16; round += 2) {
        lock_often(fd);
        *turn = round;
        await_value(turn, round + 1);
    }
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_unlock_is_seen_at_once_by_who_opens_the_file) {
    volatile int *turn = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({
        await_value(turn, 1);
        int fd = open_file();
        OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
        *turn = 2;
        await_value(turn, 3);
    });
    int fd = open_file();
    lock_often(fd);
    OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    *turn = 1;
    await_value(turn, 2);
    EXPECT_ERRNO(lock(fd, F_SETLK, F_RDLCK, 3, 1), EAGAIN);
    *turn = 3;
    EXPECT_EXIT(pid, 0);
    OK(lock(fd, F_SETLK, F_RDLCK, 3, 1));
}

CASE(fcntl_locks_of_a_busy_process_are_not_inherited_by_fork) {
    int fd = open_file();
    lock_often(fd);
    pid_t pid = IN_CHILD({
        EXPECT_ERRNO(lock(fd, F_SETLK, F_RDLCK, 9, 1), EAGAIN);
        OK(lock(fd, F_SETLK, F_RDLCK, 10, 1));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_locks_of_a_busy_process_go_when_a_duplicate_is_closed) {
    int fd = open_file();
    lock_often(fd);
    OK(close(OK(dup(fd))));
    pid_t pid = IN_CHILD({ OK(lock(fd, F_SETLK, F_WRLCK, 0, 0)); });
    EXPECT_EXIT(pid, 0);
    lock_often(fd);
    OK(close(open_file()));
    pid = IN_CHILD({ OK(lock(fd, F_SETLK, F_WRLCK, 0, 0)); });
    EXPECT_EXIT(pid, 0);
}

HELPER(locked) {
    (void)argc;
    int fd = atoi(argv[0]);
    pid_t pid = IN_CHILD({ EXPECT_ERRNO(lock(fd, F_SETLK, F_RDLCK, 0, 0), EAGAIN); });
    EXPECT_EXIT(pid, 0);
    return 0;
}

CASE(fcntl_locks_of_a_busy_process_survive_execve) {
    pid_t pid = IN_CHILD({
        int fd = open_file();
        lock_often(fd);
        char number[16];
        snprintf(number, sizeof number, "%d", fd);
        execl(program_path, program_path, "--helper", "locked", number, NULL);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fcntl_lock_of_a_bad_range_fails_in_a_busy_process_too) {
    int fd = open_file();
    lock_often(fd);
    EXPECT_ERRNO(lock(fd, F_SETLK, F_RDLCK, -1, 0), EINVAL);
    EXPECT_ERRNO(lock(fd, F_SETLK, 77, 0, 0), EINVAL);
    EXPECT_ERRNO(lock(fd, F_SETLK, F_RDLCK, INT64_MAX, INT64_MAX), EOVERFLOW);
    EXPECT_ERRNO(fcntl(fd, F_SETLK, bad_page()), EFAULT);
    OK(lock(fd, F_SETLK, F_RDLCK, INT64_MAX, 1));
    struct flock before = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = 30, .l_len = -10};
    OK(fcntl(fd, F_SETLK, &before));
    pid_t pid = IN_CHILD({
        OK(lock(fd, F_SETLK, F_RDLCK, 19, 1));
        EXPECT_ERRNO(lock(fd, F_SETLK, F_RDLCK, 20, 1), EAGAIN);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(ofd_lock_and_lock_of_the_same_busy_process_conflict) {
    int fd = open_file();
    lock_often(fd);
    OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 5));
    EXPECT_ERRNO(lock(fd, F_SETLK, F_RDLCK, 0, 1), EAGAIN);
    OK(lock(fd, F_SETLK, F_RDLCK, 5, 1));
}

CASE(fcntl_thousands_of_locks_of_a_busy_process_all_hold) {
    int fd = open_file();
    lock_often(fd);
    OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    for (int number = 0; number < 3000; number++)
        OK(lock(fd, F_SETLK, number % 2 ? F_WRLCK : F_RDLCK, 3 * number, 2));
    pid_t pid = IN_CHILD({
        for (int number = 0; number < 3000; number += 100) {
            struct flock found = range(F_WRLCK, 3 * number, 3);
            OK(fcntl(fd, F_GETLK, &found));
            EXPECT_EQ(found.l_type, number % 2 ? F_WRLCK : F_RDLCK);
            EXPECT_EQ(found.l_start, 3 * number);
            EXPECT_EQ(found.l_len, 2);
            OK(lock(fd, F_SETLK, F_WRLCK, 3 * number + 2, 1));
        }
    });
    EXPECT_EXIT(pid, 0);
}
