/* process_vm_readv(2), process_vm_writev(2) */
#include "case.h"

CASE(process_vm_readv_reads_a_childs_memory) {
    PIPE(ready);
    PIPE(hold);
    char *memory = map(PAGE_SIZE);
    pid_t pid = IN_CHILD({
        strcpy(memory, "in the child");
        announce(ready[1]);
        await(hold[0]);
        EXPECT_STR(memory, "IN the child");
    });
    await(ready[0]);
    char buffer[16] = {0};
    struct iovec local = {buffer, 12}, remote = {memory, 12};
    EXPECT_EQ(process_vm_readv(pid, &local, 1, &remote, 1, 0), 12);
    EXPECT_STR(buffer, "in the child");
    local = (struct iovec){"IN", 2};
    EXPECT_EQ(process_vm_writev(pid, &local, 1, &remote, 1, 0), 2);
    announce(hold[1]);
    EXPECT_EXIT(pid, 0);
}

CASE(process_vm_readv_with_bad_arguments_fails) {
    char buffer[16];
    struct iovec local = {buffer, 16}, bad = {bad_page(), 16};
    EXPECT_ERRNO(process_vm_readv(INT_MAX, &local, 1, &local, 1, 0), ESRCH);
    EXPECT_ERRNO(process_vm_readv(getpid(), &local, 1, &bad, 1, 0), EFAULT);
    EXPECT_ERRNO(process_vm_readv(getpid(), &local, 1, &local, 1, 1), EINVAL);
    EXPECT_EQ(process_vm_readv(getpid(), &local, 0, &local, 0, 0), 0);
}

CASE(process_vm_readv_stops_at_unreadable_memory) {
    char buffer[32], *end = page_end();
    struct iovec local = {buffer, 32}, remote[] = {{end - 8, 8}, {end, 8}};
    EXPECT_EQ(process_vm_readv(getpid(), &local, 1, remote, 2, 0), 8);
}

CASE(process_vm_readv_moves_no_more_than_other_reads) {
    enum { LENGTH = 1 << 22, COUNT = 513 };
    char *from = map(LENGTH), *to = map(LENGTH);
    static struct iovec local[COUNT], remote[COUNT];
    for (int i = 0; i < COUNT; i++) {
        local[i] = (struct iovec){to, LENGTH};
        remote[i] = (struct iovec){from, LENGTH};
    }
    EXPECT_EQ(process_vm_readv(getpid(), local, COUNT, remote, COUNT, 0), 0x7ffff000);
}
