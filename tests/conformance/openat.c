/*
 * openat(2), as programs that go through trees use it: by directories that are open, in the order of their entries, and always in the
 * same way.
 *
 * A runtime may open ahead what is opened next. Each case goes through its tree until that is expected, and then changes what comes next.
 * The trees were there before the runtime was; GIVEN names the directory where they are.
 */
#include "getdents.h"
#include <sys/inotify.h>

enum { MOST_NAMES = 16 };
enum { DIRECTORY_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, FILE_FLAGS = O_RDONLY | O_NOFOLLOW | O_CLOEXEC };

struct names {
    int count;
    char name[MOST_NAMES][16];
};

/* The names in an open directory, in the order in which they are read. */
static struct names names_in(int directory) {
    char buffer[4096] __attribute__((aligned(8)));
    struct names names = {0};
    for (long size; (size = OK(syscall(SYS_getdents64, directory, buffer, sizeof buffer))) > 0;)
        for (long at = 0; at < size; at += ((struct entry *)(buffer + at))->length) {
            const char *name = ((struct entry *)(buffer + at))->name;
            if (name[0] != '.')
                snprintf(names.name[names.count++], sizeof *names.name, "%s", name);
        }
    return names;
}

/* Opens a file, which must be the one that its name means, and as new as any. */
static int open_as_ever(int directory, const char *name, int flags) {
    struct stat by_name, by_descriptor;
    OK(fstatat(directory, name, &by_name, AT_SYMLINK_NOFOLLOW));
    int expected = next_fd(), fd = OK(openat(directory, name, flags));
    EXPECT_EQ(fd, expected);
    OK(fstat(fd, &by_descriptor));
    EXPECT(memcmp(&by_name, &by_descriptor, sizeof by_name) == 0);
    EXPECT_EQ(fcntl(fd, F_GETFL) & ~0100000, flags & ~O_CLOEXEC);
    EXPECT_EQ(fcntl(fd, F_GETFD), flags & O_CLOEXEC ? FD_CLOEXEC : 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
    return fd;
}

static void expect_content(int fd, const char *content) {
    char buffer[64] = {0};
    EXPECT_EQ(read(fd, buffer, sizeof buffer - 1), (ssize_t)strlen(content));
    EXPECT_STR(buffer, content);
    EXPECT_EQ(read(fd, buffer, sizeof buffer), 0);
}

/* Files contain their names. */
static void expect_own_content(int fd, const char *name) {
    char content[24];
    snprintf(content, sizeof content, "%s\n", name);
    expect_content(fd, content);
}

/* Goes through all of a tree. Directories have names with `d`. */
static void go_through(int directory) {
    struct names names = names_in(directory);
    for (int at = 0; at < names.count; at++) {
        const char *name = names.name[at];
        int fd = open_as_ever(directory, name, name[0] == 'd' ? DIRECTORY_FLAGS : FILE_FLAGS);
        if (name[0] == 'd')
            go_through(fd);
        else
            expect_own_content(fd, name);
        OK(close(fd));
    }
}

/* A directory in a tree that only one case changes. Whoever makes many calls may be served in other ways. */
static void go_to(const char *tree, const char *below) {
    char path[PATH_MAX];
    EXPECT(getenv("GIVEN") != NULL);
    snprintf(path, sizeof path, "%s/tree/%s/%s", getenv("GIVEN"), tree, below);
    OK(chdir(path));
    for (int times = 0; times < 60; times++)
        EXPECT(access("there is no such file", F_OK) == -1 && umask(022) == 022);
}

/* Such a tree, which has been gone through. */
static int enter(const char *tree) {
    go_to(tree, ".");
    int directory = OK(open(".", DIRECTORY_FLAGS));
    go_through(directory);
    OK(lseek(directory, 0, SEEK_SET));
    return directory;
}

CASE(files_opened_in_the_order_of_their_names_are_those_that_they_mean) {
    int directory = enter("1");
    for (int times = 0; times < 3; times++) {
        go_through(directory);
        OK(lseek(directory, 0, SEEK_SET));
    }
}

/* What happens to a file before it is opened. */
enum { REMOVED, REPLACED, LINKED, WRITTEN, MODE_CHANGED, MADE_A_DIRECTORY, WAYS };

static void change(int directory, const char *name, int way) {
    if (way == REMOVED || way == LINKED || way == MADE_A_DIRECTORY)
        OK(unlinkat(directory, name, 0));
    if (way == LINKED)
        OK(symlinkat("elsewhere", directory, name));
    if (way == MADE_A_DIRECTORY)
        OK(mkdirat(directory, name, 0755));
    if (way == MODE_CHANGED)
        OK(fchmodat(directory, name, 0604, 0));
    if (way == REPLACED || way == WRITTEN) {
        const char *written = way == REPLACED ? "new" : name;
        int fd = OK(openat(directory, written, O_WRONLY | O_CREAT | O_TRUNC, 0644));
        EXPECT_EQ(write(fd, "other\n", 6), 6);
        OK(close(fd));
    }
    if (way == REPLACED)
        OK(renameat(directory, "new", directory, name));
}

static void expect_changed(int directory, const char *name, int way) {
    char byte;
    switch (way) {
    case REMOVED: EXPECT_ERRNO(openat(directory, name, FILE_FLAGS), ENOENT); break;
    case LINKED: EXPECT_ERRNO(openat(directory, name, FILE_FLAGS), ELOOP); break;
    case MADE_A_DIRECTORY: EXPECT_ERRNO(read(open_as_ever(directory, name, FILE_FLAGS), &byte, 1), EISDIR); break;
    case MODE_CHANGED: expect_own_content(open_as_ever(directory, name, FILE_FLAGS), name); break;
    default: expect_content(open_as_ever(directory, name, FILE_FLAGS), "other\n"); break;
    }
}

/* In each directory, a file is changed by `changes` while the one before it is open. */
static void go_through_changes(int directory, void (*changes)(int, const char *, int)) {
    struct names names = names_in(directory);
    for (int at = 0; at < names.count; at++) {
        const char *name = names.name[at];
        if (name[0] != 'd')
            continue;
        int below = open_as_ever(directory, name, DIRECTORY_FLAGS);
        struct names files = names_in(below);
        for (int file = 0, way = at % WAYS; file < files.count; file++) {
            const char *before = files.name[file], *next = file + 1 < files.count ? files.name[file + 1] : "d";
            int fd = openat(below, before, before[0] == 'd' ? DIRECTORY_FLAGS : FILE_FLAGS);
            EXPECT(fd >= 0 || file == 0);
            if (next[0] == 'd')
                continue;
            changes(below, next, way);
            expect_changed(below, next, way);
            break;
        }
        OK(close(below));
    }
}

CASE(a_file_that_is_changed_before_it_is_opened_is_what_it_is_then) {
    go_through_changes(enter("2"), change);
}

struct order {
    volatile int state;
    char name[16];
    int way;
};
enum { NOTHING, ORDERED, DONE };

static struct order *order;

/* Has the other process change a file, and makes no call while it does. */
static void have_changed(int directory, const char *name, int way) {
    (void)directory;
    snprintf(order->name, sizeof order->name, "%s", name);
    order->way = way;
    __atomic_store_n(&order->state, ORDERED, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&order->state, __ATOMIC_SEQ_CST) != DONE)
        ;
}

