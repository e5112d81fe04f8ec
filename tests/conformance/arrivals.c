/*
 * What has arrived in a stream, and is read after a wait has told of it: by whom, by which call, and what others see of that.
 *
 * Calls are made by sites that are used over and over, with as little between them as possible.
 */
#include "epoll.h"
#include "inet.h"
#include "progress.h"
#include <netinet/tcp.h>

/* Rounds after which a call site is as fast as it gets. */
#define WARM 100
#define STEPS 6000
#define MOST 3000

enum kind { A_PIPE, A_SOCKETPAIR, A_CONNECTION, KINDS };

struct stream {
    enum kind kind;
    int reader, writer;
};

#define FOR_EACH_KIND(kind) for (enum kind kind = 0; kind < KINDS; kind++)

static void wait_until_readable(int fd) {
    struct pollfd poller = {fd, POLLIN, 0};
    int count;
    while ((count = poll(&poller, 1, 5000)) == -1 && errno == EINTR)
        ;
    EXPECT_EQ(count, 1);
}

static uint8_t byte_at(uint64_t position) { return (uint8_t)(position * 131 >> 3 ^ position); }

static int queued(int fd) {
    int count = -1;
    OK(ioctl(fd, FIONREAD, &count));
    return count;
}

/* Writes bytes, which have arrived then: a connection's take their time. */
static void put(struct stream stream, const void *data, size_t length) {
    int before = queued(stream.reader);
    EXPECT_EQ(write(stream.writer, data, length), length);
    while (queued(stream.reader) < before + (int)length)
        sched_yield();
}

static void put_next(struct stream stream, uint64_t *sent, size_t length) {
    uint8_t data[MOST];
    for (size_t i = 0; i < length; i++)
        data[i] = byte_at(*sent + i);
    put(stream, data, length);
    *sent += length;
}

/* A stream whose ends are at these descriptors, and which has been read often enough after a wait. */
static struct stream make_stream(enum kind kind) {
    int ends[2];
    if (kind == A_PIPE) {
        OK(pipe(ends));
    } else if (kind == A_SOCKETPAIR) {
        OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    } else {
        int listener = bound("127.0.0.1", SOCK_STREAM);
        OK(listen(listener, 1));
        ends[1] = inet_socket("127.0.0.1", SOCK_STREAM);
        OK(connect_to(ends[1], "127.0.0.1", port_of(listener)));
        ends[0] = OK(accept(listener, NULL, NULL));
        OK(close(listener));
    }
    if (kind == A_CONNECTION)
        set_option(ends[1], IPPROTO_TCP, TCP_NODELAY, 1);
    struct stream stream = {kind, ends[0], ends[1]};
    char data[8];
    for (int round = 0; round < WARM; round++) {
        put(stream, "12345", 5);
        wait_until_readable(stream.reader);
        EXPECT_EQ(read(stream.reader, data, 2), 2);
        EXPECT_EQ(kind == A_PIPE ? read(stream.reader, data + 2, 6) : recv(stream.reader, data + 2, 6, 0), 3);
        EXPECT_EQ(memcmp(data, "12345", 5), 0);
    }
    return stream;
}

static void end_stream(struct stream stream) {
    OK(close(stream.reader));
    OK(close(stream.writer));
}

/* --- Bytes ----------------------------------------------------------------------------------------------------------- */

static uint64_t seed;
static unsigned below(unsigned limit) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % limit;
}

