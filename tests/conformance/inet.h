/* What the programs about Internet sockets share. */
#ifndef INET_H
#define INET_H

#include "case.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

/* An address of either family. */
struct address {
    socklen_t length;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

/* The address `host` with `port`: IPv6 if there is a colon in it. */
static inline struct address address_of(const char *host, int port) {
    struct address address = {0};
    if (strchr(host, ':')) {
        address.length = sizeof address.v6;
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        EXPECT_EQ(inet_pton(AF_INET6, host, &address.v6.sin6_addr), 1);
    } else {
        address.length = sizeof address.v4;
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        EXPECT_EQ(inet_pton(AF_INET, host, &address.v4.sin_addr), 1);
    }
    return address;
}

static inline struct address name_of(int fd) {
    struct address address = {.length = sizeof address.v6};
    OK(getsockname(fd, &address.any, &address.length));
    return address;
}

/* The ports of both families are in the same place. */
static inline int port_of(int fd) { return ntohs(name_of(fd).v6.sin6_port); }

static inline int bind_to(int fd, const char *host, int port) {
    struct address address = address_of(host, port);
    return bind(fd, &address.any, address.length);
}

static inline int connect_to(int fd, const char *host, int port) {
    struct address address = address_of(host, port);
    return connect(fd, &address.any, address.length);
}

static inline int inet_socket(const char *host, int type) {
    return OK(socket(strchr(host, ':') ? AF_INET6 : AF_INET, type, 0));
}

static inline int bound(const char *host, int type) {
    int fd = inet_socket(host, type);
    OK(bind_to(fd, host, 0));
    return fd;
}

static inline int option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    OK(getsockopt(fd, level, name, &value, &length));
    return value;
}

static inline void set_option(int fd, int level, int name, int value) {
    OK(setsockopt(fd, level, name, &value, sizeof value));
}

/* The events of `fd`, after waiting for any of `wanted`. */
static inline int events_of(int fd, int wanted) {
    struct pollfd request = {.fd = fd, .events = wanted};
    EXPECT_EQ(poll(&request, 1, 5000), 1);
    request.events = POLLIN | POLLOUT | POLLRDHUP;
    OK(poll(&request, 1, 0));
    return request.revents;
}

#endif