CASE(a_file_that_another_process_changes_before_it_is_opened_is_what_it_is_then) {
    int directory = enter("3");
    order = map_shared(sizeof *order);
    struct names names = names_in(directory);
    pid_t pid = IN_CHILD({
        for (int at = 0; at < names.count; at++) {
            if (names.name[at][0] != 'd')
                continue;
            await_value(&order->state, ORDERED);
            change(OK(openat(directory, names.name[at], DIRECTORY_FLAGS)), order->name, order->way);
            __atomic_store_n(&order->state, DONE, __ATOMIC_SEQ_CST);
        }
    });
    /* The positions of open directories are shared. */
    OK(lseek(directory, 0, SEEK_SET));
    go_through_changes(directory, have_changed);
    EXPECT_EXIT(pid, 0);
}

/* The files of a directory that has just been gone through but for these. */
static struct names enter_files(int *directory, const char *tree) {
    int above = enter(tree);
    *directory = OK(openat(above, "d1", DIRECTORY_FLAGS));
    struct names files = names_in(*directory);
    for (int at = 0; at < files.count; at++)
        if (files.name[at][0] == 'd')
            memmove(files.name[at], files.name[--files.count], sizeof *files.name);
    EXPECT(files.count >= 4);
    OK(close(open_as_ever(*directory, files.name[0], FILE_FLAGS)));
    return files;
}

