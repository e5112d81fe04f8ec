/*
 * What the guest programs share. A program is a list of attacks:
 *
 *     ATTACK(write_to_a_file) {
 *         int fd = TRY(open("file", O_WRONLY));
 *         return write(fd, "guest", 5);
 *     }
 *
 * Each is carried out in a child of its own. A line `NAME OUTCOME` tells how it ended: `done` if it returned zero or
 * more, the name of errno if it returned -1, `SIGNAL n` if it was killed, `hung` if it took longer than ten seconds.
 * What an outcome means is for the test to say: the program is the same natively, where the attack should work, unless
 * it would harm the host.
 */
#ifndef GUEST_H
#define GUEST_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* An attack that takes longer, in seconds, hangs. */
#define ATTACK_TIMEOUT_S 10

/* Exit status of an attack whose errno does not fit. */
#define STATUS_OTHER 255

#define PAGE_SIZE 4096UL

/* The host name that the tests give to sandboxes. */
#define SANDBOX_NAME "usk-isolation"

struct attack {
    const char *name;
    long (*body)(const char *name);
    bool only_inside;
};

/* Defines an attack; `name` is its own name in it. It is carried out natively too: there it must do no harm. */
#define ATTACK(title) DEFINE_ATTACK(title, false)

/* Defines an attack that would harm a host on which it succeeds: it is carried out in sandboxes only. */
#define HARMFUL_ATTACK(title) DEFINE_ATTACK(title, true)

#define DEFINE_ATTACK(title, only_inside)                                                                              \
    static long title(const char *name);                                                                               \
    static const struct attack attack_##title = {#title, title, only_inside};                                          \
    static const struct attack *const pointer_##title __attribute__((used, section("attacks"))) = &attack_##title;     \
    static long title(const char *name __attribute__((unused)))

/* The value of `call`; if it is -1 the attack has failed and ends. */
#define TRY(call)                                                                                                      \
    ({                                                                                                                 \
        __typeof__(call) value_ = (call);                                                                              \
        if ((long)value_ == -1)                                                                                        \
            return -1;                                                                                                 \
        value_;                                                                                                        \
    })

/* Ends the program if `condition` does not hold: this is not about usk, the test is wrong or cannot run here. */
#define NEED(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno));                       \
            _exit(STATUS_OTHER);                                                                                       \
        }                                                                                                              \
    } while (0)

extern const struct attack *const __start_attacks[] __attribute__((weak)), *const __stop_attacks[]
    __attribute__((weak));

/* The attack fails with this error, which no call of its own returned. */
static inline long fail(int error) {
    errno = error;
    return -1;
}

/* The value of argument KEY=VALUE; the program ends if there is none. */
static char **arguments;
static inline const char *argument(const char *key) {
    size_t length = strlen(key);
    for (char **each = arguments; *each != NULL; each++)
        if (strncmp(*each, key, length) == 0 && (*each)[length] == '=')
            return *each + length + 1;
    fprintf(stderr, "argument %s is missing\n", key);
    _exit(STATUS_OTHER);
}
static inline long number(const char *key) { return strtol(argument(key), NULL, 0); }

/* Carries an attack out in a child and says how it ended. */
static inline void run_attack(const struct attack *attack) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(ATTACK_TIMEOUT_S);
        errno = 0;
        long result = attack->body(attack->name);
        _exit(result == -1 ? (errno > 0 && errno < STATUS_OTHER ? errno : STATUS_OTHER) : 0);
    }
    int status;
    NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        printf("%s hung\n", attack->name);
    else if (WIFSIGNALED(status))
        printf("%s SIGNAL %d\n", attack->name, WTERMSIG(status));
    else if (WEXITSTATUS(status) == 0)
        printf("%s done\n", attack->name);
    else {
        const char *error = strerrorname_np(WEXITSTATUS(status));
        printf("%s %s\n", attack->name, error ? error : "broken");
    }
}

/* Whether this is a sandbox of the tests. */
static inline bool is_inside(void) {
    struct utsname system;
    NEED(uname(&system) == 0);
    return strcmp(system.nodename, SANDBOX_NAME) == 0;
}

/* `ucontext`, as the kernel has it on x86-64. */
struct user_context {
    unsigned long flags;
    void *link;
    stack_t stack;
    unsigned long registers[23];
    void *extended_state;
    unsigned long reserved[8];
    unsigned long mask;
};

#ifdef REGION_CODE
/* Where the platform's code has these bytes. A code that cannot be read ends the process. */
static inline unsigned long find(const char *bytes, size_t length) {
    void *found = memmem((void *)REGION_CODE, REGION_CODE_SIZE, bytes, length);
    NEED(found != NULL);
    return (unsigned long)found;
}
#endif

static inline void run_attacks(void) {
    bool inside = is_inside();
    for (const struct attack *const *each = __start_attacks; each < __stop_attacks; each++)
        if (inside || !(*each)->only_inside)
            run_attack(*each);
}

#endif
