"""The work behind ``scoville generate`` and ``scoville bench``."""

import numpy as np

from ..checkpoint.tokenizer import TextStream
from ..errors import RequestError
from ..files import write_json
from ..report.summary import summary
from .backend import check_request
from .golden import GoldenBackend
from .registry import get_backend
from .rtl import DEFAULT_MEMORY, memory_limit

__all__ = ["bench", "bench_prompt", "generate", "matches"]


def matches(result, golden):
    """Whether tokens, and logits if there are any, are equal, bit for bit."""
    if result.logits is None:
        return result.tokens == golden.tokens
    bits, expected = result.logits.view(np.uint32), golden.logits.view(np.uint32)
    return result.tokens == golden.tokens and np.array_equal(bits, expected)


def generate(session, ids, max_new, *, backend="golden", memory=None, temperature=0.0, seed=0, stop_ids=(), check=True,
             trace=None, trace_tokens=1, position=0, board=None, write=lambda text: None, report=lambda line: None):
    """Run a prompt on a backend, and on the golden model to compare with.

    Parameters
    ----------
    session : `Session`.
    ids : token ids of the prompt.
    check : whether to run the golden model beside any other backend.
    position : of the prompt's first token; the KV pages before it are filled with `history.fill_history`.
    trace : path of a Chrome trace to write, of the last `trace_tokens` passes that make a token, or None.
    board : for the backend ``board``, the arguments of `BoardBackend` by name.
    write : called with the text (or, without a tokenizer, the token ids) as it comes.
    report : called with a line of text about each step.

    Returns
    -------
    (dict for JSON, `Result`)
    """
    image, tokenizer = session.image, session.tokenizer
    max_new = check_request(image, ids, max_new, temperature, position)
    check_trace(backend, trace, trace_tokens)
    chosen = get_backend(backend, memory=memory, record=trace is not None, report=report, **(board or {}))
    stream = TextStream(tokenizer) if tokenizer else None
    settings = {"position": position, "temperature": temperature, "seed": seed, "stop_ids": tuple(stop_ids)}

    def on_token(token):
        write(stream.add(token) if stream else f"{token} ")

    result = chosen.generate(image, ids, max_new, on_token=on_token, **settings)
    if stream:
        write(stream.finish())
    write("\n")
    found = summary(image, result, len(ids), backend, tokenizer.decode(result.tokens) if tokenizer else None,
                    position)
    if trace:
        found["by_kind"] = write_trace(trace, image, result, len(ids), trace_tokens, report, position)
    if check and backend != "golden":
        report("checking against the golden model")
        golden = GoldenBackend().generate(image, ids, max_new, **settings)
        found["golden_match"] = matches(result, golden)
        if result.logits is None:
            found["logits_compared"] = False
    return found, result


def check_trace(backend, trace, tokens):
    """Refuse a trace of what has no cycles, or of no passes."""
    if trace is not None and backend != "rtl":
        raise RequestError(f"--trace with --backend {backend}; only rtl has cycles to trace")
    if tokens < 1:
        raise RequestError(f"--trace-tokens is {tokens}; it must be at least 1")


def write_trace(path, image, result, prompt_tokens, tokens, report, position=0):
    """The Chrome trace of a result, see `trace.chrome_trace`; returns its `by_kind`."""
    from ..report.timeline import Timeline
    from ..report.trace import chrome_trace

    timeline = Timeline(image, result.activity, prompt_tokens, len(result.tokens), tokens, position)
    written = chrome_trace(timeline)
    write_json(path, written)
    short = "; the recording was too short for more" if timeline.cut else ""
    report(f"wrote {path}: the last {timeline.cycles:,} cycles{short}; open it in https://ui.perfetto.dev")
    return written["otherData"]["by_kind"]


def bench_prompt(vocab, count, seed=1):
    """Random token ids: the numbers of a benchmark depend on how many there are, not on which."""
    return np.random.default_rng(seed).integers(0, vocab, count).tolist()


def bench(session, prompt_tokens, decode_tokens, *, backend="rtl", memory=None, check=False, trace=None,
          trace_tokens=1, position=0, report=lambda line: None):
    """Cycles of a workload: `prompt_tokens` in from `position` on, `decode_tokens` out, no early stop.

    Raises
    ------
    RequestError
        If the workload does not fit the context.
    """
    if backend == "board":
        raise RequestError("bench runs on --backend rtl; for a board see scoville generate --backend board --json")
    if position < 0:
        raise RequestError(f"--position is {position}; it must be at least 0")
    if prompt_tokens < 1 or position + prompt_tokens + decode_tokens - 1 > session.image.context:
        after = f" after {position} positions" if position else ""
        raise RequestError(f"{prompt_tokens} prompt and {decode_tokens} decode tokens{after} do not fit a context of "
                           f"{session.image.context} (see --context)")
    ids = bench_prompt(session.image.vocab, prompt_tokens)
    found, _ = generate(session, ids, decode_tokens, backend=backend, memory=memory, check=check, trace=trace,
                        trace_tokens=trace_tokens, position=position, report=report)
    limit = memory_limit(memory or DEFAULT_MEMORY, session.image.config.bus_bytes)
    used = found["decode_bus_utilisation"]
    return found | {"batch": 1, "memory": memory or DEFAULT_MEMORY, "memory_limit_beats_per_cycle": limit,
                    "utilisation_of_memory": None if used is None else used / limit}
