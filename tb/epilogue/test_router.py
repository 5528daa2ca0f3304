"""The router: every destination's addresses against the operand buffer map."""

from types import SimpleNamespace

import cocotb
import harness
import pytest
from programs import with_slots
from scoville.array.operand import credit_bits, operand_depth, operand_write
from scoville.attention.kv_store import kv_block_layout
from scoville.config import BLOCK, get_config
from scoville.epilogue import router
from scoville.epilogue.router import QuantDest, Router, quantised_block
from scoville.program.spread import places


class System:
    """A router with its streams, and what must come out of them."""

    def __init__(self, dut, seed, stalls):
        self.config = with_slots(harness.parameters())
        self.dut = dut
        self.tb = tb = harness.Bench(dut, seed)
        self.source = tb.source("i", stalls)
        self.operand, self.kv = tb.sink("operand", stalls), tb.sink("kv", stalls)
        self.expected = {"operand": [], "kv": []}
        self.announced = self.credited = self.credit = 0  # the last: what is to be credited

    def info(self, dest, sizes=None):
        """A command's information whose addresses fit the buffer, and its number of blocks a lane.

        `sizes` are its group, blocks a head, and heads (of QUERY: KV heads).
        """
        rng, config = self.tb.rng, self.config
        depth = operand_depth(config)
        while True:
            group, blocks, heads = sizes or (rng.randint(1, 9), rng.randint(1, 4), rng.randint(1, 3))
            rows = blocks * (heads * group if dest == QuantDest.QUERY else heads)
            stride = blocks * places(config, group)
            room = heads * stride if dest == QuantDest.QUERY else rows
            if sizes or room < depth:
                break
        spare = max(0, depth - room)
        spread = {"places": places(config, group, rng.randrange(2)), "stride": stride} if config.slots > 1 else {}
        return rows, spread | {
            "dest": dest.value, "group": group, "head_blocks": blocks,
            "dst": rng.randint(0, spare if dest in (QuantDest.OPERAND, QuantDest.PROBABILITY) else spare // 2),
            "seat_token": [rng.randrange(config.seats) for _ in range(config.seats)],
            "seat_head": [rng.randint(0, min(255, spare // 2 // blocks)) for _ in range(config.seats)],
            "credit": rng.randrange(1 << credit_bits(config)),
        }

    def send(self, dest, sizes=None):
        rng, config = self.tb.rng, self.config
        rows, info = self.info(dest, sizes)
        mask = rng.randrange(1, 1 << config.seats) if sizes is None else 1
        seats = [seat for seat in range(config.seats) if mask >> seat & 1]
        if dest == QuantDest.QUERY:
            seats = list(range(len(seats)))  # tokens fill the seats from 0
        if dest in (QuantDest.OPERAND, QuantDest.QUERY):
            self.credit += rows
        elif dest == QuantDest.ATTENTION:
            self.credit += info["credit"]
        limit = 127 if dest in (QuantDest.KEY, QuantDest.VALUE) else (1 << config.act_bits - 1) - 1
        for index in range(rows):
            for seat in seats:
                q = [rng.randint(-limit, limit) for _ in range(BLOCK)]
                block = {"q": q, "e8": rng.randrange(256), "sum": sum(q)}
                last = seat == seats[-1]
                self.source.send([harness.pack(quantised_block(config), {
                    "lane": seat % config.lanes, "phase": seat // config.lanes, "index": index,
                    "lane_last": last, "last": last and index == rows - 1,
                    "block": block, "info": info})])
                where, *place = router.model(config, info, seat, index)
                if where == "kv":
                    seat, head, part, value = place
                    self.expected["kv"].append({"seat": seat, "kv_head": head, "part": part, "value": value,
                                                "q": q, "e8": block["e8"]})
                else:
                    self.expected["operand"].append({"bank": place[0] % config.lanes, "phase": place[0] // config.lanes,
                                                     "address": place[1], "block": block})

    async def check(self):
        for name, sink, layout in (("operand", self.operand, operand_write(self.config)),
                                   ("kv", self.kv, kv_block_layout(self.config))):
            expected = self.expected[name]
            received = await sink.receive(len(expected)) if expected else []
            assert [harness.unpack(layout, payload) for payload in received] == expected
            self.expected[name] = []

    async def count(self):
        """Announcements and credits; `busy` is high while a block waits at the input or at an output."""
        dut = self.dut
        while True:
            await self.tb.wait(1)
            waits = [int(valid.value) for valid in (dut.i__valid, dut.operand__valid, dut.kv__valid)]
            assert harness.peek(dut.busy) == any(waits)
            self.announced += harness.peek(self.dut.probability_done)
            self.credited += harness.peek(self.dut.credit)


@cocotb.test()
async def every_destination(dut):
    system = System(dut, 1, 0.3)
    await system.tb.reset()
    counter = cocotb.start_soon(system.count())
    for turn in range(24):
        system.send(list(QuantDest)[turn % len(QuantDest)])
    await system.check()
    await system.tb.wait(3)
    assert system.announced == 4
    assert system.credited == system.credit > 0
    assert not harness.peek(dut.busy)
    counter.cancel()


@cocotb.test()
async def sizes(dut):
    """Every bit of the counts: blocks a head, heads of KV, query heads of a KV head."""
    system = System(dut, 4, 0.0)
    await system.tb.reset()
    config, most = system.config, operand_depth(system.config) - 1

    def widest(heads):
        return max(group for group in range(1, 256) if heads * places(config, group) <= most)

    for dest, *sizes in ((QuantDest.KEY, 1, 15, 2), (QuantDest.VALUE, 1, 9, 3), (QuantDest.KEY, 1, 1, 255),
                         (QuantDest.QUERY, widest(1), 1, 1), (QuantDest.QUERY, widest(3), 1, 3),
                         (QuantDest.OPERAND, 1, 1, most)):
        system.send(dest, sizes)
        await system.check()


@cocotb.test()
async def between(dut):
    """With more slots than one: blocks of probabilities come between those of any other command."""
    system = System(dut, 5, 0.2)
    await system.tb.reset()
    if system.config.slots == 1:
        return
    rng, source = system.tb.rng, system.source
    sent, due = [], system.expected
    system.source = SimpleNamespace(send=sent.extend)
    for dest in (QuantDest.QUERY, QuantDest.KEY, QuantDest.ATTENTION, QuantDest.OPERAND, QuantDest.VALUE):
        both = []
        for each in (dest, QuantDest.PROBABILITY):
            system.expected = {"operand": [], "kv": []}
            system.send(each)
            both.append([list(sent), system.expected])
            sent.clear()
        while any(items for items, _ in both):
            items, expected = rng.choice([each for each in both if each[0]])
            source.send([items.pop(0)])
            name = "operand" if expected["operand"] else "kv"
            due[name].append(expected[name].pop(0))
        system.expected = due
        await system.check()


@cocotb.test()
async def blocked(dut):
    """One block is taken while no output is, and no more; a reset drops it, and the count begins anew."""
    system = System(dut, 3, 0.0)
    system.operand.stalls = system.kv.stalls = 1.0
    counter = None
    for dest in QuantDest:
        await system.tb.reset()
        counter = counter or cocotb.start_soon(system.count())
        system.expected = {"operand": [], "kv": []}
        system.send(dest)
        await system.tb.wait(10)
        assert len(system.source.accepted) == 1 and harness.peek(dut.busy)
        assert not harness.peek(dut.credit) and not harness.peek(dut.probability_done)
        to_kv = dest in (QuantDest.KEY, QuantDest.VALUE)
        assert (harness.peek(dut.kv__valid), harness.peek(dut.operand__valid)) == (to_kv, not to_kv)
    system.operand.stalls = system.kv.stalls = 0.5
    for dest in QuantDest:
        system.send(dest)
        await system.tb.wait(system.tb.rng.randrange(9, 30))
        await system.tb.reset()
        system.expected = {"operand": [], "kv": []}
        assert not harness.peek(dut.kv__valid) and not harness.peek(dut.operand__valid) and not harness.peek(dut.busy)
        for again in (dest, QuantDest.QUERY):
            system.send(again)
            await system.check()
    counter.cancel()


@cocotb.test()
async def full_throughput(dut):
    system = System(dut, 2, 0.0)
    await system.tb.reset()
    for dest in (QuantDest.QUERY, QuantDest.ATTENTION, QuantDest.OPERAND):
        system.send(dest)
    await system.check()
    cycles = system.operand.cycles
    assert cycles[-1] - cycles[0] == len(cycles) - 1
    assert cycles[0] - system.source.cycles[0] == 1


@pytest.mark.parametrize("config", ["duo", "slim", "kria"])
def test_router(sim, config):
    harness.run(Router(with_slots(config)), __name__, sim=sim, parameters=config)


@pytest.mark.parametrize("config", ["duo 4", "kria 16"])
def test_of_many(sim, config):
    harness.run(Router(with_slots(config)), __name__, sim=sim, parameters=config)


def test_queries_find_their_attending_lane():
    """QUERY writes block b of (token, head) where ATTEND's lane and pass will read it: n = token * g + hg."""
    config, group, blocks, heads = get_config("kria"), 3, 2, 4
    info = {"dest": QuantDest.QUERY, "dst": 5, "group": group, "head_blocks": blocks}
    for token in range(config.seats):
        for head in range(heads * group):
            n = token * group + head % group
            kv_head, turn = head // group, n // config.seats
            for part in range(blocks):
                read = "operand", n % config.seats, 5 + (kv_head * group + turn) * blocks + part
                assert router.model(config, info, token, head * blocks + part) == read
