"""The front end: walks the program ahead of the array and tells the stream reader what to read."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_fifo, check_stream
from scoville.config import BLOCK, VALUES_BEHIND
from scoville.control.checker import Checker
from scoville.control.instruction_fetch import instruction_layout
from scoville.control.legality import Legality
from scoville.isa import INSTRUCTION_BYTES, PAGE_SIZE_BITS, Dest, Opcode, decode, field
from scoville.kv.address import page_address_layout, page_request_layout
from scoville.program.plan_attend import AttendPlan
from scoville.registers import Status
from scoville.schedule.seats import PassState

__all__ = ["FrontEnd", "page_beats"]

APPENDS = 32  # LINEARs to the KV cache between the front end and the KV store: more than the queues between them hold


def page_beats(config, head_blocks):
    """Beats of a KV page: up to V's codes (K's codes and both parts' exponents, padded to the bus), and V's codes."""
    header = (head_blocks * BLOCK + config.bus_bytes - 1) >> (config.bus_bytes.bit_length() - 1)
    codes = head_blocks * (BLOCK * BLOCK // config.bus_bytes)
    return (header << 1) + codes, codes


class FrontEnd(wiring.Component):
    """Turns instructions into read descriptors, in the order in which the back end will want the data.

    It runs ahead of the array as far as the stream FIFO and the instruction queue allow. It waits at one place: before
    it reads KV pages, the KV store must have written all that earlier instructions append to them. Every instruction
    passes the `Checker` first; one that it refuses, a row of a table behind the end of the address space, or a page
    that is not there halts the front end until reset, and is not passed on.

    Throughput: 3 cycles an instruction, 3 more a token's row, 6 and the lookup more a page.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    start : In(1), begin a pass; `state` : In(PassState), stable during the pass
    i : In(stream(instruction_layout))
    o : Out(stream(256)), the instruction, to the back end
    descriptor : Out(stream), {address, beats}, to the reader
    lookup, found : Out(stream), In(stream), of a `PageAddress`
    kv_taken, kv_busy : In(1), the KV store has taken one LINEAR's command; it has writes to do
    end : Out(1), END has been passed on
    page_bytes : In, the register KV_PAGE_BYTES
    status : Out(8), `Status`, sticky; `fault_address` : Out, the instruction's or, of a PAGE_FAULT, the page's number
    waiting_kv : Out(1), held back by KV writes
    """

    def __init__(self, config):
        self.config = config
        address = config.addr_bits
        super().__init__({
            "start": In(1),
            "state": In(PassState(config)),
            "i": In(stream.Signature(instruction_layout(config))),
            "o": Out(stream.Signature(8 * INSTRUCTION_BYTES)),
            "descriptor": Out(stream.Signature(data.StructLayout({"address": address, "beats": 24}))),
            "lookup": Out(stream.Signature(page_request_layout(config))),
            "found": In(stream.Signature(page_address_layout(config))),
            "kv_taken": In(1),
            "kv_busy": In(1),
            "end": Out(1),
            "page_bytes": In(PAGE_SIZE_BITS),
            "status": Out(8),
            "fault_address": Out(address),
            "waiting_kv": Out(1),
        })

    @staticmethod
    def model(config, program, state, found, page_bytes):
        """What the front end passes on and asks for.

        Parameters
        ----------
        program : list of (word, address), to the END or further
        state : dict of `PassState`
        found : function (slot, cache, page) -> (address, fault)
        page_bytes : the register KV_PAGE_BYTES

        Returns
        -------
        forwarded : list of words
        descriptors : list of (address, beats)
        lookups : list of (slot, cache, page)
        stop : (`Status`, address): OK and None behind the END; of a PAGE_FAULT, the page's number, else the
            instruction's address
        """
        forwarded, descriptors, lookups = [], [], []
        legality = Legality(config)
        for word, origin in program:
            f = decode(word.to_bytes(INSTRUCTION_BYTES, "little")) if word & 15 in list(Opcode) else None
            status = legality.check(f, state, page_bytes)
            if status is not Status.OK:
                return forwarded, descriptors, lookups, (status, origin)
            if f["only_last"] and not state["last"]:
                continue
            forwarded.append(word)
            opcode = f["opcode"]
            if opcode is Opcode.END:
                break
            if opcode is Opcode.LOAD:
                descriptors.append((f["address"], f["bytes"] // config.bus_bytes))
            elif opcode is Opcode.LINEAR:
                descriptors.append((f["address"], f["beats"]))
            elif opcode in (Opcode.ROPE, Opcode.EMBED):
                for lane in range(state["tokens"]):
                    row = state["seats"][lane]["position" if opcode is Opcode.ROPE else "token"]
                    address = f["address"] + row * f["stride"]
                    if address >> config.addr_bits:
                        return forwarded, descriptors, lookups, (Status.ILLEGAL_INSTRUCTION, origin)
                    descriptors.append((address, f["bytes"] // config.bus_bytes))
            else:
                key_beats, value_beats = page_beats(config, f["head_blocks"])
                values = []  # V's codes of the pages whose keys have been asked for
                for step in AttendPlan.model(config, f, state)[0]:
                    if step is None:
                        descriptors.append(values.pop(0))
                        continue
                    head, served, page = step
                    lookups.append((served.slot, f["cache"], page))
                    address, fault = found(*lookups[-1])
                    if fault:
                        return forwarded, descriptors, lookups, (Status.PAGE_FAULT, page)
                    address += f["offset"] + head * f["stride"]
                    descriptors.append((address, key_beats))
                    values.append(((address + key_beats * config.bus_bytes) % (1 << config.addr_bits), value_beats))
        return forwarded, descriptors, lookups, (Status.OK, None)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        bus_shift = config.bus_bytes.bit_length() - 1
        state = self.state

        word = Signal(8 * INSTRUCTION_BYTES, reset_less=True)
        origin = Signal(config.addr_bits, reset_less=True)
        opcode = field(word, Opcode.END, "opcode")
        address = field(word, Opcode.LOAD, "address")
        m.submodules.checker = checker = Checker(config)
        wiring.connect(m, wiring.flipped(self.i), checker.i)
        m.d.comb += [checker.start.eq(self.start), checker.state.eq(state), checker.page_bytes.eq(self.page_bytes)]
        judged = checker.o

        # KV appends on their way to the KV store: ATTEND waits until it has taken and done them.
        appends = Signal(range(APPENDS))
        append = Signal()
        check(m, ~(append & ~self.kv_taken) | ~appends.all(), "front end: appends are counted")
        check(m, ~self.kv_taken | append | (appends != 0), "front end: what the KV store takes was passed on before")
        with m.If(append & ~self.kv_taken):
            m.d.sync += appends.eq(appends + 1)
        with m.If(~append & self.kv_taken):
            m.d.sync += appends.eq(appends - 1)

        # A row a token (RoPE by position, embedding by token).
        seat = Signal(range(config.seats + 1))
        row = Signal(32, reset_less=True)  # of the seat, a cycle later
        stride = field(word, Opcode.ROPE, "stride")
        half = len(row) // 2  # products of half a row's number each are registered, then added
        low, high = (Signal(half + len(stride), name=name, reset_less=True) for name in ("low", "high"))
        place = Signal(config.addr_bits + half + len(stride), reset_less=True)  # of the row; it must not wrap
        row_bytes = field(word, Opcode.ROPE, "bytes")
        whose = state.seats[seat[:max(1, (config.seats - 1).bit_length())]]
        m.d.sync += row.eq(Mux(opcode == Opcode.ROPE, whose.position, whose.token))

        # Attention: the pages of the plan.
        m.submodules.plan = plan = AttendPlan(config)
        step = plan.step
        head = Signal(PAGE_SIZE_BITS, reset_less=True)  # bytes from a page's begin to the step's head
        found = Signal(config.addr_bits, reset_less=True)
        key_beats, value_beats = Signal(16), Signal(16)
        # The pages whose values are still to be read.
        m.submodules.values = values = SyncFIFO(width=config.addr_bits, depth=VALUES_BEHIND + 1)
        m.d.comb += [
            *(signal.eq(beats) for signal, beats in zip(
                (key_beats, value_beats), page_beats(config, field(word, Opcode.ATTEND, "head_blocks")), strict=True)),
            values.w_data.eq(found + (key_beats << bus_shift)),
            self.lookup.p.page.eq(step.p.page),
            self.lookup.p.cache.eq(field(word, Opcode.ATTEND, "cache")),
            self.lookup.p.slot.eq(step.p.slot if config.slots > 1 else 0),
            plan.op.eq(word),
            plan.state.eq(state),
            self.o.payload.eq(word),
        ]

        with m.FSM():
            with m.State("idle"), m.If(self.start):
                m.next = "take"
            with m.State("take"):
                m.d.comb += judged.ready.eq(1)
                m.d.sync += [word.eq(judged.p.word), origin.eq(judged.p.address), seat.eq(0)]
                with m.If(judged.valid):
                    m.next = "forward"
                    with m.If(judged.p.status != Status.OK):
                        m.d.sync += [self.status.eq(judged.p.status), self.fault_address.eq(judged.p.address)]
                        m.next = "halted"
            with m.State("forward"):
                m.d.comb += self.o.valid.eq(1)
                m.d.sync += head.eq(field(word, Opcode.ATTEND, "offset"))
                with m.If(self.o.ready), m.Switch(opcode):
                    with m.Case(Opcode.END):
                        m.d.comb += self.end.eq(1)
                        m.next = "idle"
                    with m.Case(Opcode.LOAD):
                        m.next = "vector"
                    with m.Case(Opcode.ROPE, Opcode.EMBED):
                        m.next = "lane"
                    with m.Case(Opcode.LINEAR):
                        dest = field(word, Opcode.LINEAR, "dest")
                        m.d.comb += append.eq((dest == Dest.KEY) | (dest == Dest.VALUE))
                        m.next = "matrix"
                    with m.Case(Opcode.ATTEND):
                        m.d.comb += plan.start.eq(1)
                        m.next = "appended"
            with m.State("vector"):
                m.d.comb += [
                    self.descriptor.valid.eq(1),
                    self.descriptor.p.address.eq(address),
                    self.descriptor.p.beats.eq(field(word, Opcode.LOAD, "bytes") >> bus_shift),
                ]
                with m.If(self.descriptor.ready):
                    m.next = "take"
            with m.State("matrix"):
                m.d.comb += [
                    self.descriptor.valid.eq(1),
                    self.descriptor.p.address.eq(address),
                    self.descriptor.p.beats.eq(field(word, Opcode.LINEAR, "beats")),
                ]
                with m.If(self.descriptor.ready):
                    m.next = "take"
            with m.State("lane"):
                m.d.sync += [low.eq(row[:half] * stride), high.eq(row[half:] * stride), seat.eq(seat + 1)]
                m.next = "lane_sum"
            with m.State("lane_sum"):
                m.d.sync += place.eq(address + low + (high << half))
                m.next = "lane_row"
            with m.State("lane_row"):
                outside = place[config.addr_bits:].any()
                m.d.comb += [
                    self.descriptor.valid.eq(~outside),
                    self.descriptor.p.address.eq(place),
                    self.descriptor.p.beats.eq(row_bytes >> bus_shift),
                ]
                with m.If(outside):
                    m.d.sync += [self.status.eq(Status.ILLEGAL_INSTRUCTION), self.fault_address.eq(origin)]
                    m.next = "halted"
                with m.Elif(self.descriptor.ready):
                    with m.If(seat == state.tokens):
                        m.next = "take"
                    with m.Else():
                        m.next = "lane"
            with m.State("appended"):
                m.d.comb += self.waiting_kv.eq(1)
                with m.If((appends == 0) & ~self.kv_busy):
                    m.next = "look_up"
            with m.State("look_up"):
                m.d.comb += self.lookup.valid.eq(step.valid)
                with m.If(step.valid & self.lookup.ready):
                    m.next = "found"
            with m.State("found"):
                m.d.comb += self.found.ready.eq(1)
                with m.If(self.found.valid):
                    m.d.sync += found.eq(self.found.p.address + head)
                    with m.If(self.found.p.fault):
                        m.d.sync += [self.status.eq(Status.PAGE_FAULT), self.fault_address.eq(step.p.page)]
                        m.next = "halted"
                    with m.Else():
                        m.next = "keys"
            with m.State("keys"):
                m.d.comb += [
                    self.descriptor.valid.eq(1),
                    self.descriptor.p.address.eq(found),
                    self.descriptor.p.beats.eq(key_beats),
                ]
                with m.If(self.descriptor.ready):
                    m.d.comb += [values.w_en.eq(1), step.ready.eq(1)]
                    with m.If(step.p.last & step.p.last_pass):
                        m.d.sync += head.eq(head + field(word, Opcode.ATTEND, "stride"))
                    m.next = "behind"
            with m.State("behind"):
                with m.If(plan.over):
                    m.next = "take"
                with m.Elif(step.valid):
                    m.next = "look_up"
                    with m.If(step.p.value):
                        m.next = "values"
            with m.State("values"):
                m.d.comb += [
                    self.descriptor.valid.eq(1),
                    self.descriptor.p.address.eq(values.r_data),
                    self.descriptor.p.beats.eq(value_beats),
                    values.r_en.eq(self.descriptor.ready),
                    step.ready.eq(self.descriptor.ready),
                ]
                with m.If(self.descriptor.ready):
                    m.next = "behind"
            with m.State("halted"):
                pass
        assert len(self.descriptor.p.beats) >= len(key_beats)
        check_fifo(m, values, "front end: values")
        check_stream(m, self.o, "front end: instructions")
        check_stream(m, self.descriptor, "front end: descriptors")
        return m
