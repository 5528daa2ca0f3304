"""The command ``scoville``. Text goes to standard output; everything else to standard error.

A file a command, of its name. Heavy packages are imported by the commands that need them, so that ``--help`` is quick.
"""

import contextlib
import sys
from typing import Annotated

import typer

from ..errors import ChipError, RequestError
from ..streams import as_program
from . import (
    bench,
    chat,
    compile,
    configs,
    eval,
    generate,
    inspect,
    load,
    memories,
    models,
    predict,
    registers,
    serve,
    verilog,
    workload,
)
from .output import RunFailed

__all__ = ["app", "main"]

# As help lists them.
COMMANDS = (generate, chat, serve, load, compile, bench, workload, inspect, predict, eval, verilog, registers, configs,
            models, memories)
app = typer.Typer(name="scoville", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
                  help="Compile, run and measure language models on the Scoville processor.\n\n"
                       "Exit status: 0 done; 1 the run failed (a bit mismatch, say); 2 the request was wrong.")

def _version(wanted: bool):
    if wanted:
        from scoville import __version__

        print(f"scoville {__version__}")
        raise typer.Exit


@app.callback()
def _options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                   help="Print the version.")] = False):
    pass


for each in COMMANDS:
    app.command(each.__name__.rpartition(".")[2])(each.run)

UsageError = typer.BadParameter.__base__  # click's own class; newer versions of typer carry a copy of click


def main(arguments=None):
    """Run the command; never returns."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    as_program(lambda: _run(arguments or ["--help"]), "scoville")


def _run(arguments):
    """The exit status of a command. Not ``app()``: that ends with status 1 when the reader of the output has gone."""
    try:
        command = typer.main.get_command(app)
        with command.make_context("scoville", arguments) as context:
            command.invoke(context)
        return 0
    except typer.Exit as stop:
        return stop.exit_code
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "scoville"
        return _fail(2, f"error: {error.format_message().rstrip('.')}; see {command} --help")
    except RequestError as error:
        return _fail(2, f"error: {error}")
    except (RunFailed, ChipError) as error:
        return _fail(1, f"failed: {error}")
    except typer.Abort:
        return 130


def _fail(status, line):
    with contextlib.suppress(OSError):  # the status says it too
        print("scoville:", " ".join(line.split()), file=sys.stderr)
    return status
