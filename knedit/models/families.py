"""The families of transformers that knedit knows: where each keeps its FFN, its attention and its head.

A family is data, plus at most one small function for what its config.json decides. Knows no torch and reads no file.
Source: the modelling files of transformers 5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from knedit.errors import ModelError

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one family names its parts.

    Paths start at the class with its language-modelling head, those of `down`, `attention`, `ffn`, `neurons` and `qkv`
    at a block. `down` is the module that takes the neurons in (or, where `experts_keys` name their number, the one that
    holds all experts), `weight` its parameter, `neuron_axis` the axis of that which counts neurons: 1 for `nn.Linear`
    [D, F], 0 for GPT-2's `Conv1D` [F, D]. `head` lists the modules from the last block's output to the logits, `logits`
    how they are put together, `vocabulary` the one whose rows are the output embeddings if transformers names another,
    `narrow` a linear map between hidden state and vocabulary. With `shared`, blocks are called more than once each.

    What may be left out of a computation: replacing the output of `attention` by the recorded one and calling the
    block with a single token is exact; `ffn` maps to what `down` puts out, and nothing else; where there is no such
    module, `neurons` puts out what `down` takes in; `qkv` make queries, keys and values token by token. With
    `answer_row`, a block takes BERT's cache of keys and values, so that it can be called with one token.

    Of each tuple of config keys the first that is set counts; `width_keys` all unset mean 4 × one of `hidden_keys`.
    `adapt` returns the family as one config.json has it, or raises ModelError where knedit cannot follow.
    """

    name: str
    blocks: str
    down: str
    head: tuple[str, ...]
    prefix: str
    masked: bool = False
    encoder_decoder: bool = False
    shared: bool = False
    weight: str = "weight"
    neuron_axis: int = 1
    logits: str = "plain"
    vocabulary: str | None = None
    narrow: str | None = None
    positions: str = "all"
    attention: str | None = None
    ffn: str | None = None
    neurons: str | None = None
    qkv: tuple[str, ...] = ()
    answer_row: bool = False
    layers_keys: tuple[str, ...] = ("num_hidden_layers",)
    width_keys: tuple[str, ...] = ("intermediate_size",)
    hidden_keys: tuple[str, ...] = ()
    groups_keys: tuple[str, ...] = ()
    experts_keys: tuple[str, ...] = ()
    stored_expert: str = ""
    adapt: "Callable[[Family, Config], Family] | None" = None

    @property
    def at_answer(self) -> bool:
        """Whether edits act where the answer is due, and not where the subject ends.

        A causal model must be told at the subject, before the answer's place is read; the others read it all at once,
        and what they are asked for is put together where the answer is due.
        """
        return self.masked or self.encoder_decoder


def _refuse(family: Family, what: str, key: str) -> ModelError:
    return ModelError(
        f"a {family.name} model {what} is not supported", f"{key} in config.json", "Use a model of another kind."
    )


def _albert(family: Family, config: Config) -> Family:
    if config.get("inner_group_num", 1) != 1:
        raise _refuse(family, "with several layers in a group", "inner_group_num")
    return family


def _deberta(family: Family, config: Config) -> Family:
    if (config.get("conv_kernel_size") or 0) > 0:
        raise _refuse(family, "with a convolution after its first block", "conv_kernel_size")
    if config.get("legacy", True):
        return family
    words = "deberta.embeddings.word_embeddings"
    return replace(family, head=("lm_predictions", words), logits="with embeddings", vocabulary=words)


def _bloom(family: Family, config: Config) -> Family:
    if config.get("slow_but_exact") and config.get("pretraining_tp", 1) > 1:
        raise _refuse(family, "that computes its FFN in slices", "slow_but_exact")
    return family


def _falcon(family: Family, config: Config) -> Family:
    return replace(family, positions="unlimited") if config.get("alibi") else family


def _gemma(family: Family, config: Config) -> Family:
    if config.get("use_bidirectional_attention"):
        raise _refuse(family, "that looks at later tokens", "use_bidirectional_attention")
    return family


def _opt(family: Family, config: Config) -> Family:
    narrow = config.get("word_embed_proj_dim") not in (None, config.get("hidden_size"))
    norm = config.get("do_layer_norm_before", True) and not config.get("_remove_final_layer_norm")
    head = (
        *(("model.decoder.final_layer_norm",) if norm else ()),
        *(("model.decoder.project_out",) if narrow else ()),
        "lm_head",
    )
    return replace(family, head=head, narrow="model.decoder.project_out" if narrow else None)


def _qwen_moe(family: Family, config: Config) -> Family:
    if config.get("mlp_only_layers"):
        raise _refuse(family, "that mixes layers with and without experts", "mlp_only_layers")
    if config.get("decoder_sparse_step", 1) != 1:
        raise _refuse(family, "that mixes layers with and without experts", "decoder_sparse_step")
    return family


_BERT = Family(
    name="bert",
    masked=True,
    blocks="bert.encoder.layer",
    down="output.dense",
    head=("cls",),
    prefix="bert.",
    attention="attention",
    neurons="intermediate",
    qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
    answer_row=True,
)
_ROBERTA = replace(
    _BERT,
    name="roberta",
    blocks="roberta.encoder.layer",
    head=("lm_head",),
    prefix="roberta.",
    positions="after padding",
)
_DISTILBERT = Family(
    name="distilbert",
    masked=True,
    blocks="distilbert.transformer.layer",
    down="ffn.lin2",
    head=("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
    prefix="distilbert.",
    attention="attention",
    ffn="ffn",
    qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    layers_keys=("n_layers", "num_hidden_layers"),
    width_keys=("hidden_dim",),
)
_ALBERT = Family(
    name="albert",
    masked=True,
    shared=True,
    blocks="albert.encoder.albert_layer_groups",
    down="albert_layers.0.ffn_output",
    head=("predictions",),
    prefix="albert.",
    attention="albert_layers.0.attention",
    neurons="albert_layers.0.activation",
    qkv=("albert_layers.0.attention.query", "albert_layers.0.attention.key", "albert_layers.0.attention.value"),
    groups_keys=("num_hidden_groups",),
    adapt=_albert,
)
_ELECTRA = replace(
    _BERT,
    name="electra",
    blocks="electra.encoder.layer",
    head=("generator_predictions", "generator_lm_head"),
    prefix="electra.",
)
# DeBERTa's projections are also called with the relative positions' embeddings, so none is listed.
_DEBERTA = replace(
    _BERT,
    name="deberta-v2",
    blocks="deberta.encoder.layer",
    prefix="deberta.",
    qkv=(),
    answer_row=False,
    adapt=_deberta,
)
_MODERNBERT = Family(
    name="modernbert",
    masked=True,
    blocks="model.layers",
    down="mlp.Wo",
    head=("model.final_norm", "head", "decoder"),
    prefix="model.",
    attention="attn",
    ffn="mlp",
    qkv=("attn.Wqkv",),
)
_GPT2 = Family(
    name="gpt2",
    blocks="transformer.h",
    down="mlp.c_proj",
    head=("transformer.ln_f", "lm_head"),
    prefix="transformer.",
    neuron_axis=0,
    attention="attn",
    ffn="mlp",
    layers_keys=("n_layer", "num_hidden_layers"),
    width_keys=("n_inner",),
    hidden_keys=("n_embd", "hidden_size"),
)
_GPT_NEO = replace(
    _GPT2,
    name="gpt_neo",
    neuron_axis=1,
    layers_keys=("num_layers", "num_hidden_layers"),
    width_keys=("intermediate_size",),
    hidden_keys=("hidden_size",),
)
_GPTJ = replace(_GPT2, name="gptj", neuron_axis=1, down="mlp.fc_out")
_GPT_NEOX = Family(
    name="gpt_neox",
    blocks="gpt_neox.layers",
    down="mlp.dense_4h_to_h",
    head=("gpt_neox.final_layer_norm", "lm_head"),
    prefix="gpt_neox.",
    attention="attention",
    ffn="mlp",
)
_OPT = Family(
    name="opt",
    blocks="model.decoder.layers",
    down="fc2",
    head=("model.decoder.final_layer_norm", "lm_head"),
    prefix="model.",
    attention="self_attn",
    neurons="activation_fn",
    width_keys=("ffn_dim",),
    adapt=_opt,
)
_BLOOM = Family(
    name="bloom",
    blocks="transformer.h",
    down="mlp.dense_4h_to_h",
    head=("transformer.ln_f", "lm_head"),
    prefix="transformer.",
    positions="unlimited",
    attention="self_attention",
    neurons="mlp.gelu_impl",
    layers_keys=("n_layer", "num_hidden_layers"),
    width_keys=(),
    hidden_keys=("n_embed", "hidden_size"),
    adapt=_bloom,
)
_FALCON = replace(
    _BLOOM,
    name="falcon",
    positions="all",
    ffn="mlp",
    neurons=None,
    layers_keys=("num_hidden_layers",),
    width_keys=("ffn_hidden_size",),
    adapt=_falcon,
)
_LLAMA = Family(
    name="llama",
    blocks="model.layers",
    down="mlp.down_proj",
    head=("model.norm", "lm_head"),
    prefix="model.",
    attention="self_attn",
    ffn="mlp",
)
_PHI = replace(_LLAMA, name="phi", down="mlp.fc2", head=("model.final_layernorm", "lm_head"))
_GEMMA = replace(_LLAMA, name="gemma", logits="softcapped", adapt=_gemma)
_GRANITE = replace(_LLAMA, name="granite", logits="divided")
_MIXTRAL = replace(
    _LLAMA,
    name="mixtral",
    down="mlp.experts",
    weight="down_proj",
    ffn=None,
    experts_keys=("num_local_experts", "num_experts"),
    stored_expert="block_sparse_moe.experts.{expert}.w2.weight",
)
_QWEN_MOE = replace(
    _MIXTRAL,
    name="qwen3_moe",
    width_keys=("moe_intermediate_size",),
    stored_expert="mlp.experts.{expert}.down_proj.weight",
    adapt=_qwen_moe,
)
# A T5 block has two attentions, over the answer so far and over the text, so there is no one path to either.
_T5 = Family(
    name="t5",
    encoder_decoder=True,
    blocks="decoder.block",
    down="layer.2.DenseReluDense.wo",
    head=("decoder.final_layer_norm", "lm_head"),
    prefix="",
    logits="scaled states",
    positions="unlimited",
    ffn="layer.2.DenseReluDense",
    layers_keys=("num_decoder_layers", "num_layers"),
    width_keys=("d_ff",),
)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": _DISTILBERT,
    "albert": _ALBERT,
    "electra": _ELECTRA,
    "deberta-v2": _DEBERTA,
    "modernbert": _MODERNBERT,
    "gpt2": _GPT2,
    "gpt_neo": _GPT_NEO,
    "gptj": _GPTJ,
    "gpt_neox": _GPT_NEOX,
    "opt": _OPT,
    "bloom": _BLOOM,
    "falcon": _FALCON,
    "phi": _PHI,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    "olmo2": _LLAMA,
    "stablelm": _LLAMA,
    "smollm3": _LLAMA,
    "granite": _GRANITE,
    "mixtral": _MIXTRAL,
    "qwen3_moe": _QWEN_MOE,
    "t5": _T5,
}
