/* pread(2), pwrite(2) */
#include "case.h"

CASE(pread_reads_at_the_position_and_keeps_the_offset) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    char buffer[8];
    EXPECT_EQ(pread(fd, buffer, 8, 2), 3);
    EXPECT(memcmp(buffer, "llo", 3) == 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
}

CASE(pread_at_or_beyond_the_end_returns_zero) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    char byte;
    EXPECT_EQ(pread(fd, &byte, 1, 5), 0);
    EXPECT_EQ(pread(fd, &byte, 1, INT64_MAX - 1), 0);
}

CASE(pread_of_a_negative_position_returns_einval) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    char byte;
    EXPECT_ERRNO(pread(fd, &byte, 1, -1), EINVAL);
}

CASE(pread_of_a_pipe_returns_espipe) {
    PIPE(ends);
    char byte;
    EXPECT_ERRNO(pread(ends[0], &byte, 1, 0), ESPIPE);
    EXPECT_ERRNO(pwrite(ends[1], "x", 1, 0), ESPIPE);
}

CASE(pread_of_a_pipe_returns_espipe_whichever_end_it_is) {
    int ends[2];
    char byte = 0;
    OK(pipe(ends));
    EXPECT_ERRNO(pread(ends[1], &byte, 1, 0), ESPIPE);
    EXPECT_ERRNO(pwrite(ends[0], &byte, 1, 0), ESPIPE);
}

CASE(pread_of_a_directory_returns_eisdir) {
    int fd = OK(open(".", O_RDONLY));
    char byte;
    EXPECT_ERRNO(pread(fd, &byte, 1, 0), EISDIR);
}

CASE(pwrite_writes_at_the_position_and_keeps_the_offset) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    EXPECT_EQ(pwrite(fd, "XY", 2, 4), 2);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
    EXPECT_STR(file_content("f"), "hellXY");
}

CASE(pwrite_with_o_append_appends_whatever_the_position) {
    make_file("f", "hello");
    int fd = OK(open("f", O_WRONLY | O_APPEND));
    EXPECT_EQ(pwrite(fd, "!", 1, 0), 1);
    EXPECT_STR(file_content("f"), "hello!");
}

CASE(pwrite_of_a_negative_position_returns_einval) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    EXPECT_ERRNO(pwrite(fd, "x", 1, -1), EINVAL);
}

CASE(pwrite_to_a_read_only_descriptor_returns_ebadf) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_ERRNO(pwrite(fd, "x", 1, 0), EBADF);
}

CASE(pread_into_a_bad_pointer_returns_efault) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDWR));
    EXPECT_ERRNO(pread(fd, bad_page(), 1, 0), EFAULT);
    EXPECT_ERRNO(pwrite(fd, bad_page(), 1, 0), EFAULT);
}

CASE(pread_and_pwrite_that_would_end_beyond_the_largest_offset_return_einval) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    char byte;
    EXPECT_EQ(pread(fd, &byte, 1, INT64_MAX - 1), 0);
    EXPECT_ERRNO(pread(fd, &byte, 2, INT64_MAX - 1), EINVAL);
    EXPECT_ERRNO(pwrite(fd, "xy", 2, INT64_MAX - 1), EINVAL);
    EXPECT_ERRNO(read(fd, bad_page(), SIZE_MAX), EFAULT);
}
