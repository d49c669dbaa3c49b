"""A client that asks at a steady rate and stamps each question and its answer.

It runs in a process of its own. The answer's time is the kernel's, taken when the server sent it, so that waiting for its own
core is no part of it; as root it goes before all others there, so that it is on time with its questions, too.
"""

import contextlib
import multiprocessing
import os
import selectors
import socket
import struct
import time

from rig import lab, share

# SO_TIMESTAMPNS of <asm-generic/socket.h>: with each datagram comes the time at which it was queued, as a timespec.
SO_TIMESTAMPNS = 35
LATE = 2_000_000_000


class Probe:
    """A prober at work."""

    def __init__(self, port, names, rate, core=lab.LOAD_CORE):
        self.stop = multiprocessing.Event()
        self.ours, theirs = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.Process(target=ask_steadily, args=(port, names, rate, core, self.stop, theirs), daemon=True)
        self.process.start()

    def end(self):
        """For each question the time it was sent, in ns, and its latency in µs; `None` when there was no answer in two seconds."""
        self.stop.set()
        seen = self.ours.recv()
        self.process.join()
        return seen


def ask_steadily(port, names, rate, core, stop, told):
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    client.connect((lab.ADDRESS, port))
    client.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(client, selectors.EVENT_READ)
    questions = [lab.question(name, identity=0)[2:] for name in names]
    step, number = 1_000_000_000 // rate, 0
    sent, latencies, open_questions = [], [], {}
    due = time.time_ns()
    while not stop.is_set():
        wait = due - time.time_ns()
        if wait > 0:
            if selector.select(wait / 1e9):
                take_answers(client, open_questions, sent, latencies)
            continue
        identity = number % 65536
        message = identity.to_bytes(2, "big") + questions[number % len(questions)]
        sent.append(time.time_ns())
        latencies.append(None)
        open_questions[identity] = number
        with contextlib.suppress(OSError):
            client.send(message)
        number += 1
        due += step
    until = time.time_ns() + LATE
    while open_questions and time.time_ns() < until:
        if selector.select(0.1):
            take_answers(client, open_questions, sent, latencies)
    told.send([(at, None if latency is None or latency > LATE / 1000 else latency) for at, latency in zip(sent, latencies)])


def take_answers(client, open_questions, sent, latencies):
    while True:
        try:
            answer, control, _, _ = client.recvmsg(4096, 64)
        except OSError:
            return
        number = open_questions.pop(int.from_bytes(answer[:2], "big"), None)
        # Only what says NOERROR is an answer to those who ask for clean names.
        if number is not None and answer[3] & 15 == lab.NOERROR:
            seconds, nanos = struct.unpack("qq", control[0][2][:16])
            latencies[number] = (seconds * 1_000_000_000 + nanos - sent[number]) / 1000


class Latency:
    """Of the questions that were sent within these spans of time."""

    def __init__(self, seen, spans):
        chosen = [latency for at, latency in seen if any(begin <= at < end for begin, end in spans)]
        self.asked = len(chosen)
        self.lost = sum(latency is None for latency in chosen)
        times = sorted(latency for latency in chosen if latency is not None)
        self.p50, self.p99, self.highest = (share(times, 0.5), share(times, 0.99), times[-1]) if times else (float("inf"),) * 3

    def __str__(self):
        return f"{self.p50:.0f} / {self.p99:.0f} / {self.highest:.0f}"
