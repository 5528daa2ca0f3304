"""Logits of many seats to memory: gathered seat by seat, written 32 rows at a time."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.config import TILE_ROWS
from scoville.masks import first_of
from scoville.memory.dump import ROW_BITS, dump_members

__all__ = ["TileDump"]

TILE_BYTES = 4 * TILE_ROWS


class TileDump(wiring.Component):
    """Writes each seat's logits to its place; for more slots than one.

    Words come row by row, of a row a seat after the other; a memory turns them round. It has two halves: while one is
    filled with 32 rows of a phase's seats, each seat's words in the other are written, a burst a seat, to ``address +
    128 * (row div 32)``. So a write is asked for when its data is there. Bytes that no word came for are not written.

    Throughput: a word a cycle. A seat's burst takes 3 cycles and its beats, at most 19 where 32 rows take 32 or more;
    only behind tiles of few rows, the last ones, words may wait.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    sampling : In(Sampling), stable while it is busy; bus-aligned addresses
    i : In(stream(copy_layout)), the words in the order of `Walk`
    command, data : Out(stream), to a `StreamWriter`
    busy : Out(1), from the first word until the writer has taken the last beat
    """

    def __init__(self, config):
        self.config = config
        super().__init__(dump_members(config))

    @staticmethod
    def model(config, sampling, items):
        """The bursts: a list of (address of the first word, words); `sampling` and `items` are dicts."""
        bursts, tile = [], {}
        for item in items:
            if item["kept"]:
                tile.setdefault(item["seat"], []).append(item["word"])
            if item["last"]:
                offset = item["row"] // TILE_ROWS * TILE_BYTES
                bursts += [((sampling[seat]["logits"] + offset) % (1 << config.addr_bits), tile[seat])
                           for seat in sorted(tile)]
                tile = {}
        return bursts

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = min(config.bus_bytes, TILE_BYTES) // 4  # words of a tile that a beat has
        m.submodules.words = words = Memory(shape=data.ArrayLayout(32, width), init=[],
                                            depth=2 * config.lanes * TILE_ROWS // width)
        half = data.StructLayout({"closed": 1, "lanes": config.lanes, "phase": range(config.phases),
                                  "row": range(TILE_ROWS), "tile": ROW_BITS - exact_log2(TILE_ROWS)})
        halves = Signal(data.ArrayLayout(half, 2))  # of which seats it has words, and which is the last row
        filling = Signal()
        self._fill(m, halves, filling, words.write_port(granularity=1))
        self._write(m, halves, words.read_port())
        m.d.comb += self.busy.eq(filling | halves[0].closed | halves[1].closed)
        check_stream(m, self.command, "tile dump: command")
        check_stream(m, self.data, "tile dump: data")
        return m

    def _fill(self, m, halves, filling, port):
        """Words into one half, until it is closed."""
        item, taken, into = self.i.payload, Signal(), Signal()
        lane, phase = item.seat[:self.config.lane_bits], item.seat[self.config.lane_bits:]
        row, tile = item.row[:exact_log2(TILE_ROWS)], item.row[exact_log2(TILE_ROWS):]
        word_bits, filled = exact_log2(len(port.en)), halves[into]
        m.d.comb += [
            self.i.ready.eq(~filled.closed),
            taken.eq(self.i.valid & self.i.ready),
            port.addr.eq(Cat(row[word_bits:], lane, into)),
            port.en.eq(Mux(taken & item.kept, 1 << row[:word_bits], 0)),
        ]
        m.d.comb += [port.data[word].eq(item.word) for word in range(len(port.en))]
        with m.If(taken):
            m.d.sync += [filled.lanes.eq(filled.lanes | item.kept << lane), filled.closed.eq(item.last),
                         filled.phase.eq(phase), filled.row.eq(row), filled.tile.eq(tile),
                         into.eq(into ^ item.last), filling.eq(~item.last)]
            check(m, ~filling | (filled.phase == phase) & (filled.tile == tile), "tile dump: rows of one tile")

    def _write(self, m, halves, port):
        """The seats of a closed half, one after the other."""
        config, width = self.config, len(port.data)
        out, lane = Signal(), Signal(range(config.lanes), reset_less=True)
        address = Signal(config.addr_bits, reset_less=True)
        beat, coming = Signal(range(TILE_ROWS // width)), Signal(range(TILE_ROWS // width))  # shown, and the next
        of, first, last_beat = halves[out], Signal(range(config.lanes)), Signal.like(beat)
        places = Array(choice.logits for choice in self.sampling)
        present = Cat((beat * width + word <= of.row).replicate(4) for word in range(width))
        aside = max(1, config.bus_bytes // TILE_BYTES)  # tiles of a beat
        place = of.tile[:exact_log2(aside)]
        m.d.comb += [
            first.eq(first_of(of.lanes)),
            last_beat.eq(of.row[exact_log2(width):]),
            self.command.payload.address.eq(address & -config.bus_bytes),
            self.command.payload.beats.eq(last_beat + 1),
            self.data.payload.data.eq(port.data.as_value().replicate(aside)),
            self.data.payload.strobe.eq(Cat(Mux(place == number, present, 0) for number in range(aside))),
            port.addr.eq(Cat(coming, lane, out)),
        ]
        m.d.sync += beat.eq(Mux(port.en, coming, beat))
        with m.FSM():
            with m.State("choose"):
                m.d.sync += [lane.eq(first), address.eq(places[Cat(first, of.phase)])]
                with m.If(of.closed & of.lanes.any()):
                    m.d.sync += of.lanes.eq(of.lanes & (of.lanes - 1))
                    m.next = "place"
                with m.Elif(of.closed):
                    m.d.sync += [of.closed.eq(0), out.eq(~out)]
            with m.State("place"):
                m.d.sync += address.eq(address + (of.tile << exact_log2(TILE_BYTES)))
                m.next = "ask"
            with m.State("ask"):
                m.d.comb += [self.command.valid.eq(1), port.en.eq(self.command.ready)]
                with m.If(self.command.ready):
                    m.next = "give"
            with m.State("give"):
                m.d.comb += [self.data.valid.eq(1), coming.eq(beat + 1), port.en.eq(self.data.ready)]
                with m.If(self.data.ready & (beat == last_beat)):
                    m.next = "choose"
