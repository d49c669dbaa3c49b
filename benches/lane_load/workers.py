"""Does a second worker cost something: what do both share?

One worker on a core, two on a core each, and, for what it tells of the second figure, two servers of one worker on the same two
cores, which share nothing: all are asked in turns at the same rate, by two dnsperf with half of it each. On two cores dnsperf is on one of
them, so the rate has to be low enough for all; and two workers see half as many questions each, so they wake up more often for
fewer at a time. That part of the cost two servers have as well; what two workers cost beyond them is what they share.
"""

import subprocess
from contextlib import ExitStack
from statistics import median

import rig
from rig import lab

RATIO_MAX = 1.1
MIXES = ("hit", "block", "mix")
CORES = (lab.SERVER_CORE, lab.LOAD_CORE)
GENERATORS = 2
CLIENTS = 25


def measure(args, work):
    table = rig.Table(f"## Two workers beside one: {args.rounds} rounds of {args.seconds} s, {args.rate:,} questions a second")
    with ExitStack() as stack:
        port = stack.enter_context(rig.upstream(work))
        start = lambda workers, cores: stack.enter_context(rig.served(args, work, port, workers, cores))
        alone, both, beside = start(1, CORES[:1]), start(2, CORES), start(1, CORES[1:])
        # What is asked, by each generator one.
        ways = {"one": (alone, alone), "two": (both, both), "two servers": (alone, beside)}
        for mix in MIXES:
            of_mix(table, mix, args, work, ways)
    return table.met


def of_mix(table, mix, args, work, ways):
    for servers in ways.values():
        row(servers, mix, 2, args.rate, work)
    order, costs, lost = list(ways), {way: [] for way in ways}, 0
    for number in range(args.rounds):
        at = number % len(order)
        for way in order[at:] + order[:at]:
            cost, missing = row(ways[way], mix, args.seconds, args.rate, work)
            costs[way].append(cost)
            lost += missing
    ratio = lambda way, other: median(a / b for a, b in zip(costs[way], costs[other]))
    table.row(f"{mix}: µs CPU an answer, one / two / two servers", " / ".join(f"{median(of_way):.2f}" for of_way in costs.values()))
    table.at_most(f"{mix}: two workers beside one, median of the rounds", ratio("two", "one"), RATIO_MAX)
    table.row(f"{mix}: two workers beside two servers", f"{ratio('two', 'two servers'):.2f} ×")
    table.none(f"{mix}: questions lost", lost)


def row(servers, mix, seconds, rate, work):
    """CPU µs an answer, and questions lost."""
    pids = {server.process.pid for server in servers}
    clocks = lambda: sum(lab.cpu_seconds(pid) for pid in pids)
    before = clocks()
    lines = [lab.load_line(server.port, work / f"{mix}.questions", seconds, CLIENTS, rate=rate // GENERATORS) for server in servers]
    generators = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for line in lines]
    loads = [lab.read_load(generator.communicate()[0]) for generator in generators]
    return (clocks() - before) * 1e6 / max(sum(load.answers for load in loads), 1), sum(load.lost for load in loads)
