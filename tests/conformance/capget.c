/* capget(2), capset(2), and the capabilities of prctl(2); capabilities(7) */
#include "case.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

static struct __user_cap_data_struct data[2];

static int get(pid_t pid) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, pid};
    return syscall(SYS_capget, &header, data);
}

static int set(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return syscall(SYS_capset, &header, data);
}

#define BIT(capability) (1U << (capability))

CASE(capget_of_root_shows_file_capabilities) {
    NEEDS_ROOT();
    OK(get(0));
    EXPECT(data[0].effective & BIT(CAP_CHOWN));
    EXPECT(data[0].permitted & BIT(CAP_DAC_OVERRIDE));
}

CASE(capget_of_an_unknown_version_tells_the_known_one) {
    struct __user_cap_header_struct header = {0x12345678, 0};
    EXPECT_ERRNO(syscall(SYS_capget, &header, data), EINVAL);
    EXPECT_EQ(header.version, _LINUX_CAPABILITY_VERSION_3);
    header.version = 0x12345678;
    OK(syscall(SYS_capget, &header, NULL));
}

CASE(capget_with_bad_arguments_fails) {
    EXPECT_ERRNO(get(INT_MAX), ESRCH);
    EXPECT_ERRNO(get(-1), EINVAL);
    EXPECT_ERRNO(syscall(SYS_capget, bad_page(), data), EFAULT);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    EXPECT_ERRNO(syscall(SYS_capget, &header, bad_page()), EFAULT);
    OK(get(getpid()));
}

CASE(capset_drops_and_cannot_regain) {
    NEEDS_ROOT();
    OK(get(0));
    data[0].effective &= ~BIT(CAP_CHOWN);
    data[0].permitted &= ~BIT(CAP_CHOWN);
    data[0].inheritable = 0;
    OK(set());
    make_file("f", "");
    EXPECT_ERRNO(chown("f", 1, 1), EPERM);
    data[0].permitted |= BIT(CAP_CHOWN);
    EXPECT_ERRNO(set(), EPERM);
    OK(get(0));
    EXPECT(!(data[0].permitted & BIT(CAP_CHOWN)));
}

CASE(capset_of_effective_outside_permitted_returns_eperm) {
    NEEDS_ROOT();
    OK(get(0));
    data[0].permitted &= ~BIT(CAP_CHOWN);
    EXPECT_ERRNO(set(), EPERM);
}

CASE(setuid_away_from_root_loses_capabilities) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    OK(get(0));
    EXPECT_EQ(data[0].effective, 0);
    EXPECT_EQ(data[0].permitted, 0);
}

CASE(seteuid_away_from_root_keeps_the_permitted) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresuid, -1, 1234, -1));
    OK(get(0));
    EXPECT_EQ(data[0].effective, 0);
    EXPECT(data[0].permitted != 0);
    OK(syscall(SYS_setresuid, -1, 0, -1));
    OK(get(0));
    EXPECT(data[0].effective & BIT(CAP_CHOWN));
}

CASE(keepcaps_keeps_the_permitted_over_setuid) {
    NEEDS_ROOT();
    OK(prctl(PR_SET_KEEPCAPS, 1));
    EXPECT_EQ(prctl(PR_GET_KEEPCAPS), 1);
    OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    OK(get(0));
    EXPECT_EQ(data[0].effective, 0);
    EXPECT(data[0].permitted & BIT(CAP_CHOWN));
    EXPECT_ERRNO(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
}

CASE(capbset_can_be_read_and_dropped) {
    NEEDS_ROOT();
    EXPECT_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 1);
    OK(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
    EXPECT_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 0);
    EXPECT_ERRNO(prctl(PR_CAPBSET_READ, 999), EINVAL);
}

