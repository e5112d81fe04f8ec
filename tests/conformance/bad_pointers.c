/*
 * Bad pointers, for every call that takes one: EFAULT, no crash, and nothing else.
 *
 * A row gives a call with good arguments; each argument written as BAD is replaced in turn by pointers that cannot be
 * used: to nowhere, to a page without access, into the kernel, and to the last bytes of the address space.
 */
#include "case.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>

/* Stands for the pointer to replace. */
#define BAD 0xbadbadbadbadL

static long bad_pointers[4];

static void prepare(void) {
    bad_pointers[0] = 8;
    bad_pointers[1] = (long)bad_page();
    bad_pointers[2] = (long)0xffff800000000000;
    bad_pointers[3] = -8;
}

/* Makes the call with each bad pointer in the place of BAD; each must return EFAULT. */
static void expect_efault(const char *name, long number, const long *arguments) {
    for (int which = 0; which < 4; which++) {
        long a[6];
        for (int i = 0; i < 6; i++)
            a[i] = arguments[i] == BAD ? bad_pointers[which] : arguments[i];
        errno = 0;
        long result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (result != -1 || errno != EFAULT)
            FAIL("%s with pointer 0x%lx fails with EFAULT, got %ld, %s", name, bad_pointers[which], result,
                 errno_name(errno));
    }
}

/* A case for one call: `set_up` is run before, then each row of arguments is tried. */
#define BAD_POINTER(call, ...) BAD_POINTER_AFTER(call, , __VA_ARGS__)
#define BAD_POINTER_AFTER(call, set_up, ...)                                                                           \
    CASE(call##_with_a_bad_pointer_returns_efault) {                                                                   \
        prepare();                                                                                                     \
        make_file("f", "content");                                                                                     \
        set_up;                                                                                                        \
        long rows[][6] = {__VA_ARGS__};                                                                                \
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)                                                      \
            expect_efault(#call, SYS_##call, rows[i]);                                                                 \
    }

#define AT AT_FDCWD
#define P(pointer) ((long)(pointer))

static char page[PAGE_SIZE];
static struct iovec vector = {page, 8};
static int pair[2], file, ends[2];

static void open_file(void) { file = OK(open("f", O_RDWR)); }
static void open_pair(void) { OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)); }
static void open_pipe(void) { OK(pipe(ends)); }

static void fill_pair(void) {
    open_pair();
    EXPECT_EQ(write(pair[1], "data", 4), 4);
}

