-- A catalog at revision 0006, as `sqlite3 FILE .dump` writes it.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
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
CREATE TABLE "checkpoints" (
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
	CONSTRAINT ck_checkpoints_ffn_width CHECK (ffn_width >= 0), 
	CONSTRAINT ck_checkpoints_n_layers CHECK (n_layers >= 0), 
	CONSTRAINT ck_checkpoints_parent_id CHECK (parent_id <> id), 
	CONSTRAINT fk_checkpoints_parent_id FOREIGN KEY(parent_id) REFERENCES checkpoints (id), 
	CONSTRAINT uq_checkpoints_name UNIQUE (name)
);
INSERT INTO "checkpoints" VALUES(8297495745689581440,'tiny','main','0404040404040404040404040404040404040404040404040404040404040404','gpt2',2,16,NULL,'','{"model.safetensors": "0404040404040404040404040404040404040404040404040404040404040404", "config.json": "abababababababababababababababababababababababababababababababab"}');
CREATE TABLE degenerate_neurons (
	set_id BIGINT NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	CONSTRAINT pk_degenerate_neurons PRIMARY KEY (set_id, layer, "index"), 
	CONSTRAINT ck_degenerate_neurons_layer CHECK ("layer" >= 0), 
	CONSTRAINT ck_degenerate_neurons_index CHECK ("index" >= 0), 
	CONSTRAINT fk_degenerate_neurons_set_id FOREIGN KEY(set_id) REFERENCES degenerate_sets (id)
)
 WITHOUT ROWID

;
INSERT INTO "degenerate_neurons" VALUES(14,0,3);
INSERT INTO "degenerate_neurons" VALUES(14,1,7);
CREATE TABLE degenerate_sets (
	id BIGINT NOT NULL, 
	refinement_id BIGINT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	score DOUBLE NOT NULL, 
	CONSTRAINT pk_degenerate_sets PRIMARY KEY (id), 
	CONSTRAINT fk_degenerate_sets_refinement_id_fact_id FOREIGN KEY(refinement_id, fact_id) REFERENCES refined_facts (refinement_id, fact_id)
);
INSERT INTO "degenerate_sets" VALUES(14,5202123817482088945,4452880809900611246,0.5);
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
	CONSTRAINT ck_edit_targets_operation CHECK (operation IN ('update', 'erase', 'erase-relation', 'amplify')), 
	CONSTRAINT ck_edit_targets_step CHECK (step >= 0), 
	CONSTRAINT fk_edit_targets_edit_id FOREIGN KEY(edit_id) REFERENCES edits (id), 
	CONSTRAINT fk_edit_targets_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
)
 WITHOUT ROWID

;
INSERT INTO "edit_targets" VALUES(1245015325390699607,0,4452880809900611246,'update','Rome');
CREATE TABLE edits (
	id BIGINT NOT NULL, 
	refinement_id BIGINT, 
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
CREATE TABLE edit_gates (
	edit_id BIGINT NOT NULL, 
	gate TEXT NOT NULL, 
	value DOUBLE NOT NULL, 
	threshold DOUBLE NOT NULL, 
	passed BOOLEAN NOT NULL, 
	forced BOOLEAN NOT NULL, 
	CONSTRAINT pk_edit_gates PRIMARY KEY (edit_id, gate), 
	CONSTRAINT fk_edit_gates_edit_id FOREIGN KEY(edit_id) REFERENCES edits (id)
)
 WITHOUT ROWID

;
INSERT INTO "edit_gates" VALUES(1245015325390699607,'perplexity',0.125,0.03125,0,1);
CREATE TABLE edit_outcomes (
	edit_id BIGINT NOT NULL, 
	step INTEGER NOT NULL, 
	fact_id BIGINT NOT NULL, 
	converged BOOLEAN NOT NULL, 
	steps INTEGER NOT NULL, 
	remainder DOUBLE NOT NULL, 
	worst DOUBLE NOT NULL, 
	layers JSON NOT NULL, 
	CONSTRAINT pk_edit_outcomes PRIMARY KEY (edit_id, step, fact_id), 
	CONSTRAINT fk_edit_outcomes_edit_id_step_fact_id FOREIGN KEY(edit_id, step, fact_id) REFERENCES edit_targets (edit_id, step, fact_id)
)
 WITHOUT ROWID

;
INSERT INTO "edit_outcomes" VALUES(1245015325390699607,0,4452880809900611246,1,12,0.03125,0.0625,'{"1": {"columns": 1, "editability": 8.5}}');
CREATE TABLE edit_values (
	edit_id BIGINT NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	vector BLOB NOT NULL, 
	CONSTRAINT pk_edit_values PRIMARY KEY (edit_id, layer, "index"), 
	CONSTRAINT ck_edit_values_layer CHECK ("layer" >= 0), 
	CONSTRAINT ck_edit_values_index CHECK ("index" >= 0), 
	CONSTRAINT fk_edit_values_edit_id FOREIGN KEY(edit_id) REFERENCES edits (id)
)
 WITHOUT ROWID

;
INSERT INTO "edit_values" VALUES(1245015325390699607,1,7,X'000000000000E03F000000000000F4BF');
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
CREATE TABLE fact_labels (
	fact_id BIGINT NOT NULL, 
	label TEXT NOT NULL, 
	given_by TEXT NOT NULL, 
	given_at DATETIME NOT NULL, 
	CONSTRAINT pk_fact_labels PRIMARY KEY (fact_id, label), 
	CONSTRAINT ck_fact_labels_label CHECK (length(label) BETWEEN 1 AND 100), 
	CONSTRAINT fk_fact_labels_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
)
 WITHOUT ROWID

;
INSERT INTO "fact_labels" VALUES(8504914107496451702,'money','ada','2024-05-17 20:15:00.000000');
CREATE TABLE fact_notes (
	id BIGINT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	text TEXT NOT NULL, 
	written_by TEXT NOT NULL, 
	written_at DATETIME NOT NULL, 
	CONSTRAINT pk_fact_notes PRIMARY KEY (id), 
	CONSTRAINT fk_fact_notes_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
);
INSERT INTO "fact_notes" VALUES(12,4452880809900611246,'seat of government','ada','2024-05-17 20:15:00.000000');
CREATE TABLE fact_sources (
	fact_id BIGINT NOT NULL, 
	dataset TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	CONSTRAINT pk_fact_sources PRIMARY KEY (fact_id, dataset, "key"), 
	CONSTRAINT ck_fact_sources_key CHECK (length(dataset) + length(key) <= 500), 
	CONSTRAINT fk_fact_sources_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
)
 WITHOUT ROWID

;
INSERT INTO "fact_sources" VALUES(4452880809900611246,'atlas','1');
INSERT INTO "fact_sources" VALUES(1559434452410402931,'atlas','2');
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
CREATE TABLE "knowledge_neurons" (
	refinement_id BIGINT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	share DOUBLE, 
	score DOUBLE, 
	role TEXT NOT NULL, 
	CONSTRAINT pk_knowledge_neurons PRIMARY KEY (refinement_id, fact_id, layer, "index"), 
	CONSTRAINT ck_knowledge_neurons_layer CHECK ("layer" >= 0), 
	CONSTRAINT ck_knowledge_neurons_index CHECK ("index" >= 0), 
	CONSTRAINT ck_knowledge_neurons_role CHECK (role IN ('fact', 'relation', 'generic')), 
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
CREATE TABLE neuron_counts (
	refinement_id BIGINT NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	relation_id BIGINT NOT NULL, 
	role TEXT NOT NULL, 
	facts INTEGER NOT NULL, 
	score_sum DOUBLE, 
	CONSTRAINT pk_neuron_counts PRIMARY KEY (refinement_id, layer, "index", relation_id, role), 
	CONSTRAINT fk_neuron_counts_refinement_id FOREIGN KEY(refinement_id) REFERENCES refinements (id), 
	CONSTRAINT fk_neuron_counts_relation_id FOREIGN KEY(relation_id) REFERENCES relations (id)
)
 WITHOUT ROWID

;
INSERT INTO "neuron_counts" VALUES(5202123817482088945,0,3,6501661739518997282,'fact',1,0.5);
INSERT INTO "neuron_counts" VALUES(5202123817482088945,1,7,6501661739518997282,'relation',2,3.5);
INSERT INTO "neuron_counts" VALUES(5202123817482088945,1,9,6501661739518997282,'generic',2,2.0);
INSERT INTO "neuron_counts" VALUES(5202123817482088945,1,9,9061083465920128710,'generic',1,0.25);
CREATE TABLE neuron_descriptions (
	checkpoint_id BIGINT NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	reading JSON NOT NULL, 
	read_at DATETIME NOT NULL, 
	CONSTRAINT pk_neuron_descriptions PRIMARY KEY (checkpoint_id, layer, "index"), 
	CONSTRAINT ck_neuron_descriptions_layer CHECK ("layer" >= 0), 
	CONSTRAINT ck_neuron_descriptions_index CHECK ("index" >= 0), 
	CONSTRAINT fk_neuron_descriptions_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id)
)
 WITHOUT ROWID

;
INSERT INTO "neuron_descriptions" VALUES(8297495745689581440,1,9,'{"top": [["Paris", 2.5]], "bottom": [["yen", -1.5]]}','2024-05-17 20:15:00.000000');
CREATE TABLE neuron_labels (
	checkpoint_id BIGINT NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	given_by TEXT NOT NULL, 
	given_at DATETIME NOT NULL, 
	CONSTRAINT pk_neuron_labels PRIMARY KEY (checkpoint_id, layer, "index", label), 
	CONSTRAINT ck_neuron_labels_label CHECK (length(label) BETWEEN 1 AND 100), 
	CONSTRAINT ck_neuron_labels_layer CHECK ("layer" >= 0), 
	CONSTRAINT ck_neuron_labels_index CHECK ("index" >= 0), 
	CONSTRAINT fk_neuron_labels_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id)
)
 WITHOUT ROWID

