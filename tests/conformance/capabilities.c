/* capabilities(7): what a file gives to whoever executes it */
#include "case.h"
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#define USER 1234
#define NAME "security.capability"
#define BIT(capability) (1U << (capability))
#define CHOWN BIT(CAP_CHOWN)
#define RAW BIT(CAP_NET_RAW)
#define KILL BIT(CAP_KILL)

/* Exit statuses of what is executed. */
enum { AS_EXPECTED = 40, OTHERWISE, REFUSED };

static char place[] = "/var/tmp/usk-test-XXXXXX";

static void copy_program(void) {
    int from = OK(open(program_path, O_RDONLY)), to = OK(open("program", O_RDWR | O_CREAT, 0755));
    char *buffer = map(1 << 16);
    for (ssize_t count; (count = OK(read(from, buffer, 1 << 16))) > 0;)
        EXPECT_EQ(write(to, buffer, count), count);
    OK(close(from));
    OK(close(to));
}

/* Makes and enters a directory whose files can give privileges, which a sandbox's or a host's /tmp may not let them, with a copy of
 * this program in it. */
static void enter_place(void) {
    NEEDS_ROOT();
    OK(mkdtemp(place) ? 0 : -1);
    OK(chmod(place, 0755));
    OK(chdir(place));
    struct statvfs status;
    OK(statvfs(".", &status));
    if (status.f_flag & ST_NOSUID) {
        rmdir(place);
        SKIP("needs a /var/tmp whose files can give privileges");
    }
    copy_program();
}

static void leave_place(void) {
    OK(unlink("program"));
    OK(rmdir(place));
}

static int set_value(unsigned flags, unsigned permitted, unsigned inheritable) {
    struct vfs_cap_data value = {flags, {{permitted, inheritable}}};
    return setxattr("program", NAME, &value, XATTR_CAPS_SZ_2, 0);
}

static void give(unsigned permitted, unsigned inheritable, int effective) {
    OK(set_value(VFS_CAP_REVISION_2 | (effective ? VFS_CAP_FLAGS_EFFECTIVE : 0), permitted, inheritable));
}

static struct __user_cap_data_struct own[2];

static void read_own(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    OK(syscall(SYS_capget, &header, own));
}

static void set_own(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    OK(syscall(SYS_capset, &header, own));
}

/* Arguments: what shall be permitted, effective and ambient of the lower 32, and AT_SECURE. */
HELPER(expect) {
    if (argc != 4)
        return OTHERWISE;
    unsigned ambient = 0;
    read_own();
    for (int capability = 0; capability < 32; capability++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1)
            ambient |= BIT(capability);
    unsigned found[] = {own[0].permitted, own[0].effective, ambient, getauxval(AT_SECURE)};
    for (int index = 0; index < 4; index++)
        if (found[index] != strtoul(argv[index], NULL, 16))
            return OTHERWISE;
    return AS_EXPECTED;
}

static void execute(unsigned permitted, unsigned effective, unsigned ambient, unsigned secure) {
    char text[4][16];
    unsigned expected[] = {permitted, effective, ambient, secure};
    for (int index = 0; index < 4; index++)
        snprintf(text[index], sizeof text[index], "%x", expected[index]);
    execl("./program", "program", "--helper", "expect", text[0], text[1], text[2], text[3], NULL);
    _exit(errno == EPERM ? REFUSED : OTHERWISE);
}

static void become_user(void) { OK(syscall(SYS_setresuid, USER, USER, USER)); }

CASE(capabilities_of_a_file_are_given_to_who_executes_it) {
    enter_place();
    give(CHOWN | RAW, 0, 1);
    EXPECT_EXIT(IN_CHILD(become_user(); execute(CHOWN | RAW, CHOWN | RAW, 0, 1)), AS_EXPECTED);
    give(RAW, 0, 0);
    EXPECT_EXIT(IN_CHILD(become_user(); execute(RAW, 0, 0, 1)), AS_EXPECTED);
    OK(removexattr("program", NAME));
    EXPECT_EXIT(IN_CHILD(become_user(); execute(0, 0, 0, 0)), AS_EXPECTED);
    leave_place();
}

CASE(capabilities_that_are_inheritable_are_given_to_who_has_them_so) {
    enter_place();
    give(0, CHOWN | RAW, 1);
    EXPECT_EXIT(IN_CHILD(become_user(); execute(0, 0, 0, 1)), AS_EXPECTED);
    EXPECT_EXIT(IN_CHILD({
                    read_own();
                    own[0].inheritable = CHOWN | KILL;
                    set_own();
                    become_user();
                    execute(CHOWN, CHOWN, 0, 1);
                }),
                AS_EXPECTED);
    leave_place();
}