CASE(capset_of_inheritable_outside_the_bounding_set_returns_eperm) {
    NEEDS_ROOT();
    OK(prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN));
    OK(get(0));
    data[0].inheritable = BIT(CAP_SYS_ADMIN);
    data[1].inheritable = 0;
    EXPECT_ERRNO(set(), EPERM);
    data[0].inheritable = BIT(CAP_CHOWN);
    data[0].effective &= ~BIT(CAP_SETPCAP);
    OK(set());
    data[0].inheritable |= BIT(CAP_SYS_ADMIN);
    EXPECT_ERRNO(set(), EPERM);
}

CASE(securebits_that_are_locked_stay) {
    NEEDS_ROOT();
    OK(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED));
    EXPECT_ERRNO(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT_LOCKED), EPERM);
    EXPECT_ERRNO(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT), EPERM);
    EXPECT_ERRNO(prctl(PR_SET_SECUREBITS, 0), EPERM);
    OK(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS));
    OK(prctl(PR_SET_KEEPCAPS, 0));
    OK(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS_LOCKED));
    EXPECT_ERRNO(prctl(PR_SET_KEEPCAPS, 1), EPERM);
    EXPECT_ERRNO(prctl(PR_SET_KEEPCAPS, 0), EPERM);
    EXPECT_ERRNO(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
    EXPECT_EQ(prctl(PR_GET_SECUREBITS), SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS_LOCKED);
}

CASE(securebits_forbid_to_raise_ambient_capabilities) {
    NEEDS_ROOT();
    OK(get(0));
    data[0].inheritable = BIT(CAP_CHOWN);
    OK(set());
    OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
    OK(prctl(PR_SET_SECUREBITS, SECBIT_NO_CAP_AMBIENT_RAISE));
    EXPECT_ERRNO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0), EPERM);
    EXPECT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 1);
    OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_CHOWN, 0, 0));
}

CASE(ambient_capabilities_are_asked_for_with_no_more_arguments_than_there_are) {
    EXPECT_ERRNO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 1, 0), EINVAL);
    EXPECT_ERRNO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 1), EINVAL);
    EXPECT_ERRNO(syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, CAP_KILL, 0, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 1, 0), EINVAL);
    OK(syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
}

CASE(proc_status_shows_the_capabilities) {
    NEEDS_ROOT();
    OK(get(0));
    char line[64];
    snprintf(line, sizeof line, "CapEff:\t%08x%08x\n", data[1].effective, data[0].effective);
    EXPECT(strstr(file_content("/proc/self/status"), line) != NULL);
}

HELPER(has_chown) {
    (void)argc, (void)argv;
    bool has = get(0) == 0 && data[0].permitted & BIT(CAP_CHOWN) && data[0].effective & BIT(CAP_CHOWN);
    bool is_root = geteuid() == 0;
    return (has ? 1 : 0) | (is_root ? 2 : 0);
}

/* Executes a program that looks, without CAP_CHOWN. */
static pid_t look_without_chown(bool no_new_privs, uid_t real) {
    return IN_CHILD({
        OK(syscall(SYS_setresuid, real, 0, 0));
        OK(get(0));
        data[0].effective &= ~BIT(CAP_CHOWN);
        data[0].permitted &= ~BIT(CAP_CHOWN);
        data[0].inheritable = 0;
        OK(set());
        if (no_new_privs)
            OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        char *arguments[] = {(char *)program_path, "--helper", "has_chown", NULL};
        execv(program_path, arguments);
    });
}

CASE(execve_gives_root_back_what_it_has_dropped_unless_it_has_no_new_privileges) {
    NEEDS_ROOT();
    EXPECT_EXIT(look_without_chown(false, 0), 1 | 2);
    EXPECT_EXIT(look_without_chown(true, 0), 2);
    /* Who would gain becomes the real user, too. */
    EXPECT_EXIT(look_without_chown(true, 1234), 0);
}

CASE(capget_answers_for_the_first_process) {
    struct __user_cap_header_struct of = {_LINUX_CAPABILITY_VERSION_3, 1};
    struct __user_cap_data_struct its[2];
    OK(syscall(SYS_capget, &of, its));
}
