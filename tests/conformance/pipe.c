/* pipe(2), pipe2(2), pipe(7) */
#include "case.h"
#include <pthread.h>
#include <sys/ioctl.h>

CASE(pipe_carries_bytes_in_order) {
    PIPE(ends);
    EXPECT_EQ(write(ends[1], "abc", 3), 3);
    EXPECT_EQ(write(ends[1], "def", 3), 3);
    char buffer[8];
    EXPECT_EQ(read(ends[0], buffer, 4), 4);
    EXPECT_EQ(read(ends[0], buffer + 4, 4), 2);
    EXPECT(memcmp(buffer, "abcdef", 6) == 0);
}

CASE(pipe_gives_the_two_lowest_descriptors) {
    int first = next_fd();
    PIPE(ends);
    EXPECT_EQ(ends[0], first);
    EXPECT_EQ(ends[1], first + 1);
}

CASE(pipe_ends_have_one_direction) {
    PIPE(ends);
    char byte = 0;
    EXPECT_ERRNO(write(ends[0], &byte, 1), EBADF);
    EXPECT_ERRNO(read(ends[1], &byte, 1), EBADF);
    EXPECT_EQ(fcntl(ends[0], F_GETFL), O_RDONLY);
    EXPECT_EQ(fcntl(ends[1], F_GETFL), O_WRONLY);
}

CASE(pipe2_sets_flags_on_both_ends) {
    int ends[2];
    OK(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(fcntl(ends[i], F_GETFD), FD_CLOEXEC);
        EXPECT(fcntl(ends[i], F_GETFL) & O_NONBLOCK);
    }
}

CASE(pipe2_with_unknown_flags_returns_einval) {
    int ends[2];
    EXPECT_ERRNO(pipe2(ends, O_TRUNC), EINVAL);
}

CASE(pipe_to_a_bad_pointer_returns_efault_and_leaks_no_descriptor) {
    int before = next_fd();
    EXPECT_ERRNO(syscall(SYS_pipe, bad_page()), EFAULT);
    EXPECT_EQ(next_fd(), before);
}

CASE(pipe_of_a_full_table_returns_emfile_and_leaks_no_descriptor) {
    int fd = next_fd(), ends[2];
    struct rlimit limit = {fd + 1, fd + 1};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    EXPECT_ERRNO(pipe(ends), EMFILE);
    EXPECT_EQ(next_fd(), fd);
}

CASE(pipe_holds_65536_bytes) {
    int ends[2];
    OK(pipe2(ends, O_NONBLOCK));
    char *data = map(70000);
    EXPECT_EQ(write(ends[1], data, 70000), 65536);
    EXPECT_ERRNO(write(ends[1], data, 1), EAGAIN);
}

CASE(pipe_write_up_to_pipe_buf_is_atomic) {
    int ends[2];
    OK(pipe2(ends, O_NONBLOCK));
    char *data = map(65536);
    EXPECT_EQ(write(ends[1], data, 65536 - 4096), 65536 - 4096);
    EXPECT_EQ(write(ends[1], data, 2000), 2000);
    EXPECT_ERRNO(write(ends[1], data, 4096), EAGAIN);
}

CASE(pipe_concurrent_small_writes_do_not_mix) {
    PIPE(ends);
    for (int writer = 0; writer < 4; writer++)
        if (OK(fork()) == 0) {
            char line[100];
            memset(line, 'a' + writer, sizeof line);
            for (int i = 0; i < 200; i++)
                EXPECT_EQ(write(ends[1], line, sizeof line), sizeof line);
            _exit(0);
        }
    OK(close(ends[1]));
    char line[100];
    for (int i = 0; i < 800; i++) {
        for (size_t got = 0; got < sizeof line;)
            got += OK(read(ends[0], line + got, sizeof line - got));
        for (size_t j = 1; j < sizeof line; j++)
            EXPECT_EQ(line[j], line[0]);
    }
    EXPECT_EQ(read(ends[0], line, 1), 0);
}

CASE(pipe_read_waits_until_the_writer_writes) {
    PIPE(ends);
    pid_t pid = IN_CHILD({ announce(ends[1]); });
    await(ends[0]);
    EXPECT_EXIT(pid, 0);
}

CASE(pipe_read_ends_when_the_writer_exits) {
    PIPE(ends);
    pid_t pid = IN_CHILD({});
    OK(close(ends[1]));
    char byte;
    EXPECT_EQ(read(ends[0], &byte, 1), 0);
    EXPECT_EXIT(pid, 0);
}

