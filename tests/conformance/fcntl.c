/* fcntl(2): descriptors, flags, pipes */
#include "case.h"

#include <sys/ioctl.h>

CASE(fcntl_dupfd_returns_the_lowest_from_the_bound) {
    EXPECT_EQ(fcntl(0, F_DUPFD, 100), 100);
    EXPECT_EQ(fcntl(0, F_DUPFD, 100), 101);
    EXPECT_EQ(fcntl(101, F_GETFD), 0);
}

CASE(fcntl_dupfd_cloexec_sets_the_flag) {
    EXPECT_EQ(fcntl(0, F_DUPFD_CLOEXEC, 100), 100);
    EXPECT_EQ(fcntl(100, F_GETFD), FD_CLOEXEC);
}

CASE(fcntl_dupfd_beyond_the_limit_returns_einval) {
    struct rlimit limit = {100, 100};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    EXPECT_ERRNO(fcntl(0, F_DUPFD, 100), EINVAL);
    EXPECT_ERRNO(fcntl(0, F_DUPFD, -1), EINVAL);
    OK(fcntl(0, F_DUPFD, 99));
    EXPECT_ERRNO(fcntl(0, F_DUPFD, 99), EMFILE);
}

CASE(fcntl_setfd_changes_only_cloexec) {
    int fd = OK(dup(0));
    OK(fcntl(fd, F_SETFD, FD_CLOEXEC | 0x10));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    OK(fcntl(fd, F_SETFD, 0));
    EXPECT_EQ(fcntl(fd, F_GETFD), 0);
}

CASE(fcntl_setfl_cannot_change_the_access_mode) {
    int fd = OK(open("/dev/null", O_RDONLY));
    OK(fcntl(fd, F_SETFL, O_RDWR | O_APPEND));
    EXPECT_EQ(fcntl(fd, F_GETFL) & ~0100000, O_RDONLY | O_APPEND);
    OK(fcntl(fd, F_SETFL, 0));
    EXPECT_EQ(fcntl(fd, F_GETFL) & ~0100000, O_RDONLY);
}

CASE(fcntl_nonblock_makes_reads_return_eagain) {
    PIPE(ends);
    OK(fcntl(ends[0], F_SETFL, O_NONBLOCK));
    char byte;
    EXPECT_ERRNO(read(ends[0], &byte, 1), EAGAIN);
}

CASE(fcntl_append_set_later_counts) {
    make_file("f", "one");
    int fd = OK(open("f", O_WRONLY));
    OK(fcntl(fd, F_SETFL, O_APPEND));
    EXPECT_EQ(write(fd, "two", 3), 3);
    EXPECT_STR(file_content("f"), "onetwo");
}

CASE(fcntl_pipe_size_is_rounded_up_to_a_power_of_two_pages) {
    PIPE(ends);
    EXPECT_EQ(fcntl(ends[0], F_GETPIPE_SZ), 65536);
    EXPECT_EQ(fcntl(ends[0], F_SETPIPE_SZ, 5000), 8192);
    EXPECT_EQ(fcntl(ends[1], F_GETPIPE_SZ), 8192);
    EXPECT_EQ(fcntl(ends[0], F_SETPIPE_SZ, 1), 4096);
}

CASE(fcntl_pipe_size_below_the_content_returns_ebusy) {
    PIPE(ends);
    char *data = map(8192);
    EXPECT_EQ(write(ends[1], data, 8192), 8192);
    EXPECT_ERRNO(fcntl(ends[1], F_SETPIPE_SZ, 4096), EBUSY);
}

CASE(fcntl_pipe_size_of_a_file_returns_ebadf) {
    make_file("f", "");
    EXPECT_ERRNO(fcntl(OK(open("f", O_RDWR)), F_GETPIPE_SZ), EBADF);
}

CASE(fcntl_with_an_unknown_command_returns_einval) { EXPECT_ERRNO(fcntl(0, 9999), EINVAL); }

CASE(fcntl_of_a_bad_descriptor_returns_ebadf) {
    EXPECT_ERRNO(fcntl(-1, F_GETFD), EBADF);
    EXPECT_ERRNO(fcntl(next_fd(), F_GETFL), EBADF);
    EXPECT_ERRNO(fcntl(next_fd(), F_DUPFD, 0), EBADF);
}

