/* getrlimit(2), setrlimit(2), prlimit64(2) */
#include "case.h"
#include <pthread.h>
#include <sys/ptrace.h>

CASE(getrlimit_of_every_resource_works) {
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit;
        OK(syscall(SYS_getrlimit, resource, &limit));
        EXPECT(limit.rlim_cur <= limit.rlim_max);
    }
}

CASE(setrlimit_changes_and_is_inherited_by_fork_and_exec) {
    struct rlimit limit = {77, 99}, got;
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    OK(getrlimit(RLIMIT_NOFILE, &got));
    EXPECT_EQ(got.rlim_cur, 77);
    EXPECT_EQ(got.rlim_max, 99);
    pid_t pid = IN_CHILD({ execl(program_path, "program", "--helper", "expect_limit", NULL); });
    EXPECT_EXIT(pid, 0);
}

HELPER(expect_limit) {
    (void)argc, (void)argv;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur == 77 && limit.rlim_max == 99 ? 0 : 1;
}

CASE(setrlimit_of_soft_above_hard_returns_einval) {
    struct rlimit limit = {100, 99};
    EXPECT_ERRNO(setrlimit(RLIMIT_NOFILE, &limit), EINVAL);
}

CASE(setrlimit_above_the_hard_limit_needs_the_right) {
    NEEDS_ROOT();
    struct rlimit limit = {50, 50};
    OK(setrlimit(RLIMIT_CORE, &limit));
    OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    limit.rlim_max = 51;
    EXPECT_ERRNO(setrlimit(RLIMIT_CORE, &limit), EPERM);
    limit = (struct rlimit){10, 40};
    OK(setrlimit(RLIMIT_CORE, &limit));
}

CASE(rlimit_with_bad_arguments_fails) {
    struct rlimit limit;
    EXPECT_ERRNO(syscall(SYS_getrlimit, 99, &limit), EINVAL);
    EXPECT_ERRNO(syscall(SYS_setrlimit, 99, &limit), EINVAL);
    EXPECT_ERRNO(syscall(SYS_getrlimit, RLIMIT_NOFILE, bad_page()), EFAULT);
    EXPECT_ERRNO(syscall(SYS_setrlimit, RLIMIT_NOFILE, bad_page()), EFAULT);
}

CASE(prlimit_sets_and_returns_the_old) {
    struct rlimit limit = {50, 60}, old, got;
    OK(getrlimit(RLIMIT_NOFILE, &got));
    OK(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, &old));
    EXPECT_EQ(old.rlim_cur, got.rlim_cur);
    OK(syscall(SYS_prlimit64, getpid(), RLIMIT_NOFILE, NULL, &got));
    EXPECT_EQ(got.rlim_cur, 50);
}

CASE(prlimit_of_a_child_works) {
    PIPE(hold);
    pid_t pid = IN_CHILD({
        await(hold[0]);
        struct rlimit got;
        OK(getrlimit(RLIMIT_NOFILE, &got));
        EXPECT_EQ(got.rlim_cur, 123);
    });
    struct rlimit limit = {123, 200};
    OK(prlimit(pid, RLIMIT_NOFILE, &limit, NULL));
    announce(hold[1]);
    EXPECT_EXIT(pid, 0);
}

CASE(prlimit_with_bad_arguments_fails) {
    struct rlimit limit;
    EXPECT_ERRNO(syscall(SYS_prlimit64, INT_MAX, RLIMIT_NOFILE, NULL, &limit), ESRCH);
    EXPECT_ERRNO(syscall(SYS_prlimit64, 0, 99, NULL, &limit), EINVAL);
    EXPECT_ERRNO(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, bad_page(), NULL), EFAULT);
    EXPECT_ERRNO(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, bad_page()), EFAULT);
}

CASE(stack_limit_bounds_the_stack) {
    pid_t pid = IN_CHILD({
        struct rlimit limit = {256 << 10, 256 << 10};
        OK(setrlimit(RLIMIT_STACK, &limit));
        execl(program_path, "program", "--helper", "use_stack", "1000", NULL);
    });
    EXPECT_KILLED(pid, SIGSEGV);
    pid = IN_CHILD({ execl(program_path, "program", "--helper", "use_stack", "1000", NULL); });
    EXPECT_EXIT(pid, 0);
}

