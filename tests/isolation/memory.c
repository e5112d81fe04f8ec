/*
 * Takes more memory than there is.
 *
 *     memory touch    a child touches memory until it is killed; says how it ended
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

int main(int argc, char **argv) {
    int status;
    NEED(argc == 2 && is_inside());
    if (strcmp(argv[1], "files") == 0) {
        write_files();
        return 1;
    }
    pid_t pid = fork();
    NEED(pid != -1);
    if (pid == 0)
        touch();
    NEED(waitpid(pid, &status, 0) == pid);
    printf(WIFSIGNALED(status) ? "SIGNAL %d\n" : "STATUS %d\n",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return 0;
}
