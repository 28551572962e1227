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
# # Reparametrisation and β by doing
#
# We write a VAE in plain PyTorch, see why z = μ + σ ⊙ ε is needed, and train it with several β. Chapters 2, 3 and 6 of
# [the book](../docs/book/index.md) have the mathematics.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from betabloom.data import Drawn

torch.manual_seed(0)
COUNT, STEPS = 1500, 400
source = Drawn(COUNT, seed=0, size=32)
x = torch.from_numpy(np.stack([np.asarray(source.read(i)) for i in range(COUNT)])).float() / 255
x = x.permute(0, 3, 1, 2)[:, :, ::2, ::2].contiguous()  # 16×16 is enough
x.shape

# %% [markdown]
# ## A gradient through a random number
#
# Let f(z) = z² with z ~ N(μ, σ²). Its expectation is μ² + σ², so its gradient is (2μ, 2σ). A draw from a generator has no derivative:

# %%
mu, sigma = torch.tensor(1.0, requires_grad=True), torch.tensor(0.5, requires_grad=True)
z = torch.normal(mu.detach(), sigma.detach(), size=(10_000,))
print("z knows nothing of μ and σ: requires_grad =", z.requires_grad)

# %% [markdown]
# Written as a function of μ, σ and noise, it has one:

# %%
noise = torch.randn(10_000)
z = mu + sigma * noise
(z**2).mean().backward()
print("gradients", mu.grad.item(), sigma.grad.item(), "expected", 2.0, 1.0)

# %% [markdown]
# The score-function estimate f(z) ∇ log q(z) is right on average as well, and much noisier. With l dimensions and f(z) = ½‖z‖²:

# %%
for latents in (1, 16, 256):
    noise = torch.randn(10_000, latents)
    z = 1 + noise
    pathwise, score = z[:, 0], 0.5 * z.square().sum(1) * noise[:, 0]
    print(
        f"l = {latents:3}: pathwise {pathwise.mean():5.2f} ± {pathwise.std():6.2f}   score {score.mean():6.2f} ± {score.std():6.2f}"
    )

# %% [markdown]
# ## A VAE
#
# The loss is D + βR in nats per image: summed over pixels and latents, averaged over the batch. The likelihood is normal, with the
# variance that fits best.


# %%
class TinyVAE(nn.Module):
    def __init__(self, latents=8, pixels=3 * 16 * 16, hidden=128):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.SiLU(), nn.Linear(hidden, 2 * latents))
        self.decoder = nn.Sequential(nn.Linear(latents, hidden), nn.SiLU(), nn.Linear(hidden, pixels), nn.Sigmoid())

    def forward(self, x):
        mean, log_var = self.encoder(x).chunk(2, 1)  # outputs, different for each picture
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        return self.decoder(z), mean, log_var


def terms(model, x):
    drawn, mean, log_var = model(x)
    error = (drawn - x.flatten(1)).square().sum(1)
    pixels = drawn.shape[1]
    variance = (error.mean() / pixels).detach()
    distortion = error / (2 * variance) + 0.5 * pixels * torch.log(2 * torch.pi * variance)
    rate = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
    return distortion.mean(), rate.mean(), error.mean()


def train(beta):
    torch.manual_seed(0)
    model = TinyVAE()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(STEPS):
        batch = x[torch.randint(len(x), (64,))]
        distortion, rate, _ = terms(model, batch)
        warm = min(1.0, 10 * step / STEPS)  # β rises during the first tenth
        optimiser.zero_grad()
        (distortion + warm * beta * rate).backward()
        optimiser.step()
    return model


# %% [markdown]
# ## What β does

# %%
models = {beta: train(beta) for beta in (0.1, 1, 10, 100)}
with torch.no_grad():
    for beta, model in models.items():
        _, rate, error = terms(model, x)
        mean, log_var = model.encoder(x).chunk(2, 1)
        active = (mean.var(0) > 0.01).sum().item()
        print(f"β = {beta:5}: rate {rate:6.1f} nats, squared error {error:5.2f}, active units {active} of 8")

# %% [markdown]
# Codes get cheaper and pictures worse. Look at pictures from the prior: with a small β most codes from N(0, I) fall where no picture was.

# %%
figure, rows = plt.subplots(len(models), 10, figsize=(10, 1.05 * len(models)))
noise = torch.randn(10, 8, generator=torch.Generator().manual_seed(1))
for (beta, model), row in zip(models.items(), rows, strict=True):
    with torch.no_grad():
        pictures = model.decoder(noise).view(-1, 3, 16, 16).permute(0, 2, 3, 1)
    for axis, picture in zip(row, pictures, strict=True):
        axis.imshow(picture)
        axis.axis("off")
    row[0].set_title(f"β = {beta}", fontsize=9, loc="left")

# %% [markdown]
# **Try:** sum over the batch instead of taking the mean; take the mean over pixels; use `nn.functional.binary_cross_entropy`. Which β makes each of them behave like
# β = 1 above? [Chapter 2](../docs/book/02-elbo.md) and [chapter 4](../docs/book/04-likelihoods.md) have the answers.