static void run_model(enum kind kind, uint64_t start) {
    struct stream stream = make_stream(kind);
    OK(fcntl(stream.reader, F_SETFL, O_RDWR | O_NONBLOCK));
    int instance = OK(epoll_create1(0));
    struct epoll_event event = {EPOLLIN, {.fd = stream.reader}};
    OK(epoll_ctl(instance, EPOLL_CTL_ADD, stream.reader, &event));
    uint64_t sent = 0, received = 0;
    uint8_t data[MOST + 1];
    seed = start;
    for (int step = 0; step < STEPS; step++) {
        size_t length = below(below(4) ? 40 : MOST), left = sent - received;
        size_t expected = length < left ? length : left;
        ssize_t result;
        switch (below(8)) {
        case 0:
            if (left < 2 * MOST)
                put_next(stream, &sent, 1 + below(below(3) ? 60 : MOST - 1));
            continue;
        case 1: EXPECT_EQ(ready(instance), left ? EPOLLIN : 0); continue;
        case 2: EXPECT_EQ(queued(stream.reader), left); continue;
        case 3:
            if (kind == A_PIPE)
                continue;
            result = recv(stream.reader, data, length, MSG_PEEK);
            if (left == 0)
                EXPECT(result == -1 ? errno == EAGAIN : length == 0 && result == 0);
            else
                EXPECT_EQ(result, expected);
            continue;
        case 4:
            if (kind != A_PIPE) {
                result = recv(stream.reader, data, length, MSG_DONTWAIT);
                break;
            } /* fall through */
        default: result = read(stream.reader, data, length);
        }
        if (left == 0) {
            EXPECT(result == -1 ? errno == EAGAIN : length == 0 && result == 0);
            continue;
        }
        EXPECT_EQ(result, expected);
        for (size_t i = 0; i < expected; i++)
            EXPECT_EQ(data[i], byte_at(received + i));
        received += expected;
    }
}

CASE(what_arrives_in_a_pipe_is_read_as_a_model_says) { run_model(A_PIPE, 1); }
CASE(what_arrives_in_a_unix_socket_is_read_as_a_model_says) { run_model(A_SOCKETPAIR, 2); }
CASE(what_arrives_in_a_tcp_socket_is_read_as_a_model_says) { run_model(A_CONNECTION, 3); }

CASE(the_end_comes_after_what_has_arrived) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        put(stream, "abcdef", 6);
        OK(close(stream.writer));
        wait_until_readable(stream.reader);
        char data[8];
        EXPECT_EQ(read(stream.reader, data, 4), 4);
        EXPECT_EQ(read(stream.reader, data, 8), 2);
        EXPECT_EQ(memcmp(data, "ef", 2), 0);
        EXPECT_EQ(read(stream.reader, data, 8), 0);
        EXPECT_EQ(read(stream.reader, data, 8), 0);
    }
}

CASE(a_read_that_wants_more_than_a_little_gets_all_that_has_arrived) {
    static char data[60000], got[sizeof data];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = byte_at(i);
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        for (size_t first = 1; first < 5000; first *= 3) {
            put(stream, data, sizeof data);
            wait_until_readable(stream.reader);
            EXPECT_EQ(read(stream.reader, got, first), first);
            EXPECT_EQ(read(stream.reader, got + first, sizeof data), sizeof data - first);
            EXPECT_EQ(memcmp(data, got, sizeof data), 0);
        }
        end_stream(stream);
    }
}

CASE(a_buffer_that_cannot_be_written_loses_nothing) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        put(stream, "abcdef", 6);
        wait_until_readable(stream.reader);
        char data[8];
        EXPECT_ERRNO(read(stream.reader, bad_page(), 6), EFAULT);
        EXPECT_ERRNO(read(stream.reader, (void *)-4096UL, 2), EFAULT);
        EXPECT_EQ(read(stream.reader, data, 1), 1);
        EXPECT_ERRNO(read(stream.reader, bad_page(), 6), EFAULT);
        EXPECT_EQ(read(stream.reader, data, 8), 5);
        EXPECT_EQ(memcmp(data, "bcdef", 5), 0);
        end_stream(stream);
    }
}

CASE(what_has_arrived_has_no_position) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        put(stream, "abcdef", 6);
        wait_until_readable(stream.reader);
        char data[8];
        EXPECT_ERRNO(pread(stream.reader, data, 1, 0), ESPIPE);
        EXPECT_ERRNO(lseek(stream.reader, 0, SEEK_CUR), ESPIPE);
        EXPECT_EQ(read(stream.reader, data, 2), 2);
        EXPECT_ERRNO(lseek(stream.reader, 0, SEEK_SET), ESPIPE);
        EXPECT_ERRNO(lseek(stream.reader, 0, SEEK_END), ESPIPE);
        EXPECT_EQ(read(stream.reader, data, 8), 4);
        end_stream(stream);
    }
}

