/* io_setup(2), io_submit(2), io_getevents(2), io_pgetevents(2), io_cancel(2), io_destroy(2) */
#include "case.h"
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/eventfd.h>

static int setup(unsigned count, aio_context_t *context) { return (int)syscall(SYS_io_setup, count, context); }

static aio_context_t new_context(void) {
    aio_context_t context = 0;
    OK(setup(4, &context));
    return context;
}

static long submit(aio_context_t context, struct iocb *iocb) { return syscall(SYS_io_submit, context, 1L, &iocb); }

static long collect(aio_context_t context, long least, long most, struct io_event *events, struct timespec *timeout) {
    return syscall(SYS_io_getevents, context, least, most, events, timeout);
}

static struct iocb operation(int command, int fd, void *buffer, size_t length, off_t offset) {
    return (struct iocb){
        .aio_lio_opcode = command,
        .aio_fildes = fd,
        .aio_buf = (uintptr_t)buffer,
        .aio_nbytes = length,
        .aio_offset = offset,
    };
}

/* Submits an operation; what its result is. */
static long long result_of(aio_context_t context, struct iocb iocb) {
    struct io_event event;
    EXPECT_EQ(submit(context, &iocb), 1);
    EXPECT_EQ(collect(context, 1, 1, &event, NULL), 1);
    EXPECT_EQ(event.obj, (uintptr_t)&iocb);
    EXPECT_EQ(event.data, iocb.aio_data);
    EXPECT_EQ(event.res2, 0);
    return event.res;
}

static int file_with(const char *text) {
    int fd = OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0644));
    EXPECT_EQ(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

CASE(aio_writes_and_reads_at_offsets_and_leaves_the_position) {
    aio_context_t context = new_context();
    int fd = file_with("0123456789");
    EXPECT_EQ(result_of(context, operation(IOCB_CMD_PWRITE, fd, "abc", 3, 2)), 3);
    char text[16] = {0};
    EXPECT_EQ(result_of(context, operation(IOCB_CMD_PREAD, fd, text, sizeof text, 1)), 9);
    EXPECT_STR(text, "1abc56789");
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 10);
}

CASE(aio_vectors_are_scattered_and_gathered) {
    aio_context_t context = new_context();
    int fd = file_with("");
    struct iovec out[2] = {{"hello ", 6}, {"world", 5}};
    EXPECT_EQ(result_of(context, operation(IOCB_CMD_PWRITEV, fd, out, 2, 0)), 11);
    char first[3] = {0}, second[9] = {0};
    struct iovec in[2] = {{first, 2}, {second, 8}};
    EXPECT_EQ(result_of(context, operation(IOCB_CMD_PREADV, fd, in, 2, 0)), 10);
    EXPECT_STR(first, "he");
    EXPECT_STR(second, "llo worl");
}

CASE(aio_at_the_end_of_a_file_reads_nothing) {
    EXPECT_EQ(result_of(new_context(), operation(IOCB_CMD_PREAD, file_with("x"), (char[4]){0}, 4, 1)), 0);
}

CASE(aio_appends_to_a_file_that_is_open_for_that) {
    aio_context_t context = new_context();
    file_with("12345");
    int fd = OK(open("file", O_WRONLY | O_APPEND));
    EXPECT_EQ(result_of(context, operation(IOCB_CMD_PWRITE, fd, "6", 1, 0)), 1);
    struct stat status;
    OK(fstat(fd, &status));
    EXPECT_EQ(status.st_size, 6);
}

CASE(aio_syncs) {
    aio_context_t context = new_context();
    int fd = file_with("x");
    EXPECT_EQ(result_of(context, operation(IOCB_CMD_FSYNC, fd, NULL, 0, 0)), 0);
    EXPECT_EQ(result_of(context, operation(IOCB_CMD_FDSYNC, fd, NULL, 0, 0)), 0);
    struct iocb wrong = operation(IOCB_CMD_FSYNC, fd, NULL, 1, 0);
    EXPECT_ERRNO(submit(context, &wrong), EINVAL);
}

CASE(aio_result_of_a_failed_transfer_is_its_error) {
    aio_context_t context = new_context();
    int fd = file_with("text");
    char *none = bad_page();
    EXPECT_EQ(result_of(context, operation(IOCB_CMD_PREAD, fd, none, 4, 0)), -EFAULT);
    EXPECT_EQ(result_of(context, operation(IOCB_CMD_PWRITE, fd, none, 4, 0)), -EFAULT);
}

CASE(aio_what_is_wrong_from_the_start_is_refused) {
    aio_context_t context = new_context();
    int fd = file_with("text"), only_read = OK(open("file", O_RDONLY)), directory = OK(open(".", O_RDONLY));
    char buffer[4];
    struct iocb closed = operation(IOCB_CMD_PREAD, 99, buffer, 4, 0);
    EXPECT_ERRNO(submit(context, &closed), EBADF);
    struct iocb not_writable = operation(IOCB_CMD_PWRITE, only_read, buffer, 4, 0);
    EXPECT_ERRNO(submit(context, &not_writable), EBADF);
    struct iocb not_data = operation(IOCB_CMD_PREAD, directory, buffer, 4, 0);
    EXPECT_ERRNO(submit(context, &not_data), EINVAL);
    struct iocb before = operation(IOCB_CMD_PREAD, fd, buffer, 4, -1);
    EXPECT_ERRNO(submit(context, &before), EINVAL);
    struct iocb unknown = operation(99, fd, buffer, 4, 0);
    EXPECT_ERRNO(submit(context, &unknown), EINVAL);
    struct iocb too_long = operation(IOCB_CMD_PREAD, fd, buffer, SIZE_MAX, 0);
    EXPECT_ERRNO(submit(context, &too_long), EINVAL);
    struct iocb reserved = operation(IOCB_CMD_PREAD, fd, buffer, 4, 0);
    reserved.aio_reserved2 = 1;
    EXPECT_ERRNO(submit(context, &reserved), EINVAL);
    struct iocb flags = operation(IOCB_CMD_PREAD, fd, buffer, 4, 0);
    flags.aio_rw_flags = 1 << 20;
    EXPECT_ERRNO(submit(context, &flags), EOPNOTSUPP);
    struct iocb kernels = operation(IOCB_CMD_PREAD, fd, (void *)0xffff800000000000, 4, 0);
    EXPECT_ERRNO(submit(context, &kernels), EFAULT);
    EXPECT_ERRNO(submit(context, (struct iocb *)8), EFAULT);
    EXPECT_EQ(collect(context, 0, 1, &(struct io_event){0}, NULL), 0);
}

CASE(aio_submits_up_to_the_first_that_is_wrong) {
    aio_context_t context = new_context();
    int fd = file_with("text");
    char buffer[4];
    struct iocb good = operation(IOCB_CMD_PREAD, fd, buffer, 4, 0), bad = operation(IOCB_CMD_PREAD, 99, buffer, 4, 0);
    struct iocb *all[3] = {&good, &bad, &good};
    EXPECT_EQ(syscall(SYS_io_submit, context, 3L, all), 1);
    EXPECT_EQ(syscall(SYS_io_submit, context, 0L, all), 0);
    EXPECT_ERRNO(syscall(SYS_io_submit, context, -1L, all), EINVAL);
    struct io_event events[4];
    EXPECT_EQ(collect(context, 0, 4, events, NULL), 1);
}

CASE(aio_marks_what_it_has_taken) {
    aio_context_t context = new_context();
    char byte;
    struct iocb iocb = operation(IOCB_CMD_PREAD, file_with("x"), &byte, 1, 0);
    iocb.aio_key = 77;
    EXPECT_EQ(submit(context, &iocb), 1);
    EXPECT_EQ(iocb.aio_key, 0);
}

