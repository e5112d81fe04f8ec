# What several parts of the stub have in common.

# The address of the thread's orders, by its slot's, which is the GS base.
    .macro load_orders to, free
    rdgsbase \to
    movabs \free, {slots_base}
    sub \to, \free
    shl \to, {order_shift} - {slot_shift}
    movabs \free, {orders_base}
    add \to, \free
    .endm

# Keeps all arguments of a call in the entry area.
    .macro save_call
    mov gs:[{entry_arguments}], rdi
    mov gs:[{entry_arguments} + 8], rsi
    mov gs:[{entry_arguments} + 16], rdx
    mov gs:[{entry_arguments} + 24], r10
    mov gs:[{entry_arguments} + 32], r8
    mov gs:[{entry_arguments} + 40], r9
    .endm

# Keeps four registers in the entry area, so that string instructions have theirs, and puts them back.
    .macro save_arguments
    mov gs:[{entry_arguments}], rdi
    mov gs:[{entry_arguments} + 8], rsi
    mov gs:[{entry_arguments} + 32], r8
    mov gs:[{entry_arguments} + 40], r9
    .endm
    .macro load_arguments
    mov rdi, gs:[{entry_arguments}]
    mov rsi, gs:[{entry_arguments} + 8]
    mov r8, gs:[{entry_arguments} + 32]
    mov r9, gs:[{entry_arguments} + 40]
    .endm

# Goes to `otherwise` if an address is in the platform's own memory, or above, which is not the guest's to name.
    .macro want_guests address, free, otherwise
    movabs \free, {guest_end}
    cmp \address, \free
    jae \otherwise
    .endm

# `struct stat` at rsi to rdi, without what only statx.S shows. rcx becomes 0.
    .macro copy_stat
    mov ecx, {statx_rest} / 8
    cld
    rep movsq
    xor ecx, ecx
    mov [rdi], rcx
    mov [rdi + 8], rcx
    mov [rdi + 16], rcx
    .endm

# ecx = the word of descriptor edi, by the orders in rax, if it is lent at all.
    .macro load_lent_word otherwise
    bt qword ptr [rax + {lent_answer}], {answer_stands_bit}
    jnc \otherwise
    cmp edi, {lent_descriptors}
    jae \otherwise
    mov ecx, edi
    mov ecx, gs:[rcx * 4 + {lent_words}]
    .endm

# Back to the guest, behind the call that a patched site has made. Up to the last jump a signal can come.
    .macro go_back
    popfq
    mov rcx, gs:[{entry_rip}]
    mov r11, gs:[{entry_flags}]
    mov rsp, gs:[{entry_rsp}]
    jmp gs:[{entry_return}]
    .endm

