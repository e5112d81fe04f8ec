/* mprotect(2) */
#include "case.h"

static void expect_fault(volatile char *address, bool writing) {
    pid_t pid = IN_CHILD({
        if (writing)
            *address = 1;
        else
            (void)*address;
    });
    EXPECT_KILLED(pid, SIGSEGV);
}

CASE(mprotect_read_only_memory_cannot_be_written) {
    char *memory = map(PAGE_SIZE);
    memory[0] = 'x';
    OK(mprotect(memory, PAGE_SIZE, PROT_READ));
    EXPECT_EQ(memory[0], 'x');
    expect_fault(memory, true);
    OK(mprotect(memory, PAGE_SIZE, PROT_READ | PROT_WRITE));
    memory[0] = 'y';
}

CASE(mprotect_none_makes_every_access_fault) {
    char *memory = map(PAGE_SIZE);
    OK(mprotect(memory, PAGE_SIZE, PROT_NONE));
    expect_fault(memory, false);
}

CASE(mprotect_of_the_middle_leaves_the_sides) {
    char *memory = map(3 * PAGE_SIZE);
    OK(mprotect(memory + PAGE_SIZE, PAGE_SIZE, PROT_READ));
    memory[0] = 1;
    memory[2 * PAGE_SIZE] = 1;
    expect_fault(memory + PAGE_SIZE, true);
}

CASE(mprotect_without_exec_stops_execution) {
    unsigned char *code = map(PAGE_SIZE);
    code[0] = 0xc3;
    pid_t pid = IN_CHILD({ ((void (*)(void))code)(); });
    EXPECT_KILLED(pid, SIGSEGV);
    OK(mprotect(code, PAGE_SIZE, PROT_READ | PROT_EXEC));
    ((void (*)(void))code)();
}

CASE(mprotect_of_a_hole_returns_enomem) {
    char *memory = map(3 * PAGE_SIZE);
    OK(munmap(memory + PAGE_SIZE, PAGE_SIZE));
    EXPECT_ERRNO(mprotect(memory + PAGE_SIZE, PAGE_SIZE, PROT_READ), ENOMEM);
    EXPECT_ERRNO(mprotect(memory, 3 * PAGE_SIZE, PROT_READ), ENOMEM);
}

CASE(mprotect_with_bad_arguments_returns_einval) {
    char *memory = map(2 * PAGE_SIZE);
    EXPECT_ERRNO(mprotect(memory + 1, PAGE_SIZE, PROT_READ), EINVAL);
    EXPECT_ERRNO(mprotect(memory, PAGE_SIZE, 0x100), EINVAL);
    OK(mprotect(memory, 0, PROT_READ));
}

CASE(mprotect_of_a_shared_mapping_needs_a_writable_descriptor) {
    make_file("f", "x");
    void *memory = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, OK(open("f", O_RDONLY)), 0);
    EXPECT(memory != MAP_FAILED);
    EXPECT_ERRNO(mprotect(memory, PAGE_SIZE, PROT_READ | PROT_WRITE), EACCES);
}

CASE(mprotect_is_private_to_the_process) {
    char *memory = map_shared(PAGE_SIZE);
    pid_t pid = IN_CHILD({ OK(mprotect(memory, PAGE_SIZE, PROT_NONE)); });
    EXPECT_EXIT(pid, 0);
    memory[0] = 1;
}
