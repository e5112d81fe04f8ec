/* prctl(2), arch_prctl(2), personality(2) */
#include "case.h"
#include <asm/prctl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/personality.h>
#include <sys/prctl.h>

CASE(prctl_name_is_cut_to_fifteen_bytes) {
    OK(prctl(PR_SET_NAME, "a-very-long-thread-name"));
    char name[17] = "xxxxxxxxxxxxxxxx";
    OK(prctl(PR_GET_NAME, name));
    EXPECT_STR(name, "a-very-long-thr");
    EXPECT_STR(file_content("/proc/self/comm"), "a-very-long-thr\n");
    EXPECT_ERRNO(prctl(PR_SET_NAME, bad_page()), EFAULT);
    EXPECT_ERRNO(prctl(PR_GET_NAME, bad_page()), EFAULT);
}

static void *name_thread(void *unused) {
    prctl(PR_SET_NAME, "worker");
    return unused;
}

CASE(prctl_name_belongs_to_the_thread) {
    OK(prctl(PR_SET_NAME, "leader"));
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, name_thread, NULL), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    char name[16];
    OK(prctl(PR_GET_NAME, name));
    EXPECT_STR(name, "leader");
}

CASE(prctl_child_subreaper_adopts_orphans) {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    int set = 0;
    OK(prctl(PR_GET_CHILD_SUBREAPER, &set));
    EXPECT_EQ(set, 1);
    PIPE(ends);
    pid_t pid = IN_CHILD({
        pid_t orphan = IN_CHILD({ _exit(33); });
        EXPECT_EQ(write(ends[1], &orphan, sizeof orphan), sizeof orphan);
    });
    EXPECT_EXIT(pid, 0);
    pid_t orphan;
    EXPECT_EQ(read(ends[0], &orphan, sizeof orphan), sizeof orphan);
    EXPECT_EXIT(orphan, 33);
}

CASE(prctl_subreaper_becomes_the_parent_of_a_living_orphan) {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    PIPE(hold);
    pid_t reaper = getpid();
    PIPE(ends);
    pid_t pid = IN_CHILD({
        pid_t orphan = IN_CHILD({
            await(hold[0]);
            _exit(getppid() == reaper ? 0 : 1);
        });
        EXPECT_EQ(write(ends[1], &orphan, sizeof orphan), sizeof orphan);
    });
    EXPECT_EXIT(pid, 0);
    announce(hold[1]);
    pid_t orphan;
    EXPECT_EQ(read(ends[0], &orphan, sizeof orphan), sizeof orphan);
    EXPECT_EXIT(orphan, 0);
}

CASE(prctl_pdeathsig_kills_with_the_parent) {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    PIPE(ready);
    PIPE(ends);
    pid_t parent = IN_CHILD({
        pid_t child = IN_CHILD({
            OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
            int signal = 0;
            OK(prctl(PR_GET_PDEATHSIG, &signal));
            EXPECT_EQ(signal, SIGUSR1);
            announce(ready[1]);
            sleep_forever();
        });
        EXPECT_EQ(write(ends[1], &child, sizeof child), sizeof child);
        await(ready[0]);
    });
    pid_t child;
    EXPECT_EQ(read(ends[0], &child, sizeof child), sizeof child);
    EXPECT_EXIT(parent, 0);
    EXPECT_KILLED(child, SIGUSR1);
}

static sem_t death_seen;
static volatile pid_t seen_by;

static void note_death(int signal) {
    (void)signal;
    seen_by = gettid();
    sem_post(&death_seen);
}

static void *sleep_thread(void *unused) {
    (void)unused;
    sleep_forever();
}

CASE(prctl_pdeathsig_is_for_any_thread_of_the_process) {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    PIPE(ready);
    PIPE(ends);
    pid_t parent = IN_CHILD({
        pid_t child = IN_CHILD({
            handle(SIGUSR1, note_death, 0);
            pthread_t thread;
            EXPECT_EQ(pthread_create(&thread, NULL, sleep_thread, NULL), 0);
            sigset_t usr1;
            sigemptyset(&usr1);
            sigaddset(&usr1, SIGUSR1);
            OK(sigprocmask(SIG_BLOCK, &usr1, NULL));
            OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
            announce(ready[1]);
            OK(sem_wait(&death_seen));
            EXPECT(seen_by != gettid());
        });
        EXPECT_EQ(write(ends[1], &child, sizeof child), sizeof child);
        await(ready[0]);
    });
    pid_t child;
    EXPECT_EQ(read(ends[0], &child, sizeof child), sizeof child);
    EXPECT_EXIT(parent, 0);
    EXPECT_EXIT(child, 0);
}

