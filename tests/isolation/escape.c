/*
 * Tries to leave a volume through its names. The volume is the current directory; a directory `outside` lies beside it
 * and holds the file `canary`, which says "canary". In the volume `d` is a directory and `l` a symbolic link to
 * `../outside`; both hold, or lead to, a file `canary`; that of `d` says "inside".
 *
 *     escape swap ROUNDS       exchanges `d` and `l` again and again, and goes through the name `d` meanwhile
 *     escape follow ROUNDS     only goes through `d`: somebody else exchanges them
 *     escape links             goes through every kind of link, and `..`
 *     escape moved             enters `d/sub`, says "ready", waits for input, and goes through `..`
 *
 * A line `escaped: HOW` tells that the outside was seen; what was changed there is for others to see.
 */
#include "guest.h"
#include <sys/xattr.h>

static void look(int fd, const char *how) {
    char text[16] = "";
    if (fd == -1)
        return;
    if (pread(fd, text, sizeof text - 1, 0) > 0 && strcmp(text, "canary") == 0) {
        char line[256];
        int length = snprintf(line, sizeof line, "escaped: %s\n", how);
        NEED(write(1, line, length) == length);
    }
    close(fd);
}

/* One of many ways to go through `d`. Every one of them fails or stays inside. */
static void go_through(unsigned round) {
    char name[64];
    struct stat status;
    int fd;
    snprintf(name, sizeof name, "d/new-%u", round);
    switch (round % 16) {
    case 0: look(open("d/canary", O_RDONLY), "read"); break;
    case 1: look(open("d/canary", O_RDWR), "opened for writing"); break;
    case 2: close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0600)); break;
    case 3: close(open("d/written", O_WRONLY | O_CREAT | O_TRUNC, 0600)); break;
    case 4: mkdir(name, 0700); rmdir(name); break;
    case 5: symlink("x", name); unlink(name); break;
    case 6: chmod("d/canary", round % 0777); break;
    case 7: truncate("d/victim", round); break;
    case 8: utimensat(AT_FDCWD, "d/canary", NULL, 0); break;
    case 9: rename("d/moving", "d/moved"); rename("d/moved", "d/moving"); break;
    case 10: link("file", name); unlink(name); break;
    case 11: setxattr("d/canary", "user.guest", "guest", 5, 0); break;
    case 12: mknod(name, S_IFIFO | 0600, 0); unlink(name); break;
    case 13:
        fd = open("d", O_RDONLY | O_DIRECTORY);
        look(openat(fd, "canary", O_RDONLY), "read through a directory");
        look(openat(fd, "../outside/canary", O_RDONLY), "read through .. of a directory");
        close(fd);
        break;
    case 14:
        if (chdir("d") == 0) {
            look(open("canary", O_RDONLY), "read in the current directory");
            look(open("../outside/canary", O_RDONLY), "read through .. of the current directory");
            NEED(fchdir(900) == 0);
        }
        break;
    case 15:
        if (stat("d/canary", &status) == 0 && status.st_size == 6)
            look(open("d/./canary", O_RDONLY | O_NOFOLLOW), "read after stat");
        break;
    }
}

static volatile bool over;

static void *swap(void *unused) {
    while (!over)
        renameat2(AT_FDCWD, "d", AT_FDCWD, "l", RENAME_EXCHANGE);
    return unused;
}

static void go_through_every_link(void) {
    static const char *const outside[] = {
        "../outside/canary",
        "l/canary",
        "d/../../outside/canary",
        "./d/./../l/canary",
        "../../../../../../../../../../../../outside/canary",
        "/proc/self/cwd/../outside/canary",
        "/proc/self/cwd/l/canary",
        "/proc/self/root//../outside/canary",
        "/proc/self/fd/900/../outside/canary",
        "/proc/self/fd/900/l/canary",
        "/proc/thread-self/cwd/../outside/canary",
        "/dev/fd/900/../outside/canary",
    };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        look(open(outside[i], O_RDWR), outside[i]);
        look(openat(900, outside[i], O_RDONLY), outside[i]);
        close(open(outside[i], O_WRONLY | O_TRUNC));
        struct { uint64_t flags, mode, resolve; } how = {O_RDONLY, 0, 0};
        look(syscall(SYS_openat2, 900, outside[i], &how, sizeof how), outside[i]);
        chmod(outside[i], 0777);
        truncate(outside[i], 0);
        if (link(outside[i], "linked") == 0)
            look(open("linked", O_RDONLY), "a hard link");
        rename(outside[i], "stolen");
        unlink(outside[i]);
    }
    /* A link made here, to each place where the canary could be. */
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        unlink("made");
        if (symlink(outside[i], "made") == 0) {
            look(open("made", O_RDONLY), "a symbolic link made inside");
            close(open("made", O_WRONLY | O_CREAT | O_TRUNC, 0600));
        }
    }
    /* Up from the volume's root until nothing changes, as in escapes from chroot. */
    if (mkdir("jail", 0700) == 0 && chroot("jail") == 0) {
        for (int i = 0; i < 64; i++)
            NEED(chdir("..") == 0);
        look(open("outside/canary", O_RDONLY), "out of a changed root");
    }
}

int main(int argc, char **argv) {
    NEED(argc >= 3 && chdir(argv[2]) == 0);
    int here = open(".", O_RDONLY | O_DIRECTORY);
    NEED(here != -1 && dup2(here, 900) == 900);
    const char *verb = argv[1];
    if (strcmp(verb, "links") == 0) {
        go_through_every_link();
    } else if (strcmp(verb, "moved") == 0) {
        char byte;
        NEED(chdir("d/sub") == 0 && write(1, "ready\n", 6) == 6 && read(0, &byte, 1) == 1);
        look(open("../canary", O_RDONLY), "read through .. of a moved directory");
        close(open("../made", O_WRONLY | O_CREAT, 0600));
        if (chdir("..") == 0) {
            look(open("canary", O_RDONLY), "read in the parent of a moved directory");
            close(open("made", O_WRONLY | O_CREAT, 0600));
        }
    } else {
        pthread_t swapper;
        NEED(argc == 4);
        bool swaps = strcmp(verb, "swap") == 0;
        NEED(!swaps || pthread_create(&swapper, NULL, swap, NULL) == 0);
        for (unsigned round = 0, rounds = atoi(argv[3]); round < rounds; round++)
            go_through(round);
        over = true;
        NEED(!swaps || pthread_join(swapper, NULL) == 0);
    }
    NEED(write(1, "finished\n", 9) == 9);
    return 0;
}
