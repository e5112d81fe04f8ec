/* Calls that a sandbox need not have: each must say so and do nothing */
#include "case.h"

/* `call` fails because it is not there or not allowed. */
#define EXPECT_REFUSED(call)                                                                                           \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        long result_ = (call);                                                                                         \
        if (result_ != -1)                                                                                             \
            FAIL("%s is refused, got %ld", #call, result_);                                                            \
    } while (0)

CASE(calls_that_do_not_exist_return_enosys) {
    int numbers[] = {337, 400, 423, 670, 1000, 100000, -1, INT_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        EXPECT_ERRNO(syscall(numbers[i], 1, 2, 3, 4, 5, 6), ENOSYS);
}

CASE(calls_that_linux_removed_return_enosys) {
    int numbers[] = {SYS__sysctl, SYS_create_module, SYS_get_kernel_syms, SYS_query_module, SYS_nfsservctl,
                     SYS_getpmsg, SYS_putpmsg,       SYS_afs_syscall,     SYS_tuxcall,      SYS_security,
                     SYS_vserver, SYS_epoll_ctl_old, SYS_epoll_wait_old,  SYS_set_thread_area, SYS_get_thread_area};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        EXPECT_ERRNO(syscall(numbers[i], 0, 0, 0, 0, 0, 0), ENOSYS);
}

CASE(calls_of_administrators_refuse_an_ordinary_user) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    EXPECT_REFUSED(syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL));
    EXPECT_REFUSED(syscall(SYS_umount2, "/", 0));
    EXPECT_REFUSED(syscall(SYS_pivot_root, ".", "."));
    EXPECT_REFUSED(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
    EXPECT_REFUSED(syscall(SYS_init_module, NULL, 0, ""));
    EXPECT_REFUSED(syscall(SYS_delete_module, "x", 0));
    EXPECT_REFUSED(syscall(SYS_kexec_load, 0, 0, NULL, 0));
    EXPECT_REFUSED(syscall(SYS_swapon, "x", 0));
    EXPECT_REFUSED(syscall(SYS_acct, "x"));
    EXPECT_REFUSED(syscall(SYS_iopl, 3));
    EXPECT_REFUSED(syscall(SYS_ioperm, 0, 1, 1));
    EXPECT_REFUSED(syscall(SYS_quotactl, 0, "x", 0, NULL));
    EXPECT_REFUSED(syscall(SYS_setns, 0, 0));
    EXPECT_REFUSED(syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
}

CASE(i386_calls_are_refused_or_answered_like_i386) {
    /* int $0x80 with getpid of i386: the same process id where the kernel has it, a signal or ENOSYS elsewhere. */
    pid_t pid = IN_CHILD({
        long result = 20;
        __asm__ volatile("int $0x80" : "+a"(result) : : "r8", "r9", "r10", "r11", "memory");
        _exit(result == getpid() || (int)result == -ENOSYS ? 0 : 1);
    });
    int status = wait_for(pid);
    EXPECT(status == 0 || WIFSIGNALED(status));
}
