"""Does it last: memory and lost answers, minute by minute, at full load; and below it, where nothing may be lost?

Of ten questions eight are hits, one is blocked, and one is for a name that nobody has asked for. The names are new each
minute and are kept for a second, so that each of them is asked upstream again and again.
"""

import random

import rig
from rig import lab

MEMORY_RATIO_MAX = 1.1
# A server at its limit may lose some: what is lost then tells how it sheds, not that it is broken.
FULL_LOST_SHARE_MAX = 0.001
# The part of the full rate that nothing may be lost at.
BELOW = 0.5
# So that it is full, and throws out, well before the first third is over.
CACHE = "64 MiB"
QUESTIONS = 1_000_000
MINUTE = 60


def measure(args, work):
    below_minutes = max(args.minutes // 10, 1)
    table = rig.Table(f"## Soak: {args.minutes} minutes at full load, {below_minutes} at {BELOW:.0%} of it")
    rand = random.Random(11)
    hits, blocks = ((work / f"{mix}.questions").read_text().splitlines() for mix in ("hit", "block"))
    with rig.upstream(work) as upstream, rig.served(args, work, upstream, cache=CACHE) as server:
        lab.load(server.port, work / "hit.questions", 2)
        minute = lambda number, rate=None: one_minute(table, server, work, rand, hits, blocks, number, rate)
        full = [minute(number) for number in range(args.minutes)]
        rate = sorted(load.rate for load, _ in full)[len(full) // 2]
        below = [minute(args.minutes + number, int(rate * BELOW)) for number in range(below_minutes)]
    # The first third is for the cache to fill.
    settled, end = full[max(args.minutes // 3 - 1, 0)][1], max(rss for _, rss in full + below)
    table.at_most("RSS at the highest beside the end of the first third", end / settled, MEMORY_RATIO_MAX)
    asked, lost = (sum(part) for part in zip(*((load.answers + load.lost, load.lost) for load, _ in full)))
    table.row("full load: questions lost", f"{lost} of {asked}", f"≤ {FULL_LOST_SHARE_MAX:.1%}", lost <= FULL_LOST_SHARE_MAX * asked)
    table.none("below it: questions lost", sum(load.lost for load, _ in below), f" of {sum(load.answers + load.lost for load, _ in below)}")
    wrong = sum(abs(load.share("NXDOMAIN") - 10) > 1 or load.share("NXDOMAIN") + load.share("NOERROR") < 99.9 for load, _ in full + below)
    table.none("minutes in which the codes were not the mix's", wrong)
    return table.met


def one_minute(table, server, work, rand, hits, blocks, number, rate):
    """The load, and memory at its end."""
    questions = work / "soak.questions"
    with questions.open("w") as file:
        for i in range(QUESTIONS):
            draw = rand.randrange(10)
            new = f"minute{number}-{i:x}.site{i % 997}.short A"
            file.write((new if draw == 0 else rand.choice(blocks) if draw == 1 else rand.choice(hits)) + "\n")
    load = lab.load(server.port, questions, MINUTE, rate=rate)
    rss = lab.rss_mib(server.process.pid)
    table.row(f"minute {number + 1:3}: answers a second / lost / RSS", f"{load.rate:.0f} / {load.lost} / {rss:.0f} MiB")
    return load, rss
