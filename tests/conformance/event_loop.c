/*
 * Changes of an epoll instance between waits, in any order, against a model: which descriptors are watched, what for, and which are
 * ready in which order. And what others see of them.
 *
 * Calls are made by sites that are used over and over, with as little between them as possible.
 */
#include "epoll.h"
#include "progress.h"
#include <sys/eventfd.h>

/* Rounds after which a call site is as fast as it gets. */
#define WARM 80
#define FILES 12
#define STEPS 8000
#define MODES (EPOLLET | EPOLLONESHOT)

struct watch {
    bool is_watched, is_spent;
    struct epoll_event event;
};

static int instance;
static int files[FILES];
static struct watch watches[FILES];
static bool has_value[FILES];
/* Those that may be ready, the first first. */
static int list[FILES], listed;

static uint64_t seed;
static unsigned below(unsigned limit) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % limit;
}

static uint32_t readiness(int which) {
    const struct watch *watch = &watches[which];
    return watch->is_spent ? 0 : (EPOLLOUT | (has_value[which] ? EPOLLIN : 0)) & watch->event.events;
}

static void unlist(int which) {
    int kept = 0;
    for (int i = 0; i < listed; i++)
        if (list[i] != which)
            list[kept++] = list[i];
    listed = kept;
}

static void enlist(int which) {
    for (int i = 0; i < listed; i++)
        if (list[i] == which)
            return;
    list[listed++] = which;
}

static void change(int which) {
    static const uint32_t modes[] = {0, 0, EPOLLET, EPOLLONESHOT, MODES};
    struct watch *watch = &watches[which];
    uint32_t events = (below(2) ? EPOLLIN : 0) | (below(2) ? EPOLLOUT : 0) | modes[below(5)];
    struct epoll_event event = {events, {.u64 = seed}};
    switch (below(3)) {
    case 0:
        if (watch->is_watched) {
            EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_ADD, files[which], &event), EEXIST);
            return;
        }
        OK(epoll_ctl(instance, EPOLL_CTL_ADD, files[which], &event));
        break;
    case 1:
        if (!watch->is_watched) {
            EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_MOD, files[which], &event), ENOENT);
            return;
        }
        OK(epoll_ctl(instance, EPOLL_CTL_MOD, files[which], &event));
        break;
    default:
        if (!watch->is_watched) {
            EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_DEL, files[which], NULL), ENOENT);
            return;
        }
        OK(epoll_ctl(instance, EPOLL_CTL_DEL, files[which], NULL));
        watch->is_watched = false;
        unlist(which);
        return;
    }
    *watch = (struct watch){true, false, event};
    if (readiness(which))
        enlist(which);
}

static void write_or_read(int which) {
    eventfd_t value;
    uint32_t woken = has_value[which] ? EPOLLOUT : EPOLLIN;
    if (has_value[which])
        OK(eventfd_read(files[which], &value));
    else
        OK(eventfd_write(files[which], 1));
    has_value[which] = !has_value[which];
    const struct watch *watch = &watches[which];
    if (watch->is_watched && !watch->is_spent && watch->event.events & woken)
        enlist(which);
}

static void check_wait(void) {
    struct epoll_event events[FILES];
    int looked[FILES], count = listed, found = 0;
    memcpy(looked, list, sizeof list);
    listed = 0;
    int reported = OK(epoll_wait(instance, events, FILES, 0));
    for (int i = 0; i < count; i++) {
        struct watch *watch = &watches[looked[i]];
        uint32_t ready = readiness(looked[i]);
        if (!ready)
            continue;
        EXPECT(found < reported);
        EXPECT_EQ(events[found].events, ready);
        EXPECT_EQ(events[found].data.u64, watch->event.data.u64);
        found++;
        watch->is_spent = watch->event.events & EPOLLONESHOT;
        if (!(watch->event.events & MODES))
            enlist(looked[i]);
    }
    EXPECT_EQ(reported, found);
}

/* Whether anything is ready: those that are not any more are left out up to the first that is. */
static void check_poll(void) {
    struct pollfd poller = {instance, POLLIN, 0};
    while (listed > 0 && !readiness(list[0]))
        unlist(list[0]);
    EXPECT_EQ(poll(&poller, 1, 0), listed > 0);
}

