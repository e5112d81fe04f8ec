/* getdents64(2), getdents(2) */
#include "getdents.h"
#include <dirent.h>

/* Finds `name` in the directory `fd`, read from its start; its type, or -1. */
static int find(int fd, const char *name) {
    OK(lseek(fd, 0, SEEK_SET));
    char buffer[2048] __attribute__((aligned(8)));
    int type = -1;
    for (long count; (count = OK(syscall(SYS_getdents64, fd, buffer, sizeof buffer))) > 0;)
        for (long at = 0; at < count; at += ((struct entry *)(buffer + at))->length) {
            struct entry *entry = (struct entry *)(buffer + at);
            if (strcmp(entry->name, name) == 0) {
                EXPECT_EQ(type, -1);
                type = entry->type;
            }
        }
    return type;
}

CASE(getdents64_lists_dot_and_dot_dot) {
    int fd = OK(open(".", O_RDONLY));
    EXPECT_EQ(find(fd, "."), DT_DIR);
    EXPECT_EQ(find(fd, ".."), DT_DIR);
}

CASE(getdents64_gives_the_types) {
    make_file("file", "");
    OK(mkdir("directory", 0700));
    OK(symlink("x", "link"));
    OK(mkfifo("fifo", 0600));
    int fd = OK(open(".", O_RDONLY));
    EXPECT_EQ(find(fd, "file"), DT_REG);
    EXPECT_EQ(find(fd, "directory"), DT_DIR);
    EXPECT_EQ(find(fd, "link"), DT_LNK);
    EXPECT_EQ(find(fd, "fifo"), DT_FIFO);
    EXPECT_EQ(find(fd, "missing"), -1);
}

CASE(getdents64_inode_is_that_of_stat) {
    make_file("f", "");
    struct stat status;
    OK(stat("f", &status));
    DIR *directory = opendir(".");
    EXPECT(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strcmp(entry->d_name, "f") == 0)
            EXPECT_EQ(entry->d_ino, status.st_ino);
}

CASE(getdents64_lists_a_thousand_names_once_each) {
    char name[16];
    static bool seen[1000];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        make_file(name, "");
    }
    int fd = OK(open(".", O_RDONLY)), total = 0;
    char buffer[512] __attribute__((aligned(8)));
    for (long count; (count = OK(syscall(SYS_getdents64, fd, buffer, sizeof buffer))) > 0;)
        for (long at = 0; at < count; at += ((struct entry *)(buffer + at))->length) {
            struct entry *entry = (struct entry *)(buffer + at);
            EXPECT_EQ(entry->length % 8, 0);
            if (entry->name[0] == 'n') {
                int number = atoi(entry->name + 1);
                EXPECT(!seen[number]);
                seen[number] = true;
                total++;
            }
        }
    EXPECT_EQ(total, 1000);
}

CASE(getdents64_survives_removal_while_reading) {
    char name[16];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "n%d", i);
        make_file(name, "");
    }
    DIR *directory = opendir(".");
    EXPECT(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] == 'n')
            OK(unlink(entry->d_name));
    closedir(directory);
    OK(chdir(".."));
    EXPECT_EQ(find(OK(open(".", O_RDONLY)), "n0"), -1);
}

CASE(getdents64_continues_at_a_saved_position) {
    for (char name[] = "a"; name[0] <= 'j'; name[0]++)
        make_file(name, "");
    DIR *directory = opendir(".");
    EXPECT(directory != NULL);
    for (int i = 0; i < 5; i++)
        EXPECT(readdir(directory) != NULL);
    long position = telldir(directory);
    char next[256];
    snprintf(next, sizeof next, "%s", readdir(directory)->d_name);
    while (readdir(directory))
        ;
    seekdir(directory, position);
    EXPECT_STR(readdir(directory)->d_name, next);
}

CASE(getdents64_with_too_small_a_buffer_returns_einval) {
    int fd = OK(open(".", O_RDONLY));
    char buffer[8];
    EXPECT_ERRNO(syscall(SYS_getdents64, fd, buffer, sizeof buffer), EINVAL);
}

