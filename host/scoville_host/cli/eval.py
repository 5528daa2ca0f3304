"""``scoville eval``: what quantisation costs."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Model, Quiet, Weights
from .output import reporter

__all__ = ["run"]


def run(
    text: Annotated[Path, typer.Option(help="A text file.")],
    model: Model = "tiny",
    backend: Annotated[str, typer.Option(help="golden, rtl, or float (transformers, FP32).")] = "golden",
    against: Annotated[str | None, typer.Option(help="float: compare with the float reference; "
                                                       "llama.cpp: and llama.cpp too, on one GGUF file.")] = None,
    config: Annotated[str, typer.Option(help="A configuration (see `scoville configs`).")] = "nano",
    act_bits: Annotated[int | None, typer.Option(help="Bits of an activation; default: the configuration's.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens of the text to use. Default: 512.")] = None,
    weights: Weights = None,
    json_out: Json = None,
    quiet: Quiet = False,
):
    """Measure what quantisation costs: perplexity, mean KL divergence, agreement on the likeliest token.

    \b
    scoville eval --model tiny --text story.txt --against float
    scoville eval --model tiny --text story.txt --against llama.cpp --act-bits 10
    """
    from ..files import check_outputs, write_json
    from ..runtime.evaluate import evaluate

    report = reporter(quiet)
    check_outputs({"--json": json_out}, inputs=[model, text])

    def progress(done, total):
        report(f"{done} of {total} tokens")

    found = evaluate(model, text, backend=backend, against=against, config_name=config, act_bits=act_bits,
                     tokens=tokens, weights=weights, progress=progress)
    if json_out:
        write_json(json_out, found)
    runs = found.pop("runs", None)
    for key, value in found.items():
        print(f"{key}: {value}")
    if runs:
        print(_table(runs))


def _table(runs):
    """A line an engine, under a line of titles."""
    lines = [f"{'engine':<10}{'act bits':>9}{'KV cache':>10}{'mean KL':>11}{'top-1':>8}{'perplexity':>12}"]
    lines += [f"{run['engine']:<10}{run['act_bits'] or '-':>9}{run['kv_cache']:>10}{run['kl']:>11.6f}"
              f"{run['top1']:>8.4f}{run['perplexity']:>12.4f}" for run in runs]
    return "\n".join(lines)
