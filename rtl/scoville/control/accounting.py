"""What each cycle is spent on: the stall reasons, and the trace port's word."""

from amaranth.hdl import Cat, Signal

from scoville.control.activity import ACTIVITY
from scoville.epilogue.chain import LaneScale
from scoville.epilogue.router import QuantDest
from scoville.isa import Dest, Opcode
from scoville.registers import STALLS

__all__ = ["activity", "stall_reasons"]


def waits(stream):
    return stream.valid & ~stream.ready


def moves(stream):
    return stream.valid & stream.ready


def walks(front):
    """Whether the front end looks a page up."""
    return front.lookup.valid | front.found.ready


def stall_reasons(m, units, several=False):
    """One bit for each of `registers.STALLS`; the first that is high is charged if the array does no work.

    Parameters
    ----------
    m : Module
    units : dict of the chip's units by name
    several : whether there are more slots than one
    """
    array, back, front, decoder = (units[name] for name in ("array", "issue", "front_end", "decoder"))
    chain, schedule, vectors = (units[name] for name in ("chain", "schedule", "vectors"))
    starved, no_task = array.no_weights, array.no_task
    # An item that is not there would have come from the beat that the decoder took, or did not, so many cycles ago.
    late = Cat(decoder.waiting, moves(decoder.vector), decoder.header, moves(decoder.i))
    for age in range(decoder.LATENCY):
        before, late = late, Signal(4, name=f"decoder_did_{age}")
        m.d.sync += late.eq(before)
    was_waiting, was_vector, was_header, was_taking = late
    reader_idle = Signal()
    m.d.sync += reader_idle.eq(units["reader"].idle)
    unread = starved & was_waiting & reader_idle  # and nothing is on its way
    # Rows that the drain has no room behind; `scores` go to the softmax unit.
    full = array.drain_full
    scores = array.o.valid & array.o.p.tag
    next_command = chain.command.payload
    norm, running = Signal(), Signal()  # the chain's command sums squares; a pass is between its beginning and END
    with m.If(moves(chain.command)):
        m.d.sync += norm.eq(next_command.norm)
    with m.If(schedule.begin | back.done):
        m.d.sync += running.eq(schedule.begin)

    sampling = schedule.sampled.ready
    if several:  # ready from a pass's beginning on
        sampling = sampling & ~running

    def depends(opcode, *dests):
        return no_task & back.waiting & (back.opcode == opcode) & (
            Cat(back.dest == dest for dest in dests).any() if dests else 1)

    reasons = {
        "kv_write": unread & front.waiting_kv,
        "page_lookup": unread & walks(front),
        "memory": (starved & was_waiting & ~unread) | (no_task & vectors.busy & decoder.waiting),
        "vector": (starved & was_vector) | (no_task & ~back.waiting & moves(decoder.vector)),
        "header": (starved & was_header) | (no_task & ~back.waiting & ~back.waiting_softmax & decoder.header),
        "bus": starved & was_taking,
        "decoder": starved & ~unread,
        "drain_kv": full & ~scores & waits(units["router"].kv),
        "drain_quantiser": full & ~scores & waits(chain.o),
        "drain_logits": full & ~scores & waits(chain.logits),
        "drain_rms": full & ~scores & ~chain.busy & waits(chain.command) & (next_command.lane_scale == LaneScale.RMS),
        "drain_norm": full & ~scores & norm,
        "drain_chain": full & ~scores,
        "operands": array.no_operands,
        "softmax": full | no_task & back.waiting_softmax,
        "dependency_linear": depends(Opcode.LINEAR, Dest.OPERAND),
        "dependency_kv": depends(Opcode.LINEAR, Dest.QUERY, Dest.KEY, Dest.VALUE),
        "dependency_attend": depends(Opcode.ATTEND),
        "dependency_logits": depends(Opcode.LINEAR, Dest.LOGITS),
        "pass_end": depends(Opcode.END),
        "dependency_load": no_task & back.waiting & (back.opcode != Opcode.END),
        "prompt": schedule.request.valid | schedule.response.ready,
        "sampling": sampling | schedule.held,
        "fetch": unread | running & back.i.ready & ~back.i.valid,
        "command": running,
        "idle": 1,
    }
    return Cat(reasons[name] for name in STALLS)


def activity(m, units, charged):
    """The trace port's word; `charged` is that of the counters, two cycles late, and so is all of the word.

    Parameters
    ----------
    m : Module
    units : dict of the chip's units by name
    charged : value
    """
    array, back, front, decoder = (units[name] for name in ("array", "issue", "front_end", "decoder"))
    router, schedule, reader, vectors = (units[name] for name in ("router", "schedule", "reader", "vectors"))
    loading = Signal()
    m.d.sync += loading.eq(~vectors.command.ready)
    word = {
        "begin": schedule.begin,
        "forward": moves(front.o),
        "take": moves(back.i),
        "task": moves(array.task),
        "start": array.begin,
        "loaded": loading & vectors.command.ready,
        "routed": moves(router.i) & router.i.p.last & (router.i.p.info.dest != QuantDest.PROBABILITY),
        "token": moves(schedule.sampled),
        "done": back.done,
        "waiting": back.waiting,
        "kv_wait": front.waiting_kv,
        "page_lookup": walks(front),
        "read": ~reader.idle,
        "beat": reader.bus.rvalid & reader.bus.rready,
        "decoder": moves(decoder.i),
        "drain": array.o.valid,
        "writer": ~units["writer"].idle,
    } | {name: units[name].busy for name in ("softmax", "chain", "quantiser", "router", "kv_store", "sampler", "dump",
                                             "vectors")}
    now, before = Signal(len(word)), Signal(len(word))
    m.d.sync += [now.eq(Cat(word[name] for name in ACTIVITY if name != "charged")), before.eq(now)]
    return Cat(charged, before)