CASE(receiving_what_has_arrived_in_a_pipe_fails) {
    struct stream stream = make_stream(A_PIPE);
    put(stream, "abc", 3);
    wait_until_readable(stream.reader);
    char data[8];
    for (int round = 0; round < WARM; round++)
        EXPECT_ERRNO(recv(stream.reader, data, 8, 0), ENOTSOCK);
    EXPECT_EQ(read(stream.reader, data, 8), 3);
}

CASE(receiving_in_other_ways_goes_on_where_reading_has_ended) {
    for (enum kind kind = A_SOCKETPAIR; kind <= A_CONNECTION; kind++) {
        struct stream stream = make_stream(kind);
        char data[16];
        struct sockaddr_storage name;
        struct iovec vector = {data, 2};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
        for (int round = 0; round < WARM; round++) {
            put(stream, "abcdefghijkl", 12);
            wait_until_readable(stream.reader);
            EXPECT_EQ(recv(stream.reader, data, 1, 0), 1);
            EXPECT_EQ(recv(stream.reader, data, 16, MSG_PEEK), 11);
            EXPECT_EQ(data[0], 'b');
            socklen_t length = sizeof name;
            EXPECT_EQ(recvfrom(stream.reader, data, 2, 0, (void *)&name, &length), 2);
            EXPECT_EQ(data[0], 'b');
            EXPECT_EQ(recv(stream.reader, data, 1, MSG_DONTWAIT), 1);
            EXPECT_EQ(data[0], 'd');
            EXPECT_EQ(readv(stream.reader, &vector, 1), 2);
            EXPECT_EQ(data[0], 'e');
            EXPECT_EQ(recvmsg(stream.reader, &message, 0), 2);
            EXPECT_EQ(data[0], 'g');
            EXPECT_EQ(recv(stream.reader, data, 3, MSG_WAITALL), 3);
            EXPECT_EQ(data[0], 'i');
            EXPECT_EQ(recv(stream.reader, data, 16, MSG_NOSIGNAL), 1);
            EXPECT_EQ(data[0], 'l');
        }
    }
}

CASE(splice_and_sendfile_go_on_where_reading_has_ended) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        PIPE(ends);
        char data[16];
        for (int round = 0; round < WARM; round++) {
            put(stream, "abcdef", 6);
            wait_until_readable(stream.reader);
            EXPECT_EQ(read(stream.reader, data, 2), 2);
            if (kind == A_PIPE)
                EXPECT_EQ(tee(stream.reader, ends[1], 1, 0), 1);
            EXPECT_EQ(splice(stream.reader, NULL, ends[1], NULL, 2, 0), 2);
            EXPECT_EQ(read(stream.reader, data, 8), 2);
            EXPECT_EQ(memcmp(data, "ef", 2), 0);
            EXPECT_EQ(read(ends[0], data, 8), kind == A_PIPE ? 3 : 2);
            EXPECT_EQ(memcmp(data, kind == A_PIPE ? "ccd" : "cd", 2), 0);
        }
        end_stream(stream);
        OK(close(ends[0]));
        OK(close(ends[1]));
    }
}

CASE(a_packet_of_a_pipe_is_read_alone_and_its_rest_is_lost) {
    struct stream stream = make_stream(A_PIPE);
    OK(fcntl(stream.writer, F_SETFL, O_WRONLY | O_DIRECT));
    char data[16];
    for (int round = 0; round < WARM; round++) {
        put(stream, "abc", 3);
        put(stream, "def", 3);
        wait_until_readable(stream.reader);
        EXPECT_EQ(read(stream.reader, data, 2), 2);
        EXPECT_EQ(read(stream.reader, data, 16), 3);
        EXPECT_EQ(memcmp(data, "def", 3), 0);
    }
}

CASE(a_read_goes_on_by_a_duplicate) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        int other = OK(dup(stream.reader));
        char data[8];
        for (int round = 0; round < WARM; round++) {
            put(stream, "abc", 3);
            wait_until_readable(other);
            EXPECT_EQ(read(stream.reader, data, 1), 1);
            EXPECT_EQ(read(other, data, 1), 1);
            EXPECT_EQ(data[0], 'b');
            int third = OK(dup(other));
            EXPECT_EQ(read(third, data, 8), 1);
            EXPECT_EQ(data[0], 'c');
            OK(close(third));
        }
        OK(close(other));
        end_stream(stream);
    }
}

/* --- Readiness -------------------------------------------------------------------------------------------------------- */

CASE(an_edge_is_told_once_and_again_when_more_comes) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        int instance = OK(epoll_create1(0));
        struct epoll_event event = {EPOLLIN | EPOLLET, {.fd = stream.reader}};
        OK(epoll_ctl(instance, EPOLL_CTL_ADD, stream.reader, &event));
        char data[8];
        for (int round = 0; round < WARM; round++) {
            put(stream, "abcd", 4);
            EXPECT_EQ(ready(instance), EPOLLIN);
            EXPECT_EQ(ready(instance), 0);
            EXPECT_EQ(read(stream.reader, data, 1), 1);
            EXPECT_EQ(ready(instance), 0);
            put(stream, "ef", 2);
            EXPECT_EQ(ready(instance), EPOLLIN);
            EXPECT_EQ(read(stream.reader, data, 8), 5);
            EXPECT_EQ(memcmp(data, "bcdef", 5), 0);
            EXPECT_EQ(ready(instance), 0);
        }
        OK(close(instance));
        end_stream(stream);
    }
}

CASE(what_is_read_is_not_readable_any_more) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        struct pollfd poller = {stream.reader, POLLIN, 0};
        char data[8];
        for (int round = 0; round < WARM; round++) {
            put(stream, "abc", 3);
            wait_until_readable(stream.reader);
            EXPECT_EQ(read(stream.reader, data, 2), 2);
            EXPECT_EQ(poll(&poller, 1, 0), 1);
            EXPECT_EQ(read(stream.reader, data, 8), 1);
            EXPECT_EQ(poll(&poller, 1, 0), 0);
            EXPECT_EQ(queued(stream.reader), 0);
        }
        end_stream(stream);
    }
}

CASE(a_read_of_nothing_fails_or_waits_as_the_file_says) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        char data[8];
        for (int round = 0; round < 5; round++) {
            put(stream, "abc", 3);
            wait_until_readable(stream.reader);
            OK(fcntl(stream.reader, F_SETFL, O_NONBLOCK));
            EXPECT_EQ(read(stream.reader, data, 8), 3);
            EXPECT_ERRNO(read(stream.reader, data, 8), EAGAIN);
            OK(fcntl(stream.reader, F_SETFL, 0));
            EXPECT_INTERRUPTED(read(stream.reader, data, 8));
        }
        end_stream(stream);
    }
}

/* --- With others ------------------------------------------------------------------------------------------------------ */

/* A child that has read `length` bytes, `before` and then those that it was sent, and makes no more calls until progress is 2. */
static pid_t child_that_has_read(struct stream stream, size_t length) {
    progress = map_shared(PAGE_SIZE);
    pid_t pid = OK(fork());
    if (pid == 0) {
        static char data[MOST];
        OK(close(stream.writer));
        for (int round = 0; round < WARM; round++) {
            set_progress(-2 * round - 1);
            wait_until_readable(stream.reader);
            EXPECT_EQ(read(stream.reader, data, 1), 1);
        }
        set_progress(-2 * WARM - 1);
        wait_until_readable(stream.reader);
        EXPECT_EQ(read(stream.reader, data, length), length);
        set_progress(1);
        compute_until(2);
        _exit(0);
    }
    OK(close(stream.reader));
    char data[MOST] = {0};
    for (int round = 0; round <= WARM; round++) {
        while (__atomic_load_n(progress, __ATOMIC_SEQ_CST) != -2 * round - 1)
            sched_yield();
        size_t part = round < WARM ? 1 : length;
        EXPECT_EQ(write(stream.writer, data, part), part);
    }
    await_progress(1);
    return pid;
}

