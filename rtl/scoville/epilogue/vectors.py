"""Vectors from memory: biases, norm weights, rotation tables, the code table, and embedding rows."""

from math import ceil, log2

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.config import BLOCK
from scoville.isa import Element
from scoville.numerics.pipe import Pipe
from scoville.slices import Skid

__all__ = ["READ_LATENCY", "VectorDest", "VectorUnit", "bias_port", "embed_layout", "norm_port", "rope_port",
           "vector_command"]

READ_LATENCY = 2  # enabled cycles from an address to its word: the memory, then the word select


class VectorDest(enum.Enum, shape=3):
    BIAS = 0
    NORM = 1
    TABLE = 2
    ROPE = 3
    EMBED = 4


def vector_command(config):
    """Layout of a command: where the next `beats` beats go."""
    return data.StructLayout({
        "dest": VectorDest,
        "seat": range(max(config.seats, 2)),  # ROPE: whose table; EMBED, with more slots than one: whose row
        "beats": 24,
        "words": 24,  # EMBED: values in the row; what follows them is padding
        "element": unsigned(1),  # EMBED: `Element`
    } | ({"closes": 1} if config.slots > 1 else {}))  # EMBED: the last row of its phase


def embed_layout(config):
    """Words of embedding rows: of one row, or with more slots than one of those of all lanes, side by side."""
    return unsigned(32) if config.slots == 1 else data.ArrayLayout(32, config.lanes)


def read_port(depth, shape):
    """Signature of a read port, seen by the reader: `data` follows `address` by `READ_LATENCY` enabled cycles.

    `depth` is that of the memory, or the layout of its address.
    """
    address = depth if isinstance(depth, data.Layout) else range(depth)
    return wiring.Signature({"enable": Out(1), "address": Out(address), "data": In(shape)})


def bias_port(config):
    return read_port(config.max_rows, unsigned(32))


def norm_port(config):
    return read_port(config.max_hidden, unsigned(32))


