# Writes to a pipe that go where its readers look for them (`trap/inlet.rs`): from `ledger.S`, with the orders in rax, the call in r11d,
# and in ecx where the file's record is.
#
# The one store that counts is that of how much has been left. A signal before it makes the call start again; after it the call is over.
# Whoever waits for something to read takes the leave away and then looks; the stub looks at the leave again when it has written, and rings
# if it is gone: so one of the two hears of the other. A listener leaves it and marks it instead, and sleeps on the thread's own bell: that
# the stub rings by itself.

    .globl usk_inlet_begin
usk_inlet_begin:
    cmp r11d, {ledger_pwrite}
    je ledger_rings
    lea r11, [rax + rcx + {records} - {record_size}]
    save_arguments
    .globl usk_inlet_saved
usk_inlet_saved:                    # rdi, rsi, r8 and r9 are in the entry area
    lea rcx, [rdx - 1]
    cmp rcx, {longest_left}
    jae inlet_restores
    mov r8, gs:[{inlet_filled}]     # forged, it leads where the guest could write by itself
    lea r9, [r8 + rdx]
    mov rcx, [r11 + {record_writes_end}]
    btr rcx, {inlet_listener_bit}
    cmp r9, rcx
    ja inlet_restores
    mov rcx, rsi                    # the data as a whole below the region
    add rcx, rdx
    jc inlet_restores
    shr rcx, 32
    cmp ecx, {guest_end_high}
    ja inlet_restores
    movabs rdi, {inlets_from_orders}
    add rdi, rax
    add rdi, r8
    mov rcx, rdx
    cld
    rep movsb
    mov rcx, r9
    load_arguments
    jmp inlet_leave
inlet_restores:
    load_arguments
    .globl usk_inlet_restored
usk_inlet_restored:
    jmp ledger_rings

inlet_leave:                        # rcx = how much has been left then, r11 = the record
    mov rax, rdx
    mov gs:[{inlet_filled}], rcx
    .globl usk_inlet_left
usk_inlet_left:
    mfence
    mov rcx, [r11 + {record_writes_end}]
    test rcx, rcx
    jz 1f
    bt rcx, {inlet_listener_bit}
    jc inlet_rings
    go_back
inlet_rings:
    mov gs:[{entry_arguments}], rdi
    mov gs:[{entry_arguments} + 8], rsi
    mov gs:[{entry_arguments} + 16], rdx
    .globl usk_inlet_rings
usk_inlet_rings:                    # rdi, rsi and rdx are in the entry area; the last is the result
    lock inc dword ptr gs:[{inlet_bell}]
    rdgsbase rdi
    add rdi, {inlet_bell}
    mov esi, {futex_wake}
    mov edx, {all_waiters}
    mov eax, {sys_futex}
    syscall
    .globl usk_site_inlet_bell
usk_site_inlet_bell:
    mov rdi, gs:[{entry_arguments}]
    mov rsi, gs:[{entry_arguments} + 8]
    mov rdx, gs:[{entry_arguments} + 16]
    mov rax, rdx
    .globl usk_inlet_rung
usk_inlet_rung:
    go_back
1:  mov gs:[{entry_rax}], rax       # the sentry is told that the call is over
    mov dword ptr gs:[{entry_host_call}], {host_call_returned}
    jmp ring_patched
    .globl usk_inlet_end
usk_inlet_end:
