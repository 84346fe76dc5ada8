"""knedit catalog: the whole database: another one merged into it, checked, backed up, restored."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from knedit.cli.options import json_option, with_address, with_catalog
from knedit.cli.show import plain, show_json, show_rows

SHOWN = 20  # conflicts that are printed; a file takes them all


@click.group()
def catalog() -> None:
    """Merge, check, back up and restore the whole catalog."""


@catalog.command()
@click.argument("other", metavar="OTHER_URL")
@click.option("--dry-run", is_flag=True, help="Tell what merging would do, and change nothing.")
@click.option("--conflicts", type=click.Path(path_type=Path), metavar="FILE", help="Write all conflicts as JSON lines.")
@with_catalog
@json_option
def merge(catalog: Any, *, other: str, dry_run: bool, conflicts: Path | None, as_json: bool) -> int:
    """Add what the catalog at OTHER_URL has and this one has not; exit with 1 where the two contradict.

    What they tell differently stays as it is here, and is listed. A refinement, a run's prompt, an edit or a selection
    comes whole or not at all. A status follows the longer history; a checkpoint whose name is taken gets a new one.
    """
    from knedit.flows.catalogs import merge_catalog

    found: list[Any] = []
    with _listing(conflicts) as write:

        def tell(conflict: Any) -> None:
            write(conflict)
            if len(found) < SHOWN:
                found.append(conflict)

        tables = merge_catalog(catalog, other, tell, dry_run=dry_run)
    total = sum(one.conflicts for one in tables)
    if as_json:
        show_json({"dry_run": dry_run, "tables": tables, "conflicts": found, "all_conflicts": total})
    else:
        _show_merge(tables, found, total, dry_run=dry_run)
    return 1 if total else 0


@contextmanager
def _listing(file: Path | None) -> Iterator[Any]:
    """Yield what writes a conflict as a line of the file; the file is there once all are."""
    import json

    with ExitStack() as stack:
        stream = stack.enter_context(click.open_file(str(file), "w", encoding="utf-8", atomic=True)) if file else None

        def write(conflict: Any) -> None:
            if stream is not None:
                stream.write(json.dumps(plain(conflict), ensure_ascii=False) + "\n")

        yield write


def _show_merge(tables: list[Any], found: list[Any], total: int, *, dry_run: bool) -> None:
    names = ["table", "seen", "added", "changed", "conflicts"]
    rows = [[getattr(one, name) for name in names] for one in tables if one.seen or one.conflicts]
    show_rows(names, rows, as_json=False, title="Would be merged" if dry_run else "Merged")
    if total:
        differences = [[one.words, one.field, str(one.ours), str(one.theirs)] for one in found]
        show_rows(["what", "field", "kept", "theirs"], differences, as_json=False, title="Conflicts")
    if total > len(found):
        click.echo(f"and {total - len(found)} more; --conflicts FILE writes them all")


@catalog.command()
@click.option("--deep", is_flag=True, help="Read checkpoints' files whole and compare their sha256.")
@click.option(
    "--repair", is_flag=True, help="Count neurons again and build the search index anew where they are wrong."
)
@with_catalog
@json_option
def check(catalog: Any, *, deep: bool, repair: bool, as_json: bool) -> int:
    """Look for what is wrong with rows, counts, search index and checkpoints' files; exit with 1 where anything is."""
    from knedit.flows.catalogs import check_catalog

    found = check_catalog(catalog, deep=deep, repair=repair)
    if as_json or found:
        names = ["check", "what", "where", "cure"]
        show_rows(names, [[getattr(one, name) for name in names] for one in found], as_json=as_json)
    else:
        click.echo(f"Nothing is wrong with the catalog at {catalog.address}")
    return 1 if found else 0


@catalog.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace the file where it exists.")
@with_address
@json_option
def backup(address: str | None, *, file: Path, overwrite: bool, as_json: bool) -> None:
    """Write the catalog, as it is at one moment, to FILE; others may go on writing meanwhile.

    SQLite: a copy of the database. Postgres: pg_dump's custom format, for which pg_dump must be installed.
    To get it back: knedit --database NEW_DATABASE catalog restore FILE
    """
    from knedit.catalog.backup import backup as run

    stands = run(address, file, overwrite=overwrite)
    size = file.stat().st_size
    if as_json:
        show_json({"catalog": stands, "file": str(file), "bytes": size})
    else:
        click.echo(f"Catalog at {stands.address}, revision {stands.revision}: {size:,} bytes in {file}")


@catalog.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_address
@json_option
def restore(address: str | None, *, file: Path, as_json: bool) -> None:
    """Fill an empty database with what `knedit catalog backup` wrote to FILE.

    An older catalog then needs knedit db upgrade. To add a backup to a catalog, restore it elsewhere and merge it.
    """
    from knedit.catalog.backup import restore as run

    stands = run(address, file)
    if as_json:
        show_json(stands)
    else:
        click.echo(f"Catalog at {stands.address}: {stands.state}, revision {stands.revision}")
