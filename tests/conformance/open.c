/* open(2), openat(2), creat(2) */
#include "case.h"

CASE(open_returns_the_lowest_free_descriptor) {
    int first = next_fd();
    int one = OK(open("/dev/null", O_RDONLY)), two = OK(open("/dev/null", O_RDONLY));
    EXPECT_EQ(one, first);
    OK(close(one));
    EXPECT_EQ(OK(open("/dev/null", O_RDONLY)), first);
    EXPECT(two > one);
}

CASE(open_of_a_missing_name_returns_enoent) {
    EXPECT_ERRNO(open("missing", O_RDONLY), ENOENT);
    EXPECT_ERRNO(open("missing/f", O_RDWR | O_CREAT, 0600), ENOENT);
}

CASE(open_of_an_empty_name_returns_enoent) { EXPECT_ERRNO(open("", O_RDONLY), ENOENT); }

CASE(open_through_a_file_returns_enotdir) {
    make_file("f", "");
    EXPECT_ERRNO(open("f/x", O_RDONLY), ENOTDIR);
    EXPECT_ERRNO(open("f/", O_RDONLY), ENOTDIR);
    EXPECT_ERRNO(open("f/.", O_RDONLY), ENOTDIR);
}

CASE(open_with_o_directory_of_a_file_returns_enotdir) {
    make_file("f", "");
    EXPECT_ERRNO(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
    OK(open(".", O_RDONLY | O_DIRECTORY));
}

CASE(open_of_a_directory_for_writing_returns_eisdir) {
    OK(mkdir("d", 0700));
    EXPECT_ERRNO(open("d", O_WRONLY), EISDIR);
    EXPECT_ERRNO(open("d", O_RDWR), EISDIR);
    EXPECT_ERRNO(open("d", O_RDONLY | O_CREAT, 0600), EISDIR);
}

CASE(open_with_o_trunc_of_a_directory_returns_eisdir) { EXPECT_ERRNO(open(".", O_RDONLY | O_TRUNC), EISDIR); }

CASE(open_creates_with_the_mode_less_the_umask) {
    umask(027);
    OK(close(OK(open("f", O_WRONLY | O_CREAT, 0666))));
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mode, S_IFREG | 0640);
}

CASE(open_creating_a_read_only_file_still_gives_a_writable_descriptor) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0444));
    EXPECT_EQ(write(fd, "x", 1), 1);
}

CASE(open_with_o_creat_of_an_existing_file_keeps_its_mode_and_content) {
    make_file("f", "keep");
    OK(close(OK(open("f", O_WRONLY | O_CREAT, 0777))));
    struct stat status;
    OK(stat("f", &status));
    EXPECT_EQ(status.st_mode & 0777, 0644);
    EXPECT_STR(file_content("f"), "keep");
}

