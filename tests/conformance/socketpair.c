/* socketpair(2), send(2), recv(2), shutdown(2) and their kin */
#include "case.h"
#include <sys/ioctl.h>

static void pair_of(int type, int pair[2]) { OK(socketpair(AF_UNIX, type, 0, pair)); }

CASE(socketpair_carries_data_both_ways) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    char buffer[8];
    EXPECT_EQ(write(pair[0], "ping", 4), 4);
    EXPECT_EQ(read(pair[1], buffer, 8), 4);
    EXPECT_EQ(send(pair[1], "pong!", 5, 0), 5);
    EXPECT_EQ(recv(pair[0], buffer, 8, 0), 5);
}

CASE(socketpair_stream_has_no_boundaries) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    EXPECT_EQ(write(pair[0], "ab", 2), 2);
    EXPECT_EQ(write(pair[0], "cd", 2), 2);
    char buffer[8];
    EXPECT_EQ(read(pair[1], buffer, 8), 4);
}

CASE(socketpair_datagrams_keep_boundaries) {
    int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 2; i++) {
        int pair[2];
        pair_of(types[i], pair);
        EXPECT_EQ(write(pair[0], "abc", 3), 3);
        EXPECT_EQ(write(pair[0], "defg", 4), 4);
        char buffer[8];
        EXPECT_EQ(read(pair[1], buffer, 2), 2);
        EXPECT_EQ(read(pair[1], buffer, 8), 4);
        EXPECT(memcmp(buffer, "defg", 4) == 0);
    }
}

CASE(socketpair_empty_datagram_is_received) {
    int pair[2];
    pair_of(SOCK_DGRAM, pair);
    EXPECT_EQ(send(pair[0], "", 0, 0), 0);
    EXPECT_EQ(send(pair[0], "x", 1, 0), 1);
    char buffer[8];
    EXPECT_EQ(recv(pair[1], buffer, 8, 0), 0);
    EXPECT_EQ(recv(pair[1], buffer, 8, 0), 1);
}

CASE(socketpair_flags_apply_to_both) {
    int pair[2];
    pair_of(SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, pair);
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(fcntl(pair[i], F_GETFD), FD_CLOEXEC);
        EXPECT_EQ(fcntl(pair[i], F_GETFL), O_RDWR | O_NONBLOCK);
    }
    char byte;
    EXPECT_ERRNO(read(pair[0], &byte, 1), EAGAIN);
}

CASE(socketpair_with_bad_arguments_fails) {
    int pair[2], before = next_fd();
    EXPECT_ERRNO(socketpair(AF_UNIX, 77, 0, pair), EINVAL);
    EXPECT_ERRNO(socketpair(AF_UNIX, SOCK_STREAM, 77, pair), EPROTONOSUPPORT);
    EXPECT_ERRNO(socketpair(99, SOCK_STREAM, 0, pair), EAFNOSUPPORT);
    EXPECT_ERRNO(socketpair(AF_UNIX, SOCK_STREAM, 0, bad_page()), EFAULT);
    EXPECT_EQ(next_fd(), before);
}

CASE(socketpair_peer_closed_reads_the_rest_then_the_end) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    EXPECT_EQ(write(pair[0], "rest", 4), 4);
    OK(close(pair[0]));
    char buffer[8];
    EXPECT_EQ(read(pair[1], buffer, 8), 4);
    EXPECT_EQ(read(pair[1], buffer, 8), 0);
}

CASE(socketpair_peer_closed_with_unread_data_resets) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    EXPECT_EQ(write(pair[0], "lost", 4), 4);
    OK(close(pair[1]));
    char buffer[8];
    EXPECT_ERRNO(read(pair[0], buffer, 8), ECONNRESET);
}

