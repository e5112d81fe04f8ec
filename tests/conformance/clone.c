/* clone(2), clone3(2), unshare(2) */
#include "case.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <pthread.h>

static char *stack_top(void) { return (char *)map(16 * PAGE_SIZE) + 16 * PAGE_SIZE; }

static int store(void *word) {
    *(volatile int *)word = 42;
    return 7;
}

CASE(clone_vm_shares_memory) {
    volatile int word = 0;
    pid_t pid = OK(clone(store, stack_top(), CLONE_VM | SIGCHLD, (void *)&word));
    EXPECT_EXIT(pid, 7);
    EXPECT_EQ(word, 42);
}

CASE(clone_without_vm_copies_memory) {
    volatile int word = 0;
    pid_t pid = OK(clone(store, stack_top(), SIGCHLD, (void *)&word));
    EXPECT_EXIT(pid, 7);
    EXPECT_EQ(word, 0);
}

static int open_null(void *unused) {
    (void)unused;
    return open("/dev/null", O_RDONLY);
}

CASE(clone_files_shares_descriptors) {
    int next = next_fd();
    pid_t pid = OK(clone(open_null, stack_top(), CLONE_FILES | SIGCHLD, NULL));
    EXPECT_EXIT(pid, next);
    OK(fcntl(next, F_GETFD));
}

static int ignore_usr1(void *unused) {
    (void)unused;
    signal(SIGUSR1, SIG_IGN);
    return 0;
}

CASE(clone_sighand_shares_handlers) {
    pid_t pid = OK(clone(ignore_usr1, stack_top(), CLONE_VM | CLONE_SIGHAND | SIGCHLD, NULL));
    EXPECT_EXIT(pid, 0);
    struct sigaction action;
    OK(sigaction(SIGUSR1, NULL, &action));
    EXPECT(action.sa_handler == SIG_IGN);
}

CASE(clone_with_impossible_flags_returns_einval) {
    EXPECT_ERRNO(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clone, CLONE_THREAD | CLONE_VM, 0, 0, 0, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0), EINVAL);
}

CASE(clone_parent_makes_a_sibling) {
    pid_t parent = getpid();
    PIPE(ends);
    pid_t pid = IN_CHILD({
        pid_t sibling = OK(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0));
        if (sibling == 0)
            _exit(getppid() == parent ? 3 : 4);
        EXPECT_EQ(write(ends[1], &sibling, sizeof sibling), sizeof sibling);
    });
    pid_t sibling;
    EXPECT_EQ(read(ends[0], &sibling, sizeof sibling), sizeof sibling);
    EXPECT_EXIT(pid, 0);
    EXPECT_EXIT(sibling, 3);
}

CASE(clone_settid_writes_the_tids) {
    pid_t *shared = map_shared(PAGE_SIZE);
    pid_t pid =
        OK(syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &shared[0], &shared[1], 0));
    if (pid == 0)
        _exit(shared[1] == getpid() ? 0 : 1);
    EXPECT_EQ(shared[0], pid);
    EXPECT_EXIT(pid, 0);
}

CASE(clone_child_cleartid_clears_and_wakes) {
    volatile int word = 1;
    pid_t pid = OK(clone(open_null, stack_top(), CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, NULL, NULL, &word));
    while (word != 0)
        syscall(SYS_futex, &word, FUTEX_WAIT, 1, NULL, NULL, 0);
    wait_for(pid);
}

CASE(clone_with_another_exit_signal_is_waited_for_with_wclone) {
    handle(SIGUSR1, count_signal, 0);
    pid_t pid = OK(syscall(SYS_clone, SIGUSR1, 0, 0, 0, 0));
    if (pid == 0)
        _exit(3);
    int status;
    pid_t waited;
    while ((waited = waitpid(pid, &status, __WCLONE)) == -1 && errno == EINTR)
        ;
    EXPECT_EQ(waited, pid);
    EXPECT_EQ(WEXITSTATUS(status), 3);
    EXPECT_EQ(signals_seen, 1);
}

CASE(clone3_forks) {
    int pidfd = -1;
    struct clone_args arguments = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
    pid_t pid = OK(syscall(SYS_clone3, &arguments, sizeof arguments));
    if (pid == 0)
        _exit(9);
    EXPECT(pidfd >= 0);
    EXPECT_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
    EXPECT_EXIT(pid, 9);
}

