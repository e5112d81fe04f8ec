/* No kernel at all: what differs here is noise, or a runtime that costs where it has no business. */
#include "guest.h"

static void loop(struct meter *meter) {
    uint64_t state = 88172645463325252ull;
    REPEAT(meter) {
        for (int i = 0; i < 1000; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        __asm__ volatile("" : "+r"(state));
    }
}

const struct operation compute[] = {
    {"compute", "compute loop, 1,000 iterations", loop},
    {0},
};
