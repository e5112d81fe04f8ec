/* inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2) */
#include "case.h"
#include <sys/inotify.h>
#include <sys/ioctl.h>

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

CASE(inotify_reports_the_end_of_a_file_after_its_last_close) {
    int fd = OK(inotify_init1(IN_NONBLOCK));
    int file = OK(open("f", O_CREAT | O_RDWR, 0600));
    OK(inotify_add_watch(fd, "f", IN_ATTRIB | IN_CLOSE | IN_DELETE_SELF));
    OK(unlink("f"));
    expect_event(fd, IN_ATTRIB, NULL);
    struct pollfd poller = {fd, POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 0);
    OK(close(file));
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    expect_event(fd, IN_CLOSE_WRITE, NULL);
    expect_event(fd, IN_DELETE_SELF, NULL);
    expect_event(fd, IN_IGNORED, NULL);
}

CASE(inotify_reports_the_end_of_a_directory) {
    int fd = OK(inotify_init1(IN_NONBLOCK));
    OK(mkdir("d", 0700));
    OK(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
    OK(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
    OK(rmdir("d"));
    expect_event(fd, IN_DELETE_SELF, NULL);
    expect_event(fd, IN_IGNORED, NULL);
    expect_event(fd, IN_DELETE | IN_ISDIR, "d");
}

CASE(inotify_reports_that_a_watched_directory_moved) {
    int fd = OK(inotify_init1(IN_NONBLOCK));
    OK(mkdir("d", 0700));
    OK(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
    OK(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
    OK(rename("d", "e"));
    expect_event(fd, IN_MOVED_FROM | IN_ISDIR, "d");
    expect_event(fd, IN_MOVED_TO | IN_ISDIR, "e");
    expect_event(fd, IN_MOVE_SELF, NULL);
}

CASE(inotify_reports_what_a_rename_replaces) {
    int fd = OK(inotify_init1(IN_NONBLOCK));
    make_file("f", "");
    make_file("g", "");
    OK(inotify_add_watch(fd, "g", IN_ALL_EVENTS));
    OK(rename("f", "g"));
    expect_event(fd, IN_ATTRIB, NULL);
    expect_event(fd, IN_DELETE_SELF, NULL);
    expect_event(fd, IN_IGNORED, NULL);
}

CASE(inotify_reports_opening_reading_and_closing) {
    make_file("f", "text");
    int fd = OK(inotify_init1(IN_NONBLOCK));
    OK(inotify_add_watch(fd, ".", IN_ALL_EVENTS));
    int file = OK(open("f", O_RDONLY));
    char buffer[8];
    EXPECT_EQ(read(file, buffer, 8), 4);
    EXPECT_EQ(read(file, buffer, 8), 0);
    OK(close(file));
    expect_event(fd, IN_OPEN, "f");
    expect_event(fd, IN_ACCESS, "f");
    expect_event(fd, IN_CLOSE_NOWRITE, "f");
}

CASE(inotify_does_not_report_the_end_of_what_ended_before) {
    make_file("f", "x");
    for (int i = 0; i < 200; i++) {
        int file = OK(open("f", O_RDONLY));
        void *memory = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, file, 0);
        EXPECT(memory != MAP_FAILED);
        OK(close(file));
        OK(munmap(memory, 1));
    }
    int fd = OK(inotify_init1(IN_NONBLOCK));
    OK(inotify_add_watch(fd, "f", IN_ALL_EVENTS));
    char buffer[4096];
    EXPECT_ERRNO(read(fd, buffer, sizeof buffer), EAGAIN);
    int file = OK(open("f", O_RDONLY));
    void *memory = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, file, 0);
    OK(close(file));
    OK(munmap(memory, 1));
    expect_event(fd, IN_OPEN, NULL);
    expect_event(fd, IN_CLOSE_NOWRITE, NULL);
}

CASE(inotify_reports_changes_of_attributes) {
    make_file("f", "text");
    int fd = OK(inotify_init1(IN_NONBLOCK));
    OK(inotify_add_watch(fd, "f", IN_ALL_EVENTS));
    OK(chmod("f", 0600));
    expect_event(fd, IN_ATTRIB, NULL);
    OK(truncate("f", 1));
    expect_event(fd, IN_MODIFY, NULL);
    OK(utimensat(AT_FDCWD, "f", NULL, 0));
    expect_event(fd, IN_ATTRIB, NULL);
    struct timespec accessed[2] = {{5, 0}, {0, UTIME_OMIT}};
    OK(utimensat(AT_FDCWD, "f", accessed, 0));
    expect_event(fd, IN_ACCESS, NULL);
    OK(link("f", "g"));
    expect_event(fd, IN_ATTRIB, NULL);
    OK(unlink("g"));
    expect_event(fd, IN_ATTRIB, NULL);
    char buffer[64];
    EXPECT_ERRNO(read(fd, buffer, sizeof buffer), EAGAIN);
}

CASE(inotify_reports_equal_events_in_a_row_once) {
    make_file("f", "");
    int fd = OK(inotify_init1(IN_NONBLOCK));
    OK(inotify_add_watch(fd, ".", IN_MODIFY));
    int file = OK(open("f", O_WRONLY));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(write(file, "x", 1), 1);
    int queued;
    OK(ioctl(fd, FIONREAD, &queued));
    EXPECT_EQ(queued, 2 * sizeof(struct inotify_event));
    expect_event(fd, IN_MODIFY, "f");
    char buffer[64];
    EXPECT_ERRNO(read(fd, buffer, sizeof buffer), EAGAIN);
}

CASE(inotify_oneshot_ends_after_one_event) {
    make_file("f", "");
    int fd = OK(inotify_init1(IN_NONBLOCK));
    int watch = OK(inotify_add_watch(fd, "f", IN_OPEN | IN_ONESHOT));
    OK(close(OK(open("f", O_RDONLY))));
    OK(close(OK(open("f", O_RDONLY))));
    expect_event(fd, IN_OPEN, NULL);
    expect_event(fd, IN_IGNORED, NULL);
    EXPECT_ERRNO(inotify_rm_watch(fd, watch), EINVAL);
    char buffer[64];
    EXPECT_ERRNO(read(fd, buffer, sizeof buffer), EAGAIN);
}

CASE(inotify_masks_replace_add_and_create) {
    make_file("f", "");
    int fd = OK(inotify_init1(IN_NONBLOCK));
    int watch = OK(inotify_add_watch(fd, "f", IN_OPEN));
    EXPECT_EQ(inotify_add_watch(fd, "f", IN_CLOSE_NOWRITE | IN_MASK_ADD), watch);
    OK(close(OK(open("f", O_RDONLY))));
    expect_event(fd, IN_OPEN, NULL);
    expect_event(fd, IN_CLOSE_NOWRITE, NULL);
    EXPECT_EQ(inotify_add_watch(fd, "f", IN_CLOSE_NOWRITE), watch);
    OK(close(OK(open("f", O_RDONLY))));
    expect_event(fd, IN_CLOSE_NOWRITE, NULL);
    EXPECT_ERRNO(inotify_add_watch(fd, "f", IN_OPEN | IN_MASK_CREATE), EEXIST);
    EXPECT_ERRNO(inotify_add_watch(fd, "f", IN_OPEN | IN_MASK_CREATE | IN_MASK_ADD), EINVAL);
    EXPECT_ERRNO(inotify_add_watch(fd, "f", IN_OPEN | IN_ONLYDIR), ENOTDIR);
    EXPECT_EQ(inotify_add_watch(fd, ".", IN_OPEN), watch + 1);
}

CASE(inotify_excl_unlink_leaves_deleted_files_alone) {
    int fd = OK(inotify_init1(IN_NONBLOCK));
    int file = OK(open("f", O_CREAT | O_RDWR, 0600));
    OK(inotify_add_watch(fd, ".", IN_MODIFY | IN_DELETE | IN_EXCL_UNLINK));
    EXPECT_EQ(write(file, "x", 1), 1);
    OK(unlink("f"));
    EXPECT_EQ(write(file, "x", 1), 1);
    expect_event(fd, IN_MODIFY, "f");
    expect_event(fd, IN_DELETE, "f");
    char buffer[64];
    EXPECT_ERRNO(read(fd, buffer, sizeof buffer), EAGAIN);
}

CASE(inotify_read_needs_room_for_an_event) {
    int fd = OK(inotify_init1(IN_NONBLOCK));
    OK(inotify_add_watch(fd, ".", IN_CREATE));
    make_file("f", "");
    char buffer[64];
    EXPECT_ERRNO(read(fd, buffer, 20), EINVAL);
    EXPECT_EQ(read(fd, buffer, 32), 32);
}

CASE(inotify_queue_says_when_it_has_overflowed) {
    make_file("f", "");
    make_file("g", "");
    int fd = OK(inotify_init1(IN_NONBLOCK));
    OK(inotify_add_watch(fd, ".", IN_OPEN));
    long limit = strtol(file_content("/proc/sys/fs/inotify/max_queued_events"), NULL, 10);
    for (long i = 0; i < limit + 10; i++)
        OK(close(OK(open(i % 2 ? "f" : "g", O_RDONLY))));
    static char buffer[1 << 16] __attribute__((aligned(8)));
    long count = 0;
    uint32_t last = 0;
    for (ssize_t length; (length = read(fd, buffer, sizeof buffer)) > 0;)
        for (ssize_t at = 0; at < length; count++) {
            struct inotify_event *event = (struct inotify_event *)(buffer + at);
            last = event->mask;
            at += sizeof *event + event->len;
        }
    EXPECT_EQ(count, limit + 1);
    EXPECT_EQ(last, IN_Q_OVERFLOW);
}

CASE(inotify_read_blocks_until_something_happens) {
    int fd = OK(inotify_init1(0));
    OK(inotify_add_watch(fd, ".", IN_CREATE));
    char buffer[64];
    EXPECT_INTERRUPTED(read(fd, buffer, sizeof buffer));
    pid_t pid = IN_CHILD({ OK(mkdir("d", 0700)); });
    expect_event(fd, IN_CREATE | IN_ISDIR, "d");
    EXPECT_EXIT(pid, 0);
}

CASE(inotify_watches_are_shown_in_fdinfo) {
    int fd = OK(inotify_init1(0));
    int watch = OK(inotify_add_watch(fd, ".", IN_CREATE));
    char name[64], line[64];
    snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
    snprintf(line, sizeof line, "inotify wd:%x ino:", watch);
    EXPECT(strstr(file_content(name), line) != NULL);
}
