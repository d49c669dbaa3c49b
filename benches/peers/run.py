#!/usr/bin/env python3
"""How much CPU does one answer cost us, and how much Unbound and dnsdist, on the same machine with the same list?

One server at a time on core 0; the load (dnsperf) and the upstream (Knot DNS, a wildcard zone) on core 1. The figure to
compare is the server's CPU time for each answer: the rate can be the load generator's. Everything stays on 127.0.0.1.

    cargo build --release && benches/peers/run.py

Needs two cores, Linux, and from Debian: dnsperf knot unbound dnsdist. A server that is not installed is left out.
"""

import argparse
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.1"
CLEAN_ADDRESS = bytes([198, 51, 100, 7])
NOERROR, NXDOMAIN = 0, 3
# Names asked in turn: more than a small cache of hot entries holds, few enough to be warm after two seconds.
QUESTIONS = 100_000
CLEAN_NAMES = 10_000

KNOT = """
server:
    listen: {address}@{upstream}
    rundir: {dir}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {dir}/knot
zone:
  - domain: .
    file: {dir}/root.zone
    semantic-checks: off
"""
ZONE = ". 300 SOA ns. root. 1 3600 600 86400 300\n. 300 NS ns.\nns. 300 A 127.0.0.1\n*. 300 A 198.51.100.7\n"

LACHAN = """
[listen]
dns = ["{address}:{port}"]
admin = "off"
[[upstream]]
servers = ["udp://{address}:{upstream}"]
[list.big]
category = "adult"
file = "list.txt"
match = "subtree"
[profile.default]
block = ["adult"]
safe_search = false
"""

UNBOUND = """
server:
    interface: {address}@{port}
    do-not-query-localhost: no
    username: ""
    chroot: ""
    directory: "{dir}"
    pidfile: "{dir}/unbound.pid"
    use-syslog: no
    logfile: "{dir}/unbound.log"
    num-threads: 1
    so-rcvbuf: 4m
    so-sndbuf: 4m
    msg-cache-size: 256m
    rrset-cache-size: 256m
    module-config: "{modules}"
    minimal-responses: yes
{local}
remote-control:
    control-enable: no
forward-zone:
    name: .
    forward-addr: {address}@{upstream}
{rpz}
"""

DNSDIST = """
setLocal('{address}:{port}')
setACL('127.0.0.0/8')
newServer({{address='{address}:{upstream}', healthCheckInterval=5}})
getPool(''):setCache(newPacketCache(500000, {{maxTTL=86400}}))
listed = newSuffixMatchNode()
for line in io.lines('{dir}/list.txt') do listed:add(line) end
addAction(SuffixMatchNodeRule(listed), RCodeAction(DNSRCode.NXDOMAIN))
setSecurityPollSuffix('')
"""


def main():
    args = arguments()
    work = Path(tempfile.mkdtemp(prefix="lachan-peers-"))
    listed = read_list(args, work)
    write_questions(listed, work)
    places = {"address": ADDRESS, "dir": work, "upstream": free_port(), "port": free_port()}
    upstream = start_upstream(work, places)
    print(f"# {len(listed)} listed names, {args.seconds} s a row, {args.clients} clients; server on core 0, dnsperf on core 1")
    print(f"{'server':13} {'mix':6} {'us CPU/answer':>13} {'answers/s':>10} {'lost':>6} {'RSS MiB':>8} {'ready s':>8}  rcodes")
    good = True
    try:
        for server in args.servers.split(","):
            good &= measure(server, args, work, places, listed)
    finally:
        stop(upstream)
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if good else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lachan", default=ROOT / "target/release/lachan", type=Path, help="the binary of ours")
    parser.add_argument("--list", type=Path, help="names, one a line [default: sets/mixed_1m.txt.zst of the test data]")
    parser.add_argument("--seconds", default=10, type=int, help="of load for each row [10]")
    parser.add_argument("--clients", default=50, type=int, help="sockets that dnsperf asks from [50]")
    parser.add_argument("--mixes", default="hit,block,mix", help="hit, block, mix (one in ten is blocked)")
    parser.add_argument("--servers", default="lachan,unbound,unbound-rpz,dnsdist")
    return parser.parse_args()


