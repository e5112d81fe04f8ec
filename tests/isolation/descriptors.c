/*
 * An ordinary user uses up what the sentry has of descriptors. Carried out where it has few of them, and in sandboxes only.
 */
#include "guest.h"

/* More than there are. */
#define MANY 20000

/* What everybody in the sandbox still has to be able to do: open files, fork, execute, and map memory of their own. */
static long go_on(void) {
    int status;
    close(TRY(open("/etc/passwd", O_RDONLY)));
    TRY(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    pid_t pid = TRY(fork());
    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    TRY(waitpid(pid, &status, 0));
    return status == 0 ? 0 : fail(ECHILD);
}

HARMFUL_ATTACK(share_memory_until_refused) {
    TRY(setuid(1000));
    for (int i = 0; i < MANY; i++)
        if (mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
            return errno == ENOMEM ? go_on() : -1;
    return fail(ERANGE);
}

HARMFUL_ATTACK(map_files_in_memory_until_refused) {
    TRY(setuid(1000));
    for (int i = 0; i < MANY; i++) {
        char path[64];
        snprintf(path, sizeof path, "/tmp/%d", i);
        int fd = TRY(open(path, O_RDWR | O_CREAT, 0600));
        TRY(ftruncate(fd, PAGE_SIZE));
        void *mapped = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped == MAP_FAILED)
            return errno == ENFILE ? go_on() : -1;
        TRY(close(fd));
    }
    return fail(ERANGE);
}

HARMFUL_ATTACK(go_on_after_all_that) { return go_on(); }

int main(void) {
    run_attacks();
    return 0;
}
