/*
 * Threads that share a descriptor table (clone(2), CLONE_FILES): what one has done to descriptors, and to what they mean, by calls
 * that it has made over and over alone, the others see at once, while it computes, sleeps or ends.
 */
#include "case.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>

/* Times a thread does the same alone. After these its calls are as fast as they get. */
#define ALONE 1200
#define FD 30

static long futex(volatile uint32_t *word, int operation, uint32_t value, void *fourth, volatile uint32_t *second) {
    return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, fourth, second, 0);
}

static volatile int stage;
static pthread_t thread;
static void (*deed)(void), (*then)(void);

static void *do_often_and_compute(void *unused) {
    for (int i = 0; i < ALONE; i++)
        deed();
    stage = 1;
    await_value(&stage, 2);
    if (then)
        then();
    return unused;
}

/* A thread does `first` again and again and then computes; when this returns it has. */
static void begin(void (*first)(void), void (*second)(void)) {
    deed = first, then = second;
    EXPECT_EQ(pthread_create(&thread, NULL, do_often_and_compute, NULL), 0);
    await_value(&stage, 1);
}

/* The thread does what it was to do then, and ends. */
static void go_on(void) {
    stage = 2;
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

static void open_at(int fd, const char *name, int flags) {
    int opened = OK(open(name, flags, 0644));
    OK(dup2(opened, fd));
    OK(close(opened));
}

/* --- Descriptors --- */

static void duplicate_and_close(void) {
    EXPECT_EQ(fcntl(FD, F_DUPFD_CLOEXEC, FD + 1), FD + 1);
    EXPECT_EQ(fcntl(FD, F_DUPFD, FD + 2), FD + 2);
    EXPECT_EQ(fcntl(FD, F_DUPFD, FD + 3), FD + 3);
    OK(close(FD + 3));
    if (stage == 0) {
        static int rounds;
        if (++rounds < ALONE) {
            OK(close(FD + 1));
            OK(close(FD + 2));
        }
    }
}

static void expect_other_descriptors(void) {
    EXPECT_ERRNO(fcntl(FD + 1, F_GETFD), EBADF);
    EXPECT_EQ(fcntl(FD + 2, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(FD, F_DUPFD, FD), FD + 1);
}

CASE(a_thread_sees_which_descriptors_another_that_computes_has) {
    open_at(FD, program_path, O_RDONLY);
    begin(duplicate_and_close, expect_other_descriptors);
    EXPECT_EQ(fcntl(FD + 1, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(FD + 2, F_GETFD), 0);
    EXPECT_ERRNO(fcntl(FD + 3, F_GETFD), EBADF);
    OK(close(FD + 1));
    OK(fcntl(FD + 2, F_SETFD, FD_CLOEXEC));
    go_on();
}

CASE(proc_shows_a_thread_which_descriptors_another_that_computes_has) {
    open_at(FD, program_path, O_RDONLY);
    begin(duplicate_and_close, NULL);
    struct stat found;
    OK(lstat("/proc/self/fd/31", &found));
    OK(lstat("/proc/thread-self/fd/32", &found));
    EXPECT_ERRNO(lstat("/proc/self/fd/33", &found), ENOENT);
    go_on();
}

CASE(a_child_of_a_thread_has_the_descriptors_of_another_that_computes) {
    open_at(FD, program_path, O_RDONLY);
    begin(duplicate_and_close, expect_other_descriptors);
    pid_t pid = IN_CHILD({
        EXPECT_EQ(fcntl(FD + 1, F_GETFD), FD_CLOEXEC);
        EXPECT_EQ(fcntl(FD + 2, F_GETFD), 0);
        EXPECT_ERRNO(close(FD + 3), EBADF);
        OK(close(FD + 2));
    });
    EXPECT_EXIT(pid, 0);
    OK(close_range(FD + 1, FD + 1, 0));
    OK(close_range(FD + 2, FD + 2, CLOSE_RANGE_CLOEXEC));
    go_on();
}

HELPER(has_only_the_third) {
    (void)argc, (void)argv;
    return fcntl(FD + 1, F_GETFD) != -1 || fcntl(FD + 2, F_GETFD) == -1 || fcntl(FD + 3, F_GETFD) != -1;
}

CASE(a_program_that_a_thread_executes_has_the_descriptors_of_another_that_computed) {
    open_at(FD, program_path, O_RDONLY);
    pid_t pid = OK(fork());
    if (pid == 0) {
        begin(duplicate_and_close, NULL);
        execl(program_path, program_path, "--helper", "has_only_the_third", NULL);
        FAIL("execl, got %s", errno_name(errno));
    }
    EXPECT_EXIT(pid, 0);
}

CASE(a_process_of_threads_that_compute_with_descriptors_exits) {
    pid_t pid = IN_CHILD({
        open_at(FD, program_path, O_RDONLY);
        begin(duplicate_and_close, NULL);
    });
    EXPECT_EXIT(pid, 0);
}

static void unshare_and_duplicate(void) {
    OK(unshare(CLONE_FILES));
    for (int i = 0; i < ALONE; i++)
        OK(close(OK(fcntl(FD, F_DUPFD, FD + 5))));
    OK(close(FD));
}

CASE(a_thread_that_unshares_its_descriptors_has_those_of_another_that_computes_and_then_its_own) {
    open_at(FD, program_path, O_RDONLY);
    begin(duplicate_and_close, unshare_and_duplicate);
    EXPECT_EQ(fcntl(FD + 1, F_GETFD), FD_CLOEXEC);
    go_on();
    EXPECT_EQ(fcntl(FD, F_GETFD), 0);
    EXPECT_EQ(fcntl(FD + 2, F_GETFD), 0);
}

/* --- Open files --- */

static void read_hundred(void) {
    char buffer[100];
    OK(lseek(FD, 23, SEEK_SET));
    EXPECT_EQ(read(FD, buffer, sizeof buffer), sizeof buffer);
}

static void expect_elf(void) {
    char buffer[4];
    EXPECT_EQ(lseek(FD, 0, SEEK_CUR), 0);
    EXPECT_EQ(read(FD, buffer, sizeof buffer), sizeof buffer);
    EXPECT(memcmp(buffer, "\177ELF", 4) == 0);
}

CASE(a_thread_sees_and_moves_the_position_of_another_that_computes) {
    open_at(FD, program_path, O_RDONLY);
    begin(read_hundred, expect_elf);
    EXPECT_EQ(lseek(FD, 0, SEEK_CUR), 123);
    EXPECT_EQ(lseek(FD, 0, SEEK_SET), 0);
    go_on();
}

static void expect_text(void) {
    char buffer[8] = "";
    EXPECT_EQ(read(FD, buffer, sizeof buffer), 4);
    EXPECT_STR(buffer, "text");
    EXPECT_EQ(read(FD, buffer, sizeof buffer), 0);
}

CASE(a_thread_replaces_the_file_that_another_that_computes_has_read) {
    make_file("other", "text");
    open_at(FD, program_path, O_RDONLY);
    begin(read_hundred, expect_text);
    open_at(FD, "other", O_RDONLY);
    go_on();
}

static void expect_closed(void) {
    struct stat found;
    char byte;
    EXPECT_ERRNO(read(FD, &byte, 1), EBADF);
    EXPECT_ERRNO(lseek(FD, 0, SEEK_CUR), EBADF);
    EXPECT_ERRNO(fstat(FD, &found), EBADF);
    EXPECT_EQ(open(program_path, O_RDONLY), 3);
}

CASE(a_thread_closes_the_file_that_another_that_computes_has_read) {
    open_at(FD, program_path, O_RDONLY);
    begin(read_hundred, expect_closed);
    OK(close(FD));
    go_on();
}

static mode_t expected_mode;

static void expect_mode(void) {
    struct stat found;
    OK(fstat(FD, &found));
    EXPECT_EQ(found.st_mode & 07777, expected_mode);
}

static void expect_mode_often(void) {
    for (int i = 0; i < ALONE; i++)
        expect_mode();
}

CASE(a_thread_that_has_let_others_use_the_descriptors_for_a_while_sees_what_has_changed) {
    struct stat before;
    OK(stat(program_path, &before));
    expected_mode = before.st_mode & 07777;
    open_at(FD, program_path, O_RDONLY);
    begin(expect_mode, expect_mode_often);
    expect_mode_often();
    expected_mode = 0711;
    OK(chmod(program_path, expected_mode));
    expect_mode_often();
    go_on();
    OK(chmod(program_path, before.st_mode & 07777));
}

static void append(void) {
    EXPECT_EQ(lseek(FD, 0, SEEK_SET), 0);
    EXPECT_EQ(write(FD, "begin", 5), 5);
}

static void expect_appending(void) {
    EXPECT_EQ(fcntl(FD, F_GETFL) & (O_APPEND | O_NONBLOCK), O_APPEND | O_NONBLOCK);
    append();
}

CASE(a_thread_sees_what_another_that_computes_has_written_and_makes_it_append) {
    open_at(FD, "file", O_RDWR | O_CREAT);
    begin(append, expect_appending);
    struct stat found;
    OK(stat("file", &found));
    EXPECT_EQ(found.st_size, 5);
    EXPECT_STR(file_content("file"), "begin");
    EXPECT_EQ(lseek(FD, 0, SEEK_CUR), 5);
    EXPECT_EQ(pwrite(FD, "B", 1, 0), 1);
    OK(fcntl(FD, F_SETFL, O_APPEND | O_NONBLOCK));
    go_on();
    EXPECT_STR(file_content("file"), "Beginbegin");
}

static void lock_first_byte(void) {
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_len = 1};
    OK(fcntl(FD, F_SETLK, &lock));
    lock.l_type = F_WRLCK;
    OK(fcntl(FD, F_SETLK, &lock));
}

static void expect_conflict(short type) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    pid_t pid = IN_CHILD({
        OK(fcntl(FD, F_GETLK, &lock));
        EXPECT_EQ(lock.l_type, type);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(a_thread_unlocks_what_another_that_computes_has_locked) {
    open_at(FD, "file", O_RDWR | O_CREAT);
    begin(lock_first_byte, NULL);
    expect_conflict(F_WRLCK);
    int other = OK(open("file", O_RDONLY));
    OK(close(other));
    expect_conflict(F_UNLCK);
    go_on();
}

static int instance, event_file;

static void watch_again(void) {
    struct epoll_event event = {EPOLLIN, {.u64 = 1}};
    OK(epoll_ctl(instance, EPOLL_CTL_ADD, event_file, &event));
    event = (struct epoll_event){EPOLLIN | EPOLLOUT, {.u64 = 2}};
    OK(epoll_ctl(instance, EPOLL_CTL_MOD, event_file, &event));
    if (stage == 0) {
        static int rounds;
        if (++rounds < ALONE)
            OK(epoll_ctl(instance, EPOLL_CTL_DEL, event_file, NULL));
    }
}

static void expect_unwatched(void) {
    struct epoll_event event = {EPOLLIN, {.u64 = 1}};
    EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_DEL, event_file, NULL), ENOENT);
    EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_MOD, event_file, &event), ENOENT);
}

