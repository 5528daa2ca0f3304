"""``scoville workload``: a trace of requests for ``scoville bench``."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet
from .output import reporter

__all__ = ["run"]

# Means of ShareGPT as Kwon et al., Efficient memory management for large language model serving with PagedAttention
# (SOSP 2023), figure 11, has them: 161.31 and 337.99. That lengths are log-normal, and how wide, is an assumption.
PROMPT_MEAN, OUTPUT_MEAN, SIGMA = 161, 338, 1.0


def run(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: a line of JSON a request.")],
    requests: Annotated[int, typer.Option(help="How many.")] = 100,
    rate: Annotated[float, typer.Option(help="Requests a second; they come independently of each other.")] = 1.0,
    prompt_mean: Annotated[float, typer.Option(help="Mean of prompts, tokens.")] = PROMPT_MEAN,
    output_mean: Annotated[float, typer.Option(help="Mean of outputs, tokens.")] = OUTPUT_MEAN,
    sigma: Annotated[float, typer.Option(help="Standard deviation of the logarithm of lengths.")] = SIGMA,
    longest: Annotated[int, typer.Option(help="Most tokens of prompt and output; longer ones are cut.")] = 512,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    quiet: Quiet = False,
):
    """Write a trace of requests: Poisson arrivals, log-normal lengths with ShareGPT's means.

    \b
    scoville workload -o requests.jsonl --requests 100 --rate 0.05
    """
    from ..files import check_outputs
    from ..runtime.many.workload import poisson, write_trace

    check_outputs({"--output": output})
    trace = poisson(requests, rate, prompt_mean=prompt_mean, output_mean=output_mean, sigma=sigma, longest=longest,
                    seed=seed)
    write_trace(output, trace)
    prompts, outputs = (sum(getattr(one, name) for one in trace) / len(trace) for name in ("prompt", "output"))
    reporter(quiet)(f"wrote {output}: {len(trace)} requests in {trace[-1].arrival:,.1f} s, of {prompts:.1f} prompt and "
                    f"{outputs:.1f} output tokens in the mean")
