/*
 * Attacks the platform's own memory and code in this process, and lies to it. Each attack is carried out by processes of
 * their own; while they do, a sibling makes calls and looks whether they are answered right. At the end the code must be
 * what it was, and everything must work.
 *
 *     region jump      jumps to each `syscall` instruction of the platform's code, with many sets of registers
 *     region calls     names the region in system calls
 *     region forge     writes all of the region that can be written, while other threads make calls
 *     region loans     writes over the descriptors that its thread was lent, and uses them
 *     region arrivals  writes over how much of its streams it has read, and reads them
 *     region shared    the same of threads that share descriptors, and says of others that they sleep
 *     region memory    writes over what it says of the memory that its thread was lent, and uses that
 *     region changes   writes over the changes of an epoll instance that its thread has noted, and makes some
 *     region ledger    writes over what it has noted about a file of its own, and how much that is
 *     region inlet     writes over what it has left in a pipe of its own, and how much that is
 *     region names     the same while it asks for names, which it changes as they are read
 *     region flood     rings the doorbell as often as it can
 *     region frames    returns from signals through frames that it made up
 *     region masks     writes all masks of blocked signals, while others send it signals
 *     region actions   writes all actions of signals, while others send it signals and it changes some itself
 *     region returns   writes the registers of threads that return from handlers
 *
 * Says "finished" and exits with REGION_STATUS.
 */
#include "guest.h"
#include <linux/futex.h>
#include <poll.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

#define REGION_STATUS 43

/* Processes that attack at the same time: each may take ATTACK_MS until it is ended. */
#define AT_ONCE 16
#define ATTACK_MS 300

/* Registers of a host call that would gain something if it happened. */
struct wish {
    uint64_t rax, rdi, rsi, rdx, r10, r8, r9;
};

static char *data;
static uint64_t sites[256];
static int site_count;
static uint64_t code_sum;

static sigjmp_buf on_fault;
static void leave_fault(int signal) { siglongjmp(on_fault, signal); }

/* Where the platform's code ends that can be read: with ptrace it has a page, of which the guest need not see anything. */
static uint64_t code_end;

/* The sum of the platform's code, 0 if none can be read. */
static uint64_t sum_of_code(void) {
    struct sigaction action = {.sa_handler = leave_fault, .sa_flags = SA_NODEFER};
    NEED(sigaction(SIGSEGV, &action, NULL) == 0);
    volatile uint64_t sum = 0, at = REGION_CODE;
    if (sigsetjmp(on_fault, 1) == 0)
        for (; at < REGION_CODE + REGION_CODE_SIZE; at++)
            sum = sum * 31 + *(const unsigned char *)at;
    code_end = at;
    signal(SIGSEGV, SIG_DFL);
    return sum;
}

static void find_sites(void) {
    for (uint64_t at = REGION_CODE; at + 1 < code_end; at++) {
        const unsigned char *code = (const void *)at;
        if (code[0] == 0x0f && code[1] == 0x05 && site_count < 256)
            sites[site_count++] = at;
    }
}

/* --- The sibling that minds its own business ------------------------------------------------------------------------ */

static volatile unsigned long *rounds;

static void *count_calls(void *unused) {
    for (;;) {
        int ends[2];
        char byte = 0;
        if (getppid() <= 1 || pipe(ends) != 0 || write(ends[1], "x", 1) != 1 || read(ends[0], &byte, 1) != 1 || byte != 'x')
            _exit(1);
        close(ends[0]);
        close(ends[1]);
        __atomic_fetch_add(rounds, 1, __ATOMIC_RELAXED);
    }
    return unused;
}

static pid_t start_witness(void) {
    rounds = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED((void *)rounds != MAP_FAILED);
    pid_t pid = fork();
    NEED(pid != -1);
    if (pid == 0) {
        pthread_t thread;
        NEED(pthread_create(&thread, NULL, count_calls, NULL) == 0);
        for (;;) {
            pid_t child = fork();
            int status;
            if (child == 0)
                _exit(7);
            if (child == -1 || waitpid(child, &status, 0) != child || status != 7 << 8)
                _exit(2);
        }
    }
    return pid;
}

static void expect_witness(pid_t witness) {
    int status;
    pid_t ended = waitpid(witness, &status, WNOHANG);
    if (ended != 0)
        fprintf(stderr, "the sibling ended: 0x%x\n", status);
    NEED(ended == 0);
    for (unsigned long seen = *rounds; *rounds == seen;)
        sched_yield();
}

/* --- Running attacks ------------------------------------------------------------------------------------------------ */

static int running;

static pid_t attackers[AT_ONCE];

static void reap_one(void) {
    pid_t ended;
    for (int ms = 0; (ended = waitpid(0, NULL, WNOHANG)) == 0; ms++) {
        /* One that has forged its mask may not hear its timer. */
        for (int i = 0; ms == 3 * ATTACK_MS && i < AT_ONCE; i++)
            if (attackers[i] > 0)
                kill(attackers[i], SIGKILL);
        usleep(1000);
    }
    NEED(ended > 0);
    for (int i = 0; i < AT_ONCE; i++)
        if (attackers[i] == ended)
            attackers[i] = 0;
    running--;
}

/* Runs `attack` in a process that ends after a while, one way or the other. Attackers form a process group. */
static void spawn(void (*attack)(const void *), const void *argument) {
    if (running == AT_ONCE)
        reap_one();
    pid_t pid = fork();
    NEED(pid != -1);
    if (pid == 0) {
        struct itimerval limit = {{0, 0}, {0, ATTACK_MS * 1000}};
        NEED(setitimer(ITIMER_REAL, &limit, NULL) == 0);
        attack(argument);
        _exit(0);
    }
    for (int i = 0; i < AT_ONCE; i++)
        if (attackers[i] == 0) {
            attackers[i] = pid;
            break;
        }
    running++;
}

static void reap_all(void) {
    while (running > 0)
        reap_one();
}

/* --- Jumps ---------------------------------------------------------------------------------------------------------- */

