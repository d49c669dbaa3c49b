#!/usr/bin/env python3
"""What does load do to the fast lane: a second worker, a reload, abuse, an hour?

    workers   CPU for each answer with two workers beside one, at the same rate
    reload    latency at half load while a million names are reloaded, beside the same without
    abuse     a well-behaved client's latency and our memory under two floods and a slow upstream at once
    soak      memory and lost answers, minute by minute, at full load and below it

    cargo build --release && benches/lane_load/run workers reload abuse

Each prints a table with its must beside each figure; exits 1 when one is not met. Everything stays on 127.0.0.0/8. Needs Linux, two
cores, and from Debian: dnsperf gcc knot zstd. As root the prober goes first on its core and its figures are steadier.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import rig
from rig import lab

import abuse
import reload
import soak
import workers

QUESTIONS = {"workers": workers.measure, "reload": reload.measure, "abuse": abuse.measure, "soak": soak.measure}


def main():
    args = arguments()
    for tool in ("dnsperf", "knotd", "taskset"):
        lab.program(tool) or sys.exit(f"{tool} is not installed")
    listed = lab.read_list(args.list)
    print(f"# {lab.machine()}\n# {args.lachan}; {len(listed)} listed names", flush=True)
    met = True
    for question in args.questions:
        work = Path(tempfile.mkdtemp(prefix="lachan-load-"))
        try:
            lab.write_questions(listed, work)
            (work / "list.txt").write_text("".join(f"{name}\n" for name in listed))
            met &= QUESTIONS[question](args, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if met else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="+", choices=list(QUESTIONS))
    parser.add_argument("--lachan", default=lab.ROOT / "target/release/lachan", type=Path, help="the binary")
    parser.add_argument("--list", type=Path, help="names, one a line [default: sets/mixed_1m.txt.zst of the test data]")
    parser.add_argument("--rounds", default=7, type=int, help="workers, abuse: rounds; reload: reloads [7]")
    parser.add_argument("--seconds", default=10, type=int, help="of a row, of a phase [10]")
    parser.add_argument("--rate", default=80_000, type=int, help="workers: questions a second, for either number [80,000]")
    parser.add_argument("--probes", default=1_000, type=int, help="reload, abuse: questions a second of the client that is timed [1,000]")
    parser.add_argument("--flood", default=20_000, type=int, help="abuse: questions a second for random names [20,000]")
    parser.add_argument("--spoofed", default=10_000, type=int, help="abuse: ANY questions a second [10,000]")
    parser.add_argument("--cache", default="256 MiB", help="abuse: the cache, as in the configuration [256 MiB]")
    parser.add_argument("--filling", default=2_500_000, type=int, help="abuse: answers that fill it [2,500,000]")
    parser.add_argument("--minutes", default=30, type=int, help="soak: of full load; a tenth as many below it follow [30]")
    args = parser.parse_args()
    args.lachan = args.lachan.resolve()
    return args


if __name__ == "__main__":
    main()
