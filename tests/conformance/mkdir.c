/* mkdir(2), mkdirat(2), rmdir(2) */
#include "case.h"

CASE(mkdir_applies_the_umask) {
    umask(022);
    OK(mkdir("d", 0777));
    struct stat status;
    OK(stat("d", &status));
    EXPECT_EQ(status.st_mode, S_IFDIR | 0755);
}

CASE(mkdir_accepts_a_slash_behind_the_name) { OK(mkdir("d/", 0700)); }

CASE(mkdir_of_an_existing_name_returns_eexist) {
    make_file("f", "");
    OK(mkdir("d", 0700));
    OK(symlink("nowhere", "link"));
    EXPECT_ERRNO(mkdir("f", 0700), EEXIST);
    EXPECT_ERRNO(mkdir("d", 0700), EEXIST);
    EXPECT_ERRNO(mkdir("link", 0700), EEXIST);
    EXPECT_ERRNO(mkdir(".", 0700), EEXIST);
    EXPECT_ERRNO(mkdir("d/..", 0700), EEXIST);
    EXPECT_ERRNO(mkdir("/", 0700), EEXIST);
}

CASE(mkdir_below_something_missing_fails) {
    make_file("f", "");
    EXPECT_ERRNO(mkdir("missing/d", 0700), ENOENT);
    EXPECT_ERRNO(mkdir("", 0700), ENOENT);
    EXPECT_ERRNO(mkdir("f/d", 0700), ENOTDIR);
}

CASE(mkdir_inherits_the_group_of_a_setgid_directory) {
    NEEDS_ROOT();
    OK(mkdir("d", 0755));
    OK(chown("d", -1, 77));
    OK(chmod("d", 02755));
    OK(mkdir("d/sub", 0755));
    make_file("d/f", "");
    struct stat status;
    OK(stat("d/sub", &status));
    EXPECT_EQ(status.st_gid, 77);
    EXPECT_EQ(status.st_mode & S_ISGID, S_ISGID);
    OK(stat("d/f", &status));
    EXPECT_EQ(status.st_gid, 77);
    EXPECT_EQ(status.st_mode & S_ISGID, 0);
}

CASE(mkdirat_is_relative_to_the_directory) {
    OK(mkdir("d", 0700));
    int d = OK(open("d", O_RDONLY));
    OK(mkdirat(d, "sub", 0700));
    EXPECT_ERRNO(mkdirat(-1, "sub", 0700), EBADF);
    struct stat status;
    OK(stat("d/sub", &status));
}

CASE(rmdir_removes_an_empty_directory) {
    OK(mkdir("d", 0700));
    OK(rmdir("d"));
    EXPECT_ERRNO(access("d", F_OK), ENOENT);
}

CASE(rmdir_of_a_directory_with_entries_returns_enotempty) {
    OK(mkdir("d", 0700));
    make_file("d/f", "");
    EXPECT_ERRNO(rmdir("d"), ENOTEMPTY);
    OK(unlink("d/f"));
    OK(rmdir("d"));
}

CASE(rmdir_of_other_things_fails) {
    make_file("f", "");
    OK(mkdir("d", 0700));
    OK(symlink("d", "link"));
    EXPECT_ERRNO(rmdir("f"), ENOTDIR);
    EXPECT_ERRNO(rmdir("link"), ENOTDIR);
    EXPECT_ERRNO(rmdir("missing"), ENOENT);
    EXPECT_ERRNO(rmdir("d/."), EINVAL);
    EXPECT_ERRNO(rmdir("d/.."), ENOTEMPTY);
    EXPECT_ERRNO(rmdir("/"), EBUSY);
}

CASE(rmdir_of_an_open_directory_keeps_the_descriptor) {
    OK(mkdir("d", 0700));
    int d = OK(open("d", O_RDONLY));
    OK(rmdir("d"));
    struct stat status;
    OK(fstat(d, &status));
    EXPECT_EQ(status.st_nlink, 0);
    EXPECT_ERRNO(mkdirat(d, "x", 0700), ENOENT);
}
