"""What a head may be made of beside its last linear layer: a learned mix of layers, a hidden layer, a BiLSTM.

A tuned encoder wants none of this; a frozen one does, because nothing below the head adapts to the task.

Source: the mix is equation 1 of Peters et al. 2018, "Deep contextualized word representations", arXiv:1802.05365; the
BiLSTM is that of Devlin et al. 2019, arXiv:1810.04805, section 5.3, where a frozen encoder under it comes within 0.3 F1
of a tuned one (table 7). That such networks pay for a frozen encoder and hurt a tuned one: Peters, Ruder & Smith 2019,
arXiv:1903.05987, section 4.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unfreeze.encoders.head_settings import MOST_WIDE


class LayerMix(nn.Module):
    """A weighted sum of layers: scale times the softmax of the weights; at first their mean.

    Args:
        layers: how many it mixes.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mix states of one shape.

        Args:
            states: of each layer, (batch, tokens, hidden).
        """
        shares = self.weights.softmax(0) * self.scale
        mixed = states[0] * shares[0]
        for share, state in zip(shares[1:], states[1:], strict=True):
            mixed = mixed + state * share
        return mixed


class Hidden(nn.Module):
    """One hidden layer: linear, GELU, dropout.

    Attributes:
        width: numbers that it gives: as many as it reads, at most ``MOST_WIDE``.

    Args:
        read: numbers that it reads.
        hidden: of the encoder; not used here.
        dropout: probability.
    """

    def __init__(self, read: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.width = min(read, MOST_WIDE)
        self.dense = nn.Linear(read, self.width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """(…, read) to (…, width); each row by itself, so the mask says nothing."""
        return self.dropout(nn.functional.gelu(self.dense(states)))


class BiLstm(nn.Module):
    """Two bidirectional LSTM layers over the real tokens of each text; dropout after each.

    It must be given each text in a row of its own, padded on the right. What stands in padding is not read, and zeros
    are given for it.

    Attributes:
        width: numbers that it gives for a token: both directions together as many as the encoder's hidden size, which
            is how the 768-dimensional BiLSTM of the paper is read here.

    Args:
        read: numbers that it reads of a token.
        hidden: of the encoder.
        dropout: probability.
    """

    def __init__(self, read: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        half = -(-hidden // 2)
        self.width = 2 * half
        self.first = nn.LSTM(read, half, batch_first=True, bidirectional=True)
        self.second = nn.LSTM(self.width, half, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.last_dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Read each text in both directions.

        Args:
            states: (batch, tokens, read).
            attention_mask: 1 for real tokens, which come first, and 0 for padding, (batch, tokens); None where all are.

        Returns:
            (batch, tokens, width), float32: in bfloat16 an LSTM of a hundred steps loses what it should carry.
        """
        tokens = states.shape[1]
        lengths = torch.full((len(states),), tokens) if attention_mask is None else attention_mask.sum(1).cpu()
        with torch.autocast(states.device.type, enabled=False):
            first = self._over(self.first, states.float(), lengths)
            return self.last_dropout(self._over(self.second, self.dropout(first), lengths))

    @staticmethod
    def _over(lstm: nn.LSTM, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(states, lengths.clamp(min=1), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=states.shape[1])[0]
