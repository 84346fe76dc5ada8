"""The catalog: one door to the facts, prompts, checkpoints, neurons, edits and measures in a SQL database.

One verb a method, one transaction a verb, frozen records in and out. Knows nothing of models and weights.
"""

from types import TracebackType
from typing import Self

from knedit.catalog.asking import NeuronQuestions
from knedit.catalog.checking import CheckVerbs
from knedit.catalog.checkpoints import CheckpointVerbs
from knedit.catalog.comparing import ComparingVerbs
from knedit.catalog.connecting import explained, open_engine, read_address, show_address
from knedit.catalog.descriptions import DescriptionVerbs
from knedit.catalog.edits import EditVerbs
from knedit.catalog.experiments import ExperimentVerbs
from knedit.catalog.exports import ExportVerbs
from knedit.catalog.facts import FactVerbs
from knedit.catalog.merging import MergeVerbs
from knedit.catalog.published import PublishedVerbs
from knedit.catalog.refinements import RefinementVerbs
from knedit.catalog.remarks import RemarkVerbs
from knedit.catalog.revisions import prepare
from knedit.catalog.runs import RunVerbs
from knedit.catalog.selections import SelectionVerbs
from knedit.catalog.statuses import StatusVerbs
from knedit.settings import database_url


class Catalog(
    FactVerbs,
    CheckpointVerbs,
    RunVerbs,
    RefinementVerbs,
    PublishedVerbs,
    EditVerbs,
    ExperimentVerbs,
    ExportVerbs,
    StatusVerbs,
    RemarkVerbs,
    DescriptionVerbs,
    SelectionVerbs,
    NeuronQuestions,
    ComparingVerbs,
    MergeVerbs,
    CheckVerbs,
):
    """Open the catalog at `url`, else the one that the settings name; create it where its database is empty.

    Raise CatalogError where the database cannot be reached, is of another revision, or holds something else.
    """

    def __init__(self, url: str | None = None) -> None:
        address = read_address(database_url(url))
        super().__init__(open_engine(address), address)
        try:
            with explained(address):
                prepare(self._engine, address)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """The catalog's address without its password."""
        return show_address(self._url)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
