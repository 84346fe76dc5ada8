"""The coarse neurons of a run's prompts, as other questions join them, and Jaccard indices that databases add alike.

Builds statements and runs none. Source: Dai et al., ACL 2022, section 3.2: a prompt's neurons reach a part of its peak.
"""

from sqlalchemy import CTE, BigInteger, ColumnElement, FromClause, and_, cast, func, select

from knedit.catalog.queries import COUNTED
from knedit.catalog.schema import neuron_scores, prompt_attributions, prompts

BILLION = 1_000_000_000


def billionths(part: ColumnElement[int], whole: ColumnElement[int]) -> ColumnElement[int]:
    """Return part/whole in whole billionths: sums of integers are the same in any order, those of floats are not."""
    return cast(part, BigInteger) * BILLION // cast(whole, BigInteger)


def coarse_prompts(run_id: int, threshold: float, name: str, among: ColumnElement[bool] | None = None) -> CTE:
    """Select prompt_id, fact_id, peak and the number of coarse neurons of the run's prompts that count.

    Only prompts for which `among` holds, where it is given. Those count that are "ok" or "inexact" and whose peak is
    above 0, as in `queries.coarse_counts`.
    """
    own, scores = prompt_attributions.c, neuron_scores.c
    found = (
        select(own.prompt_id, prompts.c.fact_id, own.peak, func.count().label("neurons"))
        .select_from(prompt_attributions)
        .join(prompts, prompts.c.id == own.prompt_id)
        .join(neuron_scores, and_(scores.run_id == own.run_id, scores.prompt_id == own.prompt_id))
        .where(own.run_id == run_id, own.status.in_(COUNTED), own.peak > 0, scores.score >= own.peak * float(threshold))
        .group_by(own.prompt_id, prompts.c.fact_id, own.peak)
    )
    return (found if among is None else found.where(among)).cte(name)


def is_coarse(scores: FromClause, run_id: int, prompt: FromClause, threshold: float) -> ColumnElement[bool]:
    """Return the condition that a score is the run's, the prompt's, and coarse."""
    own = scores.c
    return and_(
        own.run_id == run_id, own.prompt_id == prompt.c.prompt_id, own.score >= prompt.c.peak * float(threshold)
    )
