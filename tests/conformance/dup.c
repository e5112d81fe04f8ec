/* dup(2), dup2(2), dup3(2) */
#include "case.h"

CASE(dup_returns_the_lowest_free_descriptor_without_cloexec) {
    int fd = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    int lowest = next_fd();
    int copy = OK(dup(fd));
    EXPECT_EQ(copy, lowest);
    EXPECT_EQ(fcntl(copy, F_GETFD), 0);
}

CASE(dup_shares_status_flags) {
    int fd = OK(open("/dev/null", O_RDWR));
    int copy = OK(dup(fd));
    OK(fcntl(fd, F_SETFL, O_NONBLOCK));
    EXPECT(fcntl(copy, F_GETFL) & O_NONBLOCK);
}

CASE(dup_of_a_bad_descriptor_returns_ebadf) {
    EXPECT_ERRNO(dup(-1), EBADF);
    EXPECT_ERRNO(dup(next_fd()), EBADF);
}

CASE(dup_of_a_full_table_returns_emfile) {
    int fd = next_fd();
    struct rlimit limit = {fd, fd};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    EXPECT_ERRNO(dup(0), EMFILE);
}

CASE(dup2_replaces_what_was_open) {
    make_file("f", "x");
    PIPE(ends);
    int fd = OK(open("f", O_RDONLY));
    EXPECT_EQ(dup2(fd, ends[1]), ends[1]);
    char byte;
    EXPECT_EQ(read(ends[0], &byte, 1), 0);
    EXPECT_EQ(read(ends[1], &byte, 1), 1);
}

CASE(dup2_onto_itself_keeps_the_flags) {
    int fd = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(dup2(fd, fd), fd);
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    int closed = next_fd();
    EXPECT_ERRNO(dup2(closed, closed), EBADF);
}

CASE(dup2_of_a_bad_descriptor_leaves_the_target_open) {
    int fd = OK(open("/dev/null", O_RDONLY));
    EXPECT_ERRNO(dup2(-1, fd), EBADF);
    OK(fcntl(fd, F_GETFD));
}

CASE(dup2_beyond_the_limit_returns_ebadf) {
    struct rlimit limit = {100, 1000};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    EXPECT_EQ(dup2(0, 99), 99);
    EXPECT_ERRNO(dup2(0, 100), EBADF);
    EXPECT_ERRNO(dup2(0, -1), EBADF);
}

CASE(dup3_sets_cloexec) {
    EXPECT_EQ(dup3(0, 70, O_CLOEXEC), 70);
    EXPECT_EQ(fcntl(70, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(dup3(0, 70, 0), 70);
    EXPECT_EQ(fcntl(70, F_GETFD), 0);
}

CASE(dup3_onto_itself_or_with_unknown_flags_returns_einval) {
    EXPECT_ERRNO(dup3(0, 0, 0), EINVAL);
    EXPECT_ERRNO(dup3(0, 70, O_NONBLOCK), EINVAL);
}