CASE(aio_counts_in_an_eventfd) {
    aio_context_t context = new_context();
    char byte;
    int fd = file_with("x"), counter = OK(eventfd(0, EFD_NONBLOCK));
    struct iocb iocb = operation(IOCB_CMD_PREAD, fd, &byte, 1, 0);
    iocb.aio_flags = IOCB_FLAG_RESFD;
    iocb.aio_resfd = counter;
    EXPECT_EQ(submit(context, &iocb), 1);
    EXPECT_EQ(submit(context, &iocb), 1);
    struct pollfd poll_for = {.fd = counter, .events = POLLIN};
    EXPECT_EQ(poll(&poll_for, 1, 5000), 1);
    struct io_event events[2];
    EXPECT_EQ(collect(context, 2, 2, events, NULL), 2);
    uint64_t count;
    EXPECT_EQ(read(counter, &count, sizeof count), sizeof count);
    EXPECT_EQ(count, 2);
    iocb.aio_resfd = fd;
    EXPECT_ERRNO(submit(context, &iocb), EINVAL);
    iocb.aio_resfd = 99;
    EXPECT_ERRNO(submit(context, &iocb), EBADF);
}

CASE(aio_reads_what_a_pipe_has) {
    int ends[2];
    OK(pipe(ends));
    EXPECT_EQ(write(ends[1], "hello", 5), 5);
    char text[8] = {0};
    EXPECT_EQ(result_of(new_context(), operation(IOCB_CMD_PREAD, ends[0], text, 8, 0)), 5);
    EXPECT_STR(text, "hello");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    EXPECT_EQ(result_of(new_context(), operation(IOCB_CMD_PREAD, ends[0], text, 8, 0)), -EAGAIN);
}

CASE(io_getevents_waits_no_longer_than_it_shall) {
    aio_context_t context = new_context();
    struct io_event event;
    EXPECT_EQ(collect(context, 0, 1, &event, NULL), 0);
    EXPECT_EQ(collect(context, 1, 1, &event, &(struct timespec){0}), 0);
    EXPECT_EQ(collect(context, 1, 1, &event, &(struct timespec){.tv_nsec = 1000000}), 0);
}

CASE(io_getevents_returns_what_there_is_when_time_is_over) {
    aio_context_t context = new_context();
    char byte;
    struct iocb iocb = operation(IOCB_CMD_PREAD, file_with("x"), &byte, 1, 0);
    EXPECT_EQ(submit(context, &iocb), 1);
    struct io_event events[4];
    EXPECT_EQ(collect(context, 3, 4, events, &(struct timespec){.tv_nsec = 1000000}), 1);
}

CASE(io_getevents_with_wrong_arguments_is_refused) {
    aio_context_t context = new_context();
    struct io_event events[4];
    EXPECT_ERRNO(collect(context, 2, 1, events, NULL), EINVAL);
    EXPECT_ERRNO(collect(context, -1, 1, events, NULL), EINVAL);
    EXPECT_ERRNO(collect(context + PAGE_SIZE * 1024, 0, 1, events, NULL), EINVAL);
    EXPECT_ERRNO(collect(context, 0, 1, events, (void *)8), EFAULT);
}

CASE(io_getevents_keeps_what_it_cannot_deliver) {
    aio_context_t context = new_context();
    char byte;
    struct iocb iocb = operation(IOCB_CMD_PREAD, file_with("x"), &byte, 1, 0);
    EXPECT_EQ(submit(context, &iocb), 1);
    EXPECT_ERRNO(collect(context, 1, 1, (void *)8, NULL), EFAULT);
    struct io_event event;
    EXPECT_EQ(collect(context, 1, 1, &event, NULL), 1);
}

static void nothing(int number) { (void)number; }

static void interrupt_soon(void) {
    OK(sigaction(SIGALRM, &(struct sigaction){.sa_handler = nothing, .sa_flags = SA_RESTART}, NULL));
    OK(setitimer(ITIMER_REAL, &(struct itimerval){.it_value.tv_usec = 20000}, NULL));
}

CASE(io_getevents_is_interrupted_by_a_signal) {
    aio_context_t context = new_context();
    interrupt_soon();
    EXPECT_ERRNO(collect(context, 1, 1, &(struct io_event){0}, NULL), EINTR);
}

CASE(io_getevents_with_a_negative_timeout_waits_for_a_signal) {
    aio_context_t context = new_context();
    interrupt_soon();
    EXPECT_ERRNO(collect(context, 1, 1, &(struct io_event){0}, &(struct timespec){.tv_sec = -1}), EINTR);
}