CASE(pipe_write_of_a_megabyte_arrives_whole) {
    PIPE(ends);
    size_t size = 1 << 20;
    pid_t pid = IN_CHILD({
        unsigned char *data = map(size);
        for (size_t i = 0; i < size; i++)
            data[i] = i % 251;
        EXPECT_EQ(write(ends[1], data, size), size);
    });
    OK(close(ends[1]));
    unsigned char buffer[5000];
    size_t total = 0;
    for (ssize_t count; (count = OK(read(ends[0], buffer, sizeof buffer))) > 0;)
        for (ssize_t i = 0; i < count; i++)
            EXPECT_EQ(buffer[i], total++ % 251);
    EXPECT_EQ(total, size);
    EXPECT_EXIT(pid, 0);
}

CASE(pipe_poll_reports_data_room_and_hangup) {
    PIPE(ends);
    struct pollfd reader = {ends[0], POLLIN, 0}, writer = {ends[1], POLLOUT, 0};
    EXPECT_EQ(poll(&reader, 1, 0), 0);
    EXPECT_EQ(poll(&writer, 1, 0), 1);
    announce(ends[1]);
    EXPECT_EQ(poll(&reader, 1, 0), 1);
    EXPECT_EQ(reader.revents, POLLIN);
    OK(close(ends[1]));
    EXPECT_EQ(poll(&reader, 1, 0), 1);
    EXPECT_EQ(reader.revents, POLLIN | POLLHUP);
}

CASE(pipe_poll_of_a_writer_without_reader_reports_an_error) {
    PIPE(ends);
    OK(close(ends[0]));
    struct pollfd writer = {ends[1], POLLOUT, 0};
    EXPECT_EQ(poll(&writer, 1, 0), 1);
    EXPECT_EQ(writer.revents, POLLOUT | POLLERR);
}

CASE(pipe_fionread_counts_the_bytes) {
    PIPE(ends);
    EXPECT_EQ(write(ends[1], "hello", 5), 5);
    int count;
    OK(ioctl(ends[0], FIONREAD, &count));
    EXPECT_EQ(count, 5);
}

CASE(pipe_packet_mode_keeps_boundaries) {
    int ends[2];
    OK(pipe2(ends, O_DIRECT));
    EXPECT_EQ(write(ends[1], "abc", 3), 3);
    EXPECT_EQ(write(ends[1], "defgh", 5), 5);
    char buffer[8];
    EXPECT_EQ(read(ends[0], buffer, 8), 3);
    EXPECT_EQ(read(ends[0], buffer, 2), 2);
    EXPECT_ERRNO(read((OK(fcntl(ends[0], F_SETFL, O_NONBLOCK)), ends[0]), buffer, 2), EAGAIN);
}

CASE(pipe_can_be_reopened_through_proc) {
    PIPE(ends);
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", ends[0]);
    int writer = OK(open(name, O_WRONLY));
    announce(writer);
    await(ends[0]);
}

static void *read_one(void *fd) {
    await(*(int *)fd);
    return NULL;
}

CASE(pipe_wakes_each_of_several_readers) {
    PIPE(ends);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, read_one, &ends[0]), 0);
    for (int i = 0; i < 4; i++)
        announce(ends[1]);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
}

CASE(pipe_ends_are_one_file) {
    PIPE(ends);
    OK(fchmod(ends[1], 0640));
    struct stat status;
    OK(fstat(ends[0], &status));
    EXPECT_EQ(status.st_mode, S_IFIFO | 0640);
}

/* Fills and empties a pipe by small writes until no kernel would see each of them. */
static void wear_in(const int ends[2]) {
    char buffer[4096];
    for (int i = 0; i < 400; i++) {
        EXPECT_EQ(write(ends[1], "0123456789", 10), 10);
        if (i % 100 == 99)
            EXPECT_EQ(read(ends[0], buffer, sizeof buffer), 1000);
    }
}

/* The others have closed their copies of `ends[1]`: a change of the descriptors has a kernel that looks then see that this process alone writes. */
static void write_alone(const int ends[2]) { OK(close(dup(ends[1]))); }

/* A child reads each byte that is written here, after polling for it or not; and this process only computes until it has. */
static void expect_to_be_heard(bool polls) {
    PIPE(ends);
    volatile int *heard = map_shared(PAGE_SIZE);
    wear_in(ends);
    IN_CHILD(
        close(ends[1]);
        for (int i = 1; i <= 100; i++) {
            struct pollfd asked = {ends[0], POLLIN, 0};
            char byte;
            if (polls)
                EXPECT_EQ(poll(&asked, 1, -1), 1);
            EXPECT_EQ(read(ends[0], &byte, 1), 1);
            EXPECT_EQ(byte, (char)i);
            *heard = i;
        });
    for (int i = 1; i <= 100; i++) {
        char byte = (char)i;
        EXPECT_EQ(write(ends[1], &byte, 1), 1);
        await_value(heard, i);
        if (i == 1)
            write_alone(ends);
    }
}

CASE(a_reader_hears_of_a_write_whose_writer_goes_on_computing) { expect_to_be_heard(false); }

