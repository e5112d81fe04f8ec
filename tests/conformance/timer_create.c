/* timer_create(2) and its kin, getitimer(2), setitimer(2), alarm(2) */
#include "case.h"

static void arm(timer_t timer, long first_ms, long every_ms) {
    struct itimerspec spec = {milliseconds(every_ms), milliseconds(first_ms)};
    OK(timer_settime(timer, 0, &spec, NULL));
}

/* A timer whose signal, SIGRTMIN, queues. */
static timer_t queueing_timer(void) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    return timer;
}

static void pass(long ms) {
    struct timespec time = milliseconds(ms);
    OK(nanosleep(&time, NULL));
}

static sigset_t block(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    return set;
}

CASE(timer_sends_its_signal_with_its_value) {
    sigset_t set = block(SIGUSR1);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    event.sigev_value.sival_int = 4711;
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    arm(timer, 5, 0);
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGUSR1);
    EXPECT_EQ(info.si_code, SI_TIMER);
    EXPECT_EQ(info.si_value.sival_int, 4711);
}

CASE(timer_without_an_event_sends_sigalrm) {
    sigset_t set = block(SIGALRM);
    timer_t timer;
    OK(timer_create(CLOCK_REALTIME, NULL, &timer));
    arm(timer, 5, 0);
    EXPECT_EQ(sigwaitinfo(&set, NULL), SIGALRM);
}

CASE(timer_repeats_and_counts_overruns) {
    sigset_t set = block(SIGRTMIN);
    timer_t timer = queueing_timer();
    arm(timer, 1, 1);
    pass(30);
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
    EXPECT(info.si_overrun >= 10);
    EXPECT(timer_getoverrun(timer) >= info.si_overrun);
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
}

CASE(overruns_are_all_that_expired_however_many) {
    sigset_t set = block(SIGRTMIN);
    timer_t timer = queueing_timer();
    struct itimerspec every = {{0, 100}, {0, 100}};
    OK(timer_settime(timer, 0, &every, NULL));
    pass(10);
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
    EXPECT(info.si_overrun >= 90000);
    EXPECT_EQ(timer_getoverrun(timer), info.si_overrun);
}

CASE(timer_whose_signal_is_pending_shows_the_time_to_its_next_expiry) {
    block(SIGRTMIN);
    timer_t timer = queueing_timer();
    arm(timer, 1, 5);
    for (int round = 0; round < 5; round++) {
        pass(7);
        struct itimerspec left;
        OK(timer_gettime(timer, &left));
        EXPECT(left.it_value.tv_sec == 0 && left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 5000000);
        EXPECT_EQ(left.it_interval.tv_nsec, 5000000);
    }
}

CASE(timer_goes_on_when_its_signal_is_taken_however_late) {
    sigset_t set = block(SIGRTMIN);
    timer_t timer = queueing_timer();
    arm(timer, 1, 1);
    for (int round = 0; round < 5; round++) {
        pass(8);
        siginfo_t info;
        EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
        EXPECT(info.si_overrun >= 5);
    }
}

CASE(timer_set_anew_while_its_signal_is_pending_goes_on) {
    sigset_t set = block(SIGRTMIN);
    timer_t timer = queueing_timer();
    for (int round = 0; round < 5; round++) {
        arm(timer, 1, 1 + round);
        pass(8);
    }
    for (int round = 0; round < 5; round++)
        EXPECT_EQ(sigwaitinfo(&set, NULL), SIGRTMIN);
    arm(timer, 0, 0);
}

/* On Linux before 6.13 such a timer stands still. */
CASE(timer_goes_on_after_its_pending_signal_was_discarded) {
    sigset_t set = block(SIGRTMIN);
    timer_t timer = queueing_timer();
    arm(timer, 1, 1);
    for (int round = 0; round < 3; round++) {
        pass(8);
        handle(SIGRTMIN, SIG_IGN, 0);
        handle(SIGRTMIN, count_signal, 0);
        EXPECT_EQ(sigwaitinfo(&set, NULL), SIGRTMIN);
    }
}

CASE(timer_whose_signal_is_ignored_goes_on_unheard) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    handle(SIGRTMIN, SIG_IGN, 0);
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    struct itimerspec every = {{0, 1}, {0, 1}};
    OK(timer_settime(timer, 0, &every, NULL));
    pass(10);
    sigset_t set = block(SIGRTMIN);
    handle(SIGRTMIN, count_signal, 0);
    EXPECT_EQ(sigwaitinfo(&set, NULL), SIGRTMIN);
}

