
# Calls that make a thread or a process, from patched sites: they bring the extended state along, which the newborn begins
# with. The sentry would ask for it otherwise, by another doorbell. All other registers are as at `hands_over`.

    .globl usk_state_begin
usk_state_begin:
    mov gs:[{entry_arguments} + 16], rdx
    .globl usk_state_saves
usk_state_saves:                    # rdx is in the entry area
    movabs r11, {extended_format}
    mov eax, [r11 + 8]              # features
    mov edx, [r11 + 12]
    rdgsbase rcx
    add rcx, [r11 + {state_place} - {extended_format}]
    .irp word, 0, 8, 16, 24, 32, 40, 48, 56
    mov qword ptr [rcx + 512 + \word], 0    # the header: what is not saved is left as it was
    .endr
    xsave64 [rcx]
    or byte ptr [rcx + 512], 3      # x87 and SSE are always there, as the host's frames have it
    mov rdx, gs:[{entry_arguments} + 16]
    cmp dword ptr gs:[{entry_rax}], {sys_clone3}
    jne ring_patched
    mov ecx, {hands_over_first}
    jmp hands_over
    .globl usk_state_end
usk_state_end:
