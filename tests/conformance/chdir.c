/* chdir(2), fchdir(2), getcwd(2), chroot(2) */
#include "case.h"

CASE(getcwd_returns_the_length_with_the_zero_byte) {
    OK(chdir("/proc"));
    char path[16];
    EXPECT_EQ(syscall(SYS_getcwd, path, sizeof path), 6);
    EXPECT_STR(path, "/proc");
}

CASE(getcwd_of_a_short_buffer_returns_erange) {
    OK(chdir("/proc"));
    char path[16];
    EXPECT_ERRNO(syscall(SYS_getcwd, path, 5), ERANGE);
    EXPECT_EQ(syscall(SYS_getcwd, path, 6), 6);
    EXPECT_ERRNO(syscall(SYS_getcwd, bad_page(), 16), EFAULT);
}

CASE(getcwd_of_a_name_longer_than_path_max_returns_enametoolong) {
    char name[101], path[2 * PATH_MAX];
    memset(name, 'd', 100);
    name[100] = 0;
    for (int depth = 0; depth < 41; depth++) {
        OK(mkdir(name, 0700));
        OK(chdir(name));
    }
    EXPECT_ERRNO(syscall(SYS_getcwd, path, sizeof path), ENAMETOOLONG);
    EXPECT_ERRNO(syscall(SYS_getcwd, path, 100), ENAMETOOLONG);
    EXPECT_ERRNO(readlink("/proc/self/cwd", path, sizeof path), ENAMETOOLONG);
    EXPECT_ERRNO(readlink("/proc/self/cwd", path, 100), ENAMETOOLONG);
}

CASE(getcwd_of_a_removed_directory_returns_enoent) {
    OK(mkdir("d", 0700));
    OK(chdir("d"));
    OK(rmdir("../d"));
    char path[PATH_MAX];
    EXPECT_ERRNO(syscall(SYS_getcwd, path, sizeof path), ENOENT);
}

CASE(chdir_follows_links_and_getcwd_shows_the_real_name) {
    OK(mkdir("d", 0700));
    OK(symlink("d", "link"));
    OK(chdir("link"));
    char path[PATH_MAX];
    OK(syscall(SYS_getcwd, path, sizeof path));
    EXPECT_STR(strrchr(path, '/'), "/d");
}

CASE(chdir_to_impossible_places_fails) {
    make_file("f", "");
    EXPECT_ERRNO(chdir("missing"), ENOENT);
    EXPECT_ERRNO(chdir("f"), ENOTDIR);
    EXPECT_ERRNO(chdir(""), ENOENT);
    EXPECT_ERRNO(chdir(bad_page()), EFAULT);
}

CASE(chdir_needs_search_permission) {
    NEEDS_ROOT();
    OK(mkdir("d", 0700));
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(chdir("d"), EACCES);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(chdir_is_private_to_the_process) {
    OK(mkdir("d", 0700));
    make_file("f", "");
    pid_t pid = IN_CHILD({ OK(chdir("d")); });
    EXPECT_EXIT(pid, 0);
    OK(access("f", F_OK));
}

CASE(chdir_is_shared_with_clone_fs) {
    OK(mkdir("d", 0700));
    pid_t pid = OK(syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        umask(0135);
        _exit(chdir("d"));
    }
    EXPECT_EXIT(pid, 0);
    OK(access("../d", F_OK));
    EXPECT_EQ(umask(0), 0135);
}

CASE(fchdir_goes_to_an_open_directory) {
    OK(mkdir("d", 0700));
    make_file("f", "");
    int d = OK(open("d", O_RDONLY)), here = OK(open(".", O_PATH));
    OK(fchdir(d));
    EXPECT_ERRNO(access("f", F_OK), ENOENT);
    OK(fchdir(here));
    OK(access("f", F_OK));
}

CASE(fchdir_of_other_descriptors_fails) {
    make_file("f", "");
    EXPECT_ERRNO(fchdir(OK(open("f", O_RDONLY))), ENOTDIR);
    EXPECT_ERRNO(fchdir(-1), EBADF);
}

CASE(chroot_changes_what_absolute_names_mean) {
    NEEDS_ROOT();
    OK(mkdir("d", 0755));
    make_file("d/f", "inside");
    OK(symlink("/f", "d/link"));
    OK(chroot("d"));
    EXPECT_STR(file_content("/f"), "inside");
    OK(chdir("/"));
    EXPECT_STR(file_content("link"), "inside");
    EXPECT_STR(file_content("../../f"), "inside");
    char path[16];
    OK(syscall(SYS_getcwd, path, sizeof path));
    EXPECT_STR(path, "/");
}

CASE(chroot_leaves_the_working_directory_unreachable) {
    NEEDS_ROOT();
    OK(mkdir("d", 0755));
    OK(chroot("d"));
    char path[PATH_MAX];
    OK(syscall(SYS_getcwd, path, sizeof path));
    EXPECT(strncmp(path, "(unreachable)", 13) == 0);
}

CASE(chroot_by_an_ordinary_user_returns_eperm) {
    NEEDS_ROOT();
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(chroot("."), EPERM);
    });
    EXPECT_EXIT(pid, 0);
}
