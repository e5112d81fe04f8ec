# `recvfrom` from a patched site (tier 0), of what has arrived in a socket and lies in the orders (`trap/arrived.rs`): the read of a lent
# file, where nothing more than that is asked for. rax, ecx and r11 are free.

    .balign 64, 0xcc
    .globl usk_arrived_begin
usk_arrived_begin:                  # ecx = which call
    test r8, r8                     # it wants the sender's address
    jnz ring_patched
    test r10d, ~{harmless_receiving}
    jnz ring_patched
    mov r11d, ecx
    load_orders rax, rcx
    load_lent_word ring_patched
    bt ecx, {lent_open_bit}
    jnc ring_patched
    movzx ecx, ch
    and ecx, {lent_record} >> 8
    jz ring_patched
    save_arguments
    jmp usk_lent_saved              # lent.S
    .globl usk_arrived_end
usk_arrived_end:
