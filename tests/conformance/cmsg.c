/* cmsg(3): descriptors and credentials in messages, unix(7) */
#include "case.h"

/* Sends `count` descriptors with `length` bytes of data. */
static int send_fds(int socket, const int *fds, int count, size_t length) {
    char control[CMSG_SPACE(300 * sizeof(int))] = {0}, data[16] = "0123456789abcde";
    struct iovec vector = {data, length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control};
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    return sendmsg(socket, &message, 0);
}

/* Receives a message with room for `room` descriptors; how many came. */
static int receive_fds(int socket, int *fds, int room, int flags, int *result_flags) {
    char control[CMSG_SPACE(300 * sizeof(int))] = {0}, data[16];
    struct iovec vector = {data, sizeof data};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control};
    message.msg_controllen = room ? CMSG_LEN(room * sizeof(int)) : 0;
    OK(recvmsg(socket, &message, flags));
    if (result_flags)
        *result_flags = message.msg_flags;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL)
        return 0;
    EXPECT_EQ(header->cmsg_level, SOL_SOCKET);
    EXPECT_EQ(header->cmsg_type, SCM_RIGHTS);
    int count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(header), count * sizeof(int));
    return count;
}

#define PAIR(pair, type)                                                                                               \
    int pair[2];                                                                                                       \
    OK(socketpair(AF_UNIX, type, 0, pair))

CASE(scm_rights_passes_a_descriptor) {
    PAIR(pair, SOCK_STREAM);
    PIPE(ends);
    EXPECT_EQ(send_fds(pair[0], &ends[1], 1, 1), 1);
    OK(close(ends[1]));
    int fd;
    EXPECT_EQ(receive_fds(pair[1], &fd, 1, 0, NULL), 1);
    announce(fd);
    await(ends[0]);
}

CASE(scm_rights_shares_the_open_file) {
    PAIR(pair, SOCK_STREAM);
    make_file("f", "hello");
    int file = OK(open("f", O_RDONLY)), fd;
    send_fds(pair[0], &file, 1, 1);
    EXPECT_EQ(receive_fds(pair[1], &fd, 1, 0, NULL), 1);
    char buffer[3];
    EXPECT_EQ(read(fd, buffer, 3), 3);
    EXPECT_EQ(lseek(file, 0, SEEK_CUR), 3);
}

CASE(scm_rights_passes_between_processes) {
    PAIR(pair, SOCK_DGRAM);
    pid_t pid = IN_CHILD({
        PIPE(ends);
        send_fds(pair[0], &ends[0], 1, 1);
        announce(ends[1]);
    });
    int fd;
    EXPECT_EQ(receive_fds(pair[1], &fd, 1, 0, NULL), 1);
    await(fd);
    EXPECT_EXIT(pid, 0);
}

