/*
 * Reaches for what belongs to the host: its processes, networks, named objects, devices and kernel. Arguments KEY=VALUE
 * are what host.c says about itself; `pids` are processes of the host, separated by commas; `monitor` is the sandbox's
 * (natively the program itself); `hidden` is a file that holds a secret; a `visible` one lies beside it.
 *
 *     reach KEY=VALUE…
 */
#include "guest.h"
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

/* --- Processes ------------------------------------------------------------------------------------------------------ */

ATTACK(signal_a_process) { return kill(number("pid"), 0); }

ATTACK(signal_the_monitor) { return kill(number("monitor"), 0); }

ATTACK(signal_any_process_of_the_host) {
    char *list = strdup(argument("pids")), *rest;
    int reached = 0;
    for (char *pid = strtok_r(list, ",", &rest); pid != NULL; pid = strtok_r(NULL, ",", &rest))
        /* One of somebody else's is there all the same. */
        reached += kill(atoi(pid), 0) == 0 || errno != ESRCH;
    return reached > 0 ? 0 : fail(ESRCH);
}

ATTACK(signal_a_thread) { return syscall(SYS_tgkill, number("pid"), number("pid"), 0); }

ATTACK(queue_a_signal) {
    union sigval value = {0};
    return sigqueue(number("pid"), 0, value);
}

ATTACK(attach_to_a_process) {
    TRY(ptrace(PTRACE_SEIZE, number("pid"), 0, 0));
    return 0;
}

ATTACK(read_the_memory_of_a_process) {
    char text[7] = "";
    struct iovec local = {text, 6}, remote = {(void *)number("secret"), 6};
    TRY(process_vm_readv(number("pid"), &local, 1, &remote, 1, 0));
    return strcmp(text, "secret") == 0 ? 0 : fail(ENODATA);
}

ATTACK(write_the_memory_of_a_process) {
    char text[1];
    struct iovec local = {text, 1}, remote = {text, 1};
    long result = process_vm_writev(number("pid"), &local, 1, &remote, 1, 0);
    /* The process is found, and has nothing at that address. */
    return result == -1 && errno == EFAULT ? 0 : result;
}

ATTACK(refer_to_a_process) { return syscall(SYS_pidfd_open, number("pid"), 0); }

static long open_of_process(const char *file, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/%s", number("pid"), file);
    return open(path, flags);
}

ATTACK(see_a_process) { return open_of_process("", O_RDONLY | O_DIRECTORY); }
ATTACK(read_a_process_command_line) { return open_of_process("cmdline", O_RDONLY); }
ATTACK(open_a_process_memory) { return open_of_process("mem", O_RDWR); }
ATTACK(go_through_the_root_of_a_process) { return open_of_process("root/etc/passwd", O_RDONLY); }
ATTACK(go_through_the_directory_of_a_process) { return open_of_process("cwd", O_RDONLY | O_DIRECTORY); }
ATTACK(open_a_descriptor_of_a_process) { return open_of_process("fd/1", O_WRONLY); }
ATTACK(change_the_score_of_a_process) { return open_of_process("oom_score_adj", O_WRONLY); }
ATTACK(ask_for_the_group_of_a_process) { return getpgid(number("pid")); }
ATTACK(ask_for_the_session_of_a_process) { return getsid(number("pid")); }

ATTACK(ask_for_the_limits_of_a_process) {
    struct rlimit limit;
    return prlimit(number("pid"), RLIMIT_NOFILE, NULL, &limit);
}

ATTACK(ask_for_the_priority_of_a_process) {
    long result = syscall(SYS_getpriority, PRIO_PROCESS, number("pid"));
    return result;
}

ATTACK(ask_for_the_processors_of_a_process) {
    cpu_set_t set;
    return sched_getaffinity(number("pid"), sizeof set, &set);
}

ATTACK(ask_for_the_scheduler_of_a_process) { return sched_getscheduler(number("pid")); }

