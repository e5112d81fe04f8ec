/*
 * The guest of the differential fuzzer. It reads sequences of system calls (`struct message`) from standard input, plays each
 * in a process of its own, and writes down for each what its calls came to and what they left behind: a length, then text.
 *
 * A sequence has up to three actors: the process, a second thread of it, and a child. Each does its calls when it has the
 * turn, so that the order is the same each time; between two calls of the same actor nothing else is called.
 *
 * What two runs cannot have in common is not written down: inode and device numbers, times, the numbers of processes,
 * blocks, the order in a directory, sizes of directories and positions in them, and where the sequence's directory lies.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "message.h"

/* Ends the program: this is not about usk, the test is wrong or cannot run here. */
#define NEED(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno));                       \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* What a sequence's processes share. It lies in a file, so that it outlives the program that is executed. */
static struct state {
    struct message message;
    /* The next call. */
    uint32_t position;
    /* Whose turn it is; a futex. */
    uint32_t turn;
    bool is_ending;
    bool is_alive[ACTORS];
    pid_t child;
    /* Which descriptors are directories, of the process and of the child. */
    bool is_directory[2][DESCRIPTORS];
    uint32_t length;
    char text[TEXT_SIZE];
} *const state = (struct state *)STATE;

static int self_process; /* 0, or 1 in the child */
static pthread_t thread;

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
    va_list list;
    va_start(list, format);
    int length = vsnprintf(state->text + state->length, TEXT_SIZE - state->length, format, list);
    va_end(list);
    state->length += length < (int)(TEXT_SIZE - state->length) ? length : (int)(TEXT_SIZE - state->length) - 1;
}

static uint64_t hash(const void *memory, size_t length) {
    uint64_t value = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++)
        value = (value ^ ((const uint8_t *)memory)[i]) * 0x100000001b3;
    return value;
}

/* Signals that handlers have met since the last note, and their codes. */
static volatile sig_atomic_t handled[65], handled_code[65];

static void handle(int number, siginfo_t *info, void *context) {
    (void)context;
    handled[number]++;
    handled_code[number] = info->si_code;
}

static void note_handled(void) {
    for (int number = 1; number <= 64; number++)
        if (handled[number]) {
            note(" signal %d x%d code %d", number, handled[number], handled_code[number]);
            handled[number] = 0;
        }
}

/* Memory is touched where a fault may be what comes of it. */
static _Thread_local sigjmp_buf fault_return;
static _Thread_local volatile sig_atomic_t may_fault;

static void handle_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    if (!may_fault) {
        signal(number, SIG_DFL);
        return;
    }
    may_fault = 0;
    siglongjmp(fault_return, number * 1000 + info->si_code);
}

static long touch(volatile uint8_t *address, int value) {
    int fault = sigsetjmp(fault_return, 0);
    if (fault)
        return -fault;
    may_fault = 1;
    if (value >= 0)
        *address = (uint8_t)value;
    else
        value = *address;
    may_fault = 0;
    return value;
}

static void set_action(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    NEED(sigaction(number, &action, NULL) == 0);
}

static void catch_faults(void) {
    set_action(SIGSEGV, handle_fault, SA_NODEFER);
    set_action(SIGBUS, handle_fault, SA_NODEFER);
}

/* The arena: memory that calls are about, at addresses that are known. */
static void map_arena(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    NEED(mmap((void *)CONSTANTS, PAGE + BUFFER_SIZE + 2 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) == (void *)CONSTANTS);
    memset((void *)SEALED, 's', PAGE);
    NEED(mprotect((void *)HOLE, PAGE, PROT_NONE) == 0 && mprotect((void *)SEALED, PAGE, PROT_READ) == 0);
}

static void map_state(int fd) {
    NEED(mmap(state, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) == state);
}

static void fill_arena(void) {
    memcpy((void *)CONSTANTS, state->message.constants, PAGE);
    for (size_t i = 0; i < BUFFER_SIZE / 8; i++)
        ((uint64_t *)BUFFER)[i] = 0x0101010101010101 * (i * 7 % 251) + state->position;
}

/* A call site that has trapped often is patched, and a program that has trapped often is lent what it has: so that the sequence's own
 * calls are, and it is. */
