/* tcp(7), ip(7), ipv6(7): streams over the loopback interface */
#include "inet.h"
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>

static int listening(const char *host) {
    int fd = bound(host, SOCK_STREAM);
    OK(listen(fd, 5));
    return fd;
}

static int connected(const char *host, int port) {
    int fd = inet_socket(host, SOCK_STREAM);
    OK(connect_to(fd, host, port));
    return fd;
}

/* Both ends of a connection; [0] is the client's. */
struct ends {
    int client, server;
};

static struct ends ends_over(const char *host) {
    int listener = listening(host);
    struct ends ends;
    ends.client = connected(host, port_of(listener));
    ends.server = OK(accept(listener, NULL, NULL));
    OK(close(listener));
    return ends;
}

static struct ends ends(void) { return ends_over("127.0.0.1"); }

static void talk(struct ends ends) {
    char buffer[8];
    EXPECT_EQ(write(ends.client, "hello", 5), 5);
    EXPECT_EQ(read(ends.server, buffer, 8), 5);
    EXPECT(memcmp(buffer, "hello", 5) == 0);
    EXPECT_EQ(send(ends.server, "hi", 2, 0), 2);
    EXPECT_EQ(recv(ends.client, buffer, 8, 0), 2);
}

static int unused_port(void) {
    int fd = bound("127.0.0.1", SOCK_STREAM);
    int port = port_of(fd);
    OK(close(fd));
    return port;
}

CASE(tcp_connects_and_talks) { talk(ends()); }
CASE(tcp_connects_and_talks_over_ipv6) { talk(ends_over("::1")); }
CASE(tcp_connects_and_talks_over_any_address_of_the_loopback) { talk(ends_over("127.1.2.3")); }

CASE(tcp_a_connection_to_the_unspecified_address_comes_to_the_loopback) {
    int listener = listening("0.0.0.0");
    int client = connected("0.0.0.0", port_of(listener));
    struct address peer = {.length = sizeof peer.v6};
    OK(getpeername(client, &peer.any, &peer.length));
    EXPECT_EQ(ntohl(peer.v4.sin_addr.s_addr), INADDR_LOOPBACK);
    int server = OK(accept(listener, NULL, NULL));
    EXPECT_EQ(ntohl(name_of(server).v4.sin_addr.s_addr), INADDR_LOOPBACK);
}

CASE(tcp_names_are_those_of_the_ends) {
    int listener = listening("127.0.0.1");
    int client = connected("127.0.0.1", port_of(listener));
    struct address peer = {.length = sizeof peer.v6};
    int server = OK(accept(listener, &peer.any, &peer.length));
    EXPECT_EQ(peer.length, sizeof peer.v4);
    EXPECT_EQ(peer.v4.sin_port, name_of(client).v4.sin_port);
    EXPECT_EQ(peer.v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    OK(getpeername(client, &peer.any, &peer.length));
    EXPECT_EQ(ntohs(peer.v4.sin_port), port_of(listener));
    EXPECT_EQ(port_of(server), port_of(listener));
    EXPECT_ERRNO(getpeername(listener, &peer.any, &peer.length), ENOTCONN);
    EXPECT(port_of(client) >= 32768 && port_of(client) <= 60999);
}

CASE(tcp_a_client_that_reaches_another_loopback_address_comes_from_the_first) {
    int listener = listening("127.0.0.9");
    int client = connected("127.0.0.9", port_of(listener));
    EXPECT_EQ(ntohl(name_of(client).v4.sin_addr.s_addr), INADDR_LOOPBACK);
}

CASE(tcp_a_fresh_socket_has_the_unspecified_name) {
    int fd = inet_socket("127.0.0.1", SOCK_STREAM);
    struct address name = name_of(fd);
    EXPECT_EQ(name.length, sizeof name.v4);
    EXPECT(name.v4.sin_port == 0 && name.v4.sin_addr.s_addr == 0);
    EXPECT_EQ(name_of(inet_socket("::1", SOCK_STREAM)).length, sizeof name.v6);
}

CASE(tcp_bind_of_port_zero_gives_an_ephemeral_port) {
    int port = port_of(bound("127.0.0.1", SOCK_STREAM));
    EXPECT(port >= 32768 && port <= 60999);
}

CASE(tcp_bind_fails_as_documented) {
    int fd = inet_socket("127.0.0.1", SOCK_STREAM);
    struct address address = address_of("127.0.0.1", 0);
    EXPECT_ERRNO(bind(fd, &address.any, 8), EINVAL);
    EXPECT_ERRNO(bind(fd, bad_page(), address.length), EFAULT);
    EXPECT_ERRNO(bind_to(fd, "192.0.2.1", 0), EADDRNOTAVAIL);
    EXPECT_ERRNO(bind_to(fd, "::1", 0), EAFNOSUPPORT);
    EXPECT_ERRNO(bind_to(inet_socket("::1", SOCK_STREAM), "2001:db8::1", 0), EADDRNOTAVAIL);
    OK(bind_to(fd, "127.0.0.1", 0));
    EXPECT_ERRNO(bind_to(fd, "127.0.0.1", 0), EINVAL);
}

CASE(tcp_bind_of_an_unspecified_family_takes_the_unspecified_address_only) {
    struct address address = address_of("0.0.0.0", 0);
    address.v4.sin_family = AF_UNSPEC;
    OK(bind(inet_socket("127.0.0.1", SOCK_STREAM), &address.any, address.length));
    address = address_of("127.0.0.1", 0);
    address.v4.sin_family = AF_UNSPEC;
    EXPECT_ERRNO(bind(inet_socket("127.0.0.1", SOCK_STREAM), &address.any, address.length), EAFNOSUPPORT);
}

CASE(tcp_bind_of_a_low_port_without_privileges_returns_eacces) {
    NEEDS_ROOT();
    int port = unused_port();
    OK(setresuid(65534, 65534, 65534));
    EXPECT_ERRNO(bind_to(inet_socket("127.0.0.1", SOCK_STREAM), "127.0.0.1", 999), EACCES);
    OK(bind_to(inet_socket("127.0.0.1", SOCK_STREAM), "127.0.0.1", port));
}

CASE(tcp_bind_of_a_taken_port_returns_eaddrinuse) {
    int port = port_of(bound("127.0.0.1", SOCK_STREAM));
    EXPECT_ERRNO(bind_to(inet_socket("127.0.0.1", SOCK_STREAM), "127.0.0.1", port), EADDRINUSE);
    EXPECT_ERRNO(bind_to(inet_socket("127.0.0.1", SOCK_STREAM), "0.0.0.0", port), EADDRINUSE);
    EXPECT_ERRNO(bind_to(inet_socket("::", SOCK_STREAM), "::", port), EADDRINUSE);
    OK(bind_to(inet_socket("127.0.0.1", SOCK_STREAM), "127.0.0.2", port));
    OK(bind_to(inet_socket("::1", SOCK_STREAM), "::1", port));
}

CASE(tcp_reuseaddr_shares_a_port_until_one_listens) {
    int first = inet_socket("127.0.0.1", SOCK_STREAM), second = inet_socket("127.0.0.1", SOCK_STREAM);
    set_option(first, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(second, SOL_SOCKET, SO_REUSEADDR, 1);
    OK(bind_to(first, "127.0.0.1", 0));
    OK(bind_to(second, "127.0.0.1", port_of(first)));
    OK(listen(first, 1));
    EXPECT_ERRNO(listen(second, 1), EADDRINUSE);
    int third = inet_socket("127.0.0.1", SOCK_STREAM);
    set_option(third, SOL_SOCKET, SO_REUSEADDR, 1);
    EXPECT_ERRNO(bind_to(third, "127.0.0.1", port_of(first)), EADDRINUSE);
}

CASE(tcp_reuseaddr_takes_the_port_of_a_server_whose_connection_lives) {
    int listener = inet_socket("127.0.0.1", SOCK_STREAM), next = inet_socket("127.0.0.1", SOCK_STREAM);
    set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    OK(bind_to(listener, "127.0.0.1", 0));
    OK(listen(listener, 1));
    int port = port_of(listener), client = connected("127.0.0.1", port);
    int server = OK(accept(listener, NULL, NULL));
    OK(close(listener));
    EXPECT_ERRNO(bind_to(next, "127.0.0.1", port), EADDRINUSE);
    set_option(next, SOL_SOCKET, SO_REUSEADDR, 1);
    OK(bind_to(next, "127.0.0.1", port));
    OK(listen(next, 1));
    talk((struct ends){client, server});
    connected("127.0.0.1", port);
}

CASE(tcp_reuseport_shares_a_port_among_listeners) {
    int first = inet_socket("127.0.0.1", SOCK_STREAM), second = inet_socket("127.0.0.1", SOCK_STREAM);
    set_option(first, SOL_SOCKET, SO_REUSEPORT, 1);
    set_option(second, SOL_SOCKET, SO_REUSEPORT, 1);
    OK(bind_to(first, "127.0.0.1", 0));
    OK(bind_to(second, "127.0.0.1", port_of(first)));
    OK(listen(first, 5));
    OK(listen(second, 5));
    connected("127.0.0.1", port_of(first));
    struct pollfd both[] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
    EXPECT_EQ(poll(both, 2, 5000), 1);
    EXPECT_ERRNO(bind_to(inet_socket("127.0.0.1", SOCK_STREAM), "127.0.0.1", port_of(first)), EADDRINUSE);
}

CASE(tcp_connect_where_nobody_listens_is_refused_and_can_be_tried_again) {
    int fd = inet_socket("127.0.0.1", SOCK_STREAM), port = unused_port();
    EXPECT_ERRNO(connect_to(fd, "127.0.0.1", port), ECONNREFUSED);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0);
    int listener = listening("127.0.0.1");
    OK(connect_to(fd, "127.0.0.1", port_of(listener)));
    EXPECT_ERRNO(connect_to(fd, "127.0.0.1", port_of(listener)), EISCONN);
    EXPECT_ERRNO(connect_to(inet_socket("::1", SOCK_STREAM), "::1", port), ECONNREFUSED);
    EXPECT_ERRNO(connect_to(inet_socket("127.0.0.1", SOCK_STREAM), "127.0.0.2", port_of(listener)), ECONNREFUSED);
    EXPECT_ERRNO(connect_to(listener, "127.0.0.1", port_of(listener)), EISCONN);
}

CASE(tcp_connect_with_a_bad_address_fails) {
    int fd = inet_socket("127.0.0.1", SOCK_STREAM);
    struct address address = address_of("127.0.0.1", 1);
    EXPECT_ERRNO(connect(fd, &address.any, 1), EINVAL);
    EXPECT_ERRNO(connect(fd, &address.any, 8), EINVAL);
    EXPECT_ERRNO(connect_to(fd, "::1", 1), EAFNOSUPPORT);
    EXPECT_ERRNO(connect_to(inet_socket("::1", SOCK_STREAM), "127.0.0.1", 1), EINVAL);
    EXPECT_ERRNO(connect(fd, bad_page(), address.length), EFAULT);
}

CASE(tcp_connect_without_waiting_is_in_progress_then_done) {
    int listener = listening("127.0.0.1"), port = port_of(listener);
    int fd = inet_socket("127.0.0.1", SOCK_STREAM | SOCK_NONBLOCK);
    EXPECT_ERRNO(connect_to(fd, "127.0.0.1", port), EINPROGRESS);
    EXPECT_EQ(events_of(fd, POLLOUT), POLLOUT);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0);
    OK(connect_to(fd, "127.0.0.1", port));
    EXPECT_ERRNO(connect_to(fd, "127.0.0.1", port), EISCONN);
}

