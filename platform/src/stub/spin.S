
# Calls from patched sites that need no host call to be handed over: while the sentry looks at the slot, the call is put there,
# and its answer is waited for there, for a moment (`trap/spin.rs`). All registers but rax and rcx are as at the doorbell.

    .globl usk_spin_begin
usk_spin_begin:
    save_call
    mov eax, {hand_listens}
    mov ecx, {hand_rung}
    lock cmpxchg gs:[{hand}], ecx
    .globl usk_spin_rung
usk_spin_rung:                      # if the flags say that it was exchanged
    jne ring_doorbell
    mov ecx, {hand_turns}
1:  pause
    mov eax, gs:[{hand}]
    cmp eax, {hand_rung}
    jne 2f
    dec ecx
    jnz 1b
    mov ecx, {hand_sleeps}          # eax is what is compared
    lock cmpxchg gs:[{hand}], ecx
    .globl usk_spin_slept
usk_spin_slept:                     # if the flags say that it was exchanged
    je ring_doorbell                # where the sentry looks for the call, which it has got already or has not
2:  mov rax, gs:[{hand_answer}]
    cmp eax, {answer_rings}
    je ring_doorbell
    test eax, eax
    jnz patched_answered
    jmp patched_return