;
INSERT INTO "neuron_labels" VALUES(8297495745689581440,1,9,'hub','ada','2024-05-17 20:15:00.000000');
CREATE TABLE neuron_notes (
	id BIGINT NOT NULL, 
	checkpoint_id BIGINT NOT NULL, 
	layer INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	written_by TEXT NOT NULL, 
	written_at DATETIME NOT NULL, 
	CONSTRAINT pk_neuron_notes PRIMARY KEY (id), 
	CONSTRAINT ck_neuron_notes_layer CHECK ("layer" >= 0), 
	CONSTRAINT ck_neuron_notes_index CHECK ("index" >= 0), 
	CONSTRAINT fk_neuron_notes_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id)
);
INSERT INTO "neuron_notes" VALUES(13,8297495745689581440,1,9,'fires everywhere','ada','2024-05-17 20:15:00.000000');
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
CREATE TABLE "refined_facts" (
	refinement_id BIGINT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	prompts INTEGER, 
	share DOUBLE, 
	neurons INTEGER NOT NULL, 
	CONSTRAINT pk_refined_facts PRIMARY KEY (refinement_id, fact_id), 
	CONSTRAINT ck_refined_facts_prompts CHECK (prompts >= 0), 
	CONSTRAINT ck_refined_facts_neurons CHECK (neurons >= 0), 
	CONSTRAINT fk_refined_facts_refinement_id FOREIGN KEY(refinement_id) REFERENCES refinements (id), 
	CONSTRAINT fk_refined_facts_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
)
 WITHOUT ROWID

;
INSERT INTO "refined_facts" VALUES(5202123817482088945,1559434452410402931,3,0.7,2);
INSERT INTO "refined_facts" VALUES(5202123817482088945,4452880809900611246,3,0.7,3);
INSERT INTO "refined_facts" VALUES(5202123817482088945,8504914107496451702,3,0.7,1);
CREATE TABLE refined_relations (
	refinement_id BIGINT NOT NULL, 
	relation_id BIGINT NOT NULL, 
	facts INTEGER NOT NULL, 
	neurons INTEGER NOT NULL, 
	CONSTRAINT pk_refined_relations PRIMARY KEY (refinement_id, relation_id), 
	CONSTRAINT fk_refined_relations_refinement_id FOREIGN KEY(refinement_id) REFERENCES refinements (id), 
	CONSTRAINT fk_refined_relations_relation_id FOREIGN KEY(relation_id) REFERENCES relations (id)
)
 WITHOUT ROWID

;
INSERT INTO "refined_relations" VALUES(5202123817482088945,6501661739518997282,2,5);
INSERT INTO "refined_relations" VALUES(5202123817482088945,9061083465920128710,1,1);
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
CREATE TABLE requested_rewrites (
	fact_id BIGINT NOT NULL, 
	dataset TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	new_object TEXT NOT NULL, 
	CONSTRAINT pk_requested_rewrites PRIMARY KEY (fact_id, dataset, "key", new_object), 
	CONSTRAINT ck_requested_rewrites_key CHECK (length(dataset) + length(key) + length(new_object) <= 500), 
	CONSTRAINT fk_requested_rewrites_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
)
 WITHOUT ROWID

;
INSERT INTO "requested_rewrites" VALUES(4452880809900611246,'atlas','1','Rome');
CREATE TABLE selected_facts (
	selection TEXT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	CONSTRAINT pk_selected_facts PRIMARY KEY (selection, fact_id), 
	CONSTRAINT fk_selected_facts_selection FOREIGN KEY(selection) REFERENCES selections (name), 
	CONSTRAINT fk_selected_facts_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
)
 WITHOUT ROWID

