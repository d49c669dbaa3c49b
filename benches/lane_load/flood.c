/* Questions from addresses that nobody has, evenly in time.

   Usage: flood PORT RATE QUESTIONS [RATE QUESTIONS]...
   A file of QUESTIONS holds messages, each behind its length in two octets, the high one first; they are asked in turns, RATE of them a
   second, each from an address of 127.0.0.0/8 that is made up, so that the answers stay on the machine. One that is late is left out:
   whoever makes up for what it missed asks in bursts, and then its bursts are measured. When it is ended it says for each file how
   many it sent. Built by abuse.py. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { STREAMS_MAX = 4, LATE_MAX = 8 };
static const long STEP_NANOS = 200 * 1000;

struct stream {
    double rate;
    unsigned char *octets;
    size_t size, at;
    uint64_t due, sent;
};

static struct stream streams[STREAMS_MAX];
static volatile sig_atomic_t ended;

static void end(int signal)
{
    (void)signal;
    ended = 1;
}

static void read_questions(struct stream *stream, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        err(1, "%s", path);
    stream->size = ftell(file);
    rewind(file);
    stream->octets = malloc(stream->size);
    if (stream->size < 2 || !stream->octets || fread(stream->octets, 1, stream->size, file) != stream->size)
        errx(1, "%s cannot be read", path);
    fclose(file);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Bound to no address, a socket may send from any that is the machine's (IP_PKTINFO), as all of 127.0.0.0/8 are. Nobody reads the
   answers: what does not fit into the smallest buffer goes where answers to a victim go. */
static int any_socket(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    int octets = 1, endpoint = socket(AF_INET, SOCK_DGRAM, 0);
    if (endpoint < 0 || bind(endpoint, (struct sockaddr *)&any, sizeof any))
        err(1, "a socket");
    setsockopt(endpoint, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    return endpoint;
}

static void ask(int endpoint, struct sockaddr_in *server, struct stream *stream)
{
    size_t length = stream->octets[stream->at] << 8 | stream->octets[stream->at + 1];
    struct iovec question = {stream->octets + stream->at + 2, length};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control = {.header = {.cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))}};
    struct in_pktinfo from = {.ipi_spec_dst.s_addr = htonl((127u << 24) + (1u << 16) + random() % ((1u << 24) - (1u << 16)))};
    memcpy(CMSG_DATA(&control.header), &from, sizeof from);
    struct msghdr message = {
        .msg_name = server, .msg_namelen = sizeof *server, .msg_iov = &question, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof control.room};
    sendmsg(endpoint, &message, MSG_DONTWAIT);
    stream->at += 2 + length;
    if (stream->at + 2 > stream->size)
        stream->at = 0;
    stream->sent++;
}

int main(int count, char **words)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int endpoint = any_socket(), used = (count - 2) / 2;
    if (count < 4 || count % 2 || used > STREAMS_MAX)
        errx(2, "usage: flood PORT RATE QUESTIONS [RATE QUESTIONS]...");
    server.sin_port = htons(atoi(words[1]));
    for (int i = 0; i < used; i++) {
        streams[i].rate = atof(words[2 + 2 * i]);
        read_questions(&streams[i], words[3 + 2 * i]);
    }
    signal(SIGTERM, end);
    /* On time, if it may. */
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
    double began = now();
    while (!ended) {
        double passed = now() - began;
        for (int i = 0; i < used; i++) {
            uint64_t due = passed * streams[i].rate, late = due - streams[i].due;
            streams[i].due = due;
            for (uint64_t n = late < LATE_MAX ? late : LATE_MAX; n; n--)
                ask(endpoint, &server, &streams[i]);
        }
        nanosleep(&(struct timespec){.tv_nsec = STEP_NANOS}, NULL);
    }
    for (int i = 0; i < used; i++)
        printf("%llu\n", (unsigned long long)streams[i].sent);
}
