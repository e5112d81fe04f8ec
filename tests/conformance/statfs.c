/* statfs(2), fstatfs(2), sync(2), fsync(2), fdatasync(2), syncfs(2) */
#include "case.h"
#include <linux/magic.h>
#include <sys/statfs.h>

CASE(statfs_names_the_file_system) {
    struct statfs status;
    OK(statfs("/proc", &status));
    EXPECT_EQ(status.f_type, PROC_SUPER_MAGIC);
    EXPECT_EQ(status.f_namelen, 255);
}

CASE(statfs_counts_blocks) {
    struct statfs status;
    OK(statfs(".", &status));
    EXPECT(status.f_bsize >= 512);
    EXPECT(status.f_blocks > 0 && status.f_bfree <= status.f_blocks);
    EXPECT(status.f_bavail <= status.f_bfree);
    EXPECT_EQ(status.f_namelen, 255);
}

CASE(fstatfs_agrees_with_statfs) {
    struct statfs one, two;
    OK(statfs(".", &one));
    OK(fstatfs(OK(open(".", O_RDONLY)), &two));
    EXPECT_EQ(one.f_type, two.f_type);
    EXPECT_EQ(one.f_blocks, two.f_blocks);
}

CASE(statfs_with_bad_arguments_fails) {
    struct statfs status;
    EXPECT_ERRNO(statfs("missing", &status), ENOENT);
    EXPECT_ERRNO(statfs(".", bad_page()), EFAULT);
    EXPECT_ERRNO(fstatfs(-1, &status), EBADF);
}

CASE(fsync_and_its_kin_accept_files) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    OK(fsync(fd));
    OK(fdatasync(fd));
    OK(syncfs(fd));
    OK(fsync(OK(open(".", O_RDONLY))));
    EXPECT_ERRNO(fsync(-1), EBADF);
    EXPECT_ERRNO(fdatasync(-1), EBADF);
    EXPECT_ERRNO(syncfs(-1), EBADF);
}

CASE(fsync_of_a_pipe_returns_einval) {
    PIPE(ends);
    EXPECT_ERRNO(fsync(ends[0]), EINVAL);
    EXPECT_ERRNO(fdatasync(ends[1]), EINVAL);
}

CASE(posix_fadvise_accepts_files_and_refuses_pipes) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    PIPE(ends);
    OK(syscall(SYS_fadvise64, fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    OK(syscall(SYS_fadvise64, fd, 0, 0, POSIX_FADV_DONTNEED));
    EXPECT_ERRNO(syscall(SYS_fadvise64, fd, 0, 0, 99), EINVAL);
    EXPECT_ERRNO(syscall(SYS_fadvise64, ends[0], 0, 0, 0), ESPIPE);
    EXPECT_ERRNO(syscall(SYS_fadvise64, -1, 0, 0, 0), EBADF);
}
