// What the clocks that a time namespace shifts show, by the vDSO and by the kernel, in seconds; and that a sleep until a moment that is
// near ends then.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    struct timespec vdso, kernel, boot, moment;
    if (clock_gettime(CLOCK_MONOTONIC, &vdso) || syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &kernel) ||
        clock_gettime(CLOCK_BOOTTIME, &boot))
        return 1;
    moment = vdso;
    moment.tv_sec += 1;
    if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &moment, NULL) != 0)
        return 2;
    struct timespec after;
    if (clock_gettime(CLOCK_MONOTONIC, &after) || after.tv_sec < moment.tv_sec)
        return 3;
    printf("%ld %ld %ld\n", (long)vdso.tv_sec, (long)kernel.tv_sec, (long)boot.tv_sec);
    return 0;
}
