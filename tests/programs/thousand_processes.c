/* A thousand processes at once, which wait for their parent's word. usk-test: limit=180 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    int gate[2], sum = 0;
    if (pipe(gate) == -1)
        return 1;
    for (int i = 0; i < 1000; i++) {
        pid_t pid = fork();
        if (pid == -1) {
            perror("fork");
            return 1;
        }
        if (pid == 0) {
            char byte;
            close(gate[1]);
            _exit(read(gate[0], &byte, 1) == 0 ? i % 100 : 255);
        }
    }
    close(gate[1]);
    for (int status; wait(&status) > 0;)
        sum += WEXITSTATUS(status);
    printf("%d\n", sum);
    return 0;
}
