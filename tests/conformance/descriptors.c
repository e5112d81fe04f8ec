/*
 * Descriptors and what they share, in any order of calls, against a model: which numbers are open, which file each means and
 * whether it is closed on exec; where each file's position is. And what others see of them.
 *
 * Calls are made by sites that are used over and over, with as little between them as possible.
 */
#include "case.h"
#include "progress.h"
#include <linux/kcmp.h>
#include <pthread.h>

/* Rounds after which a call site is as fast as it gets. */
#define WARM 40
#define MOST_DESCRIPTORS 80
#define MOST_FILES 64
#define STEPS 6000

static const char *content;
static off_t length;
static struct stat status;

struct file {
    off_t position;
    int flags;
};

static struct file files[MOST_FILES];
static int file_count;
/* The file of each descriptor, -1 for none; whether it is closed on exec. */
static int file_of[MOST_DESCRIPTORS];
static bool closes[MOST_DESCRIPTORS];

static uint64_t seed;
static unsigned below(unsigned limit) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % limit;
}

/* A large file that nobody changes: the program itself. */
static void look_at_file(void) {
    int fd = OK(open(program_path, O_RDONLY));
    OK(fstat(fd, &status));
    length = status.st_size;
    content = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
    EXPECT(content != MAP_FAILED);
    OK(close(fd));
}

static int lowest(int from) {
    while (from < MOST_DESCRIPTORS && file_of[from] != -1)
        from++;
    return from;
}

static int open_another(void) {
    int expected = lowest(0), flags = below(2) ? O_CLOEXEC : 0;
    if (file_count == MOST_FILES || expected == MOST_DESCRIPTORS)
        return -1;
    EXPECT_EQ(open(program_path, O_RDONLY | flags), expected);
    files[file_count] = (struct file){0, fcntl(expected, F_GETFL)};
    file_of[expected] = file_count++;
    closes[expected] = flags != 0;
    return expected;
}

static void duplicate(int fd, int from, bool close_on_exec, int got) {
    if (file_of[fd] == -1) {
        EXPECT_EQ(got, -1);
        EXPECT_EQ(errno, EBADF);
        return;
    }
    int expected = lowest(from);
    EXPECT_EQ(got, expected < MOST_DESCRIPTORS ? expected : -1);
    if (expected == MOST_DESCRIPTORS) {
        EXPECT_EQ(errno, EMFILE);
        return;
    }
    file_of[expected] = file_of[fd];
    closes[expected] = close_on_exec;
}

static void check_read(int fd, ssize_t got, const char *buffer, off_t at, size_t count) {
    if (file_of[fd] == -1) {
        EXPECT_EQ(got, -1);
        EXPECT_EQ(errno, EBADF);
        return;
    }
    ssize_t expected = at >= length ? 0 : (off_t)count < length - at ? (off_t)count : length - at;
    EXPECT_EQ(got, expected);
    EXPECT(memcmp(buffer, content + (at < length ? at : 0), expected) == 0);
}

static void seek(int fd) {
    static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    int whence = whences[below(3)];
    off_t offset = (off_t)below(3 * 65536) - 65536, got = lseek(fd, offset, whence);
    if (file_of[fd] == -1) {
        EXPECT_EQ(got, -1);
        EXPECT_EQ(errno, EBADF);
        return;
    }
    struct file *file = &files[file_of[fd]];
    off_t target = offset + (whence == SEEK_CUR ? file->position : whence == SEEK_END ? length : 0);
    EXPECT_EQ(got, target < 0 ? -1 : target);
    if (target < 0)
        EXPECT_EQ(errno, EINVAL);
    else
        file->position = target;
}

/* All that there is to know, as this process sees it. */
static void check_all(void) {
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        int flags = fcntl(fd, F_GETFD);
        EXPECT_EQ(flags, file_of[fd] == -1 ? -1 : closes[fd]);
        if (file_of[fd] == -1)
            continue;
        struct stat found;
        OK(fstat(fd, &found));
        EXPECT_EQ(found.st_ino, status.st_ino);
        EXPECT_EQ(found.st_size, length);
        EXPECT_EQ(fcntl(fd, F_GETFL), files[file_of[fd]].flags);
        EXPECT_EQ(lseek(fd, 0, SEEK_CUR), files[file_of[fd]].position);
    }
}

