/* ptrace(2) */
#include "case.h"

#include <elf.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/reg.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <ucontext.h>

/* The raw call: what is peeked comes by the data pointer. */
static long trace(long request, pid_t pid, unsigned long address, unsigned long data) {
    return syscall(SYS_ptrace, request, pid, address, data);
}

#define TRACE(...) OK(trace(__VA_ARGS__))

/* Waits for the task's next stop, whose code it returns: the signal, and above it the event. */
static int next_stop(pid_t pid) {
    int status;
    EXPECT_EQ(waitpid(pid, &status, __WALL), pid);
    if (!WIFSTOPPED(status))
        FAIL("a stop, got wait status 0x%x", status);
    return status >> 8;
}

#define EXPECT_STOP(pid, code) EXPECT_EQ(next_stop(pid), code)

static unsigned long peek(pid_t pid, const void *address) {
    unsigned long word;
    TRACE(PTRACE_PEEKDATA, pid, (unsigned long)address, (unsigned long)&word);
    return word;
}

static void poke(pid_t pid, const void *address, unsigned long word) {
    TRACE(PTRACE_POKEDATA, pid, (unsigned long)address, word);
}

static struct user_regs_struct registers_of(pid_t pid) {
    struct user_regs_struct registers;
    TRACE(PTRACE_GETREGS, pid, 0, (unsigned long)&registers);
    return registers;
}

static void set_registers(pid_t pid, struct user_regs_struct registers) {
    TRACE(PTRACE_SETREGS, pid, 0, (unsigned long)&registers);
}

static void resume(long request, pid_t pid, int signal) { TRACE(request, pid, 0, signal); }

/* A child that its parent traces, which has stopped by itself. */
#define TRACED_CHILD(...)                                                                                              \
    ({                                                                                                                 \
        pid_t traced_ = IN_CHILD({                                                                                     \
            TRACE(PTRACE_TRACEME, 0, 0, 0);                                                                            \
            raise(SIGSTOP);                                                                                            \
            __VA_ARGS__;                                                                                               \
        });                                                                                                            \
        EXPECT_STOP(traced_, SIGSTOP);                                                                                 \
        traced_;                                                                                                       \
    })

/* The value of a line of /proc/PID/status. */
static const char *status_line(pid_t pid, const char *key) {
    static char line[256];
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/status", pid);
    FILE *file = fopen(name, "re");
    EXPECT(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0) {
            fclose(file);
            line[strcspn(line, "\n")] = 0;
            return line + strlen(key) + 2;
        }
    FAIL("no line %s", key);
}

static void await_state(pid_t pid, char state) {
    while (status_line(pid, "State")[0] != state)
        sched_yield();
}

CASE(ptrace_traceme_stops_at_signals_and_goes_on) {
    pid_t pid = TRACED_CHILD({
        raise(SIGUSR1);
        _exit(7);
    });
    EXPECT_EQ(atoi(status_line(pid, "TracerPid")), getpid());
    EXPECT_EQ(status_line(pid, "State")[0], 't');
    int status;
    EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGUSR1);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 7);
}

CASE(ptrace_traceme_twice_fails) {
    pid_t pid = TRACED_CHILD({ EXPECT_ERRNO(trace(PTRACE_TRACEME, 0, 0, 0), EPERM); });
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_attach_stops_who_runs_and_detach_lets_it_go_on) {
    volatile int *word = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({
        word[0] = 1;
        while (word[1] == 0)
            word[2]++;
    });
    await_value(word, 1);
    TRACE(PTRACE_ATTACH, pid, 0, 0);
    EXPECT_STOP(pid, SIGSTOP);
    EXPECT_EQ(atoi(status_line(pid, "TracerPid")), getpid());
    int count = word[2];
    usleep(1000);
    EXPECT_EQ(word[2], count);
    TRACE(PTRACE_DETACH, pid, 0, 0);
    EXPECT_EQ(atoi(status_line(pid, "TracerPid")), 0);
    while (word[2] == count)
        sched_yield();
    word[1] = 1;
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_attach_interrupts_who_sleeps_and_the_call_goes_on) {
    PIPE(ends);
    pid_t pid = IN_CHILD({
        char byte;
        EXPECT_EQ(read(ends[0], &byte, 1), 1);
        EXPECT_EQ(byte, 'x');
    });
    await_state(pid, 'S');
    TRACE(PTRACE_ATTACH, pid, 0, 0);
    EXPECT_STOP(pid, SIGSTOP);
    struct user_regs_struct registers = registers_of(pid);
    EXPECT_EQ(registers.orig_rax, SYS_read);
    EXPECT_EQ((long)registers.rax, -512);
    EXPECT_EQ(registers.cs, 0x33);
    EXPECT_EQ(registers.ss, 0x2b);
    TRACE(PTRACE_DETACH, pid, 0, 0);
    EXPECT_EQ(write(ends[1], "x", 1), 1);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_a_tracer_cancels_the_restart_of_a_call) {
    PIPE(ends);
    pid_t pid = IN_CHILD({
        char byte;
        EXPECT_EQ(syscall(SYS_read, ends[0], &byte, 1), 42);
    });
    await_state(pid, 'S');
    TRACE(PTRACE_ATTACH, pid, 0, 0);
    EXPECT_STOP(pid, SIGSTOP);
    struct user_regs_struct registers = registers_of(pid);
    registers.orig_rax = -1;
    registers.rax = 42;
    set_registers(pid, registers);
    TRACE(PTRACE_DETACH, pid, 0, 0);
    EXPECT_EXIT(pid, 0);
}

