/* msgget(2), msgsnd(2), msgrcv(2), msgctl(2) */
#include "case.h"
#include <sys/msg.h>

struct text {
    long type;
    char text[64];
};

static int new_queue(void) { return OK(msgget(IPC_PRIVATE, 0600)); }

static void put(int id, long type, const char *text) {
    struct text message = {type, ""};
    strcpy(message.text, text);
    OK(msgsnd(id, &message, strlen(text) + 1, 0));
}

static const char *take(int id, long type, int flags) {
    static struct text message;
    memset(&message, 0, sizeof message);
    OK(msgrcv(id, &message, sizeof message.text, type, flags));
    return message.text;
}

CASE(msgrcv_selects_by_type) {
    int id = new_queue();
    put(id, 3, "three"), put(id, 1, "one"), put(id, 2, "two"), put(id, 1, "another");
    EXPECT_STR(take(id, -2, 0), "one");
    EXPECT_STR(take(id, 2, 0), "two");
    EXPECT_STR(take(id, 3, MSG_EXCEPT), "another");
    EXPECT_STR(take(id, 0, 0), "three");
    struct text message;
    EXPECT_ERRNO(msgrcv(id, &message, 10, 0, IPC_NOWAIT), ENOMSG);
    OK(msgctl(id, IPC_RMID, NULL));
}

CASE(msgrcv_refuses_or_cuts_long_messages) {
    int id = new_queue();
    put(id, 1, "a long message");
    struct text message = {0, ""};
    EXPECT_ERRNO(msgrcv(id, &message, 6, 0, 0), E2BIG);
    EXPECT_EQ(msgrcv(id, &message, 6, 0, MSG_NOERROR), 6);
    EXPECT_EQ(memcmp(message.text, "a long", 7), 0);
    OK(msgctl(id, IPC_RMID, NULL));
}

CASE(msgsnd_checks_its_arguments) {
    int id = new_queue();
    static struct {
        long type;
        char text[10000];
    } message = {0, ""};
    EXPECT_ERRNO(msgsnd(id, &message, 1, 0), EINVAL);
    message.type = 1;
    EXPECT_ERRNO(msgsnd(id, &message, 9000, 0), EINVAL);
    EXPECT_ERRNO(msgsnd(id, &message, -1, 0), EINVAL);
    EXPECT_ERRNO(msgsnd(-1, &message, 1, 0), EINVAL);
    EXPECT_ERRNO(msgsnd(id, bad_page(), 1, 0), EFAULT);
    EXPECT_EQ(msgsnd(id, &message, 0, 0), 0);
    OK(msgctl(id, IPC_RMID, NULL));
    EXPECT_ERRNO(msgsnd(id, &message, 1, 0), EINVAL);
}

CASE(msgsnd_to_a_full_queue_waits) {
    int id = new_queue();
    static struct {
        long type;
        char text[8192];
    } message = {1, ""};
    EXPECT_EQ(msgsnd(id, &message, 8192, IPC_NOWAIT), 0);
    EXPECT_EQ(msgsnd(id, &message, 8192, IPC_NOWAIT), 0);
    EXPECT_ERRNO(msgsnd(id, &message, 1, IPC_NOWAIT), EAGAIN);
    pid_t pid = IN_CHILD({ EXPECT_EQ(msgsnd(id, &message, 100, 0), 0); });
    EXPECT_EQ(msgrcv(id, &message, 8192, 0, 0), 8192);
    EXPECT_EXIT(pid, 0);
    struct msqid_ds status;
    OK(msgctl(id, IPC_STAT, &status));
    EXPECT_EQ(status.msg_qnum, 2);
    EXPECT_EQ(status.msg_cbytes, 8292);
    EXPECT_EQ(status.msg_lspid, pid);
    EXPECT_EQ(status.msg_lrpid, getpid());
    OK(msgctl(id, IPC_RMID, NULL));
}

CASE(msgrcv_waits_for_a_message) {
    int id = new_queue();
    pid_t pid = IN_CHILD({ EXPECT_STR(take(id, 5, 0), "five"); });
    put(id, 4, "four");
    put(id, 5, "five");
    EXPECT_EXIT(pid, 0);
    EXPECT_STR(take(id, 0, 0), "four");
    OK(msgctl(id, IPC_RMID, NULL));
}

CASE(msgrcv_from_a_removed_queue_returns_eidrm) {
    int id = new_queue();
    PIPE(ready);
    pid_t pid = IN_CHILD({
        struct text message;
        announce(ready[1]);
        errno = 0;
        EXPECT_EQ(msgrcv(id, &message, 10, 0, 0), -1);
        // Removed before the call or while it waits.
        EXPECT(errno == EIDRM || errno == EINVAL);
    });
    await(ready[0]);
    OK(msgctl(id, IPC_RMID, NULL));
    EXPECT_EXIT(pid, 0);
}

CASE(msgrcv_is_not_restarted_after_a_handler) {
    int id = new_queue();
    struct text message;
    tick(count_signal, SA_RESTART);
    EXPECT_ERRNO(msgrcv(id, &message, 10, 0, 0), EINTR);
    stop_ticking();
    OK(msgctl(id, IPC_RMID, NULL));
}
