"""``scoville predict``: cycles of a workload, predicted."""

from typing import Annotated

import typer

from .options import Config, Context, Json, Memory, Position, Quiet, Weights
from .output import reporter

__all__ = ["run"]


def run(
    model: Annotated[str, typer.Option(help="As elsewhere, or of a model without weights its config.json, or "
                                               "llama-3.2-1b, qwen2.5-7b, llama-3-8b, llama-3-70b.")] = "tiny",
    config: Config = None,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens in the prompt.")] = 16,
    decode_tokens: Annotated[int, typer.Option(help="Tokens to generate.")] = 16,
    position: Position = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change a size of the configuration: rows=8. "
                                                                     "May be repeated.")] = None,
    memory: Memory = None,
    json_out: Json = None,
    weights: Weights = None,
    context: Context = None,
    quiet: Quiet = False,
):
    """Predict what bench would count, from the program and the configuration, without simulating.

    \b
    scoville predict --model smollm2 --config kria --prompt-tokens 64 --decode-tokens 3
    scoville predict --model llama-3-8b --config kria --weights q4_1 --set rows=8 --set bus_bytes=128
    """
    from ..files import check_outputs, write_json
    from ..predict.predict import predict as work

    check_outputs({"--json": json_out}, inputs=[model])
    found = work(model, config, prompt_tokens, decode_tokens, settings=settings or (), weights=weights, context=context,
                 position=position, memory=memory, report=reporter(quiet))
    if json_out:
        write_json(json_out, found)
    for key in ("config", "cycles", "cycles_per_token", "prefill_cycles", "decode_cycles", "model_bytes_per_token",
                "bus_utilisation", "mac_utilisation", "stalls"):
        print(f"{key}: {found[key]}")