;
INSERT INTO "selected_facts" VALUES('cities',1559434452410402931);
INSERT INTO "selected_facts" VALUES('cities',4452880809900611246);
CREATE TABLE selections (
	name TEXT NOT NULL, 
	criteria JSON NOT NULL, 
	frozen BOOLEAN NOT NULL, 
	saved_by TEXT NOT NULL, 
	saved_at DATETIME NOT NULL, 
	CONSTRAINT pk_selections PRIMARY KEY (name), 
	CONSTRAINT ck_selections_name CHECK (length(name) BETWEEN 1 AND 100)
);
INSERT INTO "selections" VALUES('cities','{"relation": "capital"}',1,'ada','2024-05-17 20:15:00.000000');
CREATE TABLE status_changes (
	id BIGINT NOT NULL, 
	fact_id BIGINT NOT NULL, 
	prompt_id BIGINT, 
	"before" TEXT NOT NULL, 
	"after" TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	changed_by TEXT NOT NULL, 
	changed_at DATETIME NOT NULL, 
	CONSTRAINT pk_status_changes PRIMARY KEY (id), 
	CONSTRAINT ck_status_changes_before CHECK (before IN ('proposed', 'approved', 'protected', 'retired')), 
	CONSTRAINT ck_status_changes_after CHECK (after IN ('proposed', 'approved', 'protected', 'retired')), 
	CONSTRAINT fk_status_changes_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id), 
	CONSTRAINT fk_status_changes_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id)
);
INSERT INTO "status_changes" VALUES(11,4452880809900611246,NULL,'proposed','approved','checked','ada','2024-05-17 20:15:00.000000');
CREATE TABLE experiments (
	id BIGINT NOT NULL, 
	checkpoint_id BIGINT NOT NULL, 
	refinement_id BIGINT, 
	edit_id BIGINT, 
	name TEXT NOT NULL, 
	config JSON NOT NULL, 
	version TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	CONSTRAINT pk_experiments PRIMARY KEY (id), 
	CONSTRAINT ck_experiments_name CHECK (name <> ''), 
	CONSTRAINT fk_experiments_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id), 
	CONSTRAINT fk_experiments_refinement_id FOREIGN KEY(refinement_id) REFERENCES refinements (id), 
	CONSTRAINT fk_experiments_edit_id FOREIGN KEY(edit_id) REFERENCES edits (id)
);
INSERT INTO "experiments" VALUES(2363987201717674552,8297495745689581440,5202123817482088945,1245015325390699607,'suppress-amplify','{"facts": ["capital/France"], "seed": 3}','0.1.0','2024-05-17 08:30:00.250000','2024-05-17 20:15:00.000000');
CREATE TABLE experiment_parts (
	experiment_id BIGINT NOT NULL, 
	part TEXT NOT NULL, 
	relation_id BIGINT, 
	fact_id BIGINT, 
	status TEXT NOT NULL, 
	reason TEXT, 
	seconds DOUBLE NOT NULL, 
	finished_at DATETIME NOT NULL, 
	CONSTRAINT pk_experiment_parts PRIMARY KEY (experiment_id, part), 
	CONSTRAINT ck_experiment_parts_part CHECK (length(part) <= 500), 
	CONSTRAINT ck_experiment_parts_status CHECK (status <> ''), 
	CONSTRAINT fk_experiment_parts_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (id), 
	CONSTRAINT fk_experiment_parts_relation_id FOREIGN KEY(relation_id) REFERENCES relations (id), 
	CONSTRAINT fk_experiment_parts_fact_id FOREIGN KEY(fact_id) REFERENCES facts (id)
)
 WITHOUT ROWID

;
INSERT INTO "experiment_parts" VALUES(2363987201717674552,'capital/France',6501661739518997282,4452880809900611246,'ok',NULL,0.25,'2024-05-17 12:00:00.000000');
CREATE TABLE experiment_values (
	experiment_id BIGINT NOT NULL, 
	part TEXT NOT NULL, 
	series TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	metric TEXT NOT NULL, 
	value DOUBLE, 
	text TEXT, 
	CONSTRAINT pk_experiment_values PRIMARY KEY (experiment_id, part, series, "key", metric), 
	CONSTRAINT ck_experiment_values_key CHECK (length(part) + length(series) + length(key) + length(metric) <= 500), 
	CONSTRAINT fk_experiment_values_experiment_id_part FOREIGN KEY(experiment_id, part) REFERENCES experiment_parts (experiment_id, part)
)
 WITHOUT ROWID