static void *wait_for_ever(void *unused) {
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

CASE(ptrace_attach_refuses_what_it_may_not) {
    EXPECT_ERRNO(trace(PTRACE_ATTACH, getpid(), 0, 0), EPERM);
    EXPECT_ERRNO(trace(PTRACE_ATTACH, INT_MAX, 0, 0), ESRCH);
    pid_t pid = IN_CHILD({ pause(); });
    EXPECT_ERRNO(trace(PTRACE_CONT, pid, 0, 0), ESRCH);
    EXPECT_ERRNO(trace(PTRACE_SEIZE, pid, 1, 0), EIO);
    EXPECT_ERRNO(trace(PTRACE_SEIZE, pid, 0, 1UL << 40), EIO);
    TRACE(PTRACE_ATTACH, pid, 0, 0);
    EXPECT_STOP(pid, SIGSTOP);
    EXPECT_ERRNO(trace(PTRACE_ATTACH, pid, 0, 0), EPERM);
    EXPECT_ERRNO(trace(PTRACE_INTERRUPT, pid, 0, 0), EIO);
    EXPECT_ERRNO(trace(PTRACE_LISTEN, pid, 0, 0), EIO);
    EXPECT_ERRNO(trace(0x1234, pid, 0, 0), EIO);
    EXPECT_ERRNO(trace(PTRACE_CONT, pid, 0, 65), EIO);
    EXPECT_ERRNO(trace(PTRACE_SETOPTIONS, pid, 0, 1UL << 40), EINVAL);
    EXPECT_EXIT(IN_CHILD({ EXPECT_ERRNO(trace(PTRACE_CONT, pid, 0, 0), ESRCH); }), 0);
    kill(pid, SIGKILL);
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(ptrace_attach_needs_the_same_user_or_a_capability) {
    NEEDS_ROOT();
    PIPE(ready);
    pid_t own = IN_CHILD({
        announce(ready[1]);
        pause();
    });
    await(ready[0]);
    pid_t undumpable = IN_CHILD({
        OK(setresuid(1000, 1000, 1000));
        OK(prctl(PR_SET_DUMPABLE, 0));
        announce(ready[1]);
        pause();
    });
    await(ready[0]);
    EXPECT_EXIT(IN_CHILD({
                    OK(setresgid(1000, 1000, 1000));
                    OK(setresuid(1000, 1000, 1000));
                    EXPECT_ERRNO(trace(PTRACE_ATTACH, own, 0, 0), EPERM);
                    EXPECT_ERRNO(trace(PTRACE_SEIZE, undumpable, 0, 0), EPERM);
                }),
                0);
    TRACE(PTRACE_SEIZE, undumpable, 0, 0);
    kill(own, SIGKILL);
    kill(undumpable, SIGKILL);
    EXPECT_KILLED(own, SIGKILL);
    EXPECT_KILLED(undumpable, SIGKILL);
}

CASE(ptrace_interrupt_stops_who_was_seized) {
    volatile int *word = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({
        word[0] = 1;
        while (word[1] == 0)
            ;
    });
    await_value(word, 1);
    TRACE(PTRACE_SEIZE, pid, 0, 0);
    EXPECT_ERRNO(trace(PTRACE_PEEKDATA, pid, (unsigned long)word, (unsigned long)&pid), ESRCH);
    TRACE(PTRACE_INTERRUPT, pid, 0, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_STOP << 8);
    siginfo_t info;
    TRACE(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&info);
    EXPECT_EQ(info.si_signo, SIGTRAP);
    EXPECT_EQ(info.si_code, SIGTRAP | PTRACE_EVENT_STOP << 8);
    resume(PTRACE_CONT, pid, 0);
    TRACE(PTRACE_INTERRUPT, pid, 0, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_STOP << 8);
    word[1] = 1;
    TRACE(PTRACE_DETACH, pid, 0, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_signals_are_delivered_changed_or_not_at_all) {
    pid_t pid = TRACED_CHILD({
        handle(SIGUSR1, count_signal, 0);
        raise(SIGUSR1);
        EXPECT_EQ(signals_seen, 1);
        raise(SIGUSR1);
        EXPECT_EQ(signals_seen, 1);
        raise(SIGUSR2);
        EXPECT_EQ(signals_seen, 2);
        raise(SIGUSR1);
        FAIL("not reached");
    });
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGUSR1);
    resume(PTRACE_CONT, pid, SIGUSR1);
    EXPECT_STOP(pid, SIGUSR1);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGUSR2);
    resume(PTRACE_CONT, pid, SIGUSR1);
    EXPECT_STOP(pid, SIGUSR1);
    resume(PTRACE_CONT, pid, SIGTERM);
    EXPECT_KILLED(pid, SIGTERM);
}

CASE(ptrace_ignored_signals_stop_as_well) {
    pid_t pid = TRACED_CHILD({
        signal(SIGUSR1, SIG_IGN);
        raise(SIGUSR1);
    });
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGUSR1);
    resume(PTRACE_CONT, pid, SIGUSR1);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_information_about_signals_is_read_and_changed) {
    pid_t pid = TRACED_CHILD({
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR2);
        sigprocmask(SIG_BLOCK, &set, NULL);
        raise(SIGUSR2);
        raise(SIGUSR1);
        sigpending(&set);
        EXPECT_EQ(sigismember(&set, SIGUSR2), 1);
    });
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGUSR1);
    siginfo_t info;
    TRACE(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&info);
    EXPECT_EQ(info.si_signo, SIGUSR1);
    EXPECT_EQ(info.si_code, SI_TKILL);
    EXPECT_EQ(info.si_pid, pid);
    info.si_code = SI_QUEUE;
    TRACE(PTRACE_SETSIGINFO, pid, 0, (unsigned long)&info);
    info.si_code = 0;
    TRACE(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&info);
    EXPECT_EQ(info.si_code, SI_QUEUE);
    uint64_t mask;
    TRACE(PTRACE_GETSIGMASK, pid, 8, (unsigned long)&mask);
    EXPECT_EQ(mask, 1UL << (SIGUSR2 - 1));
    EXPECT_ERRNO(trace(PTRACE_GETSIGMASK, pid, 4, (unsigned long)&mask), EINVAL);
    struct ptrace_peeksiginfo_args which = {.off = 0, .flags = 0, .nr = 4};
    siginfo_t pending[4];
    EXPECT_EQ(TRACE(PTRACE_PEEKSIGINFO, pid, (unsigned long)&which, (unsigned long)pending), 1);
    EXPECT_EQ(pending[0].si_signo, SIGUSR2);
    mask |= 1UL << (SIGHUP - 1) | 1UL << (SIGKILL - 1);
    TRACE(PTRACE_SETSIGMASK, pid, 8, (unsigned long)&mask);
    TRACE(PTRACE_GETSIGMASK, pid, 8, (unsigned long)&mask);
    EXPECT_EQ(mask, 1UL << (SIGUSR2 - 1) | 1UL << (SIGHUP - 1));
    kill(pid, SIGHUP);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_waitid_and_sigchld_say_that_a_task_is_trapped) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t pid = IN_CHILD({
        TRACE(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGUSR1);
    });
    siginfo_t info;
    EXPECT_EQ(OK(sigwaitinfo(&set, &info)), SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_TRAPPED);
    EXPECT_EQ(info.si_pid, pid);
    EXPECT_EQ(info.si_status, SIGUSR1);
    OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    EXPECT_EQ(info.si_code, CLD_TRAPPED);
    EXPECT_EQ(info.si_status, SIGUSR1);
    OK(waitid(P_PID, pid, &info, WSTOPPED));
    info.si_pid = 1;
    OK(waitid(P_PID, pid, &info, WSTOPPED | WNOHANG));
    EXPECT_EQ(info.si_pid, 0);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_a_stopped_task_can_be_killed) {
    pid_t pid = TRACED_CHILD({ FAIL("not reached"); });
    kill(pid, SIGKILL);
    EXPECT_KILLED(pid, SIGKILL);
    EXPECT_ERRNO(trace(PTRACE_CONT, pid, 0, 0), ESRCH);
    pid = TRACED_CHILD({ FAIL("not reached"); });
    TRACE(PTRACE_KILL, pid, 0, 0);
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(ptrace_the_tracer_hears_of_an_end_before_the_parent) {
    PIPE(go);
    PIPE(attached);
    PIPE(done);
    pid_t pid = IN_CHILD({
        await(go[0]);
        _exit(5);
    });
    pid_t tracer = IN_CHILD({
        TRACE(PTRACE_SEIZE, pid, 0, 0);
        announce(attached[1]);
        siginfo_t info;
        OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
        announce(attached[1]);
        await(done[0]);
        EXPECT_EXIT(pid, 5);
    });
    await(attached[0]);
    announce(go[1]);
    await(attached[0]);
    int status;
    EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
    announce(done[1]);
    EXPECT_EXIT(pid, 5);
    EXPECT_EXIT(tracer, 0);
}

CASE(ptrace_a_tracer_that_ends_lets_go) {
    PIPE(ends);
    pid_t pid = IN_CHILD({ await(ends[0]); });
    EXPECT_EXIT(IN_CHILD({
                    TRACE(PTRACE_ATTACH, pid, 0, 0);
                    EXPECT_STOP(pid, SIGSTOP);
                }),
                0);
    announce(ends[1]);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_a_tracer_that_ends_kills_if_it_has_said_so) {
    pid_t pid = IN_CHILD({ pause(); });
    EXPECT_EXIT(IN_CHILD({ TRACE(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL); }), 0);
    EXPECT_KILLED(pid, SIGKILL);
}

static const unsigned long constant = 0x1122334455667788;

CASE(ptrace_memory_is_read_and_written_whatever_its_protection) {
    unsigned long *memory = map(PAGE_SIZE), *closed = bad_page();
    pid_t pid = TRACED_CHILD({
        EXPECT_EQ(memory[1], 8);
        EXPECT_EQ(*(volatile const unsigned long *)&constant, 9);
        OK(mprotect(closed, PAGE_SIZE, PROT_READ));
        EXPECT_EQ(closed[511], 10);
    });
    memory[1] = 7;
    EXPECT_EQ(peek(pid, memory + 1), 0);
    poke(pid, memory + 1, 8);
    EXPECT_EQ(peek(pid, memory + 1), 8);
    EXPECT_EQ(memory[1], 7);
    EXPECT_EQ(peek(pid, &constant), constant);
    poke(pid, &constant, 9);
    EXPECT_EQ(constant, 0x1122334455667788);
    EXPECT_EQ(peek(pid, closed + 511), 0);
    poke(pid, closed + 511, 10);
    EXPECT_EQ(peek(pid, closed + 511), 10);
    unsigned long word;
    EXPECT_ERRNO(trace(PTRACE_PEEKDATA, pid, 16, (unsigned long)&word), EIO);
    EXPECT_ERRNO(trace(PTRACE_POKEDATA, pid, 16, 0), EIO);
    EXPECT_ERRNO(trace(PTRACE_PEEKDATA, pid, -4UL, (unsigned long)&word), EIO);
    EXPECT_ERRNO(trace(PTRACE_PEEKDATA, pid, (unsigned long)memory, (unsigned long)closed), EFAULT);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_memory_that_is_shared_and_read_only_is_not_written) {
    unsigned long *memory = map_shared(PAGE_SIZE);
    OK(mprotect(memory, PAGE_SIZE, PROT_READ));
    pid_t pid = TRACED_CHILD({});
    EXPECT_EQ(peek(pid, memory), 0);
    EXPECT_ERRNO(trace(PTRACE_POKEDATA, pid, (unsigned long)memory, 1), EIO);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_memory_is_written_through_proc) {
    pid_t pid = TRACED_CHILD({ EXPECT_EQ(*(volatile const unsigned long *)&constant, 3); });
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/mem", pid);
    int fd = OK(open(name, O_RDWR));
    unsigned long word = 0;
    EXPECT_EQ(pread(fd, &word, 8, (off_t)&constant), 8);
    EXPECT_EQ(word, constant);
    word = 3;
    EXPECT_EQ(pwrite(fd, &word, 8, (off_t)&constant), 8);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

/* A call site of its own, at the label `site_of_call`. */
__attribute__((noinline)) static long make_call(long number) {
    long result;
    asm volatile(".globl site_of_call\nsite_of_call: syscall\nnop\nnop\nnop\nnop\nnop"
                 : "=a"(result)
                 : "a"(number)
                 : "rcx", "r11", "memory");
    return result;
}
extern const unsigned char site_of_call[];

CASE(ptrace_code_is_as_the_program_brought_it_along) {
    unsigned long original;
    memcpy(&original, site_of_call, 8);
    EXPECT_EQ(original & 0xffff, 0x050f);
    pid_t pid = IN_CHILD({
        for (int count = 0; count < 100; count++)
            make_call(SYS_getpgrp);
        TRACE(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        EXPECT_EQ(make_call(SYS_getpid), getpid());
        EXPECT_EQ(make_call(SYS_getpid), getpid());
    });
    EXPECT_STOP(pid, SIGSTOP);
    EXPECT_EQ(peek(pid, site_of_call), original);
    /* A breakpoint in the place of the call. */
    poke(pid, site_of_call, (original & ~0xffUL) | 0xcc);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP);
    siginfo_t info;
    TRACE(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&info);
    EXPECT_EQ(info.si_code, SI_KERNEL);
    struct user_regs_struct registers = registers_of(pid);
    EXPECT_EQ(registers.rip, (unsigned long)site_of_call + 1);
    EXPECT_EQ(registers.orig_rax, -1UL);
    poke(pid, site_of_call, original);
    registers.rip--;
    set_registers(pid, registers);
    resume(PTRACE_SYSCALL, pid, 0);
    EXPECT_STOP(pid, SIGTRAP);
    EXPECT_EQ(registers_of(pid).orig_rax, SYS_getpid);
    EXPECT_EQ(registers_of(pid).rip, (unsigned long)site_of_call + 2);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

/* Loads registers, stops, and says whether they are what the tracer was to make of them. */
static long spin(volatile long *word, long value) {
    long result = value;
    asm volatile("1: cmpq $0, (%1)\n\tje 1b" : "+b"(result) : "D"(word) : "memory", "cc");
    return result;
}

CASE(ptrace_registers_are_read_and_written) {
    volatile long *word = map_shared(PAGE_SIZE);
    pid_t pid = TRACED_CHILD({ EXPECT_EQ(spin(word, 0x1234), 0x4321); });
    resume(PTRACE_CONT, pid, 0);
    struct user_regs_struct registers;
    do {
        kill(pid, SIGSTOP);
        EXPECT_STOP(pid, SIGSTOP);
        registers = registers_of(pid);
        if (registers.rdi != (unsigned long)word)
            resume(PTRACE_CONT, pid, 0);
    } while (registers.rdi != (unsigned long)word);
    EXPECT_EQ(registers.rbx, 0x1234);
    unsigned long value;
    TRACE(PTRACE_PEEKUSR, pid, offsetof(struct user, regs.rbx), (unsigned long)&value);
    EXPECT_EQ(value, 0x1234);
    TRACE(PTRACE_PEEKUSR, pid, offsetof(struct user, u_debugreg[7]), (unsigned long)&value);
    EXPECT_EQ(value, 0);
    EXPECT_ERRNO(trace(PTRACE_PEEKUSR, pid, 3, (unsigned long)&value), EIO);
    EXPECT_ERRNO(trace(PTRACE_PEEKUSR, pid, sizeof(struct user) + 16, (unsigned long)&value), EIO);
    registers.rbx = 0x5678;
    registers.eflags |= 0x3000;
    set_registers(pid, registers);
    registers = registers_of(pid);
    EXPECT_EQ(registers.rbx, 0x5678);
    EXPECT_EQ(registers.eflags & 0x3000, 0);
    TRACE(PTRACE_POKEUSR, pid, offsetof(struct user, regs.rbx), 0x4321);
    EXPECT_ERRNO(trace(PTRACE_POKEUSR, pid, offsetof(struct user, regs.cs), 0), EIO);
    EXPECT_ERRNO(trace(PTRACE_POKEUSR, pid, offsetof(struct user, regs.ss), 0x10), EIO);
    EXPECT_ERRNO(trace(PTRACE_POKEUSR, pid, offsetof(struct user, regs.fs_base), 1UL << 63), EIO);
    struct iovec set = {&registers, sizeof registers + 64};
    TRACE(PTRACE_GETREGSET, pid, NT_PRSTATUS, (unsigned long)&set);
    EXPECT_EQ(set.iov_len, sizeof registers);
    EXPECT_EQ(registers.rbx, 0x4321);
    TRACE(PTRACE_SETREGSET, pid, NT_PRSTATUS, (unsigned long)&set);
    set.iov_len = 16;
    TRACE(PTRACE_GETREGSET, pid, NT_PRSTATUS, (unsigned long)&set);
    EXPECT_EQ(set.iov_len, 16);
    set.iov_len = 15;
    EXPECT_ERRNO(trace(PTRACE_GETREGSET, pid, NT_PRSTATUS, (unsigned long)&set), EINVAL);
    set.iov_len = 16;
    EXPECT_ERRNO(trace(PTRACE_GETREGSET, pid, 0x1234, (unsigned long)&set), EINVAL);
    *word = 1;
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_floating_point_registers_are_read_and_written) {
    volatile int *word = map_shared(PAGE_SIZE);
    pid_t pid = TRACED_CHILD({
        unsigned long value = 0x1111, result;
        asm volatile("movq %1, %%xmm7\n\tmovl $1, (%2)\n2: cmpl $1, (%2)\n\tje 2b\n\tmovq %%xmm7, %0"
                     : "=r"(result)
                     : "r"(value), "r"(word)
                     : "xmm7", "memory");
        EXPECT_EQ(result, 0x3333);
    });
    resume(PTRACE_CONT, pid, 0);
    await_value(word, 1);
    kill(pid, SIGSTOP);
    EXPECT_STOP(pid, SIGSTOP);
    struct user_fpregs_struct fp;
    TRACE(PTRACE_GETFPREGS, pid, 0, (unsigned long)&fp);
    EXPECT_EQ(fp.xmm_space[28], 0x1111);
    fp.xmm_space[28] = 0x2222;
    TRACE(PTRACE_SETFPREGS, pid, 0, (unsigned long)&fp);
    static unsigned char area[16384] __attribute__((aligned(64)));
    struct iovec set = {area, sizeof area};
    TRACE(PTRACE_GETREGSET, pid, NT_X86_XSTATE, (unsigned long)&set);
    EXPECT(set.iov_len >= 576 && set.iov_len < sizeof area);
    unsigned int value;
    memcpy(&value, area + 160 + 7 * 16, 4);
    EXPECT_EQ(value, 0x2222);
    unsigned long features;
    memcpy(&features, area + 464, 8);
    EXPECT_EQ(features & 3, 3);
    value = 0x3333;
    memcpy(area + 160 + 7 * 16, &value, 4);
    TRACE(PTRACE_SETREGSET, pid, NT_X86_XSTATE, (unsigned long)&set);
    /* Bits that no processor has in its control register, a header that says nonsense, half of it. */
    value = ~0U;
    memcpy(area + 24, &value, 4);
    EXPECT_ERRNO(trace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, (unsigned long)&set), EINVAL);
    TRACE(PTRACE_GETREGSET, pid, NT_X86_XSTATE, (unsigned long)&set);
    area[512 + 16] = 1;
    EXPECT_ERRNO(trace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, (unsigned long)&set), EINVAL);
    set.iov_len = 576;
    EXPECT_ERRNO(trace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, (unsigned long)&set), EFAULT);
    fp.mxcsr = ~0U;
    EXPECT_ERRNO(trace(PTRACE_SETFPREGS, pid, 0, (unsigned long)&fp), EINVAL);
    *word = 2;
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_every_call_is_seen_at_its_beginning_and_its_end) {
    pid_t pid = TRACED_CHILD({
        for (int count = 0; count < 50; count++)
            make_call(SYS_getpid);
        EXPECT_EQ(make_call(SYS_getppid), 77);
        EXPECT_EQ(make_call(SYS_getpid), getppid());
        EXPECT_EQ(make_call(SYS_getuid), 1234);
    });
    TRACE(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
    int calls = 0, is_entry = 1;
    for (int left = 1; left;) {
        resume(PTRACE_SYSCALL, pid, 0);
        EXPECT_STOP(pid, SIGTRAP | 0x80);
        struct user_regs_struct registers = registers_of(pid);
        struct ptrace_syscall_info info;
        unsigned long message;
        TRACE(PTRACE_GETEVENTMSG, pid, 0, (unsigned long)&message);
        long length = TRACE(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, (unsigned long)&info);
        EXPECT_EQ(info.arch, 0xc000003e);
        EXPECT_EQ(info.instruction_pointer, registers.rip);
        EXPECT_EQ(info.stack_pointer, registers.rsp);
        if (registers.rip == (unsigned long)site_of_call + 2) {
            if (is_entry) {
                EXPECT_EQ(info.op, PTRACE_SYSCALL_INFO_ENTRY);
                EXPECT_EQ(length, 80);
                EXPECT_EQ(message, PTRACE_EVENTMSG_SYSCALL_ENTRY);
                EXPECT_EQ((long)registers.rax, -ENOSYS);
                EXPECT_EQ(info.entry.nr, registers.orig_rax);
                if (calls == 51)
                    registers.orig_rax = SYS_getppid;
                if (calls == 52) {
                    registers.orig_rax = -1;
                    registers.rax = 1234;
                    left = 0;
                }
                set_registers(pid, registers);
            } else {
                EXPECT_EQ(info.op, PTRACE_SYSCALL_INFO_EXIT);
                EXPECT_EQ(length, 33);
                EXPECT_EQ(message, PTRACE_EVENTMSG_SYSCALL_EXIT);
                EXPECT_EQ(info.exit.rval, (long)registers.rax);
                EXPECT_EQ(info.exit.is_error, 0);
                EXPECT_EQ(registers.rax, calls < 50 ? pid : getpid());
                if (calls == 50) {
                    registers.rax = 77;
                    set_registers(pid, registers);
                }
                calls++;
            }
        }
        is_entry = !is_entry;
    }
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_calls_are_emulated) {
    pid_t pid = TRACED_CHILD({ EXPECT_EQ(make_call(SYS_exit_group), 99); });
    struct user_regs_struct registers;
    do {
        resume(PTRACE_SYSEMU, pid, 0);
        EXPECT_STOP(pid, SIGTRAP);
        registers = registers_of(pid);
        registers.rax = registers.orig_rax == SYS_exit_group ? 99 : 0;
        set_registers(pid, registers);
    } while (registers.orig_rax != SYS_exit_group);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_interrupted_calls_show_how_they_are_restarted) {
    pid_t pid = TRACED_CHILD({
        struct timespec time = milliseconds(100000);
        OK(nanosleep(&time, NULL));
    });
    TRACE(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
    struct user_regs_struct registers;
    do {
        resume(PTRACE_SYSCALL, pid, 0);
        EXPECT_STOP(pid, SIGTRAP | 0x80);
        registers = registers_of(pid);
    } while (registers.orig_rax != SYS_nanosleep && registers.orig_rax != SYS_clock_nanosleep);
    resume(PTRACE_SYSCALL, pid, 0);
    await_state(pid, 'S');
    kill(pid, SIGUSR1);
    EXPECT_STOP(pid, SIGTRAP | 0x80);
    EXPECT_EQ((long)registers_of(pid).rax, -516);
    resume(PTRACE_SYSCALL, pid, 0);
    EXPECT_STOP(pid, SIGUSR1);
    resume(PTRACE_SYSCALL, pid, 0);
    EXPECT_STOP(pid, SIGTRAP | 0x80);
    registers = registers_of(pid);
    EXPECT_EQ(registers.orig_rax, SYS_restart_syscall);
    /* It has slept enough. */
    registers.orig_rax = -1;
    registers.rax = 0;
    set_registers(pid, registers);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

static unsigned long message_of(pid_t pid) {
    unsigned long message;
    TRACE(PTRACE_GETEVENTMSG, pid, 0, (unsigned long)&message);
    return message;
}

CASE(ptrace_forks_are_events_and_children_are_traced) {
    pid_t pid = TRACED_CHILD({ EXPECT_EXIT(IN_CHILD({ _exit(3); }), 3); });
    TRACE(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEFORK);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_FORK << 8);
    pid_t child = message_of(pid);
    EXPECT_STOP(child, SIGSTOP);
    EXPECT_EQ(atoi(status_line(child, "PPid")), pid);
    EXPECT_EQ(atoi(status_line(child, "TracerPid")), getpid());
    resume(PTRACE_CONT, pid, 0);
    resume(PTRACE_CONT, child, 0);
    EXPECT_EXIT(child, 3);
    EXPECT_STOP(pid, SIGCHLD);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_children_of_who_was_seized_stop_by_an_event) {
    PIPE(go);
    pid_t pid = IN_CHILD({
        await(go[0]);
        EXPECT_EXIT(IN_CHILD({ _exit(3); }), 3);
    });
    TRACE(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXIT);
    announce(go[1]);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_FORK << 8);
    pid_t child = message_of(pid);
    EXPECT_STOP(child, SIGTRAP | PTRACE_EVENT_STOP << 8);
    TRACE(PTRACE_DETACH, child, 0, 0);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGCHLD);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_EXIT << 8);
    EXPECT_EQ(message_of(pid), 0);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_vfork_and_its_end_are_events) {
    pid_t pid = TRACED_CHILD({
        pid_t child = vfork();
        if (child == 0)
            _exit(0);
        EXPECT_EXIT(child, 0);
    });
    TRACE(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_VFORK << 8);
    pid_t child = message_of(pid);
    EXPECT_STOP(child, SIGSTOP);
    resume(PTRACE_CONT, pid, 0);
    resume(PTRACE_CONT, child, 0);
    EXPECT_EXIT(child, 0);
    int stop;
    while ((stop = next_stop(pid)) != (SIGTRAP | PTRACE_EVENT_VFORK_DONE << 8))
        resume(PTRACE_CONT, pid, 0);
    EXPECT_EQ(message_of(pid), child);
    resume(PTRACE_CONT, pid, 0);
    int status;
    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
        resume(PTRACE_CONT, pid, 0);
    EXPECT_EQ(status, 0);
}

