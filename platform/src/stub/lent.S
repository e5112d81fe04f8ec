# Calls about descriptors that are lent to the thread (`trap/lent.rs`), as far as the stub can serve them. Entered from a patched
# site, with all registers but rax, rcx and r11 the guest's, and those in the entry area.
#
# Up to the one store that does what was asked (`usk_lent_changed`, `usk_lent_moved`) nothing has happened, and a signal makes the
# call start again; memory that is not there makes it an ordinary call. From there on the call is over, with its result in rax.
# What stands is looked at twice where more than one word of it is used: before, and when all of them have been.

    .balign 64, 0xcc
    .globl usk_lent_begin
usk_lent_begin:                     # ecx = which call
    mov r11d, ecx
    sub ecx, {lends} + {lent_fstatat}
    cmp ecx, {lent_statx} - {lent_fstatat}
    ja 2f
    # Only fstat by another name, and statx: an empty one, or none.
    mov eax, r10d                   # the flags
    cmove eax, edx
    add ecx, {name_calls} + {name_at}
    test eax, {at_empty_path}
    jz usk_names_begin              # names.S
    test eax, ~({at_empty_path} | {at_harmless})
    jnz usk_names_begin
    test rsi, rsi
    jz 1f
    want_guests rsi, rax, usk_names_begin
    cmp byte ptr [rsi], 0
    jne usk_names_begin
    mov byte ptr gs:[{handed_over}], 0
    mov gs:[{entry_handed_from}], rsi
    mov dword ptr gs:[{entry_handed_length}], 1
1:  test r10d, r10d                 # a mask that is reserved
    js ring_patched
2:  load_orders rax, rcx
    load_lent_word ring_patched
    bt ecx, {lent_open_bit}
    jnc lent_not_open
    cmp r11d, {lends} + {lent_fcntl}
    je lent_fcntl
    cmp r11d, {lends} + {lent_close}
    je lent_close
    cmp r11d, {lends} + {lent_dup}
    je lent_dup
    # The others are about the file's record; ecx = its number, from one.
    movzx ecx, ch
    and ecx, {lent_record} >> 8
    jz ring_patched
    cmp r11d, {lends} + {lent_lseek}
    je lent_lseek
    cmp r11d, {lends} + {lent_fsync} # or fdatasync
    jae lent_fsync
    save_arguments
    .globl usk_lent_saved
usk_lent_saved:                     # rdi, rsi, r8 and r9 are in the entry area
    mov r9d, ecx
    shl ecx, {record_shift}
    lea rcx, [rax + rcx + {records} - {record_size}]
    mov r8d, [rcx + {record_mode}]
    cmp r11d, {lends} + {lent_read}
    je lent_read
    cmp r11d, {lends} + {lent_pread}
    je lent_pread
    cmp r11d, {lends} + {lent_getdents}
    je lent_getdents
    cmp r11d, {receives}
    je lent_receives

    # fstat: the buffer is the second argument, or the third; statx has its own.
    test r8d, {record_has_stat}
    jz lent_rings
    test r8d, {record_until_written}
    jz 1f
    lea r8d, [r9 - 1]
    bt qword ptr gs:[{ledger_written}], r8
    jc lent_rings
1:  mov rdi, rsi
    lea rsi, [rcx + {record_stat}]
    xor r8d, r8d
    cmp r11d, {lends} + {lent_statx}
    je usk_statx_begin              # statx.S
    cmp r11d, {lends} + {lent_fstatat}
    cmove rdi, rdx
    want_guests rdi, r8, lent_rings
    copy_stat
    jmp lent_answers

lent_pread:
    test r8d, {record_reads}
    jz lent_rings
    xor r9d, r9d                    # no position to move
    mov rdi, r10
    test rdi, rdi
    js lent_rings
    jmp 1f
lent_receives:
    test r8d, {record_receives}
    jz lent_rings
lent_read:
    test r8d, {record_reads_on}
    jz lent_rings
    mov rdi, gs:[r9 * 8 + {lent_positions} - 8]
1:  # rdi = where; no more than is there, and all of that in the window; the buffer as a whole below the region.
    lea r8, [rdi + rdx]
    test r8, r8                     # it would end beyond the largest offset
    js lent_rings
    mov r8, rsi
    add r8, rdx
    jc lent_rings
    shr r8, 32
    cmp r8d, {guest_end_high}
    ja lent_rings
    mov r8, [rcx + {record_length}]
    sub r8, rdi
    ja 2f
    test dword ptr [rcx + {record_mode}], {record_arrived}
    jnz lent_rings
    xor ecx, ecx                    # at the end, or beyond it
    jmp lent_answers
2:  cmp r8, rdx
    cmova r8, rdx                   # how many
    mov r11, rdi
    sub r11, [rcx + {record_window_start}]
    jb lent_rings
    lea rsi, [r11 + r8]
    cmp rsi, [rcx + {record_window_length}]
    ja lent_rings
    add r11, [rcx + {record_window}]
    mov rsi, r11
    lea r11, [rdi + r8]             # the position after it
lent_copies:                        # r8 bytes from rsi
    mov rdi, gs:[{entry_arguments} + 8]
    mov rcx, r8
    cld
    rep movsb
    mov rcx, r8
    test r9d, r9d
    jnz lent_moves
    jmp lent_answers

