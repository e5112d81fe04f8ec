/* A timer that expires each nanosecond, whose signal is pending and blocked; says "ready" then. */
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    struct itimerspec every = {{0, 1}, {0, 1}};
    timer_t timer;
    if (sigprocmask(SIG_BLOCK, &set, NULL) || timer_create(CLOCK_MONOTONIC, &event, &timer) ||
        timer_settime(timer, 0, &every, NULL))
        return 1;
    /* One is taken, and the timer goes on. */
    sigwaitinfo(&set, NULL);
    do
        sigpending(&set);
    while (!sigismember(&set, SIGRTMIN));
    puts("ready");
    fflush(stdout);
    sleep(60);
    return 0;
}
