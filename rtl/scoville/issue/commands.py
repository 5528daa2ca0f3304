"""The commands that an instruction becomes, and what sends those of one instruction to its units."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from scoville.array.array import array_task
from scoville.attention.kv_store import store_command_layout
from scoville.attention.softmax import softmax_command_layout
from scoville.epilogue.chain import chain_command
from scoville.epilogue.quantiser import quantiser_command
from scoville.epilogue.vectors import vector_command
from scoville.isa import OPERATION
from scoville.sampler.sampler import sampler_command
from scoville.schedule.seats import PassState
from scoville.weights.walk import WeightCommand

__all__ = ["Outbox", "issuer", "layouts", "ports"]


def layouts(config):
    """The payload of each."""
    return {
        "decoder": WeightCommand,
        "vectors": vector_command(config),
        "chain": chain_command(config),
        "quantiser": quantiser_command(config),
        "softmax": softmax_command_layout(config),
        "kv": store_command_layout(config),
        "sampler": sampler_command,
        "task": array_task(config),
    }


def ports(config, *names):
    """A stream to each of these units (`task`: to the array), to all if none is named."""
    found = layouts(config)
    return {name: Out(stream.Signature(found[name])) for name in names or found}


def issuer(config, *names):
    """The members of an issuer of one kind of instruction, which sends to these units."""
    return {"op": In(OPERATION), "state": In(PassState(config)), "start": In(1), "over": Out(1)} | ports(config, *names)


class Outbox:
    """Offers a command on each of some streams once, and knows when all were taken.

    Parameters
    ----------
    m : Module
    streams : dict of streams by name; only `valid` is driven here
    """

    def __init__(self, m: Module, streams):
        self._m, self._due = m, {name: Signal(name=f"due_{name}") for name in streams}
        for name, port in streams.items():
            m.d.comb += port.valid.eq(self._due[name])
            with m.If(port.ready):
                m.d.sync += self._due[name].eq(0)
        self.empty = ~Cat(self._due.values()).any()

    def fill(self, **needed):
        """From the next cycle on those streams have a command of which `needed` says so."""
        self._m.d.sync += [self._due[name].eq(value) for name, value in needed.items()]
