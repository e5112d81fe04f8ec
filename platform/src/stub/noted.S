# `epoll_ctl` from a patched site (tier 0), where it is sure to succeed: the change is noted in the slot, and made by the sentry when
# the thread stops (`noted.rs`). What may be noted is in the record of the instance, what is watched in the slot. rax, ecx and
# r11 are free. Up to the store of the count nothing has happened; memory that is not there makes an ordinary call.

    .balign 64, 0xcc
    .globl usk_noted_begin
usk_noted_begin:
    load_orders rax, rcx
    load_lent_word ask_for_change
    bt ecx, {lent_open_bit}
    jnc ask_for_change
    movzx ecx, ch
    and ecx, {lent_record} >> 8
    jz ask_for_change
    cmp edx, {lent_descriptors}
    jae ask_for_change
    shl ecx, {record_shift}
    mov rcx, [rax + rcx + {records} - {record_size} + {record_watchable}]
    bt rcx, rdx
    jnc ask_for_change
    mov r11d, gs:[{noted_count}]
    cmp r11d, {most_noted}
    jae ask_for_change
    shl r11d, {noted_shift}         # where this one goes
    mov rcx, gs:[{noted_watched}]   # and what is watched after it
    cmp esi, {epoll_ctl_mod}
    je 2f
    cmp esi, {epoll_ctl_add}
    je 1f
    cmp esi, {epoll_ctl_del}
    jne ask_for_change
    btr rcx, rdx
    jnc ask_for_change
    jmp 4f
1:  bts rcx, rdx
    jc ask_for_change
    jmp 3f
2:  bt rcx, rdx
    jnc ask_for_change
3:  want_guests r10, rax, ask_for_change
    mov eax, [r10]
    test eax, {noted_never}
    jnz ask_for_change
    mov gs:[r11 + {noted} + 4], eax
    mov rax, [r10 + 4]
    mov gs:[r11 + {noted} + 8], rax
4:  mov gs:[r11 + {noted}], dl
    mov gs:[r11 + {noted} + 1], sil
    xor eax, eax
    inc dword ptr gs:[{noted_count}]
    .globl usk_noted_done
usk_noted_done:
    mov gs:[{noted_watched}], rcx   # if a signal comes before, the sentry does it
    go_back
    .globl usk_noted_asks
usk_noted_asks:
ask_for_change:
    mov ecx, {hands_over_fourth}
    jmp hands_over
    .globl usk_noted_end
usk_noted_end:
