/*
 * Every way to change a tree of files.
 *
 *     writes prepare DIRECTORY    makes the tree: for each attack a file of its name, and a directory NAME.d with a file
 *     writes attack DIRECTORY     changes it
 */
#include "guest.h"
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

static const char *in_directory(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s.d/file", name);
    return path;
}

static const char *directory_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s.d", name);
    return path;
}

static const char *new_name(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s.new", name);
    return path;
}

ATTACK(write_to_a_file) {
    int fd = TRY(open(name, O_WRONLY));
    return write(fd, "guest", 5);
}

ATTACK(append_to_a_file) {
    int fd = TRY(open(name, O_WRONLY | O_APPEND));
    return write(fd, "guest", 5);
}

ATTACK(empty_a_file_on_open) { return open(name, O_WRONLY | O_TRUNC); }

ATTACK(empty_a_file_that_is_opened_for_reading) { return open(name, O_RDONLY | O_TRUNC); }

ATTACK(truncate_a_file) { return truncate(name, 1); }

ATTACK(truncate_an_open_file) {
    int fd = TRY(open(name, O_RDWR));
    return ftruncate(fd, 100000);
}

ATTACK(reserve_room_in_a_file) {
    int fd = TRY(open(name, O_RDWR));
    return fallocate(fd, 0, 0, 20000);
}

ATTACK(punch_a_hole_into_a_file) {
    int fd = TRY(open(name, O_RDWR));
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
}

ATTACK(write_through_a_shared_mapping) {
    int fd = TRY(open(name, O_RDWR));
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -1;
    memcpy(memory, "guest", 5);
    return msync(memory, PAGE_SIZE, MS_SYNC);
}

ATTACK(write_through_a_shared_mapping_of_a_file_opened_for_reading) {
    int fd = TRY(open(name, O_RDONLY));
    return (long)mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

ATTACK(make_a_shared_mapping_writable) {
    int fd = TRY(open(name, O_RDONLY));
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -1;
    return mprotect(memory, PAGE_SIZE, PROT_READ | PROT_WRITE);
}

ATTACK(write_into_a_shared_mapping_by_system_call) {
    int fd = TRY(open(name, O_RDONLY)), ends[2];
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED || pipe(ends) == -1 || write(ends[1], "guest", 5) != 5)
        return -1;
    return read(ends[0], memory, 5);
}

ATTACK(write_into_a_shared_mapping_from_a_process) {
    int fd = TRY(open(name, O_RDONLY));
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0), text[] = "guest";
    if (memory == MAP_FAILED)
        return -1;
    struct iovec local = {text, 5}, remote = {memory, 5};
    return process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
}

/* Shows nothing natively: the private copy is the process's own. */
ATTACK(write_into_a_private_mapping) {
    int fd = TRY(open(name, O_RDONLY));
    char *memory = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (memory == MAP_FAILED)
        return -1;
    memcpy(memory, "guest", 5);
    return 0;
}

ATTACK(copy_a_range_into_a_file) {
    int from = TRY(open(in_directory(name), O_RDONLY)), to = TRY(open(name, O_WRONLY));
    return copy_file_range(from, NULL, to, NULL, 4, 0);
}

ATTACK(send_a_file_into_a_file) {
    int from = TRY(open(in_directory(name), O_RDONLY)), to = TRY(open(name, O_WRONLY));
    return sendfile(to, from, NULL, 4);
}

ATTACK(splice_into_a_file) {
    int ends[2], to = TRY(open(name, O_WRONLY));
    if (pipe(ends) == -1 || write(ends[1], "guest", 5) != 5)
        return -1;
    return splice(ends[0], NULL, to, NULL, 5, 0);
}

ATTACK(open_a_read_descriptor_again_for_writing) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", TRY(open(name, O_RDONLY)));
    int fd = TRY(open(path, O_RDWR));
    return write(fd, "guest", 5);
}

ATTACK(open_a_path_descriptor_again_for_writing) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", TRY(open(name, O_PATH)));
    int fd = TRY(open(path, O_WRONLY));
    return write(fd, "guest", 5);
}

ATTACK(create_a_file) {
    int fd = TRY(open(new_name(name), O_RDWR | O_CREAT | O_EXCL, 0640));
    return write(fd, "guest", 5);
}

ATTACK(create_a_file_through_a_symbolic_link) {
    char path[256];
    snprintf(path, sizeof path, "%s.link", name);
    return open(path, O_WRONLY | O_CREAT, 0644);
}

ATTACK(create_a_nameless_file_and_name_it) {
    char path[64];
    int fd = TRY(open(".", O_RDWR | O_TMPFILE, 0600));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, AT_FDCWD, new_name(name), AT_SYMLINK_FOLLOW);
}

ATTACK(remove_a_file) { return unlink(name); }

ATTACK(remove_a_directory) {
    TRY(unlink(in_directory(name)));
    return rmdir(directory_of(name));
}

ATTACK(make_a_directory) { return mkdir(new_name(name), 0750); }

ATTACK(rename_a_file) { return rename(name, new_name(name)); }

ATTACK(rename_over_a_file) { return rename(name, in_directory(name)); }

ATTACK(rename_a_directory) { return rename(directory_of(name), new_name(name)); }

ATTACK(exchange_two_files) { return renameat2(AT_FDCWD, name, AT_FDCWD, in_directory(name), RENAME_EXCHANGE); }

ATTACK(link_a_file) { return link(name, new_name(name)); }

ATTACK(link_an_open_file) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", TRY(open(name, O_RDONLY)));
    return linkat(AT_FDCWD, path, AT_FDCWD, new_name(name), AT_SYMLINK_FOLLOW);
}

ATTACK(make_a_symbolic_link) { return symlink("anywhere", new_name(name)); }

ATTACK(make_a_fifo) { return mkfifo(new_name(name), 0644); }

ATTACK(make_a_socket) { return mknod(new_name(name), S_IFSOCK | 0644, 0); }

ATTACK(bind_a_socket) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, new_name(name));
    int fd = TRY(socket(AF_UNIX, SOCK_STREAM, 0));
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}

ATTACK(change_the_mode) { return chmod(name, 0711); }

ATTACK(change_the_mode_of_a_directory) { return chmod(directory_of(name), 0711); }

ATTACK(change_the_mode_of_a_file_opened_for_reading) {
    int fd = TRY(open(name, O_RDONLY));
    return fchmod(fd, 0711);
}

ATTACK(change_the_owner) { return chown(name, getuid(), getgid()); }

ATTACK(change_the_owner_of_a_file_opened_for_reading) {
    int fd = TRY(open(name, O_RDONLY));
    return fchown(fd, getuid(), getgid());
}

ATTACK(change_the_times) {
    struct timespec times[2] = {{1, 2}, {3, 4}};
    return utimensat(AT_FDCWD, name, times, 0);
}

ATTACK(change_the_times_of_a_file_opened_for_reading) {
    struct timespec times[2] = {{1, 2}, {3, 4}};
    int fd = TRY(open(name, O_RDONLY));
    return futimens(fd, times);
}

ATTACK(set_an_attribute) { return setxattr(name, "user.guest", "guest", 5, 0); }

ATTACK(set_an_attribute_of_a_file_opened_for_reading) {
    int fd = TRY(open(name, O_RDONLY));
    return fsetxattr(fd, "user.guest", "guest", 5, 0);
}

ATTACK(remove_an_attribute) { return removexattr(name, "user.host"); }

static void make_file(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    NEED(fd != -1 && write(fd, "host", 4) == 4);
    NEED(fsetxattr(fd, "user.host", "host", 4, 0) == 0);
    /* Long before now, so that a change is seen. */
    struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
    NEED(ftruncate(fd, 8192) == 0 && futimens(fd, times) == 0 && close(fd) == 0);
}

int main(int argc, char **argv) {
    NEED(argc == 3);
    umask(022);
    NEED(chdir(argv[2]) == 0);
    if (strcmp(argv[1], "attack") == 0) {
        run_attacks();
        return 0;
    }
    for (const struct attack *const *each = __start_attacks; each < __stop_attacks; each++) {
        char path[256], target[256];
        const char *name = (*each)->name;
        make_file(name);
        NEED(mkdir(directory_of(name), 0755) == 0);
        make_file(in_directory(name));
        snprintf(path, sizeof path, "%s.link", name);
        snprintf(target, sizeof target, "%s.target", name);
        NEED(symlink(target, path) == 0);
    }
    return 0;
}
