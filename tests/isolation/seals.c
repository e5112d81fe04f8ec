/*
 * Programs that seal a file in memory against writes while they keep a mapping of it of which the kernel is not to know: one moves it by
 * a jump to the platform's `mremap`, one says by the platform's doorbell that it could not be made.
 */
#include "guest.h"

/* The doorbell's number, and what it says when a list of calls has ended. */
#define DOORBELL 400
#define CALLS_ENDED 0x101

/* So many calls, and their site is patched. */
#define CALLS 100

/* Exit status of who has written to a sealed file. */
#define WRITTEN 7

/* An answer that has the platform's code go back to the guest. */
#define ANSWER_RETURN 2

/* `ucontext`, as the kernel has it on x86-64. It begins where the platform's code takes it for a frame, not for an entry. */
static struct {
    unsigned long flags;
    void *link;
    stack_t stack;
    unsigned long registers[23];
    void *extended_state;
    unsigned long reserved[8];
    unsigned long mask;
} context __attribute__((aligned(0x4000)));

static char stack[1 << 16] __attribute__((aligned(64)));

static int file;
static char *mapping, *elsewhere;

/* Where the platform's code has these bytes. A code that cannot be read ends the process. */
static unsigned long find(const char *bytes, size_t length) {
    void *found = memmem((void *)REGION_CODE, REGION_CODE_SIZE, bytes, length);
    NEED(found != NULL);
    return (unsigned long)found;
}

/* Jumps, and goes on at `next` where the platform's code goes back to the guest. */
static void jump(unsigned long to, unsigned long number, const unsigned long arguments[5], void (*next)(void)) {
    register unsigned long r10 __asm__("r10") = arguments[3], r8 __asm__("r8") = arguments[4];
    register void *frame __asm__("r11") = &context;
    context.flags = 6; /* UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
    context.stack.ss_flags = SS_DISABLE;
    context.registers[15] = (unsigned long)stack + sizeof stack / 2 - 8; /* rsp */
    context.registers[16] = (unsigned long)next;                         /* rip */
    context.registers[17] = 0x202;                                       /* rflags */
    context.registers[18] = 0x33 | 0x2bUL << 48;                         /* cs and ss */
    __asm__ volatile("mov %4, %%r14\n\tmov %5, %%rsp\n\txor %%ebp, %%ebp\n\txor %%r15d, %%r15d\n\tjmp *%6"
                     :
                     : "a"(number), "D"(arguments[0]), "S"(arguments[1]), "d"(arguments[2]), "i"(ANSWER_RETURN),
                       "r"(frame), "c"(to), "r"(r10), "r"(r8)
                     : "memory", "rbx", "r12", "r13", "r14", "r15");
}

/* From here on calls are made by `syscall`, whose instruction has been patched: there is no stack for signals any more. */

/* Seals the file, and writes to it if that has succeeded. */
static void seal_and_write(char *hidden) {
    long result = syscall(SYS_fcntl, file, F_ADD_SEALS, F_SEAL_WRITE);
    if (result == 0)
        *hidden = 'x';
    syscall(SYS_exit_group, result == 0 ? WRITTEN : 0);
}

static void after_move(void) {
    syscall(SYS_munmap, mapping, PAGE_SIZE);
    seal_and_write(elsewhere);
}

static void after_lie(void) { seal_and_write(mapping); }

static void move_by_jump(void) {
    unsigned long site = find("\xb8\x19\0\0\0\x0f\x05", 7) + 5;
    unsigned long arguments[] = {(unsigned long)mapping, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
                                 (unsigned long)elsewhere};
    jump(site, SYS_mremap, arguments, after_move);
}

static void lie_about_a_mapping(void) {
    unsigned long site = find("\xb8\x90\x01\0\0\x0f\x05", 7) + 5;
    unsigned long arguments[] = {CALLS_ENDED, 0, 0, -ENOMEM, 0};
    NEED(syscall(SYS_munmap, mapping, PAGE_SIZE) == 0);
    NEED(syscall(SYS_mmap, mapping, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == (long)mapping);
    jump(site, DOORBELL, arguments, after_lie);
}

static void expect_sealed_means_sealed(const char *name, void (*attack)(void)) {
    int status;
    char byte;
    file = memfd_create(name, MFD_ALLOW_SEALING);
    NEED(file != -1 && ftruncate(file, PAGE_SIZE) == 0);
    pid_t pid = fork();
    NEED(pid != -1);
    if (pid == 0) {
        mapping = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        NEED(mapping != MAP_FAILED);
        elsewhere = mapping - 64 * PAGE_SIZE;
        for (int i = 0; i < CALLS; i++)
            NEED(syscall(SYS_getpgid, 0) >= 0);
        attack();
        _exit(STATUS_OTHER);
    }
    NEED(waitpid(pid, &status, 0) == pid);
    int seals = fcntl(file, F_GET_SEALS);
    NEED(pread(file, &byte, 1, 0) == 1);
    printf("%s: %s\n", name, (seals & F_SEAL_WRITE) != 0 && byte != 0 ? "written although sealed" : "sound");
    fprintf(stderr, "status %#x\n", status);
    /* Who has not ended can seal it. */
    NEED(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) == 0);
}

int main(void) {
    NEED(is_inside());
    expect_sealed_means_sealed("moved", move_by_jump);
    expect_sealed_means_sealed("denied", lie_about_a_mapping);
    return 0;
}