/* What is left after exec: "position" or "-" for each descriptor. */
HELPER(descriptors) {
    for (int fd = 0; fd < argc; fd++) {
        char found[32] = "-";
        off_t position = lseek(fd, 0, SEEK_CUR);
        if (position != -1)
            snprintf(found, sizeof found, "%lld", (long long)position);
        if (strcmp(found, argv[fd]) != 0)
            return 1 + fd;
    }
    return 0;
}

static void check_after_exec(void) {
    static char texts[MOST_DESCRIPTORS][32];
    char *arguments[MOST_DESCRIPTORS + 4] = {(char *)program_path, "--helper", "descriptors"};
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        snprintf(texts[fd], sizeof texts[fd], "-");
        if (file_of[fd] != -1 && !closes[fd])
            snprintf(texts[fd], sizeof texts[fd], "%lld", (long long)files[file_of[fd]].position);
        arguments[3 + fd] = texts[fd];
    }
    pid_t pid = OK(fork());
    if (pid == 0) {
        execv(program_path, arguments);
        FAIL("execv, got %s", errno_name(errno));
    }
    EXPECT_EXIT(pid, 0);
}

/* A child shares positions with its parent, and has descriptors of its own. */
static void check_child(void) {
    off_t *moved = map_shared(PAGE_SIZE);
    int fd = below(MOST_DESCRIPTORS);
    pid_t pid = IN_CHILD({
        check_all();
        if (file_of[fd] != -1) {
            char buffer[100];
            EXPECT(read(fd, buffer, sizeof buffer) >= 0);
            *moved = lseek(fd, 0, SEEK_CUR);
        }
        for (int each = 0; each < MOST_DESCRIPTORS; each++)
            if (file_of[each] != -1)
                OK(close(each));
        for (int each = 0; each < MOST_DESCRIPTORS; each++)
            EXPECT_ERRNO(close(each), EBADF);
    });
    EXPECT_EXIT(pid, 0);
    if (file_of[fd] != -1)
        files[file_of[fd]].position = *moved;
    OK(munmap(moved, PAGE_SIZE));
}

static void begin_model(uint64_t from) {
    look_at_file();
    seed = from;
    OK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){MOST_DESCRIPTORS, 1024}));
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        close(fd);
        file_of[fd] = -1;
    }
}

static void take_steps(int steps) {
    static char buffer[20000];
    for (int step = 0; step < steps; step++) {
        int fd = below(4) ? (int)below(MOST_DESCRIPTORS) : (int)below(8);
        int file = file_of[fd], from = below(MOST_DESCRIPTORS);
        size_t count = below(sizeof buffer);
        off_t at = below(length + 1000);
        ssize_t got;
        switch (below(16)) {
        case 0:
            open_another();
            break;
        case 1:
            duplicate(fd, 0, false, dup(fd));
            break;
        case 2:
            duplicate(fd, from, false, fcntl(fd, F_DUPFD, from));
            break;
        case 3:
            duplicate(fd, from, true, fcntl(fd, F_DUPFD_CLOEXEC, from));
            break;
        case 4: /* twice as often as what opens */
        case 5:
        case 6:
            EXPECT_EQ(close(fd), file == -1 ? -1 : 0);
            file_of[fd] = -1;
            break;
        case 7:
            EXPECT_EQ(fcntl(fd, F_GETFD), file == -1 ? -1 : closes[fd]);
            break;
        case 8: {
            int flag = below(2);
            EXPECT_EQ(fcntl(fd, F_SETFD, flag), file == -1 ? -1 : 0);
            if (file != -1)
                closes[fd] = flag;
            break;
        }
        case 9:
            EXPECT_EQ(fcntl(fd, F_GETFL), file == -1 ? -1 : files[file].flags);
            break;
        case 10:
            seek(fd);
            break;
        case 11:
            got = read(fd, buffer, count);
            check_read(fd, got, buffer, file == -1 ? 0 : files[file].position, count);
            if (file != -1)
                files[file].position += got;
            break;
        case 12:
            got = pread(fd, buffer, count, at);
            check_read(fd, got, buffer, at, count);
            break;
        case 13: {
            struct stat found;
            EXPECT_EQ(fstat(fd, &found), file == -1 ? -1 : 0);
            if (file != -1)
                EXPECT_EQ(found.st_size, length);
            break;
        }
        case 14: {
            int flags = below(2) ? O_NONBLOCK : 0;
            EXPECT_EQ(fcntl(fd, F_SETFL, flags), file == -1 ? -1 : 0);
            if (file != -1)
                files[file].flags = (files[file].flags & ~O_NONBLOCK) | flags;
            break;
        }
        default:
            if (below(40) == 0)
                check_child();
            else if (below(40) == 0)
                check_after_exec();
            else if (below(10) == 0)
                check_all();
        }
    }
}

