/* Times one script: started, run and waited for inside of whatever this program runs in. */
#include "guest.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs a script of bash's with no input and no output but errors. Returns its exit status, 128 + n for signal n. */
static int shell(const char *script) {
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        execlp("bash", "bash", "--norc", "-o", "pipefail", "-ec", script, (char *)NULL);
        perror("guest: bash");
        _exit(127);
    }
    int status;
    if (child == -1 || waitpid(child, &status, 0) == -1) {
        perror("guest: cannot start bash");
        return 125;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The same, and says how long it took if it succeeds. */
static int timed_shell(const char *script) {
    uint64_t begun = now_ns();
    int status = shell(script);
    uint64_t took = now_ns() - begun;
    if (status == 0) printf("{\"ns\":%llu}\n", (unsigned long long)took);
    return status;
}

int run_command(const char *setup, const char *script, const char *teardown) {
    int status = *setup ? shell(setup) : 0;
    if (status != 0) return status;
    status = timed_shell(script);
    if (*teardown) shell(teardown);
    return status;
}

int run_again(const char *script) {
    int status = shell(script);
    if (status != 0) return status;
    /* What the first one left must not be in the second one's way. */
    if (mkdir("again", 0700) == -1 || chdir("again") == -1) {
        perror("guest: again");
        return 125;
    }
    return timed_shell(script);
}
