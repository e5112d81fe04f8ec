/* Files that are written and read again and again in large pieces. */
#ifndef AGAIN_H
#define AGAIN_H

#include "case.h"

/* Bytes of such a file, and of what is read and written at once. */
#define LARGE (256UL << 10)

/* A file of LARGE bytes `byte`, which has been written and read several times. */
static inline int used_file(const char *name, char byte) {
    char *buffer = map(LARGE);
    int fd = OK(open(name, O_RDWR | O_CREAT, 0600));
    memset(buffer, byte, LARGE);
    for (int round = 0; round < 4; round++) {
        EXPECT_EQ(pwrite(fd, buffer, LARGE, 0), LARGE);
        EXPECT_EQ(pread(fd, buffer, LARGE, 0), LARGE);
    }
    OK(munmap(buffer, LARGE));
    return fd;
}

/* True if `length` bytes are all `byte`. */
static inline bool all_are(const char *bytes, size_t length, char byte) {
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != byte) return false;
    return true;
}

#endif
