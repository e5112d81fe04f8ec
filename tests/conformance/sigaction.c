/* rt_sigaction(2), rt_sigreturn(2): handlers */
#include "case.h"
#include <ucontext.h>

static volatile sig_atomic_t last_signal, nested_depth, deepest;
static siginfo_t last_info;

static void remember(int signal, siginfo_t *info, void *context) {
    (void)context;
    last_signal = signal;
    last_info = *info;
    signals_seen++;
}

CASE(sigaction_runs_the_handler_with_the_signals_number) {
    handle_info(SIGUSR1, remember, 0);
    OK(raise(SIGUSR1));
    EXPECT_EQ(last_signal, SIGUSR1);
    EXPECT_EQ(signals_seen, 1);
}

CASE(sigaction_returns_the_previous_action) {
    handle(SIGUSR1, count_signal, SA_RESTART);
    struct sigaction old, action = {.sa_handler = SIG_IGN};
    OK(sigaction(SIGUSR1, &action, &old));
    EXPECT(old.sa_handler == count_signal);
    EXPECT_EQ(old.sa_flags & SA_RESTART, SA_RESTART);
    OK(sigaction(SIGUSR1, NULL, &old));
    EXPECT(old.sa_handler == SIG_IGN);
}

CASE(sigaction_of_kill_and_stop_returns_einval) {
    struct sigaction action = {.sa_handler = SIG_IGN};
    EXPECT_ERRNO(sigaction(SIGKILL, &action, NULL), EINVAL);
    EXPECT_ERRNO(sigaction(SIGSTOP, &action, NULL), EINVAL);
    OK(sigaction(SIGKILL, NULL, &action));
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, 0, &action, NULL, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, 65, &action, NULL, 8), EINVAL);
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 4), EINVAL);
}

CASE(sigaction_with_bad_pointers_returns_efault) {
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, bad_page(), NULL, 8), EFAULT);
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, NULL, bad_page(), 8), EFAULT);
}

CASE(siginfo_of_kill_names_the_sender) {
    handle_info(SIGUSR1, remember, SA_RESTART);
    pid_t parent = getpid();
    pid_t pid = IN_CHILD({ OK(kill(parent, SIGUSR1)); });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(last_info.si_signo, SIGUSR1);
    EXPECT_EQ(last_info.si_code, SI_USER);
    EXPECT_EQ(last_info.si_pid, pid);
    EXPECT_EQ(last_info.si_uid, getuid());
    EXPECT_EQ(last_info.si_errno, 0);
}

CASE(siginfo_of_tgkill_has_the_tkill_code) {
    handle_info(SIGUSR1, remember, 0);
    OK(tgkill(getpid(), gettid(), SIGUSR1));
    EXPECT_EQ(last_info.si_code, SI_TKILL);
    EXPECT_EQ(last_info.si_pid, getpid());
}

CASE(siginfo_of_sigqueue_carries_the_value) {
    handle_info(SIGUSR1, remember, 0);
    OK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_ptr = &last_info}));
    EXPECT_EQ(last_info.si_code, SI_QUEUE);
    EXPECT(last_info.si_value.sival_ptr == &last_info);
}

CASE(siginfo_of_sigchld_describes_the_child) {
    handle_info(SIGCHLD, remember, SA_RESTART);
    pid_t pid = IN_CHILD({ _exit(9); });
    EXPECT_EXIT(pid, 9);
    while (signals_seen == 0)
        sched_yield();
    EXPECT_EQ(last_info.si_code, CLD_EXITED);
    EXPECT_EQ(last_info.si_pid, pid);
    EXPECT_EQ(last_info.si_status, 9);
}

CASE(siginfo_of_sigchld_tells_of_stop_and_continue) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    siginfo_t info;
    pid_t pid = IN_CHILD({ sleep_forever(); });
    OK(kill(pid, SIGSTOP));
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_STOPPED);
    OK(kill(pid, SIGCONT));
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_CONTINUED);
    OK(kill(pid, SIGKILL));
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    EXPECT_EQ(info.si_code, CLD_KILLED);
}

CASE(sa_nocldstop_silences_stops) {
    handle(SIGCHLD, count_signal, SA_NOCLDSTOP | SA_RESTART);
    pid_t pid = IN_CHILD({ sleep_forever(); });
    int status;
    OK(kill(pid, SIGSTOP));
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    EXPECT_EQ(signals_seen, 0);
    OK(kill(pid, SIGKILL));
    EXPECT_KILLED(pid, SIGKILL);
    while (signals_seen == 0)
        sched_yield();
}

static void raise_again(int signal) {
    nested_depth++;
    if (nested_depth > deepest)
        deepest = nested_depth;
    if (signals_seen++ < 3)
        raise(signal);
    nested_depth--;
}

CASE(handler_blocks_its_own_signal) {
    handle(SIGUSR1, raise_again, 0);
    OK(raise(SIGUSR1));
    EXPECT_EQ(signals_seen, 4);
    EXPECT_EQ(deepest, 1);
}

CASE(sa_nodefer_lets_the_handler_nest) {
    handle(SIGUSR1, raise_again, SA_NODEFER);
    OK(raise(SIGUSR1));
    EXPECT_EQ(signals_seen, 4);
    EXPECT_EQ(deepest, 4);
}

CASE(sa_resethand_restores_the_default) {
    handle(SIGUSR1, count_signal, SA_RESETHAND);
    OK(raise(SIGUSR1));
    struct sigaction action;
    OK(sigaction(SIGUSR1, NULL, &action));
    EXPECT(action.sa_handler == SIG_DFL);
    pid_t pid = IN_CHILD({ raise(SIGUSR1); });
    EXPECT_KILLED(pid, SIGUSR1);
}

static void check_mask(int signal) {
    (void)signal;
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    signals_seen = sigismember(&mask, SIGUSR1) << 2 | sigismember(&mask, SIGUSR2) << 1 | sigismember(&mask, SIGHUP);
}

CASE(sa_mask_is_blocked_while_the_handler_runs) {
    struct sigaction action = {.sa_handler = check_mask};
    sigaddset(&action.sa_mask, SIGUSR2);
    OK(sigaction(SIGUSR1, &action, NULL));
    OK(raise(SIGUSR1));
    EXPECT_EQ(signals_seen, 6);
    check_mask(0);
    EXPECT_EQ(signals_seen, 0);
}

static void change_mask(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGHUP);
}

CASE(handler_can_change_the_mask_it_returns_to) {
    handle_info(SIGUSR1, change_mask, 0);
    OK(raise(SIGUSR1));
    check_mask(0);
    EXPECT_EQ(signals_seen, 1);
}

static void change_register(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RBX] = 4711;
}

CASE(handler_can_change_the_registers_it_returns_to) {
    handle_info(SIGUSR1, change_register, 0);
    long result = SYS_tkill, tid = gettid(), rbx;
    __asm__ volatile("xor %%ebx, %%ebx; syscall; mov %%rbx, %1"
                     : "+a"(result), "=r"(rbx)
                     : "D"(tid), "S"(SIGUSR1)
                     : "rbx", "rcx", "r11", "memory");
    EXPECT_EQ(result, 0);
    EXPECT_EQ(rbx, 4711);
}

static void spoil_registers(int signal) {
    signals_seen++;
    (void)signal;
    __asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm15, %%xmm15; std; cld; fninit; fldpi; fstp %%st(0)"
                     :
                     :
                     : "xmm0", "xmm15");
}

CASE(sigreturn_restores_all_general_registers_and_sse) {
    handle(SIGUSR1, spoil_registers, 0);
    uint64_t out[12], xmm_in[4] = {1, 2, 3, 4};
    long number = SYS_tkill, tid = gettid();
    __asm__ volatile("movdqu (%[xi]), %%xmm0; movdqu 16(%[xi]), %%xmm15\n"
                     "mov $0x1111, %%r8; mov $0x2222, %%r9; mov $0x3333, %%r10; mov $0x4444, %%r12\n"
                     "mov $0x5555, %%r13; mov $0x6666, %%r14; mov $0x7777, %%r15; mov $0x8888, %%rbx\n"
                     "syscall\n"
                     "mov %%r8, (%[out]); mov %%r9, 8(%[out]); mov %%r10, 16(%[out]); mov %%r12, 24(%[out])\n"
                     "mov %%r13, 32(%[out]); mov %%r14, 40(%[out]); mov %%r15, 48(%[out]); mov %%rbx, 56(%[out])\n"
                     "movdqu %%xmm0, 64(%[out]); movdqu %%xmm15, 80(%[out])\n"
                     : "+a"(number)
                     : [xi] "r"(xmm_in), [out] "d"(out), "D"(tid), "S"((long)SIGUSR1)
                     : "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm15", "memory");
    EXPECT_EQ(number, 0);
    EXPECT_EQ(signals_seen, 1);
    for (int i = 0; i < 8; i++)
        EXPECT_EQ(out[i], 0x1111 * (i + 1));
    EXPECT(memcmp(xmm_in, out + 8, sizeof xmm_in) == 0);
}

