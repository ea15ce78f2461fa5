"""The ranker: how likely a user does something to a candidate, from all that is known of the two.

Rank(y | x) = ReLU(theta . f(x) . y), the bilinear interaction of user and product, is its first layer; the signals
stand beside it. A candidate is scored alone: who else is a candidate changes nothing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from socialrec_jax.batch import Candidates
from socialrec_jax.shapes import Array, Floats, typed

INTERACTIONS = 16  # rank of the bilinear form
HIDDEN = 32
_RARE = -6.0  # the log-odds of a candidate before anything is known of it


class Ranker(nn.Module):
    """One logit an event type."""

    num_event_types: int
    temperature: float  # of the retriever's cosines

    @nn.compact
    @typed
    def __call__(
        self, asked: Candidates, catalogue: Floats[Array, "V D"], texts: Floats[Array, "V F"]
    ) -> Floats[Array, "Q C A"]:
        """Log-odds that the user's next event is of type a and on candidate c; catalogue, texts: vectors of items."""
        items = catalogue[asked.items]
        told = self._standardise(tell(asked, catalogue, texts, self.temperature))
        interaction = nn.relu(
            nn.Dense(INTERACTIONS, name="user")(asked.states)[:, None] * nn.Dense(INTERACTIONS, name="item")(items)
        )
        x = jnp.concatenate([told, interaction], axis=-1)
        for layer in range(2):
            x = nn.silu(nn.Dense(HIDDEN, name=f"hidden_{layer}")(x))
        x = jnp.concatenate([told, x], axis=-1)
        zeros, bias = nn.initializers.zeros, nn.initializers.constant(_RARE)
        return nn.Dense(self.num_event_types, kernel_init=zeros, bias_init=bias, name="logits")(x)

    def _standardise(self, told: Array) -> Array:
        """Mean 0 and deviation 1 over the candidates that training saw; see `training.rank`."""
        center = self.param("center", nn.initializers.zeros, told.shape[-1:])
        scale = self.param("scale", nn.initializers.ones, told.shape[-1:])
        center, scale = jax.lax.stop_gradient((center, scale))
        return jnp.clip((told - center[None, None]) / scale[None, None], -5, 5)


def tell(asked: Candidates, catalogue: Array, texts: Array, temperature: float) -> Array:
    """All scalars [Q, C, S + 2] of a candidate: signals, log-probability under the retriever, likeness in text."""
    retrieval = jnp.einsum("QD,QCD->QC", asked.states, catalogue[asked.items]) / temperature
    text = jnp.einsum("QF,QCF->QC", asked.profiles, texts[asked.items])
    return jnp.concatenate(
        [asked.signals, (retrieval - asked.normalisers[:, None])[..., None], text[..., None]], axis=-1
    )


@typed
def scores(logits: Floats[Array, "*S C A"]) -> Floats[Array, "*S C"]:
    """What candidates are sorted by: any of the actions."""
    return jax.nn.logsumexp(logits, axis=-1)
