/* pty(7), ioctl_tty(2), termios(3), and the job control of credentials(7) */
#include "case.h"
#include <sys/ioctl.h>
#include <termios.h>

struct terminal {
    int master, slave;
    char name[64];
};

static struct terminal open_terminal(void) {
    struct terminal terminal;
    int number, unlock = 0;
    terminal.master = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
    OK(ioctl(terminal.master, TIOCSPTLCK, &unlock));
    OK(ioctl(terminal.master, TIOCGPTN, &number));
    snprintf(terminal.name, sizeof terminal.name, "/dev/pts/%d", number);
    terminal.slave = OK(open(terminal.name, O_RDWR | O_NOCTTY));
    return terminal;
}

/* Changes local, input and output flags: clears `off`, then sets `on`. */
static void change(int fd, tcflag_t local_off, tcflag_t output_off) {
    struct termios settings;
    OK(tcgetattr(fd, &settings));
    settings.c_lflag &= ~local_off;
    settings.c_oflag &= ~output_off;
    OK(tcsetattr(fd, TCSANOW, &settings));
}

static void feed(int fd, const char *text) { EXPECT_EQ(write(fd, text, strlen(text)), strlen(text)); }

/* One read of `fd`, as a string. */
static const char *take(int fd) {
    static char buffer[4096];
    ssize_t count = OK(read(fd, buffer, sizeof buffer - 1));
    buffer[count] = 0;
    return buffer;
}

/* What comes out of the master, in as many reads as it takes, is `text`. */
static void expect_output(int fd, const char *text) {
    char buffer[256] = {0};
    for (size_t length = 0; length < strlen(text);)
        length += OK(read(fd, buffer + length, strlen(text) - length));
    EXPECT_STR(buffer, text);
}

static bool readable(int fd) {
    struct pollfd poller = {fd, POLLIN, 0};
    return OK(poll(&poller, 1, 0)) == 1 && poller.revents & POLLIN;
}

CASE(pty_carries_lines_to_the_slave_and_output_to_the_master) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, 0);
    feed(t.master, "hello\n");
    EXPECT_STR(take(t.slave), "hello\n");
    feed(t.slave, "world\n");
    expect_output(t.master, "world\r\n");
}

CASE(pty_slave_is_locked_until_unlocked) {
    int master = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY)), number;
    OK(ioctl(master, TIOCGPTN, &number));
    char name[64];
    snprintf(name, sizeof name, "/dev/pts/%d", number);
    EXPECT_ERRNO(open(name, O_RDWR | O_NOCTTY), EIO);
}

CASE(pty_echoes_input) {
    struct terminal t = open_terminal();
    feed(t.master, "ab\n");
    expect_output(t.master, "ab\r\n");
}

CASE(pty_echoes_control_characters_with_a_caret) {
    struct terminal t = open_terminal();
    feed(t.master, "\001\n");
    expect_output(t.master, "^A\r\n");
}

CASE(pty_canonical_read_waits_for_the_line) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, 0);
    feed(t.master, "half");
    EXPECT(!readable(t.slave));
    feed(t.master, " line\nnext");
    EXPECT_STR(take(t.slave), "half line\n");
    EXPECT(!readable(t.slave));
}

CASE(pty_canonical_read_takes_one_line_at_a_time) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, 0);
    feed(t.master, "one\ntwo\n");
    EXPECT_STR(take(t.slave), "one\n");
    char three[3] = {0};
    EXPECT_EQ(read(t.slave, three, 2), 2);
    EXPECT_STR(three, "tw");
    EXPECT_STR(take(t.slave), "o\n");
}

CASE(pty_erase_kill_and_word_erase_edit_the_line) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, 0);
    feed(t.master, "abx\177c\n");
    EXPECT_STR(take(t.slave), "abc\n");
    feed(t.master, "gone\025kept\n");
    EXPECT_STR(take(t.slave), "kept\n");
    feed(t.master, "one two\027three\n");
    EXPECT_STR(take(t.slave), "one three\n");
}

