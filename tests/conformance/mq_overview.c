/* mq_open(2), mq_unlink(2), mq_send(3), mq_receive(3), mq_notify(2), mq_getsetattr(2), and the files in mqueue's directory */
#include "case.h"
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/select.h>

/* A name that no other case's process uses at the same time. */
static const char *own_name(void) {
    static char name[64];
    snprintf(name, sizeof name, "/usk-conformance-%d", getpid());
    return name;
}

/* A queue of `count` messages of `size` bytes that has no name any more. */
static mqd_t new_queue(int flags, long count, long size) {
    struct mq_attr attributes = {.mq_maxmsg = count, .mq_msgsize = size};
    mqd_t queue = OK(mq_open(own_name(), O_CREAT | O_EXCL | O_RDWR | flags, 0600, &attributes));
    OK(mq_unlink(own_name()));
    return queue;
}

static struct mq_attr attributes_of(mqd_t queue) {
    struct mq_attr attributes;
    OK(mq_getattr(queue, &attributes));
    return attributes;
}

static struct timespec from_now(long milliseconds) {
    struct timespec time;
    OK(clock_gettime(CLOCK_REALTIME, &time));
    long nanoseconds = time.tv_nsec + milliseconds * 1000000;
    time.tv_sec += nanoseconds / 1000000000;
    time.tv_nsec = nanoseconds % 1000000000;
    return time;
}

CASE(messages_come_by_priority_and_then_by_age) {
    mqd_t queue = new_queue(0, 5, 16);
    OK(mq_send(queue, "low", 4, 0)), OK(mq_send(queue, "high", 5, 9)), OK(mq_send(queue, "low2", 5, 0));
    OK(mq_send(queue, "top", 4, 32767)), OK(mq_send(queue, "", 0, 9));
    char text[16];
    unsigned priority;
    EXPECT_EQ(mq_receive(queue, text, 16, &priority), 4);
    EXPECT_STR(text, "top");
    EXPECT_EQ(priority, 32767);
    EXPECT_EQ(mq_receive(queue, text, 16, &priority), 5);
    EXPECT_STR(text, "high");
    EXPECT_EQ(mq_receive(queue, text, 16, &priority), 0);
    EXPECT_EQ(priority, 9);
    EXPECT_EQ(mq_receive(queue, text, 16, NULL), 4);
    EXPECT_STR(text, "low");
    EXPECT_EQ(mq_receive(queue, text, 16, NULL), 5);
    EXPECT_STR(text, "low2");
}

CASE(mq_open_makes_a_queue_as_the_settings_say) {
    mqd_t queue = OK(mq_open(own_name(), O_CREAT | O_EXCL | O_RDWR, 0777, NULL));
    struct mq_attr attributes = attributes_of(queue);
    EXPECT_EQ(attributes.mq_maxmsg, atoi(file_content("/proc/sys/fs/mqueue/msg_default")));
    EXPECT_EQ(attributes.mq_msgsize, atoi(file_content("/proc/sys/fs/mqueue/msgsize_default")));
    EXPECT_EQ(attributes.mq_curmsgs, 0);
    EXPECT_EQ(attributes.mq_flags, 0);
    struct stat status;
    OK(fstat(queue, &status));
    EXPECT(S_ISREG(status.st_mode));
    EXPECT_EQ(status.st_mode & 07777, 0755);
    EXPECT_EQ(status.st_size, 80);
    EXPECT_EQ(fcntl(queue, F_GETFD), FD_CLOEXEC);
    EXPECT_ERRNO(mq_open(own_name(), O_CREAT | O_EXCL | O_RDWR, 0600, NULL), EEXIST);
    mqd_t again = OK(mq_open(own_name(), O_CREAT | O_RDONLY, 0600, NULL));
    EXPECT_ERRNO(mq_send(again, "x", 1, 0), EBADF);
    OK(mq_unlink(own_name()));
    EXPECT_ERRNO(mq_unlink(own_name()), ENOENT);
    EXPECT_ERRNO(mq_open(own_name(), O_RDWR), ENOENT);
    OK(mq_send(queue, "x", 1, 0));
    EXPECT_EQ(attributes_of(again).mq_curmsgs, 1);
}

