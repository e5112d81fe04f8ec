/* set_mempolicy(2), get_mempolicy(2), mbind(2) */
#include "case.h"

#define BITS 1024
#define DEFAULT 0
#define PREFERRED 1
#define BIND 2
#define LOCAL 4
#define F_ADDR 2
#define F_MEMS_ALLOWED 4

static unsigned long nodes[BITS / 64];

CASE(get_mempolicy_is_default_at_first) {
    int mode = -1;
    OK(syscall(SYS_get_mempolicy, &mode, nodes, BITS, 0, 0));
    EXPECT_EQ(mode, DEFAULT);
    EXPECT_EQ(nodes[0], 0);
    OK(syscall(SYS_get_mempolicy, NULL, nodes, BITS, 0, F_MEMS_ALLOWED));
    EXPECT(nodes[0] & 1);
}

CASE(set_mempolicy_is_remembered_and_inherited) {
    int mode = -1;
    nodes[0] = 1;
    OK(syscall(SYS_set_mempolicy, BIND, nodes, 64));
    pid_t pid = IN_CHILD({
        OK(syscall(SYS_get_mempolicy, &mode, nodes, BITS, 0, 0));
        EXPECT_EQ(mode, BIND);
        EXPECT_EQ(nodes[0], 1);
    });
    EXPECT_EXIT(pid, 0);
    OK(syscall(SYS_set_mempolicy, LOCAL, NULL, 0));
    OK(syscall(SYS_set_mempolicy, PREFERRED, NULL, 0));
    OK(syscall(SYS_set_mempolicy, DEFAULT, NULL, 0));
}

CASE(mbind_checks_its_range) {
    char *memory = map(PAGE_SIZE);
    nodes[0] = 1;
    OK(syscall(SYS_mbind, memory, PAGE_SIZE, BIND, nodes, 64, 0));
    OK(syscall(SYS_mbind, memory, 0, BIND, nodes, 64, 0));
    EXPECT_ERRNO(syscall(SYS_mbind, memory + 1, PAGE_SIZE, BIND, nodes, 64, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_mbind, memory, PAGE_SIZE, BIND, nodes, 64, 0x100), EINVAL);
    EXPECT_ERRNO(syscall(SYS_mbind, PAGE_SIZE, PAGE_SIZE, BIND, nodes, 64, 0), EFAULT);
}

CASE(memory_policies_with_bad_arguments_fail) {
    int mode;
    nodes[0] = 1;
    EXPECT_ERRNO(syscall(SYS_set_mempolicy, 99, NULL, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_set_mempolicy, DEFAULT, nodes, 64), EINVAL);
    EXPECT_ERRNO(syscall(SYS_set_mempolicy, LOCAL, nodes, 64), EINVAL);
    EXPECT_ERRNO(syscall(SYS_set_mempolicy, BIND, NULL, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_set_mempolicy, BIND, bad_page(), 64), EFAULT);
    nodes[0] = 0;
    EXPECT_ERRNO(syscall(SYS_set_mempolicy, BIND, nodes, 64), EINVAL);
    EXPECT_ERRNO(syscall(SYS_get_mempolicy, &mode, NULL, 0, 0, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_get_mempolicy, &mode, NULL, 0, &mode, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_get_mempolicy, &mode, NULL, 0, 8, F_ADDR), EFAULT);
    EXPECT_ERRNO(syscall(SYS_get_mempolicy, bad_page(), NULL, 0, 0, 0), EFAULT);
}