CASE(send_to_a_closed_peer_raises_sigpipe_unless_nosignal) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    OK(close(pair[1]));
    handle(SIGPIPE, count_signal, 0);
    EXPECT_ERRNO(send(pair[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    EXPECT_EQ(signals_seen, 0);
    EXPECT_ERRNO(send(pair[0], "x", 1, 0), EPIPE);
    EXPECT_EQ(signals_seen, 1);
}

CASE(recv_peek_leaves_the_data) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    EXPECT_EQ(write(pair[0], "abc", 3), 3);
    char buffer[8];
    EXPECT_EQ(recv(pair[1], buffer, 2, MSG_PEEK), 2);
    EXPECT_EQ(recv(pair[1], buffer, 8, 0), 3);
}

CASE(recv_dontwait_returns_eagain) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    char buffer[8];
    EXPECT_ERRNO(recv(pair[1], buffer, 8, MSG_DONTWAIT), EAGAIN);
}

CASE(recv_waitall_waits_for_the_whole_buffer) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    EXPECT_EQ(write(pair[0], "abc", 3), 3);
    pid_t pid = IN_CHILD({ EXPECT_EQ(write(pair[0], "defgh", 5), 5); });
    char buffer[8];
    EXPECT_EQ(recv(pair[1], buffer, 8, MSG_WAITALL), 8);
    EXPECT_EXIT(pid, 0);
}

CASE(recv_trunc_returns_the_datagrams_real_length) {
    int pair[2];
    pair_of(SOCK_DGRAM, pair);
    EXPECT_EQ(write(pair[0], "0123456789", 10), 10);
    char buffer[4];
    EXPECT_EQ(recv(pair[1], buffer, 4, MSG_TRUNC), 10);
}

CASE(recvmsg_marks_a_truncated_datagram) {
    int pair[2];
    pair_of(SOCK_DGRAM, pair);
    EXPECT_EQ(write(pair[0], "0123456789", 10), 10);
    char buffer[4];
    struct iovec vector = {buffer, 4};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    EXPECT_EQ(recvmsg(pair[1], &message, 0), 4);
    EXPECT_EQ(message.msg_flags & MSG_TRUNC, MSG_TRUNC);
}

CASE(shutdown_of_writing_ends_the_peers_reading) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    OK(shutdown(pair[0], SHUT_WR));
    char byte;
    EXPECT_EQ(read(pair[1], &byte, 1), 0);
    EXPECT_EQ(write(pair[1], "x", 1), 1);
    EXPECT_EQ(read(pair[0], &byte, 1), 1);
    EXPECT_ERRNO(send(pair[0], "x", 1, MSG_NOSIGNAL), EPIPE);
}

CASE(shutdown_of_reading_stops_the_peers_writing) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    OK(shutdown(pair[0], SHUT_RD));
    EXPECT_ERRNO(send(pair[1], "x", 1, MSG_NOSIGNAL), EPIPE);
    char byte;
    EXPECT_EQ(read(pair[0], &byte, 1), 0);
}

CASE(shutdown_wakes_a_blocked_reader) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    PIPE(started);
    pid_t pid = IN_CHILD({
        announce(started[1]);
        char byte;
        EXPECT_EQ(read(pair[0], &byte, 1), 0);
    });
    await(started[0]);
    OK(shutdown(pair[1], SHUT_RDWR));
    EXPECT_EXIT(pid, 0);
}

CASE(shutdown_with_bad_arguments_fails) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    EXPECT_ERRNO(shutdown(pair[0], 3), EINVAL);
    EXPECT_ERRNO(shutdown(0, SHUT_RD), ENOTSOCK);
    EXPECT_ERRNO(shutdown(-1, SHUT_RD), EBADF);
}

