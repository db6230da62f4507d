"""The `dream` command. Parses, calls, prints; imports torch only in the commands that need a model."""

from __future__ import annotations

import sys

import typer

from dream_engine.commands import capture, cycles, decisions, dreams, lab, ledger, power, release, results, study
from dream_engine.errors import DreamError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Dream Engine: repair what fine-tuning wears away from a chat model's safety, and prove it before it goes live.",
)
for part in (cycles, capture, dreams, decisions, release, results, power, study, ledger, lab):
    app.add_typer(part.app)

INTERRUPTED, INTERNAL, IO = 130, 70, 74


def main() -> None:
    """Runs the command; turns every expected problem into one line and an exit code."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted; run the same command again to go on where it was", INTERRUPTED)
    except DreamError as error:
        _complain(str(error), error.exit_code)
    except OSError as error:
        _complain(f"the disk or a file refused: {error}", IO)
    except Exception as error:
        _click_or_internal(error)


def _click_or_internal(error: Exception) -> None:
    shown = getattr(error, "format_message", None)
    if shown:
        _complain(shown(), 2)
    import logging

    logging.getLogger(__name__).debug("internal error", exc_info=error)
    _complain(f"internal error: {type(error).__name__}: {error}; please report it with the command you ran", INTERNAL)


def _complain(message: str, code: int) -> None:
    typer.echo(f"dream: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
