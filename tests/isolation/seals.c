/*
 * Programs that seal a file in memory against writes while they keep a mapping of it of which the kernel is not to know: one moves it by
 * a jump to the platform's `mremap`, one says by the platform's doorbell that it could not be made, one says so where it cannot be made
 * again, and one has others put in its place where the host has no room for them.
 */
#include "guest.h"

/* The doorbell's number, and what it says when a list of calls has ended. */
#define DOORBELL 400
#define CALLS_ENDED 0x101

/* So many calls, and their site is patched. */
#define CALLS 100

#define FILE_SIZE (3 * PAGE_SIZE)

/* More pages than a process may have mappings (`vm.max_map_count`). */
#define MANY_PAGES 70000UL

/* Exit status of who has written to a sealed file. */
#define WRITTEN 7

/* An answer that has the platform's code go back to the guest. */
#define ANSWER_RETURN 2

/* It begins where the platform's code takes it for a frame, not for an entry. */
static struct user_context context __attribute__((aligned(0x4000)));

static char stack[1 << 16] __attribute__((aligned(64)));

static int file;
static char *mapping, *elsewhere;

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

/* The last of the mappings that there was room for, and the one before. */
static char *last[2];

/* Makes mappings until the host has no room for one more. */
static void make_as_many_mappings_as_possible(void) {
    char *pages = mmap(NULL, MANY_PAGES * PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(pages != MAP_FAILED);
    unsigned long at = 1;
    while (at < MANY_PAGES && syscall(SYS_mprotect, pages + at * PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE) == 0)
        at += 2;
    /* Room for some that are mapped one by one. Neighbours differ. */
    NEED(at < MANY_PAGES && syscall(SYS_mprotect, pages + (at - 5) * PAGE_SIZE, 5 * PAGE_SIZE, PROT_READ) == 0);
    long made = 0, protection = PROT_READ;
    while ((made = syscall(SYS_mmap, NULL, PAGE_SIZE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != -1) {
        protection ^= PROT_READ | PROT_WRITE;
        last[1] = last[0];
        last[0] = (char *)made;
    }
    NEED(last[1] != NULL);
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

static void lie_where_there_is_no_room(void) {
    unsigned long site = find("\xb8\x90\x01\0\0\x0f\x05", 7) + 5;
    unsigned long arguments[] = {CALLS_ENDED, 0, 0, -ENOMEM, 0};
    make_as_many_mappings_as_possible();
    NEED(syscall(SYS_munmap, mapping, PAGE_SIZE) == 0);
    NEED(syscall(SYS_mmap, mapping, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == (long)mapping);
    jump(site, DOORBELL, arguments, after_lie);
}

/* What lies between two others cannot be unmapped where there is no room: the three would be three mappings. */
static void replace_where_there_is_no_room(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    char *first = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), *middle = first + PAGE_SIZE;
    NEED(first != MAP_FAILED && munmap(mapping, PAGE_SIZE) == 0);
    make_as_many_mappings_as_possible();
    NEED(syscall(SYS_mmap, middle, PAGE_SIZE, PROT_NONE, flags, -1, 0) == -1);
    NEED(syscall(SYS_munmap, last[0], PAGE_SIZE) == 0 && syscall(SYS_munmap, last[1], PAGE_SIZE) == 0);
    NEED(syscall(SYS_munmap, first, PAGE_SIZE) == 0 && syscall(SYS_munmap, middle + PAGE_SIZE, PAGE_SIZE) == 0);
    seal_and_write(middle);
}

static void expect_sealed_means_sealed(const char *name, void (*attack)(void)) {
    int status;
    static char content[FILE_SIZE];
    file = memfd_create(name, MFD_ALLOW_SEALING);
    NEED(file != -1 && ftruncate(file, FILE_SIZE) == 0);
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
    NEED(pread(file, content, FILE_SIZE, 0) == FILE_SIZE);
    int is_written = memchr(content, 'x', FILE_SIZE) != NULL, has_failed = WIFEXITED(status) && WEXITSTATUS(status) == STATUS_OTHER;
    printf("%s: %s\n", name, has_failed ? "not tried" : (seals & F_SEAL_WRITE) != 0 && is_written ? "written although sealed" : "sound");
    fprintf(stderr, "status %#x\n", status);
    /* Who has not ended can seal it. */
    NEED(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) == 0);
}

int main(void) {
    NEED(is_inside());
    expect_sealed_means_sealed("moved", move_by_jump);
    expect_sealed_means_sealed("denied", lie_about_a_mapping);
    expect_sealed_means_sealed("denied for good", lie_where_there_is_no_room);
    expect_sealed_means_sealed("replaced", replace_where_there_is_no_room);
    return 0;
}
