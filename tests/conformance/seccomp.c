/* seccomp(2), prctl(PR_SET_SECCOMP) */
#include "case.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
#define UNLESS(value, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skipped)

static long seccomp(unsigned operation, unsigned flags, void *arguments) {
    return syscall(SYS_seccomp, operation, flags, arguments);
}

/* Lays on the caller a filter that answers `number` with `action` and allows the rest. */
static long filter(int number, unsigned action, unsigned flags) {
    struct sock_filter code[] = {LOAD(nr), UNLESS(number, 1), RETURN(action), RETURN(SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    return seccomp(SECCOMP_SET_MODE_FILTER, flags, &program);
}

CASE(seccomp_filter_answers_with_an_error) {
    OK(filter(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, 0));
    EXPECT_ERRNO(syscall(SYS_getppid), EXDEV);
    EXPECT_EQ(syscall(SYS_getpid), getpid());
    EXPECT_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), SECCOMP_MODE_FILTER);
}

CASE(seccomp_filter_sees_a_call_that_has_been_made_often) {
    for (int round = 0; round < 100; round++)
        EXPECT_EQ(syscall(SYS_getppid), getppid());
    OK(filter(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, 0));
    EXPECT_ERRNO(syscall(SYS_getppid), EXDEV);
}

CASE(seccomp_filter_sees_what_a_descriptor_is_asked_for) {
    struct stat status;
    struct statx extended;
    int fd = OK(open(program_path, O_RDONLY));
    for (int round = 0; round < 300; round++) {
        OK(fstat(fd, &status));
        OK(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended));
    }
    OK(filter(SYS_statx, SECCOMP_RET_ERRNO | EXDEV, 0));
    for (int round = 0; round < 300; round++) {
        OK(fstat(fd, &status));
        EXPECT_ERRNO(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended), EXDEV);
    }
}

CASE(seccomp_filter_on_top_of_one_that_allows_a_call_sees_it) {
    OK(filter(SYS_mkdir, SECCOMP_RET_ERRNO | EXDEV, 0));
    for (int round = 0; round < 100; round++)
        EXPECT_EQ(syscall(SYS_getppid), getppid());
    EXPECT_ERRNO(syscall(SYS_mkdir, "x", 0700), EXDEV);
    OK(filter(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, 0));
    EXPECT_ERRNO(syscall(SYS_getppid), EXDEV);
    EXPECT_EQ(syscall(SYS_getpid), getpid());
}

static void *ask_until_it_fails(void *unused) {
    (void)unused;
    while (syscall(SYS_getppid) != -1)
        ;
    return NULL;
}

CASE(seccomp_filter_for_all_threads_reaches_one_that_makes_a_call_all_the_time) {
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, ask_until_it_fails, NULL), 0);
    for (int round = 0; round < 100; round++)
        sched_yield();
    OK(filter(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, SECCOMP_FILTER_FLAG_TSYNC));
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

CASE(seccomp_filters_are_inherited_and_survive_an_exec) {
    OK(filter(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, 0));
    pid_t pid = IN_CHILD({ EXPECT_ERRNO(syscall(SYS_getppid), EXDEV); });
    EXPECT_EXIT(pid, 0);
    pid = OK(fork());
    if (pid == 0) {
        execl(program_path, "program", "--helper", "ask_for_the_parent", NULL);
        FAIL("execl returned %s", errno_name(errno));
    }
    EXPECT_EXIT(pid, EXDEV);
}

HELPER(ask_for_the_parent) {
    (void)argc;
    (void)argv;
    return syscall(SYS_getppid) == -1 ? errno : 0;
}

CASE(seccomp_filter_sees_number_architecture_address_and_arguments) {
    struct sock_filter code[] = {
        LOAD(arch),    UNLESS(AUDIT_ARCH_X86_64, 10), LOAD(nr), UNLESS(SYS_lseek, 7), LOAD(args[0]), UNLESS(77, 5),
        LOAD(args[1]), UNLESS(0x55667788, 3), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + 4),
        UNLESS(0x11223344, 1), RETURN(SECCOMP_RET_ERRNO | EXDEV), RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_KILL),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    EXPECT_ERRNO(syscall(SYS_lseek, 77, 0x1122334455667788, 0), EXDEV);
    EXPECT_ERRNO(syscall(SYS_lseek, 77, 0x1122334455667789, 0), EBADF);
}

CASE(seccomp_kill_ends_with_sigsys) {
    pid_t pid = IN_CHILD({
        OK(filter(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0));
        syscall(SYS_getppid);
    });
    int status = wait_for(pid);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void *get_parent(void *argument) {
    syscall(SYS_getppid);
    return argument;
}

CASE(seccomp_kill_thread_ends_one_thread) {
    pid_t pid = IN_CHILD({
        OK(filter(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0));
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, get_parent, NULL), 0);
        EXPECT_EQ(pthread_join(thread, NULL), 0);
        _exit(7);
    });
    EXPECT_EXIT(pid, 7);
}

