"""The servers that are measured: what each reads, and how it is started with one worker on one core.

Each has the list in the form that blocks a name and all below it fastest, a cache that holds all that is asked, and what its
own documentation advises on performance; a line that is there for that alone says so.
"""

import os
import shutil
import string
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import lab


class Server(NamedTuple):
    """Its program, the words after it, its file of configuration as a template, and the question for its version."""

    program: str
    words: str
    config: tuple
    version: str
    lists: tuple


class Running(NamedTuple):
    """A server that answers."""

    name: str
    version: str
    port: int
    process: subprocess.Popen
    ready: float
    # By transport; those that it can.
    ports: dict = {}


# {text, a line of each name, what stands above them}
LISTS = {
    "list.txt": ("", "{0}\n"),
    "rpz.zone": ("$TTL 300\n@ SOA localhost. root.localhost. 1 3600 600 86400 300\n@ NS localhost.\n", "{0} CNAME .\n*.{0} CNAME .\n"),
    "unbound.zones": ("", 'local-zone: "{0}" always_nxdomain\n'),
    "dnsmasq.list": ("", "address=/{0}/\n"),
}

LACHAN = """
state_directory = "$own"
[listen]
dns = ["$address:$port"]
dot = ["$address:$dot"]
doh = ["$address:$doh"]
doq = ["$address:$doq"]
udp_workers = 1
admin = "off"
[tls]
certificate_file = "$dir/tls/fullchain.pem"
private_key_file = "$dir/tls/privkey.pem"
[[upstream]]
servers = ["udp://$address:$upstream"]
[list.big]
category = "adult"
file = "$dir/list.txt"
match = "subtree"
[profile.default]
block = ["adult"]
"""

UNBOUND = """
server:
    interface: $address@$port
    interface: $address@$dot
    interface: $address@$doh
    tls-port: $dot
    https-port: $doh
    tls-service-pem: "$dir/tls/fullchain.pem"
    tls-service-key: "$dir/tls/privkey.pem"
    do-not-query-localhost: no
    username: ""
    chroot: ""
    directory: "$own"
    pidfile: "$own/pid"
    use-syslog: no
    logfile: "$own/log"
    num-threads: 1
    # "Howto optimise": caches in a proportion of 1 to 2, many ports, and queries half as many; large socket buffers.
    msg-cache-size: 256m
    rrset-cache-size: 512m
    outgoing-range: 8192
    num-queries-per-thread: 4096
    so-rcvbuf: 4m
    so-sndbuf: 4m
    incoming-num-tcp: 1000
    minimal-responses: yes
    module-config: "$modules"
    $local
remote-control:
    control-enable: no
forward-zone:
    name: .
    forward-addr: $address@$upstream
$rpz
"""
UNBOUND_LOCAL = {"modules": "iterator", "local": 'include: "$dir/unbound.zones"', "rpz": ""}
UNBOUND_RPZ = {"modules": "respip iterator", "local": "", "rpz": "rpz:\n    name: rpz.\n    zonefile: $dir/rpz.zone"}

DNSDIST = """
setLocal('$address:$port')
setACL('127.0.0.0/8')
-- One thread for connections too, on the core that it has.
setMaxTCPClientThreads(1)
addTLSLocal('$address:$dot', '$dir/tls/fullchain.pem', '$dir/tls/privkey.pem')
addDOHLocal('$address:$doh', '$dir/tls/fullchain.pem', '$dir/tls/privkey.pem', '/dns-query')
newServer({address='$address:$upstream', healthCheckInterval=5})
$more
-- "Performance tuning": one bind for each core that it may use, and here that is one; a cache for all that is asked.
if setUDPSocketBufferSizes then setUDPSocketBufferSizes(4194304, 4194304) end
getPool(''):setCache(newPacketCache(2000000, {maxTTL=86400}))
listed = newSuffixMatchNode()
for line in io.lines('$dir/list.txt') do listed:add(line) end
addAction(SuffixMatchNodeRule(listed), RCodeAction(DNSRCode.NXDOMAIN))
setSecurityPollSuffix('')
"""

# Two settings that its guide to performance is silent about and its reference has: batches of datagrams, and no record of each
# query, which its defences (dynamic blocks) live on.
DNSDIST_BATCHED = """\
setUDPMultipleMessagesVectorSize(64)
if setRingBuffersOptions then setRingBuffersOptions({recordQueries=false, recordResponses=false}) end
"""

RECURSOR = """
incoming:
  listen: ['$address:$port']
  max_tcp_clients: 1000
recursor:
  threads: 1
  daemon: false
  socket_dir: $own
  forward_zones_recurse:
    - zone: .
      forwarders: ['$address:$upstream']
  rpzs:
    - name: $dir/rpz.zone
outgoing:
  dont_query: []
# "Performance guide": large caches; no validation, as none of the others does.
packetcache:
  max_entries: 1000000
recordcache:
  max_entries: 2000000
dnssec:
  validation: 'off'
logging:
  loglevel: 3
"""

KRESD = """
net.listen('$address', $port, { kind = 'dns' })
net.listen('$address', $dot, { kind = 'tls' })
net.listen('$address', $doh, { kind = 'doh2' })
net.tls('$dir/tls/fullchain.pem', '$dir/tls/privkey.pem')
modules = { 'policy' }
cache.open(1024 * MB, 'lmdb://$own')
trust_anchors.remove('.')
policy.add(policy.rpz(policy.DENY, '$dir/rpz.zone', false))
policy.add(policy.all(policy.STUB('$address@$upstream')))
log_level('crit')
"""

BIND = """
tls own { cert-file "$dir/tls/fullchain.pem"; key-file "$dir/tls/privkey.pem"; };
options {
    directory "$own"; pid-file none; session-keyfile none;
    listen-on port $port { $address; }; listen-on port $dot tls own { $address; };
    listen-on port $doh tls own http default { $address; }; listen-on-v6 { none; };
    forwarders { $address port $upstream; }; forward only;
    recursion yes; dnssec-validation no; querylog no; notify no;
    max-cache-size 1g; recursive-clients 20000; tcp-clients 1000; minimal-responses yes;
    response-policy { zone "rpz"; } qname-wait-recurse no;
};
zone "rpz" { type primary; file "$dir/rpz.zone"; allow-query { none; }; };
controls { };
logging { category default { null; }; };
"""

DNSMASQ = """
port=$port
listen-address=$address
bind-interfaces
no-resolv
no-hosts
user=root
server=$address#$upstream
# Ten thousand is where its manual sees the end of what helps; all clean names fit.
cache-size=10000
dns-forward-max=2000
conf-file=$dir/dnsmasq.list
"""

DNSDIST_WORDS = "--supervised --disable-syslog -C $own/config"

SERVERS = {
    "lachan": Server("lachan", "serve -c $own/config", (LACHAN, {}), "version", ("list.txt",)),
    "unbound": Server("unbound", "-d -c $own/config", (UNBOUND, UNBOUND_LOCAL), "-V", ("unbound.zones",)),
    "unbound-rpz": Server("unbound", "-d -c $own/config", (UNBOUND, UNBOUND_RPZ), "-V", ("rpz.zone",)),
    "dnsdist": Server("dnsdist", DNSDIST_WORDS, (DNSDIST, {"more": ""}), "--version", ("list.txt",)),
    "dnsdist-batched": Server("dnsdist", DNSDIST_WORDS, (DNSDIST, {"more": DNSDIST_BATCHED}), "--version", ("list.txt",)),
    "recursor": Server("pdns_recursor", "--config-dir=$own", (RECURSOR, {}), "--version", ("rpz.zone",)),
    "kresd": Server("kresd", "-n -c $own/config $own", (KRESD, {}), "--version", ("rpz.zone",)),
    "bind": Server("named", "-f -n 1 -c $own/config", (BIND, {}), "-V", ("rpz.zone",)),
    "dnsmasq": Server("dnsmasq", "-k -C $own/config", (DNSMASQ, {}), "--version", ("dnsmasq.list",)),
}
# The transports that a server has a port for, beside UDP and TCP.
ENCRYPTED = {"lachan": ("dot", "doh", "doq")} | {name: ("dot", "doh") for name in ("unbound", "unbound-rpz", "dnsdist", "dnsdist-batched", "kresd", "bind")}
PEERS = [name for name in SERVERS if name != "lachan"]
# Not as its own guide has it, so shown beside the others and no bound for us.
BEYOND_THE_GUIDE = {"dnsdist-batched"}
# The name that a server insists on for its configuration.
FIXED_NAMES = {"recursor": "recursor.yml"}


