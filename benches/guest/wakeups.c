/* Ping-pongs: a byte, or a word's value, goes to a peer and comes back. The peer is a thread or a process. */
#include "guest.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A connection in both directions. For sockets both descriptors of a side are the same. */
struct wire {
    int our_in, our_out, peer_in, peer_out;
};

static void *echo(void *argument) {
    const struct wire *wire = argument;
    char byte;
    while (read(wire->peer_in, &byte, 1) == 1 && write(wire->peer_out, &byte, 1) == 1) {
    }
    return NULL;
}

static void ping(struct meter *meter, const struct wire *wire) {
    char byte = 'x';
    REPEAT(meter) {
        OK(write(wire->our_out, &byte, 1));
        if (OK(read(wire->our_in, &byte, 1)) != 1) refuse("the peer has gone");
    }
}

static void start_thread(pthread_t *thread, void *(*routine)(void *), void *argument) {
    errno = pthread_create(thread, NULL, routine, argument);
    if (errno) refuse("pthread_create");
}

static void hang_up(const struct wire *wire) {
    if (wire->our_in == wire->our_out) shutdown(wire->our_out, SHUT_WR);
    else close(wire->our_out);
}

static void between_threads(struct meter *meter, struct wire wire) {
    pthread_t peer;
    start_thread(&peer, echo, &wire);
    ping(meter, &wire);
    hang_up(&wire);
    pthread_join(peer, NULL);
    close(wire.our_in), close(wire.peer_in), close(wire.peer_out);
}

static void between_processes(struct meter *meter, struct wire wire) {
    pid_t peer = OK(fork());
    if (peer == 0) {
        close(wire.our_out), close(wire.our_in);
        echo(&wire);
        _exit(0);
    }
    close(wire.peer_in), close(wire.peer_out);
    ping(meter, &wire);
    hang_up(&wire);
    OK(waitpid(peer, NULL, 0));
    close(wire.our_in);
}

static struct wire pipes(void) {
    int to[2], from[2];
    OK(pipe(to));
    OK(pipe(from));
    return (struct wire){.our_in = from[0], .our_out = to[1], .peer_in = to[0], .peer_out = from[1]};
}

static struct wire of_sockets(int ours, int theirs) {
    return (struct wire){.our_in = ours, .our_out = ours, .peer_in = theirs, .peer_out = theirs};
}

static struct wire socket_pair(void) {
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    return of_sockets(pair[0], pair[1]);
}

static struct wire loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener == -1) refuse("no TCP here: socket");
    if (bind(listener, (struct sockaddr *)&address, length) == -1) refuse("no TCP here: bind");
    if (listen(listener, 1) == -1) refuse("no TCP here: listen");
    OK(getsockname(listener, (struct sockaddr *)&address, &length));
    int ours = OK(socket(AF_INET, SOCK_STREAM, 0));
    if (connect(ours, (struct sockaddr *)&address, length) == -1) refuse("no TCP here: connect");
    int theirs = OK(accept(listener, NULL, NULL));
    close(listener);
    OK(setsockopt(ours, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    OK(setsockopt(theirs, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    return of_sockets(ours, theirs);
}

static void pipe_threads(struct meter *meter) {
    between_threads(meter, pipes());
}

static void pipe_processes(struct meter *meter) {
    between_processes(meter, pipes());
}

static void socketpair_threads(struct meter *meter) {
    between_threads(meter, socket_pair());
}

static void socketpair_processes(struct meter *meter) {
    between_processes(meter, socket_pair());
}

static void tcp_threads(struct meter *meter) {
    between_threads(meter, loopback());
}

static void tcp_processes(struct meter *meter) {
    between_processes(meter, loopback());
}

/* Words in shared memory: whose turn it is, and for whom a wake is private. */
struct table {
    uint32_t turn;
    int wait, wake;
};
enum { OURS, THEIRS, OVER };

static void wait_while(struct table *table, uint32_t value) {
    while (__atomic_load_n(&table->turn, __ATOMIC_ACQUIRE) == value)
        syscall(SYS_futex, &table->turn, table->wait, value, NULL, NULL, 0);
}

static void pass(struct table *table, uint32_t turn) {
    __atomic_store_n(&table->turn, turn, __ATOMIC_RELEASE);
    syscall(SYS_futex, &table->turn, table->wake, INT_MAX, NULL, NULL, 0);
}

static void *play(void *argument) {
    struct table *table = argument;
    for (;;) {
        wait_while(table, OURS);
        if (table->turn == OVER) return NULL;
        pass(table, OURS);
    }
}

static void serve(struct meter *meter, struct table *table) {
    REPEAT(meter) {
        pass(table, THEIRS);
        wait_while(table, THEIRS);
    }
    pass(table, OVER);
}

static void futex_threads(struct meter *meter) {
    struct table table = {OURS, FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE};
    pthread_t peer;
    start_thread(&peer, play, &table);
    serve(meter, &table);
    pthread_join(peer, NULL);
}

static void futex_processes(struct meter *meter) {
    struct table *table = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED) refuse("mmap");
    *table = (struct table){OURS, FUTEX_WAIT, FUTEX_WAKE};
    pid_t peer = OK(fork());
    if (peer == 0) {
        play(table);
        _exit(0);
    }
    serve(meter, table);
    OK(waitpid(peer, NULL, 0));
    munmap(table, 4096);
}

const struct operation wakeups[] = {
    {"pipe_threads", "pipe ping-pong, threads", pipe_threads},
    {"pipe_processes", "pipe ping-pong, processes", pipe_processes},
    {"socketpair_threads", "socketpair ping-pong, threads", socketpair_threads},
    {"socketpair_processes", "socketpair ping-pong, processes", socketpair_processes},
    {"futex_threads", "futex ping-pong, threads", futex_threads},
    {"futex_processes", "futex ping-pong, processes", futex_processes},
    {"tcp_threads", "loopback TCP ping-pong, threads", tcp_threads},
    {"tcp_processes", "loopback TCP ping-pong, processes", tcp_processes},
    {0},
};