CASE(prctl_pdeathsig_is_not_inherited) {
    OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    pid_t pid = IN_CHILD({
        int signal = 77;
        OK(prctl(PR_GET_PDEATHSIG, &signal));
        EXPECT_EQ(signal, 0);
    });
    EXPECT_EXIT(pid, 0);
    EXPECT_ERRNO(prctl(PR_SET_PDEATHSIG, 99), EINVAL);
}

static int death_signal(void) {
    int signal = 77;
    OK(prctl(PR_GET_PDEATHSIG, &signal));
    return signal;
}

CASE(prctl_pdeathsig_is_cleared_when_the_credentials_change) {
    NEEDS_ROOT();
    OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    OK(syscall(SYS_setresuid, 1234, -1, -1));
    EXPECT_EQ(death_signal(), SIGUSR1);
    OK(syscall(SYS_setfsgid, 4321));
    EXPECT_EQ(death_signal(), 0);
    OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    OK(syscall(SYS_setresgid, -1, 4321, -1));
    EXPECT_EQ(death_signal(), 0);
    OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    OK(syscall(SYS_setresuid, -1, 1234, -1));
    EXPECT_EQ(death_signal(), 0);
    OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    OK(syscall(SYS_setresuid, -1, -1, 1234));
    EXPECT_EQ(death_signal(), SIGUSR1);
}

HELPER(say_death_signal) {
    (void)argc, (void)argv;
    return death_signal();
}

/* Executes this program with the real user `user`. */
static int death_signal_after_exec(uid_t user) {
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, user, -1, -1));
        OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
        execl(program_path, program_path, "--helper", "say_death_signal", NULL);
        _exit(200);
    });
    int status = wait_for(pid);
    EXPECT(WIFEXITED(status));
    return WEXITSTATUS(status);
}

CASE(prctl_pdeathsig_is_cleared_by_an_execution_that_gains) {
    NEEDS_ROOT();
    EXPECT_EQ(death_signal_after_exec(0), SIGUSR1);
    EXPECT_EQ(death_signal_after_exec(1234), 0);
}

CASE(prctl_dumpable_can_be_switched) {
    OK(prctl(PR_SET_DUMPABLE, 0));
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
    OK(prctl(PR_SET_DUMPABLE, 1));
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 1);
    EXPECT_ERRNO(prctl(PR_SET_DUMPABLE, 2), EINVAL);
}

CASE(prctl_no_new_privs_is_for_ever_and_inherited) {
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    EXPECT_ERRNO(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
    EXPECT_ERRNO(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0), EINVAL);
    pid_t pid = IN_CHILD({ EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1); });
    EXPECT_EXIT(pid, 0);
}

CASE(prctl_timer_slack_can_be_set) {
    OK(prctl(PR_SET_TIMERSLACK, 12345));
    EXPECT_EQ(prctl(PR_GET_TIMERSLACK), 12345);
}

CASE(prctl_with_an_unknown_option_returns_einval) { EXPECT_ERRNO(prctl(999999, 0, 0, 0, 0), EINVAL); }

CASE(arch_prctl_reads_and_writes_the_bases) {
    unsigned long fs, gs;
    OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
    EXPECT_EQ(fs, (unsigned long)pthread_self());
    unsigned long *memory = map(PAGE_SIZE);
    memory[1] = 4711;
    OK(syscall(SYS_arch_prctl, ARCH_SET_GS, memory));
    OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
    EXPECT_EQ(gs, (unsigned long)memory);
    unsigned long value;
    __asm__("mov %%gs:8, %0" : "=r"(value));
    EXPECT_EQ(value, 4711);
}

CASE(arch_prctl_gs_survives_calls_signals_and_fork) {
    unsigned long *memory = map(PAGE_SIZE), value;
    memory[1] = 4711;
    OK(syscall(SYS_arch_prctl, ARCH_SET_GS, memory));
    handle(SIGUSR1, count_signal, 0);
    OK(raise(SIGUSR1));
    __asm__ volatile("mov %%gs:8, %0" : "=r"(value));
    EXPECT_EQ(value, 4711);
    pid_t pid = IN_CHILD({
        __asm__ volatile("mov %%gs:8, %0" : "=r"(value));
        EXPECT_EQ(value, 4711);
    });
    EXPECT_EXIT(pid, 0);
}

/* arch_prctl(2) without the C library, which may not touch its own storage meanwhile. */
static inline __attribute__((always_inline)) long set_fs(unsigned long base) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"((long)SYS_arch_prctl), "D"((long)ARCH_SET_FS), "S"(base)
                     : "rcx", "r11", "memory");
    return result;
}

/* Sets the FS base and sets it back; what lies 16 bytes behind it in between. */
static unsigned long look_through_fs(unsigned long base) {
    unsigned long own, value = 0;
    OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &own));
    long set = set_fs(base);
    if (set == 0) __asm__ volatile("mov %%fs:16, %0" : "=r"(value)::"memory");
    long set_back = set_fs(own);
    EXPECT_EQ(set_back, 0);
    if (set != 0) {
        errno = -set;
        return 0;
    }
    return value;
}

