"""From latents to tokens and back: five ways to spend the same bits.

A quantiser takes latents (M, size) and gives the quantised ones with a straight-through gradient, ids (M, places) from
0 to 2^bits - 1, and losses. `codes` gives the quantised latents of ids.

- `VectorQuantiser`: the nearest of 2^bits codes, which follow the latents as moving averages (van den Oord et al.
  2017); codes that are hardly used are seeded anew.
- `ResidualQuantiser`: each place quantises what the places before it left over; in training a random number of them is
  left out, so that fewer tokens also mean something (Zeghidour et al. 2021).
- `ProductQuantiser`: each place quantises its own part of the latent.
- `ScalarQuantiser`: FSQ (Mentzer et al. 2023): each number is rounded to one of a few levels; no codebook.
- `BitQuantiser`: LFQ (Yu et al. 2023): each number is its sign, a token is the bits of its place; no lookup. An entropy
  term asks that each bit be sure in every sample and even over all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DECAY = 0.99
DEAD = 0.125  # of the mean use: below it a code is seeded anew
COMMITMENT, ENTROPY = 0.25, 0.1  # weights of the losses
SHARPNESS = 4.0  # how soon a bit counts as sure: probability sigmoid(SHARPNESS z)
CODE = 96  # numbers of a code
DROPOUT = 0.15  # how often a residual quantiser leaves places out in training
LEVELS = {  # of the numbers of a token of FSQ; their product is 2^bits
    1: (2,), 2: (4,), 3: (8,), 4: (4, 4), 5: (8, 4), 6: (8, 8), 7: (8, 4, 4), 8: (8, 8, 4), 9: (8, 8, 8),
    10: (8, 8, 4, 4), 11: (8, 8, 8, 4), 12: (8, 8, 8, 8), 13: (8, 8, 8, 4, 4), 14: (8, 8, 8, 8, 4),
    15: (8, 8, 8, 8, 8), 16: (8, 8, 8, 8, 4, 4), 17: (8, 8, 8, 8, 8, 4), 18: (8, 8, 8, 8, 8, 8),
}  # fmt: skip


class Quantiser(nn.Module):
    """What all have.

    Attributes:
        size: numbers of a latent.
        places: tokens of a latent.
    """

    size: int
    places: int

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(M, size) -> quantised (M, size), ids (M, places), losses by name with their weights already in them."""
        raise NotImplementedError

    def codes(self, ids: Tensor) -> Tensor:
        """(..., places) -> (..., size)."""
        raise NotImplementedError


class Codebook(nn.Module):
    """2^bits codes of `size` numbers.

    Buffers: codes (K, size) = sums (K, size) / uses (K,), moving averages of the latents nearest to each.
    """

    codes: Tensor
    sums: Tensor
    uses: Tensor

    def __init__(self, bits: int, size: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(2**bits, size))
        self.register_buffer("sums", torch.zeros(2**bits, size))
        self.register_buffer("uses", torch.zeros(2**bits))

    def nearest(self, latents: Tensor) -> Tensor:
        """(M, size) -> (M,)."""
        return (self.codes.square().sum(1) - 2 * latents @ self.codes.T).argmin(-1)

    @torch.no_grad()
    def learn(self, latents: Tensor, ids: Tensor) -> None:
        """Move the codes towards the latents (M, size) that are nearest to them; seed dead ones with some of these."""
        if not len(latents):
            return
        count = len(self.codes)
        self.uses.lerp_(torch.bincount(ids, minlength=count).float(), 1 - DECAY)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, ids, latents), 1 - DECAY)
        least = DEAD * len(latents) / count
        dead = self.uses < least  # just seeded, a code lives on only if it is used at once
        seeds = latents[torch.randint(len(latents), (count,), device=latents.device)]
        self.uses.copy_(torch.where(dead, least, self.uses))
        self.sums.copy_(torch.where(dead[:, None], seeds * least, self.sums))
        self.codes.copy_(self.sums / self.uses[:, None])


class VectorQuantiser(Quantiser):
    """One codebook."""

    def __init__(self, places: int, bits: int) -> None:
        super().__init__()
        self.size, self.places = CODE, places
        self.book = Codebook(bits, CODE)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        ids = self.book.nearest(latents)
        if self.training:
            self.book.learn(latents.detach(), ids)
        found = self.book.codes[ids]
        losses = {"commitment": COMMITMENT * F.mse_loss(latents, found)}
        return latents + (found - latents).detach(), ids[:, None], losses

    def codes(self, ids: Tensor) -> Tensor:
        return self.book.codes[ids[..., 0]]


