/* lseek(2) */
#include "case.h"

CASE(lseek_moves_from_start_current_and_end) {
    make_file("f", "0123456789");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_EQ(lseek(fd, 4, SEEK_SET), 4);
    EXPECT_EQ(lseek(fd, 3, SEEK_CUR), 7);
    EXPECT_EQ(lseek(fd, -2, SEEK_CUR), 5);
    EXPECT_EQ(lseek(fd, -1, SEEK_END), 9);
    EXPECT_EQ(lseek(fd, 100, SEEK_END), 110);
}

CASE(lseek_before_the_start_returns_einval_and_stays) {
    make_file("f", "0123456789");
    int fd = OK(open("f", O_RDONLY));
    OK(lseek(fd, 4, SEEK_SET));
    EXPECT_ERRNO(lseek(fd, -1, SEEK_SET), EINVAL);
    EXPECT_ERRNO(lseek(fd, -5, SEEK_CUR), EINVAL);
    EXPECT_ERRNO(lseek(fd, -11, SEEK_END), EINVAL);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 4);
}

CASE(lseek_with_an_unknown_whence_returns_einval) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_ERRNO(lseek(fd, 0, 5), EINVAL);
    EXPECT_ERRNO(lseek(fd, 0, -1), EINVAL);
}

CASE(lseek_that_overflows_is_refused) {
    make_file("f", "0123456789");
    int fd = OK(open("f", O_RDONLY));
    OK(lseek(fd, 4, SEEK_SET));
    errno = 0;
    EXPECT_EQ(lseek(fd, INT64_MAX, SEEK_CUR), -1);
    EXPECT(errno == EOVERFLOW || errno == EINVAL);
}

CASE(lseek_of_a_pipe_or_socket_returns_espipe) {
    PIPE(ends);
    EXPECT_ERRNO(lseek(ends[0], 0, SEEK_CUR), ESPIPE);
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    EXPECT_ERRNO(lseek(pair[0], 0, SEEK_CUR), ESPIPE);
}

CASE(lseek_of_a_closed_descriptor_returns_ebadf) { EXPECT_ERRNO(lseek(next_fd(), 0, SEEK_CUR), EBADF); }

CASE(lseek_of_an_o_path_descriptor_returns_ebadf) {
    int fd = OK(open(".", O_PATH));
    EXPECT_ERRNO(lseek(fd, 0, SEEK_CUR), EBADF);
}

CASE(lseek_finds_data_and_holes) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(fd, 1 << 20));
    EXPECT_EQ(pwrite(fd, "x", 1, 512 << 10), 1);
    off_t data = OK(lseek(fd, 0, SEEK_DATA));
    EXPECT(data <= 512 << 10);
    off_t hole = OK(lseek(fd, 512 << 10, SEEK_HOLE));
    EXPECT(hole > 512 << 10 && hole <= 1 << 20);
}

CASE(lseek_hole_of_a_full_file_is_its_end) {
    make_file("f", "0123456789");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_EQ(lseek(fd, 3, SEEK_DATA), 3);
    EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 10);
}

CASE(lseek_data_or_hole_beyond_the_end_returns_enxio) {
    make_file("f", "0123456789");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_ERRNO(lseek(fd, 10, SEEK_DATA), ENXIO);
    EXPECT_ERRNO(lseek(fd, 10, SEEK_HOLE), ENXIO);
}

CASE(lseek_offset_is_shared_by_duplicates_but_not_by_opens) {
    make_file("f", "0123456789");
    int fd = OK(open("f", O_RDONLY)), copy = OK(dup(fd)), other = OK(open("f", O_RDONLY));
    OK(lseek(fd, 6, SEEK_SET));
    EXPECT_EQ(lseek(copy, 0, SEEK_CUR), 6);
    EXPECT_EQ(lseek(other, 0, SEEK_CUR), 0);
}

CASE(lseek_rewinds_a_directory) {
    make_file("f", "");
    int fd = OK(open(".", O_RDONLY));
    char first[4096], second[4096];
    long count = OK(syscall(SYS_getdents64, fd, first, sizeof first));
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_EQ(syscall(SYS_getdents64, fd, second, sizeof second), count);
}