CASE(fcntl_of_an_o_path_descriptor_allows_only_descriptor_commands) {
    int fd = OK(open(".", O_PATH));
    OK(fcntl(fd, F_GETFD));
    OK(fcntl(fd, F_GETFL));
    OK(fcntl(fd, F_DUPFD, 0));
    EXPECT_ERRNO(fcntl(fd, F_SETFL, 0), EBADF);
    EXPECT_ERRNO(fcntl(fd, F_GETOWN), EBADF);
}

CASE(fcntl_owner_is_remembered) {
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    EXPECT_EQ(fcntl(pair[0], F_GETOWN), 0);
    OK(fcntl(pair[0], F_SETOWN, getpid()));
    EXPECT_EQ(fcntl(pair[0], F_GETOWN), getpid());
}

CASE(fcntl_owner_may_be_a_thread_a_process_or_a_group) {
    PIPE(ends);
    struct f_owner_ex owner = {F_OWNER_TID, gettid()}, got;
    OK(fcntl(ends[0], F_SETOWN_EX, &owner));
    OK(fcntl(ends[0], F_GETOWN_EX, &got));
    EXPECT(got.type == F_OWNER_TID && got.pid == gettid());
    OK(fcntl(ends[0], F_SETOWN, -getpgrp()));
    OK(fcntl(ends[0], F_GETOWN_EX, &got));
    EXPECT(got.type == F_OWNER_PGRP && got.pid == getpgrp());
    pid_t pid = IN_CHILD({ OK(fcntl(ends[0], F_SETOWN, getpid())); });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(fcntl(ends[0], F_GETOWN), 0);
    OK(fcntl(ends[0], F_SETOWN, 0));
    EXPECT_ERRNO(fcntl(ends[0], F_SETOWN, INT_MAX), ESRCH);
    EXPECT_ERRNO(fcntl(ends[0], F_SETOWN, INT_MIN), EINVAL);
    owner.type = 7;
    EXPECT_ERRNO(fcntl(ends[0], F_SETOWN_EX, &owner), EINVAL);
    EXPECT_ERRNO(fcntl(ends[0], F_SETOWN_EX, bad_page()), EFAULT);
    EXPECT_ERRNO(fcntl(ends[0], F_GETOWN_EX, bad_page()), EFAULT);
}

CASE(fcntl_setsig_names_the_descriptor) {
    PIPE(ends);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    EXPECT_EQ(fcntl(ends[0], F_GETSIG), 0);
    OK(fcntl(ends[0], F_SETSIG, SIGRTMIN));
    EXPECT_EQ(fcntl(ends[0], F_GETSIG), SIGRTMIN);
    EXPECT_ERRNO(fcntl(ends[0], F_SETSIG, 65), EINVAL);
    OK(fcntl(ends[0], F_SETOWN, getpid()));
    OK(fcntl(ends[0], F_SETFL, O_ASYNC));
    announce(ends[1]);
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
    EXPECT_EQ(info.si_code, POLL_IN);
    EXPECT_EQ(info.si_fd, ends[0]);
    EXPECT_EQ(info.si_band, POLLIN | POLLRDNORM);
}

CASE(fcntl_async_is_pending_when_the_write_returns) {
    PIPE(ends);
    sigset_t set;
    sigset_t pending;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(fcntl(ends[0], F_SETOWN, getpid()));
    int on = 1;
    OK(ioctl(ends[0], FIOASYNC, &on));
    EXPECT(fcntl(ends[0], F_GETFL) & O_ASYNC);
    announce(ends[1]);
    OK(sigpending(&pending));
    EXPECT(sigismember(&pending, SIGIO));
    EXPECT_EQ(sigwaitinfo(&set, NULL), SIGIO);
    OK(fcntl(ends[0], F_SETFL, 0));
    await(ends[0]);
    announce(ends[1]);
    OK(sigpending(&pending));
    EXPECT(!sigismember(&pending, SIGIO));
}

CASE(fioasync_of_a_regular_file_returns_enotty) {
    make_file("f", "x");
    int on = 1;
    EXPECT_ERRNO(ioctl(OK(open("f", O_RDWR)), FIOASYNC, &on), ENOTTY);
}

CASE(fcntl_async_raises_sigio_when_data_arrives) {
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(fcntl(pair[0], F_SETOWN, getpid()));
    OK(fcntl(pair[0], F_SETFL, O_ASYNC));
    announce(pair[1]);
    EXPECT_EQ(sigwaitinfo(&set, NULL), SIGIO);
}