CASE(timer_to_a_thread_arrives_there) {
    sigset_t set = block(SIGUSR1);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    event._sigev_un._tid = gettid();
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    arm(timer, 1, 0);
    EXPECT_EQ(sigwaitinfo(&set, NULL), SIGUSR1);
}

CASE(timer_with_sigev_none_only_counts_down) {
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    arm(timer, 100000, 0);
    struct itimerspec left;
    OK(timer_gettime(timer, &left));
    EXPECT(left.it_value.tv_sec >= 90 && left.it_value.tv_sec <= 100);
}

CASE(timer_with_sigev_none_begins_again_at_each_expiry) {
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    arm(timer, 1, 5);
    pass(8);
    struct itimerspec left;
    OK(timer_gettime(timer, &left));
    EXPECT(left.it_value.tv_sec == 0 && left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 5000000);
    EXPECT_EQ(timer_getoverrun(timer), 0);
    arm(timer, 1, 0);
    pass(8);
    OK(timer_gettime(timer, &left));
    EXPECT(left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0);
}

CASE(timer_settime_returns_the_old_setting_and_disarms) {
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, NULL, &timer));
    arm(timer, 100000, 7000);
    struct itimerspec never = {{0, 0}, {0, 0}}, old;
    OK(timer_settime(timer, 0, &never, &old));
    EXPECT(old.it_value.tv_sec >= 90);
    EXPECT_EQ(old.it_interval.tv_sec, 7);
    OK(timer_gettime(timer, &old));
    EXPECT(old.it_value.tv_sec == 0 && old.it_value.tv_nsec == 0);
}

CASE(timer_at_an_absolute_time_in_the_past_fires_at_once) {
    sigset_t set = block(SIGALRM);
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, NULL, &timer));
    struct itimerspec past = {{0, 0}, {0, 1}};
    OK(timer_settime(timer, TIMER_ABSTIME, &past, NULL));
    EXPECT_EQ(sigwaitinfo(&set, NULL), SIGALRM);
}

CASE(timer_is_gone_after_deletion) {
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, NULL, &timer));
    OK(timer_delete(timer));
    struct itimerspec spec;
    EXPECT_ERRNO(timer_gettime(timer, &spec), EINVAL);
    EXPECT_ERRNO(timer_delete(timer), EINVAL);
}

CASE(timer_is_not_inherited_by_fork) {
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, NULL, &timer));
    pid_t pid = IN_CHILD({
        struct itimerspec spec;
        EXPECT_ERRNO(timer_gettime(timer, &spec), EINVAL);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(timer_on_the_cpu_clock_fires_after_work) {
    handle(SIGALRM, count_signal, 0);
    timer_t timer;
    OK(timer_create(CLOCK_PROCESS_CPUTIME_ID, NULL, &timer));
    arm(timer, 10, 0);
    while (signals_seen == 0)
        ;
    EXPECT(now_ns(CLOCK_PROCESS_CPUTIME_ID) >= 10000000);
}

CASE(timer_create_with_bad_arguments_fails) {
    timer_t timer;
    struct sigevent event = {.sigev_notify = 99};
    EXPECT_ERRNO(timer_create(99, NULL, &timer), EINVAL);
    EXPECT_ERRNO(timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
    event = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 99};
    EXPECT_ERRNO(timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
    int id;
    EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, bad_page(), &id), EFAULT);
    EXPECT_ERRNO(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, bad_page()), EFAULT);
    EXPECT_ERRNO(syscall(SYS_timer_settime, 12345, 0, NULL, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_timer_getoverrun, 12345), EINVAL);
    OK(timer_create(CLOCK_MONOTONIC, NULL, &timer));
    struct itimerspec spec = {{0, 0}, {0, 1000000000}};
    EXPECT_ERRNO(timer_settime(timer, 0, &spec, NULL), EINVAL);
}

CASE(setitimer_real_fires_and_repeats) {
    handle(SIGALRM, count_signal, 0);
    struct itimerval every = {{0, 2000}, {0, 2000}};
    OK(setitimer(ITIMER_REAL, &every, NULL));
    while (signals_seen < 3)
        pause();
}

