/* getdents64(2), as the kernel has it. */
#ifndef GETDENTS_H
#define GETDENTS_H

#include "case.h"

/* struct linux_dirent64 */
struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

#endif