CASE(open_with_o_excl_of_an_existing_name_returns_eexist) {
    make_file("f", "");
    OK(symlink("nowhere", "dangling"));
    EXPECT_ERRNO(open("f", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    EXPECT_ERRNO(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    EXPECT_ERRNO(open(".", O_RDONLY | O_CREAT | O_EXCL, 0600), EEXIST);
}

CASE(open_with_o_creat_follows_a_dangling_link) {
    OK(symlink("target", "link"));
    OK(close(OK(open("link", O_RDWR | O_CREAT, 0600))));
    struct stat status;
    OK(stat("target", &status));
    EXPECT(S_ISREG(status.st_mode));
}

CASE(open_with_o_trunc_empties_the_file) {
    make_file("f", "content");
    int fd = OK(open("f", O_WRONLY | O_TRUNC));
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 0);
}

CASE(open_with_o_nofollow_of_a_link_returns_eloop) {
    make_file("f", "");
    OK(symlink("f", "link"));
    EXPECT_ERRNO(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
    OK(open("f", O_RDONLY | O_NOFOLLOW));
}

CASE(open_with_o_nofollow_follows_links_on_the_way) {
    OK(mkdir("d", 0700));
    make_file("d/f", "");
    OK(symlink("d", "link"));
    OK(open("link/f", O_RDONLY | O_NOFOLLOW));
}

CASE(open_of_a_cycle_of_links_returns_eloop) {
    OK(symlink("two", "one"));
    OK(symlink("one", "two"));
    EXPECT_ERRNO(open("one", O_RDONLY), ELOOP);
    EXPECT_ERRNO(open("one/x", O_RDONLY), ELOOP);
}

CASE(open_follows_forty_links_and_no_more) {
    make_file("0", "deep");
    char from[8], to[8];
    for (int i = 1; i <= 41; i++) {
        snprintf(from, sizeof from, "%d", i);
        snprintf(to, sizeof to, "%d", i - 1);
        OK(symlink(to, from));
    }
    OK(open("40", O_RDONLY));
    EXPECT_ERRNO(open("41", O_RDONLY), ELOOP);
}

CASE(open_of_a_name_longer_than_255_bytes_returns_enametoolong) {
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    EXPECT_ERRNO(open(name, O_RDONLY), ENAMETOOLONG);
    EXPECT_ERRNO(open(name, O_RDWR | O_CREAT, 0600), ENAMETOOLONG);
    name[255] = 0;
    OK(open(name, O_RDWR | O_CREAT, 0600));
}

CASE(open_of_a_path_longer_than_4095_bytes_returns_enametoolong) {
    char path[5000];
    for (size_t i = 0; i < sizeof path; i++)
        path[i] = i % 2 ? '/' : '.';
    path[4096] = 0;
    EXPECT_ERRNO(open(path, O_RDONLY), ENAMETOOLONG);
    path[4095] = 0;
    OK(open(path, O_RDONLY));
}

CASE(open_of_repeated_slashes_and_dots_finds_the_file) {
    OK(mkdir("d", 0700));
    make_file("d/f", "");
    OK(open("./d//.///./../d/f", O_RDONLY));
}

CASE(open_of_dot_dot_at_the_root_stays_there) {
    struct stat root, above;
    OK(stat("/", &root));
    OK(stat("/../../..", &above));
    EXPECT(root.st_ino == above.st_ino && root.st_dev == above.st_dev);
}

CASE(open_with_o_cloexec_sets_the_flag) {
    EXPECT_EQ(fcntl(OK(open(".", O_RDONLY | O_CLOEXEC)), F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(OK(open(".", O_RDONLY)), F_GETFD), 0);
}

CASE(open_flags_are_seen_by_fcntl) {
    int fd = OK(open("f", O_RDWR | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NONBLOCK | O_NOCTTY, 0600));
    EXPECT_EQ(fcntl(fd, F_GETFL) & ~0100000, O_RDWR | O_APPEND | O_NONBLOCK);
}

CASE(open_with_access_mode_three_gives_no_access) {
    make_file("f", "x");
    int fd = OK(open("f", 3));
    char byte;
    EXPECT_ERRNO(read(fd, &byte, 1), EBADF);
    EXPECT_ERRNO(write(fd, &byte, 1), EBADF);
}

CASE(open_with_o_path_allows_fstat_but_no_data) {
    make_file("f", "x");
    int fd = OK(open("f", O_PATH));
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 1);
    EXPECT_ERRNO(fchmod(fd, 0600), EBADF);
    EXPECT_ERRNO(ftruncate(fd, 0), EBADF);
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_PATH, O_PATH);
}

CASE(open_with_o_path_and_nofollow_opens_the_link_itself) {
    OK(symlink("nowhere", "link"));
    int fd = OK(open("link", O_PATH | O_NOFOLLOW));
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT(S_ISLNK(status.st_mode));
    char target[16];
    EXPECT_EQ(readlinkat(fd, "", target, sizeof target), 7);
}

CASE(open_of_the_magic_link_of_a_descriptor_reopens_the_file) {
    make_file("f", "hello");
    int fd = OK(open("f", O_RDONLY));
    OK(lseek(fd, 3, SEEK_SET));
    OK(unlink("f"));
    char name[64], buffer[8];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int again = OK(open(name, O_RDONLY));
    EXPECT_EQ(read(again, buffer, 8), 5);
}

CASE(openat_is_relative_to_the_directory) {
    OK(mkdir("d", 0700));
    make_file("d/f", "in d");
    int d = OK(open("d", O_RDONLY | O_DIRECTORY));
    OK(openat(d, "f", O_RDONLY));
    OK(openat(d, "../d/f", O_RDONLY));
    EXPECT_ERRNO(openat(d, "d", O_RDONLY), ENOENT);
}

CASE(openat_of_an_absolute_path_ignores_the_descriptor) { OK(openat(-1, "/dev/null", O_RDONLY)); }

CASE(openat_of_a_bad_descriptor_returns_ebadf) {
    EXPECT_ERRNO(openat(-1, "f", O_RDONLY), EBADF);
    EXPECT_ERRNO(openat(next_fd(), "f", O_RDONLY), EBADF);
}

CASE(openat_of_an_empty_name_returns_enoent_whatever_the_descriptor) { EXPECT_ERRNO(openat(-1, "", O_RDONLY), ENOENT); }

CASE(openat_of_a_file_descriptor_returns_enotdir) {
    make_file("f", "");
    int fd = OK(open("f", O_RDONLY));
    EXPECT_ERRNO(openat(fd, "x", O_RDONLY), ENOTDIR);
}

CASE(openat_of_an_o_path_directory_works) {
    make_file("f", "");
    int fd = OK(open(".", O_PATH | O_DIRECTORY));
    OK(openat(fd, "f", O_RDONLY));
}

CASE(open_with_o_tmpfile_makes_a_file_without_a_name) {
    int fd = OK(open(".", O_TMPFILE | O_RDWR, 0600));
    EXPECT_EQ(write(fd, "x", 1), 1);
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_nlink, 0);
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    OK(linkat(AT_FDCWD, name, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    EXPECT_STR(file_content("named"), "x");
}

CASE(open_with_o_tmpfile_needs_write_access_and_a_directory) {
    EXPECT_ERRNO(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    make_file("f", "");
    EXPECT_ERRNO(open("f", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
}

CASE(open_of_a_full_descriptor_table_returns_emfile) {
    int fd = next_fd();
    struct rlimit limit = {fd + 1, fd + 1};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    OK(open("/dev/null", O_RDONLY));
    EXPECT_ERRNO(open("/dev/null", O_RDONLY), EMFILE);
}

CASE(open_without_permission_returns_eacces) {
    NEEDS_ROOT();
    make_file("f", "");
    OK(chmod("f", 0600));
    OK(mkdir("d", 0700));
    make_file("d/f", "");
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setuid, 1234));
        EXPECT_ERRNO(open("f", O_RDONLY), EACCES);
        EXPECT_ERRNO(open("d/f", O_RDONLY), EACCES);
        EXPECT_ERRNO(open("new", O_RDWR | O_CREAT, 0600), EACCES);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(open_of_a_program_that_runs_for_writing_returns_etxtbsy) {
    make_file("f", "");
    int from = OK(open(program_path, O_RDONLY)), to = OK(open("program", O_WRONLY | O_CREAT, 0755));
    char *buffer = map(1 << 16);
    for (ssize_t count; (count = OK(read(from, buffer, 1 << 16))) > 0;)
        EXPECT_EQ(write(to, buffer, count), count);
    OK(close(to));
    PIPE(ends);
    PIPE(hold);
    pid_t pid = OK(fork());
    if (pid == 0) {
        dup2(ends[1], 1);
        dup2(hold[0], 0);
        close(hold[1]);
        execl("./program", "program", "--helper", "announce_and_wait", NULL);
        FAIL("execl returned %s", errno_name(errno));
    }
    await(ends[0]);
    EXPECT_ERRNO(open("program", O_WRONLY), ETXTBSY);
    EXPECT_ERRNO(open("program", O_RDONLY | O_TRUNC), ETXTBSY);
    EXPECT_ERRNO(truncate("program", 0), ETXTBSY);
    OK(close(hold[1]));
    EXPECT_EXIT(pid, 0);
    OK(open("program", O_WRONLY));
}

HELPER(announce_and_wait) {
    announce(1);
    char byte;
    return read(0, &byte, 1) == 0 ? 0 : 1;
}

CASE(open_of_a_fifo_nonblocking_for_writing_without_a_reader_returns_enxio) {
    OK(mkfifo("fifo", 0600));
    EXPECT_ERRNO(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
    int reader = OK(open("fifo", O_RDONLY | O_NONBLOCK));
    int writer = OK(open("fifo", O_WRONLY | O_NONBLOCK));
    EXPECT_EQ(write(writer, "x", 1), 1);
    char byte;
    EXPECT_EQ(read(reader, &byte, 1), 1);
}

CASE(open_of_a_fifo_waits_for_the_other_end) {
    OK(mkfifo("fifo", 0600));
    pid_t pid = IN_CHILD({
        int fd = OK(open("fifo", O_WRONLY));
        EXPECT_EQ(write(fd, "hi", 2), 2);
    });
    int fd = OK(open("fifo", O_RDONLY));
    char buffer[4];
    EXPECT_EQ(read(fd, buffer, 4), 2);
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(read(fd, buffer, 4), 0);
}

CASE(open_of_a_fifo_is_interrupted_by_a_signal) {
    OK(mkfifo("fifo", 0600));
    EXPECT_INTERRUPTED(open("fifo", O_RDONLY));
}

CASE(open_of_a_socket_returns_enxio) {
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un address = {AF_UNIX, "socket"};
    OK(bind(fd, (struct sockaddr *)&address, sizeof address));
    EXPECT_ERRNO(open("socket", O_RDWR), ENXIO);
}

CASE(creat_is_open_for_writing_that_truncates) {
    make_file("f", "old");
    int fd = OK(creat("f", 0600));
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_WRONLY);
    EXPECT_STR(file_content("f"), "");
}

CASE(open_of_a_removed_working_directory_returns_enoent) {
    OK(mkdir("d", 0700));
    OK(chdir("d"));
    OK(rmdir("../d"));
    EXPECT_ERRNO(open("f", O_RDWR | O_CREAT, 0600), ENOENT);
    OK(open(".", O_RDONLY));
}

CASE(open_judges_set_group_id_of_a_new_file_before_the_umask) {
    NEEDS_ROOT();
    OK(mkdir("d", 0777));
    OK(chown("d", 0, 4321));
    OK(chmod("d", 02777));
    OK(chmod(".", 0755));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_setgroups, 0, NULL));
        OK(syscall(SYS_setgid, 1234));
        OK(syscall(SYS_setuid, 1234));
        umask(010);
        struct stat status;
        OK(fstat(OK(open("d/f", O_RDWR | O_CREAT, 02755)), &status));
        EXPECT_EQ(status.st_gid, 4321);
        EXPECT_EQ(status.st_mode & 07777, 0745);
    });
    EXPECT_EXIT(pid, 0);
}