CASE(scm_rights_receives_the_lowest_descriptors_without_cloexec) {
    PAIR(pair, SOCK_STREAM);
    int sent[] = {0, 0}, fds[2], lowest = next_fd();
    send_fds(pair[0], sent, 2, 1);
    EXPECT_EQ(receive_fds(pair[1], fds, 2, 0, NULL), 2);
    EXPECT_EQ(fds[0], lowest);
    EXPECT_EQ(fds[1], lowest + 1);
    EXPECT_EQ(fcntl(fds[0], F_GETFD), 0);
    send_fds(pair[0], sent, 1, 1);
    EXPECT_EQ(receive_fds(pair[1], fds, 1, MSG_CMSG_CLOEXEC, NULL), 1);
    EXPECT_EQ(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
}

CASE(scm_rights_that_do_not_fit_are_cut_and_closed) {
    PAIR(pair, SOCK_STREAM);
    PIPE(ends);
    int sent[] = {0, ends[1]}, fds[2], flags;
    send_fds(pair[0], sent, 2, 1);
    OK(close(ends[1]));
    EXPECT_EQ(receive_fds(pair[1], fds, 1, 0, &flags), 1);
    EXPECT(flags & MSG_CTRUNC);
    char byte;
    EXPECT_EQ(read(ends[0], &byte, 1), 0);
}

CASE(scm_rights_are_dropped_by_a_plain_read) {
    PAIR(pair, SOCK_STREAM);
    PIPE(ends);
    send_fds(pair[0], &ends[1], 1, 3);
    OK(close(ends[1]));
    char buffer[8];
    EXPECT_EQ(read(pair[1], buffer, 8), 3);
    EXPECT_EQ(read(ends[0], buffer, 1), 0);
}

CASE(scm_rights_in_flight_die_with_the_socket) {
    PAIR(pair, SOCK_STREAM);
    PIPE(ends);
    send_fds(pair[0], &ends[1], 1, 1);
    OK(close(ends[1]));
    OK(close(pair[0]));
    OK(close(pair[1]));
    char byte;
    EXPECT_EQ(read(ends[0], &byte, 1), 0);
}

CASE(scm_rights_stop_a_stream_read_at_their_message) {
    PAIR(pair, SOCK_STREAM);
    EXPECT_EQ(write(pair[0], "ab", 2), 2);
    int sent = 0, fd;
    send_fds(pair[0], &sent, 1, 3);
    EXPECT_EQ(write(pair[0], "cd", 2), 2);
    char buffer[16];
    EXPECT_EQ(receive_fds(pair[1], &fd, 1, 0, NULL), 1);
    EXPECT_EQ(recv(pair[1], buffer, 16, MSG_DONTWAIT), 2);
    EXPECT(memcmp(buffer, "cd", 2) == 0);
}

CASE(scm_rights_of_a_bad_descriptor_returns_ebadf) {
    PAIR(pair, SOCK_STREAM);
    int sent[] = {0, -1};
    EXPECT_ERRNO(send_fds(pair[0], sent, 2, 1), EBADF);
}

CASE(scm_rights_of_more_than_253_descriptors_returns_einval) {
    PAIR(pair, SOCK_STREAM);
    int sent[254] = {0};
    EXPECT_ERRNO(send_fds(pair[0], sent, 254, 1), EINVAL);
    EXPECT_EQ(send_fds(pair[0], sent, 253, 1), 1);
}

CASE(scm_credentials_are_attached_when_asked_for) {
    PAIR(pair, SOCK_DGRAM);
    int on = 1;
    OK(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    pid_t pid = IN_CHILD({ EXPECT_EQ(write(pair[0], "x", 1), 1); });
    char control[CMSG_SPACE(sizeof(struct ucred))], byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {0, 0, &vector, 1, control, sizeof control, 0};
    EXPECT_EQ(recvmsg(pair[1], &message, 0), 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    EXPECT(header != NULL && header->cmsg_type == SCM_CREDENTIALS);
    struct ucred *credentials = (struct ucred *)CMSG_DATA(header);
    EXPECT_EQ(credentials->pid, pid);
    EXPECT_EQ(credentials->uid, getuid());
    EXPECT_EQ(credentials->gid, getgid());
    EXPECT_EXIT(pid, 0);
}

static int send_credentials(int socket, struct ucred credentials) {
    char control[CMSG_SPACE(sizeof credentials)] = {0};
    struct iovec vector = {"x", 1};
    struct msghdr message = {0, 0, &vector, 1, control, sizeof control, 0};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){CMSG_LEN(sizeof credentials), SOL_SOCKET, SCM_CREDENTIALS};
    memcpy(CMSG_DATA(header), &credentials, sizeof credentials);
    return sendmsg(socket, &message, 0);
}

CASE(scm_credentials_cannot_be_forged_by_an_ordinary_user) {
    NEEDS_ROOT();
    PAIR(pair, SOCK_DGRAM);
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_EQ(send_credentials(pair[0], (struct ucred){getpid(), 1234, getgid()}), 1);
        EXPECT_ERRNO(send_credentials(pair[0], (struct ucred){getpid(), 0, getgid()}), EPERM);
        EXPECT_ERRNO(send_credentials(pair[0], (struct ucred){getppid(), 1234, getgid()}), EPERM);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(cmsg_with_a_bad_header_returns_einval) {
    PAIR(pair, SOCK_STREAM);
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec vector = {"x", 1};
    struct msghdr message = {0, 0, &vector, 1, control, sizeof control, 0};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){1, SOL_SOCKET, SCM_RIGHTS};
    EXPECT_ERRNO(sendmsg(pair[0], &message, 0), EINVAL);
    *header = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, 99};
    EXPECT_ERRNO(sendmsg(pair[0], &message, 0), EINVAL);
    message.msg_control = bad_page();
    EXPECT_ERRNO(sendmsg(pair[0], &message, 0), EFAULT);
}

CASE(scm_rights_carry_places) {
    PAIR(pair, SOCK_STREAM);
    int place = OK(open(".", O_PATH)), received = -1, flags;
    EXPECT_EQ(send_fds(pair[0], &place, 1, 1), 1);
    EXPECT_EQ(receive_fds(pair[1], &received, 1, 0, &flags), 1);
    EXPECT(OK(fcntl(received, F_GETFL)) & O_PATH);
}

CASE(scm_rights_come_without_room_for_bytes) {
    PAIR(pair, SOCK_STREAM);
    PIPE(ends);
    char control[CMSG_SPACE(sizeof(int))], data[4];
    struct iovec nothing = {data, 0};
    struct msghdr message = {.msg_iov = &nothing, .msg_iovlen = 1, .msg_control = control};
    EXPECT_ERRNO(recvmsg(pair[1], &message, MSG_DONTWAIT), EAGAIN);
    EXPECT_EQ(send_fds(pair[0], &ends[1], 1, 3), 3);
    EXPECT_EQ(read(pair[1], data, 0), 0);
    message.msg_controllen = sizeof control;
    EXPECT_EQ(recvmsg(pair[1], &message, 0), 0);
    EXPECT(CMSG_FIRSTHDR(&message) != NULL);
    message.msg_controllen = sizeof control;
    EXPECT_EQ(recvmsg(pair[1], &message, 0), 0);
    EXPECT_EQ(message.msg_controllen, 0);
    EXPECT_EQ(read(pair[1], data, 4), 3);
}
