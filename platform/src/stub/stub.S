# The stub: all the code of usk's own that runs in a guest's address space. Position independent; mapped read-execute
# at a fixed address in every stub process.
#
# Its rules:
#  - It uses no stack. Signal handlers are entered on the thread's signal stack, where the kernel has put the frame.
#  - It believes nothing that the guest can write. Lists of calls and orders are in memory that only the sentry writes.
#  - Each host call has its own `syscall` instruction, followed by a label `usk_site_*`: that is the instruction
#    pointer which the base filter sees. The filter pins every argument, so a guest that jumps to such an instruction
#    with registers of its choice can do no more than what the filter's line for that site says.
#  - Guest registers are all in the signal frame, so every register is free.
#
# Registers, in the guest thread's part: rsp = the ucontext (where rt_sigreturn wants the stack pointer).
# In the spawner's part: r12d = number of the last order, r13 = its orders.

    .section .rodata.usk_stub, "a", @progbits
    .balign 64, 0xcc
    .globl usk_stub_start
usk_stub_start:

# --- Start of the template: the old program is still mapped, the base filter is in force -------------------------------

    .globl usk_stub_template
usk_stub_template:
    xor edi, edi
    movabs rsi, {windows_end}
    mov eax, {sys_munmap}
    syscall
    .globl usk_site_clear
usk_site_clear:
    test rax, rax
    jnz usk_stub_die
    xor r12d, r12d
    jmp spawner

# --- Entry: a signal frame at rsp, the signal's number in edi ----------------------------------------------------------

    .balign 64, 0xcc
    .globl usk_stub_memory_fault
usk_stub_memory_fault:              # SIGSEGV, SIGBUS
    # A spawner's frame is in slot 0, below every guest thread's. (A guest that makes its own frame lie there gets to
    # the spawner's code, and its filter kills it at the next call.)
    movabs rax, {first_guest_slot}
    cmp rsp, rax
    jb spawner_fault
    jmp usk_stub_entry

    .balign 64, 0xcc
    .globl usk_stub_entry
usk_stub_entry:                     # SIGSYS, SIGILL, SIGFPE, SIGTRAP, the kick
    lea rsp, [rsp + 8]              # past the return address: the ucontext
    mov rsi, rsp
    rdfsbase r8
    rdgsbase r9
ring:
    mov eax, {doorbell}
    syscall
    .globl usk_site_doorbell
usk_site_doorbell:
    test eax, eax
    jnz answered
return_to_guest:
    # Where rsp is tells how the guest came here: in the entry area from a patched site, else by a signal.
    mov ecx, esp
    and ecx, {slot_size} - 1
    cmp ecx, {entry}
    jae patched_restore
    mov eax, {sys_rt_sigreturn}
    syscall
    .globl usk_site_sigreturn
usk_site_sigreturn:
    ud2

# --- The doorbell's answer ---------------------------------------------------------------------------------------------

answered:
    js usk_stub_die                 # nobody listens any more
heard:
    mov r14, rax
    test r14b, {answer_frame}
    jnz patched_frame
    # The orders of the slot that the answer names. Who rings with registers of its own choice chooses rsp as well.
    mov rbx, rax
    shr rbx, {answer_slot_shift}
    shl rbx, {order_shift}
    movabs rax, {orders_base}
    add rbx, rax
    test r14b, {answer_fs}
    jz 1f
    mov rax, [rbx + {fs_base}]
    wrfsbase rax
1:  test r14b, {answer_gs}
    jz 2f
    mov rax, [rbx + {gs_base}]
    wrgsbase rax
2:  test r14b, {answer_restore}
    jz 3f
    mov eax, [rbx + {features}]
    mov edx, [rbx + {features} + 4]
    mov rcx, [rbx + {restore_from}]
    xrstor64 [rcx]
3:  test r14b, {answer_save}
    jz 4f
    mov eax, [rbx + {features}]
    mov edx, [rbx + {features} + 4]
    mov rcx, [rbx + {save_to}]
    mov qword ptr [rcx + 512], 0    # of features, what it does not save it leaves as it was
    xsave64 [rcx]
    or byte ptr [rcx + 512], 3      # x87 and SSE are always there, as the host's frames have it
4:  test r14d, {answer_copy}
    jz 6f
    mov rbp, [rbx + {copy_count}]
    lea r12, [rbx + {copies}]
    mov r13, rsp                    # the entry area's slot
    and r13, -{slot_size}
    cld
5:  sub rbp, 1
    jc 6f
    mov rdi, [r12]
    mov rsi, [r12 + 8]
    add rsi, r13
    mov rcx, [r12 + 16]
    .globl usk_stub_copies
usk_stub_copies:                    # memory that is not there faults here: the sentry hears of it, and the call fails
    rep movsb
    .globl usk_stub_copied
usk_stub_copied:
    add r12, {copy_size}
    jmp 5b
6:  test r14b, {answer_calls}
    jz return_to_guest
    mov rbp, [rbx + {call_count}]
    xor r15d, r15d
    add rbx, {calls}
next_call:
    xor r10d, r10d
    cmp r15, rbp
    jae calls_ended
    mov rax, [rbx]
    mov rdi, [rbx + 8]
    mov rsi, [rbx + 16]
    mov rdx, [rbx + 24]
    mov r10, [rbx + 32]
    mov r8, [rbx + 40]
    mov r9, [rbx + 48]
    cmp rax, {call_kinds}
    jae usk_stub_die
    lea rcx, [rip + call_table]
    movsxd rax, dword ptr [rcx + rax * 4]
    add rax, rcx
    jmp rax
    .balign 4
call_table:
    .long call_map_anonymous - call_table
    .long call_map_file - call_table
    .long call_unmap - call_table
    .long call_protect - call_table
    .long call_remap - call_table
    .long call_advise - call_table
    .long call_close - call_table
    .long call_mask_kicks - call_table

call_map_anonymous:
    mov eax, {sys_mmap}
    syscall
    .globl usk_site_map_anonymous
usk_site_map_anonymous:
    jmp called
call_map_file:
    mov eax, {sys_mmap}
    syscall
    .globl usk_site_map_file
usk_site_map_file:
    jmp called
call_mask_kicks:                    # what other threads can write does not come in between
    mov eax, {sys_rt_sigprocmask}
    syscall
    .globl usk_site_mask_kicks
usk_site_mask_kicks:
    jmp called
call_unmap:
    mov eax, {sys_munmap}
    syscall
    .globl usk_site_unmap
usk_site_unmap:
    jmp called
call_protect:
    mov eax, {sys_mprotect}
    syscall
    .globl usk_site_protect
usk_site_protect:
    jmp called
call_remap:
    mov eax, {sys_mremap}
    syscall
    .globl usk_site_remap
usk_site_remap:
    jmp called
call_advise:
    mov eax, {sys_madvise}
    syscall
    .globl usk_site_advise
usk_site_advise:
    jmp called
call_close:
    mov eax, {sys_close}
    syscall
    .globl usk_site_close
usk_site_close:

called:
    mov r10, rax
    cmp rax, -4095
    jae calls_failed
    inc r15
    add rbx, {call_size}
    jmp next_call
calls_ended:
    test r14b, {answer_return}
    jnz return_to_guest
calls_failed:
    mov edi, {ring_calls_ended}
    mov rsi, rsp
    mov rdx, r15                    # calls that succeeded; r10 is the last one's result
    jmp ring

    .globl usk_stub_die
usk_stub_die:
    mov edi, 1
    mov eax, {sys_exit_group}
    syscall
    .globl usk_site_exit
usk_site_exit:
    ud2

# --- Entry from a patched site: by a jump from its trampoline, without a frame ------------------------------------------
#
# r11 = the trampoline's `syscall` instruction, before which lies how far from it the original's successor is; rcx is free, as
# in any system call. All other registers are the guest's, and so is its stack, which is not touched. A signal may come
# between any two instructions: the sentry knows from the labels what has happened to the registers (`patched.rs`).

    .balign 64, 0xcc
    .globl usk_stub_patched
usk_stub_patched:
    # Is the GS base that of a slot? Told without changing the flags, which cannot be saved before.
    rdgsbase rcx
    rorx rcx, rcx, {slots_shift}
    mov ecx, ecx
    lea rcx, [rcx - {slots_number}]
    jrcxz 1f
    jmp r11                         # the guest uses GS itself: let the trampoline's instruction trap
