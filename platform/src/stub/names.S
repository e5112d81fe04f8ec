# Calls about names whose answers the sentry has left in the thread's table of names (`trap/names.rs`), which the guest can only
# read. Entered from a patched site, with all registers but rax, rcx and r11 the guest's, and those in the entry area.
#
# Nothing happens but that `struct stat` or `struct statx` is written, so that a signal makes the call start again wherever it comes.
# Whatever the table does not say, or says no more once the answer has been written, is an ordinary call, and so is one about memory
# that is not there. A name that changes meanwhile is the guest's own doing: it gets the answer for one that it was.

    .balign 64, 0xcc
    .globl usk_names_begin
usk_names_begin:                    # ecx = which call
    load_orders rax, r11
    cmp qword ptr [rax + {names_stand}], 0
    je names_hand_over
    save_arguments
    .globl usk_names_saved
usk_names_saved:                    # rdi, rsi, r8 and r9 are in the entry area
    mov r9d, ecx
    xor r11d, r11d                  # where the name starts: the root or the working directory
    test r9d, {name_at}
    jnz 1f
    xchg rdi, rsi
    want_guests rsi, r8, names_ring
    jmp 3f
1:  want_guests rsi, r8, names_ring
    cmp byte ptr [rsi], '/'
    je 2f
    cmp edi, {at_fdcwd}
    je 2f
    load_lent_word names_ring
    bt ecx, {lent_open_bit}
    jnc names_ring
    movzx ecx, ch
    and ecx, {lent_record} >> 8
    jz names_ring
    shl ecx, {record_shift}
    mov r11, [rax + rcx + {records} - {record_size} + {record_file}]
2:  mov rdi, rdx
3:  # rsi = the name, rdi = the argument after it. r9d gets a bit for a link at the end that is not to be followed.
    test r9d, {name_reads_link}
    jnz 9f
    mov ecx, r9d
    and ecx, {name_kinds}
    cmp ecx, {name_open}
    je 5f
    cmp ecx, {name_access}
    je 4f
    test ecx, ecx
    jnz 8f
    test r9d, {name_at}
    jz 7f
    test r10d, ~({at_empty_path} | {at_harmless})
    jnz names_ring
    test r10d, {at_symlink_nofollow}
    jnz 6f
    jmp 7f
4:  test edi, ~{access_all}
    jnz names_ring
    jmp 7f
8:  test r9d, {name_at}
    jz 6f                           # lstat
    test edi, ~({at_empty_path} | {at_harmless}) # statx
    jnz names_ring
    test r10d, r10d                 # a mask that is reserved
    js names_ring
    test edi, {at_symlink_nofollow}
    jnz 6f
    jmp 7f
9:  mov edi, edx                    # readlink: how much there is room for
    test r9d, {name_at}
    cmovnz edi, r10d
    test edi, edi
    jle names_ring
    jmp 6f
5:  test edi, {o_creates}
    jnz names_ring
    test edi, {o_nofollow}
    jz 7f
6:  or r9d, {name_nofollow}
7:  # The name's hash, r8d, and its length, ecx.
    mov r8d, r9d
    and r8d, {name_nofollow}
    xor r8d, r11d
    xor ecx, ecx
1:  movzx eax, byte ptr [rsi + rcx]
    test eax, eax
    jz 2f
    xor r8d, eax
    imul r8d, r8d, {name_prime}
    inc ecx
    cmp ecx, {name_room}
    jb 1b
    jmp names_ring
2:  test ecx, ecx
    jz names_ring
    # The key, ecx; where its two entries are, r8.
    mov eax, r9d
    and eax, {name_nofollow}
    or ecx, eax
    mov eax, r8d
    and eax, {name_key_hash}
    or ecx, eax
    mov eax, r8d
    shr eax, {name_fold}
    xor r8d, eax
    and r8d, {name_sets} - 1
    shl r8d, {name_shift} + 1
    load_orders rax, rdi
    lea r8, [rax + r8 + {names}]
    mov rdi, [rax + {names_stand}]
    test rdi, rdi
    jz names_ring
3:  cmp [r8 + {name_generation}], rdi
    jne 4f
    cmp [r8 + {name_start}], r11
    jne 4f
    cmp [r8 + {name_key}], ecx
    je 5f
4:  add r8, {name_size}
    test r8d, {name_size}           # the second
    jnz 3b
    jmp names_ring
5:  and ecx, {name_nofollow} - 1
    inc ecx
    lea rdi, [r8 + {name_text}]
    cld
    repe cmpsb
    jne names_ring
    mov ecx, [r8 + {name_answer}]
    mov edi, r9d
    and edi, {name_kinds}
    test ecx, {name_missing}
    jnz names_missing
    test r9d, {name_reads_link}
    jnz names_no_link
    cmp edi, {name_access}
    mov rdi, gs:[{entry_arguments} + 8]
    ja usk_prepared_begin           # prepared.S
    je 6f
    test r9d, {name_at}
    cmovnz rdi, rdx
    test dword ptr [r8 + {name_answer}], {name_is_held}
    jnz usk_held_begin              # held.S
    lea rsi, [r8 + {name_stat}]
names_show:                         # what is in `struct stat` at rsi
    mov ecx, r9d
    and ecx, {name_kinds} | {name_at}
    cmp ecx, {name_statx}
    je usk_statx_begin              # statx.S
    want_guests rdi, rcx, names_ring
    copy_stat
names_shown:                        # rcx = 0. If it came from a record that must still stand, too.
    test dword ptr [r8 + {name_answer}], {name_is_held}
    jz names_answered
    bt qword ptr [rax + {lent_answer}], {answer_stands_bit}
    jnc names_ring
    jmp names_answered
6:  test r9d, {name_at}
    cmovnz edi, edx
    not ecx
    test edi, ecx                   # more than is known to be allowed
    jnz names_ring
    xor ecx, ecx
    jmp names_answered
names_no_link:                      # what is no link cannot be read as one
    test ecx, {name_is_held}
    jnz names_ring
    mov ecx, [r8 + {name_mode}]
    and ecx, {s_ifmt}
    cmp ecx, {s_iflnk}
    je names_ring
    mov rcx, -{einval}
    jmp names_answered
names_missing:
    cmp edi, {name_open}
    jne 2f
    # Without a free descriptor that is what it fails for.
    bt qword ptr [rax + {lent_answer}], {answer_stands_bit}
    jnc names_ring
    xor ecx, ecx
1:  cmp ecx, {lent_descriptors}
    jae names_ring
    mov edi, gs:[rcx * 4 + {lent_words}]
    inc ecx
    bt edi, {lent_free_bit}
    jnc 1b
2:  mov rcx, -{enoent}
    jmp names_answered
names_ring:
    mov ecx, r9d
    load_arguments
    jmp names_hand_over
names_answered:                     # rcx = the result, if it still stands
    mov rdi, [r8 + {name_generation}]
    cmp rdi, [rax + {names_stand}]
    jne names_ring
    mov rax, rcx
    load_arguments
    .globl usk_names_restored
usk_names_restored:
    go_back
names_hand_over:                    # ecx = which call: as ever
    and ecx, {name_at}
    mov ecx, {hands_over_first}
    jz hands_over
    mov ecx, {hands_over_second}
    jmp hands_over
    .globl usk_names_end
usk_names_end:
