/*
 * path_resolution(7): what a name means is seen at once when it changes, however often it was asked before, and whoever changes it.
 *
 * The cases ask by a loop of few calls, and often: what a runtime remembers of names it remembers then. Some need files that were
 * there before the runtime was: GIVEN names a directory with directories of such, one for each case that changes some.
 */
#include "case.h"

#include <pthread.h>

enum { ASKED = 0x10, BY_STAT = 1, BY_ACCESS = 2, BY_OPEN = 4, BY_ALL = 7 };

/* Which calls find a name; each at its one site in this program. */
static int found_at(int directory, const char *name, int flags, struct stat *found) {
    struct stat ignored;
    int result = 0;
    if (fstatat(directory, name, found ? found : &ignored, flags) == 0)
        result |= BY_STAT;
    else if (errno != ENOENT)
        return -errno;
    if (flags & AT_SYMLINK_NOFOLLOW)
        return result ? BY_ALL : 0;
    if (faccessat(directory, name, F_OK, 0) == 0)
        result |= BY_ACCESS;
    int fd = openat(directory, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_PATH);
    if (fd != -1) {
        result |= BY_OPEN;
        close(fd);
    }
    return result;
}

/* Whether a name is there: asked three times, by all calls, which agree. A negative errno if it cannot be told. */
static int is_there_at(int directory, const char *name, int flags, struct stat *found) {
    int first = found_at(directory, name, flags, found);
    for (int times = 0; times < 2; times++)
        EXPECT_EQ(found_at(directory, name, flags, found), first);
    if (first < 0)
        return first;
    EXPECT(first == 0 || first == BY_ALL);
    return first == BY_ALL;
}

static int is_there(const char *name) { return is_there_at(AT_FDCWD, name, 0, NULL); }

/* Asked by stat(2) alone, three times: who opens a file may be told of its changes in other ways. */
static struct stat attributes(const char *name) {
    struct stat found;
    for (int times = 0; times < 3; times++)
        OK(fstatat(AT_FDCWD, name, &found, 0));
    return found;
}

/* Asks until whatever remembers names has begun to do so for this process. */
static void settle(void) {
    for (int times = 0; times < 60; times++)
        EXPECT(!is_there("/there is no such file"));
}

/* Goes to a directory of given files that only this case has, and whose files are this user's. */
static void enter_given(int number) {
    char path[PATH_MAX];
    const char *given = getenv("GIVEN");
    EXPECT(given != NULL);
    snprintf(path, sizeof path, "%s/%d", given, number);
    OK(chdir(path));
}

/* The ways in which a name comes to be. */
static void make_by_open(const char *name) { close(OK(open(name, O_CREAT | O_EXCL | O_WRONLY, 0644))); }
static void make_by_creat(const char *name) { close(OK(creat(name, 0644))); }
static void make_by_mkdir(const char *name) { OK(mkdir(name, 0755)); }
static void make_by_mknod(const char *name) { OK(mknod(name, S_IFREG | 0644, 0)); }
static void make_by_mkfifo(const char *name) { OK(mkfifo(name, 0644)); }
static void make_by_symlink(const char *name) { OK(symlink("/", name)); }
static void make_by_link(const char *name) { OK(link("other", name)); }
static void make_by_rename(const char *name) {
    make_by_open("old");
    OK(rename("old", name));
}
static void make_by_bind(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    int fd = OK(socket(AF_UNIX, SOCK_STREAM, 0));
    OK(bind(fd, (struct sockaddr *)&address, sizeof address));
    close(fd);
}
static void make_by_linkat(const char *name) {
    int fd = OK(open(".", O_TMPFILE | O_RDWR, 0644));
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    OK(linkat(AT_FDCWD, path, AT_FDCWD, name, AT_SYMLINK_FOLLOW));
    close(fd);
}

static void (*const MAKERS[])(const char *) = {make_by_open,   make_by_creat, make_by_mkdir,  make_by_mknod, make_by_mkfifo,
                                               make_by_symlink, make_by_link,  make_by_rename, make_by_bind,  make_by_linkat};
enum { MAKER_COUNT = sizeof MAKERS / sizeof *MAKERS };

static void take_away(const char *name) {
    if (unlink(name) == -1)
        OK(rmdir(name));
}