CASE(a_file_that_is_opened_twice_is_read_twice) {
    int directory;
    char byte;
    struct names files = enter_files(&directory, "4");
    for (int at = 0; at < files.count; at++) {
        const char *name = files.name[at];
        int first = open_as_ever(directory, name, FILE_FLAGS);
        EXPECT(read(first, &byte, 1) == 1 && byte == name[0]);
        int second = open_as_ever(directory, name, FILE_FLAGS), other = OK(dup(second));
        expect_own_content(second, name);
        EXPECT_EQ(lseek(first, 0, SEEK_CUR), 1);
        EXPECT_EQ(read(other, &byte, 1), 0);
        OK(close(first));
        OK(close(second));
        first = open_as_ever(directory, name, FILE_FLAGS);
        EXPECT_EQ(lseek(other, 0, SEEK_SET), 0);
        expect_own_content(first, name);
        OK(close(first));
        OK(close(other));
    }
}

CASE(a_file_is_opened_in_the_way_that_is_asked_for) {
    static const int ways[] = {O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY | O_APPEND, O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC};
    int directory;
    struct names files = enter_files(&directory, "5");
    for (size_t at = 0; at < sizeof ways / sizeof *ways; at++)
        OK(close(open_as_ever(directory, files.name[at % files.count], ways[at])));
    const char *name = files.name[files.count - 1];
    int writer = OK(openat(directory, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    EXPECT_EQ(fcntl(writer, F_GETFL) & O_ACCMODE, O_RDWR);
    EXPECT_EQ(write(writer, name, strlen(name)), (ssize_t)strlen(name));
    EXPECT_ERRNO(openat(directory, name, DIRECTORY_FLAGS), ENOTDIR);
    EXPECT_ERRNO(openat(directory, name, FILE_FLAGS | O_CREAT | O_EXCL, 0644), EEXIST);
    int fd = OK(openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    EXPECT_ERRNO(read(fd, &fd, 1), EBADF);
    expect_own_content(open_as_ever(directory, name, FILE_FLAGS), name);
    OK(faccessat(directory, name, R_OK, 0));
}

CASE(a_file_that_was_opened_by_name_has_a_descriptor_like_any_other) {
    int directory;
    struct names files = enter_files(&directory, "6");
    int fd = open_as_ever(directory, files.name[1], FILE_FLAGS), other = open_as_ever(directory, files.name[2], FILE_FLAGS);
    OK(dup2(fd, other));
    EXPECT_EQ(lseek(other, 2, SEEK_SET), 2);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 2);
    OK(close(other));
    OK(lseek(fd, 0, SEEK_SET));
    char byte;
    pid_t pid = IN_CHILD({ EXPECT_EQ(read(fd, &byte, 1), 1); });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 1);
    struct rlimit limit, before;
    OK(getrlimit(RLIMIT_NOFILE, &before));
    limit = before;
    limit.rlim_cur = next_fd();
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    EXPECT_ERRNO(openat(directory, files.name[2], FILE_FLAGS), EMFILE);
    EXPECT_ERRNO(openat(directory, files.name[3], FILE_FLAGS), EMFILE);
    OK(close(fd));
    fd = OK(openat(directory, files.name[2], FILE_FLAGS & ~O_CLOEXEC));
    OK(setrlimit(RLIMIT_NOFILE, &before));
    other = open_as_ever(directory, files.name[3], FILE_FLAGS);
    char left[16], closed[16];
    snprintf(left, sizeof left, "%d", fd);
    snprintf(closed, sizeof closed, "%d", other);
    pid = IN_CHILD({ execl(program_path, program_path, "--helper", "has_one_open", left, closed, NULL); });
    EXPECT_EXIT(pid, 0);
    snprintf(left, sizeof left, "/proc/self/fd/%d", other);
    char target[PATH_MAX] = {0};
    OK(readlink(left, target, sizeof target - 1));
    EXPECT_STR(strrchr(target, '/') + 1, files.name[3]);
}

HELPER(has_one_open) {
    return argc == 2 && fcntl(atoi(argv[0]), F_GETFD) == 0 && fcntl(atoi(argv[1]), F_GETFD) == -1 && errno == EBADF ? 0 : 1;
}

CASE(whoever_may_not_open_a_file_any_more_does_not_get_it) {
    NEEDS_ROOT();
    int directory;
    struct names files = enter_files(&directory, "7");
    OK(fchmodat(directory, files.name[1], 0600, 0));
    for (int times = 0; times < 3; times++) {
        OK(lseek(directory, 0, SEEK_SET));
        names_in(directory);
        OK(close(open_as_ever(directory, files.name[0], FILE_FLAGS)));
        OK(seteuid(65534));
        EXPECT_ERRNO(openat(directory, files.name[1], FILE_FLAGS), EACCES);
        OK(seteuid(0));
        OK(close(open_as_ever(directory, files.name[1], FILE_FLAGS)));
        OK(close(open_as_ever(directory, files.name[0], FILE_FLAGS)));
        OK(fchmod(directory, 0700));
        OK(seteuid(65534));
        EXPECT_ERRNO(openat(directory, files.name[2], FILE_FLAGS), EACCES);
        OK(seteuid(0));
        OK(fchmod(directory, 0755));
    }
}

CASE(whoever_watches_a_directory_is_told_of_each_file_that_is_opened) {
    int directory;
    struct names files = enter_files(&directory, "8");
    int watch = OK(inotify_init1(IN_CLOEXEC));
    OK(inotify_add_watch(watch, "d1", IN_OPEN | IN_CLOSE_NOWRITE));
    for (int at = 0; at < files.count; at++) {
        OK(close(open_as_ever(directory, files.name[at], FILE_FLAGS)));
        for (int time = 0; time < 2; time++) {
            char buffer[256] __attribute__((aligned(8)));
            OK(read(watch, buffer, sizeof(struct inotify_event) + 16));
            const struct inotify_event *event = (const struct inotify_event *)buffer;
            EXPECT_EQ(event->mask, time == 0 ? IN_OPEN : IN_CLOSE_NOWRITE);
            EXPECT_STR(event->name, files.name[at]);
        }
    }
}

/* A file in the working directory, in one of these trees, which has been opened so often that it might be opened ahead. */
static const char *enter_again(const char *tree, const char *directory) {
    static const char name[] = "b";
    go_to(tree, directory);
    for (int times = 0; times < 6; times++) {
        int fd = open_as_ever(AT_FDCWD, name, FILE_FLAGS);
        expect_own_content(fd, name);
        OK(close(fd));
    }
    return name;
}

CASE(a_file_that_is_opened_again_and_again_is_read_from_its_beginning_each_time) {
    const char *name = enter_again("9", "d1");
    char path[PATH_MAX], byte;
    EXPECT(getcwd(path, sizeof path - 32) != NULL);
    strcat(strcat(path, "/"), name);
    for (int times = 0; times < 40; times++) {
        int fd = open_as_ever(AT_FDCWD, times % 2 ? path : name, times % 7 ? FILE_FLAGS : FILE_FLAGS & ~O_CLOEXEC);
        EXPECT(read(fd, &byte, 1) == 1 && byte == name[0]);
        if (times % 3 == 0) {
            int other = open_as_ever(AT_FDCWD, name, FILE_FLAGS);
            expect_own_content(other, name);
            EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 1);
            OK(close(other));
        }
        OK(lseek(fd, 0, SEEK_SET));
        expect_own_content(fd, name);
        OK(close(fd));
    }
}

