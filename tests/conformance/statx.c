/* statx(2) */
#include "case.h"

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
