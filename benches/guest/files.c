/* Files and names: reading from the host's files, writing to the scratch directory. */
#include "guest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP_MAX (64 << 10)
/* A written file starts again at this size. */
#define WRITTEN_MAX (8 << 20)

static char buffer[STEP_MAX];

static void pread_4k(struct meter *meter) {
    int fd = OK(open(in_directory(inputs, "data"), O_RDONLY));
    REPEAT(meter) OK(pread(fd, buffer, 4096, 8192));
    close(fd);
}

static void read_in_steps(struct meter *meter, size_t step) {
    int fd = OK(open(in_directory(inputs, "data"), O_RDONLY));
    REPEAT(meter) {
        if (OK(read(fd, buffer, step)) == 0) OK(lseek(fd, 0, SEEK_SET));
    }
    close(fd);
}

static void write_in_steps(struct meter *meter, size_t step) {
    const char *path = in_directory(scratch, "written");
    int fd = OK(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    off_t at = 0;
    memset(buffer, 'x', sizeof buffer);
    REPEAT(meter) {
        if (at >= WRITTEN_MAX) at = OK(lseek(fd, 0, SEEK_SET));
        at += OK(write(fd, buffer, step));
    }
    close(fd);
    unlink(in_directory(scratch, "written"));
}

static void read_4k(struct meter *meter) {
    read_in_steps(meter, 4096);
}

static void read_64k(struct meter *meter) {
    read_in_steps(meter, STEP_MAX);
}

static void write_4k(struct meter *meter) {
    write_in_steps(meter, 4096);
}

static void write_64k(struct meter *meter) {
    write_in_steps(meter, STEP_MAX);
}

static void open_close(struct meter *meter) {
    const char *path = in_directory(inputs, "data");
    REPEAT(meter) close(OK(open(path, O_RDONLY)));
}

static void stat_present(struct meter *meter) {
    struct stat found;
    const char *path = in_directory(inputs, "data");
    REPEAT(meter) OK(stat(path, &found));
}

static void stat_missing(struct meter *meter) {
    struct stat found;
    const char *path = in_directory(inputs, "missing");
    REPEAT(meter) {
        if (stat(path, &found) == 0 || errno != ENOENT) refuse("stat of a missing name");
    }
}

static void readdir_1000(struct meter *meter) {
    DIR *directory = opendir(in_directory(inputs, "names"));
    if (!directory) refuse("opendir");
    REPEAT(meter) {
        int count = 0;
        rewinddir(directory);
        while (readdir(directory)) count++;
        if (count < 1000) {
            errno = 0;
            refuse("readdir found fewer names than there are");
        }
    }
    closedir(directory);
}

static void create_unlink(struct meter *meter) {
    const char *path = in_directory(scratch, "created");
    REPEAT(meter) {
        close(OK(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600)));
        OK(unlink(path));
    }
}

const struct operation files[] = {
    {"pread_4k", "pread of 4 KiB", pread_4k},
    {"read_4k", "sequential read, 4 KiB steps", read_4k},
    {"read_64k", "sequential read, 64 KiB steps", read_64k},
    {"write_4k", "sequential write, 4 KiB steps", write_4k},
    {"write_64k", "sequential write, 64 KiB steps", write_64k},
    {"open_close", "open and close", open_close},
    {"stat_present", "stat", stat_present},
    {"stat_missing", "stat of a missing name", stat_missing},
    {"readdir_1000", "readdir of 1,000 names", readdir_1000},
    {"create_unlink", "create and unlink", create_unlink},
    {0},
};
