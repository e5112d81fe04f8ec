/* Times operations and prints a line of JSON for each; also times commands (run.c), and idles to be looked at.
 *
 *     guest list                                             the operations there are
 *     guest micro MILLISECONDS INPUTS SCRATCH NOTHING ID...  time these, each for so long
 *     guest run SETUP SCRIPT TEARDOWN                        time a script of bash's
 *     guest again SCRIPT                                     time it when it is run for the second time
 *     guest sweep MEBIBYTES PASSES                           go over that much memory so many times
 *     guest idle                                             say "ready" and wait for a signal
 */
#include "guest.h"
#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_MAX 400
/* Samples that are taken even when the time is over: a median needs a few. */
#define SAMPLES_MIN 5
/* Batches of one before anything is believed: the first uses of a thing are slower. */
#define WARM_UPS 3
/* A batch is at least this long, and this many times what reading the clock takes, so that reading it does not count. */
#define BATCH_NS 50000
#define BATCH_CLOCKS 30
/* Above this one repetition is a batch: single values, so that percentiles mean something. */
#define SINGLE_NS 10000
/* How often the clock is read to know what that takes. */
#define CLOCK_READS 16
/* Where reading the clock takes longer, it is a call. */
#define FAST_CLOCK_NS 1000
/* How long a clock may take to become fast. */
#define CLOCK_PATIENCE_NS 2000000000

static const struct operation *const parts[] = {calls, files, wakeups, memory, processes, compute};
const char *inputs, *scratch, *nothing;
static uint64_t budget_ns;
static const char *current;
static jmp_buf refused;

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* What one reading of the clock takes, in nanoseconds: the shortest of some, since others may be interrupted. */
static uint64_t clock_takes_ns(void) {
    uint64_t shortest = UINT64_MAX, before = now_ns();
    for (int i = 0; i < CLOCK_READS; i++) {
        uint64_t now = now_ns();
        if (now - before < shortest) shortest = now - before;
        before = now;
    }
    return shortest;
}

/* gVisor's clock is a call until its vDSO has been told how fast the counter runs, a second after the start or later. */
static void await_fast_clock(void) {
    uint64_t begun = now_ns();
    while (clock_takes_ns() > FAST_CLOCK_NS && now_ns() - begun < CLOCK_PATIENCE_NS) usleep(10000);
}

static uint64_t longer(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

const char *in_directory(const char *directory, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

int meter_next(struct meter *meter) {
    uint64_t now = now_ns();
    if (!meter->begun_ns) {
        /* The first batch is about to begin. */
        meter->begun_ns = now;
    } else if (!meter->is_calibrated) {
        /* The first batches only warm up, and find out how long a batch must be. */
        uint64_t took = now - meter->batch_begun_ns;
        if (meter->warm_ups < WARM_UPS) meter->warm_ups++;
        else if (took >= (meter->batch == 1 ? meter->single_ns : meter->batch_ns)) meter->is_calibrated = 1;
        else meter->batch *= 2;
    } else {
        double took = now - meter->batch_begun_ns;
        meter->samples_ns[meter->samples_count++] = took / meter->batch / meter->per_repeat;
        int is_over = now - meter->begun_ns > budget_ns && meter->samples_count >= SAMPLES_MIN;
        if (is_over || meter->samples_count == SAMPLES_MAX) return 0;
    }
    meter->batch_begun_ns = now_ns();
    return 1;
}

void refuse(const char *what) {
    int error = errno;
    printf("{\"id\":\"%s\",\"refused\":\"%s%s%s\"}\n", current, what, error ? ": " : "", error ? strerror(error) : "");
    longjmp(refused, 1);
}

static void measure(const struct operation *operation) {
    static double samples[SAMPLES_MAX];
    uint64_t clocks_ns = BATCH_CLOCKS * clock_takes_ns();
    struct meter meter = {
        .batch = 1,
        .per_repeat = 1,
        .batch_ns = longer(BATCH_NS, clocks_ns),
        .single_ns = longer(SINGLE_NS, clocks_ns),
        .samples_ns = samples,
    };
    current = operation->id;
    /* Said first, and flushed: who never comes back is known by it. */
    printf("{\"begun\":\"%s\"}\n", operation->id);
    fflush(stdout);
    errno = 0;
    if (setjmp(refused) == 0) {
        operation->measure(&meter);
        printf("{\"id\":\"%s\",\"samples_ns\":[", operation->id);
        for (int i = 0; i < meter.samples_count; i++) printf("%s%.1f", i ? "," : "", samples[i]);
        printf("]}\n");
    }
    fflush(stdout);
}

static void each(void (*act)(const struct operation *, const char *), const char *argument) {
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++)
        for (const struct operation *operation = parts[part]; operation->id; operation++) act(operation, argument);
}

static void measure_if(const struct operation *operation, const char *id) {
    if (strcmp(operation->id, id) == 0) measure(operation);
}

static void list(const struct operation *operation, const char *unused) {
    (void)unused;
    printf("{\"id\":\"%s\",\"title\":\"%s\"}\n", operation->id, operation->title);
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "list") == 0) {
        each(list, NULL);
    } else if (strcmp(verb, "micro") == 0 && argc >= 6) {
        budget_ns = strtoull(argv[2], NULL, 10) * 1000000;
        inputs = argv[3];
        scratch = argv[4];
        nothing = argv[5];
        await_fast_clock();
        for (int i = 6; i < argc; i++) each(measure_if, argv[i]);
    } else if (strcmp(verb, "run") == 0 && argc == 5) {
        return run_command(argv[2], argv[3], argv[4]);
    } else if (strcmp(verb, "again") == 0 && argc == 3) {
        return run_again(argv[2]);
    } else if (strcmp(verb, "sweep") == 0 && argc == 4) {
        sweep_memory(strtoull(argv[2], NULL, 10) << 20, atoi(argv[3]));
    } else if (strcmp(verb, "idle") == 0) {
        puts("ready");
        fflush(stdout);
        pause();
    } else {
        fputs("guest: list | micro MILLISECONDS INPUTS SCRATCH NOTHING ID... | run SETUP SCRIPT TEARDOWN |"
              " again SCRIPT | sweep MEBIBYTES PASSES | idle\n", stderr);
        return 2;
    }
    return 0;
}