CASE(a_name_that_is_opened_again_and_again_starts_in_the_directory_where_one_is) {
    const char *name = enter_again("10", "d1");
    for (int number = 2; number < 12; number++) {
        char directory[16];
        snprintf(directory, sizeof directory, "../d%d", number);
        OK(chdir(directory));
        if (access(name, F_OK) == 0)
            OK(close(open_as_ever(AT_FDCWD, name, FILE_FLAGS)));
        else
            EXPECT_ERRNO(openat(AT_FDCWD, name, FILE_FLAGS), ENOENT);
    }
    OK(chdir(".."));
    EXPECT_ERRNO(openat(AT_FDCWD, name, FILE_FLAGS), ENOENT);
}

CASE(a_file_that_was_opened_again_and_again_is_changed) {
    for (int way = 0; way < WAYS; way++) {
        char directory[16];
        snprintf(directory, sizeof directory, "d%d", way + 1);
        const char *name = enter_again("11", directory);
        change(AT_FDCWD, name, way);
        expect_changed(AT_FDCWD, name, way);
        if (way == REPLACED || way == WRITTEN)
            for (int times = 0; times < 6; times++)
                OK(close(open_as_ever(AT_FDCWD, name, FILE_FLAGS)));
    }
}

CASE(a_file_that_was_opened_again_and_again_is_changed_by_another_process) {
    order = map_shared(sizeof *order);
    for (int way = 0; way < WAYS; way++) {
        char directory[16];
        snprintf(directory, sizeof directory, "d%d", way + 1);
        const char *name = enter_again("12", directory);
        order->state = NOTHING;
        pid_t pid = IN_CHILD({
            await_value(&order->state, ORDERED);
            change(AT_FDCWD, order->name, order->way);
            __atomic_store_n(&order->state, DONE, __ATOMIC_SEQ_CST);
        });
        for (int times = 0; times < 6; times++)
            OK(close(open_as_ever(AT_FDCWD, name, FILE_FLAGS)));
        have_changed(AT_FDCWD, name, way);
        expect_changed(AT_FDCWD, name, way);
        EXPECT_EXIT(pid, 0);
    }
}

