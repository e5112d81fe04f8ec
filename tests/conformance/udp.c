/* udp(7): datagrams over the loopback interface */
#include "inet.h"

static int send_to(int fd, const char *host, int port, const char *text) {
    struct address address = address_of(host, port);
    return sendto(fd, text, strlen(text), 0, &address.any, address.length);
}

static void expect_datagram(int fd, const char *text) {
    char buffer[64];
    ssize_t count = OK(recv(fd, buffer, sizeof buffer, 0));
    EXPECT_EQ(count, strlen(text));
    EXPECT(memcmp(buffer, text, count) == 0);
}

static int unused_port(void) {
    int fd = bound("127.0.0.1", SOCK_DGRAM);
    int port = port_of(fd);
    OK(close(fd));
    return port;
}

CASE(udp_datagrams_keep_their_boundaries_and_say_where_they_come_from) {
    int server = bound("127.0.0.1", SOCK_DGRAM), client = inet_socket("127.0.0.1", SOCK_DGRAM);
    EXPECT_EQ(send_to(client, "127.0.0.1", port_of(server), "one"), 3);
    EXPECT_EQ(send_to(client, "127.0.0.1", port_of(server), ""), 0);
    EXPECT_EQ(send_to(client, "127.0.0.1", port_of(server), "three"), 5);
    expect_datagram(server, "one");
    expect_datagram(server, "");
    struct address from = {.length = sizeof from.v6};
    char buffer[8];
    EXPECT_EQ(recvfrom(server, buffer, 8, 0, &from.any, &from.length), 5);
    EXPECT_EQ(from.length, sizeof from.v4);
    EXPECT_EQ(from.v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    EXPECT_EQ(ntohs(from.v4.sin_port), port_of(client));
    EXPECT_EQ(name_of(client).v4.sin_addr.s_addr, 0);
    EXPECT_EQ(sendto(server, "back", 4, 0, &from.any, from.length), 4);
    expect_datagram(client, "back");
}

CASE(udp_datagrams_go_over_ipv6) {
    int server = bound("::1", SOCK_DGRAM), client = inet_socket("::1", SOCK_DGRAM);
    EXPECT_EQ(send_to(client, "::1", port_of(server), "six"), 3);
    struct address from = {.length = sizeof from.v6};
    char buffer[8];
    EXPECT_EQ(recvfrom(server, buffer, 8, 0, &from.any, &from.length), 3);
    EXPECT(IN6_IS_ADDR_LOOPBACK(&from.v6.sin6_addr));
}

CASE(udp_a_dual_socket_takes_and_sends_ipv4) {
    int server = bound("::", SOCK_DGRAM), client = bound("127.0.0.1", SOCK_DGRAM);
    EXPECT_EQ(send_to(client, "127.0.0.1", port_of(server), "four"), 4);
    struct address from = {.length = sizeof from.v6};
    char buffer[8];
    EXPECT_EQ(recvfrom(server, buffer, 8, 0, &from.any, &from.length), 4);
    EXPECT(IN6_IS_ADDR_V4MAPPED(&from.v6.sin6_addr));
    EXPECT_EQ(sendto(server, "back", 4, 0, &from.any, from.length), 4);
    expect_datagram(client, "back");
    EXPECT_EQ(send_to(server, "127.0.0.1", port_of(client), "plain"), 5);
    expect_datagram(client, "plain");
}

CASE(udp_a_connected_socket_takes_from_its_peer_only) {
    int first = bound("127.0.0.1", SOCK_DGRAM), second = bound("127.0.0.1", SOCK_DGRAM);
    int client = inet_socket("127.0.0.1", SOCK_DGRAM);
    OK(connect_to(client, "127.0.0.1", port_of(first)));
    EXPECT_EQ(name_of(client).v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    EXPECT_EQ(send_to(second, "127.0.0.1", port_of(client), "no"), 2);
    EXPECT_EQ(send_to(first, "127.0.0.1", port_of(client), "yes"), 3);
    expect_datagram(client, "yes");
    EXPECT_ERRNO(recv(client, &first, 1, MSG_DONTWAIT), EAGAIN);
    EXPECT_EQ(write(client, "hello", 5), 5);
    expect_datagram(first, "hello");
    EXPECT_EQ(send_to(client, "127.0.0.1", port_of(second), "aside"), 5);
    expect_datagram(second, "aside");
    OK(connect_to(client, "127.0.0.1", port_of(second)));
    struct address peer = {.length = sizeof peer.v6};
    OK(getpeername(client, &peer.any, &peer.length));
    EXPECT_EQ(ntohs(peer.v4.sin_port), port_of(second));
}

CASE(udp_disconnecting_forgets_the_peer) {
    int fd = inet_socket("127.0.0.1", SOCK_DGRAM);
    OK(connect_to(fd, "127.0.0.1", 9));
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    OK(connect(fd, &nobody, sizeof nobody));
    struct address peer = {.length = sizeof peer.v6};
    EXPECT_ERRNO(getpeername(fd, &peer.any, &peer.length), ENOTCONN);
    EXPECT_ERRNO(write(fd, "x", 1), EDESTADDRREQ);
    EXPECT_EQ(name_of(fd).v4.sin_addr.s_addr, 0);
}

CASE(udp_a_connected_socket_learns_that_nobody_receives) {
    int fd = inet_socket("127.0.0.1", SOCK_DGRAM), port = unused_port();
    EXPECT_EQ(send_to(fd, "127.0.0.1", port, "x"), 1);
    EXPECT_ERRNO(recv(fd, &port, 1, MSG_DONTWAIT), EAGAIN);
    OK(connect_to(fd, "127.0.0.1", port));
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT_EQ(events_of(fd, POLLERR), POLLOUT | POLLERR);
    EXPECT_ERRNO(write(fd, "x", 1), ECONNREFUSED);
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT_ERRNO(recv(fd, &port, 1, 0), ECONNREFUSED);
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
}

CASE(udp_sending_fails_as_documented) {
    int fd = inet_socket("127.0.0.1", SOCK_DGRAM);
    EXPECT_ERRNO(write(fd, "x", 1), EDESTADDRREQ);
    EXPECT_ERRNO(send_to(fd, "127.0.0.1", 0, "x"), EINVAL);
    struct address address = address_of("127.0.0.1", 9);
    EXPECT_ERRNO(sendto(fd, "x", 1, 0, &address.any, 8), EINVAL);
    EXPECT_ERRNO(sendto(fd, map(70000), 65508, 0, &address.any, address.length), EMSGSIZE);
    EXPECT_ERRNO(sendto(fd, bad_page(), 10, 0, &address.any, address.length), EFAULT);
    EXPECT_ERRNO(listen(fd, 1), EOPNOTSUPP);
    EXPECT_ERRNO(accept(fd, NULL, NULL), EOPNOTSUPP);
}

CASE(udp_the_largest_datagram_arrives) {
    int server = bound("127.0.0.1", SOCK_DGRAM), client = inet_socket("127.0.0.1", SOCK_DGRAM);
    OK(connect_to(client, "127.0.0.1", port_of(server)));
    char *buffer = map(65536);
    EXPECT_EQ(send(client, buffer, 65507, 0), 65507);
    EXPECT_EQ(recv(server, buffer, 65536, 0), 65507);
}

CASE(udp_what_does_not_fit_is_cut_off) {
    int server = bound("127.0.0.1", SOCK_DGRAM), client = inet_socket("127.0.0.1", SOCK_DGRAM);
    OK(connect_to(client, "127.0.0.1", port_of(server)));
    char buffer[8];
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(write(client, "abcdef", 6), 6);
    EXPECT_EQ(recv(server, buffer, 2, MSG_PEEK | MSG_TRUNC), 6);
    EXPECT_EQ(recv(server, buffer, 2, MSG_TRUNC), 6);
    EXPECT_EQ(recv(server, buffer, 2, 0), 2);
    struct iovec part = {buffer, 3};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int count;
    OK(ioctl(server, FIONREAD, &count));
    EXPECT_EQ(count, 6);
    EXPECT_EQ(recvmsg(server, &message, 0), 3);
    EXPECT_EQ(message.msg_flags, MSG_TRUNC);
}

CASE(udp_a_full_receiver_loses_datagrams_and_senders_do_not_wait) {
    int server = bound("127.0.0.1", SOCK_DGRAM), client = inet_socket("127.0.0.1", SOCK_DGRAM);
    set_option(server, SOL_SOCKET, SO_RCVBUF, 4096);
    OK(connect_to(client, "127.0.0.1", port_of(server)));
    char buffer[1024] = {0};
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(write(client, buffer, sizeof buffer), sizeof buffer);
    int received = 0;
    while (recv(server, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
        received++;
    EXPECT(received > 0 && received < 100);
}

CASE(udp_bind_of_a_taken_port_returns_eaddrinuse) {
    int first = bound("127.0.0.1", SOCK_DGRAM), port = port_of(first);
    EXPECT_ERRNO(bind_to(inet_socket("127.0.0.1", SOCK_DGRAM), "127.0.0.1", port), EADDRINUSE);
    EXPECT_ERRNO(bind_to(inet_socket("127.0.0.1", SOCK_DGRAM), "0.0.0.0", port), EADDRINUSE);
    OK(bind_to(inet_socket("127.0.0.1", SOCK_DGRAM), "127.0.0.2", port));
    OK(bind_to(inet_socket("127.0.0.1", SOCK_STREAM), "127.0.0.3", port));
    EXPECT_ERRNO(bind_to(inet_socket("127.0.0.1", SOCK_DGRAM), "192.0.2.1", 0), EADDRNOTAVAIL);
}

CASE(udp_reuseaddr_shares_a_port_and_the_latest_receives) {
    int first = inet_socket("127.0.0.1", SOCK_DGRAM), second = inet_socket("127.0.0.1", SOCK_DGRAM);
    set_option(first, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(second, SOL_SOCKET, SO_REUSEADDR, 1);
    OK(bind_to(first, "127.0.0.1", 0));
    OK(bind_to(second, "127.0.0.1", port_of(first)));
    EXPECT_EQ(send_to(inet_socket("127.0.0.1", SOCK_DGRAM), "127.0.0.1", port_of(first), "x"), 1);
    expect_datagram(second, "x");
}

CASE(udp_the_more_exact_address_receives) {
    int any = inet_socket("0.0.0.0", SOCK_DGRAM), one = inet_socket("127.0.0.1", SOCK_DGRAM);
    set_option(any, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(one, SOL_SOCKET, SO_REUSEADDR, 1);
    OK(bind_to(any, "0.0.0.0", 0));
    int port = port_of(any);
    OK(bind_to(one, "127.0.0.1", port));
    EXPECT_EQ(send_to(any, "127.0.0.1", port, "one"), 3);
    expect_datagram(one, "one");
    EXPECT_EQ(send_to(any, "127.0.0.2", port, "any"), 3);
    expect_datagram(any, "any");
}

CASE(udp_shutdown_needs_a_peer_and_ends_waiting) {
    int fd = inet_socket("127.0.0.1", SOCK_DGRAM);
    EXPECT_ERRNO(shutdown(fd, SHUT_RDWR), ENOTCONN);
    int client = inet_socket("127.0.0.1", SOCK_DGRAM);
    OK(connect_to(client, "127.0.0.1", port_of(bound("127.0.0.1", SOCK_DGRAM))));
    OK(shutdown(client, SHUT_RD));
    char byte;
    EXPECT_EQ(recv(client, &byte, 1, 0), 0);
    OK(shutdown(client, SHUT_WR));
    EXPECT_ERRNO(write(client, "x", 1), EPIPE);
}

CASE(udp_receiving_waits_times_out_and_is_interrupted) {
    int server = bound("127.0.0.1", SOCK_DGRAM), port = port_of(server);
    pid_t child = IN_CHILD({
        usleep(10000);
        EXPECT_EQ(send_to(inet_socket("127.0.0.1", SOCK_DGRAM), "127.0.0.1", port, "late"), 4);
    });
    expect_datagram(server, "late");
    EXPECT_EXIT(child, 0);
    char byte;
    EXPECT_INTERRUPTED(recv(server, &byte, 1, 0));
    struct timeval soon = {0, 20000};
    OK(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon));
    EXPECT_ERRNO(recv(server, &byte, 1, 0), EAGAIN);
}

CASE(udp_sockets_say_what_they_are) {
    int fd = inet_socket("127.0.0.1", SOCK_DGRAM);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_UDP);
    EXPECT_EQ(events_of(fd, POLLOUT), POLLOUT);
    EXPECT_EQ(option(fd, IPPROTO_IP, IP_TTL), 64);
}

CASE(udp_queue_of_errors_is_not_the_data) {
    int server = bound("127.0.0.1", SOCK_DGRAM);
    EXPECT_EQ(send_to(inet_socket("127.0.0.1", SOCK_DGRAM), "127.0.0.1", port_of(server), "data"), 4);
    char buffer[8];
    EXPECT_ERRNO(recv(server, buffer, 8, MSG_ERRQUEUE), EAGAIN);
    expect_datagram(server, "data");
    EXPECT_ERRNO(recv(server, buffer, 8, MSG_ERRQUEUE), EAGAIN);
}