static int use_stack(int kilobytes) {
    volatile char block[1024];
    block[0] = 1;
    return kilobytes == 0 ? 0 : use_stack(kilobytes - 1) + block[0] - 1;
}

HELPER(use_stack) {
    (void)argc;
    return use_stack(atoi(argv[0]));
}

CASE(prlimit_of_a_process_of_another_group_returns_eperm) {
    NEEDS_ROOT();
    pid_t target = IN_CHILD({
        OK(syscall(SYS_setresgid, 1234, 1235, 1235));
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        sleep_forever();
    });
    /* It has become the user's once its groups are what they stay. */
    struct stat status;
    char name[32];
    snprintf(name, sizeof name, "/proc/%d", target);
    do {
        sched_yield();
        OK(stat(name, &status));
    } while (status.st_uid != 1234);
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresgid, 1234, 1234, 1234));
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        struct rlimit limit;
        EXPECT_ERRNO(prlimit(target, RLIMIT_NOFILE, NULL, &limit), EPERM);
        OK(prlimit(getpid(), RLIMIT_NOFILE, NULL, &limit));
    });
    EXPECT_EXIT(pid, 0);
    OK(kill(target, SIGKILL));
    EXPECT_KILLED(target, SIGKILL);
}

CASE(processes_that_nobody_has_waited_for_count_for_rlimit_nproc) {
    NEEDS_ROOT();
    OK(setgid(54321));
    struct rlimit limit = {5, 5};
    OK(setrlimit(RLIMIT_NPROC, &limit));
    OK(setuid(54321));
    for (int i = 0; i < 4; i++) {
        pid_t pid = IN_CHILD({});
        siginfo_t info;
        OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    }
    EXPECT_ERRNO(fork(), EAGAIN);
    OK(wait(NULL));
    EXPECT_EXIT(IN_CHILD({}), 0);
}

/* Becomes a user of nobody else's, who may have `count` tasks. */
static void become_user_with_tasks(uid_t user, rlim_t count) {
    struct rlimit limit = {count, count};
    OK(setgid(user));
    OK(setrlimit(RLIMIT_NPROC, &limit));
    OK(setuid(user));
}

static void *sleep_in_thread(void *unused) {
    (void)unused;
    sleep_forever();
}

CASE(first_threads_that_have_ended_before_others_count_for_rlimit_nproc) {
    NEEDS_ROOT();
    become_user_with_tasks(54322, 3);
    int *word = map_shared(PAGE_SIZE);
    *word = 1;
    pid_t pid = IN_CHILD({
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, sleep_in_thread, NULL), 0);
        syscall(SYS_set_tid_address, word);
        syscall(SYS_exit, 0);
    });
    await_value(word, 0);
    EXPECT_ERRNO(fork(), EAGAIN);
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
    EXPECT_EXIT(IN_CHILD({}), 0);
}

/* A thread that says who it is, and ends when it is told to. */
struct thread_to_end {
    pid_t id;
    int started, told;
};

static void *end_when_told(void *argument) {
    struct thread_to_end *thread = argument;
    thread->id = gettid();
    announce(thread->started);
    await(thread->told);
    return NULL;
}

CASE(threads_that_their_tracer_has_not_waited_for_count_for_rlimit_nproc) {
    NEEDS_ROOT();
    become_user_with_tasks(54323, 3);
    PIPE(told);
    PIPE(started);
    struct thread_to_end *thread = map_shared(PAGE_SIZE);
    *thread = (struct thread_to_end){0, started[1], told[0]};
    OK(prctl(PR_SET_DUMPABLE, 1));
    pid_t pid = IN_CHILD({
        pthread_t created;
        EXPECT_EQ(pthread_create(&created, NULL, end_when_told, thread), 0);
        sleep_forever();
    });
    await(started[0]);
    OK(ptrace(PTRACE_SEIZE, thread->id, 0, 0));
    announce(told[1]);
    siginfo_t info;
    OK(waitid(P_PID, thread->id, &info, WEXITED | WNOWAIT | __WALL));
    EXPECT_ERRNO(fork(), EAGAIN);
    EXPECT_EQ(waitpid(thread->id, NULL, __WALL), thread->id);
    EXPECT_EXIT(IN_CHILD({}), 0);
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}