CASE(capabilities_that_the_bounding_set_lacks_are_not_given) {
    enter_place();
    give(CHOWN | RAW, 0, 0);
    EXPECT_EXIT(IN_CHILD({
                    OK(prctl(PR_CAPBSET_DROP, CAP_CHOWN, 0, 0, 0));
                    become_user();
                    execute(RAW, 0, 0, 1);
                }),
                AS_EXPECTED);
    /* Who is given them as effective does not ask whether they are there. */
    give(CHOWN | RAW, 0, 1);
    EXPECT_EXIT(IN_CHILD({
                    OK(prctl(PR_CAPBSET_DROP, CAP_CHOWN, 0, 0, 0));
                    become_user();
                    execute(0, 0, 0, 0);
                }),
                REFUSED);
    EXPECT_EXIT(IN_CHILD(OK(prctl(PR_CAPBSET_DROP, CAP_CHOWN, 0, 0, 0)); execute(0, 0, 0, 0)), REFUSED);
    leave_place();
}

CASE(capabilities_are_not_gained_without_new_privileges) {
    enter_place();
    give(RAW, 0, 1);
    EXPECT_EXIT(IN_CHILD({
                    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
                    become_user();
                    execute(0, 0, 0, 1);
                }),
                AS_EXPECTED);
    leave_place();
}

/* Executes the program in a task that shares its working directory, root and umask with this process. */
static void execute_sharing(unsigned permitted, unsigned effective, unsigned ambient, unsigned secure) {
    pid_t pid = OK(syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0)
        execute(permitted, effective, ambient, secure);
    EXPECT_EXIT(pid, AS_EXPECTED);
}

static void look_for_root(void) {
    execl("./program", "program", "--helper", "is_root", NULL);
    _exit(OTHERWISE);
}

/* Shares with one that ends, and with one that has unshared before it gains. */
static void share_no_more(void) {
    pid_t pid = OK(syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        OK(unshare(CLONE_FS));
        look_for_root();
    }
    EXPECT_EXIT(pid, AS_EXPECTED);
}

CASE(capabilities_are_not_gained_where_another_process_can_move_the_root) {
    enter_place();
    give(RAW, 0, 0);
    EXPECT_EXIT(IN_CHILD(become_user(); execute_sharing(0, 0, 0, 0)), 0);
    OK(removexattr("program", NAME));
    OK(chmod("program", 04755));
    EXPECT_EXIT(IN_CHILD(become_user(); execute_sharing(0, 0, 0, 1)), 0);
    EXPECT_EXIT(IN_CHILD(become_user(); share_no_more(); look_for_root()), AS_EXPECTED);
    leave_place();
}

HELPER(is_root) {
    (void)argc, (void)argv;
    return geteuid() == 0 ? AS_EXPECTED : OTHERWISE;
}


static void *sleep_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

CASE(capabilities_are_gained_by_a_process_of_several_threads) {
    enter_place();
    OK(chmod("program", 04755));
    EXPECT_EXIT(IN_CHILD({
                    become_user();
                    pthread_t thread;
                    EXPECT_EQ(pthread_create(&thread, NULL, sleep_for_ever, NULL), 0);
                    look_for_root();
                }),
                AS_EXPECTED);
    leave_place();
}