CASE(a_writer_finds_the_room_that_a_reader_has_made_who_computes) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        if (kind == A_SOCKETPAIR)
            set_option(stream.writer, SOL_SOCKET, SO_SNDBUF, 2304);
        pid_t pid = child_that_has_read(stream, 2000);
        static char data[65536];
        size_t whole = kind == A_SOCKETPAIR ? 2000 : sizeof data;
        EXPECT_EQ(write(stream.writer, data, whole), whole);
        set_progress(2);
        EXPECT_EXIT(pid, 0);
        OK(close(stream.writer));
    }
}

CASE(a_poll_tells_of_the_room_that_a_reader_has_made_who_computes) {
    for (enum kind kind = A_PIPE; kind <= A_SOCKETPAIR; kind++) {
        struct stream stream = make_stream(kind);
        if (kind == A_PIPE)
            EXPECT_EQ(fcntl(stream.writer, F_SETPIPE_SZ, 4096), 4096);
        else
            set_option(stream.writer, SOL_SOCKET, SO_SNDBUF, 2304);
        pid_t pid = child_that_has_read(stream, 2000);
        EXPECT_EQ(events_of(stream.writer, POLLOUT) & POLLOUT, POLLOUT);
        set_progress(2);
        EXPECT_EXIT(pid, 0);
        OK(close(stream.writer));
    }
}

CASE(a_sender_is_told_that_a_reader_who_computes_has_read) {
    for (enum kind kind = A_PIPE; kind <= A_SOCKETPAIR; kind++) {
        struct stream stream = make_stream(kind);
        pid_t pid = child_that_has_read(stream, 2000);
        int left = -1;
        OK(ioctl(stream.writer, kind == A_PIPE ? FIONREAD : TIOCOUTQ, &left));
        EXPECT_EQ(left, 0);
        set_progress(2);
        EXPECT_EXIT(pid, 0);
        OK(close(stream.writer));
    }
}

CASE(a_reader_that_is_killed_has_read_what_it_has_read) {
    for (enum kind kind = A_SOCKETPAIR; kind <= A_CONNECTION; kind++) {
        struct stream stream = make_stream(kind);
        pid_t pid = child_that_has_read(stream, 2000);
        OK(kill(pid, SIGKILL));
        EXPECT_KILLED(pid, SIGKILL);
        char data[8];
        EXPECT_EQ(read(stream.writer, data, 8), 0);
    }
}

CASE(who_closes_with_bytes_unread_resets_and_who_has_read_all_does_not) {
    for (enum kind kind = A_SOCKETPAIR; kind <= A_CONNECTION; kind++)
        for (size_t unread = 0; unread < 2; unread++) {
            struct stream stream = make_stream(kind);
            put(stream, "abcd", 4);
            wait_until_readable(stream.reader);
            char data[8];
            EXPECT_EQ(read(stream.reader, data, 4 - unread), 4 - unread);
            OK(close(stream.reader));
            if (unread)
                EXPECT_ERRNO(read(stream.writer, data, 8), ECONNRESET);
            else
                EXPECT_EQ(read(stream.writer, data, 8), 0);
            OK(close(stream.writer));
        }
}

CASE(what_has_arrived_is_read_after_shutdown) {
    for (enum kind kind = A_SOCKETPAIR; kind <= A_CONNECTION; kind++) {
        struct stream stream = make_stream(kind);
        put(stream, "abcd", 4);
        wait_until_readable(stream.reader);
        char data[8];
        EXPECT_EQ(read(stream.reader, data, 1), 1);
        OK(shutdown(stream.reader, SHUT_RD));
        EXPECT_EQ(read(stream.reader, data, 8), 3);
        EXPECT_EQ(memcmp(data, "bcd", 3), 0);
        EXPECT_EQ(read(stream.reader, data, 8), 0);
    }
}

