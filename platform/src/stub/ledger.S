# Calls that only note what is to be done (`trap/ledger.rs`): `write` and `pwrite64`, and record locks, of files that nobody else can
# reach. A note lies in the thread's ledger, behind those before it; the sentry does what the notes say before it does anything else.
#
# The one store that counts is that of how much of the ledger is used. A signal before it makes the call start again; after it the call
# is over, but that a `write` has yet to move the position, which the sentry does if a signal comes between.

# Into `to`, which is how much of the ledger is used: where the next note goes. By the orders in rax.
    .macro find_note to, free
    movabs \free, {ledgers_from_orders}
    add \to, \free
    add \to, rax
    .endm

    .globl usk_ledger_begin
usk_ledger_begin:                   # ecx = which call
    mov r11d, ecx
    load_orders rax, rcx
    load_lent_word ledger_rings
    bt ecx, {lent_open_bit}
    jnc ledger_rings
    movzx ecx, ch
    and ecx, {lent_record} >> 8
    jz ledger_rings
    shl ecx, {record_shift}
    test dword ptr [rax + rcx + {records} - {record_size} + {record_mode}], {record_has_inlet}
    jnz usk_inlet_begin             # inlet.S
    test dword ptr [rax + rcx + {records} - {record_size} + {record_mode}], {record_swallows}
    jnz ledger_swallows
    shr ecx, {record_shift}
    save_arguments
    mov gs:[{entry_arguments} + 16], rdx
    .globl usk_ledger_saved
usk_ledger_saved:                   # rdi, rsi, rdx, r8 and r9 are in the entry area
    mov r9d, ecx                    # the record's number, from one
    shl ecx, {record_shift}
    lea r8, [rax + rcx + {records} - {record_size}]
    lea rcx, [rdx - 1]
    cmp rcx, {longest_write}
    jae ledger_restores
    mov rdi, r10
    cmp r11d, {ledger_pwrite}
    je 1f
    mov rdi, gs:[r9 * 8 + {lent_positions} - 8]
1:  mov rcx, rdi                    # no further than it may be written; the data as a whole below the region
    add rcx, rdx
    jc ledger_restores
    cmp rcx, [r8 + {record_writes_end}]
    ja ledger_restores
    mov rcx, rsi
    add rcx, rdx
    jc ledger_restores
    shr rcx, 32
    cmp ecx, {guest_end_high}
    ja ledger_restores
    mov r8, gs:[{ledger_used}]      # forged, it leads where the guest could write by itself
    lea rcx, [r8 + rdx + {note_size} + 7]
    cmp rcx, {ledger_size}
    ja ledger_restores
    find_note r8, rcx
    lea ecx, [r9 - 1]
    bts qword ptr gs:[{ledger_written}], rcx # if the note is not made after all, attributes are asked for in vain
    mov dword ptr [r8], {note_write}
    mov [r8 + 4], ecx
    mov [r8 + 8], rdi
    mov [r8 + 16], rdx
    cmp r11d, {ledger_pwrite}
    jne 2f
    xor r9d, r9d                    # no position to move
2:  lea r11, [rdi + rdx]            # the position after it
    lea rdi, [r8 + {note_size}]
    mov rcx, rdx
    cld
    rep movsb
    rdtsc                           # when it was
    shl rdx, 32
    or rax, rdx
    mov [r8 + 24], rax
    mov rdx, gs:[{entry_arguments} + 16]
    mov rcx, gs:[{ledger_used}]
    lea rcx, [rcx + rdx + {note_size} + 7]
    and rcx, -8
    lea eax, [r9 - 1]
    load_arguments
    jmp ledger_note

ledger_locks:                       # r11d = the record's number
    mov ecx, [rdx]                  # the kind of lock, and that the range is counted from the start
    cmp ecx, {f_unlck}
    ja ledger_restores_lock
    mov rsi, [rdx + 8]
    test rsi, rsi
    js ledger_restores_lock
    mov rdi, [rdx + 16]
    test rdi, rdi
    js ledger_restores_lock
    lea r9, [rsi + rdi]
    test r9, r9
    js ledger_restores_lock
    mov r8, gs:[{ledger_used}]
    cmp r8, {ledger_size} - {note_size}
    ja ledger_restores_lock
    find_note r8, r9
    mov [r8], ecx
    mov [r8 + 4], r11d
    mov [r8 + 8], rsi
    mov [r8 + 16], rdi
    mov rcx, gs:[{ledger_used}]
    add rcx, {note_size}
    xor eax, eax
    load_arguments
    jmp ledger_note_lock

ledger_restores_lock:
    load_arguments
    jmp ring_patched
ledger_restores:
    load_arguments
    .globl usk_ledger_restored
usk_ledger_restored:
ledger_rings:
    mov ecx, {hands_over_buffer}
    jmp hands_over

ledger_swallows:                    # nothing looks at the bytes: of where they are only that it could be the guest's
    cmp r11d, {ledger_pwrite}
    jne 1f
    test r10, r10
    js ledger_rings
1:  cmp rdx, {most_written}
    ja ledger_rings
    lea rcx, [rsi + rdx]
    cmp rcx, rsi
    jb ledger_rings
    shr rcx, 32
    cmp ecx, {guest_end_high}
    ja ledger_rings
    mov rax, rdx
    jmp usk_ledger_done

ledger_lock:                        # `fcntl(F_SETLK)`: ecx = the descriptor's word
    movzx ecx, ch
    and ecx, {lent_record} >> 8
    jz ring_patched
    lea r11d, [rcx - 1]
    shl ecx, {record_shift}
    test dword ptr [rax + rcx + {records} - {record_size} + {record_mode}], {record_locks}
    jz ring_patched
    want_guests rdx, rcx, ring_patched
    save_arguments
    mov gs:[{entry_arguments} + 16], rdx
    jmp ledger_locks

ledger_note:                        # rcx = how much is used then, r11 = the position of record eax, unless that is negative
    mov gs:[{ledger_used}], rcx
    .globl usk_ledger_noted
usk_ledger_noted:
    test eax, eax
    js 1f
    bts qword ptr gs:[{lent_moved}], rax
    mov gs:[rax * 8 + {lent_positions}], r11
1:  mov rax, rdx
    jmp usk_ledger_done
    .globl usk_ledger_going
usk_ledger_going:
ledger_note_lock:                   # rcx = how much is used then
    mov gs:[{ledger_used}], rcx
    .globl usk_ledger_done
usk_ledger_done:
    go_back
    .globl usk_ledger_end
usk_ledger_end:
