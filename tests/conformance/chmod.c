/* chmod(2), fchmod(2), fchmodat(2), umask(2) */
#include "case.h"

static mode_t mode_of(const char *name) {
    struct stat status;
    OK(stat(name, &status));
    return status.st_mode & 07777;
}

CASE(chmod_sets_all_twelve_bits) {
    make_file("f", "");
    OK(chmod("f", 07777));
    EXPECT_EQ(mode_of("f"), 07777);
    OK(chmod("f", 0));
    EXPECT_EQ(mode_of("f"), 0);
}

CASE(chmod_ignores_the_umask_and_the_type_bits) {
    umask(077);
    make_file("f", "");
    OK(chmod("f", S_IFDIR | 0666));
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mode, S_IFREG | 0666);
}

CASE(chmod_follows_links) {
    make_file("f", "");
    OK(symlink("f", "link"));
    OK(chmod("link", 0600));
    EXPECT_EQ(mode_of("f"), 0600);
}

CASE(chmod_changes_the_change_time_only) {
    make_file("f", "");
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    OK(utimensat(AT_FDCWD, "f", old, 0));
    struct stat status;
    OK(chmod("f", 0600));
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mtime, 1000);
    EXPECT(status.st_ctime > 1000000);
}

CASE(chmod_of_missing_names_fails) {
    make_file("f", "");
    EXPECT_ERRNO(chmod("missing", 0600), ENOENT);
    EXPECT_ERRNO(chmod("f/x", 0600), ENOTDIR);
    EXPECT_ERRNO(chmod(bad_page(), 0600), EFAULT);
    EXPECT_ERRNO(fchmod(-1, 0600), EBADF);
}

CASE(chmod_by_another_user_returns_eperm) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(chmod("f", 0777), EPERM);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(chmod_by_an_owner_outside_the_group_drops_set_group_id) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chown("f", 1234, 77));
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setgroups, 0, NULL));
        OK(syscall(SYS_setgid, 1234));
        OK(syscall(SYS_setuid, 1234));
        OK(chmod("f", 02755));
        EXPECT_EQ(mode_of("f"), 0755);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fchmod_changes_an_open_file) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    OK(fchmod(fd, 0640));
    EXPECT_EQ(mode_of("f"), 0640);
}

CASE(fchmodat_is_relative_to_the_directory) {
    OK(mkdir("d", 0700));
    make_file("d/f", "");
    int d = OK(open("d", O_RDONLY));
    OK(syscall(SYS_fchmodat, d, "f", 0400));
    EXPECT_EQ(mode_of("d/f"), 0400);
    EXPECT_ERRNO(syscall(SYS_fchmodat, -1, "f", 0400), EBADF);
}

CASE(umask_returns_the_previous_mask) {
    umask(0123);
    EXPECT_EQ(umask(07777), 0123);
    EXPECT_EQ(umask(0), 0777);
}

CASE(umask_is_inherited_by_fork) {
    umask(0135);
    pid_t pid = IN_CHILD({ EXPECT_EQ(umask(0), 0135); });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(umask(0), 0135);
}
