"""The ranker: how likely a user does something to a candidate, from all that is known of the two.

Rank(y | x) = ReLU(theta . f(x) . y), the bilinear interaction of user and product, is its first
layer; what it is told of the two stands beside it. A candidate is scored alone: who else is a
candidate changes nothing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.batch import Candidates
from socialrec_jax.shapes import Array, Floats, Ints, typed

HIDDEN = 32
_RARE = -6.0  # the log-odds of a candidate before anything is known of it


class Ranker(nn.Module):
    """One logit an event type."""

    num_event_types: int
    interactions: int  # I, rank of the bilinear form
    focus: tuple[int, ...] = ()  # event types that candidates are sorted by; all when empty

    def setup(self):
        self.user = nn.Dense(self.interactions)
        self.item = nn.Dense(self.interactions)
        self.hidden = [nn.Dense(HIDDEN), nn.Dense(HIDDEN)]
        zeros, bias = nn.initializers.zeros, nn.initializers.constant(_RARE)
        self.logits = nn.Dense(self.num_event_types, kernel_init=zeros, bias_init=bias)
        self.standardise = Standardise()

    def project(self, catalogue: Floats[Array, "V D"]) -> Floats[Array, "V I"]:
        """The items' side of the bilinear form: once for many users."""
        return self.item(catalogue)

    @typed
    def __call__(
        self, candidates: Candidates, projected: Floats[Array, "V I"]
    ) -> Floats[Array, "Q C A"]:
        """Log-odds that the user's next event is of type a and on candidate c."""
        standardised = self.standardise(candidates.features)
        interaction = nn.relu(self.user(candidates.states)[:, None] * projected[candidates.items])
        x = jnp.concatenate([standardised, interaction], axis=-1)
        for layer in self.hidden:
            x = nn.silu(layer(x))
        return self.logits(jnp.concatenate([standardised, x], axis=-1))


class Standardise(nn.Module):
    """Mean 0 and deviation 1 over the candidates that training saw, and no outliers; both are set,
    not learnt.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        center = self.param("center", nn.initializers.zeros, x.shape[-1:])
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        center, scale = jax.lax.stop_gradient((center, scale))
        return jnp.clip((x - center[None, None]) / scale[None, None], -5, 5)


def measure(
    states: Floats[Array, "Q D"],
    profiles: Floats[Array, "Q F"],
    items: Ints[Array, "Q C"],
    catalogue: Floats[Array, "V D"],
    texts: Floats[Array, "V F"],
) -> tuple[Floats[Array, "Q C"], Floats[Array, "Q C"]]:
    """The two signals that need vectors: cosine of user and item, and of recent items' texts and
    the item's.
    """
    retrieval = jnp.einsum("QD,QCD->QC", states, catalogue[items])
    return retrieval, jnp.einsum("QF,QCF->QC", profiles, texts[items])


@typed
def scores(logits: Floats[Array, "*S C A"], focus: tuple[int, ...] = ()) -> Floats[Array, "*S C"]:
    """What candidates are sorted by: any of the actions, or of those in focus."""
    return jax.nn.logsumexp(logits[..., list(focus)] if focus else logits, axis=-1)
