/* The loader's code in memory is that of its file, as soon as the program may change it: whatever has been executed before. */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const char loader[] = "/lib64/ld-linux-x86-64.so.2";

/* Makes the loader's code writable, or discards it, and compares it with the file. */
static void compare(int how) {
    const unsigned char *base = (void *)getauxval(AT_BASE);
    const Elf64_Ehdr *header = (void *)base;
    const Elf64_Phdr *segment = (void *)(base + header->e_phoff);
    int file = open(loader, O_RDONLY);
    for (int index = 0; index < header->e_phnum; index++, segment++) {
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) continue;
        unsigned char *code = (unsigned char *)base + segment->p_vaddr;
        size_t pages = (segment->p_filesz + 4095) & ~4095ul;
        unsigned char *expected = malloc(segment->p_filesz);
        if (pread(file, expected, segment->p_filesz, segment->p_offset) != (ssize_t)segment->p_filesz) puts("short");
        if (how == 0 && mprotect(code, pages, PROT_READ | PROT_WRITE | PROT_EXEC)) perror("mprotect");
        if (how == 1 && madvise(code, pages, MADV_DONTNEED)) perror("madvise");
        printf("%d: %s\n", how, memcmp(code, expected, segment->p_filesz) ? "differs" : "same");
    }
    fflush(stdout);
    _exit(0);
}

int main(int count, char **arguments) {
    (void)arguments;
    if (count > 1) return 0;
    for (int program = 0; program < 30; program++) {
        if (vfork() == 0) {
            execl("/proc/self/exe", "loader_code", "once", (char *)NULL);
            _exit(1);
        }
        int status;
        wait(&status);
        if (status) puts("failed");
    }
    for (int how = 0; how < 2; how++) {
        fflush(stdout);
        if (fork() == 0) compare(how);
        wait(NULL);
    }
    return 0;
}
