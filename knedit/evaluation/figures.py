"""From replies to published figures: ES, EM, PS, PM, NS, NM and their harmonic mean, and what else tells an edit.

With ℓ the mean −log p of an answer's tokens: ES = [ℓ(new) < ℓ(true)] on the rewrite's own wording, EM the difference
e^−ℓ(new) − e^−ℓ(true) there; PS and PM the same over its paraphrases; NS and NM over neighbours with the roles
swapped, where a neighbour's own answer stands for the true one. Means are taken within a record first. Source: Meng et
al., "Locating and Editing Factual Associations in GPT", NeurIPS 2022, and its code. Knows no network beyond its head.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import exp
from statistics import fmean

from knedit.evaluation.replies import Reply, divergence
from knedit.models.model import Model

Replies = Mapping[str, Sequence[Reply]]
Figures = dict[str, float]


def figures(replies: Replies) -> Figures:
    """Return a record's figures from the replies of one state of the model, by name.

    `argmax` is 1 where every token of the new answer is the likeliest, those before it given; `token_accuracy` the
    share of its tokens that are (zsRE's efficacy). `…_argmax` and `…_accuracy` say the same of other groups' first
    answers, as means over their prompts. Of an erasure the true object stands first and alone: `argmax` is its.
    """
    found: Figures = {}
    for group, (success, margin, argmax, accuracy) in _NAMES.items():
        if some := replies.get(group):
            paired = len(some[0].told) > 1
            if success and paired:
                found[success] = fmean(reply.told[0].loss < reply.told[1].loss for reply in some)
            if margin and paired:
                found[margin] = fmean(exp(-reply.told[0].loss) - exp(-reply.told[1].loss) for reply in some)
            found[argmax] = fmean(reply.told[0].likeliest for reply in some)
            if accuracy:
                found[accuracy] = fmean(fmean(reply.told[0].right) for reply in some)
    return found


# group → success, margin, argmax of the first answer, share of its tokens
_NAMES: Mapping[str, tuple[str, str, str, str]] = {
    "rewrite": ("es", "em", "argmax", "token_accuracy"),
    "paraphrase": ("ps", "pm", "paraphrase_argmax", "paraphrase_accuracy"),
    "neighbour": ("ns", "nm", "neighbour_argmax", "neighbour_accuracy"),
    "sibling": ("", "", "sibling_argmax", ""),
    "same_subject": ("", "", "same_subject_argmax", ""),
    "inverse": ("", "", "inverse_argmax", ""),
    "implied": ("", "", "portability_argmax", "portability_accuracy"),
    "prepended": ("prepended_ns", "prepended_nm", "prepended_argmax", ""),
    "negated": ("negated_es", "negated_em", "negated_argmax", ""),
}
_KEPT = ("neighbour", "sibling", "same_subject", "prepended")


def drift(model: Model, before: Replies, after: Replies) -> Figures:
    """Return how far prompts moved that should not: the share whose likeliest token is the same, and KL in nats.

    KL(before‖after) is of the token that begins the answer, over the whole vocabulary, at neighbours and siblings.
    """
    found: Figures = {}
    for group in _KEPT:
        if was := before.get(group):
            pairs = list(zip(was, after[group], strict=True))
            found[f"{group}_argmax_kept"] = fmean(old.top == new.top for old, new in pairs)
            if group in ("neighbour", "sibling"):
                found[f"{group}_kl"] = fmean(divergence(model, was, after[group]))
    return found


def mean_figures(records: Iterable[Mapping[str, float]]) -> Figures:
    """Return each figure's mean over the records that have it, and S where ES, PS and NS are there."""
    gathered: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.items():
            gathered.setdefault(name, []).append(value)
    found = {name: fmean(values) for name, values in gathered.items()}
    if {"es", "ps", "ns"} <= found.keys():
        found["s"] = harmonic_mean(found["es"], found["ps"], found["ns"])
    return found


def harmonic_mean(*values: float) -> float:
    """Return the harmonic mean of shares, 0 where one of them is 0."""
    return 0.0 if min(values) <= 0 else len(values) / sum(1 / value for value in values)
