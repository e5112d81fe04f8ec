# What the host is asked from patched sites (tier 1): `clock_gettime` of the clocks that are the host's, `gettimeofday` and `getcpu`, as
# the vDSO asks it, and `getrandom` of few bytes. What the sentry has to see, or to answer, it is called for. rdi, rsi and rdx stay as
# they are.

    .globl usk_asked_begin
usk_asked_begin:
    load_orders r11, rcx
    bt qword ptr [r11 + {host_is_asked}], {answer_stands_bit}
    jnc ring_patched
    want_guests rsi, rcx, ring_patched      # what is written to, or how many bytes of it
    want_guests rdi, rcx, ring_patched
    cmp eax, {sys_clock_gettime}
    jne 1f
    cmp rdi, 31
    ja ring_patched
    mov ecx, {clocks}
    bt ecx, edi
    jnc ring_patched
    syscall
    .globl usk_site_clock
usk_site_clock:
    jmp 4f
1:  cmp eax, {sys_gettimeofday}
    jne 2f
    test rsi, rsi                   # there is no time zone
    jnz ring_patched
    syscall
    .globl usk_site_time_of_day
usk_site_time_of_day:
    jmp 4f
2:  cmp eax, {sys_getcpu}
    jne 3f
    test rsi, rsi                   # there are no nodes
    jnz ring_patched
    syscall
    .globl usk_site_cpu
usk_site_cpu:
    jmp 4f
3:  cmp eax, {sys_getrandom}
    jne ring_patched
    cmp rsi, {few_random_bytes}
    ja ring_patched
    cmp rdx, {grnd_nonblock}        # that, or no flag
    ja ring_patched
    syscall
    .globl usk_site_random
usk_site_random:
4:  go_back                         # up to the last jump a signal makes the call start again
    .globl usk_asked_end
usk_asked_end:
