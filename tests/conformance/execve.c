/* execve(2), execveat(2) */
#include "case.h"
#include <elf.h>
#include <pthread.h>
#include <sys/auxv.h>

/* Executes this program in a child: `helper` with arguments. */
static pid_t run_helper(const char *helper, ...) {
    char *arguments[16] = {"program", "--helper", (char *)helper};
    va_list list;
    va_start(list, helper);
    for (int i = 3; i < 15; i++)
        if ((arguments[i] = va_arg(list, char *)) == NULL)
            break;
    va_end(list);
    pid_t pid = OK(fork());
    if (pid == 0) {
        execv(program_path, arguments);
        FAIL("execv, got %s", errno_name(errno));
    }
    return pid;
}

/* Makes an executable file of `content`. */
static void make_program(const char *name, const char *content) {
    make_file(name, content);
    OK(chmod(name, 0755));
}

#define EXECUTE(...)                                                                                                   \
    IN_CHILD({                                                                                                         \
        char *arguments[] = {__VA_ARGS__, NULL}, *environment[] = {"COLOUR=blue", NULL};                               \
        execve(arguments[0], arguments, environment);                                                                  \
        _exit(200);                                                                                                    \
    })

HELPER(expect_arguments) {
    return argc == 3 && strcmp(argv[0], "one") == 0 && argv[1][0] == 0 && strcmp(argv[2], "three 3") == 0 ? 0 : 1;
}

CASE(execve_passes_the_arguments) { EXPECT_EXIT(run_helper("expect_arguments", "one", "", "three 3", NULL), 0); }

HELPER(expect_environment) {
    (void)argc, (void)argv;
    return environ[0] && strcmp(environ[0], "COLOUR=blue") == 0 && environ[1] == NULL ? 0 : 1;
}

CASE(execve_passes_the_environment) { EXPECT_EXIT(EXECUTE(program_path, "--helper", "expect_environment"), 0); }

HELPER(expect_auxv) {
    (void)argc;
    if (getauxval(AT_PAGESZ) != 4096 || getauxval(AT_CLKTCK) != 100)
        return 1;
    if (getauxval(AT_UID) != getuid() || getauxval(AT_EUID) != geteuid() || getauxval(AT_GID) != getgid())
        return 2;
    if (getauxval(AT_SECURE) != 0)
        return 3;
    const char *name = (const char *)getauxval(AT_EXECFN), *platform = (const char *)getauxval(AT_PLATFORM);
    if (name == NULL || strcmp(name, argv[0]) != 0)
        return 4;
    if (platform == NULL || strcmp(platform, "x86_64") != 0)
        return 5;
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    unsigned sum = 0;
    for (int i = 0; i < 16; i++)
        sum += random[i];
    if (sum == 0)
        return 6;
    const Elf64_Phdr *headers = (const Elf64_Phdr *)getauxval(AT_PHDR);
    if (headers == NULL || getauxval(AT_PHENT) != sizeof *headers || getauxval(AT_PHNUM) == 0)
        return 7;
    const char *vdso = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (vdso != NULL && memcmp(vdso, "\177ELF", 4) != 0)
        return 8;
    return getauxval(AT_ENTRY) != 0 && getauxval(AT_HWCAP) != 0 ? 0 : 9;
}

CASE(execve_gives_an_auxiliary_vector) { EXPECT_EXIT(run_helper("expect_auxv", program_path, NULL), 0); }

HELPER(expect_aligned_stack) {
    (void)argc;
    return (uintptr_t)__builtin_frame_address(0) % 16 == 0 && argv[argc] == NULL ? 0 : 1;
}

CASE(execve_aligns_the_stack) { EXPECT_EXIT(run_helper("expect_aligned_stack", "x", NULL), 0); }

HELPER(expect_closed) {
    (void)argc;
    return fcntl(atoi(argv[0]), F_GETFD) == -1 && fcntl(atoi(argv[1]), F_GETFD) == 0 ? 0 : 1;
}

CASE(execve_closes_cloexec_descriptors_only) {
    char closed[8], open_still[8];
    snprintf(closed, sizeof closed, "%d", OK(open("/dev/null", O_RDONLY | O_CLOEXEC)));
    snprintf(open_still, sizeof open_still, "%d", OK(open("/dev/null", O_RDONLY)));
    EXPECT_EXIT(run_helper("expect_closed", closed, open_still, NULL), 0);
}

HELPER(expect_signals) {
    (void)argc, (void)argv;
    struct sigaction usr1, usr2;
    sigset_t mask, pending;
    sigaction(SIGUSR1, NULL, &usr1);
    sigaction(SIGUSR2, NULL, &usr2);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    sigpending(&pending);
    return usr1.sa_handler == SIG_DFL && usr2.sa_handler == SIG_IGN && sigismember(&mask, SIGHUP) &&
                   sigismember(&pending, SIGHUP)
               ? 0
               : 1;
}

