/*
 * Threads that sleep in the platform's code with all signals of the host's blocked, which an ordinary user can bring about: they return
 * through a frame of their own making to where the stub makes a futex call.
 */
#include "guest.h"

#define USER 1001

/* Seconds after which somebody who waits for such a thread hangs. */
#define MOST_S 30

static struct user_context context __attribute__((aligned(64)));

static unsigned word;
static char stack[1 << 16] __attribute__((aligned(64)));

/* Holds the file, writes to it without a call that arrives, and sleeps. */
static void sleep_with(const char *file, int ready) {
    char data[64] = "data";
    NEED(setuid(USER) == 0);
    int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0644);
    NEED(fd != -1);
    for (int i = 0; i < 300; i++)
        NEED(getppid() > 0);
    for (int i = 0; i < 300; i++)
        NEED(pwrite(fd, data, sizeof data, 0) == sizeof data && (i % 50 != 0 || getpgid(0) >= 0));
    unsigned long sigreturn = find("\xb8\x0f\0\0\0\x0f\x05", 7), futex = find("\xb8\xca\0\0\0\x0f\x05\x65", 8);
    context.flags = 6; /* UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
    context.stack.ss_flags = SS_DISABLE;
    context.registers[8] = (unsigned long)&word;                    /* rdi */
    context.registers[9] = 128;                                     /* rsi: FUTEX_WAIT_PRIVATE */
    context.registers[13] = SYS_futex;                              /* rax */
    context.registers[15] = (unsigned long)stack + sizeof stack / 2; /* rsp */
    context.registers[16] = futex + 5;                              /* rip */
    context.registers[17] = 0x202;                                  /* rflags */
    context.registers[18] = 0x33 | 0x2bUL << 48;                    /* cs and ss */
    context.mask = ~0UL;
    NEED(write(ready, "", 1) == 1);
    NEED(getpgid(0) >= 0 && getpgid(0) >= 0);
    NEED(pwrite(fd, data, sizeof data, 0) == sizeof data);
    __asm__ volatile("mov %0, %%rsp\n mov $15, %%eax\n jmp *%1" ::"r"(&context), "r"(sigreturn + 5) : "memory", "rax");
}

static pid_t start_sleeper(const char *file) {
    int ready[2];
    char byte;
    NEED(pipe(ready) == 0);
    pid_t pid = fork();
    NEED(pid != -1);
    if (pid == 0) {
        sleep_with(file, ready[1]);
        _exit(STATUS_OTHER);
    }
    NEED(read(ready[0], &byte, 1) == 1);
    usleep(300000);
    return pid;
}

int main(void) {
    NEED(is_inside());
    int status;
    struct stat attributes;
    alarm(MOST_S);
    pid_t sleeper = start_sleeper("/tmp/looked-at");
    NEED(stat("/tmp/looked-at", &attributes) == 0 && attributes.st_size == 64);
    NEED(waitpid(sleeper, &status, 0) == sleeper && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    alarm(MOST_S);
    sleeper = start_sleeper("/tmp/unseen");
    NEED(kill(sleeper, SIGKILL) == 0 && waitpid(sleeper, &status, 0) == sleeper);
    NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    puts("finished");
    return 0;
}