CASE(a_child_goes_on_where_its_parent_has_stopped_reading) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        for (int round = 0; round < 4; round++) {
            char data[8];
            put(stream, "abcdef", 6);
            wait_until_readable(stream.reader);
            EXPECT_EQ(read(stream.reader, data, 2), 2);
            pid_t pid = OK(fork());
            if (pid == 0) {
                EXPECT_EQ(read(stream.reader, data, 2), 2);
                EXPECT_EQ(memcmp(data, "cd", 2), 0);
                _exit(0);
            }
            EXPECT_EXIT(pid, 0);
            EXPECT_EQ(read(stream.reader, data, 8), 2);
            EXPECT_EQ(memcmp(data, "ef", 2), 0);
        }
        end_stream(stream);
    }
}

/* A message of a byte, with a descriptor. */
static void send_descriptor(int socket, int descriptor) {
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte = '+';
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control};
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    EXPECT_EQ(sendmsg(socket, &message, 0), 1);
}

static int receive_descriptor(int socket) {
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control};
    message.msg_controllen = sizeof control;
    EXPECT_EQ(recvmsg(socket, &message, 0), 1);
    EXPECT_EQ(byte, '+');
    EXPECT(CMSG_FIRSTHDR(&message) != NULL);
    return *(int *)CMSG_DATA(CMSG_FIRSTHDR(&message));
}

CASE(descriptors_come_with_their_byte_whatever_is_read_before) {
    struct stream stream = make_stream(A_SOCKETPAIR);
    for (int round = 0; round < WARM; round++) {
        char data[8];
        put(stream, "ab", 2);
        send_descriptor(stream.writer, 2);
        put(stream, "cd", 2);
        wait_until_readable(stream.reader);
        EXPECT_EQ(read(stream.reader, data, 1), 1);
        EXPECT_EQ(read(stream.reader, data, 1), 1);
        EXPECT_EQ(data[0], 'b');
        OK(close(receive_descriptor(stream.reader)));
        EXPECT_EQ(read(stream.reader, data, 8), 2);
        EXPECT_EQ(memcmp(data, "cd", 2), 0);
        /* Read as bytes, it ends what one read gets, and the descriptor is lost. */
        put(stream, "ab", 2);
        send_descriptor(stream.writer, 2);
        put(stream, "cd", 2);
        wait_until_readable(stream.reader);
        EXPECT_EQ(read(stream.reader, data, 8), 3);
        EXPECT_EQ(read(stream.reader, data, 8), 2);
    }
}

CASE(a_socket_that_is_sent_away_is_read_by_the_receiver_where_the_sender_has_stopped) {
    FOR_EACH_KIND(kind) {
        struct stream stream = make_stream(kind);
        progress = map_shared(PAGE_SIZE);
        PIPE(ends);
        int pair[2];
        OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
        pid_t pid = OK(fork());
        if (pid == 0) {
            OK(close(stream.reader));
            int received = receive_descriptor(pair[1]);
            char data[8];
            EXPECT_EQ(read(received, data, 2), 2);
            EXPECT_EQ(memcmp(data, "cd", 2), 0);
            set_progress(1);
            _exit(0);
        }
        char data[8];
        OK(close(pair[1]));
        put(stream, "abcdef", 6);
        wait_until_readable(stream.reader);
        EXPECT_EQ(read(stream.reader, data, 2), 2);
        send_descriptor(pair[0], stream.reader);
        compute_until(1);
        EXPECT_EQ(read(stream.reader, data, 8), 2);
        EXPECT_EQ(memcmp(data, "ef", 2), 0);
        EXPECT_EXIT(pid, 0);
        end_stream(stream);
        OK(close(pair[0]));
    }
}