static const struct wish wishes[] = {
    {SYS_munmap, REGION_CODE, PAGE_SIZE},
    {SYS_munmap, 0x7ffd00000000, 0x2fffff000},
    {SYS_munmap, REGION_SLOTS, REGION_SLOT_SIZE},
    {SYS_munmap, 0, REGION_GUEST_END},
    {SYS_mprotect, REGION_CODE, PAGE_SIZE, 7},
    {SYS_mprotect, REGION_ORDERS, PAGE_SIZE, 7},
    {SYS_mmap, REGION_CODE, PAGE_SIZE, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1},
    {SYS_mmap, REGION_SLOTS, PAGE_SIZE, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1},
    {SYS_mmap, REGION_SLOTS, 0x10000000, 3, MAP_SHARED | MAP_FIXED, 0},
    {SYS_mmap, REGION_ORDERS, 0x4000000, 1, MAP_SHARED | MAP_FIXED, 1},
    {SYS_mmap, 0x10000, PAGE_SIZE, 7, MAP_SHARED | MAP_FIXED, 0},
    {SYS_mremap, 0x10000, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, REGION_CODE},
    {SYS_mremap, REGION_CODE, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, 0x10000},
    {SYS_madvise, REGION_SLOTS, PAGE_SIZE, MADV_REMOVE},
    {SYS_clone, CLONE_VM | CLONE_PARENT | CLONE_PIDFD, 0, REGION_SLOTS + REGION_MAILBOX + 8},
    {SYS_clone, CLONE_PARENT | CLONE_PIDFD, 0, REGION_SLOTS + REGION_MAILBOX + 8},
    {SYS_clone, CLONE_VM | SIGCHLD, 0x20000},
    {SYS_fork},
    {SYS_seccomp, 1, 0x28, REGION_CODE + REGION_CODE_SIZE},
    {SYS_dup2, 0, 2},
    {SYS_close, 0},
    {SYS_close_range, 0, UINT32_MAX},
    {SYS_prctl, PR_SET_PDEATHSIG, 0},
    {SYS_prctl, PR_SET_PDEATHSIG, SIGKILL},
    {SYS_futex, REGION_ORDERS, FUTEX_WAIT, 0},
    {SYS_futex, 0x10000, FUTEX_WAIT, 0},
    {SYS_futex, REGION_SLOTS, FUTEX_WAIT_PRIVATE, 0},
    {SYS_futex, REGION_SLOTS, FUTEX_WAKE_OP_PRIVATE, 1, 1, REGION_ORDERS, FUTEX_OP(FUTEX_OP_SET, 1, 0, 0)},
    {SYS_futex, 0x10000, FUTEX_WAKE_OP_PRIVATE, 1, 1, REGION_ORDERS, FUTEX_OP(FUTEX_OP_SET, 1, 0, 0)},
    {SYS_futex, 0x10000, FUTEX_LOCK_PI_PRIVATE, 0},
    {SYS_futex, 0x10000, FUTEX_CMP_REQUEUE, 1, 1, 0x20000, 0},
    {SYS_futex, 0x10000, FUTEX_WAKE_PRIVATE, 1},
    {SYS_futex_waitv, REGION_ORDERS, 1, 0, 0, 0},
    {SYS_restart_syscall},
    {SYS_sched_yield},
    {SYS_futex, REGION_SLOTS + REGION_MAILBOX, FUTEX_WAKE, INT32_MAX},
    {SYS_rt_sigprocmask, SIG_SETMASK, REGION_CODE + REGION_CODE_SIZE + 0x10, 0, 8},
    {SYS_rt_sigreturn},
    {SYS_exit_group, 0},
    {SYS_open, 0x10000, 0},
    {SYS_socket, AF_INET, SOCK_STREAM, 0},
    {SYS_execve, 0x10000, 0, 0},
    {SYS_ptrace, 0},
    {SYS_kill, 1, SIGKILL},
    {400, 31, REGION_SLOTS + REGION_SLOT_SIZE},
    {400, 11, 0x10000},
    {400, 0x100, REGION_SLOTS + REGION_SLOT_SIZE},
    {400, 0x101, REGION_SLOTS + REGION_SLOT_SIZE, -1, -1},
};

struct jump {
    uint64_t site;
    const struct wish *wish;
    bool threaded;
};

static void go(uint64_t site, const struct wish *wish) {
    /* The registers that the platform's code itself uses are hostile as well. */
    register uint64_t r10 __asm__("r10") = wish->r10;
    register uint64_t r8 __asm__("r8") = wish->r8;
    register uint64_t r9 __asm__("r9") = wish->r9;
    register uint64_t target __asm__("r11") = site;
    __asm__ volatile("xor %%ebx, %%ebx\n\txor %%r12d, %%r12d\n\tmov %%r9, %%r13\n\tmov $-1, %%r14\n\tmov %%r8, %%r15\n\tjmp *%%r11"
                     :
                     : "a"(wish->rax), "D"(wish->rdi), "S"(wish->rsi), "d"(wish->rdx), "r"(r10), "r"(r8), "r"(r9), "r"(target)
                     : "rbx", "rcx", "r12", "r13", "r14", "r15", "memory");
}

static void *jump_in_thread(void *argument) {
    const struct jump *jump = argument;
    go(jump->site, jump->wish);
    return NULL;
}

static void jump(const void *argument) {
    const struct jump *jump = argument;
    if (!jump->threaded)
        go(jump->site, jump->wish);
    pthread_t thread;
    if (pthread_create(&thread, NULL, jump_in_thread, (void *)jump) == 0)
        for (;;)
            getppid();
}

static void jump_everywhere(void) {
    for (int site = 0; site < site_count; site++)
        for (size_t wish = 0; wish < sizeof wishes / sizeof *wishes; wish++) {
            struct jump argument = {sites[site], &wishes[wish], (site + wish) % 4 == 0};
            spawn(jump, &argument);
        }
    /* Every part of the code that is no `syscall`: a few instructions of the platform's run with hostile registers. */
    for (uint64_t at = REGION_CODE; at < code_end; at += 37) {
        struct jump argument = {at, &wishes[at % (sizeof wishes / sizeof *wishes)], false};
        spawn(jump, &argument);
    }
}

/* --- Calls that name the region ------------------------------------------------------------------------------------- */

static void *do_nothing(void *unused) { return unused; }

struct place {
    uint64_t address;
    int call;
};

