"""Four made-up records in CounterFact's schema, in words that the tiny tokenizers know."""

import json
from pathlib import Path
from typing import Any

COUNTRIES = (("France", "Paris", "Rome"), ("Japan", "Tokyo", "Oslo"), ("Italy", "Rome", "Paris"))


def record(case: int, subject: str, true: str, new: str, **more: Any) -> dict[str, Any]:
    rewrite = {
        "prompt": "the capital of {} is",
        "relation_id": "P36",
        "target_true": {"str": true},
        "target_new": {"str": new},
        "subject": subject,
    }
    return {
        "case_id": case,
        "requested_rewrite": rewrite,
        "paraphrase_prompts": [f"people of {subject} live in", f"big and old . {subject} has a city called"],
        "neighborhood_prompts": ["the capital of Spain is", "people of Kenya live in", "the city is called"],
        "attribute_prompts": ["the capital of Norway is"],
        "generation_prompts": [f"people in {subject} speak"],
        **more,
    }


RECORDS = [
    *(record(number, *one) for number, one in enumerate(COUNTRIES)),
    record(3, "Kenya", "Nairobi", "Madrid", paraphrase_prompts=["people of Kenya live in the city of"]),
]


def write_records(path: Path, records: list[dict[str, Any]] | None = None) -> Path:
    path.write_text("\n".join(json.dumps(one) for one in records or RECORDS), encoding="utf-8")
    return path


ZSRE = [
    {
        "subject": "France",
        "src": "what is the capital of France ?",
        "rephrase": "what is the big city of France ?",
        "alt": "old Rome",
        "answers": ["Paris"],
        "loc": "nq question : they speak the language of",
        "loc_ans": "Spain",
        "portability": {"New Question": "people of France live in ?", "New Answer": "Italy"},
    }
]