/* Files. */
BAD_POINTER_AFTER(read, open_file(), {file, BAD, 1})
BAD_POINTER_AFTER(write, open_file(), {file, BAD, 1})
BAD_POINTER_AFTER(pread64, open_file(), {file, BAD, 1, 0})
BAD_POINTER_AFTER(pwrite64, open_file(), {file, BAD, 1, 0})
BAD_POINTER_AFTER(readv, open_file(), {file, BAD, 1})
BAD_POINTER_AFTER(writev, open_file(), {file, BAD, 1})
BAD_POINTER_AFTER(preadv, open_file(), {file, BAD, 1, 0})
BAD_POINTER_AFTER(pwritev, open_file(), {file, BAD, 1, 0})
BAD_POINTER_AFTER(preadv2, open_file(), {file, BAD, 1, 0})
BAD_POINTER_AFTER(pwritev2, open_file(), {file, BAD, 1, 0})
BAD_POINTER(open, {BAD, O_RDONLY})
BAD_POINTER(openat, {AT, BAD, O_RDONLY})
BAD_POINTER(openat2, {AT, P("f"), BAD, 24})
BAD_POINTER(creat, {BAD, 0600})
BAD_POINTER(stat, {BAD, P(page)}, {P("f"), BAD})
BAD_POINTER(lstat, {BAD, P(page)}, {P("f"), BAD})
BAD_POINTER_AFTER(fstat, open_file(), {file, BAD})
BAD_POINTER(newfstatat, {AT, BAD, P(page), 0}, {AT, P("f"), BAD, 0})
BAD_POINTER(statx, {AT, BAD, 0, 1, P(page)}, {AT, P("f"), 0, 1, BAD})
BAD_POINTER(access, {BAD, F_OK})
BAD_POINTER(faccessat, {AT, BAD, F_OK})
BAD_POINTER(faccessat2, {AT, BAD, F_OK, 0})
BAD_POINTER(mkdir, {BAD, 0700})
BAD_POINTER(mkdirat, {AT, BAD, 0700})
BAD_POINTER(rmdir, {BAD})
BAD_POINTER(unlink, {BAD})
BAD_POINTER(unlinkat, {AT, BAD, 0})
BAD_POINTER(rename, {BAD, P("g")}, {P("f"), BAD})
BAD_POINTER(renameat, {AT, BAD, AT, P("g")}, {AT, P("f"), AT, BAD})
BAD_POINTER(renameat2, {AT, BAD, AT, P("g"), 0}, {AT, P("f"), AT, BAD, 0})
BAD_POINTER(link, {BAD, P("g")}, {P("f"), BAD})
BAD_POINTER(linkat, {AT, BAD, AT, P("g"), 0}, {AT, P("f"), AT, BAD, 0})
BAD_POINTER(symlink, {BAD, P("g")}, {P("f"), BAD})
BAD_POINTER(symlinkat, {BAD, AT, P("g")}, {P("f"), AT, BAD})
BAD_POINTER_AFTER(readlink, OK(symlink("x", "l")), {BAD, P(page), 9}, {P("l"), BAD, 9})
BAD_POINTER_AFTER(readlinkat, OK(symlink("x", "l")), {AT, BAD, P(page), 9}, {AT, P("l"), BAD, 9})
BAD_POINTER(mknod, {BAD, S_IFREG, 0})
BAD_POINTER(mknodat, {AT, BAD, S_IFREG, 0})
BAD_POINTER(chmod, {BAD, 0600})
BAD_POINTER(fchmodat, {AT, BAD, 0600})
BAD_POINTER(chown, {BAD, -1, -1})
BAD_POINTER(lchown, {BAD, -1, -1})
BAD_POINTER(fchownat, {AT, BAD, -1, -1, 0})
BAD_POINTER(utimensat, {AT, BAD, 0, 0}, {AT, P("f"), BAD, 0})
BAD_POINTER(utimes, {BAD, 0}, {P("f"), BAD})
BAD_POINTER(utime, {BAD, 0}, {P("f"), BAD})
BAD_POINTER(futimesat, {AT, BAD, 0}, {AT, P("f"), BAD})
BAD_POINTER(truncate, {BAD, 0})
BAD_POINTER(chdir, {BAD})
BAD_POINTER_AFTER(chroot, NEEDS_ROOT(), {BAD})
BAD_POINTER(getcwd, {BAD, PAGE_SIZE})
BAD_POINTER(statfs, {BAD, P(page)}, {P("f"), BAD})
BAD_POINTER_AFTER(fstatfs, open_file(), {file, BAD})
BAD_POINTER_AFTER(getdents, file = OK(open(".", O_RDONLY)), {file, BAD, PAGE_SIZE})
BAD_POINTER_AFTER(getdents64, file = OK(open(".", O_RDONLY)), {file, BAD, PAGE_SIZE})
BAD_POINTER(setxattr, {BAD, P("user.a"), P("x"), 1, 0}, {P("f"), BAD, P("x"), 1, 0}, {P("f"), P("user.a"), BAD, 1, 0})
BAD_POINTER(lsetxattr, {BAD, P("user.a"), P("x"), 1, 0}, {P("f"), BAD, P("x"), 1, 0})
BAD_POINTER_AFTER(fsetxattr, open_file(), {file, BAD, P("x"), 1, 0}, {file, P("user.a"), BAD, 1, 0})
BAD_POINTER_AFTER(getxattr, OK(syscall(SYS_setxattr, "f", "user.a", "x", 1, 0)), {BAD, P("user.a"), P(page), 9},
                  {P("f"), BAD, P(page), 9}, {P("f"), P("user.a"), BAD, 9})
