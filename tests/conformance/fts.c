/*
 * fts(3): who goes through trees opens, lists, looks at and reads one file after the other, and sees what changes meanwhile.
 *
 * What a runtime guesses of such programs it guesses here: each case does the same again and again before it changes something. The files
 * were there before the runtime was; GIVEN names the directory where they are.
 */
#include "getdents.h"

enum { FILES = 8, OFTEN = 20 };

/* Goes to given files that only this case changes. */
static void enter(const char *where) {
    char path[PATH_MAX];
    EXPECT(getenv("GIVEN") != NULL);
    snprintf(path, sizeof path, "%s/%s", getenv("GIVEN"), where);
    OK(chdir(path));
    for (int times = 0; times < 60; times++)
        EXPECT(access("there is no such file", F_OK) == -1 && umask(022) == 022);
}

static long entries(int fd, void *buffer, size_t size) { return syscall(SYS_getdents64, fd, buffer, size); }

static int open_directory(const char *name) { return OK(open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }

/* How many names are left in a directory, and the inode number of the last that is `name`. */
static int list(int fd, size_t size, const char *name, uint64_t *inode) {
    char buffer[4096] __attribute__((aligned(8)));
    int names = 0;
    for (long count; (count = OK(entries(fd, buffer, size))) > 0;)
        for (long at = 0; at < count; at += ((struct entry *)(buffer + at))->length, names++)
            if (name && strcmp(((struct entry *)(buffer + at))->name, name) == 0)
                *inode = ((struct entry *)(buffer + at))->inode;
    return names;
}

static int count(int fd) { return list(fd, 4096, NULL, NULL); }

/* Opens and lists a directory until that is expected, and opens it once more. */
static int open_once_more(const char *name, int names) {
    for (int times = 0; times < OFTEN; times++) {
        int fd = open_directory(name);
        EXPECT_EQ(count(fd), names);
        EXPECT_EQ(count(fd), 0);
        OK(close(fd));
    }
    return open_directory(name);
}

CASE(a_directory_lists_what_is_there_when_it_is_read) {
    enter("13");
    int fd = open_once_more("directory", 3);
    make_file("directory/new", "");
    EXPECT_EQ(count(fd), 4);
    fd = open_once_more("directory", 4);
    OK(unlink("directory/new"));
    EXPECT_EQ(count(fd), 3);
}

CASE(a_directory_that_is_moved_lists_its_new_parent) {
    enter("14");
    OK(mkdir("elsewhere", 0755));
    int fd = open_once_more("directory", 3);
    OK(rename("directory", "elsewhere/directory"));
    struct stat parent;
    OK(stat("elsewhere", &parent));
    uint64_t inode = 0;
    EXPECT_EQ(list(fd, 4096, "..", &inode), 3);
    EXPECT_EQ(inode, parent.st_ino);
}

CASE(a_directory_that_was_opened_is_read_by_whoever_has_it) {
    enter("15");
    int fd = open_once_more("directory", 3);
    EXPECT_ERRNO(entries(fd, bad_page(), 4096), EFAULT);
    EXPECT_EQ(count(dup(fd)), 3);
    EXPECT_EQ(count(fd), 0);
    OK(lseek(fd, 0, SEEK_SET));
    EXPECT_EQ(count(fd), 3);
    fd = open_once_more("directory", 3);
    EXPECT_EQ(list(fd, 32, NULL, NULL), 3);
    fd = open_once_more("directory", 3);
    pid_t pid = IN_CHILD({ EXPECT_EQ(count(fd), 3); });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(count(fd), 0);
    int other = (fd = open_once_more("directory", 3), open_directory("."));
    EXPECT_EQ(count(fd), 3);
    EXPECT_EQ(count(other), 12);
    char byte[24] __attribute__((aligned(8)));
    fd = open_once_more("directory", 3);
    EXPECT_ERRNO(entries(fd, byte, 8), EINVAL);
    EXPECT_EQ(entries(fd, byte, 24), 24);
    EXPECT_EQ(count(fd), 2);
}

CASE(a_directory_that_was_opened_and_removed_lists_nothing) {
    enter("empty");
    char buffer[64] __attribute__((aligned(8)));
    int fd = open_once_more("1", 2);
    OK(rmdir("1"));
    EXPECT_ERRNO(entries(fd, buffer, sizeof buffer), ENOENT);
    fd = open_once_more("2", 2);
    EXPECT_EQ(count(fd), 2);
    OK(rmdir("2"));
    EXPECT_ERRNO(entries(fd, buffer, sizeof buffer), ENOENT);
    EXPECT_ERRNO(entries(fd, buffer, sizeof buffer), ENOENT);
}

static int open_number(int number, int flags) {
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    return OK(open(name, flags | O_CLOEXEC));
}

static int reads(int fd, size_t size, const char *content) {
    char buffer[64] = {0};
    return OK(read(fd, buffer, size)) == (ssize_t)strlen(content) && strcmp(buffer, content) == 0;
}

/* Opens and reads files until that is expected, and opens one more. */
static int read_before(int number) {
    char content[16];
    for (int times = 0; times < OFTEN; times++) {
        snprintf(content, sizeof content, "number %d\n", times % FILES);
        int fd = open_number(times % FILES, O_RDONLY);
        EXPECT(reads(fd, 60, content));
        EXPECT(reads(fd, 60, ""));
        OK(close(fd));
    }
    return open_number(number, O_RDONLY);
}

CASE(a_file_that_was_opened_is_read_as_it_is_by_then) {
    enter("read/1");
    int fd = read_before(0), writer = open_number(0, O_WRONLY);
    EXPECT_EQ(write(writer, "NUM", 3), 3);
    EXPECT(reads(fd, 60, "NUMber 0\n"));
    EXPECT_EQ(pwrite(writer, "num", 3, 0), 3);
    fd = read_before(1);
    OK(truncate("1", 3));
    EXPECT(reads(fd, 60, "num"));
    writer = open_number(1, O_WRONLY | O_TRUNC);
    EXPECT_EQ(write(writer, "number 1\n", 9), 9);
    EXPECT(reads(fd, 60, "ber 1\n"));
    fd = read_before(2);
    EXPECT(reads(fd, 3, "num"));
    EXPECT_EQ(pwrite(open_number(2, O_WRONLY), "BER", 3, 3), 3);
    EXPECT(reads(fd, 60, "BER 2\n"));
}

CASE(a_file_that_was_opened_shows_by_statx_what_it_is_by_then) {
    enter("read/4");
    for (int number = 0; number < FILES; number++) {
        char name[16];
        snprintf(name, sizeof name, "%d", number);
        int fd = read_before(number);
        for (int times = 0; times < OFTEN; times++) {
            struct statx found, named;
            OK(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &found));
            OK(statx(AT_FDCWD, name, 0, STATX_BASIC_STATS | STATX_BTIME, &named));
            EXPECT(memcmp(&found, &named, sizeof found) == 0);
            EXPECT_EQ(found.stx_mode & 07777, times > OFTEN / 2 ? 0600 : 0644);
            if (times == OFTEN / 2)
                OK(chmod(name, 0600));
        }
        OK(close(fd));
    }
}

