"""``scoville compile``: a model becomes a memory image."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Config, Context, Layers, Model, Quiet, Weights
from .output import reporter

__all__ = ["run"]


def run(
    output: Annotated[Path, typer.Option("--output", "-o", help="The image; a listing goes beside it (.lst).")],
    model: Model = "tiny",
    config: Config = None,
    weights: Weights = None,
    context: Context = None,
    layers: Layers = None,
    quiet: Quiet = False,
):
    """Compile a model into a memory image.

    \b
    scoville compile --model tiny --config nano -o tiny.image
    scoville compile --model smollm2 --config kria --context 1024 -o smollm2.image
    """
    from ..compiler.listing import listing
    from ..files import check_outputs, is_special, write_text
    from ..runtime.session import open_session

    report = reporter(quiet)
    # A device or a pipe has no place beside it.
    beside = None if is_special(output) or not output.name else output.with_suffix(".lst")
    check_outputs({"--output": output, "the listing": beside}, inputs=[model])
    image = open_session(model, config, weights=weights, context=context, layers=layers, report=report,
                         text=False).image
    image.save(output)
    if beside:
        write_text(beside, listing(image))
    report(f"wrote {output}" + (f" and {beside}" if beside else ""))
