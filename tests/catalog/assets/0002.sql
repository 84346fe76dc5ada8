-- A catalog at revision 0002, as `sqlite3 FILE .dump` writes it.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE attribution_runs (
	id BIGINT NOT NULL, 
	checkpoint_id BIGINT NOT NULL, 
	config JSON NOT NULL, 
	version TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	CONSTRAINT pk_attribution_runs PRIMARY KEY (id), 
	CONSTRAINT fk_attribution_runs_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id)
);
INSERT INTO "attribution_runs" VALUES(2973808940977981941,8297495745689581440,'{"steps": 20, "rule": "riemann", "floor": 0.05, "roles": ["attribute"], "device": null, "exact": true}','0.1.0','2024-05-17 08:30:00.250000',NULL);
CREATE TABLE checkpoints (
	id BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	revision TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	family TEXT NOT NULL, 
	n_layers INTEGER NOT NULL, 
	ffn_width INTEGER NOT NULL, 
	parent_id BIGINT, 
	path TEXT NOT NULL, 
	files JSON NOT NULL, 
	CONSTRAINT pk_checkpoints PRIMARY KEY (id), 
	CONSTRAINT ck_checkpoints_ffn_width CHECK (ffn_width > 0), 
	CONSTRAINT ck_checkpoints_n_layers CHECK (n_layers > 0), 
	CONSTRAINT ck_checkpoints_parent_id CHECK (parent_id <> id), 
	CONSTRAINT fk_checkpoints_parent_id FOREIGN KEY(parent_id) REFERENCES checkpoints (id), 
	CONSTRAINT uq_checkpoints_name UNIQUE (name)
);
INSERT INTO "checkpoints" VALUES(8297495745689581440,'tiny','main','0404040404040404040404040404040404040404040404040404040404040404','gpt2',2,16,NULL,'','{"model.safetensors": "0404040404040404040404040404040404040404040404040404040404040404", "config.json": "abababababababababababababababababababababababababababababababab"}');
CREATE TABLE edit_neurons (
	edit_id BIGINT NOT NULL, 
	step INTEGER NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	norm DOUBLE NOT NULL, 
	new_norm DOUBLE NOT NULL, 
	CONSTRAINT pk_edit_neurons PRIMARY KEY (edit_id, step, layer, "index"), 
	CONSTRAINT ck_edit_neurons_index CHECK ("index" >= 0), 
	CONSTRAINT ck_edit_neurons_layer CHECK (layer >= 0), 
	CONSTRAINT ck_edit_neurons_step CHECK (step >= 0), 
	CONSTRAINT fk_edit_neurons_edit_id FOREIGN KEY(edit_id) REFERENCES edits (id)
)
 WITHOUT ROWID

;
INSERT INTO "edit_neurons" VALUES(1245015325390699607,0,1,7,1.5,0.0);
CREATE TABLE edit_targets (
	edit_id BIGINT NOT NULL, 
	step INTEGER NOT NULL, 
	fact_id BIGINT NOT NULL, 
	operation TEXT NOT NULL, 
	new_object TEXT, 
	CONSTRAINT pk_edit_targets PRIMARY KEY (edit_id, step, fact_id), 
	CONSTRAINT ck_edit_targets_new_object CHECK (operation <> 'update' OR new_object IS NOT NULL), 
	CONSTRAINT ck_edit_targets_operation CHECK (operation IN ('update', 'erase', 'erase-relation')), 
	CONSTRAINT ck_edit_targets_step CHECK (step >= 0), 
	CONSTRAINT fk_edit_targets_edit_id FOREIGN KEY(edit_id) REFERENCES edits (id), 
	CONSTRAINT fk_edit_targets_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
)
 WITHOUT ROWID

;
INSERT INTO "edit_targets" VALUES(1245015325390699607,0,4452880809900611246,'update','Rome');
CREATE TABLE edits (
	id BIGINT NOT NULL, 
	refinement_id BIGINT NOT NULL, 
	checkpoint_id BIGINT NOT NULL, 
	result_id BIGINT, 
	config JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_edits PRIMARY KEY (id), 
	CONSTRAINT fk_edits_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id), 
	CONSTRAINT fk_edits_refinement_id FOREIGN KEY(refinement_id) REFERENCES refinements (id), 
	CONSTRAINT fk_edits_result_id FOREIGN KEY(result_id) REFERENCES checkpoints (id)
);
INSERT INTO "edits" VALUES(1245015325390699607,5202123817482088945,8297495745689581440,NULL,'{"solver": "swap", "scale": 1.0}','2024-05-17 20:15:00.000000');
CREATE TABLE evaluations (
	edit_id BIGINT NOT NULL, 
	checkpoint_id BIGINT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	prompt_id BIGINT NOT NULL, 
	metric TEXT NOT NULL, 
	"before" DOUBLE, 
	"after" DOUBLE, 
	text_before TEXT, 
	text_after TEXT, 
	CONSTRAINT pk_evaluations PRIMARY KEY (edit_id, checkpoint_id, fact_id, prompt_id, metric), 
	CONSTRAINT fk_evaluations_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id), 
	CONSTRAINT fk_evaluations_edit_id FOREIGN KEY(edit_id) REFERENCES edits (id), 
	CONSTRAINT fk_evaluations_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id), 
	CONSTRAINT fk_evaluations_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id)
)
 WITHOUT ROWID

