/* proc_pid_maps(5): whatever is done to memory, in whichever order, the map shows what has come of it. */
#include "case.h"
#include <pthread.h>

struct area {
    uintptr_t start, end;
    bool readable, writable;
    /* Of the kernel's own choosing: the stack, the heap, the vDSO. */
    bool is_special;
};

static struct area areas[4096];

/* Reads the map of a process; count of its areas. Without allocating, which would change it. */
static int read_areas(const char *path) {
    static char text[1 << 20];
    size_t length = 0;
    ssize_t got;
    int fd = OK(open(path, O_RDONLY)), count = 0;
    while ((got = OK(read(fd, text + length, sizeof text - 1 - length))) > 0)
        length += got;
    close(fd);
    text[length] = 0;
    for (char *line = text; *line; line = strchr(line, '\n') + 1) {
        char access[5];
        struct area *area = &areas[count++];
        EXPECT_EQ(sscanf(line, "%lx-%lx %4s", &area->start, &area->end, access), 3);
        area->readable = access[0] == 'r';
        area->writable = access[1] == 'w';
        area->is_special = memchr(line, '[', strchr(line, '\n') - line) != NULL;
    }
    return count;
}

static const struct area *area_of(int count, const void *address) {
    for (int i = 0; i < count; i++)
        if (areas[i].start <= (uintptr_t)address && (uintptr_t)address < areas[i].end)
            return &areas[i];
    return NULL;
}

static uint64_t seed;

static unsigned pick(unsigned below) {
    seed = seed * 6364136223846793005UL + 1442695040888963407UL;
    return (seed >> 33) % below;
}

/* --- A model of what is mapped --------------------------------------------------------------------------------------- */

/* Pages that were mapped at a time, in order of their addresses, each with what is in its first byte. */
struct piece {
    char *at;
    unsigned pages;
    bool writable;
    char held[40];
};

#define MOST_PIECES 32

static struct piece pieces[MOST_PIECES];
static int piece_count;
/* Addresses that were unmapped lately. */
static char *gone[64];
static unsigned gone_count;

static void forget(char *at, unsigned pages) {
    for (unsigned i = 0; i < pages; i++)
        gone[gone_count++ % 64] = at + i * PAGE_SIZE;
}

static void stamp(struct piece *piece, unsigned page) {
    piece->held[page] = pick(127) + 1;
    piece->at[page * PAGE_SIZE] = piece->held[page];
}

static void add_piece(void) {
    struct piece *piece = &pieces[piece_count++];
    *piece = (struct piece){.pages = 1 + pick(9), .writable = true};
    piece->at = map(piece->pages * PAGE_SIZE);
    for (unsigned page = 0; page < piece->pages; page++) {
        EXPECT_EQ(piece->at[page * PAGE_SIZE], 0);
        if (pick(2))
            stamp(piece, page);
    }
}

static void drop_piece(int number) {
    OK(munmap(pieces[number].at, pieces[number].pages * PAGE_SIZE));
    forget(pieces[number].at, pieces[number].pages);
    pieces[number] = pieces[--piece_count];
}

/* Unmaps some of its pages, from its start or from its end. */
static void cut_piece(struct piece *piece) {
    unsigned pages = pick(piece->pages);
    if (pages == 0)
        return;
    char *at = pick(2) ? piece->at : piece->at + (piece->pages - pages) * PAGE_SIZE;
    OK(munmap(at, pages * PAGE_SIZE));
    forget(at, pages);
    piece->pages -= pages;
    if (at == piece->at) {
        piece->at += pages * PAGE_SIZE;
        memmove(piece->held, piece->held + pages, piece->pages);
    }
}

static void discard(struct piece *piece) {
    unsigned from = pick(piece->pages), pages = 1 + pick(piece->pages - from);
    OK(madvise(piece->at + from * PAGE_SIZE, pages * PAGE_SIZE, MADV_DONTNEED));
    memset(piece->held + from, 0, pages);
}

static void protect(struct piece *piece) {
    piece->writable = !piece->writable;
    OK(mprotect(piece->at, piece->pages * PAGE_SIZE, piece->writable ? PROT_READ | PROT_WRITE : PROT_READ));
}

static void resize(struct piece *piece) {
    unsigned pages = 1 + pick(sizeof piece->held - 1);
    char *at = mremap(piece->at, piece->pages * PAGE_SIZE, pages * PAGE_SIZE, MREMAP_MAYMOVE);
    EXPECT(at != MAP_FAILED);
    if (at != piece->at)
        forget(piece->at, piece->pages);
    else if (pages < piece->pages)
        forget(at + pages * PAGE_SIZE, piece->pages - pages);
    for (unsigned page = piece->pages; page < pages; page++)
        piece->held[page] = 0;
    piece->at = at;
    piece->pages = pages;
}

static void check_pieces(void) {
    int count = read_areas("/proc/self/maps");
    for (int number = 0; number < piece_count; number++)
        for (unsigned page = 0; page < pieces[number].pages; page++) {
            char *address = pieces[number].at + page * PAGE_SIZE;
            const struct area *area = area_of(count, address);
            EXPECT(area && area->readable);
            EXPECT_EQ(area->writable, pieces[number].writable);
            EXPECT_EQ(*address, pieces[number].held[page]);
        }
    for (int i = 0; i < 64 && gone[i]; i++) {
        bool is_mapped_again = false;
        for (int number = 0; number < piece_count; number++) {
            char *at = pieces[number].at;
            is_mapped_again |= at <= gone[i] && gone[i] < at + pieces[number].pages * PAGE_SIZE;
        }
        EXPECT(is_mapped_again || !area_of(count, gone[i]));
    }
}

/* The child has what the parent has, and what it does with it is its own affair. */
static void fork_and_go_on(void) {
    pid_t pid = IN_CHILD({
        check_pieces();
        while (piece_count > 0)
            drop_piece(piece_count - 1);
        add_piece();
        check_pieces();
    });
    EXPECT_EXIT(pid, CASE_PASSED);
}

/* Most often what programs do most often: map, and unmap what was mapped last. */
static void change_something(void) {
    struct piece *some = &pieces[piece_count ? pick(piece_count) : 0];
    unsigned what = pick(64);
    if (piece_count == 0 || (what < 26 && piece_count < MOST_PIECES))
        add_piece();
    else if (what < 48)
        drop_piece(piece_count - 1);
    else if (what < 52)
        drop_piece(some - pieces);
    else if (what < 56)
        cut_piece(some);
    else if (what < 60)
        discard(some);
    else if (what < 62)
        protect(some);
    else
        resize(some);
}

static void change_all_the_time(int rounds) {
    for (int round = 0; round < rounds; round++) {
        change_something();
        if (pick(16) == 0)
            check_pieces();
        if (pick(512) == 0)
            fork_and_go_on();
    }
    check_pieces();
}

CASE(maps_shows_what_random_calls_have_made_of_memory) {
    for (seed = 1; seed <= 8;) {
        uint64_t this = seed;
        change_all_the_time(1000);
        seed = this + 1;
    }
}

static void touch_memory(int signal) {
    (void)signal;
    char *memory = map(3 * PAGE_SIZE);
    memory[2 * PAGE_SIZE] = 1;
    OK(munmap(memory, 3 * PAGE_SIZE));
}

CASE(maps_shows_what_random_calls_have_made_of_memory_between_signals) {
    seed = 77;
    handle(SIGALRM, touch_memory, SA_RESTART);
    struct itimerval every = {{0, 150}, {0, 150}};
    OK(setitimer(ITIMER_REAL, &every, NULL));
    for (int i = 0; i < 20000; i++) {
        char *memory = map(2 * PAGE_SIZE);
        memory[PAGE_SIZE] = 1;
        OK(munmap(memory, 2 * PAGE_SIZE));
    }
    change_all_the_time(2000);
    stop_ticking();
}

/* --- Where and how much ----------------------------------------------------------------------------------------------- */

CASE(mmap_takes_the_highest_gap_that_fits) {
    seed = 5;
    for (int round = 0; round < 300; round++) {
        change_something();
        size_t length = (1 + pick(12)) * PAGE_SIZE;
        int count = read_areas("/proc/self/maps");
        uintptr_t at = (uintptr_t)map(length);
        for (int i = 0; i + 1 < count; i++) {
            const struct area *below = &areas[i], *above = below + 1;
            if (below->is_special || above->is_special)
                continue;
            uintptr_t gap = above->start - below->end;
            if (below->end > at)
                EXPECT(gap < length);
            else if (below->end <= at && at < above->start)
                EXPECT_EQ(at + length, above->start);
        }
        OK(munmap((void *)at, length));
    }
}

static unsigned long kilobytes(const char *field) {
    static char text[8192];
    int fd = OK(open("/proc/self/status", O_RDONLY));
    text[OK(read(fd, text, sizeof text - 1))] = 0;
    close(fd);
    const char *found = strstr(text, field);
    EXPECT(found);
    return strtoul(found + strlen(field) + 1, NULL, 10);
}

static void map_and_unmap(int times, size_t length) {
    while (times-- > 0)
        OK(munmap(map(length), length));
}

