#!/usr/bin/env python3
"""What does an idle connection of DNS over TLS cost in memory, and what does it cost the others?

Ten thousand connections are opened, each asks once, and all are held: resident memory of the server before and after, by the
connection; then hits over fifty connections more, beside the same before. Of ours, and of those peers that are named.

    cargo build --release
    benches/peers/idle.py --servers lachan,unbound

What it needs, and what it leaves out, is as run.py has it.
"""

import argparse
import os
import resource
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import lab
import servers

# Idle connections of one client.
OF_HOST = 200
# Seconds, after which a connection asks again: fewer than any server waits.
ASKED_AGAIN = 10


def main():
    # This side is to be on the load's core with dnsperf.
    os.sched_setaffinity(0, {lab.LOAD_CORE})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lachan", default=lab.ROOT / "target/release/lachan", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--connections", default=10_000, type=int)
    parser.add_argument("--servers", default="lachan")
    args = parser.parse_args()
    args.root = args.root and args.root.resolve()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    work = Path(tempfile.mkdtemp(prefix="lachan-idle-", dir=servers.work_folder_parent(args.root)))
    upstream, server = None, None
    try:
        wanted = args.servers.split(",")
        listed = [f"www.listed{i}.example" for i in range(1_000)]
        lab.write_questions(listed, work)
        servers.write_lists(wanted, listed, work)
        servers.make_certificate(args, work)
        places = {"address": lab.ADDRESS, "dir": work, "upstream": lab.free_port()}
        upstream = lab.start_upstream(work, places)
        print(f"# {lab.machine()}\n# {args.connections} connections\n\n| server | open | KiB a connection | hit by DoT before, µs CPU | with them |\n|---|---|---|---|---|")
        for name in wanted:
            server = servers.launch(name, args, work, places)
            server = server and servers.answering(server, work, listed[0])
            if server:
                print("| " + " | ".join(measure(args, work, server)) + " |", flush=True)
                lab.stop(server.process)
                server = None
    finally:
        for process in (server and server.process, upstream):
            if process:
                lab.stop(process)
        shutil.rmtree(work, ignore_errors=True)


def measure(args, work, server):
    questions, pid = work / "hit.questions", server.process.pid
    hit(server, questions)
    before = hit(server, questions)
    lab.settle(pid)
    files = lambda: len(os.listdir(f"/proc/{pid}/fd"))
    empty, before_files = lab.rss_mib(pid), files()
    held = hold(server.ports["dot"], args.connections)
    full, count = lab.rss_mib(pid), files() - before_files
    after = hit(server, questions)
    for connection in held:
        connection.close()
    return [f"{server.name} {server.version}", str(count), f"{(full - empty) * 1024 / max(count, 1):.1f}", f"{before:.2f}", f"{after:.2f}"]


def hold(port, count):
    """Connections that have asked, the first ones again before they are taken for idle. One address has so many and no
    more, so that clients are several."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    held = deque()
    for number in range(count):
        host = number // OF_HOST
        connection = socket.create_connection((lab.ADDRESS, port), 10, (f"127.1.{host >> 8}.{host & 255}", 0))
        held.append((time.monotonic(), ask(context.wrap_socket(connection))))
        while held[0][0] < time.monotonic() - ASKED_AGAIN:
            held.append((time.monotonic(), ask(held.popleft()[1])))
    return [connection for _, connection in held]


def ask(connection):
    message = lab.question("www.example.org")
    connection.sendall(struct.pack(">H", len(message)) + message)
    connection.recv(4096) or sys.exit("a connection was closed")
    return connection


def hit(server, questions):
    began = lab.cpu_seconds(server.process.pid)
    load = lab.load(server.ports["dot"], questions, 2, 50, mode="dot")
    return (lab.cpu_seconds(server.process.pid) - began) * 1e6 / max(load.answers, 1)


if __name__ == "__main__":
    sys.exit(main())
