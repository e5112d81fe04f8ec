/* proc(5) */
#include "case.h"
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/statfs.h>

/* The value behind `key` at a line's start in `text`; "" if there is none. */
static const char *field(const char *text, const char *key) {
    static char value[256];
    value[0] = 0;
    for (const char *line = text; line; line = (line = strchr(line, '\n')) ? line + 1 : NULL)
        if (strncmp(line, key, strlen(key)) == 0) {
            const char *start = line + strlen(key);
            while (*start == ' ' || *start == '\t' || *start == ':')
                start++;
            snprintf(value, sizeof value, "%.*s", (int)strcspn(start, "\n"), start);
            break;
        }
    return value;
}

static const char *status_of(pid_t pid, const char *key) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/status", pid);
    return field(file_content(name), key);
}

CASE(proc_self_is_a_link_to_the_pid) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/status", getpid());
    EXPECT_EQ(atoi(field(file_content(name), "Pid")), getpid());
    EXPECT_EQ(atoi(field(file_content("/proc/self/status"), "PPid")), getppid());
    EXPECT_EQ(atoi(field(file_content("/proc/thread-self/status"), "Pid")), gettid());
}

CASE(proc_status_has_the_fields_that_programs_read) {
    const char *keys[] = {"Name",   "Umask",  "State",  "Tgid",    "Pid",     "PPid",    "TracerPid", "Uid",    "Gid",
                          "FDSize", "Groups", "VmPeak", "VmSize",  "VmLck",   "VmHWM",   "VmRSS",     "VmData", "VmStk",
                          "VmExe",  "VmLib",  "VmPTE",  "VmSwap",  "Threads", "SigQ",    "SigPnd",    "ShdPnd", "SigBlk",
                          "SigIgn", "SigCgt", "CapInh", "CapPrm",  "CapEff",  "CapBnd",  "CapAmb",    "NoNewPrivs",
                          "Seccomp", "Cpus_allowed", "Cpus_allowed_list", "Mems_allowed_list",
                          "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"};
    static char text[8192];
    snprintf(text, sizeof text, "%.8000s", file_content("/proc/self/status"));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s:", keys[i]);
        if (strncmp(text, line, strlen(line)) != 0 && (snprintf(line, sizeof line, "\n%s:", keys[i]), !strstr(text, line)))
            FAIL("/proc/self/status has a line %s, got none", keys[i]);
    }
}

CASE(proc_status_shows_signals) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(kill(getpid(), SIGUSR1));
    handle(SIGUSR2, count_signal, 0);
    handle(SIGHUP, SIG_IGN, 0);
    EXPECT_EQ(strtoul(field(file_content("/proc/self/status"), "SigBlk"), NULL, 16), 1UL << (SIGUSR1 - 1));
    EXPECT_EQ(strtoul(field(file_content("/proc/self/status"), "ShdPnd"), NULL, 16), 1UL << (SIGUSR1 - 1));
    EXPECT_EQ(strtoul(field(file_content("/proc/self/status"), "SigCgt"), NULL, 16), 1UL << (SIGUSR2 - 1));
    EXPECT_EQ(strtoul(field(file_content("/proc/self/status"), "SigIgn"), NULL, 16), 1UL << (SIGHUP - 1));
}

CASE(proc_status_follows_the_state) {
    pid_t pid = IN_CHILD({ sleep_forever(); });
    siginfo_t info;
    while (status_of(pid, "State")[0] != 'S')
        sched_yield();
    OK(kill(pid, SIGSTOP));
    OK(waitid(P_PID, pid, &info, WSTOPPED));
    EXPECT_EQ(status_of(pid, "State")[0], 'T');
    OK(kill(pid, SIGKILL));
    OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    EXPECT_STR(status_of(pid, "State"), "Z (zombie)");
    EXPECT_KILLED(pid, SIGKILL);
    char name[64];
    snprintf(name, sizeof name, "/proc/%d", pid);
    EXPECT_ERRNO(access(name, F_OK), ENOENT);
}

CASE(proc_status_shows_credentials) {
    char expected[128];
    uid_t real, effective, saved;
    OK(getresuid(&real, &effective, &saved));
    snprintf(expected, sizeof expected, "%u\t%u\t%u\t%u", real, effective, saved, effective);
    EXPECT_STR(field(file_content("/proc/self/status"), "Uid"), expected);
}

CASE(proc_stat_has_52_fields_in_order) {
    char comm[32], state;
    int pid, parent, group, session, used = 0;
    const char *text = file_content("/proc/self/stat");
    int count = sscanf(text, "%d %31s %c %d %d %d %n", &pid, comm, &state, &parent, &group, &session, &used);
    EXPECT_EQ(count, 6);
    EXPECT_EQ(pid, getpid());
    EXPECT_EQ(comm[0], '(');
    EXPECT_EQ(state, 'R');
    EXPECT_EQ(parent, getppid());
    EXPECT_EQ(group, getpgrp());
    EXPECT_EQ(session, getsid(0));
    int fields = 6;
    for (const char *word = text + used; *word; word += strcspn(word, " \n"), word += strspn(word, " \n"))
        fields++;
    EXPECT_EQ(fields, 52);
}

CASE(proc_stat_shows_nice_value_and_policy) {
    struct sched_param none = {0};
    OK(sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none));
    OK(setpriority(PRIO_PROCESS, 0, 5));
    const char *text = strrchr(file_content("/proc/self/stat"), ')') + 2;
    long long value = 0;
    for (int field = 3; field <= 41; field++) {
        if (field > 3)
            value = atoll(text);
        if (field == 18)
            EXPECT_EQ(value, 25);
        if (field == 19)
            EXPECT_EQ(value, 5);
        if (field == 41)
            EXPECT_EQ(value, SCHED_BATCH);
        text += strcspn(text, " ") + 1;
    }
}

CASE(proc_stat_of_init_shows_a_live_process) {
    int pid, parent;
    char comm[32], state;
    EXPECT_EQ(sscanf(file_content("/proc/1/stat"), "%d %31s %c %d", &pid, comm, &state, &parent), 4);
    EXPECT_EQ(pid, 1);
    EXPECT_EQ(parent, 0);
    EXPECT(state == 'S' || state == 'R');
}

