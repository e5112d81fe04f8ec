/*
 * A tracer that writes rubbish: its tracee's registers, extended state, memory, signals, and calls. `tracer SEED SECONDS` ends with
 * 42, and says how many requests it has made and how many succeeded.
 */
#include "guest.h"

#include <elf.h>
#include <linux/ptrace.h>

static uint64_t seed;

static uint64_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* A word that is likely to mean something. */
static uint64_t word(void) {
    static const uint64_t values[] = {
        0,           1,           -1,          0x33,          0x2b,     REGION_CODE,     REGION_CODE + 0x40,
        REGION_SLOTS, REGION_ORDERS, REGION_END, REGION_GUEST_END, 1UL << 47, 1UL << 63, 0xffffffffff600000};
    switch (next() % 4) {
    case 0:
        return next();
    case 1:
        return next() % 512;
    case 2:
        return (uint64_t)&seed + next() % 64;
    default:
        return values[next() % (sizeof values / sizeof values[0])] + next() % 2 * (next() % 32);
    }
}

static void tracee(void) {
    volatile double number = 1;
    syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    for (;;) {
        number *= 1.5;
        syscall(SYS_getppid);
        if (fork() == 0)
            _exit(0);
        waitpid(-1, NULL, WNOHANG);
    }
}

/* Waits for who has ended or stopped, and kills who has, unless it is `pid`. */
static pid_t reap(pid_t pid) {
    int status;
    pid_t other = waitpid(-1, &status, __WALL | WNOHANG);
    if (other > 0 && other != pid && WIFSTOPPED(status))
        kill(other, SIGKILL);
    return other;
}

static void fill(unsigned char *area, size_t length) {
    for (size_t index = 0; index < length; index++)
        if (next() % 8 == 0)
            area[index] = next();
}

static long request(pid_t pid) {
    static const int plain[] = {PTRACE_CONT,     PTRACE_SYSCALL, PTRACE_SINGLESTEP, PTRACE_SYSEMU, PTRACE_SYSEMU_SINGLESTEP,
                                PTRACE_SINGLEBLOCK, PTRACE_LISTEN, PTRACE_INTERRUPT, PTRACE_DETACH};
    static unsigned char area[16384];
    static const int sets[] = {NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE, NT_386_TLS};
    switch (next() % 10) {
    case 0: {
        uint64_t registers[27];
        syscall(SYS_ptrace, PTRACE_GETREGS, pid, 0, registers);
        for (int count = next() % 4; count >= 0; count--)
            registers[next() % 27] = word();
        return syscall(SYS_ptrace, PTRACE_SETREGS, pid, 0, registers);
    }
    case 1: {
        struct iovec set = {area, next() % 2 ? sizeof area : next() % 4096};
        int kind = sets[next() % 4];
        syscall(SYS_ptrace, PTRACE_GETREGSET, pid, kind, &set);
        fill(area, set.iov_len);
        return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, kind, &set);
    }
    case 2:
        syscall(SYS_ptrace, PTRACE_GETFPREGS, pid, 0, area);
        fill(area, 512);
        return syscall(SYS_ptrace, PTRACE_SETFPREGS, pid, 0, area);
    case 3:
        return syscall(SYS_ptrace, PTRACE_POKEUSR, pid, next() % 120 * 8, word());
    case 4:
        return syscall(SYS_ptrace, PTRACE_POKEDATA, pid, word(), word());
    case 5:
        fill(area, 128);
        return syscall(SYS_ptrace, PTRACE_SETSIGINFO, pid, 0, area);
    case 6:
        return syscall(SYS_ptrace, PTRACE_SETSIGMASK, pid, 8, area);
    case 7:
        return syscall(SYS_ptrace, PTRACE_SETOPTIONS, pid, 0, next() & 0x1000ff);
    default:
        return syscall(SYS_ptrace, plain[next() % (sizeof plain / sizeof plain[0])], pid, 0, next() % 3 ? 0 : next() % 66);
    }
}

int main(int argc, char **argv) {
    seed = argc > 1 ? strtoul(argv[1], NULL, 10) * 2654435761u + 1 : 1;
    time_t end = time(NULL) + (argc > 2 ? atoi(argv[2]) : 1);
    unsigned long requests = 0, successes = 0;
    while (time(NULL) < end) {
        pid_t pid = fork();
        if (pid == 0)
            tracee();
        int status;
        waitpid(pid, &status, __WALL);
        for (int turn = 0; turn < 200; turn++) {
            requests++;
            successes += request(pid) == 0;
            if (turn % 4 == 0)
                while (reap(pid) > 0)
                    ;
        }
        kill(pid, SIGKILL);
        /* One that is killed may stop once more, before its end. */
        while (reap(0) != -1)
            sched_yield();
    }
    printf("requests %lu\nsuccesses %lu\n", requests, successes);
    return 42;
}