CASE(a_name_is_seen_when_it_comes_and_when_it_goes) {
    settle();
    make_by_open("other");
    for (int maker = 0; maker < MAKER_COUNT; maker++) {
        EXPECT(!is_there("name"));
        MAKERS[maker]("name");
        EXPECT(is_there("name"));
        take_away("name");
        EXPECT(!is_there("name"));
        MAKERS[maker]("name");
        EXPECT(is_there("name"));
        OK(rename("name", "away"));
        EXPECT(!is_there("name"));
        take_away("away");
    }
}

CASE(a_name_that_another_process_makes_is_seen) {
    settle();
    make_by_open("other");
    for (int maker = 0; maker < MAKER_COUNT; maker++) {
        EXPECT(!is_there("name"));
        pid_t pid = IN_CHILD({ MAKERS[maker]("name"); });
        EXPECT_EXIT(pid, 0);
        EXPECT(is_there("name"));
        pid = IN_CHILD({ take_away("name"); });
        EXPECT_EXIT(pid, 0);
        EXPECT(!is_there("name"));
    }
}

static void *make_in_thread(void *maker) {
    MAKERS[(intptr_t)maker]("name");
    return NULL;
}

CASE(a_name_that_another_thread_makes_is_seen) {
    settle();
    make_by_open("other");
    for (intptr_t maker = 0; maker < MAKER_COUNT; maker++) {
        EXPECT(!is_there("name"));
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, make_in_thread, (void *)maker), 0);
        EXPECT_EQ(pthread_join(thread, NULL), 0);
        EXPECT(is_there("name"));
        take_away("name");
        EXPECT(!is_there("name"));
    }
}

static void *make_while_asked(void *turn) {
    for (int number = 0; number < 200; number++) {
        while (__atomic_load_n((int *)turn, __ATOMIC_ACQUIRE) != 2 * number + 1)
            sched_yield();
        make_by_open("name");
        __atomic_store_n((int *)turn, 2 * number + 2, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* The thread that asks makes no call that would bring news: it only looks at a word. */
CASE(whoever_has_heard_of_a_new_name_sees_it) {
    settle();
    int turn = 0;
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, make_while_asked, &turn), 0);
    for (int number = 0; number < 200; number++) {
        EXPECT(!is_there("name"));
        __atomic_store_n(&turn, 2 * number + 1, __ATOMIC_RELEASE);
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != 2 * number + 2)
            ;
        EXPECT(is_there("name"));
        OK(unlink("name"));
    }
    EXPECT_EQ(pthread_join(thread, NULL), 0);
}

CASE(a_name_is_the_same_on_whichever_way_it_is_reached) {
    char cwd[PATH_MAX - 16], absolute[PATH_MAX];
    OK(mkdir("directory", 0755));
    OK(symlink("directory", "link"));
    OK(symlink("directory/name", "to name"));
    EXPECT(getcwd(cwd, sizeof cwd) != NULL);
    snprintf(absolute, sizeof absolute, "%s/directory/name", cwd);
    int directory = OK(open("directory", O_RDONLY | O_DIRECTORY));
    settle();
    const char *const ways[] = {"directory/name", "link/name", "directory/../directory/name", "to name", "./directory//name",
                                absolute};
    for (int times = 0; times < 3; times++)
        for (int is_made = 0; is_made < 2; is_made++) {
            for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
                EXPECT_EQ(is_there(ways[way]), is_made);
            EXPECT_EQ(is_there_at(directory, "name", 0, NULL), is_made);
            EXPECT_EQ(is_there_at(directory, "../to name", 0, NULL), is_made);
            EXPECT(is_there_at(AT_FDCWD, "to name", AT_SYMLINK_NOFOLLOW, NULL));
            if (is_made)
                OK(unlinkat(directory, "name", 0));
            else
                make_by_open("link/name");
        }
}

CASE(a_link_that_leads_elsewhere_is_followed_there) {
    OK(mkdir("full", 0755));
    OK(mkdir("empty", 0755));
    make_by_open("full/name");
    settle();
    for (int times = 0; times < 6; times++) {
        OK(symlink(times % 2 ? "empty" : "full", "new"));
        OK(rename("new", "link"));
        EXPECT_EQ(is_there("link/name"), times % 2 == 0);
    }
}

CASE(names_below_a_directory_go_with_it) {
    OK(mkdir("a", 0755));
    OK(mkdir("a/b", 0755));
    make_by_open("a/b/name");
    OK(mkdir("c", 0755));
    settle();
    for (int times = 0; times < 3; times++) {
        EXPECT(is_there("a/b/name") && !is_there("d/b/name"));
        OK(rename("a", "d"));
        EXPECT(!is_there("a/b/name") && is_there("d/b/name"));
        OK(rename("d", "a"));
        EXPECT(is_there("a/b/name") && !is_there("c/b/name"));
        OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_EXCHANGE));
        EXPECT(!is_there("a/b/name") && is_there("c/b/name"));
        OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_EXCHANGE));
    }
}

CASE(relative_names_go_with_the_working_directory) {
    OK(mkdir("full", 0755));
    OK(mkdir("empty", 0755));
    make_by_open("full/name");
    int here = OK(open(".", O_RDONLY | O_DIRECTORY));
    settle();
    for (int times = 0; times < 3; times++) {
        OK(chdir("full"));
        EXPECT(is_there("name") && !is_there("../name"));
        OK(chdir("../empty"));
        EXPECT(!is_there("name") && is_there("../full/name"));
        OK(fchdir(here));
        EXPECT(!is_there("name") && is_there("full/name"));
    }
}

CASE(names_at_a_descriptor_go_with_its_file) {
    OK(mkdir("full", 0755));
    OK(mkdir("empty", 0755));
    make_by_open("full/name");
    int full = OK(open("full", O_RDONLY | O_DIRECTORY)), empty = OK(open("empty", O_RDONLY | O_DIRECTORY));
    int any = OK(dup(empty));
    settle();
    for (int times = 0; times < 6; times++) {
        OK(dup2(times % 2 ? empty : full, any));
        EXPECT_EQ(is_there_at(any, "name", 0, NULL), times % 2 == 0);
        close(any);
        EXPECT_EQ(OK(open(times % 2 ? "full" : "empty", O_RDONLY | O_DIRECTORY)), any);
        EXPECT_EQ(is_there_at(any, "name", 0, NULL), times % 2);
    }
    close(any);
    EXPECT_EQ(is_there_at(any, "name", 0, NULL), -EBADF);
}

CASE(without_a_free_descriptor_a_missing_name_is_not_looked_for) {
    settle();
    EXPECT(!is_there("name"));
    struct rlimit limit = {.rlim_cur = next_fd(), .rlim_max = REPORT_FD + 1};
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    for (int times = 0; times < 3; times++) {
        EXPECT_ERRNO(open("name", O_RDONLY), EMFILE);
        EXPECT_ERRNO(access("name", F_OK), ENOENT);
    }
    limit.rlim_cur++;
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    for (int times = 0; times < 3; times++)
        EXPECT_ERRNO(open("name", O_RDONLY), ENOENT);
}

CASE(a_missing_name_is_created_all_the_same) {
    settle();
    for (int times = 0; times < 3; times++) {
        EXPECT(!is_there("name"));
        EXPECT_ERRNO(open("name", O_RDWR | O_TRUNC), ENOENT);
        close(OK(open("name", O_RDWR | O_CREAT, 0600)));
        OK(unlink("name"));
    }
}

CASE(a_bad_address_or_flag_is_found_for_a_known_name) {
    enter_given(1);
    settle();
    EXPECT(is_there("file") && !is_there("name"));
    for (int times = 0; times < 3; times++) {
        EXPECT_ERRNO(fstatat(AT_FDCWD, "file", bad_page(), 0), EFAULT);
        EXPECT_ERRNO(fstatat(AT_FDCWD, "name", bad_page(), 0), ENOENT);
        EXPECT_ERRNO(syscall(SYS_newfstatat, AT_FDCWD, "file", bad_page(), 0x8000), EINVAL);
        EXPECT_ERRNO(syscall(SYS_faccessat, AT_FDCWD, "file", 8), EINVAL);
        EXPECT_ERRNO(syscall(SYS_faccessat, AT_FDCWD, "name", 8), EINVAL);
        EXPECT_ERRNO(syscall(SYS_faccessat, -1, "file", F_OK), EBADF);
        char *at_end = page_end() - 4;
        memcpy(at_end, "file", 4);
        EXPECT_ERRNO(access(at_end, F_OK), EFAULT);
    }
}

