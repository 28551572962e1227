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
# # The scikit-learn estimator
#
# `betabloom.BetaVAE` is used like PCA: `fit`, `transform`, `inverse_transform`, `sample`, `score_samples`. It needs
# `pip install 'betabloom[sklearn]'`.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from betabloom import BetaVAE

STEPS = 300
digits = load_digits()
train, test, labels, test_labels = train_test_split(digits.data, digits.target, random_state=0)
train.shape

# %% [markdown]
# ## Codes, and back
#
# `image_shape` says that rows are pictures, so that the network is convolutional.

# %%
vae = BetaVAE(8, image_shape=(8, 8), widths=(16, 32), max_iter=STEPS, random_state=0).fit(train)
pca = PCA(8).fit(train)
for name, model in (("VAE", vae), ("PCA", pca)):
    back = model.inverse_transform(model.transform(test))
    print(
        f"{name}: squared error {np.square(back - test).sum(1).mean():7.1f}, log-likelihood of a row {model.score(test):8.1f}"
    )

# %% [markdown]
# For the VAE the log-likelihood is a lower bound; both are in nats, in the units of the data, and on rows that were not learned from.
#
# ## New rows

# %%
figure, axes = plt.subplots(2, 10, figsize=(8, 1.8))
for axis, row in zip(axes.flat, vae.sample(20, random_state=7), strict=True):
    axis.imshow(row.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
    axis.axis("off")

# %% [markdown]
# ## Unusual rows
#
# Those with the lowest bound. Beware: a likelihood judges how well a row can be drawn, and not whether it makes sense.

# %%
scores = vae.score_samples(test)
figure, axes = plt.subplots(1, 10, figsize=(8, 1))
for axis, place in zip(axes, scores.argsort()[:10], strict=True):
    axis.imshow(test[place].reshape(8, 8), cmap="gray_r")
    axis.set_title(test_labels[place], fontsize=8)
    axis.axis("off")

# %% [markdown]
# ## In a pipeline

# %%
for name, first in (("VAE", BetaVAE(8, max_iter=STEPS, random_state=0)), ("PCA", PCA(8))):
    classify = make_pipeline(first, KNeighborsClassifier(5)).fit(train, labels)
    print(f"{name}: accuracy of 5 nearest neighbours {classify.score(test, test_labels):.3f}")
