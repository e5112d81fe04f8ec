/* splice(2), tee(2), vmsplice(2) */
#include "case.h"

CASE(splice_moves_from_a_file_to_a_pipe) {
    make_file("f", "hello world");
    int fd = OK(open("f", O_RDONLY));
    PIPE(ends);
    EXPECT_EQ(splice(fd, NULL, ends[1], NULL, 5, 0), 5);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 5);
    off_t position = 6;
    EXPECT_EQ(splice(fd, &position, ends[1], NULL, 100, 0), 5);
    EXPECT_EQ(position, 11);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 5);
    char buffer[16];
    EXPECT_EQ(read(ends[0], buffer, 16), 10);
    EXPECT(memcmp(buffer, "helloworld", 10) == 0);
}

CASE(splice_moves_from_a_pipe_to_a_file) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    PIPE(ends);
    EXPECT_EQ(write(ends[1], "hello", 5), 5);
    EXPECT_EQ(splice(ends[0], NULL, fd, NULL, 100, 0), 5);
    EXPECT_STR(file_content("f"), "hello");
}

CASE(splice_moves_between_pipes) {
    PIPE(one);
    PIPE(two);
    EXPECT_EQ(write(one[1], "hello", 5), 5);
    EXPECT_EQ(splice(one[0], NULL, two[1], NULL, 3, 0), 3);
    char buffer[8];
    EXPECT_EQ(read(two[0], buffer, 8), 3);
    EXPECT_EQ(read(one[0], buffer, 8), 2);
}

CASE(splice_at_the_end_of_input_returns_zero) {
    make_file("f", "");
    PIPE(ends);
    EXPECT_EQ(splice(OK(open("f", O_RDONLY)), NULL, ends[1], NULL, 10, 0), 0);
    OK(close(ends[1]));
    PIPE(other);
    EXPECT_EQ(splice(ends[0], NULL, other[1], NULL, 10, 0), 0);
}

CASE(splice_without_a_pipe_returns_einval) {
    make_file("f", "x");
    make_file("g", "");
    EXPECT_ERRNO(splice(OK(open("f", O_RDONLY)), NULL, OK(open("g", O_WRONLY)), NULL, 1, 0), EINVAL);
}

CASE(splice_with_a_position_for_a_pipe_returns_espipe) {
    make_file("f", "x");
    PIPE(ends);
    off_t position = 0;
    EXPECT_ERRNO(splice(OK(open("f", O_RDONLY)), NULL, ends[1], &position, 1, 0), ESPIPE);
}

CASE(splice_nonblocking_returns_eagain) {
    PIPE(one);
    PIPE(two);
    EXPECT_ERRNO(splice(one[0], NULL, two[1], NULL, 10, SPLICE_F_NONBLOCK), EAGAIN);
}

CASE(splice_with_bad_arguments_fails) {
    PIPE(ends);
    make_file("f", "x");
    int fd = OK(open("f", O_RDONLY)), append = OK(open("f", O_WRONLY | O_APPEND));
    EXPECT_ERRNO(splice(-1, NULL, ends[1], NULL, 1, 0), EBADF);
    EXPECT_ERRNO(splice(fd, NULL, ends[0], NULL, 1, 0), EBADF);
    EXPECT_ERRNO(splice(fd, NULL, ends[1], NULL, 1, 0x100), EINVAL);
    EXPECT_ERRNO(splice(fd, bad_page(), ends[1], NULL, 1, 0), EFAULT);
    announce(ends[1]);
    EXPECT_ERRNO(splice(ends[0], NULL, append, NULL, 1, 0), EINVAL);
    EXPECT_ERRNO(splice(ends[0], NULL, ends[1], NULL, 1, 0), EINVAL);
}

CASE(splice_of_an_empty_pipe_is_interrupted_by_a_signal) {
    PIPE(one);
    PIPE(two);
    EXPECT_INTERRUPTED(splice(one[0], NULL, two[1], NULL, 1, 0));
}