CASE(files_that_are_open_at_the_same_time_are_read_each_by_itself) {
    enter("read/2");
    int first = read_before(3), second = open_number(4, O_RDONLY), again = open_number(3, O_RDONLY);
    EXPECT(reads(first, 60, "number 3\n"));
    EXPECT(reads(second, 60, "number 4\n"));
    EXPECT(reads(again, 60, "number 3\n"));
    first = read_before(5);
    second = open_number(6, O_RDONLY);
    EXPECT(reads(second, 7, "number "));
    EXPECT(reads(first, 60, "number 5\n"));
    EXPECT(reads(second, 60, "6\n"));
    first = read_before(5);
    OK(dup2(read_before(6), first));
    EXPECT(reads(first, 60, "number 6\n"));
}

CASE(a_file_that_was_opened_is_read_by_whoever_has_it) {
    enter("read/3");
    int fd = read_before(7);
    EXPECT_ERRNO(read(fd, bad_page(), 60), EFAULT);
    pid_t pid = IN_CHILD({ EXPECT(reads(fd, 4, "numb")); });
    EXPECT_EXIT(pid, 0);
    EXPECT(reads(fd, 60, "er 7\n"));
    OK(lseek(fd, 7, SEEK_SET));
    EXPECT(reads(fd, 60, "7\n"));
    fd = read_before(6);
    OK(fcntl(fd, F_SETFD, 0));
    char descriptor[16];
    snprintf(descriptor, sizeof descriptor, "%d", fd);
    pid = IN_CHILD({ execl(program_path, program_path, "--helper", "reads_number_6", descriptor, NULL); });
    EXPECT_EXIT(pid, 0);
    fd = read_before(6);
    OK(unlink("6"));
    EXPECT(reads(fd, 60, "number 6\n"));
    EXPECT_ERRNO(read(OK(open("5", O_WRONLY)), descriptor, 1), EBADF);
}

