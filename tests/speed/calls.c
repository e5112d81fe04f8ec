/* Makes a cheap system call in a loop: calls THREADS COUNT. Prints the nanoseconds that a call takes each thread. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long count;
static pthread_barrier_t together;

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

/* No thread starts before all are there. */
static void *make_calls(void *unused) {
    (void)unused;
    for (int i = 0; i < 100; i++) syscall(SYS_umask, 022);
    pthread_barrier_wait(&together);
    for (long i = 0; i < count; i++) syscall(SYS_umask, 022);
    pthread_barrier_wait(&together);
    return NULL;
}

int main(int argc, char **argv) {
    int threads = argc == 3 ? atoi(argv[1]) : 0;
    if (threads < 1 || threads > 64) return 2;
    count = atol(argv[2]);
    pthread_barrier_init(&together, NULL, threads + 1);
    pthread_t thread[64];
    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, make_calls, NULL)) return 1;
    pthread_barrier_wait(&together);
    double start = now_ns();
    pthread_barrier_wait(&together);
    printf("%.1f\n", (now_ns() - start) / count);
    return 0;
}
