/*
 * Too much of everything. An attack goes on until it is refused, and the errno of the refusal is its outcome; or it makes
 * something that is hard to take apart, and ends. Carried out in sandboxes only.
 */
#include "guest.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/timerfd.h>

/* More than any limit that an attack should meet. */
#define MANY 1000000

static long limit_files(rlim_t count) {
    struct rlimit limit = {count, count};
    return setrlimit(RLIMIT_NOFILE, &limit);
}

/* An own directory of the attack on the tmpfs. */
static long enter(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "/tmp/%s", name);
    TRY(mkdir(path, 0755));
    return chdir(path);
}

/* Waits for children until there are none; fails if one failed. */
static long wait_for_all(void) {
    int status;
    while (waitpid(-1, &status, 0) != -1)
        if (status != 0)
            return fail(ECHILD);
    return 0;
}

/* --- Processes ------------------------------------------------------------------------------------------------------ */

ATTACK(fork_until_refused) {
    for (int i = 0; i < MANY; i++) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                pause();
        if (pid == -1) {
            int error = errno;
            setpgid(0, 0);
            return fail(error);
        }
    }
    return 0;
}

ATTACK(leave_zombies_until_refused) {
    for (int i = 0; i < 3000; i++) {
        pid_t pid = vfork();
        if (pid == 0)
            _exit(0);
        TRY(pid);
    }
    return 0;
}

static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

ATTACK(make_threads_until_refused) {
    pthread_t thread;
    for (int i = 0; i < MANY; i++) {
        int error = pthread_create(&thread, NULL, wait_for_ever, NULL);
        if (error != 0)
            return fail(error);
    }
    return 0;
}

ATTACK(pass_a_long_argument) {
    size_t length = 200000;
    char *text = malloc(length + 1);
    memset(text, 'x', length);
    text[length] = 0;
    char *list[] = {"true", text, NULL};
    return execv("/bin/true", list);
}

ATTACK(pass_many_arguments) {
    size_t count = 4000000;
    char **list = malloc((count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = "x";
    list[count] = NULL;
    return execv("/bin/true", list);
}

ATTACK(queue_signals_until_refused) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    TRY(sigprocmask(SIG_BLOCK, &set, NULL));
    struct rlimit limit = {10000, 10000};
    TRY(setrlimit(RLIMIT_SIGPENDING, &limit));
    for (int i = 0; i < MANY; i++)
        TRY(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}));
    return 0;
}

ATTACK(make_timers_until_refused) {
    struct rlimit limit = {10000, 10000};
    TRY(setrlimit(RLIMIT_SIGPENDING, &limit));
    for (int i = 0; i < MANY; i++) {
        timer_t timer;
        struct sigevent event = {.sigev_notify = SIGEV_NONE};
        struct itimerspec often = {{0, 1000000}, {0, 1}};
        TRY(timer_create(CLOCK_MONOTONIC, &event, &timer));
        if (i < 1000)
            TRY(timer_settime(timer, 0, &often, NULL));
    }
    return 0;
}

/* --- Descriptors ---------------------------------------------------------------------------------------------------- */

/* A million: fifty processes with twenty thousand each. */
ATTACK(open_a_million_files) {
    TRY(limit_files(20000));
    while (open("/dev/null", O_RDONLY) != -1)
        ;
    int error = errno;
    for (int i = 0; i < 50; i++)
        if (TRY(fork()) == 0) {
            NEED(write(19999, "", 0) == -1 && errno == EBADF);
            NEED(close(19998) == 0);
            _exit(0);
        }
    TRY(wait_for_all());
    return fail(error);
}

ATTACK(fill_many_pipes) {
    static char text[65536];
    int ends[2];
    TRY(limit_files(500));
    while (pipe2(ends, O_NONBLOCK) == 0)
        while (write(ends[1], text, sizeof text) > 0)
            ;
    return -1;
}

ATTACK(make_timer_descriptors_that_expire_all_the_time) {
    TRY(limit_files(500));
    struct itimerspec often = {{0, 1000}, {0, 1}};
    int fd;
    while ((fd = timerfd_create(CLOCK_MONOTONIC, 0)) != -1)
        TRY(timerfd_settime(fd, 0, &often, NULL));
    return -1;
}