def read_list(args, work):
    """The listed names, also as work/list.txt: those of the file, else of the shared test data, else made up."""
    data = Path(os.environ.get("LACHAN_TEST_DATA", ROOT / "../shared/data"))
    packed = data / "sets/mixed_1m.txt.zst"
    if args.list:
        text = args.list.read_text()
    elif packed.exists() and shutil.which("zstd"):
        text = subprocess.run(["zstd", "-dc", packed], check=True, capture_output=True, text=True).stdout
    else:
        rand = random.Random(1)
        text = "".join(f"www{i % 9}.site-{i:x}{rand.randrange(65536):x}.{rand.choice(['com', 'net', 'vn'])}\n" for i in range(1_000_000))
    names = [name for name in (line.strip() for line in text.splitlines()) if name and not name.startswith("#")]
    (work / "list.txt").write_text("".join(f"{name}\n" for name in names))
    return names


def write_questions(listed, work):
    rand = random.Random(7)
    clean = [f"www{i}.site{i % 997}.example{i % 61}.org" for i in range(CLEAN_NAMES)]
    # Zipf, as people ask; of the listed names any, as nobody asks for the same bad one twice.
    hits = rand.choices(clean, [1 / (rank + 1) for rank in range(CLEAN_NAMES)], k=QUESTIONS)
    blocks = [blockable(rand, listed) for _ in range(QUESTIONS)]
    mixes = {"hit": hits, "block": blocks, "mix": [rand.choice(blocks) if rand.random() < 0.1 else hit for hit in hits]}
    for mix, names in mixes.items():
        (work / f"{mix}.questions").write_text("".join(f"{name} A\n" for name in names))


def blockable(rand, listed):
    """A listed name of three labels or more: shorter ones may be public suffixes, which we spare."""
    while True:
        name = rand.choice(listed)
        if name.count(".") >= 2 and re.fullmatch(r"[a-z0-9._-]+", name):
            return name


def start_upstream(work, places):
    (work / "knot").mkdir()
    (work / "root.zone").write_text(ZONE)
    (work / "knot.conf").write_text(KNOT.format(**places))
    knot = start(["taskset", "-c", "1", program("knotd") or sys.exit("knotd is not installed"), "-c", work / "knot.conf"], work / "knot.log")
    if wait_for_answer(places["upstream"], knot, 20) is None:
        sys.exit(f"the upstream does not answer: {(work / 'knot.log').read_text()}")
    return knot


def command(server, args, work, places, listed):
    """Writes a server's configuration; the command that starts it, or None when it is not installed."""
    if server == "lachan":
        (work / "lachan.toml").write_text(LACHAN.format(**places))
        return [args.lachan, "serve", "-c", work / "lachan.toml"] if args.lachan.exists() else None
    if server.startswith("unbound"):
        local, rpz, modules = "", "", "iterator"
        if server == "unbound":
            (work / "unbound.zones").write_text("".join(f'local-zone: "{name}" always_nxdomain\n' for name in listed))
            local = f'    include: "{work}/unbound.zones"'
        else:
            zone = "$TTL 300\n@ SOA localhost. root.localhost. 1 3600 600 86400 300\n@ NS localhost.\n"
            (work / "rpz.zone").write_text(zone + "".join(f"{name} CNAME .\n*.{name} CNAME .\n" for name in listed))
            rpz, modules = f"rpz:\n    name: rpz.\n    zonefile: {work}/rpz.zone", "respip iterator"
        (work / "unbound.conf").write_text(UNBOUND.format(local=local, rpz=rpz, modules=modules, **places))
        return program("unbound") and [program("unbound"), "-d", "-c", work / "unbound.conf"]
    if server == "dnsdist":
        (work / "dnsdist.conf").write_text(DNSDIST.format(**places))
        return program("dnsdist") and [program("dnsdist"), "--supervised", "--disable-syslog", "-C", work / "dnsdist.conf"]
    sys.exit(f"unknown server {server!r}: lachan, unbound, unbound-rpz or dnsdist")


