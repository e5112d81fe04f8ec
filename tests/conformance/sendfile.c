/* sendfile(2), copy_file_range(2) */
#include "case.h"
#include <sys/sendfile.h>

CASE(sendfile_copies_from_the_offset_and_advances_it) {
    make_file("f", "hello world");
    int from = OK(open("f", O_RDONLY)), to = OK(open("g", O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(sendfile(to, from, NULL, 5), 5);
    EXPECT_EQ(lseek(from, 0, SEEK_CUR), 5);
    EXPECT_STR(file_content("g"), "hello");
}

CASE(sendfile_with_a_position_keeps_the_offset) {
    make_file("f", "hello world");
    int from = OK(open("f", O_RDONLY)), to = OK(open("g", O_RDWR | O_CREAT, 0600));
    off_t position = 6;
    EXPECT_EQ(sendfile(to, from, &position, 100), 5);
    EXPECT_EQ(position, 11);
    EXPECT_EQ(lseek(from, 0, SEEK_CUR), 0);
    EXPECT_STR(file_content("g"), "world");
}

CASE(sendfile_to_a_pipe_and_a_socket_works) {
    make_file("f", "hello");
    int from = OK(open("f", O_RDONLY)), pair[2];
    PIPE(ends);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    off_t position = 0;
    EXPECT_EQ(sendfile(ends[1], from, &position, 5), 5);
    position = 1;
    EXPECT_EQ(sendfile(pair[1], from, &position, 4), 4);
    char buffer[8];
    EXPECT_EQ(read(ends[0], buffer, 8), 5);
    EXPECT_EQ(read(pair[0], buffer, 8), 4);
    EXPECT(memcmp(buffer, "ello", 4) == 0);
}

CASE(sendfile_at_the_end_returns_zero) {
    make_file("f", "");
    PIPE(ends);
    EXPECT_EQ(sendfile(ends[1], OK(open("f", O_RDONLY)), NULL, 10), 0);
}

CASE(sendfile_with_bad_arguments_fails) {
    make_file("f", "hello");
    int from = OK(open("f", O_RDONLY)), append = OK(open("g", O_WRONLY | O_CREAT | O_APPEND, 0600));
    PIPE(ends);
    off_t negative = -1;
    EXPECT_ERRNO(sendfile(-1, from, NULL, 1), EBADF);
    EXPECT_ERRNO(sendfile(ends[1], -1, NULL, 1), EBADF);
    EXPECT_ERRNO(sendfile(from, from, NULL, 1), EBADF);
    EXPECT_ERRNO(sendfile(append, from, NULL, 1), EINVAL);
    EXPECT_ERRNO(sendfile(ends[1], from, &negative, 1), EINVAL);
    EXPECT_ERRNO(sendfile(ends[1], from, bad_page(), 1), EFAULT);
}

CASE(sendfile_to_a_read_only_descriptor_returns_ebadf_whatever_the_source) {
    int ends[2], fd = OK(open("file", O_RDONLY | O_CREAT, 0600));
    OK(pipe(ends));
    EXPECT_ERRNO(sendfile(fd, ends[0], NULL, 1), EBADF);
    EXPECT_ERRNO(sendfile(ends[1], ends[0], NULL, 1), EINVAL);
}

CASE(sendfile_of_a_large_file_copies_all_of_it) {
    int from = OK(open("f", O_RDWR | O_CREAT, 0600)), to = OK(open("g", O_RDWR | O_CREAT, 0600));
    size_t size = 1 << 20;
    char *data = map(size), *copy = map(size);
    for (size_t i = 0; i < size; i++)
        data[i] = i % 253;
    EXPECT_EQ(write(from, data, size), size);
    off_t position = 0;
    while (position < (off_t)size)
        EXPECT(sendfile(to, from, &position, size - position) > 0);
    EXPECT_EQ(pread(to, copy, size, 0), size);
    EXPECT(memcmp(data, copy, size) == 0);
}

CASE(copy_file_range_copies_between_files) {
    make_file("f", "hello world");
    int from = OK(open("f", O_RDONLY)), to = OK(open("g", O_RDWR | O_CREAT, 0600));
    off_t in = 6, out = 2;
    EXPECT_EQ(copy_file_range(from, &in, to, &out, 100, 0), 5);
    EXPECT_EQ(in, 11);
    EXPECT_EQ(out, 7);
    char buffer[8];
    EXPECT_EQ(pread(to, buffer, 8, 0), 7);
    EXPECT(memcmp(buffer, "\0\0world", 7) == 0);
}

CASE(copy_file_range_without_positions_uses_the_offsets) {
    make_file("f", "hello");
    int from = OK(open("f", O_RDONLY)), to = OK(open("g", O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(copy_file_range(from, NULL, to, NULL, 3, 0), 3);
    EXPECT_EQ(copy_file_range(from, NULL, to, NULL, 100, 0), 2);
    EXPECT_EQ(copy_file_range(from, NULL, to, NULL, 100, 0), 0);
    EXPECT_STR(file_content("g"), "hello");
}

CASE(copy_file_range_between_file_systems_returns_exdev) {
    int memory = OK(memfd_create("memory", 0)), file = OK(open("f", O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(write(memory, "hello", 5), 5);
    OK(lseek(memory, 0, SEEK_SET));
    EXPECT_ERRNO(copy_file_range(memory, NULL, file, NULL, 5, 0), EXDEV);
    EXPECT_EQ(sendfile(file, memory, NULL, 5), 5);
    EXPECT_STR(file_content("f"), "hello");
}

CASE(copy_file_range_with_bad_arguments_fails) {
    make_file("f", "hello");
    int from = OK(open("f", O_RDWR)), to = OK(open("g", O_RDWR | O_CREAT, 0600));
    PIPE(ends);
    off_t in = 0, out = 2;
    EXPECT_ERRNO(copy_file_range(from, NULL, to, NULL, 1, 1), EINVAL);
    EXPECT_ERRNO(copy_file_range(from, NULL, -1, NULL, 1, 0), EBADF);
    EXPECT_ERRNO(copy_file_range(from, &in, from, &out, 4, 0), EINVAL);
    EXPECT_ERRNO(copy_file_range(ends[0], NULL, to, NULL, 1, 0), EINVAL);
    EXPECT_ERRNO(copy_file_range(from, NULL, OK(open("g", O_RDONLY)), NULL, 1, 0), EBADF);
    EXPECT_ERRNO(copy_file_range(from, NULL, OK(open("g", O_WRONLY | O_APPEND)), NULL, 1, 0), EBADF);
    EXPECT_ERRNO(copy_file_range(OK(open(".", O_RDONLY)), NULL, to, NULL, 1, 0), EISDIR);
}

CASE(sendfile_of_a_negative_count_fails_before_the_output_is_looked_at) {
    make_file("f", "hello");
    EXPECT_ERRNO(sendfile(-1, OK(open("f", O_RDONLY)), NULL, -1), EINVAL);
}

CASE(sendfile_of_nothing_returns_zero_even_from_a_pipe) {
    PIPE(from);
    PIPE(to);
    EXPECT_EQ(sendfile(to[1], from[0], NULL, 0), 0);
    EXPECT_ERRNO(sendfile(to[1], from[0], NULL, 1), EINVAL);
    EXPECT_ERRNO(sendfile(to[0], from[0], NULL, 0), EBADF);
}

CASE(copy_file_range_of_more_than_offsets_can_say_returns_eoverflow) {
    make_file("from", "0123456789");
    int from = OK(open("from", O_RDONLY)), to = OK(open("to", O_RDWR | O_CREAT, 0600));
    loff_t one = 1;
    EXPECT_ERRNO(copy_file_range(from, &one, to, NULL, SIZE_MAX, 0), EOVERFLOW);
    EXPECT_ERRNO(copy_file_range(from, NULL, to, &one, SIZE_MAX, 0), EOVERFLOW);
    EXPECT_EQ(copy_file_range(from, NULL, to, NULL, SIZE_MAX, 0), 10);
}

CASE(sendfile_by_another_user_that_waits_while_chmod_sets_set_user_id_takes_it_away) {
    NEEDS_ROOT();
    enum { WRITES = 8, SIZE = 32 << 20 };
    char *bytes = map_shared(SIZE);
    volatile int *is_writing = map_shared(PAGE_SIZE);
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    make_file("source", "y");
    int source = OK(open("source", O_RDONLY));
    for (int round = 0; round < WRITES; round++) {
        OK(ftruncate(fd, SIZE));
        OK(fchmod(fd, 0755));
        EXPECT_EQ(pwrite(fd, "x", 1, 0), 1);
        OK(lseek(fd, 0, SEEK_SET));
        OK(lseek(source, 0, SEEK_SET));
        bytes[0] = 0;
        *is_writing = 0;
        /* While all is read, whoever writes at the position may have to wait for it. */
        pid_t reader = IN_CHILD(EXPECT_EQ(read(fd, bytes, SIZE), SIZE));
        pid_t writer = IN_CHILD({
            OK(syscall(SYS_setresgid, 1234, 1234, 1234));
            OK(syscall(SYS_setresuid, 1234, 1234, 1234));
            await_value((volatile int *)bytes, 'x');
            *is_writing = 1;
            EXPECT_EQ(sendfile(fd, source, NULL, 1), 1);
        });
        await_value(is_writing, 1);
        usleep(1000);
        OK(fchmod(fd, 04755));
        char first;
        EXPECT_EQ(pread(fd, &first, 1, 0), 1);
        struct stat status;
        OK(fstat(fd, &status));
        bool is_before = first != 'y' && status.st_size == SIZE;
        EXPECT_EXIT(reader, 0);
        EXPECT_EXIT(writer, 0);
        OK(fstat(fd, &status));
        if (is_before) EXPECT_EQ(status.st_mode & 07777, 0755);
    }
}
