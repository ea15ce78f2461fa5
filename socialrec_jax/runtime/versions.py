"""Which versions are installed. Nothing of them is imported, so that the answer takes no time."""

from __future__ import annotations

import platform
from importlib import metadata

import socialrec_jax

# What results may depend on.
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "jraph", "orbax-checkpoint", "numpy", "duckdb")
_NO_PLUGIN = "none, JAX computes on the CPU"


def versions() -> dict[str, str]:
    """{package: version}."""
    return {name: metadata.version(name) for name in _PACKAGES}


def version_lines() -> str:
    """What `--version` prints: this package, JAX and its plugins for devices, the platform."""
    installed = versions()
    rows = {
        "socialrec_jax": socialrec_jax.__version__,
        "jax": installed["jax"],
        "jaxlib": installed["jaxlib"],
        "plugins": ", ".join(_plugins()) or _NO_PLUGIN,
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
    return "\n".join(f"{name} {value}" for name, value in rows.items())


def _plugins() -> list[str]:
    """The packages by which JAX finds accelerators."""
    # JAX looks for the same entry points; libtpu alone has none.
    found = {point.dist for point in metadata.entry_points(group="jax_plugins")}
    found |= set(metadata.distributions(name="libtpu"))
    return sorted(f"{package.name} {package.version}" for package in found if package)