CASE(a_thread_waits_for_what_another_that_computes_has_begun_to_watch) {
    instance = OK(epoll_create1(0));
    event_file = OK(eventfd(0, 0));
    begin(watch_again, expect_unwatched);
    struct epoll_event event;
    EXPECT_EQ(epoll_wait(instance, &event, 1, -1), 1);
    EXPECT_EQ(event.events, EPOLLOUT);
    EXPECT_EQ(event.data.u64, 2);
    OK(epoll_ctl(instance, EPOLL_CTL_DEL, event_file, NULL));
    go_on();
}

static int entries(void) {
    char buffer[4096];
    long count, total = 0;
    while ((count = OK(syscall(SYS_getdents64, FD, buffer, sizeof buffer))) > 0)
        total += count;
    return total;
}

static void list_from_the_start(void) {
    OK(lseek(FD, 0, SEEK_SET));
    EXPECT(entries() > 0);
}

static void expect_entries(void) { EXPECT(entries() > 0); }

static void rewind_listed(bool changes_table) {
    open_at(FD, "/", O_RDONLY | O_DIRECTORY);
    begin(list_from_the_start, expect_entries);
    EXPECT_EQ(entries(), 0);
    OK(lseek(FD, 0, SEEK_SET));
    if (changes_table)
        OK(dup(FD));
    go_on();
}

