/* access(2), faccessat(2), faccessat2(2) */
#include "case.h"

CASE(access_of_an_existing_file_succeeds) {
    make_file("f", "");
    OK(access("f", F_OK));
    OK(access("f", R_OK | W_OK));
    OK(chmod("f", 0755));
    OK(access("f", X_OK));
}

CASE(access_for_execution_needs_an_execute_bit_even_for_root) {
    make_file("f", "");
    EXPECT_ERRNO(access("f", X_OK), EACCES);
    OK(access(".", X_OK));
}

CASE(access_of_missing_names_fails) {
    make_file("f", "");
    EXPECT_ERRNO(access("missing", F_OK), ENOENT);
    EXPECT_ERRNO(access("f/x", F_OK), ENOTDIR);
    EXPECT_ERRNO(access(bad_page(), F_OK), EFAULT);
}

CASE(access_with_a_bad_mode_returns_einval) { EXPECT_ERRNO(access(".", 8), EINVAL); }

CASE(access_uses_the_real_user) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chmod("f", 0600));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 0, 0));
        EXPECT_ERRNO(access("f", R_OK), EACCES);
        OK(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(access_honours_group_and_other_bits) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chown("f", 1, 77));
    OK(chmod("f", 0640));
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        gid_t groups[] = {77};
        OK(syscall(SYS_setgroups, 1, groups));
        OK(syscall(SYS_setuid, 1234));
        OK(access("f", R_OK));
        EXPECT_ERRNO(access("f", W_OK), EACCES);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(faccessat_is_relative_to_the_directory) {
    OK(mkdir("d", 0700));
    make_file("d/f", "");
    int d = OK(open("d", O_RDONLY));
    OK(syscall(SYS_faccessat, d, "f", R_OK));
    EXPECT_ERRNO(syscall(SYS_faccessat, -1, "f", R_OK), EBADF);
}

CASE(faccessat2_flags_work) {
    OK(symlink("nowhere", "link"));
    OK(syscall(SYS_faccessat2, AT_FDCWD, "link", F_OK, AT_SYMLINK_NOFOLLOW));
    EXPECT_ERRNO(syscall(SYS_faccessat2, AT_FDCWD, "link", F_OK, 0), ENOENT);
    OK(syscall(SYS_faccessat2, OK(open(".", O_PATH)), "", R_OK, AT_EMPTY_PATH));
    EXPECT_ERRNO(syscall(SYS_faccessat2, AT_FDCWD, ".", F_OK, 0x40000000), EINVAL);
}
