"""Does abuse of one kind and another, all at once, reach those who behave?

A client asks hits at a steady rate: alone; then among as many harmless questions as the floods will have. Then come, at
once: a flood of random names below one domain, each of which has to be asked upstream; ANY questions; both from made-up sources; and an
upstream that takes a second and a half for everything. After, both floods are over, and upstream is as it was. All of that several times,
and the middle one of the ratios counts. The cache is full
beforehand, so that memory does not grow for that reason; each of the client's names is asked once a second, so that whoever throws
out what nobody asks for keeps it.
"""

import contextlib
import re
import statistics
import sys
import threading
import time
import urllib.request
from typing import NamedTuple

import rig
from floods import A, ANY, Flood, SlowUpstream, write_questions
from probe import Latency, Probe
from reload import clean_names
from rig import lab

# "Flat": chosen, so that a noisy minute is none and a queue is one.
LATENCY_RATIO_MAX = 3.0
MEMORY_RATIO_MAX = 1.2
GROWTH_RATIO_MAX = 1.05
DELAY_MS = 1_500
# Seconds of a flood before its phase begins.
BEGINNING = 2


class Phases(NamedTuple):
    """One round."""

    alone: tuple
    busy: tuple
    flooded: tuple
    after: tuple


def measure(args, work):
    if args.rounds < 2:
        sys.exit("abuse compares its rounds: --rounds 2 at least")
    table = rig.Table(
        f"## Abuse at once: {args.flood:,} random names and {args.spoofed:,} spoofed ANY a second, upstream {DELAY_MS} ms late; "
        f"{args.rounds} rounds of phases of {args.seconds} s, {args.probes:,} probes a second")
    names = sorted(set(clean_names(work)))[: args.probes]
    hits, random, spoofed = work / "hits", work / "random", work / "spoofed"
    write_questions(hits, names, A)
    write_questions(spoofed, names, ANY)
    seconds = args.seconds + BEGINNING
    upstream = SlowUpstream()
    try:
        with rig.served(args, work, upstream.port, cache=args.cache) as server:
            fill(server, work, args.filling)
            probe, memory = Probe(server.port, names, args.probes), Memory(server.process.pid)
            # A few times around, so that all are cached.
            time.sleep(3)
            rounds, sent = [], []
            for number in range(args.rounds):
                alone = phase(args.seconds)
                busy, _ = under(Flood(server.port, work, [(args.flood, hits), (args.spoofed, hits)]), args.seconds)
                time.sleep(1)
                write_questions(random, (f"r{i:x}-{number}.victim.example" for i in range(args.flood * (seconds + 1))), A)
                upstream.delay_ms.value = DELAY_MS
                flooded, asked = under(Flood(server.port, work, [(args.flood, random), (args.spoofed, spoofed)]), args.seconds)
                upstream.delay_ms.value = 0
                time.sleep(2)
                rounds.append(Phases(alone, busy, flooded, phase(args.seconds)))
                sent.append(asked)
            report(table, probe.end(), rounds, memory)
            table.row("sent: random names / spoofed ANY", " / ".join(f"{sum(count):,}" for count in zip(*sent)))
            for limit, count in limits(server):
                table.row(f"bound that was met: {limit}", count)
    finally:
        upstream.end()
    return table.met


def fill(server, work, count):
    """Answers that nobody will ask for again, more than the cache has room for."""
    lab.write_misses(work / "filling.questions", "filling", count)
    lab.load(server.port, work / "filling.questions", 120, once=True)


def phase(seconds):
    began = time.time_ns()
    time.sleep(seconds)
    return began, time.time_ns()


def under(flood, seconds):
    """A phase with a flood, and what that sent."""
    # Until then upstream has everything that it will have at once.
    time.sleep(BEGINNING)
    span = phase(seconds)
    if flood.process.poll() is not None:
        sys.exit("the flood ended before its time")
    return span, flood.end()


def report(table, seen, rounds, memory):
    titles = {"alone": "alone", "busy": "among as many harmless questions", "flooded": "during the floods", "after": "after them"}
    rss = {}
    for which, title in titles.items():
        spans = [getattr(phases, which) for phases in rounds]
        latency = Latency(seen, spans)
        rss[which] = [memory.highest(*span) for span in spans]
        table.row(f"{title}: latency of hits, p50 / p99 / highest", f"{latency} µs")
        table.none(f"{title}: hits lost", latency.lost, f" of {latency.asked}")
        table.row(f"{title}: RSS at the highest", f"{max(rss[which]):.0f} MiB")
    each = [Phases(*(Latency(seen, [span]) for span in phases)) for phases in rounds]
    # The middle one of the rounds' ratios: a machine that others use as well has a bad second now and then, in any phase.
    ratio = lambda of, beside, share: statistics.median(getattr(getattr(one, of), share) / getattr(getattr(one, beside), share) for one in each)
    table.row("p50 / p99 during the floods beside harmless questions", f"{ratio('flooded', 'busy', 'p50'):.2f} × / {ratio('flooded', 'busy', 'p99'):.2f} ×")
    table.row("p99 of the rounds, alone and during the floods", ", ".join(f"{one.alone.p99:.0f}–{one.flooded.p99:.0f}" for one in each) + " µs")
    table.at_most("p50 during the floods beside alone", ratio("flooded", "alone", "p50"), LATENCY_RATIO_MAX)
    table.at_most("p99 during the floods beside alone", ratio("flooded", "alone", "p99"), LATENCY_RATIO_MAX)
    table.at_most("p99 after them beside alone", ratio("after", "alone", "p99"), LATENCY_RATIO_MAX)
    table.at_most("RSS during any floods beside before the first", max(rss["flooded"]) / rss["alone"][0], MEMORY_RATIO_MAX)
    table.at_most("RSS during the last floods beside the first", rss["flooded"][-1] / rss["flooded"][0], GROWTH_RATIO_MAX)


class Memory:
    """Looks at a process's memory ten times a second."""

    def __init__(self, pid):
        self.pid, self.seen, self.stop = pid, [], threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.stop.wait(0.1):
            with contextlib.suppress(FileNotFoundError, AttributeError):
                self.seen.append((time.time_ns(), lab.rss_mib(self.pid)))

    def highest(self, began, ended):
        """In MiB, between two moments."""
        return max(rss for at, rss in self.seen if began <= at <= ended)


def limits(server):
    """Our bounds that were met, and how often (`lachan_limit_hits_total`)."""
    with urllib.request.urlopen(f"http://{lab.ADDRESS}:{server.admin}/metrics", timeout=10) as page:
        found = re.findall(r'^lachan_limit_hits_total\{limit="(\w+)"\} (\d+)', page.read().decode(), re.M)
    return [(limit, int(count)) for limit, count in found if count != "0"]
