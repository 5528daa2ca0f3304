"""What the server costs: CPU time beside the golden model's passes, and of a simulated chip cycles between passes."""

import asyncio
import contextlib
import dataclasses
import time

import openai
import pytest
from scoville.config import CONFIGS
from scoville.golden_many import GoldenMany
from scoville_host.runtime.many.serve import open_requests
from scoville_host.runtime.session import open_session
from serving import CONTEXT, running

STREAMS, TOKENS = 64, 16
MOST = 0.05  # of the CPU time, that is not the golden model's
LEAST = 0.98  # of the chip's cycles, in passes
NANO4 = dataclasses.replace(CONFIGS["nano"], slots=4, pool_pages=32, slot_pages=8)  # the build of other tests


async def crowd(url, count, tokens):
    async def one(client, number):
        stream = await client.completions.create(model="tiny", prompt=f"Once upon a time {number}", max_tokens=tokens,
                                                 temperature=1, seed=number, stream=True)
        return [part async for part in stream]

    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        return await asyncio.gather(*(one(client, number) for number in range(count)))


def cpu(thread):
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


@pytest.mark.slow
def test_cpu_time(monkeypatch):
    """Of the chip's thread and the server's; the clients are in a thread of their own."""
    passes, step = [], GoldenMany.step

    def timed(chip):
        since = time.thread_time()
        try:
            return step(chip)
        finally:
            passes.append(time.thread_time() - since)

    monkeypatch.setattr(GoldenMany, "step", timed)
    with running(most=2 * STREAMS, slots=16) as served:
        asyncio.run(crowd(served.url, 1, 2))  # whatever is made once
        served.idle()
        passes.clear()
        threads = served.engine._thread, served._thread
        before = [cpu(thread) for thread in threads]
        asyncio.run(crowd(served.url, STREAMS, TOKENS))
        chip, http = (cpu(thread) - since for thread, since in zip(threads, before, strict=True))
        tokens = served.engine.counts["generated_tokens"]
    golden, whole = sum(passes), chip + http
    print(f"{len(passes)} passes, {tokens} tokens: golden model {golden:.2f} s, driver and engine {chip - golden:.2f} "
          f"s, HTTP {http:.2f} s of CPU; the server's part is {1 - golden / whole:.4f}")
    assert 1 - golden / whole <= MOST


@pytest.mark.slow
def test_cycles():
    """From the first pass at which a request waits for a slot to the last: of which cycles are between passes."""
    session, seen, servers = open_session("tiny", NANO4, context=CONTEXT), [], []

    @contextlib.contextmanager
    def chip():
        with open_requests(session, "rtl", rows=True) as requests:
            machine, wait = requests.machine, requests.machine.wait

            def noted(until=None):
                waits = bool(servers and servers[0].engine.seen.waiting)
                if waits != (len(seen) == 1) and len(seen) < 2:
                    seen.append(machine.driver.counters())
                return wait(until)

            machine.wait = noted
            yield requests

    with running(chip=chip, session=session) as served:
        servers.append(served)
        asyncio.run(crowd(served.url, 16, 6))
    first, last = seen
    cycles = last["cycles"] - first["cycles"]
    lost = {name: last["stalls"][name] - first["stalls"][name] for name in last["stalls"]}
    part, work = 1 - lost["idle"] / cycles, (last["work"] - first["work"]) / cycles
    print(f"{cycles:,} cycles while requests wait: {part:.4f} in passes; work {work:.3f}, "
          + ", ".join(f"{name} {count / cycles:.4f}" for name, count in lost.items() if count))
    assert part >= LEAST