__attribute__((target("avx"))) static void spoil_ymm(int signal) {
    (void)signal;
    signals_seen++;
    __asm__ volatile("vzeroall" : : : "memory");
}

__attribute__((target("avx"))) static void raise_with_ymm(const uint64_t *in, uint64_t *out) {
    long number = SYS_tkill, tid = gettid();
    __asm__ volatile("vmovdqu (%[in]), %%ymm7; syscall; vmovdqu %%ymm7, (%[out])"
                     : "+a"(number)
                     : [in] "r"(in), [out] "d"(out), "D"(tid), "S"((long)SIGUSR1)
                     : "rcx", "r11", "xmm7", "memory");
}

CASE(sigreturn_restores_ymm_registers) {
    if (!__builtin_cpu_supports("avx"))
        SKIP("the processor has no AVX");
    handle(SIGUSR1, spoil_ymm, 0);
    uint64_t in[4] = {11, 22, 33, 44}, out[4] = {0};
    raise_with_ymm(in, out);
    EXPECT_EQ(signals_seen, 1);
    EXPECT(memcmp(in, out, sizeof in) == 0);
}

__attribute__((target("avx512f"))) static void spoil_zmm(int signal) {
    (void)signal;
    signals_seen++;
    __asm__ volatile("vpxorq %%zmm7, %%zmm7, %%zmm7; vpxorq %%zmm30, %%zmm30, %%zmm30; kxorw %%k3, %%k3, %%k3"
                     :
                     :
                     : "memory");
}

__attribute__((target("avx512f"))) static void raise_with_zmm(const uint64_t *in, uint64_t *out) {
    long number = SYS_tkill, tid = gettid();
    __asm__ volatile("vmovdqu64 (%[in]), %%zmm7; vmovdqu64 64(%[in]), %%zmm30; mov $0x5a5a, %%ecx; kmovw %%ecx, %%k3\n"
                     "syscall\n"
                     "vmovdqu64 %%zmm7, (%[out]); vmovdqu64 %%zmm30, 64(%[out]); kmovw %%k3, %%ecx\n"
                     "movl %%ecx, 128(%[out])"
                     : "+a"(number)
                     : [in] "r"(in), [out] "d"(out), "D"(tid), "S"((long)SIGUSR1)
                     : "rcx", "r11", "xmm7", "memory");
}

CASE(sigreturn_restores_zmm_and_mask_registers) {
    if (!__builtin_cpu_supports("avx512f"))
        SKIP("the processor has no AVX-512");
    handle(SIGUSR1, spoil_zmm, 0);
    uint64_t in[16], out[17] = {0};
    for (int i = 0; i < 16; i++)
        in[i] = 0x0101010101010101 * (i + 3);
    raise_with_zmm(in, out);
    EXPECT_EQ(signals_seen, 1);
    EXPECT(memcmp(in, out, sizeof in) == 0);
    EXPECT_EQ((uint16_t)out[16], 0x5a5a);
}

static void spoil_x87(int signal) {
    (void)signal;
    signals_seen++;
    __asm__ volatile("fninit; fld1; fldpi");
}

CASE(sigreturn_restores_x87_and_the_control_words) {
    handle(SIGUSR1, spoil_x87, 0);
    uint16_t control = 0x0f7f, after;
    uint32_t mxcsr = 0x3f80, mxcsr_after;
    long number = SYS_tkill, tid = gettid();
    long double top = 0;
    __asm__ volatile("fldcw %[control]; ldmxcsr %[mxcsr]; fldl2e; syscall; fnstcw %[after]; stmxcsr %[mxcsr_after]\n"
                     "fstpt %[top]; fninit"
                     : "+a"(number), [after] "=m"(after), [mxcsr_after] "=m"(mxcsr_after), [top] "=m"(top)
                     : [control] "m"(control), [mxcsr] "m"(mxcsr), "D"(tid), "S"((long)SIGUSR1)
                     : "rcx", "r11", "memory");
    EXPECT_EQ(signals_seen, 1);
    EXPECT_EQ(after, control);
    EXPECT_EQ(mxcsr_after, mxcsr);
    EXPECT(top > 1.44L && top < 1.45L);
}

