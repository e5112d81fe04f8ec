# `struct statx` of what lies in `struct stat`, and in the unused end of that, for a known name (names.S) or a lent descriptor (lent.S).
# Entered with rax the orders, rsi where that is, and r8 the name's entry, or 0; all that the code has taken is in the entry area. rcx,
# rdi and r11 are free.

# A field of `struct stat` at rsi to `struct statx` at rdi, by their offsets.
    .macro copy_field from, to, through
    mov \through, [rsi + \from]
    mov [rdi + \to], \through
    .endm

# The same of a device's number, whose parts are apart there (`new_encode_dev`, include/linux/kdev_t.h).
    .macro copy_device from, to
    mov rcx, [rsi + \from]
    mov r11, rcx
    shr r11, 32
    and r11d, 0xfffff000
    shr rcx, 8
    and ecx, 0xfff
    or ecx, r11d
    mov [rdi + \to], ecx
    mov rcx, [rsi + \from]
    movzx r11d, cl
    shr rcx, 12
    and ecx, 0xffffff00
    or ecx, r11d
    mov [rdi + \to + 4], ecx
    .endm

    .balign 64, 0xcc
    .globl usk_statx_begin
usk_statx_begin:
    mov rdi, gs:[{entry_arguments} + 32]
    want_guests rdi, rcx, statx_rings
    mov r11, rax
    xor eax, eax
    mov ecx, {statx_size} / 8
    cld
    rep stosq
    mov rax, r11
    sub rdi, {statx_size}
    copy_field 56, 4, ecx           # preferred size of transfers
    copy_field 16, 16, ecx          # links
    copy_field 28, 20, rcx          # owner and group
    copy_field 24, 28, cx           # mode
    copy_field 8, 32, rcx           # inode
    copy_field 48, 40, rcx          # size
    copy_field 64, 48, rcx          # blocks
    copy_field 72, 64, rcx          # accessed
    copy_field 80, 72, ecx
    copy_field {statx_rest}, 80, rcx # born
    copy_field {statx_rest}+8, 88, ecx
    copy_field 104, 96, rcx         # changed
    copy_field 112, 104, ecx
    copy_field 88, 112, rcx         # modified
    copy_field 96, 120, ecx
    copy_device 40, 128
    copy_device 0, 136
    copy_field {statx_rest}+16, 144, rcx # mount
    mov ecx, {statx_attr_mount_root}
    mov [rdi + 56], rcx             # attributes that are known
    bt qword ptr [rsi + {statx_rest} + 8], {statx_mount_root_bit}
    jnc 1f
    mov [rdi + 8], rcx
1:  mov ecx, {statx_always}
    bt qword ptr [rsi + {statx_rest} + 8], {statx_born_bit}
    jnc 1f
    or ecx, {statx_btime}
1:  mov [rdi], ecx                  # what is told
    xor ecx, ecx
    test r8, r8
    jz lent_answers
    jmp names_shown
statx_rings:
    test r8, r8
    jz lent_rings
    jmp names_ring
    .globl usk_statx_end
usk_statx_end:
