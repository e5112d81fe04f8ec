/* statx(2) */
#include "case.h"
#include "steps.h"
#include <pthread.h>
#include <sys/sysmacros.h>

CASE(statx_gives_the_basic_fields) {
    make_file("f", "hello");
    struct statx status;
    OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &status));
    EXPECT_EQ(status.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    EXPECT_EQ(status.stx_mode, S_IFREG | 0644);
    EXPECT_EQ(status.stx_size, 5);
    EXPECT_EQ(status.stx_nlink, 1);
    EXPECT_EQ(status.stx_uid, geteuid());
}

CASE(statx_agrees_with_stat) {
    make_file("f", "hello");
    struct statx extended;
    struct stat status;
    OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &extended));
    OK(stat("f", &status));
    EXPECT_EQ(extended.stx_ino, status.st_ino);
    EXPECT_EQ(extended.stx_mtime.tv_sec, status.st_mtim.tv_sec);
    EXPECT_EQ(extended.stx_mtime.tv_nsec, status.st_mtim.tv_nsec);
    EXPECT_EQ(extended.stx_blocks, status.st_blocks);
    EXPECT_EQ(extended.stx_dev_major, status.st_dev >> 8 & 0xfff);
}

CASE(statx_of_an_empty_path_describes_the_descriptor) {
    PIPE(ends);
    struct statx status;
    OK(statx(ends[0], "", AT_EMPTY_PATH, STATX_TYPE, &status));
    EXPECT(S_ISFIFO(status.stx_mode));
    EXPECT_ERRNO(statx(ends[0], "", 0, STATX_TYPE, &status), ENOENT);
}

CASE(statx_with_nofollow_describes_the_link) {
    OK(symlink("nowhere", "link"));
    struct statx status;
    OK(statx(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status));
    EXPECT(S_ISLNK(status.stx_mode));
    EXPECT_ERRNO(statx(AT_FDCWD, "link", 0, STATX_TYPE, &status), ENOENT);
}

CASE(statx_with_bad_flags_or_mask_returns_einval) {
    struct statx status;
    EXPECT_ERRNO(statx(AT_FDCWD, ".", 0x40000000, STATX_TYPE, &status), EINVAL);
    EXPECT_ERRNO(statx(AT_FDCWD, ".", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_TYPE, &status), EINVAL);
    EXPECT_ERRNO(statx(AT_FDCWD, ".", 0, STATX__RESERVED, &status), EINVAL);
}

CASE(statx_with_bad_pointers_or_descriptors_fails) {
    struct statx status;
    EXPECT_ERRNO(statx(-1, "f", 0, STATX_TYPE, &status), EBADF);
    EXPECT_ERRNO(statx(AT_FDCWD, bad_page(), 0, STATX_TYPE, &status), EFAULT);
    EXPECT_ERRNO(statx(AT_FDCWD, ".", 0, STATX_TYPE, bad_page()), EFAULT);
    EXPECT_ERRNO(statx(AT_FDCWD, "missing", 0, STATX_TYPE, &status), ENOENT);
}

/* Calls after which one about a name is as fast as it gets. */
#define OFTEN 300

