"""Everything that can go wrong, to the fault latch."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from scoville.control.monitor import LIMIT_BITS, FaultLatch
from scoville.kv.address import NUMBER_BITS
from scoville.memory.port import trouble_layout
from scoville.registers import Status

__all__ = ["FaultUnit", "report_layout"]


def report_layout(config):
    """A unit's `Status`, OK as long as nothing is wrong, and the address that goes with it."""
    return data.StructLayout({"status": 8, "address": config.addr_bits})


class FaultUnit(wiring.Component):
    """Sorts failed accesses into window and bus errors, and keeps the first fault. Short reads and settings come late.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    stream, write : In(trouble_layout), of the weight stream and of writes
    program, prompt : In(trouble_layout), of short reads, for a cycle
    front : In(report_layout), of the front end: an instruction that is refused, or a page that is not there
    page, page_number : In, the KV store found no such page
    overrun : In(1), a sequence does not fit its context
    setting, setting_address : In, a register was given what it cannot hold, or at the wrong time
    progress, run, limit : In, as of `FaultLatch`
    fault, code, address : Out, as of `FaultLatch`
    """

    def __init__(self, config):
        self.config = config
        super().__init__({name: In(trouble_layout(config)) for name in ("stream", "write", "program", "prompt")} | {
            "front": In(report_layout(config)),
            "page": In(1), "page_number": In(NUMBER_BITS), "overrun": In(1),
            "setting": In(1), "setting_address": In(config.addr_bits),
            "progress": In(1), "run": In(1), "limit": In(LIMIT_BITS),
            "fault": Out(1), "code": Out(8), "address": Out(config.addr_bits),
        })

    @staticmethod
    def model(now, before):
        """(`Status`, address) of the fault of a cycle, or None: that of the lowest code, and its first cause's address.

        Parameters
        ----------
        now, before : dict of the inputs, by name, in the cycle and in the one before
        """
        fetch = before["program"] if before["program"]["error"] else before["prompt"]
        front = now["front"]
        causes = {
            Status.READ_ERROR: [t["address"] for t in (now["stream"], fetch) if t["error"] and not t["refused"]],
            Status.WRITE_ERROR: [t["address"] for t in (now["write"],) if t["error"] and not t["refused"]],
            Status.WINDOW: [t["address"] for t in (now["stream"], now["write"], fetch) if t["error"] and t["refused"]],
            Status.SETTING: [before["setting_address"]] if before["setting"] else [],
        } | {status: [front["address"]] if front["status"] == status else [] for status in (
            Status.ILLEGAL_INSTRUCTION, Status.TOKEN, Status.PAGE_FAULT, Status.CONTEXT)}
        causes[Status.PAGE_FAULT] += [now["page_number"]] if now["page"] else []
        causes[Status.CONTEXT] += [0] if now["overrun"] else []
        return min(((status, addresses[0]) for status, addresses in causes.items() if addresses), default=None)

    def elaborate(self, platform):
        m = Module()
        m.submodules.latch = latch = FaultLatch(self.config)
        fetch, front = Signal(trouble_layout(self.config)), self.front  # of program and prompt
        m.d.sync += [
            fetch.eq(Mux(self.program.error, self.program.as_value(), self.prompt.as_value())),
            latch.progress.eq(self.progress),
            latch.raise_setting.eq(self.setting),
            latch.address_setting.eq(self.setting_address),
        ]
        causes = {
            "read_error": [(each.error & ~each.refused, each.address) for each in (self.stream, fetch)],
            "write_error": [(self.write.error & ~self.write.refused, self.write.address)],
            "window": [(each.error & each.refused, each.address) for each in (self.stream, self.write, fetch)],
            "illegal_instruction": [(front.status == Status.ILLEGAL_INSTRUCTION, front.address)],
            "token": [(front.status == Status.TOKEN, front.address)],
            "page_fault": [(front.status == Status.PAGE_FAULT, front.address), (self.page, self.page_number)],
            "context": [(front.status == Status.CONTEXT, front.address), (self.overrun, 0)],
        }
        for name, found in causes.items():
            raised, address = getattr(latch, f"raise_{name}"), getattr(latch, f"address_{name}")
            for cause, where in reversed(found):  # the first one's address
                with m.If(cause):
                    m.d.comb += [raised.eq(1), address.eq(where)]
        m.d.comb += [latch.run.eq(self.run), latch.limit.eq(self.limit), self.fault.eq(latch.fault),
                     self.code.eq(latch.code), self.address.eq(latch.address)]
        return m
