"""The catalog's verbs for experiments: begun, filled part by part, finished, and read again as a whole.

Knows nothing of any experiment.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, select, update

from knedit.catalog import schema
from knedit.catalog.naming import id_range, say_which
from knedit.catalog.rows import Transactions, add
from knedit.errors import CatalogError
from knedit.experiments import Experiment, ExperimentPart, ExperimentValue
from knedit.records import show_id


class ExperimentVerbs(Transactions):
    def open_experiment(self, experiment: Experiment) -> Experiment:
        """Put the experiment in, and return it; one that is there already is returned as it was begun."""
        table = schema.experiments
        with self._writing() as connection:
            add(connection, table, [experiment])
            return Experiment(*connection.execute(select(table).where(table.c.id == experiment.id)).one())

    def finish_experiment(self, experiment_id: int, when: datetime) -> None:
        """Note when all parts of the experiment were done."""
        table = schema.experiments
        finished = update(table).where(table.c.id == experiment_id).values(finished_at=when)
        with self._writing() as connection:
            if not connection.execute(finished).rowcount:
                raise CatalogError(f"There is no experiment {show_id(experiment_id)} in the catalog")

    def put_experiment_part(
        self, part: ExperimentPart, values: Iterable[ExperimentValue] = (), *, replace: bool = False
    ) -> bool:
        """Put the part in with all that it found, in one transaction; return whether it was put in.

        One that is there already is left as it is, values and all, or with `replace` makes room. Raise CatalogError for
        a value of another part.
        """
        found = list(values)
        if strays := [one for one in found if (one.experiment_id, one.part) != (part.experiment_id, part.part)]:
            what = f'{len(strays)} values are not of the part "{part.part}"'
            raise CatalogError(what, cure="Put in each with its own.")
        with self._writing() as connection:
            if replace:
                for held in (schema.experiment_values, schema.experiment_parts):
                    own = (held.c.experiment_id == part.experiment_id, held.c.part == part.part)
                    connection.execute(delete(held).where(*own))
            if not add(connection, schema.experiment_parts, [part]):
                return False
            add(connection, schema.experiment_values, found)
            return True

    def clear_experiment(self, experiment_id: int) -> None:
        """Take out all parts of the experiment with what they found, so that it begins anew."""
        table = schema.experiments
        with self._writing() as connection:
            for held in (schema.experiment_values, schema.experiment_parts):
                connection.execute(delete(held).where(held.c.experiment_id == experiment_id))
            connection.execute(update(table).where(table.c.id == experiment_id).values(finished_at=None))

    def experiments(self, checkpoint_id: int | None = None, *, name: str | None = None) -> list[Experiment]:
        """Return the experiments of one checkpoint, or of all, and of one name, or of all: the newest first."""
        table = schema.experiments
        wanted = select(table).order_by(table.c.started_at.desc(), table.c.id)
        if checkpoint_id is not None:
            wanted = wanted.where(table.c.checkpoint_id == checkpoint_id)
        if name is not None:
            wanted = wanted.where(table.c.name == name)
        with self._reading() as connection:
            return [Experiment(*row) for row in connection.execute(wanted)]

    def find_experiment(self, reference: str) -> Experiment:
        """Return the experiment whose shown id alone begins with `reference`, of at least four digits."""
        known = self.experiments()
        ids = id_range(reference)
        found = [one for one in known if ids is not None and ids[0] <= one.id <= ids[1]]
        if len(found) == 1:
            return found[0]
        if found:
            which = say_which([show_id(one.id) for one in found])
            raise CatalogError(f'{len(found)} experiments begin with "{reference}"', cure=which)
        cure = say_which([show_id(one.id) for one in known]) if known else "Run: knedit experiment --help"
        raise CatalogError(f'There is no experiment "{reference}" in the catalog', cure=cure)

    def experiment_parts(self, experiment_id: int) -> list[ExperimentPart]:
        """Return the parts that are done, by name."""
        table = schema.experiment_parts
        wanted = select(table).where(table.c.experiment_id == experiment_id).order_by(table.c.part)
        with self._reading() as connection:
            return [ExperimentPart(*row) for row in connection.execute(wanted)]

    def experiment_values(self, experiment_id: int, *, series: str | None = None) -> list[ExperimentValue]:
        """Return what the experiment found, of one series or of all, by part, series, key and metric."""
        table = schema.experiment_values
        wanted = select(table).where(table.c.experiment_id == experiment_id).order_by(*list(table.c)[1:5])
        if series is not None:
            wanted = wanted.where(table.c.series == series)
        with self._reading() as connection:
            return [ExperimentValue(*row) for row in connection.execute(wanted)]