/* All that statx(2) and stat(2) both show; asked again and again by one call each. */
static void expect_both(int directory, const char *name, int flags, struct statx *found) {
    for (int i = 0; i < OFTEN; i++) {
        struct stat status;
        memset(found, 0xa5, sizeof *found);
        OK(statx(directory, name, flags, STATX_BASIC_STATS | STATX_BTIME, found));
        OK(fstatat(directory, name, &status, flags));
        EXPECT_EQ(found->stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
        EXPECT_EQ(found->stx_blksize, status.st_blksize);
        EXPECT_EQ(found->stx_nlink, status.st_nlink);
        EXPECT_EQ(found->stx_uid, status.st_uid);
        EXPECT_EQ(found->stx_gid, status.st_gid);
        EXPECT_EQ(found->stx_mode, status.st_mode);
        EXPECT_EQ(found->__spare0[0], 0);
        EXPECT_EQ(found->stx_ino, status.st_ino);
        EXPECT_EQ(found->stx_size, status.st_size);
        EXPECT_EQ(found->stx_blocks, status.st_blocks);
        EXPECT_EQ(found->stx_atime.tv_sec, status.st_atim.tv_sec);
        EXPECT_EQ(found->stx_atime.tv_nsec, status.st_atim.tv_nsec);
        EXPECT_EQ(found->stx_ctime.tv_sec, status.st_ctim.tv_sec);
        EXPECT_EQ(found->stx_ctime.tv_nsec, status.st_ctim.tv_nsec);
        EXPECT_EQ(found->stx_mtime.tv_sec, status.st_mtim.tv_sec);
        EXPECT_EQ(found->stx_mtime.tv_nsec, status.st_mtim.tv_nsec);
        EXPECT_EQ(found->stx_rdev_major, major(status.st_rdev));
        EXPECT_EQ(found->stx_rdev_minor, minor(status.st_rdev));
        EXPECT_EQ(found->stx_dev_major, major(status.st_dev));
        EXPECT_EQ(found->stx_dev_minor, minor(status.st_dev));
    }
}

CASE(statx_asked_again_and_again_agrees_with_stat) {
    struct statx first, found;
    make_file("f", "hello");
    OK(symlink("f", "link"));
    OK(mkdir("d", 0755));
    const char *names[] = {"f", "link", "d", ".", "/", "/dev/null", "/proc", program_path};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        OK(statx(AT_FDCWD, names[i], 0, STATX_BASIC_STATS | STATX_BTIME, &first));
        expect_both(AT_FDCWD, names[i], 0, &found);
        EXPECT_EQ(found.stx_mask, first.stx_mask);
        EXPECT_EQ(found.stx_attributes, first.stx_attributes);
        EXPECT_EQ(found.stx_attributes_mask, first.stx_attributes_mask);
        EXPECT_EQ(found.stx_btime.tv_sec, first.stx_btime.tv_sec);
        EXPECT_EQ(found.stx_btime.tv_nsec, first.stx_btime.tv_nsec);
        EXPECT_EQ(found.stx_mnt_id, first.stx_mnt_id);
        expect_both(AT_FDCWD, names[i], AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, &found);
        EXPECT_EQ(S_ISLNK(found.stx_mode), strcmp(names[i], "link") == 0);
    }
}

CASE(statx_asked_again_and_again_shows_what_has_changed) {
    struct statx found;
    make_file("f", "hello");
    int directory = OK(open(".", O_RDONLY | O_DIRECTORY));
    expect_both(directory, "f", 0, &found);
    OK(chmod("f", 0600));
    expect_both(directory, "f", 0, &found);
    EXPECT_EQ(found.stx_mode, S_IFREG | 0600);
    make_file("f", "hello, world");
    expect_both(directory, "f", 0, &found);
    EXPECT_EQ(found.stx_size, 12);
    OK(link("f", "other"));
    expect_both(directory, "f", 0, &found);
    EXPECT_EQ(found.stx_nlink, 2);
    OK(unlink("f"));
    for (int i = 0; i < OFTEN; i++)
        EXPECT_ERRNO(statx(directory, "f", 0, STATX_BASIC_STATS, &found), ENOENT);
    OK(mkdir("f", 0755));
    expect_both(directory, "f", 0, &found);
    EXPECT(S_ISDIR(found.stx_mode));
}

CASE(statx_asked_again_and_again_with_what_is_refused) {
    struct statx found;
    make_file("f", "hello");
    for (int i = 0; i < OFTEN; i++) {
        OK(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &found));
        EXPECT_ERRNO(statx(AT_FDCWD, "f", 0, STATX__RESERVED, &found), EINVAL);
        EXPECT_ERRNO(statx(AT_FDCWD, "f", 0x40000000, STATX_BASIC_STATS, &found), EINVAL);
        EXPECT_ERRNO(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, bad_page()), EFAULT);
        EXPECT_ERRNO(statx(AT_FDCWD, "f/", 0, STATX_BASIC_STATS, &found), ENOTDIR);
    }
}

#define ITSELF AT_EMPTY_PATH
#define ALL (STATX_BASIC_STATS | STATX_BTIME)

/* What two calls have shown is the same, to the last bit: all that is not told is zero. */
static void expect_equal(const struct statx *one, const struct statx *two) {
    EXPECT_EQ(one->stx_mask, two->stx_mask);
    EXPECT_EQ(one->stx_mode, two->stx_mode);
    EXPECT_EQ(one->stx_nlink, two->stx_nlink);
    EXPECT_EQ(one->stx_size, two->stx_size);
    EXPECT_EQ(one->stx_mnt_id, two->stx_mnt_id);
    EXPECT_EQ(one->stx_attributes, two->stx_attributes);
    EXPECT(memcmp(one, two, sizeof *one) == 0);
}

