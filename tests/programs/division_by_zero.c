/* Divides by zero. usk-test: status=136 */
#include <stdio.h>

int main(int argc, char **argv) {
    (void)argv;
    puts("before");
    fflush(stdout);
    volatile int zero = argc - 1, many = 1000;
    printf("%d\n", many / zero);
    return 0;
}