static void warm_up(void) {
    long mask = syscall(SYS_umask, 0);
    for (int i = 0; i < WARM_UP_CALLS; i++)
        syscall(SYS_umask, mask);
}

/* --- What is not written down --- */

static void normalize_stat(struct stat *stat) {
    stat->st_dev = stat->st_ino = stat->st_blksize = stat->st_blocks = 0;
    memset(&stat->st_atim, 0, sizeof stat->st_atim);
    memset(&stat->st_mtim, 0, sizeof stat->st_mtim);
    memset(&stat->st_ctim, 0, sizeof stat->st_ctim);
    if (S_ISDIR(stat->st_mode))
        stat->st_size = stat->st_nlink = 0;
}

static int compare_names(const void *one, const void *other) {
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

/* Names and types, sorted, in place of what the directory gave. */
static void normalize_entries(char *entries, size_t length) {
    char names[BUFFER_SIZE], *sorted[BUFFER_SIZE / 24];
    size_t used = 0, count = 0;
    for (size_t at = 0; at < length;) {
        struct dirent64 *entry = (struct dirent64 *)(entries + at);
        sorted[count++] = names + used;
        used += sprintf(names + used, "%s:%d", entry->d_name, entry->d_type) + 1;
        at += entry->d_reclen;
    }
    qsort(sorted, count, sizeof *sorted, compare_names);
    memset(entries, 0, length);
    for (size_t i = 0, at = 0; i < count; i++)
        at += sprintf(entries + at, "%s ", sorted[i]);
}

static bool is_in_buffer(uint64_t address, uint64_t length) {
    return address >= BUFFER && address <= HOLE && length <= HOLE - address;
}

/* The result as it is written down; memory is changed for the same purpose. */
static long normalize(const struct call *call, long result) {
    uint64_t address = call->arguments[call->treated];
    if (result < 0)
        return result;
    switch (call->treatment) {
    case TREAT_STAT:
        if (is_in_buffer(address, sizeof(struct stat)))
            normalize_stat((struct stat *)address);
        return result;
    case TREAT_ENTRIES:
        if (is_in_buffer(address, result))
            normalize_entries((char *)address, result);
        return result;
    case TREAT_ZERO:
        if (is_in_buffer(address, 128))
            memset((void *)address, 0, 128);
        /* A time. */
        return result > 1000000000 ? 0 : result;
    case TREAT_PROCESS: {
        long known[] = {getpid(), getppid(), state->child, syscall(SYS_gettid)};
        for (int i = 0; i < 4; i++)
            if (result == known[i])
                return 1000000 + i;
        /* A child before this one. */
        return result > 0 ? 1000004 : result;
    }
    case TREAT_DIRECTORY:
        if (is_in_buffer(address, result)) {
            size_t length = strlen(state->message.directory);
            if (strncmp((char *)address, state->message.directory, length) == 0)
                note(" in .%s", (char *)address + length);
            else
                note(" elsewhere");
            memset((void *)address, 0, BUFFER_SIZE);
        }
        return 0;
    default:
        return result;
    }
}

/* --- Calls --- */

/* The kernel looks at the lower half of a descriptor only. */
static uint32_t descriptor_of(const struct call *call) {
    return (uint32_t)call->arguments[0];
}

/* Remembers which descriptors are directories: their positions are their file system's own affair. */
static void learn(const struct call *call, long result) {
    bool *is_directory = state->is_directory[self_process];
    if (result < 0 || result >= DESCRIPTORS)
        return;
    struct stat stat;
    switch (call->number) {
    case SYS_open: case SYS_openat: case SYS_creat:
        is_directory[result] = fstat(result, &stat) == 0 && S_ISDIR(stat.st_mode);
        return;
    case SYS_fcntl:
        if (call->arguments[1] != F_DUPFD && call->arguments[1] != F_DUPFD_CLOEXEC)
            return;
        /* fall through */
    case SYS_dup: case SYS_dup2: case SYS_dup3:
        if (descriptor_of(call) < DESCRIPTORS)
            is_directory[result] = is_directory[descriptor_of(call)];
        return;
    }
}

/* Whether a write beyond the end fails for its memory: the file has become longer all the same, or not, depending on the
 * version. */
static bool would_fail_beyond_the_end(const struct call *call) {
    const uint64_t *a = call->arguments;
    /* Readable in a sandbox, and not written from all the same. */
    const uint64_t usk_region = 0x7fff00000000;
    uint64_t memory = a[1];
    bool has_offset = call->number == SYS_pwrite64 || call->number == SYS_pwritev || call->number == SYS_pwritev2;
    if (call->number == SYS_writev || call->number == SYS_pwritev || call->number == SYS_pwritev2) {
        if (touch((volatile uint8_t *)memory, -1) < 0)
            return false;
        memory = *(uint64_t *)memory;
    } else if (call->number != SYS_write && call->number != SYS_pwrite64) {
        return false;
    }
    struct stat stat;
    bool is_there = memory < usk_region && touch((volatile uint8_t *)memory, -1) >= 0;
    if (is_there || fstat(descriptor_of(call), &stat) != 0 || !S_ISREG(stat.st_mode))
        return false;
    return (has_offset ? (long)a[3] : lseek(descriptor_of(call), 0, SEEK_CUR)) > stat.st_size;
}

/* Whether the call is about a position in a directory, or about the permissions of a file without a type, which can be changed or
 * not, depending on the version. */
static bool is_left_out(const struct call *call) {
    uint32_t fd = descriptor_of(call);
    struct stat stat;
    if (would_fail_beyond_the_end(call))
        return true;
    if (call->number == SYS_fchmod)
        return fstat(fd, &stat) == 0 && (stat.st_mode & S_IFMT) == 0;
    if (fd >= DESCRIPTORS || !state->is_directory[self_process][fd])
        return false;
    if (call->number == SYS_lseek || call->number == SYS_getdents64) {
        bool is_directory = fstat(fd, &stat) == 0 && S_ISDIR(stat.st_mode);
        if (is_directory && call->number == SYS_getdents64)
            lseek(fd, 0, SEEK_SET);
        return is_directory && call->number == SYS_lseek;
    }
    return false;
}

static long execute(int self) {
    char actor[2] = {(char)('0' + self), 0};
    char *arguments[] = {"guest", "--resume", actor, NULL}, *environment[] = {NULL};
    /* It would be the process afterwards. */
    if (self == ACTOR_THREAD)
        return 0;
    bool had_thread = state->is_alive[ACTOR_THREAD];
    if (self == ACTOR_PROCESS)
        state->is_alive[ACTOR_THREAD] = false;
    state->position++;
    execve("/proc/self/exe", arguments, environment);
    int error = errno;
    state->position--;
    if (self == ACTOR_PROCESS)
        state->is_alive[ACTOR_THREAD] = had_thread;
    return -error;
}

static void let_play(int actor);

static long pseudo_call(int self, const struct call *call) {
    const uint64_t *arguments = call->arguments;
    long result;
    switch (call->number) {
    case CALL_LOAD:
        return touch((volatile uint8_t *)arguments[0], -1);
    case CALL_STORE:
        return touch((volatile uint8_t *)arguments[0], (int)(arguments[1] & 0xff));
    case CALL_SIGACTION:
        if (arguments[1] == DISPOSITION_HANDLER)
            set_action(arguments[0], handle, arguments[2]);
        else
            signal(arguments[0], arguments[1] == DISPOSITION_IGNORE ? SIG_IGN : SIG_DFL);
        return 0;
    case CALL_RAISE:
        /* With two threads it would be open which of them takes it. */
        result = state->is_alive[ACTOR_THREAD] || arguments[1]
                     ? syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), arguments[0])
                     : syscall(SYS_kill, getpid(), arguments[0]);
        return result == -1 ? -errno : result;
    case CALL_SIGNAL_CHILD:
        if (self != ACTOR_PROCESS || !state->is_alive[ACTOR_CHILD])
            return 0;
        result = syscall(SYS_kill, state->child, arguments[0]);
        if (result == -1)
            return -errno;
        /* It takes it before it has anything to do. */
        let_play(ACTOR_CHILD);
        return result;
    case CALL_EXECUTE:
        return execute(self);
    default:
        return 0; /* CALL_END */
    }
}