1:  mov gs:[{entry_rax}], rax
    mov rcx, [r11 - 8]
    lea rcx, [rcx + r11]
    mov gs:[{entry_rip}], rcx
    lea rcx, [r11 + 2]
    mov gs:[{entry_return}], rcx
    mov gs:[{entry_rsp}], rsp
    .globl usk_patched_saved
usk_patched_saved:
    rdgsbase rsp
    lea rsp, [rsp + {entry_stack}]
    pushfq
    .globl usk_patched_flags_saved
usk_patched_flags_saved:
    # Hand over the memory that most calls of this kind make the sentry read: a name, or a small buffer.
    mov dword ptr gs:[{entry_handed_length}], 0
    cmp rax, {shortcut_count}
    jae ring_patched
    movabs r11, {shortcuts}
    movzx ecx, byte ptr [r11 + rax]
    test ecx, ecx
    jz ring_patched
    cmp ecx, {stands}
    jae standing
    cmp ecx, {changes_mask}
    je usk_mask_begin               # mask.S
    cmp ecx, {returns}
    je usk_return_begin             # return.S
    cmp ecx, {asks_host}
    je usk_asked_begin              # asked.S
hands_over:
    mov gs:[{entry_arguments}], rdi
    mov gs:[{entry_arguments} + 8], rsi
    .globl usk_patched_hands_over
usk_patched_hands_over:             # rdi and rsi are in the entry area; memory that is not there faults here, and is not handed over
    cmp ecx, {hands_over_buffer}
    je 2f
    cmp ecx, {hands_over_first}
    cmove rsi, rdi
    cmp ecx, {hands_over_fourth}
    cmove rsi, r10
    test rsi, rsi
    jz 4f
    mov ecx, esi                    # to the end of the page
    or ecx, -4096
    neg ecx
    cmp ecx, {hand_over_part}
    jbe 3f
    mov ecx, {hand_over_part}
    jmp 3f
2:  cmp rdx, {hand_over_size}
    ja 4f
    mov ecx, edx
3:  mov gs:[{entry_handed_from}], rsi
    mov r11d, ecx
    rdgsbase rdi                    # the slot begins with it
    cld
    rep movsb
    mov gs:[{entry_handed_length}], r11d
4:  mov rdi, gs:[{entry_arguments}]
    mov rsi, gs:[{entry_arguments} + 8]
    .globl usk_patched_handed_over
usk_patched_handed_over:
    jmp ring_patched

standing:
    cmp ecx, {receives}
    je usk_arrived_begin            # arrived.S
    cmp ecx, {changes_action}
    je usk_action_begin             # actions.S
    cmp ecx, {notes}
    je usk_noted_begin              # noted.S
    cmp ecx, {name_calls}
    jae usk_names_begin             # names.S
    cmp ecx, {ledger_write}
    jae usk_ledger_begin            # ledger.S
    cmp ecx, {brings_state}
    je usk_state_begin              # state.S
    ja usk_left_begin               # left.S
    cmp ecx, {maps}
    je usk_memory_begin             # memory.S
    cmp ecx, {lends}
    jae usk_lent_begin              # lent.S
    cmp ecx, {host_calls}
    jae usk_host_call               # host_calls.S
    # Tier 0: the sentry has left the answer in the orders; if it stands, that is all.
    load_orders rax, r11
    mov rax, [rax + rcx * 8 + {standing} - {stands} * 8]
    btr rax, {answer_stands_bit}
    jnc ring_patched
    go_back                         # up to the last jump a signal makes the call start again

ring_patched:
    mov gs:[{entry_preserved}], rbx
    mov gs:[{entry_preserved} + 8], rbp
    mov gs:[{entry_preserved} + 16], r12
    mov gs:[{entry_preserved} + 24], r13
    mov gs:[{entry_preserved} + 32], r14
    mov gs:[{entry_preserved} + 40], r15
    rdfsbase rcx
    mov gs:[{entry_fs}], rcx
    cmp dword ptr gs:[{hand}], {hand_listens}
    je usk_spin_begin               # spin.S
ring_doorbell:
    mov eax, {doorbell}
    syscall
    .globl usk_site_patched
usk_site_patched:
    test eax, eax
    jnz patched_answered
patched_return:
    mov rax, gs:[{entry_rax}]
    go_back

patched_answered:
    js usk_stub_die
    test al, {answer_registers}
    jnz heard
    save_call
    mov rcx, gs:[{entry_flags}]
    mov gs:[{entry_r11}], rcx
    jmp heard

