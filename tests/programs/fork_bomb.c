/*
 * A fork bomb ends at --pids-limit, and the process that started it goes on.
 * usk-test: native=no options=--pids-limit,50
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int denied[2];

static void bomb(void) {
    for (;;)
        if (fork() == -1) {
            char error = errno;
            ssize_t ignored = write(denied[1], &error, 1);
            (void)ignored;
            pause();
        }
}

int main(void) {
    if (pipe(denied) == -1)
        return 1;
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        bomb();
    }
    char error;
    if (read(denied[0], &error, 1) != 1)
        return 1;
    printf("fork: %s\n", strerror(error));
    for (int i = 0; i < 1000 && kill(-pid, SIGKILL) == 0; i++)
        usleep(1000);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 1000; i++) {
        pid = fork();
        if (pid == 0)
            _exit(0);
        if (pid > 0)
            break;
        usleep(1000);
    }
    printf("afterwards: %s\n", pid > 0 ? "fork works again" : strerror(errno));
    return 0;
}