/* The descriptor shows the same by statx(2), again and again, as by fstat(2), and as the file's name does. */
static void expect_itself(int fd, const char *name) {
    struct statx first, found, named;
    OK(statx(fd, "", ITSELF, ALL, &first));
    expect_both(fd, "", ITSELF, &found);
    expect_equal(&found, &first);
    if (name) {
        OK(statx(AT_FDCWD, name, 0, ALL, &named));
        expect_equal(&found, &named);
    }
}

CASE(statx_of_a_descriptor_again_and_again_agrees_with_fstat_and_the_name) {
    make_file("f", "hello");
    OK(mkdir("d", 0755));
    const char *names[] = {"f", "d", ".", "/", "/dev/null", "/proc", program_path, "/tmp"};
    const int ways[] = {O_RDONLY, O_PATH, O_RDONLY | O_NONBLOCK};
    for (unsigned i = 0; i < sizeof names / sizeof *names * 3; i++) {
        int fd = OK(open(names[i / 3], ways[i % 3]));
        expect_itself(fd, names[i / 3]);
        int duplicate = OK(dup(fd));
        OK(close(fd));
        expect_itself(duplicate, names[i / 3]);
    }
    PIPE(ends);
    expect_itself(ends[0], NULL);
    int sockets[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    expect_itself(sockets[1], NULL);
    OK(symlink("f", "link"));
    struct statx found;
    expect_both(OK(open("link", O_PATH | O_NOFOLLOW)), "", ITSELF, &found);
    EXPECT(S_ISLNK(found.stx_mode));
}

CASE(statx_of_a_descriptor_again_and_again_with_what_is_refused) {
    make_file("f", "hello");
    struct statx found;
    int fd = OK(open("f", O_RDONLY)), closed = OK(dup(fd));
    OK(close(closed));
    char *edge = page_end(), *path = edge - 1;
    *path = 0;
    for (int i = 0; i < OFTEN; i++) {
        memset(&found, 0xa5, sizeof found);
        OK(statx(fd, path, ITSELF | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW, 0, &found));
        EXPECT_EQ(found.stx_size, 5);
        OK(statx(fd, "", ITSELF | AT_STATX_FORCE_SYNC, ALL, &found));
        OK(statx(fd, "", ITSELF | AT_STATX_DONT_SYNC, ALL, &found));
        EXPECT_ERRNO(statx(fd, "", 0, ALL, &found), ENOENT);
        EXPECT_ERRNO(statx(fd, "f", ITSELF, ALL, &found), ENOTDIR);
        EXPECT_ERRNO(statx(fd, "", ITSELF, STATX__RESERVED, &found), EINVAL);
        EXPECT_ERRNO(statx(closed, "", ITSELF, STATX__RESERVED, &found), EINVAL);
        EXPECT_ERRNO(statx(closed, "", ITSELF, ALL, &found), EBADF);
        EXPECT_ERRNO(statx(-1, "", ITSELF, ALL, &found), EBADF);
        EXPECT_ERRNO(statx(fd, "", ITSELF | AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, ALL, &found), EINVAL);
        EXPECT_ERRNO(statx(fd, bad_page(), ITSELF, ALL, &found), EFAULT);
        EXPECT_ERRNO(statx(fd, edge, ITSELF, ALL, &found), EFAULT);
        EXPECT_ERRNO(statx(fd, "", ITSELF, ALL, bad_page()), EFAULT);
        EXPECT_ERRNO(statx(fd, "", ITSELF, ALL, NULL), EFAULT);
        EXPECT_ERRNO(statx(fd, "", ITSELF, ALL, (struct statx *)(edge - 128)), EFAULT);
    }
}

CASE(statx_of_a_descriptor_and_no_path_is_as_with_an_empty_one) {
    make_file("f", "hello");
    struct statx found, same;
    int fd = OK(open("f", O_RDONLY));
    if (statx(fd, NULL, ITSELF, ALL, &found) == -1 && errno == EFAULT)
        SKIP("Linux before 6.11");
    OK(statx(fd, "", ITSELF, ALL, &same));
    for (int i = 0; i < OFTEN; i++) {
        struct stat status;
        OK(statx(fd, NULL, ITSELF, ALL, &found));
        expect_equal(&found, &same);
        OK(syscall(SYS_newfstatat, fd, NULL, &status, ITSELF));
        EXPECT_EQ(status.st_ino, found.stx_ino);
        EXPECT_ERRNO(statx(fd, NULL, 0, ALL, &found), EFAULT);
    }
}

CASE(statx_of_a_descriptor_again_and_again_shows_what_another_process_does_to_the_file) {
    struct statx *shown = map_shared(PAGE_SIZE), found;
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    for (int step = 0; step <= 9; step++) {
        for (int round = 0; round < OFTEN; round++)
            OK(statx(fd, "", ITSELF, ALL, &found));
        pid_t pid = IN_CHILD({
            do_step(step);
            OK(statx(fd, "", ITSELF, ALL, shown));
        });
        EXPECT_EXIT(pid, 0);
        for (int round = 0; round < OFTEN; round++) {
            OK(statx(fd, "", ITSELF, ALL, &found));
            expect_equal(&found, shown);
        }
        if (step < 9)
            expect_itself(fd, step < 3 ? "f" : "h");
    }
    EXPECT_EQ(found.stx_nlink, 0);
}

CASE(statx_of_a_descriptor_shows_what_has_been_written_through_it) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    for (int round = 0; round < OFTEN; round++) {
        struct statx found, again, named;
        struct stat status;
        EXPECT_EQ(pwrite(fd, "x", 1, round), 1);
        OK(statx(fd, "", ITSELF, ALL, &found));
        EXPECT_EQ(found.stx_size, round + 1);
        OK(fstat(fd, &status));
        OK(statx(fd, "", ITSELF, ALL, &again));
        expect_equal(&found, &again);
        OK(statx(AT_FDCWD, "f", 0, ALL, &named));
        expect_equal(&found, &named);
        OK(statx(AT_FDCWD, "f", 0, ALL, &named));
        expect_equal(&found, &named);
        EXPECT_EQ(status.st_mtim.tv_nsec, found.stx_mtime.tv_nsec);
        EXPECT_EQ(pwrite(fd, "yz", 2, round), 2);
        OK(statx(AT_FDCWD, "f", 0, ALL, &named));
        EXPECT_EQ(named.stx_size, round + 2);
        OK(fchmod(fd, round % 2 ? 0600 : 0640));
        OK(statx(fd, "", ITSELF, ALL, &found));
        EXPECT_EQ(found.stx_mode, S_IFREG | (round % 2 ? 0600 : 0640));
        OK(ftruncate(fd, round + 1));
        OK(statx(fd, "", ITSELF, ALL, &found));
        EXPECT_EQ(found.stx_size, round + 1);
    }
}

