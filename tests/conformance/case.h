/*
 * The frame of a conformance program.
 *
 * A program includes this header and consists of cases:
 *
 *     CASE(eventfd_write_of_max_returns_einval) {
 *         int fd = OK(eventfd(0, 0));
 *         uint64_t max = UINT64_MAX;
 *         EXPECT_ERRNO(write(fd, &max, sizeof max), EINVAL);
 *     }
 *
 * Each case runs in a forked child that leads its own process group, in an empty directory of its own, with umask 022,
 * every signal at its default and unblocked, and ten seconds to finish. The first expectation that does not hold ends
 * the process it is in and fails the case, in whichever descendant of the case it happens. The program reports
 *
 *     ok NAME
 *     ok NAME # skip REASON
 *     not ok NAME: FILE:LINE: WHAT, got …
 *
 * for each case, then a count. Options: --list; --case NAME; --after NAME (the cases behind that one); and
 * --helper NAME ARGUMENT…, which runs a HELPER for a case that needs a program to execute.
 */
#ifndef CASE_H
#define CASE_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A case ends after this many seconds, by force if need be. */
#define CASE_TIMEOUT_S 10

/* Exit statuses of a case's process. */
#define CASE_PASSED 0
#define CASE_FAILED 99
#define CASE_SKIPPED 98

/* Where the report's descriptor is kept: out of the way of cases that count descriptors. */
#define REPORT_FD 900

#define PAGE_SIZE 4096UL

struct conformance_case {
    const char *name;
    void (*body)(void);
};

struct conformance_helper {
    const char *name;
    int (*body)(int argc, char **argv);
};

/* Defines a case; its name is a sentence that says what a program sees. */
#define CASE(title)                                                                                                    \
    static void title(void);                                                                                           \
    static const struct conformance_case case_##title = {#title, title};                                               \
    static const struct conformance_case *const pointer_##title                                                        \
        __attribute__((used, section("conformance_cases"))) = &case_##title;                                           \
    static void title(void)

/* Defines what the program does when it is executed with --helper NAME; argv[0] is the first argument behind that. */
#define HELPER(title)                                                                                                  \
    static int helper_##title(int argc, char **argv);                                                                  \
    static const struct conformance_helper struct_helper_##title = {#title, helper_##title};                           \
    static const struct conformance_helper *const pointer_helper_##title                                               \
        __attribute__((used, section("conformance_helpers"))) = &struct_helper_##title;                                \
    static int helper_##title(int argc, char **argv)

/* Ends the case as failed. */
#define FAIL(...) case_end(CASE_FAILED, __FILE__, __LINE__, __VA_ARGS__)

/* Ends the case as skipped, because what it needs (and usk's sandbox has) is missing where it runs natively. */
#define SKIP(...) case_end(CASE_SKIPPED, __FILE__, __LINE__, __VA_ARGS__)

/* Skips the case for an ordinary user. */
#define NEEDS_ROOT()                                                                                                   \
    do {                                                                                                               \
        if (geteuid() != 0)                                                                                            \
            SKIP("needs root");                                                                                        \
    } while (0)

/* Skips the case on a Linux before 6.11, which knows no null pointer for the name of an open file. */
#define NEEDS_LINUX_6_11()                                                                                             \
    do {                                                                                                               \
        struct statx statx_;                                                                                           \
        if (syscall(SYS_statx, 0, NULL, AT_EMPTY_PATH, STATX_BASIC_STATS, &statx_) == -1 && errno == EFAULT)           \
            SKIP("Linux before 6.11");                                                                                 \
    } while (0)

