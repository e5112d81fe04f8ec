/* pts(4), ioctl_tty(2), ttyname(3) */
#include "case.h"
#include <stdlib.h>
#include <sys/ioctl.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

CASE(the_peer_of_a_master_is_the_file_of_its_name) {
    int master = OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
    OK(grantpt(master));
    OK(unlockpt(master));
    int peer = OK(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY));
    char name[64];
    EXPECT_EQ(ptsname_r(master, name, sizeof name), 0);
    struct stat by_name, by_descriptor;
    OK(stat(name, &by_name));
    OK(fstat(peer, &by_descriptor));
    EXPECT_EQ(by_descriptor.st_dev, by_name.st_dev);
    EXPECT_EQ(by_descriptor.st_ino, by_name.st_ino);
    EXPECT_EQ(by_descriptor.st_rdev, by_name.st_rdev);
    EXPECT_EQ(ttyname_r(peer, name, sizeof name), 0);
}
