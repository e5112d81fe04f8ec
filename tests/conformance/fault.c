/* signal(7): the signals of processor faults */
#include "case.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf recovery;
static siginfo_t fault;
static uintptr_t fault_ip, trap_number, error_code;

static void recover(int signal, siginfo_t *info, void *context) {
    (void)signal;
    fault = *info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    fault_ip = registers[REG_RIP];
    trap_number = registers[REG_TRAPNO];
    error_code = registers[REG_ERR];
    siglongjmp(recovery, 1);
}

/* Runs the statements, which must raise `number`. */
#define FAULTS(number, ...)                                                                                            \
    do {                                                                                                               \
        handle_info(number, recover, 0);                                                                               \
        if (sigsetjmp(recovery, 1) == 0) {                                                                             \
            __VA_ARGS__;                                                                                               \
            FAIL("%s, got none", #number);                                                                             \
        }                                                                                                              \
        EXPECT_EQ(fault.si_signo, number);                                                                             \
    } while (0)

CASE(read_of_unmapped_memory_raises_sigsegv_maperr) {
    volatile char *memory = map(PAGE_SIZE);
    OK(munmap((void *)memory, PAGE_SIZE));
    FAULTS(SIGSEGV, (void)memory[5]);
    EXPECT_EQ(fault.si_code, SEGV_MAPERR);
    EXPECT(fault.si_addr == memory + 5);
    EXPECT_EQ(trap_number, 14);
    EXPECT_EQ(error_code & 2, 0);
}

CASE(write_of_read_only_memory_raises_sigsegv_accerr) {
    volatile char *memory = map(PAGE_SIZE);
    OK(mprotect((void *)memory, PAGE_SIZE, PROT_READ));
    FAULTS(SIGSEGV, memory[7] = 1);
    EXPECT_EQ(fault.si_code, SEGV_ACCERR);
    EXPECT(fault.si_addr == memory + 7);
    EXPECT_EQ(error_code & 2, 2);
}

CASE(null_pointer_raises_sigsegv_at_zero) {
    char *volatile null = NULL;
    FAULTS(SIGSEGV, *(volatile char *)null = 1);
    EXPECT_EQ(fault.si_code, SEGV_MAPERR);
    EXPECT(fault.si_addr == NULL);
}

CASE(kernel_address_raises_sigsegv) {
    char *volatile kernel = (char *)0xffff800000000000;
    FAULTS(SIGSEGV, (void)*(volatile char *)kernel);
}

CASE(non_canonical_address_raises_sigsegv_of_the_kernel_kind) {
    char *volatile odd = (char *)0x1234567812345678;
    FAULTS(SIGSEGV, (void)*(volatile char *)odd);
    EXPECT_EQ(fault.si_code, SI_KERNEL);
    EXPECT(fault.si_addr == NULL);
}

CASE(execution_of_data_raises_sigsegv_accerr) {
    char *memory = map(PAGE_SIZE);
    memory[0] = (char)0xc3;
    FAULTS(SIGSEGV, ((void (*)(void))memory)());
    EXPECT_EQ(fault.si_code, SEGV_ACCERR);
    EXPECT(fault.si_addr == memory);
    EXPECT_EQ(fault_ip, (uintptr_t)memory);
}

CASE(jump_to_nowhere_raises_sigsegv_there) {
    void (*volatile nowhere)(void) = (void (*)(void))0x5000;
    FAULTS(SIGSEGV, nowhere());
    EXPECT_EQ(fault.si_code, SEGV_MAPERR);
    EXPECT_EQ(fault_ip, 0x5000);
}

CASE(division_by_zero_raises_sigfpe) {
    FAULTS(SIGFPE, __asm__ volatile("xor %%ecx, %%ecx; mov $1, %%eax; cdq; idiv %%ecx" : : : "rax", "rcx", "rdx"));
    EXPECT_EQ(fault.si_code, FPE_INTDIV);
    EXPECT_EQ((uintptr_t)fault.si_addr, fault_ip);
    EXPECT_EQ(trap_number, 0);
}

CASE(unmasked_sse_exception_raises_sigfpe) {
    FAULTS(SIGFPE, {
        uint32_t mxcsr = 0x1f80 & ~0x200;
        double zero = 0, one = 1;
        __asm__ volatile("ldmxcsr %0; divsd %1, %2" : : "m"(mxcsr), "x"(zero), "x"(one));
    });
    EXPECT_EQ(fault.si_code, FPE_FLTDIV);
}

CASE(illegal_instruction_raises_sigill) {
    FAULTS(SIGILL, __asm__ volatile("ud2"));
    EXPECT_EQ(fault.si_code, ILL_ILLOPN);
    EXPECT_EQ((uintptr_t)fault.si_addr, fault_ip);
    EXPECT_EQ(trap_number, 6);
}

CASE(privileged_instruction_raises_sigsegv) {
    FAULTS(SIGSEGV, __asm__ volatile("hlt"));
    EXPECT_EQ(fault.si_code, SI_KERNEL);
}

CASE(breakpoint_raises_sigtrap_behind_the_instruction) {
    FAULTS(SIGTRAP, __asm__ volatile("int3"));
    EXPECT_EQ(fault.si_code, SI_KERNEL);
    EXPECT_EQ(trap_number, 3);
    EXPECT_EQ(*(unsigned char *)(fault_ip - 1), 0xcc);
}

CASE(single_step_raises_sigtrap) {
    FAULTS(SIGTRAP, __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop" : : : "memory", "cc"));
    EXPECT_EQ(fault.si_code, TRAP_TRACE);
}

CASE(access_beyond_the_end_of_a_file_raises_sigbus) {
    int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(fd, PAGE_SIZE));
    volatile char *memory = mmap(NULL, 2 * PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    FAULTS(SIGBUS, (void)memory[PAGE_SIZE + 3]);
    EXPECT_EQ(fault.si_code, BUS_ADRERR);
    EXPECT(fault.si_addr == memory + PAGE_SIZE + 3);
}

CASE(blocked_fault_signal_kills) {
    pid_t pid = IN_CHILD({
        handle_info(SIGSEGV, recover, 0);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGSEGV);
        OK(sigprocmask(SIG_BLOCK, &set, NULL));
        *(volatile int *)8 = 1;
    });
    EXPECT_KILLED(pid, SIGSEGV);
}

CASE(ignored_fault_signal_kills) {
    pid_t pid = IN_CHILD({
        handle(SIGSEGV, SIG_IGN, 0);
        *(volatile int *)8 = 1;
    });
    EXPECT_KILLED(pid, SIGSEGV);
}

static volatile char *guarded;

static void unprotect(int signal) {
    (void)signal;
    signals_seen++;
    mprotect((void *)guarded, PAGE_SIZE, PROT_READ | PROT_WRITE);
}

CASE(handler_can_repair_the_fault_and_go_on) {
    guarded = bad_page();
    handle(SIGSEGV, unprotect, 0);
    guarded[3] = 'x';
    EXPECT_EQ(guarded[3], 'x');
    EXPECT_EQ(signals_seen, 1);
}

static void skip_ud2(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
    signals_seen++;
}

CASE(handler_can_step_over_the_instruction) {
    handle_info(SIGILL, skip_ud2, 0);
    int value = 1;
    __asm__ volatile("ud2; addl $1, %0" : "+r"(value));
    EXPECT_EQ(value, 2);
    EXPECT_EQ(signals_seen, 1);
}

CASE(faults_thousand_times_in_a_row) {
    handle_info(SIGILL, skip_ud2, 0);
    for (int i = 0; i < 1000; i++)
        __asm__ volatile("ud2");
    EXPECT_EQ(signals_seen, 1000);
}

CASE(alignment_check_raises_sigbus) {
    FAULTS(SIGBUS, {
        char words[16] __attribute__((aligned(8))) = {0};
        int value;
        __asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq; movl 1(%1), %0" : "=r"(value) : "r"(words) : "memory");
    });
    EXPECT_EQ(fault.si_code, BUS_ADRALN);
}