BAD_POINTER(lgetxattr, {BAD, P("user.a"), P(page), 9}, {P("f"), BAD, P(page), 9})
BAD_POINTER_AFTER(fgetxattr, open_file(), {file, BAD, P(page), 9})
BAD_POINTER_AFTER(listxattr, OK(syscall(SYS_setxattr, "f", "user.a", "x", 1, 0)), {BAD, P(page), 99},
                  {P("f"), BAD, 99})
BAD_POINTER(llistxattr, {BAD, P(page), 99})
BAD_POINTER(removexattr, {BAD, P("user.a")}, {P("f"), BAD})
BAD_POINTER(lremovexattr, {BAD, P("user.a")}, {P("f"), BAD})
BAD_POINTER_AFTER(fremovexattr, open_file(), {file, BAD})
BAD_POINTER_AFTER(fcntl, open_file(), {file, F_SETLK, BAD}, {file, F_GETLK, BAD}, {file, F_OFD_SETLK, BAD})
BAD_POINTER_AFTER(ioctl, open_pipe(), {ends[0], 0x541B, BAD}, {ends[0], 0x5421, BAD})

/* Pipes, polling and descriptor objects. */
BAD_POINTER(pipe, {BAD})
BAD_POINTER(pipe2, {BAD, 0})
BAD_POINTER_AFTER(splice, (open_file(), open_pipe()), {file, BAD, ends[1], 0, 1, 0})
BAD_POINTER_AFTER(vmsplice, open_pipe(), {ends[1], BAD, 1, 0})
BAD_POINTER_AFTER(sendfile, (open_file(), open_pipe()), {ends[1], file, BAD, 1})
BAD_POINTER_AFTER(copy_file_range, open_file(), {file, BAD, file, 0, 1, 0}, {file, 0, file, BAD, 1, 0})
BAD_POINTER(poll, {BAD, 1, 0})
BAD_POINTER(ppoll, {BAD, 1, P(page), 0, 8}, {0, 0, BAD, 0, 8}, {0, 0, P(page), BAD, 8})
BAD_POINTER(select, {1, BAD, 0, 0, 0}, {1, 0, BAD, 0, 0}, {1, 0, 0, BAD, 0}, {0, 0, 0, 0, BAD})
BAD_POINTER(pselect6, {1, BAD, 0, 0, P(page), 0}, {0, 0, 0, 0, BAD, 0}, {0, 0, 0, 0, P(page), BAD})
BAD_POINTER_AFTER(epoll_ctl, file = OK(epoll_create1(0)), {file, EPOLL_CTL_ADD, OK(eventfd(0, 0)), BAD})

static void ready_epoll(void) {
    file = OK(epoll_create1(0));
    struct epoll_event event = {EPOLLIN, {0}};
    OK(epoll_ctl(file, EPOLL_CTL_ADD, OK(eventfd(1, 0)), &event));
}

BAD_POINTER_AFTER(epoll_wait, ready_epoll(), {file, BAD, 1, 0})
BAD_POINTER_AFTER(epoll_pwait, ready_epoll(), {file, BAD, 1, 0, 0, 8}, {file, P(page), 1, 0, BAD, 8})
BAD_POINTER_AFTER(epoll_pwait2, ready_epoll(), {file, BAD, 1, P(page), 0, 8}, {file, P(page), 1, BAD, 0, 8})
BAD_POINTER(signalfd, {-1, BAD, 8})
BAD_POINTER(signalfd4, {-1, BAD, 8, 0})
BAD_POINTER_AFTER(timerfd_settime, file = OK(timerfd_create(CLOCK_MONOTONIC, 0)), {file, 0, BAD, 0},
                  {file, 0, P(page), BAD})
BAD_POINTER_AFTER(timerfd_gettime, file = OK(timerfd_create(CLOCK_MONOTONIC, 0)), {file, BAD})
BAD_POINTER_AFTER(inotify_add_watch, file = OK(inotify_init1(0)), {file, BAD, IN_CREATE})
BAD_POINTER(memfd_create, {BAD, 0})

