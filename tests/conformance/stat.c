/* stat(2), fstat(2), lstat(2), newfstatat(2) */
#include "case.h"
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