def write_lists(wanted, listed, work):
    """The list, in each form that one of these servers reads."""
    for form in {form for name in wanted for form in SERVERS[name].lists}:
        above, line = LISTS[form]
        with (work / form).open("w") as file:
            file.write(above)
            file.writelines(line.format(name) for name in listed)


def newest_secure_load():
    """The load that dnsperf cannot make, as cargo built it last."""
    built = [path for path in (lab.ROOT / "target/release/deps").glob("secure_load-*") if os.access(path, os.X_OK) and not path.suffix]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)


def make_certificate(args, work):
    """One for all, of the kind that most have today (ECDSA, P-256)."""
    subprocess.run([args.lachan, "tls", "self-signed", "-o", work / "tls"], check=True, capture_output=True)
    # Peers of another root, and those that give up root, read it too.
    (work / "tls/privkey.pem").chmod(0o644)
    work.chmod(0o755)


def launch(name, args, work, places):
    """Starts a server on a port of its own; `None` when it is not installed. It does not answer yet."""
    server = SERVERS[name]
    root = args.root if name != "lachan" else None
    found = str(args.lachan) if name == "lachan" else lab.program(server.program, root)
    if not found or not Path(f"{root or ''}{found}").exists():
        print(f"{name:15} is not installed{f' in {root}' if root else ''}: left out", flush=True)
        return None
    outer = work / name
    outer.mkdir()
    # The servers of a root see the same folder, by a shorter path.
    seen = lambda path: path if root is None else Path("/") / path.relative_to(root)
    ports = {transport: lab.free_port() for transport in ("port", "dot", "doh", "doq")}
    values = {**places, "dir": seen(work), "own": seen(outer), **ports}
    template, more = server.config
    fill = lambda text: string.Template(text).substitute(values)
    values |= {key: fill(text) for key, text in more.items()}
    (outer / FIXED_NAMES.get(name, "config")).write_text(fill(template))
    inside = ["chroot", root] if root else []
    told = subprocess.run([*inside, found, server.version], capture_output=True, text=True)
    version = version_number(told.stdout + told.stderr)
    process = lab.start(lab.on_core(lab.SERVER_CORE, *inside, found, *fill(server.words).split()), work / f"{name}.log")
    return Running(name, version, values["port"], process, 0.0, {transport: ports[transport] for transport in ENCRYPTED.get(name, ())})


def version_number(told):
    """The first word that begins like a version."""
    words = told.replace("-", " ").split()
    return next((word.rstrip(",") for word in words if word[0].isdigit() and word.count(".") >= 1 and ":" not in word), "?")


def launch_echo(work):
    """The kernel's ceiling (echo.c)."""
    compiler = lab.program("cc") or lab.program("gcc") or sys.exit("cc is not installed, and the echo has to be built")
    subprocess.run([compiler, "-O2", "-Wall", "-o", work / "echo", lab.ROOT / "benches/peers/echo.c"], check=True)
    port = lab.free_port()
    return Running("echo", "", port, lab.start(lab.on_core(lab.SERVER_CORE, work / "echo", port), work / "echo.log"), 0.0)


def answering(running, work, blocked, limit=300):
    """The same with the time that it took to the first answer; `None`, and it is stopped, when it does not answer, or wrongly."""
    ready = lab.wait_for_answer(running.port, running.process, limit)
    problem = None
    if ready is None:
        problem = "does not answer"
    elif running.name != "echo":
        codes = [lab.code_and_address(lab.ask(running.port, name)) for name in (blocked, "www.example.org")]
        if codes != [(lab.NXDOMAIN, None), (lab.NOERROR, lab.CLEAN_ADDRESS)]:
            problem = f"answers wrongly: {blocked} and www.example.org give {codes}"
    if problem is None:
        return running._replace(ready=ready)
    print(f"{running.name:15} {problem}: left out. It says: {(work / f'{running.name}.log').read_text()[-1000:].strip() or 'nothing'}", flush=True)
    lab.stop(running.process)
    return None


def work_folder_parent(root):
    """Where a temporary folder has to be, for the servers of a root to see it."""
    if root is None:
        return None
    if not (root / "tmp").is_dir() or not shutil.which("chroot"):
        sys.exit(f"--root {root} is no folder with a system in it")
    return root / "tmp"