/* Sockets. */
BAD_POINTER(socketpair, {AF_UNIX, SOCK_STREAM, 0, BAD})
BAD_POINTER_AFTER(bind, file = OK(socket(AF_UNIX, SOCK_STREAM, 0)), {file, BAD, 16})
BAD_POINTER_AFTER(connect, file = OK(socket(AF_UNIX, SOCK_STREAM, 0)), {file, BAD, 16})
BAD_POINTER_AFTER(getsockname, open_pair(), {pair[0], P(page), BAD})
BAD_POINTER_AFTER(getpeername, open_pair(), {pair[0], P(page), BAD})
BAD_POINTER_AFTER(sendto, open_pair(), {pair[0], BAD, 1, 0, 0, 0})
BAD_POINTER_AFTER(recvfrom, fill_pair(), {pair[0], BAD, 1, 0, 0, 0})
BAD_POINTER_AFTER(sendmsg, open_pair(), {pair[0], BAD, 0})
BAD_POINTER_AFTER(recvmsg, fill_pair(), {pair[0], BAD, 0})
BAD_POINTER_AFTER(sendmmsg, open_pair(), {pair[0], BAD, 1, 0})
BAD_POINTER_AFTER(recvmmsg, fill_pair(), {pair[0], BAD, 1, 0, 0})
BAD_POINTER_AFTER(getsockopt, open_pair(), {pair[0], SOL_SOCKET, SO_TYPE, P(page), BAD})
BAD_POINTER_AFTER(setsockopt, open_pair(), {pair[0], SOL_SOCKET, SO_PASSCRED, BAD, 4})

/* Memory. */
BAD_POINTER_AFTER(mincore, , {P(page) / PAGE_SIZE * PAGE_SIZE, PAGE_SIZE, BAD})
BAD_POINTER(process_vm_readv, {getpid(), BAD, 1, P(&vector), 1, 0}, {getpid(), P(&vector), 1, BAD, 1, 0})
BAD_POINTER(process_vm_writev, {getpid(), BAD, 1, P(&vector), 1, 0}, {getpid(), P(&vector), 1, BAD, 1, 0})

/* Processes. */
static void set_one_group(void) {
    NEEDS_ROOT();
    gid_t group = 7;
    OK(syscall(SYS_setgroups, 1, &group));
}

BAD_POINTER(execve, {BAD, 0, 0}, {P(program_path), BAD, 0}, {P(program_path), 0, BAD})
BAD_POINTER(execveat, {AT, BAD, 0, 0, 0}, {AT, P(program_path), BAD, 0, 0})
BAD_POINTER(clone3, {BAD, 88})
BAD_POINTER_AFTER(getgroups, set_one_group(), {1, BAD})
BAD_POINTER_AFTER(setgroups, NEEDS_ROOT(), {1, BAD})
BAD_POINTER(getresuid, {BAD, P(page), P(page)}, {P(page), BAD, P(page)}, {P(page), P(page), BAD})
BAD_POINTER(getresgid, {BAD, P(page), P(page)}, {P(page), BAD, P(page)}, {P(page), P(page), BAD})
BAD_POINTER(capget, {BAD, P(page)})
BAD_POINTER(capset, {BAD, P(page)})
BAD_POINTER(prctl, {PR_SET_NAME, BAD}, {PR_GET_NAME, BAD}, {PR_GET_PDEATHSIG, BAD}, {PR_GET_CHILD_SUBREAPER, BAD})
BAD_POINTER(arch_prctl, {0x1003, BAD})
BAD_POINTER(sched_getparam, {0, BAD})
BAD_POINTER(sched_setparam, {0, BAD})
BAD_POINTER(sched_setscheduler, {0, SCHED_OTHER, BAD})
BAD_POINTER(sched_getaffinity, {0, 128, BAD})
BAD_POINTER(sched_setaffinity, {0, 128, BAD})
BAD_POINTER(sched_rr_get_interval, {0, BAD})
BAD_POINTER(sched_getattr, {0, BAD, 48, 0})
BAD_POINTER(sched_setattr, {0, BAD, 0})
BAD_POINTER(seccomp, {1, 0, BAD}, {2, 0, BAD})
BAD_POINTER(getcpu, {BAD, 0, 0}, {0, BAD, 0})
BAD_POINTER(getrlimit, {RLIMIT_NOFILE, BAD})
BAD_POINTER(setrlimit, {RLIMIT_NOFILE, BAD})
BAD_POINTER(prlimit64, {0, RLIMIT_NOFILE, BAD, 0}, {0, RLIMIT_NOFILE, 0, BAD})
BAD_POINTER(getrusage, {RUSAGE_SELF, BAD})
BAD_POINTER(times, {BAD})
BAD_POINTER(uname, {BAD})
BAD_POINTER(sysinfo, {BAD})
BAD_POINTER(getrandom, {BAD, 8, 0})
BAD_POINTER(get_robust_list, {0, BAD, P(page)}, {0, P(page), BAD})

