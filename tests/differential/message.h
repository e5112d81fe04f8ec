/* What the test and its guest say to each other; `encode.rs` has the other half. */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdint.h>

#define PAGE 4096UL

/* The arena. Constants come with each sequence and are there anew for each call, as is what is in the buffer. */
#define CONSTANTS 0x2000000000UL
#define BUFFER (CONSTANTS + PAGE)
#define BUFFER_SIZE (2 * PAGE)
/* Behind the buffer: no access, then read-only. */
#define HOLE (BUFFER + BUFFER_SIZE)
#define SEALED (HOLE + PAGE)
/* Where sequences map memory. */
#define MAPS 0x2000100000UL
#define MAPS_SIZE (16 * PAGE)
/* Where the state lies. */
#define STATE 0x2001000000UL

/* The limit of descriptors, and which of them the state has. */
#define DESCRIPTORS 64
#define STATE_FD 60

#define WARM_UP_CALLS 64
/* How long an actor sleeps before it looks whether the other one lives. */
#define PATIENCE_NS 20000000
#define CALLS_MAX 64
#define TEXT_SIZE (256 * 1024)
#define FILE_SIZE_MAX (1 << 20)

enum actor { ACTOR_PROCESS, ACTOR_THREAD, ACTOR_CHILD, ACTORS };

/* What becomes of a result, or of what argument number `treated` points to, before it is written down. */
enum treatment {
    TREAT_NOT,
    TREAT_STAT,
    TREAT_ENTRIES,
    TREAT_ZERO,
    TREAT_PROCESS,
    TREAT_DIRECTORY,
};

/* What is not one call. */
enum pseudo_call {
    FIRST_PSEUDO_CALL = 1000,
    CALL_LOAD = FIRST_PSEUDO_CALL,
    CALL_STORE,
    CALL_SIGACTION,
    CALL_RAISE,
    CALL_SIGNAL_CHILD,
    CALL_EXECUTE,
    CALL_END,
};

enum disposition { DISPOSITION_DEFAULT, DISPOSITION_IGNORE, DISPOSITION_HANDLER };

struct call {
    uint32_t actor, number, treatment, treated;
    uint64_t arguments[6];
};

struct message {
    uint32_t count, makes_files;
    char directory[256];
    uint8_t constants[4096];
    struct call calls[CALLS_MAX];
};

#endif
