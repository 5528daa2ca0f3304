"""``scoville bench`` with many sequences."""

import sys

from ..errors import RequestError
from .output import say_match

__all__ = ["asked", "run"]

DEFAULT_TOKENS = 16


def asked(batch, trace, lengths, single, several):
    """Whether many sequences are asked for: a batch, or a trace of requests.

    Parameters
    ----------
    lengths, single, several : options by name, None where not given: of one length for all; those of one sequence
        alone; those of many alone

    Raises
    ------
    RequestError
        If an option does not go with the others.
    """
    if batch is not None and batch < 1:
        raise RequestError(f"--batch is {batch}; it must be at least 1")
    if trace is not None:
        for name, value in ({"--batch": batch} | lengths).items():
            if value is not None:
                raise RequestError(f"{name} with --trace-of-requests, which says what comes")
    many = trace is not None or (batch or 1) > 1
    for name, value in (single if many else several).items():
        if value is not None:
            raise RequestError(f"{name} with many sequences; it is of one" if many else
                               f"{name} with one sequence; it is of many: --batch or --trace-of-requests")
    return many


def run(model, config, batch, trace, *, lengths, pass_rate, slots, pages, backend, check, json_out, opened):
    """Serve them and print how."""
    from ..files import write_json
    from ..runtime.many.bench import bench_many
    from ..runtime.many.serve import refuse_backend, with_slots
    from ..runtime.many.workload import Arrival, read_trace
    from ..runtime.session import DEFAULT_CONFIGS, find_config, open_session

    which = f"--batch is {batch}" if trace is None else "--trace-of-requests"
    refuse_backend(backend, find_config(config or DEFAULT_CONFIGS[0]), which)
    if trace is None:
        prompt, decode = (DEFAULT_TOKENS if value is None else value for value in lengths.values())
        if min(prompt, decode) < 1:
            raise RequestError(f"{prompt} prompt and {decode} decode tokens; each must be at least 1")
        requests = [Arrival(0.0, prompt, decode)] * batch
    else:
        requests = read_trace(trace)
    session = open_session(model, config, adapt=lambda chip: with_slots(chip, len(requests), slots, pages), **opened)
    found = bench_many(session, requests, pages=pages, check=check, pass_rate=pass_rate, report=opened["report"])
    if json_out:
        write_json(json_out, found)
    _print(found)
    say_match(found, opened["report"])


def _print(found):
    from rich.console import Console
    from rich.table import Table

    names = ("mean", "p50", "p90", "p99", "max")
    table = Table(found["unit"], "count", *names)
    for what, key in (("to the first token", "first_token"), ("between tokens", "between_tokens")):
        values = found[key]
        table.add_row(what, f"{values['count']:,}",
                      *("" if values[name] is None else f"{values[name]:,.1f}" for name in names))
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    for line in (
            f"requests: {found['batch']:,}",
            f"prompt_tokens: {found['prompt_tokens']:,}",
            f"generated_tokens: {found['generated_tokens']:,}",
            f"passes: {found['passes']:,}, and {found['idle']:,.1f} with nothing to compute",
            f"tokens_per_pass: {found['tokens_per_pass']:.3f}",
            f"seats_used: {found['seats_used']:.1%} of {found['seats']}, with {found['slots']} slots",
            f"most_pages: {found['most_pages']} of {found['pool_pages']}",
            f"preempted: {found['preempted']}"):
        print(line)