CASE(a_thread_rewinds_the_directory_that_another_that_computes_has_listed) { rewind_listed(false); }
CASE(a_thread_rewinds_and_duplicates_the_directory_that_another_that_computes_has_listed) { rewind_listed(true); }

/* --- Sleepers --- */

static volatile uint32_t here, there;

static void duplicate_and_wake(void) {
    duplicate_and_close();
    EXPECT_EQ(futex(&here, FUTEX_WAKE, 1, NULL, NULL), 0);
}

/* Having done nothing since its last call that was slow. */
static void ask_and_sleep(void) {
    umask(022);
    EXPECT_EQ(futex(&here, FUTEX_WAIT, 0, NULL, NULL), 0);
}

static void move_the_sleeper(void) {
    while (futex(&here, FUTEX_REQUEUE, 0, (void *)(uintptr_t)INT_MAX, &there) != 1)
        sched_yield();
}

/*
 * Whether the sleeper was where it had been moved to; it is awake afterwards in any case. Linux lets a sleeper that something else
 * disturbs begin anew where it first slept (kernel/futex/waitwake.c, __futex_wait): rarely, one of hundreds.
 */
static bool wake_the_moved(void) {
    if (futex(&there, FUTEX_WAKE, 1, NULL, NULL) == 1)
        return true;
    while (futex(&here, FUTEX_WAKE, 1, NULL, NULL) != 1)
        sched_yield();
    return false;
}

