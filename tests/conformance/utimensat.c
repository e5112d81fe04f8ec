/* utimensat(2), utimes(2), utime(2), futimesat(2) */
#include "case.h"
#include <utime.h>

CASE(utimensat_sets_both_times_to_the_nanosecond) {
    make_file("f", "");
    struct timespec times[2] = {{1000000001, 123456789}, {2000000002, 987654321}};
    OK(utimensat(AT_FDCWD, "f", times, 0));
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_atim.tv_sec, 1000000001);
    EXPECT_EQ(status.st_atim.tv_nsec, 123456789);
    EXPECT_EQ(status.st_mtim.tv_sec, 2000000002);
    EXPECT_EQ(status.st_mtim.tv_nsec, 987654321);
}

CASE(utimensat_omit_keeps_and_now_sets_the_present) {
    make_file("f", "");
    struct timespec times[2] = {{1000, 0}, {2000, 0}};
    OK(utimensat(AT_FDCWD, "f", times, 0));
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_nsec = UTIME_NOW;
    OK(utimensat(AT_FDCWD, "f", times, 0));
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_atime, 1000);
    EXPECT(status.st_mtime > 1000000);
}

CASE(utimensat_without_times_sets_the_present) {
    make_file("f", "");
    struct timespec times[2] = {{1000, 0}, {2000, 0}};
    OK(utimensat(AT_FDCWD, "f", times, 0));
    OK(utimensat(AT_FDCWD, "f", NULL, 0));
    struct stat status;
    OK(stat("f", &status));
    EXPECT(status.st_atime > 1000000 && status.st_mtime > 1000000);
}

CASE(utimensat_of_a_link_itself_works) {
    make_file("f", "");
    OK(symlink("f", "link"));
    struct timespec times[2] = {{1000, 0}, {2000, 0}};
    OK(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
    struct stat status;
    OK(lstat("link", &status));
    EXPECT_EQ(status.st_mtime, 2000);
    OK(stat("link", &status));
    EXPECT(status.st_mtime > 2000);
}

CASE(utimensat_of_a_descriptor_takes_no_path) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    struct timespec times[2] = {{1000, 0}, {2000, 0}};
    OK(futimens(fd, times));
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_mtime, 2000);
}

CASE(utimensat_with_bad_arguments_fails) {
    make_file("f", "");
    struct timespec times[2] = {{0, 1000000000}, {0, 0}};
    EXPECT_ERRNO(utimensat(AT_FDCWD, "f", times, 0), EINVAL);
    times[0].tv_nsec = -1;
    EXPECT_ERRNO(utimensat(AT_FDCWD, "f", times, 0), EINVAL);
    EXPECT_ERRNO(utimensat(AT_FDCWD, "f", NULL, 0x40000000), EINVAL);
    EXPECT_ERRNO(utimensat(AT_FDCWD, "missing", NULL, 0), ENOENT);
    EXPECT_ERRNO(utimensat(AT_FDCWD, "f", bad_page(), 0), EFAULT);
    EXPECT_ERRNO(utimensat(-1, "f", NULL, 0), EBADF);
}

CASE(utimensat_by_another_user_is_refused) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        struct timespec times[2] = {{1000, 0}, {2000, 0}};
        EXPECT_ERRNO(utimensat(AT_FDCWD, "f", times, 0), EPERM);
        EXPECT_ERRNO(utimensat(AT_FDCWD, "f", NULL, 0), EACCES);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(utimes_and_utime_set_coarser_times) {
    make_file("f", "");
    struct timeval times[2] = {{1000, 500000}, {2000, 250000}};
    OK(syscall(SYS_utimes, "f", times));
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mtim.tv_nsec, 250000000);
    struct utimbuf old = {3000, 4000};
    OK(syscall(SYS_utime, "f", &old));
    OK(stat("f", &status));
    EXPECT_EQ(status.st_atime, 3000);
    EXPECT_EQ(status.st_mtime, 4000);
    OK(syscall(SYS_futimesat, AT_FDCWD, "f", times));
    OK(stat("f", &status));
    EXPECT_EQ(status.st_atime, 1000);
    times[0].tv_usec = 1000000;
    EXPECT_ERRNO(syscall(SYS_utimes, "f", times), EINVAL);
}

CASE(utimensat_without_a_name_takes_no_flags) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(syscall(SYS_utimensat, fd, NULL, NULL, 0));
    EXPECT_ERRNO(syscall(SYS_utimensat, fd, NULL, NULL, AT_EMPTY_PATH), EINVAL);
    EXPECT_ERRNO(syscall(SYS_utimensat, fd, NULL, NULL, AT_SYMLINK_NOFOLLOW), EINVAL);
}
