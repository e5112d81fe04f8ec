/* nanosleep(2), clock_nanosleep(2) */
#include "case.h"

CASE(nanosleep_sleeps_at_least_as_long_as_asked) {
    struct timespec time = milliseconds(20);
    int64_t before = now_ns(CLOCK_MONOTONIC);
    OK(nanosleep(&time, NULL));
    EXPECT(now_ns(CLOCK_MONOTONIC) - before >= 20000000);
}

CASE(nanosleep_interrupted_tells_the_remaining_time) {
    struct timespec time = {100, 0}, left = {0, 0};
    tick(count_signal, SA_RESTART);
    EXPECT_ERRNO(nanosleep(&time, &left), EINTR);
    EXPECT(left.tv_sec >= 90 && left.tv_sec < 100);
}

CASE(nanosleep_continues_after_stop_and_continue) {
    int64_t *shared = map_shared(PAGE_SIZE);
    PIPE(ends);
    pid_t pid = IN_CHILD({
        struct timespec time = milliseconds(50);
        announce(ends[1]);
        int64_t before = now_ns(CLOCK_MONOTONIC);
        OK(nanosleep(&time, NULL));
        *shared = now_ns(CLOCK_MONOTONIC) - before;
    });
    await(ends[0]);
    int status;
    OK(kill(pid, SIGSTOP));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    OK(kill(pid, SIGCONT));
    EXPECT_EXIT(pid, 0);
    EXPECT(*shared >= 50000000);
}

CASE(nanosleep_with_bad_arguments_fails) {
    struct timespec time = {0, 1000000000};
    EXPECT_ERRNO(nanosleep(&time, NULL), EINVAL);
    time = (struct timespec){-1, 0};
    EXPECT_ERRNO(nanosleep(&time, NULL), EINVAL);
    time = (struct timespec){0, -1};
    EXPECT_ERRNO(nanosleep(&time, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_nanosleep, bad_page(), NULL), EFAULT);
}

CASE(nanosleep_of_zero_returns_at_once) {
    struct timespec zero = {0, 0};
    OK(nanosleep(&zero, NULL));
}

CASE(clock_nanosleep_sleeps_until_an_absolute_time) {
    int64_t until = now_ns(CLOCK_MONOTONIC) + 20000000;
    struct timespec time = {until / 1000000000, until % 1000000000};
    OK(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL));
    EXPECT(now_ns(CLOCK_MONOTONIC) >= until);
    OK(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL));
}

CASE(clock_nanosleep_on_the_realtime_and_boottime_clocks_works) {
    struct timespec time = milliseconds(5);
    OK(syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &time, NULL));
    OK(syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &time, NULL));
}

CASE(clock_nanosleep_is_interrupted) {
    struct timespec time = {100, 0}, left = {0, 0};
    EXPECT_INTERRUPTED(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, &left));
    EXPECT(left.tv_sec >= 90);
    int64_t until = now_ns(CLOCK_MONOTONIC) + 100000000000;
    time = (struct timespec){until / 1000000000, 0};
    EXPECT_INTERRUPTED(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL));
}

CASE(clock_nanosleep_with_bad_arguments_fails) {
    struct timespec time = {0, 1};
    EXPECT_ERRNO(syscall(SYS_clock_nanosleep, 99, 0, &time, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &time, NULL), EOPNOTSUPP);
    EXPECT_ERRNO(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, bad_page(), NULL), EFAULT);
    time.tv_nsec = -1;
    EXPECT_ERRNO(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL), EINVAL);
}
