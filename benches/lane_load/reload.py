"""What does a client notice of a reload of a million names?

The server has one core to itself and answers hits at half of what it can; a prober asks beside that. Each reload is a SIGHUP
after the list has grown by a name, and lasts until that name is blocked.
"""

import signal
import subprocess
import time

import rig
from probe import Latency, Probe
from rig import lab

RATIO_MAX = 3.0
# Longer than a watcher waits before it takes up a changed file by itself.
PAUSE = 4
RELOAD_MAX = 60


def measure(args, work):
    table = rig.Table(f"## A reload at half load: {args.rounds} reloads, {args.probes:,} probes a second")
    hits = work / "hit.questions"
    with rig.upstream(work) as upstream, rig.served(args, work, upstream) as server:
        lab.load(server.port, hits, 2)
        full = lab.load(server.port, hits, 3).rate
        seconds = int(args.seconds + args.rounds * (PAUSE + 5) + 5)
        line = lab.load_line(server.port, hits, seconds, rate=int(full / 2))
        load = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        probe = Probe(server.port, clean_names(work), args.probes)
        try:
            time.sleep(1)
            began = time.time_ns()
            time.sleep(args.seconds)
            idle = [(began, time.time_ns())]
            spans = [reload_once(server, work, number) for number in range(args.rounds)]
        finally:
            seen = probe.end()
            # It reports when it is interrupted.
            load.send_signal(signal.SIGINT)
            told = lab.read_load(load.communicate()[0])
        rss = lab.rss_mib(server.process.pid)
    # What follows on the exchange: the old index is freed, the new one written down.
    after = [(end, end + 1_000_000_000) for _, end in spans]
    alone, during, behind = (Latency(seen, of) for of in (idle, spans, after))
    took = sorted((end - begin) / 1e9 for begin, end in spans)
    table.row("hits a second at full load / asked", f"{full:.0f} / {full / 2:.0f}")
    table.row("a reload, median / highest", f"{rig.share(took, 0.5):.2f} / {took[-1]:.2f} s")
    table.row("latency without, p50 / p99 / highest", f"{alone} µs")
    table.row("latency during a reload", f"{during} µs")
    table.row("latency in the second after it", f"{behind} µs")
    table.at_most("p99 during a reload beside without", during.p99 / alone.p99, RATIO_MAX)
    table.at_most("p99 in the second after it beside without", behind.p99 / alone.p99, RATIO_MAX)
    table.none("probes lost", sum(latency is None for _, latency in seen), f" of {len(seen)}")
    table.none("questions of the load lost", told.lost, f" of {told.answers + told.lost}")
    table.row("RSS at the end", f"{rss:.0f} MiB")
    return table.met


def reload_once(server, work, number):
    """From the signal to the first answer of the new list."""
    time.sleep(PAUSE)
    name = f"added-{number}.lane-load.example.net"
    with (work / "list.txt").open("a") as file:
        file.write(f"{name}\n")
    began, until = time.time_ns(), time.monotonic() + RELOAD_MAX
    server.process.send_signal(signal.SIGHUP)
    while not lab.is_blocked(server.port, name):
        if time.monotonic() > until:
            raise SystemExit(f"`{name}` is not blocked {RELOAD_MAX} s after the SIGHUP")
        time.sleep(0.005)
    return began, time.time_ns()


def clean_names(work):
    return [line.split()[0] for line in (work / "hit.questions").read_text().splitlines()]
