"""The rules of a DRAM, applied to a trace of commands: written from the data sheets, to judge the C++ model by."""

from collections import Counter, defaultdict

from scoville_sim.chip.plain_stream import COMMANDS

__all__ = ["broken_rules"]

ROW, COLUMN = ("ACT", "PRE", "PREA", "REF"), ("RD", "WR")


def broken_rules(commands, t):
    """How often each rule was broken.

    Parameters
    ----------
    commands : of `plain_stream.Run`
    t : dict of clocks, see `scoville_sim.chip.dram.Dram.clocks`

    Returns
    -------
    Counter by the name of the time that was too short, or of the state that was wrong.
    """
    broken = Counter()
    for channel in range(t["channels"]):
        own = commands[commands["channel"] == channel]
        trace = [(int(c["clock"]), COMMANDS[c["command"]], int(c["bank"]), int(c["row"])) for c in own]
        broken.update(_of_channel(trace, t))
    return broken


def _of_channel(trace, t):
    write_end, read_end = t["cwl"] + t["burst"], t["cl"] + t["burst"]
    # (name, command before, command after, scope, clocks): scope is a bank, a bank group, or the channel.
    rules = [
        ("rcd", "ACT", "RD", "bank", t["rcd"]), ("rcd", "ACT", "WR", "bank", t["rcd"]),
        ("ras", "ACT", "PRE", "bank", t["ras"]), ("rc", "ACT", "ACT", "bank", t["rc"]),
        ("rp", "PRE", "ACT", "bank", t["rp"]), ("rp", "PRE", "REF", "channel", t["rp"]),
        ("rc", "ACT", "REF", "channel", t["rc"]),
        ("rrd_s", "ACT", "ACT", "channel", t["rrd_s"]), ("rrd_l", "ACT", "ACT", "group", t["rrd_l"]),
        ("ccd_s", "RD", "RD", "channel", t["ccd_s"]), ("ccd_l", "RD", "RD", "group", t["ccd_l"]),
        ("ccd_s", "WR", "WR", "channel", t["ccd_s"]), ("ccd_l", "WR", "WR", "group", t["ccd_l"]),
        ("wtr_s", "WR", "RD", "channel", write_end + t["wtr_s"]),
        ("wtr_l", "WR", "RD", "group", write_end + t["wtr_l"]),
        ("rtw", "RD", "WR", "channel", read_end + t["rtw"] - t["cwl"]),
        ("rtp", "RD", "PRE", "bank", t["rtp"]), ("wr", "WR", "PRE", "bank", write_end + t["wr"]),
        ("rfc", "REF", "ACT", "channel", t["rfc"]), ("rfc", "REF", "REF", "channel", t["rfc"]),
    ]
    before = defaultdict(list)
    for name, first, second, scope, clocks in rules:
        before[second].append((name, first, scope, clocks))
    last, rows, four, broken = {}, {}, [], Counter()
    data_free, slots, refreshes = 0, set(), 0
    banks = range(t["groups"] * t["banks"])

    def scopes(bank):
        return {"bank": bank, "group": bank % t["groups"], "channel": 0}

    for clock, command, bank, row in trace:
        slot = (clock, command in COLUMN) if t["row_bus"] else clock
        broken["command bus"] += slot in slots
        slots.add(slot)
        single = "PRE" if command == "PREA" else command
        for each in banks if command == "PREA" else [bank]:
            if command == "PREA" and each not in rows:
                continue
            for name, first, scope, clocks in before[single]:
                earlier = last.get((first, scope, scopes(each)[scope]))
                broken[name] += earlier is not None and clock - earlier < clocks
        if command == "ACT":
            broken["open"] += bank in rows
            broken["faw"] += len(four) == 4 and clock - four[0] < t["faw"]
            four = [*four[-3:], clock]
            rows[bank] = row
        elif command in COLUMN:
            broken["row"] += rows.get(bank) != row
            begin = clock + (t["cl"] if command == "RD" else t["cwl"])
            broken["data bus"] += begin < data_free
            data_free = begin + t["burst"]
        elif command == "REF":
            broken["closed"] += bool(rows)
            refreshes += 1
            # A controller may be late by less than an interval, and makes up for it.
            broken["refi"] += clock > (refreshes + 1) * t["refi"]
        for each in banks if command == "PREA" else [bank]:
            if single == "PRE" and rows.pop(each, None) is None:
                continue
            for scope, place in scopes(each).items():
                last[single, scope, place] = clock
    broken["refi"] += bool(trace) and refreshes + 1 < trace[-1][0] // t["refi"]
    return +broken
