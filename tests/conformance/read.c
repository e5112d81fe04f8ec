/* read(2) */
#include "again.h"

CASE(read_returns_what_is_there_and_zero_at_the_end) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    char buffer[16];
    EXPECT_EQ(read(fd, buffer, 3), 3);
    EXPECT_EQ(read(fd, buffer, 16), 2);
    EXPECT(memcmp(buffer, "lo", 2) == 0);
    EXPECT_EQ(read(fd, buffer, 16), 0);
}

CASE(read_advances_the_offset_by_what_it_read) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    char buffer[16];
    EXPECT_EQ(read(fd, buffer, 16), 5);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 5);
}

CASE(read_beyond_the_end_leaves_the_offset) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    OK(lseek(fd, 100, SEEK_SET));
    char buffer[16];
    EXPECT_EQ(read(fd, buffer, 16), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 100);
}

CASE(read_of_zero_bytes_returns_zero_even_with_a_bad_pointer) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_EQ(read(fd, bad_page(), 0), 0);
}

CASE(read_of_a_closed_descriptor_returns_ebadf) {
    char byte;
    EXPECT_ERRNO(read(-1, &byte, 1), EBADF);
    EXPECT_ERRNO(read(next_fd(), &byte, 1), EBADF);
}

CASE(read_of_a_write_only_descriptor_returns_ebadf) {
    make_file("f", "hello");
    int fd = OK(open("f", O_WRONLY));
    char byte;
    EXPECT_ERRNO(read(fd, &byte, 1), EBADF);
}

CASE(read_of_an_o_path_descriptor_returns_ebadf) {
    make_file("f", "hello");
    int fd = OK(open("f", O_PATH));
    char byte;
    EXPECT_ERRNO(read(fd, &byte, 1), EBADF);
}

CASE(read_of_a_directory_returns_eisdir) {
    int fd = OK(open(".", O_RDONLY));
    char byte;
    EXPECT_ERRNO(read(fd, &byte, 1), EISDIR);
}

CASE(read_into_a_bad_pointer_returns_efault_and_keeps_the_offset) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_ERRNO(read(fd, bad_page(), 5), EFAULT);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
}

CASE(read_into_read_only_memory_returns_efault) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    void *page = map(PAGE_SIZE);
    OK(mprotect(page, PAGE_SIZE, PROT_READ));
    EXPECT_ERRNO(read(fd, page, 5), EFAULT);
}

CASE(read_into_a_buffer_that_ends_too_early_is_short) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    char *end = page_end();
    EXPECT_EQ(read(fd, end - 2, 5), 2);
    EXPECT(memcmp(end - 2, "he", 2) == 0);
}

CASE(read_of_a_size_beyond_ssize_max_returns_einval_or_efault) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    char buffer[8];
    errno = 0;
    EXPECT_EQ(syscall(SYS_read, fd, buffer, (size_t)-1), -1);
    EXPECT(errno == EINVAL || errno == EFAULT);
}

CASE(read_of_an_offset_shared_by_dup_continues) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY)), other = OK(dup(fd));
    char buffer[8];
    EXPECT_EQ(read(fd, buffer, 2), 2);
    EXPECT_EQ(read(other, buffer, 8), 3);
    EXPECT(memcmp(buffer, "llo", 3) == 0);
}

CASE(read_of_an_offset_shared_by_fork_continues) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    char buffer[8];
    pid_t pid = IN_CHILD({ EXPECT_EQ(read(fd, buffer, 4), 4); });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(read(fd, buffer, 8), 1);
    EXPECT_EQ(buffer[0], 'o');
}

CASE(read_across_a_hole_returns_zeroes) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(pwrite(fd, "x", 1, 10000), 1);
    char *buffer = map(3 * PAGE_SIZE);
    memset(buffer, 'y', 3 * PAGE_SIZE);
    EXPECT_EQ(read(fd, buffer, 3 * PAGE_SIZE), 10001);
    for (int i = 0; i < 10000; i++)
        EXPECT_EQ(buffer[i], 0);
    EXPECT_EQ(buffer[10000], 'x');
    EXPECT_EQ(buffer[10001], 'y');
}

