"""The server in a crowd: many streams at once, and many clients of which a third do what they should not."""

import asyncio
import json
import random
import resource

import httpx
import openai
import pytest
from scoville_host.runtime.many.serve import open_requests
from serving import alone, running, session_of

PROMPTS = ["Once upon a time", "The", "One day", "Lily", "A dog", "Tom and", "She said", "They"]
STREAMS = 64
MOST = 0.05  # by which the process may grow


@pytest.fixture(scope="module")
def served():
    with running(most=2 * STREAMS, slots=16) as found:
        yield found


def whole(served):
    """Nothing is left of those who were here: no job, no slot, and no page but those of parked sequences."""
    served.idle()
    assert not served.engine._jobs and served.engine._count == 0
    assert served.engine.seen.pool.get("running", 0) == 0
    assert all(count == 0 for count in served.service.keys._waiting.values())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["golden", "rtl"])
def test_streams(backend):
    """64 at once on 16 slots: each has its text, and its tokens come as the chip computes them."""
    session = session_of(16)
    with running(most=2 * STREAMS, session=session,
                 chip=lambda: open_requests(session, backend, rows=True)) as served:
        streams(served)
        whole(served)


def streams(served):
    async def one(client, number):
        prompt = PROMPTS[number % len(PROMPTS)]
        stream = await client.completions.create(model="tiny", prompt=prompt, max_tokens=12, temperature=1,
                                                 seed=number // 8, stream=True)
        return "".join([chunk.choices[0].text async for chunk in stream]), alone(prompt, 12, 1.0, number // 8)[0]

    async def crowd():
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(STREAMS)))

    assert all(text == wanted for text, wanted in asyncio.run(crowd()))


async def good(client, rng):
    prompt, seed = rng.choice(PROMPTS), rng.randrange(4)
    body = {"model": "tiny", "prompt": prompt, "max_tokens": 6, "temperature": 1, "seed": seed}
    answer = await client.post("completions", json=body)
    if answer.status_code == 429:
        await asyncio.sleep(0.2)
        return await good(client, rng)
    assert answer.json()["choices"][0]["text"] == alone(prompt, 6, 1.0, seed)[0]
    return "good"


async def cut_off(client, rng):
    """Reads a little, or nothing, and goes."""
    body = {"model": "tiny", "prompt": rng.choice(PROMPTS), "max_tokens": 50, "stream": rng.random() < 0.5}
    try:
        async with client.stream("POST", "completions", json=body, timeout=rng.choice([0.05, 0.3, 1])) as answer:
            async for _ in answer.aiter_lines():
                if rng.random() < 0.3:
                    break
    except httpx.TimeoutException:
        pass
    return "cut off"


async def wrong(client, rng):
    body = rng.choice([b"", b"{", b"\xff\xfe\x00", b"[" * 20000, b" " * (1 << 20) + b" ", b'{"model": "tiny"}',
                       json.dumps({"model": "tiny", "prompt": "x" * 5000}).encode(), b'{"model": 1e999}',
                       json.dumps({"model": "tiny", "prompt": [2**40]}).encode(), b"null", b'{"prompt": "\\ud800"}'])
    answer = await client.post("completions", content=body)
    assert 400 <= answer.status_code < 500 and set(answer.json()) == {"error"}
    return "wrong"


async def slow(client, rng):
    """Reads its stream slower than it comes."""
    body = {"model": "tiny", "prompt": "The", "max_tokens": 8, "temperature": 0, "stream": True}
    text = ""
    async with client.stream("POST", "completions", json=body) as answer:
        if answer.status_code != 200:
            return "refused"
        async for line in answer.aiter_lines():
            await asyncio.sleep(0.02)
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["text"]
    assert text == alone("The", 8)[0]
    return "slow"


async def path(client, rng):
    name = rng.choice(["../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "models/..%2f..%2fx", "x" * 3000, "%00"])
    answer = await client.get(name)
    assert 400 <= answer.status_code < 500 and "root" not in answer.text
    return "path"


async def crowd(url, count, rng):
    gate = asyncio.Semaphore(40)
    async with httpx.AsyncClient(base_url=f"{url}/v1/", timeout=300, limits=httpx.Limits(max_connections=60)) as client:
        async def one():
            async with gate:
                return await rng.choice([good] * 10 + [cut_off] * 2 + [wrong, slow, path])(client, rng)

        return await asyncio.gather(*(one() for _ in range(count)))


@pytest.mark.slow
def test_clients_of_all_kinds(served, run_seed):
    """1,000 of them: every good one has its text, nothing is left of the others, and the process does not grow."""
    rng = random.Random(run_seed)
    asyncio.run(crowd(served.url, 300, rng))  # until every buffer has its size
    whole(served)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = asyncio.run(crowd(served.url, 1000, rng))
    whole(served)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < (1 + MOST) * before
    counts = {kind: found.count(kind) for kind in set(found)}
    print(counts)
    assert counts["good"] > 500 and len(counts) >= 5
