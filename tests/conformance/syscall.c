/* syscall(2): call sites of different shapes, made often, and what becomes of their code. */
#include "case.h"

#include <pthread.h>
#include <sys/sysinfo.h>
#include <ucontext.h>

/* Sites in a page of their own: a number that is loaded, a comparison that follows, and a branch that follows. */
__asm__(".pushsection .text.sites, \"ax\", @progbits\n"
        ".balign 4096\n"
        "sites:\n"
        "load_before: mov $39, %eax\n syscall\n ret\n"
        "compare_after: xor %eax, %eax\n mov $39, %al\n syscall\n cmp $-4096, %rax\n ret\n"
        "branch_after: xor %eax, %eax\n mov $39, %al\n syscall\n jmp 1f\n 1: ret\n"
        "sites_end:\n"
        ".balign 4096\n"
        ".popsection");
extern char sites[], load_before[], compare_after[], branch_after[], sites_end[];

typedef long (*site)(void);
static const site all_sites[] = {(site)load_before, (site)compare_after, (site)branch_after};
static char original[256];

/* More often than anybody would need to find out that a site is busy. */
static void call_often(void) {
    for (int i = 0; i < 100; i++)
        for (size_t shape = 0; shape < sizeof all_sites / sizeof *all_sites; shape++)
            EXPECT_EQ(all_sites[shape](), getpid());
}

/* The code as the program's file has it. */
static void read_original(void) {
    size_t length = sites_end - sites;
    EXPECT(length <= sizeof original);
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start, end, offset;
    char path[256];
    bool found = false;
    while (!found && fscanf(maps, "%lx-%lx %*s %lx %*s %*s%255[^\n]\n", &start, &end, &offset, path) == 4)
        found = start <= (unsigned long)sites && (unsigned long)sites < end;
    EXPECT(found);
    fclose(maps);
    int file = OK(open("/proc/self/exe", O_RDONLY));
    EXPECT_EQ(pread(file, original, length, offset + ((unsigned long)sites - start)), (long)length);
    close(file);
}

static void expect_original(void) { EXPECT(memcmp(sites, original, sites_end - sites) == 0); }

CASE(syscall_code_that_becomes_writable_is_as_in_the_file) {
    read_original();
    for (int round = 0; round < 3; round++) {
        call_often();
        OK(mprotect(sites, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC));
        expect_original();
        call_often();
        expect_original();
        OK(mprotect(sites, PAGE_SIZE, PROT_READ | PROT_EXEC));
    }
    call_often();
}

CASE(syscall_code_that_is_replaced_or_moved_works) {
    read_original();
    call_often();
    char *copy = map(PAGE_SIZE);
    memcpy(copy, original, sites_end - sites);
    OK(mprotect(copy, PAGE_SIZE, PROT_READ | PROT_EXEC));
    EXPECT_EQ(((site)copy)(), getpid());
    void *moved = mremap(sites, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, map(PAGE_SIZE));
    EXPECT(moved != MAP_FAILED && memcmp(moved, original, sites_end - sites) == 0);
    for (int i = 0; i < 100; i++) EXPECT_EQ(((site)moved)(), getpid());
    OK(munmap(moved, PAGE_SIZE));
    EXPECT(mremap(copy, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, sites) == sites);
    call_often();
}

CASE(syscall_code_that_is_discarded_comes_back_from_the_file) {
    read_original();
    call_often();
    OK(madvise(sites, PAGE_SIZE, MADV_DONTNEED));
    expect_original();
    call_often();
}

