"""Where facts were told, what people add to them, and counts of neurons.

Checkpoints may be known by name alone, and published neurons have neither share nor score.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
OBJECT = sa.JSON().with_variant(JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)
STATUSES = "IN ('proposed', 'approved', 'protected', 'retired')"
NEURON_ROLES = "IN ('fact', 'relation', 'generic')"

# Children come before their parents, as rows are dropped.
NEW = (
    "neuron_descriptions",
    "selected_facts",
    "selections",
    "neuron_labels",
    "fact_labels",
    "neuron_notes",
    "fact_notes",
    "status_changes",
    "degenerate_neurons",
    "degenerate_sets",
    "refined_relations",
    "neuron_counts",
    "requested_rewrites",
    "fact_sources",
)
COUNTED = ("refined_relations", "neuron_counts")  # these follow from other tables, and may go
COUNT_NEURONS = """
INSERT INTO neuron_counts (refinement_id, layer, "index", relation_id, role, facts, score_sum)
SELECT refinement_id, layer, "index", relation_id, role, count(*), sum(score)
FROM knowledge_neurons JOIN facts ON facts.id = fact_id
GROUP BY refinement_id, layer, "index", relation_id, role
"""
COUNT_RELATIONS = """
INSERT INTO refined_relations (refinement_id, relation_id, facts, neurons)
SELECT refinement_id, relation_id, count(*), sum(neurons)
FROM refined_facts JOIN facts ON facts.id = fact_id GROUP BY refinement_id, relation_id
"""


def upgrade() -> None:
    _exchange_tables()
    _counting_tables()
    _remark_tables()
    _description_tables()
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(relaxed=True)
    else:
        _relax()
    op.create_index(op.f("ix_refined_facts_refinement_id_neurons"), "refined_facts", ["refinement_id", "neurons"])
    op.execute(COUNT_NEURONS)
    op.execute(COUNT_RELATIONS)


def downgrade() -> None:
    _refuse_loss()
    for table in NEW:
        op.drop_table(table)
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(relaxed=False)
    else:
        _tighten()


def _refuse_loss() -> None:
    """Raise where revision 0002 has no place for what is there."""
    bind = op.get_bind()
    lost = {table: f"SELECT count(*) FROM {table}" for table in NEW if table not in COUNTED}  # noqa: S608
    lost["checkpoints without files"] = "SELECT count(*) FROM checkpoints WHERE n_layers = 0 OR ffn_width = 0"
    lost["neurons without score"] = "SELECT count(*) FROM knowledge_neurons WHERE score IS NULL OR share IS NULL"
    lost["facts refined elsewhere"] = "SELECT count(*) FROM refined_facts WHERE prompts IS NULL OR share IS NULL"
    found = {what: count for what, query in lost.items() if (count := bind.scalar(sa.text(query)))}
    if found:
        told = ", ".join(f"{count} rows of {what.replace('_', ' ')}" for what, count in found.items())
        raise RuntimeError(f"Revision 0002 has no place for {told}")


def _exchange_tables() -> None:
    op.create_table(
        "fact_sources",
        _part("fact_id"),
        sa.Column("dataset", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.CheckConstraint("length(dataset) + length(key) <= 500", name=op.f("ck_fact_sources_key")),
        _refers("fact_sources", "fact_id", "facts"),
        sa.PrimaryKeyConstraint("fact_id", "dataset", "key", name=op.f("pk_fact_sources")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_fact_sources_dataset_key"), "fact_sources", ["dataset", "key"])
    op.create_table(
        "requested_rewrites",
        _part("fact_id"),
        sa.Column("dataset", WORDS, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("new_object", WORDS, nullable=False),
        sa.CheckConstraint(
            "length(dataset) + length(key) + length(new_object) <= 500", name=op.f("ck_requested_rewrites_key")
        ),
        _refers("requested_rewrites", "fact_id", "facts"),
        sa.PrimaryKeyConstraint("fact_id", "dataset", "key", "new_object", name=op.f("pk_requested_rewrites")),
        sqlite_with_rowid=False,
    )


def _counting_tables() -> None:
    op.create_table(
        "neuron_counts",
        _part("refinement_id"),
        *_place(),
        _part("relation_id"),
        sa.Column("role", WORDS, nullable=False),
        sa.Column("facts", sa.Integer(), nullable=False),
        sa.Column("score_sum", sa.Double(), nullable=True),
        _refers("neuron_counts", "refinement_id", "refinements"),
        _refers("neuron_counts", "relation_id", "relations"),
        sa.PrimaryKeyConstraint(
            "refinement_id", "layer", "index", "relation_id", "role", name=op.f("pk_neuron_counts")
        ),
        sqlite_with_rowid=False,
    )
    columns = ["refinement_id", "relation_id"]
    op.create_index(op.f("ix_neuron_counts_refinement_id_relation_id"), "neuron_counts", columns)
    op.create_table(
        "refined_relations",
        _part("refinement_id"),
        _part("relation_id"),
        sa.Column("facts", sa.Integer(), nullable=False),
        sa.Column("neurons", sa.Integer(), nullable=False),
        _refers("refined_relations", "refinement_id", "refinements"),
        _refers("refined_relations", "relation_id", "relations"),
        sa.PrimaryKeyConstraint("refinement_id", "relation_id", name=op.f("pk_refined_relations")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "degenerate_sets",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("refinement_id", sa.BigInteger(), nullable=False),
        sa.Column("fact_id", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["refinement_id", "fact_id"],
            ["refined_facts.refinement_id", "refined_facts.fact_id"],
            name=op.f("fk_degenerate_sets_refinement_id_fact_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_degenerate_sets")),
    )
    columns = ["refinement_id", "fact_id"]
    op.create_index(op.f("ix_degenerate_sets_refinement_id_fact_id"), "degenerate_sets", columns)
    op.create_table(
        "degenerate_neurons",
        _part("set_id"),
        *_place(),
        *_from_zero("degenerate_neurons"),
        _refers("degenerate_neurons", "set_id", "degenerate_sets"),
        sa.PrimaryKeyConstraint("set_id", "layer", "index", name=op.f("pk_degenerate_neurons")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_degenerate_neurons_layer_index"), "degenerate_neurons", ["layer", "index"])


def _remark_tables() -> None:
    op.create_table(
        "status_changes",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fact_id", sa.BigInteger(), nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), nullable=True),
        *[sa.Column(name, WORDS, nullable=False) for name in ("before", "after", "reason", "changed_by")],
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.CheckConstraint(f"before {STATUSES}", name=op.f("ck_status_changes_before")),
        sa.CheckConstraint(f"after {STATUSES}", name=op.f("ck_status_changes_after")),
        _refers("status_changes", "fact_id", "facts"),
        _refers("status_changes", "prompt_id", "prompts"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_status_changes")),
    )
    op.create_index(op.f("ix_status_changes_fact_id"), "status_changes", ["fact_id"])
    for noun, target, places in (("fact", "facts", False), ("neuron", "checkpoints", True)):
        own = "checkpoint_id" if places else "fact_id"
        columns = [own, "layer", "index"] if places else [own]
        notes, labels = f"{noun}_notes", f"{noun}_labels"
        op.create_table(
            notes,
            sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column(own, sa.BigInteger(), nullable=False),
            *[sa.Column(name, sa.Integer(), nullable=False) for name in columns[1:]],
            sa.Column("text", WORDS, nullable=False),
            sa.Column("written_by", WORDS, nullable=False),
            sa.Column("written_at", MOMENT, nullable=False),
            *(_from_zero(notes) if places else []),
            _refers(notes, own, target),
            sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{notes}")),
        )
        op.create_index(op.f(f"ix_{notes}_{'_'.join(columns)}"), notes, columns)
        op.create_table(
            labels,
            _part(own),
            *(_place() if places else []),
            sa.Column("label", WORDS, nullable=False),
            sa.Column("given_by", WORDS, nullable=False),
            sa.Column("given_at", MOMENT, nullable=False),
            sa.CheckConstraint("length(label) BETWEEN 1 AND 100", name=op.f(f"ck_{labels}_label")),
            *(_from_zero(labels) if places else []),
            _refers(labels, own, target),
            sa.PrimaryKeyConstraint(*columns, "label", name=op.f(f"pk_{labels}")),
            sqlite_with_rowid=False,
        )
        op.create_index(op.f(f"ix_{labels}_label"), labels, ["label"])


def _description_tables() -> None:
    op.create_table(
        "selections",
        sa.Column("name", WORDS, nullable=False),
        sa.Column("criteria", OBJECT, nullable=False),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        sa.Column("saved_by", WORDS, nullable=False),
        sa.Column("saved_at", MOMENT, nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_selections_name")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_selections")),
    )
    op.create_table(
        "selected_facts",
        sa.Column("selection", WORDS, nullable=False),
        _part("fact_id"),
        _refers("selected_facts", "selection", "selections", "name"),
        _refers("selected_facts", "fact_id", "facts"),
        sa.PrimaryKeyConstraint("selection", "fact_id", name=op.f("pk_selected_facts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "neuron_descriptions",
        _part("checkpoint_id"),
        *_place(),
        sa.Column("reading", OBJECT, nullable=False),
        sa.Column("read_at", MOMENT, nullable=False),
        *_from_zero("neuron_descriptions"),
        _refers("neuron_descriptions", "checkpoint_id", "checkpoints"),
        sa.PrimaryKeyConstraint("checkpoint_id", "layer", "index", name=op.f("pk_neuron_descriptions")),
        sqlite_with_rowid=False,
    )


def _relax() -> None:
    op.drop_index(op.f("ix_knowledge_neurons_fact_id"), "knowledge_neurons")
    for column in ("share", "score"):
        op.alter_column("knowledge_neurons", column, nullable=True)
    for column in ("prompts", "share"):
        op.alter_column("refined_facts", column, nullable=True)
    for column in ("n_layers", "ffn_width"):
        op.drop_constraint(op.f(f"ck_checkpoints_{column}"), "checkpoints")
        op.create_check_constraint(op.f(f"ck_checkpoints_{column}"), "checkpoints", f"{column} >= 0")


def _tighten() -> None:
    op.drop_index(op.f("ix_refined_facts_refinement_id_neurons"), "refined_facts")
    op.create_index(op.f("ix_knowledge_neurons_fact_id"), "knowledge_neurons", ["fact_id"])
    for column in ("share", "score"):
        op.alter_column("knowledge_neurons", column, nullable=False)
    for column in ("prompts", "share"):
        op.alter_column("refined_facts", column, nullable=False)
    for column in ("n_layers", "ffn_width"):
        op.drop_constraint(op.f(f"ck_checkpoints_{column}"), "checkpoints")
        op.create_check_constraint(op.f(f"ck_checkpoints_{column}"), "checkpoints", f"{column} > 0")


def _rebuild(*, relaxed: bool) -> None:
    """Write three tables anew: SQLite changes no column in place. Foreign keys are off meanwhile."""
    _rebuild_checkpoints(
        "n_layers >= 0" if relaxed else "n_layers > 0", "ffn_width >= 0" if relaxed else "ffn_width > 0"
    )
    op.create_table(
        "new_facts",
        _part("refinement_id"),
        _part("fact_id"),
        sa.Column("prompts", sa.Integer(), nullable=relaxed),
        sa.Column("share", sa.Double(), nullable=relaxed),
        sa.Column("neurons", sa.Integer(), nullable=False),
        sa.CheckConstraint("prompts >= 0", name=op.f("ck_refined_facts_prompts")),
        sa.CheckConstraint("neurons >= 0", name=op.f("ck_refined_facts_neurons")),
        _refers("refined_facts", "refinement_id", "refinements"),
        _refers("refined_facts", "fact_id", "facts"),
        sa.PrimaryKeyConstraint("refinement_id", "fact_id", name=op.f("pk_refined_facts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "new_neurons",
        _part("refinement_id"),
        _part("fact_id"),
        *_place(),
        sa.Column("share", sa.Double(), nullable=relaxed),
        sa.Column("score", sa.Double(), nullable=relaxed),
        sa.Column("role", WORDS, nullable=False),
        *_from_zero("knowledge_neurons"),
        sa.CheckConstraint(f"role {NEURON_ROLES}", name=op.f("ck_knowledge_neurons_role")),
        sa.ForeignKeyConstraint(
            ["refinement_id", "fact_id"],
            ["refined_facts.refinement_id", "refined_facts.fact_id"],
            name=op.f("fk_knowledge_neurons_refinement_id_fact_id"),
        ),
        sa.PrimaryKeyConstraint("refinement_id", "fact_id", "layer", "index", name=op.f("pk_knowledge_neurons")),
        sqlite_with_rowid=False,
    )
    for new, old in (("new_facts", "refined_facts"), ("new_neurons", "knowledge_neurons")):
        op.execute(f"INSERT INTO {new} SELECT * FROM {old}")  # noqa: S608
        op.drop_table(old)
        op.rename_table(new, old)
    columns = ["refinement_id", "layer", "index"]
    op.create_index(op.f("ix_knowledge_neurons_refinement_id_layer_index"), "knowledge_neurons", columns)
    if not relaxed:
        op.create_index(op.f("ix_knowledge_neurons_fact_id"), "knowledge_neurons", ["fact_id"])


def _rebuild_checkpoints(layers: str, width: str) -> None:
    op.create_table(
        "new_checkpoints",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        *[sa.Column(name, WORDS, nullable=False) for name in ("name", "revision", "sha256", "family")],
        sa.Column("n_layers", sa.Integer(), nullable=False),
        sa.Column("ffn_width", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("path", WORDS, nullable=False),
        sa.Column("files", OBJECT, nullable=False),
        sa.CheckConstraint(width, name=op.f("ck_checkpoints_ffn_width")),
        sa.CheckConstraint(layers, name=op.f("ck_checkpoints_n_layers")),
        sa.CheckConstraint("parent_id <> id", name=op.f("ck_checkpoints_parent_id")),
        _refers("checkpoints", "parent_id", "checkpoints"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("name", name=op.f("uq_checkpoints_name")),
    )
    op.execute("INSERT INTO new_checkpoints SELECT * FROM checkpoints")
    op.drop_table("checkpoints")
    op.rename_table("new_checkpoints", "checkpoints")


def _part(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _place() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer(), autoincrement=False, nullable=False) for name in ("layer", "index")]


def _from_zero(table: str) -> list[sa.CheckConstraint]:
    return [sa.CheckConstraint(f'"{name}" >= 0', name=op.f(f"ck_{table}_{name}")) for name in ("layer", "index")]


def _refers(table: str, column: str, target: str, key: str = "id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.{key}"], name=op.f(f"fk_{table}_{column}"))
