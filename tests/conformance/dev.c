/* null(4), zero(4), full(4), random(4), and the links of /dev */
#include "case.h"
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

CASE(dev_null_swallows_and_is_empty) {
    int fd = OK(open("/dev/null", O_RDWR));
    char byte;
    EXPECT_EQ(write(fd, "hello", 5), 5);
    EXPECT_EQ(read(fd, &byte, 1), 0);
    EXPECT_EQ(lseek(fd, 100, SEEK_SET), 0);
    OK(open("/dev/null", O_WRONLY | O_TRUNC));
    OK(open("/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600));
}

CASE(dev_null_swallows_for_ever) {
    int fd = OK(open("/dev/null", O_RDWR)), for_writing = OK(open("/dev/null", O_WRONLY));
    int for_reading = OK(open("/dev/null", O_RDONLY)), path = OK(open("/dev/null", O_PATH));
    char byte = 'x';
    for (int i = 0; i < 200; i++) {
        EXPECT_EQ(write(fd, "hello", 5), 5);
        EXPECT_EQ(write(for_writing, bad_page(), 1000), 1000);
        EXPECT_EQ(pwrite(fd, "hello", 5, 1ll << 40), 5);
        EXPECT_EQ(write(fd, "", 0), 0);
        EXPECT_EQ(write(fd, bad_page(), 3ul << 30), 0x7ffff000);
        EXPECT_ERRNO(pwrite(fd, "hello", 5, -1), EINVAL);
        EXPECT_ERRNO(write(for_reading, "hello", 5), EBADF);
        EXPECT_ERRNO(write(path, "hello", 5), EBADF);
        EXPECT_EQ(read(for_reading, &byte, 1), 0);
        EXPECT_EQ(read(fd, &byte, 1), 0);
        EXPECT_EQ(pread(fd, &byte, 1, 100), 0);
        EXPECT_ERRNO(read(for_writing, &byte, 1), EBADF);
        EXPECT_EQ(lseek(fd, 100, SEEK_END), 0);
    }
    EXPECT_EQ(byte, 'x');
}

CASE(dev_zero_gives_zeroes) {
    int fd = OK(open("/dev/zero", O_RDWR));
    char buffer[1000];
    memset(buffer, 'x', sizeof buffer);
    EXPECT_EQ(read(fd, buffer, sizeof buffer), sizeof buffer);
    for (size_t i = 0; i < sizeof buffer; i++)
        EXPECT_EQ(buffer[i], 0);
    EXPECT_EQ(write(fd, buffer, 1000), 1000);
    EXPECT_ERRNO(read(fd, bad_page(), 10), EFAULT);
}

CASE(dev_full_is_always_full) {
    int fd = OK(open("/dev/full", O_RDWR));
    char buffer[8] = "xxxxxxx";
    EXPECT_ERRNO(write(fd, "x", 1), ENOSPC);
    EXPECT_EQ(read(fd, buffer, 8), 8);
    EXPECT_EQ(buffer[0], 0);
}

CASE(dev_random_and_urandom_give_random_bytes) {
    const char *names[] = {"/dev/random", "/dev/urandom"};
    for (int i = 0; i < 2; i++) {
        int fd = OK(open(names[i], O_RDONLY));
        char one[32], two[32];
        EXPECT_EQ(read(fd, one, 32), 32);
        EXPECT_EQ(read(fd, two, 32), 32);
        EXPECT(memcmp(one, two, 32) != 0);
    }
}

CASE(dev_nodes_have_their_numbers) {
    struct {
        const char *name;
        int major, minor;
    } nodes[] = {{"/dev/null", 1, 3},    {"/dev/zero", 1, 5}, {"/dev/full", 1, 7}, {"/dev/random", 1, 8},
                 {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},  {"/dev/ptmx", 5, 2}};
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        struct stat status;
        OK(stat(nodes[i].name, &status));
        if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(nodes[i].major, nodes[i].minor))
            FAIL("%s is %d:%d, got %x", nodes[i].name, nodes[i].major, nodes[i].minor, (int)status.st_rdev);
    }
}

CASE(dev_nodes_can_be_used_by_everybody) {
    const char *names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct stat status;
        OK(stat(names[i], &status));
        EXPECT_EQ(status.st_mode & 0777, 0666);
    }
}

CASE(dev_fd_and_the_standard_links_lead_to_proc) {
    char target[64] = {0};
    OK(readlink("/dev/fd", target, 63));
    EXPECT_STR(target, "/proc/self/fd");
    memset(target, 0, sizeof target);
    OK(readlink("/dev/stdin", target, 63));
    EXPECT_STR(target, "/proc/self/fd/0");
    PIPE(ends);
    char name[32];
    snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
    int again = OK(open(name, O_RDONLY));
    announce(ends[1]);
    await(again);
}

CASE(dev_shm_is_a_writable_directory) {
    char name[64];
    snprintf(name, sizeof name, "/dev/shm/conformance-%d", getpid());
    int fd = OK(open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
    OK(unlink(name));
    OK(ftruncate(fd, PAGE_SIZE));
    int *shared = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(shared != MAP_FAILED);
    pid_t pid = IN_CHILD({ *shared = 7; });
    EXPECT_EXIT(pid, 0);
    EXPECT_EQ(*shared, 7);
}

CASE(dev_tty_without_a_terminal_returns_enxio) {
    pid_t pid = IN_CHILD({
        OK(setsid());
        EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(ioctl_of_an_unknown_request_returns_enotty) {
    make_file("f", "");
    PIPE(ends);
    EXPECT_ERRNO(ioctl(OK(open("f", O_RDONLY)), 0x5499, 0), ENOTTY);
    EXPECT_ERRNO(ioctl(ends[0], TIOCGWINSZ, map(PAGE_SIZE)), ENOTTY);
    EXPECT_ERRNO(ioctl(OK(open("/dev/null", O_RDWR)), TIOCGWINSZ, map(PAGE_SIZE)), ENOTTY);
    EXPECT_ERRNO(ioctl(-1, TIOCGWINSZ, 0), EBADF);
}

CASE(ioctl_fionbio_and_fioclex_set_flags) {
    PIPE(ends);
    int on = 1, off = 0;
    OK(ioctl(ends[0], FIONBIO, &on));
    EXPECT(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    OK(ioctl(ends[0], FIONBIO, &off));
    EXPECT(!(fcntl(ends[0], F_GETFL) & O_NONBLOCK));
    OK(ioctl(ends[0], FIOCLEX));
    EXPECT_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    OK(ioctl(ends[0], FIONCLEX));
    EXPECT_EQ(fcntl(ends[0], F_GETFD), 0);
    EXPECT_ERRNO(ioctl(ends[0], FIONBIO, bad_page()), EFAULT);
}

CASE(ioctl_fionread_of_a_file_counts_to_the_end) {
    make_file("f", "0123456789");
    int fd = OK(open("f", O_RDONLY)), count;
    OK(lseek(fd, 4, SEEK_SET));
    OK(ioctl(fd, FIONREAD, &count));
    EXPECT_EQ(count, 6);
}
