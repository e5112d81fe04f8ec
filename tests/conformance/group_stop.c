/* signal(7): stops of processes with several threads, and signals that several threads may take */
#include "case.h"
#include <poll.h>
#include <pthread.h>

/* How long a racing case goes on. */
#define RACE_NS 1500000000LL
/* How long something that is to happen at once may take. */
#define PATIENCE_NS 2000000000LL

static void *end_at_once(void *unused) { return unused; }

static void *make_threads(void *unused) {
    for (;;) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, end_at_once, NULL) == 0)
            pthread_join(thread, NULL);
    }
    return unused;
}

/* Whether `pid` is stopped, or with WCONTINUED continued, within the patience. */
static bool changes(pid_t pid, int options) {
    int64_t deadline = now_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
    int status;
    while (now_ns(CLOCK_MONOTONIC) < deadline) {
        if (OK(waitpid(pid, &status, options | WNOHANG)) == pid)
            return true;
        usleep(100);
    }
    return false;
}

CASE(a_stop_is_complete_when_threads_begin_and_end_meanwhile) {
    pid_t pid = IN_CHILD({
        pthread_t thread;
        for (int i = 0; i < 2; i++)
            EXPECT_EQ(pthread_create(&thread, NULL, make_threads, NULL), 0);
        sleep_forever();
    });
    usleep(20000);
    int64_t end = now_ns(CLOCK_MONOTONIC) + RACE_NS;
    while (now_ns(CLOCK_MONOTONIC) < end) {
        OK(kill(pid, SIGSTOP));
        EXPECT(changes(pid, WUNTRACED));
        OK(kill(pid, SIGCONT));
        EXPECT(changes(pid, WCONTINUED));
        usleep(300);
    }
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

/* Whether `word` becomes another than `value` within the patience. */
static bool leaves(const volatile int *word, int value) {
    int64_t deadline = now_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
    while (now_ns(CLOCK_MONOTONIC) < deadline)
        if (*word != value)
            return true;
    return false;
}

CASE(sigcont_right_after_a_stop_signal_continues) {
    volatile int *rounds = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({
        for (;;) {
            getppid();
            ++*rounds;
        }
    });
    EXPECT(leaves(rounds, *rounds));
    int64_t end = now_ns(CLOCK_MONOTONIC) + RACE_NS;
    for (int i = 0; now_ns(CLOCK_MONOTONIC) < end; i++) {
        OK(kill(pid, i % 2 ? SIGSTOP : SIGTSTP));
        for (int spin = 0; spin < i % 64 * 100; spin++)
            __builtin_ia32_pause();
        OK(kill(pid, SIGCONT));
        EXPECT(leaves(rounds, *rounds));
    }
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(a_stopped_process_of_another_session_is_not_hung_up_when_its_parent_ends) {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    volatile int *number = map_shared(PAGE_SIZE);
    pid_t parent = IN_CHILD({
        *number = IN_CHILD({
            setsid();
            raise(SIGSTOP);
            sleep_forever();
        });
        int status;
        EXPECT_EQ(waitpid(*number, &status, WUNTRACED), *number);
        EXPECT(WIFSTOPPED(status));
    });
    EXPECT_EXIT(parent, 0);
    /* A subreaper, this process is its parent now. */
    usleep(100000);
    EXPECT_EQ(waitpid(*number, NULL, WNOHANG), 0);
    OK(kill(*number, SIGKILL));
    EXPECT_KILLED(*number, SIGKILL);
}

CASE(a_stopped_group_of_the_session_is_hung_up_when_its_parent_ends) {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    volatile int *number = map_shared(PAGE_SIZE);
    pid_t leader = IN_CHILD({
        setsid();
        OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
        pid_t parent = IN_CHILD({
            *number = IN_CHILD({
                setpgid(0, 0);
                raise(SIGSTOP);
                sleep_forever();
            });
            int status;
            EXPECT_EQ(waitpid(*number, &status, WUNTRACED), *number);
        });
        EXPECT_EXIT(parent, 0);
        /* The adopter is of the same session and another group: it is the link now. */
        usleep(50000);
        EXPECT_EQ(waitpid(*number, NULL, WNOHANG), 0);
    });
    EXPECT_EXIT(leader, 0);
    EXPECT_KILLED(*number, SIGHUP);
}

static volatile int handled;

static void note(int signal) { handled = signal; }

static volatile int go;

static void *end_when_told(void *unused) {
    (void)unused;
    await_value(&go, 1);
    syscall(SYS_exit, 0);
    return NULL;
}

static void *poll_until_told(void *descriptor) {
    struct pollfd end = {.fd = *(int *)descriptor, .events = POLLIN};
    while (poll(&end, 1, -1) == -1 && errno == EINTR)
        ;
    return NULL;
}

CASE(a_signal_of_the_process_is_not_lost_with_a_thread_that_ends) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    handle(SIGUSR1, note, 0);
    PIPE(told);
    int64_t end = now_ns(CLOCK_MONOTONIC) + RACE_NS;
    for (int i = 0; now_ns(CLOCK_MONOTONIC) < end; i++) {
        pthread_t ending, staying;
        go = handled = 0;
        EXPECT_EQ(pthread_create(&ending, NULL, end_when_told, NULL), 0);
        EXPECT_EQ(pthread_create(&staying, NULL, poll_until_told, &told[0]), 0);
        OK(sigprocmask(SIG_BLOCK, &set, NULL));
        usleep(200);
        go = 1;
        for (int spin = 0; spin < i % 64 * 100; spin++)
            __builtin_ia32_pause();
        OK(kill(getpid(), SIGUSR1));
        EXPECT(leaves(&handled, 0));
        announce(told[1]);
        pthread_join(staying, NULL);
        pthread_join(ending, NULL);
        char byte;
        EXPECT_EQ(read(told[0], &byte, 1), 1);
        OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    }
}
