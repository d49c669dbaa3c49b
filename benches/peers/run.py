#!/usr/bin/env python3
"""How much CPU does one answer cost us, and how much others, on the same machine with the same list?

All servers run at once on ports of their own, with one worker each on core 0; dnsperf and the upstream (Knot DNS, a wildcard
zone) have core 1. They are asked in turns, round by round: a bare echo (the kernel's ceiling), ours, the peers. What counts is
the server's CPU time for each answer, as the median over the rounds, and the median of each round's ratio: the machine's moods
meet all of a round. The rate can be the load generator's.

    cargo build --release && benches/peers/run

Needs Linux, two cores, and from Debian: gcc dnsperf knot zstd, and of unbound dnsdist pdns-recursor knot-resolver bind9 dnsmasq
those that are to be compared. Exits 1 when an answer of ours is wrong.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

import lab
import servers

MIXES = ("hit", "block", "mix", "miss", "tcp", "dot", "doh", "doq", "new")
# Hits over connections that stay, by transport; and each over a new one of TLS.
STREAMS = ("tcp", "dot", "doh", "doq", "new")
# More than a server answers in a second, so that a row does not run out of names that nobody has asked for.
MISSES_A_SECOND = 150_000
# Connections that questions share.
CONNECTIONS = 50
# Connections being made at once.
NEW_AT_ONCE = 20
LOST_SHARE_MAX = 0.001
# What we hold ourselves to: the most that we may cost beside the echo, and beside the best peer.
ECHO_RATIO_MAX = {"hit": 1.25, "block": 1.25, "mix": 1.25}
PEER_RATIO_MAX = {"hit": 0.8, "block": 0.7, "mix": 0.8, "miss": 1.0, "tcp": 0.85, "dot": 0.85, "doh": 0.85, "new": 1.0}


def main():
    args = arguments()
    for tool in ("dnsperf", "knotd", "taskset"):
        lab.program(tool) or sys.exit(f"{tool} is not installed")
    work = Path(tempfile.mkdtemp(prefix="lachan-peers-", dir=servers.work_folder_parent(args.root)))
    running, upstream = [], None
    try:
        listed = lab.read_list(args.list)
        lab.write_questions(listed, work)
        wanted = [name for name in args.servers.split(",") if name]
        servers.write_lists(wanted, listed, work)
        servers.make_certificate(args, work)
        places = {"address": lab.ADDRESS, "dir": work, "upstream": lab.free_port()}
        upstream = lab.start_upstream(work, places)
        print(f"# {lab.machine()}\n# {len(listed)} listed names; {args.rounds} rounds of {args.seconds} s, {args.clients} clients; "
              f"servers on core {lab.SERVER_CORE}, dnsperf and Knot DNS on core {lab.LOAD_CORE}", flush=True)
        started = [servers.launch_echo(work)] + [servers.launch(name, args, work, places) for name in wanted]
        blocked = (work / "block.questions").read_text().split()[0]
        running = [server for server in started if server]
        running = [server for server in (servers.answering(server, work, blocked) for server in running) if server]
        rounds = {mix: measure(mix, args, work, running) for mix in args.mixes.split(",")}
        good = report(rounds, running)
    finally:
        for server in running:
            lab.stop(server.process)
        if upstream:
            lab.stop(upstream)
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if good and any(server.name == "lachan" for server in running) == ("lachan" in wanted) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lachan", default=lab.ROOT / "target/release/lachan", type=Path, help="the binary of ours")
    parser.add_argument("--root", type=Path, help="a folder with a newer Debian, in which the peers are installed and run (chroot)")
    parser.add_argument("--list", type=Path, help="names, one a line [default: sets/mixed_1m.txt.zst of the test data]")
    parser.add_argument("--rounds", default=7, type=int, help="[7]")
    parser.add_argument("--seconds", default=3, type=int, help="of load for each server in each round [3]")
    parser.add_argument("--clients", default=50, type=int, help="sockets that dnsperf asks from [50]")
    parser.add_argument("--mixes", default=",".join(MIXES), help="hit, block, mix (one in ten is blocked), miss (each name once); hits by tcp, dot, doh, doq; new (each over a connection of TLS)")
    parser.add_argument("--secure-load", type=Path, help="the load for doh, doq and new [the newest target/release/deps/secure_load-*]")
    parser.add_argument("--servers", default=",".join(servers.SERVERS), help="[all that are installed]")
    args = parser.parse_args()
    unknown = [word for word in args.mixes.split(",") if word not in MIXES]
    unknown += [word for word in args.servers.split(",") if word and word not in servers.SERVERS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; mixes are {', '.join(MIXES)}, servers {', '.join(servers.SERVERS)}")
    args.root = args.root and args.root.resolve()
    args.lachan = args.lachan.resolve()
    if {"doh", "doq", "new"} & set(args.mixes.split(",")) and not args.secure_load:
        args.secure_load = servers.newest_secure_load() or parser.error("cargo build --release --bench secure_load")
    return args


def measure(mix, args, work, running):
    """For each server, the load and the CPU µs an answer of each round."""
    # The echo has no upstream to ask and no TCP.
    transport = {"new": "dot"}.get(mix, mix)
    asked = [server for server in running if server.name != "echo" or mix in ECHO_RATIO_MAX]
    if transport in ("dot", "doh", "doq"):
        asked = [server for server in asked if transport in server.ports]
    if mix != "miss":
        for server in asked:
            row(mix, 2, args, work, server)
    rounds = {server.name: [] for server in asked}
    for number in range(args.rounds):
        if mix == "miss":
            lab.write_misses(work / "miss.questions", f"round{number}", MISSES_A_SECOND * args.seconds)
        # Nobody is always first, or always behind the same one.
        for server in asked[number % len(asked):] + asked[: number % len(asked)]:
            rounds[server.name].append(row(mix, args.seconds, args, work, server))
    return rounds


def row(mix, seconds, args, work, server):
    questions = work / f"{'hit' if mix in STREAMS else mix}.questions"
    before = lab.cpu_seconds(server.process.pid)
    if mix in ("doh", "doq"):
        load = lab.secure_load(args.secure_load, mix, server.ports[mix], questions, seconds, CONNECTIONS)
    elif mix == "new":
        load = lab.secure_load(args.secure_load, "new", server.ports["dot"], questions, seconds, NEW_AT_ONCE)
    elif mix in STREAMS:
        load = lab.load(server.ports.get(mix, server.port), questions, seconds, CONNECTIONS, mode=mix)
    else:
        load = lab.load(server.port, questions, seconds, args.clients, once=mix == "miss")
    return load, (lab.cpu_seconds(server.process.pid) - before) * 1e6 / max(load.answers, 1)


def report(rounds, running):
    """The table, and the musts below it. Whether all answers of ours are right."""
    wrong = {}
    print(f"\n| {'mix':5} | {'server':24} | {'µs CPU/answer':>13} | {'of echo':>8} | {'answers/s':>9} | {'lost':>6} | {'RSS MiB':>7} | {'ready s':>7} | answers")
    print(f"|{'-' * 7}|{'-' * 26}|{'-' * 15}|{'-' * 10}|{'-' * 11}|{'-' * 8}|{'-' * 9}|{'-' * 9}|---")
    for mix, of_mix in rounds.items():
        for server in running:
            if server.name not in of_mix:
                continue
            total = total_of(of_mix[server.name])
            if problem := what_is_wrong(mix, server.name, total):
                wrong[mix, server.name] = problem
            ratio = ratio_of(of_mix, server.name, "echo")
            print(f"| {mix:5} | {f'{server.name} {server.version}':24} | {median(cost for _, cost in of_mix[server.name]):13.2f} | {show(ratio):>8} "
                  f"| {total.rate:9.0f} | {total.lost:6d} | {lab.rss_mib(server.process.pid):7.0f} | {server.ready:7.2f} | {problem or 'right'}")
    musts(rounds, wrong)
    return not any(name == "lachan" for _, name in wrong)


def total_of(rows):
    codes = {}
    for load, _ in rows:
        for code, count in load.codes.items():
            codes[code] = codes.get(code, 0) + count
    loads = [load for load, _ in rows]
    return lab.Load(median(load.rate for load in loads), sum(load.answers for load in loads), sum(load.lost for load in loads), codes)


def what_is_wrong(mix, name, total):
    """A row counts only when its answers are the mix's; a few listed names are spared (protected names)."""
    asked = total.answers + total.lost
    if total.answers == 0 or total.lost > LOST_SHARE_MAX * asked:
        return f"wrong: lost {100 * total.lost / max(asked, 1):.2f} %"
    if name == "echo":
        return None
    blocked, clean = total.share("NXDOMAIN"), total.share("NOERROR")
    right = {"block": blocked >= 99.5, "mix": 9 <= blocked <= 11 and blocked + clean >= 99.9}.get(mix, clean >= 99.9)
    return None if right else f"wrong: {', '.join(f'{code} {total.share(code):.2f} %' for code in total.codes)}"


