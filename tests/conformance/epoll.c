/* epoll_create(2), epoll_ctl(2), epoll_wait(2) and their kin */
#include "epoll.h"
#include <sys/eventfd.h>
#include <pthread.h>

static void watch(int epoll, int fd, uint32_t events) {
    struct epoll_event event = {events, {.u64 = 0x1122334400000000 | fd}};
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

CASE(epoll_reports_readiness_with_its_data) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(0, 0));
    watch(epoll, fd, EPOLLIN);
    struct epoll_event event;
    EXPECT_EQ(epoll_wait(epoll, &event, 1, 0), 0);
    OK(eventfd_write(fd, 1));
    EXPECT_EQ(epoll_wait(epoll, &event, 1, -1), 1);
    EXPECT_EQ(event.events, EPOLLIN);
    EXPECT_EQ(event.data.u64, 0x1122334400000000 | fd);
}

CASE(epoll_level_triggered_reports_again) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(1, 0));
    watch(epoll, fd, EPOLLIN);
    EXPECT_EQ(ready(epoll), EPOLLIN);
    EXPECT_EQ(ready(epoll), EPOLLIN);
    eventfd_t value;
    OK(eventfd_read(fd, &value));
    EXPECT_EQ(ready(epoll), 0);
}

CASE(epoll_edge_triggered_reports_once_per_arrival) {
    int epoll = OK(epoll_create1(0));
    PIPE(ends);
    watch(epoll, ends[0], EPOLLIN | EPOLLET);
    announce(ends[1]);
    EXPECT_EQ(ready(epoll), EPOLLIN);
    EXPECT_EQ(ready(epoll), 0);
    announce(ends[1]);
    EXPECT_EQ(ready(epoll), EPOLLIN);
    EXPECT_EQ(ready(epoll), 0);
}

CASE(epoll_edge_triggered_reports_what_was_ready_before) {
    int epoll = OK(epoll_create1(0));
    PIPE(ends);
    announce(ends[1]);
    watch(epoll, ends[0], EPOLLIN | EPOLLET);
    EXPECT_EQ(ready(epoll), EPOLLIN);
}

CASE(epoll_oneshot_reports_once_until_rearmed) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(1, 0));
    watch(epoll, fd, EPOLLIN | EPOLLONESHOT);
    EXPECT_EQ(ready(epoll), EPOLLIN);
    EXPECT_EQ(ready(epoll), 0);
    struct epoll_event event = {EPOLLIN | EPOLLONESHOT, {.fd = fd}};
    OK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event));
    EXPECT_EQ(ready(epoll), EPOLLIN);
}

CASE(epoll_mod_changes_the_events) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(1, 0));
    watch(epoll, fd, EPOLLIN);
    struct epoll_event event = {EPOLLOUT, {.fd = fd}};
    OK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event));
    EXPECT_EQ(ready(epoll), EPOLLOUT);
}

CASE(epoll_del_stops_reports) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(1, 0));
    watch(epoll, fd, EPOLLIN);
    OK(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
    EXPECT_EQ(ready(epoll), 0);
}

CASE(epoll_hangup_is_reported_without_being_asked) {
    int epoll = OK(epoll_create1(0));
    PIPE(ends);
    watch(epoll, ends[0], 0);
    OK(close(ends[1]));
    EXPECT_EQ(ready(epoll), EPOLLHUP);
}

CASE(epoll_rdhup_is_reported_when_asked) {
    int epoll = OK(epoll_create1(0)), pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    watch(epoll, pair[0], EPOLLIN | EPOLLRDHUP);
    OK(shutdown(pair[1], SHUT_WR));
    EXPECT_EQ(ready(epoll), EPOLLIN | EPOLLRDHUP);
}

CASE(epoll_forgets_a_closed_file) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(1, 0));
    watch(epoll, fd, EPOLLIN);
    OK(close(fd));
    EXPECT_EQ(ready(epoll), 0);
}

CASE(epoll_remembers_a_closed_descriptor_with_a_duplicate) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(1, 0));
    int copy = OK(dup(fd));
    watch(epoll, fd, EPOLLIN);
    OK(close(fd));
    EXPECT_EQ(ready(epoll), EPOLLIN);
    OK(close(copy));
    EXPECT_EQ(ready(epoll), 0);
}

CASE(epoll_add_twice_returns_eexist_but_a_duplicate_may_be_added) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(0, 0));
    struct epoll_event event = {EPOLLIN, {.fd = fd}};
    watch(epoll, fd, EPOLLIN);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), EEXIST);
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, OK(dup(fd)), &event));
}

CASE(epoll_ctl_with_bad_arguments_fails) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(0, 0));
    struct epoll_event event = {EPOLLIN, {.fd = fd}};
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event), ENOENT);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL), ENOENT);
    EXPECT_ERRNO(epoll_ctl(epoll, 99, fd, &event), EINVAL);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event), EINVAL);
    EXPECT_ERRNO(epoll_ctl(fd, EPOLL_CTL_ADD, epoll, &event), EINVAL);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, -1, &event), EBADF);
    EXPECT_ERRNO(epoll_ctl(-1, EPOLL_CTL_ADD, fd, &event), EBADF);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, bad_page()), EFAULT);
}

CASE(epoll_of_a_regular_file_returns_eperm) {
    int epoll = OK(epoll_create1(0));
    make_file("f", "");
    struct epoll_event event = {EPOLLIN, {.fd = 0}};
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, OK(open("f", O_RDONLY)), &event), EPERM);
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, OK(open(".", O_RDONLY)), &event), EPERM);
}

CASE(epoll_wait_with_bad_arguments_fails) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(1, 0));
    watch(epoll, fd, EPOLLIN);
    struct epoll_event event;
    EXPECT_ERRNO(epoll_wait(epoll, &event, 0, 0), EINVAL);
    EXPECT_ERRNO(epoll_wait(epoll, &event, -1, 0), EINVAL);
    EXPECT_ERRNO(epoll_wait(fd, &event, 1, 0), EINVAL);
    EXPECT_ERRNO(epoll_wait(-1, &event, 1, 0), EBADF);
    EXPECT_ERRNO(epoll_wait(epoll, bad_page(), 1, 0), EFAULT);
}

CASE(epoll_create_with_bad_arguments_returns_einval) {
    EXPECT_ERRNO(epoll_create(0), EINVAL);
    EXPECT_ERRNO(epoll_create1(0x10), EINVAL);
    OK(epoll_create(1));
    EXPECT_EQ(fcntl(OK(epoll_create1(EPOLL_CLOEXEC)), F_GETFD), FD_CLOEXEC);
}

CASE(epoll_of_epoll_reports_readiness) {
    int outer = OK(epoll_create1(0)), inner = OK(epoll_create1(0)), fd = OK(eventfd(0, 0));
    watch(outer, inner, EPOLLIN);
    watch(inner, fd, EPOLLIN);
    EXPECT_EQ(ready(outer), 0);
    OK(eventfd_write(fd, 1));
    EXPECT_EQ(ready(outer), EPOLLIN);
    struct pollfd poller = {inner, POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
}

CASE(epoll_loop_returns_eloop) {
    int one = OK(epoll_create1(0)), two = OK(epoll_create1(0));
    watch(one, two, EPOLLIN);
    struct epoll_event event = {EPOLLIN, {.fd = one}};
    EXPECT_ERRNO(epoll_ctl(two, EPOLL_CTL_ADD, one, &event), ELOOP);
}

CASE(epoll_wait_times_out) {
    int epoll = OK(epoll_create1(0));
    struct epoll_event event;
    int64_t before = now_ns(CLOCK_MONOTONIC);
    EXPECT_EQ(epoll_wait(epoll, &event, 1, 20), 0);
    EXPECT(now_ns(CLOCK_MONOTONIC) - before >= 20000000);
}

CASE(epoll_wait_is_interrupted_by_a_signal_even_with_sa_restart) {
    int epoll = OK(epoll_create1(0));
    struct epoll_event event;
    tick(count_signal, SA_RESTART);
    EXPECT_ERRNO(epoll_wait(epoll, &event, 1, -1), EINTR);
}

CASE(epoll_pwait_swaps_the_signal_mask) {
    int epoll = OK(epoll_create1(0));
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &blocked, NULL));
    handle(SIGUSR1, count_signal, 0);
    OK(raise(SIGUSR1));
    EXPECT_EQ(signals_seen, 0);
    struct epoll_event event;
    EXPECT_ERRNO(epoll_pwait(epoll, &event, 1, -1, &none), EINTR);
    EXPECT_EQ(signals_seen, 1);
    sigset_t after;
    OK(sigprocmask(SIG_BLOCK, NULL, &after));
    EXPECT(sigismember(&after, SIGUSR1));
}

CASE(epoll_pwait2_takes_nanoseconds) {
    int epoll = OK(epoll_create1(0));
    struct epoll_event event;
    struct timespec short_time = {0, 1000000}, bad = {0, -1};
    EXPECT_EQ(syscall(SYS_epoll_pwait2, epoll, &event, 1, &short_time, NULL, 8), 0);
    EXPECT_ERRNO(syscall(SYS_epoll_pwait2, epoll, &event, 1, &bad, NULL, 8), EINVAL);
}

CASE(epoll_takes_turns_when_more_are_ready_than_fit) {
    int epoll = OK(epoll_create1(0)), seen = 0;
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = OK(eventfd(1, 0));
        struct epoll_event event = {EPOLLIN, {.u32 = i}};
        OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event));
    }
    for (int i = 0; i < 4; i++) {
        struct epoll_event event;
        EXPECT_EQ(epoll_wait(epoll, &event, 1, 0), 1);
        seen |= 1 << event.data.u32;
    }
    EXPECT_EQ(seen, 15);
}

static void *write_later(void *fd) {
    OK(eventfd_write(*(int *)fd, 1));
    return NULL;
}