static void run_model(uint64_t from) {
    begin_model(from);
    take_steps(STEPS);
    check_all();
}

static volatile long turn;

/* A few steps each time, and now and then many. */
static void *take_turns(void *mine) {
    for (int round = 0; round < 8; round++) {
        while (turn != (long)mine)
            sched_yield();
        take_steps(below(4) ? below(60) : 1500);
        check_all();
        turn = !(long)mine;
    }
    return NULL;
}

CASE(descriptors_and_positions_are_what_calls_in_any_order_make_of_them) { run_model(1); }
CASE(descriptors_and_positions_are_what_calls_in_another_order_make_of_them) { run_model(20260101); }
CASE(descriptors_and_positions_are_what_calls_in_a_third_order_make_of_them) { run_model(987654321); }

CASE(descriptors_and_positions_are_what_calls_of_threads_in_turns_make_of_them) {
    begin_model(7);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, take_turns, (void *)1), 0);
    take_turns((void *)0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

/* --- What others see ------------------------------------------------------------------------------------------------- */

__attribute__((noreturn)) static void compute_from(int value) {
    set_progress(value);
    for (;;)
        ;
}

/* A child has descriptor 20 for the program, at position 123; 21 for the same; and 22 has been closed. It makes no more calls. */
static pid_t child_with_descriptors(void) {
    progress = map_shared(PAGE_SIZE);
    pid_t pid = OK(fork());
    if (pid != 0) {
        await_progress(1);
        return pid;
    }
    for (int round = 0; round < WARM; round++) {
        int fd = OK(open(program_path, O_RDONLY));
        EXPECT_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 20), 20);
        EXPECT_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 20), 21);
        EXPECT_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 20), 22);
        OK(fcntl(21, F_SETFD, 0));
        OK(close(22));
        OK(close(fd));
        EXPECT_EQ(lseek(20, 123, SEEK_SET), 123);
        if (round == WARM - 1)
            compute_from(1);
        OK(close(20));
        OK(close(21));
    }
    _exit(1);
}

static void end(pid_t pid) {
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

static bool has_descriptor(pid_t pid, int fd) {
    char name[64];
    struct stat found;
    snprintf(name, sizeof name, "/proc/%d/fd/%d", (int)pid, fd);
    return lstat(name, &found) == 0;
}

CASE(proc_fd_shows_what_a_process_that_computes_has_made_of_its_descriptors) {
    pid_t pid = child_with_descriptors();
    EXPECT(has_descriptor(pid, 20));
    EXPECT(has_descriptor(pid, 21));
    EXPECT(!has_descriptor(pid, 22));
    end(pid);
}

CASE(proc_fdinfo_shows_the_position_and_flags_of_a_process_that_computes) {
    pid_t pid = child_with_descriptors();
    char name[64];
    for (int fd = 20; fd <= 21; fd++) {
        snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", (int)pid, fd);
        const char *text = file_content(name);
        long position = -1, flags = -1;
        EXPECT_EQ(sscanf(text, "pos:\t%ld\nflags:\t%lo", &position, &flags), 2);
        EXPECT_EQ(position, 123);
        EXPECT_EQ((flags & O_CLOEXEC) != 0, fd == 20);
    }
    end(pid);
}

CASE(pidfd_getfd_shares_the_position_of_a_process_that_computes) {
    pid_t pid = child_with_descriptors();
    int pidfd = OK(syscall(SYS_pidfd_open, pid, 0));
    int fd = syscall(SYS_pidfd_getfd, pidfd, 21, 0);
    if (fd == -1 && errno == EPERM)
        SKIP("the host forbids pidfd_getfd");
    OK(fd);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 123);
    EXPECT_ERRNO(syscall(SYS_pidfd_getfd, pidfd, 22, 0), EBADF);
    end(pid);
}