/* Whatever is free near the program can be mapped, and nothing that is put there is disturbed. */
CASE(syscall_memory_near_the_code_is_free_for_use) {
    call_often();
    char *low = (char *)((unsigned long)sites & ~0xfffffUL);
    int mapped = 0;
    for (char *at = low - (2 << 20); at < low + (4 << 20); at += PAGE_SIZE) {
        void *page =
            mmap(at, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (page == MAP_FAILED) {
            EXPECT_EQ(errno, EEXIST);
            continue;
        }
        memset(page, 0x5a, PAGE_SIZE);
        mapped++;
        if (mapped % 64 == 0) call_often();
        for (size_t i = 0; i < PAGE_SIZE; i += 64) EXPECT_EQ(((unsigned char *)page)[i], 0x5a);
    }
    EXPECT(mapped > 1000);
    call_often();
}

/* Natively these do not show anything in between; nor may they here. */
CASE(syscall_code_has_no_mapping_beside_it_that_maps_does_not_show) {
    call_often();
    unsigned long last = 0;
    char line[512];
    for (int round = 0; round < 2; round++) {
        FILE *maps = fopen("/proc/self/maps", "r");
        unsigned long hash = 0;
        while (fgets(line, sizeof line, maps))
            if (strstr(line, "heap") == NULL)
                for (char *c = line; *c; c++) hash = hash * 31 + *c;
        fclose(maps);
        EXPECT(round == 0 || hash == last);
        last = hash;
        call_often();
    }
}

static volatile bool is_done;

static void *call_until_done(void *unused) {
    (void)unused;
    while (!is_done) call_often();
    return NULL;
}

static void *count_memory_until_done(void *unused) {
    struct sysinfo info;
    while (!is_done) OK(sysinfo(&info));
    return unused;
}

static void *nothing(void *unused) { return unused; }

static void *make_threads_until_done(void *unused) {
    pthread_t thread;
    while (!is_done) {
        EXPECT_EQ(pthread_create(&thread, NULL, nothing, NULL), 0);
        pthread_join(thread, NULL);
    }
    return unused;
}

/* Changes code again and again while threads do something. */
static void change_code_while(void *(*const work[])(void *), int count) {
    read_original();
    pthread_t threads[4];
    for (int i = 0; i < count; i++) EXPECT_EQ(pthread_create(&threads[i], NULL, work[i], NULL), 0);
    for (int round = 0; round < 100; round++) {
        OK(mprotect(sites, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC));
        expect_original();
        OK(mprotect(sites, PAGE_SIZE, PROT_READ | PROT_EXEC));
        call_often();
    }
    is_done = true;
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

CASE(syscall_code_can_change_while_other_threads_call) {
    void *(*const work[])(void *) = {call_until_done, call_until_done, call_until_done};
    change_code_while(work, 3);
}

CASE(syscall_code_can_change_while_threads_are_made) {
    void *(*const work[])(void *) = {call_until_done, make_threads_until_done, make_threads_until_done};
    change_code_while(work, 3);
}

CASE(syscall_code_can_change_while_memory_is_counted) {
    void *(*const work[])(void *) = {call_until_done, count_memory_until_done, count_memory_until_done};
    change_code_while(work, 3);
}

CASE(syscall_code_is_each_processs_own) {
    read_original();
    call_often();
    for (int i = 0; i < 20; i++) {
        pid_t pid = IN_CHILD({
            call_often();
            OK(mprotect(sites, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC));
            expect_original();
            memset(sites, 0xc3, 1);
        });
        EXPECT_EXIT(pid, 0);
        call_often();
    }
}

static volatile sig_atomic_t count, strangers;

static void look_where(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    extern char __executable_start[], etext[];
    char *rip = (char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    count++;
    if (rip < __executable_start || rip >= etext) strangers++;
}

CASE(syscall_interrupted_code_is_in_the_program) {
    struct sigaction action = {.sa_sigaction = look_where, .sa_flags = SA_SIGINFO | SA_RESTART};
    OK(sigaction(SIGALRM, &action, NULL));
    struct itimerval interval = {{0, 500}, {0, 500}};
    OK(setitimer(ITIMER_REAL, &interval, NULL));
    while (count < 300)
        for (size_t shape = 0; shape < sizeof all_sites / sizeof *all_sites; shape++)
            EXPECT_EQ(all_sites[shape](), getpid());
    EXPECT_EQ(strangers, 0);
}