CASE(epoll_wait_is_woken_by_another_thread) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(0, 0));
    watch(epoll, fd, EPOLLIN);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, write_later, &fd), 0);
    struct epoll_event event;
    EXPECT_EQ(epoll_wait(epoll, &event, 1, -1), 1);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

CASE(epoll_exclusive_cannot_be_modified) {
    int epoll = OK(epoll_create1(0)), fd = OK(eventfd(0, 0));
    watch(epoll, fd, EPOLLIN | EPOLLEXCLUSIVE);
    struct epoll_event event = {EPOLLIN | EPOLLEXCLUSIVE, {.fd = fd}};
    EXPECT_ERRNO(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event), EINVAL);
}

CASE(epoll_wait_returns_all_that_is_ready_and_fits) {
    enum { WATCHED = 5000 };
    static struct epoll_event events[WATCHED];
    struct rlimit limit;
    OK(getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_max < WATCHED + 64)
        SKIP("the limit of descriptors is too low");
    limit.rlim_cur = WATCHED + 64;
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    PIPE(ends);
    int epoll = OK(epoll_create1(0));
    for (int i = 0; i < WATCHED; i++) {
        struct epoll_event event = {.events = EPOLLOUT, .data.u32 = i};
        OK(epoll_ctl(epoll, EPOLL_CTL_ADD, OK(dup(ends[1])), &event));
    }
    EXPECT_EQ(epoll_wait(epoll, events, WATCHED, 0), WATCHED);
}

/* Has `outer` watch `inner` by `count` descriptors that are not watched yet. */
static void watch_often(int outer, int inner, int count) {
    for (int i = 0; i < count; i++)
        watch(outer, OK(dup(inner)), EPOLLIN);
}

CASE(epoll_limits_the_ways_that_an_event_goes) {
    int inner = OK(epoll_create1(0)), outer = OK(epoll_create1(0));
    watch(inner, OK(eventfd(0, 0)), EPOLLIN);
    watch_often(outer, inner, 500);
    struct epoll_event event = {EPOLLIN};
    EXPECT_ERRNO(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event), EINVAL);
    OK(epoll_ctl(outer, EPOLL_CTL_DEL, inner + 3, NULL));
    OK(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event));
}

CASE(epoll_limits_the_ways_through_nested_instances) {
    int chain[5];
    for (int i = 0; i < 5; i++)
        chain[i] = OK(epoll_create1(0));
    watch(chain[0], OK(eventfd(0, 0)), EPOLLIN);
    for (int i = 1; i < 4; i++)
        watch(chain[i], chain[i - 1], EPOLLIN);
    watch_often(chain[4], chain[3], 10);
    struct epoll_event event = {EPOLLIN};
    EXPECT_ERRNO(epoll_ctl(chain[4], EPOLL_CTL_ADD, chain[3], &event), EINVAL);
    EXPECT_ERRNO(epoll_ctl(chain[2], EPOLL_CTL_ADD, OK(dup(chain[1])), &event), EINVAL);
}

/* Two pipes with something to read, watched for `events`. */
static int watch_two_pipes(uint32_t events) {
    int epoll = OK(epoll_create1(0));
    for (int i = 0; i < 2; i++) {
        PIPE(ends);
        struct epoll_event event = {events, {.u32 = i}};
        OK(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
        announce(ends[1]);
    }
    return epoll;
}

CASE(epoll_events_that_cannot_be_written_are_told_later) {
    const uint32_t kinds[] = {EPOLLIN, EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT};
    for (int i = 0; i < 3; i++) {
        int epoll = watch_two_pipes(kinds[i]);
        struct epoll_event event[4];
        EXPECT_ERRNO(epoll_wait(epoll, bad_page(), 4, 1000), EFAULT);
        /* One has room, and the other one does not. */
        char *edge = page_end();
        EXPECT_EQ(epoll_wait(epoll, (struct epoll_event *)(edge - sizeof *event - 4), 4, 1000), 1);
        memcpy(event, edge - sizeof *event - 4, sizeof *event);
        unsigned other = 1 - event->data.u32;
        int left = OK(epoll_wait(epoll, event, 4, 1000));
        EXPECT_EQ(left, kinds[i] == EPOLLIN ? 2 : 1);
        EXPECT_EQ(event[0].data.u32, other);
        EXPECT_EQ(epoll_wait(epoll, event, 4, 0), kinds[i] == EPOLLIN ? 2 : 0);
    }
}

CASE(epoll_wait_looks_at_its_arguments_in_order) {
    struct epoll_event event;
    int epoll = OK(epoll_create1(0));
    EXPECT_ERRNO(epoll_wait(epoll, (void *)-PAGE_SIZE, 0, 0), EINVAL);
    EXPECT_ERRNO(epoll_wait(0, (void *)-PAGE_SIZE, 1, 0), EFAULT);
    EXPECT_ERRNO(epoll_wait(0, &event, 1, 0), EINVAL);
    EXPECT_ERRNO(epoll_wait(epoll, (void *)-PAGE_SIZE, 1, 0), EFAULT);
    EXPECT_EQ(epoll_wait(epoll, bad_page(), 1, 0), 0);
}
