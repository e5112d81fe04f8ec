/* sigaltstack(2) */
#include "case.h"
#include <pthread.h>
#include <ucontext.h>

static char *alternative;
#define ALTERNATIVE_SIZE 65536

static volatile int on_alternative, flags_inside;

static void install(void) {
    alternative = map(ALTERNATIVE_SIZE);
    stack_t stack = {.ss_sp = alternative, .ss_size = ALTERNATIVE_SIZE};
    OK(sigaltstack(&stack, NULL));
}

static void look(int signal) {
    (void)signal;
    char here;
    on_alternative = &here >= alternative && &here < alternative + ALTERNATIVE_SIZE;
    stack_t stack;
    sigaltstack(NULL, &stack);
    flags_inside = stack.ss_flags;
    signals_seen++;
}

CASE(sigaltstack_is_used_with_sa_onstack_only) {
    install();
    handle(SIGUSR1, look, SA_ONSTACK);
    handle(SIGUSR2, look, 0);
    OK(raise(SIGUSR1));
    EXPECT_EQ(on_alternative, 1);
    EXPECT_EQ(flags_inside, SS_ONSTACK);
    OK(raise(SIGUSR2));
    EXPECT_EQ(on_alternative, 0);
    EXPECT_EQ(flags_inside, 0);
}

CASE(sigaltstack_is_read_back) {
    stack_t stack;
    OK(sigaltstack(NULL, &stack));
    EXPECT_EQ(stack.ss_flags, SS_DISABLE);
    install();
    OK(sigaltstack(NULL, &stack));
    EXPECT(stack.ss_sp == alternative);
    EXPECT_EQ(stack.ss_size, ALTERNATIVE_SIZE);
    EXPECT_EQ(stack.ss_flags, 0);
}

CASE(sigaltstack_can_be_disabled) {
    install();
    stack_t stack = {.ss_flags = SS_DISABLE};
    OK(sigaltstack(&stack, NULL));
    handle(SIGUSR1, look, SA_ONSTACK);
    OK(raise(SIGUSR1));
    EXPECT_EQ(on_alternative, 0);
}

CASE(sigaltstack_with_bad_arguments_fails) {
    stack_t stack = {.ss_sp = map(PAGE_SIZE), .ss_size = 1024};
    EXPECT_ERRNO(sigaltstack(&stack, NULL), ENOMEM);
    stack = (stack_t){.ss_sp = stack.ss_sp, .ss_size = 65536, .ss_flags = 0x10};
    EXPECT_ERRNO(sigaltstack(&stack, NULL), EINVAL);
    EXPECT_ERRNO(sigaltstack(bad_page(), NULL), EFAULT);
    EXPECT_ERRNO(sigaltstack(NULL, bad_page()), EFAULT);
}

static void try_to_change(int signal) {
    (void)signal;
    stack_t stack = {.ss_flags = SS_DISABLE};
    signals_seen = sigaltstack(&stack, NULL) == -1 && errno == EPERM;
}

CASE(sigaltstack_cannot_be_changed_while_in_use) {
    install();
    handle(SIGUSR1, try_to_change, SA_ONSTACK);
    OK(raise(SIGUSR1));
    EXPECT_EQ(signals_seen, 1);
}

static void exit_3(int signal) {
    (void)signal;
    _exit(3);
}

static int overflow(int depth) {
    volatile char block[4096];
    block[0] = depth;
    return depth > 1000000000 ? 0 : overflow(depth + 1) + block[0];
}

CASE(sigaltstack_survives_a_stack_overflow) {
    pid_t pid = IN_CHILD({
        install();
        handle(SIGSEGV, exit_3, SA_ONSTACK);
        overflow(0);
    });
    EXPECT_EXIT(pid, 3);
}

CASE(stack_overflow_without_an_alternative_stack_kills) {
    pid_t pid = IN_CHILD({
        handle(SIGSEGV, exit_3, 0);
        overflow(0);
    });
    EXPECT_KILLED(pid, SIGSEGV);
}

