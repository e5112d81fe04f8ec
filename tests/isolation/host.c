/*
 * A process of the host that a guest must not reach, natively: it holds a secret, listens, and owns one of each thing
 * that processes share by a name. It prints `KEY=VALUE` for each, then an empty line, and goes on until its standard
 * input ends. Then it says what reached it.
 *
 *     host DIRECTORY…    listens on a socket called `socket` in each
 */
#include "guest.h"
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define SOCKETS_MAX 16

static const char secret[] = "secret";
static struct pollfd sockets[SOCKETS_MAX];
static const char *names[SOCKETS_MAX];
static int count;

static void serve(const char *name, int family, int type, const void *address, socklen_t length) {
    int fd = socket(family, type, 0);
    NEED(count < SOCKETS_MAX && fd != -1 && bind(fd, address, length) == 0);
    NEED(type == SOCK_DGRAM || listen(fd, 16) == 0);
    names[count] = name;
    sockets[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void serve_internet(const char *name, int family, int type) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (family == AF_INET)
        serve(name, family, type, &v4, sizeof v4);
    else
        serve(name, family, type, &v6, sizeof v6);
    struct sockaddr_in6 address;
    socklen_t length = sizeof address;
    NEED(getsockname(sockets[count - 1].fd, (struct sockaddr *)&address, &length) == 0);
    /* Both families have the port in the same place. */
    printf("%s=%d\n", name, ntohs(address.sin6_port));
}

/* Guest process ids are small: an id that no guest process will have. */
static void take_a_large_process_id(void) {
    for (pid_t pid = getpid(); pid < 1000;) {
        int status;
        pid = fork();
        NEED(pid != -1);
        if (pid == 0 && (pid = getpid()) < 1000)
            _exit(0);
        if (pid == getpid())
            return;
        waitpid(pid, &status, 0);
        if (pid >= 1000)
            _exit(WEXITSTATUS(status));
    }
}

int main(int argc, char **argv) {
    take_a_large_process_id();
    printf("pid=%d\nsecret=%p\n", getpid(), (void *)secret);
    serve_internet("tcp4", AF_INET, SOCK_STREAM);
    serve_internet("tcp6", AF_INET6, SOCK_STREAM);
    serve_internet("udp4", AF_INET, SOCK_DGRAM);
    serve_internet("udp6", AF_INET6, SOCK_DGRAM);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    static char name[64];
    snprintf(name, sizeof name, "usk-isolation-%d", getpid());
    strcpy(address.sun_path + 1, name);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
    serve("abstract", AF_UNIX, SOCK_STREAM, &address, length);
    serve("abstract_datagram", AF_UNIX, SOCK_DGRAM, &address, length);
    for (int i = 1; i < argc; i++) {
        snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", argv[i]);
        serve("path", AF_UNIX, SOCK_STREAM, &address, sizeof address);
        chmod(address.sun_path, 0777);
    }
    printf("name=%s\n", name);

    key_t key = 0x75736b00 ^ getpid();
    int memory = shmget(key, PAGE_SIZE, IPC_CREAT | IPC_EXCL | 0666);
    int semaphores = semget(key, 1, IPC_CREAT | IPC_EXCL | 0666);
    int messages = msgget(key, IPC_CREAT | IPC_EXCL | 0666);
    NEED(memory != -1 && semaphores != -1 && messages != -1);
    char queue[80];
    snprintf(queue, sizeof queue, "/%s", name);
    mqd_t posix = mq_open(queue, O_RDWR | O_CREAT | O_EXCL, 0666, NULL);
    int shared = shm_open(queue, O_RDWR | O_CREAT | O_EXCL, 0666);
    printf("key=%d\nmemory=%d\nsemaphores=%d\nmessages=%d\nqueue=%d\n", key, memory, semaphores, messages, posix);
    printf("\n");
    fflush(stdout);

    struct pollfd input = {.fd = 0, .events = POLLIN};
    while (poll(&input, 1, -1) == -1)
        ;
    NEED(poll(sockets, count, 0) >= 0);
    for (int i = 0; i < count; i++)
        if (sockets[i].revents != 0)
            printf("%s\n", names[i]);
    shmctl(memory, IPC_RMID, NULL);
    semctl(semaphores, 0, IPC_RMID);
    msgctl(messages, IPC_RMID, NULL);
    if (posix != -1)
        mq_unlink(queue);
    if (shared != -1)
        shm_unlink(queue);
    return 0;
}