lent_getdents:                      # all entries at the beginning, none at the end
    mov rdi, gs:[r9 * 8 + {lent_positions} - 8]
    mov r11, [rcx + {record_length}]
    test r8d, {record_is_listed}
    jnz 1f
    test r8b, {record_has_entries}
    jz lent_rings
    cmp rdi, r11
    je 1f
    test rdi, rdi
    jnz lent_rings
    mov r8, [rcx + {record_window_length}]
    cmp r8d, edx
    ja lent_rings
    want_guests rsi, rdi, lent_rings
    mov rsi, [rcx + {record_window}]
    jmp lent_copies
1:  xor ecx, ecx
lent_answers:                       # rcx = the result, if all of it still stands
    bt qword ptr [rax + {lent_answer}], {answer_stands_bit}
    jnc lent_rings
    mov rax, rcx
    load_arguments
    jmp usk_lent_done
lent_moves:                         # rcx = the result, r11 = the position of record r9
    bt qword ptr [rax + {lent_answer}], {answer_stands_bit}
    jnc lent_rings
    mov rax, rcx
    mov ecx, r9d
    load_arguments
    jmp lent_move
lent_rings:
    load_arguments
    jmp ring_patched
    .globl usk_lent_restored
usk_lent_restored:

lent_lseek:                         # rcx = the record's number, from one
    mov r11d, ecx
    shl ecx, {record_shift}
    lea rcx, [rax + rcx + {records} - {record_size}]
    test byte ptr [rcx + {record_mode}], {record_seeks}
    jz ring_patched
    test edx, edx                   # SEEK_SET
    jz 1f
    cmp edx, 2                      # SEEK_END
    ja ring_patched
    mov rcx, [rcx + {record_length}]
    je 2f
    mov rcx, gs:[r11 * 8 + {lent_positions} - 8]
    jmp 2f
1:  xor ecx, ecx
2:  bt qword ptr [rax + {lent_answer}], {answer_stands_bit}
    jnc ring_patched
    mov rax, rcx
    add rax, rsi
    jo ring_patched
    js ring_patched
    mov ecx, r11d
    mov r11, rax
lent_move:                          # rax = the result, r11 = the position of record ecx
    dec ecx
    bts qword ptr gs:[{lent_moved}], rcx
    mov gs:[rcx * 8 + {lent_positions}], r11
    .globl usk_lent_moved
usk_lent_moved:
    jmp usk_lent_done
    .globl usk_lent_going
usk_lent_going:

lent_fsync:                         # rcx = the record's number, from one
    shl ecx, {record_shift}
    test byte ptr [rax + rcx + {records} - {record_size} + {record_mode}], {record_is_volatile}
    jz ring_patched
    xor eax, eax
    jmp usk_lent_done

lent_fcntl:                         # ecx = the descriptor's word
    cmp esi, {f_getfd}
    je lent_get_flag
    cmp esi, {f_setfd}
    je lent_set_flag
    cmp esi, {f_getfl}
    je lent_get_flags
    cmp esi, {f_setlk}
    je ledger_lock                  # ledger.S
    mov r11d, edx
    cmp edx, {lent_descriptors}
    jae ring_patched
    btr ecx, {lent_cloexec_bit}
    cmp esi, {f_dupfd}
    je lent_find
    bts ecx, {lent_cloexec_bit}
    cmp esi, {f_dupfd_cloexec}
    je lent_find
    jmp ring_patched
lent_dup:
    btr ecx, {lent_cloexec_bit}
    xor r11d, r11d
lent_find:                          # a number for the file of word ecx, from r11d on
    cmp r11d, {lent_descriptors}
    jae ring_patched
    mov eax, gs:[r11 * 4 + {lent_words}]
    bt eax, {lent_open_bit}
    jnc 1f
    inc r11d
    jmp lent_find
1:  bt eax, {lent_free_bit}
    jnc ring_patched
    mov eax, r11d
    xchg ecx, r11d
    jmp lent_change
lent_get_flag:
    xor eax, eax
    bt ecx, {lent_cloexec_bit}
    adc eax, eax
    jmp usk_lent_done
lent_get_flags:
    movzx ecx, ch
    and ecx, {lent_record} >> 8
    jz ring_patched
    shl ecx, {record_shift}
    add rcx, rax
    test byte ptr [rcx + {records} - {record_size} + {record_mode}], {record_has_flags}
    jz ring_patched
    mov eax, [rcx + {records} - {record_size} + {record_flags}]
    jmp usk_lent_done
lent_not_open:
    bt ecx, {lent_free_bit}
    jnc ring_patched
    cmp r11d, {lends} + {lent_pread} # its position is looked at first
    je ring_patched
    mov rax, -{ebadf}
    jmp usk_lent_done
lent_set_flag:
    mov r11d, ecx
    btr r11d, {lent_cloexec_bit}
    xor eax, eax
    mov ecx, edi
    test edx, {fd_cloexec}
    jz lent_change
    bts r11d, {lent_cloexec_bit}
    jmp lent_change
lent_close:
    bt ecx, {lent_silent_bit}
    jnc ring_patched
    mov ecx, edi
    mov r11d, 1 << {lent_free_bit}
    xor eax, eax
lent_change:                        # rax = the result, r11d = the word of descriptor ecx
    bts qword ptr gs:[{lent_changed}], rcx
    mov gs:[rcx * 4 + {lent_words}], r11d
    .globl usk_lent_done
usk_lent_done:
    go_back
    .globl usk_lent_end
usk_lent_end:
