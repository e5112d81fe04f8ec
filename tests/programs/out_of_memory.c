/* Memory beyond -m ends the sandbox. usk-test: native=no options=-m,256M status=137 limit=60 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    puts("before");
    fflush(stdout);
    for (int i = 0; i < 1024; i++) {
        char *block = malloc(1 << 20);
        if (block == NULL)
            break;
        memset(block, i + 1, 1 << 20);
    }
    puts("after");
    return 0;
}