CASE(a_poller_hears_of_a_write_whose_writer_goes_on_computing) { expect_to_be_heard(true); }

CASE(two_processes_that_answer_each_other_by_pipes_lose_no_turn) {
    PIPE(there);
    PIPE(back);
    wear_in(there);
    wear_in(back);
    char bytes[300] = {0};
    IN_CHILD(
        close(there[1]);
        close(back[0]);
        for (int i = 0; i < 3000; i++) {
            EXPECT_EQ(read(there[0], bytes, sizeof bytes), i % 200 + 1);
            EXPECT_EQ(write(back[1], bytes, i % 300 + 1), i % 300 + 1);
        });
    close(there[0]);
    close(back[1]);
    for (int i = 0; i < 3000; i++) {
        EXPECT_EQ(write(there[1], bytes, i % 200 + 1), i % 200 + 1);
        EXPECT_EQ(read(back[0], bytes, sizeof bytes), i % 300 + 1);
    }
    char byte;
    EXPECT_EQ(read(back[0], &byte, 1), 0);
}

CASE(each_of_two_readers_hears_of_writes_whose_writer_goes_on_computing) {
    PIPE(ends);
    volatile int *heard = map_shared(PAGE_SIZE), *ready = heard + 1;
    wear_in(ends);
    for (int reader = 0; reader < 2; reader++)
        IN_CHILD(
            close(ends[1]);
            __sync_fetch_and_add(ready, 1);
            char byte;
            while (read(ends[0], &byte, 1) == 1)
                __sync_fetch_and_add(heard, 1));
    await_value(ready, 2);
    write_alone(ends);
    for (int i = 1; i <= 200; i++) {
        EXPECT_EQ(write(ends[1], "xy", 1 + i % 2), 1 + i % 2);
        await_value(heard, i + (i + 1) / 2);
    }
}

CASE(each_reader_of_two_pipes_hears_of_writes_whose_writer_goes_on_computing) {
    int ends[2][2];
    volatile int *heard = map_shared(PAGE_SIZE), *ready = heard + 2;
    for (int i = 0; i < 2; i++) {
        OK(pipe(ends[i]));
        wear_in(ends[i]);
    }
    for (int reader = 0; reader < 2; reader++)
        IN_CHILD(
            close(ends[0][1]);
            close(ends[1][1]);
            __sync_fetch_and_add(ready, 1);
            char byte;
            while (read(ends[reader][0], &byte, 1) == 1)
                heard[reader]++);
    await_value(ready, 2);
    write_alone(ends[0]);
    write_alone(ends[1]);
    /* The one is written so often that it is written without a call, while the reader of the other sleeps. */
    for (int i = 0; i < 400; i++) {
        int which = i / 40 % 2;
        int count = heard[which] + 1;
        EXPECT_EQ(write(ends[which][1], "x", 1), 1);
        await_value(&heard[which], count);
    }
}

CASE(a_reader_that_waits_for_a_computing_writer_is_interrupted_and_times_out) {
    PIPE(ends);
    volatile int *turn = map_shared(PAGE_SIZE);
    wear_in(ends);
    pid_t reader = IN_CHILD(
        close(ends[1]);
        handle(SIGUSR1, count_signal, 0);
        struct pollfd asked = {ends[0], POLLIN, 0};
        sigset_t user;
        sigemptyset(&user);
        sigaddset(&user, SIGUSR1);
        char byte;
        for (int i = 1; i <= 30; i++) {
            *turn = 2 * i - 1;
            OK(sigprocmask(SIG_UNBLOCK, &user, NULL));
            EXPECT_ERRNO(read(ends[0], &byte, 1), EINTR);
            OK(sigprocmask(SIG_BLOCK, &user, NULL));
            EXPECT_EQ(poll(&asked, 1, 3), 0);
            *turn = 2 * i;
            EXPECT_EQ(read(ends[0], &byte, 1), 1);
        });
    await_value(turn, 1);
    write_alone(ends);
    for (int i = 1; i <= 30; i++) {
        await_value(turn, 2 * i - 1);
        /* It may not sleep yet. */
        while (*turn == 2 * i - 1) {
            OK(kill(reader, SIGUSR1));
            for (int j = 0; j < 10000; j++)
                __builtin_ia32_pause();
        }
        await_value(turn, 2 * i);
        EXPECT_EQ(write(ends[1], "x", 1), 1);
    }
}

