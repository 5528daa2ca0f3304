"""The host link: checked frames to registers and memory."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import crc, data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.board.bus_access import BusAccess
from scoville.board.cobs import CobsDecoder, CobsEncoder, decoded_layout, encoded_bytes
from scoville.board.link_model import LinkModel
from scoville.board.protocol import (
    BUFFER,
    HEADER,
    IDENTITY,
    IDENTITY_FAULTS,
    LIMIT_REGISTERS,
    NAK,
    TRAILER,
    Op,
    Reason,
    identity,
)
from scoville.checks import check, check_stream
from scoville.memory import axi
from scoville.naming import unnamed
from scoville.slices import StreamSlice

__all__ = ["Link"]

LONGEST = HEADER.size + BUFFER + TRAILER.size
DEPTH = 2048  # of the request's memory and the replies'
ASIDE = 1536  # answers that are not kept for a repeated request are made from here on
assert encoded_bytes(LONGEST) <= ASIDE and encoded_bytes(HEADER.size + IDENTITY.size + TRAILER.size) <= DEPTH - ASIDE


class Body(enum.Enum, shape=2):
    """What an answer has between header and CRC."""

    NONE = 0
    IDENTITY = 1
    WORDS = 2
    SUM = 3


class Link(wiring.Component):
    """Carries out the requests of `protocol`, one at a time.

    A request is gathered in a memory and looked at only when its CRC-32 is right, so a damaged frame never writes.
    Every frame gets an answer: what was read, or a refusal with its `Reason`. A request whose number is that of the one
    before is not carried out again: it gets the same answer. Any zero byte ends a frame.

    Throughput: replies leave without a gap on a serial line of at least 4 clocks a bit. Memory is accessed a bus word
    at a time.

    Parameters
    ----------
    config : ChipConfig
    memory_bytes : size of the memory, from address 0
    clock_hz, board : what IDENTIFY reports
    timeout : clocks of silence that end a frame

    Members
    -------
    i : In(stream(8)), from the line; always ready
    line_error : In(1), for one clock: the line lost a byte
    o : Out(stream(8)), to the line
    registers : Out(axi.lite_signature())
    memory : Out(axi.signature(config)), with ID `LINK_ID`, one transfer of one beat at a time
    active : Out(1), for one clock: a request is carried out
    fault : Out(1), for one clock: a frame is refused
    """

    def __init__(self, config, *, memory_bytes, clock_hz, board="", timeout=None):
        self.config = config
        self.memory_bytes = memory_bytes
        self.timeout = timeout or clock_hz // 4
        self.identify = {"config": config, "memory_bytes": memory_bytes, "clock_hz": clock_hz, "board": board}
        super().__init__({
            "i": In(stream.Signature(8)), "line_error": In(1), "o": Out(stream.Signature(8)),
            "registers": Out(axi.lite_signature()), "memory": Out(axi.signature(config)),
            "active": Out(1), "fault": Out(1),
        })

    def model(self, registers, memory):
        """`LinkModel` of this link, on a register file and a uint8 array."""
        return LinkModel(registers, memory, **self.identify)

    def elaborate(self, platform):
        m = Module()
        bus_bytes = self.config.bus_bytes
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.encoder = encoder = CobsEncoder(DEPTH)
        m.submodules.bus = bus = BusAccess(self.config)
        m.submodules.crc = digest = crc.catalog.CRC32_ISO_HDLC(data_width=8).create()
        m.submodules.request = request = memory.Memory(shape=8, depth=DEPTH, init=[])
        m.submodules.replies = replies = memory.Memory(shape=8, depth=DEPTH, init=[])
        request_write, request_read = request.write_port(), request.read_port()
        reply_write, reply_read = replies.write_port(), replies.read_port()
        connect(m, flipped(self.i), decoder.i)
        connect(m, bus.registers, flipped(self.registers))
        connect(m, bus.memory, flipped(self.memory))

        # The CRC is a cycle behind: what is fed to it comes from everywhere.
        matched = Signal()
        feed = Signal(data.StructLayout({"start": 1, "valid": 1, "data": 8}))
        m.d.sync += [matched.eq(digest.match_detected),
                     digest.start.eq(feed.start), digest.valid.eq(feed.valid), digest.data.eq(feed.data)]

        # The line is slow: registers behind what takes it apart and before what puts it together.
        item, line_error = Signal(data.StructLayout({"valid": 1, "p": decoded_layout})), Signal()
        m.d.comb += decoder.o.ready.eq(1)
        m.d.sync += [item.valid.eq(decoder.o.valid), item.p.eq(decoder.o.p), line_error.eq(self.line_error)]
        m.submodules.answers = answers = StreamSlice(encoder.i.payload.shape())
        connect(m, answers.o, encoder.i)

        # The request as it comes.
        quiet, receiving = Signal(), Signal()  # no answer is on its way; and the frame that comes will have one
        count = Signal(range(LONGEST + 2))  # bytes so far; one more than the longest frame's means too many
        head = Signal(8 * (HEADER.size + 4))  # the header, and the length that CRC_MEMORY carries
        sequence, op, length, address = head[0:8], head[8:16], head[16:32], head[32:64]
        broken, missed, missed_end = Signal(), Signal(), Signal()
        silence = Signal(range(self.timeout + 1))
        payload = Signal.like(count)
        # The request as it is carried out.
        reason = Signal(Reason, init=Reason.FRAMING)
        last, session, begun, stored = Signal(8), Signal(32), Signal(), Signal()
        stored_end = Signal(range(DEPTH))
        keep = Signal()  # the answer is kept for a repeated request
        at, left, end = unnamed(Signal(32), Signal(32), Signal(33))
        word = Signal(self.config.bus_bits)
        out = Signal(8 * HEADER.size)
        body = Signal(Body)
        index = Signal(range(max(bus_bytes, IDENTITY.size)))
        here, until = Signal(range(DEPTH)), Signal(range(DEPTH))
        faults, refused = Signal(32), Signal()  # the count of `fault`, a clock late
        own = Signal(8)  # a byte of the link's identity
        bad_op, bad_size, bad_alignment, bad_range = Signal(), Signal(), Signal(), Signal()
        bad_frame = Signal()

        def is_op(*ops):
            return Cat(op == each for each in ops).any()

        to_registers, writes, summed = Signal(), Signal(), Signal()
        span = Signal(32)
        unit = Signal(range(bus_bytes))  # bytes of a word, less one
        m.d.comb += [
            to_registers.eq(is_op(Op.READ_REGISTERS, Op.READ_FIFO, Op.WRITE_REGISTERS)),
            writes.eq(is_op(Op.WRITE_REGISTERS, Op.WRITE_MEMORY)),
            summed.eq(op == Op.CRC_MEMORY),
            span.eq(Mux(summed, head[64:96], length)),
            unit.eq(Mux(to_registers, 3, bus_bytes - 1)),
            bus.i.p.registers.eq(to_registers), bus.i.p.write.eq(writes), bus.i.p.address.eq(at), bus.i.p.data.eq(word),
            reply_write.en.eq(encoder.en), reply_write.addr.eq(encoder.address), reply_write.data.eq(encoder.data),
            request_write.addr.eq(count), request_write.data.eq(item.p.data), request_read.addr.eq(here),
            reply_read.addr.eq(here), reply_read.en.eq(0), self.o.payload.eq(reply_read.data),
            encoder.base.eq(Mux(keep, 0, ASIDE)),
        ]

        # What comes before the last answer has gone is dropped to its end, and refused before anything else is heard.
        dropped = Signal()
        m.d.comb += [receiving.eq(quiet & ~missed & ~missed_end), dropped.eq(item.valid & ~receiving),
                     self.fault.eq(bad_frame | dropped & item.p.end)]
        m.d.sync += [refused.eq(self.fault), faults.eq(faults + refused), silence.eq(silence + 1)]
        with m.If(~quiet | item.valid | ~(decoder.open | broken | missed)):
            m.d.sync += silence.eq(0)
        with m.If(line_error):
            m.d.sync += [broken.eq(broken | receiving), missed.eq(missed | ~receiving)]
        with m.If(dropped):
            m.d.sync += [missed.eq(~item.p.end), missed_end.eq(missed_end | item.p.end)]

        def answer(number, code, size, where):
            """Begin an answer; its bytes follow from the next state on."""
            m.d.comb += [encoder.start.eq(1), feed.start.eq(1)]
            m.d.sync += [out.eq(Cat(number, code, size, where)), index.eq(0)]
            m.next = "HEAD"

        def emit(byte, *, final=0, checked=True):
            """Offer a byte of the answer to the encoder; whether it is taken."""
            m.d.comb += [answers.i.valid.eq(1), answers.i.p.data.eq(byte), answers.i.p.last.eq(final)]
            if checked:
                m.d.comb += [feed.valid.eq(answers.i.ready), feed.data.eq(byte)]
            with m.If(answers.i.ready):
                m.d.sync += index.eq(index + 1)
            return answers.i.ready

        def next_byte():
            m.d.sync += [word.eq(word >> 8), left.eq(left - 1)]

        with m.FSM():
            with m.State("RECEIVE"):
                m.d.comb += quiet.eq(1)
                m.d.sync += keep.eq(0)
                with m.If(item.valid & receiving):
                    with m.If(item.p.end):
                        m.d.sync += broken.eq(broken | item.p.broken | line_error)
                        m.next = "MATCH"
                    with m.Else():
                        m.d.comb += [request_write.en.eq(1), feed.valid.eq(1), feed.data.eq(item.p.data),
                                     feed.start.eq(count == 0)]
                        m.d.sync += count.eq(count + (count <= LONGEST))
                        for byte in range(len(head) // 8):
                            with m.If(count == byte):
                                m.d.sync += head[8 * byte:8 * byte + 8].eq(item.p.data)
                with m.Elif(missed_end):
                    m.d.sync += [reason.eq(Reason.BUSY), missed_end.eq(0)]
                    m.next = "REFUSE"
                with m.Elif((silence == self.timeout) & ~item.valid):
                    m.d.comb += [decoder.clear.eq(1), bad_frame.eq(1)]
                    m.d.sync += [reason.eq(Reason.TIMEOUT), missed.eq(0), broken.eq(0), count.eq(0)]
                    m.next = "REFUSE"
            with m.State("MATCH"):
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [payload.eq(count - (HEADER.size + TRAILER.size)), count.eq(0), broken.eq(0),
                             at.eq(address), left.eq(span), end.eq(address + span)]
                m.d.comb += bad_frame.eq(1)
                m.next = "REFUSE"
                repeated = (sequence == last) & stored
                with m.If(broken):
                    m.d.sync += reason.eq(Reason.FRAMING)
                with m.Elif((count < HEADER.size + TRAILER.size) | (count > LONGEST)):
                    m.d.sync += reason.eq(Reason.LENGTH)
                with m.Elif(~matched):
                    m.d.sync += reason.eq(Reason.CRC)
                with m.Elif(op == Op.IDENTIFY):
                    m.d.comb += bad_frame.eq(0)
                    m.next = "IDENTIFY"
                with m.Elif(~begun | (sequence != (last + 1)[:8]) & ~repeated):
                    m.d.sync += reason.eq(Reason.SEQUENCE)
                with m.Else():
                    m.d.comb += bad_frame.eq(0)
                    m.d.sync += [here.eq(0), until.eq(stored_end)]
                    m.next = "SEND"
                    with m.If(~repeated):
                        m.d.sync += [last.eq(sequence), keep.eq(1), stored.eq(0)]
                        m.next = "VALIDATE"
            with m.State("VALIDATE"):
                limit = Mux(to_registers, LIMIT_REGISTERS, self.memory_bytes)
                wanted = Mux(writes, length, Mux(summed, 4, 0))
                m.d.comb += [self.active.eq(1), feed.start.eq(1)]
                m.d.sync += [index.eq(0), here.eq(HEADER.size), body.eq(Mux(writes, Body.NONE, Body.WORDS))]
                m.d.sync += [
                    bad_op.eq((op == 0) | (op > Op.CRC_MEMORY)),
                    bad_size.eq((payload != wanted) | (span == 0) | Mux(summed, length != 4, length > BUFFER)),
                    bad_alignment.eq(((address | span) & unit).any()), bad_range.eq(end > limit),
                ]
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.next = "REFUSE"
                with m.If(bad_op):
                    m.d.sync += reason.eq(Reason.OP)
                with m.Elif(bad_size):
                    m.d.sync += reason.eq(Reason.SIZE)
                with m.Elif(bad_alignment):
                    m.d.sync += reason.eq(Reason.ALIGNMENT)
                with m.Elif(bad_range):
                    m.d.sync += reason.eq(Reason.RANGE)
                with m.Elif(writes):
                    m.next = "FETCH"
                with m.Elif(summed):
                    m.next = "ACCESS"
                with m.Else():
                    m.next = "ANSWER"

            # Words between the bus and the request, the CRC or the answer.
            with m.State("FETCH"):
                m.next = "GATHER"
            with m.State("GATHER"):
                for byte in range(bus_bytes):
                    with m.If(index == byte):
                        m.d.sync += word[8 * byte:8 * byte + 8].eq(request_read.data)
                m.d.sync += [here.eq(here + 1), index.eq(index + 1), left.eq(left - 1)]
                m.next = "FETCH"
                with m.If(index == unit):
                    m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += bus.i.valid.eq(1)
                with m.If(bus.i.ready):
                    m.next = "OUTCOME"
            with m.State("OUTCOME"):
                m.d.comb += bus.o.ready.eq(1)
                m.d.sync += [word.eq(bus.o.p.data), reason.eq(Reason.BUS), index.eq(0)]
                with m.If(bus.o.valid):
                    with m.If(op != Op.READ_FIFO):
                        m.d.sync += at.eq(at + unit + 1)
                    m.next = "EMIT"
                    with m.If(bus.o.p.error):
                        m.next = "REFUSE"
                    with m.Elif(summed):
                        m.next = "SUM"
                    with m.Elif(writes):
                        m.next = "FETCH"
                        with m.If(left == 0):
                            m.next = "ANSWER"
            with m.State("SUM"):
                m.d.comb += [feed.valid.eq(1), feed.data.eq(word[:8])]
                m.d.sync += index.eq(index + 1)
                next_byte()
                with m.If(left == 1):
                    m.next = "LAST SUM"
                with m.Elif(index == unit):
                    m.next = "ACCESS"
            with m.State("LAST SUM"):
                m.next = "SUMMED"
            with m.State("SUMMED"):
                m.d.sync += [word.eq(digest.crc), left.eq(4), body.eq(Body.SUM)]
                m.next = "ANSWER"

            # The answer.
            with m.State("REFUSE"):
                m.d.sync += body.eq(Body.NONE)
                answer(last, Const(NAK, 8), Const(0, 16), Cat(reason, Const(0, 28)))
            with m.State("ANSWER"):
                answer(sequence, Cat(op[:7], 1), length, address)
            with m.State("IDENTIFY"):
                with m.If(~begun | (session != address)):
                    m.d.sync += [begun.eq(1), session.eq(address), last.eq(sequence), stored.eq(0)]
                m.d.sync += body.eq(Body.IDENTITY)
                answer(sequence, Cat(op[:7], 1), Const(IDENTITY.size, 16), address)
            with m.State("HEAD"), m.If(emit(out[:8])):
                m.d.sync += out.eq(out >> 8)
                with m.If(index == HEADER.size - 1):
                    m.d.sync += index.eq(0)
                    with m.Switch(body):
                        with m.Case(Body.NONE):
                            m.next = "SEAL"
                        with m.Case(Body.IDENTITY):
                            m.next = "SELF"
                        with m.Case(Body.WORDS):
                            m.next = "ACCESS"
                        with m.Case(Body.SUM):
                            m.next = "EMIT"
            with m.State("SELF"):
                m.d.sync += own.eq(self._identity(faults)[index])
                m.next = "OWN"
            with m.State("OWN"), m.If(emit(own)):
                m.next = "SELF"
                with m.If(index == IDENTITY.size - 1):
                    m.d.sync += index.eq(0)
                    m.next = "SEAL"
            with m.State("EMIT"), m.If(emit(word[:8])):
                next_byte()
                with m.If(left == 1):
                    m.d.sync += index.eq(0)
                    m.next = "SEAL"
                with m.Elif(index == unit):
                    m.next = "ACCESS"
            with m.State("SEAL"):
                m.next = "TRAILER"
            with m.State("TRAILER"):
                final = index == TRAILER.size - 1
                with m.If(emit(digest.crc.word_select(index[:2], 8), final=final, checked=False) & final):
                    m.next = "FINISH"
            with m.State("FINISH"):
                m.d.sync += [here.eq(encoder.base), until.eq(encoder.end)]
                with m.If(encoder.done):
                    with m.If(keep):
                        m.d.sync += [stored.eq(1), stored_end.eq(encoder.end)]
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += reply_read.en.eq(1)
                m.d.sync += here.eq(here + 1)
                m.next = "BYTE"
            with m.State("BYTE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "SEND"
                    with m.If(here == until):
                        m.next = "RECEIVE"

        check(m, count <= LONGEST + 1, "link: no more bytes of a request than its memory is for")
        check(m, ~encoder.en | ((encoder.address < ASIDE) == keep), "link: an answer stays in its half of the memory")
        check(m, ~(encoder.start & answers.o.valid), "link: nothing is left of an answer when the next begins")
        with m.If(bus.i.valid):
            check(m, (at & unit) == 0, "link: an access is aligned")
            check(m, at + unit < Mux(to_registers, LIMIT_REGISTERS, self.memory_bytes), "link: an access is inside")
            check(m, left.any() | writes, "link: no more is read than was asked for")
        check_stream(m, self.o, "link")
        check_stream(m, bus.i, "link: access")
        return m

    def _identity(self, faults):
        """IDENTIFY's payload, byte by byte."""
        known = [Const(byte, 8) for byte in identity(**self.identify)]
        where = IDENTITY_FAULTS
        return Array(known[:where] + [faults.word_select(byte, 8) for byte in range(4)] + known[where + 4:])
