"""``scoville serve``: OpenAI's API in front of the chip."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RequestError
from .options import Backend, Config, Context, Memory, Model, PoolPages, Quiet, Slots, Weights
from .output import reporter

__all__ = ["run"]

SLOTS = 8


def run(
    model: Model = "tiny",
    backend: Backend = "golden",
    config: Config = None,
    host: Annotated[str, typer.Option(help="Address to listen at; another than loopback needs --keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: a free one.", min=0, max=65535)] = 8000,
    name: Annotated[str | None, typer.Option(help="What clients call the model. Default: as --model.")] = None,
    keys: Annotated[Path | None, typer.Option(help="JSON file of API keys' hashes, with limits: see docs/serve.md.")]
    = None,
    logprobs: Annotated[bool, typer.Option(help="Keep the logits of every token, so that clients may ask for logprobs; "
                                                "takes memory.")] = True,
    queue: Annotated[int, typer.Option(help="Choices that may be there at a time, waiting ones too.", min=1)] = 256,
    slots: Slots = None,
    pool_pages: PoolPages = None,
    memory: Memory = None,
    weights: Weights = None,
    context: Context = None,
    quiet: Quiet = False,
):
    """Serve a model over HTTP as OpenAI's API does, many requests at a time on one chip.

    \b
    scoville serve --model tiny
    curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \\
        -d '{"model": "tiny", "prompt": "Once upon a time", "max_tokens": 24}'
    scoville serve --model smollm2 --backend rtl --config kria16 --keys keys.json --host 0.0.0.0
    """
    try:
        from ..serve.keys import read_keys
        from ..serve.server import check_host, serve
    except ModuleNotFoundError as error:
        raise RequestError(f"scoville serve needs the package {error.name}: pip install 'scoville[serve]'") from None
    from ..runtime.many.serve import open_requests, refuse_backend, with_slots
    from ..runtime.session import open_session

    report = reporter(quiet)
    refuse_backend(backend, "serve", {"--memory": memory})
    known = read_keys(keys) if keys else []
    check_host(host, known)
    session = open_session(model, config, weights=weights, context=context, report=report,
                           adapt=lambda chip: with_slots(chip, SLOTS, slots, pool_pages, backend))

    def chip():
        return open_requests(session, backend, memory=memory, pages=pool_pages, rows=logprobs, report=report)

    serve(session, chip, host=host, port=port, name=name or Path(model).name, keys=known, rows=logprobs, most=queue,
          report=report)
