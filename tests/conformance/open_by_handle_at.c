/* name_to_handle_at(2), where there are no handles */
#include "case.h"

static int ask(int directory, const char *name, int flags) {
    struct {
        struct file_handle handle;
        char room[128];
    } all = {.handle.handle_bytes = 128};
    int mount;
    return name_to_handle_at(directory, name, &all.handle, &mount, flags);
}

CASE(a_file_system_without_handles_is_eopnotsupp) {
    EXPECT_ERRNO(ask(AT_FDCWD, "/proc/self/status", 0), EOPNOTSUPP);
    EXPECT_ERRNO(ask(AT_FDCWD, "/proc/self", AT_SYMLINK_FOLLOW), EOPNOTSUPP);
    int fd = OK(open("/proc/self/status", O_RDONLY));
    EXPECT_ERRNO(ask(fd, "", AT_EMPTY_PATH), EOPNOTSUPP);
}

CASE(the_name_and_the_flags_are_looked_at_first) {
    EXPECT_ERRNO(ask(AT_FDCWD, "/proc/nothing", 0), ENOENT);
    EXPECT_ERRNO(ask(AT_FDCWD, "/proc/self/status", AT_SYMLINK_NOFOLLOW), EINVAL);
    EXPECT_ERRNO(ask(AT_FDCWD, "/proc/self/status", 0x40000), EINVAL);
    EXPECT_ERRNO(ask(AT_FDCWD, "", 0), ENOENT);
    EXPECT_ERRNO(ask(-5, "name", 0), EBADF);
    EXPECT_ERRNO(ask(AT_FDCWD, bad_page(), 0), EFAULT);
}