CASE(clone3_with_bad_arguments_fails) {
    struct clone_args arguments = {.exit_signal = 1000};
    EXPECT_ERRNO(syscall(SYS_clone3, &arguments, sizeof arguments), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clone3, &arguments, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clone3, bad_page(), sizeof arguments), EFAULT);
    arguments = (struct clone_args){.stack_size = PAGE_SIZE};
    EXPECT_ERRNO(syscall(SYS_clone3, &arguments, sizeof arguments), EINVAL);
}

static void *exit_quietly(void *value) { return value; }

CASE(threads_start_and_join) {
    for (int round = 0; round < 20; round++) {
        pthread_t threads[8];
        for (long i = 0; i < 8; i++)
            EXPECT_EQ(pthread_create(&threads[i], NULL, exit_quietly, (void *)i), 0);
        for (long i = 0; i < 8; i++) {
            void *value;
            EXPECT_EQ(pthread_join(threads[i], &value), 0);
            EXPECT_EQ((long)value, i);
        }
    }
}

static __thread int thread_local_word = 5;

static void *check_identity(void *pids) {
    pid_t *pid = pids;
    pid[0] = getpid();
    pid[1] = gettid();
    pid[2] = thread_local_word;
    thread_local_word = 6;
    return NULL;
}

CASE(threads_share_the_pid_and_have_their_own_tid_and_tls) {
    pid_t pids[3];
    pthread_t thread;
    thread_local_word = 8;
    EXPECT_EQ(pthread_create(&thread, NULL, check_identity, pids), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(pids[0], getpid());
    EXPECT(pids[1] != gettid());
    EXPECT_EQ(pids[2], 5);
    EXPECT_EQ(thread_local_word, 8);
}

static void *wait_for_ever(void *unused) {
    (void)unused;
    sleep_forever();
}

CASE(exit_group_of_one_thread_ends_all) {
    pid_t pid = IN_CHILD({
        pthread_t thread;
        for (int i = 0; i < 4; i++)
            EXPECT_EQ(pthread_create(&thread, NULL, wait_for_ever, NULL), 0);
        _exit(11);
    });
    EXPECT_EXIT(pid, 11);
}

static void *group_exit(void *unused) {
    (void)unused;
    _exit(12);
}

CASE(exit_group_of_another_thread_ends_the_leader) {
    pid_t pid = IN_CHILD({
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, group_exit, NULL), 0);
        sleep_forever();
    });
    EXPECT_EXIT(pid, 12);
}

static void *exit_after_the_leader(void *unused) {
    (void)unused;
    struct timespec time = milliseconds(5);
    nanosleep(&time, NULL);
    syscall(SYS_exit_group, 13);
    return NULL;
}

CASE(exit_of_the_leader_keeps_the_group_alive) {
    pid_t pid = IN_CHILD({
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, exit_after_the_leader, NULL), 0);
        syscall(SYS_exit, 0);
    });
    EXPECT_EXIT(pid, 13);
}

CASE(fork_in_a_threaded_process_copies_only_the_caller) {
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, wait_for_ever, NULL), 0);
    pid_t pid = IN_CHILD({
        EXPECT_EQ(gettid(), getpid());
        EXPECT(strstr(file_content("/proc/self/status"), "Threads:\t1\n") != NULL);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(unshare_files_separates_descriptors) {
    pid_t pid = OK(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        OK(unshare(CLONE_FILES));
        close(0);
        _exit(0);
    }
    EXPECT_EXIT(pid, 0);
    OK(fcntl(0, F_GETFD));
}

CASE(unshare_with_unknown_flags_returns_einval) { EXPECT_ERRNO(unshare(0x1), EINVAL); }

CASE(clone3_with_one_place_for_the_identifier_and_the_pidfd_returns_einval) {
    int place = 0, other = 0;
    struct clone_args arguments = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, .exit_signal = SIGCHLD};
    arguments.pidfd = arguments.parent_tid = (uintptr_t)&place;
    EXPECT_ERRNO(syscall(SYS_clone3, &arguments, sizeof arguments), EINVAL);
    arguments.parent_tid = (uintptr_t)&other;
    pid_t pid = OK(syscall(SYS_clone3, &arguments, sizeof arguments));
    if (pid == 0)
        _exit(0);
    EXPECT_EQ(other, pid);
    EXPECT_EXIT(pid, 0);
}
