/* link(2), linkat(2) */
#include "case.h"

CASE(link_makes_another_name_of_the_same_file) {
    make_file("f", "hello");
    OK(link("f", "g"));
    int fd = OK(open("g", O_WRONLY));
    EXPECT_EQ(write(fd, "J", 1), 1);
    EXPECT_STR(file_content("f"), "Jello");
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_nlink, 2);
}

CASE(link_of_impossible_names_fails) {
    make_file("f", "");
    make_file("g", "");
    OK(mkdir("d", 0700));
    EXPECT_ERRNO(link("missing", "x"), ENOENT);
    EXPECT_ERRNO(link("f", "g"), EEXIST);
    EXPECT_ERRNO(link("d", "e"), EPERM);
    EXPECT_ERRNO(link("f", "missing/x"), ENOENT);
    EXPECT_ERRNO(link("f", "g/x"), ENOTDIR);
    EXPECT_ERRNO(link("/proc/version", "x"), EXDEV);
    EXPECT_ERRNO(link(bad_page(), "x"), EFAULT);
    EXPECT_ERRNO(link("f", bad_page()), EFAULT);
}

CASE(link_does_not_follow_a_link_unless_asked_to) {
    make_file("f", "");
    OK(symlink("f", "link"));
    OK(link("link", "g"));
    struct stat status;
    OK(lstat("g", &status));
    EXPECT(S_ISLNK(status.st_mode));
    OK(linkat(AT_FDCWD, "link", AT_FDCWD, "h", AT_SYMLINK_FOLLOW));
    OK(lstat("h", &status));
    EXPECT(S_ISREG(status.st_mode));
}

CASE(linkat_is_relative_to_the_directories) {
    OK(mkdir("d", 0700));
    make_file("f", "x");
    int d = OK(open("d", O_RDONLY));
    OK(linkat(AT_FDCWD, "f", d, "g", 0));
    EXPECT_STR(file_content("d/g"), "x");
    EXPECT_ERRNO(linkat(-1, "f", d, "h", 0), EBADF);
    EXPECT_ERRNO(linkat(AT_FDCWD, "f", d, "h", 0x40000000), EINVAL);
}

CASE(linkat_cannot_revive_an_unlinked_file) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    OK(unlink("f"));
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    EXPECT_ERRNO(linkat(AT_FDCWD, name, AT_FDCWD, "g", AT_SYMLINK_FOLLOW), ENOENT);
}

CASE(link_of_anothers_file_fails_where_hard_links_are_protected) {
    NEEDS_ROOT();
    bool is_protected = file_content("/proc/sys/fs/protected_hardlinks")[0] == '1';
    make_file("safe", "");
    make_file("readable", "");
    make_file("privileged", "");
    OK(chmod("safe", 0666));
    OK(chmod("readable", 0644));
    OK(chmod("privileged", 04666));
    OK(chmod(".", 0777));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        OK(link("safe", "a"));
        if (is_protected) {
            EXPECT_ERRNO(link("readable", "b"), EPERM);
            EXPECT_ERRNO(link("privileged", "c"), EPERM);
        } else {
            OK(link("readable", "b"));
            OK(link("privileged", "c"));
        }
        make_file("own", "");
        OK(chmod("own", 0));
        OK(link("own", "d"));
    });
    EXPECT_EXIT(pid, 0);
}
