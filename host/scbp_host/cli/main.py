"""scbp-host: the verbs and the exit codes."""

from __future__ import annotations

import sys

import typer

from scbp_host import __version__
from scbp_host.cli import devices, measure, rank, report, run, space
from scbp_host.cli.console import show_error, show_internal_error
from scbp_host.cli.lock import CommandEnded
from scbp_host.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_OK, ScbpError

app = typer.Typer(
    name="scbp-host",
    help="Smaller CNNs from yours, ranked by what your own board measures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("measure")(measure.measure)
app.command("rank")(rank.rank)
app.command("report")(report.report)
app.add_typer(space.app, name="space")
app.add_typer(devices.app, name="devices")


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(f"scbp {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    sys.exit(run_command(arguments))


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors are shown, never raised."""
    try:
        app(args=arguments)  # shows its own usage errors
    except SystemExit as ended:
        return _exit_code(ended.code)
    except CommandEnded as ended:
        return ended.code
    except ScbpError as error:
        show_error(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug gets a code of its own
        show_internal_error(error)
        return EXIT_INTERNAL
    return EXIT_OK


def _exit_code(code: object) -> int:
    """Translate typer's exit codes: an interrupt or a closed pipe is 130 or 1 to it, by its version."""
    if code in (1, EXIT_INTERRUPTED):
        show_error(ScbpError("interrupted; what was acknowledged is kept", "go on with: scbp-host run --resume ..."))
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else EXIT_OK