CASE(a_position_that_pidfd_getfd_shares_moves_for_both) {
    progress = map_shared(PAGE_SIZE);
    pid_t pid = OK(fork());
    if (pid == 0) {
        int fd = OK(open(program_path, O_RDONLY));
        for (int round = 0; round < WARM; round++)
            EXPECT_EQ(lseek(fd, round, SEEK_SET), round);
        EXPECT_EQ(dup2(fd, 30), 30);
        EXPECT_EQ(lseek(30, 77, SEEK_SET), 77);
        set_progress(1);
        compute_until(2);
        EXPECT_EQ(lseek(30, 0, SEEK_CUR), 1000);
        EXPECT_EQ(lseek(30, 5, SEEK_CUR), 1005);
        _exit(0);
    }
    await_progress(1);
    int pidfd = OK(syscall(SYS_pidfd_open, pid, 0));
    int fd = syscall(SYS_pidfd_getfd, pidfd, 30, 0);
    if (fd == -1 && errno == EPERM) {
        end(pid);
        SKIP("the host forbids pidfd_getfd");
    }
    OK(fd);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 77);
    EXPECT_EQ(lseek(fd, 1000, SEEK_SET), 1000);
    set_progress(2);
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 1005);
}

CASE(kcmp_compares_descriptors_of_processes_that_compute) {
    pid_t pid = child_with_descriptors();
    int same = syscall(SYS_kcmp, pid, pid, KCMP_FILE, 20, 21);
    if (same == -1 && (errno == EPERM || errno == ENOSYS)) {
        end(pid);
        SKIP("the host forbids kcmp");
    }
    EXPECT_EQ(same, 0);
    EXPECT_ERRNO(syscall(SYS_kcmp, pid, pid, KCMP_FILE, 20, 22), EBADF);
    end(pid);
}

CASE(prlimit_of_a_process_bounds_its_next_descriptor) {
    progress = map_shared(PAGE_SIZE);
    pid_t pid = OK(fork());
    if (pid == 0) {
        int fd = OK(open(program_path, O_RDONLY));
        for (int round = 0; round < WARM; round++)
            OK(close(OK(fcntl(fd, F_DUPFD, 40))));
        set_progress(1);
        compute_until(2);
        EXPECT_ERRNO(fcntl(fd, F_DUPFD, 40), EINVAL);
        _exit(0);
    }
    await_progress(1);
    OK(prlimit(pid, RLIMIT_NOFILE, &(struct rlimit){40, 40}, NULL));
    set_progress(2);
    EXPECT_EXIT(pid, 0);
}

CASE(fstat_shows_a_change_by_another_process_at_once) {
    progress = map_shared(PAGE_SIZE);
    look_at_file();
    pid_t pid = OK(fork());
    if (pid == 0) {
        int fd = OK(open(program_path, O_RDONLY));
        struct stat found;
        for (int round = 0; round < WARM; round++)
            OK(fstat(fd, &found));
        for (int step = 1; step <= 4; step++) {
            set_progress(2 * step - 1);
            compute_until(2 * step);
            OK(fstat(fd, &found));
            EXPECT_EQ(found.st_mode & 07777, step % 2 ? 0711 : status.st_mode & 07777);
        }
        _exit(0);
    }
    for (int step = 1; step <= 4; step++) {
        await_progress(2 * step - 1);
        OK(chmod(program_path, step % 2 ? 0711 : status.st_mode & 07777));
        set_progress(2 * step);
    }
    EXPECT_EXIT(pid, 0);
}

CASE(fstat_shows_names_that_another_process_gives_and_takes_at_once) {
    char name[PATH_MAX + 32];
    snprintf(name, sizeof name, "%s.%d", program_path, (int)getpid());
    if (link(program_path, name) == -1)
        SKIP("the directory of the program cannot be written");
    OK(unlink(name));
    progress = map_shared(PAGE_SIZE);
    look_at_file();
    pid_t pid = OK(fork());
    if (pid == 0) {
        int fd = OK(open(program_path, O_RDONLY));
        struct stat found;
        for (int step = 1; step <= 4; step++) {
            for (int round = 0; round < WARM; round++)
                OK(fstat(fd, &found));
            set_progress(2 * step - 1);
            compute_until(2 * step);
            OK(fstat(fd, &found));
            EXPECT_EQ(found.st_nlink, status.st_nlink + step % 2);
        }
        _exit(0);
    }
    for (int step = 1; step <= 4; step++) {
        await_progress(2 * step - 1);
        OK(step % 2 ? link(program_path, name) : unlink(name));
        set_progress(2 * step);
    }
    EXPECT_EXIT(pid, 0);
}

