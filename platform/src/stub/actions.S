# `rt_sigaction` from a patched site (tier 0). The actions of a process with one thread are in its slot (`trap/actions.rs`). rax, rcx and
# r11 are free; the stack is not there.
#
# The new action is staged, the old one goes to guest memory, and then one store says that the call has been made. Up to it a signal
# makes the call start again; after it the sentry puts the staged action in its place, if the stub has not come that far.

    .globl usk_action_begin
usk_action_begin:
    cmp r10, {signal_set_size}
    jne usk_action_asks
    load_orders r11, rcx
    bt qword ptr [r11 + {actions_answer}], {answer_stands_bit}
    jnc usk_action_asks
    lea ecx, [rdi - 1]
    cmp ecx, {action_count}
    jae usk_action_asks
    want_guests rdx, rax, usk_action_asks
    test rsi, rsi
    jz 2f
    want_guests rsi, rax, usk_action_asks
    mov eax, {actions_asked_for}
    bt rax, rcx
    jc usk_action_asks
    mov r11, [r11 + {quiet}]
    mov rax, [rsi]                  # memory that is not there, here and below, makes an ordinary call
    cmp rax, {sig_ign}
    ja 1f
    bt r11, rcx                     # what is ignored is not pending any more, which is the sentry's to see to
    jnc usk_action_asks
1:  mov gs:[{action_staged}], rax
    mov eax, [rsi + 8]
    and eax, {action_flags}
    mov gs:[{action_staged} + 8], rax
    mov rax, [rsi + 16]
    mov gs:[{action_staged} + 16], rax
    mov rax, [rsi + 24]
    btr rax, {sigkill_bit}
    btr rax, {sigstop_bit}
    mov gs:[{action_staged} + 24], rax
2:  shl ecx, {action_shift}
    test rdx, rdx
    jz 3f
    .irp word, 0, 8, 16, 24
    mov rax, gs:[rcx + {actions} + \word]
    mov [rdx + \word], rax
    .endr
3:  test rsi, rsi
    jz usk_action_done
    mov gs:[{action_staged_for}], edi
    .globl usk_action_set
usk_action_set:
    .irp word, 8, 16, 24, 0         # others look at the handler alone
    mov rax, gs:[{action_staged} + \word]
    mov gs:[rcx + {actions} + \word], rax
    .endr
    .globl usk_action_done
usk_action_done:
    xor eax, eax
    go_back
    .globl usk_action_asks
usk_action_asks:
    mov ecx, {hands_over_second}
    jmp hands_over
    .globl usk_action_end
usk_action_end:
