#!/usr/bin/env python3
"""What do a million names, and ten million, cost: memory, start, compile, reload?

Starts `lachan serve` on loopback with one list and Knot DNS (a wildcard zone) as its upstream, asks 200,000 questions of
the test data's mix, and prints a table with the bounds that we set ourselves. Look-ups by themselves are timed by
`cargo bench --bench engine_lists`, which it runs for the last rows.

    cargo build --release && benches/lists/run

Needs from Debian: dnsperf knot zstd xz-utils; and the test data: LACHAN_TEST_DATA, else ../shared/data.
"""

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches/peers"))
import lab  # noqa: E402  starting servers, asking, reading /proc

DATA = Path(os.environ.get("LACHAN_TEST_DATA", ROOT / "../shared/data"))
QUESTIONS = 200_000
RELOAD_RATE = 20_000
RELOAD_SECONDS = 60
RELOAD_MAX = 600

CONFIG = """
state_directory = "{dir}/state"
[listen]
dns = ["{address}:{port}"]
admin = "{address}:{admin}"
[[upstream]]
servers = ["udp://{address}:{upstream}"]
[list.big]
category = "adult"
{list}
[profile.default]
block = ["adult"]
"""


def main():
    args = arguments()
    for name in ("dnsperf", "knotd", "zstd", "xz"):
        lab.program(name) or sys.exit(f"{name} is not installed")
    work = Path(tempfile.mkdtemp(prefix="lachan-lists-"))
    places = {"address": lab.ADDRESS, "dir": work, "upstream": lab.free_port(), "port": lab.free_port(), "admin": lab.free_port()}
    upstream = lab.start_upstream(work, places)
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"# {platform.machine()}, {os.cpu_count()} cores, {model()}, load before {load}; {args.lachan}")
    print(f"| {'what':66} | {'figure':>20} | {'must':>8} | {'aim':>8} |\n|{'-' * 68}|{'-' * 22}|{'-' * 10}|{'-' * 10}|")
    try:
        write_questions(work)
        small(args, work, places)
        if not args.small_only:
            big(args, work, places)
            look_ups(work / "scale_10m.txt")
    finally:
        lab.stop(upstream)
        shutil.rmtree(work, ignore_errors=True)


