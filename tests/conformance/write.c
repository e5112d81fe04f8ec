/* write(2) */
#include "again.h"

CASE(write_advances_the_offset_and_grows_the_file) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(write(fd, "hello", 5), 5);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 5);
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 5);
}

CASE(write_overwrites_in_place) {
    make_file("f", "hello");
    int fd = OK(open("f", O_WRONLY));
    OK(lseek(fd, 1, SEEK_SET));
    EXPECT_EQ(write(fd, "EL", 2), 2);
    EXPECT_STR(file_content("f"), "hELlo");
}

CASE(write_with_o_append_goes_to_the_end_whatever_the_offset) {
    make_file("f", "one");
    int fd = OK(open("f", O_RDWR | O_APPEND));
    OK(lseek(fd, 0, SEEK_SET));
    EXPECT_EQ(write(fd, "two", 3), 3);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 6);
    EXPECT_STR(file_content("f"), "onetwo");
}

CASE(write_behind_the_end_leaves_a_hole_of_zeroes) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(lseek(fd, 3, SEEK_SET));
    EXPECT_EQ(write(fd, "x", 1), 1);
    char buffer[4];
    EXPECT_EQ(pread(fd, buffer, 4, 0), 4);
    EXPECT(memcmp(buffer, "\0\0\0x", 4) == 0);
}

CASE(write_of_zero_bytes_returns_zero_and_changes_nothing) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(lseek(fd, 10, SEEK_SET));
    EXPECT_EQ(write(fd, "", 0), 0);
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 0);
}

CASE(write_to_a_closed_descriptor_returns_ebadf) {
    EXPECT_ERRNO(write(-1, "x", 1), EBADF);
    EXPECT_ERRNO(write(next_fd(), "x", 1), EBADF);
}

CASE(write_to_a_read_only_descriptor_returns_ebadf) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_ERRNO(write(fd, "x", 1), EBADF);
}

CASE(write_from_a_bad_pointer_returns_efault) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    EXPECT_ERRNO(write(fd, bad_page(), 1), EFAULT);
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 0);
}

CASE(write_from_a_buffer_that_ends_too_early_is_short_or_efault) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    char *end = page_end();
    memcpy(end - 2, "ab", 2);
    ssize_t count = write(fd, end - 2, 5);
    EXPECT(count == 2 || (count == -1 && errno == EFAULT));
}

CASE(write_to_a_pipe_without_readers_returns_epipe_and_raises_sigpipe) {
    PIPE(ends);
    OK(close(ends[0]));
    handle(SIGPIPE, count_signal, 0);
    EXPECT_ERRNO(write(ends[1], "x", 1), EPIPE);
    EXPECT_EQ(signals_seen, 1);
}

CASE(write_to_a_pipe_without_readers_kills_by_default) {
    PIPE(ends);
    OK(close(ends[0]));
    pid_t pid = IN_CHILD({ write(ends[1], "x", 1); });
    EXPECT_KILLED(pid, SIGPIPE);
}

CASE(write_to_a_full_pipe_is_interrupted_by_a_signal) {
    PIPE(ends);
    OK(fcntl(ends[1], F_SETPIPE_SZ, 4096));
    char *page = map(PAGE_SIZE);
    EXPECT_EQ(write(ends[1], page, PAGE_SIZE), PAGE_SIZE);
    EXPECT_INTERRUPTED(write(ends[1], page, 1));
}

CASE(write_interrupted_in_the_middle_returns_a_short_count) {
    PIPE(ends);
    int size = OK(fcntl(ends[1], F_GETPIPE_SZ));
    char *data = map(size + 4096);
    tick(count_signal, 0);
    EXPECT_EQ(write(ends[1], data, size + 4096), size);
}

CASE(write_of_nothing_changes_neither_times_nor_position) {
    int fd = OK(open("f", O_RDWR | O_CREAT | O_APPEND, 0600));
    EXPECT_EQ(write(fd, "hello", 5), 5);
    struct timespec times[2] = {{1, 0}, {2, 0}};
    OK(futimens(fd, times));
    OK(lseek(fd, 2, SEEK_SET));
    EXPECT_EQ(write(fd, "", 0), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 2);
    EXPECT_EQ(pwrite(fd, "", 0, 1), 0);
    OK(fcntl(fd, F_SETFL, 0));
    EXPECT_EQ(write(fd, "", 0), 0);
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_mtim.tv_sec, 2);
}

CASE(write_beyond_the_file_size_limit_raises_sigxfsz) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    struct rlimit limit = {10, 10};
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    handle(SIGXFSZ, count_signal, 0);
    EXPECT_EQ(write(fd, "0123456789abc", 13), 10);
    EXPECT_EQ(signals_seen, 0);
    EXPECT_ERRNO(write(fd, "x", 1), EFBIG);
    EXPECT_EQ(signals_seen, 1);
}

CASE(write_by_a_non_owner_clears_set_user_id) {
    NEEDS_ROOT();
    make_file("f", "x");
    OK(chmod("f", 06777));
    OK(chmod(".", 0777));
    pid_t pid = IN_CHILD({
        int fd = OK(open("f", O_WRONLY));
        OK(syscall(SYS_setuid, 1234));
        EXPECT_EQ(write(fd, "y", 1), 1);
    });
    EXPECT_EXIT(pid, 0);
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mode & 07777, 0777);
}

CASE(write_by_the_owner_clears_set_user_id_too) {
    make_file("f", "x");
    OK(chmod("f", 06755));
    if (geteuid() == 0) {
        OK(chown("f", 1234, 1234));
        OK(chmod("f", 06755));
        OK(chmod(".", 0777));
    }
    pid_t pid = IN_CHILD({
        if (geteuid() == 0) {
            OK(syscall(SYS_setgid, 1234));
            OK(syscall(SYS_setuid, 1234));
        }
        int fd = OK(open("f", O_WRONLY));
        EXPECT_EQ(write(fd, "y", 1), 1);
        EXPECT_EQ(write(fd, "y", 1), 1);
    });
    EXPECT_EXIT(pid, 0);
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mode & 07777, 0755);
}

CASE(write_by_a_privileged_process_keeps_set_user_id) {
    NEEDS_ROOT();
    make_file("f", "x");
    OK(chmod("f", 06777));
    int fd = OK(open("f", O_WRONLY));
    EXPECT_EQ(write(fd, "y", 1), 1);
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_mode & 07777, 06777);
}

CASE(write_updates_the_modification_time) {
    make_file("f", "x");
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    OK(utimensat(AT_FDCWD, "f", old, 0));
    int fd = OK(open("f", O_WRONLY));
    EXPECT_EQ(write(fd, "y", 1), 1);
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT(status.st_mtim.tv_sec > 1000000);
}

#define ROUNDS 300

/* Writes `rounds` numbers, and then one more at each of them. */
static void write_often(int fd, int rounds) {
    for (int round = 0; round < rounds; round++)
        EXPECT_EQ(write(fd, &round, sizeof round), sizeof round);
    for (int round = 0; round < rounds; round++) {
        int more = round + 1;
        EXPECT_EQ(pwrite(fd, &more, sizeof more, round * sizeof more), sizeof more);
    }
}

static int64_t nanoseconds(struct timespec time) { return time.tv_sec * 1000000000LL + time.tv_nsec; }

static int64_t now(void) {
    struct timespec time;
    OK(clock_gettime(CLOCK_REALTIME, &time));
    return nanoseconds(time);
}

/* The clock that files are dated by. */
static int64_t tick_of_now(void) {
    struct timespec time;
    OK(clock_gettime(CLOCK_REALTIME_COARSE, &time));
    return nanoseconds(time);
}

CASE(write_of_a_busy_process_is_seen_by_others_at_once) {
    volatile int *turn = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({
        for (int round = 1; round < 20; round += 2) {
            await_value(turn, round);
            struct stat status;
            OK(stat("f", &status));
            EXPECT_EQ(status.st_size, ROUNDS * sizeof(int) + round);
            *turn = round + 1;
        }
        await_value(turn, 21);
        int numbers[ROUNDS];
        EXPECT_EQ(read(OK(open("f", O_RDONLY)), numbers, sizeof numbers), sizeof numbers);
        for (int i = 0; i < ROUNDS; i++)
            EXPECT_EQ(numbers[i], i + 1);
        *turn = 22;
    });
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    write_often(fd, ROUNDS);
    for (int round = 1; round < 22; round += 2) {
        if (round < 20)
            EXPECT_EQ(pwrite(fd, "x", 1, ROUNDS * sizeof(int) + round - 1), 1);
        *turn = round;
        await_value(turn, round + 1);
    }
    EXPECT_EXIT(pid, 0);
}

CASE(write_of_a_busy_process_is_dated_when_it_is_made) {
    int early = OK(open("early", O_RDWR | O_CREAT, 0600)), late = OK(open("late", O_RDWR | O_CREAT, 0600));
    write_often(early, ROUNDS);
    write_often(late, ROUNDS);
    int64_t before = tick_of_now();
    EXPECT_EQ(pwrite(early, "x", 1, 0), 1);
    int64_t after = now();
    while (now() < after + 100000000)
        ;
    EXPECT_EQ(pwrite(late, "x", 1, 0), 1);
    struct stat first, second;
    OK(fstat(early, &first));
    OK(fstat(late, &second));
    EXPECT(nanoseconds(first.st_mtim) >= before);
    EXPECT(nanoseconds(first.st_mtim) <= after);
    EXPECT(nanoseconds(first.st_ctim) <= after);
    EXPECT(nanoseconds(second.st_mtim) >= after + 90000000);
}

