/*
 * Random system calls from several processes, for a while. They are mostly nonsense, and now and then they are not:
 * arguments are drawn from what calls take, and what is in memory from the same.
 *
 *     fuzz SEED SECONDS
 *
 * Exits with FUZZ_STATUS. Carried out in sandboxes only.
 */
#include "guest.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

#define FUZZ_STATUS 42
#define PROCESSES 4

/* Calls up to this number are made, and a few beyond. */
#define CALLS 470

/* A process makes calls for this long, in nanoseconds, then another takes its place: nothing blocks for ever. */
#define LIFETIME_NS 150000000L

struct shared {
    unsigned long calls, successes;
    uint64_t state[PROCESSES];
};

static struct shared *shared;
static uint64_t *state;

static uint64_t draw(void) {
    /* xorshift64* */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dUL;
}

static char *buffer, *edge, *forbidden;

static const char *const paths[] = {
    ".", "..", "/", "", "f", "d", "d/../f", "/proc/self/fd/3", "/proc/self/mem", "/proc/self/maps", "/proc/self/exe",
    "/proc/thread-self/", "/dev/null", "/dev/zero", "/dev/ptmx", "/dev/shm/x", "/tmp", "/etc/passwd", "loop/loop",
    "/proc/self/fd", "/proc/self/root/proc/self/cwd/f", "user.x", "tmpfs", "/bin/true", "/sys", "/proc/sys/kernel/pid_max",
};

static uint64_t value(void) {
    static const int64_t edges[] = {
        0, 1, 2, 3, 4, 7, 8, 16, 24, 64, 100, 127, 128, 255, 256, 512, 1000, 4095, 4096, 4097, 8192, 65535, 65536, 0x100000,
        INT32_MAX, INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN, -1, -2, -4095, -4096, -100 /* AT_FDCWD */, 1L << 32, 1L << 40,
        1L << 47, (1L << 47) - 4096, 0xffffffffff600000, 0xffff800000000000, REGION_CODE, REGION_SLOTS, REGION_ORDERS,
        REGION_GUEST_END, REGION_END, 0x400000, 0x7ffdfffff000,
    };
    switch (draw() % 16) {
    case 0: case 1: return draw() % 24;
    case 2: return edges[draw() % (sizeof edges / sizeof *edges)];
    case 3: return 1UL << draw() % 64;
    case 4: return draw() & draw() & 0xffffffff;
    case 5: return draw();
    case 6: return (uint64_t)edge - draw() % 64;
    case 7: return (uint64_t)forbidden + draw() % PAGE_SIZE;
    case 8: case 9: return (uint64_t)paths[draw() % (sizeof paths / sizeof *paths)];
    case 10: return getpid() + draw() % 3 - 1;
    default: return (uint64_t)buffer + draw() % 4096 / 8 * 8;
    }
}

static bool is_left_out(long number, bool may_end_parent) {
    switch (number) {
    /* These end the process, or a system that has several; once in a while is enough. */
    case SYS_exit: case SYS_exit_group: case SYS_rt_sigreturn:
        return draw() % 64 != 0;
    /* Its parent is to go on. */
    case SYS_kill: case SYS_tkill: case SYS_tgkill: case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
    case SYS_pidfd_send_signal: case SYS_setrlimit: case SYS_prlimit64:
        return may_end_parent;
    default:
        return false;
    }
}

/* The privileged process may have changed or removed anything that has a name: then this one ends at once. */
#define SET_UP(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) _exit(0);                                                                                    \
    } while (0)

static int null;

static void fuzz(int index, bool privileged) {
    bool ordinary = getuid() != 0;
    state = &shared->state[index];
    char name[32];
    snprintf(name, sizeof name, "/tmp/%d-%d", index, getpid());
    SET_UP(mkdir(name, 0777) == 0 && chdir(name) == 0 && chmod(".", 0777) == 0);
    SET_UP(mkdir("d", 0777) == 0 && symlink("loop", "loop") == 0);
    close(open("f", O_RDWR | O_CREAT, 0666));
    char *memory = mmap(NULL, 8 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(memory != MAP_FAILED && mprotect(memory + 3 * PAGE_SIZE, PAGE_SIZE, PROT_NONE) == 0);
    buffer = memory;
    edge = memory + 3 * PAGE_SIZE;
    forbidden = edge;
    /* What it writes is not for the test to read. */
    int ends[2];
    NEED(dup2(null, 0) == 0 && dup2(null, 1) == 1 && dup2(null, 2) == 2);
    NEED(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    SET_UP(open("f", O_RDWR) != -1 && open("d", O_RDONLY) != -1 && memfd_create("m", MFD_ALLOW_SEALING) != -1);
    /* Memory is not what this is about, and the host has only so much. */
    struct rlimit limit = {1 << 20, 1 << 20};
    signal(SIGXFSZ, SIG_IGN);
    NEED(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit = (struct rlimit){64 << 20, 64 << 20};
    NEED(setrlimit(RLIMIT_AS, &limit) == 0);
    NEED(privileged || ordinary || (setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0));
    for (;;) {
        long number = draw() % 50 == 0 ? (long)value() : (long)(draw() % CALLS);
        if (is_left_out(number, privileged || ordinary))
            continue;
        for (int i = draw() % 8; i > 0; i--)
            *(uint64_t *)(buffer + draw() % (3 * PAGE_SIZE) / 8 * 8) = value();
        uint64_t a[6];
        for (int i = 0; i < 6; i++)
            a[i] = value();
        long result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        __atomic_fetch_add(&shared->calls, 1, __ATOMIC_RELAXED);
        if (result != -1)
            __atomic_fetch_add(&shared->successes, 1, __ATOMIC_RELAXED);
    }
}

static long now_ns(void) {
    struct timespec time;
    NEED(clock_gettime(CLOCK_MONOTONIC, &time) == 0);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

int main(int argc, char **argv) {
    NEED(argc == 3 && is_inside());
    uint64_t seed = strtoull(argv[1], NULL, 0);
    long end = now_ns() + atol(argv[2]) * 1000000000L;
    shared = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(shared != MAP_FAILED);
    for (int i = 0; i < PROCESSES; i++)
        shared->state[i] = (seed + i + 1) * 0x9e3779b97f4a7c15UL | 1;
    null = open("/dev/null", O_RDWR);
    NEED(null != -1);
    while (now_ns() < end) {
        /* To the user "nobody" everything seems to belong that is not its own: its processes may have closed the way. */
        chmod("/", 0755);
        chmod("/tmp", 0777);
        for (int i = 0; i < PROCESSES; i++) {
            pid_t pid = fork();
            if (pid == 0) {
                setsid();
                fuzz(i, i == 0);
            }
            NEED(pid != -1);
        }
        struct timespec lifetime = {0, LIFETIME_NS};
        nanosleep(&lifetime, NULL);
        /* All but this process: children of children too. As an ordinary user everything is the same user's. */
        do
            kill(-1, SIGKILL);
        while (waitpid(-1, NULL, 0) != -1 || errno != ECHILD);
    }
    printf("calls %lu\nsuccesses %lu\n", shared->calls, shared->successes);
    return FUZZ_STATUS;
}
