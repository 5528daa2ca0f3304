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
    from ..files import write_text
    from ..runtime.session import open_session

    report = reporter(quiet)
    image = open_session(model, config, weights=weights, context=context, layers=layers, report=report,
                         text=False).image
    image.save(output)
    write_text(output.with_suffix(".lst"), listing(image))
    report(f"wrote {output} and {output.with_suffix('.lst')}")