CASE(proc_statm_counts_pages) {
    unsigned long size, resident;
    EXPECT_EQ(sscanf(file_content("/proc/self/statm"), "%lu %lu", &size, &resident), 2);
    EXPECT(size >= resident && resident > 0);
    map(1 << 20);
    unsigned long larger;
    EXPECT_EQ(sscanf(file_content("/proc/self/statm"), "%lu", &larger), 1);
    EXPECT(larger >= size + 256);
}

CASE(proc_cmdline_holds_the_arguments) {
    int fd = OK(open("/proc/self/cmdline", O_RDONLY));
    char buffer[PATH_MAX];
    ssize_t length = OK(read(fd, buffer, sizeof buffer));
    EXPECT(length > 0 && buffer[length - 1] == 0);
    EXPECT(strlen(buffer) < (size_t)length);
}

CASE(proc_environ_holds_the_environment) {
    pid_t pid = IN_CHILD({
        char *arguments[] = {"program", "--helper", "expect_environ", NULL};
        char *environment[] = {"ONE=1", "TWO=2", NULL};
        execve(program_path, arguments, environment);
    });
    EXPECT_EXIT(pid, 0);
}

HELPER(expect_environ) {
    (void)argc, (void)argv;
    int fd = open("/proc/self/environ", O_RDONLY);
    char buffer[64];
    return read(fd, buffer, sizeof buffer) == 12 && memcmp(buffer, "ONE=1\0TWO=2", 12) == 0 ? 0 : 1;
}

CASE(proc_exe_is_the_program) {
    char target[PATH_MAX] = {0};
    OK(readlink("/proc/self/exe", target, sizeof target - 1));
    EXPECT_STR(target, program_path);
    struct stat one, two;
    OK(stat("/proc/self/exe", &one));
    OK(stat(program_path, &two));
    EXPECT_EQ(one.st_ino, two.st_ino);
}

CASE(proc_cwd_and_root_are_links) {
    char target[PATH_MAX] = {0}, here[PATH_MAX];
    OK(readlink("/proc/self/cwd", target, sizeof target - 1));
    OK(syscall(SYS_getcwd, here, sizeof here));
    EXPECT_STR(target, here);
    memset(target, 0, sizeof target);
    OK(readlink("/proc/self/root", target, sizeof target - 1));
    EXPECT_STR(target, "/");
}

CASE(proc_cwd_of_a_removed_directory_says_deleted) {
    OK(mkdir("d", 0700));
    OK(chdir("d"));
    OK(rmdir("../d"));
    char target[PATH_MAX] = {0};
    OK(readlink("/proc/self/cwd", target, sizeof target - 1));
    EXPECT_STR(strrchr(target, '/'), "/d (deleted)");
}

CASE(proc_fd_lists_descriptors_as_links) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    PIPE(ends);
    char name[64], target[PATH_MAX] = {0};
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    OK(readlink(name, target, sizeof target - 1));
    EXPECT_STR(strrchr(target, '/'), "/f");
    snprintf(name, sizeof name, "/proc/self/fd/%d", ends[0]);
    memset(target, 0, sizeof target);
    OK(readlink(name, target, sizeof target - 1));
    struct stat status;
    OK(fstat(ends[0], &status));
    char expected[64];
    snprintf(expected, sizeof expected, "pipe:[%lu]", status.st_ino);
    EXPECT_STR(target, expected);
    OK(close(fd));
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    EXPECT_ERRNO(readlink(name, target, sizeof target), ENOENT);
}

CASE(proc_fd_shows_how_a_descriptor_was_opened) {
    make_file("file", "");
    struct {
        int flags;
        mode_t mode;
    } ways[] = {{O_RDONLY, 0500}, {O_WRONLY, 0300}, {O_RDWR, 0700}, {O_PATH, 0}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        char name[64];
        struct stat status;
        snprintf(name, sizeof name, "/proc/self/fd/%d", OK(open("file", ways[i].flags)));
        OK(lstat(name, &status));
        EXPECT_EQ(status.st_mode, S_IFLNK | ways[i].mode);
        EXPECT_EQ(status.st_size, 64);
        EXPECT_EQ(status.st_uid, geteuid());
    }
}

CASE(proc_fd_of_an_unlinked_file_says_deleted) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    OK(unlink("f"));
    char name[64], target[PATH_MAX] = {0};
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    OK(readlink(name, target, sizeof target - 1));
    EXPECT_STR(strrchr(target, '/'), "/f (deleted)");
}

CASE(proc_fdinfo_shows_position_and_flags) {
    make_file("f", "0123456789");
    int fd = OK(open("f", O_RDONLY | O_CLOEXEC));
    OK(lseek(fd, 4, SEEK_SET));
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    EXPECT_EQ(atoi(field(file_content(name), "pos")), 4);
    EXPECT_EQ(strtol(field(file_content(name), "flags"), NULL, 8) & O_CLOEXEC, O_CLOEXEC);
}

CASE(proc_maps_shows_the_mapping_with_its_protection) {
    char *memory = map(3 * PAGE_SIZE), line[128];
    OK(mprotect(memory + PAGE_SIZE, PAGE_SIZE, PROT_READ));
    snprintf(line, sizeof line, "%lx-%lx r--p 00000000 00:00 0", (long)memory + PAGE_SIZE, (long)memory + 2 * PAGE_SIZE);
    EXPECT(strstr(file_content("/proc/self/maps"), line) != NULL);
    OK(munmap(memory + PAGE_SIZE, PAGE_SIZE));
    EXPECT(strstr(file_content("/proc/self/maps"), line) == NULL);
}

CASE(proc_maps_names_files_stack_heap_and_vdso) {
    make_file("mapped", "x");
    void *memory = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, OK(open("mapped", O_RDONLY)), 0);
    EXPECT(memory != MAP_FAILED);
    const char *text = file_content("/proc/self/maps");
    char line[64];
    snprintf(line, sizeof line, "%lx-%lx r--s 00000000 ", (long)memory, (long)memory + PAGE_SIZE);
    const char *found = strstr(text, line);
    EXPECT(found != NULL);
    const char *end = strchr(found, '\n');
    EXPECT(strncmp(end - 7, "/mapped", 7) == 0);
    EXPECT(strstr(text, "[stack]") && strstr(text, "[heap]") && strstr(text, "[vdso]"));
    EXPECT(strstr(text, program_path) != NULL);
}

CASE(proc_maps_is_sorted_without_overlap) {
    unsigned long last = 0;
    const char *text = file_content("/proc/self/maps");
    for (const char *line = text; line && *line; line = (line = strchr(line, '\n')) ? line + 1 : NULL) {
        unsigned long start, end;
        EXPECT_EQ(sscanf(line, "%lx-%lx", &start, &end), 2);
        EXPECT(start >= last && end > start);
        last = end;
    }
}

CASE(proc_maps_hides_nothing_that_can_be_read) {
    /* Every byte that is mapped readable can be read: the listing is that of the real address space. */
    const char *text = file_content("/proc/self/maps");
    PIPE(ends);
    for (const char *line = text; line && *line; line = (line = strchr(line, '\n')) ? line + 1 : NULL) {
        unsigned long start, end;
        char protection[5];
        EXPECT_EQ(sscanf(line, "%lx-%lx %4s", &start, &end, protection), 3);
        if (protection[0] != 'r' || strstr(line, "[v") == strchr(line, '['))
            continue;
        char byte;
        EXPECT_EQ(write(ends[1], (void *)start, 1), 1);
        EXPECT_EQ(read(ends[0], &byte, 1), 1);
    }
}

CASE(proc_smaps_sums_up) {
    char *memory = map(1 << 20);
    memset(memory, 1, 1 << 20);
    const char *text = file_content("/proc/self/smaps");
    EXPECT(strstr(text, "\nSize:") && strstr(text, "\nRss:") && strstr(text, "\nPrivate_Dirty:"));
}

static void *wait_in_thread(void *fd) {
    await(*(int *)fd);
    return NULL;
}

CASE(proc_task_lists_the_threads) {
    PIPE(hold);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, wait_in_thread, &hold[0]), 0);
    EXPECT_EQ(atoi(field(file_content("/proc/self/status"), "Threads")), 2);
    struct stat status;
    OK(stat("/proc/self/task", &status));
    EXPECT_EQ(status.st_nlink, 4);
    char name[64];
    snprintf(name, sizeof name, "/proc/self/task/%d/comm", gettid());
    OK(access(name, F_OK));
    announce(hold[1]);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

CASE(proc_comm_can_be_written) {
    int fd = OK(open("/proc/self/comm", O_WRONLY));
    EXPECT_EQ(write(fd, "renamed", 7), 7);
    EXPECT_STR(file_content("/proc/self/comm"), "renamed\n");
}

CASE(proc_mounts_lists_root_and_proc) {
    const char *text = file_content("/proc/self/mounts");
    EXPECT(strstr(text, " / ") != NULL);
    EXPECT(strstr(text, " /proc proc ") != NULL);
    text = file_content("/proc/self/mountinfo");
    EXPECT(strstr(text, " / / ") != NULL);
    EXPECT(strstr(text, " - proc ") != NULL);
    char target[64] = {0};
    OK(readlink("/proc/mounts", target, 63));
    EXPECT_STR(target, "self/mounts");
}

CASE(proc_limits_shows_the_limits) {
    struct rlimit limit = {77, 99};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    long soft, hard;
    const char *line = strstr(file_content("/proc/self/limits"), "\nMax open files");
    EXPECT(line != NULL);
    EXPECT_EQ(sscanf(line + 15, "%ld %ld files", &soft, &hard), 2);
    EXPECT_EQ(soft, 77);
    EXPECT_EQ(hard, 99);
}

CASE(proc_meminfo_and_cpuinfo_have_what_programs_read) {
    const char *text = file_content("/proc/meminfo");
    long total = atol(field(text, "MemTotal")), available = atol(field(file_content("/proc/meminfo"), "MemAvailable"));
    EXPECT(total > 0 && available > 0 && available <= total);
    const char *keys[] = {"MemFree", "Buffers", "Cached", "SwapTotal", "SwapFree", "Shmem"};
    for (size_t i = 0; i < 6; i++)
        EXPECT(field(file_content("/proc/meminfo"), keys[i])[0] != 0);
    int processors = 0;
    text = file_content("/proc/cpuinfo");
    for (const char *at = text; (at = strstr(at, "processor\t:")); at++)
        processors++;
    EXPECT_EQ(processors, sysconf(_SC_NPROCESSORS_ONLN));
    EXPECT(strstr(text, "model name\t:") && strstr(text, "flags\t\t:") && strstr(text, " sse2 "));
}

CASE(proc_stat_of_the_system_has_what_programs_read) {
    const char *text = file_content("/proc/stat");
    EXPECT(strncmp(text, "cpu  ", 5) == 0);
    EXPECT(strstr(text, "\ncpu0 ") && strstr(text, "\nctxt ") && strstr(text, "\nbtime ") && strstr(text, "\nprocesses "));
}

static long long processes_since_the_start(void) {
    long long count = -1;
    const char *line = strstr(file_content("/proc/stat"), "\nprocesses ");
    EXPECT(line && sscanf(line, "\nprocesses %lld", &count) == 1);
    return count;
}

CASE(proc_vmstat_and_the_lists_of_disks_can_be_read) {
    const char *keys[] = {"nr_free_pages ", "pgpgin ", "pgpgout ", "pswpin ", "pswpout ", "pgfault ", "pgmajfault "};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        EXPECT(field(file_content("/proc/vmstat"), keys[i])[0] != 0);
    const char *lists[] = {"/proc/diskstats", "/proc/partitions"};
    for (size_t i = 0; i < 2; i++)
        OK(close(OK(open(lists[i], O_RDONLY))));
}

/* The line of /proc/sysvipc that is about this object; "" if there is none. The first line names the columns. */
static const char *ipc_line(const char *kind, int id, const char *titles) {
    static char found[512];
    char name[64];
    snprintf(name, sizeof name, "/proc/sysvipc/%s", kind);
    const char *line = file_content(name);
    EXPECT(strncmp(line, titles, strlen(titles)) == 0);
    found[0] = 0;
    while ((line = strchr(line, '\n')) && *++line) {
        int key, number;
        EXPECT_EQ(sscanf(line, "%d %d", &key, &number), 2);
        if (number == id)
            snprintf(found, sizeof found, "%.*s", (int)strcspn(line, "\n"), line);
    }
    return found;
}