CASE(setitimer_returns_the_old_value) {
    struct itimerval setting = {{5, 0}, {100, 0}}, old, zero = {{0, 0}, {0, 0}};
    OK(setitimer(ITIMER_REAL, &setting, NULL));
    OK(getitimer(ITIMER_REAL, &old));
    EXPECT(old.it_value.tv_sec >= 90);
    OK(setitimer(ITIMER_REAL, &zero, &old));
    EXPECT_EQ(old.it_interval.tv_sec, 5);
    OK(getitimer(ITIMER_REAL, &old));
    EXPECT_EQ(old.it_value.tv_sec, 0);
}

CASE(setitimer_virtual_and_prof_count_work) {
    handle(SIGVTALRM, count_signal, 0);
    handle(SIGPROF, count_signal, 0);
    struct itimerval soon = {{0, 0}, {0, 10000}};
    OK(setitimer(ITIMER_VIRTUAL, &soon, NULL));
    while (signals_seen < 1)
        ;
    OK(setitimer(ITIMER_PROF, &soon, NULL));
    while (signals_seen < 2)
        ;
}

CASE(setitimer_with_bad_arguments_fails) {
    struct itimerval bad = {{0, 0}, {0, 1000000}};
    EXPECT_ERRNO(setitimer(ITIMER_REAL, &bad, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_setitimer, 77, &bad, NULL), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getitimer, 77, &bad), EINVAL);
    EXPECT_ERRNO(syscall(SYS_setitimer, ITIMER_REAL, bad_page(), NULL), EFAULT);
    EXPECT_ERRNO(syscall(SYS_getitimer, ITIMER_REAL, bad_page()), EFAULT);
}

CASE(setitimer_survives_exec) {
    pid_t pid = IN_CHILD({
        struct itimerval soon = {{0, 0}, {0, 50000}};
        OK(setitimer(ITIMER_REAL, &soon, NULL));
        execl(program_path, "program", "--helper", "pause", NULL);
    });
    EXPECT_KILLED(pid, SIGALRM);
}

HELPER(pause) {
    (void)argc, (void)argv;
    return pause();
}

CASE(alarm_returns_the_seconds_left) {
    EXPECT_EQ(alarm(100), 0);
    unsigned left = alarm(0);
    EXPECT(left == 100 || left == 99);
    EXPECT_EQ(alarm(0), 0);
}

CASE(alarm_kills_by_default) {
    pid_t pid = IN_CHILD({
        struct itimerval soon = {{0, 0}, {0, 1000}};
        OK(setitimer(ITIMER_REAL, &soon, NULL));
        sleep_forever();
    });
    EXPECT_KILLED(pid, SIGALRM);
}

/* A child with this limit of processor time in seconds that uses the processor, for `wall_ns` at most. */
static pid_t spin_under_limit(rlim_t soft, rlim_t hard, int64_t wall_ns) {
    return IN_CHILD({
        struct rlimit limit = {soft, hard};
        int64_t end = now_ns(CLOCK_MONOTONIC) + wall_ns;
        OK(setrlimit(RLIMIT_CPU, &limit));
        while (now_ns(CLOCK_MONOTONIC) < end)
            ;
        _exit(now_ns(CLOCK_PROCESS_CPUTIME_ID) < 1500000000 ? CASE_SKIPPED : CASE_PASSED);
    });
}

CASE(cpu_time_limit_raises_sigxcpu_and_then_kills) {
    pid_t pid = spin_under_limit(0, 2, 5000000000);
    EXPECT_KILLED(pid, SIGXCPU);
    pid = spin_under_limit(0, 0, 5000000000);
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(cpu_time_limit_counts_seconds) {
    int status = wait_for(spin_under_limit(1, 2, 8000000000));
    /* It has run to the end of its time, and the host's clock says that it was not given what it may use. */
    if (WIFEXITED(status) && WEXITSTATUS(status) == CASE_SKIPPED)
        SKIP("the machine is too busy");
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU);
}

CASE(the_number_of_a_deleted_timer_does_not_come_again_soon) {
    int first, second, third;
    OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &first));
    OK(syscall(SYS_timer_delete, first));
    OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &second));
    OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &third));
    EXPECT_EQ(second, first + 1);
    EXPECT_EQ(third, second + 1);
    EXPECT_ERRNO(syscall(SYS_timer_delete, first), EINVAL);
}

