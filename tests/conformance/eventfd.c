/* eventfd(2) */
#include "case.h"
#include <sys/eventfd.h>
#include <pthread.h>

static uint64_t get(int fd) {
    uint64_t value;
    EXPECT_EQ(read(fd, &value, sizeof value), sizeof value);
    return value;
}

static void add(int fd, uint64_t value) { EXPECT_EQ(write(fd, &value, sizeof value), sizeof value); }

CASE(eventfd_read_returns_the_initial_value_and_resets_it) {
    int fd = OK(eventfd(7, EFD_NONBLOCK));
    EXPECT_EQ(get(fd), 7);
    uint64_t value;
    EXPECT_ERRNO(read(fd, &value, sizeof value), EAGAIN);
}

CASE(eventfd_writes_add_up) {
    int fd = OK(eventfd(1, 0));
    add(fd, 2);
    add(fd, 40);
    EXPECT_EQ(get(fd), 43);
}

CASE(eventfd_semaphore_read_returns_one_and_decrements) {
    int fd = OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
    EXPECT_EQ(get(fd), 1);
    EXPECT_EQ(get(fd), 1);
    uint64_t value;
    EXPECT_ERRNO(read(fd, &value, sizeof value), EAGAIN);
}

CASE(eventfd_write_of_max_returns_einval) {
    int fd = OK(eventfd(0, 0));
    uint64_t max = UINT64_MAX;
    EXPECT_ERRNO(write(fd, &max, sizeof max), EINVAL);
}

CASE(eventfd_write_that_would_overflow_returns_eagain) {
    int fd = OK(eventfd(0, EFD_NONBLOCK));
    add(fd, UINT64_MAX - 1);
    uint64_t one = 1;
    EXPECT_ERRNO(write(fd, &one, sizeof one), EAGAIN);
    EXPECT_EQ(get(fd), UINT64_MAX - 1);
}

CASE(eventfd_transfer_shorter_than_eight_bytes_returns_einval) {
    int fd = OK(eventfd(1, 0));
    char buffer[7] = {0};
    EXPECT_ERRNO(read(fd, buffer, sizeof buffer), EINVAL);
    EXPECT_ERRNO(write(fd, buffer, sizeof buffer), EINVAL);
}

CASE(eventfd_longer_buffer_is_read_but_not_written) {
    int fd = OK(eventfd(5, 0));
    uint64_t values[2] = {8, 9};
    EXPECT_ERRNO(write(fd, values, sizeof values), EINVAL);
    EXPECT_EQ(read(fd, values, sizeof values), 8);
    EXPECT_EQ(values[0], 5);
    EXPECT_EQ(values[1], 9);
}

CASE(eventfd_with_unknown_flags_returns_einval) { EXPECT_ERRNO(eventfd(0, 0x100), EINVAL); }

CASE(eventfd_flags_are_seen_by_fcntl) {
    int fd = OK(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
}

CASE(eventfd_old_call_takes_no_flags) {
    int fd = OK((int)syscall(SYS_eventfd, 3));
    EXPECT_EQ(get(fd), 3);
}

CASE(eventfd_has_no_positions) {
    int fd = OK(eventfd(0, 0));
    uint64_t value = 1;
    EXPECT_EQ(lseek(fd, 5, SEEK_SET), 0);
    EXPECT_ERRNO(pread(fd, &value, 8, 0), ESPIPE);
    EXPECT_ERRNO(pwrite(fd, &value, 8, 0), ESPIPE);
}

CASE(eventfd_poll_follows_the_counter) {
    int fd = OK(eventfd(0, 0));
    struct pollfd poller = {fd, POLLIN | POLLOUT, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents, POLLOUT);
    add(fd, UINT64_MAX - 1);
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents, POLLIN);
    get(fd);
    add(fd, 1);
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents, POLLIN | POLLOUT);
}

CASE(eventfd_read_blocks_until_a_write) {
    int fd = OK(eventfd(0, 0));
    pid_t pid = IN_CHILD({ add(fd, 11); });
    EXPECT_EQ(get(fd), 11);
    EXPECT_EXIT(pid, 0);
}

CASE(eventfd_write_blocks_until_a_read_makes_room) {
    int fd = OK(eventfd(0, 0));
    add(fd, UINT64_MAX - 1);
    pid_t pid = IN_CHILD({ add(fd, 3); });
    EXPECT_EQ(get(fd), UINT64_MAX - 1);
    EXPECT_EQ(get(fd), 3);
    EXPECT_EXIT(pid, 0);
}

CASE(eventfd_blocked_read_is_interrupted_by_a_signal) {
    int fd = OK(eventfd(0, 0));
    uint64_t value;
    EXPECT_INTERRUPTED(read(fd, &value, sizeof value));
}

CASE(eventfd_blocked_write_is_interrupted_by_a_signal) {
    int fd = OK(eventfd(0, 0));
    uint64_t value = UINT64_MAX - 1;
    add(fd, value);
    EXPECT_INTERRUPTED(write(fd, &value, sizeof value));
}

static int restart_fd;

static void add_on_third_tick(int signal) {
    count_signal(signal);
    if (signals_seen == 3)
        add(restart_fd, 77);
}

CASE(eventfd_blocked_read_restarts_with_sa_restart) {
    restart_fd = OK(eventfd(0, 0));
    tick(add_on_third_tick, SA_RESTART);
    EXPECT_EQ(get(restart_fd), 77);
}

CASE(eventfd_is_shared_with_a_forked_child) {
    int fd = OK(eventfd(5, EFD_NONBLOCK));
    pid_t pid = IN_CHILD({ EXPECT_EQ(get(fd), 5); });
    EXPECT_EXIT(pid, 0);
    uint64_t value;
    EXPECT_ERRNO(read(fd, &value, sizeof value), EAGAIN);
}

CASE(eventfd_read_to_a_bad_pointer_keeps_the_value_away) {
    int fd = OK(eventfd(5, EFD_NONBLOCK));
    EXPECT_ERRNO(read(fd, bad_page(), 8), EFAULT);
    OK(write(fd, &(uint64_t){1}, 8));
    EXPECT_ERRNO(read(fd, page_end() - 5, 8), EFAULT);
}

static void *drain(void *fd) {
    for (int sum = 0; sum < 1000;)
        sum += get(*(int *)fd);
    return NULL;
}

CASE(eventfd_loses_no_count_between_threads) {
    int fd = OK(eventfd(0, 0));
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, drain, &fd), 0);
    for (int i = 0; i < 1000; i++)
        add(fd, 1);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

CASE(eventfd_takes_the_ranges_of_a_vector_one_by_one) {
    int fd = OK(eventfd(0, EFD_NONBLOCK));
    uint64_t one = 1, two = 2, sum;
    struct iovec whole[] = {{&one, 8}, {NULL, 0}, {&two, 8}}, halves[] = {{&one, 4}, {&two, 4}};
    struct iovec cut[] = {{&one, 8}, {&two, 4}};
    EXPECT_EQ(writev(fd, whole, 3), 16);
    EXPECT_ERRNO(writev(fd, halves, 2), EINVAL);
    EXPECT_EQ(writev(fd, cut, 2), 8);
    EXPECT_EQ(read(fd, &sum, 8), 8);
    EXPECT_EQ(sum, 4);
}