CASE(what_was_written_before_a_signal_is_read_although_the_signal_is_there) {
    PIPE(ends);
    volatile int *turn = map_shared(PAGE_SIZE);
    wear_in(ends);
    pid_t reader = IN_CHILD(
        close(ends[1]);
        handle(SIGUSR1, count_signal, 0);
        char byte;
        for (int i = 1; i <= 200; i++) {
            *turn = i;
            EXPECT_EQ(read(ends[0], &byte, 1), 1);
            while (signals_seen < i)
                sched_yield();
        });
    await_value(turn, 1);
    write_alone(ends);
    for (int i = 1; i <= 200; i++) {
        await_value(turn, i);
        /* Until it sleeps, mostly. */
        for (int j = 0; j < 5000; j++)
            __builtin_ia32_pause();
        EXPECT_EQ(write(ends[1], "x", 1), 1);
        OK(kill(reader, SIGUSR1));
    }
    EXPECT_EXIT(reader, 0);
}

CASE(a_reader_hears_of_the_end_of_a_writer_that_was_killed_between_its_writes) {
    for (int i = 0; i < 20; i++) {
        PIPE(ends);
        wear_in(ends);
        pid_t writer = IN_CHILD(
            close(ends[0]);
            for (;;)
                EXPECT_EQ(write(ends[1], "x", 1), 1));
        close(ends[1]);
        char bytes[100];
        for (int j = 0; j < 30; j++)
            EXPECT(read(ends[0], bytes, 1 + j) > 0);
        OK(kill(writer, SIGKILL));
        while (read(ends[0], bytes, sizeof bytes) > 0)
            ;
        int status;
        EXPECT_EQ(waitpid(writer, &status, 0), writer);
        close(ends[0]);
    }
}

CASE(what_is_queued_is_seen_while_its_writer_goes_on_computing) {
    PIPE(ends);
    volatile int *turn = map_shared(PAGE_SIZE);
    wear_in(ends);
    IN_CHILD(
        close(ends[1]);
        char bytes[100];
        for (int i = 1; i <= 100; i++) {
            int queued;
            await_value(turn, 2 * i - 1);
            OK(ioctl(ends[0], FIONREAD, &queued));
            EXPECT_EQ(queued, 7 + i);
            EXPECT_EQ(read(ends[0], bytes, 7), 7);
            EXPECT(memcmp(bytes, "1234567", 7) == 0);
            EXPECT_EQ(read(ends[0], bytes, sizeof bytes), i);
            *turn = 2 * i;
        });
    for (int i = 1; i <= 100; i++) {
        EXPECT_EQ(write(ends[1], "1234567", 7), 7);
        for (int j = 0; j < i; j++)
            EXPECT_EQ(write(ends[1], "x", 1), 1);
        *turn = 2 * i - 1;
        await_value(turn, 2 * i);
    }
}

CASE(a_write_after_the_last_reader_has_gone_is_a_broken_pipe_whatever_came_before) {
    handle(SIGPIPE, count_signal, 0);
    for (int i = 0; i < 20; i++) {
        PIPE(ends);
        volatile int *turn = map_shared(PAGE_SIZE);
        wear_in(ends);
        IN_CHILD(
            close(ends[1]);
            await_value(turn, 1);
            close(ends[0]);
            *turn = 2);
        close(ends[0]);
        for (int j = 0; j < 100; j++)
            EXPECT_EQ(write(ends[1], "x", 1), 1);
        *turn = 1;
        await_value(turn, 2);
        EXPECT_ERRNO(write(ends[1], "x", 1), EPIPE);
        close(ends[1]);
    }
}

CASE(small_writes_without_waiting_fill_a_pipe_to_the_byte) {
    int ends[2];
    OK(pipe2(ends, O_NONBLOCK));
    wear_in(ends);
    char block[1024];
    for (int round = 0; round < 5; round++) {
        int count = 0;
        while (write(ends[1], block, sizeof block) == sizeof block)
            count++;
        EXPECT_EQ(errno, EAGAIN);
        EXPECT_EQ(count, 64);
        for (int i = 0; i < 64; i++)
            EXPECT_EQ(read(ends[0], block, sizeof block), sizeof block);
        EXPECT_ERRNO(read(ends[0], block, 1), EAGAIN);
    }
}

CASE(what_two_processes_write_to_a_pipe_in_turn_is_read_in_turn) {
    PIPE(ends);
    wear_in(ends);
    volatile int *turn = map_shared(PAGE_SIZE);
    char parents[] = "parent", childs[] = "child!";
    IN_CHILD(
        for (int i = 0; i < 200; i++) {
            await_value(turn, 2 * i + 1);
            EXPECT_EQ(write(ends[1], childs, 6), 6);
            *turn = 2 * i + 2;
        });
    for (int i = 0; i < 200; i++) {
        EXPECT_EQ(write(ends[1], parents, 6), 6);
        *turn = 2 * i + 1;
        await_value(turn, 2 * i + 2);
    }
    char bytes[12];
    for (int i = 0; i < 200; i++) {
        EXPECT_EQ(read(ends[0], bytes, 12), 12);
        EXPECT(memcmp(bytes, "parentchild!", 12) == 0);
    }
}
