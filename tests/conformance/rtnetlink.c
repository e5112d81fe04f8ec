/* netlink(7), rtnetlink(7), getifaddrs(3): the lists of interfaces, addresses and routes */
#include "inet.h"
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

CASE(rtnetlink_getifaddrs_lists_the_loopback) {
    struct ifaddrs *list;
    OK(getifaddrs(&list));
    bool link = false, v4 = false, v6 = false;
    for (struct ifaddrs *entry = list; entry; entry = entry->ifa_next) {
        if (strcmp(entry->ifa_name, "lo") != 0 || entry->ifa_addr == NULL)
            continue;
        EXPECT(entry->ifa_flags & IFF_LOOPBACK);
        if (entry->ifa_addr->sa_family == AF_PACKET)
            link = true;
        if (entry->ifa_addr->sa_family == AF_INET) {
            struct sockaddr_in *address = (void *)entry->ifa_addr, *mask = (void *)entry->ifa_netmask;
            v4 = ntohl(address->sin_addr.s_addr) == INADDR_LOOPBACK && ntohl(mask->sin_addr.s_addr) == 0xff000000;
        }
        if (entry->ifa_addr->sa_family == AF_INET6)
            v6 = IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)entry->ifa_addr)->sin6_addr);
    }
    EXPECT(link && v4 && v6);
    freeifaddrs(list);
    EXPECT_EQ(if_nametoindex("lo"), 1);
    struct if_nameindex *names = if_nameindex();
    EXPECT(names != NULL && strcmp(names[0].if_name, "lo") == 0 && names[0].if_index == 1);
}

static struct nlmsghdr *ask(int fd, int type, int flags, int index) {
    static char answer[8192] __attribute__((aligned(8)));
    struct {
        struct nlmsghdr header;
        struct ifinfomsg link;
    } request = {{sizeof request, type, NLM_F_REQUEST | flags, 7, 0}, {.ifi_index = index}};
    EXPECT_EQ(send(fd, &request, sizeof request, 0), sizeof request);
    struct sockaddr_nl from;
    socklen_t length = sizeof from;
    EXPECT(recvfrom(fd, answer, sizeof answer, 0, (struct sockaddr *)&from, &length) >= (int)sizeof(struct nlmsghdr));
    EXPECT_EQ(length, sizeof from);
    EXPECT_EQ(from.nl_pid, 0);
    struct nlmsghdr *header = (void *)answer;
    struct sockaddr_nl own;
    length = sizeof own;
    OK(getsockname(fd, (struct sockaddr *)&own, &length));
    EXPECT(own.nl_pid != 0);
    EXPECT_EQ(header->nlmsg_pid, own.nl_pid);
    EXPECT_EQ(header->nlmsg_seq, 7);
    return header;
}

CASE(rtnetlink_answers_for_one_interface_and_says_which_there_is_not) {
    int fd = OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    struct nlmsghdr *answer = ask(fd, RTM_GETLINK, 0, 1);
    EXPECT_EQ(answer->nlmsg_type, RTM_NEWLINK);
    EXPECT_EQ(((struct ifinfomsg *)NLMSG_DATA(answer))->ifi_index, 1);
    answer = ask(fd, RTM_GETLINK, 0, 9999);
    EXPECT_EQ(answer->nlmsg_type, NLMSG_ERROR);
    EXPECT_EQ(((struct nlmsgerr *)NLMSG_DATA(answer))->error, -ENODEV);
    EXPECT_EQ(ask(fd, RTM_GETLINK, NLM_F_DUMP, 0)->nlmsg_flags & NLM_F_MULTI, NLM_F_MULTI);
}

/* The answer to a question for the route to an IPv4 address, in host order. */
static struct nlmsghdr *ask_for_route(int fd, uint32_t address) {
    static char answer[8192] __attribute__((aligned(8)));
    struct {
        struct nlmsghdr header;
        struct rtmsg route;
        struct rtattr attribute;
        uint32_t destination;
    } request = {
        {sizeof request, RTM_GETROUTE, NLM_F_REQUEST, 7, 0},
        {.rtm_family = AF_INET, .rtm_dst_len = 32},
        {RTA_LENGTH(4), RTA_DST},
        htonl(address),
    };
    EXPECT_EQ(send(fd, &request, sizeof request, 0), sizeof request);
    EXPECT(recv(fd, answer, sizeof answer, 0) >= (int)sizeof(struct nlmsghdr));
    return (void *)answer;
}

CASE(rtnetlink_route_to_the_loopback_is_local) {
    int fd = OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    struct nlmsghdr *answer = ask_for_route(fd, INADDR_LOOPBACK + 2);
    EXPECT_EQ(answer->nlmsg_type, RTM_NEWROUTE);
    struct rtmsg *route = NLMSG_DATA(answer);
    EXPECT_EQ(route->rtm_family, AF_INET);
    EXPECT_EQ(route->rtm_dst_len, 32);
    EXPECT_EQ(route->rtm_type, RTN_LOCAL);
    EXPECT_EQ(route->rtm_table, RT_TABLE_MAIN);
    EXPECT_EQ(route->rtm_flags & RTM_F_CLONED, RTM_F_CLONED);
    int interface = 0;
    uint32_t source = 0, destination = 0;
    int left = RTM_PAYLOAD(answer);
    for (struct rtattr *at = RTM_RTA(route); RTA_OK(at, left); at = RTA_NEXT(at, left)) {
        if (at->rta_type == RTA_OIF)
            memcpy(&interface, RTA_DATA(at), 4);
        if (at->rta_type == RTA_PREFSRC)
            memcpy(&source, RTA_DATA(at), 4);
        if (at->rta_type == RTA_DST)
            memcpy(&destination, RTA_DATA(at), 4);
    }
    EXPECT_EQ(interface, 1);
    EXPECT_EQ(ntohl(source), INADDR_LOOPBACK);
    EXPECT_EQ(ntohl(destination), INADDR_LOOPBACK + 2);
}

CASE(rtnetlink_routes_are_listed) {
    int fd = OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    struct nlmsghdr *answer = ask(fd, RTM_GETROUTE, NLM_F_DUMP, 0);
    EXPECT_EQ(answer->nlmsg_type, RTM_NEWROUTE);
    EXPECT_EQ(answer->nlmsg_flags & NLM_F_MULTI, NLM_F_MULTI);
}

CASE(rtnetlink_bind_gives_a_port) {
    int fd = OK(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    EXPECT_ERRNO(bind(fd, (struct sockaddr *)&address, 4), EINVAL);
    OK(bind(fd, (struct sockaddr *)&address, sizeof address));
    EXPECT_ERRNO(recv(fd, &address, 1, MSG_DONTWAIT), EAGAIN);
    EXPECT_ERRNO(listen(fd, 1), EOPNOTSUPP);
    EXPECT_ERRNO(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE), ESOCKTNOSUPPORT);
}