CASE(read_of_a_large_file_returns_all_of_it) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    size_t size = 3 << 20;
    char *data = map(size), *copy = map(size);
    for (size_t i = 0; i < size; i++)
        data[i] = i * 2654435761U >> 13;
    EXPECT_EQ(write(fd, data, size), size);
    OK(lseek(fd, 0, SEEK_SET));
    EXPECT_EQ(read(fd, copy, size), size);
    EXPECT(memcmp(data, copy, size) == 0);
}

CASE(read_of_an_empty_pipe_is_interrupted_by_a_signal) {
    PIPE(ends);
    char byte;
    EXPECT_INTERRUPTED(read(ends[0], &byte, 1));
}

static int restart_fd;

static void write_on_third_tick(int signal) {
    count_signal(signal);
    if (signals_seen == 3)
        announce(restart_fd);
}

CASE(read_of_an_empty_pipe_restarts_with_sa_restart) {
    PIPE(ends);
    restart_fd = ends[1];
    tick(write_on_third_tick, SA_RESTART);
    char byte;
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
    EXPECT(signals_seen >= 3);
}

CASE(read_of_a_pipe_with_some_data_does_not_wait_for_more) {
    PIPE(ends);
    EXPECT_EQ(write(ends[1], "abc", 3), 3);
    char buffer[16];
    EXPECT_EQ(read(ends[0], buffer, 16), 3);
}

CASE(read_of_a_program_file_works) {
    int fd = OK(open(program_path, O_RDONLY));
    char magic[4];
    EXPECT_EQ(read(fd, magic, 4), 4);
    EXPECT(memcmp(magic, "\177ELF", 4) == 0);
}

CASE(read_into_a_page_behind_a_files_end_takes_nothing_from_a_pipe) {
    char name[] = "short-XXXXXX", byte = 0;
    int ends[2], fd = OK(mkstemp(name));
    OK(unlink(name));
    EXPECT_EQ(write(fd, "x", 1), 1);
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    EXPECT(pages != MAP_FAILED);
    OK(pipe(ends));
    for (int round = 0; round < 50; round++) {
        EXPECT_EQ(write(ends[1], "y", 1), 1);
        EXPECT_ERRNO(read(ends[0], pages + 4096, 1), EFAULT);
        EXPECT_EQ(read(ends[0], &byte, 1), 1);
        EXPECT_EQ(byte, 'y');
    }
}

CASE(read_again_and_again_ends_where_the_memory_does) {
    int fd = used_file("f", 'a');
    char *buffer = map(LARGE);
    OK(mprotect(buffer + LARGE / 2, LARGE / 2, PROT_READ));
    EXPECT_EQ(read(fd, buffer, LARGE), LARGE / 2);
    EXPECT(all_are(buffer, LARGE / 2, 'a') && all_are(buffer + LARGE / 2, LARGE / 2, 0));
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), LARGE / 2);
    EXPECT_ERRNO(read(fd, buffer + LARGE / 2, LARGE / 2), EFAULT);
}

CASE(read_again_and_again_ends_where_the_file_does) {
    int fd = used_file("f", 'a');
    char *buffer = map(LARGE);
    EXPECT_EQ(pread(fd, buffer, LARGE, LARGE / 2), LARGE / 2);
    OK(ftruncate(fd, LARGE / 4 + 100));
    EXPECT_EQ(pread(fd, buffer, LARGE, 0), LARGE / 4 + 100);
    EXPECT_EQ(pread(fd, buffer, LARGE, LARGE / 2), 0);
    OK(ftruncate(fd, LARGE));
    EXPECT_EQ(pread(fd, buffer, LARGE, 0), LARGE);
    EXPECT(all_are(buffer, LARGE / 4 + 100, 'a'));
    EXPECT(all_are(buffer + LARGE / 4 + 100, LARGE - LARGE / 4 - 100, 0));
}

CASE(read_again_and_again_of_holes_leaves_them) {
    int fd = used_file("f", 'a');
    char *buffer = map(LARGE);
    OK(ftruncate(fd, 0));
    OK(ftruncate(fd, LARGE));
    EXPECT_EQ(pwrite(fd, "x", 1, LARGE / 2), 1);
    for (int round = 0; round < 4; round++) {
        EXPECT_EQ(pread(fd, buffer, LARGE, 0), LARGE);
        EXPECT(all_are(buffer, LARGE / 2, 0) && buffer[LARGE / 2] == 'x');
    }
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT(status.st_blocks * 512 < (long)LARGE / 2);
}
