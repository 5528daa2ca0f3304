"""Memory: lengths of requests and where they begin, in bursts and 4 KiB."""

from cocotb_coverage.coverage import CoverCross, CoverPoint

from cover.observe import observes

LENGTH = ["none", "one", "few", "a burst", "bursts"]
STROBES = ["none", "from the first on", "any"]
PLACE = ["first beat", "middle", "last beat"]


def strobes(mask):
    return STROBES[0 if not mask else 1 if not mask & mask + 1 else 2]


def length(beats, burst=64):  # nano's, the reader's longest
    return LENGTH[0 if beats == 0 else 1 if beats == 1 else 2 if beats < burst else 3 if beats == burst else 4]


def place(address, span):
    """Where in its `span` bytes; a bus is at most 64 bytes wide."""
    at = address % span
    return PLACE[0 if at == 0 else 2 if at >= span - 64 else 1]


@observes("test_reader", "i")
@CoverPoint("memory.reader.length", xf=lambda item: length(item["beats"]), bins=LENGTH)
@CoverPoint("memory.reader.place", xf=lambda item: place(item["address"], 4096), bins=PLACE)
@CoverCross("memory.reader.length_place", items=["memory.reader.length", "memory.reader.place"])
def request(item):
    pass


@observes("test_writer", "command")
@observes("test_write_orders", "command")
@CoverPoint("memory.writer.length", xf=lambda item: length(item["beats"], 256), bins=LENGTH[1:])
@CoverPoint("memory.writer.place", xf=lambda item: place(item["address"], 4096), bins=PLACE)
@CoverCross("memory.writer.length_place", items=["memory.writer.length", "memory.writer.place"])
def command(item):
    pass


@observes("test_writer", "data")
@CoverPoint("memory.writer.strobes", xf=lambda item: strobes(item["strobe"]), bins=STROBES)
def beat(item):
    pass