CASE(a_second_reader_of_a_pipe_gets_what_the_first_has_not_read) {
    struct stream stream = make_stream(A_PIPE);
    progress = map_shared(PAGE_SIZE);
    char path[64], data[8];
    pid_t parent = getpid();
    pid_t pid = OK(fork());
    if (pid == 0) {
        OK(close(stream.reader));
        await_progress(1);
        snprintf(path, sizeof path, "/proc/%d/fd/%d", parent, stream.reader);
        int second = OK(open(path, O_RDONLY));
        set_progress(2);
        await_progress(3);
        EXPECT_EQ(read(second, data, 2), 2);
        EXPECT_EQ(memcmp(data, "cd", 2), 0);
        set_progress(4);
        await_progress(5);
        _exit(0);
    }
    for (int round = 0; round < WARM; round++) {
        put(stream, "abcdef", 6);
        wait_until_readable(stream.reader);
        EXPECT_EQ(read(stream.reader, data, 1), 1);
        if (round == WARM - 1) {
            set_progress(1);
            compute_until(2);
        }
        EXPECT_EQ(read(stream.reader, data, 1), 1);
        if (round == WARM - 1) {
            set_progress(3);
            compute_until(4);
            EXPECT_EQ(read(stream.reader, data, 8), 2);
        } else {
            EXPECT_EQ(read(stream.reader, data, 8), 4);
        }
    }
    EXPECT_EQ(data[0], 'e');
    set_progress(5);
    EXPECT_EXIT(pid, 0);
}

/* --- Signals between reads -------------------------------------------------------------------------------------------- */

static struct stream interrupted;
static uint64_t sent, received;

/* The bytes of a read that was interrupted are still there, or they are not. */
static void look(int signal) {
    (void)signal;
    int kept = errno, left = queued(interrupted.reader);
    EXPECT(left <= (int)(sent - received) && left + 2 >= (int)(sent - received));
    signals_seen++;
    errno = kept;
}

CASE(reads_are_whole_for_signal_handlers) {
    FOR_EACH_KIND(kind) {
        interrupted = make_stream(kind);
        sent = received = 0;
        signals_seen = 0;
        handle(SIGALRM, look, SA_RESTART);
        sigset_t alarm;
        sigemptyset(&alarm);
        sigaddset(&alarm, SIGALRM);
        struct itimerval often = {{0, 500}, {0, 500}};
        OK(setitimer(ITIMER_REAL, &often, NULL));
        while (signals_seen < 100) {
            uint8_t bytes[2];
            if (sent == received) {
                OK(sigprocmask(SIG_BLOCK, &alarm, NULL));
                put_next(interrupted, &sent, 1000);
                OK(sigprocmask(SIG_UNBLOCK, &alarm, NULL));
                wait_until_readable(interrupted.reader);
            }
            EXPECT_EQ(read(interrupted.reader, bytes, 2), 2);
            EXPECT_EQ(bytes[0], byte_at(received));
            EXPECT_EQ(bytes[1], byte_at(received + 1));
            received += 2;
        }
        stop_ticking();
        EXPECT_EQ(queued(interrupted.reader), sent - received);
        end_stream(interrupted);
    }
}

CASE(streams_that_are_read_in_other_ways_do_not_get_what_came_for_others) {
    PIPE(first);
    PIPE(second);
    char as[60], bs[60], got[60];
    memset(as, 'a', sizeof as);
    memset(bs, 'b', sizeof bs);
    struct pollfd both[] = {{first[0], POLLIN, 0}, {second[0], POLLIN, 0}};
    struct iovec part = {got, 5};
    for (int round = 0; round < 200; round++) {
        EXPECT_EQ(write(first[1], as, 60), 60);
        EXPECT_EQ(write(second[1], bs, 60), 60);
        /* Not by read(2), until nothing is left of it any more. */
        for (int i = 0; i < round % 8; i++) {
            EXPECT_EQ(poll(both, 2, -1), 2);
            EXPECT_EQ(readv(first[0], &part, 1), 5);
            EXPECT(memcmp(got, as, 5) == 0);
        }
        EXPECT_EQ(poll(both, 2, -1), 2);
        EXPECT_EQ(poll(both, 2, -1), 2);
        int rest = 60 - round % 8 * 5;
        EXPECT_EQ(read(first[0], got, rest), rest);
        EXPECT(memcmp(got, as, rest) == 0);
        EXPECT_EQ(read(second[0], got, 60), 60);
        EXPECT(memcmp(got, bs, 60) == 0);
    }
}