CASE(ptrace_threads_are_events_and_their_ends_are_waited_for) {
    pid_t pid = TRACED_CHILD({
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, (void *(*)(void *))pthread_exit, NULL), 0);
        pthread_join(thread, NULL);
    });
    TRACE(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_CLONE << 8);
    pid_t thread = message_of(pid);
    EXPECT_STOP(thread, SIGSTOP);
    int status;
    EXPECT_ERRNO(waitpid(INT_MAX, &status, __WALL), ECHILD);
    resume(PTRACE_CONT, pid, 0);
    resume(PTRACE_CONT, thread, 0);
    EXPECT_EQ(waitpid(thread, &status, __WALL), thread);
    EXPECT_EQ(status, 0);
    EXPECT_EXIT(pid, 0);
}

HELPER(exit_with_9) {
    (void)argc, (void)argv;
    return 9;
}

CASE(ptrace_a_new_program_is_a_trap) {
    pid_t pid = TRACED_CHILD({ execl(program_path, program_path, "--helper", "exit_with_9", NULL); });
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP);
    siginfo_t info;
    TRACE(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&info);
    EXPECT_EQ(info.si_code, SI_USER);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 9);
}

static void *execute(void *unused) {
    (void)unused;
    execl(program_path, program_path, "--helper", "exit_with_9", NULL);
    return NULL;
}