static siginfo_t trapped;

static void trap(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    trapped = *info;
}

CASE(seccomp_trap_raises_sigsys_with_the_call) {
    handle_info(SIGSYS, trap, 0);
    OK(filter(SYS_getppid, SECCOMP_RET_TRAP | 42, 0));
    syscall(SYS_getppid);
    EXPECT_EQ(trapped.si_code, 1 /* SYS_SECCOMP */);
    EXPECT_EQ(trapped.si_errno, 42);
    EXPECT_EQ(trapped.si_syscall, SYS_getppid);
    EXPECT_EQ(trapped.si_arch, AUDIT_ARCH_X86_64);
    EXPECT(trapped.si_call_addr != NULL);
}

CASE(seccomp_the_strictest_filter_counts) {
    OK(filter(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, 0));
    OK(filter(SYS_getppid, SECCOMP_RET_LOG, 0));
    EXPECT_ERRNO(syscall(SYS_getppid), EXDEV);
    OK(filter(SYS_getppid, SECCOMP_RET_ERRNO | EDOM, 0));
    EXPECT_ERRNO(syscall(SYS_getppid), EDOM);
}

CASE(seccomp_trace_without_a_tracer_is_enosys) {
    OK(filter(SYS_getppid, SECCOMP_RET_TRACE, 0));
    EXPECT_ERRNO(syscall(SYS_getppid), ENOSYS);
}

static int ready[2], go[2];

static void *wait_and_ask(void *argument) {
    announce(ready[1]);
    await(go[0]);
    long result = syscall(SYS_getppid);
    return result == -1 ? (void *)(long)errno : argument;
}

CASE(seccomp_tsync_filters_all_threads) {
    OK(pipe(ready));
    OK(pipe(go));
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, wait_and_ask, NULL), 0);
    await(ready[0]);
    EXPECT_EQ(filter(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, SECCOMP_FILTER_FLAG_TSYNC), 0);
    announce(go[1]);
    void *result;
    EXPECT_EQ(pthread_join(thread, &result), 0);
    EXPECT_EQ((long)result, EXDEV);
}

CASE(seccomp_strict_mode_kills_at_other_calls) {
    pid_t pid = IN_CHILD({
        OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
        syscall(SYS_exit, 3);
    });
    EXPECT_EXIT(pid, 3);
    pid = IN_CHILD({
        OK(seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL));
        syscall(SYS_getpid);
    });
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(seccomp_needs_privilege_or_no_new_privs) {
    struct sock_filter code[] = {RETURN(SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, code};
    if (geteuid() == 0)
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    EXPECT_ERRNO(seccomp(SECCOMP_SET_MODE_FILTER, 0, &program), EACCES);
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OK(seccomp(SECCOMP_SET_MODE_FILTER, 0, &program));
}

CASE(seccomp_is_shown_in_proc) {
    OK(filter(SYS_getppid, SECCOMP_RET_LOG, 0));
    OK(filter(SYS_getppid, SECCOMP_RET_LOG, 0));
    EXPECT(strstr(file_content("/proc/self/status"), "Seccomp:\t2\n") != NULL);
}

CASE(seccomp_with_bad_arguments_fails) {
    struct sock_filter code[] = {RETURN(SECCOMP_RET_ALLOW), LOAD(nr)};
    struct sock_fprog program = {0, code};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    EXPECT_ERRNO(seccomp(99, 0, NULL), EINVAL);
    EXPECT_ERRNO(seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
    EXPECT_ERRNO(seccomp(SECCOMP_SET_MODE_STRICT, 0, code), EINVAL);
    EXPECT_ERRNO(seccomp(SECCOMP_SET_MODE_FILTER, 0x100, &program), EINVAL);
    EXPECT_ERRNO(seccomp(SECCOMP_SET_MODE_FILTER, 0, &program), EINVAL);
    EXPECT_ERRNO(seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL), EFAULT);
    program.len = 2;
    EXPECT_ERRNO(seccomp(SECCOMP_SET_MODE_FILTER, 0, &program), EINVAL);
    program.filter = bad_page();
    EXPECT_ERRNO(seccomp(SECCOMP_SET_MODE_FILTER, 0, &program), EFAULT);
    EXPECT_ERRNO(prctl(PR_SET_SECCOMP, 3, 0), EINVAL);
    unsigned action = SECCOMP_RET_ERRNO;
    OK(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
    action = 0x12340000;
    EXPECT_ERRNO(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action), EOPNOTSUPP);
    EXPECT_ERRNO(seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &action), EINVAL);
}