static void name_in_a_call(const void *argument) {
    const struct place *place = argument;
    void *address = (void *)place->address;
    int ends[2], null = open("/dev/zero", O_RDWR);
    char text[64] = "text";
    pthread_t thread;
    pthread_attr_t attributes;
    struct iovec here = {text, sizeof text}, there = {address, sizeof text};
    NEED(pipe(ends) == 0 && write(ends[1], "hostile", 7) == 7);
    /* What keeps the result: nothing happened. */
    long result = -1;
    switch (place->call) {
    case 0: result = munmap(address, PAGE_SIZE); break;
    case 1: result = mprotect(address, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC); break;
    case 2: result = (long)mmap(address, PAGE_SIZE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break;
    case 3: result = (long)mmap(address, PAGE_SIZE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0); break;
    case 4: result = (long)mremap(address, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, data); break;
    case 5: result = (long)mremap(data, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, address); break;
    case 6: result = madvise(address, PAGE_SIZE, MADV_DONTNEED); break;
    case 7: result = read(ends[0], address, 7); break;
    case 8: result = read(null, address, PAGE_SIZE); break;
    case 9: result = process_vm_writev(getpid(), &here, 1, &there, 1, 0); break;
    case 10: result = mprotect((void *)(REGION_GUEST_END - PAGE_SIZE), place->address + 2 * PAGE_SIZE - REGION_GUEST_END, PROT_READ); break;
    case 11: result = pwrite(open("/proc/self/mem", O_RDWR), text, sizeof text, place->address); break;
    case 12: result = fstat(0, address); break;
    case 13:
        for (int private = 0; private <= FUTEX_PRIVATE_FLAG && result == -1; private += FUTEX_PRIVATE_FLAG) {
            int change = FUTEX_OP(FUTEX_OP_SET, 0, 0, 0);
            struct timespec soon = {0, 1};
            result = syscall(SYS_futex, address, FUTEX_WAKE_OP | private, 1, 1, address, change);
            if (result == -1)
                result = syscall(SYS_futex, data, FUTEX_WAKE_OP | private, 1, 1, address, change);
            if (result == -1)
                result = syscall(SYS_futex, data, FUTEX_CMP_REQUEUE | private, 1, 1, address, 0);
            if (result == -1)
                result = syscall(SYS_futex, address, FUTEX_WAKE | private, 1);
            if (result == -1 && (syscall(SYS_futex, address, FUTEX_WAIT | private, 0, &soon) != -1 || errno != EFAULT))
                result = 0;
        }
        break;
    case 14: result = syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, address); break;
    case 15: result = syscall(SYS_getrandom, address, 16, 0); break;
    /* What the kernel writes later. These succeed. */
    case 16:
        syscall(SYS_set_tid_address, address);
        syscall(SYS_exit, 0);
        break;
    case 17:
        syscall(SYS_set_robust_list, address, 24);
        syscall(SYS_exit, 0);
        break;
    case 18: {
        stack_t stack = {address, 0, REGION_SLOT_SIZE};
        struct sigaction action = {.sa_handler = leave_fault, .sa_flags = SA_ONSTACK};
        sigaltstack(&stack, NULL);
        sigaction(SIGUSR1, &action, NULL);
        raise(SIGUSR1);
        break;
    }
    case 19:
        pthread_attr_init(&attributes);
        pthread_attr_setstack(&attributes, address, REGION_SLOT_SIZE);
        if (pthread_create(&thread, &attributes, do_nothing, NULL) == 0)
            pthread_join(thread, NULL);
        break;
    case 20: syscall(SYS_clone, CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, address, address, address, 0); break;
    case 21:
        syscall(SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, address);
        syscall(SYS_exit_group, 0);
        break;
    case 22: syscall(SYS_rseq, address, 32, 0, 0); break;
    case 23: {
        register uint64_t target __asm__("r11") = place->address;
        __asm__ volatile("mov %0, %%rsp\n\tmov $39, %%eax\n\tsyscall\n\tud2" : : "r"(target));
        break;
    }
    case 24:
        *(volatile char *)address = 1;
        break;
    /* It succeeds, as far as that is the guest's. */
    case 25: munmap((void *)(REGION_GUEST_END - PAGE_SIZE), place->address + 2 * PAGE_SIZE - REGION_GUEST_END); break;
    }
    /* Calls up to here must fail: the region is no memory of the guest's. */
    if (place->call <= 15 && result != -1) {
        fprintf(stderr, "call %d at %#lx succeeded: %ld\n", place->call, place->address, result);
        kill(getppid(), SIGABRT);
    }
}

static void name_everywhere(void) {
    static const uint64_t places[] = {
        REGION_CODE, REGION_CODE + REGION_CODE_SIZE, REGION_SLOTS, REGION_SLOTS + REGION_SLOT_SIZE, REGION_SLOTS + 5 * REGION_SLOT_SIZE,
        REGION_ORDERS, REGION_ORDERS + PAGE_SIZE, REGION_SCRATCH, REGION_GUEST_END, REGION_END - PAGE_SIZE,
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (int call = 0; call <= 25; call++) {
            struct place place = {places[i], call};
            spawn(name_in_a_call, &place);
        }
}

/* --- Forged memory -------------------------------------------------------------------------------------------------- */

struct range {
    uint64_t start, end;
};

static void *scribble(void *argument) {
    const struct range *range = argument;
    for (uint64_t value = 1;; value += 0x1001)
        for (volatile uint64_t *word = (void *)range->start; word < (uint64_t *)range->end; word++)
            *word = value;
    return NULL;
}

static void forge(const void *argument) {
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, scribble, (void *)argument) == 0);
    for (;;) {
        /* Everything that needs the platform's own memory: threads, copies, mappings, words of memory. */
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        if (pid > 0)
            waitpid(pid, NULL, 0);
        if (pthread_create(&thread, NULL, do_nothing, NULL) == 0)
            pthread_join(thread, NULL);
        void *memory = mmap(NULL, PAGE_SIZE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        syscall(SYS_futex, memory, FUTEX_WAKE_OP, 1, 1, memory, FUTEX_OP(FUTEX_OP_ADD, 1, 0, 0));
        struct timespec soon = {0, 1000};
        syscall(SYS_futex, memory, FUTEX_WAKE_OP_PRIVATE, 1, 1, memory, FUTEX_OP(FUTEX_OP_ADD, 1, 0, 0));
        syscall(SYS_futex, memory, FUTEX_WAIT_PRIVATE, 2, &soon);
        munmap(memory, PAGE_SIZE);
    }
}

