"""A core: program, issue, datapath and a memory port; it carries out the passes that it is given."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.array.array import DotArray
from scoville.array.operand import OperandBuffer
from scoville.attention.kv_store import KvStore
from scoville.attention.softmax import Softmax
from scoville.checks import check
from scoville.control.faults import report_layout
from scoville.control.front_end import FrontEnd
from scoville.control.instruction_fetch import InstructionFetch
from scoville.control.queue import Queue
from scoville.control.rest import QUEUED, Rest
from scoville.epilogue.chain import Chain
from scoville.epilogue.quantiser import Quantiser
from scoville.epilogue.router import Router
from scoville.epilogue.vectors import VectorUnit
from scoville.isa import INSTRUCTION_BYTES, PAGE_SIZE_BITS
from scoville.issue.issue import Issue
from scoville.kv.address import NUMBER_BITS, PageAddress
from scoville.kv.layouts import page_layout, place_layout
from scoville.memory import axi
from scoville.memory.dump import LogitsDump
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.memory.port import MemoryPort, trouble_layout
from scoville.memory.tile_dump import TileDump
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.sampler.sampler import Sampler
from scoville.schedule.seats import PassState, Sampling
from scoville.slices import Skid
from scoville.weights.decoder import WeightDecoder

__all__ = ["INSTRUCTION_QUEUE", "Core", "settings_layout"]

INSTRUCTION_QUEUE = 8
PROGRAM, OTHERS = range(2)  # clients of the fetch port


def settings_layout(config):
    """What the host has set, stable while a sequence runs."""
    address = config.addr_bits
    return data.StructLayout({
        "program": address, "kv_base": address, "kv_page_bytes": PAGE_SIZE_BITS,
        "window_base": address, "window_limit": address})


class Core(wiring.Component):
    """The block diagram of docs/design.md, wired. `units` has every unit by name, for who watches them.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    bus : Out(AXI4), to memory
    settings : In(settings_layout)
    state : In(PassState), sampling : In(Sampling), stable during a pass
    begin : In(1), a pass begins; `done` : Out(1), it has ended
    sampled : Out(stream), {token}, of every seat that samples, in their order; they may wait behind the pass's end
    request, response : short reads of another
    read, read_page, append, append_page : Out(stream), In(stream), to a translation (`kv.one`, `kv.translation`)
    write_command, write_data : In(stream), writes of another, with more slots than one; writes_idle : Out(1), every
        write has its response; pages_rest : Out(1), no page that was given is in use
    stop, resetting : In(1), as of `MemoryPort`; `fault` : In(1), a pass may end anyhow
    rests : Out(1), nothing is under way; `bus_idle` : Out(1), no transaction is open and none is wanted
    stream_trouble, write_trouble, program_trouble : Out(trouble_layout)
    front_report : Out(report_layout); `page_fault`, `page_number` : Out, of the KV store
    """

    def __init__(self, config):
        self.config = config
        place, page = place_layout(config), page_layout(config)
        super().__init__({
            "bus": Out(axi.signature(config)),
            "settings": In(settings_layout(config)),
            "state": In(PassState(config)), "sampling": In(Sampling(config)), "begin": In(1), "done": Out(1),
            "sampled": Out(stream.Signature(data.StructLayout({"token": 32}))),
            "request": In(stream.Signature(fetch_layout(config))),
            "response": Out(stream.Signature(response_layout(config))),
            "stop": In(1), "resetting": In(1), "fault": In(1),
            "rests": Out(1), "bus_idle": Out(1),
            "stream_trouble": Out(trouble_layout(config)), "write_trouble": Out(trouble_layout(config)),
            "program_trouble": Out(trouble_layout(config)),
            "front_report": Out(report_layout(config)),
            "page_fault": Out(1), "page_number": Out(NUMBER_BITS),
            "read": Out(stream.Signature(place)), "read_page": In(stream.Signature(page)),
            "append": Out(stream.Signature(place)), "append_page": In(stream.Signature(page)),
        } | ({
            "write_command": In(stream.Signature(write_command_layout(config))),
            "write_data": In(stream.Signature(write_data_layout(config))),
            "writes_idle": Out(1), "pages_rest": Out(1),
        } if config.slots > 1 else {}))
        self.port = MemoryPort(config, writers=3 if config.slots > 1 else 2)
        self.units = {
            "reads": PageAddress(config),
            "appends": PageAddress(config),
            "decoder": WeightDecoder(config),
            "vectors": VectorUnit(config),
            "operands": OperandBuffer(config),
            "array": DotArray(config),
            "softmax": Softmax(config),
            "chain": Chain(config),
            "quantiser": Quantiser(config),
            "router": Router(config),
            "kv_store": KvStore(config),
            "sampler": Sampler(config),
            "dump": (TileDump if config.slots > 1 else LogitsDump)(config),
            "instruction_fetch": InstructionFetch(config),
            "front_end": FrontEnd(config),
            "issue": Issue(config),
        }

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = self.port
        for name, unit in self.units.items():
            m.submodules[name] = unit
        m.submodules.instructions = instructions = Queue(8 * INSTRUCTION_BYTES, INSTRUCTION_QUEUE)
        m.submodules.rest = rest = Rest()
        self._memory(m)
        self._datapath(m)
        self._program(m, instructions, rest)
        self._commands(m, rest)
        m.d.comb += [
            self.rests.eq(rest.quiet & rest.settled & self.port.reads_idle & instructions.empty),
            self.bus_idle.eq(self.port.reads_idle & self.port.fetches_idle & self.port.writes_idle),
        ]
        rested = Signal()  # a pass ends a cycle after it has come to rest; a write of another may have begun since
        m.d.sync += rested.eq(self.rests)
        check(m, ~self.done | self.stop | self.fault | rested, "core: nothing of a pass is left at its end")
        return m

    def _memory(self, m):
        """The memory port, and what it writes and looks up."""
        port, settings, units = self.port, self.settings, self.units
        kv_store, dump, front = (units[name] for name in ("kv_store", "dump", "front_end"))
        connect(m, port.bus, flipped(self.bus))
        connect(m, kv_store.write_command, port.command[0])
        connect(m, kv_store.write_data, port.data[0])
        connect(m, dump.command, port.command[1])
        connect(m, dump.data, port.data[1])
        if self.config.slots > 1:
            connect(m, flipped(self.write_command), port.command[2])
            connect(m, flipped(self.write_data), port.data[2])
            in_pass = Signal()  # from its beginning on: what is looked up then may wait to be used
            with m.If(self.begin | self.done):
                m.d.sync += in_pass.eq(self.begin)
            m.d.comb += [self.writes_idle.eq(port.writes_idle),
                         self.pages_rest.eq(self.rests & port.writes_idle & ~in_pass & ~self.begin)]
        connect(m, front.descriptor, port.descriptor)
        for user, address, place, page in ((front, units["reads"], self.read, self.read_page),
                                           (kv_store, units["appends"], self.append, self.append_page)):
            connect(m, user.lookup, address.request)
            connect(m, address.response, user.found)
            connect(m, address.place, flipped(place))
            connect(m, flipped(page), address.page)
            m.d.comb += [address.kv_base.eq(settings.kv_base), address.page_bytes.eq(settings.kv_page_bytes)]
        fetch = units["instruction_fetch"]
        asked, answer = port.request[PROGRAM], port.response[PROGRAM]
        m.d.comb += [
            asked.p.address.eq(fetch.request.p.address), asked.p.beats.eq(fetch.request.p.beats),
            asked.valid.eq(fetch.request.valid), fetch.request.ready.eq(asked.ready),
            fetch.response.p.data.eq(answer.p.data), fetch.response.p.error.eq(answer.p.error),
            fetch.response.valid.eq(answer.valid), answer.ready.eq(fetch.response.ready),
        ]
        connect(m, flipped(self.request), port.request[OTHERS])
        connect(m, port.response[OTHERS], flipped(self.response))
        m.d.comb += [
            port.stop.eq(self.stop), port.resetting.eq(self.resetting),
            port.base.eq(settings.window_base), port.limit.eq(settings.window_limit),
            front.page_bytes.eq(settings.kv_page_bytes), kv_store.state.eq(self.state),
            kv_store.writes_done.eq(port.writes_idle),
            front.kv_taken.eq(kv_store.command.valid & kv_store.command.ready),
            front.kv_busy.eq(kv_store.busy),
            self.stream_trouble.eq(port.read_trouble), self.write_trouble.eq(port.write_trouble),
            # An error is that of the beat that the port shows in the same cycle.
            self.program_trouble.error.eq(fetch.error), self.program_trouble.address.eq(fetch.error_address),
            self.program_trouble.refused.eq(port.response[PROGRAM].p.refused),
            self.front_report.status.eq(front.status), self.front_report.address.eq(front.fault_address),
            self.page_fault.eq(kv_store.fault), self.page_number.eq(kv_store.fault_page),
        ]

    def _datapath(self, m):
        """From the weight stream through the array and the epilogue, and back."""
        decoder, vectors, operands, array, softmax, chain, quantiser, router, kv_store, sampler, dump = (
            self.units[name] for name in ("decoder", "vectors", "operands", "array", "softmax", "chain", "quantiser",
                                          "router", "kv_store", "sampler", "dump"))
        m.submodules.beats = beats = Skid(self.config.bus_bits)  # the reader's FIFO and the decoder's walk do not meet
        connect(m, self.port.beats, beats.i)
        connect(m, beats.o, decoder.i)
        connect(m, decoder.o, array.weights)
        connect(m, decoder.vector, vectors.vector)
        connect(m, decoder.exponents, softmax.exponents)
        to_softmax = array.o.p.tag
        m.d.comb += [
            decoder.table_en.eq(vectors.table_en),
            decoder.table_data.eq(vectors.table_data),
            operands.address.eq(array.operand_address),
            array.operand_blocks.eq(operands.blocks),
            array.credit.eq(router.credit),
            chain.i.payload.eq(array.o.payload),
            softmax.i.payload.eq(array.o.payload),
            chain.i.valid.eq(array.o.valid & ~to_softmax),
            softmax.i.valid.eq(array.o.valid & to_softmax),
            array.o.ready.eq(Mux(to_softmax, softmax.i.ready, chain.i.ready)),
            sampler.state.eq(self.state), sampler.sampling.eq(self.sampling), dump.sampling.eq(self.sampling),
        ]
        connect(m, vectors.embed, chain.embed)
        connect(m, chain.bias, vectors.bias)
        connect(m, chain.norm, vectors.norm)
        connect(m, chain.rope, vectors.rope)
        connect(m, softmax.factor, chain.factor)
        connect(m, chain.o, quantiser.chain)
        connect(m, softmax.o, quantiser.softmax)
        connect(m, quantiser.o, router.i)
        connect(m, router.operand, operands.write)
        connect(m, router.kv, kv_store.i)
        connect(m, chain.logits, sampler.i)
        connect(m, sampler.dump, dump.i)
        connect(m, sampler.o, flipped(self.sampled))

    def _program(self, m, instructions, rest):
        """From the program to the issuers."""
        fetch, front, issue = (self.units[name] for name in ("instruction_fetch", "front_end", "issue"))
        connect(m, fetch.o, front.i)
        connect(m, front.o, instructions.i)
        connect(m, instructions.o, issue.i)
        connect(m, issue.task, self.units["array"].task)
        connect(m, self.units["softmax"].shift, issue.shift)
        m.d.comb += [
            fetch.base.eq(self.settings.program), fetch.start.eq(self.begin), fetch.stop.eq(front.end),
            front.start.eq(self.begin), front.state.eq(self.state),
            issue.state.eq(self.state), self.done.eq(issue.done),
            issue.quiet.eq(rest.quiet), issue.settled.eq(rest.settled),
            issue.probability_done.eq(self.units["router"].probability_done),
        ]

    def _commands(self, m, rest):
        """Each through a queue, so that an issuer never waits for a unit in the middle of its work."""
        units = self.units | {"kv": self.units["kv_store"]}
        for name in QUEUED:
            source, consumer = getattr(self.units["issue"], name), units[name]
            m.submodules[f"{name}_queue"] = queue = Queue(source.payload.shape())
            connect(m, source, queue.i)
            connect(m, queue.o, consumer.command)
            m.d.comb += rest.empty[name].eq(queue.empty)
        m.d.comb += [rest.busy[name].eq(units[name].busy) for name in rest.busy.shape().members]
        m.d.comb += [rest.sampled.eq(self.sampled.valid), rest.written.eq(self.port.writes_idle)]
