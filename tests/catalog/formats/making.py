"""Small files of every format, in the shapes that others publish, with words of our own."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

Make = Callable[[Path], Path]

PATTERNS = [{"pattern": "[X] is the home of [Y] .", "lemma": "home"}, {"pattern": "[Y] lives at [X] ", "lemma": "live"}]
KNEDIT: list[Any] = [
    {
        "relation": "capital",
        "label": "capital of a country",
        "templates": ["The capital of {subject} is {object}.", {"text": "In {subject}", "role": "generate"}],
        "facts": [["France", "Paris"], {"subject": "Japan", "object": "Tokyo", "status": "protected", "prompts": []}],
    },
    {
        "relation": "capital",
        "subject": "Perú",
        "object": "Lima",
        "prompts": [{"text": "{subject}: {object}", "language": "es", "status": "approved", "answer": "La Lima"}],
        "sources": [["atlas", "12"]],
    },
]
TABLE = [
    ["relation", "subject", "object", "prompt", "role", "language", "status", "answer", "source"],
    ["capital", "France", "Paris", "The capital of {subject} is {object}.", "", "", "", "", "atlas:7"],
    ["capital", "France", "Paris", "In {subject}", "generate", "", "", "", ""],
    ["capital", 'the "Land", twice', "Bonn", "{subject}\n{object}", "paraphrase", "de", "protected", "Bonn", ""],
    ["capital", "Perú", "=1+1", "", "", "", "", "", ""],
]
VOCABULARY = [
    {"sub_label": "Hill", "obj_label": "Ada", "uuid": "u-1"},
    {"sub_label": "Dale ", "obj_label": "Bo", "uuid": "u-2"},
    {"sub_label": "Hill", "obj_label": "Ada", "uuid": "u-3"},
]
LAMA = [
    {"uuid": "u-1", "predicate_id": "P1", "sub_uri": "Q1", "sub_label": "Hill", "obj_label": "Ada", "evidences": []},
    {"uuid": "u-4", "predicate_id": "P1", "sub_uri": "Q2", "sub_label": "Moor", "obj_label": "Cy", "evidences": [{}]},
]
LAMA_RELATIONS = [{"relation": "P1", "template": "[X] houses [Y] .", "label": "housing", "type": "N-1"}]
COUNTERFACT = [
    {
        "case_id": 5,
        "requested_rewrite": {
            "prompt": "{} houses",
            "relation_id": "P1",
            "target_new": {"str": "Bo"},
            "target_true": {"str": "Ada"},
            "subject": "Hill",
        },
        "paraphrase_prompts": ["A long day. Hill is home to"],
        "neighborhood_prompts": ["Tor houses", "Fell houses"],
        "attribute_prompts": ["Dale houses"],
        "generation_prompts": ["Hill is known for"],
    },
]
ZSRE = [
    {
        "subject": "Hill",
        "src": "Who lives at Hill?",
        "pred": "Bo",
        "rephrase": "Who is at home at Hill?",
        "alt": "Bo",
        "answers": ["Ada", "Di "],
        "loc": "nq question: who lives at Tor",
        "loc_ans": "Ed",
        "cond": "Ada >> Bo || Who lives at Hill?",
        "portability": {"Recalled Relation": "(Bo, likes, tea)", "New Question": "Tea or milk?", "New Answer": "Tea"},
    },
    {"subject": "Dale", "src": "Who lives at Dale?", "alt": "", "answers": ["Bo"], "loc": "x", "loc_ans": ""},
]
KNOWN = [
    {
        "known_id": 3,
        "subject": "Hill",
        "attribute": "Ada",
        "template": "{} houses",
        "prediction": " the old Ada",
        "prompt": "Hill houses the old",
        "relation_id": "P1",
    }
]
LRE = {
    "name": "home dweller",
    "prompt_templates": ["{} houses"],
    "prompt_templates_zs": ["{} houses", "Home: {}. Dweller:"],
    "properties": {"relation_type": "factual", "symmetric": False},
    "samples": [{"subject": "Hill", "object": "Ada"}, {"subject": "Dale", "object": "Bo"}],
}
NEURONS = {"u-1": [[10, 188], [0, 5]], "u-2": [], "u-3": [[0, 5], [10, 188]]}
TOKENS = ["[CLS]", "Hi", "##ll", "is", "the", "home", "of", "[MASK]", ".", "[SEP]"]
SCORES = [
    [
        [
            {"tokens": TOKENS, "relation": "P1(home)", "gold_obj": "Ada", "pred_obj": "Bo"},
            {"pred": [], "ig_pred": [], "ig_gold": [[9, 1, 0.5], [8, 2, 1]], "base": [[3, 4, -0.25]]},
        ]
    ],
    [],
]


def write_lines(path: Path, lines: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def knedit_jsonl(folder: Path) -> Path:
    return write_lines(folder / "facts.jsonl", KNEDIT)


def delimited(folder: Path, delimiter: str = ",", name: str = "facts.csv") -> Path:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"' if set(cell) & {'"', ",", "\n", "\t"} else cell

    path = folder / name
    path.write_text("".join(delimiter.join(map(quoted, row)) + "\r\n" for row in TABLE), encoding="utf-8", newline="")
    return path


def tsv(folder: Path) -> Path:
    return delimited(folder, "\t", "facts.tsv")


def arrow_table() -> pa.Table:
    columns = zip(*TABLE[1:], strict=True)
    return pa.table({name: [cell or None for cell in cells] for name, cells in zip(TABLE[0], columns, strict=True)})


def parquet(folder: Path) -> Path:
    pa.parquet.write_table(arrow_table(), folder / "facts.parquet", row_group_size=2)
    return folder / "facts.parquet"


def saved_dataset(folder: Path) -> Path:
    split = folder / "saved" / "train"
    write_json(folder / "saved" / "dataset_dict.json", {"splits": ["train"]})
    write_json(split / "state.json", {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"})
    write_json(split / "dataset_info.json", {"features": {}})
    table = arrow_table()
    with (
        pa.OSFile(str(split / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as out,
    ):
        out.write_table(table, max_chunksize=3)
    return folder / "saved"


def pararel(folder: Path) -> Path:
    write_lines(folder / "pararel/trex_lms_vocab/P1.jsonl", VOCABULARY)
    write_lines(folder / "pararel/trex_lms_vocab/P31.jsonl", VOCABULARY[:2])
    write_lines(folder / "pararel/pattern_data/graphs_json/P1.jsonl", PATTERNS)
    return folder / "pararel"


def lama(folder: Path) -> Path:
    write_lines(folder / "lama/TREx/P1.jsonl", LAMA)
    write_lines(folder / "lama/relations.jsonl", LAMA_RELATIONS)
    return folder / "lama"


def kn_paper(folder: Path) -> Path:
    write_json(folder / "paper/query_pairs.json", {"P1": [["Hill", "Ada"], ["Dale", "Bo"], ["Hill", "Ada"]], "P2": []})
    write_lines(folder / "paper/patterns/P1.jsonl", PATTERNS)
    write_lines(folder / "paper/relations.jsonl", LAMA_RELATIONS)
    return folder / "paper"


def counterfact(folder: Path) -> Path:
    return write_lines(folder / "counterfact.jsonl", COUNTERFACT)


def counterfact_list(folder: Path) -> Path:
    return write_json(folder / "counterfact.json", COUNTERFACT)


def zsre(folder: Path) -> Path:
    return write_json(folder / "zsre.json", ZSRE)


def known_facts(folder: Path) -> Path:
    return write_json(folder / "known.json", KNOWN)


def lre(folder: Path) -> Path:
    write_json(folder / "relations/factual/home.json", LRE)
    return folder / "relations"


def eleuther(folder: Path) -> Path:
    return write_json(folder / "bert_neurons_0.json", NEURONS)


def scores(folder: Path) -> Path:
    return write_lines(folder / "TREx-all-P1.rlt.jsonl", SCORES)


def bags(folder: Path) -> Path:
    return write_json(folder / "kn_bag-P1.json", [[[10, 188], [0, 5]], [[1, 2]], [[0, 5], [10, 188]]])


FACTS: dict[str, list[Make]] = {
    "knedit-jsonl": [knedit_jsonl],
    "csv": [delimited, tsv],
    "parquet": [parquet],
    "datasets": [saved_dataset],
    "pararel": [pararel],
    "lama": [lama],
    "kn-paper": [kn_paper],
    "counterfact": [counterfact, counterfact_list],
    "zsre": [zsre],
    "known-facts": [known_facts],
    "lre": [lre],
}
PUBLISHED: dict[str, list[Make]] = {
    "eleuther": [eleuther],
    "kn-paper-scores": [scores],
    "kn-paper-neurons": [bags],
}
EVERY = [(name, make) for name, makes in {**FACTS, **PUBLISHED}.items() for make in makes]
