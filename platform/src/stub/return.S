# `rt_sigreturn` from a patched site (tier 0), of a frame that is as frames are: it changes nothing about the alternate
# stack, holds all of this machine's extended state, and unblocks nothing that is pending. All others are the sentry's.
#
# The registers go to the start of the slot first. Until the new mask is set a signal makes the call start again; from then on
# the thread is where the frame says.

    .globl usk_return_begin
usk_return_begin:
    load_orders r11, rcx
    cmp qword ptr [r11 + {quiet}], 0
    je ring_patched
    mov gs:[{entry_arguments}], rdi
    mov gs:[{entry_arguments} + 8], rsi
    mov gs:[{entry_arguments} + 16], rdx
    .globl usk_return_reads
usk_return_reads:                   # rdi, rsi and rdx are in the entry area; memory that is not there, or not right, makes an ordinary call
    mov rdx, gs:[{entry_rsp}]       # the ucontext
    want_guests rdx, rax, usk_return_asks
    mov rax, [rdx + {context_stack}]
    cmp rax, [r11 + {return_stack}]
    jne usk_return_asks
    mov eax, [rdx + {context_stack} + 8]
    and eax, -2                     # SS_ONSTACK says nothing
    cmp eax, [r11 + {return_stack} + 8]
    jne usk_return_asks
    mov rax, [rdx + {context_stack} + 16]
    cmp rax, [r11 + {return_stack} + 16]
    jne usk_return_asks
    lea rsi, [rdx + {context_machine}]
    rdgsbase rdi
    mov ecx, {returned_registers}
    cld
    rep movsq
    mov rax, [rdx + {context_mask}]
    btr rax, {sigkill_bit}
    btr rax, {sigstop_bit}
    mov gs:[{returned_mask}], rax
    mov rcx, [rdx + {context_extended}]
    want_guests rcx, rax, usk_return_asks
    movabs rsi, {extended_format}
    mov rax, [rcx + {extended_software}]
    cmp rax, [rsi]                  # the first magic number, and the size with the last one
    jne usk_return_asks
    mov rax, [rcx + {extended_software} + 8]
    cmp rax, [rsi + 8]              # features
    jne usk_return_asks
    mov eax, [rcx + {extended_software} + 16]
    cmp eax, [rsi + 16]             # the size
    jne usk_return_asks
    mov edi, [rsi + 20]
    cmp [rcx + rax], edi            # the last magic number
    jne usk_return_asks
    mov rax, gs:[{returned_rip}]
    movabs rdi, {region_end}
    cmp rax, rdi
    jae usk_return_asks
    cmp rax, [r11 + {return_place}]
    jne 1f
    mov rax, [r11 + {return_place} + 8]
1:  mov gs:[{returned_place}], rax
    mov eax, gs:[{returned_flags}]
    test eax, {trap_flag}
    jnz usk_return_asks
    and eax, {flags_returned}
    mov edi, gs:[{entry_flags}]
    and edi, ~{flags_returned}
    or eax, edi
    mov gs:[{returned_flags}], rax
    mov eax, [rsi + 8]
    mov edx, [rsi + 12]
    xrstor64 [rcx]
    mov rcx, gs:[{returned_mask}]
    mov rax, rcx
    xchg gs:[{mask}], rax
    .globl usk_return_set
usk_return_set:
    or rcx, [r11 + {quiet}]
    inc rcx
    jz usk_return_done
    mov gs:[{mask}], rax
    .globl usk_return_reset
usk_return_reset:
usk_return_asks:
    mov rdi, gs:[{entry_arguments}]
    mov rsi, gs:[{entry_arguments} + 8]
    mov rdx, gs:[{entry_arguments} + 16]
    .globl usk_return_asked
usk_return_asked:
    jmp ring_patched

    .globl usk_return_done
usk_return_done:
    mov r8, gs:[0]
    mov r9, gs:[8]
    mov r10, gs:[16]
    mov r12, gs:[32]
    mov r13, gs:[40]
    mov r14, gs:[48]
    mov r15, gs:[56]
    mov rdi, gs:[64]
    mov rsi, gs:[72]
    mov rbp, gs:[80]
    mov rbx, gs:[88]
    mov rdx, gs:[96]
    mov rax, gs:[104]
    mov rcx, gs:[112]
    rdgsbase rsp
    lea rsp, [rsp + {returned_flags}]
    popfq
    mov r11, gs:[24]
    mov rsp, gs:[120]
    jmp gs:[{returned_place}]
    .globl usk_return_end
usk_return_end:
