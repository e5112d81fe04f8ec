/* rseq(2), membarrier(2) */
#include "case.h"
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/rseq.h>

/* glibc registers the area of each thread; it lies at __rseq_offset from the thread pointer. */
static struct rseq *registered(void) { return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset); }

CASE(rseq_of_the_c_library_names_the_cpu) {
    if (__rseq_size == 0)
        SKIP("the C library registered no area");
    cpu_set_t set;
    OK(sched_getaffinity(0, sizeof set, &set));
    EXPECT(CPU_ISSET(registered()->cpu_id, &set));
}

CASE(rseq_registered_twice_is_refused) {
    struct rseq *area = aligned_alloc(32, 32);
    memset(area, 0, 32);
    if (__rseq_size == 0)
        SKIP("the C library registered no area");
    EXPECT_ERRNO(syscall(SYS_rseq, registered(), 32, 0, RSEQ_SIG), EBUSY);
    EXPECT_ERRNO(syscall(SYS_rseq, area, 32, 0, RSEQ_SIG), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rseq, area, 32, 0x10, RSEQ_SIG), EINVAL);
}

CASE(rseq_can_be_unregistered_and_registered_again) {
    if (__rseq_size == 0)
        SKIP("the C library registered no area");
    OK(syscall(SYS_rseq, registered(), 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG));
    EXPECT_EQ((int)registered()->cpu_id, RSEQ_CPU_ID_UNINITIALIZED);
    EXPECT_ERRNO(syscall(SYS_rseq, registered(), 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG), EINVAL);
    OK(syscall(SYS_rseq, registered(), 32, 0, RSEQ_SIG));
    EXPECT((int)registered()->cpu_id >= 0);
}

CASE(membarrier_tells_what_it_can) {
    int commands = OK(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0));
    EXPECT(commands & MEMBARRIER_CMD_GLOBAL);
    EXPECT(commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
}

CASE(membarrier_private_expedited_needs_registration) {
    EXPECT_ERRNO(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0), EPERM);
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
}

CASE(membarrier_with_bad_arguments_returns_einval) {
    EXPECT_ERRNO(syscall(SYS_membarrier, 0x40000000, 0, 0), EINVAL);
    EXPECT_ERRNO(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0x10, 0), EINVAL);
}
