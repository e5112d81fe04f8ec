
# `madvise(MADV_DONTNEED)` of a thread that shares its memory, about the range that the sentry has lent for that, its stack as a rule
# (`trap/advice.rs`). r11 = the orders. A signal makes the call start again.

usk_advice_begin:
    cmp eax, {sys_madvise}
    jne ring_patched
    bt qword ptr [r11 + {advice_answer}], {answer_stands_bit}
    jnc ring_patched
    cmp rdx, {madv_dontneed}
    jne ring_patched
    test edi, {page_size} - 1
    jnz ring_patched
    cmp rdi, [r11 + {advice_low}]
    jb ring_patched
    round_length
    jz ring_patched
    add rcx, rdi
    jc ring_patched
    cmp rcx, [r11 + {advice_top}]
    ja ring_patched
    # First say that it is about to be done, then look whether it still may be: who takes the permission away looks the other way round.
    mov ecx, 1
    xchg dword ptr gs:[{advises}], ecx
    bt qword ptr [r11 + {advice_answer}], {answer_stands_bit}
    jc memory_advises
    mov dword ptr gs:[{advises}], 0
    jmp ring_patched
    .globl usk_memory_end
usk_memory_end:
