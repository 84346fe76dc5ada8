"""Facts, neurons and edits: the first tables.

Revision: 0001, after none.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
OBJECT = sa.JSON().with_variant(JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("revision", WORDS, nullable=False),
        sa.Column("sha256", WORDS, nullable=False),
        sa.Column("family", WORDS, nullable=False),
        sa.Column("n_layers", sa.Integer(), nullable=False),
        sa.Column("ffn_width", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("path", WORDS, nullable=False),
        sa.Column("files", OBJECT, nullable=False),
        sa.CheckConstraint("ffn_width > 0", name=op.f("ck_checkpoints_ffn_width")),
        sa.CheckConstraint("n_layers > 0", name=op.f("ck_checkpoints_n_layers")),
        sa.CheckConstraint("parent_id <> id", name=op.f("ck_checkpoints_parent_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["checkpoints.id"], name=op.f("fk_checkpoints_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("name", name=op.f("uq_checkpoints_name")),
    )
    op.create_table(
        "relations",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", WORDS, nullable=False),
        sa.Column("label", WORDS, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relations")),
        sa.UniqueConstraint("key", name=op.f("uq_relations_key")),
    )
    op.create_table(
        "attribution_runs",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=False),
        sa.Column("config", OBJECT, nullable=False),
        sa.Column("version", WORDS, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_attribution_runs_checkpoint_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attribution_runs")),
    )
    op.create_index(op.f("ix_attribution_runs_checkpoint_id"), "attribution_runs", ["checkpoint_id"])
    op.create_table(
        "facts",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("relation_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", WORDS, nullable=False),
        sa.Column("object", WORDS, nullable=False),
        sa.Column("status", WORDS, nullable=False),
        sa.CheckConstraint("status IN ('proposed', 'approved', 'protected', 'retired')", name=op.f("ck_facts_status")),
        sa.CheckConstraint("length(subject) <= 500", name=op.f("ck_facts_subject")),
        sa.ForeignKeyConstraint(["relation_id"], ["relations.id"], name=op.f("fk_facts_relation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_facts")),
    )
    op.create_index(op.f("ix_facts_relation_id_subject"), "facts", ["relation_id", "subject"])
    op.create_index(op.f("ix_facts_subject"), "facts", ["subject"])
    op.create_table(
        "prompts",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fact_id", sa.BigInteger(), nullable=False),
        sa.Column("role", WORDS, nullable=False),
        sa.Column("text", WORDS, nullable=False),
        sa.Column("answer", WORDS, nullable=True),
        sa.Column("language", WORDS, nullable=False),
        sa.Column("status", WORDS, nullable=False),
        sa.CheckConstraint(
            "role IN ('attribute', 'paraphrase', 'neighbour', 'generate', 'implied')", name=op.f("ck_prompts_role")
        ),
        sa.CheckConstraint(
            "status IN ('proposed', 'approved', 'protected', 'retired')", name=op.f("ck_prompts_status")
        ),
        sa.ForeignKeyConstraint(["fact_id"], ["facts.id"], name=op.f("fk_prompts_fact_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
    )
    op.create_index(op.f("ix_prompts_fact_id"), "prompts", ["fact_id"])
    op.create_table(
        "refinements",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("config", OBJECT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["attribution_runs.id"], name=op.f("fk_refinements_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refinements")),
    )
    op.create_index(op.f("ix_refinements_run_id"), "refinements", ["run_id"])
    op.create_table(
        "edits",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("refinement_id", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=False),
        sa.Column("result_id", sa.BigInteger(), nullable=True),
        sa.Column("config", OBJECT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_edits_checkpoint_id")),
        sa.ForeignKeyConstraint(["refinement_id"], ["refinements.id"], name=op.f("fk_edits_refinement_id")),
        sa.ForeignKeyConstraint(["result_id"], ["checkpoints.id"], name=op.f("fk_edits_result_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edits")),
    )
    op.create_index(op.f("ix_edits_checkpoint_id"), "edits", ["checkpoint_id"])
    op.create_table(
        "prompt_attributions",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("completeness_error", sa.Double(), nullable=False),
        sa.Column("peak", sa.Double(), nullable=False),
        sa.Column("status", WORDS, nullable=False),
        sa.CheckConstraint("status <> ''", name=op.f("ck_prompt_attributions_status")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_prompt_attributions_prompt_id")),
        sa.ForeignKeyConstraint(["run_id"], ["attribution_runs.id"], name=op.f("fk_prompt_attributions_run_id")),
        sa.PrimaryKeyConstraint("run_id", "prompt_id", name=op.f("pk_prompt_attributions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "refined_facts",
        sa.Column("refinement_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fact_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prompts", sa.Integer(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("neurons", sa.Integer(), nullable=False),
        sa.CheckConstraint("neurons >= 0", name=op.f("ck_refined_facts_neurons")),
        sa.CheckConstraint("prompts >= 0", name=op.f("ck_refined_facts_prompts")),
        sa.ForeignKeyConstraint(["fact_id"], ["facts.id"], name=op.f("fk_refined_facts_fact_id")),
        sa.ForeignKeyConstraint(["refinement_id"], ["refinements.id"], name=op.f("fk_refined_facts_refinement_id")),
        sa.PrimaryKeyConstraint("refinement_id", "fact_id", name=op.f("pk_refined_facts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "edit_neurons",
        sa.Column("edit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("layer", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("norm", sa.Double(), nullable=False),
        sa.Column("new_norm", sa.Double(), nullable=False),
        sa.CheckConstraint('"index" >= 0', name=op.f("ck_edit_neurons_index")),
        sa.CheckConstraint("layer >= 0", name=op.f("ck_edit_neurons_layer")),
        sa.CheckConstraint("step >= 0", name=op.f("ck_edit_neurons_step")),
        sa.ForeignKeyConstraint(["edit_id"], ["edits.id"], name=op.f("fk_edit_neurons_edit_id")),
        sa.PrimaryKeyConstraint("edit_id", "step", "layer", "index", name=op.f("pk_edit_neurons")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "edit_targets",
        sa.Column("edit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fact_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("operation", WORDS, nullable=False),
        sa.Column("new_object", WORDS, nullable=True),
        sa.CheckConstraint("operation <> 'update' OR new_object IS NOT NULL", name=op.f("ck_edit_targets_new_object")),
        sa.CheckConstraint(
            "operation IN ('update', 'erase', 'erase-relation')", name=op.f("ck_edit_targets_operation")
        ),
        sa.CheckConstraint("step >= 0", name=op.f("ck_edit_targets_step")),
        sa.ForeignKeyConstraint(["edit_id"], ["edits.id"], name=op.f("fk_edit_targets_edit_id")),
        sa.ForeignKeyConstraint(["fact_id"], ["facts.id"], name=op.f("fk_edit_targets_fact_id")),
        sa.PrimaryKeyConstraint("edit_id", "step", "fact_id", name=op.f("pk_edit_targets")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_edit_targets_fact_id"), "edit_targets", ["fact_id"])
    op.create_table(
        "evaluations",
        sa.Column("edit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("checkpoint_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fact_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("metric", WORDS, nullable=False),
        sa.Column("before", sa.Double(), nullable=True),
        sa.Column("after", sa.Double(), nullable=True),
        sa.Column("text_before", WORDS, nullable=True),
        sa.Column("text_after", WORDS, nullable=True),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_evaluations_checkpoint_id")),
        sa.ForeignKeyConstraint(["edit_id"], ["edits.id"], name=op.f("fk_evaluations_edit_id")),
        sa.ForeignKeyConstraint(["fact_id"], ["facts.id"], name=op.f("fk_evaluations_fact_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_evaluations_prompt_id")),
        sa.PrimaryKeyConstraint(
            "edit_id", "checkpoint_id", "fact_id", "prompt_id", "metric", name=op.f("pk_evaluations")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "knowledge_neurons",
        sa.Column("refinement_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fact_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("layer", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("role", WORDS, nullable=False),
        sa.CheckConstraint("role IN ('fact', 'relation', 'generic')", name=op.f("ck_knowledge_neurons_role")),
        sa.CheckConstraint('"index" >= 0', name=op.f("ck_knowledge_neurons_index")),
        sa.CheckConstraint("layer >= 0", name=op.f("ck_knowledge_neurons_layer")),
        sa.ForeignKeyConstraint(
            ["refinement_id", "fact_id"],
            ["refined_facts.refinement_id", "refined_facts.fact_id"],
            name=op.f("fk_knowledge_neurons_refinement_id_fact_id"),
        ),
        sa.PrimaryKeyConstraint("refinement_id", "fact_id", "layer", "index", name=op.f("pk_knowledge_neurons")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_knowledge_neurons_fact_id"), "knowledge_neurons", ["fact_id"])
    op.create_index(
        op.f("ix_knowledge_neurons_refinement_id_layer_index"), "knowledge_neurons", ["refinement_id", "layer", "index"]
    )
    op.create_table(
        "neuron_scores",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("layer", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.CheckConstraint('"index" >= 0', name=op.f("ck_neuron_scores_index")),
        sa.CheckConstraint("layer >= 0", name=op.f("ck_neuron_scores_layer")),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt_id"],
            ["prompt_attributions.run_id", "prompt_attributions.prompt_id"],
            name=op.f("fk_neuron_scores_run_id_prompt_id"),
        ),
        sa.PrimaryKeyConstraint("run_id", "prompt_id", "layer", "index", name=op.f("pk_neuron_scores")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_neuron_scores_run_id_layer_index"), "neuron_scores", ["run_id", "layer", "index"])


def downgrade() -> None:
    op.drop_table("neuron_scores")
    op.drop_table("knowledge_neurons")
    op.drop_table("evaluations")
    op.drop_table("edit_targets")
    op.drop_table("edit_neurons")
    op.drop_table("refined_facts")
    op.drop_table("prompt_attributions")
    op.drop_table("edits")
    op.drop_table("refinements")
    op.drop_table("prompts")
    op.drop_table("facts")
    op.drop_table("attribution_runs")
    op.drop_table("relations")
    op.drop_table("checkpoints")
