"""``scoville bench`` with many sequences."""

import sys

from ..errors import RequestError
from .output import say_match

__all__ = ["asked", "run"]

DEFAULT_TOKENS = 16


def asked(batch, trace, lengths, single, several, timed):
    """Whether many sequences are asked for: a batch, or a trace of requests.

    Parameters
    ----------
    lengths, single, several, timed : options by name, None where not given: of one length for all; those of one
        sequence alone; those of many alone; those of a trace alone

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
    else:
        for name, value in timed.items():
            if value is not None:
                raise RequestError(f"{name} without --trace-of-requests")
    many = trace is not None or (batch or 1) > 1
    for name, value in (single if many else several).items():
        if value is not None:
            raise RequestError(f"{name} with many sequences; it is of one" if many else
                               f"{name} with one sequence; it is of many: --batch or --trace-of-requests")
    return many


def run(model, config, batch, trace, *, lengths, pass_rate, slots, pages, backend, memory, check, json_out, opened):
    """Serve them and print how."""
    from ..files import write_json
    from ..runtime.many.bench import bench_many
    from ..runtime.many.serve import refuse_backend, with_slots
    from ..runtime.many.workload import Arrival, read_trace
    from ..runtime.session import open_session

    refuse_backend(backend, f"--batch is {batch}" if trace is None else "--trace-of-requests", {"--memory": memory})
    if backend == "rtl" and pass_rate is not None:
        raise RequestError("--passes-per-second with --backend rtl, whose seconds are its memory's clock's; it is of "
                           "golden")
    if trace is None:
        prompt, decode = (DEFAULT_TOKENS if value is None else value for value in lengths.values())
        if min(prompt, decode) < 1:
            raise RequestError(f"{prompt} prompt and {decode} decode tokens; each must be at least 1")
        requests = [Arrival(0.0, prompt, decode)] * batch
    else:
        requests = read_trace(trace)
    session = open_session(model, config, adapt=lambda chip: with_slots(chip, len(requests), slots, pages, backend),
                           **opened)
    found = bench_many(session, requests, backend=backend, memory=memory, pages=pages, check=check, pass_rate=pass_rate,
                       report=opened["report"])
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
    unit = found["unit"]
    print(f"requests: {found['batch']:,}")
    print(f"prompt_tokens: {found['prompt_tokens']:,}")
    print(f"generated_tokens: {found['generated_tokens']:,}")
    print(f"passes: {found['passes']:,}")
    print(f"idle: {found['idle']:,.1f} {unit} with nothing to compute")
    print(f"tokens_per_pass: {found['tokens_per_pass']:.3f}")
    if found["seats_used"] is not None:
        print(f"seats_used: {found['seats_used']:.1%} of {found['seats']}, with {found['slots']} slots")
    if found["most_pages"] is not None:
        print(f"most_pages: {found['most_pages']} of {found['pool_pages']}")
    print(f"preempted: {found['preempted']}")
    if found["cycles"]:
        print(f"cycles: {found['cycles']:,}")
        print(f"cycles_per_token: {found['cycles_per_token']:,.1f}")
        print(f"bus_utilisation: {found['bus_utilisation']}")
        print(f"utilisation_of_memory: {found['utilisation_of_memory']}")
