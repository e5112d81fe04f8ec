# `open` and `openat` of a file that the sentry has prepared: it is there, with a record, and gets a descriptor. Entered from names.S when
# the table of names says that the file may be, with rax the orders, r8 the entry, ecx its answer, r9d the call, rdi the second argument;
# all that the code has taken is in the entry area.
#
# Nothing is opened before the one store that all of lent.S has: a position of a file without descriptors is nobody's. A file that has
# been closed again is opened anew by the same record.

    .balign 64, 0xcc
    .globl usk_prepared_begin
usk_prepared_begin:
    test r9d, {name_at}
    cmovnz rdi, rdx                 # the flags
    mov esi, ecx
    and esi, {lent_record}          # the descriptor's word to be
    jz names_ring
    mov ecx, esi
    lea rcx, [rax + rcx + {records} - {record_size}]
    mov r11, [rcx + {record_file}]
    cmp r11, [r8 + {name_opens}]
    jne names_ring
    test dword ptr [rcx + {record_mode}], {record_is_prepared}
    jz names_ring
    mov r11d, edi
    or r11d, {open_always}
    and r11d, ~{open_anyway}
    cmp r11d, [rcx + {record_flags}]
    jne names_ring
    or esi, 1 << {lent_open_bit} | 1 << {lent_silent_bit} | 1 << {lent_prepared_bit}
    test edi, {o_cloexec}
    jz 1f
    bts esi, {lent_cloexec_bit}
1:  # The lowest free number, r11d, unless the file has one.
    mov r11d, -1
    xor ecx, ecx
2:  mov edi, gs:[rcx * 4 + {lent_words}]
    bt edi, {lent_open_bit}
    jc 3f
    test r11d, r11d
    jns 4f
    bt edi, {lent_free_bit}
    jnc names_ring
    mov r11d, ecx
    jmp 4f
3:  xor edi, esi
    test edi, {lent_record} | 1 << {lent_prepared_bit}
    jz names_ring
4:  inc ecx
    cmp ecx, {lent_descriptors}
    jb 2b
    test r11d, r11d
    js names_ring
    mov ecx, esi
    shr ecx, 8
    and ecx, {lent_record} >> 8
    dec ecx
    bts qword ptr gs:[{lent_moved}], rcx
    mov qword ptr gs:[rcx * 8 + {lent_positions}], 0
    mov rdi, [r8 + {name_generation}]
    cmp rdi, [rax + {names_stand}]
    jne names_ring
    bt qword ptr [rax + {lent_answer}], {answer_stands_bit}
    jnc names_ring
    mov ecx, r11d
    mov rax, rcx
    mov r11d, esi
    load_arguments
    jmp lent_change                 # lent.S
    .globl usk_prepared_end
usk_prepared_end:
