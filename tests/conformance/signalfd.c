/* signalfd(2) */
#include "case.h"
#include <pthread.h>
#include <sys/signalfd.h>

static sigset_t block(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    return set;
}

CASE(signalfd_reads_a_pending_signal) {
    sigset_t set = block(SIGUSR1);
    int fd = OK(signalfd(-1, &set, SFD_NONBLOCK));
    struct signalfd_siginfo info;
    EXPECT_ERRNO(read(fd, &info, sizeof info), EAGAIN);
    OK(kill(getpid(), SIGUSR1));
    EXPECT_EQ(read(fd, &info, sizeof info), sizeof info);
    EXPECT_EQ(info.ssi_signo, SIGUSR1);
    EXPECT_EQ(info.ssi_code, SI_USER);
    EXPECT_EQ(info.ssi_pid, getpid());
    EXPECT_EQ(info.ssi_uid, getuid());
    EXPECT_ERRNO(read(fd, &info, sizeof info), EAGAIN);
}

CASE(signalfd_reads_several_at_once) {
    sigset_t set = block(SIGUSR1);
    sigaddset(&set, SIGUSR2);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    int fd = OK(signalfd(-1, &set, 0));
    OK(kill(getpid(), SIGUSR1));
    OK(kill(getpid(), SIGUSR2));
    struct signalfd_siginfo info[4];
    EXPECT_EQ(read(fd, info, sizeof info), 2 * sizeof info[0]);
    EXPECT_EQ(info[0].ssi_signo, SIGUSR1);
    EXPECT_EQ(info[1].ssi_signo, SIGUSR2);
}

CASE(signalfd_carries_the_value_of_sigqueue) {
    sigset_t set = block(SIGRTMIN);
    int fd = OK(signalfd(-1, &set, 0));
    OK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 4711}));
    struct signalfd_siginfo info;
    EXPECT_EQ(read(fd, &info, sizeof info), sizeof info);
    EXPECT_EQ(info.ssi_code, SI_QUEUE);
    EXPECT_EQ(info.ssi_int, 4711);
}

CASE(signalfd_describes_a_dead_child) {
    sigset_t set = block(SIGCHLD);
    int fd = OK(signalfd(-1, &set, 0));
    pid_t pid = IN_CHILD({ _exit(7); });
    struct signalfd_siginfo info;
    EXPECT_EQ(read(fd, &info, sizeof info), sizeof info);
    EXPECT_EQ(info.ssi_signo, SIGCHLD);
    EXPECT_EQ(info.ssi_code, CLD_EXITED);
    EXPECT_EQ(info.ssi_pid, pid);
    EXPECT_EQ(info.ssi_status, 7);
}

CASE(signalfd_set_can_be_changed) {
    sigset_t set = block(SIGUSR1), other = block(SIGUSR2);
    int fd = OK(signalfd(-1, &set, SFD_NONBLOCK));
    EXPECT_EQ(signalfd(fd, &other, 0), fd);
    OK(kill(getpid(), SIGUSR1));
    struct signalfd_siginfo info;
    EXPECT_ERRNO(read(fd, &info, sizeof info), EAGAIN);
    OK(kill(getpid(), SIGUSR2));
    EXPECT_EQ(read(fd, &info, sizeof info), sizeof info);
    EXPECT_EQ(info.ssi_signo, SIGUSR2);
}

CASE(signalfd_is_polled) {
    sigset_t set = block(SIGUSR1);
    int fd = OK(signalfd(-1, &set, 0));
    struct pollfd poller = {fd, POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 0);
    pid_t parent = getpid();
    pid_t pid = IN_CHILD({ OK(kill(parent, SIGUSR1)); });
    EXPECT_EQ(poll(&poller, 1, -1), 1);
    EXPECT_EQ(poller.revents, POLLIN);
    EXPECT_EXIT(pid, 0);
}

CASE(signalfd_read_waits_and_is_interrupted_by_other_signals) {
    sigset_t set = block(SIGUSR1);
    int fd = OK(signalfd(-1, &set, 0));
    struct signalfd_siginfo info;
    EXPECT_INTERRUPTED(read(fd, &info, sizeof info));
}

CASE(signalfd_read_of_a_short_buffer_returns_einval) {
    sigset_t set = block(SIGUSR1);
    int fd = OK(signalfd(-1, &set, 0));
    OK(kill(getpid(), SIGUSR1));
    char buffer[64];
    EXPECT_ERRNO(read(fd, buffer, sizeof buffer), EINVAL);
    EXPECT_ERRNO(write(fd, buffer, sizeof buffer), EINVAL);
}

CASE(signalfd_with_bad_arguments_fails) {
    sigset_t set = block(SIGUSR1);
    EXPECT_ERRNO(signalfd(-1, &set, 0x10), EINVAL);
    EXPECT_ERRNO(signalfd(next_fd(), &set, 0), EBADF);
    EXPECT_ERRNO(signalfd(0, &set, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_signalfd4, -1, &set, 4, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_signalfd4, -1, bad_page(), 8, 0), EFAULT);
    EXPECT_EQ(fcntl(OK(signalfd(-1, &set, SFD_CLOEXEC)), F_GETFD), FD_CLOEXEC);
}

static int made_in_thread;

static void *make(void *set) {
    made_in_thread = OK(signalfd(-1, set, SFD_NONBLOCK));
    return NULL;
}

CASE(signalfd_is_readable_after_the_thread_that_made_it_has_ended) {
    sigset_t set = block(SIGUSR1);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, make, &set), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    pid_t parent = getpid();
    pid_t pid = IN_CHILD({
        /* Late enough that its parent sleeps, as a rule. */
        usleep(20000);
        OK(kill(parent, SIGUSR1));
    });
    struct pollfd wanted = {made_in_thread, POLLIN, 0};
    EXPECT_EQ(poll(&wanted, 1, 5000), 1);
    struct signalfd_siginfo info;
    EXPECT_EQ(read(made_in_thread, &info, sizeof info), (ssize_t)sizeof info);
    EXPECT_EQ(info.ssi_signo, SIGUSR1);
    EXPECT_EXIT(pid, 0);
}
