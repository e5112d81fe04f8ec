/* mmap(2), munmap(2) */
#include "case.h"
#include <pthread.h>
#include <sys/file.h>
#include <sys/ptrace.h>

/* Whether the byte at `address` can be read, without a fault if not. */
static bool readable(const void *address) {
    PIPE(ends);
    ssize_t count = write(ends[1], address, 1);
    close(ends[0]);
    close(ends[1]);
    return count == 1;
}

/* A file of `size` bytes, each page filled with its number from 'a'. */
static int lettered_file(size_t size) {
    int fd = OK(open("f", O_RDWR | O_CREAT | O_TRUNC, 0600));
    for (size_t i = 0; i < size; i += PAGE_SIZE) {
        char page[PAGE_SIZE];
        memset(page, 'a' + i / PAGE_SIZE, sizeof page);
        size_t length = size - i < PAGE_SIZE ? size - i : PAGE_SIZE;
        EXPECT_EQ(write(fd, page, length), length);
    }
    return fd;
}

#define MAP(...)                                                                                                       \
    ({                                                                                                                 \
        char *address_ = mmap(__VA_ARGS__);                                                                            \
        EXPECT(address_ != MAP_FAILED);                                                                                \
        address_;                                                                                                      \
    })

static volatile int handled;

static void count(int signal) {
    (void)signal;
    handled++;
}

static void install(int signal, int flags) {
    struct sigaction action = {.sa_handler = count, .sa_flags = flags};
    OK(sigaction(signal, &action, NULL));
}

CASE(mmap_anonymous_memory_is_zero_and_writable) {
    char *memory = map(10 * PAGE_SIZE);
    for (size_t i = 0; i < 10 * PAGE_SIZE; i++)
        EXPECT_EQ(memory[i], 0);
    memset(memory, 'x', 10 * PAGE_SIZE);
    EXPECT_EQ((uintptr_t)memory % PAGE_SIZE, 0);
}

CASE(mmap_length_is_rounded_up_to_pages) {
    char *memory = map(1);
    memory[PAGE_SIZE - 1] = 'x';
}