ATTACK(nest_epolls) {
    int inner = TRY(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    for (int i = 0; i < 100; i++) {
        int outer = TRY(epoll_create1(0));
        TRY(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event));
        inner = outer;
    }
    return 0;
}

ATTACK(let_epolls_watch_each_other) {
    int one = TRY(epoll_create1(0)), other = TRY(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    TRY(epoll_ctl(one, EPOLL_CTL_ADD, other, &event));
    return epoll_ctl(other, EPOLL_CTL_ADD, one, &event);
}

/* --- Descriptors in flight ------------------------------------------------------------------------------------------ */

static long send_descriptors(int socket, const int *fds, int count) {
    union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int) * 253)]; } control = {0};
    struct iovec text = {"x", 1};
    struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    control.header = (struct cmsghdr){CMSG_LEN(sizeof(int) * count), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
    return sendmsg(socket, &message, MSG_DONTWAIT);
}

ATTACK(send_as_many_descriptors_as_fit) {
    int pair[2], fds[253];
    TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    for (int i = 0; i < 253; i++)
        fds[i] = 0;
    for (int i = 0; i < 5000; i++)
        TRY(send_descriptors(pair[0], fds, 253));
    return 0;
}

/* Each pair of sockets holds the one before, which nobody else does: what lets go of the last lets go of a long chain. */
ATTACK(nest_sockets_in_flight) {
    int inner[2], outer[2];
    TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, inner));
    for (int i = 0; i < 100000; i++) {
        TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, outer));
        if (send_descriptors(outer[0], inner, 2) == -1)
            return errno == ETOOMANYREFS ? 0 : -1;
        close(inner[0]);
        close(inner[1]);
        inner[0] = outer[0];
        inner[1] = outer[1];
    }
    return 0;
}

ATTACK(send_sockets_through_themselves) {
    for (int i = 0; i < 20000; i++) {
        int pair[2];
        TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
        TRY(send_descriptors(pair[0], pair, 2));
        close(pair[0]);
        close(pair[1]);
    }
    return 0;
}

/* --- Names ---------------------------------------------------------------------------------------------------------- */

ATTACK(nest_directories_and_remove_them_from_around_a_process) {
    TRY(enter(name));
    for (int i = 0; i < 20000; i++)
        if (mkdir("d", 0755) == -1 || chdir("d") == -1)
            return -1;
    char path[PATH_MAX];
    if (syscall(SYS_getcwd, path, sizeof path) != -1 || errno != ENAMETOOLONG)
        return fail(ENODATA);
    int ends[2];
    TRY(pipe(ends));
    if (TRY(fork()) == 0) {
        /* In the deepest directory: what lets go of it lets go of all that it was in. */
        char byte;
        close(ends[1]);
        NEED(read(ends[0], &byte, 1) == 0);
        _exit(0);
    }
    for (int i = 0; i < 20000; i++)
        if (chdir("..") == -1 || rmdir("d") == -1)
            return -1;
    close(ends[1]);
    return wait_for_all();
}

ATTACK(use_a_long_name) {
    char text[300];
    memset(text, 'x', sizeof text);
    text[256] = 0;
    return open(text, O_RDONLY | O_CREAT, 0644);
}

ATTACK(use_a_long_path) {
    char text[5000];
    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, "./", 2);
    text[sizeof text - 1] = 0;
    return open(text, O_RDONLY);
}

ATTACK(follow_ten_thousand_links) {
    TRY(enter(name));
    char link[32], target[32] = "nowhere";
    for (int i = 0; i < 10000; i++) {
        snprintf(link, sizeof link, "%d", i);
        TRY(symlink(target, link));
        strcpy(target, link);
    }
    return open(target, O_RDONLY);
}

ATTACK(follow_links_that_multiply) {
    TRY(enter(name));
    char link[32], target[PATH_MAX];
    TRY(mkdir("0", 0755));
    for (int i = 1; i < 40; i++) {
        int length = 0;
        for (int k = 0; k < 50; k++)
            length += snprintf(target + length, sizeof target - length, "%d/../", i - 1);
        snprintf(target + length, sizeof target - length, "%d", i - 1);
        snprintf(link, sizeof link, "%d", i);
        TRY(symlink(target, link));
    }
    return open("39", O_RDONLY);
}

ATTACK(fill_a_file_system) {
    TRY(enter(name));
    static char text[1 << 20];
    int fd = TRY(open("file", O_WRONLY | O_CREAT, 0644));
    long result;
    while ((result = write(fd, text, sizeof text)) > 0)
        ;
    int error = errno;
    TRY(unlink("file"));
    return fail(error);
}

/* --- Memory and objects --------------------------------------------------------------------------------------------- */

ATTACK(map_until_refused) {
    /* Neighbours differ, so that they do not merge. */
    for (int i = 0; i < MANY; i++)
        if (mmap(NULL, PAGE_SIZE, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
            return -1;
    return 0;
}

ATTACK(map_all_addresses) {
    for (int i = 0; i < MANY; i++)
        if (mmap(NULL, 1UL << 40, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
            return -1;
    return 0;
}

ATTACK(make_shared_memory_until_refused) {
    for (int i = 0; i < MANY; i++) {
        int id = shmget(IPC_PRIVATE, PAGE_SIZE, 0600);
        if (id == -1)
            return -1;
    }
    return 0;
}

ATTACK(make_semaphores_until_refused) {
    for (int i = 0; i < MANY; i++)
        TRY(semget(IPC_PRIVATE, 1, 0600));
    return 0;
}

/* Every length that a call takes, beyond reason. The calls fail, or do what they can. */
ATTACK(name_huge_lengths) {
    size_t huge = 0x7ffff000, larger = SIZE_MAX / 2;
    char *memory = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -1;
    int ends[2], pair[2];
    TRY(pipe2(ends, O_NONBLOCK));
    TRY(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    TRY(enter(name));
    int file = TRY(open("file", O_RDWR | O_CREAT, 0644)), null = TRY(open("/dev/null", O_RDWR));
    int epoll = TRY(epoll_create1(0));
    TRY(write(null, memory, huge));
    TRY(write(ends[1], memory, huge));
    NEED(send(pair[0], memory, huge, MSG_DONTWAIT) == -1);
    struct iovec vectors[1024];
    for (int i = 0; i < 1024; i++)
        vectors[i] = (struct iovec){memory, huge / 1024};
    writev(ends[1], vectors, 1024);
    process_vm_readv(getpid(), vectors, 1, vectors, 1, 0);
    write(file, memory, huge);
    pread(file, memory, huge, 0);
    ftruncate(file, INT64_MAX);
    pwrite(file, "x", 1, INT64_MAX - 1);
    copy_file_range(file, NULL, null, NULL, larger, 0);
    for (int round = 0; round < 2; round++) {
        size_t length = round == 0 ? huge : larger;
        syscall(SYS_getdents64, open(".", O_RDONLY), memory, length);
        syscall(SYS_poll, memory, length, 0);
        syscall(SYS_epoll_wait, epoll, memory, length, 0);
        syscall(SYS_sched_setaffinity, 0, length, memory);
        syscall(SYS_sched_getaffinity, 0, length, memory);
        syscall(SYS_setgroups, length, memory);
        syscall(SYS_setsockopt, pair[0], SOL_SOCKET, SO_RCVTIMEO, memory, length);
        syscall(SYS_readlink, "/proc/self/exe", memory, length);
        syscall(SYS_getcwd, memory, length);
        syscall(SYS_setxattr, "file", "user.x", memory, length, 0);
        syscall(SYS_getxattr, "file", "user.x", memory, length);
        syscall(SYS_listxattr, "file", memory, length);
        syscall(SYS_select, (int)length, memory, memory, memory, &(struct timeval){0, 0});
        syscall(SYS_semop, 0, memory, length);
        syscall(SYS_sendmmsg, pair[0], memory, length, MSG_DONTWAIT);
        syscall(SYS_recvmmsg, pair[0], memory, length, MSG_DONTWAIT, NULL);
        syscall(SYS_mincore, memory, huge, memory);
        syscall(SYS_sethostname, memory, length);
        syscall(SYS_prlimit64, 0, RLIMIT_STACK, memory, NULL);
        struct msghdr message = {memory, length, vectors, 1024, memory, length, 0};
        sendmsg(pair[0], &message, MSG_DONTWAIT);
        recvmsg(pair[1], &message, MSG_DONTWAIT);
    }
    return 0;
}

int main(void) {
    NEED(is_inside());
    run_attacks();
    return 0;
}
