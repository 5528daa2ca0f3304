"""``scoville load``: a load for a server."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import RequestError
from .options import Json, Quiet, Seed

__all__ = ["run"]

KEY = "SCOVILLE_API_KEY"


def run(
    url: Annotated[str, typer.Option(help="Of the API.")] = "http://127.0.0.1:8000/v1",
    model: Annotated[str | None, typer.Option(help="Its name there. Default: the server's first.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Requests of a file, as `scoville workload` writes it, or a table "
                                                    "of a public trace. Default: made as that command does.")] = None,
    requests: Annotated[int, typer.Option(help="How many.")] = 32,
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 1.0,
    prompt_mean: Annotated[float, typer.Option(help="Mean of prompts, words.")] = 24,
    output_mean: Annotated[float, typer.Option(help="Mean of outputs, tokens.")] = 24,
    longest: Annotated[int, typer.Option(help="Most words and tokens of a request.")] = 96,
    shared: Annotated[float, typer.Option(help="Part of prompts that begin as others do.", min=0, max=1)] = 0.0,
    first_within: Annotated[float, typer.Option(help="Served well: seconds to the first token.")] = 10.0,
    between_within: Annotated[float, typer.Option(help="Served well: seconds between tokens, in the mean.")] = 1.0,
    seed: Seed = 0,
    json_out: Json = None,
    quiet: Quiet = False,
):
    """Send requests to a server with OpenAI's API as clients would, and print how they were served. A key is taken from
    the environment's SCOVILLE_API_KEY.

    \b
    scoville load --requests 32 --rate 4
    scoville load --url http://127.0.0.1:8000/v1 --trace requests.jsonl --json load.json
    """
    try:
        from ..serve.load import Goal, drive, figures, prompts_for
    except ModuleNotFoundError as error:
        raise RequestError(f"scoville load needs the package {error.name}: pip install 'scoville[serve]'") from None
    import asyncio

    from rich.console import Console
    from rich.progress import Progress

    from ..files import check_outputs, write_json
    from ..runtime.many.workload import poisson, read_trace

    check_outputs({"--json": json_out})
    coming = read_trace(trace) if trace else poisson(requests, rate, prompt_mean=prompt_mean, output_mean=output_mean,
                                                     sigma=1.0, longest=longest, seed=seed)
    with Progress(console=Console(file=sys.stderr), disable=quiet) as progress:
        task = progress.add_task("requests", total=len(coming))
        outcomes = asyncio.run(drive(url.rstrip("/"), coming, prompts_for(coming, shared, seed), model=model,
                                     key=os.environ.get(KEY), done=lambda: progress.advance(task)))
    found = figures(outcomes, Goal(first_within, between_within))
    if json_out:
        write_json(json_out, found)
    _print(found)


def _print(found):
    from rich.console import Console
    from rich.table import Table

    names = ("mean", "p50", "p90", "p99", "max")
    for unit, times, places in (("seconds", found, 3), *((chip["unit"], chip, 0) for chip in [found["chip"]] if chip)):
        table = Table(unit, "count", *names)
        for what, key in (("to the first token", "first_token"), ("between tokens", "between_tokens")):
            values = times[key]
            table.add_row(what, f"{values['count']:,}",
                          *("" if values[name] is None else f"{values[name]:,.{places}f}" for name in names))
        Console(width=None if sys.stdout.isatty() else 100).print(table)
    print(f"served: {found['served']} of {found['requests']} in {found['seconds']:.1f} s")
    print(f"tokens: {found['prompt_tokens']:,} of prompts, {found['generated_tokens']:,} generated, "
          f"{found['tokens_per_second']:,.1f} a second")
    print(f"goodput: {found['goodput']:.2f} requests a second; {found['served_well']} with the first token within "
          f"{found['first_within']:g} s and the others within {found['between_within']:g} s")
    for error, count in found["errors"].items():
        print(f"failed: {count} times {error}")
