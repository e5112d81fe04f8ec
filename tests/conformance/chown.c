/* chown(2), fchown(2), lchown(2), fchownat(2) */
#include "case.h"

static void expect_owner(const char *name, uid_t user, gid_t group) {
    struct stat status;
    OK(lstat(name, &status));
    EXPECT_EQ(status.st_uid, user);
    EXPECT_EQ(status.st_gid, group);
}

CASE(chown_sets_user_and_group) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chown("f", 12, 34));
    expect_owner("f", 12, 34);
}

CASE(chown_of_minus_one_keeps) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chown("f", 12, 34));
    OK(chown("f", -1, 56));
    expect_owner("f", 12, 56);
    OK(chown("f", 78, -1));
    expect_owner("f", 78, 56);
}

CASE(chown_clears_set_user_id_of_a_program) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chmod("f", 06755));
    OK(chown("f", 12, 34));
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mode & 07777, 0755);
}

CASE(chown_of_minus_one_by_another_user_keeps_set_user_id) {
    NEEDS_ROOT();
    make_file("f", "");
    make_file("plain", "");
    OK(chmod("f", 06755));
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(chown("f", -1, -1), EPERM);
        OK(chown("plain", -1, -1));
    });
    EXPECT_EXIT(pid, 0);
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mode & 07777, 06755);
}

CASE(lchown_changes_the_link_itself) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(symlink("f", "link"));
    OK(lchown("link", 12, 34));
    expect_owner("link", 12, 34);
    expect_owner("f", geteuid(), getegid());
    OK(chown("link", 56, 78));
    expect_owner("f", 56, 78);
}

CASE(chown_by_another_user_returns_eperm) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(chown("f", 1234, -1), EPERM);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(chown_by_the_owner_may_choose_among_its_groups) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chown("f", 1234, 1234));
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        gid_t groups[] = {77};
        OK(syscall(SYS_setgroups, 1, groups));
        OK(syscall(SYS_setgid, 1234));
        OK(syscall(SYS_setuid, 1234));
        OK(chown("f", -1, 77));
        EXPECT_ERRNO(chown("f", -1, 78), EPERM);
        EXPECT_ERRNO(chown("f", 0, -1), EPERM);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fchown_changes_an_open_file) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(fchown(OK(open("f", O_RDONLY)), 12, 34));
    expect_owner("f", 12, 34);
    EXPECT_ERRNO(fchown(-1, 1, 1), EBADF);
    EXPECT_ERRNO(fchown(OK(open("f", O_PATH)), 1, 1), EBADF);
}

CASE(fchownat_flags_work) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(symlink("f", "link"));
    OK(fchownat(AT_FDCWD, "link", 12, 34, AT_SYMLINK_NOFOLLOW));
    expect_owner("link", 12, 34);
    OK(fchownat(OK(open("f", O_PATH)), "", 56, 78, AT_EMPTY_PATH));
    expect_owner("f", 56, 78);
    EXPECT_ERRNO(fchownat(AT_FDCWD, "f", 1, 1, 0x40000000), EINVAL);
}

CASE(chown_of_missing_names_fails) {
    EXPECT_ERRNO(chown("missing", -1, -1), ENOENT);
    EXPECT_ERRNO(lchown("missing", -1, -1), ENOENT);
    EXPECT_ERRNO(chown(bad_page(), -1, -1), EFAULT);
}

CASE(chown_does_not_let_the_former_owner_make_the_file_set_user_id) {
    NEEDS_ROOT();
    enum { RACE_MS = 1000, USERS = 2 };
    volatile int *is_over = map_shared(PAGE_SIZE);
    make_file("f", "");
    int fd = OK(open("f", O_RDWR));
    OK(fchmod(fd, 0755));
    OK(fchown(fd, 1234, 1234));
    pid_t former[USERS];
    for (int i = 0; i < USERS; i++)
        former[i] = IN_CHILD({
            OK(syscall(SYS_setresgid, 1234, 1234, 1234));
            OK(syscall(SYS_setresuid, 1234, 1234, 1234));
            while (!*is_over)
                fchmod(fd, 04755);
        });
    int64_t end = now_ns(CLOCK_MONOTONIC) + RACE_MS * INT64_C(1000000);
    while (now_ns(CLOCK_MONOTONIC) < end) {
        OK(fchown(fd, 1234, 1234));
        OK(fchown(fd, 0, 0));
        sched_yield();
        struct stat status;
        OK(fstat(fd, &status));
        EXPECT_EQ(status.st_mode & 07777, 0755);
    }
    *is_over = 1;
    for (int i = 0; i < USERS; i++)
        EXPECT_EXIT(former[i], 0);
}
