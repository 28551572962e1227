# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # First pictures
#
# From install to pictures of your own, on a CPU or a GPU, whichever is found. Choose *Run all*; it takes a few minutes.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("betabloom") is None:  # on Colab, for example
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "betabloom"], check=True)

import torch

import betabloom

device = "cuda" if torch.cuda.is_available() else "cpu"
print("training will use:", device)

# %% [markdown]
# ## Flowers that do not exist
#
# The bundled model has learned from the Oxford 102 flowers. A seed names a series of pictures: the same seed gives the same pictures.

# %%
model = betabloom.load()
flowers = model.generate(n=24, seed=7)
betabloom.grid(flowers, columns=8)

# %% [markdown]
# The same model, with codes from the prior N(0, I): camouflage. [Chapter 5 of the book](../docs/book/05-priors.md) explains why.

# %%
betabloom.grid(model.generate(n=8, seed=7, sampler="prior"), columns=8)

# %% [markdown]
# ## Relatives of one picture

# %%
betabloom.grid(model.vary(flowers[0], n=8, seed=1), columns=8)

# %% [markdown]
# ## A model of your own
#
# Put the path of a folder of pictures in place of `drawn:1000`, which draws flowers to learn from. More steps make better pictures.

# %%
SOURCE = "drawn:1000"
STEPS = 600

pictures = betabloom.prepare(SOURCE, size=32)
betabloom.grid(pictures.pictures[:16], columns=8)

# %%
mine = betabloom.fit(pictures, preset="tiny", steps=STEPS)

# %%
betabloom.grid(mine.generate(n=24, seed=1), columns=8)

# %% [markdown]
# Originals above their reconstructions: how much of a picture does its code say?

# %%
some = pictures.pictures[:8]
betabloom.pairs(some, mine.reconstruct(some))

# %% [markdown]
# ## Keep it
#
# A model is a folder of safetensors and JSON: loading one can run no code. `betabloom share` makes one HTML file of it.

# %%
mine.save("my-model")
again = betabloom.load("my-model")
assert (again.generate(n=2, seed=1) == mine.generate(n=2, seed=1)).all()
