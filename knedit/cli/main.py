"""The command line: its groups, and what becomes of errors (one sentence on stderr, exit code 2).

Starts without torch; every command imports what it needs when it runs.
"""

import logging
import os
import sys

import click
from rich.logging import RichHandler

from knedit.cli.attribute import attribute, refine
from knedit.cli.catalog import catalog
from knedit.cli.checkpoint import checkpoint
from knedit.cli.db import db
from knedit.cli.delta import delta
from knedit.cli.demo import demo
from knedit.cli.edit import edit
from knedit.cli.evaluate import evaluate
from knedit.cli.experiment import experiment, report
from knedit.cli.export import export
from knedit.cli.facts import facts
from knedit.cli.neurons import neurons
from knedit.cli.prompts import prompts
from knedit.cli.runs import runs
from knedit.cli.search import search
from knedit.cli.selections import selections
from knedit.cli.ship import ship
from knedit.cli.show import stderr
from knedit.cli.statistics import statistics
from knedit.errors import KneditError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="knedit")
@click.option("--database", metavar="URL", help="The catalog (SQLite file or Postgres), for every command.")
@click.option("--verbose", "-v", is_flag=True, help="Tell more on stderr.")
@click.pass_context
def cli(context: click.Context, database: str | None, verbose: bool) -> None:
    """Find the neurons that hold a language model's facts, keep them in a catalog, edit them, ship the checkpoint.

    A first round: knedit demo. By hand: checkpoint add, facts import, attribute, refine, edit plan, edit apply.
    """
    context.obj = database
    handler = RichHandler(console=stderr, show_time=False, show_path=False, show_level=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("knedit").setLevel(logging.DEBUG if verbose else logging.INFO)


for command in (
    *(db, catalog, checkpoint, facts, prompts, selections, search, attribute, runs, refine, neurons),
    *(statistics, edit, evaluate, experiment, report, export, delta, ship, demo),
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit: 0 done, 1 checked and found wanting, 2 refused, 130 interrupted."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except KneditError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted. What was finished is kept; the same command goes on from there.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