CASE(io_pgetevents_waits_with_another_signal_mask) {
    aio_context_t context = new_context();
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    OK(sigprocmask(SIG_BLOCK, &blocked, NULL));
    interrupt_soon();
    struct {
        const sigset_t *mask;
        size_t size;
    } set = {&none, 8}, wrong = {&none, 4};
    struct io_event event;
    EXPECT_ERRNO(syscall(SYS_io_pgetevents, context, 1L, 1L, &event, NULL, &wrong), EINVAL);
    EXPECT_ERRNO(syscall(SYS_io_pgetevents, context, 1L, 1L, &event, NULL, &set), EINTR);
    EXPECT_EQ(syscall(SYS_io_pgetevents, context, 0L, 1L, &event, NULL, NULL), 0);
}

struct waiter {
    aio_context_t context;
    long result;
    int error;
    struct io_event events[2];
};

static void *wait_for_two(void *argument) {
    struct waiter *waiter = argument;
    waiter->result = collect(waiter->context, 2, 2, waiter->events, NULL);
    waiter->error = errno;
    return NULL;
}

CASE(io_getevents_waits_for_what_another_thread_submits) {
    struct waiter waiter = {.context = new_context()};
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, wait_for_two, &waiter), 0);
    char byte;
    struct iocb iocb = operation(IOCB_CMD_PREAD, file_with("x"), &byte, 1, 0);
    for (iocb.aio_data = 1; iocb.aio_data <= 2; iocb.aio_data++)
        EXPECT_EQ(submit(waiter.context, &iocb), 1);
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(waiter.result, 2);
    EXPECT_EQ(waiter.events[0].data, 1);
    EXPECT_EQ(waiter.events[1].data, 2);
}

CASE(io_destroy_wakes_who_waits) {
    struct waiter waiter = {.context = new_context()};
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, wait_for_two, &waiter), 0);
    OK(syscall(SYS_io_destroy, waiter.context));
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(waiter.result, -1);
    EXPECT_EQ(waiter.error, EINVAL);
}

CASE(io_destroy_leaves_no_context) {
    aio_context_t context = new_context();
    OK(syscall(SYS_io_destroy, context));
    EXPECT_ERRNO(syscall(SYS_io_destroy, context), EINVAL);
    EXPECT_ERRNO(syscall(SYS_io_submit, context, 0L, NULL), EINVAL);
    EXPECT_ERRNO(collect(context, 0, 1, &(struct io_event){0}, NULL), EINVAL);
}

CASE(io_setup_with_wrong_arguments_is_refused) {
    aio_context_t context = 1;
    EXPECT_ERRNO(setup(1, &context), EINVAL);
    context = 0;
    EXPECT_ERRNO(setup(0, &context), EINVAL);
    EXPECT_ERRNO(setup(UINT_MAX, &context), EINVAL);
    EXPECT_ERRNO(setup(1, (void *)8), EFAULT);
    EXPECT_EQ(context, 0);
}

CASE(io_setup_of_more_than_there_may_be_returns_eagain) {
    aio_context_t context = 0;
    EXPECT_ERRNO(setup(4000000, &context), EAGAIN);
}

CASE(io_cancel_finds_nothing_that_is_over) {
    aio_context_t context = new_context();
    char byte;
    struct iocb iocb = operation(IOCB_CMD_PREAD, file_with("x"), &byte, 1, 0);
    EXPECT_EQ(submit(context, &iocb), 1);
    struct io_event event;
    EXPECT_ERRNO(syscall(SYS_io_cancel, context, &iocb, &event), EINVAL);
    EXPECT_ERRNO(syscall(SYS_io_cancel, context, NULL, &event), EFAULT);
}

CASE(aio_contexts_are_not_inherited) {
    aio_context_t context = new_context();
    pid_t child = OK(fork());
    if (child == 0) {
        EXPECT_ERRNO(collect(context, 0, 1, &(struct io_event){0}, NULL), EINVAL);
        _exit(0);
    }
    EXPECT_EXIT(child, 0);
    EXPECT_EQ(collect(context, 0, 1, &(struct io_event){0}, NULL), 0);
}