class ResidualQuantiser(Quantiser):
    """A codebook for each place, each of what is left over."""

    def __init__(self, places: int, bits: int) -> None:
        super().__init__()
        self.size, self.places = CODE, places
        self.books = nn.ModuleList(Codebook(bits, CODE) for _ in range(places))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        heard = torch.full((len(latents),), self.places, device=latents.device)
        if self.training:  # most latents use all places, the others any number of them
            some = torch.randint(1, self.places + 1, heard.shape, device=latents.device)
            heard = torch.where(torch.rand(heard.shape, device=latents.device) < DROPOUT, some, heard)
        total, ids, commitment = torch.zeros_like(latents), [], latents.new_zeros(())
        for place, book in enumerate(self.books):
            assert isinstance(book, Codebook)
            rest = latents - total
            ids.append(book.nearest(rest))
            used = heard > place
            if self.training:
                book.learn(rest.detach()[used], ids[-1][used])
            total = total + (book.codes[ids[-1]] * used[:, None]).detach()
            commitment = commitment + F.mse_loss(latents * used[:, None], total * used[:, None])
        losses = {"commitment": COMMITMENT * commitment / self.places}
        return latents + (total - latents).detach(), torch.stack(ids, 1), losses

    def codes(self, ids: Tensor) -> Tensor:
        """Of the first places where ids (..., up to `places`) are fewer."""
        books = list(self.books)[: ids.shape[-1]]
        return torch.stack([book.codes[ids[..., place]] for place, book in enumerate(books)]).sum(0)  # type: ignore[index]


class ProductQuantiser(Quantiser):
    """A codebook for each place, each of its own numbers."""

    def __init__(self, places: int, bits: int) -> None:
        super().__init__()
        self.places, self.part = places, max(4, CODE // places)
        self.size = places * self.part
        self.parts = nn.ModuleList(Codebook(bits, self.part) for _ in range(places))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        ids = []
        for book, own in zip(self.parts, latents.split(self.part, 1), strict=True):
            assert isinstance(book, Codebook)
            ids.append(book.nearest(own))
            if self.training:
                book.learn(own.detach(), ids[-1])
        found = self.codes(torch.stack(ids, 1))
        losses = {"commitment": COMMITMENT * F.mse_loss(latents, found)}
        return latents + (found - latents).detach(), torch.stack(ids, 1), losses

    def codes(self, ids: Tensor) -> Tensor:
        return torch.cat([book.codes[ids[..., place]] for place, book in enumerate(self.parts)], -1)  # type: ignore[index]


class ScalarQuantiser(Quantiser):
    """Numbers rounded to a few levels between -1 and 1."""

    levels: Tensor
    radix: Tensor

    def __init__(self, places: int, bits: int) -> None:
        super().__init__()
        levels = LEVELS[bits]
        self.places, self.part = places, len(levels)
        self.size = places * self.part
        self.register_buffer("levels", torch.tensor(levels * places), persistent=False)
        radix = [math.prod(levels[:k]) for k in range(len(levels))]
        self.register_buffer("radix", torch.tensor(radix), persistent=False)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        # an even number of levels lies half a step off the middle
        bounded = (torch.tanh(latents) + 1) / 2 * (self.levels - 1)
        digits = bounded.round().long()
        ids = (digits.unflatten(1, (self.places, self.part)) * self.radix).sum(-1)
        found = self.codes(ids)
        straight = bounded * 2 / (self.levels - 1) - 1
        return straight + (found - straight).detach(), ids, {}

    def codes(self, ids: Tensor) -> Tensor:
        levels = self.levels[: self.part]
        digits = torch.div(ids[..., None], self.radix, rounding_mode="floor") % levels  # (..., places, part)
        return (digits.float() * 2 / (levels - 1) - 1).flatten(-2)


class BitQuantiser(Quantiser):
    """Signs."""

    powers: Tensor

    def __init__(self, places: int, bits: int) -> None:
        super().__init__()
        self.places, self.bits, self.size = places, bits, places * bits
        # keeps every bit around its middle; without it many soon are the same for all motion, and never change again
        self.norm = nn.BatchNorm1d(self.size, affine=False)
        self.register_buffer("powers", 2 ** torch.arange(bits), persistent=False)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        latents = self.norm(latents)
        ids = ((latents > 0).unflatten(1, (self.places, self.bits)) * self.powers).sum(-1)
        found = self.codes(ids)
        logits = SHARPNESS * latents
        share = torch.sigmoid(logits)
        unsure = (F.softplus(logits) - logits * share).mean()  # the entropy of each, of finite slope
        mean = share.mean(0).clamp(1e-6, 1 - 1e-6)
        even = (torch.special.entr(mean) + torch.special.entr(1 - mean)).mean()
        losses = {
            "commitment": COMMITMENT * F.mse_loss(latents, found),
            "entropy": ENTROPY * (unsure - even),
        }
        return latents + (found - latents).detach(), ids, losses

    def codes(self, ids: Tensor) -> Tensor:
        bits = torch.div(ids[..., None], self.powers, rounding_mode="floor") % 2
        return (2.0 * bits - 1).flatten(-2)


QUANTISERS = {
    "vq": VectorQuantiser,
    "rq": ResidualQuantiser,
    "pq": ProductQuantiser,
    "fsq": ScalarQuantiser,
    "lfq": BitQuantiser,
}
