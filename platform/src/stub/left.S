
# `set_tid_address` and `set_robust_list` from a patched site (tier 0): what is to be done when the thread ends lies in its slot
# until then (`left.rs`). rax and r11 are free. A signal makes the call start again, which changes nothing.

    .globl usk_left_begin
usk_left_begin:
    load_orders rax, r11
    mov rax, [rax + {thread_stands}]
    btr rax, {answer_stands_bit}
    jnc ring_patched
    want_guests rdi, r11, ring_patched
    cmp ecx, {sets_robust_list}
    je 1f
    mov gs:[{left_tid_address}], rdi
    go_back                         # rax = the thread's identifier
1:  cmp rsi, {robust_list_head_size}
    jne ring_patched
    mov gs:[{left_robust_list}], rdi
    xor eax, eax
    go_back
    .globl usk_left_end
usk_left_end:
