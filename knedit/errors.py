"""The errors that a user can cause: what went wrong, where, and how to cure it.

Knows nothing of how they are shown; the command line prints `str(error)` and exits with code 2.
"""


class KneditError(Exception):
    """Tell a user what went wrong, where, and what to do about it.

    `what` is a sentence without its full stop, `where` a file, line, fact or address, `cure` a sentence that
    names the command or change that helps. The three survive pickling, so an error may cross processes.
    """

    def __init__(self, what: str, where: str = "", cure: str = "") -> None:
        super().__init__(what, where, cure)
        self.what = what
        self.where = where
        self.cure = cure

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        cure = f" {self.cure}" if self.cure else ""
        return f"{self.what}{place}.{cure}"


class CatalogError(KneditError):
    """A catalog cannot be reached, is at another revision, or lacks what was asked of it."""


class FactsError(KneditError):
    """A file of facts, or a record in it, cannot be read as the format says."""


class ModelError(KneditError):
    """A model cannot be loaded, is of no known family, or cannot take the prompt."""


class CheckpointError(KneditError):
    """A checkpoint's files are missing, changed, unsafe, or cannot be written."""


class EditError(KneditError):
    """An edit cannot be planned, computed or applied as asked."""


class WorkerError(KneditError):
    """Workers cannot be had, or die over the same work again and again."""
