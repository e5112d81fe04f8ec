/* sched_setaffinity(2), sched_setscheduler(2), sched_yield(2), getcpu(2), getpriority(2), nice(2) and their kin */
#include "case.h"

/* The first version of the structure, which the C library's headers do not declare. */
struct sched_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

CASE(sched_yield_succeeds) { OK(sched_yield()); }

CASE(sched_getaffinity_returns_the_size_of_the_kernels_mask) {
    cpu_set_t set;
    CPU_ZERO(&set);
    long size = OK(syscall(SYS_sched_getaffinity, 0, sizeof set, &set));
    EXPECT(size >= 8 && size % 8 == 0 && size <= (long)sizeof set);
    EXPECT(CPU_COUNT(&set) >= 1);
    EXPECT_EQ(CPU_COUNT(&set), sysconf(_SC_NPROCESSORS_ONLN));
}

CASE(sched_setaffinity_to_one_cpu_sticks_and_is_inherited) {
    cpu_set_t all, one, got;
    OK(sched_getaffinity(0, sizeof all, &all));
    int cpu = 0;
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    pid_t pid = IN_CHILD({
        OK(sched_getaffinity(0, sizeof got, &got));
        EXPECT(CPU_EQUAL(&one, &got));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(the_affinity_is_shown_in_the_status) {
    cpu_set_t all, one;
    OK(sched_getaffinity(0, sizeof all, &all));
    int cpu = CPU_SETSIZE - 1;
    while (!CPU_ISSET(cpu, &all))
        cpu--;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    OK(sched_setaffinity(0, sizeof one, &one));
    FILE *status = fopen("/proc/self/status", "r");
    EXPECT(status != NULL);
    char line[256], wanted[64];
    snprintf(wanted, sizeof wanted, "Cpus_allowed_list:\t%d\n", cpu);
    bool is_shown = false;
    while (fgets(line, sizeof line, status))
        is_shown = is_shown || strcmp(line, wanted) == 0;
    fclose(status);
    EXPECT(is_shown);
}

CASE(sched_affinity_with_bad_arguments_fails) {
    cpu_set_t set;
    CPU_ZERO(&set);
    EXPECT_ERRNO(sched_setaffinity(0, sizeof set, &set), EINVAL);
    EXPECT_ERRNO(syscall(SYS_sched_getaffinity, 0, 1, &set), EINVAL);
    EXPECT_ERRNO(syscall(SYS_sched_getaffinity, INT_MAX, sizeof set, &set), ESRCH);
    EXPECT_ERRNO(syscall(SYS_sched_getaffinity, 0, sizeof set, bad_page()), EFAULT);
    EXPECT_ERRNO(syscall(SYS_sched_setaffinity, 0, sizeof set, bad_page()), EFAULT);
}

CASE(sched_getscheduler_of_an_ordinary_process_is_other) {
    EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
    struct sched_param parameter = {77};
    OK(sched_getparam(0, &parameter));
    EXPECT_EQ(parameter.sched_priority, 0);
    EXPECT_ERRNO(sched_getscheduler(INT_MAX), ESRCH);
    EXPECT_ERRNO(sched_getscheduler(-1), EINVAL);
    EXPECT_ERRNO(syscall(SYS_sched_getparam, 0, bad_page()), EFAULT);
}

CASE(sched_setscheduler_to_batch_and_back_works) {
    struct sched_param zero = {0}, one = {1};
    OK(sched_setscheduler(0, SCHED_BATCH, &zero));
    EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH);
    OK(sched_setscheduler(0, SCHED_OTHER, &zero));
    EXPECT_ERRNO(sched_setscheduler(0, SCHED_OTHER, &one), EINVAL);
    EXPECT_ERRNO(sched_setscheduler(0, 99, &zero), EINVAL);
}

CASE(sched_priority_ranges_are_those_of_linux) {
    EXPECT_EQ(sched_get_priority_min(SCHED_OTHER), 0);
    EXPECT_EQ(sched_get_priority_max(SCHED_OTHER), 0);
    EXPECT_EQ(sched_get_priority_min(SCHED_FIFO), 1);
    EXPECT_EQ(sched_get_priority_max(SCHED_RR), 99);
    EXPECT_ERRNO(sched_get_priority_max(99), EINVAL);
}

CASE(sched_rr_get_interval_gives_a_time) {
    struct timespec time = {-1, -1};
    OK(sched_rr_get_interval(0, &time));
    EXPECT(time.tv_sec >= 0 && time.tv_nsec >= 0);
    EXPECT_ERRNO(sched_rr_get_interval(INT_MAX, &time), ESRCH);
}

CASE(sched_getattr_describes_the_process) {
    struct sched_attributes attributes;
    OK(syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0));
    EXPECT_EQ(attributes.policy, SCHED_OTHER);
    EXPECT(attributes.size >= 48);
    EXPECT_ERRNO(syscall(SYS_sched_getattr, 0, &attributes, 8, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_sched_getattr, INT_MAX, &attributes, sizeof attributes, 0), ESRCH);
}

CASE(sched_setattr_sets_policy_and_nice) {
    struct sched_attributes attributes = {.size = sizeof attributes, .policy = SCHED_BATCH, .nice = 5};
    OK(syscall(SYS_sched_setattr, 0, &attributes, 0));
    EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH);
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 5);
    memset(&attributes, 0, sizeof attributes);
    OK(syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0));
    EXPECT_EQ(attributes.policy, SCHED_BATCH);
    EXPECT_EQ(attributes.nice, 5);
}