static void play_call(int self, const struct call *call) {
    fill_arena();
    note("%u", state->position);
    if (call->number < FIRST_PSEUDO_CALL && is_left_out(call)) {
        note(" left out\n");
        return;
    }
    long result;
    if (call->number >= FIRST_PSEUDO_CALL) {
        result = pseudo_call(self, call);
    } else {
        const uint64_t *a = call->arguments;
        result = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (result == -1)
            result = -errno;
    }
    learn(call, result);
    result = normalize(call, result);
    if (result < 0 && result >= -4095 && call->number != CALL_LOAD && call->number != CALL_STORE)
        note(" = %s", strerrorname_np(-result));
    else
        note(" = %ld", result);
    note(" memory %016lx %016lx", hash((void *)CONSTANTS, PAGE + BUFFER_SIZE), *(uint64_t *)BUFFER);
    note_handled();
    note("\n");
}

#include "left_behind.h"

/* --- Turns --- */

static void sleep_while(uint32_t turn) {
    struct timespec patience = {0, PATIENCE_NS};
    syscall(SYS_futex, &state->turn, FUTEX_WAIT, turn, &patience, NULL, 0);
}

static void give_turn(int to) {
    __atomic_store_n(&state->turn, to, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &state->turn, FUTEX_WAKE, ACTORS, NULL, NULL, 0);
}

