"""``scoville chat``: a conversation in a terminal."""

import sys

from ..errors import RequestError
from .options import (
    BAUD,
    Backend,
    Baud,
    Board,
    Config,
    Context,
    MaxNewTokens,
    Memory,
    Model,
    Port,
    Quiet,
    Seed,
    System,
    Temperature,
    Weights,
    board_options,
    check_seed,
)
from .output import reporter, write

__all__ = ["run"]


def run(
    model: Model = "smollm2",
    system: System = None,
    max_new_tokens: MaxNewTokens = 256,
    backend: Backend = "golden",
    config: Config = None,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    weights: Weights = None,
    context: Context = None,
    memory: Memory = None,
    port: Port = None,
    baud: Baud = BAUD,
    board: Board = None,
    quiet: Quiet = False,
):
    """Talk with a model: a line a turn. /new begins anew, the end of the input (Ctrl-D) ends it.

    \b
    scoville chat --model smollm2 --system "Be brief."
    """
    from ..runtime.conversation import Conversation
    from ..runtime.registry import check_backend
    from ..runtime.session import open_session

    report = reporter(quiet)
    check_backend(backend, memory)
    check_seed(seed)
    config, options = board_options(backend, port, baud, board, config, read_logits=False, quiet=quiet)
    session = open_session(model, config, weights=weights, context=context, report=report)
    talk = Conversation(session, system, backend=backend, memory=memory, board=options, temperature=temperature,
                        seed=seed, report=report)
    while (line := _line()) is not None:
        if line == "/new":
            talk.begin()
        elif line:
            try:
                talk.say(line, max_new_tokens, write)
            except RequestError as error:  # one turn that cannot be: the conversation goes on without it
                print(f"scoville: error: {error}; /new begins anew", file=sys.stderr)


def _line():
    """What the user says, or None at the end of the input; the prompt is for people alone."""
    if sys.stdin.isatty():
        print("> ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    return line.strip() if line else None