ATTACK(ask_for_the_robust_list_of_a_process) {
    void *head;
    size_t length;
    return syscall(SYS_get_robust_list, number("pid"), &head, &length);
}

ATTACK(ask_for_the_clock_of_a_process) {
    clockid_t clock = ~(clockid_t)number("pid") << 3 | 2;
    struct timespec time;
    return clock_gettime(clock, &time);
}

/* --- Files ---------------------------------------------------------------------------------------------------------- */

ATTACK(read_a_visible_file) { return open(argument("visible"), O_RDONLY); }
ATTACK(read_a_hidden_file) { return open(argument("hidden"), O_RDONLY); }

/* --- Networks ------------------------------------------------------------------------------------------------------- */

static long reach_internet(const char *key, int family, int type) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    v4.sin_port = v6.sin6_port = htons(number(key));
    const struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    socklen_t length = family == AF_INET ? sizeof v4 : sizeof v6;
    int fd = TRY(socket(family, type, 0));
    TRY(connect(fd, address, length));
    /* The second call tells that there is nobody who takes datagrams. */
    TRY(send(fd, "x", 1, MSG_NOSIGNAL));
    return send(fd, "x", 1, MSG_NOSIGNAL);
}

ATTACK(connect_to_a_listener_on_ipv4) { return reach_internet("tcp4", AF_INET, SOCK_STREAM); }
ATTACK(connect_to_a_listener_on_ipv6) { return reach_internet("tcp6", AF_INET6, SOCK_STREAM); }
ATTACK(send_a_datagram_on_ipv4) { return reach_internet("udp4", AF_INET, SOCK_DGRAM); }
ATTACK(send_a_datagram_on_ipv6) { return reach_internet("udp6", AF_INET6, SOCK_DGRAM); }

static long reach_abstract(int type) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path + 1, argument("name"));
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(argument("name"));
    int fd = TRY(socket(AF_UNIX, type, 0));
    TRY(connect(fd, (struct sockaddr *)&address, length));
    return write(fd, "x", 1);
}

ATTACK(connect_to_an_abstract_socket) { return reach_abstract(SOCK_STREAM); }
ATTACK(send_to_an_abstract_socket) { return reach_abstract(SOCK_DGRAM); }

static long reach_path(const char *key) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, argument(key));
    int fd = TRY(socket(AF_UNIX, SOCK_STREAM, 0));
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

ATTACK(connect_to_a_socket_in_the_root) { return reach_path("root_socket"); }
ATTACK(connect_to_a_socket_in_a_volume) { return reach_path("volume_socket"); }
ATTACK(open_a_packet_socket) { return socket(AF_PACKET, SOCK_RAW, 0); }
ATTACK(open_a_raw_socket) { return socket(AF_INET, SOCK_RAW, 1); }

ATTACK(list_interfaces_by_netlink) {
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    int fd = TRY(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}

ATTACK(listen_to_the_kernel_by_netlink) { return socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT); }
ATTACK(open_a_socket_of_the_virtual_machine) { return socket(40 /* AF_VSOCK */, SOCK_STREAM, 0); }
ATTACK(open_a_socket_of_the_crypto_layer) { return socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0); }

/* --- Named objects -------------------------------------------------------------------------------------------------- */

ATTACK(attach_shared_memory_by_number) { return (long)shmat(number("memory"), NULL, 0); }
ATTACK(find_shared_memory_by_key) { return shmget(number("key"), 0, 0); }
ATTACK(find_semaphores_by_key) { return semget(number("key"), 0, 0); }
ATTACK(read_a_semaphore_by_number) { return semctl(number("semaphores"), 0, GETVAL); }
ATTACK(find_messages_by_key) { return msgget(number("key"), 0); }

ATTACK(send_a_message_by_number) {
    struct { long type; char text[1]; } message = {1, "x"};
    return msgsnd(number("messages"), &message, 1, IPC_NOWAIT);
}

static const char *slash_name(void) {
    static char path[80];
    snprintf(path, sizeof path, "/%s", argument("name"));
    return path;
}

ATTACK(open_a_posix_message_queue) { return mq_open(slash_name(), O_RDWR); }
ATTACK(open_posix_shared_memory) { return shm_open(slash_name(), O_RDWR, 0); }
ATTACK(ask_for_the_session_keyring) { return syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -3, 0); }
ATTACK(add_a_key) { return syscall(SYS_add_key, "user", "usk-isolation", "x", 1, -2); }

/* --- Devices and the kernel's own files ----------------------------------------------------------------------------- */

static long open_device(mode_t type, unsigned major_number, unsigned minor_number) {
    char path[] = "/tmp/usk-isolation-XXXXXX";
    TRY(mkdtemp(path) == NULL ? -1 : 0);
    char device[64];
    snprintf(device, sizeof device, "%s/device", path);
    long result = mknod(device, type | 0600, makedev(major_number, minor_number));
    if (result == 0)
        result = open(device, O_RDONLY | O_NONBLOCK);
    int error = errno;
    unlink(device);
    rmdir(path);
    errno = error;
    return result;
}

/* /dev/kmsg: a character device that a privileged process can open everywhere. */
ATTACK(make_and_open_a_character_device) { return open_device(S_IFCHR, 1, 11); }
ATTACK(make_and_open_a_block_device) {
    struct stat status;
    NEED(stat("/etc", &status) == 0);
    long result = open_device(S_IFBLK, major(status.st_dev), minor(status.st_dev));
    /* A file system without a disk. */
    return result == -1 && (errno == ENXIO || errno == ENODEV) ? 0 : result;
}
HARMFUL_ATTACK(open_physical_memory) { return open("/dev/mem", O_RDWR); }
HARMFUL_ATTACK(open_ports) { return open("/dev/port", O_RDWR); }
ATTACK(open_the_kernel_log) { return open("/dev/kmsg", O_WRONLY); }
ATTACK(open_the_virtual_machine_device) { return open("/dev/kvm", O_RDWR); }
ATTACK(open_the_fuse_device) { return open("/dev/fuse", O_RDWR); }
ATTACK(open_the_tunnel_device) { return open("/dev/net/tun", O_RDWR); }
ATTACK(open_the_userfaultfd_device) { return open("/dev/userfaultfd", O_RDWR); }
ATTACK(open_the_loop_control_device) { return open("/dev/loop-control", O_RDWR); }
HARMFUL_ATTACK(change_the_core_pattern) {
    int fd = TRY(open("/proc/sys/kernel/core_pattern", O_WRONLY));
    return write(fd, "|/guest", 7);
}
HARMFUL_ATTACK(change_the_module_loader) { return open("/proc/sys/kernel/modprobe", O_WRONLY); }
HARMFUL_ATTACK(trigger_a_system_request) { return open("/proc/sysrq-trigger", O_WRONLY); }
ATTACK(read_kernel_memory) { return open("/proc/kcore", O_RDONLY); }
ATTACK(read_kernel_symbols) { return open("/proc/kallsyms", O_RDONLY); }
ATTACK(list_keys) { return open("/proc/keys", O_RDONLY); }
HARMFUL_ATTACK(change_the_firmware_path) { return open("/sys/module/firmware_class/parameters/path", O_WRONLY); }
HARMFUL_ATTACK(make_a_control_group) { return mkdir("/sys/fs/cgroup/usk-isolation", 0755); }
ATTACK(open_the_debugging_file_system) { return open("/sys/kernel/debug", O_RDONLY | O_DIRECTORY); }

/* --- Calls that reach deep into the kernel -------------------------------------------------------------------------- */

ATTACK(set_up_io_uring) {
    struct io_uring_params parameters = {0};
    return syscall(SYS_io_uring_setup, 4, &parameters);
}

ATTACK(make_a_bpf_map) {
    union bpf_attr attributes = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
}

ATTACK(handle_page_faults) { return syscall(SYS_userfaultfd, O_CLOEXEC); }