CASE(ptrace_a_new_program_is_an_event_and_says_which_thread_it_was) {
    pid_t pid = TRACED_CHILD({
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, execute, NULL), 0);
        wait_for_ever(NULL);
    });
    TRACE(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_CLONE << 8);
    pid_t thread = message_of(pid);
    EXPECT_STOP(thread, SIGSTOP);
    resume(PTRACE_CONT, pid, 0);
    resume(PTRACE_CONT, thread, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_EXEC << 8);
    EXPECT_EQ(message_of(pid), thread);
    EXPECT_ERRNO(trace(PTRACE_CONT, thread, 0, 0), ESRCH);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 9);
}

CASE(ptrace_filters_ask_the_tracer) {
    pid_t pid = TRACED_CHILD({
        OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 5),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {4, code};
        OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
        EXPECT_EQ(syscall(SYS_getpgid, 0), 44);
        EXPECT_EQ(syscall(SYS_getpgid, 0), getpgrp());
        EXPECT_ERRNO(syscall(SYS_getpgid, 0), ENOSYS);
    });
    TRACE(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
    EXPECT_EQ(message_of(pid), 5);
    struct ptrace_syscall_info info;
    EXPECT_EQ(TRACE(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, (unsigned long)&info), 84);
    EXPECT_EQ(info.op, PTRACE_SYSCALL_INFO_SECCOMP);
    EXPECT_EQ(info.seccomp.nr, SYS_getpgid);
    EXPECT_EQ(info.seccomp.ret_data, 5);
    struct user_regs_struct registers = registers_of(pid);
    registers.orig_rax = -1;
    registers.rax = 44;
    set_registers(pid, registers);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
    TRACE(PTRACE_SETOPTIONS, pid, 0, 0);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_group_stops_are_listened_to_until_they_end) {
    PIPE(ends);
    pid_t pid = IN_CHILD({ await(ends[0]); });
    TRACE(PTRACE_SEIZE, pid, 0, 0);
    kill(pid, SIGSTOP);
    EXPECT_STOP(pid, SIGSTOP);
    siginfo_t info;
    TRACE(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&info);
    EXPECT_EQ(info.si_code, SI_USER);
    resume(PTRACE_CONT, pid, SIGSTOP);
    EXPECT_STOP(pid, SIGSTOP | PTRACE_EVENT_STOP << 8);
    TRACE(PTRACE_LISTEN, pid, 0, 0);
    EXPECT_ERRNO(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&info), ESRCH);
    kill(pid, SIGCONT);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_STOP << 8);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGCONT);
    resume(PTRACE_CONT, pid, SIGCONT);
    announce(ends[1]);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_group_stops_of_who_was_attached_have_no_information) {
    PIPE(ends);
    pid_t pid = TRACED_CHILD({ await(ends[0]); });
    resume(PTRACE_CONT, pid, SIGSTOP);
    EXPECT_STOP(pid, SIGSTOP);
    siginfo_t info;
    EXPECT_ERRNO(trace(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&info), EINVAL);
    announce(ends[1]);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_who_was_stopped_with_its_group_stays_so_when_it_is_detached) {
    PIPE(ends);
    pid_t pid = TRACED_CHILD({ await(ends[0]); });
    resume(PTRACE_CONT, pid, SIGSTOP);
    EXPECT_STOP(pid, SIGSTOP);
    TRACE(PTRACE_DETACH, pid, 0, 0);
    await_state(pid, 'T');
    announce(ends[1]);
    EXPECT_EQ(status_line(pid, "State")[0], 'T');
    kill(pid, SIGCONT);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_who_is_stopped_already_can_be_attached_to) {
    pid_t pid = IN_CHILD({ raise(SIGSTOP); });
    int status;
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    TRACE(PTRACE_ATTACH, pid, 0, 0);
    EXPECT_STOP(pid, SIGSTOP);
    kill(pid, SIGCONT);
    TRACE(PTRACE_DETACH, pid, 0, SIGCONT);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_single_steps_stop_after_each_instruction) {
    pid_t pid = TRACED_CHILD({
        asm volatile("int3\n\tnop\n\tnop\n\tmov $39, %%eax\n\tsyscall\n\tnop" ::: "rax", "rcx", "r11", "memory");
    });
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGTRAP);
    unsigned long start = registers_of(pid).rip;
    static const int lengths[] = {1, 2, 7, 9, 10};
    for (int step = 0; step < 5; step++) {
        resume(PTRACE_SINGLESTEP, pid, 0);
        EXPECT_STOP(pid, SIGTRAP);
        struct user_regs_struct registers = registers_of(pid);
        EXPECT_EQ(registers.rip - start, lengths[step]);
        EXPECT_EQ(registers.eflags & 0x100, 0);
        siginfo_t info;
        TRACE(PTRACE_GETSIGINFO, pid, 0, (unsigned long)&info);
        EXPECT_EQ(info.si_code, step == 3 ? TRAP_BRKPT : TRAP_TRACE);
        if (step == 3)
            EXPECT_EQ(registers.rax, pid);
    }
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_a_single_step_enters_a_handler) {
    pid_t pid = TRACED_CHILD({
        handle(SIGUSR1, count_signal, 0);
        raise(SIGUSR1);
        EXPECT_EQ(signals_seen, 1);
    });
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGUSR1);
    resume(PTRACE_SINGLESTEP, pid, SIGUSR1);
    EXPECT_STOP(pid, SIGTRAP);
    EXPECT_EQ(registers_of(pid).rip, (unsigned long)count_signal);
    EXPECT_EQ(registers_of(pid).rdi, SIGUSR1);
    resume(PTRACE_CONT, pid, 0);
    EXPECT_EXIT(pid, 0);
}