CASE(pty_erase_echoes_backspaces) {
    struct terminal t = open_terminal();
    feed(t.master, "ab\177\n");
    expect_output(t.master, "ab\b \b\r\n");
}

CASE(pty_end_of_file_character_ends_the_read) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, 0);
    feed(t.master, "ab\004");
    EXPECT_STR(take(t.slave), "ab");
    feed(t.master, "\004");
    EXPECT_STR(take(t.slave), "");
}

CASE(pty_carriage_return_becomes_newline) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, 0);
    feed(t.master, "x\r");
    EXPECT_STR(take(t.slave), "x\n");
}

CASE(pty_literal_next_quotes_a_character) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, 0);
    feed(t.master, "a\026\003b\n");
    EXPECT_STR(take(t.slave), "a\003b\n");
}

CASE(pty_raw_mode_delivers_bytes_at_once) {
    struct terminal t = open_terminal();
    struct termios settings;
    OK(tcgetattr(t.slave, &settings));
    cfmakeraw(&settings);
    OK(tcsetattr(t.slave, TCSANOW, &settings));
    feed(t.master, "a\003\r");
    EXPECT_STR(take(t.slave), "a\003\r");
    feed(t.slave, "x\n");
    expect_output(t.master, "x\n");
}

CASE(pty_vmin_waits_for_that_many_bytes) {
    struct terminal t = open_terminal();
    struct termios settings;
    OK(tcgetattr(t.slave, &settings));
    cfmakeraw(&settings);
    settings.c_cc[VMIN] = 3;
    OK(tcsetattr(t.slave, TCSANOW, &settings));
    feed(t.master, "ab");
    EXPECT(!readable(t.slave));
    pid_t pid = IN_CHILD({ feed(t.master, "c"); });
    EXPECT_STR(take(t.slave), "abc");
    EXPECT_EXIT(pid, 0);
}

CASE(pty_vmin_zero_returns_at_once_or_after_vtime) {
    struct terminal t = open_terminal();
    struct termios settings;
    OK(tcgetattr(t.slave, &settings));
    cfmakeraw(&settings);
    settings.c_cc[VMIN] = 0;
    settings.c_cc[VTIME] = 0;
    OK(tcsetattr(t.slave, TCSANOW, &settings));
    EXPECT_STR(take(t.slave), "");
    settings.c_cc[VTIME] = 1;
    OK(tcsetattr(t.slave, TCSANOW, &settings));
    int64_t before = now_ns(CLOCK_MONOTONIC);
    EXPECT_STR(take(t.slave), "");
    EXPECT(now_ns(CLOCK_MONOTONIC) - before >= 90000000);
}

CASE(pty_settings_start_as_linux_has_them) {
    struct terminal t = open_terminal();
    struct termios settings;
    OK(tcgetattr(t.slave, &settings));
    EXPECT_EQ(settings.c_iflag, ICRNL | IXON);
    EXPECT_EQ(settings.c_oflag, OPOST | ONLCR);
    EXPECT_EQ(settings.c_cflag & (CSIZE | CREAD), CS8 | CREAD);
    EXPECT_EQ(settings.c_lflag & 0xffff, (ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN) & 0xffff);
    EXPECT_EQ(settings.c_cc[VINTR], 3);
    EXPECT_EQ(settings.c_cc[VEOF], 4);
    EXPECT_EQ(settings.c_cc[VERASE], 0177);
    EXPECT_EQ(cfgetospeed(&settings), B38400);
}

CASE(pty_settings_are_shared_by_both_ends) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, OPOST);
    struct termios settings;
    OK(tcgetattr(t.master, &settings));
    EXPECT(!(settings.c_lflag & ECHO) && !(settings.c_oflag & OPOST));
}

CASE(pty_window_size_is_kept_and_announced) {
    struct terminal t = open_terminal();
    struct winsize size = {40, 100, 0, 0}, got;
    OK(ioctl(t.master, TIOCSWINSZ, &size));
    OK(ioctl(t.slave, TIOCGWINSZ, &got));
    EXPECT(got.ws_row == 40 && got.ws_col == 100);
    PIPE(ready);
    pid_t pid = IN_CHILD({
        OK(setsid());
        OK(ioctl(t.slave, TIOCSCTTY, 0));
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGWINCH);
        OK(sigprocmask(SIG_BLOCK, &set, NULL));
        announce(ready[1]);
        EXPECT_EQ(sigwaitinfo(&set, NULL), SIGWINCH);
    });
    await(ready[0]);
    size.ws_row = 41;
    OK(ioctl(t.master, TIOCSWINSZ, &size));
    EXPECT_EXIT(pid, 0);
}

CASE(pty_closed_master_hangs_up) {
    struct terminal t = open_terminal();
    OK(close(t.master));
    char byte;
    EXPECT_EQ(read(t.slave, &byte, 1), 0);
    EXPECT_ERRNO(write(t.slave, "x", 1), EIO);
    struct pollfd poller = {t.slave, POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT(poller.revents & POLLHUP);
}

CASE(pty_closed_slave_makes_the_master_return_eio) {
    struct terminal t = open_terminal();
    feed(t.slave, "last\n");
    OK(close(t.slave));
    expect_output(t.master, "last\r\n");
    char byte;
    EXPECT_ERRNO(read(t.master, &byte, 1), EIO);
    struct pollfd poller = {t.master, POLLIN, 0};
    EXPECT_EQ(poll(&poller, 1, 0), 1);
    EXPECT(poller.revents & POLLHUP);
    t.slave = OK(open(t.name, O_RDWR | O_NOCTTY));
    feed(t.slave, "again\n");
    expect_output(t.master, "again\r\n");
}

CASE(pty_flush_discards) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, 0);
    feed(t.master, "discard\n");
    while (!readable(t.slave))
        sched_yield();
    OK(tcflush(t.slave, TCIFLUSH));
    EXPECT(!readable(t.slave));
}

CASE(pty_fionread_and_outq_count) {
    struct terminal t = open_terminal();
    change(t.slave, ECHO, 0);
    feed(t.master, "12345\n");
    int count;
    while (!readable(t.slave))
        sched_yield();
    OK(ioctl(t.slave, FIONREAD, &count));
    EXPECT_EQ(count, 6);
}

CASE(pty_read_is_interrupted_by_a_signal) {
    struct terminal t = open_terminal();
    char byte;
    EXPECT_INTERRUPTED(read(t.slave, &byte, 1));
}

CASE(isatty_is_true_for_terminals_only) {
    struct terminal t = open_terminal();
    EXPECT(isatty(t.slave) && isatty(t.master));
    PIPE(ends);
    EXPECT(!isatty(ends[0]));
    EXPECT_EQ(errno, ENOTTY);
}

CASE(pty_slave_has_its_name_and_number) {
    struct terminal t = open_terminal();
    char link[64], target[64] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", t.slave);
    OK(readlink(link, target, 63));
    EXPECT_STR(target, t.name);
    struct stat status;
    OK(fstat(t.slave, &status));
    EXPECT(S_ISCHR(status.st_mode));
    EXPECT_EQ(status.st_rdev >> 8, 136);
}

/* Runs the statements in a child that leads a session with `t.slave` as its terminal. */
#define IN_SESSION(t, ...)                                                                                             \
    IN_CHILD({                                                                                                         \
        OK(setsid());                                                                                                  \
        OK(ioctl(t.slave, TIOCSCTTY, 0));                                                                              \
        __VA_ARGS__;                                                                                                   \
    })

CASE(terminal_is_acquired_by_tiocsctty) {
    struct terminal t = open_terminal();
    pid_t pid = IN_SESSION(t, {
        int fd = OK(open("/dev/tty", O_RDWR));
        feed(fd, "x");
        EXPECT_EQ(tcgetsid(t.slave), getpid());
        EXPECT_EQ(tcgetpgrp(t.slave), getpgrp());
    });
    EXPECT_EXIT(pid, 0);
    expect_output(t.master, "x");
}

