/* openat2(2) */
#include "case.h"
#include <linux/openat2.h>

static int openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {flags, mode, resolve};
    return syscall(SYS_openat2, directory, path, &how, sizeof how);
}

CASE(openat2_opens_and_creates) {
    int fd = OK(openat2(AT_FDCWD, "f", O_RDWR | O_CREAT, 0640, 0));
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_mode & 0777, 0640);
}

CASE(openat2_with_unknown_flags_returns_einval) {
    EXPECT_ERRNO(openat2(AT_FDCWD, ".", 1ULL << 40, 0, 0), EINVAL);
    EXPECT_ERRNO(openat2(AT_FDCWD, ".", O_RDONLY, 0, 1ULL << 40), EINVAL);
}

CASE(openat2_with_a_mode_but_no_creation_returns_einval) {
    EXPECT_ERRNO(openat2(AT_FDCWD, ".", O_RDONLY, 0600, 0), EINVAL);
    EXPECT_ERRNO(openat2(AT_FDCWD, "f", O_RDWR | O_CREAT, 010000, 0), EINVAL);
}

CASE(openat2_checks_the_size_of_its_argument) {
    struct open_how how = {O_RDONLY, 0, 0};
    EXPECT_ERRNO(syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof how - 1), EINVAL);
    char larger[64] = {0};
    memcpy(larger, &how, sizeof how);
    OK(syscall(SYS_openat2, AT_FDCWD, ".", larger, sizeof larger));
    larger[63] = 1;
    EXPECT_ERRNO(syscall(SYS_openat2, AT_FDCWD, ".", larger, sizeof larger), E2BIG);
    EXPECT_ERRNO(syscall(SYS_openat2, AT_FDCWD, ".", bad_page(), sizeof how), EFAULT);
}

CASE(openat2_resolve_beneath_refuses_to_leave) {
    OK(mkdir("d", 0700));
    make_file("f", "");
    make_file("d/f", "");
    OK(symlink("../f", "d/up"));
    OK(symlink("/", "d/root"));
    int d = OK(open("d", O_PATH));
    OK(openat2(d, "f", O_RDONLY, 0, RESOLVE_BENEATH));
    EXPECT_ERRNO(openat2(d, "../f", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    EXPECT_ERRNO(openat2(d, "up", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    EXPECT_ERRNO(openat2(d, "root", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
    EXPECT_ERRNO(openat2(d, "/", O_RDONLY, 0, RESOLVE_BENEATH), EXDEV);
}

CASE(openat2_resolve_in_root_keeps_the_root) {
    OK(mkdir("d", 0700));
    make_file("d/f", "");
    OK(symlink("/f", "d/absolute"));
    int d = OK(open("d", O_PATH));
    OK(openat2(d, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    OK(openat2(d, "../../f", O_RDONLY, 0, RESOLVE_IN_ROOT));
    OK(openat2(d, "absolute", O_RDONLY, 0, RESOLVE_IN_ROOT));
    EXPECT_ERRNO(openat2(d, "d", O_RDONLY, 0, RESOLVE_IN_ROOT), ENOENT);
}

CASE(openat2_resolve_no_symlinks_refuses_links) {
    OK(mkdir("d", 0700));
    make_file("d/f", "");
    OK(symlink("d", "link"));
    EXPECT_ERRNO(openat2(AT_FDCWD, "link/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS), ELOOP);
    OK(openat2(AT_FDCWD, "d/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
}

CASE(openat2_resolve_no_magiclinks_refuses_only_those) {
    make_file("f", "");
    OK(symlink("f", "link"));
    int fd = OK(open("f", O_RDONLY));
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    EXPECT_ERRNO(openat2(AT_FDCWD, name, O_RDONLY, 0, RESOLVE_NO_MAGICLINKS), ELOOP);
    OK(openat2(AT_FDCWD, "link", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
}

CASE(openat2_resolve_no_xdev_stays_on_the_file_system) {
    int root = OK(open("/", O_PATH));
    EXPECT_ERRNO(openat2(root, "proc/self/status", O_RDONLY, 0, RESOLVE_NO_XDEV), EXDEV);
}
