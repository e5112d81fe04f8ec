/* inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2) */
#include "case.h"
#include <sys/inotify.h>

/* Expects one event of `mask` about `name`. */
static void expect_event(int fd, uint32_t mask, const char *name) {
    static char buffer[4096] __attribute__((aligned(8)));
    static ssize_t length, at;
    if (at >= length) {
        length = OK(read(fd, buffer, sizeof buffer));
        at = 0;
    }
    struct inotify_event *event = (struct inotify_event *)(buffer + at);
    EXPECT_EQ(event->mask, mask);
    if (name == NULL)
        EXPECT_EQ(event->len, 0);
    else
        EXPECT_STR(event->name, name);
    at += sizeof *event + event->len;
}

CASE(inotify_reports_the_life_of_a_file) {
    int fd = OK(inotify_init1(0));
    OK(inotify_add_watch(fd, ".", IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE));
    make_file("f", "x");
    OK(unlink("f"));
    expect_event(fd, IN_CREATE, "f");
    expect_event(fd, IN_MODIFY, "f");
    expect_event(fd, IN_CLOSE_WRITE, "f");
    expect_event(fd, IN_DELETE, "f");
}

CASE(inotify_reports_renames_with_one_cookie) {
    make_file("f", "");
    int fd = OK(inotify_init1(0));
    OK(inotify_add_watch(fd, ".", IN_MOVE));
    OK(rename("f", "g"));
    char buffer[4096] __attribute__((aligned(8)));
    OK(read(fd, buffer, sizeof buffer));
    struct inotify_event *from = (struct inotify_event *)buffer;
    struct inotify_event *to = (struct inotify_event *)(buffer + sizeof *from + from->len);
    EXPECT_EQ(from->mask, IN_MOVED_FROM);
    EXPECT_EQ(to->mask, IN_MOVED_TO);
    EXPECT(from->cookie != 0 && from->cookie == to->cookie);
}

CASE(inotify_reports_directories_with_a_bit) {
    int fd = OK(inotify_init1(0));
    OK(inotify_add_watch(fd, ".", IN_CREATE));
    OK(mkdir("d", 0700));
    expect_event(fd, IN_CREATE | IN_ISDIR, "d");
}

CASE(inotify_reports_the_end_of_a_watch) {
    make_file("f", "");
    int fd = OK(inotify_init1(IN_NONBLOCK));
    int watch = OK(inotify_add_watch(fd, "f", IN_MODIFY));
    OK(inotify_rm_watch(fd, watch));
    expect_event(fd, IN_IGNORED, NULL);
    EXPECT_ERRNO(inotify_rm_watch(fd, watch), EINVAL);
}

CASE(inotify_with_bad_arguments_fails) {
    int fd = OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    char buffer[64];
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_ERRNO(read(fd, buffer, sizeof buffer), EAGAIN);
    EXPECT_ERRNO(inotify_init1(0x10), EINVAL);
    EXPECT_ERRNO(inotify_add_watch(fd, "missing", IN_MODIFY), ENOENT);
    EXPECT_ERRNO(inotify_add_watch(fd, ".", 0), EINVAL);
    EXPECT_ERRNO(inotify_add_watch(0, ".", IN_MODIFY), EINVAL);
    EXPECT_ERRNO(inotify_add_watch(-1, ".", IN_MODIFY), EBADF);
}
