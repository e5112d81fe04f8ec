/* Calls abort with buffered output, which is lost. usk-test: status=134 */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    fputs("on standard error\n", stderr);
    printf("lost");
    abort();
}
