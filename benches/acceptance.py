#!/usr/bin/env python3
"""Does it hold with a million real names: both families, `explain`, a reload under load, a broken file?

Starts Knot DNS (a wildcard zone) and `lachan serve -c FILE` on loopback, with three real lists of the test data; asks with dig
and dnsperf; prints what it saw and exits 1 if something is not as it should be.

    cargo build --release && benches/acceptance.py [PATH OF lachan]

Needs from Debian: knot dnsperf bind9-dnsutils zstd; and the test data: LACHAN_TEST_DATA, else ../shared/data.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LACHAN = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/lachan")
DATA = Path(os.environ.get("LACHAN_TEST_DATA", ROOT / "../shared/data"))
# Name of the list, its category, its file among the test data; one of each format.
LISTS = [
    ("mixed", "adult", "sets/mixed_1m.txt.zst"),
    ("hosts", "gambling", "adguard/urlfilter_hosts.zst"),
    ("chongluadao", "phishing", "chongluadao/urls-ABP.txt.zst"),
]
ZONE = ". 300 SOA ns. root. 1 3600 600 86400 300\n. 300 NS ns.\nns. 300 A 127.0.0.1\n*. 300 A 198.51.100.7\n*. 300 AAAA 2001:db8::7\n"
LOAD_SECONDS = 40
# Questions a second for each family: well below what one core answers, so that a loss is ours.
LOAD_RATE = 5000

failures = []


def check(what, good, seen=""):
    print(f"{'ok  ' if good else 'FAIL'} {what}{f': {seen}' if seen != '' else ''}", flush=True)
    if not good:
        failures.append(what)


def main():
    work = Path(tempfile.mkdtemp(prefix="lachan-acceptance-"))
    processes = []
    try:
        run(work, processes)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
        shutil.rmtree(work, ignore_errors=True)
    print("failed: " + "; ".join(failures) if failures else "all good")
    sys.exit(1 if failures else 0)


def run(work, processes):
    dns, admin, upstream = free_port(), free_port(), free_port()
    for name, _, source in LISTS:
        (work / f"{name}.txt").write_bytes(subprocess.run(["zstd", "-dc", DATA / source], check=True, capture_output=True).stdout)
    start_upstream(work, upstream, processes)
    config = work / "lachan.toml"
    config.write_text(configuration(dns, admin, upstream))

    began = time.monotonic()
    log = open(work / "lachan.log", "w")
    server = subprocess.Popen([LACHAN, "serve", "-c", config], stdout=log, stderr=log)
    processes.append(server)
    check("first answer", within(60, lambda: dig(dns, "www.example.org A") == "198.51.100.7"), f"{time.monotonic() - began:.2f} s")
    print(*(work / "lachan.log").read_text().splitlines()[:4], sep="\n")
    status = told(admin, "status")
    rules = sum(entry["rules"] for entry in status["lists"])
    check("a million names", rules >= 1_000_000, f"{rules} rules; RSS {rss_mib(server.pid)} MiB")

    picks = pick(work)
    for at in ("127.0.0.1", "::1"):
        for how in ("+notcp", "+tcp"):
            for qtype, clean in (("A", "198.51.100.7"), ("AAAA", "2001:db8::7")):
                check(f"@{at} {how} clean {qtype}", dig(dns, f"www.example.org {qtype} {how}", at) == clean)
            codes = {dig_code(dns, f"{name} {qtype} {how}", at) for name, *_ in picks for qtype in ("A", "AAAA", "HTTPS", "TXT")}
            check(f"@{at} {how} blocked, four types", codes == {"NXDOMAIN"}, codes)
    for name, listed_in, line in picks:
        seen = json.loads(subprocess.run([LACHAN, "explain", name, "--json", "-c", config], check=True, capture_output=True).stdout)
        wanted = {"verdict": "block", "list": listed_in, "file": str(work / f"{listed_in}.txt"), "line": line}
        check(f"explain {name}", {key: seen.get(key) for key in wanted} == wanted, f"{seen.get('list')} {seen.get('file')}:{seen.get('line')}")

    loads = [start_load(work, dns, at) for at in ("127.0.0.1", "::1")]
    processes += loads
    time.sleep(2)
    under_load(work, config, dns, admin, server, picks)
    for at, load in zip(("127.0.0.1", "::1"), loads):
        output = load.communicate()[0]
        field = lambda title: re.search(rf"{title}:\s*(.*)", output).group(1)
        check(f"dnsperf @{at}: none lost", field("Queries lost").startswith("0 "),
              f"sent {field('Queries sent')}, lost {field('Queries lost')}, {field('Response codes')}, slowest {field('Average Latency .s.')}")
        processes.remove(load)
    print(f"     RSS at the end {rss_mib(server.pid)} MiB")


def under_load(work, config, dns, admin, server, picks):
    """One line more; a broken configuration; a broken list; each by SIGHUP while dnsperf asks."""
    small, big = work / "chongluadao.txt", work / "mixed.txt"
    new = "added-later.example.net"
    check("the new name is clean at first", dig_code(dns, f"{new} A") == "NOERROR")
    with small.open("a") as file:
        file.write(f"\n||{new}^\n")
    began = time.monotonic()
    server.send_signal(signal.SIGHUP)
    within(20, lambda: dig_code(dns, f"{new} A") == "NXDOMAIN")
    took = time.monotonic() - began
    check("SIGHUP to the new name blocked in < 2 s", took < 2, f"{took:.2f} s (reload itself {told(admin, 'status')['last_reload']['took_ms']} ms)")

    settled(admin)
    good, generation = config.read_text(), told(admin, "status")["generation"]
    config.write_text(good.replace("[profile.default]", "[profile.default]\nblok = 1"))
    server.send_signal(signal.SIGHUP)
    failed = within(20, lambda: told(admin, "status")["last_reload"]["result"] == "failed")
    status = told(admin, "status")
    check("a broken configuration changes nothing", failed and status["generation"] == generation, status["last_reload"]["errors"])
    check("and what was blocked still is", dig_code(dns, f"{new} A") == "NXDOMAIN")
    config.write_text(good)
    server.send_signal(signal.SIGHUP)
    check("mended, it reloads", within(20, lambda: told(admin, "status")["last_reload"]["result"] == "ok"))

    name = picks[0][0]
    text = big.read_bytes()
    replace(big, b"<!doctype html><html><title>404</title></html>\n")
    server.send_signal(signal.SIGHUP)
    partial = within(20, lambda: told(admin, "status")["last_reload"]["result"] == "partial")
    check("a broken list is told", partial, told(admin, "status")["last_reload"]["errors"])
    check("and its names are still blocked", dig_code(dns, f"{name} A") == "NXDOMAIN")
    replace(big, text)
    server.send_signal(signal.SIGHUP)
    check("mended, it reloads", within(20, lambda: told(admin, "status")["last_reload"]["result"] == "ok"))


def settled(admin):
    """Waits until no reload follows on another for a while: a watched file that changes reloads by itself too."""
    generation, since = None, time.monotonic()
    while time.monotonic() - since < 4:
        now = told(admin, "status")["generation"]
        if now != generation:
            generation, since = now, time.monotonic()
        time.sleep(0.1)


def configuration(dns, admin, upstream):
    lists = "".join(f'[list.{name}]\ncategory = "{category}"\nfile = "{name}.txt"\nmatch = "subtree"\n' for name, category, _ in LISTS)
    return (
        f'[listen]\ndns = ["127.0.0.1:{dns}", "[::1]:{dns}"]\nadmin = "127.0.0.1:{admin}"\n'
        f'[[upstream]]\nservers = ["udp://127.0.0.1:{upstream}", "udp://[::1]:{upstream}"]\n'
        f'{lists}[profile.default]\nblock = ["adult", "gambling"]\n'
    )


def start_upstream(work, port, processes):
    (work / "root.zone").write_text(ZONE)
    (work / "knot.conf").write_text(
        f"server:\n    listen: [127.0.0.1@{port}, ::1@{port}]\n    rundir: {work}\ndatabase:\n    storage: {work}/knot\n"
        f"zone:\n  - domain: .\n    file: {work}/root.zone\n    semantic-checks: off\n"
    )
    (work / "knot").mkdir()
    knotd = shutil.which("knotd", path=os.environ["PATH"] + ":/usr/sbin")
    knot = subprocess.Popen([knotd, "-c", work / "knot.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    processes.append(knot)
    check("upstream", within(20, lambda: dig(port, "x.example A") == "198.51.100.7"))


def pick(work):
    """Five names with list and line, from different depths of the files.

    A name of the first two lists is in no other list, nor is its parent; the third is a security list, which comes first.
    """
    patterns = {"mixed": r"((?:[a-z0-9-]+\.){2}(?:com|net))", "hosts": r"0\.0\.0\.0 ([a-z0-9-]+\.com)", "chongluadao": r"\|\|([a-z0-9-]+\.com)\^"}
    lines = {name: (work / f"{name}.txt").read_text().splitlines() for name in patterns}
    holders = {}
    for listed_in, text in lines.items():
        for name in {line.split()[-1].strip("|^") for line in text if line.strip()}:
            holders.setdefault(name, []).append(listed_in)
    picked = []
    for listed_in, share in (("mixed", 0.1), ("mixed", 0.5), ("mixed", 0.9), ("hosts", 0.5), ("chongluadao", 0.5)):
        text = lines[listed_in]
        for number in range(int(len(text) * share), len(text)):
            found = re.fullmatch(patterns[listed_in], text[number])
            name = found and found.group(1)
            alone = name and holders[name] == [listed_in] and name.partition(".")[2] not in holders
            if name and (alone or listed_in == "chongluadao"):
                picked.append((name, listed_in, number + 1))
                break
    check("five names picked", len(picked) == 5, len(picked))
    return picked


def start_load(work, dns, at):
    questions = work / "load.questions"
    if not questions.exists():
        questions.write_text("".join(f"www{i % 3000}.site.example.org A\n" for i in range(30_000)))
    line = ["dnsperf", "-s", at, "-p", str(dns), "-d", questions, "-l", str(LOAD_SECONDS), "-Q", str(LOAD_RATE), "-c", "10", "-t", "5"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True)


def replace(path, octets):
    """As an updater does: a new file in the old one's place."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(octets)
    fresh.rename(path)


def dig(port, question, at="127.0.0.1"):
    return subprocess.run(["dig", f"@{at}", "-p", str(port), *question.split(), "+short", "+time=1", "+tries=1"], capture_output=True, text=True).stdout.strip()


def dig_code(port, question, at="127.0.0.1"):
    shown = subprocess.run(["dig", f"@{at}", "-p", str(port), *question.split(), "+time=1", "+tries=1"], capture_output=True, text=True).stdout
    found = re.search(r"status: (\w+)", shown)
    return found.group(1) if found else "no answer"


def told(admin, what):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/v1/{what}", timeout=5) as answer:
        return json.load(answer)


def within(seconds, holds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False


def rss_mib(pid):
    return int(re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) // 1024


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
