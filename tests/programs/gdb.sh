# gdb runs a program, stops it, steps, looks at it, and attaches to one that runs. usk-test: limit=180 stderr=any
cat >loop.c <<'END'
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

volatile int counter, is_over;

int twice(int value) {
    int result = value * 2;
    counter += result;
    return result;
}

static void *run(void *unused) {
    while (!is_over)
        usleep(1000);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    for (int count = 0; count < 3; count++)
        printf("%d\n", twice(count));
    fflush(stdout);
    is_over = argc == 1;
    pthread_join(thread, NULL);
    return counter;
}
END
gcc -g -O0 -pthread loop.c -o loop
gdb -nx -q -batch -ex 'set confirm off' -ex 'break twice if value == 2' -ex run -ex 'bt 1' -ex 'print counter' -ex 'print value' \
    -ex next -ex next -ex 'print result' -ex 'stepi 20' -ex kill \
    ./loop >log 2>/dev/null
grep -E '^(Breakpoint 1|#0|\$)' log | sed 's/0x[0-9a-f]*/ADDRESS/g; s/, twice.*//'
gdb -nx -q -batch -ex run -ex 'print $_exitcode' ./loop 2>/dev/null | grep '^\$'
./loop wait >/dev/null &
gdb -nx -q -batch -p $! -ex 'info threads' -ex 'thread apply all bt' -ex 'set var is_over = 1' -ex detach >log 2>/dev/null
grep -c 'run (unused=' log
wait $!
echo $?
