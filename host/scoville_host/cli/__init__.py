"""The command ``scoville``. Text goes to standard output; everything else to standard error.

A file a command, of its name. Heavy packages are imported by the commands that need them, so that ``--help`` is quick.
"""

import sys

import typer

from ..errors import ChipError, RequestError
from . import bench, chat, compile, configs, eval, generate, memories, models, predict, registers, verilog
from .output import RunFailed

__all__ = ["app", "main"]

# As help lists them.
COMMANDS = (generate, chat, compile, bench, predict, eval, verilog, registers, configs, models, memories)
app = typer.Typer(name="scoville", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
                  help="Compile, run and measure language models on the Scoville processor.\n\n"
                       "Exit status: 0 done; 1 the run failed (a bit mismatch, say); 2 the request was wrong.")
for each in COMMANDS:
    app.command(each.__name__.rpartition(".")[2])(each.run)

UsageError = typer.BadParameter.__base__  # click's own class; newer versions of typer carry a copy of click


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