/* What LeakSanitizer does: a task that shares the memory stops all threads of its maker. */
struct stopped_world {
    pid_t process;
    pid_t threads[4];
    volatile int outcome;
};

static int stop_world(void *argument) {
    struct stopped_world *world = argument;
    for (int index = 0; index < 4; index++) {
        int status;
        pid_t thread = world->threads[index];
        if (trace(PTRACE_ATTACH, thread, 0, 0) != 0 || waitpid(thread, &status, __WALL) != thread)
            return 1;
        struct user_regs_struct registers;
        struct iovec set = {&registers, sizeof registers};
        if (!WIFSTOPPED(status) || trace(PTRACE_GETREGSET, thread, NT_PRSTATUS, (unsigned long)&set) != 0)
            return 2;
    }
    for (int index = 0; index < 4; index++)
        if (trace(PTRACE_DETACH, world->threads[index], 0, 0) != 0)
            return 3;
    world->outcome = 1;
    return 0;
}

static void *tell_thread(void *place) {
    *(volatile pid_t *)place = gettid();
    return wait_for_ever(NULL);
}

CASE(ptrace_a_task_that_shares_the_memory_stops_all_threads) {
    struct stopped_world world = {.process = getpid(), .threads = {getpid()}};
    for (int index = 1; index < 4; index++) {
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, tell_thread, &world.threads[index]), 0);
        while (*(volatile pid_t *)&world.threads[index] == 0)
            sched_yield();
    }
    char *stack = map(65536);
    pid_t pid =
        OK(clone(stop_world, stack + 65536, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED, &world));
    int status;
    EXPECT_EQ(waitpid(pid, &status, __WALL), pid);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(world.outcome, 1);
}

