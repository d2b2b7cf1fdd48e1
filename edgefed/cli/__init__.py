"""The command line: a thin face over :mod:`edgefed.api`. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperGroup

from edgefed.cli.audit import audit
from edgefed.cli.compare import compare
from edgefed.cli.deploy import doctor, launch, launch_device, launch_server, provision, rehearse, status
from edgefed.cli.explain import explain
from edgefed.cli.export import export
from edgefed.cli.look import list_names, partition, plot, predict, report
from edgefed.cli.run import run
from edgefed.cli.shards import shards
from edgefed.cli.signals import INTERRUPTED, ending_in_order
from edgefed.config import SettingsError
from edgefed.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable

#: The commands in the order of the help; each group has a file of its own.
COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "compare": compare,
    "partition": partition,
    "shards": shards,
    "plot": plot,
    "report": report,
    "explain": explain,
    "audit": audit,
    "predict": predict,
    "export": export,
    "provision": provision,
    "launch-server": launch_server,
    "launch-device": launch_device,
    "launch": launch,
    "status": status,
    "doctor": doctor,
    "rehearse": rehearse,
    "list": list_names,
}


class _Commands(TyperGroup):
    """The commands; Ctrl-C gets its line here, since typer above makes a bare exit code of it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            with ending_in_order():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            note(f"edgefed: {str(stop) or 'interrupted'}")
            raise click.exceptions.Exit(INTERRUPTED) from stop

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was asked for. click tells of one like it; typer in between would once more."""
        return click.Group.resolve_command(self, ctx, args)


app = typer.Typer(
    name="edgefed",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"edgefed {version('edgefed')} (flwr {version('flwr')}, torch {version('torch')})")
        raise typer.Exit


@app.callback()
def _of_all(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Federated edge learning: simulate, compare imbalance remedies, plot, predict.

    To begin with: [bold]edgefed run[/bold] (ten clients learn iris, in seconds)

    [bold]edgefed compare --seeds 8 --no-tune[/bold] (which remedy for rare classes helps?)

    [bold]edgefed compare mine.csv --label COLUMN[/bold] (the same on rows of your own)
    """


def main() -> None:
    """Run the command line; a person's mistake is one line on stderr and exit 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a name in a person's file gets its escape, not a traceback.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        code = app(standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError:
        return 2  # the help is there already
    except (SettingsError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        note("edgefed: " + " ".join(message.split()))
        return 2
    except (KeyboardInterrupt, click.Abort):
        note("edgefed: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except Exception as error:
        from edgefed.errors import FederationError

        if not isinstance(error, FederationError | OSError):
            raise
        note(f"edgefed: {error}")
        return 1
    return code if isinstance(code, int) else 0