CASE(who_may_not_open_a_file_any_more_that_was_opened_again_and_again_does_not_get_it) {
    NEEDS_ROOT();
    const char *name = enter_again("13", "d1");
    for (int times = 0; times < 3; times++) {
        OK(chmod(name, 0600));
        for (int opens = 0; opens < 6; opens++)
            OK(close(open_as_ever(AT_FDCWD, name, FILE_FLAGS)));
        OK(seteuid(65534));
        EXPECT_ERRNO(openat(AT_FDCWD, name, FILE_FLAGS), EACCES);
        OK(seteuid(0));
        OK(close(open_as_ever(AT_FDCWD, name, FILE_FLAGS)));
    }
    int watch = OK(inotify_init1(IN_CLOEXEC));
    OK(inotify_add_watch(watch, name, IN_OPEN));
    for (int opens = 0; opens < 6; opens++) {
        struct inotify_event event;
        OK(close(open_as_ever(AT_FDCWD, name, FILE_FLAGS)));
        EXPECT_EQ(read(watch, &event, sizeof event), (ssize_t)sizeof event);
        EXPECT_EQ(event.mask, IN_OPEN);
    }
    OK(close(watch));
    for (int opens = 0; opens < 6; opens++)
        OK(close(open_as_ever(AT_FDCWD, name, FILE_FLAGS)));
    struct rlimit limit, before;
    OK(getrlimit(RLIMIT_NOFILE, &before));
    limit = before;
    limit.rlim_cur = next_fd();
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    EXPECT_ERRNO(openat(AT_FDCWD, name, FILE_FLAGS), EMFILE);
    OK(setrlimit(RLIMIT_NOFILE, &before));
}
