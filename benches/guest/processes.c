/* Making processes and threads. */
#include "guest.h"
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void reap(pid_t child) {
    int status;
    OK(waitpid(child, &status, 0));
    if (status != 0) {
        errno = 0;
        refuse("the child failed");
    }
}

static void fork_exit(struct meter *meter) {
    REPEAT(meter) {
        pid_t child = OK(fork());
        if (child == 0) _exit(0);
        reap(child);
    }
}

static pid_t start(const char *path) {
    pid_t child = vfork();
    if (child == 0) {
        execl(path, path, (char *)NULL);
        _exit(127);
    }
    return OK(child);
}

static void spawn(struct meter *meter, const char *path) {
    REPEAT(meter) reap(start(path));
}

static void spawn_tiny(struct meter *meter) {
    spawn(meter, nothing);
}

static void spawn_true(struct meter *meter) {
    spawn(meter, "/bin/true");
}

static void *nothing_at_all(void *unused) {
    return unused;
}

static void thread_join(struct meter *meter) {
    REPEAT(meter) {
        pthread_t thread;
        errno = pthread_create(&thread, NULL, nothing_at_all, NULL);
        if (errno) refuse("pthread_create");
        pthread_join(thread, NULL);
    }
}

const struct operation processes[] = {
    {"fork_exit", "fork, exit, wait", fork_exit},
    {"spawn_tiny", "vfork and exec, tiny static program", spawn_tiny},
    {"spawn_true", "vfork and exec, /bin/true", spawn_true},
    {"thread_join", "thread create and join", thread_join},
    {0},
};