CASE(tcp_connect_without_waiting_tells_a_refusal_later) {
    int port = unused_port();
    int fd = inet_socket("127.0.0.1", SOCK_STREAM | SOCK_NONBLOCK);
    EXPECT_ERRNO(connect_to(fd, "127.0.0.1", port), EINPROGRESS);
    EXPECT_EQ(events_of(fd, POLLOUT), POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0);
    EXPECT_ERRNO(connect_to(fd, "127.0.0.1", port), ECONNABORTED);
    EXPECT_ERRNO(connect_to(fd, "127.0.0.1", port), EINPROGRESS);
    EXPECT(events_of(fd, POLLOUT) & POLLERR);
    EXPECT_ERRNO(connect_to(fd, "127.0.0.1", port), ECONNREFUSED);
}

CASE(tcp_a_full_backlog_makes_connections_wait) {
    int listener = bound("127.0.0.1", SOCK_STREAM), port = port_of(listener);
    OK(listen(listener, 0));
    connected("127.0.0.1", port);
    int waiting = inet_socket("127.0.0.1", SOCK_STREAM | SOCK_NONBLOCK);
    EXPECT_ERRNO(connect_to(waiting, "127.0.0.1", port), EINPROGRESS);
    struct pollfd request = {.fd = waiting, .events = POLLOUT};
    EXPECT_EQ(poll(&request, 1, 50), 0);
    EXPECT_ERRNO(connect_to(waiting, "127.0.0.1", port), EALREADY);
    EXPECT_ERRNO(write(waiting, "x", 1), EAGAIN);
    struct address peer = {.length = sizeof peer.v6};
    EXPECT_ERRNO(getpeername(waiting, &peer.any, &peer.length), ENOTCONN);
    int blocking = inet_socket("127.0.0.1", SOCK_STREAM);
    struct timeval soon = {0, 20000};
    OK(setsockopt(blocking, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon));
    EXPECT_ERRNO(connect_to(blocking, "127.0.0.1", port), EINPROGRESS);
    OK(accept(listener, NULL, NULL));
    EXPECT_EQ(events_of(waiting, POLLOUT), POLLOUT);
    OK(accept(listener, NULL, NULL));
}

CASE(tcp_connect_to_the_unspecified_family_ends_a_connection) {
    struct ends pair = ends();
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    OK(connect(pair.client, &nobody, sizeof nobody));
    char byte;
    EXPECT_ERRNO(read(pair.server, &byte, 1), ECONNRESET);
    EXPECT_ERRNO(read(pair.client, &byte, 1), ECONNRESET);
    EXPECT_ERRNO(read(pair.client, &byte, 1), ENOTCONN);
    int listener = listening("127.0.0.1");
    OK(connect_to(pair.client, "127.0.0.1", port_of(listener)));
}

