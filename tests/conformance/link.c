/* link(2), linkat(2) */
#include "case.h"
#include <pthread.h>

CASE(link_makes_another_name_of_the_same_file) {
    make_file("f", "hello");
    OK(link("f", "g"));
    int fd = OK(open("g", O_WRONLY));
    EXPECT_EQ(write(fd, "J", 1), 1);
    EXPECT_STR(file_content("f"), "Jello");
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_nlink, 2);
}

CASE(link_of_impossible_names_fails) {
    make_file("f", "");
    make_file("g", "");
    OK(mkdir("d", 0700));
    EXPECT_ERRNO(link("missing", "x"), ENOENT);
    EXPECT_ERRNO(link("f", "g"), EEXIST);
    EXPECT_ERRNO(link("d", "e"), EPERM);
    EXPECT_ERRNO(link("f", "missing/x"), ENOENT);
    EXPECT_ERRNO(link("f", "g/x"), ENOTDIR);
    EXPECT_ERRNO(link("/proc/version", "x"), EXDEV);
    EXPECT_ERRNO(link(bad_page(), "x"), EFAULT);
    EXPECT_ERRNO(link("f", bad_page()), EFAULT);
}

CASE(link_does_not_follow_a_link_unless_asked_to) {
    make_file("f", "");
    OK(symlink("f", "link"));
    OK(link("link", "g"));
    struct stat status;
    OK(lstat("g", &status));
    EXPECT(S_ISLNK(status.st_mode));
    OK(linkat(AT_FDCWD, "link", AT_FDCWD, "h", AT_SYMLINK_FOLLOW));
    OK(lstat("h", &status));
    EXPECT(S_ISREG(status.st_mode));
}

CASE(linkat_is_relative_to_the_directories) {
    OK(mkdir("d", 0700));
    make_file("f", "x");
    int d = OK(open("d", O_RDONLY));
    OK(linkat(AT_FDCWD, "f", d, "g", 0));
    EXPECT_STR(file_content("d/g"), "x");
    EXPECT_ERRNO(linkat(-1, "f", d, "h", 0), EBADF);
    EXPECT_ERRNO(linkat(AT_FDCWD, "f", d, "h", 0x40000000), EINVAL);
}

CASE(linkat_cannot_revive_an_unlinked_file) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    OK(unlink("f"));
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    EXPECT_ERRNO(linkat(AT_FDCWD, name, AT_FDCWD, "g", AT_SYMLINK_FOLLOW), ENOENT);
}

CASE(link_of_anothers_file_fails_where_hard_links_are_protected) {
    NEEDS_ROOT();
    bool is_protected = file_content("/proc/sys/fs/protected_hardlinks")[0] == '1';
    make_file("safe", "");
    make_file("readable", "");
    make_file("privileged", "");
    OK(chmod("safe", 0666));
    OK(chmod("readable", 0644));
    OK(chmod("privileged", 04666));
    OK(chmod(".", 0777));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setresuid, 1234, 1234, 1234));
        OK(link("safe", "a"));
        if (is_protected) {
            EXPECT_ERRNO(link("readable", "b"), EPERM);
            EXPECT_ERRNO(link("privileged", "c"), EPERM);
        } else {
            OK(link("readable", "b"));
            OK(link("privileged", "c"));
        }
        make_file("own", "");
        OK(chmod("own", 0));
        OK(link("own", "d"));
    });
    EXPECT_EXIT(pid, 0);
}

/* A file of user 1234, open, in a directory where all may make names; the caller becomes that user. */
static int open_own_file(void) {
    OK(chmod(".", 0777));
    OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    make_file("f", "x");
    return OK(open("f", O_RDONLY));
}

static void *link_open_file(void *fd) {
    OK(linkat(*(int *)fd, "", AT_FDCWD, "by_thread", AT_EMPTY_PATH));
    return NULL;
}

CASE(linkat_of_an_open_file_is_for_its_opener) {
    NEEDS_ROOT();
    NEEDS_LINUX_6_11();
    int fd = open_own_file();
    OK(linkat(fd, "", AT_FDCWD, "g", AT_EMPTY_PATH));
    EXPECT_STR(file_content("g"), "x");
    EXPECT_EQ(syscall(SYS_setfsuid, 1234), 1234);
    OK(linkat(fd, "", AT_FDCWD, "unchanged", AT_EMPTY_PATH));
    OK(linkat(OK(open("f", O_PATH)), "", AT_FDCWD, "h", AT_EMPTY_PATH));
    OK(linkat(OK(open(".", O_TMPFILE | O_RDWR, 0600)), "", AT_FDCWD, "i", AT_EMPTY_PATH));
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, link_open_file, &fd), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_STR(file_content("by_thread"), "x");
}