CASE(sched_setattr_with_reset_on_fork_is_not_inherited) {
    struct sched_attributes attributes = {.size = sizeof attributes, .policy = SCHED_BATCH, .flags = 1};
    OK(syscall(SYS_sched_setattr, 0, &attributes, 0));
    EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH | SCHED_RESET_ON_FORK);
    pid_t pid = IN_CHILD({ EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH); });
    EXPECT_EXIT(pid, 0);
}

CASE(sched_setattr_with_bad_arguments_fails) {
    struct sched_attributes attributes = {.size = 8};
    EXPECT_ERRNO(syscall(SYS_sched_setattr, 0, &attributes, 0), E2BIG);
    EXPECT(attributes.size >= sizeof attributes);
    attributes.size = sizeof attributes;
    EXPECT_ERRNO(syscall(SYS_sched_setattr, 0, NULL, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_sched_setattr, -1, &attributes, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_sched_setattr, 0, &attributes, 1), EINVAL);
    EXPECT_ERRNO(syscall(SYS_sched_setattr, INT_MAX, &attributes, 0), ESRCH);
    attributes.flags = 1 << 20;
    EXPECT_ERRNO(syscall(SYS_sched_setattr, 0, &attributes, 0), EINVAL);
    attributes.flags = 0;
    attributes.policy = 99;
    EXPECT_ERRNO(syscall(SYS_sched_setattr, 0, &attributes, 0), EINVAL);
}

CASE(getcpu_names_an_existing_cpu) {
    unsigned cpu = -1, node = -1;
    OK(syscall(SYS_getcpu, &cpu, &node, NULL));
    EXPECT((long)cpu < sysconf(_SC_NPROCESSORS_CONF));
    OK(syscall(SYS_getcpu, NULL, NULL, NULL));
    EXPECT_ERRNO(syscall(SYS_getcpu, bad_page(), NULL, NULL), EFAULT);
}

CASE(getpriority_returns_twenty_minus_nice) {
    EXPECT_EQ(syscall(SYS_getpriority, PRIO_PROCESS, 0), 20);
    OK(setpriority(PRIO_PROCESS, 0, 7));
    EXPECT_EQ(syscall(SYS_getpriority, PRIO_PROCESS, 0), 13);
    EXPECT_EQ(syscall(SYS_getpriority, PRIO_PROCESS, getpid()), 13);
}

CASE(setpriority_is_clamped_and_inherited) {
    OK(setpriority(PRIO_PROCESS, 0, 100));
    pid_t pid = IN_CHILD({ EXPECT_EQ(syscall(SYS_getpriority, PRIO_PROCESS, 0), 1); });
    EXPECT_EXIT(pid, 0);
}

CASE(setpriority_upwards_needs_the_right) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    struct rlimit none = {0, 0};
    OK(setrlimit(RLIMIT_NICE, &none));
    OK(setpriority(PRIO_PROCESS, 0, 5));
    EXPECT_ERRNO(setpriority(PRIO_PROCESS, 0, 4), EACCES);
}

CASE(priority_with_bad_arguments_fails) {
    EXPECT_ERRNO(syscall(SYS_getpriority, 77, 0), EINVAL);
    EXPECT_ERRNO(setpriority(77, 0, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getpriority, PRIO_PROCESS, INT_MAX), ESRCH);
}

CASE(ioprio_get_answers_for_the_process) {
    OK(syscall(SYS_ioprio_get, 1, 0));
    EXPECT_ERRNO(syscall(SYS_ioprio_get, 99, 0), EINVAL);
}

CASE(ioprio_set_is_remembered_and_inherited) {
    int best_effort_7 = 2 << 13 | 7;
    OK(syscall(SYS_ioprio_set, 1, 0, best_effort_7));
    EXPECT_EQ(syscall(SYS_ioprio_get, 1, 0), best_effort_7);
    pid_t pid = IN_CHILD({ EXPECT_EQ(syscall(SYS_ioprio_get, 1, getpid()), best_effort_7); });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(syscall(SYS_ioprio_get, 2, 0), best_effort_7);
}

CASE(ioprio_set_with_bad_arguments_fails) {
    EXPECT_ERRNO(syscall(SYS_ioprio_set, 1, 0, 7 << 13), EINVAL);
    EXPECT_ERRNO(syscall(SYS_ioprio_set, 1, 0, 5), EINVAL);
    EXPECT_ERRNO(syscall(SYS_ioprio_set, 99, 0, 2 << 13), EINVAL);
    EXPECT_ERRNO(syscall(SYS_ioprio_set, 1, INT_MAX, 2 << 13), ESRCH);
}

CASE(sched_calls_know_init) {
    struct sched_param parameters;
    cpu_set_t set;
    OK(sched_getscheduler(1));
    OK(sched_getparam(1, &parameters));
    OK(sched_getaffinity(1, sizeof set, &set));
    EXPECT_ERRNO(sched_getaffinity(-1, sizeof set, &set), ESRCH);
    EXPECT_ERRNO(sched_getscheduler(-1), EINVAL);
}

CASE(sched_setaffinity_of_another_users_process_returns_eperm) {
    NEEDS_ROOT();
    pid_t target = getpid();
    cpu_set_t set;
    OK(sched_getaffinity(0, sizeof set, &set));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        OK(sched_setaffinity(0, sizeof set, &set));
        EXPECT_ERRNO(sched_setaffinity(target, sizeof set, &set), EPERM);
    });
    EXPECT_EXIT(pid, 0);
}
