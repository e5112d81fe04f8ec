/* stat(2), fstat(2), lstat(2), newfstatat(2) */
#include "case.h"
#include "steps.h"
#include <sys/sysmacros.h>

CASE(stat_describes_a_regular_file) {
    make_file("f", "hello");
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mode, S_IFREG | 0644);
    EXPECT_EQ(status.st_size, 5);
    EXPECT_EQ(status.st_nlink, 1);
    EXPECT_EQ(status.st_uid, geteuid());
    EXPECT_EQ(status.st_gid, getegid());
    EXPECT(status.st_ino != 0);
    EXPECT(status.st_blksize >= 512);
    EXPECT_EQ(status.st_rdev, 0);
}

CASE(stat_of_a_new_file_has_the_present_time) {
    int64_t before = now_ns(CLOCK_REALTIME);
    make_file("f", "");
    struct stat status;
    OK(stat("f", &status));
    int64_t time = status.st_mtim.tv_sec * 1000000000LL + status.st_mtim.tv_nsec;
    /* File times come from a clock that moves with the timer tick. */
    EXPECT(time > before - 50000000 && time <= now_ns(CLOCK_REALTIME));
    EXPECT_EQ(status.st_ctim.tv_sec, status.st_mtim.tv_sec);
}

CASE(stat_of_a_directory_counts_its_subdirectories) {
    OK(mkdir("d", 0755));
    struct stat status;
    OK(stat("d", &status));
    EXPECT_EQ(status.st_mode, S_IFDIR | 0755);
    EXPECT_EQ(status.st_nlink, 2);
    OK(mkdir("d/one", 0755));
    OK(mkdir("d/two", 0755));
    make_file("d/f", "");
    OK(stat("d", &status));
    EXPECT_EQ(status.st_nlink, 4);
}

CASE(stat_follows_links_and_lstat_does_not) {
    make_file("f", "hello");
    OK(symlink("f", "link"));
    struct stat status;
    OK(stat("link", &status));
    EXPECT(S_ISREG(status.st_mode));
    OK(lstat("link", &status));
    EXPECT(S_ISLNK(status.st_mode));
    EXPECT_EQ(status.st_size, 1);
    EXPECT_EQ(status.st_mode & 0777, 0777);
}

CASE(lstat_of_a_link_with_a_slash_behind_follows_it) {
    OK(mkdir("d", 0700));
    OK(symlink("d", "link"));
    struct stat status;
    OK(lstat("link/", &status));
    EXPECT(S_ISDIR(status.st_mode));
}

CASE(stat_of_missing_names_fails) {
    struct stat status;
    make_file("f", "");
    OK(symlink("nowhere", "dangling"));
    EXPECT_ERRNO(stat("missing", &status), ENOENT);
    EXPECT_ERRNO(stat("", &status), ENOENT);
    EXPECT_ERRNO(stat("dangling", &status), ENOENT);
    EXPECT_ERRNO(stat("f/x", &status), ENOTDIR);
    EXPECT_ERRNO(stat("f/", &status), ENOTDIR);
    OK(lstat("dangling", &status));
}

CASE(stat_same_inode_for_hard_links) {
    make_file("f", "");
    OK(link("f", "g"));
    struct stat one, two;
    OK(stat("f", &one));
    OK(stat("g", &two));
    EXPECT_EQ(one.st_ino, two.st_ino);
    EXPECT_EQ(one.st_dev, two.st_dev);
    EXPECT_EQ(one.st_nlink, 2);
}

CASE(fstat_of_an_unlinked_file_has_no_links) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    OK(unlink("f"));
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_nlink, 0);
    EXPECT_EQ(status.st_size, 5);
}

CASE(fstat_of_pipes_and_sockets_says_their_type) {
    PIPE(ends);
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    struct stat status;
    OK(fstat(ends[0], &status));
    EXPECT(S_ISFIFO(status.st_mode));
    OK(fstat(pair[0], &status));
    EXPECT(S_ISSOCK(status.st_mode));
}

CASE(stat_of_dev_null_is_character_device_1_3) {
    struct stat status;
    OK(stat("/dev/null", &status));
    EXPECT(S_ISCHR(status.st_mode));
    EXPECT_EQ(status.st_rdev, makedev(1, 3));
}

CASE(fstat_of_a_bad_descriptor_returns_ebadf) {
    struct stat status;
    EXPECT_ERRNO(syscall(SYS_fstat, -1, &status), EBADF);
    EXPECT_ERRNO(syscall(SYS_fstat, next_fd(), &status), EBADF);
}

CASE(stat_to_a_bad_pointer_returns_efault) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_ERRNO(syscall(SYS_stat, "f", bad_page()), EFAULT);
    EXPECT_ERRNO(syscall(SYS_lstat, "f", bad_page()), EFAULT);
    EXPECT_ERRNO(syscall(SYS_fstat, fd, bad_page()), EFAULT);
    EXPECT_ERRNO(syscall(SYS_newfstatat, AT_FDCWD, "f", bad_page(), 0), EFAULT);
}

CASE(fstatat_with_empty_path_describes_the_descriptor) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    struct stat status;
    OK(fstatat(fd, "", &status, AT_EMPTY_PATH));
    EXPECT_EQ(status.st_size, 5);
    EXPECT_ERRNO(fstatat(fd, "", &status, 0), ENOENT);
    OK(fstatat(AT_FDCWD, "", &status, AT_EMPTY_PATH));
    EXPECT(S_ISDIR(status.st_mode));
}

CASE(fstatat_is_relative_to_the_directory) {
    OK(mkdir("d", 0700));
    make_file("d/f", "abc");
    int d = OK(open("d", O_RDONLY));
    struct stat status;
    OK(fstatat(d, "f", &status, 0));
    EXPECT_EQ(status.st_size, 3);
    EXPECT_ERRNO(fstatat(-1, "f", &status, 0), EBADF);
    EXPECT_ERRNO(fstatat(OK(open("d/f", O_RDONLY)), "f", &status, 0), ENOTDIR);
    EXPECT_ERRNO(fstatat(d, "f", &status, 0x40000000), EINVAL);
}

CASE(stat_blocks_count_512_byte_units) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    char *data = map(1 << 16);
    memset(data, 'x', 1 << 16);
    EXPECT_EQ(write(fd, data, 1 << 16), 1 << 16);
    OK(fsync(fd));
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT(status.st_blocks >= 128 && status.st_blocks < 256);
}

CASE(stat_of_two_file_systems_has_two_devices) {
    struct stat here, proc;
    OK(stat(".", &here));
    OK(stat("/proc", &proc));
    EXPECT(here.st_dev != proc.st_dev);
}

/* Calls after which a site, and a program, is as fast as it gets. */
#define WARM 100

static void expect_same(const struct stat *one, const struct stat *two) {
    EXPECT_EQ(one->st_mode, two->st_mode);
    EXPECT_EQ(one->st_nlink, two->st_nlink);
    EXPECT_EQ(one->st_size, two->st_size);
    EXPECT_EQ(one->st_blocks, two->st_blocks);
    EXPECT(memcmp(&one->st_atim, &two->st_atim, sizeof one->st_atim) == 0);
    EXPECT(memcmp(&one->st_mtim, &two->st_mtim, sizeof one->st_mtim) == 0);
    EXPECT(memcmp(&one->st_ctim, &two->st_ctim, sizeof one->st_ctim) == 0);
}

CASE(fstat_again_and_again_shows_what_another_process_does_to_the_file) {
    struct stat *shown = map_shared(PAGE_SIZE), found;
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    for (int step = 0; step <= 9; step++) {
        for (int round = 0; round < WARM; round++)
            OK(fstat(fd, &found));
        pid_t pid = IN_CHILD({
            do_step(step);
            OK(fstat(fd, shown));
        });
        EXPECT_EXIT(pid, 0);
        for (int round = 0; round < WARM; round++) {
            OK(fstat(fd, &found));
            expect_same(&found, shown);
        }
    }
    EXPECT_EQ(found.st_nlink, 0);
}

/* What a name means: the type and the size of the file, or why there is none. */
static long meaning(const char *name, bool follow) {
    struct stat status;
    if (fstatat(AT_FDCWD, name, &status, follow ? 0 : AT_SYMLINK_NOFOLLOW) == -1)
        return -errno;
    return (status.st_mode & S_IFMT) | (S_ISREG(status.st_mode) ? status.st_size : 0);
}

