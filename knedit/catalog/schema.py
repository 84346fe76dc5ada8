"""The catalog's tables: one a record of `knedit.records` or `knedit.remarks`, its columns ordered as the fields.

Knows nothing of where the database is, nor how its tables come to be: that is the migrations' work, and a test
holds that these tables and the migrations agree.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Table,
    UniqueConstraint,
)

from knedit.catalog.columns import (
    LABEL_LENGTH,
    OBJECT,
    SUBJECT_LENGTH,
    WORDS,
    count,
    from_zero,
    identity,
    label,
    link,
    metadata,
    moment,
    number,
    one_of,
    part,
    place,
    words,
)
from knedit.catalog.edit_tables import (
    edit_gates,
    edit_neurons,
    edit_outcomes,
    edit_targets,
    edit_values,
    edits,
    evaluations,
)
from knedit.catalog.experiment_tables import experiment_parts, experiment_values, experiments
from knedit.records import NEURON_ROLES, ROLES, STATUSES

__all__ = [
    "edit_gates",
    "edit_neurons",
    "edit_outcomes",
    "edit_targets",
    "edit_values",
    "edits",
    "evaluations",
    "experiment_parts",
    "experiment_values",
    "experiments",
    "metadata",
]

relations = Table(
    "relations",
    metadata,
    identity(),
    words("key"),
    words("label"),
    UniqueConstraint("key"),
)

facts = Table(
    "facts",
    metadata,
    identity(),
    link("relation_id", "relations.id"),
    words("subject"),
    words("object"),
    words("status"),
    one_of("status", STATUSES),
    CheckConstraint(f"length(subject) <= {SUBJECT_LENGTH}", name="subject"),
    Index(None, "relation_id", "subject"),
    Index(None, "subject"),
)

prompts = Table(
    "prompts",
    metadata,
    identity(),
    link("fact_id", "facts.id"),
    words("role"),
    words("text"),
    words("answer", nullable=True),
    words("language"),
    words("status"),
    one_of("role", ROLES),
    one_of("status", STATUSES),
    Index(None, "fact_id"),
)

fact_sources = Table(
    "fact_sources",
    metadata,
    part("fact_id", "facts.id"),
    Column("dataset", WORDS, primary_key=True),
    Column("key", WORDS, primary_key=True),
    CheckConstraint(f"length(dataset) + length(key) <= {SUBJECT_LENGTH}", name="key"),
    Index(None, "dataset", "key"),
    sqlite_with_rowid=False,
)

requested_rewrites = Table(
    "requested_rewrites",
    metadata,
    part("fact_id", "facts.id"),
    Column("dataset", WORDS, primary_key=True),
    Column("key", WORDS, primary_key=True),
    Column("new_object", WORDS, primary_key=True),
    CheckConstraint(f"length(dataset) + length(key) + length(new_object) <= {SUBJECT_LENGTH}", name="key"),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    identity(),
    words("name"),
    words("revision"),
    words("sha256"),
    words("family"),
    count("n_layers"),
    count("ffn_width"),
    link("parent_id", "checkpoints.id", nullable=True),
    words("path"),
    Column("files", OBJECT, nullable=False),
    UniqueConstraint("name"),
    CheckConstraint("n_layers >= 0", name="n_layers"),
    CheckConstraint("ffn_width >= 0", name="ffn_width"),
    CheckConstraint("parent_id <> id", name="parent_id"),
)

attribution_runs = Table(
    "attribution_runs",
    metadata,
    identity(),
    link("checkpoint_id", "checkpoints.id"),
    Column("config", OBJECT, nullable=False),
    words("version"),
    moment("started_at"),
    moment("finished_at", nullable=True),
    Index(None, "checkpoint_id"),
)

prompt_attributions = Table(
    "prompt_attributions",
    metadata,
    part("run_id", "attribution_runs.id"),
    part("prompt_id", "prompts.id"),
    number("probability"),
    number("completeness_error", nullable=True),
    number("peak"),
    words("status"),
    words("reason", nullable=True),
    CheckConstraint("status <> ''", name="status"),
    sqlite_with_rowid=False,
)

neuron_scores = Table(
    "neuron_scores",
    metadata,
    part("run_id"),
    part("prompt_id"),
    *place(),
    number("score"),
    ForeignKeyConstraint(["run_id", "prompt_id"], ["prompt_attributions.run_id", "prompt_attributions.prompt_id"]),
    *from_zero(),
    Index(None, "run_id", "layer", "index"),
    sqlite_with_rowid=False,
)

refinements = Table(
    "refinements",
    metadata,
    identity(),
    link("run_id", "attribution_runs.id"),
    Column("config", OBJECT, nullable=False),
    moment("created_at"),
    Index(None, "run_id"),
)

refined_facts = Table(
    "refined_facts",
    metadata,
    part("refinement_id", "refinements.id"),
    part("fact_id", "facts.id"),
    count("prompts", nullable=True),
    number("share", nullable=True),
    count("neurons"),
    CheckConstraint("prompts >= 0", name="prompts"),
    CheckConstraint("neurons >= 0", name="neurons"),
    Index(None, "refinement_id", "neurons"),
    sqlite_with_rowid=False,
)

knowledge_neurons = Table(
    "knowledge_neurons",
    metadata,
    part("refinement_id"),
    part("fact_id"),
    *place(),
    number("share", nullable=True),
    number("score", nullable=True),
    words("role"),
    ForeignKeyConstraint(["refinement_id", "fact_id"], ["refined_facts.refinement_id", "refined_facts.fact_id"]),
    *from_zero(),
    one_of("role", NEURON_ROLES),
    Index(None, "refinement_id", "layer", "index"),
    sqlite_with_rowid=False,
)

neuron_counts = Table(
    "neuron_counts",
    metadata,
    part("refinement_id", "refinements.id"),
    *place(),
    part("relation_id", "relations.id"),
    Column("role", WORDS, primary_key=True),
    count("facts"),
    number("score_sum", nullable=True),
    Index(None, "refinement_id", "relation_id"),
    sqlite_with_rowid=False,
)

refined_relations = Table(
    "refined_relations",
    metadata,
    part("refinement_id", "refinements.id"),
    part("relation_id", "relations.id"),
    count("facts"),
    count("neurons"),
    sqlite_with_rowid=False,
)

degenerate_sets = Table(
    "degenerate_sets",
    metadata,
    identity(),
    Column("refinement_id", BigInteger, nullable=False),
    Column("fact_id", BigInteger, nullable=False),
    number("score"),
    ForeignKeyConstraint(["refinement_id", "fact_id"], ["refined_facts.refinement_id", "refined_facts.fact_id"]),
    Index(None, "refinement_id", "fact_id"),
)

degenerate_neurons = Table(
    "degenerate_neurons",
    metadata,
    part("set_id", "degenerate_sets.id"),
    *place(),
    *from_zero(),
    Index(None, "layer", "index"),
    sqlite_with_rowid=False,
)

status_changes = Table(
    "status_changes",
    metadata,
    identity(),
    link("fact_id", "facts.id"),
    link("prompt_id", "prompts.id", nullable=True),
    words("before"),
    words("after"),
    words("reason"),
    words("changed_by"),
    moment("changed_at"),
    one_of("before", STATUSES),
    one_of("after", STATUSES),
    Index(None, "fact_id"),
)

fact_notes = Table(
    "fact_notes",
    metadata,
    identity(),
    link("fact_id", "facts.id"),
    words("text"),
    words("written_by"),
    moment("written_at"),
    Index(None, "fact_id"),
)

neuron_notes = Table(
    "neuron_notes",
    metadata,
    identity(),
    link("checkpoint_id", "checkpoints.id"),
    count("layer"),
    count("index"),
    words("text"),
    words("written_by"),
    moment("written_at"),
    *from_zero(),
    Index(None, "checkpoint_id", "layer", "index"),
)

fact_labels = Table(
    "fact_labels",
    metadata,
    part("fact_id", "facts.id"),
    *label(),
    words("given_by"),
    moment("given_at"),
    Index(None, "label"),
    sqlite_with_rowid=False,
)

neuron_labels = Table(
    "neuron_labels",
    metadata,
    part("checkpoint_id", "checkpoints.id"),
    *place(),
    *label(),
    words("given_by"),
    moment("given_at"),
    *from_zero(),
    Index(None, "label"),
    sqlite_with_rowid=False,
)

selections = Table(
    "selections",
    metadata,
    Column("name", WORDS, primary_key=True),
    Column("criteria", OBJECT, nullable=False),
    Column("frozen", Boolean, nullable=False),
    words("saved_by"),
    moment("saved_at"),
    CheckConstraint(f"length(name) BETWEEN 1 AND {LABEL_LENGTH}", name="name"),
)

selected_facts = Table(
    "selected_facts",
    metadata,
    Column("selection", WORDS, ForeignKey("selections.name"), primary_key=True),
    part("fact_id", "facts.id"),
    sqlite_with_rowid=False,
)

neuron_descriptions = Table(
    "neuron_descriptions",
    metadata,
    part("checkpoint_id", "checkpoints.id"),
    *place(),
    Column("reading", OBJECT, nullable=False),
    moment("read_at"),
    *from_zero(),
    sqlite_with_rowid=False,
)