CASE(tcp_listen_without_bind_takes_a_port) {
    int fd = inet_socket("127.0.0.1", SOCK_STREAM);
    OK(listen(fd, 1));
    EXPECT_EQ(name_of(fd).v4.sin_addr.s_addr, 0);
    connected("127.0.0.1", port_of(fd));
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    EXPECT_ERRNO(listen(ends().client, 1), EINVAL);
}

CASE(tcp_accept_takes_flags_and_fails_as_documented) {
    int listener = inet_socket("127.0.0.1", SOCK_STREAM | SOCK_NONBLOCK);
    EXPECT_ERRNO(accept(listener, NULL, NULL), EINVAL);
    OK(listen(listener, 1));
    EXPECT_ERRNO(accept(listener, NULL, NULL), EAGAIN);
    connected("127.0.0.1", port_of(listener));
    int server = OK(accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
    EXPECT_EQ(OK(fcntl(server, F_GETFD)), FD_CLOEXEC);
    EXPECT_EQ(OK(fcntl(server, F_GETFL)), O_RDWR | O_NONBLOCK);
    EXPECT_ERRNO(accept4(listener, NULL, NULL, 1 << 20), EINVAL);
    connected("127.0.0.1", port_of(listener));
    EXPECT_EQ(OK(fcntl(OK(accept(listener, NULL, NULL)), F_GETFL)), O_RDWR);
}

CASE(tcp_accept_waits_for_a_connection) {
    int listener = listening("127.0.0.1"), port = port_of(listener);
    pid_t child = IN_CHILD({
        usleep(10000);
        connected("127.0.0.1", port);
    });
    OK(accept(listener, NULL, NULL));
    EXPECT_EXIT(child, 0);
    EXPECT_INTERRUPTED(accept(listener, NULL, NULL));
}

CASE(tcp_an_accepted_socket_has_its_listeners_options) {
    int listener = listening("127.0.0.1");
    set_option(listener, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(listener, IPPROTO_TCP, TCP_NODELAY, 1);
    connected("127.0.0.1", port_of(listener));
    int server = OK(accept(listener, NULL, NULL));
    EXPECT_EQ(option(server, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option(server, IPPROTO_TCP, TCP_NODELAY), 1);
}

CASE(tcp_closing_is_the_end_of_the_stream) {
    struct ends pair = ends();
    char buffer[8];
    EXPECT_EQ(write(pair.client, "last", 4), 4);
    OK(close(pair.client));
    EXPECT_EQ(events_of(pair.server, POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
    EXPECT_EQ(read(pair.server, buffer, 8), 4);
    EXPECT_EQ(read(pair.server, buffer, 8), 0);
    EXPECT_EQ(read(pair.server, buffer, 8), 0);
}

CASE(tcp_writing_to_a_closed_end_works_once_and_then_breaks_the_pipe) {
    signal(SIGPIPE, SIG_IGN);
    struct ends pair = ends();
    OK(close(pair.client));
    EXPECT(events_of(pair.server, POLLRDHUP) & POLLRDHUP);
    EXPECT_EQ(write(pair.server, "x", 1), 1);
    EXPECT_EQ(events_of(pair.server, POLLERR), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
    char byte;
    EXPECT_EQ(read(pair.server, &byte, 1), 0);
    EXPECT_ERRNO(write(pair.server, "x", 1), EPIPE);
    EXPECT_ERRNO(write(pair.server, "x", 1), EPIPE);
    struct address peer = {.length = sizeof peer.v6};
    EXPECT_ERRNO(getpeername(pair.server, &peer.any, &peer.length), ENOTCONN);
}

CASE(tcp_a_broken_pipe_raises_sigpipe_unless_asked_not_to) {
    struct ends pair = ends();
    handle(SIGPIPE, count_signal, 0);
    OK(shutdown(pair.client, SHUT_WR));
    EXPECT_ERRNO(send(pair.client, "x", 1, MSG_NOSIGNAL), EPIPE);
    EXPECT_EQ(signals_seen, 0);
    EXPECT_ERRNO(write(pair.client, "x", 1), EPIPE);
    EXPECT_EQ(signals_seen, 1);
    EXPECT_ERRNO(write(inet_socket("127.0.0.1", SOCK_STREAM), "x", 1), EPIPE);
    EXPECT_EQ(signals_seen, 2);
}

CASE(tcp_closing_with_unread_data_resets_the_connection) {
    struct ends pair = ends();
    EXPECT_EQ(write(pair.server, "answer", 6), 6);
    EXPECT_EQ(write(pair.client, "unread", 6), 6);
    EXPECT(events_of(pair.server, POLLIN) & POLLIN);
    OK(close(pair.server));
    EXPECT_EQ(events_of(pair.client, POLLERR), POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR);
    char buffer[8];
    EXPECT_EQ(read(pair.client, buffer, 8), 6);
    EXPECT_ERRNO(read(pair.client, buffer, 8), ECONNRESET);
    EXPECT_EQ(read(pair.client, buffer, 8), 0);
}

CASE(tcp_closing_without_lingering_resets_the_connection) {
    struct ends pair = ends();
    struct linger none = {1, 0};
    OK(setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &none, sizeof none));
    OK(close(pair.client));
    char byte;
    EXPECT_ERRNO(read(pair.server, &byte, 1), ECONNRESET);
}

CASE(tcp_closing_a_listener_resets_those_who_were_not_accepted) {
    int listener = listening("127.0.0.1");
    int client = connected("127.0.0.1", port_of(listener));
    OK(close(listener));
    char byte;
    EXPECT_ERRNO(read(client, &byte, 1), ECONNRESET);
}

CASE(tcp_shutdown_ends_one_direction) {
    struct ends pair = ends();
    char buffer[8];
    EXPECT_EQ(write(pair.client, "ask", 3), 3);
    OK(shutdown(pair.client, SHUT_WR));
    EXPECT_EQ(read(pair.server, buffer, 8), 3);
    EXPECT_EQ(read(pair.server, buffer, 8), 0);
    EXPECT_EQ(write(pair.server, "tell", 4), 4);
    EXPECT_EQ(read(pair.client, buffer, 8), 4);
    OK(close(pair.server));
    EXPECT(events_of(pair.client, POLLHUP) & POLLHUP);
    EXPECT_ERRNO(shutdown(pair.client, SHUT_RD), ENOTCONN);
}

CASE(tcp_what_comes_after_shutdown_of_reading_can_be_read) {
    struct ends pair = ends();
    char buffer[8];
    OK(shutdown(pair.client, SHUT_RD));
    EXPECT_EQ(read(pair.client, buffer, 8), 0);
    EXPECT_EQ(write(pair.server, "late", 4), 4);
    EXPECT_EQ(read(pair.client, buffer, 8), 4);
    EXPECT_EQ(read(pair.client, buffer, 8), 0);
    EXPECT_ERRNO(shutdown(pair.client, 7), EINVAL);
}

CASE(tcp_shutdown_of_a_socket_that_is_not_connected_returns_enotconn) {
    EXPECT_ERRNO(shutdown(inet_socket("127.0.0.1", SOCK_STREAM), SHUT_RDWR), ENOTCONN);
}

CASE(tcp_shutdown_of_a_listener_ends_accept_and_it_can_listen_again) {
    int listener = listening("127.0.0.1"), port = port_of(listener);
    OK(shutdown(listener, SHUT_RDWR));
    EXPECT_ERRNO(accept(listener, NULL, NULL), EINVAL);
    EXPECT_ERRNO(connect_to(inet_socket("127.0.0.1", SOCK_STREAM), "127.0.0.1", port), ECONNREFUSED);
    OK(listen(listener, 1));
    connected("127.0.0.1", port_of(listener));
}

CASE(tcp_receiving_peeks_waits_for_all_and_truncates) {
    struct ends pair = ends();
    char buffer[8];
    EXPECT_ERRNO(recv(pair.server, buffer, 8, MSG_DONTWAIT), EAGAIN);
    EXPECT_EQ(write(pair.client, "abcdef", 6), 6);
    EXPECT_EQ(recv(pair.server, buffer, 2, MSG_PEEK), 2);
    int count;
    OK(ioctl(pair.server, FIONREAD, &count));
    EXPECT_EQ(count, 6);
    EXPECT_EQ(recv(pair.server, NULL, 2, MSG_TRUNC), 2);
    EXPECT_EQ(recv(pair.server, buffer, 2, 0), 2);
    EXPECT(memcmp(buffer, "cd", 2) == 0);
    pid_t child = IN_CHILD({
        usleep(10000);
        EXPECT_EQ(write(pair.client, "ghij", 4), 4);
    });
    EXPECT_EQ(recv(pair.server, buffer, 6, MSG_WAITALL), 6);
    EXPECT(memcmp(buffer, "efghij", 6) == 0);
    EXPECT_EXIT(child, 0);
    EXPECT_ERRNO(recv(pair.server, buffer, 1, MSG_OOB), EINVAL);
    EXPECT_ERRNO(recv(pair.server, bad_page(), 1, MSG_DONTWAIT), EAGAIN);
}

CASE(tcp_recvfrom_reports_no_address) {
    struct ends pair = ends();
    EXPECT_EQ(write(pair.client, "x", 1), 1);
    struct address from = {.length = sizeof from.v6};
    char byte;
    EXPECT_EQ(recvfrom(pair.server, &byte, 1, 0, &from.any, &from.length), 1);
    EXPECT_EQ(from.length, 0);
}

CASE(tcp_timeouts_end_waiting) {
    struct ends pair = ends();
    struct timeval soon = {0, 20000};
    char buffer[8];
    OK(setsockopt(pair.client, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon));
    EXPECT_ERRNO(read(pair.client, buffer, 8), EAGAIN);
    OK(setsockopt(pair.client, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon));
    char *much = map(16 << 20);
    ssize_t sent = write(pair.client, much, 16 << 20);
    EXPECT(sent > 0 && sent < 16 << 20);
    EXPECT_ERRNO(write(pair.client, much, 1 << 20), EAGAIN);
}

CASE(tcp_a_full_stream_is_not_writable_until_read) {
    struct ends pair = ends();
    OK(fcntl(pair.client, F_SETFL, O_NONBLOCK));
    OK(fcntl(pair.server, F_SETFL, O_NONBLOCK));
    char *buffer = map(65536);
    int64_t sent = 0, received = 0;
    ssize_t count;
    while ((count = write(pair.client, buffer, 65536)) > 0)
        sent += count;
    EXPECT_EQ(errno, EAGAIN);
    struct pollfd request = {.fd = pair.client, .events = POLLOUT};
    EXPECT_EQ(poll(&request, 1, 0), 0);
    while (received < sent) {
        EXPECT_EQ(events_of(pair.server, POLLIN) & POLLIN, POLLIN);
        received += OK(read(pair.server, buffer, 65536));
    }
    EXPECT_EQ(events_of(pair.client, POLLOUT), POLLOUT);
}

CASE(tcp_a_large_transfer_arrives_whole) {
    struct ends pair = ends();
    enum { TOTAL = 8 << 20 };
    pid_t child = IN_CHILD({
        unsigned char *data = map(TOTAL);
        for (int i = 0; i < TOTAL; i++)
            data[i] = i * 31 + (i >> 12);
        EXPECT_EQ(write(pair.client, data, TOTAL), TOTAL);
    });
    OK(close(pair.client));
    unsigned char *buffer = map(65536);
    int64_t received = 0;
    ssize_t count;
    while ((count = OK(read(pair.server, buffer, 65536 - received % 977))) > 0)
        for (ssize_t i = 0; i < count; i++, received++)
            if (buffer[i] != (unsigned char)(received * 31 + (received >> 12)))
                FAIL("byte %lld is as sent", (long long)received);
    EXPECT_EQ(received, TOTAL);
    EXPECT_EXIT(child, 0);
}

CASE(tcp_sendfile_and_splice_go_through_a_socket) {
    struct ends pair = ends();
    make_file("f", "content");
    int file = OK(open("f", O_RDONLY));
    EXPECT_EQ(sendfile(pair.client, file, NULL, 100), 7);
    PIPE(ends);
    EXPECT_EQ(splice(pair.server, NULL, ends[1], NULL, 100, 0), 7);
    EXPECT_EQ(splice(ends[0], NULL, pair.server, NULL, 100, 0), 7);
    char buffer[8];
    EXPECT_EQ(read(pair.client, buffer, 8), 7);
    EXPECT(memcmp(buffer, "content", 7) == 0);
}

CASE(tcp_epoll_reports_edges) {
    struct ends pair = ends();
    int epoll = OK(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
    OK(epoll_ctl(epoll, EPOLL_CTL_ADD, pair.server, &event));
    EXPECT_EQ(epoll_wait(epoll, &event, 1, 0), 0);
    EXPECT_EQ(write(pair.client, "x", 1), 1);
    EXPECT_EQ(epoll_wait(epoll, &event, 1, 5000), 1);
    EXPECT_EQ(event.events, EPOLLIN);
    EXPECT_EQ(epoll_wait(epoll, &event, 1, 0), 0);
    OK(shutdown(pair.client, SHUT_WR));
    EXPECT_EQ(epoll_wait(epoll, &event, 1, 5000), 1);
    EXPECT_EQ(event.events, EPOLLIN | EPOLLRDHUP);
    OK(close(pair.client));
}

CASE(tcp_sockets_say_what_they_are) {
    int fd = inet_socket("::1", SOCK_STREAM);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_DOMAIN), AF_INET6);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
    EXPECT_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 9);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
    EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 30);
    EXPECT_ERRNO(setsockopt(fd, IPPROTO_TCP, 999, &fd, sizeof fd), ENOPROTOOPT);
}

static int state_of(int fd) {
    struct tcp_info info;
    socklen_t length = sizeof info;
    OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    EXPECT(length >= 104);
    return info.tcpi_state;
}

CASE(tcp_info_tells_the_state) {
    EXPECT_EQ(state_of(inet_socket("127.0.0.1", SOCK_STREAM)), TCP_CLOSE);
    EXPECT_EQ(state_of(listening("127.0.0.1")), TCP_LISTEN);
    struct ends pair = ends();
    EXPECT_EQ(state_of(pair.client), TCP_ESTABLISHED);
    OK(shutdown(pair.client, SHUT_WR));
    EXPECT(events_of(pair.server, POLLRDHUP) & POLLRDHUP);
    EXPECT_EQ(state_of(pair.server), TCP_CLOSE_WAIT);
    EXPECT(state_of(pair.client) == TCP_FIN_WAIT1 || state_of(pair.client) == TCP_FIN_WAIT2);
}

CASE(tcp_a_dual_listener_takes_ipv4_as_mapped_addresses) {
    int listener = listening("::"), port = port_of(listener);
    int client = connected("127.0.0.1", port);
    struct address peer = {.length = sizeof peer.v6};
    int server = OK(accept(listener, &peer.any, &peer.length));
    EXPECT_EQ(peer.length, sizeof peer.v6);
    EXPECT(IN6_IS_ADDR_V4MAPPED(&peer.v6.sin6_addr));
    EXPECT_EQ(peer.v6.sin6_port, name_of(client).v4.sin_port);
    struct address name = name_of(server);
    EXPECT(IN6_IS_ADDR_V4MAPPED(&name.v6.sin6_addr));
    talk((struct ends){client, server});
    connected("::1", port);
    OK(accept(listener, &peer.any, &peer.length));
    EXPECT(IN6_IS_ADDR_LOOPBACK(&peer.v6.sin6_addr));
    connected("::ffff:127.0.0.1", port);
}

CASE(tcp_a_listener_of_ipv6_only_takes_no_ipv4) {
    int listener = inet_socket("::", SOCK_STREAM);
    set_option(listener, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    OK(bind_to(listener, "::", 0));
    OK(listen(listener, 1));
    int port = port_of(listener), none = 0;
    EXPECT_ERRNO(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &none, sizeof none), EINVAL);
    EXPECT_ERRNO(connect_to(inet_socket("127.0.0.1", SOCK_STREAM), "127.0.0.1", port), ECONNREFUSED);
    OK(bind_to(inet_socket("0.0.0.0", SOCK_STREAM), "0.0.0.0", port));
    int mapped = inet_socket("::", SOCK_STREAM);
    set_option(mapped, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    EXPECT_ERRNO(bind_to(mapped, "::ffff:127.0.0.1", 0), EINVAL);
    EXPECT_ERRNO(connect_to(mapped, "::ffff:127.0.0.1", port), ENETUNREACH);
}

CASE(tcp_sendmsg_and_recvmsg_carry_vectors) {
    struct ends pair = ends();
    struct iovec parts[] = {{"ab", 2}, {"cd", 2}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    EXPECT_EQ(sendmsg(pair.client, &message, 0), 4);
    char buffer[8];
    struct iovec whole = {buffer, 8};
    struct address from;
    message = (struct msghdr){.msg_name = &from.any, .msg_namelen = sizeof from.v6, .msg_iov = &whole, .msg_iovlen = 1};
    EXPECT_EQ(recvmsg(pair.server, &message, 0), 4);
    EXPECT_EQ(message.msg_namelen, 0);
    struct address other = address_of("127.0.0.1", 9);
    EXPECT_EQ(sendto(pair.client, "x", 1, 0, &other.any, other.length), 1);
}

/* Keeps new descriptors from being had; returns the limit of before. */
static struct rlimit use_up_descriptors(void) {
    struct rlimit old, none = {0, 0};
    OK(getrlimit(RLIMIT_NOFILE, &old));
    none.rlim_max = old.rlim_max;
    OK(setrlimit(RLIMIT_NOFILE, &none));
    return old;
}

CASE(tcp_connection_stays_when_no_descriptor_is_free) {
    int listener = listening("127.0.0.1"), client = connected("127.0.0.1", port_of(listener));
    struct rlimit old = use_up_descriptors();
    EXPECT_ERRNO(accept(listener, NULL, NULL), EMFILE);
    EXPECT_ERRNO(accept(listener, NULL, NULL), EMFILE);
    OK(setrlimit(RLIMIT_NOFILE, &old));
    talk((struct ends){client, OK(accept(listener, NULL, NULL))});
}

CASE(tcp_accept_without_a_free_descriptor_does_not_wait) {
    int listener = listening("127.0.0.1");
    use_up_descriptors();
    EXPECT_ERRNO(accept(listener, NULL, NULL), EMFILE);
}

CASE(tcp_queue_of_errors_is_not_the_data) {
    struct ends both = ends();
    EXPECT_EQ(write(both.client, "hello", 5), 5);
    char buffer[8];
    EXPECT_EQ(recv(both.server, buffer, 8, MSG_PEEK), 5);
    EXPECT_ERRNO(recv(both.server, buffer, 8, MSG_ERRQUEUE), EAGAIN);
    EXPECT_EQ(recv(both.server, buffer, 8, 0), 5);
    EXPECT_ERRNO(recv(both.server, buffer, 8, MSG_ERRQUEUE), EAGAIN);
}

/* Waits until the process sleeps, or has ended. */
static void await_sleep(pid_t pid) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    while (!strchr("SZ", strrchr(file_content(name), ')')[2]))
        sched_yield();
}

CASE(tcp_a_look_at_all_waits_for_all) {
    struct ends both = ends();
    EXPECT_EQ(write(both.client, "he", 2), 2);
    pid_t pid = IN_CHILD({
        char buffer[8] = {0};
        EXPECT_EQ(recv(both.server, buffer, 5, MSG_PEEK | MSG_WAITALL), 5);
        EXPECT_STR(buffer, "hello");
    });
    await_sleep(pid);
    EXPECT_EQ(write(both.client, "llo!", 4), 4);
    EXPECT_EXIT(pid, 0);
    char buffer[8];
    EXPECT_EQ(read(both.server, buffer, 8), 6);
}

CASE(tcp_a_look_at_all_ends_with_the_stream_the_timeout_or_a_signal) {
    struct ends both = ends();
    char buffer[8] = {0};
    EXPECT_EQ(write(both.client, "he", 2), 2);
    EXPECT_EQ(recv(both.server, buffer, 5, MSG_PEEK | MSG_WAITALL | MSG_DONTWAIT), 2);
    int64_t begun = now_ns(CLOCK_MONOTONIC);
    struct timeval timeout = {0, 50000};
    OK(setsockopt(both.server, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    EXPECT_EQ(recv(both.server, buffer, 5, MSG_PEEK | MSG_WAITALL), 2);
    EXPECT(now_ns(CLOCK_MONOTONIC) - begun >= 50000000);
    timeout.tv_sec = 1000;
    OK(setsockopt(both.server, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    tick(count_signal, 0);
    EXPECT_EQ(recv(both.server, buffer, 5, MSG_PEEK | MSG_WAITALL), 2);
    stop_ticking();
    EXPECT(signals_seen > 0);
    OK(shutdown(both.client, SHUT_WR));
    EXPECT_EQ(recv(both.server, buffer, 5, MSG_PEEK | MSG_WAITALL), 2);
    EXPECT_STR(buffer, "he");
}

CASE(tcp_an_error_that_ends_a_wait_for_all_is_told_the_next_time) {
    struct ends both = ends();
    EXPECT_EQ(write(both.client, "he", 2), 2);
    pid_t pid = IN_CHILD({
        char buffer[8];
        OK(close(both.client));
        EXPECT_EQ(recv(both.server, buffer, 5, MSG_WAITALL), 2);
        EXPECT_ERRNO(recv(both.server, buffer, 5, MSG_WAITALL), ECONNRESET);
        EXPECT_EQ(recv(both.server, buffer, 5, MSG_WAITALL), 0);
    });
    await_sleep(pid);
    struct linger none = {1, 0};
    OK(setsockopt(both.client, SOL_SOCKET, SO_LINGER, &none, sizeof none));
    OK(close(both.client));
    EXPECT_EXIT(pid, 0);
}

/* Has a descriptor and lets go of it, again and again. */
__attribute__((noreturn)) static void *use_a_descriptor(void *unused) {
    (void)unused;
    for (;;) {
        int fd = dup(0);
        if (fd >= 0)
            close(fd);
    }
}

CASE(tcp_connections_stay_when_another_thread_gets_the_last_descriptor) {
    int listener = listening("127.0.0.1"), port = port_of(listener);
    OK(fcntl(listener, F_SETFL, O_NONBLOCK));
    int client = inet_socket("127.0.0.1", SOCK_STREAM), last = next_fd();
    OK(close(client));
    /* One for the client, one for either the other thread or the connection. */
    struct rlimit limit = {last + 1, last + 1};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, use_a_descriptor, NULL), 0);
    int64_t begun = now_ns(CLOCK_MONOTONIC);
    while (now_ns(CLOCK_MONOTONIC) - begun < 2000000000) {
        while ((client = socket(AF_INET, SOCK_STREAM, 0)) == -1)
            EXPECT_EQ(errno, EMFILE);
        OK(connect_to(client, "127.0.0.1", port));
        int server;
        while ((server = accept(listener, NULL, NULL)) == -1)
            EXPECT_EQ(errno, EMFILE);
        OK(close(client));
        OK(close(server));
    }
}

CASE(tcp_does_not_know_who_is_at_the_other_end) {
    int fds[] = {ends().server, bound("127.0.0.1", SOCK_DGRAM)};
    for (int i = 0; i < 2; i++) {
        struct ucred peer = {1, 1, 1};
        socklen_t length = sizeof peer;
        OK(getsockopt(fds[i], SOL_SOCKET, SO_PEERCRED, &peer, &length));
        EXPECT_EQ(length, sizeof peer);
        EXPECT_EQ(peer.pid, 0);
        EXPECT_EQ(peer.uid, (uid_t)-1);
        EXPECT_EQ(peer.gid, (gid_t)-1);
    }
}
