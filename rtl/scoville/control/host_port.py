"""What the host asks for and is told: start and soft reset, generated tokens, interrupts, STATUS."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_fifo

__all__ = ["NO_TOKEN", "STATUS", "HostPort"]

TOKEN_QUEUE = 16
NO_TOKEN = 0xFFFFFFFF
STATUS = data.StructLayout({"running": 1, "done": 1, "error": 1, "saturated": 1, "idle_bus": 1, "resetting": 1,
                            "unused": 2, "code": 8, "waiting": 16})
IRQ = data.StructLayout({"token": 1, "done": 1, "error": 1})


class HostPort(wiring.Component):
    """Starts and stops the chip, and keeps what it has to tell the host.

    A soft reset is carried out once it has stopped the chip and the bus is idle; until then it is `resetting`. A start
    waits for it. With a fault, a start is dropped and the error event comes again; while a sequence runs, it is a
    `misuse`. What belongs to a sequence ends with a start: unread tokens, events, done and saturated.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    control : In(2), bits written to CONTROL; clear_events : In(3), to IRQ_STATUS; enable : In(3), IRQ_ENABLE
    token : In(stream(32)), from the only sequence; pop : In(1), the host has read TOKEN; shown : Out(32), what it reads
    posted : In(1), in place of them with several slots: a completion is written
    running, finished, fault, code, clipped : In, the sequence runs, has ended well; the first fault; FP32 overflowed
    bus_idle : In(1), no transaction is open and none is wanted
    start, reset : Out(1), for one cycle: to the sequence; of all units but this and the register file
    resetting : Out(1); stop : Out(1), no transaction may begin, what comes is dropped: a fault, or resetting
    busy : Out(1), settings have to stand still: from the cycle after `control` to the end of the sequence or reset
    misuse : Out(1), for one cycle: a start while a sequence runs
    status : Out(STATUS); events : Out(IRQ); interrupt : Out(1)
    """

    def __init__(self, config):
        self.config = config
        tokens = {"token": In(stream.Signature(32)), "pop": In(1), "shown": Out(32)}
        super().__init__((tokens if config.slots == 1 else {"posted": In(1)}) | {
            "control": In(2), "clear_events": In(3), "enable": In(3),
            "running": In(1), "finished": In(1), "fault": In(1), "code": In(8), "clipped": In(1),
            "bus_idle": In(1),
            "start": Out(1), "reset": Out(1), "resetting": Out(1), "stop": Out(1), "busy": Out(1), "misuse": Out(1),
            "status": Out(STATUS), "events": Out(IRQ), "interrupt": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        start_wanted, reset_wanted = self.control[0], self.control[1]

        # A soft reset takes effect once no bus transaction is open. `stop` keeps new ones from being opened.
        m.d.sync += [
            self.stop.eq(self.fault | self.resetting),
            self.reset.eq(self.resetting & self.stop & ~self.reset & self.bus_idle),
        ]
        with m.If(reset_wanted):
            m.d.sync += self.resetting.eq(1)
        with m.Elif(self.reset):
            m.d.sync += self.resetting.eq(0)

        waiting, asked, reset_due = Signal(), Signal(), Signal()  # a start waits; a start is asked for, now or before
        m.d.comb += [
            asked.eq(start_wanted | waiting),
            reset_due.eq(reset_wanted | self.resetting),
            self.start.eq(asked & ~reset_due & ~self.running & ~self.fault),
            self.misuse.eq(asked & ~reset_due & self.running),
            self.busy.eq(waiting | self.resetting | self.running | self.fault),
        ]
        m.d.sync += waiting.eq(asked & reset_due)

        clear, entered = Signal(), Signal()
        m.d.comb += clear.eq(self.start | self.reset)
        if self.config.slots == 1:
            self._tokens(m, clear, entered)
        else:
            m.d.comb += entered.eq(self.posted)

        done, saturated, was_fault, was_idle = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [done.eq(done | self.finished), saturated.eq(saturated | self.clipped), was_fault.eq(self.fault),
                     was_idle.eq(self.bus_idle)]
        with m.If(clear):
            m.d.sync += [done.eq(0), saturated.eq(0)]
        m.d.comb += [
            self.status.running.eq(self.running | waiting),
            self.status.done.eq(done),
            self.status.error.eq(self.fault),
            self.status.saturated.eq(saturated),
            self.status.idle_bus.eq(was_idle),
            self.status.resetting.eq(self.resetting),
            self.status.code.eq(self.code),
        ]

        happened = Signal(IRQ)
        m.d.comb += [
            happened.token.eq(entered),
            happened.done.eq(self.finished),
            happened.error.eq(self.fault & (~was_fault | asked & ~reset_due)),
            self.interrupt.eq((self.events.as_value() & self.enable).any()),
        ]
        m.d.sync += self.events.eq(Mux(self.start, 0, (self.events.as_value() & ~self.clear_events)
                                       | happened.as_value()))

        check(m, ~self.start | ~self.running & ~self.fault, "host_port: a sequence starts alone, and without a fault")
        check(m, ~self.reset | self.resetting & self.stop & self.bus_idle, "host_port: a reset finds an idle bus")
        check(m, ~(self.start & entered), "host_port: no token comes before its sequence begins")
        check(m, ~self.finished | self.running, "host_port: what ends has run")
        return m

    def _tokens(self, m, clear, entered):
        """Tokens, until the host reads them or the next sequence begins."""
        tokens = SyncFIFOBuffered(width=32, depth=TOKEN_QUEUE)
        m.submodules.tokens = ResetInserter(clear)(tokens)
        m.d.comb += [
            self.token.ready.eq(tokens.w_rdy),
            entered.eq(self.token.valid & self.token.ready),
            tokens.w_en.eq(entered),
            tokens.w_data.eq(self.token.payload),
            self.shown.eq(Mux(tokens.r_rdy, tokens.r_data, NO_TOKEN)),
            tokens.r_en.eq(self.pop & tokens.r_rdy),
            self.status.waiting.eq(tokens.level),
        ]
        check_fifo(m, tokens, "host_port.tokens")
