/* setxattr(2), getxattr(2), listxattr(2), removexattr(2) and their kin */
#include "case.h"
#include <sys/xattr.h>

CASE(xattr_is_stored_and_read_back) {
    make_file("f", "");
    OK(setxattr("f", "user.colour", "blue", 4, 0));
    char value[8];
    EXPECT_EQ(getxattr("f", "user.colour", value, sizeof value), 4);
    EXPECT(memcmp(value, "blue", 4) == 0);
    EXPECT_EQ(getxattr("f", "user.colour", NULL, 0), 4);
}

CASE(xattr_of_a_short_buffer_returns_erange) {
    make_file("f", "");
    OK(setxattr("f", "user.colour", "blue", 4, 0));
    char value[3];
    EXPECT_ERRNO(getxattr("f", "user.colour", value, sizeof value), ERANGE);
    EXPECT_ERRNO(listxattr("f", value, sizeof value), ERANGE);
}

CASE(xattr_that_is_missing_returns_enodata) {
    make_file("f", "");
    char value[8];
    EXPECT_ERRNO(getxattr("f", "user.none", value, sizeof value), ENODATA);
    EXPECT_ERRNO(removexattr("f", "user.none"), ENODATA);
}

CASE(xattr_create_and_replace_flags_are_honoured) {
    make_file("f", "");
    EXPECT_ERRNO(setxattr("f", "user.a", "1", 1, XATTR_REPLACE), ENODATA);
    OK(setxattr("f", "user.a", "1", 1, XATTR_CREATE));
    EXPECT_ERRNO(setxattr("f", "user.a", "2", 1, XATTR_CREATE), EEXIST);
    OK(setxattr("f", "user.a", "2", 1, XATTR_REPLACE));
    EXPECT_ERRNO(setxattr("f", "user.a", "2", 1, 0x10), EINVAL);
}

CASE(xattr_list_names_all_with_zero_bytes) {
    make_file("f", "");
    OK(setxattr("f", "user.a", "1", 1, 0));
    OK(setxattr("f", "user.bb", "2", 1, 0));
    char list[256];
    ssize_t length = OK(listxattr("f", list, sizeof list));
    EXPECT(memmem(list, length, "user.a", 7) != NULL);
    EXPECT(memmem(list, length, "user.bb", 8) != NULL);
    EXPECT_EQ(listxattr("f", NULL, 0), length);
}

CASE(xattr_removal_removes) {
    make_file("f", "");
    OK(setxattr("f", "user.a", "1", 1, 0));
    OK(removexattr("f", "user.a"));
    EXPECT_ERRNO(getxattr("f", "user.a", NULL, 0), ENODATA);
}

CASE(xattr_of_an_open_file_works) {
    make_file("f", "");
    int fd = OK(open("f", O_RDWR));
    OK(fsetxattr(fd, "user.a", "1", 1, 0));
    EXPECT_EQ(fgetxattr(fd, "user.a", NULL, 0), 1);
    EXPECT(flistxattr(fd, NULL, 0) >= 7);
    OK(fremovexattr(fd, "user.a"));
    EXPECT_ERRNO(fgetxattr(-1, "user.a", NULL, 0), EBADF);
    EXPECT_ERRNO(fgetxattr(OK(open("f", O_PATH)), "user.a", NULL, 0), EBADF);
}

CASE(xattr_of_user_on_a_link_returns_eperm) {
    OK(symlink("x", "link"));
    EXPECT_ERRNO(lsetxattr("link", "user.a", "1", 1, 0), EPERM);
}

CASE(xattr_of_an_unknown_namespace_returns_eopnotsupp) {
    make_file("f", "");
    EXPECT_ERRNO(setxattr("f", "nonsense.a", "1", 1, 0), EOPNOTSUPP);
    EXPECT_ERRNO(getxattr("f", "nonsense.a", NULL, 0), EOPNOTSUPP);
}

CASE(xattr_with_bad_names_or_sizes_fails) {
    make_file("f", "");
    static char name[300] = "user.";
    memset(name + 5, 'n', 290);
    EXPECT_ERRNO(setxattr("f", name, "1", 1, 0), ERANGE);
    EXPECT_ERRNO(setxattr("f", "", "1", 1, 0), ERANGE);
    EXPECT_ERRNO(setxattr("f", "user.a", map(70000), 70000, 0), E2BIG);
    EXPECT_ERRNO(setxattr("f", "user.a", bad_page(), 1, 0), EFAULT);
    EXPECT_ERRNO(setxattr("f", bad_page(), "1", 1, 0), EFAULT);
    EXPECT_ERRNO(setxattr("missing", "user.a", "1", 1, 0), ENOENT);
}