CASE(stat_again_and_again_shows_names_that_come_and_go) {
    OK(mkdir("d", 0700));
    OK(symlink("d/f", "link"));
    OK(symlink("d", "e"));
    for (int round = 0; round < WARM; round++) {
        EXPECT_EQ(meaning("d/f", true), -ENOENT);
        EXPECT_EQ(meaning("e/f", true), -ENOENT);
        EXPECT_EQ(meaning("link", true), -ENOENT);
        EXPECT_EQ(meaning("link", false), S_IFLNK);
        make_file("d/f", "abc");
        EXPECT_EQ(meaning("d/f", true), S_IFREG | 3);
        EXPECT_EQ(meaning("e/f", true), S_IFREG | 3);
        EXPECT_EQ(meaning("link", true), S_IFREG | 3);
        EXPECT_EQ(meaning("d/f/x", true), -ENOTDIR);
        OK(rename("d/f", "d/g"));
        EXPECT_EQ(meaning("d/f", true), -ENOENT);
        EXPECT_EQ(meaning("d/f/x", true), -ENOENT);
        EXPECT_EQ(meaning("e/../d/g", true), S_IFREG | 3);
        OK(unlink("d/g"));
        EXPECT_EQ(meaning("e/../d/g", true), -ENOENT);
        OK(mkdir("d/f", 0700));
        EXPECT_EQ(meaning("link", true), S_IFDIR);
        EXPECT_EQ(meaning("d/f/x", true), -ENOENT);
        OK(rename("d", "c"));
        EXPECT_EQ(meaning("d/f", true), -ENOENT);
        EXPECT_EQ(meaning("e", true), -ENOENT);
        EXPECT_EQ(meaning("link", true), -ENOENT);
        OK(rename("c", "d"));
        OK(rmdir("d/f"));
        OK(unlink("e"));
        EXPECT_EQ(meaning("e/f", true), -ENOENT);
        EXPECT_EQ(meaning("e", false), -ENOENT);
        OK(symlink("d", "e"));
    }
}

CASE(stat_again_and_again_shows_names_that_another_process_makes) {
    int64_t *turn = map_shared(PAGE_SIZE);
    *turn = -1;
    pid_t pid = IN_CHILD({
        for (int round = 0; round < WARM; round++) {
            while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) != 2 * round)
                sched_yield();
            make_file("f", "x");
            OK(rename("f", round % 2 ? "a" : "b"));
            OK(unlink(round % 2 ? "a" : "b"));
            make_file(round % 2 ? "a" : "b", "xy");
            __atomic_store_n(turn, 2 * round + 1, __ATOMIC_SEQ_CST);
        }
    });
    for (int round = 0; round < WARM; round++) {
        const char *name = round % 2 ? "a" : "b";
        EXPECT_EQ(meaning(name, true), -ENOENT);
        EXPECT_EQ(meaning("f", true), -ENOENT);
        __atomic_store_n(turn, 2 * round, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) != 2 * round + 1)
            sched_yield();
        EXPECT_EQ(meaning(name, true), S_IFREG | 2);
        EXPECT_EQ(meaning("f", true), -ENOENT);
        OK(unlink(name));
    }
    EXPECT_EXIT(pid, 0);
}

CASE(stat_again_and_again_shows_what_another_process_does_to_the_file) {
    struct stat *shown = map_shared(PAGE_SIZE), found;
    make_file("f", "hello");
    for (int step = 0; step <= 9; step++) {
        for (int round = 0; round < WARM; round++)
            OK(stat(step > 3 ? "h" : "f", &found));
        const char *name = step >= 3 ? "h" : "f";
        pid_t pid = IN_CHILD({
            do_step(step);
            OK(stat(name, shown));
        });
        EXPECT_EXIT(pid, 0);
        for (int round = 0; round < WARM; round++) {
            OK(round % 2 ? stat(name, &found) : lstat(name, &found));
            expect_same(&found, shown);
        }
    }
}

CASE(stat_again_and_again_shows_what_comes_and_goes_in_a_directory) {
    static const struct timespec long_ago[] = {{1000, 1}, {2000, 2}};
    struct stat found;
    OK(mkdir("d", 0700));
    for (int round = 0; round < WARM; round++) {
        OK(utimensat(AT_FDCWD, "d", long_ago, 0));
        OK(stat("d", &found));
        EXPECT_EQ(found.st_mtim.tv_sec, 2000);
        EXPECT_EQ(found.st_nlink, 2);
        OK(round % 2 ? mkdir("d/x", 0700) : symlink("d", "d/x"));
        OK(stat("d", &found));
        EXPECT(found.st_mtim.tv_sec > 2000);
        EXPECT_EQ(found.st_nlink, round % 2 ? 3 : 2);
        OK(round % 2 ? rename("d/x", "y") : unlink("d/x"));
        OK(stat("d", &found));
        EXPECT_EQ(found.st_nlink, 2);
        if (round % 2)
            OK(rmdir("y"));
    }
}