CASE(timer_keeps_room_for_its_signal_from_its_creation_on) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    timer_t of_process = queueing_timer(), of_thread, refused;
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD_ID,
        .sigev_signo = SIGRTMIN,
        ._sigev_un._tid = gettid(),
        .sigev_value.sival_int = 77,
    };
    OK(timer_create(CLOCK_MONOTONIC, &event, &of_thread));
    struct rlimit none = {0, 0};
    OK(setrlimit(RLIMIT_SIGPENDING, &none));
    EXPECT_ERRNO(sigqueue(getpid(), SIGRTMIN, (union sigval){0}), EAGAIN);
    EXPECT_ERRNO(timer_create(CLOCK_MONOTONIC, &event, &refused), EAGAIN);
    event.sigev_notify = SIGEV_NONE;
    EXPECT_ERRNO(timer_create(CLOCK_MONOTONIC, &event, &refused), EAGAIN);
    siginfo_t info;
    struct timespec patience = {5, 0};
    for (int i = 0; i < 3; i++) {
        arm(of_thread, 1, 0);
        EXPECT_EQ(sigtimedwait(&set, &info, &patience), SIGRTMIN);
        EXPECT_EQ(info.si_code, SI_TIMER);
        EXPECT_EQ(info.si_value.sival_int, 77);
        arm(of_process, 1, 0);
        EXPECT_EQ(sigtimedwait(&set, &info, &patience), SIGRTMIN);
        EXPECT_EQ(info.si_code, SI_TIMER);
    }
}

/* Expires, and its signal, which is blocked, is pending. */
static void expire(timer_t timer, int signal) {
    struct itimerspec now = {{0, 0}, {0, 1}};
    OK(timer_settime(timer, 0, &now, NULL));
    sigset_t pending;
    do
        OK(sigpending(&pending));
    while (!sigismember(&pending, signal));
}

static timer_t timer_of_this_thread(void) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
    event._sigev_un._tid = gettid();
    timer_t timer;
    OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    return timer;
}

/* So, and all of the following, since Linux 6.13. */
CASE(signal_of_a_timer_that_is_deleted_is_gone) {
    sigset_t set = block(SIGRTMIN);
    struct timespec no_time = {0, 0};
    for (int round = 0; round < 20; round++) {
        timer_t timer = round % 2 ? queueing_timer() : timer_of_this_thread();
        expire(timer, SIGRTMIN);
        OK(timer_delete(timer));
        EXPECT_ERRNO(sigtimedwait(&set, NULL, &no_time), EAGAIN);
    }
}

CASE(signal_of_a_timer_that_is_set_anew_is_gone) {
    sigset_t set = block(SIGRTMIN);
    struct timespec no_time = {0, 0};
    timer_t timers[] = {queueing_timer(), timer_of_this_thread()};
    for (int i = 0; i < 2; i++) {
        expire(timers[i], SIGRTMIN);
        arm(timers[i], 0, 0);
        EXPECT_ERRNO(sigtimedwait(&set, NULL, &no_time), EAGAIN);
        expire(timers[i], SIGRTMIN);
        arm(timers[i], 100000, 0);
        EXPECT_ERRNO(sigtimedwait(&set, NULL, &no_time), EAGAIN);
    }
}

CASE(signal_that_looks_like_that_of_a_deleted_timer_stays) {
    sigset_t set = block(SIGRTMIN);
    struct timespec no_time = {0, 0};
    int timer;
    OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &timer));
    siginfo_t info = {.si_signo = SIGRTMIN, .si_code = SI_TIMER};
    info.si_timerid = timer;
    OK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &info));
    OK(syscall(SYS_timer_delete, timer));
    EXPECT_EQ(sigtimedwait(&set, NULL, &no_time), SIGRTMIN);
}

HELPER(finds_no_signal) {
    (void)argc, (void)argv;
    sigset_t set = block(SIGRTMIN);
    struct timespec no_time = {0, 0};
    EXPECT_ERRNO(sigtimedwait(&set, NULL, &no_time), EAGAIN);
    return 0;
}

CASE(signals_of_timers_do_not_survive_exec) {
    pid_t pid = IN_CHILD({
        block(SIGRTMIN);
        expire(queueing_timer(), SIGRTMIN);
        expire(timer_of_this_thread(), SIGRTMIN);
        execl(program_path, "program", "--helper", "finds_no_signal", NULL);
    });
    EXPECT_EXIT(pid, 0);
}
