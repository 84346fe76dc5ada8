"""Models from files: the same logits as in memory, and one clear error for whatever is wrong with the files."""

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from knedit.errors import ModelError
from knedit.models.loading import layout_of, load_model, load_reader
from knedit.models.precision import tf32_products
from knedit.models.prompting import encode_text
from tests.tiny_models import EVERY, FILLING, TINY, network, tokenizer, tokenizer_of


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep what is no file from being looked for anywhere else."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))


def save(name: str, folder: Path, net: Any = None) -> Path:
    """Save a tiny network (or what is left of one) with its tokenizer; return the folder."""
    (net or network(name)).save_pretrained(folder)
    tokenizer_of(name).save_pretrained(folder)
    return folder


def change_config(folder: Path, **entries: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | entries), encoding="utf-8")
    return folder


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("name", EVERY)
def test_a_model_from_files_answers_as_the_network_in_memory(name: str, tmp_path: Path) -> None:
    net = network(name)
    tokens = torch.arange(5, 17)[None]
    model = load_model(save(name, tmp_path / "model", net), device="cpu")
    given = {"input_ids": tokens} | ({"decoder_input_ids": tokens} if name in FILLING else {})
    with torch.no_grad():
        assert torch.equal(model.net(**given).logits, net(**given).logits)
    assert not model.net.training
    assert model.source == str(tmp_path / "model")
    assert model.layout == layout_of(tmp_path / "model")
    if name != "qwen2":  # transformers makes a Qwen2Tokenizer of whatever was saved beside a Qwen 2
        words = "the capital of France is Paris"
        assert model.tokenizer(words)["input_ids"] == tokenizer_of(name)(words)["input_ids"]


def test_shards_are_one_model(tmp_path: Path) -> None:
    net = network("llama")
    net.save_pretrained(tmp_path, max_shard_size="40KB")
    tokenizer(masked=False).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    tokens = torch.arange(5, 17)[None]
    with torch.no_grad():
        assert torch.equal(load_model(str(tmp_path), device="cpu").net(tokens).logits, net(tokens).logits)


def test_the_precision_is_the_wished_one_whatever_is_stored(tmp_path: Path) -> None:
    folder = save("gpt2", tmp_path / "model", network("gpt2").to(torch.bfloat16))
    found = {dtype: load_model(folder, dtype=dtype, device="cpu").dtype for dtype in ("float32", "bfloat16", "auto")}
    assert found == {"float32": torch.float32, "bfloat16": torch.bfloat16, "auto": torch.bfloat16}
    assert load_model(folder, device="cpu").dtype == torch.float32


def test_a_bare_gpt2_has_its_head_in_its_embeddings(tmp_path: Path) -> None:
    net = network("gpt2")
    tokens = torch.arange(5, 17)[None]
    with torch.no_grad():
        found = load_model(save("gpt2", tmp_path / "model", net.transformer), device="cpu").net(tokens).logits
        assert torch.equal(found, net(tokens).logits)


@pytest.mark.parametrize(("name", "part"), [("bert", "bert"), ("roberta", "roberta"), ("llama", "model")])
def test_a_model_saved_without_its_head_is_refused_since_the_head_would_be_random(
    name: str, part: str, tmp_path: Path
) -> None:
    save(name, tmp_path, getattr(network(name), part))
    with pytest.raises(ModelError, match=r"the files lack \d+ of the network's tensors") as caught:
        load_model(tmp_path, device="cpu")
    assert "language-modelling head" in caught.value.cure


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    change_weights(save("llama", tmp_path), lambda weights: weights.pop(name))
    with pytest.raises(ModelError, match=f"the files lack 1 of the network's tensors, such as {name}"):
        load_model(tmp_path, device="cpu")


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    change_config(save("llama", tmp_path), intermediate_size=50)
    with pytest.raises(ModelError):
        load_model(tmp_path, device="cpu")


def test_weights_that_hold_no_numbers_are_refused(tmp_path: Path) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights["transformer.h.2.mlp.c_proj.weight"][3, 4] = float("nan")

    change_weights(save("gpt2", tmp_path), spoil)
    with pytest.raises(ModelError, match="not finite") as caught:
        load_model(tmp_path, device="cpu")
    assert caught.value.where == str(tmp_path)


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    path = save("gpt2", tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="transformers cannot load the model"):
        load_model(tmp_path, device="cpu")


def test_a_model_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    for name in TINY:
        network(name).save_pretrained(tmp_path / name)
        with pytest.raises(ModelError, match="token"):
            load_model(tmp_path / name, device="cpu")


@pytest.mark.parametrize(
    "missing", ["nowhere/at/all", "./nowhere", "/nowhere", "nowhere.gguf", "model.safetensors", "", "a b"]
)
def test_a_path_to_nothing_is_refused(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError):
        load_model(missing)


def test_a_path_object_is_never_taken_for_a_name_on_the_hub() -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        load_model(Path("someone/something"))