/* The number is another file's from now on. */
static void replace(int which) {
    if (below(2) && watches[which].is_watched)
        OK(epoll_ctl(instance, EPOLL_CTL_DEL, files[which], NULL));
    OK(close(files[which]));
    struct epoll_event event = {EPOLLIN, {.u64 = 0}};
    EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_MOD, files[which], &event), EBADF);
    EXPECT_EQ(eventfd(0, 0), files[which]);
    unlist(which);
    watches[which].is_watched = has_value[which] = false;
}

static void run_model(uint64_t start) {
    seed = start;
    instance = OK(epoll_create1(0));
    for (int i = 0; i < FILES; i++)
        files[i] = OK(eventfd(0, 0));
    for (int step = 0; step < STEPS; step++) {
        int which = below(FILES);
        switch (below(16)) {
        case 0: check_wait(); break;
        case 1: write_or_read(which); break;
        case 2: if (below(4) == 0) replace(which); break;
        case 3: if (below(4) == 0) check_poll(); break;
        default: change(which);
        }
    }
}

CASE(epoll_changes_in_any_order_come_to_what_a_model_says) { run_model(1); }
CASE(epoll_changes_in_another_order_come_to_what_a_model_says) { run_model(20261126); }
CASE(epoll_changes_in_a_third_order_come_to_what_a_model_says) { run_model(987654321); }

/* --- With other instances, and other names of one --------------------------------------------------------------------- */

static int control(int epoll, int operation, int fd, uint32_t events) {
    struct epoll_event event = {events, {.fd = fd}};
    return epoll_ctl(epoll, operation, fd, &event);
}

/* An instance that watches a ready file, at a descriptor of its own, and whose sites are warm. */
static void make_loop(int fd) {
    instance = OK(epoll_create1(0));
    EXPECT_EQ(dup2(OK(eventfd(1, 0)), fd), fd);
    OK(control(instance, EPOLL_CTL_ADD, fd, EPOLLIN));
    struct epoll_event event;
    for (int round = 0; round < WARM; round++) {
        OK(control(instance, EPOLL_CTL_MOD, fd, round & 1 ? EPOLLIN : EPOLLOUT));
        EXPECT_EQ(epoll_wait(instance, &event, 1, 0), 1);
    }
}

CASE(epoll_changes_that_cannot_be_made_fail_after_those_that_can) {
    make_loop(20);
    struct epoll_event event = {EPOLLIN | EPOLLEXCLUSIVE, {.fd = 20}};
    for (int round = 0; round < 3; round++) {
        OK(control(instance, EPOLL_CTL_MOD, 20, EPOLLOUT));
        EXPECT_ERRNO(control(instance, EPOLL_CTL_ADD, 20, EPOLLIN), EEXIST);
        EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_MOD, 20, &event), EINVAL);
        EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_MOD, 20, NULL), EFAULT);
        EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_MOD, 20, bad_page()), EFAULT);
        EXPECT_ERRNO(epoll_ctl(instance, 0, 20, &event), EINVAL);
        EXPECT_ERRNO(epoll_ctl(instance, 257, 20, &event), EINVAL);
        EXPECT_ERRNO(control(instance, EPOLL_CTL_MOD, 21, EPOLLIN), EBADF);
        EXPECT_ERRNO(control(instance, EPOLL_CTL_MOD, -1, EPOLLIN), EBADF);
        EXPECT_ERRNO(control(instance, EPOLL_CTL_ADD, instance, EPOLLIN), EINVAL);
        OK(epoll_ctl(instance, EPOLL_CTL_DEL, 20, NULL));
        EXPECT_ERRNO(control(instance, EPOLL_CTL_MOD, 20, EPOLLIN), ENOENT);
        EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_DEL, 20, NULL), ENOENT);
        EXPECT_EQ(ready(instance), 0);
        OK(epoll_ctl(instance, EPOLL_CTL_ADD, 20, &event));
        EXPECT_ERRNO(control(instance, EPOLL_CTL_MOD, 20, EPOLLIN), EINVAL);
        OK(epoll_ctl(instance, EPOLL_CTL_DEL, 20, NULL));
        OK(control(instance, EPOLL_CTL_ADD, 20, EPOLLIN));
        EXPECT_EQ(ready(instance), EPOLLIN);
    }
}

CASE(epoll_event_at_the_end_of_memory_faults_or_is_read_whole) {
    make_loop(20);
    char *pages = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(pages != MAP_FAILED);
    OK(mprotect(pages + PAGE_SIZE, PAGE_SIZE, PROT_NONE));
    struct epoll_event event = {EPOLLOUT, {.u64 = 77}};
    for (size_t cut = 0; cut <= sizeof event; cut++) {
        struct epoll_event *last = (void *)(pages + PAGE_SIZE - sizeof event + cut);
        memcpy(last, &event, sizeof event - cut);
        if (cut == 0)
            OK(epoll_ctl(instance, EPOLL_CTL_MOD, 20, last));
        else
            EXPECT_ERRNO(epoll_ctl(instance, EPOLL_CTL_MOD, 20, last), EFAULT);
    }
    EXPECT_EQ(ready(instance), EPOLLOUT);
}

CASE(epoll_changes_by_another_descriptor_of_the_instance_are_in_one_order) {
    make_loop(20);
    int other = OK(dup(instance));
    for (int round = 0; round < WARM; round++) {
        OK(control(instance, EPOLL_CTL_MOD, 20, EPOLLOUT));
        OK(epoll_ctl(other, EPOLL_CTL_DEL, 20, NULL));
        EXPECT_ERRNO(control(instance, EPOLL_CTL_MOD, 20, EPOLLIN), ENOENT);
        OK(control(instance, EPOLL_CTL_ADD, 20, EPOLLIN));
        OK(control(other, EPOLL_CTL_MOD, 20, EPOLLIN | EPOLLOUT));
        EXPECT_EQ(ready(instance), EPOLLIN | EPOLLOUT);
    }
}

CASE(epoll_changes_of_a_watched_instance_are_seen_from_outside) {
    make_loop(20);
    int outer = OK(epoll_create1(0));
    struct pollfd poller = {instance, POLLIN, 0};
    for (int round = 0; round < WARM; round++) {
        OK(control(instance, EPOLL_CTL_MOD, 20, 0));
        EXPECT_EQ(poll(&poller, 1, 0), 0);
        OK(control(outer, EPOLL_CTL_ADD, instance, EPOLLIN | EPOLLET));
        EXPECT_EQ(ready(outer), 0);
        OK(control(instance, EPOLL_CTL_MOD, 20, EPOLLIN));
        EXPECT_EQ(ready(outer), EPOLLIN);
        EXPECT_EQ(ready(outer), 0);
        OK(epoll_ctl(outer, EPOLL_CTL_DEL, instance, NULL));
        OK(control(instance, EPOLL_CTL_MOD, 20, EPOLLOUT));
        EXPECT_EQ(poll(&poller, 1, 0), 1);
    }
}

/* --- What others see ------------------------------------------------------------------------------------------------- */

CASE(epoll_changes_before_a_fork_are_the_childs_too) {
    make_loop(20);
    for (int round = 0; round < 4; round++) {
        OK(control(instance, EPOLL_CTL_MOD, 20, round & 1 ? EPOLLIN : EPOLLOUT));
        pid_t pid = OK(fork());
        if (pid == 0) {
            EXPECT_EQ(ready(instance), round & 1 ? EPOLLIN : EPOLLOUT);
            OK(epoll_ctl(instance, EPOLL_CTL_DEL, 20, NULL));
            _exit(0);
        }
        EXPECT_EXIT(pid, 0);
        EXPECT_ERRNO(control(instance, EPOLL_CTL_MOD, 20, EPOLLIN), ENOENT);
        OK(control(instance, EPOLL_CTL_ADD, 20, EPOLLIN));
    }
}

HELPER(waits_once) {
    return argc == 1 && ready(atoi(argv[0])) == EPOLLOUT ? 0 : 1;
}

CASE(epoll_changes_before_an_exec_are_the_new_programs) {
    make_loop(20);
    char number[12];
    snprintf(number, sizeof number, "%d", instance);
    OK(control(instance, EPOLL_CTL_MOD, 20, EPOLLOUT));
    execl(program_path, program_path, "--helper", "waits_once", number, NULL);
    FAIL("exec: %s", strerror(errno));
}

/* A message with room for one descriptor. */
#define MESSAGE(message, header)                                                                                       \
    char space_[CMSG_SPACE(sizeof(int))] = {0}, byte_ = 0;                                                             \
    struct iovec vector_ = {&byte_, 1};                                                                                \
    struct msghdr message = {.msg_iov = &vector_, .msg_iovlen = 1, .msg_control = space_};                             \
    message.msg_controllen = sizeof space_;                                                                            \
    struct cmsghdr *header = CMSG_FIRSTHDR(&message)