CASE(execve_resets_handlers_and_keeps_ignored_blocked_and_pending_signals) {
    handle(SIGUSR1, count_signal, 0);
    handle(SIGUSR2, SIG_IGN, 0);
    pid_t pid = OK(fork());
    if (pid == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGHUP);
        OK(sigprocmask(SIG_BLOCK, &set, NULL));
        OK(raise(SIGHUP));
        execl(program_path, "program", "--helper", "expect_signals", NULL);
        _exit(200);
    }
    EXPECT_EXIT(pid, 0);
}

HELPER(expect_pid) {
    (void)argc;
    return getpid() == atoi(argv[0]) && gettid() == getpid() ? 0 : 1;
}

static void *execute_from_thread(void *unused) {
    (void)unused;
    char pid[16];
    snprintf(pid, sizeof pid, "%d", getpid());
    execl(program_path, "program", "--helper", "expect_pid", pid, NULL);
    _exit(200);
}

CASE(execve_by_another_thread_becomes_the_leader) {
    pid_t pid = IN_CHILD({
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, execute_from_thread, NULL), 0);
        sleep_forever();
    });
    EXPECT_EXIT(pid, 0);
}

CASE(execve_keeps_pid_directory_and_umask) {
    OK(mkdir("d", 0700));
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(chdir("d"));
        umask(0135);
        execl(program_path, "program", "--helper", "expect_directory", NULL);
        _exit(200);
    }
    EXPECT_EXIT(pid, 0);
}

HELPER(expect_directory) {
    (void)argc, (void)argv;
    return access("../d", F_OK) == 0 && umask(0) == 0135 ? 0 : 1;
}

HELPER(expect_comm) {
    (void)argc;
    return strcmp(file_content("/proc/self/comm"), argv[0]) == 0 ? 0 : 1;
}

CASE(execve_names_the_process_after_the_file) {
    OK(symlink(program_path, "a-rather-long-name"));
    EXPECT_EXIT(EXECUTE("./a-rather-long-name", "--helper", "expect_comm", "a-rather-long-n\n"), 0);
}

CASE(execve_of_a_script_runs_its_interpreter) {
    char script[PATH_MAX + 32];
    snprintf(script, sizeof script, "#! %s  --helper\n", program_path);
    /* The interpreter gets one optional argument, the script's name, and the rest. */
    make_program("script_name", script);
    EXPECT_EXIT(EXECUTE("script_name", "one", "two"), 5);
}

HELPER(script_name) { return argc == 2 && strcmp(argv[0], "one") == 0 && strcmp(argv[1], "two") == 0 ? 5 : 6; }

CASE(execve_of_a_script_with_a_missing_interpreter_returns_enoent) {
    make_program("s", "#!/no/such/interpreter\n");
    EXPECT_ERRNO(execl("s", "s", NULL), ENOENT);
}

CASE(execve_of_a_script_that_names_itself_returns_eloop) {
    char directory[PATH_MAX], script[PATH_MAX + 16];
    OK(syscall(SYS_getcwd, directory, sizeof directory));
    snprintf(script, sizeof script, "#!%.4000s/s\n", directory);
    make_program("s", script);
    EXPECT_ERRNO(execl("s", "s", NULL), ELOOP);
}

CASE(execve_of_junk_returns_enoexec) {
    make_program("text", "just text\n");
    make_program("empty", "");
    make_program("short", "\177ELF");
    make_program("no-name", "#!\n");
    EXPECT_ERRNO(execl("text", "text", NULL), ENOEXEC);
    EXPECT_ERRNO(execl("empty", "empty", NULL), ENOEXEC);
    EXPECT_ERRNO(execl("short", "short", NULL), ENOEXEC);
    EXPECT_ERRNO(execl("no-name", "no-name", NULL), ENOEXEC);
}

/* Copies this program and changes one 16-bit field of its ELF header. */
static void damaged_copy(const char *name, size_t offset, uint16_t value) {
    int from = OK(open(program_path, O_RDONLY)), to = OK(open(name, O_RDWR | O_CREAT, 0755));
    char *buffer = map(1 << 16);
    for (ssize_t count; (count = OK(read(from, buffer, 1 << 16))) > 0;)
        EXPECT_EQ(write(to, buffer, count), count);
    EXPECT_EQ(pwrite(to, &value, 2, offset), 2);
    OK(close(from));
    OK(close(to));
}