def look_ups(text):
    """Times of the index alone, and of a verdict with more and more profiles."""
    wanted = "look_up/(hit_cold|miss)|profiles"
    command = ["cargo", "bench", "--bench", "engine_lists", "--", wanted]
    told = subprocess.run(command, cwd=ROOT, env={**os.environ, "LACHAN_BENCH_LIST": str(text)}, capture_output=True, text=True)
    times = dict(re.findall(r"^(\S+/\S+)\s+time:\s+\[\S+ \S+ (\S+ \S+) ", told.stdout, re.M))
    if not times:
        sys.exit(f"cargo bench told no times:\n{told.stdout}{told.stderr}")
    row("scale_10m: look-up of a name on no list, 3 labels, cold", times["look_up/miss"], ("400 ns", "150 ns"))
    row("scale_10m: look-up of a listed name, cold", times["look_up/hit_cold"], None)
    counts = ("1", "30", "300", "3000")
    row("a verdict with 1 / 30 / 300 / 3,000 profiles", " / ".join(times[f"profiles/{n}"] for n in counts), ("flat", "flat"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lachan", default=ROOT / "target/release/lachan", type=Path, help="the binary")
    parser.add_argument("--small-only", action="store_true", help="leave the ten million names out")
    return parser.parse_args()


def small(args, work, places):
    text = work / "mixed_1m.txt"
    text.write_bytes(unpacked("zstd", DATA / "sets/mixed_1m.txt.zst"))
    served(args, work, places, text, "mixed_1m", {"rss": (40, 24), "start": (1.0, 0.5)})
    compiled = compile_list(args, work, places, text, "mixed_1m", None, octets=(12, 6))
    served(args, work, places, compiled, "mixed_1m, compiled", {"rss": (40, 24), "start": (0.2, 0.05)})


def big(args, work, places):
    text = work / "scale_10m.txt"
    with text.open("wb") as out:
        for line in unpacked("xz", DATA / "sets/scale_10m.rev.txt.xz").split(b"\n"):
            if line:
                out.write(b".".join(reversed(line.split(b"."))) + b"\n")
    compiled = compile_list(args, work, places, text, "scale_10m", (25, 10), octets=(12, 6))
    served(args, work, places, compiled, "scale_10m, compiled", {"rss": (160, 90), "start": None})
    reload_under_load(args, work, places, text)


def served(args, work, places, source, title, bounds):
    """Start to the first blocked answer, and memory after the questions."""
    process, config = start(args, work, places, source)
    try:
        took = first_block(places, process, blocked_name(work))
        row(f"{title}: start to the first blocked answer", f"{took:.2f} s", bounds["start"])
        lab.settle(process.pid)
        row(f"{title}: RSS after the start / at the highest", f"{lab.rss_mib(process.pid):.0f} / {highest_mib(process.pid):.0f} MiB", None)
        row(f"{title}: of that, anonymous / of files", memory_kinds(process.pid), None)
        ask_all(work, places)
        row(f"{title}: RSS after {QUESTIONS:,} questions", f"{lab.rss_mib(process.pid):.0f} MiB", bounds["rss"])
        row(f"{title}: of that, anonymous / of files", memory_kinds(process.pid), None)
    finally:
        lab.stop(process)
        shutil.rmtree(work / "state", ignore_errors=True)


def compile_list(args, work, places, text, title, bounds, octets):
    config = write_config(work, places, text)
    out = work / f"{title}.lachan"
    began, before = time.monotonic(), os.times()
    told = subprocess.run([args.lachan, "lists", "compile", "-c", config, "-o", out, "--json"], check=True, capture_output=True, text=True)
    took, after = time.monotonic() - began, os.times()
    row(f"{title}: compile from text", f"{took:.2f} s", bounds)
    row(f"{title}: CPU of it", f"{after.children_user + after.children_system - before.children_user - before.children_system:.2f} s", None)
    report = json.loads(told.stdout)
    row(f"{title}: the compiled file", f"{out.stat().st_size / 2**20:.0f} MiB", None)
    row(f"{title}: octets a name in the hot structure", f"{report['hot_octets'] / report['names']:.2f}", octets)
    shutil.rmtree(work / "state", ignore_errors=True)
    return out


def reload_under_load(args, work, places, text):
    """A reload of the whole list from its text while dnsperf asks: memory at the highest, questions lost, latency."""
    process, config = start(args, work, places, text)
    try:
        took = first_block(places, process, blocked_name(work))
        row("scale_10m: start from text to the first blocked answer", f"{took:.2f} s", None)
        lab.settle(process.pid)
        row("scale_10m: memory at the highest over the start", f"{highest_mib(process.pid):.0f} MiB", None)
        ask_all(work, places)
        steady = lab.rss_mib(process.pid)
        took = sorted(one_rule(process, config, places, i) for i in range(20))
        figure = f"{took[len(took) // 2]:.0f} / {took[-1]:.0f} ms"
        row("scale_10m: SIGHUP to one more denied name, median / highest of 20", figure, ("50 ms", "50 ms"))
        # A fresh count of the highest, without what the start took.
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        log = work / "load.txt"
        load = subprocess.Popen(
            ["dnsperf", "-v", "-s", lab.ADDRESS, "-p", str(places["port"]), "-d", work / "questions", "-Q", str(RELOAD_RATE),
             "-l", str(RELOAD_SECONDS), "-c", "20", "-T", "1", "-q", "2000", "-t", "5"], stdout=log.open("w"), stderr=subprocess.STDOUT)
        time.sleep(10)
        began = time.monotonic()
        with text.open("a") as file:
            file.write("added-later.example.net\n")
        process.send_signal(signal.SIGHUP)
        while not lab.is_blocked(places["port"], "added-later.example.net"):
            if time.monotonic() - began > RELOAD_MAX:
                sys.exit(f"a reload takes more than {RELOAD_MAX} s: it makes way for everybody, so something else keeps the machine busy")
            time.sleep(0.2)
        took = time.monotonic() - began
        load.wait()
        output = log.read_text(errors="replace")
        row("scale_10m: a reload from text under 20,000 questions a second", f"{took:.1f} s", None)
        row("scale_10m: memory at the highest over steady", f"{highest_mib(process.pid) / steady:.2f}", (3.0, 2.0))
        row("scale_10m: steady memory, compiled by itself", f"{steady:.0f} MiB", None)
        lost = re.search(r"Queries lost:\s*(\d+)", output).group(1)
        row("scale_10m: questions lost", lost, (0, 0))
        times = sorted(float(t) for t in re.findall(r"^> \S+ \S+ \S+ ([\d.]+)$", output, re.M))
        if times:
            at = lambda share: f"{times[min(int(len(times) * share), len(times) - 1)] * 1000:.2f}"
            row("scale_10m: latency p50 / p99 / p99.9 / highest over the load", f"{at(.5)} / {at(.99)} / {at(.999)} / {times[-1] * 1000:.0f} ms", None)
    finally:
        lab.stop(process)


def one_rule(process, config, places, i):
    """Milliseconds until one more denied name is blocked."""
    name = f"denied-by-hand-{i}.example.net"
    # Away from the watcher: it takes a file up a moment later, too.
    time.sleep(1)
    told = re.sub(r"deny = .*\n", "", config.read_text())
    config.write_text(f'{told}deny = ["{name}"]\n')
    began = time.monotonic()
    process.send_signal(signal.SIGHUP)
    while not lab.is_blocked(places["port"], name):
        if time.monotonic() - began > 30:
            sys.exit(f"`{name}` is never blocked")
    return (time.monotonic() - began) * 1000


def start(args, work, places, source):
    config = write_config(work, places, source)
    return lab.start([args.lachan, "serve", "-c", config], work / "lachan.log"), config


def write_config(work, places, source):
    kind = '\nformat = "compiled"' if source.suffix == ".lachan" else '\nformat = "domains"'
    config = work / "bench.toml"
    config.write_text(CONFIG.format(list=f'file = "{source}"{kind}', **places))
    return config


def first_block(places, process, name):
    while time.monotonic() - process.began < 300 and process.poll() is None:
        if lab.is_blocked(places["port"], name):
            return time.monotonic() - process.began
        time.sleep(0.005)
    sys.exit(f"`{name}` is never blocked")


def blocked_name(work):
    return (work / "blocked").read_text()


def write_questions(work):
    """Some of the test data's questions, and a name that both sets list."""
    lines = unpacked("zstd", DATA / "querymix/queries_dev_1m.tsv.zst").decode().splitlines()
    rows = [line.split("\t") for line in random.Random(5).sample(lines, QUESTIONS)]
    (work / "questions").write_text("".join(f"{row[0]} {row[1]}\n" for row in rows))
    (work / "blocked").write_text("www.xvideos.com")


def ask_all(work, places):
    subprocess.run(["dnsperf", "-s", lab.ADDRESS, "-p", str(places["port"]), "-d", work / "questions", "-n", "1", "-c", "20", "-q", "200"],
                   check=True, capture_output=True)


def memory_kinds(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    kind = lambda name: int(re.search(rf"{name}:\s*(\d+)", status).group(1)) / 1024
    return f"{kind('RssAnon'):.0f} / {kind('RssFile'):.0f} MiB"


def highest_mib(pid):
    """Of the process and whatever it started."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def unpacked(tool, path):
    return subprocess.run([tool, "-dc", path], check=True, capture_output=True).stdout


def model():
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else "unknown"


def row(what, figure, bounds):
    must, aim = (str(b) for b in bounds) if bounds else ("", "")
    print(f"| {what:66} | {figure:>20} | {must:>8} | {aim:>8} |", flush=True)


if __name__ == "__main__":
    main()