/* --- What a call must not be taken for -------------------------------------------------------------------------------- */

CASE(reads_into_memory_that_is_not_there_move_nothing) {
    look_at_file();
    int fd = OK(open(program_path, O_RDONLY));
    char buffer[64], *nowhere = bad_page(), *edge = page_end();
    struct stat found;
    for (int round = 0; round < WARM; round++) {
        EXPECT_EQ(pread(fd, buffer, sizeof buffer, round), sizeof buffer);
        EXPECT_EQ(read(fd, buffer, sizeof buffer), sizeof buffer);
        OK(fstat(fd, &found));
    }
    off_t before = OK(lseek(fd, 0, SEEK_CUR));
    EXPECT_ERRNO(read(fd, nowhere, 64), EFAULT);
    EXPECT_ERRNO(pread(fd, nowhere, 64, 0), EFAULT);
    EXPECT_ERRNO(fstat(fd, (struct stat *)nowhere), EFAULT);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), before);
    EXPECT_EQ(read(fd, edge - 64, 64), 64);
    EXPECT(memcmp(edge - 64, content + before, 64) == 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), before + 64);
}

CASE(fsync_of_whatever_is_open_returns_what_it_returned_at_first) {
    PIPE(ends);
    int file = OK(open("f", O_RDWR | O_CREAT, 0600)), place = OK(open("f", O_PATH));
    for (int round = 0; round < WARM; round++) {
        EXPECT_EQ(write(file, "x", 1), 1);
        OK(fsync(file));
        OK(fdatasync(file));
        OK(fsync(OK(dup2(file, 30))));
        EXPECT_ERRNO(fsync(ends[1]), EINVAL);
        EXPECT_ERRNO(fdatasync(place), EBADF);
        OK(close(30));
        EXPECT_ERRNO(fsync(30), EBADF);
    }
}

CASE(calls_about_descriptors_go_on_under_a_storm_of_signals) {
    look_at_file();
    int fd = OK(open(program_path, O_RDONLY));
    handle(SIGALRM, count_signal, SA_RESTART);
    struct itimerval often = {{0, 200}, {0, 200}};
    OK(setitimer(ITIMER_REAL, &often, NULL));
    char buffer[512];
    off_t position = 0;
    for (int round = 0; round < 2000 || signals_seen < 50; round++) {
        int other = OK(dup(fd));
        OK(fcntl(other, F_SETFD, FD_CLOEXEC));
        EXPECT_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
        OK(close(other));
        EXPECT_ERRNO(close(other), EBADF);
        if (position + (off_t)sizeof buffer > length)
            position = OK(lseek(fd, 0, SEEK_SET));
        EXPECT_EQ(read(fd, buffer, sizeof buffer), sizeof buffer);
        EXPECT(memcmp(buffer, content + position, sizeof buffer) == 0);
        position += sizeof buffer;
        EXPECT_EQ(lseek(fd, 3, SEEK_CUR), position + 3);
        position += 3;
    }
    stop_ticking();
}

CASE(a_thread_that_shares_the_table_sees_every_change) {
    int fd = OK(open(program_path, O_RDONLY));
    for (int round = 0; round < WARM; round++)
        OK(close(OK(dup(fd))));
    progress = map_shared(PAGE_SIZE);
    pid_t pid = OK(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        for (int round = 1; round <= 100; round++) {
            await_progress(2 * round - 1);
            EXPECT_EQ(fcntl(50, F_GETFD), FD_CLOEXEC);
            OK(close(50));
            set_progress(2 * round);
        }
        _exit(0);
    }
    for (int round = 1; round <= 100; round++) {
        EXPECT_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 50), 50);
        set_progress(2 * round - 1);
        await_progress(2 * round);
        EXPECT_ERRNO(fcntl(50, F_GETFD), EBADF);
    }
    EXPECT_EXIT(pid, 0);
}