CASE(ptrace_a_traced_program_gains_nothing_by_its_file) {
    NEEDS_ROOT();
    char place[] = "/var/tmp/ptrace.XXXXXX";
    EXPECT(mkdtemp(place) != NULL);
    OK(chdir(place));
    make_file("program", "");
    int from = OK(open(program_path, O_RDONLY)), to = OK(open("program", O_WRONLY));
    struct stat status;
    OK(fstat(from, &status));
    for (off_t offset = 0; offset < status.st_size;)
        OK(sendfile(to, from, &offset, status.st_size));
    OK(close(to));
    OK(chown("program", 2000, 2000));
    OK(chmod("program", 04755));
    OK(chmod(".", 0755));
    pid_t user = IN_CHILD({
        OK(setresgid(1000, 1000, 1000));
        OK(setresuid(1000, 1000, 1000));
        OK(prctl(PR_SET_DUMPABLE, 1));
        pid_t pid = TRACED_CHILD({ execl("./program", "program", "--helper", "say_user", NULL); });
        resume(PTRACE_CONT, pid, 0);
        EXPECT_STOP(pid, SIGTRAP);
        resume(PTRACE_CONT, pid, 0);
        EXPECT_EXIT(pid, 1000 % 256);
        pid = IN_CHILD({ execl("./program", "program", "--helper", "say_user", NULL); });
        EXPECT_EXIT(pid, 2000 % 256);
    });
    int outcome = wait_for(user);
    /* Who asks to be traced answers for its tracer, with the capabilities of that time. */
    pid_t former_user = IN_CHILD({
        OK(seteuid(1000));
        TRACE(PTRACE_TRACEME, 0, 0, 0);
        OK(seteuid(0));
        OK(setresgid(1000, 1000, 1000));
        OK(setresuid(1000, 1000, 1000));
        execl("./program", "program", "--helper", "say_user", NULL);
    });
    int stop = next_stop(former_user);
    resume(PTRACE_CONT, former_user, 0);
    int second_outcome = wait_for(former_user);
    OK(unlink("program"));
    OK(rmdir(place));
    EXPECT_EQ(outcome, 0);
    EXPECT_EQ(stop, SIGTRAP);
    EXPECT_EQ(WEXITSTATUS(second_outcome), 1000 % 256);
}