/* How attributes change, of a given file or by one of its other names. */
static void change_permissions(const char *name) { OK(chmod(name, attributes(name).st_mode ^ 020)); }
static void change_permissions_by_descriptor(const char *name) {
    int fd = OK(open(name, O_RDONLY));
    OK(fchmod(fd, attributes(name).st_mode ^ 020));
    close(fd);
}
static void append(const char *name) {
    int fd = OK(open(name, O_WRONLY | O_APPEND));
    EXPECT_EQ(write(fd, "more", 4), 4);
    close(fd);
}
static void cut(const char *name) { OK(truncate(name, attributes(name).st_size - 1)); }
static void set_times(const char *name) {
    struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = attributes(name).st_mtime + 1}};
    OK(utimensat(AT_FDCWD, name, times, 0));
}
static void add_name(const char *name) {
    char other[PATH_MAX];
    snprintf(other, sizeof other, "%s.%d", name, (int)attributes(name).st_nlink);
    OK(link(name, other));
}
static void write_by_map(const char *name) {
    int fd = OK(open(name, O_RDWR));
    OK(ftruncate(fd, 2 * PAGE_SIZE));
    char *map = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(map != MAP_FAILED);
    *map = '!';
    close(fd);
}

static void (*const CHANGES[])(const char *) = {change_permissions, change_permissions_by_descriptor, append, cut, set_times,
                                                add_name,           write_by_map};
enum { CHANGE_COUNT = sizeof CHANGES / sizeof *CHANGES };

/* Whether `stat` of two moments shows something else. */
static bool differs(struct stat one, struct stat two) {
    one.st_atim = two.st_atim = (struct timespec){0};
    return memcmp(&one, &two, sizeof one) != 0;
}

static void see_changes(int first, bool by_another) {
    for (int change = 0; change < CHANGE_COUNT; change++) {
        char name[16];
        snprintf(name, sizeof name, "file%d", first + change);
        struct stat before = attributes(name);
        if (by_another) {
            pid_t pid = IN_CHILD({ CHANGES[change](name); });
            EXPECT_EXIT(pid, 0);
        } else {
            CHANGES[change](name);
        }
        EXPECT(differs(before, attributes(name)));
    }
}

CASE(attributes_are_seen_to_change) {
    enter_given(2);
    settle();
    see_changes(0, false);
    see_changes(0, false);
}

CASE(attributes_that_another_process_changes_are_seen_to) {
    enter_given(3);
    settle();
    see_changes(0, true);
    see_changes(0, true);
}

CASE(attributes_change_by_each_name_of_a_file) {
    enter_given(4);
    settle();
    for (int times = 0; times < 2; times++)
        for (int change = 0; change < CHANGE_COUNT; change++) {
            char name[32], other[32];
            snprintf(name, sizeof name, "file%d", change);
            snprintf(other, sizeof other, "directory/other%d.%d", change, times);
            OK(link(name, other));
            struct stat before = attributes(name);
            EXPECT(!differs(before, attributes(other)));
            CHANGES[change](other);
            EXPECT(differs(before, attributes(name)));
            EXPECT(!differs(attributes(name), attributes(other)));
        }
}

CASE(given_files_are_seen_to_go) {
    enter_given(5);
    settle();
    EXPECT(is_there("file0") && is_there("file1") && is_there("file2") && is_there("directory/file"));
    OK(unlink("file0"));
    EXPECT(!is_there("file0"));
    OK(rename("file1", "away"));
    EXPECT(!is_there("file1") && is_there("away"));
    EXPECT_EQ(attributes("directory/../file2").st_size, 6);
    OK(rename("file2", "file3"));
    EXPECT(!is_there("file2"));
    OK(unlink("directory/file"));
    EXPECT(!is_there("directory/file"));
    OK(rmdir("directory"));
    EXPECT(!is_there("directory") && !is_there("link/file"));
    OK(mkdir("directory", 0755));
    EXPECT(is_there("directory") && !is_there("directory/file"));
    /* Another file under the name of before. */
    make_file("file0", "something else");
    EXPECT_EQ(attributes("file0").st_size, 14);
}

