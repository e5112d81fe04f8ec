/* What the tests of epoll instances have in common. */
#ifndef EPOLL_H
#define EPOLL_H

#include "case.h"
#include <sys/epoll.h>

/* The events of the one descriptor that is ready now, or 0. */
static inline uint32_t ready(int epoll) {
    struct epoll_event event[2];
    int count = OK(epoll_wait(epoll, event, 2, 0));
    EXPECT(count <= 1);
    return count ? event[0].events : 0;
}

#endif