CASE(proc_sysvipc_lists_objects_of_all_kinds) {
    int segment = OK(shmget(IPC_PRIVATE, 10000, 0640));
    int set = OK(semget(IPC_PRIVATE, 3, 0604));
    int queue = OK(msgget(IPC_PRIVATE, 0600));
    long message[2] = {1, 2};
    OK(msgsnd(queue, message, sizeof(long), 0));
    void *at = shmat(segment, NULL, 0);
    EXPECT(at != (void *)-1);
    *(char *)at = 1;
    char expected[128], lines[3][512];
    strcpy(lines[0], ipc_line("shm", segment, "       key      shmid perms                  size  cpid  lpid nattch   uid"));
    strcpy(lines[1], ipc_line("sem", set, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"));
    strcpy(lines[2], ipc_line("msg", queue, "       key      msqid perms      cbytes       qnum lspid lrpid   uid"));
    OK(shmctl(segment, IPC_RMID, NULL));
    OK(semctl(set, 0, IPC_RMID));
    OK(msgctl(queue, IPC_RMID, NULL));
    int uid = getuid(), gid = getgid(), pid = getpid();
    snprintf(expected, sizeof expected, "%10d %10d   640 %21d %5d %5d  %5d %5d %5d %5d %5d ", 0, segment, 10000, pid, pid, 1,
             uid, gid, uid, gid);
    EXPECT(strncmp(lines[0], expected, strlen(expected)) == 0);
    unsigned long long attached, detached, changed, resident, swapped;
    EXPECT_EQ(sscanf(lines[0] + strlen(expected), "%llu %llu %llu %llu %llu", &attached, &detached, &changed, &resident, &swapped), 5);
    EXPECT(attached > 0 && detached == 0 && changed > 0 && resident == 4096 && swapped == 0);
    EXPECT_EQ(strlen(lines[0]), strlen(expected) + 3 * 11 + 2 * 22 - 1);
    snprintf(expected, sizeof expected, "%10d %10d   604 %10d %5d %5d %5d %5d %10d ", 0, set, 3, uid, gid, uid, gid, 0);
    EXPECT(strncmp(lines[1], expected, strlen(expected)) == 0);
    EXPECT_EQ(strlen(lines[1]), strlen(expected) + 10);
    snprintf(expected, sizeof expected, "%10d %10d   600  %10zu %10d %5d %5d %5d %5d %5d %5d ", 0, queue, sizeof(long), 1, pid, 0,
             uid, gid, uid, gid);
    EXPECT(strncmp(lines[2], expected, strlen(expected)) == 0);
    EXPECT_EQ(strlen(lines[2]), strlen(expected) + 3 * 11 - 1);
    /* A segment that is to go is shown as long as it is attached. */
    snprintf(expected, sizeof expected, "%10d %10d  1640 ", 0, segment);
    EXPECT(strncmp(ipc_line("shm", segment, "       key"), expected, strlen(expected)) == 0);
    OK(shmdt(at));
    EXPECT_STR(ipc_line("shm", segment, "       key"), "");
    EXPECT_STR(ipc_line("sem", set, "       key"), "");
}

CASE(proc_stat_of_the_system_counts_forks) {
    long long before = processes_since_the_start();
    for (int i = 0; i < 3; i++) {
        pid_t child = OK(fork());
        if (child == 0)
            _exit(0);
        OK(waitpid(child, NULL, 0));
    }
    EXPECT(processes_since_the_start() >= before + 3);
}

CASE(proc_uptime_and_loadavg_are_numbers) {
    double up, idle, one, five, fifteen;
    EXPECT_EQ(sscanf(file_content("/proc/uptime"), "%lf %lf", &up, &idle), 2);
    EXPECT(up > 0);
    int running, total, last;
    const char *text = file_content("/proc/loadavg");
    EXPECT_EQ(sscanf(text, "%lf %lf %lf %d/%d %d", &one, &five, &fifteen, &running, &total, &last), 6);
}

CASE(proc_sys_kernel_has_what_programs_read) {
    const char *names[] = {"ostype",  "osrelease", "version",  "hostname", "pid_max", "threads-max",
                           "ngroups_max", "cap_last_cap", "random/boot_id", "random/uuid"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[128];
        snprintf(name, sizeof name, "/proc/sys/kernel/%s", names[i]);
        EXPECT(file_content(name)[0] != 0);
    }
    EXPECT_STR(file_content("/proc/sys/kernel/ostype"), "Linux\n");
    EXPECT_STR(file_content("/proc/sys/kernel/ngroups_max"), "65536\n");
    EXPECT(atoi(file_content("/proc/sys/vm/overcommit_memory")) >= 0);
    EXPECT(atoi(file_content("/proc/sys/vm/max_map_count")) > 0);
    EXPECT(atol(file_content("/proc/sys/fs/file-max")) > 0);
    EXPECT(atoi(file_content("/proc/sys/fs/pipe-max-size")) >= 4096);
    EXPECT(atoi(file_content("/proc/sys/fs/nr_open")) >= 1024);
}

CASE(proc_random_uuid_differs_each_time) {
    char first[64];
    snprintf(first, sizeof first, "%.60s", file_content("/proc/sys/kernel/random/uuid"));
    EXPECT_EQ(strlen(first), 37);
    EXPECT(strcmp(first, file_content("/proc/sys/kernel/random/uuid")) != 0);
}

CASE(proc_filesystems_lists_what_there_is) {
    const char *text = file_content("/proc/filesystems");
    EXPECT(strstr(text, "nodev\tproc\n") && strstr(text, "nodev\ttmpfs\n"));
}

CASE(proc_files_can_be_cut_off_but_not_given_away) {
    int fd = OK(open("/proc/self/comm", O_WRONLY | O_TRUNC));
    OK(write(fd, "cut", 3));
    EXPECT_EQ(ftruncate(fd, 0), 0);
    EXPECT_ERRNO(fchmod(fd, 0600), EPERM);
    OK(close(fd));
}

CASE(proc_cgroup_and_oom_score_exist) {
    EXPECT(file_content("/proc/self/cgroup")[0] != 0);
    EXPECT_STR(file_content("/proc/self/oom_score_adj"), "0\n");
    EXPECT(file_content("/proc/self/oom_score")[0] != 0);
}

CASE(proc_loginuid_is_set_by_the_thread_itself_and_inherited) {
    pid_t child = OK(fork());
    if (child == 0) {
        int fd = OK(open("/proc/self/loginuid", O_RDWR));
        EXPECT_ERRNO(pwrite(fd, "x", 1, 0), EINVAL);
        EXPECT_EQ(pwrite(fd, "1000", 4, 0), 4);
        EXPECT_STR(file_content("/proc/self/loginuid"), "1000");
        pid_t grandchild = OK(fork());
        if (grandchild == 0) {
            EXPECT_STR(file_content("/proc/self/loginuid"), "1000");
            char path[32];
            snprintf(path, sizeof path, "/proc/%d/loginuid", getppid());
            EXPECT_ERRNO(write(OK(open(path, O_RDWR)), "1001", 4), EPERM);
            _exit(0);
        }
        EXPECT_EXIT(grandchild, 0);
        _exit(0);
    }
    EXPECT_EXIT(child, 0);
    EXPECT(strcmp(file_content("/proc/self/loginuid"), "1000") != 0);
}

CASE(proc_loginuid_that_is_set_is_changed_with_a_capability_only) {
    pid_t child = OK(fork());
    if (child == 0) {
        int fd = OK(open("/proc/self/loginuid", O_RDWR));
        EXPECT_EQ(pwrite(fd, "1000", 4, 0), 4);
        OK(setresuid(65534, 65534, 65534));
        EXPECT_ERRNO(pwrite(fd, "1001", 4, 0), EPERM);
        _exit(0);
    }
    EXPECT_EXIT(child, 0);
}

CASE(proc_files_report_no_size_and_can_be_read_in_pieces) {
    struct stat status;
    OK(stat("/proc/self/status", &status));
    EXPECT_EQ(status.st_size, 0);
    EXPECT_EQ(status.st_mode, S_IFREG | 0444);
    int fd = OK(open("/proc/self/status", O_RDONLY));
    char byte, text[16] = {0};
    for (int i = 0; i < 6; i++) {
        EXPECT_EQ(read(fd, &byte, 1), 1);
        text[i] = byte;
    }
    EXPECT_STR(text, "Name:\t");
    EXPECT_EQ(pread(fd, text, 4, 0), 4);
    EXPECT(memcmp(text, "Name", 4) == 0);
}

CASE(proc_cannot_be_changed_by_programs) {
    EXPECT_ERRNO(open("/proc/new", O_WRONLY | O_CREAT, 0600), ENOENT);
    errno = 0;
    EXPECT(mkdir("/proc/new", 0700) == -1 && (errno == ENOENT || errno == EPERM || errno == EACCES));
    errno = 0;
    EXPECT(unlink("/proc/version") == -1 && (errno == EPERM || errno == EACCES));
}

CASE(proc_self_mem_reads_the_own_memory) {
    int fd = OK(open("/proc/self/mem", O_RDONLY));
    char secret[] = "secret", copy[8] = {0};
    EXPECT_EQ(pread(fd, copy, 7, (off_t)(uintptr_t)secret), 7);
    EXPECT_STR(copy, "secret");
}

/* The file `name` of process `pid`, open with `flags`. */
static int open_of(pid_t pid, const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return OK(open(path, flags));
}

/* Says that it runs, and ends when nobody holds the other end of its standard input any more. */
HELPER(announce_and_wait_for_the_end) {
    (void)argc, (void)argv;
    announce(1);
    char byte;
    return read(0, &byte, 1) == 0 ? 0 : 1;
}

static long word_in_memory = 0x1234;

/* A child that waits until `go_on` is written to, executes another program, which says so in `begun`, and ends when `go_on` is closed. */
static pid_t executing_child(int *go_on, int *begun) {
    PIPE(orders);
    PIPE(reports);
    pid_t pid = IN_CHILD({
        OK(close(orders[1]));
        await(orders[0]);
        OK(dup2(orders[0], 0));
        OK(dup2(reports[1], 1));
        char *arguments[] = {program_path, "--helper", "announce_and_wait_for_the_end", NULL};
        char *environment[] = {"NEW=1", NULL};
        execve(program_path, arguments, environment);
    });
    OK(close(orders[0]));
    *go_on = orders[1];
    *begun = reports[0];
    return pid;
}

CASE(proc_mem_is_of_the_program_that_ran_when_it_was_opened) {
    int go_on, begun;
    pid_t pid = executing_child(&go_on, &begun);
    int old = open_of(pid, "mem", O_RDWR);
    long word = 0;
    off_t place = (off_t)(uintptr_t)&word_in_memory;
    EXPECT_EQ(pread(old, &word, sizeof word, place), sizeof word);
    EXPECT_EQ(word, 0x1234);
    announce(go_on);
    await(begun);
    EXPECT_EQ(pread(old, &word, sizeof word, place), 0);
    EXPECT_EQ(pwrite(old, &word, sizeof word, place), 0);
    int new = open_of(pid, "mem", O_RDWR);
    EXPECT_EQ(pread(new, &word, sizeof word, place), sizeof word);
    EXPECT_EQ(word, 0x1234);
    EXPECT_EQ(pwrite(new, &word, sizeof word, place), sizeof word);
    OK(close(go_on));
    siginfo_t info;
    OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    EXPECT_EQ(pread(new, &word, sizeof word, place), 0);
    EXPECT_EQ(pwrite(new, &word, sizeof word, place), 0);
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(pread(new, &word, sizeof word, place), 0);
    EXPECT_EQ(pwrite(new, &word, sizeof word, place), 0);
}

CASE(proc_files_about_memory_are_of_the_program_that_ran_when_they_were_opened) {
    int go_on, begun;
    pid_t pid = executing_child(&go_on, &begun);
    int environ_file = open_of(pid, "environ", O_RDONLY), auxv = open_of(pid, "auxv", O_RDONLY);
    int maps = open_of(pid, "maps", O_RDONLY), smaps = open_of(pid, "smaps", O_RDONLY);
    int rollup = open_of(pid, "smaps_rollup", O_RDONLY), cmdline = open_of(pid, "cmdline", O_RDONLY);
    char before[4096], text[4096];
    ssize_t length = OK(pread(auxv, before, sizeof before, 0));
    EXPECT(length > 0);
    announce(go_on);
    await(begun);
    EXPECT_EQ(pread(environ_file, text, sizeof text, 0), 0);
    EXPECT_EQ(pread(maps, text, sizeof text, 0), 0);
    EXPECT_EQ(pread(smaps, text, sizeof text, 0), 0);
    EXPECT_ERRNO(pread(rollup, text, sizeof text, 0), ESRCH);
    /* What the old program was started with is remembered. */
    EXPECT_EQ(pread(auxv, text, sizeof text, 0), length);
    EXPECT(memcmp(text, before, length) == 0);
    /* This one looks the process up when it is read. */
    EXPECT_EQ(pread(cmdline, text, sizeof text, 0), strlen(program_path) + sizeof "--helper" + sizeof "announce_and_wait_for_the_end" + 1);
    environ_file = open_of(pid, "environ", O_RDONLY);
    EXPECT_EQ(pread(environ_file, text, sizeof text, 0), sizeof "NEW=1");
    OK(close(go_on));
    siginfo_t info;
    OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    EXPECT_EQ(pread(environ_file, text, sizeof text, 0), 0);
    EXPECT_EQ(pread(maps, text, sizeof text, 0), 0);
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(pread(environ_file, text, sizeof text, 0), 0);
    EXPECT_ERRNO(pread(maps, text, sizeof text, 0), ESRCH);
    EXPECT_EQ(pread(auxv, text, sizeof text, 0), length);
}

CASE(proc_files_about_the_memory_of_a_zombie_are_empty) {
    pid_t pid = IN_CHILD({});
    siginfo_t info;
    OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    static const char *const files[] = {"maps", "mem"};
    for (int i = 0; i < 2; i++) {
        char path[64], text[64];
        snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
        int fd = open(path, O_RDONLY);
        /* Later versions of Linux refuse to open it. */
        if (fd == -1)
            EXPECT_EQ(errno, ESRCH);
        else
            EXPECT_EQ(pread(fd, text, sizeof text, PAGE_SIZE), 0);
    }
    EXPECT_EXIT(pid, 0);
}

CASE(proc_of_another_user_is_closed) {
    NEEDS_ROOT();
    pid_t target = IN_CHILD({ sleep_forever(); });
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        char name[64];
        char link[PATH_MAX];
        snprintf(name, sizeof name, "/proc/%d/environ", target);
        EXPECT_ERRNO(open(name, O_RDONLY), EACCES);
        snprintf(name, sizeof name, "/proc/%d/exe", target);
        EXPECT_ERRNO(readlink(name, link, sizeof link), EACCES);
        snprintf(name, sizeof name, "/proc/%d/status", target);
        OK(open(name, O_RDONLY));
    });
    EXPECT_EXIT(pid, 0);
    OK(kill(target, SIGKILL));
}