static void forge_everything(void) {
    static const struct range ranges[] = {
        {REGION_SLOTS, REGION_SLOTS + REGION_SLOT_SIZE},
        {REGION_SLOTS + REGION_MAILBOX, REGION_SLOTS + REGION_SLOT_SIZE},
        {REGION_SLOTS + REGION_SLOT_SIZE, REGION_SLOTS + 2 * REGION_SLOT_SIZE},
        {REGION_SLOTS + REGION_SLOT_SIZE, REGION_SLOTS + 8 * REGION_SLOT_SIZE},
        {REGION_SLOTS + 2 * REGION_SLOT_SIZE + REGION_MAILBOX, REGION_SLOTS + 3 * REGION_SLOT_SIZE},
        {REGION_SLOTS + 3 * REGION_SLOT_SIZE + REGION_MAILBOX, REGION_SLOTS + 4 * REGION_SLOT_SIZE},
        {REGION_ORDERS, REGION_ORDERS + PAGE_SIZE},
        {REGION_SCRATCH, REGION_SCRATCH + 16 * PAGE_SIZE},
    };
    for (int i = 0; i < 3; i++)
        for (size_t range = 0; range < sizeof ranges / sizeof *ranges; range++)
            spawn(forge, &ranges[range]);
}

/* --- Lent descriptors ----------------------------------------------------------------------------------------------- */

#define LOANS (REGION_SLOT_SIZE - REGION_LENT)
#define MOST_IDENTITIES 10

struct identity {
    uint64_t device, inode;
};

static struct identity identify(int fd) {
    struct statx found = {0};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO, &found) != 0)
        return (struct identity){0, 0};
    return (struct identity){(uint64_t)found.stx_dev_major << 32 | found.stx_dev_minor, found.stx_ino};
}

static uint64_t own_slot(void) {
    uint64_t base = 0;
    if (site_count > 0)
        __asm__ volatile("rdgsbase %0" : "=r"(base));
    return base;
}

/* Whatever is written there, the process has no file that it did not have, and reads none that it could not. */
static void forge_loans(const void *argument) {
    uint64_t seed = *(const uint64_t *)argument;
    struct identity known[MOST_IDENTITIES];
    struct stat status;
    int count = 0, ends[2];
    char buffer[300], entries[4096];
    /* Not what the test reads: it would be written anywhere. */
    int null = open("/dev/null", O_RDWR);
    NEED(null > 2 && dup2(null, 0) == 0 && dup2(null, 1) == 1 && dup2(null, 2) == 2);
    NEED(open("/proc/self/exe", O_RDONLY) >= 0 && open("/", O_RDONLY | O_DIRECTORY) >= 0 && pipe(ends) == 0);
    for (int fd = 0; fd < MOST_IDENTITIES; fd++)
        known[count++] = identify(fd);
    for (uint64_t round = 0;; round++) {
        uint64_t slot = own_slot(), *loans = (uint64_t *)(slot + REGION_LENT);
        int number = seed >> 40 & 0x3f, how = seed >> 50 & 15;
        for (int i = 0; round > 30 && slot >= REGION_SLOTS && slot < REGION_ORDERS && i < 8; i++) {
            seed = seed * 6364136223846793005UL + 1442695040888963407UL;
            /* Wild, or what the platform would write: files by number, records, open or free. */
            uint64_t word = seed >> 33 & 0x1f3f, other = seed >> 46 & 0x1f3f;
            word |= seed & 1 ? 0x90000 : 0x20000;
            other |= seed & 2 ? 0x10000 : 0x20000;
            loans[(seed >> 20) % (LOANS / 8)] = seed & 4 ? seed * 0x9e3779b97f4a7c15UL : word | other << 32;
        }
        switch (how) {
        case 0: close(number); break;
        case 1: dup(number); break;
        case 2: fcntl(number, F_DUPFD_CLOEXEC, number); break;
        case 3: fcntl(number, F_SETFD, 1); break;
        case 4: lseek(number, (int64_t)seed >> (seed & 63), seed >> 8 & 3); break;
        case 5: fstat(number, &status); break;
        case 6: pread(number, buffer, seed & 0xff, seed >> 55); break;
        case 7: syscall(SYS_getdents64, number, entries, sizeof entries); break;
        case 8: {
            int root = open("/", O_RDONLY | O_DIRECTORY);
            syscall(SYS_getdents64, root, entries, sizeof entries);
            if (seed & 8)
                close(root);
            break;
        }
        default: read(number == ends[0] ? 0 : number, buffer, number < 3 || number >= ends[0] ? 0 : seed & 0xff); break;
        }
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        for (int fd = 0; round % 16 == 0 && fd < 70; fd++) {
            struct identity found = identify(fd);
            bool is_known = found.inode == 0;
            for (int i = 0; i < count; i++)
                is_known |= found.device == known[i].device && found.inode == known[i].inode;
            /* A descriptor has become another file. */
            if (!is_known)
                kill(getppid(), SIGABRT);
        }
    }
}

static void forge_loans_everywhere(void) {
    for (uint64_t seed = 1; seed <= 48; seed++)
        spawn(forge_loans, &(uint64_t){seed * 0x9e3779b97f4a7c15UL});
}

/* Whatever is written there, streams lose bytes at most: none comes back, and none comes out that was not sent. */
static void forge_arrivals(const void *argument) {
    uint64_t seed = *(const uint64_t *)argument, sent = 0;
    int pairs[4][2];
    char buffer[256];
    memset(buffer, '=', sizeof buffer);
    for (int i = 0; i < 4; i++)
        NEED(i % 2 ? pipe(pairs[i]) == 0 : socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]) == 0);
    for (uint64_t round = 0;; round++) {
        uint64_t slot = own_slot(), *loans = (uint64_t *)(slot + REGION_LENT);
        int *ends = pairs[seed >> 40 & 3], before, after;
        NEED(ioctl(ends[0], FIONREAD, &before) == 0);
        if (before < 1000) {
            NEED(write(ends[1], buffer, 100) == 100);
            before += 100;
            sent += 100;
        }
        struct pollfd poller = {ends[0], POLLIN, 0};
        NEED(poll(&poller, 1, 0) == 1);
        /* Which records have moved, and where to: from the stream's beginning on, and far beyond. */
        for (int i = 0; round > 100 && slot >= REGION_SLOTS && slot < REGION_ORDERS && i < 4; i++) {
            seed = seed * 6364136223846793005UL + 1442695040888963407UL;
            loans[(seed >> 40) % 31] = seed & 1 ? (seed >> 20) % (sent + 100) : seed * 0x9e3779b97f4a7c15UL;
        }
        ssize_t count = read(ends[0], buffer, seed >> 33 & 0x3f);
        for (ssize_t i = 0; i < count; i++)
            if (buffer[i] != '=')
                kill(getppid(), SIGABRT);
        if (ioctl(ends[0], FIONREAD, &after) != 0 || after > before)
            kill(getppid(), SIGABRT);
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
    }
}

static void forge_arrivals_everywhere(void) {
    for (uint64_t seed = 1; seed <= 48; seed++)
        spawn(forge_arrivals, &(uint64_t){seed * 0x9e3779b97f4a7c15UL});
}


/* Says of a sibling that it sleeps, and of each that it has done nothing or something, and has it taken back what it was lent. */
static void *recall_loans(void *unused) {
    for (uint64_t round = 0;; round++) {
        for (uint64_t slot = REGION_SLOTS + REGION_SLOT_SIZE; own_slot() != 0 && slot < REGION_SLOTS + 5 * REGION_SLOT_SIZE;
             slot += REGION_SLOT_SIZE)
            if (slot != own_slot()) {
                *(volatile uint32_t *)(slot + REGION_HOST_CALL) = round & 1;
                *(volatile uint64_t *)(slot + REGION_LENT_CHANGED) = round >> 1 & 1 ? 0 : round * 0x9e3779b97f4a7c15UL;
            }
        if (round % 4096 == 0) {
            usleep(6000);
            close(dup(0));
        }
    }
    return unused;
}

static void forge_shared_loans(const void *argument) {
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, recall_loans, NULL) == 0);
    forge_loans(argument);
}

static void forge_shared_loans_everywhere(void) {
    for (uint64_t seed = 1; seed <= 24; seed++)
        spawn(forge_shared_loans, &(uint64_t){seed * 0x9e3779b97f4a7c15UL});
}


/* Whatever is written there, the map stays one that can be read, copied and used up, and what it says is of the range. */
static void forge_memory(const void *argument) {
    uint64_t seed = *(const uint64_t *)argument;
    char *own = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(own != MAP_FAILED);
    for (uint64_t round = 0;; round++) {
        uint64_t slot = own_slot();
        volatile uint64_t *words = (uint64_t *)(slot + REGION_MEMORY_WORDS);
        char *memory = mmap(NULL, (1 + (seed >> 60)) * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        if (round > 300 && slot >= REGION_SLOTS && slot < REGION_ORDERS)
            words[seed >> 40 & 1] = seed & 1   ? (uint64_t)memory + ((int64_t)seed >> 44) * (long)PAGE_SIZE
                                    : seed & 2 ? (uint64_t)own
                                    : seed & 4 ? REGION_CODE + (seed >> 40) * PAGE_SIZE
                                               : seed * 0x9e3779b97f4a7c15UL;
        if (memory != MAP_FAILED && seed & 8)
            munmap(memory, PAGE_SIZE << (seed >> 50 & 3));
        int file = seed >> 34 & 1 ? open("/etc/passwd", O_RDONLY) : -1;
        char *shown = file >= 0 ? mmap(NULL, 1 + (seed >> 52), PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
        if (file >= 0)
            close(file);
        if (shown != MAP_FAILED && seed >> 35 & 1)
            munmap(shown, 1 + (seed >> 52));
        if (seed >> 33 & 1)
            madvise(memory, PAGE_SIZE, seed & 16 ? MADV_DONTNEED : MADV_FREE);
        char text[4096];
        int fd = round % 16 == 0 ? open("/proc/self/maps", O_RDONLY) : -1;
        if (fd >= 0) {
            while (read(fd, text, sizeof text) > 0)
                ;
            close(fd);
        }
        pid_t child = round % 64 == 0 ? fork() : -1;
        if (child == 0)
            _exit(0);
        if (child > 0)
            waitpid(child, NULL, 0);
    }
}

static void forge_memory_everywhere(void) {
    for (uint64_t seed = 1; seed <= 48; seed++)
        spawn(forge_memory, &(uint64_t){seed * 0x9e3779b97f4a7c15UL});
}


/* An instance that all of them have, and nobody changes. */
static int common_instance;

/* Whatever is written there, an instance watches files that the process has, and none changes but its own. */
static void forge_changes(const void *argument) {
    uint64_t seed = *(const uint64_t *)argument;
    int instance = epoll_create1(0), ends[2];
    NEED(instance >= 0 && pipe(ends) == 0);
    struct epoll_event event = {EPOLLIN, {.fd = ends[0]}}, events[64];
    NEED(epoll_ctl(instance, EPOLL_CTL_ADD, ends[0], &event) == 0);
    for (uint64_t round = 0;; round++) {
        uint64_t slot = own_slot(), *words = (uint64_t *)(slot + REGION_NOTED);
        for (int i = 0; round > 100 && slot >= REGION_SLOTS && slot < REGION_ORDERS && i < 8; i++) {
            seed = seed * 6364136223846793005UL + 1442695040888963407UL;
            /* Wild, or what the platform would write: a descriptor and an operation, or a count. */
            uint64_t word = (seed >> 40 & 0x3f) | (seed >> 50 & 3) << 8 | (seed >> 16 & 0xf) << 32;
            words[(seed >> 20) % (REGION_NOTED_SIZE / 8)] = seed & 4 ? seed * 0x9e3779b97f4a7c15UL : word;
            words[1] = seed >> 36 & 0xf;
        }
        event.events = seed >> 32;
        epoll_ctl(instance, 1 + (seed >> 40) % 3, seed >> 50 & 0x3f, &event);
        epoll_ctl(instance, EPOLL_CTL_MOD, ends[0], &event);
        NEED(epoll_wait(instance, events, 64, 0) <= 64);
        if (round % 16 == 0 && (epoll_wait(common_instance, events, 64, 0) != 1 || events[0].data.fd != common_instance))
            kill(getppid(), SIGABRT);
    }
}

static void forge_changes_everywhere(void) {
    int ready = eventfd(1, 0);
    common_instance = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.fd = common_instance}};
    NEED(ready >= 0 && epoll_ctl(common_instance, EPOLL_CTL_ADD, ready, &event) == 0);
    for (uint64_t seed = 1; seed <= 48; seed++)
        spawn(forge_changes, &(uint64_t){seed * 0x9e3779b97f4a7c15UL});
}

#define VICTIM "/tmp/victim"

/* Fails if a file that it has open twice, so that nothing about it is noted, is another than it was, or locked. */
static void expect_victim(const int fds[2]) {
    char content[16];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool is_whole = pread(fds[0], content, sizeof content, 0) == 7 && memcmp(content, "victim\n", 7) == 0;
    if (!is_whole || fcntl(fds[1], F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK)
        kill(getppid(), SIGABRT);
}

/* Whatever is written there, it is about files that the process may write and lock, and is open once. */
static void forge_ledger(const void *argument) {
    uint64_t seed = *(const uint64_t *)argument;
    char name[32];
    snprintf(name, sizeof name, "/tmp/%d", getpid());
    const int victims[] = {open(VICTIM, O_RDWR), open(VICTIM, O_RDWR)};
    int own = open(name, O_RDWR | O_CREAT, 0600), reader = open("/proc/self/exe", O_RDONLY);
    NEED(victims[0] >= 0 && victims[1] >= 0 && own >= 0 && reader >= 0);
    for (uint64_t round = 0;; round++) {
        struct flock lock = {.l_type = seed >> 60 & 1, .l_whence = SEEK_SET, .l_start = seed >> 50 & 0xff, .l_len = 3};
        pwrite(own, &seed, sizeof seed, seed >> 40 & 0xfff);
        fcntl(own, F_SETLK, &lock);
        uint64_t slot = own_slot();
        if (round > 300 && slot >= REGION_SLOTS && slot < REGION_ORDERS) {
            uint64_t *ledger = (uint64_t *)(REGION_LEDGERS + (slot - REGION_SLOTS) / REGION_SLOT_SIZE * REGION_LEDGER_SIZE);
            for (int i = 0; i < 16; i++) {
                seed = seed * 6364136223846793005UL + 1442695040888963407UL;
                /* Wild, or what the platform would write: what, about which record, and lengths. */
                uint64_t small = (seed >> 33 & 15) | (seed >> 40 & 31) << 32, length = seed >> 33 & 0xff;
                ledger[seed >> 52 & 63] = seed & 1 ? small : seed & 2 ? length : seed * 0x9e3779b97f4a7c15UL;
            }
            *(volatile uint64_t *)(slot + REGION_LEDGER_USED) = seed & 4 ? seed >> 48 & 0x7f8 : seed;
        }
        if (round % 16 == 0)
            expect_victim(victims);
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
    }
}

static void forge_ledgers_everywhere(void) {
    int victim = open(VICTIM, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    NEED(victim >= 0 && write(victim, "victim\n", 7) == 7 && close(victim) == 0);
    for (uint64_t seed = 1; seed <= 48; seed++)
        spawn(forge_ledger, &(uint64_t){seed * 0x9e3779b97f4a7c15UL});
}


/* A pipe that others have too, so that it never has an inlet, with seven bytes in it. */
static int victim_pipe[2];

static void expect_victim_pipe(void) {
    int queued = 0;
    if (ioctl(victim_pipe[0], FIONREAD, &queued) != 0 || queued != 7)
        kill(getppid(), SIGABRT);
}

/* Whatever is written there, it is about a pipe that the process may write, and no more than there was room for. */
static void forge_inlet(const void *argument) {
    static char buffer[1 << 18];
    uint64_t seed = *(const uint64_t *)argument;
    int own[2];
    NEED(pipe2(own, O_NONBLOCK) == 0);
    if (seed % 4 == 0 && fork() == 0) {
        /* It listens for the bell. */
        struct pollfd asked = {own[0], POLLIN, 0};
        close(own[1]);
        while (poll(&asked, 1, -1) == 1 && read(own[0], buffer, sizeof buffer) != 0)
            ;
        _exit(0);
    }
    for (uint64_t round = 0;; round++) {
        write(own[1], buffer, seed >> 40 & 0x1fff);
        if (seed >> 60 == 0 && read(own[0], buffer, sizeof buffer) > 2 * 0x10000)
            kill(getppid(), SIGABRT);
        uint64_t slot = own_slot();
        if (round > 300 && slot >= REGION_SLOTS && slot < REGION_ORDERS) {
            uint64_t *inlet = (uint64_t *)(REGION_INLETS + (slot - REGION_SLOTS) / REGION_SLOT_SIZE * REGION_INLET_SIZE);
            inlet[seed >> 51] = seed;
            *(volatile uint64_t *)(slot + REGION_INLET_FILLED) = seed & 4 ? seed >> 47 : seed;
            if (seed & 8)
                *(volatile uint32_t *)(slot + REGION_INLET_BELL) = seed >> 32;
        }
        if (round % 16 == 0)
            expect_victim_pipe();
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
    }
}

static void forge_inlets_everywhere(void) {
    NEED(pipe(victim_pipe) == 0 && write(victim_pipe[1], "victim\n", 7) == 7);
    for (uint64_t seed = 1; seed <= 48; seed++)
        spawn(forge_inlet, &(uint64_t){seed * 0x9e3779b97f4a7c15UL});
}

static volatile char *changing_name;

static void *change_name(void *unused) {
    static const char *const names[] = {"/etc", "/usr", "etc", "usr", "bin", "/no such file"};
    for (unsigned long round = 0;; round++) {
        const char *name = names[round % (sizeof names / sizeof *names)];
        size_t length = strlen(name) + 1;
        for (size_t i = 0; i < length; i++)
            changing_name[i] = name[i];
    }
    return unused;
}

/* Whatever is written there, a name has no other attributes than those of a file that the process can ask for. */
static void forge_names(const void *argument) {
    uint64_t seed = *(const uint64_t *)argument;
    static const char *const reached[] = {"/etc", "/usr", "/bin", "/usr/bin", "/usr/etc", "/usr/usr"};
    ino_t known[sizeof reached / sizeof *reached];
    struct stat status;
    for (size_t i = 0; i < sizeof reached / sizeof *reached; i++)
        known[i] = lstat(reached[i], &status) == 0 ? status.st_ino : 0;
    int directories[] = {open("/", O_RDONLY | O_DIRECTORY), open("/usr", O_RDONLY | O_DIRECTORY)};
    NEED(directories[0] >= 0 && directories[1] >= 0);
    changing_name = data;
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, change_name, NULL) == 0);
    const char *name = data;
    for (uint64_t round = 0;; round++) {
        uint64_t slot = own_slot(), *loans = (uint64_t *)(slot + REGION_LENT);
        seed = seed * 6364136223846793005UL + 1442695040888963407UL;
        if (round > 200 && slot >= REGION_SLOTS && slot < REGION_ORDERS)
            loans[(seed >> 20) % (LOANS / 8)] = seed & 4 ? seed * 0x9e3779b97f4a7c15UL : (seed >> 33 & 0x1f1f1f1f) | 0x1000000010000;
        int directory = directories[seed >> 62 & 1], result = -1;
        status.st_ino = 0;
        switch (seed >> 56 & 3) {
        case 0: result = stat(name, &status); break;
        case 1: result = fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW); break;
        case 2: result = fstatat(directory, name, &status, 0); break;
        default: faccessat(directory, name, R_OK, 0); break;
        }
        bool is_known = result != 0;
        for (size_t i = 0; i < sizeof reached / sizeof *reached; i++)
            is_known |= status.st_ino == known[i];
        if (!is_known || access("/no such file", F_OK) == 0)
            kill(getppid(), SIGABRT);
    }
}

