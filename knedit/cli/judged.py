"""How an evaluation looks: means by group of prompts, then the texts."""

from typing import Any

from knedit.cli.show import show_json, show_rows


def show_judged(judged: Any, *, as_json: bool) -> None:
    """Print an evaluation's means by group, role and metric, and the generated texts before and after."""
    from knedit.evaluation.report import UNTOUCHED, kept_share, summarise

    lines = summarise(judged)
    right, kept = kept_share(judged, UNTOUCHED)
    if as_json:
        show_json({"summary": lines, "others_right_before": right, "others_still_right": kept, "evaluations": judged})
        return
    rows = [[one.group, one.role, one.metric, one.prompts, one.before, one.after] for one in lines]
    show_rows(
        ["facts", "role", "metric", "prompts", "before", "after"], rows, as_json=False, title="Means over prompts"
    )
    texts = [
        [
            one.group,
            one.role,
            one.text,
            _line(one.evaluation.text_before),
            _line(one.evaluation.text_after),
        ]
        for one in judged
        if one.evaluation.metric == "generated"
    ]
    show_rows(["facts", "role", "prompt", "before", "after"], texts, as_json=False, title="Generated text")
    share = f" ({kept / right:.0%})" if right else ""
    show_rows(
        ["untouched facts", "prompts"],
        [["answered rightly before", right], [f"of these still right{share}", kept]],
        as_json=False,
    )


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
