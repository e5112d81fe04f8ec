/* truncate(2), ftruncate(2), fallocate(2) */
#include "case.h"

static off_t size_of(const char *name) {
    struct stat status;
    OK(stat(name, &status));
    return status.st_size;
}

CASE(truncate_cuts_and_extends_with_zeroes) {
    make_file("f", "0123456789");
    OK(truncate("f", 4));
    EXPECT_STR(file_content("f"), "0123");
    OK(truncate("f", 8));
    int fd = OK(open("f", O_RDONLY));
    char buffer[8];
    EXPECT_EQ(read(fd, buffer, 8), 8);
    EXPECT(memcmp(buffer, "0123\0\0\0\0", 8) == 0);
}

CASE(truncate_does_not_reveal_old_content) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    char *data = map(8192);
    memset(data, 'x', 8192);
    EXPECT_EQ(write(fd, data, 8192), 8192);
    OK(ftruncate(fd, 100));
    OK(ftruncate(fd, 8192));
    EXPECT_EQ(pread(fd, data, 8192, 0), 8192);
    EXPECT_EQ(data[99], 'x');
    for (int i = 100; i < 8192; i++)
        EXPECT_EQ(data[i], 0);
}

CASE(truncate_of_impossible_files_fails) {
    make_file("f", "");
    EXPECT_ERRNO(truncate("missing", 0), ENOENT);
    EXPECT_ERRNO(truncate(".", 0), EISDIR);
    EXPECT_ERRNO(truncate("f", -1), EINVAL);
    EXPECT_ERRNO(truncate(bad_page(), 0), EFAULT);
    OK(mkfifo("fifo", 0600));
    EXPECT_ERRNO(truncate("fifo", 0), EINVAL);
}

CASE(ftruncate_needs_a_writable_regular_file) {
    make_file("f", "");
    PIPE(ends);
    EXPECT_ERRNO(ftruncate(OK(open("f", O_RDONLY)), 0), EINVAL);
    EXPECT_ERRNO(ftruncate(OK(open("f", O_RDWR)), -1), EINVAL);
    EXPECT_ERRNO(ftruncate(ends[1], 0), EINVAL);
    EXPECT_ERRNO(ftruncate(-1, 0), EBADF);
}

CASE(ftruncate_keeps_the_offset) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(write(fd, "0123456789", 10), 10);
    OK(ftruncate(fd, 0));
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 10);
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT_EQ(size_of("f"), 11);
}

CASE(ftruncate_beyond_the_file_size_limit_raises_sigxfsz) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    struct rlimit limit = {100, 100};
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    handle(SIGXFSZ, count_signal, 0);
    EXPECT_ERRNO(ftruncate(fd, 101), EFBIG);
    EXPECT_EQ(signals_seen, 1);
    OK(ftruncate(fd, 100));
}

CASE(truncate_above_the_file_size_limit_is_allowed_where_nothing_grows) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(fd, 1000));
    struct rlimit limit = {100, 100};
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    handle(SIGXFSZ, count_signal, 0);
    OK(ftruncate(fd, 500));
    OK(truncate("f", 500));
    OK(fallocate(fd, 0, 0, 300));
    EXPECT_EQ(signals_seen, 0);
    EXPECT_ERRNO(truncate("f", 501), EFBIG);
    EXPECT_EQ(signals_seen, 1);
    EXPECT_ERRNO(fallocate(fd, 0, 0, 501), EFBIG);
    EXPECT_EQ(signals_seen, 2);
}

CASE(truncate_of_another_users_file_is_eacces_before_it_is_too_long) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        struct rlimit limit = {100, 100};
        OK(setrlimit(RLIMIT_FSIZE, &limit));
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(truncate("f", 101), EACCES);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(fallocate_extends_the_file) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(fallocate(fd, 0, 0, 10000));
    EXPECT_EQ(size_of("f"), 10000);
    OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000));
    EXPECT_EQ(size_of("f"), 10000);
}

CASE(fallocate_keeps_the_content) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    OK(fallocate(fd, 0, 0, 5));
    EXPECT_STR(file_content("f"), "hello");
}

CASE(fallocate_punches_holes_of_zeroes) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    char *data = map(16384);
    memset(data, 'x', 16384);
    EXPECT_EQ(write(fd, data, 16384), 16384);
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 10000));
    EXPECT_EQ(pread(fd, data, 16384, 0), 16384);
    EXPECT_EQ(data[999], 'x');
    EXPECT_EQ(data[1000], 0);
    EXPECT_EQ(data[10999], 0);
    EXPECT_EQ(data[11000], 'x');
}

CASE(fallocate_with_bad_arguments_fails) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    PIPE(ends);
    EXPECT_ERRNO(fallocate(fd, 0, 0, 0), EINVAL);
    EXPECT_ERRNO(fallocate(fd, 0, -1, 10), EINVAL);
    EXPECT_ERRNO(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
    EXPECT_ERRNO(fallocate(OK(open("f", O_RDONLY)), 0, 0, 10), EBADF);
    EXPECT_ERRNO(fallocate(ends[1], 0, 0, 10), ESPIPE);
    EXPECT_ERRNO(fallocate(fd, 0x4000, 0, 10), EOPNOTSUPP);
    EXPECT_ERRNO(fallocate(fd, 0x4000, 0, 0), EINVAL);
    EXPECT_ERRNO(fallocate(OK(open("f", O_PATH)), FALLOC_FL_PUNCH_HOLE, 0, 10), EBADF);
}