;
INSERT INTO "evaluations" VALUES(1245015325390699607,8297495745689581440,4452880809900611246,2322452802260385312,'efficacy',0.25,0.75,NULL,NULL);
CREATE TABLE facts (
	id BIGINT NOT NULL, 
	relation_id BIGINT NOT NULL, 
	subject TEXT NOT NULL, 
	object TEXT NOT NULL, 
	status TEXT NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY (id), 
	CONSTRAINT ck_facts_status CHECK (status IN ('proposed', 'approved', 'protected', 'retired')), 
	CONSTRAINT ck_facts_subject CHECK (length(subject) <= 500), 
	CONSTRAINT fk_facts_relation_id FOREIGN KEY(relation_id) REFERENCES relations (id)
);
INSERT INTO "facts" VALUES(4452880809900611246,6501661739518997282,'France','Paris','approved');
INSERT INTO "facts" VALUES(1559434452410402931,6501661739518997282,'Japan','Tokyo','protected');
INSERT INTO "facts" VALUES(8504914107496451702,9061083465920128710,'Japan','yen','proposed');
CREATE TABLE knowledge_neurons (
	refinement_id BIGINT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	share DOUBLE NOT NULL, 
	score DOUBLE NOT NULL, 
	role TEXT NOT NULL, 
	CONSTRAINT pk_knowledge_neurons PRIMARY KEY (refinement_id, fact_id, layer, "index"), 
	CONSTRAINT ck_knowledge_neurons_role CHECK (role IN ('fact', 'relation', 'generic')), 
	CONSTRAINT ck_knowledge_neurons_index CHECK ("index" >= 0), 
	CONSTRAINT ck_knowledge_neurons_layer CHECK (layer >= 0), 
	CONSTRAINT fk_knowledge_neurons_refinement_id_fact_id FOREIGN KEY(refinement_id, fact_id) REFERENCES refined_facts (refinement_id, fact_id)
)
 WITHOUT ROWID

;
INSERT INTO "knowledge_neurons" VALUES(5202123817482088945,1559434452410402931,1,7,0.75,1.5,'relation');
INSERT INTO "knowledge_neurons" VALUES(5202123817482088945,1559434452410402931,1,9,0.75,1.0,'generic');
INSERT INTO "knowledge_neurons" VALUES(5202123817482088945,4452880809900611246,0,3,0.75,0.5,'fact');
INSERT INTO "knowledge_neurons" VALUES(5202123817482088945,4452880809900611246,1,7,0.75,2.0,'relation');
INSERT INTO "knowledge_neurons" VALUES(5202123817482088945,4452880809900611246,1,9,0.75,1.0,'generic');
INSERT INTO "knowledge_neurons" VALUES(5202123817482088945,8504914107496451702,1,9,0.75,0.25,'generic');
CREATE TABLE "neuron_scores" (
	run_id BIGINT NOT NULL, 
	prompt_id BIGINT NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	score DOUBLE NOT NULL, 
	CONSTRAINT pk_neuron_scores PRIMARY KEY (run_id, prompt_id, layer, "index"), 
	CONSTRAINT ck_neuron_scores_index CHECK ("index" >= 0), 
	CONSTRAINT ck_neuron_scores_layer CHECK (layer >= 0), 
	CONSTRAINT fk_neuron_scores_run_id_prompt_id FOREIGN KEY(run_id, prompt_id) REFERENCES "prompt_attributions" (run_id, prompt_id)
)
 WITHOUT ROWID

;
INSERT INTO "neuron_scores" VALUES(2973808940977981941,2322452802260385312,0,3,0.25);
INSERT INTO "neuron_scores" VALUES(2973808940977981941,2322452802260385312,1,7,1.0);
CREATE TABLE "prompt_attributions" (
	run_id BIGINT NOT NULL, 
	prompt_id BIGINT NOT NULL, 
	probability DOUBLE NOT NULL, 
	completeness_error DOUBLE, 
	peak DOUBLE NOT NULL, 
	status TEXT NOT NULL, 
	reason TEXT, 
	CONSTRAINT pk_prompt_attributions PRIMARY KEY (run_id, prompt_id), 
	CONSTRAINT ck_prompt_attributions_status CHECK (status <> ''), 
	CONSTRAINT fk_prompt_attributions_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id), 
	CONSTRAINT fk_prompt_attributions_run_id FOREIGN KEY(run_id) REFERENCES attribution_runs (id)
)
 WITHOUT ROWID

;
INSERT INTO "prompt_attributions" VALUES(2973808940977981941,2322452802260385312,0.25,0.0078125,1.0,'ok',NULL);
CREATE TABLE prompts (
	id BIGINT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	role TEXT NOT NULL, 
	text TEXT NOT NULL, 
	answer TEXT, 
	language TEXT NOT NULL, 
	status TEXT NOT NULL, 
	CONSTRAINT pk_prompts PRIMARY KEY (id), 
	CONSTRAINT ck_prompts_role CHECK (role IN ('attribute', 'paraphrase', 'neighbour', 'generate', 'implied')), 
	CONSTRAINT ck_prompts_status CHECK (status IN ('proposed', 'approved', 'protected', 'retired')), 
	CONSTRAINT fk_prompts_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
);
INSERT INTO "prompts" VALUES(2322452802260385312,4452880809900611246,'attribute','The capital of France is {object}.','Paris','en','proposed');
INSERT INTO "prompts" VALUES(4833397872806898872,4452880809900611246,'attribute','France is governed from {object}.','Paris','en','proposed');
INSERT INTO "prompts" VALUES(2692462436085037915,4452880809900611246,'paraphrase','La capitale de la France est {object}.','Paris','fr','proposed');
INSERT INTO "prompts" VALUES(5286226426464079188,4452880809900611246,'generate','In the capital of France',NULL,'en','proposed');
INSERT INTO "prompts" VALUES(3809878623375511024,1559434452410402931,'attribute','The capital of Japan is {object}.','Tokyo','en','proposed');
INSERT INTO "prompts" VALUES(1810416860890746979,8504914107496451702,'attribute','In Japan people pay in {object}.','yen','en','proposed');
CREATE TABLE refined_facts (
	refinement_id BIGINT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	prompts INTEGER NOT NULL, 
	share DOUBLE NOT NULL, 
	neurons INTEGER NOT NULL, 
	CONSTRAINT pk_refined_facts PRIMARY KEY (refinement_id, fact_id), 
	CONSTRAINT ck_refined_facts_neurons CHECK (neurons >= 0), 
	CONSTRAINT ck_refined_facts_prompts CHECK (prompts >= 0), 
	CONSTRAINT fk_refined_facts_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id), 
	CONSTRAINT fk_refined_facts_refinement_id FOREIGN KEY(refinement_id) REFERENCES refinements (id)
)
 WITHOUT ROWID

;
INSERT INTO "refined_facts" VALUES(5202123817482088945,1559434452410402931,3,0.7,2);
INSERT INTO "refined_facts" VALUES(5202123817482088945,4452880809900611246,3,0.7,3);
INSERT INTO "refined_facts" VALUES(5202123817482088945,8504914107496451702,3,0.7,1);
CREATE TABLE refinements (
	id BIGINT NOT NULL, 
	run_id BIGINT NOT NULL, 
	config JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_refinements PRIMARY KEY (id), 
	CONSTRAINT fk_refinements_run_id FOREIGN KEY(run_id) REFERENCES attribution_runs (id)
);
INSERT INTO "refinements" VALUES(5202123817482088945,2973808940977981941,'{"threshold": 0.2, "share": 0.7}','2024-05-17 12:00:00.000000');
CREATE TABLE relations (
	id BIGINT NOT NULL, 
	"key" TEXT NOT NULL, 
	label TEXT NOT NULL, 
	CONSTRAINT pk_relations PRIMARY KEY (id), 
	CONSTRAINT uq_relations_key UNIQUE ("key")
);
INSERT INTO "relations" VALUES(6501661739518997282,'capital','capital of a country');
INSERT INTO "relations" VALUES(9061083465920128710,'currency','currency of a country');
CREATE INDEX ix_attribution_runs_checkpoint_id ON attribution_runs (checkpoint_id);
CREATE INDEX ix_facts_relation_id_subject ON facts (relation_id, subject);
CREATE INDEX ix_facts_subject ON facts (subject);
CREATE INDEX ix_prompts_fact_id ON prompts (fact_id);
CREATE INDEX ix_refinements_run_id ON refinements (run_id);
CREATE INDEX ix_edits_checkpoint_id ON edits (checkpoint_id);
CREATE INDEX ix_edit_targets_fact_id ON edit_targets (fact_id);
CREATE INDEX ix_knowledge_neurons_fact_id ON knowledge_neurons (fact_id);
CREATE INDEX ix_knowledge_neurons_refinement_id_layer_index ON knowledge_neurons (refinement_id, layer, "index");
CREATE INDEX ix_neuron_scores_run_id_layer_index ON neuron_scores (run_id, layer, "index");
COMMIT;
