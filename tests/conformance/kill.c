/* kill(2), tkill(2), tgkill(2), rt_sigqueueinfo(2), rt_tgsigqueueinfo(2) */
#include "case.h"
#include <pthread.h>

static pid_t sleeping(void) { return IN_CHILD({ sleep_forever(); }); }

CASE(kill_of_signal_zero_probes) {
    OK(kill(getpid(), 0));
    pid_t pid = IN_CHILD({});
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(kill(pid, 0), ESRCH);
}

CASE(kill_of_a_bad_signal_returns_einval) {
    EXPECT_ERRNO(kill(getpid(), 65), EINVAL);
    EXPECT_ERRNO(kill(getpid(), -1), EINVAL);
}

CASE(kill_of_a_missing_process_returns_esrch) {
    EXPECT_ERRNO(kill(INT_MAX, SIGTERM), ESRCH);
    EXPECT_ERRNO(kill(-INT_MAX, SIGTERM), ESRCH);
    EXPECT_ERRNO(kill(INT_MIN, SIGTERM), ESRCH);
}

CASE(who_is_not_there_comes_before_a_bad_signal) {
    EXPECT_ERRNO(kill(INT_MAX, 65), ESRCH);
    EXPECT_ERRNO(kill(-INT_MAX, 65), ESRCH);
    EXPECT_ERRNO(syscall(SYS_tkill, INT_MAX, 65), ESRCH);
    EXPECT_ERRNO(tgkill(getpid(), INT_MAX, 65), ESRCH);
}

/* A child that has ended, and has not been waited for. */
static pid_t zombie(void) {
    pid_t pid = IN_CHILD({});
    siginfo_t info;
    OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    return pid;
}

CASE(a_zombie_can_be_signalled) {
    pid_t pid = zombie();
    OK(kill(pid, SIGTERM));
    OK(syscall(SYS_tkill, pid, SIGTERM));
    OK(tgkill(pid, pid, SIGTERM));
    EXPECT_ERRNO(tgkill(pid, pid, 65), EINVAL);
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(syscall(SYS_tkill, pid, SIGTERM), ESRCH);
}

CASE(another_users_zombie_cannot_be_signalled) {
    NEEDS_ROOT();
    pid_t target = zombie();
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        EXPECT_ERRNO(kill(target, SIGTERM), EPERM);
        EXPECT_ERRNO(kill(target, 0), EPERM);
        EXPECT_ERRNO(syscall(SYS_tkill, target, SIGTERM), EPERM);
    });
    EXPECT_EXIT(pid, 0);
    EXPECT_EXIT(target, 0);
}

CASE(kill_of_zero_signals_the_own_group) {
    pid_t pid = IN_CHILD({
        OK(setpgid(0, 0));
        pid_t member = sleeping();
        handle(SIGUSR1, count_signal, 0);
        OK(kill(0, SIGUSR1));
        EXPECT_EQ(signals_seen, 1);
        EXPECT_KILLED(member, SIGUSR1);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(kill_of_a_negative_pid_signals_that_group) {
    pid_t one = sleeping(), two = sleeping();
    OK(setpgid(one, one));
    OK(setpgid(two, one));
    OK(kill(-one, SIGTERM));
    EXPECT_KILLED(one, SIGTERM);
    EXPECT_KILLED(two, SIGTERM);
    EXPECT_ERRNO(kill(-one, SIGTERM), ESRCH);
}

CASE(kill_of_another_users_process_returns_eperm) {
    NEEDS_ROOT();
    pid_t target = sleeping();
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        EXPECT_ERRNO(kill(target, SIGTERM), EPERM);
        EXPECT_ERRNO(kill(target, 0), EPERM);
    });
    EXPECT_EXIT(pid, 0);
    OK(kill(target, SIGKILL));
}

CASE(kill_sigcont_is_allowed_within_the_session) {
    NEEDS_ROOT();
    pid_t target = sleeping();
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        OK(kill(target, SIGCONT));
    });
    EXPECT_EXIT(pid, 0);
    OK(kill(target, SIGKILL));
}

