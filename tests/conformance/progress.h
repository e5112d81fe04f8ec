/* How far two processes have got that go on by turns. Included after case.h. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <sched.h>

/* A word that both share: progress = map_shared(PAGE_SIZE). */
static volatile int *progress;

static inline void await_progress(int value) {
    while (__atomic_load_n(progress, __ATOMIC_SEQ_CST) < value)
        sched_yield();
}

static inline void set_progress(int value) { __atomic_store_n(progress, value, __ATOMIC_SEQ_CST); }

/* As await_progress(), without a call. */
static inline void compute_until(int value) {
    while (__atomic_load_n(progress, __ATOMIC_SEQ_CST) < value)
        ;
}

#endif
