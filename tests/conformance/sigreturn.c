/*
 * sigreturn(2): what a handler's return restores, and what the handler may have changed of it. A return that happens often may
 * be served in another way than one that does not, so everything here happens often.
 */
#include "case.h"
#include <pthread.h>
#include <ucontext.h>

#define OFTEN 300

/* All registers have a pattern; a signal comes; they must have it still. Returns what differs. */
static __attribute__((noinline)) long hold_registers(void (*meanwhile)(void)) {
    long wrong;
    __asm__ volatile("push %%rbp\n\t"
                     "sub $128, %%rsp\n\t"
                     "mov $0x1111111111111111, %%rbx\n\t"
                     "mov $0x2222222222222222, %%r12\n\t"
                     "mov $0x3333333333333333, %%r13\n\t"
                     "mov $0x4444444444444444, %%r14\n\t"
                     "mov $0x5555555555555555, %%r15\n\t"
                     "mov %%rsp, %%rbp\n\t"
                     "call *%1\n\t"
                     "mov $1, %%eax\n\t"
                     "cmp %%rsp, %%rbp\n\tjne 1f\n\t"
                     "mov $2, %%eax\n\t"
                     "mov $0x1111111111111111, %%rcx\n\tcmp %%rcx, %%rbx\n\tjne 1f\n\t"
                     "mov $0x2222222222222222, %%rcx\n\tcmp %%rcx, %%r12\n\tjne 1f\n\t"
                     "mov $0x3333333333333333, %%rcx\n\tcmp %%rcx, %%r13\n\tjne 1f\n\t"
                     "mov $0x4444444444444444, %%rcx\n\tcmp %%rcx, %%r14\n\tjne 1f\n\t"
                     "mov $0x5555555555555555, %%rcx\n\tcmp %%rcx, %%r15\n\tjne 1f\n\t"
                     "xor %%eax, %%eax\n"
                     "1:\tadd $128, %%rsp\n\t"
                     "pop %%rbp"
                     : "=a"(wrong)
                     : "D"(meanwhile)
                     : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    return wrong;
}

static void raise_usr1(void) { raise(SIGUSR1); }

static void change_everything(void) {
    __asm__ volatile("pxor %%xmm0, %%xmm0\n\tpxor %%xmm3, %%xmm3\n\tpxor %%xmm15, %%xmm15\n\tfninit\n\tfldz\n\t"
                     "mov $-1, %%rcx\n\tmov %%rcx, %%r8\n\tmov %%rcx, %%r11\n\tstd\n\tcld"
                     :
                     :
                     : "rcx", "r8", "r11", "xmm0", "xmm3", "xmm15", "cc", "memory");
}

/* A handler that leaves nothing as it was. */
static void trample(int signal) {
    (void)signal;
    signals_seen++;
    change_everything();
}

CASE(a_signal_leaves_the_registers_as_they_were) {
    handle(SIGUSR1, trample, 0);
    for (int i = 0; i < OFTEN; i++)
        EXPECT_EQ(hold_registers(raise_usr1), 0);
    EXPECT_EQ(signals_seen, OFTEN);
}

/* Counts in general, vector and x87 registers and in memory, and looks whether they agree. Makes calls in between. */
static long count_everywhere(long rounds, bool calls) {
    long wrong = 0;
    for (long i = 0; i < rounds && wrong == 0; i++) {
        long integer = i, vector, stack = 0;
        unsigned char carry;
        double x = (double)i, y;
        long number = SYS_getppid;
        register long r8 __asm__("r8") = i;
        register long r9 __asm__("r9") = ~i;
        __asm__ volatile("movq %[integer], %%xmm3\n\tmovq %[integer], %%xmm15\n\tfldl %[x]\n\tstc\n\t"
                         "test %[calls], %[calls]\n\tjz 1f\n\tmov %[number], %%rax\n\tstc\n\tsyscall\n\tjmp 2f\n"
                         "1:\tstc\n\tmov $50, %%ecx\n3:\tloop 3b\n"
                         "2:\tsetc %[carry]\n\tfstpl %[y]\n\tmovq %%xmm3, %[vector]\n\tmovq %%xmm15, %%rcx\n\txor %[integer], %%rcx\n\t"
                         "mov %%rcx, %[stack]"
                         : [vector] "=&r"(vector), [carry] "=&q"(carry), [y] "=m"(y), [stack] "=m"(stack), "+r"(r8), "+r"(r9)
                         : [integer] "r"(integer), [x] "m"(x), [calls] "r"((long)calls), [number] "r"(number)
                         : "rax", "rcx", "r11", "xmm3", "xmm15", "cc", "memory");
        wrong = vector != i ? 1 : y != x ? 2 : stack != 0 ? 3 : carry != 1 ? 4 : r8 != i ? 5 : r9 != ~i ? 6 : 0;
    }
    return wrong;
}

CASE(a_signal_at_any_moment_leaves_the_registers_as_they_were) {
    handle(SIGALRM, trample, SA_RESTART);
    struct itimerval often = {{0, 100}, {0, 100}};
    OK(setitimer(ITIMER_REAL, &often, NULL));
    while (signals_seen < 200) {
        EXPECT_EQ(count_everywhere(2000, false), 0);
        EXPECT_EQ(count_everywhere(2000, true), 0);
    }
}

static volatile int over, answered;

static void answer(int signal) {
    (void)signal;
    change_everything();
    answered++;
}

static void *send_usr2(void *target) {
    for (int sent = 0; sent < 300; sent++) {
        if (pthread_kill(*(pthread_t *)target, SIGUSR2) != 0)
            break;
        while (answered <= sent)
            sched_yield();
    }
    over = 1;
    return NULL;
}

CASE(signals_that_hit_every_moment_of_a_return_leave_it_whole) {
    handle(SIGUSR1, trample, 0);
    handle(SIGUSR2, answer, SA_RESTART);
    pthread_t self = pthread_self(), sender;
    EXPECT_EQ(pthread_create(&sender, NULL, send_usr2, &self), 0);
    long raised = 0;
    while (!over) {
        EXPECT_EQ(hold_registers(raise_usr1), 0);
        raised++;
    }
    EXPECT_EQ(pthread_join(sender, NULL), 0);
    EXPECT_EQ(answered, 300);
    EXPECT_EQ(signals_seen, raised);
    sigset_t mask;
    OK(sigprocmask(SIG_BLOCK, NULL, &mask));
    EXPECT(!sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGUSR2));
}

