/* readv(2), writev(2), preadv(2), pwritev(2), preadv2(2), pwritev2(2) */
#include "case.h"

CASE(readv_fills_the_buffers_in_order) {
    make_file("f", "hello world");
    int fd = OK(open("f", O_RDONLY));
    char one[4], two[16];
    struct iovec vector[] = {{one, 4}, {two, 16}};
    EXPECT_EQ(readv(fd, vector, 2), 11);
    EXPECT(memcmp(one, "hell", 4) == 0);
    EXPECT(memcmp(two, "o world", 7) == 0);
}

CASE(writev_joins_the_buffers) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    struct iovec vector[] = {{"ab", 2}, {"", 0}, {"cde", 3}};
    EXPECT_EQ(writev(fd, vector, 3), 5);
    EXPECT_STR(file_content("f"), "abcde");
}

CASE(writev_to_a_pipe_is_one_write) {
    PIPE(ends);
    struct iovec vector[] = {{"ab", 2}, {"cde", 3}};
    EXPECT_EQ(writev(ends[1], vector, 2), 5);
    char buffer[8];
    EXPECT_EQ(read(ends[0], buffer, 8), 5);
}

CASE(readv_of_no_buffers_returns_zero) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    EXPECT_EQ(readv(fd, NULL, 0), 0);
    EXPECT_EQ(writev(fd, NULL, 0), 0);
}

CASE(readv_of_more_than_1024_buffers_returns_einval) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    char byte = 'x';
    static struct iovec vector[1025];
    for (int i = 0; i < 1025; i++)
        vector[i] = (struct iovec){&byte, 1};
    EXPECT_ERRNO(syscall(SYS_readv, fd, vector, 1025), EINVAL);
    EXPECT_ERRNO(syscall(SYS_writev, fd, vector, 1025), EINVAL);
    EXPECT_EQ(syscall(SYS_readv, fd, vector, 1024), 5);
}

CASE(readv_of_a_negative_count_returns_einval) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    struct iovec vector = {"x", 1};
    EXPECT_ERRNO(syscall(SYS_readv, fd, &vector, -1), EINVAL);
}

CASE(readv_of_a_negative_length_returns_einval) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    char buffer[4];
    struct iovec vector[] = {{buffer, 4}, {buffer, (size_t)-1}};
    EXPECT_ERRNO(readv(fd, vector, 2), EINVAL);
    EXPECT_ERRNO(writev(fd, vector, 2), EINVAL);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
}

CASE(readv_of_a_wrong_end_fails_before_it_looks_at_the_vector) {
    int ends[2];
    OK(pipe(ends));
    EXPECT_ERRNO(readv(ends[1], NULL, -1), EBADF);
    EXPECT_ERRNO(writev(ends[0], NULL, 2), EBADF);
    EXPECT_ERRNO(preadv(ends[1], NULL, -1, 0), ESPIPE);
}

CASE(readv_with_a_bad_vector_returns_efault) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    EXPECT_ERRNO(readv(fd, bad_page(), 1), EFAULT);
    EXPECT_ERRNO(writev(fd, bad_page(), 1), EFAULT);
}

CASE(readv_with_a_bad_second_buffer_is_short) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    char buffer[2];
    struct iovec vector[] = {{buffer, 2}, {bad_page(), 2}};
    EXPECT_EQ(readv(fd, vector, 2), 2);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 2);
}

CASE(preadv_reads_at_a_position) {
    make_file("f", "hello world");
    int fd = OK(open("f", O_RDONLY));
    char one[2], two[3];
    struct iovec vector[] = {{one, 2}, {two, 3}};
    EXPECT_EQ(preadv(fd, vector, 2, 6), 5);
    EXPECT(memcmp(one, "wo", 2) == 0 && memcmp(two, "rld", 3) == 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
    EXPECT_ERRNO(preadv(fd, vector, 2, -1), EINVAL);
}

CASE(pwritev_writes_at_a_position) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    struct iovec vector[] = {{"A", 1}, {"BC", 2}};
    EXPECT_EQ(pwritev(fd, vector, 2, 1), 3);
    EXPECT_STR(file_content("f"), "hABCo");
    EXPECT_ERRNO(pwritev(fd, vector, 2, -1), EINVAL);
}

CASE(preadv_of_a_pipe_returns_espipe) {
    PIPE(ends);
    char byte;
    struct iovec vector = {&byte, 1};
    EXPECT_ERRNO(preadv(ends[0], &vector, 1, 0), ESPIPE);
    EXPECT_ERRNO(pwritev(ends[1], &vector, 1, 0), ESPIPE);
}

CASE(preadv2_with_position_minus_one_uses_the_offset) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    char buffer[3];
    struct iovec vector = {buffer, 3};
    EXPECT_EQ(preadv2(fd, &vector, 1, -1, 0), 3);
    EXPECT_EQ(preadv2(fd, &vector, 1, -1, 0), 2);
}

CASE(preadv2_with_unknown_flags_returns_eopnotsupp) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    char byte;
    struct iovec vector = {&byte, 1};
    EXPECT_ERRNO(preadv2(fd, &vector, 1, 0, 0x40000000), EOPNOTSUPP);
    EXPECT_ERRNO(pwritev2(fd, &vector, 1, 0, 0x40000000), EOPNOTSUPP);
}

CASE(preadv2_with_rwf_nowait_on_an_empty_pipe_returns_eagain) {
    PIPE(ends);
    char byte;
    struct iovec vector = {&byte, 1};
    EXPECT_ERRNO(preadv2(ends[0], &vector, 1, -1, RWF_NOWAIT), EAGAIN);
}

CASE(pwritev2_with_rwf_append_appends) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    struct iovec vector = {"!", 1};
    EXPECT_EQ(pwritev2(fd, &vector, 1, 0, RWF_APPEND), 1);
    EXPECT_STR(file_content("f"), "hello!");
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
}

CASE(readv_access_modes_are_checked) {
    make_file("f", "hello");
    int reader = OK(open("f", O_RDONLY)), writer = OK(open("f", O_WRONLY));
    char byte = 'x';
    struct iovec vector = {&byte, 1};
    EXPECT_ERRNO(readv(writer, &vector, 1), EBADF);
    EXPECT_ERRNO(writev(reader, &vector, 1), EBADF);
    EXPECT_ERRNO(readv(-1, &vector, 1), EBADF);
}

CASE(readv_of_nothing_from_a_directory_returns_zero) {
    int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
    struct iovec nothing = {.iov_base = &fd};
    EXPECT_EQ(readv(fd, &nothing, 0), 0);
    EXPECT_EQ(readv(fd, &nothing, 1), 0);
    EXPECT_ERRNO(read(fd, &fd, 0), EISDIR);
}
