/* close(2), close_range(2) */
#include "case.h"
#include <linux/close_range.h>

static bool is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }

CASE(close_frees_the_descriptor) {
    int fd = OK(open("/dev/null", O_RDONLY));
    OK(close(fd));
    EXPECT_ERRNO(close(fd), EBADF);
    EXPECT_ERRNO(fcntl(fd, F_GETFD), EBADF);
}

CASE(close_of_a_bad_descriptor_returns_ebadf) {
    EXPECT_ERRNO(close(-1), EBADF);
    EXPECT_ERRNO(close(INT_MAX), EBADF);
}

CASE(close_of_the_last_writer_ends_the_pipe) {
    PIPE(ends);
    int copy = OK(dup(ends[1]));
    OK(close(ends[1]));
    struct pollfd poller = {ends[0], POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 0);
    OK(close(copy));
    char byte;
    EXPECT_EQ(read(ends[0], &byte, 1), 0);
}

CASE(close_of_an_o_path_descriptor_works) { OK(close(OK(open(".", O_PATH)))); }

CASE(close_range_closes_the_range_and_nothing_else) {
    int low = OK(fcntl(0, F_DUPFD, 50)), middle = OK(fcntl(0, F_DUPFD, 55)), high = OK(fcntl(0, F_DUPFD, 60));
    OK(syscall(SYS_close_range, 51, 59, 0));
    EXPECT(is_open(low));
    EXPECT(!is_open(middle));
    EXPECT(is_open(high));
}

CASE(close_range_to_the_end_works) {
    int fd = OK(fcntl(0, F_DUPFD, 50));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_close_range, 50, ~0U, 0));
        if (is_open(fd))
            _exit(1);
    });
    EXPECT_EXIT(pid, 0);
    EXPECT(is_open(fd));
}

CASE(close_range_with_cloexec_only_marks) {
    int fd = OK(fcntl(0, F_DUPFD, 50));
    OK(syscall(SYS_close_range, 50, 60, CLOSE_RANGE_CLOEXEC));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

CASE(close_range_with_unshare_leaves_the_other_owner_alone) {
    int fd = OK(fcntl(0, F_DUPFD, 50));
    pid_t pid = OK(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        OK(syscall(SYS_close_range, 50, 60, CLOSE_RANGE_UNSHARE));
        _exit(is_open(fd));
    }
    EXPECT_EXIT(pid, 0);
    EXPECT(is_open(fd));
}

CASE(close_range_of_a_reversed_range_or_unknown_flags_returns_einval) {
    EXPECT_ERRNO(syscall(SYS_close_range, 10, 9, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_close_range, 50, 60, 0x80), EINVAL);
}
