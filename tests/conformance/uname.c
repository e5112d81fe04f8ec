/* uname(2), sysinfo(2), getrandom(2), sethostname(2) */
#include "case.h"
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

CASE(uname_describes_linux_on_x86_64) {
    struct utsname name;
    OK(uname(&name));
    EXPECT_STR(name.sysname, "Linux");
    EXPECT_STR(name.machine, "x86_64");
    int major = 0, minor = 0;
    EXPECT_EQ(sscanf(name.release, "%d.%d", &major, &minor), 2);
    EXPECT(major >= 5);
    EXPECT_ERRNO(syscall(SYS_uname, bad_page()), EFAULT);
}

CASE(uname_names_a_32_bit_machine_to_who_wants_one) {
    struct utsname name;
    OK(personality(PER_LINUX32));
    OK(uname(&name));
    EXPECT_STR(name.machine, "i686");
    OK(personality(PER_LINUX));
    OK(uname(&name));
    EXPECT_STR(name.machine, "x86_64");
}

CASE(uname_agrees_with_proc) {
    struct utsname name;
    OK(uname(&name));
    char line[128];
    snprintf(line, sizeof line, "%s\n", name.release);
    EXPECT_STR(file_content("/proc/sys/kernel/osrelease"), line);
    snprintf(line, sizeof line, "%s\n", name.nodename);
    EXPECT_STR(file_content("/proc/sys/kernel/hostname"), line);
    snprintf(line, sizeof line, "Linux version %s ", name.release);
    EXPECT(strncmp(file_content("/proc/version"), line, strlen(line)) == 0);
}

CASE(sethostname_by_an_ordinary_user_returns_eperm) {
    NEEDS_ROOT();
    OK(syscall(SYS_setresuid, 1234, 1234, 1234));
    EXPECT_ERRNO(sethostname("x", 1), EPERM);
    EXPECT_ERRNO(setdomainname("x", 1), EPERM);
}

CASE(sysinfo_gives_plausible_numbers) {
    struct sysinfo info;
    OK(sysinfo(&info));
    EXPECT(info.uptime >= 0);
    EXPECT(info.mem_unit >= 1);
    EXPECT(info.totalram > 0 && info.freeram <= info.totalram);
    EXPECT(info.procs >= 1);
    EXPECT_ERRNO(syscall(SYS_sysinfo, bad_page()), EFAULT);
}

CASE(getrandom_fills_the_buffer_differently_each_time) {
    unsigned char one[64] = {0}, two[64] = {0};
    EXPECT_EQ(getrandom(one, sizeof one, 0), sizeof one);
    EXPECT_EQ(getrandom(two, sizeof two, GRND_NONBLOCK), sizeof two);
    EXPECT(memcmp(one, two, sizeof one) != 0);
    int zeroes = 0;
    for (int i = 0; i < 64; i++)
        zeroes += one[i] == 0;
    EXPECT(zeroes < 16);
}

CASE(getrandom_of_a_megabyte_is_complete) {
    unsigned char *memory = map(1 << 20);
    size_t got = 0;
    while (got < 1 << 20)
        got += OK(getrandom(memory + got, (1 << 20) - got, 0));
    int zeroes = 0;
    for (int i = 0; i < 1 << 20; i++)
        zeroes += memory[i] == 0;
    EXPECT(zeroes > 3500 && zeroes < 4700);
}

CASE(getrandom_with_bad_arguments_fails) {
    char buffer[8];
    EXPECT_ERRNO(getrandom((char *)(1UL << 63), 0, 0), EFAULT);
    EXPECT_ERRNO(getrandom(buffer, 8, 0x100), EINVAL);
    EXPECT_ERRNO(getrandom(buffer, 8, GRND_RANDOM | GRND_INSECURE), EINVAL);
    EXPECT_ERRNO(getrandom(bad_page(), 8, 0), EFAULT);
    EXPECT_EQ(getrandom(buffer, 0, 0), 0);
}

/* A call site that is used often may be served in another way than one that is not. */
static __attribute__((noinline)) long ask(void *buffer, size_t length, unsigned long flags) {
    return syscall(SYS_getrandom, buffer, length, flags);
}

CASE(getrandom_asked_often_fills_all_that_it_is_asked_for_and_no_more) {
    static const size_t lengths[] = {0, 1, 16, 255, 256, 257, 4096};
    static unsigned char buffer[4096 + 1];
    for (int i = 0; i < 200; i++) {
        size_t length = lengths[i % 7];
        memset(buffer, 0, sizeof buffer);
        EXPECT_EQ(ask(buffer, length, i % 2 ? GRND_NONBLOCK : 0), length);
        size_t zeroes = 0;
        for (size_t byte = 0; byte < length; byte++)
            zeroes += buffer[byte] == 0;
        EXPECT(zeroes <= length / 8 + 1);
        EXPECT_EQ(buffer[length], 0);
    }
}

CASE(getrandom_asked_often_refuses_what_it_refuses_once) {
    char buffer[8];
    for (int i = 0; i < 200; i++)
        EXPECT_EQ(ask(buffer, sizeof buffer, 0), sizeof buffer);
    for (int i = 0; i < 3; i++) {
        EXPECT_ERRNO(ask(buffer, 8, 0x100), EINVAL);
        EXPECT_ERRNO(ask(buffer, 8, GRND_RANDOM | GRND_INSECURE), EINVAL);
        EXPECT_EQ(ask(buffer, 8, GRND_RANDOM), 8);
        EXPECT_EQ(ask(buffer, 8, GRND_INSECURE), 8);
        EXPECT_EQ(ask(buffer, 8, 1ul << 32), 8); /* the flags are an int */
        EXPECT_EQ(ask(page_end() - 3, 256, 0), 3);
        EXPECT_ERRNO(ask(page_end(), 8, 0), EFAULT);
        EXPECT_ERRNO(ask((void *)"read only", 8, 0), EFAULT);
        EXPECT_ERRNO(ask((void *)0x8000000000000000, 8, 0), EFAULT);
    }
}