HELPER(expect_itself) {
    if (argc != 2)
        return 1;
    expect_itself(atoi(argv[0]), argv[1]);
    return 0;
}

CASE(statx_of_a_descriptor_shows_the_same_to_children_and_programs) {
    make_file("f", "hello");
    const char *names[] = {"f", ".", program_path};
    for (int i = 0; i < 3; i++) {
        int fd = OK(open(names[i], O_RDONLY));
        char number[16];
        snprintf(number, sizeof number, "%d", fd);
        expect_itself(fd, names[i]);
        pid_t pid = IN_CHILD({ expect_itself(fd, names[i]); });
        EXPECT_EXIT(pid, 0);
        pid = IN_CHILD({ execl(program_path, program_path, "--helper", "expect_itself", number, names[i], NULL); });
        EXPECT_EXIT(pid, 0);
        expect_itself(fd, names[i]);
    }
}

/* Writes a byte to each descriptor whose number comes through one pipe, and says through the other that it has. */
static void *write_as_told(void *pipes) {
    int *ends = pipes, fd;
    while (read(ends[0], &fd, sizeof fd) == sizeof fd) {
        EXPECT_EQ(write(fd, "x", 1), 1);
        EXPECT_EQ(write(ends[3], "!", 1), 1);
    }
    return NULL;
}

CASE(statx_of_a_descriptor_shows_what_another_thread_has_written) {
    int ends[4];
    pthread_t thread;
    OK(pipe(ends));
    OK(pipe(ends + 2));
    EXPECT_EQ(pthread_create(&thread, NULL, write_as_told, ends), 0);
    make_file("f", "");
    int reader = OK(open("f", O_RDONLY)), writer = OK(open("f", O_WRONLY | O_APPEND));
    for (int round = 1; round <= 5; round++) {
        struct statx found;
        EXPECT_EQ(write(ends[1], &writer, sizeof writer), sizeof writer);
        await(ends[2]);
        OK(statx(reader, "", ITSELF, ALL, &found));
        EXPECT_EQ(found.stx_size, round);
        expect_itself(reader, "f");
        expect_itself(writer, "f");
    }
    OK(close(ends[1]));
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}
