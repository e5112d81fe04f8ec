/* mknod(2), mknodat(2) */
#include "case.h"
#include <sys/sysmacros.h>

CASE(mknod_makes_a_regular_file) {
    OK(mknod("f", S_IFREG | 0644, 0));
    OK(mknod("g", 0600, 0));
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mode, S_IFREG | 0644);
    OK(stat("g", &status));
    EXPECT_EQ(status.st_mode, S_IFREG | 0600);
}

CASE(mknod_makes_a_fifo_that_carries_data) {
    OK(mknod("fifo", S_IFIFO | 0600, 0));
    int fd = OK(open("fifo", O_RDWR));
    EXPECT_EQ(write(fd, "x", 1), 1);
    char byte;
    EXPECT_EQ(read(fd, &byte, 1), 1);
}

CASE(mknod_makes_a_socket_node) {
    OK(mknod("s", S_IFSOCK | 0600, 0));
    struct stat status;
    OK(stat("s", &status));
    EXPECT(S_ISSOCK(status.st_mode));
}

CASE(mknod_of_impossible_names_or_types_fails) {
    make_file("f", "");
    EXPECT_ERRNO(mknod("f", S_IFREG | 0600, 0), EEXIST);
    EXPECT_ERRNO(mknod("missing/f", S_IFREG | 0600, 0), ENOENT);
    EXPECT_ERRNO(mknod("d", S_IFDIR | 0700, 0), EPERM);
    EXPECT_ERRNO(mknod("l", S_IFLNK | 0700, 0), EINVAL);
    EXPECT_ERRNO(mknodat(-1, "x", S_IFREG, 0), EBADF);
}

CASE(mknod_of_a_device_by_an_ordinary_user_returns_eperm) {
    NEEDS_ROOT();
    OK(chmod(".", 0777));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(mknod("null", S_IFCHR | 0600, makedev(1, 3)), EPERM);
        OK(mknod("fifo", S_IFIFO | 0600, 0));
    });
    EXPECT_EXIT(pid, 0);
}