static void forge_names_everywhere(void) {
    for (uint64_t seed = 1; seed <= 16; seed++)
        spawn(forge_names, &(uint64_t){seed * 0x9e3779b97f4a7c15UL});
}

/* --- Doorbells and frames ------------------------------------------------------------------------------------------- */

struct ring {
    uint64_t site, frame;
};

static void ring(const void *argument) {
    const struct ring *ring = argument;
    for (;;) {
        uint64_t result = 400;
        register uint64_t target __asm__("r11") = ring->site;
        /* The site goes on to the platform's return to the guest; a second process comes back by a new jump. */
        __asm__ volatile("jmp *%%r11" : "+a"(result) : "D"(31), "S"(ring->frame), "r"(target) : "rcx", "memory");
    }
}

static void *ring_in_thread(void *argument) {
    ring(argument);
    return NULL;
}

static void flood(const void *argument) {
    pthread_t thread;
    for (int i = 0; i < 4; i++)
        NEED(pthread_create(&thread, NULL, ring_in_thread, (void *)argument) == 0);
    for (;;)
        getppid();
}

static void flood_everything(void) {
    static const uint64_t frames[] = {
        REGION_SLOTS, REGION_SLOTS + REGION_SLOT_SIZE, REGION_SLOTS + REGION_SLOT_SIZE + 64, REGION_SLOTS + 2 * REGION_SLOT_SIZE - 8,
        REGION_ORDERS, 0, -16UL, REGION_GUEST_END - 8,
    };
    for (int site = 0; site < site_count && site < 4; site++)
        for (size_t frame = 0; frame < sizeof frames / sizeof *frames; frame++) {
            struct ring argument = {sites[site], frames[frame]};
            spawn(ring, &argument);
            spawn(flood, &argument);
        }
}

struct frame {
    uint64_t site, fill, selectors;
};

static void return_through(const void *argument) {
    const struct frame *frame = argument;
    static uint64_t words[512] __attribute__((aligned(64)));
    for (size_t i = 0; i < 512; i++)
        words[i] = frame->fill;
    words[(40 + 144) / 8] = frame->selectors;
    register uint64_t target __asm__("r11") = frame->site;
    __asm__ volatile("mov %1, %%rsp\n\tmov $15, %%eax\n\tjmp *%%r11" : : "r"(target), "r"(words) : "rax", "memory");
}

static void return_through_everything(void) {
    static const uint64_t shapes[][2] = {
        {0, 0}, {-1UL, -1UL}, {0x400000, 0x23}, {0x400000, 0x2b000000000033}, {REGION_CODE, 0x33}, {0x5a5a5a5a5a5a5a5a, 0x2b000000000033},
    };
    for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++) {
        for (int site = 0; site < site_count; site++) {
            struct frame argument = {sites[site], shapes[shape][0], shapes[shape][1]};
            spawn(return_through, &argument);
        }
        /* And by the guest's own call, which the kernel of the sandbox answers. */
        static const unsigned char call[] = {0x0f, 0x05};
        struct frame argument = {(uint64_t)call, shapes[shape][0], shapes[shape][1]};
        NEED(mprotect((void *)((uint64_t)call & -PAGE_SIZE), PAGE_SIZE, PROT_READ | PROT_EXEC) == 0);
        spawn(return_through, &argument);
    }
}

/* --- Masks ---------------------------------------------------------------------------------------------------------- */

static void *scribble_masks(void *unused) {
    for (uint64_t value = 0;; value = ~value)
        for (uint64_t slot = REGION_SLOTS; slot < REGION_SLOTS + 8 * REGION_SLOT_SIZE; slot += REGION_SLOT_SIZE)
            *(volatile uint64_t *)(slot + REGION_SLOT_SIZE - 8) = value;
    return unused;
}

static void pass_over(int signal) { (void)signal; }

static void change_masks(void) {
    pthread_t thread;
    sigset_t all, old;
    sigfillset(&all);
    signal(SIGUSR1, pass_over);
    NEED(pthread_create(&thread, NULL, scribble_masks, NULL) == 0);
    for (;;) {
        sigprocmask(SIG_SETMASK, &all, &old);
        sigprocmask(SIG_SETMASK, &old, NULL);
        __atomic_fetch_add(rounds + 1, 1, __ATOMIC_RELAXED);
    }
}

