"""Routing again what is too slow: ``python -m scoville_sim.boards.reroute``.

nextpnr's router2 comes to an end where router1 does not, but on detours. So a board is routed with router2 first; then
the nets of paths that miss the clock lose their wires, and router1, which takes critical arcs the shortest way, finds
new ones for them and for whom they push aside. docs/boards.md has the commands.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

from scoville_host.files import check_outputs, write_text
from scoville_host.streams import as_program

from .worst_paths import Delays

__all__ = ["forget", "forget_slow", "main", "slow_pins"]


def slow_pins(delays, most):
    """Pins that drive a wire between cells on a path longer than `most` picoseconds, setup included.

    Parameters
    ----------
    delays : `Delays`
    """
    settled, _ = delays.arrivals()
    ahead, waiting = defaultdict(list), defaultdict(int)
    for pin, arcs in delays.arcs.items():
        waiting[pin] = len(arcs)
        for target, delay in arcs:
            ahead[target].append((pin, delay))
    rest = dict(delays.setup)  # the longest way from a pin to a register's clock
    ready = [pin for pin in {*settled, *ahead} if not waiting[pin]]
    slow = set()
    while ready:
        pin = ready.pop()
        for source, delay in ahead[pin]:
            if pin in rest:
                rest[source] = max(rest.get(source, 0), rest[pin] + delay)
                wire = source.rpartition("/")[0] != pin.rpartition("/")[0]
                if wire and source in settled and settled[source] + delay + rest[pin] > most:
                    slow.add(source)
            waiting[source] -= 1
            if not waiting[source]:
                ready.append(source)
    return slow


def forget(design, pins):
    """Take the wires of the nets that these pins drive from nextpnr's JSON, and leave the rest to router1.

    Returns
    -------
    int : nets that lost their wires; the clocks keep theirs
    """
    top = design["modules"]["top"]
    cells = {name.replace("\\", ""): cell["connections"] for name, cell in top["cells"].items()}  # as `Delays` has them
    bits = {cells[cell][port][0] for cell, _, port in (pin.rpartition("/") for pin in pins)}
    nets = [net["attributes"] for net in top["netnames"].values() if net["bits"][0] in bits]
    lost = [net for net in nets if net.get("ROUTING", " ").strip() and "ECP5_IS_GLOBAL" not in net]
    for net in lost:
        net["ROUTING"] = " "  # as of a net that is not routed; an empty text is none that nextpnr reads
    top["settings"]["router"] = "router1"
    return len(lost)


def forget_slow(routed, sdf, output, most_ns):
    """Write to `output` what nextpnr wrote to `routed`, without the wires of nets on paths longer than `most_ns`.

    Returns
    -------
    int : their number

    Raises
    ------
    OSError, ValueError : a file is missing, or is not nextpnr's
    RequestError : `output` cannot be written
    """
    design, text = json.loads(routed.read_text(encoding="utf-8")), sdf.read_text(encoding="utf-8")
    count = forget(design, slow_pins(Delays(text), 1000 * most_ns))
    write_text(output, json.dumps(design))
    return count


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="reroute", description=__doc__.split("\n\n")[0], epilog="example: python -m "
                                     "scoville_sim.boards.reroute routed.json top.sdf again.json --most-ns 13.2")
    parser.add_argument("routed", type=Path, help="what nextpnr wrote with --write")
    parser.add_argument("sdf", type=Path, help="its delays, of --sdf")
    parser.add_argument("output", type=Path, help="for nextpnr's --json, with --no-pack --no-place")
    parser.add_argument("--most-ns", type=float, default=13.2, help="paths may take (%(default)s)")
    options = parser.parse_args(arguments)
    check_outputs({"output": options.output}, inputs=[options.routed, options.sdf])
    try:
        count = forget_slow(options.routed, options.sdf, options.output, options.most_ns)
    except (OSError, ValueError) as error:
        print(f"reroute: {error}", file=sys.stderr)
        return 2
    print(f"{count} nets to be routed again in {options.output}")
    return 0


if __name__ == "__main__":
    as_program(main, "reroute")