CASE(a_directory_shows_what_was_done_in_it) {
    enter_given(6);
    settle();
    struct stat before = attributes("directory");
    make_by_open("directory/name");
    struct stat after = attributes("directory");
    EXPECT(differs(before, after));
    OK(mkdir("directory/below", 0755));
    EXPECT(is_there("directory/below") && is_there("directory/below/.."));
    OK(chmod("directory", 0700));
    EXPECT_EQ(attributes("directory").st_mode & 0777, 0700);
}

CASE(whoever_may_not_search_a_directory_any_more_finds_nothing_there) {
    NEEDS_ROOT();
    enter_given(7);
    OK(chmod(".", 0755));
    char path[PATH_MAX];
    EXPECT(getcwd(path, sizeof path) != NULL);
    PIPE(ask);
    PIPE(told);
    pid_t pid = IN_CHILD({
        OK(setresgid(1234, 1234, 1234));
        OK(setresuid(1234, 1234, 1234));
        if (is_there(path) == -EACCES) {
            announce(told[1]);
            SKIP("an ordinary user does not reach the given files");
        }
        settle();
        for (int times = 0; times < 3; times++) {
            EXPECT(is_there("directory/file") == 1 && is_there("directory/name") == 0);
            announce(told[1]);
            await(ask[0]);
            EXPECT_EQ(is_there("directory/file"), -EACCES);
            EXPECT_EQ(is_there("directory/name"), -EACCES);
            announce(told[1]);
            await(ask[0]);
        }
    });
    for (int times = 0; times < 3; times++) {
        await(told[0]);
        if (times % 2 == 0)
            OK(chmod("directory", 0700));
        else
            OK(chown("directory", 0, 1234)), OK(chmod("directory", 0705));
        announce(ask[1]);
        await(told[0]);
        OK(chmod("directory", 0755));
        announce(ask[1]);
    }
    EXPECT_EXIT(pid, 0);
}

CASE(whoever_becomes_another_user_finds_what_that_one_finds) {
    NEEDS_ROOT();
    OK(mkdir("closed", 0700));
    make_by_open("closed/file");
    OK(chmod(".", 0755));
    settle();
    for (int times = 0; times < 3; times++) {
        EXPECT(is_there("closed/file") == 1 && is_there("closed/name") == 0);
        OK(seteuid(1234));
        struct stat found;
        for (int again = 0; again < 3; again++) {
            EXPECT_ERRNO(stat("closed/file", &found), EACCES);
            EXPECT_ERRNO(stat("closed/name", &found), EACCES);
            /* Which asks for the real user. */
            OK(access("closed/file", F_OK));
            EXPECT_ERRNO(access("closed/name", F_OK), ENOENT);
        }
        OK(seteuid(0));
    }
    OK(setresuid(1234, 1234, 1234));
    EXPECT_EQ(is_there("closed/file"), -EACCES);
}

CASE(access_is_granted_as_the_permissions_say_at_the_moment) {
    NEEDS_ROOT();
    enter_given(8);
    settle();
    for (int times = 0; times < 3; times++) {
        OK(access("file0", R_OK));
        OK(access("file0", R_OK | W_OK));
        EXPECT_ERRNO(access("file0", X_OK), EACCES);
    }
    OK(chmod("file0", 0755));
    for (int times = 0; times < 3; times++)
        OK(access("file0", R_OK | X_OK));
    OK(chmod("file0", 0644));
    EXPECT_ERRNO(access("file0", X_OK), EACCES);
}

CASE(another_root_has_other_names) {
    NEEDS_ROOT();
    OK(mkdir("root", 0755));
    make_by_open("root/name in root");
    settle();
    EXPECT(!is_there("/name in root"));
    OK(chroot("root"));
    EXPECT(is_there("/name in root") && !is_there("/etc"));
}

CASE(a_child_has_its_own_working_directory) {
    OK(mkdir("full", 0755));
    make_by_open("full/name");
    settle();
    EXPECT(!is_there("name"));
    pid_t pid = IN_CHILD({
        OK(chdir("full"));
        settle();
        EXPECT(is_there("name"));
    });
    EXPECT(!is_there("name"));
    EXPECT_EXIT(pid, 0);
    EXPECT(!is_there("name"));
}