patched_restore:                    # a list has been carried out, or the sentry has changed more than the result
    mov rbx, gs:[{entry_preserved}]
    mov rbp, gs:[{entry_preserved} + 8]
    mov r12, gs:[{entry_preserved} + 16]
    mov r13, gs:[{entry_preserved} + 24]
    mov r14, gs:[{entry_preserved} + 32]
    mov r15, gs:[{entry_preserved} + 40]
    mov rdi, gs:[{entry_arguments}]
    mov rsi, gs:[{entry_arguments} + 8]
    mov rdx, gs:[{entry_arguments} + 16]
    mov r10, gs:[{entry_arguments} + 24]
    mov r8, gs:[{entry_arguments} + 32]
    mov r9, gs:[{entry_arguments} + 40]
    mov rax, gs:[{entry_rax}]
    popfq
    mov rcx, gs:[{entry_rip}]
    mov r11, gs:[{entry_r11}]
    mov rsp, gs:[{entry_rsp}]
    jmp gs:[{entry_return}]

patched_frame:                      # the sentry wants a signal frame: for its extended state, or for what only it can change
    ud2

# --- The spawner -------------------------------------------------------------------------------------------------------

spawner_done:                       # tell that order r12d is finished
    movabs rdi, {spawner_done}
    mov [rdi], r12d
    call_wake_spawner:
    mov esi, {futex_wake}
    mov edx, 1
    mov eax, {sys_futex}
    syscall
    .globl usk_site_wake
usk_site_wake:
spawner:
    movabs r13, {orders_base}
spawner_sleep:
    mov eax, [r13 + {order_number}]
    cmp eax, r12d
    jne spawner_order
    lea rdi, [r13 + {order_number}]
    xor esi, esi                    # FUTEX_WAIT
    mov edx, r12d
    xor r10d, r10d
    mov eax, {sys_futex}
    syscall
    .globl usk_site_sleep
usk_site_sleep:
    jmp spawner_sleep

spawner_order:
    mov r12d, eax
    mov eax, [r13 + {order_kind}]
    cmp eax, {order_thread}
    je order_thread
    cmp eax, {order_fork}
    je order_fork
    cmp eax, {order_compare_exchange}
    je order_compare_exchange
    cmp eax, {order_populate}
    je order_populate
    jmp spawner_done

order_populate:                     # the sentry is about to write there; it looks for itself what comes of it
    mov rdi, [r13 + {order_arguments}]
    mov rsi, [r13 + {order_arguments} + 8]
    mov edx, {madv_populate_write}
    mov eax, {sys_madvise}
    syscall
    .globl usk_site_populate
usk_site_populate:
    jmp spawner_done

order_fork:
    mov r14, [r13 + {order_arguments}]          # where its slots are
    mov r15, [r13 + {order_arguments} + 8]      # where its orders are
    mov edi, {clone_fork_flags}
    xor esi, esi
    movabs rdx, {spawner_pidfd_number}
    xor r10d, r10d
    xor r8d, r8d
    mov eax, {sys_clone}
    syscall
    .globl usk_site_clone_fork
usk_site_clone_fork:
    test rax, rax
    jz forked
    xor r14d, r14d                  # nobody waits for a birth

made:                               # or not: eax = the child's number, or an error; r14 = its birth word, or 0
    mov ebx, eax
    mov edi, [r13 + {order_child}]
    xor edi, 1                      # what was made before has been taken, or there would be no new order
    mov eax, {sys_close}
    syscall
    .globl usk_site_spawner_close
usk_site_spawner_close:
    movabs rdi, {spawner_result}
    mov [rdi], ebx
    test ebx, ebx
    jns spawner_done
    # A failure is told by a descriptor that is no process: that cannot be forged.
    mov edi, {slots_descriptor}
    mov esi, [r13 + {order_child}]
    mov eax, {sys_dup2}
    syscall
    .globl usk_site_not_made
usk_site_not_made:
    test r14, r14
    jz spawner_done
    movabs rdi, {spawner_done}
    mov [rdi], r12d
    mov rdi, r14
    mov dword ptr [rdi], {hint_failed}
    jmp call_wake_spawner

