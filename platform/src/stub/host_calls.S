
# --- Host calls of the guest's own, from patched sites ------------------------------------------------------------------
#
# Calls that need no sentry, because the host's answer is the guest's: private futexes, for a guest address space is a host
# address space, and sched_yield. The filter pins what they may do. Everything that it would refuse, and a relative timeout,
# which could not be waited for again, goes to the sentry like any other call.
#
# The kick interrupts such a call. The sentry knows from the labels whether the call has been made (`host_calls.rs`).
#
# On entry the flags are pushed, ecx says which call, rax and r11 are free (the number is in the slot).

    .balign 16, 0xcc
    .globl usk_host_call
usk_host_call:
    # Say that a call is under way, and only then look whether it may be: see `made`.
    mov r11d, {host_call_guests}
    xchg dword ptr gs:[{entry_host_call}], r11d
    load_orders rax, r11
    bt qword ptr [rax + {host_calls_stand}], {answer_stands_bit}
    jnc declined
    cmp ecx, {host_yield}
    je make_yield
    mov ecx, esi                    # the operation is an int, but the filter looks at all of the register
    cmp rcx, rsi
    jne declined
    want_guests rdi, r11, declined
    cmp ecx, {futex_wait_bitset_realtime}
    je goes_to_sleep
    sub ecx, {futex_private_flag}
    cmp ecx, 31
    ja declined
    mov r11d, {futex_one_word}
    bt r11d, ecx
    jc 1f
    mov r11d, {futex_two_words}
    bt r11d, ecx
    jnc declined
    want_guests r8, r11, declined
    jmp make_futex_two
1:  cmp ecx, {futex_wait_bitset}
    je goes_to_sleep
    test ecx, ecx                   # FUTEX_WAIT, whose timeout is relative
    jnz make_futex_one
    test r10, r10
    jnz declined
goes_to_sleep:
    # What has become of lent descriptors others may want to know meanwhile, and a sleeper should not be woken for that.
    mov r11, gs:[{lent_changed}]
    or r11, gs:[{lent_moved}]
    or r11, gs:[{ledger_used}]
    jnz declined
    cmp dword ptr gs:[{noted_count}], 0
    je make_futex_one
declined:
    mov dword ptr gs:[{entry_host_call}], 0
    jmp ring_patched

# By order of the sentry, which has set all registers but for rax, rcx and r11, and will set them again.

    .globl usk_ordered_futex_one
usk_ordered_futex_one:
    mov dword ptr gs:[{entry_host_call}], {host_call_ordered}
    jmp make_futex_one
    .globl usk_ordered_futex_two
usk_ordered_futex_two:
    mov dword ptr gs:[{entry_host_call}], {host_call_ordered}
    jmp make_futex_two
make_yield:
    mov eax, {sys_sched_yield}
    syscall
    .globl usk_site_yield
usk_site_yield:
    jmp host_call_made
make_futex_two:
    mov eax, {sys_futex}
    syscall
    .globl usk_site_futex_two
usk_site_futex_two:
    jmp host_call_made
make_futex_one:
    mov eax, {sys_futex}
    syscall
    .globl usk_site_futex_one
usk_site_futex_one:

    .globl usk_host_call_made
usk_host_call_made:                 # rax = the result, from here to the end or to the next label
host_call_made:
    cmp dword ptr gs:[{entry_host_call}], {host_call_ordered}
    je 1f
    # The sentry keeps this thread out of guest code by taking the permission away, and then takes it for asleep if a call is
    # under way: so first say that none is, then look.
    lock and dword ptr gs:[{entry_host_call}], 0
    load_orders rcx, r11
    bt qword ptr [rcx + {host_calls_stand}], {answer_stands_bit}
    jnc 2f
    go_back
2:  mov gs:[{entry_rax}], rax       # the sentry is told that the call has returned
    mov dword ptr gs:[{entry_host_call}], {host_call_returned}
    jmp ring_patched
1:  mov dword ptr gs:[{entry_host_call}], 0
    mov rdi, rax
    .globl usk_host_call_reports
usk_host_call_reports:              # rdi = the result
    mov eax, {doorbell}
    syscall
    .globl usk_site_host_called
usk_site_host_called:
    .globl usk_host_calls_end
usk_host_calls_end:
    test eax, eax
    jnz patched_answered
    jmp usk_stub_die                # only the sentry knows the registers
