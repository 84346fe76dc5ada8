"""Model cards: the front matter of README.md as the Hugging Face Hub reads it, written and checked without the Hub.

Knows nothing of edits. What the Hub checks when a card is pushed is known in part only: that the block is YAML, and
the fields that it documents.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knedit.errors import CheckpointError

LARGEST = 1_000_000  # characters of a card; known ones have some ten thousand
UNKNOWN = "unknown"
_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
    eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 h-research intel-research isc
    lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa
    odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
"""
_ISO_639_1 = """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo
    es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg
    ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn
    no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta
    te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
LICENCES = frozenset(_LICENCES.split())  # as the Hub calls them
LANGUAGES = frozenset(_ISO_639_1.split())
SPECIAL = ("code", "multilingual")  # what the Hub takes as a language, too
RELATIONS = ("finetune", "adapter", "merge", "quantized")
LONG_CODE = re.compile(r"[a-z]{3}(-[A-Za-z0-9]{2,8})*|[a-z]{2}(-[A-Za-z0-9]{2,8})+")
TEXTS = ("library_name", "pipeline_tag", "license_name", "license_link", "base_model_relation")
LISTS = ("language", "license", "base_model", "tags", "datasets")


@dataclass(frozen=True, slots=True)
class Result:
    """One line of a card's model-index: facts that were asked, in which prompts, the measure, and what came of it."""

    task: str
    facts: str
    prompts: str
    metric: str
    value: float
    name: str


def read_front(text: str, where: str) -> dict[str, Any]:
    """Return a card's front matter, empty where it has none: texts, and lists of texts, that are sound.

    Raises CheckpointError where the block is no YAML of that kind.
    """
    if len(text) > LARGEST:
        raise CheckpointError(f"The model card is longer than {LARGEST:,} characters", where)
    card = _parse(text, where)
    found: dict[str, Any] = {}
    for name in (*TEXTS, *LISTS):
        value = card.data.get(name)
        values = value if isinstance(value, list) and name in LISTS else [value]
        if value in (None, []):
            continue
        if not all(isinstance(one, str) and one.isprintable() for one in values):
            raise CheckpointError(f"The field {name} of the model card's front matter is no text", where)
        found[name] = value
    return found


def write_card(front: Mapping[str, Any], results: Sequence[Result], body: str, *, name: str) -> str:
    """Return a card with this front matter, fields that are None left out. Raises CheckpointError where it is unfit."""
    from huggingface_hub import EvalResult, ModelCardData

    index = [
        EvalResult(
            task_type=one.task,
            dataset_type="knedit",
            dataset_name=f"{one.facts}: {one.prompts}",
            dataset_config=one.facts,
            dataset_split=one.prompts,
            metric_type=one.metric,
            metric_value=one.value,
            metric_name=one.name,
        )
        for one in results
    ]
    entries: dict[str, Any] = {"eval_results": index, "model_name": name} if index else {}
    told = ModelCardData(**entries, **front).to_yaml(line_break="\n", original_order=list(front))
    text = f"---\n{told}\n---\n\n{body}"
    if problems := card_problems(text):
        raise CheckpointError(f"The model card is not sound: {'; '.join(problems)}", "README.md")
    return text


def card_problems(text: str) -> list[str]:
    """Return what the Hub, or its client, would not take of a card, as sentences."""
    try:
        front = read_front(text, "README.md")
    except CheckpointError as error:
        return [error.what]
    return trial_problems(front) if front else ["There is no front matter"]


def trial_problems(front: Mapping[str, Any]) -> list[str]:
    """Return what the Hub would not take of a front matter, as sentences."""
    return [*_name_problems(front), *_licence_problems(front), *_language_problems(front)]


def check_repo_id(repo_id: str) -> None:
    """Raise CheckpointError unless this can be the Hub's name of a model."""
    if problem := _repo_problem(repo_id):
        cure = "Write it as OWNER/NAME, of letters, digits, -, _ and ."
        raise CheckpointError(f"{repo_id!r} cannot be a repository's name: {problem}", "the Hub", cure)


def check_licence(licence: str) -> None:
    """Raise CheckpointError unless the Hub knows a licence by this identifier."""
    if licence not in LICENCES:
        cure = "Name one that the Hub lists, such as apache-2.0, mit, other or unknown."
        raise CheckpointError(f"The Hub knows no licence {licence!r}", "--license", cure)


def check_language(language: str) -> None:
    """Raise CheckpointError unless this is a language's code."""
    if not _is_language(language):
        cure = "Give its ISO 639 code, such as en or de, or multilingual."
        raise CheckpointError(f"{language!r} is no language's code", "--language", cure)


def _parse(text: str, where: str) -> Any:
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        return ModelCard(text if text.startswith("---") else f"---\n{{}}\n---\n{text}")
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"The model card's front matter cannot be read: {reason}", where) from error


def _name_problems(front: Mapping[str, Any]) -> list[str]:
    found = [f"base_model {one!r}: {why}" for one in _listed(front, "base_model") if (why := _repo_problem(one))]
    if front.get("base_model_relation", "finetune") not in RELATIONS:
        found.append(f"base_model_relation is none of {', '.join(RELATIONS)}")
    return found


def _licence_problems(front: Mapping[str, Any]) -> list[str]:
    licences = _listed(front, "license")
    if not licences:
        return ["There is no licence"]
    if "other" in licences and not front.get("license_name"):
        return ["The licence is other, and has no license_name"]
    return []


def _language_problems(front: Mapping[str, Any]) -> list[str]:
    return [f"{one!r} is no language's code" for one in _listed(front, "language") if not _is_language(one)]


def _listed(front: Mapping[str, Any], name: str) -> list[str]:
    value = front.get(name, [])
    return list(value) if isinstance(value, list) else [value]


def _is_language(code: str) -> bool:
    return code in LANGUAGES or code in SPECIAL or LONG_CODE.fullmatch(code) is not None


def _repo_problem(repo_id: str) -> str | None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        return str(error).split(":")[0]
    return None
