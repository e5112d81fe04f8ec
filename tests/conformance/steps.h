/* Steps that change a file, for cases in which one process looks at what another does. */
#ifndef STEPS_H
#define STEPS_H

#include "case.h"

/* What one process does to the file that another looks at. Descriptors stay open until it ends. */
static void do_step(int step) {
    static const struct timespec times[] = {{1000, 1}, {2000, 2}};
    char byte;
    switch (step) {
    case 0: OK(chmod("f", 0600)); break;
    case 1: OK(link("f", "g")); break;
    case 2: OK(unlink("g")); break;
    case 3: OK(rename("f", "h")); break;
    case 4: OK(write(OK(open("h", O_WRONLY | O_APPEND)), " world", 6)); break;
    case 5: OK(truncate("h", 2)); break;
    case 6: OK(utimensat(AT_FDCWD, "h", times, 0)); break;
    case 7: EXPECT_EQ(read(OK(open("h", O_RDONLY)), &byte, 1), 1); break;
    case 8: OK(open("h", O_WRONLY | O_TRUNC)); break;
    case 9: make_file("i", ""); OK(rename("i", "h")); break;
    }
}

#endif