static void become_user_with_ambient_kill(void) {
    OK(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    become_user();
    read_own();
    own[0].inheritable = KILL;
    set_own();
    OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
}

CASE(capabilities_that_are_ambient_end_with_a_file_that_has_its_own) {
    enter_place();
    EXPECT_EXIT(IN_CHILD(become_user_with_ambient_kill(); execute(KILL, KILL, KILL, 0)), AS_EXPECTED);
    give(RAW, 0, 0);
    EXPECT_EXIT(IN_CHILD(become_user_with_ambient_kill(); execute(RAW, 0, 0, 1)), AS_EXPECTED);
    leave_place();
}

CASE(capabilities_of_a_set_user_id_program_of_roots_are_what_its_file_says) {
    enter_place();
    give(RAW, 0, 1);
    OK(chmod("program", 04755));
    EXPECT_EXIT(IN_CHILD(become_user(); execute(RAW, RAW, 0, 1)), AS_EXPECTED);
    leave_place();
}

CASE(capabilities_on_a_file_system_without_set_user_ids_are_not_given) {
    NEEDS_ROOT();
    struct statvfs status;
    OK(statvfs(".", &status));
    if (!(status.f_flag & ST_NOSUID))
        SKIP("needs a scratch directory whose files give no privileges");
    OK(chmod(".", 0755));
    copy_program();
    give(RAW, 0, 1);
    EXPECT_EXIT(IN_CHILD(become_user(); execute(0, 0, 0, 0)), AS_EXPECTED);
}

CASE(capabilities_of_another_namespaces_root_are_not_given) {
    enter_place();
    struct vfs_ns_cap_data value = {VFS_CAP_REVISION_3 | VFS_CAP_FLAGS_EFFECTIVE, {{RAW, 0}}, 0};
    OK(setxattr("program", NAME, &value, sizeof value, 0));
    EXPECT_EXIT(IN_CHILD(become_user(); execute(RAW, RAW, 0, 1)), AS_EXPECTED);
    /* Those for the reader's own root are shown as if there were no namespaces. */
    EXPECT_EQ(getxattr("program", NAME, NULL, 0), XATTR_CAPS_SZ_2);
    value.rootid = 4321;
    OK(setxattr("program", NAME, &value, sizeof value, 0));
    EXPECT_EXIT(IN_CHILD(become_user(); execute(0, 0, 0, 0)), AS_EXPECTED);
    EXPECT_EQ(getxattr("program", NAME, NULL, 0), XATTR_CAPS_SZ_3);
    leave_place();
}

CASE(capabilities_are_set_in_a_known_version_and_by_who_may) {
    enter_place();
    struct vfs_ns_cap_data value = {VFS_CAP_REVISION_2, {{RAW, 0}}, 0};
    EXPECT_ERRNO(setxattr("program", NAME, &value, XATTR_CAPS_SZ_2 - 1, 0), EINVAL);
    EXPECT_ERRNO(setxattr("program", NAME, &value, XATTR_CAPS_SZ_3, 0), EINVAL);
    EXPECT_ERRNO(set_value(VFS_CAP_REVISION_3, RAW, 0), EINVAL);
    EXPECT_ERRNO(set_value(0x7f000000, RAW, 0), EINVAL);
    value.magic_etc = VFS_CAP_REVISION_1;
    EXPECT_ERRNO(setxattr("program", NAME, &value, XATTR_CAPS_SZ_1, 0), EINVAL);
    give(RAW, 0, 1);
    EXPECT_EXIT(IN_CHILD({
                    read_own();
                    own[0].effective &= ~BIT(CAP_SETFCAP);
                    set_own();
                    EXPECT_ERRNO(set_value(VFS_CAP_REVISION_2, CHOWN, 0), EPERM);
                    EXPECT_ERRNO(removexattr("program", NAME), EPERM);
                }),
                0);
    struct vfs_cap_data found;
    EXPECT_EQ(getxattr("program", NAME, &found, sizeof found), XATTR_CAPS_SZ_2);
    EXPECT_EQ(found.data[0].permitted, RAW);
    char list[64];
    ssize_t length = OK(listxattr("program", list, sizeof list));
    EXPECT(memmem(list, length, NAME, sizeof NAME) != NULL);
    leave_place();
}

/* Whether the program has capabilities, which are given to it anew afterwards. */
static int has_kept(void) {
    int kept = getxattr("program", NAME, NULL, 0) > 0;
    give(RAW, 0, 1);
    return kept;
}

CASE(capabilities_are_lost_by_a_change_of_the_contents_or_the_owner) {
    enter_place();
    give(RAW, 0, 1);
    int fd = OK(open("program", O_RDWR));
    EXPECT(has_kept());
    EXPECT_EQ(write(fd, "\177", 1), 1);
    EXPECT(!has_kept());
    EXPECT_EQ(pwrite(fd, "E", 1, 1), 1);
    EXPECT(!has_kept());
    OK(ftruncate(fd, 4096));
    EXPECT(!has_kept());
    OK(fallocate(fd, 0, 0, 8192));
    EXPECT(!has_kept());
    int other = OK(open("other", O_RDWR | O_CREAT, 0600)), ends[2];
    OK(unlink("other"));
    EXPECT_EQ(write(other, "bytes", 5), 5);
    OK(pipe(ends));
    EXPECT_EQ(write(ends[1], "bytes", 5), 5);
    EXPECT_EQ(splice(ends[0], NULL, fd, NULL, 5, 0), 5);
    EXPECT(!has_kept());
    off_t from = 0;
    EXPECT_EQ(sendfile(fd, other, &from, 5), 5);
    EXPECT(!has_kept());
    from = 0;
    EXPECT_EQ(copy_file_range(other, &from, fd, NULL, 5, 0), 5);
    EXPECT(!has_kept());
    OK(close(fd));
    OK(truncate("program", 4000));
    EXPECT(!has_kept());
    OK(chown("program", USER, -1));
    EXPECT(!has_kept());
    OK(chown("program", -1, -1));
    EXPECT(!has_kept());
    OK(chmod("program", 0700));
    EXPECT(has_kept());
    OK(close(OK(open("program", O_RDWR | O_TRUNC))));
    EXPECT(!has_kept());
    leave_place();
}

HELPER(say_personality) {
    (void)argc, (void)argv;
    return personality(0xffffffff) & ADDR_NO_RANDOMIZE ? 1 : 0;
}

static pid_t without_randomization(void) {
    return IN_CHILD({
        become_user();
        OK(personality(ADDR_NO_RANDOMIZE));
        execl("./program", "program", "--helper", "say_personality", NULL);
    });
}

CASE(a_program_that_gains_is_randomised) {
    enter_place();
    EXPECT_EXIT(without_randomization(), 1);
    OK(chmod("program", 04755));
    EXPECT_EXIT(without_randomization(), 0);
    leave_place();
}

HELPER(say_dumpable) {
    (void)argc, (void)argv;
    return prctl(PR_GET_DUMPABLE);
}

CASE(a_program_that_may_only_be_executed_is_not_dumpable) {
    enter_place();
    for (int mode = 0755; mode >= 0711; mode -= 044) {
        OK(chmod("program", mode));
        EXPECT_EXIT(IN_CHILD({
                        become_user();
                        execl("./program", "program", "--helper", "say_dumpable", NULL);
                    }),
                    mode == 0755);
    }
    leave_place();
}

/* Whether it has become another user under a filter of its caller's. */
HELPER(say_whether_tricked) {
    (void)argc, (void)argv;
    return geteuid() == 0 && prctl(PR_GET_SECCOMP) != 0 ? 1 : 0;
}

static atomic_bool is_about_to;

static void *execute_program(void *unused) {
    is_about_to = true;
    execl("./program", "program", "--helper", "say_whether_tricked", NULL);
    return unused;
}

/* Lays a filter that allows everything on all threads. */
static void filter_all(void) {
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {1, &allow};
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
}

CASE(a_filter_for_all_threads_keeps_a_program_from_gaining) {
    enter_place();
    OK(chmod("program", 04755));
    int64_t end = now_ns(CLOCK_MONOTONIC) + 500000000;
    for (int round = 0; now_ns(CLOCK_MONOTONIC) < end; round++)
        EXPECT_EXIT(IN_CHILD({
                        become_user();
                        pthread_t thread;
                        EXPECT_EQ(pthread_create(&thread, NULL, execute_program, NULL), 0);
                        while (!is_about_to)
                            ;
                        for (volatile int wait = round % 200 * 200; wait > 0; wait--)
                            ;
                        filter_all();
                        sleep_forever();
                    }),
                    0);
    leave_place();
}

static atomic_bool is_filtered;

/* Gives root up, and looks whether that lasts. */
static void *give_root_up(void *delay) {
    while (!is_about_to)
        ;
    for (volatile long wait = (long)delay; wait > 0; wait--)
        ;
    OK(syscall(SYS_setresuid, USER, USER, USER));
    while (!is_filtered)
        ;
    EXPECT_EQ(syscall(SYS_geteuid), USER);
    _exit(0);
}

CASE(a_filter_for_all_threads_leaves_their_users_alone) {
    NEEDS_ROOT();
    int64_t end = now_ns(CLOCK_MONOTONIC) + 1000000000;
    for (long round = 0; now_ns(CLOCK_MONOTONIC) < end; round++)
        EXPECT_EXIT(IN_CHILD({
                        pthread_t thread;
                        EXPECT_EQ(pthread_create(&thread, NULL, give_root_up, (void *)(round % 300 * 20)), 0);
                        is_about_to = true;
                        filter_all();
                        is_filtered = true;
                        sleep_forever();
                    }),
                    0);
}

CASE(capabilities_are_lost_by_each_of_many_writes) {
    enter_place();
    int fd = OK(open("program", O_RDWR));
    for (int round = 0; round < 200; round++) {
        EXPECT_EQ(pwrite(fd, "E", 1, 1), 1);
        EXPECT(!has_kept());
    }
    OK(close(fd));
    leave_place();
}