static void find_magic(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    /* FP_XSTATE_MAGIC1 in the software-reserved bytes of the legacy area, FP_XSTATE_MAGIC2 at its end. */
    char *state = (char *)((ucontext_t *)context)->uc_mcontext.fpregs;
    uint32_t magic1, extended_size, magic2;
    memcpy(&magic1, state + 464, 4);
    memcpy(&extended_size, state + 468, 4);
    memcpy(&magic2, state + extended_size - 4, 4);
    signals_seen = magic1 == 0x46505853 && magic2 == 0x46505845;
}

CASE(handler_frame_holds_the_xsave_area_with_its_magic) {
    handle_info(SIGUSR1, find_magic, 0);
    OK(raise(SIGUSR1));
    EXPECT_EQ(signals_seen, 1);
}

static volatile uintptr_t flags_in_handler, frame_alignment;

static void check_entry(int signal) {
    (void)signal;
    frame_alignment = (uintptr_t)__builtin_frame_address(0) % 16;
    flags_in_handler = __builtin_ia32_readeflags_u64() & 0x400;
}

CASE(handler_starts_with_an_aligned_stack_and_a_clear_direction_flag) {
    handle(SIGUSR1, check_entry, 0);
    long number = SYS_tkill, tid = gettid();
    uint64_t flags;
    __asm__ volatile("std; syscall; pushfq; pop %1; cld"
                     : "+a"(number), "=r"(flags)
                     : "D"(tid), "S"((long)SIGUSR1)
                     : "rcx", "r11", "memory");
    EXPECT_EQ(frame_alignment, 0);
    EXPECT_EQ(flags_in_handler, 0);
    EXPECT_EQ(flags & 0x400, 0x400);
}

CASE(handler_respects_the_red_zone) {
    handle(SIGUSR1, count_signal, 0);
    long number = SYS_tkill, tid = gettid(), word;
    __asm__ volatile("movq $0x1234, -64(%%rsp); syscall; movq -64(%%rsp), %1"
                     : "+a"(number), "=r"(word)
                     : "D"(tid), "S"((long)SIGUSR1)
                     : "rcx", "r11", "memory");
    EXPECT_EQ(word, 0x1234);
}

CASE(sigreturn_of_a_bad_frame_kills) {
    pid_t pid = IN_CHILD({
        void *bad = bad_page();
        __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" : : "r"(bad) : "memory");
    });
    EXPECT_KILLED(pid, SIGSEGV);
}

static void (*volatile nowhere)(int) = (void (*)(int))0x10;

CASE(handler_at_a_bad_address_kills) {
    pid_t pid = IN_CHILD({
        handle(SIGUSR1, nowhere, 0);
        raise(SIGUSR1);
    });
    EXPECT_KILLED(pid, SIGSEGV);
}

CASE(ignored_signals_vanish_even_when_pending) {
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(raise(SIGUSR1));
    handle(SIGUSR1, SIG_IGN, 0);
    OK(sigpending(&pending));
    EXPECT(!sigismember(&pending, SIGUSR1));
}

CASE(sigaction_forgets_flags_that_nobody_knows_and_signals_that_nobody_blocks) {
    uint64_t asked[4] = {(uint64_t)count_signal, 0xffffffff00000400ull | SA_RESTART | SA_NODEFER, 4711, ~0ull}, got[4];
    OK(syscall(SYS_rt_sigaction, SIGUSR1, asked, NULL, 8));
    OK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, got, 8));
    EXPECT_EQ(got[0], asked[0]);
    EXPECT_EQ(got[1], (uint64_t)(SA_RESTART | SA_NODEFER));
    EXPECT_EQ(got[2], 4711u);
    EXPECT_EQ(got[3], ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1)));
}

CASE(sigaction_of_every_signal_is_what_was_set_last) {
    for (int round = 0; round < 3; round++)
        for (int signal = 1; signal <= 64; signal++) {
            uint64_t asked[4] = {0x1000u * (unsigned)signal + (unsigned)round, SA_SIGINFO, (unsigned)round, 1ull << 9}, got[4];
            if (signal == SIGKILL || signal == SIGSTOP)
                continue;
            /* Both in the same place. */
            memcpy(got, asked, sizeof got);
            OK(syscall(SYS_rt_sigaction, signal, got, got, 8));
            EXPECT_EQ(got[0], round == 0 ? 0 : asked[0] - 1);
            OK(syscall(SYS_rt_sigaction, signal, NULL, got, 8));
            EXPECT(memcmp(got, asked, sizeof got) == 0);
        }
}

