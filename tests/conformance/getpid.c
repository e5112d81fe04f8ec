/* getpid(2), gettid(2), getppid(2), getuid(2) and kin, asked so often that whoever answers may have learnt the answer */
#include "case.h"

#include <pthread.h>

static long ask(long number) {
    long answer = syscall(number);
    for (int round = 0; round < 100; round++)
        EXPECT_EQ(syscall(number), answer);
    return answer;
}

CASE(getpid_asked_often_is_each_processs_own) {
    pid_t own = ask(SYS_getpid), parent = ask(SYS_getppid);
    EXPECT_EQ(ask(SYS_gettid), own);
    pid_t pid = IN_CHILD({
        EXPECT_EQ(syscall(SYS_getppid), own);
        EXPECT_EQ(syscall(SYS_getpid), syscall(SYS_gettid));
        EXPECT(ask(SYS_getpid) != own);
        EXPECT_EQ(ask(SYS_getppid), own);
    });
    EXPECT_EXIT(pid, 0);
    EXPECT(syscall(SYS_getpid) == own && syscall(SYS_getppid) == parent);
    pid = OK(vfork());
    if (pid == 0)
        _exit(syscall(SYS_getppid) == own && syscall(SYS_getpid) != own ? 0 : 1);
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(syscall(SYS_getpid), own);
}

static void *thread_identifier(void *unused) {
    (void)unused;
    EXPECT_EQ(ask(SYS_getpid), getpid());
    return (void *)ask(SYS_gettid);
}

CASE(gettid_asked_often_is_each_threads_own) {
    long own = ask(SYS_gettid);
    pthread_t threads[4];
    void *others[4];
    for (int index = 0; index < 4; index++)
        EXPECT_EQ(pthread_create(&threads[index], NULL, thread_identifier, NULL), 0);
    for (int index = 0; index < 4; index++) {
        EXPECT_EQ(pthread_join(threads[index], &others[index]), 0);
        EXPECT((long)others[index] != own);
        for (int other = 0; other < index; other++)
            EXPECT(others[other] != others[index]);
    }
    EXPECT_EQ(syscall(SYS_gettid), own);
}

CASE(getppid_asked_often_sees_the_new_parent) {
    int ready[2], go[2], answer[2];
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    OK(pipe(ready));
    OK(pipe(go));
    OK(pipe(answer));
    pid_t middle = OK(fork());
    if (middle == 0) {
        middle = getpid();
        if (OK(fork()) == 0) {
            char byte = 0;
            EXPECT_EQ(ask(SYS_getppid), middle);
            EXPECT_EQ(write(ready[1], &byte, 1), 1);
            EXPECT_EQ(read(go[0], &byte, 1), 1);
            pid_t parent = syscall(SYS_getppid);
            EXPECT_EQ(write(answer[1], &parent, sizeof parent), sizeof parent);
            _exit(0);
        }
        char byte;
        EXPECT_EQ(read(ready[0], &byte, 1), 1);
        _exit(0);
    }
    EXPECT_EXIT(middle, 0);
    char byte = 0;
    pid_t parent = 0;
    EXPECT_EQ(write(go[1], &byte, 1), 1);
    EXPECT_EQ(read(answer[0], &parent, sizeof parent), sizeof parent);
    EXPECT_EQ(parent, getpid());
    EXPECT(OK(wait(NULL)) > 0);
}

CASE(getppid_sees_the_new_parent_without_making_another_call) {
    OK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    pid_t own = getpid();
    pid_t middle = IN_CHILD({
        pid_t parent = getpid();
        if (OK(fork()) == 0) {
            while (syscall(SYS_getppid) == parent)
                ;
            _exit(syscall(SYS_getppid) == own ? 0 : 1);
        }
    });
    EXPECT_EXIT(middle, 0);
    int status;
    EXPECT(OK(wait(&status)) > 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

CASE(getuid_asked_often_follows_a_change) {
    pid_t pid = IN_CHILD({
        ask(SYS_getuid);
        ask(SYS_geteuid);
        ask(SYS_getgid);
        ask(SYS_getegid);
        OK(setresgid(2001, 2002, 2003));
        EXPECT(syscall(SYS_getgid) == 2001 && syscall(SYS_getegid) == 2002);
        OK(setresuid(1001, 1002, 1003));
        EXPECT(syscall(SYS_getuid) == 1001 && syscall(SYS_geteuid) == 1002);
        EXPECT(ask(SYS_getuid) == 1001 && ask(SYS_geteuid) == 1002);
        EXPECT(ask(SYS_getgid) == 2001 && ask(SYS_getegid) == 2002);
    });
    EXPECT_EXIT(pid, 0);
}

HELPER(say_whether_process_and_thread_are) {
    EXPECT_EQ(argc, 1);
    return syscall(SYS_getpid) == atoi(argv[0]) && syscall(SYS_gettid) == atoi(argv[0]) ? 0 : 1;
}

static void *execute(void *unused) {
    (void)unused;
    char own[16];
    ask(SYS_gettid);
    snprintf(own, sizeof own, "%d", getpid());
    execl(program_path, "program", "--helper", "say_whether_process_and_thread_are", own, NULL);
    FAIL("execl returned %s", errno_name(errno));
    return NULL;
}

CASE(gettid_asked_often_changes_when_a_thread_executes_a_program) {
    pid_t pid = IN_CHILD({
        pthread_t thread;
        ask(SYS_gettid);
        EXPECT_EQ(pthread_create(&thread, NULL, execute, NULL), 0);
        pthread_join(thread, NULL);
    });
    EXPECT_EXIT(pid, 0);
}
