/* poll(2), ppoll(2) */
#include "case.h"
#include <pthread.h>

CASE(poll_counts_the_ready_descriptors) {
    PIPE(ends);
    announce(ends[1]);
    struct pollfd pollers[] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}, {ends[1], POLLIN, 0}};
    EXPECT_EQ(poll(pollers, 3, -1), 2);
    EXPECT_EQ(pollers[0].revents, POLLIN);
    EXPECT_EQ(pollers[1].revents, POLLOUT);
    EXPECT_EQ(pollers[2].revents, 0);
}

CASE(poll_ignores_negative_descriptors) {
    struct pollfd poller = {-5, POLLIN, 0x7f};
    EXPECT_EQ(poll(&poller, 1, 0), 0);
    EXPECT_EQ(poller.revents, 0);
}

CASE(poll_of_a_closed_descriptor_reports_nval) {
    struct pollfd poller = {next_fd(), POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_EQ(poller.revents, POLLNVAL);
}

CASE(poll_of_a_regular_file_is_always_ready) {
    make_file("f", "");
    struct pollfd poller = {OK(open("f", O_RDWR)), POLLIN | POLLOUT, 0};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_EQ(poller.revents, POLLIN | POLLOUT);
}

CASE(poll_times_out) {
    int64_t before = now_ns(CLOCK_MONOTONIC);
    EXPECT_EQ(poll(NULL, 0, 20), 0);
    EXPECT(now_ns(CLOCK_MONOTONIC) - before >= 20000000);
}

CASE(poll_is_interrupted_by_a_signal_even_with_sa_restart) {
    tick(count_signal, SA_RESTART);
    EXPECT_ERRNO(poll(NULL, 0, -1), EINTR);
}

CASE(poll_wakes_when_a_child_writes) {
    PIPE(ends);
    pid_t pid = IN_CHILD({ announce(ends[1]); });
    struct pollfd poller = {ends[0], POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_EXIT(pid, 0);
}

CASE(poll_wakes_when_the_other_end_closes) {
    PIPE(ends);
    pid_t pid = IN_CHILD({});
    OK(close(ends[1]));
    struct pollfd poller = {ends[0], 0, 0};
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_EQ(poller.revents, POLLHUP);
    EXPECT_EXIT(pid, 0);
}

CASE(poll_of_one_descriptor_twice_reports_both) {
    PIPE(ends);
    announce(ends[1]);
    struct pollfd pollers[] = {{ends[0], POLLIN, 0}, {ends[0], POLLIN, 0}};
    EXPECT_EQ(poll(pollers, 2, 0), 2);
}

CASE(poll_of_more_than_the_descriptor_limit_returns_einval) {
    struct rlimit limit = {10, 10};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    struct pollfd pollers[11];
    for (int i = 0; i < 11; i++)
        pollers[i] = (struct pollfd){-1, 0, 0};
    EXPECT_ERRNO(poll(pollers, 11, 0), EINVAL);
    EXPECT_EQ(poll(pollers, 10, 0), 0);
}

CASE(poll_with_a_bad_pointer_returns_efault) { EXPECT_ERRNO(poll(bad_page(), 1, 0), EFAULT); }

static struct pollfd watched[2];

/* Puts another descriptor into the array that is being polled, and wakes who polls it. */
static void *add_one(void *wake) {
    usleep(20000);
    watched[1].fd = 77;
    announce(*(int *)wake);
    return NULL;
}

CASE(poll_writes_nothing_but_what_has_come) {
    PIPE(ends);
    watched[0] = (struct pollfd){.fd = ends[0], .events = POLLIN};
    watched[1] = (struct pollfd){.fd = -1};
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, add_one, &ends[1]), 0);
    EXPECT_EQ(poll(watched, 2, -1), 1);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(watched[0].revents, POLLIN);
    EXPECT_EQ(watched[1].fd, 77);
}

CASE(ppoll_swaps_the_signal_mask) {
    sigset_t blocked, none, after;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &blocked, NULL));
    handle(SIGUSR1, count_signal, 0);
    OK(raise(SIGUSR1));
    EXPECT_ERRNO(ppoll(NULL, 0, NULL, &none), EINTR);
    EXPECT_EQ(signals_seen, 1);
    OK(sigprocmask(SIG_BLOCK, NULL, &after));
    EXPECT(sigismember(&after, SIGUSR1));
}

CASE(ppoll_writes_back_the_remaining_time) {
    PIPE(ends);
    announce(ends[1]);
    struct pollfd poller = {ends[0], POLLIN, 0};
    struct timespec time = {100, 0};
    EXPECT_EQ(syscall(SYS_ppoll, &poller, 1, &time, NULL, 8), 1);
    EXPECT(time.tv_sec >= 98 && time.tv_sec < 100);
}

CASE(ppoll_with_bad_arguments_fails) {
    struct timespec time = {0, 1000000000};
    sigset_t none;
    sigemptyset(&none);
    EXPECT_ERRNO(syscall(SYS_ppoll, NULL, 0, &time, NULL, 8), EINVAL);
    time = (struct timespec){-1, 0};
    EXPECT_ERRNO(syscall(SYS_ppoll, NULL, 0, &time, NULL, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_ppoll, NULL, 0, NULL, &none, 4), EINVAL);
    EXPECT_ERRNO(syscall(SYS_ppoll, NULL, 0, bad_page(), NULL, 8), EFAULT);
}