CASE(sigaction_sets_the_action_even_if_the_old_one_cannot_be_written) {
    struct sigaction action = {.sa_handler = SIG_IGN}, old;
    uint64_t asked[4] = {(uint64_t)SIG_IGN, 0, 0, 0};
    EXPECT_ERRNO(syscall(SYS_rt_sigaction, SIGUSR1, asked, bad_page(), 8), EFAULT);
    OK(sigaction(SIGUSR1, NULL, &old));
    EXPECT(old.sa_handler == action.sa_handler);
}

CASE(a_child_begins_with_its_parents_actions_and_changes_its_own) {
    struct sigaction old;
    for (int i = 0; i < 20; i++) {
        handle(SIGUSR1, count_signal, 0);
        pid_t pid = IN_CHILD({
            OK(sigaction(SIGUSR1, NULL, &old));
            EXPECT(old.sa_handler == count_signal);
            OK(raise(SIGUSR1));
            EXPECT_EQ(signals_seen, 1);
            EXPECT(signal(SIGUSR1, SIG_IGN) == count_signal);
            EXPECT(signal(SIGUSR2, SIG_IGN) == SIG_DFL);
        });
        EXPECT_EXIT(pid, 0);
        OK(sigaction(SIGUSR2, NULL, &old));
        EXPECT(old.sa_handler == SIG_DFL);
    }
    OK(raise(SIGUSR1));
    EXPECT_EQ(signals_seen, 1);
}

static void *set_by_another(void *handler) {
    return signal(SIGUSR1, (void (*)(int))handler) == SIG_ERR ? "failed" : NULL;
}

CASE(threads_have_the_same_actions) {
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *failed;
        handle(SIGUSR1, SIG_IGN, 0);
        EXPECT_EQ(pthread_create(&thread, NULL, set_by_another, (void *)count_signal), 0);
        EXPECT_EQ(pthread_join(thread, &failed), 0);
        EXPECT(failed == NULL);
        EXPECT(signal(SIGUSR1, SIG_DFL) == count_signal);
    }
}

CASE(others_see_whether_a_signal_is_ignored_as_soon_as_it_is) {
    volatile int *turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(turn != MAP_FAILED);
    pid_t pid = IN_CHILD({
        for (int i = 0; i < 200; i++) {
            handle(SIGUSR1, i % 2 ? count_signal : SIG_IGN, 0);
            *turn = 2 * i + 1;
            while (*turn == 2 * i + 1)
                sched_yield();
            while (signals_seen < (i + 1) / 2)
                sched_yield();
        }
        EXPECT_EQ(signals_seen, 100);
    });
    for (int i = 0; i < 200; i++) {
        while (*turn != 2 * i + 1)
            sched_yield();
        OK(kill(pid, SIGUSR1));
        *turn = 2 * i + 2;
    }
    EXPECT_EXIT(pid, 0);
}

CASE(a_blocked_signal_that_is_ignored_now_is_not_pending_any_more) {
    sigset_t usr1, pending;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    OK(sigprocmask(SIG_BLOCK, &usr1, NULL));
    for (int i = 0; i < 20; i++) {
        handle(SIGUSR1, count_signal, 0);
        OK(raise(SIGUSR1));
        handle(SIGUSR1, SIG_IGN, 0);
        OK(sigpending(&pending));
        EXPECT(!sigismember(&pending, SIGUSR1));
        handle(SIGUSR1, count_signal, 0);
        OK(raise(SIGUSR1));
        /* Ignored by default it is not. */
        handle(SIGUSR1, SIG_DFL, 0);
        OK(sigpending(&pending));
        EXPECT(sigismember(&pending, SIGUSR1));
        handle(SIGUSR1, SIG_IGN, 0);
    }
    OK(sigprocmask(SIG_UNBLOCK, &usr1, NULL));
    EXPECT_EQ(signals_seen, 0);
}

CASE(children_of_who_ignores_sigchld_leave_no_zombies) {
    for (int i = 0; i < 20; i++) {
        struct sigaction ignore = {.sa_handler = SIG_IGN}, nocldwait = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
        OK(sigaction(SIGCHLD, i % 2 ? &ignore : &nocldwait, NULL));
        pid_t pid = IN_CHILD({ _exit(3); });
        EXPECT_ERRNO(waitpid(pid, NULL, 0), ECHILD);
        handle(SIGCHLD, SIG_DFL, 0);
        pid = IN_CHILD({ _exit(3); });
        EXPECT_EXIT(pid, 3);
    }
}