/* What a name and a descriptor show of a file of so many bytes, twice: what is found out the first time may be known the second. */
static void expect_size(const char *name, int fd, off_t size) {
    for (int round = 0; round < 2; round++) {
        struct stat by_name, by_descriptor;
        OK(stat(name, &by_name));
        OK(fstat(fd, &by_descriptor));
        expect_same(&by_name, &by_descriptor);
        EXPECT_EQ(by_name.st_size, size);
    }
}

CASE(stat_again_and_again_shows_what_is_written_through_a_descriptor) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    char byte;
    for (int round = 0; round < WARM; round++) {
        EXPECT_EQ(pwrite(fd, "x", 1, round), 1);
        expect_size("f", fd, round + 1);
        OK(fcntl(fd, F_SETLK, &lock));
        expect_size("f", fd, round + 1);
        EXPECT_EQ(pread(fd, &byte, 1, round), 1);
        OK(fcntl(fd, F_SETLK, &unlock));
        expect_size("f", fd, round + 1);
        OK(fchmod(fd, round % 2 ? 0600 : 0640));
        EXPECT_EQ(pwrite(fd, "yz", 2, round), 2);
        OK(rename("f", "g"));
        expect_size("g", fd, round + 2);
        OK(rename("g", "f"));
        OK(ftruncate(fd, round + 1));
        expect_size("f", fd, round + 1);
    }
}

CASE(fstat_by_who_writes_a_file_shows_what_another_process_does_to_it) {
    struct stat *shown = map_shared(PAGE_SIZE), found;
    int64_t *turn = map_shared(PAGE_SIZE);
    *turn = -1;
    pid_t pid = IN_CHILD({
        for (int step = 0; step <= 8; step++) {
            while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) != 2 * step)
                sched_yield();
            do_step(step);
            OK(stat(step < 3 ? "f" : "h", shown));
            __atomic_store_n(turn, 2 * step + 1, __ATOMIC_SEQ_CST);
        }
    });
    int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
    for (int step = 0; step <= 8; step++) {
        for (int round = 0; round < WARM; round++) {
            EXPECT_EQ(pwrite(fd, "hello", 5, 0), 5);
            OK(fstat(fd, &found));
            OK(stat(step > 3 ? "h" : "f", &found));
        }
        __atomic_store_n(turn, 2 * step, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) != 2 * step + 1)
            sched_yield();
        for (int round = 0; round < 2; round++) {
            OK(fstat(fd, &found));
            expect_same(&found, shown);
            OK(stat(step < 3 ? "f" : "h", &found));
            expect_same(&found, shown);
        }
    }
    EXPECT_EXIT(pid, 0);
}

CASE(stat_again_and_again_shows_what_another_process_writes_to_a_file_that_was_closed) {
    int64_t *turn = map_shared(PAGE_SIZE);
    struct stat found;
    pid_t pid = IN_CHILD({
        for (int round = 0; round < WARM; round++) {
            while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) != 2 * round + 1)
                sched_yield();
            int fd = OK(open("f", O_WRONLY | O_APPEND));
            EXPECT_EQ(write(fd, "more", 4), 4);
            OK(close(fd));
            __atomic_store_n(turn, 2 * round + 2, __ATOMIC_SEQ_CST);
        }
    });
    for (int round = 0; round < WARM; round++) {
        int fd = OK(open("f", O_RDWR | O_CREAT | O_TRUNC, 0600));
        EXPECT_EQ(pwrite(fd, "hello", 5, 0), 5);
        for (int again = 0; again < 3; again++)
            OK(stat("f", &found));
        EXPECT_EQ(found.st_size, 5);
        OK(close(fd));
        OK(stat("f", &found));
        EXPECT_EQ(found.st_size, 5);
        __atomic_store_n(turn, 2 * round + 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(turn, __ATOMIC_SEQ_CST) != 2 * round + 2)
            if (round % 2)
                sched_yield();
        OK(stat("f", &found));
        EXPECT_EQ(found.st_size, 9);
    }
    EXPECT_EXIT(pid, 0);
}