CASE(getdents64_of_other_files_fails) {
    make_file("f", "");
    char buffer[512];
    EXPECT_ERRNO(syscall(SYS_getdents64, OK(open("f", O_RDONLY)), buffer, sizeof buffer), ENOTDIR);
    EXPECT_ERRNO(syscall(SYS_getdents64, -1, buffer, sizeof buffer), EBADF);
    EXPECT_ERRNO(syscall(SYS_getdents64, OK(open(".", O_PATH)), buffer, sizeof buffer), EBADF);
    EXPECT_ERRNO(syscall(SYS_getdents64, OK(open(".", O_RDONLY)), bad_page(), 512), EFAULT);
}

CASE(getdents64_of_a_removed_directory_returns_enoent) {
    OK(mkdir("d", 0700));
    int fd = OK(open("d", O_RDONLY));
    OK(rmdir("d"));
    char buffer[512];
    EXPECT_ERRNO(syscall(SYS_getdents64, fd, buffer, sizeof buffer), ENOENT);
}

/* A directory that was there before the runtime was, and has these names: file, file0 to file6, directory, link, and dots. */
static int open_given(int number) {
    char path[PATH_MAX];
    EXPECT(getenv("GIVEN") != NULL);
    snprintf(path, sizeof path, "%s/%d", getenv("GIVEN"), number);
    OK(chdir(path));
    return OK(open(".", O_RDONLY | O_DIRECTORY));
}

/* How many names a directory still has, asked three times at its end. */
static int count_rest(int fd) {
    int names = 0, ends = 0;
    char buffer[512] __attribute__((aligned(8)));
    while (ends < 3) {
        long count = OK(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
        ends += count == 0;
        for (long at = 0; at < count; at += ((struct entry *)(buffer + at))->length)
            names++;
    }
    return names;
}

CASE(getdents64_at_the_end_finds_nothing_until_the_position_is_moved) {
    enum { NAMES = 12 };
    int fd = open_given(9);
    for (int times = 0; times < 20; times++) {
        EXPECT_EQ(count_rest(fd), times == 0 ? NAMES : 0);
        OK(lseek(fd, 0, SEEK_SET));
        EXPECT_EQ(count_rest(fd), NAMES);
    }
    int other = OK(dup(fd));
    OK(lseek(other, 0, SEEK_SET));
    EXPECT_EQ(count_rest(fd), NAMES);
    EXPECT_EQ(count_rest(other), 0);
    pid_t pid = IN_CHILD({ OK(lseek(fd, 0, SEEK_SET)); });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(count_rest(fd), NAMES);
    make_file("new", "");
    EXPECT_EQ(count_rest(fd), 0);
    OK(lseek(fd, 0, SEEK_SET));
    EXPECT_EQ(count_rest(fd), NAMES + 1);
    EXPECT_ERRNO(syscall(SYS_getdents64, 1000, NULL, 0), EBADF);
}

CASE(getdents64_at_the_end_of_a_given_directory_that_is_removed_returns_enoent) {
    close(open_given(10));
    for (int times = 0; times < 60; times++)
        EXPECT(access("..", F_OK) == 0 && umask(022) == 022);
    OK(unlink("directory/file"));
    OK(rmdir("directory"));
    int fd = open_given(11);
    int inner = OK(open("directory", O_RDONLY | O_DIRECTORY));
    EXPECT_EQ(count_rest(fd), 12);
    EXPECT_EQ(count_rest(inner), 3);
    OK(unlink("directory/file"));
    EXPECT_EQ(count_rest(inner), 0);
    OK(rmdir("directory"));
    for (int times = 0; times < 3; times++) {
        char buffer[512];
        EXPECT_ERRNO(syscall(SYS_getdents64, inner, buffer, sizeof buffer), ENOENT);
    }
}

CASE(getdents_puts_the_type_behind_the_name) {
    OK(mkdir("directory", 0700));
    int fd = OK(open("directory", O_RDONLY));
    char buffer[512] __attribute__((aligned(8)));
    long count = OK(syscall(SYS_getdents, fd, buffer, sizeof buffer));
    unsigned short length = *(unsigned short *)(buffer + 16);
    EXPECT(count >= length && length > 18);
    EXPECT(buffer[18] == '.');
    EXPECT_EQ(buffer[length - 1], DT_DIR);
}
