/* clock_gettime(2), clock_getres(2), clock_settime(2), gettimeofday(2), time(2), times(2), getrusage(2) */
#include "case.h"
#include <pthread.h>
#include <sys/times.h>

/* Uses the processor for at least 20 ms of its time. */
static void burn(void) {
    int64_t until = now_ns(CLOCK_PROCESS_CPUTIME_ID) + 20000000;
    while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < until)
        for (volatile int i = 0; i < 10000; i++)
            ;
}

CASE(clock_gettime_of_every_clock_works) {
    clockid_t clocks[] = {CLOCK_REALTIME,      CLOCK_MONOTONIC,        CLOCK_PROCESS_CPUTIME_ID,
                          CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,  CLOCK_MONOTONIC_COARSE,
                          CLOCK_BOOTTIME,      CLOCK_THREAD_CPUTIME_ID, CLOCK_TAI};
    for (size_t i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
        struct timespec time = {-1, -1};
        OK(syscall(SYS_clock_gettime, clocks[i], &time));
        EXPECT(time.tv_sec >= 0 && time.tv_nsec >= 0 && time.tv_nsec < 1000000000);
        OK(clock_getres(clocks[i], &time));
        EXPECT(time.tv_sec == 0 && time.tv_nsec > 0);
    }
}

CASE(clock_gettime_by_the_vdso_agrees_with_the_call) {
    for (int i = 0; i < 100; i++) {
        struct timespec call;
        int64_t before = now_ns(CLOCK_MONOTONIC);
        OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &call));
        int64_t after = now_ns(CLOCK_MONOTONIC), middle = call.tv_sec * 1000000000LL + call.tv_nsec;
        EXPECT(before <= middle && middle <= after);
    }
}

CASE(clock_monotonic_never_goes_back) {
    int64_t last = 0;
    for (int i = 0; i < 100000; i++) {
        int64_t now = now_ns(CLOCK_MONOTONIC);
        EXPECT(now >= last);
        last = now;
    }
}

CASE(clock_of_the_process_counts_its_work) {
    int64_t before = now_ns(CLOCK_PROCESS_CPUTIME_ID), thread = now_ns(CLOCK_THREAD_CPUTIME_ID);
    burn();
    EXPECT(now_ns(CLOCK_PROCESS_CPUTIME_ID) - before >= 20000000);
    EXPECT(now_ns(CLOCK_THREAD_CPUTIME_ID) - thread >= 15000000);
}

CASE(clock_of_the_process_does_not_count_sleep) {
    struct timespec time = milliseconds(50);
    int64_t before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    OK(nanosleep(&time, NULL));
    EXPECT(now_ns(CLOCK_PROCESS_CPUTIME_ID) - before < 40000000);
}

CASE(clock_of_another_process_can_be_read) {
    clockid_t clock;
    EXPECT_EQ(clock_getcpuclockid(getppid(), &clock), 0);
    struct timespec time;
    OK(clock_gettime(clock, &time));
    pthread_getcpuclockid(pthread_self(), &clock);
    OK(clock_gettime(clock, &time));
}

CASE(clock_gettime_with_bad_arguments_fails) {
    struct timespec time;
    EXPECT_ERRNO(clock_gettime(99, &time), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, bad_page()), EFAULT);
    EXPECT_ERRNO(clock_getres(99, &time), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clock_getres, CLOCK_MONOTONIC, bad_page()), EFAULT);
    OK(clock_getres(CLOCK_MONOTONIC, NULL));
}

