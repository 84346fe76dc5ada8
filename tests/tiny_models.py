"""Tiny random-weight models of the real transformers classes, with a word-level tokenizer: built in milliseconds."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

_TEXT = """
    the a of is in to and capital city country language animal France Paris Japan Tokyo Italy Rome Spain Madrid
    Kenya Nairobi Norway Oslo speak people they live big small old new name called has have that this . , ? !
"""
WORDS = _TEXT.split()
BYTE_VOCABULARY = 600
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTINELS = ["<extra_id_0>", "<extra_id_1>", "</s>"]
VOCABULARY = {word: number for number, word in enumerate(SPECIAL + WORDS)}
SPEAKING = {word: number for number, word in enumerate(SPECIAL + WORDS + SENTINELS)}


def tokenizer(*, masked: bool) -> Any:
    """Return a fast tokenizer that knows WORDS; a masked model's adds [CLS] and [SEP]."""
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    if masked:
        words.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(tokenizer_object=words, **names)


def sentinel_tokenizer() -> Any:
    """Return a fast tokenizer that knows WORDS and two sentinels, and ends a text with </s>."""
    words = Tokenizer(models.WordLevel(SPEAKING, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", SPEAKING["</s>"])])
    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(
        tokenizer_object=words,
        unk_token="[UNK]",
        pad_token="[PAD]",
        eos_token="</s>",
        extra_special_tokens=SENTINELS[:2],
    )


def tokenizer_of(name: str) -> Any:
    """Return a tokenizer that goes with the tiny network of a family."""
    return sentinel_tokenizer() if name in FILLING else tokenizer(masked=name in MASKED)


def byte_tokenizer() -> Any:
    """Return a byte-level BPE tokenizer to which every word of WORDS, with its space, is one token.

    Where the family is Qwen2, transformers reads any saved tokenizer as one of this kind.
    """
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=BYTE_VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    pieces.train_from_iterator([_TEXT.replace("\n", " ")] * 20, trainer)
    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(tokenizer_object=pieces, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def _bert(config_class: Any, model_class: Any, **more: Any) -> Any:
    sizes = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "initializer_range": 0.3,
    }
    return model_class(config_class(**sizes | more))


def _distilbert() -> Any:
    return transformers.DistilBertForMaskedLM(
        transformers.DistilBertConfig(
            vocab_size=len(VOCABULARY),
            dim=32,
            n_layers=3,
            n_heads=4,
            hidden_dim=48,
            max_position_embeddings=40,
            initializer_range=0.3,
        )
    )


def _albert(**more: Any) -> Any:
    return _bert(
        transformers.AlbertConfig, transformers.AlbertForMaskedLM, bos_token_id=None, eos_token_id=None, **more
    )


def _deberta(**more: Any) -> Any:
    sizes = {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True}
    sizes |= {"pos_att_type": "p2c|c2p", "position_biased_input": False}
    return _bert(transformers.DebertaV2Config, transformers.DebertaV2ForMaskedLM, **sizes | more)


def _modernbert() -> Any:
    return _bert(
        transformers.ModernBertConfig,
        transformers.ModernBertForMaskedLM,
        global_attn_every_n_layers=2,
        local_attention=4,
        norm_bias=True,
        mlp_bias=True,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),
    )


def _gpt2(config_class: Any, model_class: Any, **more: Any) -> Any:
    return model_class(
        config_class(
            vocab_size=len(VOCABULARY),
            n_positions=40,
            n_embd=32,
            n_layer=3,
            n_head=4,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=None,
            **more,
        )
    )


def _gpt_neo() -> Any:
    return transformers.GPTNeoForCausalLM(
        transformers.GPTNeoConfig(
            vocab_size=len(VOCABULARY),
            max_position_embeddings=40,
            hidden_size=32,
            num_layers=4,
            num_heads=4,
            attention_types=[[["global", "local"], 2]],
            window_size=4,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def _opt(**more: Any) -> Any:
    return transformers.OPTForCausalLM(
        transformers.OPTConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=32,
            num_hidden_layers=3,
            ffn_dim=48,
            max_position_embeddings=40,
            num_attention_heads=4,
            init_std=0.3,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
            **{"word_embed_proj_dim": 32} | more,
        )
    )


def _bloom() -> Any:
    return transformers.BloomForCausalLM(
        transformers.BloomConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=32,
            n_layer=3,
            n_head=4,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def _falcon(**more: Any) -> Any:
    return transformers.FalconForCausalLM(
        transformers.FalconConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=40,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=None,
            **more,
        )
    )


def _decoder(config_class: Any, model_class: Any, **more: Any) -> Any:
    sizes = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return model_class(config_class(**sizes | more))


def _t5(**more: Any) -> Any:
    sizes = {
        "vocab_size": len(SPEAKING),
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_decoder_layers": 3,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 16,
        "initializer_factor": 0.6,
        "decoder_start_token_id": 0,
        "eos_token_id": SPEAKING["</s>"],
    }
    config_class: Any = transformers.T5Config
    return transformers.T5ForConditionalGeneration(config_class(**sizes | more))


TINY: dict[str, Callable[[], Any]] = {
    "bert": lambda: _bert(transformers.BertConfig, transformers.BertForMaskedLM),
    "roberta": lambda: _bert(transformers.RobertaConfig, transformers.RobertaForMaskedLM, max_position_embeddings=42),
    "gpt2": lambda: _gpt2(transformers.GPT2Config, transformers.GPT2LMHeadModel),
    "llama": lambda: _decoder(transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": lambda: _decoder(transformers.MistralConfig, transformers.MistralForCausalLM, sliding_window=4),
    "qwen2": lambda: _decoder(transformers.Qwen2Config, transformers.Qwen2ForCausalLM, vocab_size=BYTE_VOCABULARY),
}
"""The families that every road is tried with."""

EVERY: dict[str, Callable[[], Any]] = TINY | {
    "xlm-roberta": lambda: _bert(
        transformers.XLMRobertaConfig, transformers.XLMRobertaForMaskedLM, max_position_embeddings=42
    ),
    "distilbert": _distilbert,
    "albert": lambda: _albert(embedding_size=32),
    "albert of groups": lambda: _albert(num_hidden_layers=4, num_hidden_groups=2, embedding_size=16),
    "electra": lambda: _bert(transformers.ElectraConfig, transformers.ElectraForMaskedLM, embedding_size=16),
    "deberta-v2": _deberta,
    "deberta-v2 not legacy": lambda: _deberta(legacy=False, share_att_key=False),
    "modernbert": _modernbert,
    "gpt_neo": _gpt_neo,
    "gptj": lambda: _gpt2(transformers.GPTJConfig, transformers.GPTJForCausalLM, rotary_dim=4),
    "gpt_neox": lambda: _decoder(transformers.GPTNeoXConfig, transformers.GPTNeoXForCausalLM),
    "gpt_neox in sequence": lambda: _decoder(
        transformers.GPTNeoXConfig, transformers.GPTNeoXForCausalLM, use_parallel_residual=False
    ),
    "opt": _opt,
    "opt normed after": lambda: _opt(do_layer_norm_before=False, word_embed_proj_dim=16),
    "bloom": _bloom,
    "falcon": lambda: _falcon(bias=True),
    "falcon with alibi": lambda: _falcon(alibi=True, multi_query=False, parallel_attn=False, bias=True),
    "falcon of new kind": lambda: _falcon(new_decoder_architecture=True, num_kv_heads=2),
    "phi": lambda: _decoder(transformers.PhiConfig, transformers.PhiForCausalLM),
    "qwen3": lambda: _decoder(transformers.Qwen3Config, transformers.Qwen3ForCausalLM, head_dim=8),
    "gemma2": lambda: _decoder(
        transformers.Gemma2Config,
        transformers.Gemma2ForCausalLM,
        head_dim=8,
        sliding_window=4,
        query_pre_attn_scalar=8,
        final_logit_softcapping=3.0,
    ),
    "gemma3_text": lambda: _decoder(
        transformers.Gemma3TextConfig,
        transformers.Gemma3ForCausalLM,
        head_dim=8,
        sliding_window=4,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    "olmo2": lambda: _decoder(transformers.Olmo2Config, transformers.Olmo2ForCausalLM),
    "stablelm": lambda: _decoder(transformers.StableLmConfig, transformers.StableLmForCausalLM),
    "stablelm in parallel": lambda: _decoder(
        transformers.StableLmConfig, transformers.StableLmForCausalLM, use_parallel_residual=True, qk_layernorm=True
    ),
    "smollm3": lambda: _decoder(transformers.SmolLM3Config, transformers.SmolLM3ForCausalLM, no_rope_layer_interval=2),
    "granite": lambda: _decoder(
        transformers.GraniteConfig, transformers.GraniteForCausalLM, logits_scaling=2.0, residual_multiplier=0.5
    ),
    "mixtral": lambda: _decoder(
        transformers.MixtralConfig, transformers.MixtralForCausalLM, num_local_experts=4, intermediate_size=24
    ),
    "qwen3_moe": lambda: _decoder(
        transformers.Qwen3MoeConfig,
        transformers.Qwen3MoeForCausalLM,
        head_dim=8,
        num_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
    ),
    "t5": _t5,
    "t5 gated": lambda: _t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
}
"""Every family that knedit knows, by its model type, and the kinds of it that are built otherwise."""

MASKED = {
    name
    for name in EVERY
    if name.split()[0]
    in ("bert", "roberta", "xlm-roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
}
FILLING = {name for name in EVERY if name.split()[0] == "t5"}


def network(name: str, seed: int = 0) -> Any:
    """Return a tiny random network of a family, in evaluation mode; biases and norms are random too."""
    torch.manual_seed(seed)
    net = EVERY[name]().eval()
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if key.endswith("bias") or "norm" in key.lower() or ".ln_" in key:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return net