@pytest.mark.parametrize("name", ["someone/something", "something", "some..thing/bad"])
def test_a_name_that_is_not_to_be_had_without_a_network_fails_soon(name: str) -> None:
    start = time.monotonic()
    with pytest.raises(ModelError, match="nor to be had from the Hugging Face Hub") as caught:
        load_model(name)
    assert caught.value.where == name
    assert time.monotonic() - start < 5


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no safetensors weights"):
        load_model(tmp_path)
    (save("gpt2", tmp_path) / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no safetensors weights"):
        load_model(tmp_path)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    (save("gpt2", tmp_path) / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model(tmp_path)


class Trap:
    """Leave a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("ending", ["bin", "pt", "pth", "ckpt", "pkl"])
def test_pickle_weights_are_refused_unread_with_the_cure(ending: str, tmp_path: Path) -> None:
    folder = save("gpt2", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    weights = folder / f"pytorch_model.{ending}"
    weights.write_bytes(pickle.dumps(Trap(tmp_path / "trace")))
    for given in (folder, weights, str(weights)):
        with pytest.raises(ModelError, match="only pickle weights") as caught:
            load_model(given)
        assert "Convert them to safetensors" in caught.value.cure
    assert not (tmp_path / "trace").exists()


def test_pickle_beside_safetensors_is_not_read(tmp_path: Path) -> None:
    folder = save("gpt2", tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "trace")))
    load_model(folder, device="cpu")
    assert not (tmp_path / "trace").exists()


def test_pickle_weights_are_refused_though_other_safetensors_lie_beside_them(tmp_path: Path) -> None:
    net = network("gpt2")
    (save("gpt2", tmp_path, net) / "model.safetensors").rename(tmp_path / "adapter.safetensors")
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="transformers cannot load the model"):
        load_model(tmp_path, device="cpu")


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    folder = save("llama", tmp_path / "model")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nclass Own: pass\n", encoding="utf-8")
    change_config(folder, auto_map={"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.Own"})
    load_model(folder, device="cpu")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 and so on", b"\x00" * 64])
def test_a_file_that_is_no_gguf_is_refused_whatever_its_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    for given in (tmp_path / "x.gguf", tmp_path):
        with pytest.raises(ModelError, match="the file is not GGUF") as caught:
            load_model(given)
        assert caught.value.where == str(tmp_path / "x.gguf")


def test_a_gguf_file_that_ends_after_its_name_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    with pytest.raises(ModelError, match="cannot be converted"):
        load_model(tmp_path / "x.gguf")
    assert [path for path in (tmp_path / "cache" / "gguf").iterdir() if path.suffix != ".lock"] == []


def test_a_single_weights_file_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a model is a folder, a GGUF file or a Hub id"):
        load_model(save("gpt2", tmp_path) / "model.safetensors")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", r"config\.json cannot be read"),
        ("", r"config\.json cannot be read"),
        ("[]", "no JSON object"),
        ("null", "no JSON object"),
        ("{}", "family None is not known"),
        ('{"model_type": "t6"}', "family 't6' is not known"),
        ('{"model_type": "gpt2"}', "n_layer is None"),
        ("[" * 100_000, r"config\.json cannot be read"),
    ],
)
def test_a_config_that_says_nothing_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (save("gpt2", tmp_path) / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=words):
        load_model(tmp_path)


def test_a_config_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (save("gpt2", tmp_path) / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load_model(tmp_path)


@pytest.mark.parametrize("dtype", ["float64", "int8", "", "FLOAT32"])
def test_an_unknown_precision_is_refused_before_anything_is_read(dtype: str) -> None:
    with pytest.raises(ModelError, match="there is no precision") as caught:
        load_model("nowhere", dtype=dtype)
    assert "float32" in caught.value.cure


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="device"):
        load_model(save("gpt2", tmp_path), device=device)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_reader_reads_as_the_model_does_and_holds_no_weights(name: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path / "model", network(name).to(torch.bfloat16))
    text, answer = ("the capital of France is [MASK]" if name == "bert" else "the capital of France is"), " Paris"
    for dtype in ("float32", "bfloat16", "auto"):
        reader, model = load_reader(folder, dtype=dtype), load_model(folder, dtype=dtype, device="cpu")
        assert encode_text(reader, text, answer) == encode_text(model, text, answer)
        assert (reader.precision, reader.layout, reader.max_tokens) == (model.precision, model.layout, model.max_tokens)
        assert {parameter.device.type for parameter in reader.net.parameters()} == {"meta"}


def test_a_reader_of_unusable_files_is_refused_as_the_model_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load_reader(tmp_path / "nowhere")
    network("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="token"):
        load_reader(tmp_path)


def test_a_device_map_loads_the_same_model(tmp_path: Path) -> None:
    net = network("llama")
    folder, tokens = save("llama", tmp_path, net), torch.arange(5, 17)[None]
    model = load_model(folder, device_map="auto")
    with torch.no_grad():
        assert torch.allclose(model.net(tokens.to(model.device)).logits.cpu(), net(tokens).logits, atol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_tf32_is_refused_without_cuda(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="TF32 is a precision of CUDA devices"):
        load_model(save("llama", tmp_path), dtype="tf32")


def test_tf32_is_allowed_only_while_it_is_asked_for() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    for wanted in (True, False):
        with tf32_products(wanted):
            assert torch.backends.cuda.matmul.allow_tf32 is wanted
        assert torch.backends.cuda.matmul.allow_tf32 is before