ATTACK(count_events) {
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .config = PERF_COUNT_SW_CPU_CLOCK};
    return syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
}

HARMFUL_ATTACK(mount_a_file_system) {
    TRY(mount("none", "/mnt", "tmpfs", 0, NULL));
    return umount("/mnt");
}
HARMFUL_ATTACK(unmount_a_file_system) { return umount2("/proc", MNT_DETACH); }
ATTACK(open_a_mount) { return syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */); }
ATTACK(set_up_a_file_system) { return syscall(SYS_fsopen, "tmpfs", 0); }
HARMFUL_ATTACK(exchange_the_root) { return syscall(SYS_pivot_root, "/", "/"); }
ATTACK(make_a_user_namespace) { return unshare(CLONE_NEWUSER); }
ATTACK(make_a_mount_namespace) { return unshare(CLONE_NEWNS); }
ATTACK(make_a_network_namespace) { return unshare(CLONE_NEWNET); }
ATTACK(clone_into_a_user_namespace) {
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid;
}
ATTACK(clone3_into_a_user_namespace) {
    uint64_t arguments[8] = {CLONE_NEWUSER, [4] = SIGCHLD};
    long pid = syscall(SYS_clone3, arguments, sizeof arguments);
    if (pid == 0)
        _exit(0);
    return pid;
}
HARMFUL_ATTACK(enter_a_namespace) {
    int fd = TRY(syscall(SYS_pidfd_open, getpid(), 0));
    return setns(fd, CLONE_NEWUTS);
}
ATTACK(open_a_file_by_handle) {
    /* As in the well-known escape from containers: inode 2 of whatever the current directory is on. */
    struct { struct file_handle head; unsigned char inode[8]; } handle = {{8, 1}, {2}};
    return syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY);
}
HARMFUL_ATTACK(load_a_module) { return syscall(SYS_init_module, "", 0, ""); }
HARMFUL_ATTACK(load_a_module_from_a_file) { return syscall(SYS_finit_module, TRY(open("/proc/self/exe", O_RDONLY)), "", 0); }
HARMFUL_ATTACK(load_another_kernel) { return syscall(SYS_kexec_load, 0, 0, NULL, 4); }
HARMFUL_ATTACK(reboot_the_machine) { return syscall(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef /* CAD_ON */, NULL); }
HARMFUL_ATTACK(swap_on_a_file) { return syscall(SYS_swapon, "/etc/passwd", 0); }
HARMFUL_ATTACK(account_processes) { return syscall(SYS_acct, "/nonexistent"); }
HARMFUL_ATTACK(raise_the_privilege_of_ports) { return syscall(SYS_iopl, 3); }
HARMFUL_ATTACK(allow_ports) { return syscall(SYS_ioperm, 0x80, 1, 1); }
ATTACK(read_the_kernel_log) { return syscall(SYS_syslog, 10 /* SIZE_BUFFER */, NULL, 0); }
ATTACK(watch_file_systems) { return syscall(SYS_fanotify_init, 0, O_RDONLY); }
HARMFUL_ATTACK(set_the_clock) {
    struct timespec time = {.tv_sec = 1000000000};
    return clock_settime(CLOCK_REALTIME, &time);
}
HARMFUL_ATTACK(rename_the_host) { return sethostname("guest", 5); }
HARMFUL_ATTACK(hang_the_terminal_up) {
    TRY(setsid());
    TRY(vhangup());
    return 0;
}
ATTACK(move_pages_of_a_process) { return syscall(SYS_move_pages, number("pid"), 0, NULL, NULL, NULL, 0); }
ATTACK(compare_processes) { return syscall(SYS_kcmp, number("pid"), number("pid"), 0, 0, 0); }
ATTACK(make_secret_memory) { return syscall(447 /* memfd_secret */, 0); }

int main(int argc, char **argv) {
    (void)argc;
    arguments = argv + 1;
    run_attacks();
    return 0;
}
