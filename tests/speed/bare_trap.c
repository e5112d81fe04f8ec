/*
 * The least that a call by trap and notification costs on this host: a child whose umask(2) raises SIGSYS, whose handler
 * makes a call that its filter turns into a notification, which its parent answers at once. Nothing else is done.
 *
 * bare_trap COUNT prints the nanoseconds that a call takes.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#define SET_FLAGS _IOW('!', 4, unsigned long long)
#define SYNCHRONOUS_WAKE_UP 1ULL
/* Reserved in the x86-64 table. */
#define DOORBELL 400

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void ring(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = syscall(DOORBELL);
}

/* Installs a filter that says `verdict` of one call and allows all others. */
static int filter(unsigned number, unsigned verdict, unsigned long flags) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = code};
    int result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (result < 0) fail("seccomp");
    return result;
}

static void pass_descriptor(int socket, int descriptor) {
    char byte = 0;
    struct iovec data = {&byte, 1};
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control = {0};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    if (sendmsg(socket, &message, 0) != 1) fail("sendmsg");
}

static int take_descriptor(int socket) {
    char byte;
    struct iovec data = {&byte, 1};
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(socket, &message, 0) != 1) fail("recvmsg");
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    return descriptor;
}

static void call_in_a_loop(int socket, long count) {
    static char stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = ring, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    if (sigaltstack(&alternate, NULL) || sigaction(SIGSYS, &action, NULL)) fail("sigaction");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("prctl");
    filter(SYS_umask, SECCOMP_RET_TRAP, 0);
    pass_descriptor(socket, filter(DOORBELL, SECCOMP_RET_USER_NOTIF,
                                   SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV));
    for (int i = 0; i < 100; i++) syscall(SYS_umask, 022);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long i = 0; i < count; i++) syscall(SYS_umask, 022);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.1f\n", ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / count);
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv) {
    long count = argc == 2 ? atol(argv[1]) : 0;
    int pair[2];
    if (count < 1 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 2;
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) call_in_a_loop(pair[1], count);
    int listener = take_descriptor(pair[0]);
    /* Without it (before Linux 6.6) both sides of the comparison wake across processors. */
    ioctl(listener, SET_FLAGS, SYNCHRONOUS_WAKE_UP);
    for (;;) {
        struct seccomp_notif call = {0};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) break;
        struct seccomp_notif_resp answer = {.id = call.id, .val = 18};
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    int status;
    if (waitpid(child, &status, 0) != child) fail("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