/* Ends with the user and group that others have. */
static void become(uid_t user, gid_t group) {
    OK(syscall(SYS_setresgid, group, group, group));
    OK(syscall(SYS_setresuid, user, user, user));
}

CASE(proc_stat_hides_addresses_from_another_user) {
    NEEDS_ROOT();
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/stat", getpid());
    pid_t pid = IN_CHILD({
        become(1234, 1234);
        const char *text = strrchr(file_content(name), ')') + 2;
        unsigned long values[53] = {0};
        for (int i = 3; i <= 52; i++) {
            values[i] = strtoul(text, NULL, 10);
            text = i < 52 ? strchr(text, ' ') + 1 : text;
        }
        EXPECT_EQ(values[26], 1);
        EXPECT_EQ(values[27], 1);
        EXPECT_EQ(values[28], 0);
        for (int i = 45; i <= 51; i++)
            EXPECT_EQ(values[i], 0);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(proc_fdinfo_of_another_user_returns_eacces) {
    NEEDS_ROOT();
    char directory[64], file[64];
    snprintf(directory, sizeof directory, "/proc/%d/fdinfo", getpid());
    snprintf(file, sizeof file, "/proc/%d/fdinfo/%d", getpid(), OK(open("/dev/null", O_RDONLY)));
    pid_t pid = IN_CHILD({
        become(1234, 1234);
        EXPECT_ERRNO(open(directory, O_RDONLY | O_DIRECTORY), EACCES);
        EXPECT_ERRNO(open(file, O_RDONLY), EACCES);
    });
    EXPECT_EXIT(pid, 0);
    OK(close(OK(open(file, O_RDONLY))));
}

CASE(proc_comm_of_another_process_cannot_be_written) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/comm", getpid());
    pid_t pid = IN_CHILD({
        int fd = OK(open(name, O_WRONLY));
        EXPECT_ERRNO(write(fd, "other", 5), EINVAL);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(proc_oom_score_adj_below_what_the_administrator_set_returns_eacces) {
    NEEDS_ROOT();
    int fd = OK(open("/proc/self/oom_score_adj", O_WRONLY));
    EXPECT_EQ(write(fd, "0x10\n", 5), 5);
    EXPECT_STR(file_content("/proc/self/oom_score_adj"), "16\n");
    pid_t pid = IN_CHILD({
        int own = OK(open("/proc/self/oom_score_adj", O_WRONLY));
        become(1234, 1234);
        EXPECT_EQ(write(own, "20", 2), 2);
        EXPECT_EQ(write(own, "020", 3), 3);
        EXPECT_ERRNO(write(own, "-1000", 5), EACCES);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(proc_sys_is_not_written_by_a_capability) {
    NEEDS_ROOT();
    OK(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    /* CAP_DAC_OVERRIDE */
    uint32_t sets[6] = {1 << 1, 1 << 1, 0, 0, 0, 0};
    OK(syscall(SYS_capset, &header, sets));
    OK(close(OK(open("/proc/sys/kernel/msgmax", O_RDONLY))));
    EXPECT_ERRNO(open("/proc/sys/kernel/msgmax", O_WRONLY), EACCES);
}

CASE(proc_mem_takes_and_gives_more_than_is_moved_at_a_time) {
    enum { SIZE = 200000 };
    int fd = OK(open("/proc/self/mem", O_RDWR));
    char *from = map(SIZE), *to = map(SIZE);
    memset(from, 'x', SIZE);
    EXPECT_EQ(pwrite(fd, from, SIZE, (off_t)(uintptr_t)to), SIZE);
    EXPECT_EQ(memcmp(from, to, SIZE), 0);
    memset(from, 0, SIZE);
    EXPECT_EQ(pread(fd, from, SIZE, (off_t)(uintptr_t)to), SIZE);
    EXPECT_EQ(memcmp(from, to, SIZE), 0);
}

/* A process of user 1234 and group 1235 that has ended, and that nobody has waited for. */
static pid_t users_zombie(void) {
    pid_t pid = IN_CHILD(become(1234, 1235));
    siginfo_t info;
    OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    return pid;
}

CASE(proc_of_a_zombie_is_its_users) {
    NEEDS_ROOT();
    pid_t pid = users_zombie();
    char name[64];
    snprintf(name, sizeof name, "/proc/%d", pid);
    struct stat status;
    OK(stat(name, &status));
    EXPECT_EQ(status.st_uid, 1234);
    EXPECT_EQ(status.st_gid, 1235);
    snprintf(name, sizeof name, "/proc/%d/status", pid);
    EXPECT_STR(field(file_content(name), "Uid"), "1234\t1234\t1234\t1234");
    EXPECT_EXIT(pid, 0);
}

/* Whose the file is, as one number; -1 if that cannot be asked. */
static long owner_of(const char *name) {
    struct stat status;
    return lstat(name, &status) == -1 ? -1 : (long)status.st_uid << 32 | status.st_gid;
}

/* `format` names a file; whose it is. */
static long owner_of_thread_file(const char *format) {
    char name[64];
    snprintf(name, sizeof name, format, getpid());
    return owner_of(name);
}

CASE(proc_files_of_a_process_that_is_not_dumpable_are_roots) {
    NEEDS_ROOT();
    const long user = 1234L << 32 | 1235;
    pid_t pid = IN_CHILD({
        become(1234, 1235);
        OK(prctl(PR_SET_DUMPABLE, 1));
        EXPECT_EQ(owner_of("/proc/self/status"), user);
        EXPECT_EQ(owner_of("/proc/self/fd"), user);
        EXPECT_EQ(owner_of("/proc/self/fd/0"), user);
        EXPECT_EQ(owner_of("/proc/self/fdinfo/0"), user);
        EXPECT_EQ(owner_of("/proc/self/ns/uts"), user);
        OK(prctl(PR_SET_DUMPABLE, 0));
        EXPECT_EQ(owner_of("/proc/self/status"), 0);
        EXPECT_EQ(owner_of("/proc/self/exe"), 0);
        EXPECT_EQ(owner_of("/proc/self/fd"), 0);
        EXPECT_EQ(owner_of("/proc/self/fd/0"), 0);
        EXPECT_EQ(owner_of("/proc/self/fdinfo/0"), 0);
        EXPECT_EQ(owner_of("/proc/self/ns"), 0);
        EXPECT_EQ(owner_of("/proc/self/ns/uts"), 0);
        EXPECT_EQ(owner_of_thread_file("/proc/self/task/%d/comm"), 0);
        /* All may look into these directories, and so they stay its user's. */
        EXPECT_EQ(owner_of_thread_file("/proc/%d"), user);
        EXPECT_EQ(owner_of("/proc/self/task"), user);
        EXPECT_EQ(owner_of_thread_file("/proc/self/task/%d"), user);
        EXPECT_EQ(owner_of("/proc/self/fdinfo"), user);
        EXPECT_EQ(owner_of("/proc/self/net"), user);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(proc_files_of_a_process_that_is_not_dumpable_are_closed_to_itself_but_for_descriptors_and_names_of_threads) {
    NEEDS_ROOT();
    pid_t pid = IN_CHILD({
        become(1234, 1235);
        OK(prctl(PR_SET_DUMPABLE, 0));
        EXPECT_ERRNO(open("/proc/self/environ", O_RDONLY), EACCES);
        EXPECT_ERRNO(open("/proc/self/mem", O_RDONLY), EACCES);
        EXPECT_ERRNO(open("/proc/self/comm", O_WRONLY), EACCES);
        EXPECT_ERRNO(open("/proc/self/oom_score_adj", O_WRONLY), EACCES);
        EXPECT_ERRNO(access("/proc/self/comm", W_OK), EACCES);
        OK(open("/proc/self/maps", O_RDONLY));
        OK(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
        OK(open("/proc/self/fd/0", O_RDONLY));
        OK(access("/proc/self/fd", R_OK | W_OK | X_OK));
        OK(open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY));
        OK(open("/proc/self/fdinfo/0", O_RDONLY));
        char name[64];
        snprintf(name, sizeof name, "/proc/self/task/%d/comm", getpid());
        OK(open(name, O_RDWR));
        EXPECT_ERRNO(access(name, X_OK), EACCES);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(proc_descriptors_of_another_process_that_is_not_dumpable_return_eacces) {
    NEEDS_ROOT();
    PIPE(ready);
    pid_t target = IN_CHILD({
        become(1234, 1235);
        announce(ready[1]);
        sleep_forever();
    });
    await(ready[0]);
    pid_t pid = IN_CHILD({
        become(1234, 1235);
        OK(prctl(PR_SET_DUMPABLE, 1));
        char name[64];
        struct stat status;
        snprintf(name, sizeof name, "/proc/%d/fd", target);
        EXPECT_ERRNO(open(name, O_RDONLY | O_DIRECTORY), EACCES);
        snprintf(name, sizeof name, "/proc/%d/fd/0", target);
        EXPECT_ERRNO(lstat(name, &status), EACCES);
        snprintf(name, sizeof name, "/proc/%d/task/%d/comm", target, target);
        EXPECT_ERRNO(open(name, O_WRONLY), EACCES);
    });
    EXPECT_EXIT(pid, 0);
    OK(kill(target, SIGKILL));
}

CASE(proc_fdinfo_of_another_user_cannot_be_searched) {
    NEEDS_ROOT();
    NEEDS_LINUX_6_11();
    char directory[64], file[64];
    snprintf(directory, sizeof directory, "/proc/%d/fdinfo", getpid());
    snprintf(file, sizeof file, "/proc/%d/fdinfo/0", getpid());
    pid_t pid = IN_CHILD({
        become(1234, 1234);
        struct stat status;
        EXPECT_ERRNO(stat(file, &status), EACCES);
        EXPECT_ERRNO(access(file, F_OK), EACCES);
        EXPECT_ERRNO(access(directory, X_OK), EACCES);
        OK(stat(directory, &status));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(proc_files_of_a_zombie_are_roots) {
    NEEDS_ROOT();
    pid_t pid = users_zombie();
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/status", pid);
    EXPECT_EQ(owner_of(name), 0);
    snprintf(name, sizeof name, "/proc/%d/task", pid);
    EXPECT_EQ(owner_of(name), 1234L << 32 | 1235);
    EXPECT_EXIT(pid, 0);
}

/* An open namespace of the own ones. */
static int open_namespace(const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/ns/%s", name);
    return OK(open(path, O_RDONLY | O_CLOEXEC));
}

CASE(proc_ns_links_lead_to_files_that_are_namespaces) {
    const struct {
        const char *name;
        int kind;
    } namespaces[] = {{"cgroup", CLONE_NEWCGROUP}, {"ipc", CLONE_NEWIPC},   {"mnt", CLONE_NEWNS},
                      {"net", CLONE_NEWNET},       {"pid", CLONE_NEWPID},   {"pid_for_children", CLONE_NEWPID},
                      {"time", 0x80},              {"user", CLONE_NEWUSER}, {"uts", CLONE_NEWUTS}};
    for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++) {
        char path[64], own[64], text[64] = {0}, shown[64] = {0};
        snprintf(path, sizeof path, "/proc/self/ns/%s", namespaces[i].name);
        OK(readlink(path, text, sizeof text - 1));
        int fd = open_namespace(namespaces[i].name);
        struct stat status, same;
        OK(fstat(fd, &status));
        OK(stat(path, &same));
        EXPECT_EQ(status.st_ino, strtoul(strchr(text, '[') + 1, NULL, 10));
        EXPECT_EQ(same.st_ino, status.st_ino);
        EXPECT_EQ(same.st_dev, status.st_dev);
        EXPECT_EQ(status.st_mode, S_IFREG | 0444);
        EXPECT_EQ(ioctl(fd, NS_GET_NSTYPE), namespaces[i].kind);
        struct statfs system;
        OK(fstatfs(fd, &system));
        EXPECT_EQ(system.f_type, 0x6e736673);
        OK(statfs(path, &system));
        EXPECT_EQ(system.f_type, 0x6e736673);
        EXPECT_ERRNO(ioctl(fd, 0xb7ff), ENOTTY);
        EXPECT_ERRNO(read(fd, text, 1), EINVAL);
        snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
        OK(readlink(own, shown, sizeof shown - 1));
        EXPECT_STR(shown, text);
        OK(open(own, O_RDONLY));
    }
}

CASE(proc_ns_files_tell_of_their_relatives) {
    int uts = open_namespace("uts"), user = open_namespace("user"), pid = open_namespace("pid");
    struct stat owner, expected;
    int fd = OK(ioctl(uts, NS_GET_USERNS));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    OK(fstat(fd, &owner));
    OK(fstat(user, &expected));
    EXPECT_EQ(owner.st_ino, expected.st_ino);
    EXPECT_ERRNO(ioctl(uts, NS_GET_PARENT), EINVAL);
    EXPECT_ERRNO(ioctl(user, NS_GET_PARENT), EPERM);
    EXPECT_ERRNO(ioctl(user, NS_GET_USERNS), EPERM);
    EXPECT_ERRNO(ioctl(pid, NS_GET_PARENT), EPERM);
    uid_t maker = 77;
    EXPECT_ERRNO(ioctl(uts, NS_GET_OWNER_UID, &maker), EINVAL);
    OK(ioctl(user, NS_GET_OWNER_UID, &maker));
    EXPECT_ERRNO(ioctl(user, NS_GET_OWNER_UID, bad_page()), EFAULT);
    EXPECT(maker != 77);
}

CASE(setns_enters_the_own_namespaces) {
    NEEDS_ROOT();
    int uts = open_namespace("uts"), user = open_namespace("user"), mounts = open_namespace("mnt");
    EXPECT_ERRNO(setns(0, 0), EINVAL);
    EXPECT_ERRNO(setns(1000, 0), EBADF);
    EXPECT_ERRNO(setns(uts, CLONE_NEWNET), EINVAL);
    EXPECT_ERRNO(setns(user, 0), EINVAL);
    OK(setns(uts, 0));
    OK(setns(uts, CLONE_NEWUTS));
    OK(setns(open_namespace("net"), 0));
    OK(setns(open_namespace("pid"), 0));
    OK(setns(open_namespace("time"), 0));
    char here[PATH_MAX];
    OK(setns(mounts, 0));
    OK(getcwd(here, sizeof here) ? 0 : -1);
    EXPECT_STR(here, "/");
    become(1234, 1234);
    EXPECT_ERRNO(setns(uts, 0), EPERM);
    EXPECT_ERRNO(setns(user, 0), EINVAL);
}

static void *sleep_beside(void *unused) {
    (void)unused;
    sleep_forever();
}

CASE(setns_with_impossible_flags_of_a_process_returns_einval) {
    int own = OK(syscall(SYS_pidfd_open, getpid(), 0));
    EXPECT_ERRNO(setns(own, 0), EINVAL);
    EXPECT_ERRNO(setns(own, CLONE_NEWUTS | CLONE_FS), EINVAL);
}

/* Makes a process that shares root and working directory, and sleeps. */
static pid_t share_directories(void) {
    pid_t pid = OK(syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0)
        sleep_forever();
    return pid;
}

CASE(setns_does_not_move_what_processes_share) {
    NEEDS_ROOT();
    int mounts = open_namespace("mnt");
    char before[PATH_MAX], after[PATH_MAX];
    OK(getcwd(before, sizeof before) ? 0 : -1);
    pid_t pid = share_directories();
    EXPECT_ERRNO(setns(mounts, 0), EINVAL);
    OK(getcwd(after, sizeof after) ? 0 : -1);
    EXPECT_STR(after, before);
    OK(kill(pid, SIGKILL));
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    OK(setns(mounts, 0));
}

CASE(setns_does_not_move_what_threads_share) {
    NEEDS_ROOT();
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, sleep_beside, NULL), 0);
    EXPECT_ERRNO(setns(open_namespace("time"), 0), EUSERS);
    EXPECT_ERRNO(setns(open_namespace("mnt"), 0), EINVAL);
    OK(setns(open_namespace("uts"), 0));
    OK(unshare(CLONE_FS));
    OK(setns(open_namespace("mnt"), 0));
    become(1234, 1234);
    EXPECT_ERRNO(setns(open_namespace("time"), 0), EUSERS);
}
