/* Mapping and touching memory. */
#include "guest.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
/* Pages that one mapping's faults are taken over; inputs/data holds as many. */
#define PAGES 256
#define SWEPT (32 << 20)

static void *map(size_t length, int protection, int flags, int fd) {
    void *place = mmap(NULL, length, protection, flags, fd, 0);
    if (place == MAP_FAILED) refuse("mmap");
    return place;
}

static void mmap_munmap(struct meter *meter) {
    REPEAT(meter) OK(munmap(map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 2 * PAGE));
}

/* Maps, touches every page, unmaps; the mapping's own cost is spread over the pages. */
static void fault(struct meter *meter, int protection, int flags, int fd) {
    meter->per_repeat = PAGES;
    REPEAT(meter) {
        volatile char *pages = map(PAGES * PAGE, protection, flags, fd);
        /* Huge pages would make it one fault for many pages, here and not there. */
        madvise((void *)pages, PAGES * PAGE, MADV_NOHUGEPAGE);
        for (int page = 0; page < PAGES; page++) {
            if (protection & PROT_WRITE) pages[page * PAGE] = 1;
            else (void)pages[page * PAGE];
        }
        OK(munmap((void *)pages, PAGES * PAGE));
    }
}

static void fault_anonymous(struct meter *meter) {
    fault(meter, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void fault_shared(struct meter *meter) {
    fault(meter, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static void fault_file(struct meter *meter) {
    int fd = OK(open(in_directory(inputs, "data"), O_RDONLY));
    fault(meter, PROT_READ, MAP_PRIVATE, fd);
    close(fd);
}

static void pass_over(uint64_t *words, size_t bytes) {
    for (size_t i = 0; i < bytes / sizeof *words; i++) words[i] += i;
    __asm__ volatile("" : : "r"(words) : "memory");
}

static void sweep(struct meter *meter) {
    uint64_t *words = map(SWEPT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    meter->per_repeat = SWEPT >> 20;
    REPEAT(meter) pass_over(words, SWEPT);
    munmap(words, SWEPT);
}

void sweep_memory(size_t bytes, int passes) {
    uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED) {
        perror("guest: mmap");
        exit(1);
    }
    while (passes-- > 0) pass_over(words, bytes);
}

const struct operation memory[] = {
    {"mmap_munmap", "mmap and munmap of 8 KiB", mmap_munmap},
    {"fault_anonymous", "page fault, anonymous", fault_anonymous},
    {"fault_file", "page fault, file", fault_file},
    {"fault_shared", "page fault, shared", fault_shared},
    {"sweep", "memory sweep, a MiB", sweep},
    {0},
};
