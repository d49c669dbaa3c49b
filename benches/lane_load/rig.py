"""What the questions about load share: our server on its core, and the table with its musts."""

import contextlib
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
import lab  # noqa: E402  names, upstream, dnsperf, processes

CONFIG = """
state_directory = "{dir}/state-{port}"
[listen]
dns = ["{address}:{port}"]
udp_workers = {workers}
udp_pinned = {pinned}
admin = "{address}:{admin}"
[[upstream]]
servers = ["udp://{address}:{upstream}"]
[cache]
size = "{cache}"
[list.big]
category = "adult"
file = "list.txt"
format = "domains"
match = "subtree"
[profile.default]
block = ["adult"]
"""


class Served(NamedTuple):
    """Our server, answering."""

    process: object
    port: int
    admin: int


@contextlib.contextmanager
def upstream(work):
    """Knot DNS; its port."""
    port = lab.free_port()
    process = lab.start_upstream(work, {"address": lab.ADDRESS, "dir": work, "upstream": port})
    try:
        yield port
    finally:
        lab.stop(process)


@contextlib.contextmanager
def served(args, work, upstream_port, workers=1, cores=(lab.SERVER_CORE,), cache="256 MiB"):
    """Our server, until the end of the block; of several workers each has a core of these to itself."""
    places = {"address": lab.ADDRESS, "dir": work, "port": lab.free_port(), "admin": lab.free_port(), "upstream": upstream_port}
    config, log = work / f"lachan-{places['port']}.toml", work / f"lachan-{places['port']}.log"
    config.write_text(CONFIG.format(workers=workers, pinned=str(workers > 1).lower(), cache=cache, **places))
    process = lab.start(lab.on_core(",".join(map(str, cores)), args.lachan, "serve", "-c", config), log)
    try:
        if lab.wait_for_answer(places["port"], process, 60) is None:
            sys.exit(f"the server does not answer: {log.read_text()[-2000:]}")
        lab.settle(process.pid)
        yield Served(process, places["port"], places["admin"])
    finally:
        lab.stop(process)


class Table:
    """Rows with a must or without one; whether all musts are met."""

    def __init__(self, title):
        self.met = True
        print(f"\n{title}\n\n| {'what':66} | {'figure':>20} | {'must':>14} |  |\n|{'-' * 68}|{'-' * 22}|{'-' * 16}|---|", flush=True)

    def row(self, what, figure, must="", is_met=None):
        self.met &= is_met is not False
        verdict = {None: "", True: "met", False: "not met"}[is_met]
        print(f"| {what:66} | {figure:>20} | {must:>14} | {verdict} |", flush=True)

    def at_most(self, what, ratio, bound):
        self.row(what, f"{ratio:.2f} ×", f"≤ {bound} ×", ratio <= bound)

    def none(self, what, count, of=""):
        self.row(what, f"{count}{of}", "0", count == 0)


def share(ordered, part):
    """The value below which this part of the sorted values lies."""
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]