CASE(write_of_a_busy_process_and_lseek_agree_on_the_offset) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    write_often(fd, ROUNDS);
    int other = OK(dup(fd));
    EXPECT_EQ(write(other, "ab", 2), 2);
    EXPECT_EQ(write(fd, "cd", 2), 2);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), ROUNDS * sizeof(int) + 4);
    EXPECT_EQ(lseek(fd, -3, SEEK_END), ROUNDS * sizeof(int) + 1);
    EXPECT_EQ(write(other, "xy", 2), 2);
    char end[8] = {0};
    EXPECT_EQ(pread(fd, end, sizeof end, ROUNDS * sizeof(int)), 4);
    EXPECT_STR(end, "axyd");
    OK(fcntl(fd, F_SETFL, O_APPEND));
    EXPECT_EQ(pwrite(fd, "!", 1, 0), 1);
    EXPECT_EQ(pread(fd, end, sizeof end, ROUNDS * sizeof(int)), 5);
    EXPECT_STR(end, "axyd!");
}

CASE(write_of_a_busy_process_stops_at_the_file_size_limit) {
    handle(SIGXFSZ, count_signal, 0);
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    write_often(fd, ROUNDS);
    OK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ROUNDS * sizeof(int) + 6, RLIM_INFINITY}));
    for (int round = 0; round < 3; round++)
        EXPECT_EQ(write(fd, "xy", 2), 2);
    EXPECT_ERRNO(write(fd, "xy", 2), EFBIG);
    EXPECT_EQ(signals_seen, 1);
    EXPECT_EQ(pwrite(fd, "abcd", 4, ROUNDS * sizeof(int) + 4), 2);
    EXPECT_EQ(lseek(fd, 0, SEEK_END), ROUNDS * sizeof(int) + 6);
}

CASE(write_of_a_busy_process_from_a_bad_pointer_returns_efault) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    write_often(fd, ROUNDS);
    EXPECT_ERRNO(write(fd, bad_page(), 10), EFAULT);
    EXPECT_ERRNO(pwrite(fd, "x", 1, -1), EINVAL);
    EXPECT_ERRNO(pwrite(fd, "xy", 2, INT64_MAX), EINVAL);
    EXPECT_EQ(write(fd, "", 0), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), ROUNDS * sizeof(int));
    EXPECT_EQ(lseek(fd, 0, SEEK_END), ROUNDS * sizeof(int));
}

CASE(write_of_a_busy_process_lasts_when_it_is_killed) {
    volatile int *turn = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({
        int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
        write_often(fd, ROUNDS);
        EXPECT_EQ(write(fd, "the end", 7), 7);
        *turn = 1;
        for (;;)
            __builtin_ia32_pause();
    });
    await_value(turn, 1);
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
    EXPECT_STR(file_content("f") + ROUNDS * sizeof(int), "the end");
}

CASE(write_of_a_busy_process_that_another_has_made_shorter_leaves_zeroes) {
    volatile int *turn = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({
        await_value(turn, 1);
        OK(truncate("f", 3));
        *turn = 2;
    });
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    write_often(fd, ROUNDS);
    EXPECT_EQ(pwrite(fd, "abcdef", 6, 0), 6);
    *turn = 1;
    await_value(turn, 2);
    EXPECT_EQ(pwrite(fd, "x", 1, 5), 1);
    char content[16] = "................";
    EXPECT_EQ(pread(fd, content, sizeof content, 0), 6);
    EXPECT(memcmp(content, "abc\0\0x", 6) == 0);
    EXPECT_EXIT(pid, 0);
}

CASE(write_of_a_busy_process_shows_in_a_mapping) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    write_often(fd, 1024);
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(memory != MAP_FAILED);
    for (int round = 0; round < 300; round++) {
        char byte = 'a' + round % 26;
        EXPECT_EQ(pwrite(fd, &byte, 1, round), 1);
        EXPECT_EQ(memory[round], byte);
    }
}

CASE(write_of_a_busy_process_clears_set_user_id) {
    volatile int *turn = map_shared(PAGE_SIZE);
    OK(chmod(".", 0777));
    if (geteuid() == 0)
        OK(setresuid(1000, 1000, 1000));
    pid_t pid = IN_CHILD({
        await_value(turn, 1);
        OK(chmod("f", 04777));
        *turn = 2;
        await_value(turn, 3);
        struct stat status;
        OK(stat("f", &status));
        EXPECT_EQ(status.st_mode & 07777, 0777);
    });
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    write_often(fd, ROUNDS);
    *turn = 1;
    await_value(turn, 2);
    EXPECT_EQ(pwrite(fd, "x", 1, 0), 1);
    *turn = 3;
    EXPECT_EXIT(pid, 0);
}

