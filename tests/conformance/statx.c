/* statx(2) */
#include "case.h"
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