def ratio_of(of_mix, name, other):
    """The median of each round's ratio; `None` without the other."""
    if name not in of_mix or other not in of_mix:
        return None
    return median(cost / beside for (_, cost), (_, beside) in zip(of_mix[name], of_mix[other]))


def musts(rounds, wrong):
    print(f"\n| {'must':42} | {'figure':>7} | {'bound':>6} |  |\n|{'-' * 44}|{'-' * 9}|{'-' * 8}|---|")
    for mix, bound in ECHO_RATIO_MAX.items():
        must(f"{mix}: beside the echo", None if {(mix, "lachan"), (mix, "echo")} & set(wrong) else ratio_of(rounds.get(mix, {}), "lachan", "echo"), bound)
    for mix, bound in PEER_RATIO_MAX.items():
        of_mix = rounds.get(mix, {})
        right = [] if (mix, "lachan") in wrong else [name for name in servers.PEERS if name in of_mix and (mix, name) not in wrong]
        costs = {name: median(cost for _, cost in of_mix[name]) for name in right if name not in servers.BEYOND_THE_GUIDE}
        best = min(costs, key=costs.get, default=None)
        must(f"{mix}: beside the best peer{f', {best}' if best else ''}", best and ratio_of(of_mix, "lachan", best), bound)
        for name in servers.BEYOND_THE_GUIDE.intersection(right):
            must(f"{mix}: beside {name}", ratio_of(of_mix, "lachan", name), None)


def must(what, ratio, bound):
    verdict = "not measured" if ratio is None else "no must" if bound is None else "met" if ratio <= bound else "not met"
    print(f"| {what:42} | {show(ratio):>7} | {show(bound):>6} | {verdict} |")


def show(ratio):
    return "-" if ratio is None else f"{ratio:.2f} ×"


if __name__ == "__main__":
    main()