HELPER(say_user) {
    (void)argc, (void)argv;
    return geteuid() % 256;
}

/* A tracer that attaches, interrupts, continues and detaches while its tracee runs, sleeps, forks and is signalled. */
CASE(ptrace_races_of_tracer_and_tracee_end) {
    for (int round = 0; round < 30; round++) {
        pid_t pid = IN_CHILD({
            for (int count = 0; count < 200; count++) {
                pid_t child = fork();
                if (child == 0)
                    _exit(0);
                EXPECT_EXIT(child, 0);
            }
        });
        int status = 0;
        TRACE(PTRACE_SEIZE, pid, 0, round % 2 ? PTRACE_O_EXITKILL : 0);
        for (int turn = 0; turn < 10 && trace(PTRACE_INTERRUPT, pid, 0, 0) == 0; turn++) {
            if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
                break;
            int signal = status >> 16 ? 0 : WSTOPSIG(status);
            if (turn == 5 && round % 3 == 0)
                kill(pid, SIGKILL);
            trace(turn % 2 ? PTRACE_SYSCALL : PTRACE_CONT, pid, 0, signal);
        }
        kill(pid, SIGKILL);
        while (WIFSTOPPED(status) && waitpid(pid, &status, __WALL) == pid)
            ;
    }
}

static void *end(void *unused) { return unused; }

