/* The kernel's ceiling for answers over UDP: receives a batch of datagrams, turns QR on in each, sends the batch back.

   It reads no question and decides nothing, so that whatever a resolver costs beyond it is the resolver's own.
   Usage: echo PORT, on 127.0.0.1. Built by run.py. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { BATCH = 64, OCTETS_MAX = 4096, QR_OCTET = 2, QR = 0x80 };

static unsigned char datagrams[BATCH][OCTETS_MAX];
static struct sockaddr_in clients[BATCH];
static struct iovec pieces[BATCH];
static struct mmsghdr messages[BATCH];

static int bound_socket(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int octets = 4 << 20, endpoint = socket(AF_INET, SOCK_DGRAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (endpoint < 0 || bind(endpoint, (struct sockaddr *)&address, sizeof address))
        err(1, "127.0.0.1:%d", port);
    setsockopt(endpoint, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    setsockopt(endpoint, SOL_SOCKET, SO_SNDBUF, &octets, sizeof octets);
    return endpoint;
}

/* recvmmsg writes lengths where it read the room there is, so both are set anew for each batch. */
static void make_room(void)
{
    for (int i = 0; i < BATCH; i++) {
        pieces[i].iov_base = datagrams[i];
        pieces[i].iov_len = OCTETS_MAX;
        messages[i].msg_hdr.msg_name = &clients[i];
        messages[i].msg_hdr.msg_namelen = sizeof clients[i];
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
}

int main(int count, char **words)
{
    if (count != 2)
        errx(2, "usage: echo PORT");
    int endpoint = bound_socket(atoi(words[1]));
    for (;;) {
        make_room();
        int received = recvmmsg(endpoint, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < received; i++) {
            datagrams[i][QR_OCTET] |= QR;
            pieces[i].iov_len = messages[i].msg_len;
        }
        for (int sent = 0, more; sent < received; sent += more)
            if ((more = sendmmsg(endpoint, messages + sent, received - sent, 0)) <= 0)
                break;
    }
}
