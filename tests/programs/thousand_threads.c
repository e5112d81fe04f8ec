/* A thousand threads at once, each with its number. */
#include <pthread.h>
#include <stdio.h>

static pthread_barrier_t barrier;
static long numbers[1000];

static void *run(void *argument) {
    long number = (long)argument;
    pthread_barrier_wait(&barrier);
    numbers[number] = number;
    return NULL;
}

int main(void) {
    pthread_t threads[1000];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_barrier_init(&barrier, NULL, 1001);
    for (long i = 0; i < 1000; i++) {
        int error = pthread_create(&threads[i], &attributes, run, (void *)i);
        if (error != 0) {
            printf("thread %ld: error %d\n", i, error);
            return 1;
        }
    }
    pthread_barrier_wait(&barrier);
    long sum = 0;
    for (int i = 0; i < 1000; i++) {
        pthread_join(threads[i], NULL);
        sum += numbers[i];
    }
    printf("%ld\n", sum);
    return 0;
}
