"""``python -m scoville_sim.boards.sdram_bench``: how much of its SDRAM's bandwidth a board's chip uses to decode."""

import argparse
import sys
from dataclasses import replace

from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.checkpoint.models import resolve
from scoville_host.compiler.compiler import compile_model
from scoville_host.errors import ChipError, RequestError
from scoville_host.report.summary import summary
from scoville_host.runtime.board import BoardBackend, open_board
from scoville_host.runtime.golden import GoldenBackend
from scoville_host.streams import as_program

from ..chip.build import SimError
from .board import BoardTerminal, VerilatedBoard
from .board_sim import SIM_BAUD, simulated_board
from .sdram import sdram_defines

__all__ = ["measure"]


def shortened(model, layers, vocab):
    """The first layers of a model and the first rows of its vocabulary, so that it fits a board."""
    tensors = dict(model.tensors)
    for name in ("embedding", "lm_head"):
        if (tensor := tensors.get(name)) is not None and vocab < model.vocab:
            tensors[name] = replace(tensor, dtype="F32", values=tensor.floats()[:vocab], blocks=None)
    return replace(model, layers=min(layers, model.layers), vocab=min(vocab, model.vocab), tensors=tensors)


def measure(name, board_name, *, layers, vocab, weights, prompt, tokens, context):
    """The numbers of a run (`scoville_host.report.summary`), and the share of the SDRAM's words that decoding reads."""
    board = simulated_board(board_name)
    word_bytes = board.memory.timing.word_bytes
    model_name, path = resolve(name)
    model = shortened(load_checkpoint(path, model_name), layers, vocab)
    image = compile_model(model, board.config, weights=weights, context=context)
    ids = [1 + n % (model.vocab - 1) for n in range(prompt)]
    with VerilatedBoard(board, sdram_defines(board.memory.timing)) as verilated:
        verilated.load(bytes(image.base) + bytes(image.memory))
        with BoardTerminal(verilated) as terminal:
            link = open_board(terminal.port, SIM_BAUD)
            result = BoardBackend(link, read_logits=False, report=lambda line: print(line, file=sys.stderr)
                                  ).generate(image, ids, tokens)
        errors = verilated.errors
    golden = GoldenBackend().generate(image, ids, tokens)
    found = summary(image, result, prompt, "board")
    found |= {"golden_match": result.tokens == golden.tokens, "errors": errors,
              "sdram_utilisation": found["bus_utilisation"] * board.config.bus_bytes / word_bytes}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--board", default="ulx3s")
    parser.add_argument("--layers", type=int, default=1 << 30)
    parser.add_argument("--vocab", type=int, default=1 << 30, help="rows of the vocabulary that are kept")
    parser.add_argument("--weights")
    parser.add_argument("--prompt-tokens", type=int, default=4)
    parser.add_argument("--decode-tokens", type=int, default=8)
    parser.add_argument("--context", type=int, default=128)
    options = parser.parse_args()
    try:
        found = measure(options.model, options.board, layers=options.layers, vocab=options.vocab,
                        weights=options.weights, prompt=options.prompt_tokens, tokens=options.decode_tokens + 1,
                        context=options.context)
    except (ChipError, RequestError, SimError) as error:
        sys.exit(f"sdram_bench: {error}")
    print(f"{found['model']} on {options.board}: {found['cycles_per_token']:,.0f} clocks a token, "
          f"{found['sdram_utilisation']:.4f} of the SDRAM's words; "
          f"tokens {'equal' if found['golden_match'] else 'DIFFER FROM'} the golden model's")
    for reason, clocks in sorted(found["stalls"].items(), key=lambda each: -each[1])[:6]:
        print(f"  {reason}: {clocks:,}")
    for line in found["errors"]:
        print(f"  {line}")
    sys.exit(0 if found["golden_match"] and not found["errors"] else 1)


if __name__ == "__main__":
    as_program(main, "sdram_bench")
