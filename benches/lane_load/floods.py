"""What does harm: an upstream that takes its time, and questions from addresses that nobody has.

Each runs in a process of its own on the load's core, until it is ended.
"""

import collections
import contextlib
import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from rig import lab

A, ANY = 1, 255
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


class Flood:
    """Questions from made-up sources, evenly in time (flood.c): of each of these files so many a second."""

    def __init__(self, port, work, streams):
        compiler = lab.program("cc") or lab.program("gcc") or sys.exit("cc is not installed, and the flood has to be built")
        source = Path(__file__).with_name("flood.c")
        subprocess.run([compiler, "-O2", "-Wall", "-o", work / "flood", source], check=True)
        words = [word for rate, questions in streams for word in (rate, questions)]
        line = lab.on_core(lab.LOAD_CORE, work / "flood", port, *words)
        self.process = subprocess.Popen([str(word) for word in line], stdout=subprocess.PIPE, text=True)

    def end(self):
        """Questions sent, of each file."""
        self.process.terminate()
        return [int(line) for line in self.process.communicate()[0].split()]


def write_questions(path, names, qtype):
    with path.open("wb") as file:
        for name in names:
            question = lab.question(name, qtype)
            file.write(struct.pack(">H", len(question)) + question)
