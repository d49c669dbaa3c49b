"""What the benchmarks on real sockets share: names to ask for, an upstream, dnsperf, processes and what they cost.

It knows no server but the upstream, Knot DNS with a wildcard zone; servers.py does. Everything stays on 127.0.0.1.
"""

import ctypes
import os
import platform
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("LACHAN_TEST_DATA", ROOT / "../shared/data"))
ADDRESS = "127.0.0.1"
CLEAN_ADDRESS = bytes([198, 51, 100, 7])
NOERROR, NXDOMAIN = 0, 3
SERVER_CORE, LOAD_CORE = 0, 1
# Names asked in turn: more than a small cache of hot entries holds, few enough to be warm after two seconds.
QUESTIONS = 100_000
CLEAN_NAMES = 10_000

# Questions that dnsperf has open at once: enough for full batches, few enough that a burst of them fits into a socket's buffer
# of the usual size (212,992 octets, 768 for a small datagram), so that what is lost was lost by a server.
IN_FLIGHT = 250

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
# A day for what is asked again and again, so that nothing is fetched twice; a second for what shall not stay.
ZONE = """\
. 300 SOA ns. root. 1 3600 600 86400 300
. 300 NS ns.
ns. 300 A 127.0.0.1
*. 86400 A 198.51.100.7
*.short. 1 A 198.51.100.7
"""


def read_list(path=None):
    """The listed names: those of the file, else of the shared test data, else made up."""
    packed = DATA / "sets/mixed_1m.txt.zst"
    if path:
        text = path.read_text()
    elif packed.exists() and program("zstd"):
        text = subprocess.run(["zstd", "-dc", packed], check=True, capture_output=True, text=True).stdout
    else:
        rand = random.Random(1)
        text = "".join(f"www{i % 9}.site-{i:x}{rand.randrange(65536):x}.{rand.choice(['com', 'net', 'vn'])}\n" for i in range(1_000_000))
    return [name for name in (line.strip() for line in text.splitlines()) if name and not name.startswith("#")]


def write_questions(listed, work):
    """Files for dnsperf: `hit`, `block`, and `mix`, of which one in ten is blocked."""
    rand = random.Random(7)
    clean = [f"www{i}.site{i % 997}.example{i % 61}.org" for i in range(CLEAN_NAMES)]
    # Zipf, as people ask; of the listed names any, as nobody asks for the same bad one twice.
    hits = rand.choices(clean, [1 / (rank + 1) for rank in range(CLEAN_NAMES)], k=QUESTIONS)
    blocks = [blockable(rand, listed) for _ in range(QUESTIONS)]
    mixes = {"hit": hits, "block": blocks, "mix": [rand.choice(blocks) if rand.random() < 0.1 else hit for hit in hits]}
    for mix, names in mixes.items():
        write_names(work / f"{mix}.questions", names)


def write_misses(path, mark, count, below="org"):
    """Names that nobody has asked for: `mark` has to be another one each time."""
    write_names(path, (f"{mark}-{i:x}.site{i % 997}.example{i % 61}.{below}" for i in range(count)))


def write_names(path, names):
    with path.open("w") as file:
        file.writelines(f"{name} A\n" for name in names)


def blockable(rand, listed):
    """A listed name of three labels or more: shorter ones may be public suffixes, which we spare."""
    while True:
        name = rand.choice(listed)
        if name.count(".") >= 2 and re.fullmatch(r"[a-z0-9._-]+", name):
            return name


def start_upstream(work, places, core=LOAD_CORE):
    (work / "knot").mkdir()
    (work / "root.zone").write_text(ZONE)
    (work / "knot.conf").write_text(KNOT.format(**places))
    knot = start(on_core(core, program("knotd") or sys.exit("knotd is not installed"), "-c", work / "knot.conf"), work / "knot.log")
    if wait_for_answer(places["upstream"], knot, 20) is None:
        sys.exit(f"the upstream does not answer: {(work / 'knot.log').read_text()}")
    return knot


class Load(NamedTuple):
    """What a run of dnsperf saw."""

    rate: float
    answers: int
    lost: int
    codes: dict

    def share(self, code):
        return 100 * self.codes.get(code, 0) / max(self.answers, 1)


def load(port, questions, seconds, clients=50, mode="udp", rate=None, once=False):
    """Runs dnsperf on its core; as fast as answers come unless there is a `rate`."""
    return read_load(subprocess.run(load_line(port, questions, seconds, clients, mode, rate, once), check=True, capture_output=True, text=True).stdout)


def load_line(port, questions, seconds, clients=50, mode="udp", rate=None, once=False, in_flight=IN_FLIGHT):
    options = ["-m", mode, *(["-Q", rate] if rate else []), *(["-n", 1] if once else [])]
    line = on_core(LOAD_CORE, "dnsperf", "-s", ADDRESS, "-p", port, "-d", questions, "-l", seconds, "-c", clients, "-T", 1,
                   "-q", in_flight, "-t", 2, *options)
    return [str(word) for word in line]


def secure_load(tool, what, port, questions, seconds, connections, in_flight=IN_FLIGHT):
    """Runs benches/secure_load.rs on the load's core: `doh`, `doq` or `new`."""
    line = on_core(LOAD_CORE, tool, what, f"{ADDRESS}:{port}", questions, seconds, connections, in_flight)
    return read_load(subprocess.run([str(word) for word in line], check=True, capture_output=True, text=True).stdout)


def read_load(told):
    field = lambda title: re.search(rf"{title}:\s*(.*)", told).group(1).strip()
    codes = {code: int(count) for code, count in re.findall(r"(\w+) (\d+) \(", field("Response codes"))}
    return Load(float(field("Queries per second")), int(field("Queries completed").split()[0]), int(field("Queries lost").split()[0]), codes)


def on_core(core, *line):
    return ["taskset", "-c", core, *line]


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


def wait_for_answer(port, process, limit, name="www.example.org"):
    """Seconds from its start to its first answer."""
    while time.monotonic() - process.began < limit and process.poll() is None:
        if ask(port, name):
            return time.monotonic() - process.began
        time.sleep(0.02)
    return None


def settle(pid):
    """Waits until a start has written down what it keeps: until the process has not worked for a second."""
    before, quiet = cpu_seconds(pid), 0
    while quiet < 5:
        time.sleep(0.2)
        now = cpu_seconds(pid)
        quiet, before = quiet + 1 if now - before < 0.02 else 0, now


def question(name, qtype=1, identity=None):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    identity = random.randrange(65536) if identity is None else identity
    return struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", qtype, 1)


def ask(port, name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        try:
            client.connect((ADDRESS, port))
            client.send(question(name))
            return client.recv(4096)
        except OSError:
            return None


def is_blocked(port, name):
    answer = ask(port, name)
    return answer is not None and answer[3] & 15 == NXDOMAIN


def code_and_address(answer):
    """The code, and the address when there is one record or more; the address ends the answer section."""
    if answer is None:
        return None, None
    code, count = answer[3] & 15, struct.unpack(">H", answer[6:8])[0]
    return code, CLEAN_ADDRESS if count and CLEAN_ADDRESS in answer else None


def cpu_seconds(pid):
    """CPU time of a process and of whatever it started: dnsmasq serves each TCP connection by a child."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    waited_for = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    return waited_for + sum(process_clock(member) for member in family(pid))


def process_clock(pid):
    """Exact, unlike the ticks of /proc/PID/stat: at a low rate these are a tenth of what there is to see."""
    clock = ctypes.c_int()
    known = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)) == 0
    return time.clock_gettime(clock.value) if known else 0.0


def family(pid):
    members = [pid]
    for member in members:
        try:
            for task in Path(f"/proc/{member}/task").iterdir():
                members += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return members


def rss_mib(pid):
    return int(re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def free_port():
    """A port that nobody has, neither for UDP nor for TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            udp.bind((ADDRESS, 0))
            try:
                tcp.bind(udp.getsockname())
            except OSError:
                continue
            return udp.getsockname()[1]


def program(name, root=None):
    """Where a program is, as seen from inside the root."""
    for folder in (os.environ["PATH"] + ":/usr/sbin:/sbin").split(":") if root is None else ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        path = Path(f"{root or ''}{folder}/{name}")
        if path.is_file() and os.access(path, os.X_OK):
            return f"{folder}/{name}"
    return None


def machine():
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    load_before = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{platform.machine()}, {os.cpu_count()} cores, {models[0] if models else 'unknown'}, Linux {platform.release()}, load before {load_before}"