HELPER(reads_number_6) {
    for (int times = 0; times < 60; times++)
        EXPECT(umask(022) == 022);
    return argc == 1 && reads(atoi(argv[0]), 60, "number 6\n") ? 0 : 1;
}

/* The names in the working directory, in the order in which they are read. */
static int names_in_order(char names[][16]) {
    char buffer[4096] __attribute__((aligned(8)));
    int fd = open_directory("."), number = 0;
    long size = OK(entries(fd, buffer, sizeof buffer));
    for (long at = 0; at < size; at += ((struct entry *)(buffer + at))->length) {
        const char *name = ((struct entry *)(buffer + at))->name;
        if (name[0] != '.')
            snprintf(names[number++], 16, "%s", name);
    }
    OK(close(fd));
    return number;
}

/* What lstat(2) shows is what the open file shows. */
static void look_at(int directory, const char *prefix, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "%s%s", prefix, name);
    struct stat shown, true_one;
    OK(fstatat(directory, path, &shown, AT_SYMLINK_NOFOLLOW));
    int fd = OK(openat(directory, path, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    OK(fstat(fd, &true_one));
    OK(close(fd));
    EXPECT(memcmp(&shown, &true_one, sizeof shown) == 0);
}

CASE(names_looked_at_one_after_the_other_are_what_they_are) {
    enter("16");
    char names[16][16];
    int number = names_in_order(names), directory = open_directory(".");
    EXPECT_EQ(number, 10);
    for (int times = 0; times < 3; times++)
        for (int at = 0; at < number; at++) {
            look_at(directory, "", names[at]);
            look_at(AT_FDCWD, "../16/directory/../", names[at]);
            look_at(directory, "link/../", names[at]);
        }
}

CASE(names_to_be_looked_at_change_before_they_are) {
    enter("17");
    char names[16][16];
    int number = names_in_order(names), directory = open_directory(".");
    for (int at = 0; at < number; at++)
        look_at(directory, "", names[at]);
    for (int turn = 0; turn < number; turn++) {
        /* Nothing is remembered from before. */
        make_file("new", "");
        OK(unlink("new"));
        for (int at = 0; at < number; at++) {
            if (at == turn && strncmp(names[at], "link", 4) != 0)
                OK(chmod(names[number - 1 - at], 0700 + turn % 8));
            look_at(directory, "", names[at]);
        }
    }
    for (int at = 0; at + 1 < number; at += 2) {
        look_at(directory, "", names[at]);
        OK(renameat2(AT_FDCWD, names[at], AT_FDCWD, names[at + 1], RENAME_EXCHANGE));
        look_at(directory, "", names[at + 1]);
        look_at(directory, "", names[at]);
    }
    struct stat ignored;
    for (int at = 0; at < number; at++) {
        look_at(directory, "", names[at]);
        if (at + 1 < number && unlink(names[at + 1]) == 0) {
            EXPECT_ERRNO(fstatat(directory, names[at + 1], &ignored, AT_SYMLINK_NOFOLLOW), ENOENT);
            make_file(names[at + 1], "again");
        }
    }
}

CASE(names_behind_links_are_not_taken_for_those_beside_them) {
    enter("18");
    OK(symlink("../19/file3", "file3x"));
    OK(mkdir("other", 0755));
    OK(symlink("../../19/file3", "other/file3"));
    make_file("other/file4", "not this one");
    struct stat shown, true_one;
    char names[16][16];
    int number = names_in_order(names);
    for (int times = 0; times < OFTEN; times++) {
        OK(fstatat(AT_FDCWD, "other/file3", &shown, 0));
        OK(fstatat(AT_FDCWD, "other/file4", &shown, 0));
        EXPECT_EQ(shown.st_size, 12);
        for (int at = 0; at < number; at++) {
            OK(fstatat(AT_FDCWD, names[at], &shown, 0));
            int fd = OK(open(names[at], O_PATH | O_CLOEXEC));
            OK(fstat(fd, &true_one));
            OK(close(fd));
            EXPECT(memcmp(&shown, &true_one, sizeof shown) == 0);
        }
    }
}
