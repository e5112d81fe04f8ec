/* unlink(2), unlinkat(2) */
#include "case.h"

CASE(unlink_removes_the_name) {
    make_file("f", "");
    OK(unlink("f"));
    EXPECT_ERRNO(unlink("f"), ENOENT);
}

CASE(unlink_keeps_an_open_file_alive) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    OK(unlink("f"));
    char buffer[8];
    EXPECT_EQ(read(fd, buffer, 8), 5);
    EXPECT_EQ(pwrite(fd, "more", 4, 5), 4);
    make_file("f", "new");
    EXPECT_EQ(pread(fd, buffer, 8, 0), 8);
}

CASE(unlink_removes_the_link_and_not_its_target) {
    make_file("f", "");
    OK(symlink("f", "link"));
    OK(unlink("link"));
    OK(access("f", F_OK));
}

CASE(unlink_of_one_hard_link_keeps_the_other) {
    make_file("f", "hello");
    OK(link("f", "g"));
    OK(unlink("f"));
    EXPECT_STR(file_content("g"), "hello");
    struct stat status;
    OK(stat("g", &status));
    EXPECT_EQ(status.st_nlink, 1);
}

CASE(unlink_of_a_directory_returns_eisdir) {
    OK(mkdir("d", 0700));
    EXPECT_ERRNO(unlink("d"), EISDIR);
    EXPECT_ERRNO(unlink("."), EISDIR);
}

CASE(unlink_of_impossible_names_fails) {
    make_file("f", "");
    EXPECT_ERRNO(unlink(""), ENOENT);
    EXPECT_ERRNO(unlink("f/"), ENOTDIR);
    EXPECT_ERRNO(unlink("f/x"), ENOTDIR);
    EXPECT_ERRNO(unlink("missing/x"), ENOENT);
    EXPECT_ERRNO(unlink(bad_page()), EFAULT);
}

CASE(unlink_in_a_sticky_directory_is_for_the_owner) {
    NEEDS_ROOT();
    OK(mkdir("d", 0700));
    OK(chmod("d", 01777));
    OK(chmod(".", 0755));
    make_file("d/f", "");
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(unlink("d/f"), EPERM);
        make_file("d/own", "");
        OK(unlink("d/own"));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(unlink_needs_permission_on_the_directory) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chmod("f", 0666));
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(unlink("f"), EACCES);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(unlinkat_with_removedir_removes_directories_only) {
    make_file("f", "");
    OK(mkdir("d", 0700));
    OK(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
    EXPECT_ERRNO(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR), ENOTDIR);
    OK(unlinkat(AT_FDCWD, "f", 0));
    EXPECT_ERRNO(unlinkat(AT_FDCWD, "f", 0x4000), EINVAL);
    EXPECT_ERRNO(unlinkat(-1, "f", 0), EBADF);
}