CASE(tgkill_signals_one_thread_of_the_group) {
    handle(SIGUSR1, count_signal, 0);
    OK(tgkill(getpid(), gettid(), SIGUSR1));
    EXPECT_EQ(signals_seen, 1);
    EXPECT_ERRNO(tgkill(getpid(), INT_MAX, SIGUSR1), ESRCH);
    EXPECT_ERRNO(tgkill(INT_MAX, gettid(), SIGUSR1), ESRCH);
    EXPECT_ERRNO(tgkill(0, gettid(), SIGUSR1), EINVAL);
    EXPECT_ERRNO(tgkill(getpid(), -1, SIGUSR1), EINVAL);
    EXPECT_ERRNO(tgkill(getpid(), gettid(), 65), EINVAL);
}

CASE(tkill_signals_a_thread) {
    handle(SIGUSR1, count_signal, 0);
    OK(syscall(SYS_tkill, gettid(), SIGUSR1));
    EXPECT_EQ(signals_seen, 1);
    EXPECT_ERRNO(syscall(SYS_tkill, 0, SIGUSR1), EINVAL);
    EXPECT_ERRNO(syscall(SYS_tkill, INT_MAX, SIGUSR1), ESRCH);
}

static pthread_barrier_t barrier;
static volatile pid_t thread_tid;

static void *wait_in_thread(void *unused) {
    (void)unused;
    thread_tid = gettid();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

CASE(kill_of_a_threads_tid_signals_its_process) {
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    EXPECT_EQ(pthread_create(&thread, NULL, wait_in_thread, NULL), 0);
    pthread_barrier_wait(&barrier);
    handle(SIGUSR1, count_signal, SA_RESTART);
    OK(kill(thread_tid, SIGUSR1));
    while (signals_seen == 0)
        sched_yield();
    pthread_barrier_wait(&barrier);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

static void *queue_to_process_as_kernel(void *unused) {
    (void)unused;
    siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_USER};
    /* Only a thread's own number is oneself. */
    EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info), EPERM);
    OK(syscall(SYS_rt_sigqueueinfo, gettid(), SIGUSR1, &info));
    info.si_code = SI_QUEUE;
    OK(syscall(SYS_rt_sigqueueinfo, gettid(), SIGUSR1, &info));
    return NULL;
}

CASE(rt_sigqueueinfo_to_a_threads_tid_signals_its_process) {
    handle(SIGUSR1, count_signal, SA_RESTART);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, queue_to_process_as_kernel, NULL), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT(signals_seen > 0);
}

CASE(pthread_kill_reaches_the_chosen_thread) {
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    EXPECT_EQ(pthread_create(&thread, NULL, wait_in_thread, NULL), 0);
    pthread_barrier_wait(&barrier);
    OK(tgkill(getpid(), thread_tid, SIGUSR1));
    OK(sigpending(&pending));
    EXPECT(!sigismember(&pending, SIGUSR1));
    pthread_barrier_wait(&barrier);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

CASE(rt_sigqueueinfo_to_others_cannot_pretend_to_be_the_kernel) {
    pid_t pid = sleeping();
    siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_USER};
    EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info), EPERM);
    info.si_code = SI_TKILL;
    EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info), EPERM);
    info.si_code = SI_QUEUE;
    OK(syscall(SYS_rt_sigqueueinfo, pid, SIGUSR1, &info));
    EXPECT_KILLED(pid, SIGUSR1);
}

CASE(rt_sigqueueinfo_with_bad_arguments_fails) {
    siginfo_t info = {.si_code = SI_QUEUE};
    EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, getpid(), 65, &info), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, INT_MAX, SIGUSR1, &info), ESRCH);
    EXPECT_ERRNO(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, bad_page()), EFAULT);
}

static siginfo_t received;

static void receive(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    received = *info;
}

CASE(rt_tgsigqueueinfo_reaches_the_thread_with_its_value) {
    handle_info(SIGUSR1, receive, 0);
    siginfo_t info = {.si_code = SI_QUEUE};
    info.si_value.sival_int = 31337;
    OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR1, &info));
    EXPECT_EQ(received.si_signo, SIGUSR1);
    EXPECT_EQ(received.si_value.sival_int, 31337);
    EXPECT_ERRNO(syscall(SYS_rt_tgsigqueueinfo, getpid(), INT_MAX, SIGUSR1, &info), ESRCH);
}

CASE(kill_of_all_passes_over_those_that_the_caller_has_no_right_to) {
    NEEDS_ROOT();
    pid_t pid = IN_CHILD({
        OK(setresuid(65534, 65534, 65534));
        EXPECT_ERRNO(kill(getppid(), 0), EPERM);
        OK(kill(-1, 0));
    });
    EXPECT_EXIT(pid, 0);
}
