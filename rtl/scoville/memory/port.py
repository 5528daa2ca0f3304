"""A core's memory port: all that reads and writes, behind one guard, as one AXI4 manager."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.memory import axi
from scoville.memory.axi import ErrorKind
from scoville.memory.fetch_port import FetchPort, ReadMux, fetch_layout, response_layout
from scoville.memory.reader import StreamReader, request_layout
from scoville.memory.window import Window
from scoville.memory.write_arbiter import WriteArbiter
from scoville.memory.writer import StreamWriter, write_command_layout, write_data_layout

__all__ = ["MemoryPort", "trouble_layout"]


def trouble_layout(config):
    """A read or a write that failed, `refused` by the window or by the memory, at `address`."""
    return data.StructLayout({"error": 1, "refused": 1, "address": config.addr_bits})


class MemoryPort(wiring.Component):
    """Reader, fetch port and writer on one bus, none of which gets past the window.

    With `stop` no read begins, and what comes is dropped; with `resetting` no write begins.

    Parameters
    ----------
    config : ChipConfig
    clients : int, of the fetch port

    Members
    -------
    bus : Out(AXI4)
    descriptor : In(stream), {address, beats}, what to stream; `beats` : Out(stream(bus_bits))
    request : In(stream) a client, short reads; `response` : Out(stream) each
    command, data : In(stream) each for the writes of the KV store and of the dump
    stop, resetting : In(1)
    base, limit : In(addr_bits), the window
    reads_idle, fetches_idle, writes_idle : Out(1)
    read_trouble, write_trouble : Out(trouble_layout), of the stream and of writes
    """

    def __init__(self, config, clients=2):
        self.config, self.clients = config, clients
        super().__init__({
            "bus": Out(axi.signature(config)),
            "request": In(stream.Signature(fetch_layout(config))).array(clients),
            "response": Out(stream.Signature(response_layout(config))).array(clients),
            "command": In(stream.Signature(write_command_layout(config))).array(2),
            "data": In(stream.Signature(write_data_layout(config))).array(2),
            "descriptor": In(stream.Signature(request_layout(config))),
            "beats": Out(stream.Signature(config.bus_bits)),
            "stop": In(1), "resetting": In(1),
            "base": In(config.addr_bits), "limit": In(config.addr_bits),
            "reads_idle": Out(1), "fetches_idle": Out(1), "writes_idle": Out(1),
            "read_trouble": Out(trouble_layout(config)), "write_trouble": Out(trouble_layout(config)),
        })
        self.reader, self.writer = StreamReader(config), StreamWriter(config)

    def elaborate(self, platform):
        m = Module()
        config, stop = self.config, self.stop
        m.submodules.reader, m.submodules.writer = reader, writer = self.reader, self.writer
        m.submodules.fetch_port = fetch_port = FetchPort(config, clients=self.clients)
        m.submodules.read_mux = read_mux = ReadMux(config)
        m.submodules.write_arbiter = arbiter = WriteArbiter(config)
        m.submodules.window = window = Window(config)

        connect(m, reader.bus, read_mux.reader)
        connect(m, fetch_port.bus, read_mux.fetch)
        for manager in (read_mux, writer):
            for name, member in manager.bus.signature.members.items():
                ours, theirs = getattr(window.i, name), getattr(manager.bus, name)
                m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
        connect(m, window.bus, flipped(self.bus))
        m.d.comb += [window.base.eq(self.base), window.limit.eq(self.limit)]

        dropping = Signal()  # `stop`, a cycle later: a beat more or less is all the same to a decoder that is reset
        m.d.sync += dropping.eq(stop)
        m.d.comb += [
            reader.i.payload.eq(self.descriptor.payload),
            reader.i.valid.eq(self.descriptor.valid & ~stop),
            self.descriptor.ready.eq(reader.i.ready & ~stop),
            self.beats.payload.eq(reader.o.payload),
            self.beats.valid.eq(reader.o.valid & ~dropping),
            reader.o.ready.eq(self.beats.ready | dropping),
        ]
        for number in range(self.clients):
            request, response = self.request[number], self.response[number]
            port, answer = fetch_port.i[number], fetch_port.o[number]
            m.d.comb += [
                port.payload.eq(request.payload),
                port.valid.eq(request.valid & ~stop),
                request.ready.eq(port.ready & ~stop),
                response.payload.eq(answer.payload),
                response.valid.eq(answer.valid),
                answer.ready.eq(response.ready | stop),
            ]
        for number in range(2):
            connect(m, flipped(self.command[number]), getattr(arbiter, f"command{number}"))
            connect(m, flipped(self.data[number]), getattr(arbiter, f"data{number}"))
        connect(m, arbiter.data, writer.data)
        m.d.comb += [
            writer.command.payload.eq(arbiter.command.payload),
            writer.command.valid.eq(arbiter.command.valid & ~self.resetting),
            arbiter.command.ready.eq(writer.command.ready & ~self.resetting),
            self.reads_idle.eq(reader.idle), self.fetches_idle.eq(fetch_port.idle), self.writes_idle.eq(writer.idle),
        ]
        for trouble, manager in ((self.read_trouble, reader), (self.write_trouble, writer)):
            m.d.comb += [trouble.error.eq(manager.error), trouble.address.eq(manager.error_address),
                         trouble.refused.eq(manager.error_kind == ErrorKind.WINDOW)]
        return m
