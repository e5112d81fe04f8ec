/* Recurses without end. usk-test: status=139 */
#include <stdio.h>

static int recurse(volatile int depth) {
    volatile char block[1024];
    block[depth % 1024] = 1;
    return depth < 0 ? 0 : recurse(depth + 1) + block[0];
}

int main(void) {
    puts("before");
    fflush(stdout);
    return recurse(0);
}