static const struct call *next_call(void) {
    return state->position < state->message.count ? &state->message.calls[state->position] : NULL;
}

/* Plays what is `self`'s until it is another's turn. False if `self` has ended. */
static bool play_turn(int self) {
    const struct call *call;
    while ((call = next_call()) != NULL && call->actor == (uint32_t)self) {
        play_call(self, call);
        state->position++;
        if (call->number == CALL_END && self != ACTOR_PROCESS)
            return false;
    }
    return call != NULL || self == ACTOR_PROCESS || !state->is_ending;
}

/* What is left of an actor is its end. */
static void end(int self) {
    if (self == ACTOR_CHILD)
        note_process();
    state->is_alive[self] = false;
    give_turn(ACTOR_PROCESS);
    if (self == ACTOR_CHILD)
        _exit(state->position % 100);
}

/* The thread and the child: they get their turns from the process, and give them back to it. */
static void play_second(int self) {
    while (play_turn(self)) {
        give_turn(ACTOR_PROCESS);
        while (__atomic_load_n(&state->turn, __ATOMIC_SEQ_CST) != (uint32_t)self)
            sleep_while(ACTOR_PROCESS);
    }
    end(self);
}

static void *run_thread(void *unused) {
    play_second(ACTOR_THREAD);
    return unused;
}

static void begin(int actor) {
    state->is_alive[actor] = true;
    if (actor == ACTOR_THREAD) {
        NEED(pthread_create(&thread, NULL, run_thread, NULL) == 0);
        return;
    }
    memcpy(state->is_directory[1], state->is_directory[0], sizeof state->is_directory[1]);
    fflush(NULL);
    pid_t child = fork();
    NEED(child != -1);
    if (child == 0) {
        self_process = 1;
        play_second(ACTOR_CHILD);
    }
    state->child = child;
}

