/* Two gibibytes of memory, each page written and read back. usk-test: limit=120 */
#include <stdio.h>
#include <sys/mman.h>

int main(void) {
    size_t size = 2UL << 30;
    unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    for (size_t i = 0; i < size; i += 4096)
        memory[i] = i >> 12;
    unsigned long sum = 0;
    for (size_t i = 0; i < size; i += 4096)
        sum += memory[i];
    printf("%lu\n", sum);
    return 0;
}
