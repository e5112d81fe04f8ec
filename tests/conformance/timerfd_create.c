/* timerfd_create(2), timerfd_settime(2), timerfd_gettime(2) */
#include "case.h"
#include <sys/timerfd.h>

static void start(int fd, long first_ms, long every_ms) {
    struct itimerspec spec = {milliseconds(every_ms), milliseconds(first_ms)};
    OK(timerfd_settime(fd, 0, &spec, NULL));
}

CASE(timerfd_read_waits_for_the_expiration) {
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, 0));
    int64_t before = now_ns(CLOCK_MONOTONIC);
    start(fd, 20, 0);
    uint64_t count;
    EXPECT_EQ(read(fd, &count, 8), 8);
    EXPECT_EQ(count, 1);
    EXPECT(now_ns(CLOCK_MONOTONIC) - before >= 20000000);
}

CASE(timerfd_counts_missed_expirations) {
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, 0));
    start(fd, 1, 1);
    struct timespec time = milliseconds(20);
    OK(nanosleep(&time, NULL));
    uint64_t count;
    EXPECT_EQ(read(fd, &count, 8), 8);
    EXPECT(count >= 10);
}

CASE(timerfd_unarmed_or_not_yet_expired_returns_eagain) {
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    uint64_t count;
    EXPECT_ERRNO(read(fd, &count, 8), EAGAIN);
    start(fd, 100000, 0);
    EXPECT_ERRNO(read(fd, &count, 8), EAGAIN);
}

CASE(timerfd_gettime_shows_the_remaining_time) {
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, 0));
    start(fd, 100000, 500);
    struct itimerspec left;
    OK(timerfd_gettime(fd, &left));
    EXPECT(left.it_value.tv_sec >= 90 && left.it_value.tv_sec <= 100);
    EXPECT_EQ(left.it_interval.tv_nsec, 500000000);
}

CASE(timerfd_settime_returns_the_old_setting_and_zero_disarms) {
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, 0));
    start(fd, 100000, 0);
    struct itimerspec never = {{0, 0}, {0, 0}}, old;
    OK(timerfd_settime(fd, 0, &never, &old));
    EXPECT(old.it_value.tv_sec >= 90);
    OK(timerfd_gettime(fd, &old));
    EXPECT(old.it_value.tv_sec == 0 && old.it_value.tv_nsec == 0);
}

CASE(timerfd_absolute_time_in_the_past_expires_at_once) {
    int fd = OK(timerfd_create(CLOCK_REALTIME, 0));
    struct itimerspec past = {{0, 0}, {1, 0}};
    OK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &past, NULL));
    uint64_t count;
    EXPECT_EQ(read(fd, &count, 8), 8);
    EXPECT_EQ(count, 1);
}

CASE(timerfd_is_polled) {
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, 0));
    struct pollfd poller = {fd, POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 0);
    start(fd, 5, 0);
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_EQ(poller.revents, POLLIN);
}

CASE(timerfd_read_is_interrupted_by_a_signal) {
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, 0));
    uint64_t count;
    EXPECT_INTERRUPTED(read(fd, &count, 8));
}

CASE(timerfd_setting_again_forgets_expirations) {
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    start(fd, 1, 0);
    struct pollfd poller = {fd, POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    start(fd, 100000, 0);
    uint64_t count;
    EXPECT_ERRNO(read(fd, &count, 8), EAGAIN);
}

CASE(timerfd_with_bad_arguments_fails) {
    EXPECT_ERRNO(timerfd_create(99, 0), EINVAL);
    EXPECT_ERRNO(timerfd_create(CLOCK_MONOTONIC, 0x10), EINVAL);
    int fd = OK(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    struct itimerspec spec = {{0, 0}, {0, 1000000000}};
    EXPECT_ERRNO(timerfd_settime(fd, 0, &spec, NULL), EINVAL);
    spec.it_value.tv_nsec = 0;
    EXPECT_ERRNO(timerfd_settime(fd, 0x10, &spec, NULL), EINVAL);
    EXPECT_ERRNO(timerfd_settime(0, 0, &spec, NULL), EINVAL);
    EXPECT_ERRNO(timerfd_settime(-1, 0, &spec, NULL), EBADF);
    EXPECT_ERRNO(timerfd_settime(fd, 0, bad_page(), NULL), EFAULT);
    EXPECT_ERRNO(timerfd_gettime(fd, bad_page()), EFAULT);
    char buffer[7];
    EXPECT_ERRNO(read(fd, buffer, 7), EINVAL);
}
