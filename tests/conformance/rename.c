/* rename(2), renameat(2), renameat2(2) */
#include "case.h"

CASE(rename_moves_a_file) {
    make_file("f", "hello");
    OK(rename("f", "g"));
    EXPECT_STR(file_content("g"), "hello");
    EXPECT_ERRNO(access("f", F_OK), ENOENT);
}

CASE(rename_replaces_a_file_atomically) {
    make_file("f", "new");
    make_file("g", "old");
    int old = OK(open("g", O_RDONLY));
    OK(rename("f", "g"));
    EXPECT_STR(file_content("g"), "new");
    char buffer[4];
    EXPECT_EQ(read(old, buffer, 4), 3);
    EXPECT(memcmp(buffer, "old", 3) == 0);
}

CASE(rename_onto_another_link_of_the_file_does_nothing) {
    make_file("f", "");
    OK(link("f", "g"));
    OK(rename("f", "g"));
    OK(access("f", F_OK));
    OK(access("g", F_OK));
}

CASE(rename_moves_a_directory_with_its_content) {
    OK(mkdir("d", 0700));
    make_file("d/f", "x");
    OK(mkdir("other", 0700));
    OK(rename("d", "other/e"));
    EXPECT_STR(file_content("other/e/f"), "x");
    OK(chdir("other/e"));
    char path[PATH_MAX];
    OK(syscall(SYS_getcwd, path, sizeof path));
    EXPECT(strstr(path, "/other/e") != NULL);
    struct stat up, other;
    OK(stat("..", &up));
    OK(stat("../../other", &other));
    EXPECT_EQ(up.st_ino, other.st_ino);
}

CASE(rename_replaces_an_empty_directory_only) {
    OK(mkdir("d", 0700));
    OK(mkdir("empty", 0700));
    OK(mkdir("full", 0700));
    make_file("full/f", "");
    EXPECT_ERRNO(rename("d", "full"), ENOTEMPTY);
    OK(rename("d", "empty"));
}

CASE(rename_between_file_and_directory_fails) {
    make_file("f", "");
    OK(mkdir("d", 0700));
    EXPECT_ERRNO(rename("f", "d"), EISDIR);
    EXPECT_ERRNO(rename("d", "f"), ENOTDIR);
}

CASE(rename_of_a_directory_into_itself_returns_einval) {
    OK(mkdir("d", 0700));
    OK(mkdir("d/sub", 0700));
    EXPECT_ERRNO(rename("d", "d/sub/d"), EINVAL);
    EXPECT_ERRNO(rename("d", "d/e"), EINVAL);
    EXPECT_ERRNO(rename("d/sub", "d"), ENOTEMPTY);
}

CASE(rename_of_impossible_names_fails) {
    make_file("f", "");
    EXPECT_ERRNO(rename("missing", "g"), ENOENT);
    EXPECT_ERRNO(rename("f", "missing/g"), ENOENT);
    EXPECT_ERRNO(rename("f", "f/g"), ENOTDIR);
    EXPECT_ERRNO(rename("f", "g/"), ENOTDIR);
    EXPECT_ERRNO(rename(".", "g"), EBUSY);
    EXPECT_ERRNO(rename("f", ".."), EBUSY);
    char name[300] = {0};
    memset(name, 'x', 256);
    EXPECT_ERRNO(rename(name, "g"), ENAMETOOLONG);
    EXPECT_ERRNO(rename(name, "."), EBUSY);
    EXPECT_ERRNO(rename("", "g"), ENOENT);
}

CASE(rename_moves_the_link_and_not_its_target) {
    make_file("f", "");
    OK(symlink("f", "link"));
    OK(rename("link", "moved"));
    struct stat status;
    OK(lstat("moved", &status));
    EXPECT(S_ISLNK(status.st_mode));
    OK(access("f", F_OK));
}

CASE(rename_across_file_systems_returns_exdev) {
    make_file("f", "");
    EXPECT_ERRNO(rename("f", "/proc/f"), EXDEV);
}

CASE(rename_of_a_directory_updates_the_link_counts) {
    OK(mkdir("one", 0700));
    OK(mkdir("two", 0700));
    OK(mkdir("one/d", 0700));
    OK(rename("one/d", "two/d"));
    struct stat one, two;
    OK(stat("one", &one));
    OK(stat("two", &two));
    EXPECT_EQ(one.st_nlink, 2);
    EXPECT_EQ(two.st_nlink, 3);
}

CASE(renameat_is_relative_to_the_directories) {
    OK(mkdir("one", 0700));
    OK(mkdir("two", 0700));
    make_file("one/f", "x");
    int one = OK(open("one", O_RDONLY)), two = OK(open("two", O_RDONLY));
    OK(renameat(one, "f", two, "g"));
    EXPECT_STR(file_content("two/g"), "x");
    EXPECT_ERRNO(renameat(-1, "f", two, "g"), EBADF);
}

CASE(renameat_walks_to_the_old_name_before_it_looks_at_the_new_one) {
    close(OK(open("file", O_CREAT, 0600)));
    EXPECT_ERRNO(rename("file/x", NULL), ENOTDIR);
    EXPECT_ERRNO(renameat(AT_FDCWD, "missing/x", -1, "x"), ENOENT);
    EXPECT_ERRNO(renameat(AT_FDCWD, "file", -1, "x"), EBADF);
    EXPECT_ERRNO(renameat(-1, "x", AT_FDCWD, NULL), EBADF);
}

CASE(renameat2_noreplace_keeps_the_target) {
    make_file("f", "f");
    make_file("g", "g");
    EXPECT_ERRNO(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_NOREPLACE), EEXIST);
    OK(renameat2(AT_FDCWD, "f", AT_FDCWD, "h", RENAME_NOREPLACE));
    EXPECT_STR(file_content("g"), "g");
}

CASE(renameat2_exchange_swaps_even_file_and_directory) {
    make_file("f", "f");
    OK(mkdir("d", 0700));
    make_file("d/x", "");
    OK(renameat2(AT_FDCWD, "f", AT_FDCWD, "d", RENAME_EXCHANGE));
    EXPECT_STR(file_content("d"), "f");
    OK(access("f/x", F_OK));
    EXPECT_ERRNO(renameat2(AT_FDCWD, "f", AT_FDCWD, "missing", RENAME_EXCHANGE), ENOENT);
}

CASE(renameat2_with_bad_flags_returns_einval) {
    make_file("f", "");
    EXPECT_ERRNO(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
    EXPECT_ERRNO(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", 0x100), EINVAL);
}

CASE(rename_over_a_file_never_leaves_the_name_without_one) {
    int *done = map_shared(PAGE_SIZE);
    make_file("f", "old");
    pid_t pid = IN_CHILD({
        for (int round = 0; round < 2000; round++) {
            make_file("new", "new");
            OK(rename("new", "f"));
        }
        __atomic_store_n(done, 1, __ATOMIC_SEQ_CST);
    });
    struct stat status;
    while (!__atomic_load_n(done, __ATOMIC_SEQ_CST)) {
        OK(stat("f", &status));
        OK(access("f", R_OK));
        OK(close(OK(open("f", O_RDONLY))));
    }
    EXPECT_EXIT(pid, 0);
}