CASE(execve_of_another_machine_returns_enoexec) {
    damaged_copy("arm", offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
    EXPECT_ERRNO(execl("arm", "arm", NULL), ENOEXEC);
    damaged_copy("object", offsetof(Elf64_Ehdr, e_type), ET_REL);
    EXPECT_ERRNO(execl("object", "object", NULL), ENOEXEC);
    damaged_copy("entries", offsetof(Elf64_Ehdr, e_phentsize), 1);
    EXPECT_ERRNO(execl("entries", "entries", NULL), ENOEXEC);
}

CASE(execve_of_files_that_cannot_be_executed_returns_eacces) {
    make_file("plain", "#!/bin/sh\n");
    EXPECT_ERRNO(execl("plain", "plain", NULL), EACCES);
    EXPECT_ERRNO(execl(".", ".", NULL), EACCES);
    OK(mkfifo("fifo", 0777));
    EXPECT_ERRNO(execl("fifo", "fifo", NULL), EACCES);
}

CASE(execve_of_missing_names_fails) {
    make_file("f", "");
    EXPECT_ERRNO(execl("missing", "missing", NULL), ENOENT);
    EXPECT_ERRNO(execl("", "", NULL), ENOENT);
    EXPECT_ERRNO(execl("f/x", "f/x", NULL), ENOTDIR);
    OK(symlink("loop", "loop"));
    EXPECT_ERRNO(execl("loop", "loop", NULL), ELOOP);
}

CASE(execve_of_a_file_open_for_writing_returns_etxtbsy) {
    make_program("s", "#!/bin/sh\n");
    OK(open("s", O_WRONLY));
    EXPECT_ERRNO(execl("s", "s", NULL), ETXTBSY);
}

/* Processes tell each other by shared memory, so that one that has closed a file makes no call after that. */
CASE(execve_of_a_file_that_another_process_has_written_and_closed_works) {
    int64_t *turn = map_shared(PAGE_SIZE);
    char script[PATH_MAX + 32];
    int length = snprintf(script, sizeof script, "#! %s  --helper\n", program_path);
    pid_t pid = IN_CHILD({
        while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) == 0)
            sched_yield();
        EXPECT_EXIT(EXECUTE("script_name", "one", "two"), 5);
        __atomic_store_n(turn, 2, __ATOMIC_SEQ_CST);
    });
    /* As often as it takes until calls are as fast as they get. */
    for (int round = 0; round < 100; round++) {
        int fd = OK(open("script_name", O_WRONLY | O_CREAT | O_TRUNC, 0700));
        for (int part = 0; part < length; part++)
            EXPECT_EQ(write(fd, script + part, 1), 1);
        OK(close(fd));
    }
    __atomic_store_n(turn, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) == 1)
        continue;
    EXPECT_EXIT(pid, 0);
}

CASE(execve_of_too_long_an_argument_returns_e2big) {
    char *argument = map(33 * PAGE_SIZE);
    memset(argument, 'x', 32 * PAGE_SIZE);
    EXPECT_ERRNO(execl(program_path, "program", argument, NULL), E2BIG);
    argument[32 * PAGE_SIZE - 1] = 0;
    EXPECT_EXIT(run_helper("count_arguments", argument, NULL), 1);
}

HELPER(count_arguments) {
    (void)argv;
    return argc;
}

CASE(execve_of_too_many_arguments_returns_e2big) {
    static char *arguments[100001];
    static char text[100];
    memset(text, 'x', 99);
    for (int i = 0; i < 100000; i++)
        arguments[i] = text;
    EXPECT_ERRNO(execv(program_path, arguments), E2BIG);
}

CASE(execve_of_ten_thousand_arguments_works) {
    static char *arguments[10004] = {"program", "--helper", "expect_many"};
    for (int i = 3; i < 10003; i++)
        arguments[i] = "argument";
    pid_t pid = IN_CHILD({ execv(program_path, arguments); });
    EXPECT_EXIT(pid, 9);
}

HELPER(expect_many) { return argc == 10000 && strcmp(argv[9999], "argument") == 0 ? 9 : 1; }

CASE(execve_with_bad_pointers_returns_efault) {
    char *arguments[] = {"program", bad_page(), NULL};
    EXPECT_ERRNO(execv(bad_page(), arguments), EFAULT);
    EXPECT_ERRNO(execv(program_path, arguments), EFAULT);
    EXPECT_ERRNO(execv(program_path, bad_page()), EFAULT);
}

CASE(execve_of_an_executable_descriptor_works) {
    int fd = OK(open(program_path, O_PATH | O_CLOEXEC));
    pid_t pid = OK(fork());
    if (pid == 0) {
        char *arguments[] = {"program", "--helper", "count_arguments", "a", "b", NULL};
        syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
        _exit(200);
    }
    EXPECT_EXIT(pid, 2);
}

