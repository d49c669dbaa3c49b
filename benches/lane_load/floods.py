"""What does harm: an upstream that takes its time, and questions from addresses that nobody has.

Each runs in a process of its own on the load's core, until it is ended.
"""

import collections
import contextlib
import multiprocessing
import os
import random
import socket
import struct
import time

from rig import lab

ANY = 255
# Of <linux/in.h>: where a datagram is to be sent from, as an interface's number and two addresses.
IP_PKTINFO = 8
# NOERROR with one address, owner the question's, TTL a day: what the well-behaved client asks for shall not run out.
RECORD = b"\xc0\x0c\x00\x01\x00\x01" + struct.pack(">IH", 86_400, 4) + lab.CLEAN_ADDRESS
# Datagrams taken in between two looks at the clock.
BATCH = 64


class SlowUpstream:
    """Answers every name, as late as told."""

    def __init__(self):
        self.port = lab.free_port()
        self.delay_ms = multiprocessing.Value("i", 0)
        self.process = multiprocessing.Process(target=answer_late, args=(self.port, self.delay_ms), daemon=True)
        self.process.start()

    def end(self):
        self.process.terminate()
        self.process.join()


def answer_late(port, delay_ms):
    os.sched_setaffinity(0, {lab.LOAD_CORE})
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    server.bind((lab.ADDRESS, port))
    waiting = collections.deque()
    while True:
        server.settimeout(0.001 if waiting else 0.1)
        with contextlib.suppress(OSError):
            for _ in range(BATCH):
                query, client = server.recvfrom(4096)
                waiting.append((time.monotonic() + delay_ms.value / 1000, query, client))
                server.settimeout(0)
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, query, client = waiting.popleft()
            with contextlib.suppress(OSError):
                server.sendto(answer(query), client)


def answer(query):
    end = query.index(b"\0", 12) + 5
    return query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + RECORD


class SpoofedFlood:
    """Questions for these names, ANY or what `qtype` says, each from an address of 127.0.0.0/8 that it makes up, so that the answers
    stay on the machine."""

    def __init__(self, port, names, rate, qtype=ANY):
        self.sent = multiprocessing.Value("L", 0)
        arguments = (port, names, rate, qtype, self.sent)
        self.process = multiprocessing.Process(target=ask_from_anywhere, args=arguments, daemon=True)
        self.process.start()

    def end(self):
        """Questions sent."""
        self.process.terminate()
        self.process.join()
        return self.sent.value


def ask_from_anywhere(port, names, rate, qtype, sent):
    os.sched_setaffinity(0, {lab.LOAD_CORE})
    rand = random.Random(3)
    # Bound to no address, it may send from any that is the machine's (IP_PKTINFO), as all of 127.0.0.0/8 are. Nobody reads the
    # answers: what does not fit into the smallest buffer goes where answers to a victim go.
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sender.bind(("", 0))
    questions = [lab.question(name, qtype) for name in names]
    began = time.monotonic()
    while True:
        while sent.value < (time.monotonic() - began) * rate:
            source = struct.pack(">I", (127 << 24) | rand.randrange(1 << 16, 1 << 24))
            information = struct.pack("I", 0) + source + bytes(4)
            with contextlib.suppress(OSError):
                sender.sendmsg([questions[sent.value % len(questions)]], [(socket.IPPROTO_IP, IP_PKTINFO, information)], 0, (lab.ADDRESS, port))
            sent.value += 1
        time.sleep(0.001)
