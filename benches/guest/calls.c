/* Calls that do next to nothing: what remains is the way in and out. */
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void do_getppid(struct meter *meter) {
    REPEAT(meter) getppid();
}

/* `syscall(2)` has the number in a variable: no runtime can rewrite this site as it can the one above. */
static void getppid_raw(struct meter *meter) {
    REPEAT(meter) syscall(SYS_getppid);
}

static void clock_vdso(struct meter *meter) {
    struct timespec now;
    REPEAT(meter) clock_gettime(CLOCK_MONOTONIC, &now);
}

static void clock_raw(struct meter *meter) {
    struct timespec now;
    REPEAT(meter) syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
}

static void read_zero(struct meter *meter) {
    char byte;
    int fd = OK(open("/dev/zero", O_RDONLY));
    REPEAT(meter) OK(read(fd, &byte, 1));
    close(fd);
}

static void write_null(struct meter *meter) {
    int fd = OK(open("/dev/null", O_WRONLY));
    REPEAT(meter) OK(write(fd, "x", 1));
    close(fd);
}

static void do_umask(struct meter *meter) {
    REPEAT(meter) umask(022);
}

static void do_lseek(struct meter *meter) {
    int fd = OK(open(in_directory(inputs, "data"), O_RDONLY));
    REPEAT(meter) OK(lseek(fd, 4096, SEEK_SET));
    close(fd);
}

static void do_fstat(struct meter *meter) {
    struct stat found;
    int fd = OK(open(in_directory(inputs, "data"), O_RDONLY));
    REPEAT(meter) OK(fstat(fd, &found));
    close(fd);
}

static void statx_descriptor(struct meter *meter) {
    struct statx found;
    int fd = OK(open(in_directory(inputs, "data"), O_RDONLY));
    REPEAT(meter) OK(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &found));
    close(fd);
}

static void epoll_now(struct meter *meter) {
    struct epoll_event event = {.events = EPOLLIN};
    int pipe_fds[2], epoll = OK(epoll_create1(0));
    OK(pipe(pipe_fds));
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_fds[0], &event));
    REPEAT(meter) OK(epoll_wait(epoll, &event, 1, 0));
    close(pipe_fds[0]), close(pipe_fds[1]), close(epoll);
}

/* Takes interest in writing, and loses it, as event loops do. */
static void epoll_change(struct meter *meter) {
    struct epoll_event event = {.events = EPOLLIN};
    int pipe_fds[2], epoll = OK(epoll_create1(0));
    OK(pipe(pipe_fds));
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_fds[0], &event));
    REPEAT(meter) {
        event.events ^= EPOLLOUT;
        OK(epoll_ctl(epoll, EPOLL_CTL_MOD, pipe_fds[0], &event));
    }
    close(pipe_fds[0]), close(pipe_fds[1]), close(epoll);
}

static void poll_now(struct meter *meter) {
    int pipe_fds[2];
    OK(pipe(pipe_fds));
    struct pollfd polled = {.fd = pipe_fds[0], .events = POLLIN};
    REPEAT(meter) OK(poll(&polled, 1, 0));
    close(pipe_fds[0]), close(pipe_fds[1]);
}

static void futex_wake_nobody(struct meter *meter) {
    uint32_t word = 0;
    REPEAT(meter) OK(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
}

static void yield(struct meter *meter) {
    REPEAT(meter) OK(sched_yield());
}

static void random_bytes(struct meter *meter) {
    char bytes[16];
    REPEAT(meter) OK(getrandom(bytes, sizeof bytes, 0));
}

/* What a hand-over to another thread costs that answers a system call (seccomp_unotify(2)): the least that a kernel in a
 * user process can answer a call in. One CPU for both, as such kernels do it. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS _IOW('!', 4, __u64)
#endif

static struct {
    volatile int listener, error;
} asking;

/* Its calls of getppid are answered by somebody else; an answer other than 0 ends it. */
static void *ask(void *unused) {
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof instructions / sizeof *instructions, .filter = instructions};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    asking.error = errno;
    asking.listener = listener;
    syscall(SYS_futex, &asking.listener, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    if (listener >= 0) while (syscall(SYS_getppid) == 0) {}
    return unused;
}

static void answer(int listener, int64_t value) {
    struct seccomp_notif call = {0};
    OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call));
    struct seccomp_notif_resp response = {.id = call.id, .val = value};
    OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response));
}

static void notification(struct meter *meter) {
    cpu_set_t before, one;
    pthread_t thread;
    OK(sched_getaffinity(0, sizeof before, &before));
    CPU_ZERO(&one);
    CPU_SET(OK(sched_getcpu()), &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    asking.listener = -2;
    int error = pthread_create(&thread, NULL, ask, NULL);
    OK(sched_setaffinity(0, sizeof before, &before) | (error ? errno = error, -1 : 0));
    while (asking.listener == -2) syscall(SYS_futex, &asking.listener, FUTEX_WAIT_PRIVATE, -2, NULL, NULL, 0);
    int listener = asking.listener;
    if (listener < 0) {
        pthread_join(thread, NULL);
        errno = asking.error;
        refuse("a listener of seccomp");
    }
    OK(sched_setaffinity(0, sizeof one, &one));
    /* Linux 6.6; before, it is slower. */
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1);
    REPEAT(meter) answer(listener, 0);
    answer(listener, 1);
    pthread_join(thread, NULL);
    close(listener);
    OK(sched_setaffinity(0, sizeof before, &before));
}

static void ignore(int signal) {
    (void)signal;
}

static void signal_self(struct meter *meter) {
    pid_t self = getpid();
    signal(SIGUSR1, ignore);
    REPEAT(meter) OK(kill(self, SIGUSR1));
    signal(SIGUSR1, SIG_DFL);
}

const struct operation calls[] = {
    {"getppid", "getppid, libc's wrapper", do_getppid},
    {"getppid_raw", "getppid by syscall(2)", getppid_raw},
    {"clock_vdso", "clock_gettime, vDSO", clock_vdso},
    {"clock_raw", "clock_gettime by syscall(2)", clock_raw},
    {"read_zero", "read 1 B of /dev/zero", read_zero},
    {"write_null", "write 1 B to /dev/null", write_null},
    {"umask", "umask", do_umask},
    {"lseek", "lseek", do_lseek},
    {"fstat", "fstat", do_fstat},
    {"statx_descriptor", "statx of a descriptor", statx_descriptor},
    {"epoll_now", "epoll_wait(0)", epoll_now},
    {"epoll_change", "epoll_ctl(MOD)", epoll_change},
    {"poll_now", "poll(0)", poll_now},
    {"futex_wake_nobody", "futex wake without waiter", futex_wake_nobody},
    {"sched_yield", "sched_yield", yield},
    {"getrandom", "getrandom of 16 B", random_bytes},
    {"notification", "hand-over of a call by seccomp", notification},
    {"signal_self", "signal to self, handled", signal_self},
    {0},
};