CASE(execveat_of_a_memfd_works) {
    int fd = OK(memfd_create("program", MFD_CLOEXEC)), from = OK(open(program_path, O_RDONLY));
    char *buffer = map(1 << 16);
    for (ssize_t count; (count = OK(read(from, buffer, 1 << 16))) > 0;)
        EXPECT_EQ(write(fd, buffer, count), count);
    pid_t pid = OK(fork());
    if (pid == 0) {
        char *arguments[] = {"program", "--helper", "count_arguments", "a", NULL};
        syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
        _exit(200);
    }
    EXPECT_EXIT(pid, 1);
}

CASE(execveat_with_bad_arguments_fails) {
    char *arguments[] = {"x", NULL};
    OK(symlink(program_path, "link"));
    EXPECT_ERRNO(syscall(SYS_execveat, -1, "x", arguments, environ, 0), EBADF);
    EXPECT_ERRNO(syscall(SYS_execveat, AT_FDCWD, "link", arguments, environ, AT_SYMLINK_NOFOLLOW), ELOOP);
    EXPECT_ERRNO(syscall(SYS_execveat, AT_FDCWD, "link", arguments, environ, 0x10), EINVAL);
    int script = OK(open("s", O_RDWR | O_CREAT, 0755));
    EXPECT_EQ(write(script, "#!/bin/sh\n", 10), 10);
    OK(close(script));
    script = OK(open("s", O_RDONLY | O_CLOEXEC));
    EXPECT_ERRNO(syscall(SYS_execveat, script, "", arguments, environ, AT_EMPTY_PATH), ENOENT);
}

CASE(execve_of_a_set_user_id_program_changes_the_effective_user) {
    NEEDS_ROOT();
    damaged_copy("program", offsetof(Elf64_Ehdr, e_type), ET_EXEC);
    OK(chown("program", 4321, -1));
    OK(chmod("program", 04755));
    OK(chmod(".", 0755));
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        execl("./program", "program", "--helper", "expect_users", NULL);
        _exit(200);
    }
    /* A mount with nosuid, as sandboxes like to have, ignores the bit. */
    int status = wait_for(pid);
    EXPECT(WIFEXITED(status) && (WEXITSTATUS(status) == 43 || WEXITSTATUS(status) == 12));
}

HELPER(expect_users) {
    (void)argc, (void)argv;
    if (getuid() != 1234)
        return 1;
    return geteuid() == 4321 && getauxval(AT_SECURE) == 1 ? 43 : geteuid() == 1234 ? 12 : 2;
}

HELPER(recurse) {
    (void)argc;
    int depth = atoi(argv[0]);
    if (depth == 0)
        return 77;
    char next[16];
    snprintf(next, sizeof next, "%d", depth - 1);
    execl("/proc/self/exe", "program", "--helper", "recurse", next, NULL);
    return 1;
}

CASE(execve_of_proc_self_exe_again_and_again_works) { EXPECT_EXIT(run_helper("recurse", "50", NULL), 77); }

/* Touches `depth` pages of stack. */
static int __attribute__((noinline)) descend(int depth) {
    volatile char page[PAGE_SIZE];
    page[0] = (char)depth;
    return depth == 0 ? 0 : descend(depth - 1) + (page[0] == (char)depth ? 0 : 1);
}

HELPER(use_much_stack) {
    (void)argc, (void)argv;
    /* 40 MiB: more than any program begins with. */
    return descend(10240);
}

CASE(room_for_a_stack_is_taken_as_it_is_used) {
    pid_t child = IN_CHILD({
        struct rlimit stack = {4L << 30, 4L << 30}, space = {1L << 30, 1L << 30};
        OK(setrlimit(RLIMIT_STACK, &stack));
        OK(setrlimit(RLIMIT_AS, &space));
        char *arguments[] = {program_path, "--helper", "use_much_stack", NULL};
        OK(execv(program_path, arguments));
    });
    EXPECT_EXIT(child, 0);
}

static void *multiply(void *unused) {
    (void)unused;
    pthread_t thread;
    pthread_create(&thread, NULL, multiply, NULL);
    for (;;)
        pause();
    return NULL;
}

CASE(execve_ends_threads_that_are_being_made) {
    for (int round = 0; round < 30; round++) {
        pid_t pid = IN_CHILD({
            pthread_t thread;
            EXPECT_EQ(pthread_create(&thread, NULL, multiply, NULL), 0);
            usleep(100 * (round % 10));
            execl(program_path, program_path, "--helper", "script_name", "one", "two", NULL);
        });
        EXPECT_EXIT(pid, 5);
    }
}
