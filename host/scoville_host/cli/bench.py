"""``scoville bench``: cycles of a workload, counted."""

from typing import Annotated

import typer

from .options import Backend, Config, Context, Json, Layers, Memory, Model, Position, Quiet, Trace, TraceTokens, Weights
from .output import longest, reporter, say_numbers

__all__ = ["run"]


def run(
    model: Model = "tiny",
    config: Config = None,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens in the prompt.")] = 16,
    decode_tokens: Annotated[int, typer.Option(help="Tokens to generate.")] = 16,
    batch: Annotated[int, typer.Option(help="Sequences at a time.")] = 1,
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
    """
    from ..files import check_outputs, write_json
    from ..runtime import generate as work
    from ..runtime.registry import check_backend
    from ..runtime.session import open_session

    report = reporter(quiet)
    check_backend(backend, memory)
    check_outputs({"--json": json_out, "--trace": trace}, inputs=[model])
    session = open_session(model, config, weights=weights, context=context, layers=layers, report=report, text=False)
    found = work.bench(session, prompt_tokens, decode_tokens, backend=backend, batch=batch, memory=memory,
                       check=check, trace=trace, trace_tokens=trace_tokens, position=position, report=report)
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