CASE(terminal_is_acquired_by_open_without_noctty) {
    struct terminal t = open_terminal();
    pid_t pid = IN_CHILD({
        OK(setsid());
        int fd = OK(open(t.name, O_RDWR));
        EXPECT_EQ(tcgetsid(fd), getpid());
    });
    EXPECT_EXIT(pid, 0);
}

CASE(terminal_of_nobody_has_no_group) {
    struct terminal t = open_terminal();
    pid_t group;
    EXPECT_ERRNO(ioctl(t.slave, TIOCGPGRP, &group), ENOTTY);
}

static pid_t signalled_by(struct terminal *t, const char *character) {
    PIPE(ready);
    pid_t pid = IN_CHILD({
        OK(setsid());
        OK(ioctl(t->slave, TIOCSCTTY, 0));
        announce(ready[1]);
        sleep_forever();
    });
    await(ready[0]);
    feed(t->master, character);
    return pid;
}

CASE(terminal_interrupt_character_raises_sigint) {
    struct terminal t = open_terminal();
    pid_t pid = signalled_by(&t, "\003");
    EXPECT_KILLED(pid, SIGINT);
    expect_output(t.master, "^C");
}

CASE(terminal_quit_character_raises_sigquit) {
    struct terminal t = open_terminal();
    struct rlimit limit = {0, 0};
    OK(setrlimit(RLIMIT_CORE, &limit));
    EXPECT_KILLED(signalled_by(&t, "\034"), SIGQUIT);
}

CASE(terminal_interrupt_goes_to_the_foreground_group_only) {
    struct terminal t = open_terminal();
    PIPE(ready);
    pid_t pid = IN_SESSION(t, {
        handle(SIGINT, count_signal, 0);
        handle(SIGTTOU, SIG_IGN, 0);
        pid_t job = IN_CHILD({
            handle(SIGINT, SIG_DFL, 0);
            announce(ready[1]);
            sleep_forever();
        });
        await(ready[0]);
        OK(setpgid(job, job));
        OK(tcsetpgrp(t.slave, job));
        EXPECT_EQ(tcgetpgrp(t.slave), job);
        feed(t.master, "\003");
        EXPECT_KILLED(job, SIGINT);
        EXPECT_EQ(signals_seen, 0);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(terminal_suspend_character_stops_the_foreground_group) {
    struct terminal t = open_terminal();
    pid_t pid = IN_SESSION(t, {
        handle(SIGTTOU, SIG_IGN, 0);
        pid_t job = IN_CHILD({ sleep_forever(); });
        OK(setpgid(job, job));
        OK(tcsetpgrp(t.slave, job));
        feed(t.master, "\032");
        int status;
        EXPECT_EQ(waitpid(job, &status, WUNTRACED), job);
        EXPECT(WIFSTOPPED(status));
        EXPECT_EQ(WSTOPSIG(status), SIGTSTP);
        OK(kill(job, SIGKILL));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(background_read_stops_with_sigttin) {
    struct terminal t = open_terminal();
    pid_t pid = IN_SESSION(t, {
        pid_t job = IN_CHILD({
            OK(setpgid(0, 0));
            char byte;
            read(t.slave, &byte, 1);
        });
        int status;
        EXPECT_EQ(waitpid(job, &status, WUNTRACED), job);
        EXPECT(WIFSTOPPED(status));
        EXPECT_EQ(WSTOPSIG(status), SIGTTIN);
        OK(kill(job, SIGKILL));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(background_read_with_sigttin_ignored_returns_eio) {
    struct terminal t = open_terminal();
    pid_t pid = IN_SESSION(t, {
        pid_t job = IN_CHILD({
            OK(setpgid(0, 0));
            handle(SIGTTIN, SIG_IGN, 0);
            char byte;
            EXPECT_ERRNO(read(t.slave, &byte, 1), EIO);
        });
        EXPECT_EXIT(job, 0);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(background_write_stops_with_sigttou_only_under_tostop) {
    struct terminal t = open_terminal();
    pid_t pid = IN_SESSION(t, {
        pid_t writer = IN_CHILD({
            OK(setpgid(0, 0));
            feed(t.slave, "x");
        });
        EXPECT_EXIT(writer, 0);
        struct termios settings;
        OK(tcgetattr(t.slave, &settings));
        settings.c_lflag |= TOSTOP;
        OK(tcsetattr(t.slave, TCSANOW, &settings));
        pid_t job = IN_CHILD({
            OK(setpgid(0, 0));
            feed(t.slave, "y");
        });
        int status;
        EXPECT_EQ(waitpid(job, &status, WUNTRACED), job);
        EXPECT(WIFSTOPPED(status));
        EXPECT_EQ(WSTOPSIG(status), SIGTTOU);
        OK(kill(job, SIGKILL));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(background_tcsetpgrp_stops_with_sigttou) {
    struct terminal t = open_terminal();
    pid_t pid = IN_SESSION(t, {
        pid_t job = IN_CHILD({
            OK(setpgid(0, 0));
            tcsetpgrp(t.slave, getpid());
        });
        int status;
        EXPECT_EQ(waitpid(job, &status, WUNTRACED), job);
        EXPECT(WIFSTOPPED(status));
        EXPECT_EQ(WSTOPSIG(status), SIGTTOU);
        OK(kill(job, SIGKILL));
    });
    EXPECT_EXIT(pid, 0);
}

CASE(background_read_of_an_orphaned_group_returns_eio) {
    struct terminal t = open_terminal();
    PIPE(done);
    pid_t pid = IN_SESSION(t, {
        PIPE(hold);
        pid_t middle = IN_CHILD({
            pid_t orphan = OK(fork());
            if (orphan == 0) {
                OK(setpgid(0, 0));
                close(hold[1]);
                char byte;
                EXPECT_EQ(read(hold[0], &byte, 1), 0);
                pid_t own = getpid();
                EXPECT_EQ(getpgrp(), own);
                EXPECT_ERRNO(read(t.slave, &byte, 1), EIO);
                announce(done[1]);
                _exit(0);
            }
        });
        EXPECT_EXIT(middle, 0);
        OK(close(hold[1]));
        await(done[0]);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(hangup_of_the_session_leaders_exit_reaches_the_foreground_group) {
    struct terminal t = open_terminal();
    PIPE(ready);
    PIPE(done);
    pid_t pid = IN_SESSION(t, {
        pid_t member = OK(fork());
        if (member == 0) {
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGHUP);
            OK(sigprocmask(SIG_BLOCK, &set, NULL));
            announce(ready[1]);
            EXPECT_EQ(sigwaitinfo(&set, NULL), SIGHUP);
            announce(done[1]);
            _exit(0);
        }
        await(ready[0]);
    });
    EXPECT_EXIT(pid, 0);
    await(done[0]);
}

CASE(terminal_can_be_given_up) {
    struct terminal t = open_terminal();
    pid_t pid = IN_SESSION(t, {
        handle(SIGHUP, SIG_IGN, 0);
        handle(SIGCONT, SIG_IGN, 0);
        OK(ioctl(t.slave, TIOCNOTTY));
        EXPECT_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(terminal_of_another_session_cannot_be_taken) {
    struct terminal t = open_terminal();
    PIPE(ready);
    PIPE(hold);
    pid_t owner = IN_SESSION(t, {
        announce(ready[1]);
        await(hold[0]);
    });
    await(ready[0]);
    pid_t pid = IN_CHILD({
        OK(setsid());
        EXPECT_ERRNO(ioctl(t.slave, TIOCSCTTY, 0), EPERM);
    });
    EXPECT_EXIT(pid, 0);
    announce(hold[1]);
    EXPECT_EXIT(owner, 0);
}

CASE(pty_ioctls_with_bad_pointers_return_efault) {
    struct terminal t = open_terminal();
    EXPECT_ERRNO(ioctl(t.slave, TCGETS, bad_page()), EFAULT);
    EXPECT_ERRNO(ioctl(t.slave, TCSETS, bad_page()), EFAULT);
    EXPECT_ERRNO(ioctl(t.slave, TIOCGWINSZ, bad_page()), EFAULT);
    EXPECT_ERRNO(ioctl(t.slave, TIOCSWINSZ, bad_page()), EFAULT);
}

CASE(pty_packet_mode_marks_data) {
    struct terminal t = open_terminal();
    int on = 1;
    OK(ioctl(t.master, TIOCPKT, &on));
    feed(t.slave, "x");
    char buffer[8];
    EXPECT_EQ(read(t.master, buffer, 8), 2);
    EXPECT_EQ(buffer[0], TIOCPKT_DATA);
    EXPECT_EQ(buffer[1], 'x');
}

CASE(pty_settings_in_the_form_of_system_v_are_the_low_halves) {
    struct terminal terminal = open_terminal();
    struct termios all;
    OK(tcgetattr(terminal.slave, &all));
    struct termio some;
    OK(ioctl(terminal.slave, TCGETA, &some));
    EXPECT_EQ(some.c_lflag, all.c_lflag & 0xffff);
    EXPECT_EQ(some.c_cc[VINTR], all.c_cc[VINTR]);
    some.c_lflag &= ~ECHO;
    some.c_cc[VINTR] = 'x';
    OK(ioctl(terminal.slave, TCSETA, &some));
    struct termios after;
    OK(tcgetattr(terminal.slave, &after));
    EXPECT_EQ(after.c_lflag, all.c_lflag & ~ECHO);
    EXPECT_EQ(after.c_cc[VINTR], 'x');
    EXPECT_EQ(after.c_cc[VSUSP], all.c_cc[VSUSP]);
    EXPECT_ERRNO(ioctl(terminal.slave, TCSETAF, NULL), EFAULT);
}

CASE(pty_sends_the_signals_of_keys_only) {
    struct terminal terminal = open_terminal();
    EXPECT_ERRNO(ioctl(terminal.master, TIOCSIG, SIGKILL), EINVAL);
    EXPECT_ERRNO(ioctl(terminal.master, TIOCSIG, SIGHUP), EINVAL);
    EXPECT_ERRNO(ioctl(terminal.master, TIOCSIG, 0), EINVAL);
    OK(ioctl(terminal.master, TIOCSIG, SIGINT));
}

CASE(a_group_of_zombies_can_be_put_into_the_foreground) {
    struct terminal t = open_terminal();
    pid_t pid = IN_SESSION(t, {
        handle(SIGTTOU, SIG_IGN, 0);
        pid_t job = IN_CHILD({ OK(setpgid(0, 0)); });
        siginfo_t info;
        OK(waitid(P_PID, job, &info, WEXITED | WNOWAIT));
        OK(tcsetpgrp(t.slave, job));
        EXPECT_EQ(tcgetpgrp(t.slave), job);
        EXPECT_EXIT(job, 0);
        EXPECT_ERRNO(tcsetpgrp(t.slave, job), ESRCH);
    });
    EXPECT_EXIT(pid, 0);
}

CASE(a_process_stands_for_a_group_of_its_number_in_the_foreground) {
    struct terminal t = open_terminal();
    pid_t pid = IN_SESSION(t, {
        handle(SIGTTOU, SIG_IGN, 0);
        pid_t member = IN_CHILD({ sleep_forever(); });
        OK(tcsetpgrp(t.slave, member));
        OK(kill(member, SIGKILL));
        EXPECT_KILLED(member, SIGKILL);
    });
    EXPECT_EXIT(pid, 0);
}