def measure(server, args, work, places, listed):
    """A row for each mix. False: it does not run, or answered wrongly."""
    started_as = command(server, args, work, places, listed)
    if not started_as:
        print(f"{server:13} is not installed: left out")
        return True
    process = start(["taskset", "-c", "0", *started_as], work / f"{server}.log")
    try:
        ready = wait_for_answer(places["port"], process, 300)
        if ready is None:
            print(f"{server:13} did not answer: {(work / f'{server}.log').read_text()[-2000:]}")
            return False
        blocked = (work / "block.questions").read_text().split()[0]
        codes = [code_and_address(ask(places["port"], name)) for name in (blocked, "www.example.org")]
        if codes != [(NXDOMAIN, None), (NOERROR, CLEAN_ADDRESS)]:
            print(f"{server:13} answers wrongly: {blocked} and www.example.org give {codes}")
            return False
        return all([row(server, mix, args, work, places, process, ready) for mix in args.mixes.split(",")])
    finally:
        stop(process)


def row(server, mix, args, work, places, process, ready):
    load(mix, 3, args, work, places)
    before = cpu_seconds(process.pid)
    rate, answers, lost, codes = load(mix, args.seconds, args, work, places)
    micros = (cpu_seconds(process.pid) - before) * 1e6 / max(answers, 1)
    print(f"{server:13} {mix:6} {micros:13.2f} {rate:10.0f} {lost:6d} {rss_mib(process.pid):8.0f} {ready:8.2f}  {codes}", flush=True)
    return is_right(mix, codes)


def is_right(mix, codes):
    """Whether the codes are the mix's; up to one listed name in a hundred may be spared (protected names)."""
    shares = {code: float(share) for code, share in re.findall(r"(\w+) \d+ \(([\d.]+)%\)", codes)}
    nxdomain = {"hit": (0, 0), "block": (99, 100), "mix": (9, 11)}[mix]
    right = nxdomain[0] <= shares.get("NXDOMAIN", 0) <= nxdomain[1] and set(shares) <= {"NXDOMAIN", "NOERROR"}
    if not right:
        print(f"{'':13} {mix}: these are not the codes it should give")
    return right


def load(mix, seconds, args, work, places):
    """Runs dnsperf: answers a second, answers, lost, the line of response codes."""
    told = subprocess.run(
        ["taskset", "-c", "1", "dnsperf", "-s", ADDRESS, "-p", str(places["port"]), "-d", work / f"{mix}.questions",
         "-l", str(seconds), "-c", str(args.clients), "-T", "1", "-q", "500", "-t", "2"],
        check=True, capture_output=True, text=True).stdout
    field = lambda title: re.search(rf"{title}:\s*(.*)", told).group(1).strip()
    return float(field("Queries per second")), int(field("Queries completed").split()[0]), int(field("Queries lost").split()[0]), field("Response codes")


def start(line, log):
    process = subprocess.Popen([str(word) for word in line], stdout=open(log, "w"), stderr=subprocess.STDOUT)
    process.began = time.monotonic()
    return process


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_answer(port, process, limit):
    """Seconds from its start to its first answer."""
    while time.monotonic() - process.began < limit and process.poll() is None:
        if ask(port, "www.example.org"):
            return time.monotonic() - process.began
        time.sleep(0.02)
    return None


def ask(port, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    message = struct.pack(">HHHHHH", random.randrange(65536), 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        try:
            client.connect((ADDRESS, port))
            client.send(message)
            return client.recv(4096)
        except OSError:
            return None


def is_blocked(port, name):
    answer = ask(port, name)
    return answer is not None and answer[3] & 15 == NXDOMAIN


def code_and_address(answer):
    """The code, and the address when there is one record or more; the address ends the answer section."""
    code, count = answer[3] & 15, struct.unpack(">H", answer[6:8])[0]
    return code, CLEAN_ADDRESS if count and CLEAN_ADDRESS in answer else None


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid):
    return int(re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


def program(name):
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


if __name__ == "__main__":
    main()