def rope_port(config):
    """All lanes read the same pair, each from its own table, of the phase."""
    pair = data.StructLayout({"cos": unsigned(32), "sin": unsigned(32)})
    pairs = max(config.max_head_blocks * BLOCK // 2, config.bus_bytes // 8)  # a table begins with a beat
    address = data.StructLayout({"pair": range(pairs), "phase": range(config.phases)})
    return read_port(address, data.ArrayLayout(pair, config.lanes))


class VectorUnit(wiring.Component):
    """Takes the beats of a vector and stores them, or hands them on word by word.

    BIAS, NORM and ROPE beats are written whole, one a cycle, from word 0 of their memory on; beats past its end are
    dropped. TABLE takes the first 16 bytes. EMBED turns the row into a stream of FP32 words, one a cycle (BF16 is
    widened by 16 zero bits, exactly), and drops the padding. The read ports work at all times.

    With more slots than one the rows of a phase are kept, a memory a lane, and are sent side by side when the last of
    them has come: so the chain sums the squares of all lanes at a time. No command is taken while they are read.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream(vector_command)), taken while the unit is idle.
    vector : In(stream(bus_bits)), the beats.
    embed : Out(stream(embed_layout)), the words of an embedding row, or of a phase's.
    table_en, table_data : one pulse with the 16 signed bytes of the code table.
    bias, norm, rope : read ports, see `read_port`.
    busy : a command is running, or a word waits in `embed`.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(vector_command(config))),
            "vector": In(stream.Signature(config.bus_bits)),
            "embed": Out(stream.Signature(embed_layout(config))),
            "table_en": Out(1),
            "table_data": Out(128),
            "bias": In(bias_port(config)),
            "norm": In(norm_port(config)),
            "rope": In(rope_port(config)),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        command = Signal(vector_command(config))
        active = Signal()
        beat = Signal(24)
        take = Signal()  # a beat is taken in this cycle
        stores = Signal(reset_less=True)  # the command's beats go to a memory or to the table
        m.d.comb += [
            self.command.ready.eq(~active),
            take.eq(self.vector.valid & self.vector.ready),
            self.busy.eq(active | self.embed.valid),
        ]
        with m.If(self.command.valid & (~active if config.slots == 1 else self.command.ready)):
            m.d.sync += [command.eq(self.command.payload), beat.eq(0), active.eq(self.command.payload.beats != 0),
                         stores.eq(self.command.payload.dest != VectorDest.EMBED)]
        with m.If(take):
            m.d.sync += beat.eq(beat + 1)
            with m.If(beat == command.beats - 1):
                m.d.sync += active.eq(0)

        self._memory(m, "bias", self.bias, 32, take & (command.dest == VectorDest.BIAS), beat)
        self._memory(m, "norm", self.norm, 32, take & (command.dest == VectorDest.NORM), beat)
        for lane in range(config.lanes):
            chosen = take & (command.dest == VectorDest.ROPE) & (command.seat[:config.lane_bits] == lane)
            self._memory(m, f"rope{lane}", self.rope, 64, chosen, beat, lane, command.seat[config.lane_bits:])
        self._table(m, take & (command.dest == VectorDest.TABLE), beat)
        if config.slots == 1:
            drain = self._embed(m, active & ~stores, command)
            m.d.comb += self.vector.ready.eq(active & (stores | drain))
        else:
            last = take & (beat == command.beats - 1)
            sends, inside = self._side_by_side(m, take & (command.dest == VectorDest.EMBED), beat, last, command)
            m.d.comb += self.vector.ready.eq(active)
            with m.If(sends):
                m.d.comb += self.command.ready.eq(0)
            with m.If(sends | inside):
                m.d.comb += self.busy.eq(1)
        return m

    def _memory(self, m, name, port, width, write, beat, lane=None, phase=None):
        """A memory of whole beats, with the word select behind its read port."""
        config = self.config
        words = config.bus_bits // width
        phases = 1 if phase is None else config.phases
        address = Value.cast(port.address)
        depth = ceil(2 ** len(address) / words)
        m.submodules[name] = memory = Memory(shape=config.bus_bits, depth=depth, init=[])
        writer, reader = memory.write_port(), memory.read_port()
        select_bits = int(log2(words))
        word = Signal(config.bus_bits // words, name=f"{name}_word", reset_less=True)
        m.d.comb += [
            writer.addr.eq(beat[:len(writer.addr)] if phases == 1
                           else Cat(beat[:exact_log2(depth // phases)], phase)),
            writer.data.eq(self.vector.payload),
            writer.en.eq(write & (beat < depth // phases)),
            reader.addr.eq(address[select_bits:]),
            reader.en.eq(port.enable),
        ]
        select = Signal(max(select_bits, 1), name=f"{name}_select", reset_less=True)
        with m.If(port.enable):
            m.d.sync += [
                select.eq(address[:select_bits]),
                word.eq(reader.data.word_select(select, width) if words > 1 else reader.data),
            ]
        m.d.comb += (port.data if lane is None else port.data[lane]).eq(word)

    def _table(self, m, write, beat):
        """The code table is 16 bytes: one beat, or two of 8 bytes."""
        payload = self.vector.payload
        if self.config.bus_bits >= 128:
            m.d.comb += [self.table_en.eq(write & (beat == 0)), self.table_data.eq(payload[:128])]
            return
        low = Signal(64, reset_less=True)
        with m.If(write & (beat == 0)):
            m.d.sync += low.eq(payload)
        m.d.comb += [self.table_en.eq(write & (beat == 1)), self.table_data.eq(Cat(low, payload))]

    def _embed(self, m, running, command):
        """Words out of the waiting beat; returns when that beat is used up."""
        config = self.config
        payload = self.vector.payload
        halves = config.bus_bytes // 2
        bf16 = command.element == Element.BF16.value
        position, last = Signal(range(halves)), Signal()  # of the word in the beat; whether it is the beat's last
        left, words_left = Signal(24, reset_less=True), Signal(reset_less=True)  # words to send; whether there are any
        # Whether a beat is taken must not depend on the chain in the same cycle: a second word waits here.
        spare, spare_valid = Signal(32, reset_less=True), Signal()
        move = ~spare_valid
        word = Mux(bf16, payload.word_select(position, 16) << 16, payload.word_select(position[:-1], 32))
        come, free = running & self.vector.valid & words_left & move, ~self.embed.valid | self.embed.ready
        with m.If(free):
            m.d.sync += [self.embed.valid.eq(spare_valid | come), self.embed.payload.eq(Mux(spare_valid, spare, word)),
                         spare_valid.eq(0)]
        with m.Elif(come):
            m.d.sync += [spare.eq(word), spare_valid.eq(1)]
        with m.If(come):
            m.d.sync += [left.eq(left - 1), words_left.eq(left != 1), position.eq(Mux(last, 0, position + 1)),
                         last.eq(~last & (position == Mux(bf16, halves - 2, halves // 2 - 2)))]
        with m.If(~running):
            words = self.command.payload.words
            m.d.sync += [left.eq(words), words_left.eq(words != 0), position.eq(0), last.eq(0)]
        check(m, ~(spare_valid & come), "vectors: a word that waits is not written over")
        check_stream(m, self.embed, "vectors: embed")
        return ~words_left | (last & move)

    def _side_by_side(self, m, take, beat, last, command):
        """Rows kept lane by lane, and sent together behind the `last` beat of their last; returns whether they are
        read, and whether words of them are on their way."""
        config = self.config
        port = read_port(config.max_hidden, data.ArrayLayout(32, config.lanes)).create()
        for lane in range(config.lanes):
            self._memory(m, f"embed{lane}", port, 32, take & (command.seat[:config.lane_bits] == lane), beat, lane)
        m.submodules.skid = skid = Skid(self.embed.payload.shape())
        wiring.connect(m, skid.o, wiring.flipped(self.embed))
        sends, index = Signal(), Signal(24)  # words are read, and which
        pipe = Pipe(m, port.enable)
        valids = pipe.valids(sends, READ_LATENCY)
        is_bf16 = command.element == Element.BF16.value
        bf16, upper = (pipe.delay(pipe.input(value), READ_LATENCY) for value in (is_bf16, index[0]))
        m.d.comb += [
            port.address.eq(Mux(is_bf16, index[1:], index)),
            port.enable.eq(skid.i.ready),
            skid.i.valid.eq(valids[-1]),
            *(skid.i.payload[lane].eq(Mux(bf16, word.word_select(upper, 16) << 16, word))
              for lane, word in enumerate(port.data)),
        ]
        with m.If(take & last & command.closes):
            m.d.sync += [sends.eq(command.words != 0), index.eq(0)]
        with m.Elif(sends & port.enable):
            m.d.sync += [index.eq(index + 1), sends.eq(index != command.words - 1)]
        check(m, ~take | ~sends, "vectors: a row that is read is not written over")
        check_stream(m, self.embed, "vectors: embed")
        return sends, valids.any() | skid.full

    @staticmethod
    def model_embed(beats, words, element):
        """The float32 words that EMBED sends for the bytes of a row.

        Parameters
        ----------
        beats : bytes
        words : int
        element : Element
        """
        if element == Element.FP32:
            return np.frombuffer(beats, "<u4")[:words].view(np.float32)
        return (np.frombuffer(beats, "<u2")[:words].astype(np.uint32) << 16).view(np.float32)
