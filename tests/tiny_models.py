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
VOCABULARY = {word: number for number, word in enumerate(SPECIAL + WORDS)}


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


def _bert() -> Any:
    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=40,
            initializer_range=0.3,
        )
    )


def _roberta() -> Any:
    return transformers.RobertaForMaskedLM(
        transformers.RobertaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=42,
            pad_token_id=0,
            initializer_range=0.3,
        )
    )


def _gpt2() -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=len(VOCABULARY), n_positions=40, n_embd=32, n_layer=3, n_head=4, initializer_range=0.3
        )
    )


def _decoder(config_class: Any, model_class: Any, **more: Any) -> Any:
    return model_class(
        config_class(
            vocab_size=more.pop("vocab_size", len(VOCABULARY)),
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=48,
            max_position_embeddings=40,
            initializer_range=0.3,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
            **more,
        )
    )


TINY: dict[str, Callable[[], Any]] = {
    "bert": _bert,
    "roberta": _roberta,
    "gpt2": _gpt2,
    "llama": lambda: _decoder(transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": lambda: _decoder(transformers.MistralConfig, transformers.MistralForCausalLM, sliding_window=4),
    "qwen2": lambda: _decoder(transformers.Qwen2Config, transformers.Qwen2ForCausalLM, vocab_size=BYTE_VOCABULARY),
}


def network(name: str, seed: int = 0) -> Any:
    """Return a tiny random network of a family, in evaluation mode; biases and norms are random too."""
    torch.manual_seed(seed)
    net = TINY[name]().eval()
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if key.endswith("bias") or "norm" in key.lower() or ".ln_" in key:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return net