CASE(linkat_of_an_open_file_is_not_for_a_child_nor_after_a_change_of_credentials) {
    NEEDS_ROOT();
    NEEDS_LINUX_6_11();
    int fd = open_own_file(), here = OK(open(".", O_RDONLY));
    EXPECT_EXIT(IN_CHILD({
        EXPECT_ERRNO(linkat(fd, "", AT_FDCWD, "g", AT_EMPTY_PATH), ENOENT);
        EXPECT_ERRNO(linkat(here, "f", AT_FDCWD, "g", AT_EMPTY_PATH), ENOENT);
        EXPECT_ERRNO(linkat(1000, "f", AT_FDCWD, "g", AT_EMPTY_PATH), EBADF);
        OK(linkat(here, "f", AT_FDCWD, "relative", 0));
        OK(linkat(AT_FDCWD, "f", AT_FDCWD, "from_here", AT_EMPTY_PATH));
        int own = OK(open("f", O_RDONLY));
        OK(linkat(own, "", AT_FDCWD, "own", AT_EMPTY_PATH));
    }), 0);
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    uint32_t sets[6] = {0};
    OK(syscall(SYS_capset, &header, sets));
    EXPECT_ERRNO(linkat(fd, "", AT_FDCWD, "g", AT_EMPTY_PATH), ENOENT);
}

CASE(linkat_of_what_has_no_name_crosses_file_systems) {
    NEEDS_ROOT();
    OK(chmod(".", 0777));
    OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    PIPE(ends);
    EXPECT_ERRNO(linkat(ends[0], "", AT_FDCWD, "g", AT_EMPTY_PATH), EXDEV);
    EXPECT_ERRNO(linkat(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "", AT_FDCWD, "g", AT_EMPTY_PATH), EXDEV);
    EXPECT_ERRNO(linkat(OK(syscall(SYS_memfd_create, "m", 0)), "", AT_FDCWD, "g", AT_EMPTY_PATH), EXDEV);
}

/* Two open files, and a descriptor that is the one and the other in turn. */
struct turns {
    int files[2], either;
    bool is_over;
};

static void *take_turns(void *argument) {
    struct turns *turns = argument;
    for (unsigned turn = 0; !__atomic_load_n(&turns->is_over, __ATOMIC_RELAXED); turn++)
        OK(dup2(turns->files[turn % 2], turns->either));
    return NULL;
}

CASE(linkat_links_the_open_file_that_it_has_looked_at) {
    NEEDS_ROOT();
    NEEDS_LINUX_6_11();
    int others = open_own_file();
    EXPECT_EXIT(IN_CHILD({
        struct turns turns = {.files = {others, OK(open("own", O_CREAT | O_RDWR, 0600))}};
        turns.either = OK(dup(others));
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, take_turns, &turns), 0);
        int64_t begun = now_ns(CLOCK_MONOTONIC);
        while (now_ns(CLOCK_MONOTONIC) - begun < 2000000000) {
            if (linkat(turns.either, "", AT_FDCWD, "g", AT_EMPTY_PATH) == 0) {
                struct stat own, linked;
                OK(stat("own", &own));
                OK(stat("g", &linked));
                EXPECT_EQ(linked.st_ino, own.st_ino);
                OK(unlink("g"));
            } else {
                EXPECT_EQ(errno, ENOENT);
            }
        }
        __atomic_store_n(&turns.is_over, true, __ATOMIC_RELAXED);
        EXPECT_EQ(pthread_join(thread, NULL), 0);
    }), 0);
}

CASE(linkat_of_an_open_file_is_for_those_who_search_everything) {
    NEEDS_ROOT();
    make_file("f", "x");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_EXIT(IN_CHILD(OK(linkat(fd, "", AT_FDCWD, "g", AT_EMPTY_PATH))), 0);
    EXPECT_STR(file_content("g"), "x");
    EXPECT_ERRNO(linkat(fd, NULL, AT_FDCWD, "h", AT_EMPTY_PATH), EFAULT);
    EXPECT_ERRNO(linkat(AT_FDCWD, "", AT_FDCWD, "h", AT_EMPTY_PATH), EPERM);
}
