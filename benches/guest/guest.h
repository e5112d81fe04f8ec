/* The program that `usk bench` runs under every runtime: it times single operations from inside. Its parts share this. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Measures one operation: in batches, each long enough for the clock, until the time given to the operation is over. */
struct meter {
    long batch;      /* repetitions in a batch */
    long per_repeat; /* operations in one repetition */
    uint64_t batch_ns, single_ns; /* how long a batch is at least: of several repetitions, of one */
    uint64_t begun_ns, batch_begun_ns;
    int warm_ups, is_calibrated, samples_count;
    double *samples_ns;
};

/* True while another batch is to be run. Called at the end of each batch, and before the first. */
int meter_next(struct meter *meter);

/* Repeats the statement that follows in batches and takes the time. */
#define REPEAT(meter) while (meter_next(meter)) for (long left_ = (meter)->batch; left_ > 0; left_--)

/* Ends the operation without a result, with the reason; says errno when it is not 0. Does not return. */
_Noreturn void refuse(const char *what);

/* `value`, unless it says that a call has failed. */
#define OK(call) ok_((long)(call), #call)
static inline long ok_(long value, const char *what) {
    if (value == -1) refuse(what);
    return value;
}

struct operation {
    const char *id, *title;
    void (*measure)(struct meter *);
};

/* Each part's operations end with an empty one. */
extern const struct operation calls[], files[], wakeups[], memory[], processes[], compute[];

/* Where the input files lie, and an empty directory that may be written to. */
extern const char *inputs, *scratch;
/* The path of a program that does nothing. */
extern const char *nothing;

uint64_t now_ns(void);
/* `directory/name`, in static memory that the next call reuses. */
const char *in_directory(const char *directory, const char *name);

/* Times a script and prints the nanoseconds; returns its exit status. */
int run_command(const char *setup, const char *script, const char *teardown);
/* Runs a script, and then does the same for the second time, in a fresh directory. */
int run_again(const char *script);
/* Maps so many bytes and goes over them. */
void sweep_memory(size_t bytes, int passes);