CASE(tee_copies_without_consuming) {
    PIPE(one);
    PIPE(two);
    EXPECT_EQ(write(one[1], "hello", 5), 5);
    EXPECT_EQ(tee(one[0], two[1], 3, 0), 3);
    char buffer[8];
    EXPECT_EQ(read(two[0], buffer, 8), 3);
    EXPECT_EQ(read(one[0], buffer, 8), 5);
    EXPECT(memcmp(buffer, "hello", 5) == 0);
}

CASE(tee_of_other_files_returns_einval) {
    PIPE(ends);
    make_file("f", "x");
    EXPECT_ERRNO(tee(OK(open("f", O_RDONLY)), ends[1], 1, 0), EINVAL);
    EXPECT_ERRNO(tee(ends[0], ends[1], 1, 0), EINVAL);
    PIPE(other);
    EXPECT_ERRNO(tee(ends[0], other[1], 1, SPLICE_F_NONBLOCK), EAGAIN);
}

CASE(vmsplice_writes_memory_to_a_pipe) {
    PIPE(ends);
    struct iovec vector[] = {{"abc", 3}, {"de", 2}};
    EXPECT_EQ(vmsplice(ends[1], vector, 2, 0), 5);
    char buffer[8];
    EXPECT_EQ(read(ends[0], buffer, 8), 5);
    EXPECT(memcmp(buffer, "abcde", 5) == 0);
}

CASE(vmsplice_of_other_files_returns_ebadf) {
    make_file("f", "");
    struct iovec vector = {"abc", 3};
    EXPECT_ERRNO(vmsplice(OK(open("f", O_RDWR)), &vector, 1, 0), EBADF);
}

CASE(splice_to_a_file_beyond_the_file_size_limit_raises_sigxfsz) {
    PIPE(ends);
    EXPECT_EQ(write(ends[1], "0123456789", 10), 10);
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    struct rlimit limit = {100, 100};
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    handle(SIGXFSZ, count_signal, 0);
    loff_t at = 96;
    EXPECT_EQ(splice(ends[0], NULL, fd, &at, 10, 0), 4);
    EXPECT_EQ(at, 100);
    EXPECT_EQ(signals_seen, 1);
    EXPECT_ERRNO(splice(ends[0], NULL, fd, &at, 6, 0), EFBIG);
    EXPECT_EQ(signals_seen, 2);
    OK(lseek(fd, 200, SEEK_SET));
    EXPECT_ERRNO(splice(ends[0], NULL, fd, NULL, 6, 0), EFBIG);
    char rest[10];
    EXPECT_EQ(read(ends[0], rest, 10), 6);
    EXPECT_ERRNO(splice(ends[0], NULL, fd, NULL, 6, SPLICE_F_NONBLOCK), EAGAIN);
    EXPECT_EQ(signals_seen, 3);
}

/* Writes until the non-blocking `fd` takes nothing more. */
static void fill(int fd) {
    char block[4096] = {0};
    while (write(fd, block, sizeof block) > 0) {
    }
    EXPECT_EQ(errno, EAGAIN);
}

CASE(splice_waits_for_a_pipe_as_the_pipe_s_flag_says) {
    PIPE(ends);
    OK(fcntl(ends[0], F_SETFL, O_NONBLOCK));
    OK(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    int sockets[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    EXPECT_ERRNO(splice(ends[0], NULL, sockets[0], NULL, 1, 0), EAGAIN);
    fill(ends[1]);
    EXPECT_EQ(write(sockets[0], "x", 1), 1);
    EXPECT_ERRNO(splice(sockets[1], NULL, ends[1], NULL, 1, 0), EAGAIN);
}

CASE(splice_waits_for_a_pipe_whatever_the_other_flag_says) {
    PIPE(ends);
    int sockets[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets));
    EXPECT_INTERRUPTED(splice(ends[0], NULL, sockets[0], NULL, 1, 0));
    fill(sockets[0]);
    EXPECT_EQ(write(ends[1], "x", 1), 1);
    EXPECT_ERRNO(splice(ends[0], NULL, sockets[0], NULL, 1, 0), EAGAIN);
}
