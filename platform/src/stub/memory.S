# Memory that the thread maps and unmaps by itself (`trap/memory.rs`): `mmap`, `munmap` and `madvise` from patched sites, where the
# sentry has lent a range for that. What is mapped of the range reaches from a word in the slot, its bottom, to the range's top; it
# may be of a file.
#
# The host is asked first, and then one store says what has come of it (`usk_memory_set`). A signal up to that store makes an
# ordinary call of it: the sentry does it again, as it would have done it, and so what the host has done already makes no difference.
# Only what it would have done in the same way is served at all: what is larger than every free range further up, and smaller than
# what is aligned.
#
# rsi, rdx, r8 and r9 stay as they are; rdi and r10 are changed only where they are known.

# rcx = the length rsi in whole pages; 0 if that is too much.
    .macro round_length
    lea rcx, [rsi + {page_size} - 1]
    and rcx, -{page_size}
    .endm

# The pages of rdi and rsi are some, and not beyond the top.
    .macro want_below_top
    round_length
    jz ring_patched
    add rcx, rdi
    jc ring_patched
    cmp rcx, [r11 + {memory_top}]
    ja ring_patched
    .endm

    .globl usk_memory_begin
usk_memory_begin:
    load_orders r11, rcx
    bt qword ptr [r11 + {memory_answer}], {answer_stands_bit}
    jnc usk_advice_begin            # advice.S
    cmp eax, {sys_munmap}
    je memory_unmap
    cmp eax, {sys_madvise}
    je memory_advise
    test rdi, rdi
    jnz ring_patched
    cmp rdx, {prot_read_write}
    jne ring_patched
    cmp r10, {private_anonymous}
    jne ring_patched
    test r9, r9
    jnz ring_patched
    test esi, {page_size} - 1
    jnz ring_patched
    cmp rsi, [r11 + {memory_shortest}]
    jb ring_patched
    cmp rsi, [r11 + {memory_longest}]
    ja ring_patched
    mov rcx, gs:[{memory_bottom}]
    sub rcx, rsi
    jb ring_patched
    cmp rcx, [r11 + {memory_low}]
    jb ring_patched
    .globl usk_memory_maps
usk_memory_maps:                    # rdi was 0, and r10 private_anonymous
    mov rdi, rcx
    mov r10d, {private_anonymous_fixed}
    syscall
    .globl usk_site_memory_map
usk_site_memory_map:
    xor edi, edi
    mov r10d, {private_anonymous}
    .globl usk_memory_mapped
usk_memory_mapped:
    cmp rax, -4095
    jae ring_patched
    mov rcx, rax
memory_set:                         # rax = the result, rcx = the new bottom
    cmp rcx, gs:[{memory_lowest}]
    jae 1f
    mov gs:[{memory_lowest}], rcx
1:  mov gs:[{memory_bottom}], rcx
    .globl usk_memory_set
usk_memory_set:
    go_back
    .globl usk_memory_gone
usk_memory_gone:

memory_unmap:                       # from the bottom up
    cmp rdi, gs:[{memory_bottom}]
    jne ring_patched
    want_below_top
    syscall
    .globl usk_site_memory_unmap
usk_site_memory_unmap:
    test rax, rax
    jnz ring_patched
    round_length
    add rcx, rdi
    jmp memory_set

memory_advise:                      # nothing that is remembered changes: it can be done twice
    mov ecx, edx                    # the advice is an int, but the filter looks at all of the register
    cmp rcx, rdx
    jne ring_patched
    cmp edx, {madv_dontneed}
    je 1f
    cmp edx, {madv_free}
    jne ring_patched
1:  cmp rdi, gs:[{memory_bottom}]
    jb ring_patched
    test edi, {page_size} - 1
    jnz ring_patched
    want_below_top
memory_advises:
    syscall
    .globl usk_site_memory_advise
usk_site_memory_advise:
    mov dword ptr gs:[{advises}], 0
    test rax, rax
    jnz ring_patched
    go_back                         # up to the last jump a signal makes the call start again
