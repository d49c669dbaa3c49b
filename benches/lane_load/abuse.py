"""Does abuse of one kind and another, all at once, reach those who behave?

Before, a client asks hits at a steady rate. Then come, at once: a flood of random names below one domain, each of which has to be
asked upstream; ANY questions from made-up sources; and an upstream that takes a second and a half for everything. After, both
floods are over, and upstream is as it was. The cache is full beforehand, so that memory does not grow for that reason; each of
the client's names is asked once a second, so that whoever throws out what nobody asks for keeps it.
"""

import re
import subprocess
import sys
import threading
import time
import urllib.request

import rig
from floods import SlowUpstream, SpoofedFlood
from probe import Latency, Probe
from reload import clean_names
from rig import lab

# "Flat": chosen, so that a noisy minute is none and a queue is one.
LATENCY_RATIO_MAX = 3.0
MEMORY_RATIO_MAX = 1.2
CACHE = "32 MiB"
# More than there is room for: an answer takes some 150 octets.
FILLING = 400_000
DELAY_MS = 1_500
# Questions that the flood has open: more than the slow upstream keeps waiting.
FLOOD_IN_FLIGHT = 60_000


def measure(args, work):
    table = rig.Table(
        f"## Abuse at once: {args.flood:,} random names and {args.spoofed:,} spoofed ANY a second, upstream {DELAY_MS} ms late; "
        f"phases of {args.seconds} s, {args.probes:,} probes a second")
    names = sorted(set(clean_names(work)))[: args.probes]
    upstream = SlowUpstream()
    try:
        with rig.served(args, work, upstream.port, cache=CACHE) as server:
            fill(server, work)
            probe, memory = Probe(server.port, names, args.probes), Memory(server.process.pid)
            # A few times around, so that all are cached.
            time.sleep(3)
            before = phase(args, memory)
            flooded = flood(server, upstream, args, work, names, memory)
            time.sleep(2)
            after = phase(args, memory)
            seen = probe.end()
            report(table, args, seen, before, flooded, after, memory.end())
            for limit, count in limits(server):
                table.row(f"bound that was met: {limit}", count)
    finally:
        upstream.end()
    return table.met


def fill(server, work):
    """Answers that nobody will ask for again, more than the cache has room for."""
    lab.write_misses(work / "filling.questions", "filling", FILLING)
    lab.load(server.port, work / "filling.questions", 60, once=True)


def phase(args, memory):
    began = time.time_ns()
    time.sleep(args.seconds)
    return began, time.time_ns(), memory.highest_since(began)


def flood(server, upstream, args, work, names, memory):
    questions = work / "flood.questions"
    lab.write_misses(questions, "random", args.flood * args.seconds, below="victim.example")
    upstream.delay_ms.value = DELAY_MS
    line = lab.load_line(server.port, questions, args.seconds, rate=args.flood, once=True, in_flight=FLOOD_IN_FLIGHT)
    random_names = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    spoofed = SpoofedFlood(server.port, names, args.spoofed)
    # The first half second they begin.
    time.sleep(0.5)
    span = phase(args, memory) if random_names.poll() is None else sys.exit("dnsperf ended before its time")
    sent = spoofed.end()
    told = lab.read_load(random_names.communicate()[0])
    upstream.delay_ms.value = 0
    return *span, sent, told


def report(table, args, seen, before, flooded, after, highest):
    latencies = [Latency(seen, [(began, end)]) for began, end, *_ in (before, flooded, after)]
    for title, latency, (_, _, rss, *_) in zip(("before", "during", "after"), latencies, (before, flooded, after)):
        table.row(f"{title}: latency of hits, p50 / p99 / highest", f"{latency} µs")
        table.none(f"{title}: hits lost", latency.lost, f" of {latency.asked}")
        table.row(f"{title}: RSS at the highest", f"{rss:.0f} MiB")
    alone, during, behind = latencies
    table.at_most("p50 during beside before", during.p50 / alone.p50, LATENCY_RATIO_MAX)
    table.at_most("p99 during beside before", during.p99 / alone.p99, LATENCY_RATIO_MAX)
    table.at_most("p99 after beside before", behind.p99 / alone.p99, LATENCY_RATIO_MAX)
    table.at_most("RSS at the highest beside before", highest / before[2], MEMORY_RATIO_MAX)
    *_, sent, told = flooded
    codes = ", ".join(f"{code} {count}" for code, count in sorted(told.codes.items()))
    table.row("random names: answered in two seconds / not", f"{told.answers} / {told.lost}")
    table.row("random names: answers", codes)
    table.row("spoofed ANY: sent", sent)


class Memory:
    """Looks at a process's memory ten times a second."""

    def __init__(self, pid):
        self.pid, self.seen, self.stop = pid, [], threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.stop.wait(0.1):
            self.seen.append((time.time_ns(), lab.rss_mib(self.pid)))

    def highest_since(self, began):
        return max(rss for at, rss in self.seen if at >= began)

    def end(self):
        """At the highest, in MiB."""
        self.stop.set()
        self.thread.join()
        return max(rss for _, rss in self.seen)


def limits(server):
    """Our bounds that were met, and how often (`lachan_limit_hits_total`)."""
    with urllib.request.urlopen(f"http://{lab.ADDRESS}:{server.admin}/metrics", timeout=10) as page:
        found = re.findall(r'^lachan_limit_hits_total\{limit="(\w+)"\} (\d+)', page.read().decode(), re.M)
    return [(limit, int(count)) for limit, count in found if count != "0"]
