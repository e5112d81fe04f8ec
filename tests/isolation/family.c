/*
 * A family of processes, to be killed.
 *
 *     family busy            processes with threads that compute, call, wait and share; says "ready" once all run
 *     family victims COUNT   children, one after the other, each with threads and a mapping at a MARKER of its own; says
 *                            "ready" for each, then how it ended: "SIGNAL n" or "STATUS n"; a sibling goes on meanwhile
 *     family survivor COUNT  children, one after the other, that are asked about in /proc and end; then says "ready"
 */
#include "guest.h"
#include <sys/eventfd.h>

/* Where victim number `index` maps a page, for others to know it by. */
#define MARKER(index) ((void *)(0x123400000000 + ((uint64_t)(index) << 24)))

#define THREADS 3
#define PROCESSES 3

static int started;

static void announce(void) { NEED(write(started, &(uint64_t){1}, 8) == 8); }

static void *compute(void *unused) {
    announce();
    for (volatile unsigned long i = 0;; i++)
        ;
    return unused;
}

static void *call(void *unused) {
    announce();
    for (;;)
        getppid();
    return unused;
}

static void *wait_for_ever(void *unused) {
    int ends[2];
    char byte;
    NEED(pipe(ends) == 0);
    announce();
    NEED(read(ends[0], &byte, 1) == 1);
    return unused;
}

static void start_threads(void) {
    void *(*const bodies[THREADS])(void *) = {compute, call, wait_for_ever};
    pthread_t thread;
    for (int i = 0; i < THREADS; i++)
        NEED(pthread_create(&thread, NULL, bodies[i], NULL) == 0);
}

static void await(uint64_t expected) {
    uint64_t value;
    for (; expected > 0; expected -= value)
        NEED(read(started, &value, 8) == 8);
}

static void be_busy(void) {
    char *shared = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(shared != MAP_FAILED);
    for (int i = 0; i < PROCESSES; i++) {
        pid_t pid = fork();
        NEED(pid != -1);
        if (pid == 0) {
            /* A session of its own, as a daemon has: it does not end with the others by itself. */
            NEED(setsid() != -1);
            start_threads();
            for (;;)
                ++*(volatile char *)shared;
        }
    }
    await(PROCESSES * THREADS);
    NEED(write(1, "ready\n", 6) == 6);
    pause();
}

static void make_victims(int count) {
    volatile unsigned long *rounds =
        mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED((void *)rounds != MAP_FAILED);
    pid_t sibling = fork();
    NEED(sibling != -1);
    if (sibling == 0)
        for (;; ++*rounds)
            NEED(getppid() != 1);
    for (int i = 0; i < count; i++) {
        int status;
        pid_t pid = fork();
        NEED(pid != -1);
        if (pid == 0) {
            void *marker = MARKER(i);
            NEED(mmap(marker, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == marker);
            /* Its children are no victims. */
            NEED(madvise(marker, PAGE_SIZE, MADV_DONTFORK) == 0);
            start_threads();
            /* Makes what the platform's own processes of an address space are needed for, again and again. */
            for (;;) {
                pid_t child = fork();
                if (child == 0)
                    _exit(0);
                NEED(child != -1 && waitpid(child, NULL, 0) == child);
            }
        }
        await(THREADS);
        printf("ready\n");
        fflush(stdout);
        NEED(waitpid(pid, &status, 0) == pid);
        printf(WIFSIGNALED(status) ? "SIGNAL %d\n" : "STATUS %d\n",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        fflush(stdout);
        for (unsigned long seen = *rounds; *rounds == seen;)
            sched_yield();
        NEED(waitpid(sibling, &status, WNOHANG) == 0);
    }
    NEED(kill(sibling, SIGKILL) == 0 && waitpid(sibling, NULL, 0) == sibling);
}

/* Processes that end one after the other, each of which has been asked about in /proc. */
static void be_survived(int count) {
    char name[256];
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();
        NEED(pid != -1);
        if (pid == 0)
            _exit(readlink("/proc/self/exe", name, sizeof name) > 0 ? 0 : 1);
        int status;
        NEED(waitpid(pid, &status, 0) == pid && status == 0);
    }
    NEED(write(1, "ready\n", 6) == 6);
    pause();
}

int main(int argc, char **argv) {
    NEED(argc >= 2);
    started = eventfd(0, 0);
    NEED(started != -1);
    if (argc == 3 && strcmp(argv[1], "victims") == 0)
        make_victims(atoi(argv[2]));
    else if (argc == 3 && strcmp(argv[1], "survivor") == 0)
        be_survived(atoi(argv[2]));
    else
        be_busy();
    return 0;
}
