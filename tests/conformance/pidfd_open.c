/* pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2) */
#include "case.h"
#include <pthread.h>

static int pidfd_open(pid_t pid, unsigned flags) { return syscall(SYS_pidfd_open, pid, flags); }

static int pidfd_send_signal(int fd, int signal) { return syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0); }

CASE(pidfd_becomes_readable_when_the_process_ends) {
    PIPE(hold);
    pid_t pid = IN_CHILD({ await(hold[0]); });
    int fd = OK(pidfd_open(pid, 0));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    struct pollfd poller = {fd, POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 0);
    announce(hold[1]);
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT(poller.revents & POLLIN);
    EXPECT_EXIT(pid, 0);
}

CASE(pidfd_send_signal_signals) {
    pid_t pid = IN_CHILD({ sleep_forever(); });
    int fd = OK(pidfd_open(pid, 0));
    OK(pidfd_send_signal(fd, 0));
    OK(pidfd_send_signal(fd, SIGTERM));
    EXPECT_KILLED(pid, SIGTERM);
    EXPECT_ERRNO(pidfd_send_signal(fd, SIGTERM), ESRCH);
}

CASE(pidfd_getfd_takes_a_descriptor) {
    PIPE(ends);
    PIPE(hold);
    pid_t pid = IN_CHILD({
        OK(dup2(ends[1], 200));
        announce(200);
        await(hold[0]);
    });
    await(ends[0]);
    int fd = OK(pidfd_open(pid, 0));
    int copy = OK(syscall(SYS_pidfd_getfd, fd, 200, 0));
    EXPECT_EQ(fcntl(copy, F_GETFD), FD_CLOEXEC);
    announce(copy);
    await(ends[0]);
    EXPECT_ERRNO(syscall(SYS_pidfd_getfd, fd, 201, 0), EBADF);
    EXPECT_ERRNO(syscall(SYS_pidfd_getfd, fd, 200, 1), EINVAL);
    announce(hold[1]);
    EXPECT_EXIT(pid, 0);
}

CASE(pidfd_getfd_is_for_those_who_may_trace) {
    NEEDS_ROOT();
    PIPE(hold);
    pid_t target = IN_CHILD({ await(hold[0]); });
    int fd = OK(pidfd_open(target, 0));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        EXPECT_ERRNO(syscall(SYS_pidfd_getfd, fd, 0, 0), EPERM);
    });
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(syscall(SYS_pidfd_getfd, hold[0], 0, 0), EBADF);
    announce(hold[1]);
    EXPECT_EXIT(target, 0);
    EXPECT_ERRNO(syscall(SYS_pidfd_getfd, fd, 0, 0), ESRCH);
}

CASE(pidfd_open_with_bad_arguments_fails) {
    EXPECT_ERRNO(pidfd_open(INT_MAX, 0), ESRCH);
    EXPECT_ERRNO(pidfd_open(0, 0), EINVAL);
    EXPECT_ERRNO(pidfd_open(-1, 0), EINVAL);
    EXPECT_ERRNO(pidfd_open(getpid(), 0x1), EINVAL);
    int fd = OK(pidfd_open(getpid(), O_NONBLOCK));
    EXPECT(fcntl(fd, F_GETFL) & O_NONBLOCK);
    EXPECT_ERRNO(pidfd_send_signal(0, SIGTERM), EBADF);
    EXPECT_ERRNO(pidfd_send_signal(-1, SIGTERM), EBADF);
    EXPECT_ERRNO(pidfd_send_signal(fd, 99), EINVAL);
}

CASE(pidfd_cannot_be_read_or_written) {
    int fd = OK(pidfd_open(getpid(), 0));
    char byte = 0;
    EXPECT_ERRNO(read(fd, &byte, 1), EINVAL);
    EXPECT_ERRNO(write(fd, &byte, 1), EINVAL);
}

CASE(pidfd_send_signal_takes_a_directory_of_proc) {
    pid_t pid = IN_CHILD({ sleep_forever(); });
    char name[64];
    snprintf(name, sizeof name, "/proc/%d", pid);
    int fd = OK(open(name, O_DIRECTORY | O_CLOEXEC));
    int files = OK(open(strcat(name, "/fd"), O_DIRECTORY | O_CLOEXEC));
    EXPECT_ERRNO(pidfd_send_signal(files, SIGTERM), EBADF);
    OK(pidfd_send_signal(fd, SIGTERM));
    EXPECT_KILLED(pid, SIGTERM);
}

static void *send_as_the_kernel(void *pidfd) {
    siginfo_t info = {.si_signo = SIGURG, .si_code = SI_KERNEL};
    errno = 0;
    long result = syscall(SYS_pidfd_send_signal, *(int *)pidfd, SIGURG, &info, 0);
    return (void *)(result == 0 ? 0L : (long)errno);
}

CASE(pidfd_send_signal_lets_the_leader_alone_make_up_a_signal_of_the_kernels) {
    int fd = OK(pidfd_open(getpid(), 0));
    EXPECT_EQ((long)send_as_the_kernel(&fd), 0);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, send_as_the_kernel, &fd), 0);
    void *result;
    EXPECT_EQ(pthread_join(thread, &result), 0);
    EXPECT_EQ((long)result, EPERM);
}