CASE(socket_poll_reports_each_state) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    struct pollfd poller = {pair[0], POLLIN | POLLOUT | POLLRDHUP, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents, POLLOUT);
    EXPECT_EQ(write(pair[1], "x", 1), 1);
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents, POLLIN | POLLOUT);
    OK(close(pair[1]));
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT_EQ(poller.revents, POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

CASE(socket_full_stream_blocks_until_read) {
    int pair[2];
    pair_of(SOCK_STREAM | SOCK_NONBLOCK, pair);
    static char data[65536];
    long total = 0, count;
    while ((count = write(pair[0], data, sizeof data)) > 0)
        total += count;
    EXPECT_EQ(count, -1);
    EXPECT_EQ(errno, EAGAIN);
    struct pollfd poller = {pair[0], POLLOUT, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 0);
    for (long got = 0; got < total;)
        got += OK(read(pair[1], data, sizeof data));
    EXPECT_EQ(poll(&poller, 1, 0), 1);
}

CASE(socket_read_is_interrupted_by_a_signal) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    char byte;
    EXPECT_INTERRUPTED(recv(pair[0], &byte, 1, 0));
}

CASE(socket_receive_timeout_returns_eagain) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    struct timeval time = {0, 20000};
    OK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    char byte;
    int64_t before = now_ns(CLOCK_MONOTONIC);
    EXPECT_ERRNO(recv(pair[0], &byte, 1, 0), EAGAIN);
    EXPECT(now_ns(CLOCK_MONOTONIC) - before >= 15000000);
}

CASE(socket_fionread_counts_the_bytes) {
    int pair[2], count;
    pair_of(SOCK_STREAM, pair);
    EXPECT_EQ(write(pair[0], "hello", 5), 5);
    OK(ioctl(pair[1], FIONREAD, &count));
    EXPECT_EQ(count, 5);
}

CASE(socket_calls_on_other_files_return_enotsock) {
    char byte;
    struct msghdr message = {0};
    EXPECT_ERRNO(recv(0, &byte, 1, 0), ENOTSOCK);
    EXPECT_ERRNO(send(0, &byte, 1, 0), ENOTSOCK);
    EXPECT_ERRNO(recvmsg(0, &message, 0), ENOTSOCK);
    EXPECT_ERRNO(sendmsg(0, &message, 0), ENOTSOCK);
    EXPECT_ERRNO(listen(0, 1), ENOTSOCK);
    EXPECT_ERRNO(accept(0, NULL, NULL), ENOTSOCK);
}

CASE(sendmmsg_and_recvmmsg_move_several_messages) {
    int pair[2];
    pair_of(SOCK_DGRAM, pair);
    struct iovec out[] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    struct mmsghdr messages[3] = {0};
    for (int i = 0; i < 3; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &out[i], .msg_iovlen = 1};
    EXPECT_EQ(sendmmsg(pair[0], messages, 3, 0), 3);
    EXPECT_EQ(messages[2].msg_len, 3);
    char buffers[4][8];
    struct iovec in[4];
    struct mmsghdr received[4] = {0};
    for (int i = 0; i < 4; i++) {
        in[i] = (struct iovec){buffers[i], 8};
        received[i].msg_hdr = (struct msghdr){.msg_iov = &in[i], .msg_iovlen = 1};
    }
    EXPECT_EQ(recvmmsg(pair[1], received, 4, MSG_DONTWAIT, NULL), 3);
    EXPECT_EQ(received[1].msg_len, 2);
}

CASE(sendto_and_readv_mix) {
    int pair[2];
    pair_of(SOCK_STREAM, pair);
    struct iovec out[] = {{"ab", 2}, {"cde", 3}};
    EXPECT_EQ(writev(pair[0], out, 2), 5);
    char one[1], two[8];
    struct iovec in[] = {{one, 1}, {two, 8}};
    EXPECT_EQ(readv(pair[1], in, 2), 5);
    EXPECT(memcmp(two, "bcde", 4) == 0);
}

CASE(socketpair_stream_look_at_all_does_not_wait) {
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    EXPECT_EQ(write(pair[0], "he", 2), 2);
    char buffer[8];
    EXPECT_EQ(recv(pair[1], buffer, 5, MSG_PEEK | MSG_WAITALL), 2);
}