CASE(epoll_changes_of_a_process_that_computes_wake_who_was_sent_the_instance) {
    progress = map_shared(PAGE_SIZE);
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t pid = OK(fork());
    if (pid == 0) {
        struct epoll_event event;
        MESSAGE(message, header);
        EXPECT_EQ(recvmsg(pair[1], &message, 0), 1);
        int received = *(int *)CMSG_DATA(header);
        set_progress(1);
        EXPECT_EQ(epoll_wait(received, &event, 1, -1), 1);
        EXPECT_EQ(event.events, EPOLLIN);
        set_progress(2);
        _exit(0);
    }
    make_loop(20);
    OK(control(instance, EPOLL_CTL_MOD, 20, 0));
    MESSAGE(message, header);
    *header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &instance, sizeof instance);
    EXPECT_EQ(sendmsg(pair[0], &message, 0), 1);
    await_progress(1);
    OK(control(instance, EPOLL_CTL_MOD, 20, EPOLLIN));
    compute_until(2);
    EXPECT_EXIT(pid, 0);
}

/* A child that has changed an instance with descriptor 21 and makes no more calls until progress is 2. */
static pid_t child_with_changes(void) {
    progress = map_shared(PAGE_SIZE);
    pid_t pid = OK(fork());
    if (pid != 0) {
        await_progress(1);
        return pid;
    }
    make_loop(20);
    EXPECT_EQ(dup2(instance, 21), 21);
    OK(close(instance));
    for (int round = 0; round < WARM; round++) {
        OK(control(21, EPOLL_CTL_MOD, 20, EPOLLIN));
        EXPECT_EQ(ready(21), EPOLLIN);
    }
    OK(epoll_ctl(21, EPOLL_CTL_DEL, 20, NULL));
    OK(control(21, EPOLL_CTL_ADD, 20, EPOLLOUT | EPOLLET));
    set_progress(1);
    compute_until(2);
    EXPECT_EQ(ready(21), 0);
    OK(control(21, EPOLL_CTL_MOD, 20, EPOLLIN));
    EXPECT_EQ(ready(21), EPOLLIN);
    _exit(0);
}

CASE(epoll_changes_of_a_process_that_computes_are_there_for_pidfd_getfd) {
    pid_t pid = child_with_changes();
    int taken = syscall(SYS_pidfd_getfd, OK(syscall(SYS_pidfd_open, pid, 0)), 21, 0);
    if (taken == -1 && errno == EPERM) {
        OK(kill(pid, SIGKILL));
        EXPECT_KILLED(pid, SIGKILL);
        SKIP("the host forbids pidfd_getfd");
    }
    EXPECT_EQ(ready(OK(taken)), EPOLLOUT);
    EXPECT_EQ(ready(taken), 0);
    set_progress(2);
    EXPECT_EXIT(pid, 0);
}

CASE(epoll_changes_of_a_process_that_computes_are_there_in_fdinfo) {
    pid_t pid = child_with_changes();
    char path[64], text[1024], expected[] = "tfd:       20 events: 8000001c data:               14  pos:0 ino:";
    snprintf(path, sizeof path, "/proc/%d/fdinfo/21", pid);
    ssize_t length = OK(read(OK(open(path, O_RDONLY)), text, sizeof text - 1));
    text[length] = 0;
    EXPECT(strstr(text, expected) != NULL);
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
}

/* --- Signals between changes ------------------------------------------------------------------------------------------ */

static volatile int handled;

static void change_back(int signal) {
    (void)signal;
    int kept = errno;
    /* Whatever it has interrupted, the file is watched or it is not. */
    if (control(instance, EPOLL_CTL_MOD, 20, EPOLLOUT) == 0)
        EXPECT_EQ(ready(instance), EPOLLOUT);
    else
        EXPECT_EQ(errno, ENOENT);
    handled++;
    errno = kept;
}

CASE(epoll_changes_are_whole_for_signal_handlers) {
    make_loop(20);
    handle(SIGALRM, change_back, SA_RESTART);
    struct itimerval often = {{0, 500}, {0, 500}};
    OK(setitimer(ITIMER_REAL, &often, NULL));
    while (handled < 200) {
        OK(epoll_ctl(instance, EPOLL_CTL_DEL, 20, NULL));
        OK(control(instance, EPOLL_CTL_ADD, 20, EPOLLIN));
        EXPECT_ERRNO(control(instance, EPOLL_CTL_ADD, 20, EPOLLIN), EEXIST);
        OK(control(instance, EPOLL_CTL_MOD, 20, EPOLLOUT));
    }
}