CASE(mq_open_refuses_names_that_are_no_single_component) {
    EXPECT_ERRNO(syscall(SYS_mq_open, "a/b", O_CREAT | O_RDWR, 0600, NULL), EACCES);
    EXPECT_ERRNO(syscall(SYS_mq_open, "/a", O_CREAT | O_RDWR, 0600, NULL), EACCES);
    EXPECT_ERRNO(syscall(SYS_mq_open, ".", O_CREAT | O_RDWR, 0600, NULL), EACCES);
    EXPECT_ERRNO(syscall(SYS_mq_open, "..", O_RDWR, 0600, NULL), EACCES);
    EXPECT_ERRNO(syscall(SYS_mq_open, "", O_CREAT | O_RDWR, 0600, NULL), ENOENT);
    EXPECT_ERRNO(syscall(SYS_mq_unlink, "a/b"), EACCES);
    char name[300] = "";
    memset(name, 'n', 256);
    EXPECT_ERRNO(syscall(SYS_mq_open, name, O_CREAT | O_RDWR, 0600, NULL), ENAMETOOLONG);
    EXPECT_ERRNO(syscall(SYS_mq_open, bad_page(), O_RDWR, 0600, NULL), EFAULT);
    EXPECT_ERRNO(syscall(SYS_mq_open, "good", O_CREAT | O_RDWR, 0600, bad_page()), EFAULT);
}

CASE(mq_open_refuses_sizes_that_are_out_of_bounds) {
    struct mq_attr none = {.mq_maxmsg = 0, .mq_msgsize = 1}, empty = {.mq_maxmsg = 1, .mq_msgsize = 0};
    struct mq_attr negative = {.mq_maxmsg = -1, .mq_msgsize = 1};
    struct mq_attr many = {.mq_maxmsg = 65537, .mq_msgsize = 1}, large = {.mq_maxmsg = 1, .mq_msgsize = (16 << 20) + 1};
    EXPECT_ERRNO(mq_open(own_name(), O_CREAT | O_RDWR, 0600, &none), EINVAL);
    EXPECT_ERRNO(mq_open(own_name(), O_CREAT | O_RDWR, 0600, &empty), EINVAL);
    EXPECT_ERRNO(mq_open(own_name(), O_CREAT | O_RDWR, 0600, &negative), EINVAL);
    EXPECT_ERRNO(mq_open(own_name(), O_CREAT | O_RDWR, 0600, &many), EINVAL);
    EXPECT_ERRNO(mq_open(own_name(), O_CREAT | O_RDWR, 0600, &large), EINVAL);
    EXPECT_ERRNO(mq_open(own_name(), O_RDWR), ENOENT);
}

CASE(queues_count_against_rlimit_msgqueue) {
    struct rlimit limit = {4096, 4096};
    OK(setrlimit(RLIMIT_MSGQUEUE, &limit));
    struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = 1000};
    EXPECT_ERRNO(mq_open(own_name(), O_CREAT | O_RDWR, 0600, &attributes), EMFILE);
    EXPECT_ERRNO(mq_open(own_name(), O_RDWR), ENOENT);
}

CASE(permissions_of_a_queue_are_those_of_a_file) {
    NEEDS_ROOT();
    mqd_t queue = OK(mq_open(own_name(), O_CREAT | O_EXCL | O_RDWR, 0640, NULL));
    const char *name = own_name();
    EXPECT_EXIT(IN_CHILD({
        OK(setresgid(12345, 12345, 12345));
        OK(setresuid(12345, 12345, 12345));
        EXPECT_ERRNO(mq_open(name, O_RDONLY), EACCES);
        EXPECT_ERRNO(mq_open(name, O_CREAT | O_WRONLY, 0600, NULL), EACCES);
        /* glibc makes EACCES of EPERM. */
        EXPECT_ERRNO(syscall(SYS_mq_unlink, name + 1), EPERM);
    }), 0);
    OK(fchmod(queue, 0644));
    EXPECT_EXIT(IN_CHILD({
        OK(setresgid(12345, 12345, 12345));
        OK(setresuid(12345, 12345, 12345));
        OK(mq_open(name, O_RDONLY));
        EXPECT_ERRNO(mq_open(name, O_RDWR), EACCES);
    }), 0);
    OK(mq_unlink(name));
}

CASE(messages_must_fit) {
    mqd_t queue = new_queue(O_NONBLOCK, 2, 8);
    char text[16] = "";
    EXPECT_ERRNO(mq_send(queue, text, 9, 0), EMSGSIZE);
    EXPECT_ERRNO(mq_send(queue, text, 8, 32768), EINVAL);
    EXPECT_ERRNO(mq_receive(queue, text, 7, NULL), EMSGSIZE);
    EXPECT_ERRNO(mq_receive(queue, text, 8, NULL), EAGAIN);
    OK(mq_send(queue, text, 8, 0)), OK(mq_send(queue, text, 0, 0));
    EXPECT_ERRNO(mq_send(queue, text, 1, 0), EAGAIN);
    EXPECT_EQ(mq_receive(queue, text, 16, NULL), 8);
}

CASE(bad_pointers_are_efault) {
    mqd_t queue = new_queue(O_NONBLOCK, 2, 8);
    char text[8];
    EXPECT_ERRNO(mq_send(queue, bad_page(), 8, 0), EFAULT);
    EXPECT_EQ(attributes_of(queue).mq_curmsgs, 0);
    OK(mq_send(queue, "a", 2, 0)), OK(mq_send(queue, "b", 2, 0));
    /* The message is lost. */
    EXPECT_ERRNO(mq_receive(queue, bad_page(), 8, NULL), EFAULT);
    EXPECT_ERRNO(mq_receive(queue, text, 8, bad_page()), EFAULT);
    EXPECT_EQ(attributes_of(queue).mq_curmsgs, 0);
    EXPECT_ERRNO(syscall(SYS_mq_timedsend, queue, "a", 1, 0, bad_page()), EFAULT);
    EXPECT_ERRNO(syscall(SYS_mq_getsetattr, queue, bad_page(), NULL), EFAULT);
    EXPECT_ERRNO(syscall(SYS_mq_getsetattr, queue, NULL, bad_page()), EFAULT);
    EXPECT_ERRNO(syscall(SYS_mq_notify, queue, bad_page()), EFAULT);
}

CASE(other_descriptors_are_ebadf) {
    int ends[2];
    OK(pipe(ends));
    char text[8];
    struct mq_attr attributes;
    for (int fd = -1; fd < ends[1] + 1; fd += ends[1] + 1) {
        EXPECT_ERRNO(mq_send(fd, "", 0, 0), EBADF);
        EXPECT_ERRNO(mq_receive(fd, text, 8, NULL), EBADF);
        EXPECT_ERRNO(mq_getattr(fd, &attributes), EBADF);
        EXPECT_ERRNO(mq_notify(fd, NULL), EBADF);
    }
    EXPECT_ERRNO(mq_send(ends[1], "", 0, 0), EBADF);
    EXPECT_ERRNO(mq_getattr(ends[0], &attributes), EBADF);
    mqd_t queue = new_queue(0, 1, 1);
    EXPECT_ERRNO(write(queue, "x", 1), EINVAL);
}

CASE(mq_setattr_changes_only_o_nonblock) {
    mqd_t queue = new_queue(0, 3, 8);
    struct mq_attr wanted = {.mq_flags = O_NONBLOCK, .mq_maxmsg = 99}, before;
    OK(mq_setattr(queue, &wanted, &before));
    EXPECT_EQ(before.mq_flags, 0);
    EXPECT_EQ(attributes_of(queue).mq_flags, O_NONBLOCK);
    EXPECT_EQ(attributes_of(queue).mq_maxmsg, 3);
    EXPECT_EQ(fcntl(queue, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_NONBLOCK | O_RDWR);
    wanted.mq_flags = O_NONBLOCK | O_APPEND;
    EXPECT_ERRNO(mq_setattr(queue, &wanted, NULL), EINVAL);
}

CASE(waiting_ends_at_an_absolute_time) {
    mqd_t queue = new_queue(0, 1, 8);
    char text[8];
    struct timespec soon = from_now(20), past = {1, 0}, wrong = {1, 1000000000}, negative = {-1, 0};
    EXPECT_ERRNO(mq_timedreceive(queue, text, 8, NULL, &soon), ETIMEDOUT);
    EXPECT_ERRNO(mq_timedreceive(queue, text, 8, NULL, &past), ETIMEDOUT);
    EXPECT_ERRNO(mq_timedreceive(queue, text, 8, NULL, &wrong), EINVAL);
    EXPECT_ERRNO(mq_timedsend(queue, "a", 1, 0, &negative), EINVAL);
    /* What need not wait does not look whether it is too late. */
    OK(mq_timedsend(queue, "a", 1, 0, &past));
    EXPECT_ERRNO(mq_timedsend(queue, "a", 1, 0, &past), ETIMEDOUT);
    EXPECT_EQ(mq_timedreceive(queue, text, 8, NULL, &past), 1);
}

CASE(a_receiver_waits_for_a_sender_and_a_sender_for_room) {
    mqd_t queue = new_queue(0, 1, 8);
    pid_t child = OK(fork());
    if (child == 0) {
        for (int i = 0; i < 100; i++) {
            char text[8];
            EXPECT_EQ(mq_receive(queue, text, 8, NULL), 1);
            EXPECT_EQ(text[0], (char)i);
        }
        _exit(0);
    }
    for (int i = 0; i < 100; i++) {
        char text = (char)i;
        OK(mq_send(queue, &text, 1, 0));
    }
    EXPECT_EXIT(child, 0);
}

CASE(waiting_is_interrupted_by_a_handler) {
    mqd_t queue = new_queue(0, 1, 8);
    char text[8];
    EXPECT_INTERRUPTED(mq_receive(queue, text, 8, NULL));
    OK(mq_send(queue, "a", 1, 0));
    EXPECT_INTERRUPTED(mq_send(queue, "b", 1, 0));
}

CASE(waiting_is_restarted_with_sa_restart) {
    mqd_t queue = new_queue(0, 1, 8);
    char text[8];
    struct timespec soon = from_now(200);
    tick(count_signal, SA_RESTART);
    EXPECT_ERRNO(mq_timedreceive(queue, text, 8, NULL, &soon), ETIMEDOUT);
    stop_ticking();
    EXPECT(signals_seen > 0);
}

CASE(a_queue_can_be_polled) {
    mqd_t queue = new_queue(0, 1, 8);
    struct pollfd polled = {queue, POLLIN | POLLOUT, 0};
    EXPECT_EQ(poll(&polled, 1, 0), 1);
    EXPECT_EQ(polled.revents, POLLOUT);
    OK(mq_send(queue, "a", 1, 0));
    EXPECT_EQ(poll(&polled, 1, 0), 1);
    EXPECT_EQ(polled.revents, POLLIN);
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(queue, &readable);
    struct timeval none = {0, 0};
    EXPECT_EQ(select(queue + 1, &readable, NULL, NULL, &none), 1);
    int epoll = OK(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN}, got;
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event));
    EXPECT_EQ(epoll_wait(epoll, &got, 1, 0), 1);
    char text[8];
    OK(mq_receive(queue, text, 8, NULL));
    EXPECT_EQ(epoll_wait(epoll, &got, 1, 0), 0);
    pid_t child = OK(fork());
    if (child == 0) {
        OK(mq_send(queue, "b", 1, 0));
        _exit(0);
    }
    EXPECT_EQ(epoll_wait(epoll, &got, 1, -1), 1);
    EXPECT_EXIT(child, 0);
}

static volatile siginfo_t told;

static void note(int signal, siginfo_t *info, void *context) {
    (void)context;
    told = *info;
    signals_seen++;
    (void)signal;
}

CASE(mq_notify_sends_one_signal_for_the_first_message) {
    mqd_t queue = new_queue(O_NONBLOCK, 3, 8);
    handle_info(SIGUSR1, note, 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    OK(mq_notify(queue, &event));
    EXPECT_ERRNO(mq_notify(queue, &event), EBUSY);
    OK(mq_send(queue, "a", 1, 0));
    EXPECT_EQ(signals_seen, 1);
    EXPECT_EQ(told.si_code, SI_MESGQ);
    EXPECT_EQ(told.si_value.sival_int, 42);
    EXPECT_EQ(told.si_pid, getpid());
    EXPECT_EQ(told.si_uid, getuid());
    OK(mq_send(queue, "b", 1, 0));
    EXPECT_EQ(signals_seen, 1);
    /* One that is not empty tells nothing until it has been. */
    OK(mq_notify(queue, &event));
    OK(mq_send(queue, "c", 1, 0));
    EXPECT_EQ(signals_seen, 1);
    char text[8];
    for (int i = 0; i < 3; i++)
        OK(mq_receive(queue, text, 8, NULL));
    OK(mq_send(queue, "d", 1, 0));
    EXPECT_EQ(signals_seen, 2);
}

CASE(mq_notify_can_be_taken_back_and_ends_with_the_descriptor) {
    mqd_t queue = new_queue(O_NONBLOCK, 3, 8);
    handle_info(SIGUSR1, note, 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct sigevent silent = {.sigev_notify = SIGEV_NONE};
    OK(mq_notify(queue, &silent));
    EXPECT_ERRNO(mq_notify(queue, &event), EBUSY);
    EXPECT_EXIT(IN_CHILD({
        EXPECT_ERRNO(mq_notify(queue, &event), EBUSY);
        OK(mq_notify(queue, NULL));
        EXPECT_ERRNO(mq_notify(queue, &event), EBUSY);
    }), 0);
    OK(mq_notify(queue, NULL));
    OK(mq_notify(queue, NULL));
    OK(mq_notify(queue, &event));
    /* Any descriptor of the process for the queue will do. */
    mqd_t other = OK(dup(queue));
    OK(mq_close(other));
    OK(mq_notify(queue, &silent));
    OK(mq_notify(queue, NULL));
    EXPECT_EXIT(IN_CHILD(OK(mq_notify(queue, &event))), 0);
    OK(mq_notify(queue, &event));
    OK(mq_send(queue, "a", 1, 0));
    EXPECT_EQ(signals_seen, 1);
}

CASE(mq_notify_checks_what_is_asked_for) {
    mqd_t queue = new_queue(0, 1, 8);
    struct sigevent event = {.sigev_notify = 77};
    EXPECT_ERRNO(syscall(SYS_mq_notify, queue, &event), EINVAL);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = 65;
    EXPECT_ERRNO(syscall(SYS_mq_notify, queue, &event), EINVAL);
    event.sigev_signo = 0;
    OK(syscall(SYS_mq_notify, queue, &event));
    OK(mq_notify(queue, NULL));
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_signo = 0;
    event.sigev_value.sival_ptr = bad_page();
    EXPECT_ERRNO(syscall(SYS_mq_notify, queue, &event), EFAULT);
    char cookie[32] = "";
    event.sigev_value.sival_ptr = cookie;
    event.sigev_signo = 800;
    EXPECT_ERRNO(syscall(SYS_mq_notify, queue, &event), EBADF);
    int ends[2];
    OK(pipe(ends));
    event.sigev_signo = ends[0];
    EXPECT_ERRNO(syscall(SYS_mq_notify, queue, &event), ENOTSOCK);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    event.sigev_signo = ends[0];
    EXPECT_ERRNO(syscall(SYS_mq_notify, queue, &event), EINVAL);
}

CASE(mq_notify_of_a_thread_sends_a_cookie_to_its_socket) {
    mqd_t queue = new_queue(0, 1, 8);
    int socket_fd = OK(socket(AF_NETLINK, SOCK_RAW, 0));
    char cookie[32] = "who asks", got[64];
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_signo = socket_fd, .sigev_value.sival_ptr = cookie};
    OK(syscall(SYS_mq_notify, queue, &event));
    EXPECT_ERRNO(recv(socket_fd, got, sizeof got, MSG_DONTWAIT), EAGAIN);
    OK(mq_send(queue, "a", 1, 0));
    EXPECT_EQ(recv(socket_fd, got, sizeof got, 0), 32);
    EXPECT_STR(got, "who asks");
    EXPECT_EQ(got[31], 1);
    OK(syscall(SYS_mq_notify, queue, &event));
    OK(mq_notify(queue, NULL));
    EXPECT_EQ(recv(socket_fd, got, sizeof got, 0), 32);
    EXPECT_EQ(got[31], 2);
}

static int called[2];

static void call(union sigval value) { EXPECT_EQ(write(called[1], &value.sival_int, sizeof(int)), sizeof(int)); }

CASE(mq_notify_of_the_c_library_calls_a_function) {
    mqd_t queue = new_queue(0, 1, 8);
    OK(pipe(called));
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD, .sigev_notify_function = call, .sigev_value.sival_int = 4711};
    OK(mq_notify(queue, &event));
    OK(mq_send(queue, "a", 1, 0));
    int value = 0;
    EXPECT_EQ(read(called[0], &value, sizeof value), sizeof value);
    EXPECT_EQ(value, 4711);
}