CASE(sigaltstack_is_inherited_by_fork_and_not_by_exec) {
    install();
    pid_t pid = IN_CHILD({
        stack_t stack;
        OK(sigaltstack(NULL, &stack));
        EXPECT(stack.ss_sp == alternative);
        execl(program_path, "program", "--helper", "expect_no_stack", NULL);
    });
    EXPECT_EXIT(pid, 0);
}

HELPER(expect_no_stack) {
    (void)argc, (void)argv;
    stack_t stack;
    sigaltstack(NULL, &stack);
    return stack.ss_flags == SS_DISABLE ? 0 : 1;
}

CASE(sigaltstack_autodisarm_switches_itself_off_in_the_handler) {
    alternative = map(ALTERNATIVE_SIZE);
    stack_t stack = {.ss_sp = alternative, .ss_size = ALTERNATIVE_SIZE, .ss_flags = (int)(1U << 31)};
    OK(sigaltstack(&stack, NULL));
    handle(SIGUSR1, look, SA_ONSTACK);
    OK(raise(SIGUSR1));
    EXPECT_EQ(on_alternative, 1);
    EXPECT_EQ(flags_inside, SS_DISABLE);
    OK(sigaltstack(NULL, &stack));
    EXPECT(stack.ss_sp == alternative);
}

static stack_t stack_in_frame;

static void note_stack(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    stack_in_frame = ((ucontext_t *)context)->uc_stack;
}

static void expect_in_frame(int flags, void *address) {
    OK(raise(SIGUSR1));
    EXPECT_EQ(stack_in_frame.ss_flags, flags);
    EXPECT(stack_in_frame.ss_sp == address);
    EXPECT_EQ(stack_in_frame.ss_size, address == NULL ? 0 : ALTERNATIVE_SIZE);
}

static void *raise_in_thread(void *unused) {
    (void)unused;
    expect_in_frame(SS_DISABLE, NULL);
    return NULL;
}

CASE(a_frame_shows_the_alternate_stack_with_the_flags_it_was_set_with) {
    handle_info(SIGUSR1, note_stack, 0);
    expect_in_frame(0, NULL);
    alternative = map(ALTERNATIVE_SIZE);
    stack_t stack = {.ss_sp = alternative, .ss_size = ALTERNATIVE_SIZE};
    OK(sigaltstack(&stack, NULL));
    expect_in_frame(0, alternative);
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, raise_in_thread, NULL), 0);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    handle_info(SIGUSR1, note_stack, SA_ONSTACK);
    for (int i = 0; i < 200; i++)
        expect_in_frame(0, alternative);
    stack.ss_flags = SS_ONSTACK;
    OK(sigaltstack(&stack, NULL));
    for (int i = 0; i < 200; i++)
        expect_in_frame(SS_ONSTACK, alternative);
    OK(sigaltstack(NULL, &stack));
    EXPECT_EQ(stack.ss_flags, 0);
    stack.ss_flags = SS_DISABLE;
    OK(sigaltstack(&stack, NULL));
    expect_in_frame(SS_DISABLE, NULL);
}

static void look_below(int signal) {
    (void)signal;
    for (int at = 0; at < ALTERNATIVE_SIZE / 2; at++)
        EXPECT_EQ(alternative[at], 0x55);
    _exit(0);
}

CASE(a_frame_that_does_not_fit_is_not_written_below_the_stack) {
    alternative = map(ALTERNATIVE_SIZE);
    memset(alternative, 0x55, ALTERNATIVE_SIZE);
    for (int round = 0; round < 2; round++) {
        pid_t pid = IN_CHILD({
            stack_t stack = {
                .ss_sp = alternative + ALTERNATIVE_SIZE / 2,
                .ss_size = 2048,
                .ss_flags = round == 0 ? 0 : (int)(1U << 31) /* SS_AUTODISARM */,
            };
            OK(sigaltstack(&stack, NULL));
            handle(SIGUSR1, look_below, SA_ONSTACK);
            OK(raise(SIGUSR1));
        });
        int status = wait_for(pid);
        /* It depends on the processor's registers whether it fits. */
        EXPECT((WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) || status == 0);
    }
}
