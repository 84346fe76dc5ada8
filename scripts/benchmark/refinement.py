"""What the adaptive rule's refinement costs and gives on real prompts: the section adaptive."""

from functools import partial
from statistics import median

from .clock import alternate, medians
from .contestants import knedit
from .exactness import median_layer, truth, worst_layer
from .networks import network, queries_for, spread, starter_queries
from .report import Section, Target
from .speed import Setting

_NO_REFINEMENT = 0.999
_SAMPLE = 5


def adaptive(setting: Setting) -> Section:
    """Attribute starter prompts with and without refinement; hold some of the refined against the truth."""
    model = network("smollm2", device=setting.device, tiny=setting.tiny)
    queries = (
        queries_for("smollm2", model, setting.prompts, tiny=True)
        if setting.tiny
        else spread(starter_queries(model), setting.prompts)
    )
    ask = partial(knedit, model, queries, memory=setting.memory)
    plain = partial(ask, tolerance=_NO_REFINEMENT)
    found = ask()
    taken = alternate({"adaptive": ask, "unrefined": plain}, setting.repeats)
    middle = medians(taken)
    errors = [one.relative_error for one in found]
    points, least = (sum(one.points for one in all_found) for all_found in (found, plain()))
    more = middle["adaptive"] / middle["unrefined"]
    sample = [one for one in found if len(one.query.answers) == 1]
    sample = [sample[place * len(sample) // _SAMPLE] for place in range(_SAMPLE)] if len(sample) > _SAMPLE else sample
    trues = [truth(model, one.query) for one in sample]
    worst = [worst_layer(one.scores, true) for one, (true, _, _) in zip(sample, trues, strict=True)]
    middles = [median_layer(one.scores, true) for one, (true, _, _) in zip(sample, trues, strict=True)]
    figures = {
        "prompts": len(queries),
        "seconds": taken,
        "cost_ratio": more,
        "points": points,
        "unrefined_points": least,
        "completeness_errors": errors,
        "worst_layer_errors": worst,
        "median_layer_errors": middles,
        "rough_layers": [rough for _, rough, _ in trues],
        "truth_completeness": [own for _, _, own in trues],
    }
    rows = [
        ("prompts", str(len(queries))),
        ("seconds a prompt, adaptive", f"{middle['adaptive'] / len(queries):.3f}"),
        ("seconds a prompt, unrefined", f"{middle['unrefined'] / len(queries):.3f}"),
        ("refinement: times the seconds, times the gradients", f"{more:.2f}, {points / least:.2f}"),
        ("completeness error, largest and median", f"{max(errors):.1e}, {median(errors):.1e}"),
        ("prompts beyond 1 %", str(sum(error > 0.01 for error in errors))),
        (f"worst layer's error on {len(sample)} prompts", ", ".join(f"{error:.1e}" for error in worst)),
        ("median layer's error on the same", ", ".join(f"{error:.1e}" for error in middles)),
        ("layers too rough for 96 Gauss points", ", ".join(str(rough) for _, rough, _ in trues)),
        ("the truth's completeness error", ", ".join(f"{own:.1e}" for _, _, own in trues)),
    ]
    targets = [
        Target("largest completeness error", max(errors), 0.01, False),
        Target("worst layer's error", max(worst), 0.01, False),
    ]
    title = f"The adaptive rule on {len(queries)} prompts of {'a tiny Llama' if setting.tiny else 'SmolLM2-135M'}"
    return Section(title, figures, rows, targets=targets)
