/*
 * A signal for a process that a thread was chosen for, which then does not take it: another one does (retarget_shared_pending in
 * kernel/signal.c).
 */
#include "case.h"
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>

#define ROUNDS 300

/* The leader lets the round's signal through; it has been handled, by whomever. */
static sem_t open_for_it, taken;

/* Whoever sends is about to send the round's signal, and writes to the pipe first. */
static volatile int sending;
static int ends[2];

static void await_post(sem_t *what) {
    while (sem_wait(what) == -1)
        EXPECT_EQ(errno, EINTR);
}

static void note_taken(int signal) {
    (void)signal;
    sem_post(&taken);
}

static sigset_t set_of(int signal) {
    sigset_t set;
    sigemptyset(&set);
    if (signal != 0)
        sigaddset(&set, signal);
    return set;
}

static void change_mask(int how, int signal) {
    sigset_t set = set_of(signal);
    OK(sigprocmask(how, &set, NULL));
}

static void *sleep_thread(void *unused) {
    (void)unused;
    sleep_forever();
}

/* Starts a thread that blocks `blocked` and nothing else. */
static void start_thread(void *(*body)(void *), sigset_t blocked) {
    pthread_t thread;
    sigset_t own;
    OK(sigprocmask(SIG_SETMASK, &blocked, &own));
    EXPECT_EQ(pthread_create(&thread, NULL, body, NULL), 0);
    OK(sigprocmask(SIG_SETMASK, &own, NULL));
}

static void *send_each_round(void *unused) {
    (void)unused;
    for (int round = 1; round <= ROUNDS; round++) {
        await_post(&open_for_it);
        sending = round;
        announce(ends[1]);
        OK(kill(getpid(), SIGUSR1));
    }
    return NULL;
}

/*
 * One signal a round, which the leader lets through in `window` only, and a thread that sleeps at any time. Before and after that the leader
 * blocks it.
 */
static void race(void (*window)(int round)) {
    handle(SIGUSR1, note_taken, 0);
    sigset_t all;
    sigfillset(&all);
    change_mask(SIG_BLOCK, SIGUSR1);
    OK(pipe(ends));
    start_thread(sleep_thread, set_of(0));
    start_thread(send_each_round, all);
    for (int round = 1; round <= ROUNDS; round++) {
        window(round);
        await_post(&taken);
        await(ends[0]);
    }
}

/* Computes until the signal of the round is on its way, and a little longer. */
static void meet(int round) {
    OK(sem_post(&open_for_it));
    while (sending != round)
        ;
    for (volatile int i = 0; i < round * 13 % 100 * 200; i++)
        ;
}

static void unblock_for_a_while(int round) {
    change_mask(SIG_UNBLOCK, SIGUSR1);
    meet(round);
    change_mask(SIG_BLOCK, SIGUSR1);
}

CASE(a_thread_that_blocks_a_signal_of_the_process_leaves_it_to_another) { race(unblock_for_a_while); }

static void poll_without_mask(int round) {
    (void)round;
    sigset_t none = set_of(0);
    struct pollfd wanted = {ends[0], POLLIN, 0};
    OK(sem_post(&open_for_it));
    ppoll(&wanted, 1, NULL, &none);
}

CASE(a_thread_whose_temporary_mask_ends_leaves_a_signal_to_another) { race(poll_without_mask); }

static volatile int round_in_handler;

static void unblock_in_handler(int signal) {
    (void)signal;
    change_mask(SIG_UNBLOCK, SIGUSR1);
    meet(round_in_handler);
}

static void return_to_the_mask(int round) {
    round_in_handler = round;
    OK(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR2));
}

CASE(a_thread_that_returns_to_a_mask_leaves_a_signal_to_another) {
    handle(SIGUSR2, unblock_in_handler, 0);
    race(return_to_the_mask);
}

static void await_taken(int signal) {
    (void)signal;
    await_post(&taken);
    signals_seen++;
}

CASE(a_handler_whose_mask_blocks_a_signal_leaves_it_to_another) {
    struct sigaction action = {.sa_handler = await_taken};
    sigaddset(&action.sa_mask, SIGUSR2);
    OK(sigaction(SIGUSR1, &action, NULL));
    handle(SIGUSR2, note_taken, 0);
    start_thread(sleep_thread, set_of(SIGUSR1));
    /* Both come while the leader waits for the child, whatever signals come. */
    pid_t pid = vfork();
    if (pid == 0) {
        kill(getppid(), SIGUSR2);
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(signals_seen, 1);
}

static void *send_both(void *unused) {
    (void)unused;
    for (int round = 0; round < ROUNDS; round++) {
        await_post(&open_for_it);
        OK(kill(getpid(), SIGUSR1));
        OK(kill(getpid(), SIGUSR2));
    }
    return NULL;
}

CASE(a_thread_that_waits_for_signals_and_has_one_leaves_the_other_to_another) {
    sigset_t both = set_of(SIGUSR1), all;
    sigaddset(&both, SIGUSR2);
    sigfillset(&all);
    handle(SIGUSR2, note_taken, 0);
    OK(sigprocmask(SIG_BLOCK, &both, NULL));
    start_thread(sleep_thread, set_of(SIGUSR1));
    start_thread(send_both, all);
    for (int round = 0; round < ROUNDS; round++) {
        OK(sem_post(&open_for_it));
        while (sigwaitinfo(&both, NULL) == SIGUSR2)
            note_taken(SIGUSR2);
        await_post(&taken);
    }
}