static uint64_t wanted_vector;

static void change_registers(int signal, siginfo_t *info, void *pointer) {
    (void)signal, (void)info;
    ucontext_t *context = pointer;
    greg_t *registers = context->uc_mcontext.gregs;
    /* Leaves the loop that waits for it, if that has begun. */
    static const unsigned char loop[] = {0xeb, 0xfe};
    if (memcmp((void *)registers[REG_RIP], loop, sizeof loop) != 0)
        return;
    registers[REG_RIP] += 2;
    registers[REG_R12] = 0x1234567890abcdef;
    registers[REG_EFL] |= 1 | 0x400;
    memcpy(&context->uc_mcontext.fpregs->_xmm[7], &wanted_vector, 8);
    /* Features whose bit is not set are initial: these are set. */
    *(uint64_t *)((char *)context->uc_mcontext.fpregs + 512) |= 3;
}

CASE(a_handler_can_change_the_registers_that_its_return_restores) {
    handle_info(SIGALRM, change_registers, 0);
    for (int i = 0; i < 100; i++) {
        struct itimerval often = {{0, 500}, {0, 200}}, never = {{0, 0}, {0, 0}};
        uint64_t r12, vector, flags;
        wanted_vector = 0xfeed0000 + (uint64_t)i;
        OK(setitimer(ITIMER_REAL, &often, NULL));
        __asm__ volatile("pxor %%xmm7, %%xmm7\n\txor %%r12d, %%r12d\n1:\tjmp 1b\n\tmov %%r12, %0\n\tmovq %%xmm7, %1\n\tpushf\n\tpop %2\n\tcld"
                         : "=&r"(r12), "=&r"(vector), "=&r"(flags)
                         :
                         : "r12", "xmm7", "cc", "memory");
        OK(setitimer(ITIMER_REAL, &never, NULL));
        EXPECT_EQ(r12, 0x1234567890abcdefUL);
        EXPECT_EQ(vector, wanted_vector);
        EXPECT_EQ(flags & 0x401, 0x401UL);
    }
}

