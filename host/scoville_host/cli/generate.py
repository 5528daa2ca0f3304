"""``scoville generate``: text from a model."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    BAUD,
    Backend,
    Baud,
    Board,
    Config,
    Context,
    Json,
    Layers,
    MaxNewTokens,
    Memory,
    Model,
    PoolPages,
    Port,
    Quiet,
    Seed,
    Slots,
    System,
    Temperature,
    Trace,
    TraceTokens,
    Weights,
    as_text,
    board_options,
    check_seed,
)
from .output import Text, reporter, say_numbers

__all__ = ["run"]


def _as_texts(values: list[str] | None):
    return [as_text(value) for value in values or ()]


Prompts = Annotated[list[str] | None, typer.Option("--prompt", callback=_as_texts, help=(
    "Text to continue, or to answer. Several, each with its --prompt, are continued at a time."))]
Chat = Annotated[Path | None, typer.Option(help="A conversation to answer: a JSON list of messages, or a dict with "
                                                "messages, tools, documents and what else the template knows.")]


def run(
    model: Model = "tiny",
    prompt: Prompts = None,
    prompt_ids: Annotated[str | None, typer.Option(help="Token ids instead of text: 1,2,3.")] = None,
    prompts: Annotated[Path | None, typer.Option(help=(
        "A prompt a line; in a file *.jsonl an object a line, with prompt or ids, and perhaps limit, temperature, "
        "seed, priority, tenant."))] = None,
    chat: Chat = None,
    system: System = None,
    max_new_tokens: MaxNewTokens = 64,
    backend: Backend = "golden",
    config: Config = None,
    slots: Slots = None,
    pool_pages: PoolPages = None,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Go on after the end of the text.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Do not put the prompt into the model's chat template.")] = False,
    logits_out: Annotated[Path | None, typer.Option(help="Write float32 [tokens, vocabulary] to this .npy.")] = None,
    json_out: Json = None,
    json_lines: Annotated[bool, typer.Option("--json-lines", help="Of several prompts print each as a line of JSON.")
                          ] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Compare rtl or board with golden.")] = True,
    weights: Weights = None,
    context: Context = None,
    layers: Layers = None,
    memory: Memory = None,
    trace: Trace = None,
    trace_tokens: TraceTokens = 1,
    port: Port = None,
    baud: Baud = BAUD,
    board: Board = None,
    quiet: Quiet = False,
):
    """Generate text.

    \b
    scoville generate --prompt "Once upon a time"
    scoville generate --prompt "Once upon a time" --backend rtl --max-new-tokens 16 --json run.json
    scoville generate --model smollm2 --prompt "What is a processor?" --config kria
    scoville generate --model smollm2 --chat talk.json --system "Be brief."
    scoville generate --prompt "Once upon a time" --backend board --port /dev/ttyUSB0
    scoville generate --prompt "Once upon a time" --prompt "The dog" --backend rtl
    scoville generate --prompts prompts.jsonl --json-lines
    """
    from ..files import check_outputs, write_array, write_json
    from ..runtime import generate as work
    from ..runtime.registry import check_backend
    from ..runtime.session import Prompt, open_session, parse_prompt
    from . import generate_many

    report = reporter(quiet)
    many = generate_many.asked(prompt, prompts, {"--prompt-ids": prompt_ids, "--chat": chat},
                               {"--logits-out": logits_out, "--trace": trace,
                                "--trace-tokens": None if trace_tokens == 1 else trace_tokens, "--port": port,
                                "--baud": None if baud == BAUD else baud, "--board": board},
                               {"--slots": slots, "--pool-pages": pool_pages, "--json-lines": json_lines or None})
    asked = Prompt(text=None if many or not prompt else prompt[0], ids=prompt_ids, chat=chat, system=system, raw=raw)
    if not many:
        asked.check()
    check_backend(backend, memory)
    check_outputs({"--json": json_out, "--logits-out": logits_out, "--trace": trace},
                  inputs=[model, *([prompts] if prompts else [])])
    if many:
        generate_many.run(
            prompt, prompts, backend=backend, memory=memory, config=config, slots=slots, pages=pool_pages,
            default={"limit": max_new_tokens, "temperature": temperature, "seed": seed}, ignore_eos=ignore_eos,
            system=system, raw=raw, check=check, json_out=json_out, json_lines=json_lines, report=report,
            opened={"model": model, "weights": weights, "context": context, "layers": layers, "report": report})
        return
    config, options = board_options(backend, port, baud, board, config, need_logits=logits_out is not None,
                                    read_logits=check, quiet=quiet)
    session = open_session(model, config, weights=weights, context=context, layers=layers, report=report,
                           text=True if prompt_ids is None else None)
    ids = parse_prompt(session, asked)
    check_seed(seed)
    text = Text(files=any((json_out, logits_out, trace)))
    found, result = work.generate(
        session, ids, max_new_tokens, backend=backend, memory=memory, temperature=temperature, seed=seed,
        stop_ids=() if ignore_eos else session.stop_ids(), check=check, trace=trace,
        trace_tokens=trace_tokens, board=options, write=text.write, report=report)
    if json_out:
        write_json(json_out, found)
    if logits_out:
        write_array(logits_out, result.logits)
    text.close()
    say_numbers(found, report)
