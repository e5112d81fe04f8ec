/* unix(7): names, connections, credentials */
#include "case.h"

static struct sockaddr_un named(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    return address;
}

static int bound(int type, const char *name) {
    int fd = OK(socket(AF_UNIX, type, 0));
    struct sockaddr_un address = named(name);
    OK(bind(fd, (struct sockaddr *)&address, sizeof address));
    return fd;
}

static int listening(const char *name) {
    int fd = bound(SOCK_STREAM, name);
    OK(listen(fd, 5));
    return fd;
}

static int connect_to(int fd, const char *name) {
    struct sockaddr_un address = named(name);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static int connected(int type, const char *name) {
    int fd = OK(socket(AF_UNIX, type, 0));
    OK(connect_to(fd, name));
    return fd;
}

CASE(unix_stream_connects_and_talks) {
    int server = listening("s"), client = connected(SOCK_STREAM, "s");
    int session = OK(accept(server, NULL, NULL));
    char buffer[8];
    EXPECT_EQ(write(client, "hello", 5), 5);
    EXPECT_EQ(read(session, buffer, 8), 5);
    EXPECT_EQ(write(session, "hi", 2), 2);
    EXPECT_EQ(read(client, buffer, 8), 2);
}

CASE(unix_bind_creates_a_socket_file_under_the_umask) {
    umask(027);
    bound(SOCK_STREAM, "s");
    struct stat status;
    OK(stat("s", &status));
    EXPECT_EQ(status.st_mode, S_IFSOCK | 0750);
}

CASE(unix_bind_of_a_taken_name_returns_eaddrinuse) {
    bound(SOCK_STREAM, "s");
    make_file("f", "");
    struct sockaddr_un address = named("s");
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(bind(fd, (struct sockaddr *)&address, sizeof address), EADDRINUSE);
    address = named("f");
    EXPECT_ERRNO(bind(fd, (struct sockaddr *)&address, sizeof address), EADDRINUSE);
    address = named("missing/s");
    EXPECT_ERRNO(bind(fd, (struct sockaddr *)&address, sizeof address), ENOENT);
}

CASE(unix_bind_twice_returns_einval) {
    int fd = bound(SOCK_STREAM, "s");
    struct sockaddr_un address = named("t");
    EXPECT_ERRNO(bind(fd, (struct sockaddr *)&address, sizeof address), EINVAL);
}

CASE(unix_bind_with_a_bad_address_fails) {
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un address = named("s");
    EXPECT_ERRNO(bind(fd, (struct sockaddr *)&address, 1000), EINVAL);
    EXPECT_ERRNO(bind(fd, bad_page(), sizeof address), EFAULT);
    address.sun_family = AF_INET;
    EXPECT_ERRNO(bind(fd, (struct sockaddr *)&address, sizeof address), EINVAL);
    EXPECT_ERRNO(bind(-1, (struct sockaddr *)&address, sizeof address), EBADF);
}

CASE(unix_abstract_names_are_each_types_own) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = offsetof(struct sockaddr_un, sun_path) + 1;
    length += snprintf(address.sun_path + 1, 64, "conformance-types-%d", getpid());
    int stream = OK(socket(AF_UNIX, SOCK_STREAM, 0)), datagram = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    OK(bind(stream, (struct sockaddr *)&address, length));
    EXPECT_ERRNO(connect(datagram, (struct sockaddr *)&address, length), ECONNREFUSED);
    OK(bind(datagram, (struct sockaddr *)&address, length));
    EXPECT_ERRNO(bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&address, length), EADDRINUSE);
}

CASE(unix_autobind_gives_an_abstract_name_of_five_digits) {
    int fd = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    OK(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)));
    socklen_t length = sizeof address;
    OK(getsockname(fd, (struct sockaddr *)&address, &length));
    EXPECT_EQ(length, sizeof(sa_family_t) + 6);
    EXPECT_EQ(address.sun_path[0], 0);
}

CASE(unix_abstract_names_need_no_file) {
    int server = OK(socket(AF_UNIX, SOCK_STREAM, 0)), client = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + 1, 100, "conformance\t%d", getpid());
    socklen_t length = sizeof(sa_family_t) + 1 + strlen(address.sun_path + 1);
    OK(bind(server, (struct sockaddr *)&address, length));
    OK(listen(server, 1));
    OK(connect(client, (struct sockaddr *)&address, length));
    /* One byte more is another name. */
    int other = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(connect(other, (struct sockaddr *)&address, length + 1), ECONNREFUSED);
    OK(close(server));
    EXPECT_ERRNO(connect(other, (struct sockaddr *)&address, length), ECONNREFUSED);
}

CASE(unix_connect_to_nothing_fails) {
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    make_file("f", "");
    bound(SOCK_STREAM, "deaf");
    bound(SOCK_DGRAM, "datagram");
    EXPECT_ERRNO(connect_to(fd, "missing"), ENOENT);
    EXPECT_ERRNO(connect_to(fd, "f"), ECONNREFUSED);
    EXPECT_ERRNO(connect_to(fd, "deaf"), ECONNREFUSED);
    EXPECT_ERRNO(connect_to(fd, "datagram"), EPROTOTYPE);
}

CASE(unix_connect_twice_returns_eisconn) {
    listening("s");
    int client = connected(SOCK_STREAM, "s");
    EXPECT_ERRNO(connect_to(client, "s"), EISCONN);
}

CASE(unix_connect_to_a_full_backlog_returns_eagain) {
    int server = bound(SOCK_STREAM, "s");
    OK(listen(server, 0));
    connected(SOCK_STREAM, "s");
    int fd = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    EXPECT_ERRNO(connect_to(fd, "s"), EAGAIN);
    OK(accept(server, NULL, NULL));
    OK(connect_to(fd, "s"));
}

CASE(unix_accept_waits_for_a_connection) {
    int server = listening("s");
    pid_t pid = IN_CHILD({ announce(connected(SOCK_STREAM, "s")); });
    await(OK(accept(server, NULL, NULL)));
    EXPECT_EXIT(pid, 0);
}

CASE(unix_accept_nonblocking_returns_eagain) {
    int server = listening("s");
    OK(fcntl(server, F_SETFL, O_NONBLOCK));
    EXPECT_ERRNO(accept(server, NULL, NULL), EAGAIN);
    struct pollfd poller = {server, POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 0);
    connected(SOCK_STREAM, "s");
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    OK(accept(server, NULL, NULL));
}

CASE(unix_accept_is_interrupted_by_a_signal) {
    int server = listening("s");
    EXPECT_INTERRUPTED(accept(server, NULL, NULL));
}

CASE(unix_accept_of_a_socket_that_does_not_listen_returns_einval) {
    EXPECT_ERRNO(accept(bound(SOCK_STREAM, "s"), NULL, NULL), EINVAL);
    EXPECT_ERRNO(accept(bound(SOCK_DGRAM, "d"), NULL, NULL), EOPNOTSUPP);
}

CASE(unix_accept4_sets_flags) {
    int server = listening("s");
    connected(SOCK_STREAM, "s");
    int fd = OK(accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT(fcntl(fd, F_GETFL) & O_NONBLOCK);
    EXPECT_ERRNO(accept4(server, NULL, NULL, 0x10), EINVAL);
}

CASE(unix_listen_of_a_datagram_socket_returns_eopnotsupp) {
    EXPECT_ERRNO(listen(bound(SOCK_DGRAM, "d"), 1), EOPNOTSUPP);
    EXPECT_ERRNO(listen(OK(socket(AF_UNIX, SOCK_STREAM, 0)), 1), EINVAL);
}

CASE(unix_names_of_both_ends_are_told) {
    int server = listening("s"), client = connected(SOCK_STREAM, "s");
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    int session = OK(accept(server, (struct sockaddr *)&address, &length));
    EXPECT_EQ(length, sizeof(sa_family_t));
    length = sizeof address;
    OK(getpeername(client, (struct sockaddr *)&address, &length));
    EXPECT_STR(address.sun_path, "s");
    EXPECT_EQ(length, sizeof(sa_family_t) + 2);
    length = sizeof address;
    OK(getsockname(session, (struct sockaddr *)&address, &length));
    EXPECT_STR(address.sun_path, "s");
    EXPECT_ERRNO(getpeername(server, (struct sockaddr *)&address, &length), ENOTCONN);
}

CASE(unix_short_address_buffer_is_filled_and_the_real_length_told) {
    int fd = bound(SOCK_STREAM, "longname");
    struct sockaddr_un address;
    memset(&address, 'x', sizeof address);
    socklen_t length = 5;
    OK(getsockname(fd, (struct sockaddr *)&address, &length));
    EXPECT_EQ(length, sizeof(sa_family_t) + 9);
    EXPECT(memcmp(address.sun_path, "lonx", 4) == 0);
    length = -1;
    EXPECT_ERRNO(getsockname(fd, (struct sockaddr *)&address, &length), EINVAL);
}

CASE(unix_datagrams_carry_the_senders_name) {
    int receiver = bound(SOCK_DGRAM, "r"), sender = bound(SOCK_DGRAM, "s");
    struct sockaddr_un to = named("r"), from;
    socklen_t length = sizeof from;
    EXPECT_EQ(sendto(sender, "hello", 5, 0, (struct sockaddr *)&to, sizeof to), 5);
    char buffer[8];
    EXPECT_EQ(recvfrom(receiver, buffer, 8, 0, (struct sockaddr *)&from, &length), 5);
    EXPECT_STR(from.sun_path, "s");
}

CASE(unix_datagram_without_a_destination_returns_enotconn) {
    int fd = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    EXPECT_ERRNO(send(fd, "x", 1, 0), ENOTCONN);
    struct sockaddr_un to = named("missing");
    EXPECT_ERRNO(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to), ENOENT);
}

CASE(unix_connected_datagram_refuses_strangers) {
    int one = bound(SOCK_DGRAM, "one");
    int two = bound(SOCK_DGRAM, "two");
    OK(connect_to(one, "two"));
    int stranger = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    struct sockaddr_un to = named("one");
    EXPECT_ERRNO(sendto(stranger, "x", 1, 0, (struct sockaddr *)&to, sizeof to), EPERM);
    EXPECT_EQ(sendto(two, "x", 1, 0, (struct sockaddr *)&to, sizeof to), 1);
}

CASE(unix_datagram_queue_is_bounded) {
    bound(SOCK_DGRAM, "r");
    int sender = OK(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    OK(connect_to(sender, "r"));
    int sent = 0;
    while (send(sender, "x", 1, 0) == 1)
        EXPECT(++sent < 10000);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT(sent >= 10);
}

CASE(unix_seqpacket_connects_and_keeps_boundaries) {
    int server = bound(SOCK_SEQPACKET, "s");
    OK(listen(server, 1));
    int client = connected(SOCK_SEQPACKET, "s"), session = OK(accept(server, NULL, NULL));
    EXPECT_EQ(write(client, "ab", 2), 2);
    EXPECT_EQ(write(client, "cde", 3), 3);
    char buffer[8];
    EXPECT_EQ(read(session, buffer, 8), 2);
    EXPECT_EQ(read(session, buffer, 8), 3);
    OK(close(client));
    EXPECT_EQ(read(session, buffer, 8), 0);
}

CASE(unix_unlinked_name_cannot_be_connected_but_connections_stay) {
    int server = listening("s"), client = connected(SOCK_STREAM, "s");
    OK(unlink("s"));
    EXPECT_ERRNO(connect_to(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "s"), ENOENT);
    int session = OK(accept(server, NULL, NULL));
    announce(client);
    await(session);
}

CASE(unix_connect_needs_write_permission) {
    NEEDS_ROOT();
    listening("s");
    OK(chmod("s", 0600));
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(connect_to(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "s"), EACCES);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(unix_closed_listener_refuses_and_resets) {
    int server = listening("s"), client = connected(SOCK_STREAM, "s");
    OK(close(server));
    char byte;
    EXPECT_ERRNO(read(client, &byte, 1), ECONNRESET);
    EXPECT_ERRNO(connect_to(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "s"), ECONNREFUSED);
}

CASE(unix_unconnected_stream_cannot_talk) {
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    char byte;
    EXPECT_ERRNO(recv(fd, &byte, 1, 0), EINVAL);
    EXPECT_ERRNO(send(fd, "x", 1, MSG_NOSIGNAL), ENOTCONN);
}

CASE(socket_of_unknown_kinds_fails) {
    EXPECT_ERRNO(socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
    EXPECT_ERRNO(socket(AF_UNIX, 77, 0), EINVAL);
    EXPECT_ERRNO(socket(AF_UNIX, SOCK_STREAM, 99), EPROTONOSUPPORT);
    EXPECT_ERRNO(socket(AF_UNIX, SOCK_STREAM | 0x100000, 0), EINVAL);
}
