"""The ranker: the probability of each action of a user on a candidate item.

Rank(y | x) = ReLU(theta . f(x) . y), the bilinear interaction of user and item, is its first layer;
the ranker's features enter beside it. A candidate is scored alone: the other candidates change
nothing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.batch import Candidates
from socialrec_jax.shapes import Array, Floats, Ints, typed

HIDDEN = 32
_INITIAL_LOGIT = -6.0  # most candidates are not followed by an event


class Ranker(nn.Module):
    """Logits of the event types of candidates."""

    num_event_types: int
    interactions: int  # I, rank of the bilinear form
    focus: tuple[int, ...] = ()  # event types that candidates are sorted by; all when empty

    def setup(self):
        self.user = nn.Dense(self.interactions)
        self.item = nn.Dense(self.interactions)
        self.hidden = [nn.Dense(HIDDEN), nn.Dense(HIDDEN)]
        zeros, bias = nn.initializers.zeros, nn.initializers.constant(_INITIAL_LOGIT)
        self.logits = nn.Dense(self.num_event_types, kernel_init=zeros, bias_init=bias)
        self.standardise = Standardise()

    def project(self, catalogue: Floats[Array, "V D"]) -> Floats[Array, "V I"]:
        """The items' side of the bilinear form, computed once for many users."""
        return self.item(catalogue)

    @typed
    def __call__(
        self, candidates: Candidates, projected: Floats[Array, "V I"]
    ) -> Floats[Array, "Q C A"]:
        """Log-odds that the user's next event is of type a and on candidate c."""
        standardised = self.standardise(candidates.features)
        user = self.user(candidates.states)[:, None]
        interaction = nn.relu(user * projected[candidates.items])
        x = jnp.concatenate([standardised, interaction], axis=-1)
        for layer in self.hidden:
            x = nn.silu(layer(x))
        # Features also reach the logits directly: a linear model is the start.
        return self.logits(jnp.concatenate([standardised, x], axis=-1))


class Standardise(nn.Module):
    """Mean 0 and deviation 1 over the training candidates, outliers clipped.

    Mean and deviation are parameters that training sets and does not learn.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        center = self.param("center", nn.initializers.zeros, x.shape[-1:])
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        center, scale = jax.lax.stop_gradient((center, scale))
        standardised = (x - center[None, None]) / scale[None, None]
        return jnp.clip(standardised, -5, 5)


def measure(
    states: Floats[Array, "Q D"],
    profiles: Floats[Array, "Q F"],
    items: Ints[Array, "Q C"],
    catalogue: Floats[Array, "V D"],
    texts: Floats[Array, "V F"],
) -> tuple[Floats[Array, "Q C"], Floats[Array, "Q C"]]:
    """The two features that need vectors: the cosine of user and item, and that of the user's
    recent texts (profiles) and the item's text.
    """
    retrieval = jnp.einsum("QD,QCD->QC", states, catalogue[items])
    text = jnp.einsum("QF,QCF->QC", profiles, texts[items])
    return retrieval, text


@typed
def scores(logits: Floats[Array, "*S C A"], focus: tuple[int, ...] = ()) -> Floats[Array, "*S C"]:
    """The scores that candidates are sorted by: log-odds of any event type, or any in focus."""
    if focus:
        logits = logits[..., list(focus)]
    return jax.nn.logsumexp(logits, axis=-1)
