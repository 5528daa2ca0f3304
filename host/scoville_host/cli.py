"""The command ``scoville``. Text goes to standard output; everything else to standard error.

Heavy packages are imported by the commands that need them, so that ``--help`` is quick.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .errors import ChipError, RequestError

__all__ = ["app", "main"]

app = typer.Typer(name="scoville", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
                  help="Compile, run and measure language models on the Scoville processor.\n\n"
                       "Exit status: 0 done; 1 the run failed (a bit mismatch, say); 2 the request was wrong.")

Model = Annotated[str, typer.Option(help="A name (see `scoville models`), a Hugging Face directory, or a .gguf file.")]
Config = Annotated[str | None, typer.Option(help="A configuration (see `scoville configs`). Default: nano if the "
                                                 "model fits, else kria.")]
Backend = Annotated[str, typer.Option(help="golden (the numpy model), rtl (the Verilated chip) or board (an FPGA).")]
Memory = Annotated[str | None, typer.Option(help="Timing of the simulated memory: ideal, ddr4, hbm, lpddr4, sdram, "
                                                 "sdram32, block_ram, random.")]
Weights = Annotated[str | None, typer.Option(help="Bring all weights to this format: mxint8, q8_0, q4_0, q4_1 or "
                                                  "mxfp4. Default: as stored; floats become mxint8.")]
Context = Annotated[int | None, typer.Option(help="Positions to make room for. Default: the model's own, at most 512.")]
Layers = Annotated[int | None, typer.Option(help="Only so many of the model's first layers. Default: all.")]
Position = Annotated[int, typer.Option(help="Positions before the prompt that are in the KV cache already.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the numbers of the run to this file.")]
Trace = Annotated[Path | None, typer.Option(help="Write a Chrome trace of the last tokens (rtl only).")]
TraceTokens = Annotated[int, typer.Option(help="Passes that make a token, in the trace, counted from the end.")]
Port = Annotated[str | None, typer.Option(help="Serial port of the board, such as /dev/ttyUSB0.")]
Baud = Annotated[int, typer.Option(help="Rate of the board's serial line.")]
Board = Annotated[str | None, typer.Option(help="Name of the board that has to answer. Default: any.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]


UsageError = typer.BadParameter.__base__  # click's own class; newer versions of typer carry a copy of click


class RunFailed(Exception):
    """The request was fine and the run was not: exit status 1."""


def _reporter(quiet):
    def report(line):
        if not quiet:
            print(f"scoville: {line}", file=sys.stderr, flush=True)
    return report


def _write(text):
    sys.stdout.write(text)
    sys.stdout.flush()


@app.command()
def generate(
    model: Model = "tiny",
    prompt: Annotated[str | None, typer.Option(help="Text to continue, or to answer.")] = None,
    prompt_ids: Annotated[str | None, typer.Option(help="Token ids instead of text: 1,2,3.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens to generate.")] = 64,
    backend: Backend = "golden",
    config: Config = None,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the sampler.")] = 0,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Go on after the end of the text.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Do not put the prompt into the model's chat template.")] = False,
    logits_out: Annotated[Path | None, typer.Option(help="Write float32 [tokens, vocabulary] to this .npy.")] = None,
    json_out: Json = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Compare rtl or board with golden.")] = True,
    weights: Weights = None,
    context: Context = None,
    layers: Layers = None,
    memory: Memory = None,
    trace: Trace = None,
    trace_tokens: TraceTokens = 1,
    port: Port = None,
    baud: Baud = 1_000_000,
    board: Board = None,
    quiet: Quiet = False,
):
    """Generate text.

    \b
    scoville generate --prompt "Once upon a time"
    scoville generate --prompt "Once upon a time" --backend rtl --max-new-tokens 16 --json run.json
    scoville generate --model smollm2 --prompt "What is a processor?" --config kria
    scoville generate --prompt "Once upon a time" --backend board --port /dev/ttyUSB0
    """
    from .files import write_array, write_json
    from .runtime import generate as work
    from .runtime.backend import check_backend
    from .runtime.session import check_prompt, open_session, parse_prompt

    report = _reporter(quiet)
    check_prompt(prompt, prompt_ids)
    check_backend(backend, memory)
    options = None
    if backend == "board":
        from .runtime.board import board_config, open_board

        link = open_board(port, baud, board)
        config = board_config(link, config)
        options = {"link": link, "need_logits": logits_out is not None, "read_logits": check, "quiet": quiet}
    session = open_session(model, config, weights=weights, context=context, layers=layers, report=report)
    ids = parse_prompt(session, prompt, prompt_ids, raw)
    if not 0 <= seed < 1 << 64:
        raise RequestError(f"seed is {seed}; it must be 0 to 2^64 - 1")
    found, result = work.generate(
        session, ids, max_new_tokens, backend=backend, memory=memory, temperature=temperature, seed=seed,
        stop_ids=() if ignore_eos else session.stop_ids(), check=check, trace=trace,
        trace_tokens=trace_tokens, board=options, write=_write, report=report)
    if logits_out:
        write_array(logits_out, result.logits)
    if json_out:
        write_json(json_out, found)
    _say_numbers(found, report)


def _longest(stalls):
    """Those that are not zero, the longest first, as text."""
    return ", ".join(f"{name} {count}" for name, count in sorted(stalls.items(), key=lambda item: -item[1]) if count)


def _say_numbers(found, report):
    if found["cycles"]:
        report(f"{found['cycles']:,} cycles, {found['cycles_per_token']:,.0f} a token; "
               f"bus {found['bus_utilisation']:.1%}, multipliers {found['mac_utilisation']:.1%}; "
               f"{found['cycles_per_second']:,.0f} cycles a second")
    if found["golden_match"]:
        what = "tokens" if found.get("logits_compared") is False else "tokens and logits"
        report(f"{what} equal the golden model's, bit for bit")
    elif found["golden_match"] is False:
        raise RunFailed("tokens or logits differ from the golden model's")


@app.command("compile")
def compile_(
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
    from .compiler.listing import listing
    from .files import write_text
    from .runtime.session import open_session

    report = _reporter(quiet)
    image = open_session(model, config, weights=weights, context=context, layers=layers, report=report,
                         text=False).image
    image.save(output)
    write_text(output.with_suffix(".lst"), listing(image))
    report(f"wrote {output} and {output.with_suffix('.lst')}")


@app.command()
def bench(
    model: Model = "tiny",
    config: Config = None,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens in the prompt.")] = 16,
    decode_tokens: Annotated[int, typer.Option(help="Tokens to generate.")] = 16,
    batch: Annotated[int, typer.Option(help="Sequences at a time.")] = 1,
    backend: Backend = "rtl",
    memory: Memory = None,
    json_out: Json = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Compare with the golden model.")] = False,
    weights: Weights = None,
    context: Context = None,
    layers: Layers = None,
    position: Position = 0,
    trace: Trace = None,
    trace_tokens: TraceTokens = 1,
    quiet: Quiet = False,
):
    """Count the cycles of a workload of random tokens.

    \b
    scoville bench --model tiny --config nano --prompt-tokens 16 --decode-tokens 16 --json bench.json
    """
    from .files import write_json
    from .runtime import generate as work
    from .runtime.backend import check_backend
    from .runtime.session import open_session

    report = _reporter(quiet)
    check_backend(backend, memory)
    session = open_session(model, config, weights=weights, context=context, layers=layers, report=report, text=False)
    found = work.bench(session, prompt_tokens, decode_tokens, backend=backend, batch=batch, memory=memory,
                       check=check, trace=trace, trace_tokens=trace_tokens, position=position, report=report)
    if json_out:
        write_json(json_out, found)
    for key in ("cycles", "cycles_per_token", "prefill_cycles", "decode_cycles", "model_bytes_per_token",
                "bus_utilisation", "decode_bus_utilisation", "utilisation_of_memory", "mac_utilisation",
                "prefill_mac_utilisation"):
        print(f"{key}: {found[key]}")
    print(f"stalls: {_longest(found['stalls'] or {})}")
    for kind, spent in found.get("by_kind", {}).items():
        print(f"{kind} ({spent['count']}): {spent['cycles']} cycles, work {spent['work']}, {_longest(spent['stalls'])}")
    _say_numbers(found, report)


@app.command()
def predict(
    model: Annotated[str, typer.Option(help="As elsewhere, or of a model without weights its config.json, or "
                                               "llama-3.2-1b, qwen2.5-7b, llama-3-8b, llama-3-70b.")] = "tiny",
    config: Config = None,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens in the prompt.")] = 16,
    decode_tokens: Annotated[int, typer.Option(help="Tokens to generate.")] = 16,
    position: Position = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change a size of the configuration: rows=8. "
                                                                     "May be repeated.")] = None,
    memory: Memory = None,
    json_out: Json = None,
    weights: Weights = None,
    context: Context = None,
    quiet: Quiet = False,
):
    """Predict what bench would count, from the program and the configuration, without simulating.

    \b
    scoville predict --model smollm2 --config kria --prompt-tokens 64 --decode-tokens 3
    scoville predict --model llama-3-8b --config kria --weights q4_1 --set rows=8 --set bus_bytes=128
    """
    from .files import write_json
    from .predict.predict import predict as work

    found = work(model, config, prompt_tokens, decode_tokens, settings=settings or (), weights=weights, context=context,
                 position=position, memory=memory, report=_reporter(quiet))
    if json_out:
        write_json(json_out, found)
    for key in ("config", "cycles", "cycles_per_token", "prefill_cycles", "decode_cycles", "model_bytes_per_token",
                "bus_utilisation", "mac_utilisation", "stalls"):
        print(f"{key}: {found[key]}")


@app.command("eval")
def eval_(
    text: Annotated[Path, typer.Option(help="A text file.")],
    model: Model = "tiny",
    backend: Annotated[str, typer.Option(help="golden, rtl, or float (transformers, FP32).")] = "golden",
    against: Annotated[str | None, typer.Option(help="float: compare with the float reference.")] = None,
    config: Annotated[str, typer.Option(help="A configuration (see `scoville configs`).")] = "nano",
    act_bits: Annotated[int | None, typer.Option(help="Bits of an activation; default: the configuration's.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens of the text to use. Default: 512.")] = None,
    weights: Weights = None,
    json_out: Json = None,
    quiet: Quiet = False,
):
    """Measure what quantisation costs: perplexity, mean KL divergence, agreement on the likeliest token.

    \b
    scoville eval --model tiny --text story.txt --against float
    """
    from .files import write_json
    from .runtime.evaluate import evaluate

    report = _reporter(quiet)

    def progress(done, total):
        report(f"{done} of {total} tokens")

    found = evaluate(model, text, backend=backend, against=against, config_name=config, act_bits=act_bits,
                     tokens=tokens, weights=weights, progress=progress)
    if json_out:
        write_json(json_out, found)
    for key, value in found.items():
        print(f"{key}: {value}")


@app.command()
def verilog(
    config: Annotated[str, typer.Option(help="A configuration (see `scoville configs`).")] = "nano",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder. Default: build/<config>.")] = None,
):
    """Write the chip's Verilog, its ports and parameters (JSON), and the register map (Markdown, C).

    \b
    scoville verilog --config kria
    """
    from .report.artefacts import write_artefacts
    from .runtime.session import find_config

    for path in write_artefacts(find_config(config), output or Path("build") / config):
        print(path)


@app.command()
def registers(
    form: Annotated[str, typer.Option("--format", help="md (Markdown) or h (C header).")] = "md",
):
    """Print the register map."""
    from scoville import registers as table

    forms = {"md": table.markdown, "h": table.c_header}
    if form not in forms:
        raise RequestError(f"unknown format {form!r}; there are: {', '.join(forms)}")
    _write(forms[form]())


@app.command()
def configs():
    """List the named configurations."""
    from scoville.config import CONFIGS

    print(f"{'name':<10}{'bus':>6}{'rows':>6}{'lanes':>7}{'width':>7}{'bits':>6}{'multipliers':>13}{'max hidden':>12}")
    for config in CONFIGS.values():
        print(f"{config.name:<10}{config.bus_bytes:>5}B{config.rows:>6}{config.lanes:>7}{config.dot_width:>7}"
              f"{config.act_bits:>6}{config.multipliers:>13}{config.max_hidden:>12}")


@app.command()
def models():
    """List the models that have names."""
    from .checkpoint.models import MODELS, cached_path

    for model in MODELS.values():
        state = "" if model.package is None else " (fetched)" if cached_path(model).exists() else " (not fetched yet)"
        print(f"{model.name:<10}{model.doc}{state}")


@app.command()
def memories(config: Config = "kria", json_out: Json = None):
    """List the simulated memories, and what each gives a plain stream at most, on the bus of a configuration.

    \b
    scoville memories --config ulx3s --json memories.json
    """
    from .files import write_json
    from .report.memories import measured
    from .runtime.session import find_config

    chosen = find_config(config)
    rows = measured(chosen.bus_bytes)
    if json_out:
        write_json(json_out, {"config": chosen.name, "bus_bytes": chosen.bus_bytes, "memories": rows})
    print(f"{'name':<9}{'beats/cycle':>12}{'bytes/cycle':>12}{'of its peak':>12}{'GB/s':>7}{'latency':>8}  {'DRAM'}")
    for row in rows:
        speed = f"{row['bytes_per_second'] / 1e9:.2f}"
        print(f"{row['name']:<9}{row['limit_beats_per_cycle']:>12.4f}{row['limit_bytes_per_cycle']:>12.2f}"
              f"{row['share_of_peak']:>12.4f}{speed:>7}{row['read_latency']:>8}  {row['dram'] or '-'}")


def main(arguments=None):
    """Run the command; never returns."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        sys.exit(app(arguments or ["--help"], prog_name="scoville", standalone_mode=False) or 0)
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "scoville"
        _fail(2, f"error: {error.format_message().rstrip('.')}; see {command} --help")
    except RequestError as error:
        _fail(2, f"error: {error}")
    except (RunFailed, ChipError) as error:
        _fail(1, f"failed: {error}")
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; nothing to say and nobody to say it to
        sys.exit(141)


def _fail(status, line):
    print("scoville:", " ".join(line.split()), file=sys.stderr)
    sys.exit(status)