CASE(clock_settime_without_the_right_or_sense_fails) {
    NEEDS_ROOT();
    struct timespec time = {1, 0};
    EXPECT_ERRNO(clock_settime(CLOCK_MONOTONIC, &time), EINVAL);
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        EXPECT_ERRNO(clock_settime(CLOCK_REALTIME, &time), EPERM);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(gettimeofday_and_time_agree_with_the_realtime_clock) {
    struct timeval now;
    OK(syscall(SYS_gettimeofday, &now, NULL));
    int64_t difference = now_ns(CLOCK_REALTIME) / 1000 - (now.tv_sec * 1000000LL + now.tv_usec);
    EXPECT(difference >= -2 && difference < 1000000);
    time_t stored, seconds = syscall(SYS_time, &stored);
    EXPECT_EQ(seconds, stored);
    EXPECT(seconds - now.tv_sec <= 1 && seconds - now.tv_sec >= -1);
    EXPECT_ERRNO(syscall(SYS_gettimeofday, bad_page(), NULL), EFAULT);
    EXPECT_ERRNO(syscall(SYS_time, bad_page()), EFAULT);
    OK(syscall(SYS_gettimeofday, NULL, NULL));
}

CASE(times_counts_own_and_childrens_ticks) {
    struct tms before, after;
    OK(times(&before));
    pid_t pid = IN_CHILD({ burn(); });
    EXPECT_EXIT(pid, 0);
    burn();
    OK(times(&after));
    EXPECT(after.tms_utime + after.tms_stime > before.tms_utime + before.tms_stime);
    EXPECT(after.tms_cutime + after.tms_cstime > before.tms_cutime + before.tms_cstime);
    EXPECT_ERRNO(syscall(SYS_times, bad_page()), EFAULT);
}

static int64_t used_us(int who) {
    struct rusage usage;
    OK(getrusage(who, &usage));
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000LL + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

CASE(getrusage_counts_own_and_childrens_time) {
    int64_t own = used_us(RUSAGE_SELF), thread = used_us(RUSAGE_THREAD);
    burn();
    EXPECT(used_us(RUSAGE_SELF) - own >= 10000);
    EXPECT(used_us(RUSAGE_THREAD) - thread >= 10000);
    EXPECT_EQ(used_us(RUSAGE_CHILDREN), 0);
    pid_t pid = IN_CHILD({ burn(); });
    EXPECT_EXIT(pid, 0);
    EXPECT(used_us(RUSAGE_CHILDREN) >= 10000);
}

CASE(getrusage_tells_the_largest_resident_size) {
    char *memory = map(32 << 20);
    memset(memory, 1, 32 << 20);
    struct rusage usage;
    OK(getrusage(RUSAGE_SELF, &usage));
    EXPECT(usage.ru_maxrss >= 32 << 10);
}

CASE(getrusage_with_bad_arguments_fails) {
    struct rusage usage;
    EXPECT_ERRNO(getrusage(77, &usage), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getrusage, RUSAGE_SELF, bad_page()), EFAULT);
}

static __attribute__((noinline)) long ask(long number, long first, void *second) { return syscall(number, first, second, NULL); }

/* A call site that is used often may be served in another way than one that is not. */
CASE(clocks_asked_by_system_calls_agree_with_the_librarys) {
    static const clockid_t clocks[] = {
        CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_THREAD_CPUTIME_ID, CLOCK_PROCESS_CPUTIME_ID,
        CLOCK_TAI,
    };
    for (int i = 0; i < 200; i++) {
        for (size_t which = 0; which < sizeof clocks / sizeof *clocks; which++) {
            int64_t before = now_ns(clocks[which]);
            struct timespec time;
            OK(ask(SYS_clock_gettime, clocks[which], &time));
            int64_t now = time.tv_sec * 1000000000L + time.tv_nsec, after = now_ns(clocks[which]);
            EXPECT(before <= now && now <= after);
        }
        struct timespec coarse;
        OK(ask(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, &coarse));
        EXPECT(coarse.tv_sec * 1000000000L + coarse.tv_nsec <= now_ns(CLOCK_MONOTONIC));
        struct timeval before, now, after;
        OK(gettimeofday(&before, NULL));
        OK(ask(SYS_gettimeofday, (long)&now, NULL));
        OK(gettimeofday(&after, NULL));
        EXPECT(!timercmp(&now, &before, <) && !timercmp(&after, &now, <));
    }
}

CASE(clocks_asked_often_refuse_what_they_refuse_once) {
    struct timespec time;
    for (int i = 0; i < 200; i++)
        OK(ask(SYS_clock_gettime, CLOCK_MONOTONIC, &time));
    for (int i = 0; i < 3; i++) {
        EXPECT_ERRNO(ask(SYS_clock_gettime, 31, &time), EINVAL);
        EXPECT_ERRNO(ask(SYS_clock_gettime, 4711, &time), EINVAL);
        EXPECT_ERRNO(ask(SYS_clock_gettime, CLOCK_MONOTONIC, bad_page()), EFAULT);
        EXPECT_ERRNO(ask(SYS_clock_gettime, CLOCK_MONOTONIC, page_end() - 8), EFAULT);
        EXPECT_ERRNO(ask(SYS_clock_gettime, CLOCK_MONOTONIC, NULL), EFAULT);
        EXPECT_ERRNO(ask(SYS_clock_gettime, CLOCK_MONOTONIC, (void *)0x8000000000000000), EFAULT);
        EXPECT_ERRNO(ask(SYS_clock_gettime, CLOCK_MONOTONIC, (void *)"read only"), EFAULT);
        EXPECT_ERRNO(ask(SYS_gettimeofday, (long)bad_page(), NULL), EFAULT);
        OK(ask(SYS_gettimeofday, 0, NULL));
    }
}

CASE(getcpu_names_a_processor_that_the_thread_may_use) {
    cpu_set_t set;
    OK(sched_getaffinity(0, sizeof set, &set));
    for (int i = 0; i < 200; i++) {
        unsigned cpu = 4711, node = 4711;
        OK(ask(SYS_getcpu, (long)&cpu, NULL));
        EXPECT(CPU_ISSET(cpu, &set));
        cpu = 4711;
        OK(ask(SYS_getcpu, (long)&cpu, &node));
        EXPECT(CPU_ISSET(cpu, &set) && node < 1024);
        OK(ask(SYS_getcpu, 0, NULL));
    }
    EXPECT_ERRNO(ask(SYS_getcpu, (long)bad_page(), NULL), EFAULT);
}

CASE(getrusage_counts_the_wait_for_the_child_of_a_vfork) {
    struct rusage before, after;
    OK(getrusage(RUSAGE_SELF, &before));
    pid_t child = vfork();
    if (child == 0) {
        usleep(1000);
        _exit(0);
    }
    OK(child);
    OK(getrusage(RUSAGE_SELF, &after));
    EXPECT(after.ru_nvcsw > before.ru_nvcsw);
    EXPECT_EXIT(child, 0);
}