forked:                             # the spawner of the copy: its own windows over its parent's
    mov edi, {pr_set_pdeathsig}
    mov esi, {sigkill}
    xor edx, edx
    xor r10d, r10d
    xor r8d, r8d
    mov eax, {sys_prctl}
    syscall
    .globl usk_site_forked_deathsig
usk_site_forked_deathsig:
    movabs rdi, {slots_base}
    mov esi, {slots_size}
    mov edx, {prot_read_write}
    mov r10d, {map_shared_fixed}
    mov r8d, {slots_descriptor}
    mov r9, r14
    mov eax, {sys_mmap}
    syscall
    .globl usk_site_map_slots
usk_site_map_slots:
    cmp rax, -4095
    jae usk_stub_die
    movabs rdi, {orders_base}
    mov esi, {orders_size}
    mov edx, {prot_read}
    mov r10d, {map_shared_fixed}
    mov r8d, {orders_descriptor}
    mov r9, r15
    mov eax, {sys_mmap}
    syscall
    .globl usk_site_map_orders
usk_site_map_orders:
    cmp rax, -4095
    jae usk_stub_die
    xor r12d, r12d
    jmp spawner

order_thread:
    mov r14, [r13 + {order_arguments}]          # its slot's birth word
    mov r15, [r13 + {order_arguments} + 8]      # its first frame
    mov rbp, [r13 + {order_arguments} + 16]     # a token that says it is the one that was ordered
    mov edi, {clone_thread_flags}
    xor esi, esi
    movabs rdx, {spawner_pidfd_number}
    xor r10d, r10d
    xor r8d, r8d
    mov eax, {sys_clone}
    syscall
    .globl usk_site_clone_thread
usk_site_clone_thread:
    test rax, rax
    jz born
    jmp made

# --- A newborn guest thread --------------------------------------------------------------------------------------------

born:
    xor edi, edi
    mov esi, -1
    xor edx, edx
    mov eax, {sys_close_range}
    syscall
    .globl usk_site_close_all
usk_site_close_all:
    mov edi, {pr_set_pdeathsig}
    mov esi, {sigkill}
    xor edx, edx
    xor r10d, r10d
    xor r8d, r8d
    mov eax, {sys_prctl}
    syscall
    .globl usk_site_born_deathsig
usk_site_born_deathsig:
    mov edi, {seccomp_set_mode_filter}
    mov esi, {listener_flags}
    movabs rdx, {thread_filter}
    mov eax, {sys_seccomp}
    syscall
    .globl usk_site_listen
usk_site_listen:
    test rax, rax                   # the listener is descriptor 0 of the empty table
    jnz usk_stub_die
    mov rdi, r14
    mov dword ptr [rdi], {hint_born}
    mov esi, {futex_wake}
    mov edx, 1
    mov eax, {sys_futex}
    syscall
    .globl usk_site_born_wake
usk_site_born_wake:
    mov rsp, r15
    mov edi, {ring_born}
    mov rsi, r15
    mov rdx, rbp
    mov eax, {doorbell}
    syscall
    .globl usk_site_birth
usk_site_birth:
    mov r14, rax
    xor edi, edi
    mov eax, {sys_close}
    syscall
    .globl usk_site_close_listener
usk_site_close_listener:
    mov rax, r14
    test eax, eax
    jnz answered
    jmp return_to_guest

# --- Compare and exchange for the sentry, in the spawner ---------------------------------------------------------------

order_compare_exchange:
    # Let faults through for the time of one instruction (the handler blocks them again).
    mov edi, {sig_setmask}
    movabs rsi, {spawner_mask}
    xor edx, edx
    mov r10d, {signal_set_size}
    mov eax, {sys_rt_sigprocmask}
    syscall
    .globl usk_site_unblock_faults
usk_site_unblock_faults:
    movabs rsp, {spawner_stack}
    mov rbx, [r13 + {order_arguments}]
    mov eax, [r13 + {order_arguments} + 8]
    mov ecx, [r13 + {order_arguments} + 16]
    xor edx, edx
    lock cmpxchg dword ptr [rbx], ecx
compare_exchange_ended:
    movabs rdi, {spawner_found}
    mov [rdi], eax
    movabs rdi, {spawner_faulted}
    mov [rdi], edx
    jmp spawner_done
spawner_fault:
    mov edx, 1
    jmp compare_exchange_ended
