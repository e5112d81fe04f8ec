/* seccomp_unotify(2): a filter that leaves calls to another process */
#include "case.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

static long seccomp(unsigned operation, unsigned flags, void *arguments) {
    return syscall(SYS_seccomp, operation, flags, arguments);
}

/* Lays on the caller a filter that leaves `number` to the listener, which is returned. */
static int listen_to(int number, unsigned flags) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    return seccomp(SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

/* A child that runs `body` under a filter that leaves `number` to the caller, who gets the listener. */
static pid_t guarded(int number, int *listener, void (*body)(void)) {
    int sockets[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    pid_t child = OK(fork());
    char room[CMSG_SPACE(sizeof(int))], byte = 0;
    struct iovec bytes = {&byte, 1};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    if (child == 0) {
        int fd = OK(listen_to(number, 0));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
        OK(sendmsg(sockets[1], &message, 0));
        OK(close(fd));
        OK(close(sockets[0])), OK(close(sockets[1]));
        body();
        _exit(0);
    }
    OK(close(sockets[1]));
    EXPECT_EQ(recvmsg(sockets[0], &message, 0), 1);
    memcpy(listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof *listener);
    OK(close(sockets[0]));
    return child;
}

static struct seccomp_notif next_call(int listener) {
    struct seccomp_notif call;
    memset(&call, 0, sizeof call);
    OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call));
    return call;
}

static int answer(int listener, uint64_t id, int64_t value, int error, unsigned flags) {
    struct seccomp_notif_resp response = {.id = id, .val = value, .error = error, .flags = flags};
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void asks_for_a_value(void) { EXPECT_EQ(syscall(SYS_getppid, 1, 2, 3, 4, 5, 6), 4711); }

CASE(a_call_is_described_and_answered) {
    int listener;
    pid_t child = guarded(SYS_getppid, &listener, asks_for_a_value);
    struct seccomp_notif call = next_call(listener);
    EXPECT_EQ(call.pid, child);
    EXPECT_EQ(call.flags, 0);
    EXPECT_EQ(call.data.nr, SYS_getppid);
    for (int i = 0; i < 6; i++)
        EXPECT_EQ(call.data.args[i], i + 1);
    OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call.id));
    OK(answer(listener, call.id, 4711, 0, 0));
    EXPECT_EXIT(child, 0);
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call.id), ENOENT);
    EXPECT_ERRNO(answer(listener, call.id, 0, 0, 0), ENOENT);
}

static void asks_for_an_error(void) { EXPECT_ERRNO(syscall(SYS_mkdir, "x", 0700), EXDEV); }

CASE(a_call_is_answered_with_an_error) {
    int listener;
    pid_t child = guarded(SYS_mkdir, &listener, asks_for_an_error);
    struct seccomp_notif call = next_call(listener);
    OK(answer(listener, call.id, 0, -EXDEV, 0));
    EXPECT_EXIT(child, 0);
    EXPECT_ERRNO(access("x", F_OK), ENOENT);
}

static void makes_directories(void) {
    for (int i = 0; i < 50; i++) {
        OK(syscall(SYS_mkdir, "x", 0700));
        OK(rmdir("x"));
    }
}

CASE(a_call_is_carried_out_after_all) {
    int listener;
    pid_t child = guarded(SYS_mkdir, &listener, makes_directories);
    for (int i = 0; i < 50; i++) {
        struct seccomp_notif call = next_call(listener);
        EXPECT_ERRNO(access("x", F_OK), ENOENT);
        OK(answer(listener, call.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
    }
    EXPECT_EXIT(child, 0);
}

static char name_of_directory[16] = "one";

static void makes_what_it_is_told(void) {
    /* Often, so that the call is one that brings its memory along. */
    for (int i = 0; i < 50; i++) {
        strcpy(name_of_directory, "one");
        OK(syscall(SYS_mkdir, name_of_directory, 0700));
        OK(rmdir("two"));
    }
}

CASE(memory_that_is_changed_before_the_call_goes_on_counts) {
    int listener;
    pid_t child = guarded(SYS_mkdir, &listener, makes_what_it_is_told);
    for (int i = 0; i < 50; i++) {
        struct seccomp_notif call = next_call(listener);
        char text[16] = "";
        struct iovec local = {text, 4}, remote = {(void *)call.data.args[0], 4};
        EXPECT_EQ(process_vm_readv(child, &local, 1, &remote, 1, 0), 4);
        EXPECT_STR(text, "one");
        strcpy(text, "two");
        EXPECT_EQ(process_vm_writev(child, &local, 1, &remote, 1, 0), 4);
        OK(answer(listener, call.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
    }
    EXPECT_EXIT(child, 0);
}

CASE(answers_are_checked) {
    int listener;
    pid_t child = guarded(SYS_getppid, &listener, asks_for_a_value);
    struct seccomp_notif call;
    memset(&call, 0, sizeof call);
    call.pid = 1;
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call), EINVAL);
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, bad_page()), EFAULT);
    call = next_call(listener);
    EXPECT_ERRNO(answer(listener, call.id + 1, 0, 0, 0), ENOENT);
    EXPECT_ERRNO(answer(listener, call.id, 0, 0, 2), EINVAL);
    EXPECT_ERRNO(answer(listener, call.id, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), EINVAL);
    EXPECT_ERRNO(answer(listener, call.id, 0, -1, SECCOMP_USER_NOTIF_FLAG_CONTINUE), EINVAL);
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, bad_page()), EFAULT);
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, bad_page()), EFAULT);
    EXPECT_ERRNO(ioctl(listener, 0x12345678, &call), EINVAL);
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 2), EINVAL);
    EXPECT_ERRNO(read(listener, &call, sizeof call), EINVAL);
    OK(answer(listener, call.id, 4711, 0, 0));
    EXPECT_EXIT(child, 0);
}

CASE(a_listener_is_polled) {
    int listener;
    pid_t child = guarded(SYS_getppid, &listener, asks_for_a_value);
    struct pollfd polled = {listener, POLLIN | POLLOUT, 0};
    EXPECT_EQ(poll(&polled, 1, -1), 1);
    EXPECT_EQ(polled.revents, POLLIN);
    struct seccomp_notif call = next_call(listener);
    EXPECT_EQ(poll(&polled, 1, 0), 1);
    EXPECT_EQ(polled.revents, POLLOUT);
    int epoll = OK(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN}, got;
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event));
    EXPECT_EQ(epoll_wait(epoll, &got, 1, 0), 0);
    OK(answer(listener, call.id, 4711, 0, 0));
    EXPECT_EXIT(child, 0);
    /* Nobody has the filter any more. */
    EXPECT_EQ(epoll_wait(epoll, &got, 1, -1), 1);
    EXPECT_EQ(got.events & EPOLLHUP, EPOLLHUP);
    memset(&call, 0, sizeof call);
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call), ENOENT);
}

static void finds_nobody(void) { EXPECT_ERRNO(syscall(SYS_getppid), ENOSYS); }

CASE(without_a_listener_calls_are_enosys) {
    int listener;
    pid_t child = guarded(SYS_getppid, &listener, finds_nobody);
    next_call(listener);
    OK(close(listener));
    EXPECT_EXIT(child, 0);
    int own = OK(listen_to(SYS_getppid, 0));
    OK(close(own));
    EXPECT_ERRNO(syscall(SYS_getppid), ENOSYS);
}

static void is_interrupted(void) {
    EXPECT_INTERRUPTED(syscall(SYS_getppid));
}

CASE(a_handler_interrupts_the_wait_and_the_call_is_forgotten) {
    int listener;
    pid_t child = guarded(SYS_getppid, &listener, is_interrupted);
    struct seccomp_notif call = next_call(listener);
    EXPECT_EXIT(child, 0);
    EXPECT_ERRNO(answer(listener, call.id, 0, 0, 0), ENOENT);
}

static void waits_for_its_end(void) {
    syscall(SYS_getppid);
    FAIL("the call returns");
}

CASE(a_thread_that_waits_can_be_killed) {
    int listener;
    pid_t child = guarded(SYS_getppid, &listener, waits_for_its_end);
    struct seccomp_notif call = next_call(listener);
    OK(kill(child, SIGKILL));
    EXPECT_KILLED(child, SIGKILL);
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call.id), ENOENT);
}

static void opens_what_it_is_given(void) {
    int fd = OK(syscall(SYS_open, "/no/such/file", O_RDONLY));
    char byte;
    EXPECT_EQ(read(fd, &byte, 1), 1);
    EXPECT_EQ(byte, '!');
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(syscall(SYS_open, "/no/such/file", O_RDONLY), 77);
    EXPECT_EQ(read(77, &byte, 1), 1);
    EXPECT_EQ(fcntl(77, F_GETFD), 0);
}

CASE(descriptors_are_given_to_the_caller) {
    int listener, ends[2];
    OK(pipe(ends));
    EXPECT_EQ(write(ends[1], "!!", 2), 2);
    pid_t child = guarded(SYS_open, &listener, opens_what_it_is_given);
    struct seccomp_notif call = next_call(listener);
    struct seccomp_notif_addfd wanted = {.id = call.id, .srcfd = ends[0], .newfd_flags = O_CLOEXEC};
    struct seccomp_notif_addfd wrong = wanted;
    wrong.flags = 4;
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &wrong), EINVAL);
    wrong = wanted, wrong.newfd_flags = O_NONBLOCK;
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &wrong), EINVAL);
    wrong = wanted, wrong.newfd = 5;
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &wrong), EINVAL);
    wrong = wanted, wrong.srcfd = 999;
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &wrong), EBADF);
    wrong = wanted, wrong.id++;
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &wrong), ENOENT);
    EXPECT_ERRNO(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, bad_page()), EFAULT);
    int fd = OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &wanted));
    OK(answer(listener, call.id, fd, 0, 0));
    call = next_call(listener);
    struct seccomp_notif_addfd at_once = {
        .id = call.id, .srcfd = ends[0], .newfd = 77, .flags = SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND};
    EXPECT_EQ(ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &at_once), 77);
    EXPECT_EXIT(child, 0);
}

static void *ask(void *unused) {
    (void)unused;
    return (void *)syscall(SYS_getppid);
}

static void asks_from_threads(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, ask, NULL), 0);
    long sum = 0;
    for (int i = 0; i < 3; i++) {
        void *result;
        EXPECT_EQ(pthread_join(threads[i], &result), 0);
        sum += (long)result;
    }
    EXPECT_EQ(sum, 111);
    EXPECT_EXIT(IN_CHILD(EXPECT_EQ(syscall(SYS_getppid), 1000)), 0);
}

CASE(calls_of_threads_and_children_wait_side_by_side) {
    int listener;
    pid_t child = guarded(SYS_getppid, &listener, asks_from_threads);
    struct seccomp_notif calls[3];
    for (int i = 0; i < 3; i++)
        calls[i] = next_call(listener);
    int64_t value = 1;
    for (int i = 2; i >= 0; i--, value *= 10) {
        EXPECT(calls[i].pid != (unsigned)child);
        OK(answer(listener, calls[i].id, value, 0, 0));
        EXPECT(answer(listener, calls[i].id, value, 0, 0) == -1);
    }
    struct seccomp_notif call = next_call(listener);
    OK(answer(listener, call.id, 1000, 0, 0));
    EXPECT_EXIT(child, 0);
}

CASE(there_is_one_listener_and_flags_must_fit) {
    OK(listen_to(SYS_getppid, 0));
    EXPECT_ERRNO(listen_to(SYS_mkdir, 0), EBUSY);
    EXPECT_ERRNO(listen_to(SYS_mkdir, SECCOMP_FILTER_FLAG_TSYNC), EINVAL);
}

CASE(a_listener_is_closed_on_exec_and_has_a_name) {
    int listener = OK(listen_to(SYS_mkdir, 0));
    EXPECT_EQ(fcntl(listener, F_GETFD), FD_CLOEXEC);
    char path[64], target[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", listener);
    EXPECT(readlink(path, target, sizeof target - 1) > 0);
    EXPECT_STR(target, "anon_inode:seccomp notify");
}

CASE(sizes_and_the_action_are_told) {
    struct seccomp_notif_sizes sizes;
    OK(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
    EXPECT_EQ(sizes.seccomp_notif, 80);
    EXPECT_EQ(sizes.seccomp_notif_resp, 24);
    EXPECT_EQ(sizes.seccomp_data, 64);
    EXPECT_ERRNO(seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &sizes), EINVAL);
    EXPECT_ERRNO(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, bad_page()), EFAULT);
    unsigned action = SECCOMP_RET_USER_NOTIF;
    OK(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
}