CASE(write_of_a_busy_process_and_of_its_child_stay_apart) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600)), mark = -1;
    write_often(fd, ROUNDS);
    pid_t pid = IN_CHILD({
        int own = OK(open("g", O_RDWR | O_CREAT, 0600));
        write_often(own, ROUNDS);
        EXPECT_EQ(write(own, &mark, sizeof mark), sizeof mark);
        /* The open file is both's, and so is its offset. */
        EXPECT_EQ(write(fd, &mark, sizeof mark), sizeof mark);
    });
    EXPECT_EXIT(pid, 0);
    write_often(fd, 2);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), (ROUNDS + 3) * sizeof mark);
    const char *const names[] = {"f", "g"};
    const int sizes[] = {(ROUNDS + 3) * sizeof mark, (ROUNDS + 1) * sizeof mark};
    for (int file = 0; file < 2; file++) {
        int numbers[ROUNDS + 4];
        EXPECT_EQ(read(OK(open(names[file], O_RDONLY)), numbers, sizeof numbers), sizes[file]);
        for (int i = 0; i < ROUNDS; i++)
            EXPECT_EQ(numbers[i], i + 1);
        EXPECT_EQ(numbers[ROUNDS], mark);
    }
}

CASE(write_again_and_again_is_what_others_see) {
    int fd = used_file("f", 'a'), other = OK(open("f", O_RDONLY));
    char *mapped = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *buffer = map(LARGE);
    EXPECT(mapped != MAP_FAILED && all_are(mapped, LARGE, 'a'));
    memset(buffer, 'b', LARGE);
    /* The second half is new. */
    EXPECT_EQ(pwrite(fd, buffer, LARGE, LARGE / 2), LARGE);
    EXPECT(all_are(mapped, LARGE / 2, 'a') && all_are(mapped + LARGE / 2, LARGE / 2, 'b'));
    EXPECT_EQ(pread(other, buffer, LARGE, LARGE / 2), LARGE);
    EXPECT(all_are(buffer, LARGE, 'b'));
    mapped[LARGE - 1] = 'c';
    EXPECT_EQ(pread(other, buffer, LARGE, 0), LARGE);
    EXPECT(all_are(buffer, LARGE / 2, 'a') && buffer[LARGE - 2] == 'b' && buffer[LARGE - 1] == 'c');
}

CASE(write_again_and_again_ends_where_the_memory_does) {
    int fd = used_file("f", 'a');
    char *buffer = map(LARGE);
    memset(buffer, 'b', LARGE);
    OK(munmap(buffer + LARGE / 2, LARGE / 2));
    EXPECT_EQ(write(fd, buffer, LARGE), LARGE / 2);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), LARGE / 2);
    EXPECT_ERRNO(write(fd, buffer + LARGE / 2, LARGE / 2), EFAULT);
    char *found = map(LARGE);
    EXPECT_EQ(pread(fd, found, LARGE, 0), LARGE);
    EXPECT(all_are(found, LARGE / 2, 'b') && all_are(found + LARGE / 2, LARGE / 2, 'a'));
}

CASE(write_again_and_again_from_several_pieces_keeps_their_order) {
    int fd = used_file("f", 'a');
    char *buffer = map(LARGE);
    memset(buffer, 'b', LARGE);
    memset(buffer + LARGE / 2, 'c', LARGE / 2);
    struct iovec pieces[] = {{buffer + LARGE / 2, LARGE / 2}, {buffer, 1}, {buffer, LARGE / 2 - 1}};
    EXPECT_EQ(pwritev(fd, pieces, 3, 0), LARGE);
    char *found = map(LARGE);
    EXPECT_EQ(pread(fd, found, LARGE, 0), LARGE);
    EXPECT(all_are(found, LARGE / 2, 'c') && all_are(found + LARGE / 2, LARGE / 2, 'b'));
}

CASE(write_again_and_again_from_a_mapping_of_the_file_itself) {
    int fd = used_file("f", 'a');
    char *mapped = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(mapped != MAP_FAILED);
    memset(mapped, 'b', LARGE / 2);
    EXPECT_EQ(pwrite(fd, mapped, LARGE / 2, LARGE / 2), LARGE / 2);
    EXPECT_EQ(pwrite(fd, mapped, LARGE, 0), LARGE);
    EXPECT(all_are(mapped, LARGE, 'b'));
}
