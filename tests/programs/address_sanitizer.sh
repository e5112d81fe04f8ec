# A program with AddressSanitizer, whose leak checker traces all its threads when it ends. usk-test: limit=120
cat >leak.c <<'END'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
}

int main(int argc, char **argv) {
    pthread_t thread;
    for (int count = 1; count < argc; count++)
        pthread_create(&thread, NULL, wait_for_ever, NULL);
    volatile char *memory = malloc(10);
    memory[0] = argc;
    if (argc == 1)
        free((void *)memory);
    memory = NULL;
    puts("ends well");
    return 0;
}
END
gcc -g -fsanitize=address -pthread leak.c -o leak
./leak
echo $?
./leak a b c 2>errors
echo $?
grep SUMMARY errors
