"""``scoville bench``: cycles of a workload, counted."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    Backend,
    Config,
    Context,
    Json,
    Layers,
    Memory,
    Model,
    PoolPages,
    Position,
    Quiet,
    Slots,
    Trace,
    TraceTokens,
    Weights,
)
from .output import longest, reporter, say_numbers

__all__ = ["run"]


def run(
    model: Model = "tiny",
    config: Config = None,
    prompt_tokens: Annotated[int | None, typer.Option(help="Tokens in the prompt. Default: 16.")] = None,
    decode_tokens: Annotated[int | None, typer.Option(help="Tokens to generate. Default: 16.")] = None,
    batch: Annotated[int | None, typer.Option(help="Sequences at a time. Default: 1.")] = None,
    trace_of_requests: Annotated[Path | None, typer.Option(help=(
        "Requests that come as this file says (see `scoville workload`); a *.csv is a public trace."))] = None,
    passes_per_second: Annotated[float | None, typer.Option(help=(
        "Passes of the golden model that are a second of the trace. Default: 1."))] = None,
    slots: Slots = None,
    pool_pages: PoolPages = None,
    backend: Backend = "rtl",
    memory: Memory = None,
    json_out: Json = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Compare with the golden model.")] = False,
    weights: Weights = None,
    context: Context = None,
    layers: Layers = None,
    position: Position = 0,
    trace: Trace = None,
    trace_tokens: TraceTokens = 1,
    quiet: Quiet = False,
):
    """Count the cycles of a workload of random tokens.

    \b
    scoville bench --model tiny --config nano --prompt-tokens 16 --decode-tokens 16 --json bench.json
    scoville bench --batch 2 --prompt-tokens 8 --decode-tokens 8 --memory ddr4 --check
    scoville bench --config kria --backend golden --batch 8 --prompt-tokens 16 --decode-tokens 16
    scoville bench --config kria --backend golden --trace-of-requests requests.jsonl
    """
    from ..files import check_outputs, write_json
    from ..runtime import generate as work
    from ..runtime.registry import check_backend
    from ..runtime.session import open_session
    from . import bench_many

    report = reporter(quiet)
    check_backend(backend, memory)
    inputs = [model] if trace_of_requests is None else [model, trace_of_requests]
    check_outputs({"--json": json_out, "--trace": trace}, inputs=inputs)
    opened = {"weights": weights, "context": context, "layers": layers, "report": report, "text": False}
    lengths = {"--prompt-tokens": prompt_tokens, "--decode-tokens": decode_tokens}
    if bench_many.asked(batch, trace_of_requests, lengths,
                        {"--trace": trace, "--trace-tokens": None if trace_tokens == 1 else trace_tokens,
                         "--position": position or None},
                        {"--slots": slots, "--pool-pages": pool_pages}, {"--passes-per-second": passes_per_second}):
        bench_many.run(model, config, batch, trace_of_requests, lengths=lengths, pass_rate=passes_per_second,
                       slots=slots, pages=pool_pages, backend=backend, memory=memory, check=check, json_out=json_out,
                       opened=opened)
        return
    session = open_session(model, config, **opened)
    found = work.bench(session, 16 if prompt_tokens is None else prompt_tokens,
                       16 if decode_tokens is None else decode_tokens, backend=backend, memory=memory, check=check,
                       trace=trace, trace_tokens=trace_tokens, position=position, report=report)
    if json_out:
        write_json(json_out, found)
    for key in ("cycles", "cycles_per_token", "prefill_cycles", "decode_cycles", "model_bytes_per_token",
                "bus_utilisation", "decode_bus_utilisation", "utilisation_of_memory", "mac_utilisation",
                "prefill_mac_utilisation"):
        print(f"{key}: {found[key]}")
    print(f"stalls: {longest(found['stalls'] or {})}")
    for kind, spent in found.get("by_kind", {}).items():
        print(f"{kind} ({spent['count']}): {spent['cycles']} cycles, work {spent['work']}, {longest(spent['stalls'])}")
    say_numbers(found, report)