/* Zombies wait to be waited for in vain: the status cannot be stored. */
static void leave_zombies(int count) {
    siginfo_t info;
    for (int i = 0; i < count; i++) {
        pid_t pid = IN_CHILD({});
        OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    }
}

BAD_POINTER_AFTER(wait4, leave_zombies(8), {-1, BAD, 0, 0}, {-1, 0, 0, BAD})
BAD_POINTER_AFTER(waitid, leave_zombies(4), {P_ALL, 0, BAD, WEXITED, 0})

/* Signals. */
BAD_POINTER(rt_sigaction, {SIGUSR1, BAD, 0, 8}, {SIGUSR1, 0, BAD, 8})
BAD_POINTER(rt_sigprocmask, {SIG_BLOCK, BAD, 0, 8}, {SIG_BLOCK, 0, BAD, 8})
BAD_POINTER(rt_sigpending, {BAD, 8})
BAD_POINTER(rt_sigsuspend, {BAD, 8})
BAD_POINTER(rt_sigtimedwait, {BAD, 0, P(page), 8}, {P(page), 0, BAD, 8})
BAD_POINTER(rt_sigqueueinfo, {getpid(), SIGUSR1, BAD})
BAD_POINTER(rt_tgsigqueueinfo, {getpid(), gettid(), SIGUSR1, BAD})
BAD_POINTER(sigaltstack, {BAD, 0}, {0, BAD})

/* Time. */
BAD_POINTER(nanosleep, {BAD, 0})
BAD_POINTER(clock_nanosleep, {CLOCK_MONOTONIC, 0, BAD, 0})
BAD_POINTER(clock_gettime, {CLOCK_MONOTONIC, BAD})
BAD_POINTER(clock_getres, {CLOCK_MONOTONIC, BAD})
BAD_POINTER(clock_settime, {CLOCK_REALTIME, BAD})
BAD_POINTER(gettimeofday, {BAD, 0}, {0, BAD})
BAD_POINTER(settimeofday, {BAD, 0})
BAD_POINTER(time, {BAD})
BAD_POINTER(getitimer, {ITIMER_REAL, BAD})
BAD_POINTER(setitimer, {ITIMER_REAL, BAD, 0}, {ITIMER_REAL, P(page), BAD})
BAD_POINTER(timer_create, {CLOCK_MONOTONIC, BAD, P(page)}, {CLOCK_MONOTONIC, 0, BAD})

static int make_timer(void) {
    int id;
    OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id));
    return id;
}

BAD_POINTER_AFTER(timer_settime, file = make_timer(), {file, 0, BAD, 0}, {file, 0, P(page), BAD})
BAD_POINTER_AFTER(timer_gettime, file = make_timer(), {file, BAD})

/* A futex word at -8 is aligned, so every bad pointer is a fault here too. */
BAD_POINTER(futex, {BAD, 0, 0, 0, 0, 0}, {P(page), 0, 0, BAD, 0, 0}, {BAD, 5, 1, 1, P(page), 0},
            {P(page), 5, 1, 1, BAD, 0})