;
INSERT INTO "experiment_values" VALUES(2363987201717674552,'capital/France','effect','10:2484','before',0.5,NULL);
INSERT INTO "experiment_values" VALUES(2363987201717674552,'capital/France','effect','10:2484','ratio',NULL,'nothing to divide by');
CREATE INDEX ix_attribution_runs_checkpoint_id ON attribution_runs (checkpoint_id);
CREATE INDEX ix_facts_relation_id_subject ON facts (relation_id, subject);
CREATE INDEX ix_facts_subject ON facts (subject);
CREATE INDEX ix_prompts_fact_id ON prompts (fact_id);
CREATE INDEX ix_refinements_run_id ON refinements (run_id);
CREATE INDEX ix_edits_checkpoint_id ON edits (checkpoint_id);
CREATE INDEX ix_edit_targets_fact_id ON edit_targets (fact_id);
CREATE INDEX ix_neuron_scores_run_id_layer_index ON neuron_scores (run_id, layer, "index");
CREATE INDEX ix_fact_sources_dataset_key ON fact_sources (dataset, "key");
CREATE INDEX ix_neuron_counts_refinement_id_relation_id ON neuron_counts (refinement_id, relation_id);
CREATE INDEX ix_degenerate_sets_refinement_id_fact_id ON degenerate_sets (refinement_id, fact_id);
CREATE INDEX ix_degenerate_neurons_layer_index ON degenerate_neurons (layer, "index");
CREATE INDEX ix_status_changes_fact_id ON status_changes (fact_id);
CREATE INDEX ix_fact_notes_fact_id ON fact_notes (fact_id);
CREATE INDEX ix_fact_labels_label ON fact_labels (label);
CREATE INDEX ix_neuron_notes_checkpoint_id_layer_index ON neuron_notes (checkpoint_id, layer, "index");
CREATE INDEX ix_neuron_labels_label ON neuron_labels (label);
CREATE INDEX ix_knowledge_neurons_refinement_id_layer_index ON knowledge_neurons (refinement_id, layer, "index");
CREATE INDEX ix_refined_facts_refinement_id_neurons ON refined_facts (refinement_id, neurons);
CREATE INDEX ix_experiments_checkpoint_id_name ON experiments (checkpoint_id, name);
CREATE INDEX ix_experiment_parts_fact_id ON experiment_parts (fact_id);
CREATE VIEW prompt_words AS SELECT id, replace(text, '{object}', '') AS text FROM prompts;
CREATE VIRTUAL TABLE facts_search USING fts5(subject, object, content='facts', content_rowid='id');
CREATE VIRTUAL TABLE prompts_search USING fts5(text, content='prompt_words', content_rowid='id');
INSERT INTO facts_search (facts_search) VALUES('rebuild');
INSERT INTO prompts_search (prompts_search) VALUES('rebuild');
CREATE TRIGGER facts_search_added AFTER INSERT ON facts BEGIN
    INSERT INTO facts_search (rowid, subject, object) VALUES (new.id, new.subject, new.object); END;
CREATE TRIGGER facts_search_removed AFTER DELETE ON facts BEGIN
    INSERT INTO facts_search (facts_search, rowid, subject, object)
    VALUES ('delete', old.id, old.subject, old.object); END;
CREATE TRIGGER prompts_search_added AFTER INSERT ON prompts BEGIN
    INSERT INTO prompts_search (rowid, text) VALUES (new.id, replace(new.text, '{object}', '')); END;
CREATE TRIGGER prompts_search_removed AFTER DELETE ON prompts BEGIN
    INSERT INTO prompts_search (prompts_search, rowid, text)
    VALUES ('delete', old.id, replace(old.text, '{object}', '')); END;
CREATE TRIGGER status_changes_UPDATE BEFORE UPDATE ON status_changes BEGIN
    SELECT raise(ABORT, 'the history is only added to'); END;
CREATE TRIGGER status_changes_DELETE BEFORE DELETE ON status_changes BEGIN
    SELECT raise(ABORT, 'the history is only added to'); END;
CREATE TRIGGER fact_notes_UPDATE BEFORE UPDATE ON fact_notes BEGIN
    SELECT raise(ABORT, 'the history is only added to'); END;
CREATE TRIGGER fact_notes_DELETE BEFORE DELETE ON fact_notes BEGIN
    SELECT raise(ABORT, 'the history is only added to'); END;
CREATE TRIGGER neuron_notes_UPDATE BEFORE UPDATE ON neuron_notes BEGIN
    SELECT raise(ABORT, 'the history is only added to'); END;
CREATE TRIGGER neuron_notes_DELETE BEFORE DELETE ON neuron_notes BEGIN
    SELECT raise(ABORT, 'the history is only added to'); END;
COMMIT;