/* A signal may have killed the child, which keeps its turn then. */
static bool has_died(void) {
    siginfo_t info = {0};
    if (waitid(P_PID, state->child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0)
        return false;
    note("the child has ended: %d %d\n", info.si_code, info.si_status);
    return true;
}

/* Lets another actor play until it gives the turn back or ends. */
static void let_play(int actor) {
    state->turn = actor;
    if (!state->is_alive[actor])
        begin(actor);
    else
        give_turn(actor);
    while (__atomic_load_n(&state->turn, __ATOMIC_SEQ_CST) == (uint32_t)actor) {
        sleep_while(actor);
        if (state->turn == (uint32_t)actor && actor == ACTOR_CHILD && has_died()) {
            state->is_alive[actor] = false;
            state->turn = ACTOR_PROCESS;
            /* It died in the call, unless another's killed it. */
            state->position += next_call() != NULL && next_call()->actor == ACTOR_CHILD;
        }
    }
    siginfo_t info;
    if (!state->is_alive[actor] && actor == ACTOR_THREAD)
        pthread_join(thread, NULL);
    else if (!state->is_alive[actor])
        while (waitid(P_PID, state->child, &info, WEXITED | WNOWAIT) == -1 && errno == EINTR)
            ;
}

static void play_process(void) {
    while (next_call() != NULL) {
        if (next_call()->actor != ACTOR_PROCESS)
            let_play(next_call()->actor);
        else
            play_turn(ACTOR_PROCESS);
    }
    state->is_ending = true;
    for (int actor = ACTOR_THREAD; actor < ACTORS; actor++)
        if (state->is_alive[actor])
            let_play(actor);
    note_process();
    _exit(0);
}

static void resume(int self) {
    map_state(STATE_FD);
    self_process = self == ACTOR_CHILD;
    map_arena();
    warm_up();
    catch_faults();
    note(" executed\n");
    if (self == ACTOR_CHILD)
        play_second(self);
    play_process();
}

/* --- Sequences --- */

static void make_file(const char *name, size_t size) {
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    NEED(fd != -1);
    for (size_t i = 0; i < size; i++) {
        char byte = (char)(i % 251);
        NEED(write(fd, &byte, 1) == 1);
    }
    close(fd);
}

/* As the test makes them on the host for sequences that begin with files of a lower layer. */
static void make_files(void) {
    NEED(mkdir("d", 0755) == 0 && symlink("a", "l") == 0);
    make_file("a", 10);
    make_file("b", 500);
    make_file("big", 600);
    NEED(truncate("b", 5000) == 0 && truncate("big", 40000) == 0);
    make_file("d/c", 100);
}

static void play(int state_fd) {
    struct rlimit limit = {DESCRIPTORS, DESCRIPTORS};
    NEED(setpgid(0, 0) == 0 && dup2(state_fd, STATE_FD) == STATE_FD);
    /* A file of its own: whatever is done with these descriptors, natively it is done on the host. */
    int standard = memfd_create("standard", 0);
    NEED(dup2(standard, 0) == 0 && dup2(standard, 1) == 1 && dup2(standard, 2) == 2);
    NEED(syscall(SYS_close_range, 3, STATE_FD - 1, 0) == 0 && setrlimit(RLIMIT_NOFILE, &limit) == 0);
    umask(022);
    if (state->message.makes_files) {
        char above[sizeof state->message.directory];
        strcpy(above, state->message.directory);
        *strrchr(above, '/') = 0;
        NEED(mkdir(above, 0755) == 0 && mkdir(state->message.directory, 0777) == 0);
        NEED(chdir(state->message.directory) == 0 && chmod(".", 0777) == 0);
        make_files();
    } else {
        NEED(chdir(state->message.directory) == 0);
    }
    signal(SIGPIPE, SIG_IGN);
    set_action(SIGUSR1, handle, 0);
    set_action(SIGUSR2, handle, SA_RESTART);
    set_action(SIGRTMIN, handle, 0);
    catch_faults();
    map_arena();
    play_process();
}

static void read_all(void *memory, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t count = read(0, (char *)memory + done, length - done);
        if (count == 0)
            _exit(0);
        NEED(count > 0);
        done += count;
    }
}

static void write_all(const void *memory, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t count = write(1, (const char *)memory + done, length - done);
        NEED(count > 0);
        done += count;
    }
}

/* Addresses that sequences name as nobody's must be nobody's: a stack at a random place would lie there now and then. */
static void settle_addresses(char **argv) {
    int old = personality(0xffffffff);
    if (old & ADDR_NO_RANDOMIZE)
        return;
    NEED(personality(old | ADDR_NO_RANDOMIZE) != -1);
    execv("/proc/self/exe", argv);
    NEED(false);
}

int main(int argc, char **argv) {
    settle_addresses(argv);
    if (argc == 3 && strcmp(argv[1], "--resume") == 0)
        resume(atoi(argv[2]));
    int fd = memfd_create("state", MFD_CLOEXEC);
    NEED(fd != -1 && ftruncate(fd, sizeof *state) == 0);
    map_state(fd);
    warm_up();
    for (;;) {
        memset(state, 0, offsetof(struct state, text));
        read_all(&state->message, sizeof state->message);
        NEED(state->message.count <= CALLS_MAX);
        pid_t pid = fork();
        NEED(pid != -1);
        if (pid == 0)
            play(fd);
        int status;
        NEED(waitpid(pid, &status, 0) == pid);
        kill(-pid, SIGKILL);
        note("status %#x\n", status);
        note_tree(state->message.directory, 0);
        write_all(&state->length, sizeof state->length);
        write_all(state->text, state->length);
    }
}