CASE(mmap_stops_at_the_limit_after_much_was_mapped_and_unmapped) {
    map_and_unmap(2000, 4 * PAGE_SIZE);
    struct rlimit limit = {(kilobytes("VmSize") << 10) + 16 * PAGE_SIZE, RLIM_INFINITY};
    map_and_unmap(100, 4 * PAGE_SIZE);
    OK(setrlimit(RLIMIT_AS, &limit));
    map_and_unmap(100, 16 * PAGE_SIZE);
    for (int i = 0; i < 16; i++)
        map(PAGE_SIZE);
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
}

CASE(mmap_stops_at_a_limit_that_another_process_has_set) {
    map_and_unmap(2000, PAGE_SIZE);
    pid_t pid = IN_CHILD({
        struct rlimit limit = {PAGE_SIZE, RLIM_INFINITY};
        OK(prlimit(getppid(), RLIMIT_AS, &limit, NULL));
    });
    EXPECT_EXIT(pid, CASE_PASSED);
    EXPECT_ERRNO(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
}

CASE(vmpeak_remembers_what_was_mapped_for_a_moment) {
    map_and_unmap(2000, PAGE_SIZE);
    unsigned long size = kilobytes("VmSize");
    char *mapped[64];
    for (int i = 0; i < 64; i++)
        mapped[i] = map(64 * PAGE_SIZE);
    for (int i = 63; i >= 0; i--)
        OK(munmap(mapped[i], 64 * PAGE_SIZE));
    EXPECT_EQ(kilobytes("VmSize"), size);
    EXPECT(kilobytes("VmPeak") >= size + (64 * 64 * PAGE_SIZE >> 10));
}

CASE(mlockall_of_the_future_counts_what_is_mapped_after_much_was_mapped) {
    NEEDS_ROOT();
    map_and_unmap(2000, PAGE_SIZE);
    OK(mlockall(MCL_FUTURE));
    unsigned long locked = kilobytes("VmLck");
    map(4 * PAGE_SIZE);
    EXPECT_EQ(kilobytes("VmLck"), locked + (4 * PAGE_SIZE >> 10));
}

/* --- While it runs ----------------------------------------------------------------------------------------------------- */

static void await_step(volatile long *word, long value) {
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
        sched_yield();
}

CASE(maps_of_a_process_that_makes_no_other_calls_is_up_to_date) {
    struct { volatile long step; char *volatile memory; } *shared = map_shared(PAGE_SIZE);
    map_and_unmap(2000, PAGE_SIZE);
    pid_t parent = getpid();
    pid_t pid = IN_CHILD({
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/maps", (int)parent);
        for (int round = 0; round < 50; round++) {
            await_step(&shared->step, 2 * round + 1);
            EXPECT(area_of(read_areas(path), shared->memory));
            char byte;
            struct iovec here = {&byte, 1}, there = {shared->memory, 1};
            EXPECT_EQ(process_vm_readv(parent, &here, 1, &there, 1, 0), 1);
            EXPECT_EQ(byte, 'x');
            shared->step = 2 * round + 2;
            await_step(&shared->step, 1000 + round);
            EXPECT(!area_of(read_areas(path), shared->memory));
            shared->step = 0;
        }
    });
    for (int round = 0; round < 50; round++) {
        await_step(&shared->step, 0);
        shared->memory = map(3 * PAGE_SIZE);
        *shared->memory = 'x';
        shared->step = 2 * round + 1;
        await_step(&shared->step, 2 * round + 2);
        OK(munmap(shared->memory, 3 * PAGE_SIZE));
        shared->step = 1000 + round;
    }
    EXPECT_EXIT(pid, CASE_PASSED);
}

static void *map_a_lot(void *result) {
    for (int i = 0; i < 2000; i++) {
        char *memory = map(2 * PAGE_SIZE);
        memory[PAGE_SIZE] = 1;
        EXPECT_EQ(memory[0], 0);
        OK(munmap(memory, 2 * PAGE_SIZE));
    }
    return result;
}


CASE(threads_that_share_memory_map_different_ranges) {
    map_and_unmap(2000, PAGE_SIZE);
    char *kept = map(4 * PAGE_SIZE);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, map_a_lot, NULL), 0);
    map_a_lot(NULL);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    map_and_unmap(2000, PAGE_SIZE);
    EXPECT(area_of(read_areas("/proc/self/maps"), kept));
}

CASE(a_vforked_child_maps_in_its_parents_memory) {
    char *volatile memory = NULL;
    map_and_unmap(2000, PAGE_SIZE);
    pid_t pid = OK(vfork());
    if (pid == 0) {
        memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *memory = 'c';
        _exit(0);
    }
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(*memory, 'c');
    EXPECT(area_of(read_areas("/proc/self/maps"), memory));
    char *next = map(PAGE_SIZE);
    EXPECT(next != memory);
    EXPECT_EQ(*memory, 'c');
}
