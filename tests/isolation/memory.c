/*
 * Takes more memory than there is.
 *
 *     memory touch    a child touches memory until it is killed; says how it ended
 *     memory read     children, one after the other, have the kernel write more than there is; says how each ended
 *     memory files    writes to the root's layer, which lies in memory, until it is killed itself
 */
#include "guest.h"

static void touch(void) {
    for (;;) {
        char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        NEED(memory != MAP_FAILED);
        memset(memory, 1, 1 << 20);
    }
}

static void write_files(void) {
    static char text[1 << 20];
    int fd = open("/var/usk-isolation", O_WRONLY | O_CREAT, 0600);
    NEED(fd != -1);
    memset(text, 1, sizeof text);
    while (write(fd, text, sizeof text) > 0)
        ;
}

static void read_zeroes(void) {
    const size_t size = 400 << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open("/dev/zero", O_RDONLY);
    NEED(memory != MAP_FAILED && fd != -1);
    (void)!read(fd, memory, size);
}

static void run_child(void (*work)(void)) {
    int status;
    pid_t pid = fork();
    NEED(pid != -1);
    if (pid == 0) {
        work();
        _exit(0);
    }
    NEED(waitpid(pid, &status, 0) == pid);
    printf(WIFSIGNALED(status) ? "SIGNAL %d\n" : "STATUS %d\n",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int main(int argc, char **argv) {
    NEED(argc == 2 && is_inside());
    if (strcmp(argv[1], "files") == 0) {
        write_files();
        return 1;
    }
    if (strcmp(argv[1], "read") == 0) {
        for (int child = 0; child < 10; child++)
            run_child(read_zeroes);
    } else {
        run_child(touch);
    }
    return 0;
}
