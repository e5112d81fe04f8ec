# `stat` and its kin of a name that means a file that the thread holds: the attributes are in the file's record, and hold until the thread
# notes that it has written to the file. Entered from names.S when the table of names says that it is such a file, with rax the orders, r8
# the entry, and rdi where `struct stat` would go; all that the code has taken is in the entry area. rcx, rsi and r11 are free.

    .balign 64, 0xcc
    .globl usk_held_begin
usk_held_begin:
    bt qword ptr [rax + {lent_answer}], {answer_stands_bit}
    jnc names_ring
    mov ecx, [r8 + {name_answer}]
    and ecx, {lent_record}
    jz names_ring
    lea rsi, [rax + rcx + {records} - {record_size}]
    mov r11, [rsi + {record_file}]
    cmp r11, [r8 + {name_opens}]
    jne names_ring
    test dword ptr [rsi + {record_mode}], {record_until_written}
    jz names_ring
    shr ecx, {record_shift}
    dec ecx
    bt qword ptr gs:[{ledger_written}], rcx
    jc names_ring
    add rsi, {record_stat}
    jmp names_show
    .globl usk_held_end
usk_held_end:
