"""How far a neuron writes the answer: its activation times its value vector's product with the answer's embedding.

Reads weights and activations alone: no norm, no layer above. Knows no prompts.
Source: FiNE (ICLR 2025), which scores neurons by activation · (down projection's column · unembedding row).
"""

import torch
from torch import Tensor

from knedit.errors import ModelError
from knedit.models.replay import Replay


def alignment(replay: Replay) -> Tensor:
    """Return w_i · (value vector i · output embedding of the answer), summed over the replay's positions, [B, L, F].

    Raises ModelError where output embeddings are not of the hidden width, so that the product does not exist.
    """
    model = replay.model
    answers = torch.stack([model.output_embedding(token) for token in replay.answers.tolist()]).float()  # [B, D]
    layers = []
    for layer, activations in enumerate(replay.activations.sum(2)):
        vectors = model.value_vectors(layer, range(activations.shape[-1])).float()  # [F, D]
        if vectors.shape[-1] != answers.shape[-1]:
            raise ModelError(
                f"value vectors have {vectors.shape[-1]} entries and output embeddings {answers.shape[-1]}",
                model.source,
                "Choose another attribution method than alignment.",
            )
        layers.append(activations * (answers @ vectors.T.to(answers.device)))
    return torch.stack(layers, dim=1)
