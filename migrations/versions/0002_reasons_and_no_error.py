"""A prompt's attribution may have no completeness error, and may say why it failed.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COPY = """
INSERT INTO new_attributions (run_id, prompt_id, probability, completeness_error, peak, status)
SELECT run_id, prompt_id, probability, completeness_error, peak, status FROM prompt_attributions
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(reasons=True)
    else:
        op.alter_column("prompt_attributions", "completeness_error", nullable=True)
        op.add_column("prompt_attributions", sa.Column("reason", WORDS, nullable=True))
    op.execute("UPDATE prompt_attributions SET completeness_error = NULL WHERE status = 'unusable'")


def downgrade() -> None:
    op.execute("UPDATE prompt_attributions SET completeness_error = 0 WHERE status = 'unusable'")
    lacking = op.get_bind().scalar(sa.text("SELECT count(*) FROM prompt_attributions WHERE completeness_error IS NULL"))
    if lacking:
        raise RuntimeError(f"{lacking} prompts were attributed without a completeness error, which revision 0001 needs")
    if op.get_bind().dialect.name == "sqlite":
        _rebuild(reasons=False)
    else:
        op.drop_column("prompt_attributions", "reason")
        op.alter_column("prompt_attributions", "completeness_error", nullable=False)


def _rebuild(*, reasons: bool) -> None:
    """Write both tables anew: SQLite changes no column in place, and drops no table while another refers to it."""
    more = [sa.Column("reason", WORDS, nullable=True)] if reasons else []
    op.create_table(
        "new_attributions",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("completeness_error", sa.Double(), nullable=reasons),
        sa.Column("peak", sa.Double(), nullable=False),
        sa.Column("status", WORDS, nullable=False),
        *more,
        sa.CheckConstraint("status <> ''", name=op.f("ck_prompt_attributions_status")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_prompt_attributions_prompt_id")),
        sa.ForeignKeyConstraint(["run_id"], ["attribution_runs.id"], name=op.f("fk_prompt_attributions_run_id")),
        sa.PrimaryKeyConstraint("run_id", "prompt_id", name=op.f("pk_prompt_attributions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "new_scores",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("layer", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.CheckConstraint('"index" >= 0', name=op.f("ck_neuron_scores_index")),
        sa.CheckConstraint("layer >= 0", name=op.f("ck_neuron_scores_layer")),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt_id"],
            ["new_attributions.run_id", "new_attributions.prompt_id"],
            name=op.f("fk_neuron_scores_run_id_prompt_id"),
        ),
        sa.PrimaryKeyConstraint("run_id", "prompt_id", "layer", "index", name=op.f("pk_neuron_scores")),
        sqlite_with_rowid=False,
    )
    op.execute(COPY)
    op.execute('INSERT INTO new_scores SELECT run_id, prompt_id, layer, "index", score FROM neuron_scores')
    op.drop_table("neuron_scores")
    op.drop_table("prompt_attributions")
    op.rename_table("new_attributions", "prompt_attributions")
    op.rename_table("new_scores", "neuron_scores")
    op.create_index(op.f("ix_neuron_scores_run_id_layer_index"), "neuron_scores", ["run_id", "layer", "index"])