/* `condition` holds. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            FAIL("%s, got false (errno %s)", #condition, errno_name(errno));                                           \
    } while (0)

/* The integers `actual` and `expected` are equal. */
#define EXPECT_EQ(actual, expected)                                                                                    \
    do {                                                                                                               \
        long long actual_ = (long long)(actual), expected_ = (long long)(expected);                                    \
        if (actual_ != expected_)                                                                                      \
            FAIL("%s == %s, got %lld (0x%llx), expected %lld", #actual, #expected, actual_, actual_, expected_);       \
    } while (0)

/* The strings `actual` and `expected` are equal. */
#define EXPECT_STR(actual, expected)                                                                                   \
    do {                                                                                                               \
        const char *actual_ = (actual), *expected_ = (expected);                                                       \
        if (strcmp(actual_, expected_) != 0)                                                                           \
            FAIL("%s == %s, got \"%s\"", #actual, #expected, actual_);                                                 \
    } while (0)

/* `call` returns -1 with errno `error`. */
#define EXPECT_ERRNO(call, error)                                                                                      \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        long long result_ = (long long)(call);                                                                         \
        int errno_ = errno;                                                                                            \
        if (result_ != -1)                                                                                             \
            FAIL("%s fails with %s, got %lld", #call, #error, result_);                                                \
        if (errno_ != (error))                                                                                         \
            FAIL("%s fails with %s, got %s", #call, #error, errno_name(errno_));                                       \
    } while (0)

/* `call` does not return -1; its value. */
#define OK(call)                                                                                                       \
    ({                                                                                                                 \
        errno = 0;                                                                                                     \
        __typeof__(call) value_ = (call);                                                                              \
        if ((long long)value_ == -1)                                                                                   \
            FAIL("%s succeeds, got %s", #call, errno_name(errno));                                                     \
        value_;                                                                                                        \
    })

extern const struct conformance_case *const __start_conformance_cases[], *const __stop_conformance_cases[];
extern const struct conformance_helper *const __start_conformance_helpers[]
    __attribute__((weak)), *const __stop_conformance_helpers[] __attribute__((weak));

/* The absolute name of this program, to execute it again. */
static char program_path[PATH_MAX];

static volatile pid_t watched_child;
static volatile sig_atomic_t watchdog_fired;

static inline const char *errno_name(int error) {
    const char *name = strerrorname_np(error);
    return name ? name : "an unknown error";
}

/* Reports and ends the calling process. */
__attribute__((noreturn, format(printf, 4, 5), unused)) static void case_end(int status, const char *file, int line,
                                                                             const char *format, ...) {
    char text[1024];
    const char *slash = strrchr(file, '/');
    int length = status == CASE_SKIPPED ? 0 : snprintf(text, sizeof text, "%s:%d: ", slash ? slash + 1 : file, line);
    va_list arguments;
    va_start(arguments, format);
    length += vsnprintf(text + length, sizeof text - length, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof text)
        length = sizeof text - 1;
    ssize_t ignored = write(REPORT_FD, text, length);
    (void)ignored;
    _exit(status);
}

/* Waits for `pid`'s end; its wait status. */
static inline int wait_for(pid_t pid) {
    int status;
    for (;;) {
        pid_t ended = waitpid(pid, &status, 0);
        if (ended == pid)
            return status;
        if (ended == -1 && errno != EINTR)
            FAIL("waitpid(%d) succeeds, got %s", (int)pid, errno_name(errno));
    }
}

/* `pid` exits with status `code`. */
#define EXPECT_EXIT(pid, code)                                                                                         \
    do {                                                                                                               \
        int status_ = wait_for(pid);                                                                                   \
        if (!WIFEXITED(status_) || WEXITSTATUS(status_) != (code))                                                     \
            FAIL("%s exits with %s, got wait status 0x%x", #pid, #code, status_);                                      \
    } while (0)

/* `pid` is killed by `signal`. */
#define EXPECT_KILLED(pid, signal)                                                                                     \
    do {                                                                                                               \
        int status_ = wait_for(pid);                                                                                   \
        if (!WIFSIGNALED(status_) || WTERMSIG(status_) != (signal))                                                    \
            FAIL("%s is killed by %s, got wait status 0x%x", #pid, #signal, status_);                                  \
    } while (0)

/* Runs the statements that follow in a child, which exits with 0 after them: `pid_t pid = IN_CHILD({ … });`. */
#define IN_CHILD(...)                                                                                                  \
    ({                                                                                                                 \
        pid_t pid_ = OK(fork());                                                                                       \
        if (pid_ == 0) {                                                                                               \
            __VA_ARGS__;                                                                                               \
            _exit(0);                                                                                                  \
        }                                                                                                              \
        pid_;                                                                                                          \
    })

/* Installs `handler` for `signal` with `flags`. */
static inline void handle(int signal, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    OK(sigaction(signal, &action, NULL));
}

/* Installs the three-argument `handler` for `signal` with `flags`. */
static inline void handle_info(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    OK(sigaction(signal, &action, NULL));
}

/* The number of signals that count_signal has seen. */
static volatile sig_atomic_t signals_seen __attribute__((unused));

static inline void count_signal(int signal) {
    (void)signal;
    signals_seen++;
}

/*
 * Interrupts what the case does next, again and again every 5 ms, with SIGALRM and a handler installed with `flags`.
 * A tick that comes before a call blocks does no harm, the next one interrupts it: no guess at when it blocks.
 */
static inline void tick(void (*handler)(int), int flags) {
    handle(SIGALRM, handler, flags);
    struct itimerval every = {{0, 5000}, {0, 5000}};
    OK(setitimer(ITIMER_REAL, &every, NULL));
}

static inline void stop_ticking(void) {
    struct itimerval never = {{0, 0}, {0, 0}};
    OK(setitimer(ITIMER_REAL, &never, NULL));
}

/* `call` blocks, and a handled signal makes it return -1 with EINTR. */
#define EXPECT_INTERRUPTED(call)                                                                                       \
    do {                                                                                                               \
        tick(count_signal, 0);                                                                                         \
        EXPECT_ERRNO(call, EINTR);                                                                                     \
        stop_ticking();                                                                                                \
    } while (0)

/* Creates file `name` that holds `content`. */
static inline void make_file(const char *name, const char *content) {
    int fd = OK(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    EXPECT_EQ(write(fd, content, strlen(content)), strlen(content));
    OK(close(fd));
}

/* The content of file `name`, in one static buffer, terminated by a zero byte. */
static inline const char *file_content(const char *name) {
    static char buffer[65536];
    int fd = OK(open(name, O_RDONLY | O_CLOEXEC));
    size_t length = 0;
    ssize_t count;
    while ((count = OK(read(fd, buffer + length, sizeof buffer - 1 - length))) > 0)
        length += count;
    buffer[length] = 0;
    OK(close(fd));
    return buffer;
}

/* Both ends of a new pipe; [0] reads, [1] writes. */
#define PIPE(ends)                                                                                                     \
    int ends[2];                                                                                                       \
    OK(pipe(ends))

/* Says "go on" to the process that waits at the other end with await(). */
static inline void announce(int fd) { EXPECT_EQ(write(fd, "!", 1), 1); }

/* Waits for announce(). */
static inline void await(int fd) {
    char byte;
    ssize_t count;
    while ((count = read(fd, &byte, 1)) == -1 && errno == EINTR)
        ;
    if (count != 1)
        FAIL("the other process announces, got %zd", count);
}

/* Sleeps until a signal kills the process. */
__attribute__((noreturn, unused)) static void sleep_forever(void) {
    for (;;)
        pause();
}

/* Waits until another process stores `value`, without any call. */
static inline void await_value(const volatile int *word, int value) {
    while (*word != value)
        __builtin_ia32_pause();
}

/* `length` bytes of new private anonymous memory. */
static inline void *map(size_t length) {
    void *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(address != MAP_FAILED);
    return address;
}

/* `length` bytes of new anonymous memory that children share. */
static inline void *map_shared(size_t length) {
    void *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(address != MAP_FAILED);
    return address;
}

/* The address of a page that cannot be accessed at all. */
static inline void *bad_page(void) {
    void *address = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(address != MAP_FAILED);
    return address;
}

/* The end of a readable page whose next page cannot be accessed: [-1] is valid, [0] is not. */
static inline char *page_end(void) {
    char *pages = map(2 * PAGE_SIZE);
    OK(mprotect(pages + PAGE_SIZE, PAGE_SIZE, PROT_NONE));
    return pages + PAGE_SIZE;
}

/* The time of `clock` in nanoseconds. */
static inline int64_t now_ns(clockid_t clock) {
    struct timespec time;
    OK(clock_gettime(clock, &time));
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static inline struct timespec milliseconds(long count) {
    return (struct timespec){count / 1000, count % 1000 * 1000000L};
}

/* The one descriptor that open() gives next. */
static inline int next_fd(void) {
    int fd = OK(open("/dev/null", O_RDONLY));
    OK(close(fd));
    return fd;
}

static inline int remove_entry(const char *path, const struct stat *status, int type, struct FTW *position) {
    (void)status, (void)position;
    if (type == FTW_DNR)
        chmod(path, 0700);
    remove(path);
    return 0;
}

static inline void kill_watched_child(int signal) {
    (void)signal;
    watchdog_fired = 1;
    kill(-watched_child, SIGKILL);
    kill(watched_child, SIGKILL);
}

/* Ends and reaps what a case left running in groups of its own: as a subreaper this process has become the parent. */
static void end_strays(void) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/task/%d/children", getpid());
    for (int round = 0; round < 100; round++) {
        pid_t ended;
        while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (ended == -1)
            return;
        FILE *children = fopen(name, "re");
        if (children == NULL)
            return;
        for (int pid; fscanf(children, "%d", &pid) == 1;)
            kill(pid, SIGKILL);
        fclose(children);
        usleep(1000);
    }
}

/* Runs one case in a child and prints its outcome; whether it passed. */
static bool run_case(const struct conformance_case *conformance_case, const char *scratch) {
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%.4000s/case.XXXXXX", scratch);
    int report[2];
    if (mkdtemp(directory) == NULL || pipe2(report, O_CLOEXEC | O_NONBLOCK) == -1) {
        printf("not ok %s: cannot be set up: %s\n", conformance_case->name, errno_name(errno));
        return false;
    }
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        signal(SIGALRM, SIG_DFL);
        dup3(report[1], REPORT_FD, O_CLOEXEC);
        close(report[0]);
        close(report[1]);
        /* A process that outlives the case must not keep the program's output open. */
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        close(null);
        if (chdir(directory) == -1)
            FAIL("chdir to the case's directory, got %s", errno_name(errno));
        umask(022);
        conformance_case->body();
        _exit(CASE_PASSED);
    }
    watched_child = child;
    watchdog_fired = 0;
    alarm(CASE_TIMEOUT_S);
    int status = 0;
    while (waitpid(child, &status, 0) == -1 && errno == EINTR)
        ;
    alarm(0);
    kill(-child, SIGKILL);
    end_strays();
    char message[1200];
    ssize_t length = read(report[0], message, sizeof message - 1);
    message[length > 0 ? length : 0] = 0;
    close(report[0]);
    close(report[1]);
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);

    bool exited = WIFEXITED(status);
    if (exited && WEXITSTATUS(status) == CASE_PASSED && message[0] == 0) {
        printf("ok %s\n", conformance_case->name);
        return true;
    }
    if (exited && WEXITSTATUS(status) == CASE_SKIPPED) {
        printf("ok %s # skip %s\n", conformance_case->name, message);
        return true;
    }
    for (char *newline; (newline = strchr(message, '\n'));)
        *newline = ' ';
    if (watchdog_fired)
        printf("not ok %s: did not finish within %d s; %s\n", conformance_case->name, CASE_TIMEOUT_S, message);
    else if (message[0] != 0)
        printf("not ok %s: %s\n", conformance_case->name, message);
    else
        printf("not ok %s: ended with wait status 0x%x\n", conformance_case->name, status);
    return false;
}

/* Starts from the same state wherever the program is started from. */
static void normalise(const char *name) {
    /* The kernel's structure, all zero: the C library would leave out the two signals that it keeps for itself. */
    unsigned long default_action[4] = {0};
    for (int signal = 1; signal <= 64; signal++)
        syscall(SYS_rt_sigaction, signal, default_action, NULL, 8);
    struct sigaction action = {.sa_handler = kill_watched_child};
    sigaction(SIGALRM, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (realpath(name, program_path) == NULL)
        snprintf(program_path, sizeof program_path, "%s", name);
    setvbuf(stdout, NULL, _IOLBF, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

int main(int argc, char **argv) {
    const char *only = NULL, *after = NULL;
    if (argc >= 3 && strcmp(argv[1], "--helper") == 0) {
        for (const struct conformance_helper *const *helper = __start_conformance_helpers;
             helper < __stop_conformance_helpers; helper++)
            if (strcmp((*helper)->name, argv[2]) == 0)
                return (*helper)->body(argc - 3, argv + 3);
        return 97;
    }
    bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
    if (argc == 3 && strcmp(argv[1], "--case") == 0)
        only = argv[2];
    else if (argc == 3 && strcmp(argv[1], "--after") == 0)
        after = argv[2];
    else if (argc != 1 && !list) {
        fprintf(stderr, "usage: %s [--list | --case NAME | --after NAME]\n", argv[0]);
        return 2;
    }
    normalise(argv[0]);

    char scratch[PATH_MAX];
    const char *temporary = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%.4000s/conformance.XXXXXX", temporary ? temporary : "/tmp");
    if (!list && (mkdtemp(scratch) == NULL || chmod(scratch, 0755) == -1)) {
        fprintf(stderr, "%s: %s\n", scratch, errno_name(errno));
        return 2;
    }
    int run = 0, passed = 0;
    for (const struct conformance_case *const *entry = __start_conformance_cases; entry < __stop_conformance_cases;
         entry++) {
        const char *name = (*entry)->name;
        if (after != NULL) {
            if (strcmp(name, after) == 0)
                after = NULL;
            continue;
        }
        if (only != NULL && strcmp(name, only) != 0)
            continue;
        if (list) {
            puts(name);
            continue;
        }
        run++;
        passed += run_case(*entry, scratch);
    }
    if (list)
        return 0;
    rmdir(scratch);
    printf("%d of %d passed\n", passed, run);
    return passed == run && run > 0 ? 0 : 1;
}

#endif
