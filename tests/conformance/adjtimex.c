/* adjtimex(2), clock_adjtime(2) */
#include "case.h"
#include <sys/timex.h>

CASE(adjtimex_tells_how_the_clock_is_kept) {
    struct timex timex = {.modes = 0};
    int state = OK(adjtimex(&timex));
    EXPECT(state >= TIME_OK && state <= TIME_ERROR);
    EXPECT(timex.tick >= 9000 && timex.tick <= 11000);
    EXPECT(timex.precision > 0);
    EXPECT(labs(timex.time.tv_sec - time(NULL)) <= 1);
    EXPECT_EQ(state == TIME_ERROR, (timex.status & STA_UNSYNC) != 0);
}

CASE(clock_adjtime_is_the_same_for_the_one_clock_that_is_kept) {
    struct timex timex = {.modes = 0};
    EXPECT(OK(clock_adjtime(CLOCK_REALTIME, &timex)) <= TIME_ERROR);
    EXPECT_ERRNO(clock_adjtime(CLOCK_MONOTONIC, &timex), EOPNOTSUPP);
    EXPECT_ERRNO(clock_adjtime(99, &timex), EINVAL);
    EXPECT_ERRNO(syscall(SYS_clock_adjtime, CLOCK_REALTIME, bad_page()), EFAULT);
}

CASE(adjtime_tells_what_is_left_to_adjust) {
    struct timeval left;
    OK(adjtime(NULL, &left));
    EXPECT_EQ(left.tv_sec, 0);
}

CASE(adjtimex_lets_no_ordinary_user_change_anything) {
    EXPECT_EXIT(IN_CHILD({
                    if (geteuid() == 0)
                        OK(setuid(65534));
                    struct timex timex = {.modes = ADJ_STATUS};
                    EXPECT_ERRNO(adjtimex(&timex), EPERM);
                    timex.modes = ADJ_OFFSET_SINGLESHOT;
                    EXPECT_ERRNO(adjtimex(&timex), EPERM);
                    timex.modes = 0x8000;
                    EXPECT_ERRNO(adjtimex(&timex), EINVAL);
                }),
                0);
}
