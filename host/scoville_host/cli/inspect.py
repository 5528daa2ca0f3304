"""``scoville inspect``: what a checkpoint is, and whether it runs."""

import json
from typing import Annotated

import typer

from .options import Context, Weights

__all__ = ["run"]


def run(
    model: Annotated[str, typer.Argument(help="A GGUF file, a Hugging Face directory, a config.json, or a name.")],
    config: Annotated[str | None, typer.Option(help="The one configuration that is asked about. Default: all.")] = None,
    weights: Weights = None,
    context: Context = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
):
    """Say of a checkpoint whether it runs, on which configurations and how fast, and what stands in the way.

    Its weights are not read. The status is 0 whether it runs or not, and 2 where it cannot be read.

    \b
    scoville inspect models/tiny
    scoville inspect smollm2 --config kria --json
    """
    from ..predict.inspection import inspect

    found = inspect(model, config, weights=weights, context=context)
    print(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))


def _lines(found):
    """The text, a line at a time."""
    kinds = {"gguf": "GGUF", "huggingface": "Hugging Face directory", "config": "settings alone"}
    yield f"{found['model']}: {kinds[found['kind']]}, family {found['family'] or 'not known'}"
    if sizes := found["sizes"]:
        yield (f"  hidden {sizes['hidden']:,}, {sizes['layers']} layers, {sizes['heads']} heads "
               f"({sizes['kv_heads']} of keys and values) of {sizes['head_dim']}, FFN {sizes['ffn']:,}, vocabulary "
               f"{sizes['vocab']:,}, context {sizes['context']:,}"
               + (f", sliding window: --context {sizes['window']} at most" if sizes["window"] else ""))
    if found["formats"]:
        yield f"  {found['tensors']} tensors, {found['bytes']:,} bytes"
    for row in found["formats"]:
        runs = {None: "not as stored", "floats": "floats; a matrix becomes mxint8"}.get(row["runs_as"], row["runs_as"])
        yield f"    {row['type']:<8}{row['tensors']:>6}{row['bytes']:>18,}  {runs}"
    for obstacle in found["obstacles"]:
        yield f"  stands in the way ({obstacle['subject']}): {obstacle['what']}"
    if found["configs"]:
        yield f"  cycles a token, context {found['context']}:"
    for row in found["configs"]:
        cycles = "" if row["cycles_per_token"] is None else (
            f"{row['cycles_per_token']:,}, {row['bus_utilisation']:.1%} of the bus")
        if not row["fits"]:
            cycles = f"does not fit: {'; '.join(row['obstacles'])}" + (f" (else {cycles})" if cycles else "")
        yield f"    {row['config']:<12}{cycles}"
    yield "  runs" if found["runs"] else "  does not run"
