/* Calls that do next to nothing: what remains is the way in and out. */
#include "guest.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
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

static void epoll_now(struct meter *meter) {
    struct epoll_event event = {.events = EPOLLIN};
    int pipe_fds[2], epoll = OK(epoll_create1(0));
    OK(pipe(pipe_fds));
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_fds[0], &event));
    REPEAT(meter) OK(epoll_wait(epoll, &event, 1, 0));
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
    {"epoll_now", "epoll_wait(0)", epoll_now},
    {"poll_now", "poll(0)", poll_now},
    {"futex_wake_nobody", "futex wake without waiter", futex_wake_nobody},
    {"sched_yield", "sched_yield", yield},
    {"getrandom", "getrandom of 16 B", random_bytes},
    {"signal_self", "signal to self, handled", signal_self},
    {0},
};