CASE(arch_prctl_sets_the_fs_base_however_often) {
    unsigned long *memory = map(PAGE_SIZE);
    for (int round = 0; round < 100; round++) {
        memory[2] = 4711 + round;
        memory[3] = 42 + round;
        EXPECT_EQ(look_through_fs((unsigned long)memory), 4711 + round);
        EXPECT_EQ(look_through_fs((unsigned long)&memory[1]), 42 + round);
        errno = 0;
        EXPECT_EQ(look_through_fs(0xffff800000000000), 0);
        EXPECT_EQ(errno, EPERM);
    }
    EXPECT_EQ(look_through_fs((unsigned long)memory), 4711 + 99);
}

CASE(arch_prctl_is_refused_by_a_filter_that_comes_after_many_calls) {
    unsigned long *memory = map(PAGE_SIZE);
    memory[2] = 4711;
    for (int round = 0; round < 100; round++) EXPECT_EQ(look_through_fs((unsigned long)memory), 4711);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = code};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    EXPECT_EQ(set_fs((unsigned long)pthread_self()), -ENOTTY);
}

CASE(arch_prctl_with_bad_arguments_fails) {
    EXPECT_ERRNO(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_arch_prctl, ARCH_SET_GS, 0xffff800000000000), EPERM);
    EXPECT_ERRNO(syscall(SYS_arch_prctl, ARCH_GET_FS, bad_page()), EFAULT);
}

CASE(personality_is_linux_and_can_be_asked) { EXPECT_EQ(personality(0xffffffff), PER_LINUX); }

CASE(personality_without_randomisation_is_remembered) {
    EXPECT_EQ(personality(ADDR_NO_RANDOMIZE), PER_LINUX);
    EXPECT_EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE);
}

CASE(prctl_dumpable_is_lost_with_the_user) {
    NEEDS_ROOT();
    char text[8] = "";
    int fd = OK(open("/proc/sys/fs/suid_dumpable", O_RDONLY));
    EXPECT(read(fd, text, sizeof text - 1) > 0);
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 1);
    OK(setresuid(1000, 0, 0));
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 1);
    pid_t pid = OK(vfork());
    if (pid == 0) {
        syscall(SYS_setresuid, 1000, 1000, 1000);
        _exit(0);
    }
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), atoi(text));
}

static int until_death[2];

static void *fork_and_end(void *done) {
    pid_t *child = done;
    *child = IN_CHILD({
        sigset_t usr1;
        sigemptyset(&usr1);
        sigaddset(&usr1, SIGUSR1);
        OK(sigprocmask(SIG_BLOCK, &usr1, NULL));
        OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
        announce(until_death[1]);
        EXPECT_EQ(sigwaitinfo(&usr1, NULL), SIGUSR1);
        announce(until_death[1]);
        EXPECT_EQ(sigwaitinfo(&usr1, NULL), SIGUSR1);
    });
    await(until_death[0]);
    return NULL;
}

CASE(children_of_a_thread_that_ends_are_another_threads) {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    OK(pipe(until_death));
    pid_t *child = map_shared(PAGE_SIZE);
    pid_t parent = IN_CHILD({
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, fork_and_end, child), 0);
        EXPECT_EQ(pthread_join(thread, NULL), 0);
        await(until_death[0]);
        int status;
        EXPECT_EQ(waitpid(*child, &status, WNOHANG | __WNOTHREAD), 0);
    });
    EXPECT_EXIT(parent, 0);
    EXPECT_EXIT(*child, 0);
}

static void *wait_for_an_adopted_child(void *ends) {
    /* The leader has ended once it is a zombie, or is not there. */
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
    do {
        int fd = open(path, O_RDONLY);
        if (fd == -1)
            break;
        text[OK(read(fd, text, sizeof text - 1))] = 0;
        OK(close(fd));
    } while (strstr(text, ") Z ") == NULL);
    int *to_child = ends;
    announce(to_child[1]);
    int status;
    EXPECT(waitpid(-1, &status, __WNOTHREAD) > 0);
    EXPECT(waitpid(-1, &status, __WNOTHREAD) > 0);
    _exit(0);
}

CASE(children_are_adopted_by_a_thread_that_lives) {
    pid_t reaper = IN_CHILD({
        static int ends[2];
        OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
        OK(pipe(ends));
        IN_CHILD({
            /* The grandchild, which ends after its parent. */
            int alive[2];
            OK(pipe(alive));
            IN_CHILD({
                char byte;
                OK(close(alive[1]));
                EXPECT_EQ(read(alive[0], &byte, 1), 0);
            });
            await(ends[0]);
        });
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, wait_for_an_adopted_child, ends), 0);
        syscall(SYS_exit, 0);
    });
    EXPECT_EXIT(reaper, 0);
}
