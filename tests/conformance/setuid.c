/* setuid(2), setresuid(2), setreuid(2), setgid(2), setgroups(2), setfsuid(2) and their kin; credentials(7) */
#include "case.h"

static void expect_uids(uid_t real, uid_t effective, uid_t saved) {
    uid_t r, e, s;
    OK(syscall(SYS_getresuid, &r, &e, &s));
    EXPECT_EQ(r, real);
    EXPECT_EQ(e, effective);
    EXPECT_EQ(s, saved);
}

static void expect_gids(gid_t real, gid_t effective, gid_t saved) {
    gid_t r, e, s;
    OK(syscall(SYS_getresgid, &r, &e, &s));
    EXPECT_EQ(r, real);
    EXPECT_EQ(e, effective);
    EXPECT_EQ(s, saved);
}

CASE(getuid_and_its_kin_agree) {
    uid_t r, e, s;
    OK(syscall(SYS_getresuid, &r, &e, &s));
    EXPECT_EQ(syscall(SYS_getuid), r);
    EXPECT_EQ(syscall(SYS_geteuid), e);
    OK(syscall(SYS_getresgid, &r, &e, &s));
    EXPECT_EQ(syscall(SYS_getgid), r);
    EXPECT_EQ(syscall(SYS_getegid), e);
    EXPECT_ERRNO(syscall(SYS_getresuid, bad_page(), &e, &s), EFAULT);
    EXPECT_ERRNO(syscall(SYS_getresgid, &r, &e, bad_page()), EFAULT);
}

CASE(setuid_of_root_sets_all_three) {
    NEEDS_ROOT();
    OK(syscall(SYS_setuid, 1234));
    expect_uids(1234, 1234, 1234);
    EXPECT_ERRNO(syscall(SYS_setuid, 0), EPERM);
}

CASE(setuid_of_a_user_changes_the_effective_only) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresuid, 1, 2, 3));
    OK(syscall(SYS_setuid, 3));
    expect_uids(1, 3, 3);
    OK(syscall(SYS_setuid, 1));
    expect_uids(1, 1, 3);
    EXPECT_ERRNO(syscall(SYS_setuid, 2), EPERM);
}

CASE(setresuid_sets_each_and_minus_one_keeps) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresuid, 1, 0, 3));
    expect_uids(1, 0, 3);
    OK(syscall(SYS_setresuid, -1, -1, 7));
    expect_uids(1, 0, 7);
}

CASE(setresuid_of_a_user_permutes_its_own) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresuid, 1, 2, 3));
    OK(syscall(SYS_setresuid, 3, 1, 2));
    expect_uids(3, 1, 2);
    EXPECT_ERRNO(syscall(SYS_setresuid, 4, -1, -1), EPERM);
    EXPECT_ERRNO(syscall(SYS_setresuid, -1, 0, -1), EPERM);
}

CASE(setreuid_moves_the_saved_id) {
    NEEDS_ROOT();
    OK(syscall(SYS_setreuid, 5, 6));
    expect_uids(5, 6, 6);
    OK(syscall(SYS_setreuid, 6, 5));
    expect_uids(6, 5, 5);
    EXPECT_ERRNO(syscall(SYS_setreuid, 7, -1), EPERM);
}

CASE(setgid_and_setresgid_work_alike) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresgid, 1, 2, 3));
    expect_gids(1, 2, 3);
    OK(syscall(SYS_setregid, 4, 5));
    expect_gids(4, 5, 5);
    OK(syscall(SYS_setgid, 77));
    expect_gids(77, 77, 77);
    OK(syscall(SYS_setuid, 1234));
    EXPECT_ERRNO(syscall(SYS_setgid, 78), EPERM);
    OK(syscall(SYS_setgid, 77));
}

CASE(setgroups_sets_what_getgroups_returns) {
    NEEDS_ROOT();
    gid_t groups[] = {30, 10, 20}, got[8] = {0};
    OK(syscall(SYS_setgroups, 3, groups));
    EXPECT_EQ(getgroups(0, NULL), 3);
    EXPECT_EQ(getgroups(8, got), 3);
    EXPECT_EQ(got[0] + got[1] + got[2], 60);
    EXPECT_ERRNO(getgroups(2, got), EINVAL);
    EXPECT_ERRNO(getgroups(-1, got), EINVAL);
    EXPECT_ERRNO(syscall(SYS_setgroups, 65537, groups), EINVAL);
    EXPECT_ERRNO(syscall(SYS_setgroups, 1, bad_page()), EFAULT);
    OK(syscall(SYS_setuid, 1234));
    EXPECT_ERRNO(syscall(SYS_setgroups, 0, NULL), EPERM);
}

CASE(setfsuid_returns_the_previous_id_and_checks_files) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chmod("f", 0600));
    EXPECT_EQ(syscall(SYS_setfsuid, 1234), 0);
    EXPECT_ERRNO(open("f", O_RDONLY), EACCES);
    EXPECT_EQ(syscall(SYS_setfsuid, -1), 1234);
    EXPECT_EQ(syscall(SYS_setfsuid, 0), 1234);
    OK(open("f", O_RDONLY));
    EXPECT_EQ(syscall(SYS_setfsgid, -1), getegid());
}

CASE(credentials_belong_to_the_thread_and_are_inherited) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresuid, 1, 0, 3));
    pid_t pid = IN_CHILD({ expect_uids(1, 0, 3); });
    EXPECT_EXIT(pid, 0);
}

CASE(execve_saves_the_effective_id) {
    NEEDS_ROOT();
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1, 0, 3));
        execl(program_path, "program", "--helper", "expect_saved", NULL);
    });
    EXPECT_EXIT(pid, 0);
}

HELPER(expect_saved) {
    (void)argc, (void)argv;
    uid_t real, effective, saved;
    getresuid(&real, &effective, &saved);
    return real == 1 && effective == 0 && saved == 0 ? 0 : 1;
}
