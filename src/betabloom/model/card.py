"""The model card: README.md of a model directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from betabloom.version import __version__

if TYPE_CHECKING:
    from betabloom.config import Config

__all__ = ["model_card"]


def _since(training: dict[str, Any]) -> str:
    """The lines of the card about what was done after the training."""
    larger = "\nThen its decoder learned to draw at twice the size, in {steps:,} steps on {photos:,} photos.\n"
    other = "\nNew codes are drawn from the distribution of those of {pictures:,} other pictures: {source}.\n"
    refitted = [training["refitted"]] if "refitted" in training else []
    return "".join(
        [larger.format(**facts) for facts in training.get("enlarged", [])]
        + [other.format(**facts) for facts in refitted]
    )


def _provenance(c: Config) -> str:
    """Where the pictures come from and under which licence, as far as that is known."""
    note = f"{c.data.source_note.strip().rstrip('.')}.\n" if c.data.source_note.strip() else ""
    licence = c.data.licence.strip() or "not given (set it with `betabloom train --licence TEXT`)"
    return f"{note}Licence of the pictures: {licence}."


def model_card(c: Config, t: dict[str, Any], parameters: int, fingerprint: str) -> str:
    """The card of a model with these settings, facts of its training, number of weights and fingerprint."""
    validation = [f"| {name} | {value} |" for name, value in t.get("validation", {}).items()]
    head = ["| validation (nats per image) | |", "|---|---|"] if validation else []
    measures = "\n".join([*head, *validation])
    normalised = f" (normalised {t['beta_normalised']:.3g})" if "beta_normalised" in t else ""
    return f"""---
library_name: betabloom
tags: [beta-vae, variational-autoencoder, image-generation]
---

# A β-VAE trained on {t.get("source", "pictures")}

Made by betabloom {__version__}; fingerprint `{fingerprint}`; {parameters:,} parameters;
{c.data.width}×{c.data.height} pixels, {c.data.channels} channels, {c.model.latents} latents.

```python
import betabloom

model = betabloom.load("path/to/this/folder")
pictures = model.generate(n=16, seed=7)  # uint8, (16, {c.data.height}, {c.data.width}, {c.data.channels})
```

## Training

{t.get("images") or "A stream of"} pictures, {t.get("steps", 0):,} steps, {t.get("images_seen", 0):,} pictures seen
in {t.get("seconds", 0):.0f} s on {t.get("device", "?")} in {t.get("precision", "?")}.

Likelihood {c.model.likelihood}, prior {c.model.prior},
β = {c.objective.beta:g}{normalised}.

{measures}
{_since(t)}
## Pictures

{_provenance(c)}
The training pictures belong to their authors. Generated pictures can resemble them.
"""
