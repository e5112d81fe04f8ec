/* select(2), pselect(2) */
#include "case.h"
#include <sys/select.h>

static fd_set only(int fd) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return set;
}

CASE(select_reports_reading_and_writing) {
    PIPE(ends);
    announce(ends[1]);
    fd_set reading = only(ends[0]), writing = only(ends[1]);
    EXPECT_EQ(select(ends[1] + 1, &reading, &writing, NULL, NULL), 2);
    EXPECT(FD_ISSET(ends[0], &reading) && FD_ISSET(ends[1], &writing));
}

CASE(select_clears_what_is_not_ready) {
    PIPE(ends);
    fd_set reading = only(ends[0]);
    FD_SET(ends[1], &reading);
    struct timeval zero = {0, 0};
    EXPECT_EQ(select(ends[1] + 1, &reading, NULL, NULL, &zero), 0);
    EXPECT(!FD_ISSET(ends[0], &reading));
}

CASE(select_ignores_bits_beyond_the_count) {
    PIPE(ends);
    announce(ends[1]);
    fd_set reading = only(ends[0]);
    struct timeval zero = {0, 0};
    EXPECT_EQ(select(ends[0], &reading, NULL, NULL, &zero), 0);
}

CASE(select_of_a_closed_descriptor_returns_ebadf) {
    int fd = next_fd();
    fd_set reading = only(fd);
    EXPECT_ERRNO(select(fd + 1, &reading, NULL, NULL, NULL), EBADF);
}

CASE(select_at_the_end_of_a_pipe_is_readable) {
    PIPE(ends);
    OK(close(ends[1]));
    fd_set reading = only(ends[0]);
    EXPECT_EQ(select(ends[0] + 1, &reading, NULL, NULL, NULL), 1);
}

CASE(select_times_out_and_writes_back_the_rest) {
    struct timeval time = {0, 20000};
    int64_t before = now_ns(CLOCK_MONOTONIC);
    EXPECT_EQ(select(0, NULL, NULL, NULL, &time), 0);
    EXPECT(now_ns(CLOCK_MONOTONIC) - before >= 20000000);
    EXPECT(time.tv_sec == 0 && time.tv_usec == 0);
    PIPE(ends);
    fd_set writing = only(ends[1]);
    time = (struct timeval){100, 0};
    EXPECT_EQ(select(ends[1] + 1, NULL, &writing, NULL, &time), 1);
    EXPECT(time.tv_sec >= 98);
}

CASE(select_is_interrupted_by_a_signal_even_with_sa_restart) {
    tick(count_signal, SA_RESTART);
    EXPECT_ERRNO(select(0, NULL, NULL, NULL, NULL), EINTR);
}

CASE(select_with_bad_arguments_fails) {
    struct timeval time = {-1, 0};
    EXPECT_ERRNO(select(0, NULL, NULL, NULL, &time), EINVAL);
    EXPECT_ERRNO(select(-1, NULL, NULL, NULL, NULL), EINVAL);
    EXPECT_ERRNO(select(1, bad_page(), NULL, NULL, NULL), EFAULT);
}

CASE(pselect_swaps_the_signal_mask) {
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &blocked, NULL));
    handle(SIGUSR1, count_signal, 0);
    OK(raise(SIGUSR1));
    EXPECT_ERRNO(pselect(0, NULL, NULL, NULL, NULL, &none), EINTR);
    EXPECT_EQ(signals_seen, 1);
}

CASE(pselect_times_out) {
    struct timespec time = milliseconds(5);
    EXPECT_EQ(pselect(0, NULL, NULL, NULL, &time, NULL), 0);
}
