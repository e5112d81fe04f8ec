# `rt_sigprocmask` from a patched site (tier 0). The thread's mask is in its slot, and what may be unblocked without the
# sentry in its orders (`mask.rs`). ecx, rax and r11 are free; the stack is not there.
#
# Nobody is asked and nobody waits: the mask is set first, with a full fence, and then it is looked whether a signal is
# pending that it lets through. The sentry makes a signal pending first and looks at the mask then. Whoever is second sees
# what the other has done.

    .globl usk_mask_begin
usk_mask_begin:
    cmp r10, {signal_set_size}
    jne ask_for_mask
    want_guests rsi, rcx, ask_for_mask
    want_guests rdx, rcx, ask_for_mask
    load_orders r11, rcx
    cmp qword ptr [r11 + {quiet}], 0
    je ask_for_mask
    mov rax, gs:[{mask}]
    test rsi, rsi
    jz only_old_mask
    cmp edi, {sig_setmask}
    ja ask_for_mask
    mov rcx, [rsi]                  # memory that is not there, here and below, makes an ordinary call
    je 2f
    cmp edi, {sig_unblock}
    je 1f
    or rcx, rax
    jmp 2f
1:  not rcx
    and rcx, rax
2:  btr rcx, {sigkill_bit}
    btr rcx, {sigstop_bit}
    test rdx, rdx
    jz 3f
    mov [rdx], rax
3:  mov rax, rcx
    xchg gs:[{mask}], rax           # up to here a signal makes the call start again; from here on it has been made
    .globl usk_mask_set
usk_mask_set:
    or rcx, [r11 + {quiet}]
    inc rcx                         # all of them blocked or quiet?
    jz usk_mask_done
    mov gs:[{mask}], rax
    .globl usk_mask_reset
usk_mask_reset:
ask_for_mask:
    mov ecx, {hands_over_second}
    jmp hands_over

only_old_mask:
    test rdx, rdx
    jz usk_mask_done
    mov [rdx], rax
    .globl usk_mask_done
usk_mask_done:
    xor eax, eax
    go_back
    .globl usk_mask_end
usk_mask_end:
