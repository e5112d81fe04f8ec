/* netdevice(7), proc(5), sysfs(5): the loopback interface, and the tables of sockets */
#include "inet.h"
#include <net/if.h>
#include <net/if_arp.h>

static int fd;

static struct ifreq ask(unsigned long command) {
    struct ifreq request = {.ifr_name = "lo"};
    fd = OK(socket(AF_INET, SOCK_DGRAM, 0));
    OK(ioctl(fd, command, &request));
    return request;
}

CASE(netdevice_the_loopback_is_up) {
    EXPECT_EQ(ask(SIOCGIFFLAGS).ifr_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_MULTICAST | IFF_BROADCAST),
              IFF_UP | IFF_LOOPBACK | IFF_RUNNING);
    EXPECT_EQ(ask(SIOCGIFMTU).ifr_mtu, 65536);
    EXPECT_EQ(ask(SIOCGIFMETRIC).ifr_metric, 0);
    EXPECT_EQ(ask(SIOCGIFHWADDR).ifr_hwaddr.sa_family, ARPHRD_LOOPBACK);
}

CASE(netdevice_the_loopback_has_its_address) {
    struct ifreq request = ask(SIOCGIFADDR);
    struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
    EXPECT_EQ(address->sin_family, AF_INET);
    EXPECT_EQ(ntohl(address->sin_addr.s_addr), INADDR_LOOPBACK);
    request = ask(SIOCGIFNETMASK);
    EXPECT_EQ(ntohl(address->sin_addr.s_addr), 0xff000000);
}

CASE(netdevice_index_and_name_lead_to_each_other) {
    EXPECT_EQ(ask(SIOCGIFINDEX).ifr_ifindex, 1);
    struct ifreq request = {.ifr_ifindex = 1};
    OK(ioctl(fd, SIOCGIFNAME, &request));
    EXPECT(strcmp(request.ifr_name, "lo") == 0);
    request.ifr_ifindex = 9999;
    EXPECT_ERRNO(ioctl(fd, SIOCGIFNAME, &request), ENODEV);
    strcpy(request.ifr_name, "missing0");
    EXPECT_ERRNO(ioctl(fd, SIOCGIFFLAGS, &request), ENODEV);
    EXPECT_ERRNO(ioctl(fd, SIOCGIFFLAGS, bad_page()), EFAULT);
}

CASE(netdevice_the_list_of_interfaces_starts_with_the_loopback) {
    struct ifreq requests[16];
    struct ifconf list = {.ifc_len = sizeof requests, .ifc_req = requests};
    fd = OK(socket(AF_INET, SOCK_DGRAM, 0));
    OK(ioctl(fd, SIOCGIFCONF, &list));
    EXPECT(list.ifc_len >= (int)sizeof requests[0]);
    EXPECT(strcmp(requests[0].ifr_name, "lo") == 0);
    int length = list.ifc_len;
    list.ifc_buf = NULL;
    OK(ioctl(fd, SIOCGIFCONF, &list));
    EXPECT_EQ(list.ifc_len, length);
    list = (struct ifconf){.ifc_len = 8, .ifc_req = requests};
    OK(ioctl(fd, SIOCGIFCONF, &list));
    EXPECT_EQ(list.ifc_len, 0);
}

/* Whether a table has a line with these words. */
static bool has_line(const char *table, const char *local, const char *remote_and_state) {
    char words[256];
    snprintf(words, sizeof words, ": %s %s ", local, remote_and_state);
    return strstr(file_content(table), words) != NULL;
}

CASE(netdevice_proc_net_lists_sockets) {
    int listener = bound("127.0.0.1", SOCK_STREAM);
    OK(listen(listener, 1));
    char local[64];
    snprintf(local, sizeof local, "0100007F:%04X", port_of(listener));
    EXPECT(has_line("/proc/net/tcp", local, "00000000:0000 0A"));
    int client = inet_socket("127.0.0.1", SOCK_STREAM);
    OK(connect_to(client, "127.0.0.1", port_of(listener)));
    char remote[128];
    snprintf(remote, sizeof remote, "%s 01", local);
    snprintf(local, sizeof local, "0100007F:%04X", port_of(client));
    EXPECT(has_line("/proc/net/tcp", local, remote));
    int datagram = bound("::1", SOCK_DGRAM);
    snprintf(local, sizeof local, "00000000000000000000000001000000:%04X", port_of(datagram));
    EXPECT(has_line("/proc/net/udp6", local, "00000000000000000000000000000000:0000 07"));
    EXPECT(strstr(file_content("/proc/net/tcp6"), "  sl  local_address") != NULL);
    EXPECT(strstr(file_content("/proc/net/udp"), "   sl  local_address") != NULL);
}

CASE(netdevice_proc_net_lists_the_loopback) {
    EXPECT(strstr(file_content("/proc/net/dev"), "    lo: ") != NULL);
    EXPECT(strstr(file_content("/proc/net/if_inet6"), "00000000000000000000000000000001 01 80 10 80       lo\n") != NULL);
}

CASE(netdevice_sys_class_net_leads_to_the_loopback) {
    char target[64] = {0};
    OK(readlink("/sys/class/net/lo", target, sizeof target - 1));
    EXPECT(strcmp(target, "../../devices/virtual/net/lo") == 0);
    EXPECT(strcmp(file_content("/sys/class/net/lo/mtu"), "65536\n") == 0);
    EXPECT(strcmp(file_content("/sys/class/net/lo/type"), "772\n") == 0);
    EXPECT(strcmp(file_content("/sys/class/net/lo/flags"), "0x9\n") == 0);
    EXPECT(strcmp(file_content("/sys/class/net/lo/address"), "00:00:00:00:00:00\n") == 0);
    EXPECT(strcmp(file_content("/sys/class/net/lo/operstate"), "unknown\n") == 0);
}