CASE(mmap_of_zero_length_returns_einval) {
    EXPECT_ERRNO(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
}

CASE(mmap_without_private_or_shared_returns_einval) {
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
}

CASE(mmap_of_an_unaligned_offset_returns_einval) {
    int fd = lettered_file(2 * PAGE_SIZE);
    EXPECT_ERRNO(syscall(SYS_mmap, NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 100), EINVAL);
}

CASE(mmap_of_more_than_the_address_space_returns_enomem) {
    EXPECT_ERRNO(mmap(NULL, 1UL << 48, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    EXPECT_ERRNO(mmap(NULL, -PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
}

CASE(mmap_hint_is_taken_when_free) {
    char *hole = map(4 * PAGE_SIZE);
    OK(munmap(hole, 4 * PAGE_SIZE));
    char *memory = MAP(hole, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory == hole);
}

CASE(mmap_hint_is_ignored_when_taken) {
    char *taken = map(PAGE_SIZE);
    taken[0] = 'x';
    char *memory = MAP(taken, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != taken);
    EXPECT_EQ(taken[0], 'x');
}

CASE(mmap_fixed_replaces_what_was_there) {
    char *memory = map(3 * PAGE_SIZE);
    memset(memory, 'x', 3 * PAGE_SIZE);
    char *middle = MAP(memory + PAGE_SIZE, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    EXPECT(middle == memory + PAGE_SIZE);
    EXPECT_EQ(middle[0], 0);
    EXPECT_EQ(memory[0], 'x');
    EXPECT_EQ(memory[2 * PAGE_SIZE], 'x');
}

CASE(mmap_fixed_of_an_unaligned_address_returns_einval) {
    char *memory = map(2 * PAGE_SIZE);
    EXPECT_ERRNO(mmap(memory + 1, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
}

CASE(mmap_fixed_outside_the_address_space_returns_enomem) {
    void *kernel = (void *)0xffff800000000000;
    EXPECT_ERRNO(mmap(kernel, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), ENOMEM);
}

CASE(mmap_fixed_noreplace_refuses_what_is_taken) {
    char *taken = map(PAGE_SIZE), *hole = map(PAGE_SIZE);
    OK(munmap(hole, PAGE_SIZE));
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    EXPECT_ERRNO(mmap(taken, PAGE_SIZE, PROT_READ, flags, -1, 0), EEXIST);
    EXPECT(MAP(hole, PAGE_SIZE, PROT_READ, flags, -1, 0) == hole);
}

CASE(mmap_private_file_shows_the_file_and_keeps_writes_private) {
    int fd = lettered_file(2 * PAGE_SIZE);
    char *memory = MAP(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    EXPECT_EQ(memory[PAGE_SIZE], 'b');
    memory[0] = 'X';
    char byte;
    EXPECT_EQ(pread(fd, &byte, 1, 0), 1);
    EXPECT_EQ(byte, 'a');
}

CASE(mmap_shared_file_writes_to_the_file) {
    int fd = lettered_file(PAGE_SIZE);
    char *memory = MAP(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memory[10] = 'X';
    char byte;
    EXPECT_EQ(pread(fd, &byte, 1, 10), 1);
    EXPECT_EQ(byte, 'X');
    EXPECT_EQ(pwrite(fd, "Y", 1, 11), 1);
    EXPECT_EQ(memory[11], 'Y');
}

CASE(mmap_shared_file_is_seen_by_another_mapping_and_process) {
    int fd = lettered_file(PAGE_SIZE);
    char *one = MAP(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *two = MAP(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, OK(open("f", O_RDONLY)), 0);
    pid_t pid = IN_CHILD({ one[0] = 'C'; });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(two[0], 'C');
}

CASE(mmap_offset_selects_the_page) {
    int fd = lettered_file(4 * PAGE_SIZE);
    char *memory = MAP(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE_SIZE);
    EXPECT_EQ(memory[0], 'c');
}

/* As a loader maps the whole of a library: what is nobody else's affair a runtime may leave to the program, and this it does not. */
#define WHOLE (MAP_PRIVATE | MAP_DENYWRITE)
#define FIXED_PART(part, protection, fd, offset)                                                                       \
    EXPECT(MAP(part, PAGE_SIZE, protection, MAP_PRIVATE | MAP_FIXED, fd, offset) == (part))

CASE(mmap_of_a_files_parts_over_the_whole_of_it_gives_each_its_access) {
    int fd = lettered_file(5 * PAGE_SIZE);
    EXPECT_EQ(pwrite(fd, "\xc3", 1, PAGE_SIZE), 1); /* ret */
    char *whole = MAP(NULL, 5 * PAGE_SIZE, PROT_READ, WHOLE, fd, 0);
    FIXED_PART(whole + PAGE_SIZE, PROT_READ | PROT_EXEC, fd, PAGE_SIZE);
    FIXED_PART(whole + 2 * PAGE_SIZE, PROT_READ, fd, 2 * PAGE_SIZE);
    FIXED_PART(whole + 3 * PAGE_SIZE, PROT_READ | PROT_WRITE, fd, 3 * PAGE_SIZE);
    EXPECT_EQ(whole[0], 'a');
    ((void (*)(void))(whole + PAGE_SIZE))();
    EXPECT_EQ(whole[2 * PAGE_SIZE], 'c');
    EXPECT_EQ(whole[3 * PAGE_SIZE], 'd');
    whole[3 * PAGE_SIZE] = 'D';
    EXPECT_EQ(whole[4 * PAGE_SIZE], 'e');
    char byte;
    EXPECT_EQ(pread(fd, &byte, 1, 3 * PAGE_SIZE), 1);
    EXPECT_EQ(byte, 'd');
    for (int page = 0; page < 5; page++)
        if (page != 3)
            EXPECT_KILLED(IN_CHILD({ ((volatile char *)whole)[page * PAGE_SIZE] = 'x'; }), SIGSEGV);
}

CASE(mmap_of_another_part_over_a_file_shows_that_part) {
    int fd = lettered_file(4 * PAGE_SIZE);
    char *whole = MAP(NULL, 4 * PAGE_SIZE, PROT_READ, WHOLE, fd, 0);
    FIXED_PART(whole + PAGE_SIZE, PROT_READ, fd, 3 * PAGE_SIZE);
    EXPECT_EQ(whole[PAGE_SIZE], 'd');
    int other = OK(open("g", O_RDWR | O_CREAT | O_TRUNC, 0600));
    EXPECT_EQ(pwrite(other, "G", 1, 2 * PAGE_SIZE), 1);
    FIXED_PART(whole + 2 * PAGE_SIZE, PROT_READ, other, 2 * PAGE_SIZE);
    EXPECT_EQ(whole[2 * PAGE_SIZE], 'G');
    EXPECT_EQ(whole[3 * PAGE_SIZE], 'd');
}

CASE(mmap_of_a_file_over_itself_drops_what_was_written) {
    int fd = lettered_file(4 * PAGE_SIZE);
    char *whole = MAP(NULL, 4 * PAGE_SIZE, PROT_READ, WHOLE, fd, 0);
    OK(mprotect(whole, PAGE_SIZE, PROT_READ | PROT_WRITE));
    whole[0] = 'X';
    OK(mprotect(whole, PAGE_SIZE, PROT_READ));
    FIXED_PART(whole, PROT_READ, fd, 0);
    EXPECT_EQ(whole[0], 'a');
    FIXED_PART(whole + PAGE_SIZE, PROT_READ | PROT_WRITE, fd, PAGE_SIZE);
    whole[PAGE_SIZE] = 'Z';
    FIXED_PART(whole + PAGE_SIZE, PROT_READ, fd, PAGE_SIZE);
    EXPECT_EQ(whole[PAGE_SIZE], 'b');
}

CASE(mmap_of_a_file_over_itself_drops_what_a_tracer_has_written) {
    int fd = lettered_file(4 * PAGE_SIZE);
    char *whole = MAP(NULL, 4 * PAGE_SIZE, PROT_READ, WHOLE, fd, 0);
    pid_t child = IN_CHILD({
        OK(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
        EXPECT(MAP(whole, 4 * PAGE_SIZE, PROT_READ, WHOLE | MAP_FIXED, fd, 0) == whole);
        OK(raise(SIGSTOP));
        EXPECT_EQ(whole[PAGE_SIZE], 'Y');
        FIXED_PART(whole + PAGE_SIZE, PROT_READ, fd, PAGE_SIZE);
        EXPECT_EQ(whole[PAGE_SIZE], 'b');
    });
    EXPECT(WIFSTOPPED(wait_for(child)));
    OK(ptrace(PTRACE_POKEDATA, child, whole + PAGE_SIZE, (void *)(long)'Y'));
    OK(ptrace(PTRACE_CONT, child, NULL, NULL));
    EXPECT_EXIT(child, 0);
}

CASE(mmap_of_a_file_over_itself_forgets_advice) {
    int fd = lettered_file(2 * PAGE_SIZE);
    char *whole = MAP(NULL, 2 * PAGE_SIZE, PROT_READ, WHOLE, fd, 0);
    OK(madvise(whole, 2 * PAGE_SIZE, MADV_DONTFORK));
    FIXED_PART(whole + PAGE_SIZE, PROT_READ, fd, PAGE_SIZE);
    EXPECT_EXIT(IN_CHILD({
                    EXPECT(!readable(whole));
                    EXPECT_EQ(whole[PAGE_SIZE], 'b');
                }),
                0);
}

CASE(mmap_tail_of_the_last_page_is_zero_and_not_written_back) {
    int fd = lettered_file(100);
    char *memory = MAP(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT_EQ(memory[99], 'a');
    EXPECT_EQ(memory[100], 0);
    memory[200] = 'x';
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 100);
}

CASE(mmap_beyond_the_end_of_the_file_raises_sigbus) {
    int fd = lettered_file(PAGE_SIZE);
    volatile char *memory = MAP(NULL, 2 * PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    pid_t pid = IN_CHILD({ (void)memory[PAGE_SIZE]; });
    EXPECT_KILLED(pid, SIGBUS);
}

CASE(mmap_of_a_truncated_file_raises_sigbus_and_comes_back) {
    int fd = lettered_file(2 * PAGE_SIZE);
    volatile char *memory = MAP(NULL, 2 * PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT_EQ(memory[PAGE_SIZE], 'b');
    OK(ftruncate(fd, PAGE_SIZE));
    pid_t pid = IN_CHILD({ (void)memory[PAGE_SIZE]; });
    EXPECT_KILLED(pid, SIGBUS);
    OK(ftruncate(fd, 2 * PAGE_SIZE));
    EXPECT_EQ(memory[PAGE_SIZE], 0);
}

CASE(mmap_survives_the_closing_and_unlinking_of_its_file) {
    int fd = lettered_file(PAGE_SIZE);
    char *memory = MAP(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    OK(close(fd));
    OK(unlink("f"));
    EXPECT_EQ(memory[5], 'a');
}

CASE(mmap_needs_the_matching_access_mode) {
    OK(close(lettered_file(PAGE_SIZE)));
    int reader = OK(open("f", O_RDONLY)), writer = OK(open("f", O_WRONLY)), path = OK(open("f", O_PATH));
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0), EACCES);
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, writer, 0), EACCES);
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, path, 0), EBADF);
    MAP(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0);
}

CASE(mmap_of_things_that_cannot_be_mapped_returns_enodev) {
    PIPE(ends);
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, ends[0], 0), ENODEV);
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, OK(open(".", O_RDONLY)), 0), ENODEV);
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
}

CASE(mmap_of_dev_zero_is_anonymous_memory) {
    int fd = OK(open("/dev/zero", O_RDWR));
    char *memory = MAP(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    EXPECT_EQ(memory[0], 0);
    memory[0] = 'x';
}

CASE(mmap_shared_anonymous_memory_is_shared_across_fork) {
    int *shared = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({ *shared = 4711; });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(*shared, 4711);
}

CASE(mmap_private_memory_is_copied_on_write_across_fork) {
    int *private = map(PAGE_SIZE);
    *private = 1;
    PIPE(go);
    pid_t pid = IN_CHILD({
        await(go[0]);
        EXPECT_EQ(*private, 1);
        *private = 3;
    });
    *private = 2;
    announce(go[1]);
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(*private, 2);
}

CASE(mmap_executable_memory_runs) {
    unsigned char *code = map(PAGE_SIZE);
    memcpy(code, "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42, %eax; ret */
    OK(mprotect(code, PAGE_SIZE, PROT_READ | PROT_EXEC));
    EXPECT_EQ(((int (*)(void))code)(), 42);
}

CASE(mmap_below_4_gib_with_map_32bit) {
    char *memory = MAP(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    EXPECT((uintptr_t)memory < 1UL << 31);
}

CASE(mmap_populate_and_noreserve_are_accepted) {
    char *memory = MAP(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    EXPECT_EQ(memory[0], 0);
    MAP(NULL, 1UL << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

CASE(mmap_beyond_the_address_space_limit_returns_enomem) {
    struct rlimit limit = {1UL << 30, 1UL << 30};
    OK(setrlimit(RLIMIT_AS, &limit));
    EXPECT_ERRNO(mmap(NULL, 2UL << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    map(PAGE_SIZE);
}

CASE(mmap_growsdown_grows_when_touched_below) {
    char *region = map(512 * PAGE_SIZE);
    OK(munmap(region, 512 * PAGE_SIZE));
    volatile char *stack = MAP(region + 500 * PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    stack[0] = 1;
    stack[-1] = 2;
    EXPECT_EQ(stack[-1], 2);
}

/* A place for a mapping that grows downwards, with `pages` free pages below it. */
static char *room_for_growth(size_t pages) {
    char *region = map((pages + 1) * PAGE_SIZE);
    OK(munmap(region, (pages + 1) * PAGE_SIZE));
    return MAP(region + pages * PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
}

static volatile char *growing;
static pthread_barrier_t growing_round;

/* Touches every second page below `growing`, each when the other thread touches the page beside it. */
static void *grow(void *first) {
    for (intptr_t page = (intptr_t)first; page <= 400; page += 2) {
        pthread_barrier_wait(&growing_round);
        growing[-page * (intptr_t)PAGE_SIZE] = 1;
    }
    return NULL;
}

CASE(mmap_growsdown_grows_for_threads_that_touch_it_at_once) {
    for (int i = 0; i < 5; i++) {
        // Out of the way of the thread's own stack.
        char *away = (char *)(0x20000000000 + i * (1UL << 30));
        growing = MAP(away, PAGE_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
        OK(pthread_barrier_init(&growing_round, NULL, 2));
        pthread_t thread;
        EXPECT_EQ(pthread_create(&thread, NULL, grow, (void *)1), 0);
        grow((void *)2);
        EXPECT_EQ(pthread_join(thread, NULL), 0);
    }
}

CASE(mmap_growsdown_stays_away_only_from_memory_that_can_be_accessed) {
    char *stack = room_for_growth(512);
    char *below = MAP(stack - 100 * PAGE_SIZE, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    *(volatile char *)(stack - PAGE_SIZE) = 1;
    OK(mprotect(below, PAGE_SIZE, PROT_READ));
    EXPECT_KILLED(IN_CHILD(*(volatile char *)(stack - 2 * PAGE_SIZE) = 1;), SIGSEGV);
    MAP(below, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    *(volatile char *)(stack - 2 * PAGE_SIZE) = 1;
}

CASE(mmap_of_anonymous_memory_ignores_the_offset) {
    unsigned long offset = -PAGE_SIZE;
    OK(syscall(SYS_mmap, NULL, 2 * PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, offset));
    int fd = lettered_file(PAGE_SIZE);
    EXPECT_ERRNO(syscall(SYS_mmap, NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, offset), EOVERFLOW);
}

CASE(mmap_of_more_memory_than_there_is_returns_enomem_and_maps_nothing) {
    // Under the usual policy (proc(5), overcommit_memory) the kernel refuses what exceeds memory and swap together.
    const size_t too_much = 1UL << 45;
    for (int i = 0; i < 20; i++) {
        char *page = map(PAGE_SIZE);
        OK(munmap(page, PAGE_SIZE));
        EXPECT_ERRNO(mmap(NULL, too_much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
        char *again = MAP(page, PAGE_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0);
        EXPECT(again == page);
        again[0] = 'x';
    }
}

CASE(mmap_and_signals_at_once_leave_memory_that_a_handler_can_use) {
    // The signal is pending when the memory of its stack is mapped: the handler's frame goes there.
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    install(SIGUSR1, SA_ONSTACK);
    for (int i = 0; i < 20; i++) {
        stack_t stack = {.ss_sp = map(1 << 16), .ss_size = 1 << 16};
        OK(sigaltstack(&stack, NULL));
        OK(munmap(stack.ss_sp, stack.ss_size));
        OK(sigprocmask(SIG_BLOCK, &blocked, &before));
        OK(raise(SIGUSR1));
        MAP(stack.ss_sp, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        OK(sigprocmask(SIG_SETMASK, &before, NULL));
        EXPECT_EQ(handled, i + 1);
    }
}

CASE(mmap_of_files_and_signals_at_once_map_what_was_asked_for) {
    int fd = lettered_file(4 * PAGE_SIZE);
    install(SIGALRM, SA_RESTART);
    struct itimerval often = {{0, 500}, {0, 500}};
    OK(setitimer(ITIMER_REAL, &often, NULL));
    for (int i = 0; i < 200 || !handled; i++) {
        int first = i % 3;
        char *there = MAP(NULL, 2 * PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, first * PAGE_SIZE);
        EXPECT_EQ(there[0], 'a' + first);
        EXPECT_EQ(there[PAGE_SIZE], 'b' + first);
        /* Another page of the file, and anonymous memory, over the first. */
        MAP(there, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 3 * PAGE_SIZE);
        EXPECT_EQ(there[0], 'd');
        there[0] = 'x';
        EXPECT_EQ(there[PAGE_SIZE], 'b' + first);
        MAP(there, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
        EXPECT_EQ(there[0], 0);
        OK(munmap(there, 2 * PAGE_SIZE));
        EXPECT(!readable(there));
    }
    stop_ticking();
}

CASE(munmap_removes_pages) {
    char *memory = map(3 * PAGE_SIZE);
    OK(munmap(memory + PAGE_SIZE, PAGE_SIZE));
    EXPECT(readable(memory));
    EXPECT(!readable(memory + PAGE_SIZE));
    EXPECT(readable(memory + 2 * PAGE_SIZE));
}

CASE(munmap_of_a_hole_succeeds) {
    char *memory = map(PAGE_SIZE);
    OK(munmap(memory, PAGE_SIZE));
    OK(munmap(memory, PAGE_SIZE));
}

CASE(munmap_of_everything_succeeds) {
    pid_t pid = IN_CHILD({ munmap(NULL, 0x7ffffffff000); });
    EXPECT_KILLED(pid, SIGSEGV);
}

CASE(munmap_with_bad_arguments_returns_einval) {
    char *memory = map(PAGE_SIZE);
    EXPECT_ERRNO(munmap(memory + 1, PAGE_SIZE), EINVAL);
    EXPECT_ERRNO(munmap(memory, 0), EINVAL);
    EXPECT_ERRNO(munmap((void *)0xffff800000000000, PAGE_SIZE), EINVAL);
    EXPECT_ERRNO(munmap(NULL, 0x7ffffffff001), EINVAL);
}

CASE(munmap_makes_access_fault) {
    volatile char *memory = map(PAGE_SIZE);
    OK(munmap((void *)memory, PAGE_SIZE));
    pid_t pid = IN_CHILD({ (void)memory[0]; });
    EXPECT_KILLED(pid, SIGSEGV);
}

/* Looks at a file that is closed before its end, so often that a mapping of it is not the first of its kind any more. */
static void look_at_file_often(void) {
    for (int i = 0; i < 200; i++) {
        int fd = OK(open("f", O_RDONLY));
        const char *memory = MAP(NULL, PAGE_SIZE + 1, PROT_READ, MAP_PRIVATE, fd, 0);
        OK(close(fd));
        EXPECT_EQ(memory[0], 'a');
        EXPECT_EQ(memory[PAGE_SIZE], 'b');
        OK(munmap((void *)memory, PAGE_SIZE + 1));
    }
}

CASE(mmap_of_code_by_a_program_without_interpreter_shows_the_files_bytes) {
    pid_t child = OK(fork());
    if (child == 0) {
        execl("/bin/true", "true", NULL);
        _exit(127);
    }
    EXPECT_EXIT(child, 0);
    int fd = OK(open("/lib64/ld-linux-x86-64.so.2", O_RDONLY));
    struct stat file;
    OK(fstat(fd, &file));
    const char *code = MAP(NULL, file.st_size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    const char *bytes = MAP(NULL, file.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    EXPECT_EQ(memcmp(code, bytes, file.st_size), 0);
}

CASE(munmap_of_files_again_and_again_leaves_nothing_behind) {
    close(lettered_file(2 * PAGE_SIZE));
    look_at_file_often();
    char *below = map(PAGE_SIZE);
    int fd = OK(open("f", O_RDWR));
    char *memory = MAP(NULL, 2 * PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
    OK(munmap(memory, PAGE_SIZE));
    EXPECT(!readable(memory));
    EXPECT_EQ(memory[PAGE_SIZE], 'b');
    EXPECT_EQ(pwrite(fd, "x", 1, PAGE_SIZE), 1);
    EXPECT_EQ(memory[PAGE_SIZE], 'x');
    OK(munmap(memory + PAGE_SIZE, 1));
    OK(munmap(below, PAGE_SIZE));
    static char maps[1 << 16];
    int own = OK(open("/proc/self/maps", O_RDONLY));
    for (size_t count = 0, got; (got = OK(read(own, maps + count, sizeof maps - 1 - count))) > 0; count += got)
        ;
    EXPECT(strstr(maps, "/f\n") == NULL);
}

CASE(munmap_lets_go_of_the_lock_of_a_closed_file_at_once) {
    close(lettered_file(2 * PAGE_SIZE));
    volatile bool *is_locked = map_shared(PAGE_SIZE);
    PIPE(ready);
    PIPE(begin);
    pid_t child = OK(fork());
    if (child == 0) {
        int fd = OK(open("f", O_RDONLY));
        announce(ready[1]);
        await(begin[0]);
        EXPECT_ERRNO(flock(fd, LOCK_EX | LOCK_NB), EWOULDBLOCK);
        announce(ready[1]);
        OK(flock(fd, LOCK_EX));
        *is_locked = true;
        _exit(0);
    }
    await(ready[0]);
    look_at_file_often();
    int fd = OK(open("f", O_RDONLY));
    char *memory = MAP(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
    OK(flock(fd, LOCK_EX));
    OK(close(fd));
    announce(begin[1]);
    await(ready[0]);
    OK(munmap(memory, PAGE_SIZE));
    /* The clock is read without a call. */
    int64_t end = now_ns(CLOCK_MONOTONIC) + 5000000000;
    while (!*is_locked && now_ns(CLOCK_MONOTONIC) < end)
        ;
    EXPECT(*is_locked);
    EXPECT_EXIT(child, 0);
}