CASE(who_waits_for_a_message_gets_it_before_anybody_is_told) {
    mqd_t queue = new_queue(0, 3, 8);
    handle_info(SIGUSR1, note, 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    pid_t child = OK(fork());
    if (child == 0) {
        char text[8];
        EXPECT_EQ(mq_receive(queue, text, 8, NULL), 1);
        _exit(0);
    }
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    while (state != 'S') {
        const char *stat = file_content(path);
        state = strrchr(stat, ')')[2];
        sched_yield();
    }
    OK(mq_notify(queue, &event));
    OK(mq_send(queue, "a", 1, 0));
    EXPECT_EXIT(child, 0);
    EXPECT_EQ(signals_seen, 0);
    EXPECT_ERRNO(mq_notify(queue, &event), EBUSY);
}

CASE(a_queue_can_be_read_as_a_file) {
    mqd_t queue = new_queue(0, 3, 8);
    OK(mq_send(queue, "abc", 3, 0));
    char text[256] = "", expected[256];
    snprintf(expected, sizeof expected, "QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", 3, 0, 0, 0);
    EXPECT_EQ(read(queue, text, sizeof text), strlen(expected));
    EXPECT_STR(text, expected);
    EXPECT_EQ(read(queue, text, sizeof text), 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    OK(mq_notify(queue, &event));
    memset(text, 0, sizeof text);
    EXPECT(pread(queue, text, sizeof text, 0) > 0);
    snprintf(expected, sizeof expected, "QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", 3, 0, SIGUSR1,
             getpid());
    EXPECT_STR(text, expected);
    OK(mq_notify(queue, NULL));
}

CASE(a_descriptor_is_inherited_and_not_executed) {
    mqd_t queue = new_queue(0, 1, 8);
    EXPECT_EXIT(IN_CHILD(OK(mq_send(queue, "a", 1, 0))), 0);
    char text[8];
    EXPECT_EQ(mq_receive(queue, text, 8, NULL), 1);
    char link[64], target[128] = "", path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", queue);
    EXPECT(readlink(path, target, sizeof target - 1) > 0);
    snprintf(link, sizeof link, "%s (deleted)", own_name());
    EXPECT_STR(target, link);
}