static bool sleeper_stays(void) {
    begin(duplicate_and_close, ask_and_sleep);
    stage = 2;
    move_the_sleeper();
    for (int i = 0; i < ALONE; i++)
        OK(close(OK(dup(FD))));
    bool stayed = wake_the_moved();
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    stage = 0;
    return stayed;
}

CASE(a_sleeper_stays_where_it_was_moved_to_while_another_uses_its_descriptors) {
    open_at(FD, program_path, O_RDONLY);
    for (int attempts = 3; !sleeper_stays(); attempts--)
        EXPECT(attempts > 1);
}

static void read_and_sleep(void) {
    read_hundred();
    EXPECT_EQ(futex(&here, FUTEX_WAIT, 0, NULL, NULL), 0);
    expect_elf();
}

CASE(a_sleeper_has_told_what_it_did_before_and_sees_what_was_done_meanwhile) {
    open_at(FD, program_path, O_RDONLY);
    begin(duplicate_and_wake, read_and_sleep);
    stage = 2;
    move_the_sleeper();
    EXPECT_EQ(lseek(FD, 0, SEEK_CUR), 123);
    EXPECT_EQ(lseek(FD, 0, SEEK_SET), 0);
    wake_the_moved();
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

/* --- Many --- */

static void *open_and_close(void *argument) {
    int own = FD + 8 * (int)(long)argument;
    for (int round = 0; round < 60; round++) {
        /* Now and then long enough alone. */
        int rounds = round % 20 == (int)(long)argument ? ALONE : 5;
        for (int i = 0; i < rounds; i++) {
            int got = OK(fcntl(own, F_DUPFD, own + 1));
            EXPECT(got > own);
            EXPECT_EQ(lseek(got, i, SEEK_SET), i);
            EXPECT_EQ(lseek(own, 0, SEEK_CUR), i);
            OK(close(got));
        }
    }
    return NULL;
}

CASE(threads_with_files_of_their_own_in_one_table_do_not_disturb_each_other) {
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++)
        open_at(FD + 8 * (int)i, program_path, O_RDONLY);
    for (long i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, open_and_close, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    for (int fd = FD; fd < 100; fd++)
        EXPECT_EQ(fcntl(fd, F_GETFD) != -1, fd >= FD && (fd - FD) % 8 == 0 && fd < FD + 8 * THREADS);
}