CASE(ptrace_threads_that_have_ended_are_waited_for_one_by_one) {
    pid_t pid = TRACED_CHILD({
        for (int count = 0; count < 20; count++) {
            pthread_t thread;
            EXPECT_EQ(pthread_create(&thread, NULL, end, NULL), 0);
            pthread_join(thread, NULL);
        }
    });
    TRACE(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE);
    resume(PTRACE_CONT, pid, 0);
    pid_t threads[20];
    for (int count = 0; count < 20; count++) {
        EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_CLONE << 8);
        threads[count] = message_of(pid);
        EXPECT_STOP(threads[count], SIGSTOP);
        resume(PTRACE_CONT, threads[count], 0);
        resume(PTRACE_CONT, pid, 0);
    }
    for (int count = 0; count < 20; count++) {
        int status;
        EXPECT_EQ(waitpid(threads[count], &status, __WALL), threads[count]);
        EXPECT_EQ(status, 0);
        EXPECT_ERRNO(waitpid(threads[count], &status, __WALL), ECHILD);
    }
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_realtime_signals_of_the_tracer_are_queued_up_to_the_limit) {
    pid_t pid = TRACED_CHILD({
        struct rlimit limit = {4, 4};
        OK(setrlimit(RLIMIT_SIGPENDING, &limit));
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN);
        OK(sigprocmask(SIG_BLOCK, &set, NULL));
        for (;;)
            raise(SIGUSR1);
    });
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGUSR1);
    /* At calls and at signals. */
    for (int count = 0; count < 60; count++) {
        resume(PTRACE_SYSCALL, pid, SIGRTMIN);
        next_stop(pid);
    }
    struct ptrace_peeksiginfo_args which = {.off = 0, .flags = 0, .nr = 64};
    siginfo_t pending[64];
    EXPECT(TRACE(PTRACE_PEEKSIGINFO, pid, (unsigned long)&which, (unsigned long)pending) <= 4);
    kill(pid, SIGKILL);
    EXPECT_KILLED(pid, SIGKILL);
}

/* Attaches to a task and detaches from it as long as it lives. */
static void attach_and_detach(pid_t pid, volatile int *turns) {
    int status;
    while (trace(PTRACE_ATTACH, pid, 0, 0) == 0) {
        if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
            break;
        ++*turns;
        trace(PTRACE_DETACH, pid, 0, 0);
    }
}

CASE(ptrace_a_detach_at_the_end_of_the_tracee_leaves_that_to_the_parent) {
    volatile int *turns = map_shared(PAGE_SIZE);
    for (int round = 0; round < 20; round++) {
        pid_t pids[16], tracers[16];
        for (int index = 0; index < 16; index++) {
            turns[index] = 0;
            pids[index] = IN_CHILD({ wait_for_ever(NULL); });
            tracers[index] = IN_CHILD({ attach_and_detach(pids[index], turns + index); });
        }
        for (int index = 0; index < 16; index++) {
            while (turns[index] <= round % 4)
                sched_yield();
            kill(pids[index], SIGKILL);
            EXPECT_KILLED(pids[index], SIGKILL);
            EXPECT_EXIT(tracers[index], 0);
        }
    }
}

static volatile long trapped_rax;

static void note_rax(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    trapped_rax = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX];
}

CASE(ptrace_a_call_that_traps_is_the_result_as_without_a_tracer) {
    pid_t pid = TRACED_CHILD({
        handle_info(SIGSYS, note_rax, 0);
        OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {4, code};
        OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
        syscall(SYS_getpgid, 0);
        EXPECT_EQ(trapped_rax, SYS_getpgid);
    });
    resume(PTRACE_CONT, pid, 0);
    EXPECT_STOP(pid, SIGSYS);
    resume(PTRACE_CONT, pid, SIGSYS);
    EXPECT_EXIT(pid, 0);
}

CASE(ptrace_the_signal_of_a_tracer_that_ends_at_once_is_delivered) {
    pid_t pids[32];
    for (int index = 0; index < 32; index++)
        pids[index] = IN_CHILD({ wait_for_ever(NULL); });
    EXPECT_EXIT(IN_CHILD({
                    for (int index = 0; index < 32; index++) {
                        TRACE(PTRACE_ATTACH, pids[index], 0, 0);
                        EXPECT_STOP(pids[index], SIGSTOP);
                    }
                    for (int index = 0; index < 32; index++)
                        resume(PTRACE_CONT, pids[index], SIGTERM);
                }),
                0);
    for (int index = 0; index < 32; index++)
        EXPECT_KILLED(pids[index], SIGTERM);
}

struct traced_end {
    pid_t pid;
    int go[2];
};

static void *trace_until_the_end(void *argument) {
    struct traced_end *end = argument;
    TRACE(PTRACE_SEIZE, end->pid, 0, 0);
    kill(end->pid, SIGKILL);
    await(end->go[0]);
    return NULL;
}

CASE(ptrace_the_end_of_a_child_that_a_thread_has_traced_is_told_once) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    struct traced_end end = {.pid = IN_CHILD({ pause(); })};
    OK(pipe(end.go));
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, trace_until_the_end, &end), 0);
    EXPECT_EQ(OK(sigwaitinfo(&set, NULL)), SIGCHLD);
    announce(end.go[1]);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    struct timespec short_time = {0, 20000000};
    EXPECT_ERRNO(sigtimedwait(&set, NULL, &short_time), EAGAIN);
    EXPECT_KILLED(end.pid, SIGKILL);
}

static volatile int *taken;

static void note_taken(int signal) { *taken = signal; }

CASE(ptrace_a_signal_for_a_process_goes_to_a_thread_that_is_not_stopped) {
    taken = map_shared(PAGE_SIZE);
    PIPE(ready);
    pid_t pid = IN_CHILD({
        handle(SIGUSR1, note_taken, 0);
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, wait_for_ever, NULL), 0);
        announce(ready[1]);
        wait_for_ever(NULL);
    });
    await(ready[0]);
    TRACE(PTRACE_SEIZE, pid, 0, 0);
    TRACE(PTRACE_INTERRUPT, pid, 0, 0);
    EXPECT_STOP(pid, SIGTRAP | PTRACE_EVENT_STOP << 8);
    kill(pid, SIGUSR1);
    await_value(taken, SIGUSR1);
    kill(pid, SIGKILL);
    EXPECT_KILLED(pid, SIGKILL);
}