/* Whatever a process does to its masks, it can be stopped, continued and killed. */
static void forge_masks(void) {
    for (int attack = 0; attack < 8; attack++) {
        int status;
        pid_t pid = fork();
        NEED(pid != -1);
        if (pid == 0)
            change_masks();
        bool has_ended = false;
        for (unsigned long seen = rounds[1]; !has_ended && rounds[1] < seen + 1000;)
            has_ended = waitpid(pid, &status, WNOHANG) == pid;
        /* Where the region is not there, the first word ended it. */
        if (has_ended) {
            NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
            continue;
        }
        for (int i = 0; i < 1000; i++)
            NEED(kill(pid, SIGUSR1) == 0);
        NEED(kill(pid, SIGSTOP) == 0 && waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
        NEED(kill(pid, SIGCONT) == 0 && waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
        NEED(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
        NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
}

/* Writes over the actions of a process that shares its memory, from its signal stack's end on. */
static int scribble_actions(void *unused) {
    (void)unused;
    for (uint64_t value = 1;; value = value * 6364136223846793005 + 1442695040888963407)
        for (uint64_t slot = REGION_SLOTS; slot < REGION_SLOTS + 8 * REGION_SLOT_SIZE; slot += REGION_SLOT_SIZE)
            for (uint64_t word = slot + REGION_MAILBOX - 0x840; word < slot + REGION_MAILBOX; word += 8)
                *(volatile uint64_t *)word = value % 4 > 2 ? (uint64_t)pass_over : value % 2 ? value : value % 4 / 2;
}

static void change_actions(void) {
    static char stack[16 * PAGE_SIZE] __attribute__((aligned(16)));
    NEED(setpgid(0, 0) == 0);
    NEED(clone(scribble_actions, stack + sizeof stack, CLONE_VM, NULL) != -1);
    for (int signal_number = 1;; signal_number = signal_number % 31 + 1) {
        struct sigaction action = {.sa_handler = signal_number % 2 ? pass_over : SIG_IGN}, old;
        sigaction(signal_number, &action, &old);
        __atomic_fetch_add(rounds + 1, 1, __ATOMIC_RELAXED);
    }
}

/* Whatever a process does to its actions, it ends by a signal, and others' signals are as they were. */
static void forge_actions(void) {
    signal(SIGUSR2, pass_over);
    for (int attack = 0; attack < 20; attack++) {
        int status;
        pid_t pid = fork();
        NEED(pid != -1);
        if (pid == 0)
            change_actions();
        bool has_ended = false;
        for (unsigned long seen = rounds[1]; !has_ended && rounds[1] < seen + 1000;)
            has_ended = waitpid(pid, &status, WNOHANG) == pid;
        for (int i = 0; i < 1000 && !has_ended; i++) {
            NEED(kill(pid, i % 3 ? SIGUSR1 : SIGCHLD) == 0);
            has_ended = waitpid(pid, &status, WNOHANG) == pid;
        }
        /* What shares its memory, too, if it is still there. */
        kill(-pid, SIGKILL);
        NEED(has_ended || waitpid(pid, &status, 0) == pid);
        NEED(WIFSIGNALED(status));
        struct sigaction own;
        NEED(sigaction(SIGUSR2, NULL, &own) == 0 && own.sa_handler == pass_over);
        NEED(raise(SIGUSR2) == 0);
    }
}

/* Writes the registers of threads that return from handlers, on their way. */
static void *scribble_returns(void *unused) {
    for (uint64_t value = 1;; value = value * 6364136223846793005 + 1442695040888963407)
        for (uint64_t slot = REGION_SLOTS; slot < REGION_SLOTS + 8 * REGION_SLOT_SIZE; slot += REGION_SLOT_SIZE)
            for (uint64_t word = slot; word < slot + 256; word += 8)
                *(volatile uint64_t *)word = value;
    return unused;
}

static void return_all_the_time(void) {
    pthread_t thread;
    signal(SIGUSR1, pass_over);
    NEED(pthread_create(&thread, NULL, scribble_returns, NULL) == 0);
    for (;;) {
        raise(SIGUSR1);
        __atomic_fetch_add(rounds + 1, 1, __ATOMIC_RELAXED);
    }
}

static void forge_returns(void) {
    for (int attack = 0; attack < 50; attack++) {
        int status;
        pid_t pid = fork();
        NEED(pid != -1);
        if (pid == 0)
            return_all_the_time();
        bool has_ended = false;
        for (unsigned long seen = rounds[1]; !has_ended && rounds[1] < seen + 200;) {
            has_ended = waitpid(pid, &status, WNOHANG) == pid;
            /* It may have forged itself a wait. */
            if (rounds[1] == seen && rounds[2]++ > 100000)
                break;
        }
        rounds[2] = 0;
        NEED(has_ended || (kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid));
        NEED(WIFSIGNALED(status) || WIFEXITED(status));
    }
}

int main(int argc, char **argv) {
    NEED(argc == 2 && is_inside());
    data = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(data != MAP_FAILED);
    code_sum = sum_of_code();
    find_sites();
    pid_t witness = start_witness();
    NEED(setpgid(witness, witness) == 0);
    static const struct { const char *name; void (*run)(void); } attacks[] = {
        {"jump", jump_everywhere},
        {"calls", name_everywhere},
        {"forge", forge_everything},
        {"loans", forge_loans_everywhere},
        {"arrivals", forge_arrivals_everywhere},
        {"shared", forge_shared_loans_everywhere},
        {"memory", forge_memory_everywhere},
        {"changes", forge_changes_everywhere},
        {"ledger", forge_ledgers_everywhere},
        {"inlet", forge_inlets_everywhere},
        {"names", forge_names_everywhere},
        {"flood", flood_everything},
        {"frames", return_through_everything},
        {"masks", forge_masks},
        {"actions", forge_actions},
        {"returns", forge_returns},
    };
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
        if (strcmp(argv[1], attacks[i].name) == 0)
            attacks[i].run();
    reap_all();
    expect_witness(witness);
    NEED(kill(-witness, SIGKILL) == 0 && waitpid(witness, NULL, 0) == witness);
    NEED(sum_of_code() == code_sum);
    printf("sites %d\nfinished\n", site_count);
    return REGION_STATUS;
}
