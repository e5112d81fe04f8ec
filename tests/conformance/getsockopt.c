/* getsockopt(2), setsockopt(2), socket(7) */
#include "case.h"

#define PAIR(pair)                                                                                                     \
    int pair[2];                                                                                                       \
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair))

static int get(int fd, int option) {
    int value = -1;
    socklen_t length = sizeof value;
    OK(getsockopt(fd, SOL_SOCKET, option, &value, &length));
    EXPECT_EQ(length, sizeof value);
    return value;
}

CASE(getsockopt_tells_what_the_socket_is) {
    PAIR(pair);
    EXPECT_EQ(get(pair[0], SO_TYPE), SOCK_STREAM);
    EXPECT_EQ(get(pair[0], SO_DOMAIN), AF_UNIX);
    EXPECT_EQ(get(pair[0], SO_PROTOCOL), 0);
    EXPECT_EQ(get(pair[0], SO_ACCEPTCONN), 0);
    EXPECT_EQ(get(pair[0], SO_ERROR), 0);
}

CASE(getsockopt_peercred_is_the_maker_of_the_pair) {
    PAIR(pair);
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    OK(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &credentials, &length));
    EXPECT_EQ(credentials.pid, getpid());
    EXPECT_EQ(credentials.uid, geteuid());
    EXPECT_EQ(credentials.gid, getegid());
}

CASE(getsockopt_peercred_is_the_connecting_process) {
    struct sockaddr_un address = {AF_UNIX, "s"};
    int server = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    OK(bind(server, (struct sockaddr *)&address, sizeof address));
    OK(listen(server, 1));
    PIPE(hold);
    pid_t pid = IN_CHILD({
        OK(connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&address, sizeof address));
        await(hold[0]);
    });
    int session = OK(accept(server, NULL, NULL));
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    OK(getsockopt(session, SOL_SOCKET, SO_PEERCRED, &credentials, &length));
    EXPECT_EQ(credentials.pid, pid);
    announce(hold[1]);
    EXPECT_EXIT(pid, 0);
}

CASE(setsockopt_passcred_is_remembered) {
    PAIR(pair);
    int on = 1;
    EXPECT_EQ(get(pair[0], SO_PASSCRED), 0);
    OK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    EXPECT_EQ(get(pair[0], SO_PASSCRED), 1);
}

CASE(setsockopt_buffer_size_is_doubled) {
    PAIR(pair);
    int size = 20000;
    OK(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    EXPECT_EQ(get(pair[0], SO_SNDBUF), 40000);
    OK(setsockopt(pair[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
    EXPECT_EQ(get(pair[0], SO_RCVBUF), 40000);
}

CASE(setsockopt_timeout_is_remembered) {
    PAIR(pair);
    struct timeval time = {3, 500000}, got;
    OK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    socklen_t length = sizeof got;
    OK(getsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &got, &length));
    EXPECT_EQ(got.tv_sec, 3);
    EXPECT_EQ(got.tv_usec, 500000);
    time.tv_usec = 2000000;
    EXPECT_ERRNO(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time), EDOM);
}

CASE(sockopt_with_bad_arguments_fails) {
    PAIR(pair);
    int value = 1;
    socklen_t length = sizeof value;
    EXPECT_ERRNO(getsockopt(pair[0], SOL_SOCKET, 9999, &value, &length), ENOPROTOOPT);
    EXPECT_ERRNO(setsockopt(pair[0], SOL_SOCKET, 9999, &value, length), ENOPROTOOPT);
    EXPECT_ERRNO(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &value, 1), EINVAL);
    EXPECT_ERRNO(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, bad_page(), length), EFAULT);
    EXPECT_ERRNO(getsockopt(pair[0], SOL_SOCKET, SO_TYPE, bad_page(), &length), EFAULT);
    EXPECT_ERRNO(getsockopt(pair[0], SOL_SOCKET, SO_TYPE, &value, bad_page()), EFAULT);
    EXPECT_ERRNO(getsockopt(0, SOL_SOCKET, SO_TYPE, &value, &length), ENOTSOCK);
    length = -1;
    EXPECT_ERRNO(getsockopt(pair[0], SOL_SOCKET, SO_TYPE, &value, &length), EINVAL);
}

CASE(getsockopt_of_a_short_buffer_is_cut) {
    PAIR(pair);
    char value[4] = "xxxx";
    socklen_t length = 2;
    OK(getsockopt(pair[0], SOL_SOCKET, SO_TYPE, value, &length));
    EXPECT_EQ(length, 2);
    EXPECT_EQ(value[0], SOCK_STREAM);
    EXPECT_EQ(value[2], 'x');
}