static char first_stack[65536], second_stack[65536];

static void change_stack(int signal) {
    (void)signal;
    stack_t stack = {second_stack, 0, sizeof second_stack}, disabled = {NULL, SS_DISABLE, 0};
    signals_seen++;
    OK(sigaltstack(signals_seen % 3 == 0 ? &disabled : &stack, NULL));
}

CASE(a_return_restores_the_alternate_stack_of_its_frame) {
    stack_t stack = {first_stack, 0, sizeof first_stack}, now;
    handle(SIGUSR1, change_stack, 0);
    handle(SIGUSR2, count_signal, SA_ONSTACK);
    for (int i = 0; i < OFTEN; i++) {
        OK(sigaltstack(&stack, NULL));
        OK(raise(SIGUSR1));
        OK(raise(SIGUSR2));
        OK(sigaltstack(NULL, &now));
        EXPECT(now.ss_sp == first_stack && now.ss_size == sizeof first_stack && now.ss_flags == 0);
    }
}

static void leave_alone(int signal) {
    char here;
    (void)signal;
    signals_seen += &here >= first_stack && &here < first_stack + sizeof first_stack;
}

CASE(handlers_run_and_return_on_the_alternate_stack_every_time) {
    for (int i = 0; i < OFTEN; i++) {
        stack_t stack = {first_stack, i % 2 ? (int)(1U << 31) : 0, sizeof first_stack}, now;
        handle(SIGUSR1, leave_alone, SA_ONSTACK);
        OK(sigaltstack(&stack, NULL));
        OK(raise(SIGUSR1));
        OK(raise(SIGUSR1));
        EXPECT_EQ(signals_seen, 2 * i + 2);
        OK(sigaltstack(NULL, &now));
        EXPECT(now.ss_sp == first_stack && now.ss_flags == stack.ss_flags);
    }
}

static int damage;

static void damage_frame(int signal, siginfo_t *info, void *pointer) {
    (void)signal, (void)info;
    ucontext_t *context = pointer;
    char *extended = (char *)context->uc_mcontext.fpregs;
    signals_seen++;
    switch (damage) {
    case 1: context->uc_mcontext.fpregs = NULL; break;
    case 2: *(uint32_t *)(extended + 464) = 0; break;
    case 3: *(uint64_t *)(extended + 520) = 1; break;
    case 4: *(uint32_t *)(extended + 24) = 0xffffffff; break;
    case 5: context->uc_mcontext.fpregs = bad_page(); break;
    case 6: context->uc_mcontext.gregs[REG_RIP] = 0x10; break;
    case 7: context->uc_mcontext.gregs[REG_RIP] = (greg_t)0x8000000000000000; break;
    case 8: *(uint64_t *)(extended + 512) = ~0ULL; break;
    }
}

CASE(a_return_through_a_damaged_frame_restores_or_faults_as_ever) {
    /* By what is damaged: whether the process goes on. */
    static const bool goes_on[] = {true, true, true, false, false, false, false, false, false};
    handle_info(SIGUSR1, damage_frame, 0);
    for (int i = 0; i < OFTEN; i++)
        OK(raise(SIGUSR1));
    for (int what = 0; what <= 8; what++) {
        pid_t pid = IN_CHILD({
            damage = what;
            raise(SIGUSR1);
            raise(SIGUSR1);
        });
        if (goes_on[what])
            EXPECT_EXIT(pid, 0);
        else
            EXPECT_KILLED(pid, SIGSEGV);
    }
}

static void *unmapped_stack;

static void unmap_own_stack(int signal) {
    (void)signal;
    signals_seen++;
}

CASE(a_frame_that_cannot_be_written_ends_the_process) {
    unmapped_stack = map(65536);
    stack_t stack = {unmapped_stack, 0, 65536};
    handle(SIGUSR1, unmap_own_stack, SA_ONSTACK);
    OK(sigaltstack(&stack, NULL));
    for (int i = 0; i < OFTEN; i++)
        OK(raise(SIGUSR1));
    EXPECT_EQ(signals_seen, OFTEN);
    pid_t pid = IN_CHILD({
        OK(mprotect(unmapped_stack, 65536, PROT_READ));
        raise(SIGUSR1);
    });
    EXPECT_KILLED(pid, SIGSEGV);
    pid = IN_CHILD({
        OK(munmap(unmapped_stack, 65536));
        raise(SIGUSR1);
    });
    EXPECT_KILLED(pid, SIGSEGV);
}

static void lose_the_second_magic_number(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    char *state = (char *)((ucontext_t *)context)->uc_mcontext.fpregs;
    struct _fpx_sw_bytes *words = (void *)(state + 464);
    if (words->magic1 == FP_XSTATE_MAGIC1)
        memset(state + words->xstate_size, 0, FP_XSTATE_MAGIC2_SIZE);
}

CASE(a_return_through_a_frame_without_its_second_magic_number_works) {
    handle_info(SIGUSR1, lose_the_second_magic_number, 0);
    for (int i = 0; i < OFTEN; i++)
        OK(raise(SIGUSR1));
}

static volatile uint64_t mask_in_frame;
static volatile greg_t place_in_frame, place_of_fault;

static void lose_the_extended_state(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    ucontext_t *frame = context;
    place_in_frame = frame->uc_mcontext.gregs[REG_RIP];
    frame->uc_mcontext.fpregs = bad_page();
    *(uint64_t *)&frame->uc_sigmask = 1ULL << (SIGUSR2 - 1);
}

static void note_fault(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    ucontext_t *frame = context;
    place_of_fault = frame->uc_mcontext.gregs[REG_RIP];
    mask_in_frame = *(uint64_t *)&frame->uc_sigmask;
}

CASE(a_return_to_no_extended_state_faults_where_the_frame_leads) {
    handle_info(SIGUSR1, lose_the_extended_state, 0);
    handle_info(SIGSEGV, note_fault, 0);
    OK(raise(SIGUSR1));
    EXPECT_EQ(place_of_fault, place_in_frame);
    EXPECT_EQ(mask_in_frame, 1ULL << (SIGUSR2 - 1));
    sigset_t mask;
    OK(sigprocmask(SIG_BLOCK, NULL, &mask));
    EXPECT(sigismember(&mask, SIGUSR2));
}

CASE(a_handler_that_cannot_begin_leaves_the_mask_to_return_to) {
    stack_t stack = {map(65536), 0, 65536};
    OK(sigaltstack(&stack, NULL));
    OK(mprotect(stack.ss_sp, 65536, PROT_NONE));
    handle(SIGUSR1, count_signal, SA_ONSTACK);
    handle_info(SIGSEGV, note_fault, 0);
    sigset_t usr1, hup, mask;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    OK(sigprocmask(SIG_BLOCK, &usr1, NULL));
    OK(raise(SIGUSR1));
    EXPECT_ERRNO(sigsuspend(&hup), EINTR);
    EXPECT_EQ(mask_in_frame, 1ULL << (SIGUSR1 - 1));
    OK(sigprocmask(SIG_BLOCK, NULL, &mask));
    EXPECT(sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGHUP));
    EXPECT_EQ(signals_seen, 0);
}

static volatile long continued = -1;

static void continue_the_call(int signal) {
    (void)signal;
    signals_seen++;
    continued = syscall(SYS_restart_syscall);
}

CASE(a_return_makes_an_end_of_the_call_that_was_interrupted) {
    handle(SIGALRM, count_signal, 0);
    for (int i = 0; i < OFTEN; i++)
        OK(raise(SIGALRM));
    handle(SIGALRM, continue_the_call, 0);
    signals_seen = 0;
    struct itimerval once = {{0, 0}, {0, 5000}};
    struct timespec time = milliseconds(50);
    int64_t begun = now_ns(CLOCK_MONOTONIC);
    OK(setitimer(ITIMER_REAL, &once, NULL));
    int slept = nanosleep(&time, NULL);
    EXPECT(now_ns(CLOCK_MONOTONIC) - begun >= 50000000);
    /* On a slow machine the signal has come too early or too late. */
    EXPECT(signals_seen == 0 || slept == 0 || continued == 0);
    EXPECT_ERRNO(syscall(SYS_restart_syscall), EINTR);
}
