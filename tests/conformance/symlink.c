/* symlink(2), symlinkat(2), readlink(2), readlinkat(2) */
#include "case.h"

CASE(symlink_stores_any_text) {
    OK(symlink("no such//place/..", "link"));
    char target[64];
    EXPECT_EQ(readlink("link", target, sizeof target), 17);
    EXPECT(memcmp(target, "no such//place/..", 17) == 0);
}

CASE(symlink_of_an_existing_name_returns_eexist) {
    OK(symlink("x", "link"));
    EXPECT_ERRNO(symlink("y", "link"), EEXIST);
    EXPECT_ERRNO(symlink("y", "."), EEXIST);
}

CASE(symlink_of_impossible_names_fails) {
    make_file("f", "");
    EXPECT_ERRNO(symlink("", "link"), ENOENT);
    EXPECT_ERRNO(symlink("x", ""), ENOENT);
    EXPECT_ERRNO(symlink("x", "missing/link"), ENOENT);
    EXPECT_ERRNO(symlink("x", "f/link"), ENOTDIR);
    EXPECT_ERRNO(symlink(bad_page(), "link"), EFAULT);
    static char long_target[4097];
    memset(long_target, 'x', 4096);
    EXPECT_ERRNO(symlink(long_target, "link"), ENAMETOOLONG);
}

CASE(symlink_is_followed_in_the_middle_relative_to_its_directory) {
    OK(mkdir("one", 0700));
    OK(mkdir("two", 0700));
    make_file("two/f", "found");
    OK(symlink("../two", "one/link"));
    EXPECT_STR(file_content("one/link/f"), "found");
    EXPECT_STR(file_content("one/link/../two/f"), "found");
}

CASE(symlinkat_and_readlinkat_are_relative_to_the_directory) {
    OK(mkdir("d", 0700));
    int d = OK(open("d", O_RDONLY));
    OK(symlinkat("target", d, "link"));
    char target[16];
    EXPECT_EQ(readlinkat(d, "link", target, sizeof target), 6);
    EXPECT_ERRNO(symlinkat("target", -1, "link"), EBADF);
    EXPECT_ERRNO(readlinkat(-1, "link", target, sizeof target), EBADF);
}

CASE(readlink_truncates_without_a_zero_byte) {
    OK(symlink("0123456789", "link"));
    char target[8];
    memset(target, '!', sizeof target);
    EXPECT_EQ(readlink("link", target, 4), 4);
    EXPECT(memcmp(target, "0123!!!!", 8) == 0);
}

CASE(readlink_of_other_things_fails) {
    make_file("f", "");
    char target[8];
    EXPECT_ERRNO(readlink("f", target, 8), EINVAL);
    EXPECT_ERRNO(readlink(".", target, 8), EINVAL);
    EXPECT_ERRNO(readlink("missing", target, 8), ENOENT);
    OK(symlink("x", "link"));
    EXPECT_ERRNO(syscall(SYS_readlink, "link", target, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_readlink, "link", target, -1), EINVAL);
    EXPECT_ERRNO(readlink("link", bad_page(), 8), EFAULT);
}

CASE(readlink_of_proc_self_is_the_pid) {
    char target[16] = {0};
    OK(readlink("/proc/self", target, 15));
    EXPECT_EQ(atoi(target), getpid());
}

/* What reading the name as a link comes to: the length of the link's text, or an error. */
static long link_length(int directory, const char *name) {
    char target[16];
    long length = readlinkat(directory, name, target, sizeof target);
    return length == -1 ? -errno : length;
}

CASE(readlink_again_and_again_shows_what_becomes_a_link_and_what_no_more) {
    OK(mkdir("d", 0700));
    int d = OK(open("d", O_RDONLY | O_DIRECTORY));
    char target[16];
    for (int round = 0; round < 100; round++) {
        EXPECT_EQ(link_length(AT_FDCWD, "d/f"), -ENOENT);
        EXPECT_EQ(link_length(AT_FDCWD, "d/f"), -ENOENT);
        EXPECT_EQ(link_length(d, "f"), -ENOENT);
        EXPECT_EQ(link_length(AT_FDCWD, "d"), -EINVAL);
        EXPECT_EQ(link_length(AT_FDCWD, "d/"), -EINVAL);
        make_file("d/f", "abc");
        EXPECT_EQ(link_length(AT_FDCWD, "d/f"), -EINVAL);
        EXPECT_EQ(link_length(AT_FDCWD, "d/f"), -EINVAL);
        EXPECT_EQ(link_length(d, "f"), -EINVAL);
        EXPECT_EQ(link_length(AT_FDCWD, "d/f/"), -ENOTDIR);
        EXPECT_ERRNO(syscall(SYS_readlink, "d/f", target, 0), EINVAL);
        EXPECT_ERRNO(syscall(SYS_readlink, "d/g", target, 0), EINVAL);
        EXPECT_ERRNO(readlink("d/f", bad_page(), 8), EINVAL);
        OK(unlink("d/f"));
        OK(symlink("..", "d/f"));
        EXPECT_EQ(link_length(AT_FDCWD, "d/f"), 2);
        EXPECT_EQ(link_length(AT_FDCWD, "d/f"), 2);
        EXPECT_EQ(link_length(d, "f"), 2);
        EXPECT_EQ(link_length(AT_FDCWD, "d/f/"), -EINVAL);
        OK(rename("d/f", "d/g"));
        EXPECT_EQ(link_length(d, "f"), -ENOENT);
        OK(unlink("d/g"));
    }
}

CASE(readlink_of_a_file_that_is_being_written_fails_as_ever) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    struct stat status;
    for (int round = 0; round < 100; round++) {
        EXPECT_EQ(write(fd, "x", 1), 1);
        OK(lstat("f", &status));
        EXPECT_EQ(status.st_size, round + 1);
        EXPECT_EQ(link_length(AT_FDCWD, "f"), -EINVAL);
        EXPECT_EQ(link_length(AT_FDCWD, "f"), -EINVAL);
    }
}
