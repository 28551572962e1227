r"""Pictures as a few bytes: codes rounded as finely as the posterior is sure of them, and an entropy coder.

Dimension i is rounded to multiples of Δ_i = √12 σ̄_i / fineness, with σ̄_i the posterior's typical standard deviation:
rounding then adds as much noise as the posterior has. A multiple k costs −log₂ P(k) bits, P the mass that a logistic
distribution with the codes' own spread gives it, so that a picture takes about its rate. Bits are written by a range
coder of asymmetric numeral systems (Duda 2013, https://arxiv.org/abs/1311.2540). Codes are the encoder's, or
found by a search for each picture, as in Campos et al. 2019, "Content Adaptive Optimization for Neural Image
Compression", https://arxiv.org/abs/1906.01223.

Decoding has to know P exactly, on whatever machine: tables are whole numbers, worked out in decimal arithmetic,
which is the same everywhere, from the classes of step and spread that the file holds.

A file is `MAGIC`, the model's fingerprint (8 bytes), N and l (4 and 2 bytes), the length of the tables (2 bytes), the
tables (offset, class of the step, class of the spread of every dimension; zlib), the coder's bytes, and a CRC-32.
"""

from __future__ import annotations

import functools
import math
import struct
import zlib
from bisect import bisect_right
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

import numpy as np

from betabloom.errors import FormatError, UsageError
from betabloom.latent.posterior_mode import posterior_mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from betabloom.model.generator import Generator
    from betabloom.model.model import Model
    from betabloom.system.console import Progress

__all__ = ["compress", "decompress", "pack_codes", "unpack_codes"]

MAGIC = b"bbc1"
BITS = 16
TOTAL = 1 << BITS  # frequencies of a table sum to this
LOWEST = 1 << 23  # the coder's state stays above
STEP_ZERO, SPREAD_ZERO = 128, 32  # classes that stand for 1
PER_OCTAVE = 4  # classes
FINEST = 1000  # the tables of symbols grow with the fineness
LARGEST = 1 << 28  # numbers that a file may hold
HEADER = struct.Struct("<4s8sIHH")


def compress(
    model: Generator, pictures: np.ndarray, fineness: float = 1.0, search: int = 0, progress: Progress | None = None
) -> bytes:
    """Prepared pictures, uint8 (N, H, W, C), as bytes.

    Arguments:
        model: The model.
        pictures: N ≥ 1.
        fineness: Above 1 codes are rounded more finely, for more bytes; below 1 more coarsely; at most 1,000.
        search: Steps of a search for codes that draw each picture more exactly than the encoder's, with about as many
            bytes (`betabloom.latent.posterior_mode`); 0 for none.
        progress: Called as progress(done, all, text) while it searches.

    Returns:
        The bytes; `decompress` makes the pictures of them again.

    Raises:
        UsageError: There are no pictures, the fineness is out of its range, or there is a search and the model has no
            gradients, since it was opened without torch.
    """
    _check(len(pictures), fineness)
    mean, log_var = model.encode(pictures)
    if search:
        mean = posterior_mode(_with_gradients(model), mean, pictures, search, progress=progress)
    return pack_codes(mean, log_var, model.fingerprint, fineness)


def _with_gradients(model: Generator) -> Model:
    from betabloom.model.model import Model

    if not isinstance(model, Model):
        raise UsageError("A search for codes needs a model with torch, as betabloom.load opens it.")
    return model


def decompress(model: Generator, data: bytes) -> np.ndarray:
    """The pictures, uint8 (N, H, W, C), that `compress` made bytes of with the same model.

    Raises:
        UsageError: They were made with another model.
        FormatError: They are damaged.
    """
    codes, fingerprint = unpack_codes(data)
    if fingerprint != model.fingerprint:
        raise UsageError(f"These pictures were compressed with model {fingerprint}, and this is {model.fingerprint}.")
    return model.decode(codes)


def pack_codes(mean: np.ndarray, log_var: np.ndarray, fingerprint: str, fineness: float = 1.0) -> bytes:
    """Codes as bytes.

    Arguments:
        mean: Posterior means, (N, l), N ≥ 1.
        log_var: Log-variances, (N, l); where they are −inf, a 64th of the codes' spread serves as σ.
        fingerprint: Of the model, 16 hexadecimal digits.
        fineness: See `compress`.

    Returns:
        The bytes; `unpack_codes` reads them.

    Raises:
        UsageError: There are no codes, or the fineness is not positive or above 1,000.
    """
    _check(len(mean), fineness)
    overall = float(np.sqrt(np.square(mean, dtype=np.float64).mean())) + 1e-9
    spread = np.maximum(mean.std(0, dtype=np.float64), 0.01 * overall) if len(mean) > 1 else np.full(len(mean[0]), 1.0)
    sigma = np.sqrt(np.exp(log_var, dtype=np.float64).mean(0))
    sigma = np.where(sigma > 0, sigma, spread / 64)
    finest = np.abs(mean).max(0) / 16_000  # offsets have 16 bits
    steps = _classes(np.maximum(math.sqrt(12) / fineness * sigma, finest), STEP_ZERO)
    size = _value(steps, STEP_ZERO)
    spreads = _classes(np.hypot(spread / size, 0.3), SPREAD_ZERO)
    offset = np.clip(np.rint(mean.mean(0, dtype=np.float64) / size), -32768, 32767) * (len(mean) > 1)
    limits = [len(_table(int(c))) // 2 - 1 for c in spreads]
    symbols = np.clip(np.rint(mean / size) - offset, -np.array(limits), limits).astype(int) + limits
    tables = zlib.compress(offset.astype("<i2").tobytes() + steps.tobytes() + spreads.tobytes(), 9)
    head = HEADER.pack(MAGIC, bytes.fromhex(fingerprint), len(mean), mean.shape[1], len(tables))
    body = head + tables + _encoded(symbols.tolist(), [_table(int(c)) for c in spreads])
    return body + struct.pack("<I", zlib.crc32(body))


def _check(count: int, fineness: float) -> None:
    if not count or not 0 < fineness <= FINEST:
        given = f"not {count} and {fineness:g}"
        raise UsageError(f"At least one picture and a positive fineness of at most {FINEST} are needed, {given}.")


def unpack_codes(data: bytes) -> tuple[np.ndarray, str]:
    """The codes, float32 (N, l), that `pack_codes` made bytes of, rounded as they were, and the model's fingerprint.

    Raises:
        FormatError: The bytes are something else, or damaged.
    """
    try:
        if struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]):
            raise ValueError("the checksum is wrong")
        magic, fingerprint, count, latents, length = HEADER.unpack_from(data)
        tables = zlib.decompressobj().decompress(data[HEADER.size : HEADER.size + length], 4 * latents + 1)
        if magic != MAGIC or count * latents > LARGEST or len(tables) != 4 * latents:
            raise ValueError("the header is wrong")
        offset = np.frombuffer(tables, "<i2", latents).astype(np.float64)
        steps, spreads = np.frombuffer(tables, np.uint8, 2 * latents, 2 * latents).reshape(2, latents)
        chosen = [_table(int(c)) for c in spreads]
        symbols = _decoded(data[HEADER.size + length : -4], chosen, count)
    except (struct.error, zlib.error, ValueError, IndexError) as error:
        raise FormatError(f"These are not compressed pictures, or they are damaged: {error}.") from error
    middle = np.array([len(table) // 2 - 1 for table in chosen])
    codes = (np.array(symbols, np.float64).reshape(count, latents) - middle + offset) * _value(steps, STEP_ZERO)
    return codes.astype(np.float32), fingerprint.hex()


def _classes(values: np.ndarray, zero: int) -> np.ndarray:
    """The class, uint8, on a scale of quarter octaves, of positive values."""
    classes: np.ndarray = np.clip(np.rint(PER_OCTAVE * np.log2(values)) + zero, 0, 127 + zero // 2).astype(np.uint8)
    return classes


def _value(classes: np.ndarray, zero: int) -> np.ndarray:
    """What a class stands for."""
    value: np.ndarray = np.exp2((classes.astype(np.float64) - zero) / PER_OCTAVE)
    return value


@functools.lru_cache(256)
def _table(spread: int) -> tuple[int, ...]:
    """Cumulative frequencies 0 … `TOTAL` of the multiples −K … K under a logistic distribution of a class of spread."""
    with localcontext() as context:
        context.prec = 30
        width = min(Decimal(2) ** (Decimal(spread - SPREAD_ZERO) / PER_OCTAVE), Decimal(1000))
        scale = width * Decimal(3).sqrt() / Decimal("3.14159265358979323846")
        most = int(8 * width) + 2
        below = [1 / (1 + (-(Decimal(2 * k - 1) / 2) / scale).exp()) for k in range(-most, most + 2)]
        below[0], below[-1] = Decimal(0), Decimal(1)
        share = TOTAL - (2 * most + 1)  # each multiple has at least a frequency of 1
        return tuple(int(each * share) + i for i, each in enumerate(below))


def _encoded(symbols: Sequence[Sequence[int]], tables: Sequence[tuple[int, ...]]) -> bytes:
    """The bytes of rows of symbols, one of each table, last first, since the decoder takes them from the end."""
    state, out = LOWEST, bytearray()
    for row in reversed(symbols):
        for symbol, table in zip(reversed(row), reversed(tables), strict=True):
            start = table[symbol]
            frequency = table[symbol + 1] - start
            while state >= (LOWEST >> BITS << 8) * frequency:
                out.append(state & 255)
                state >>= 8
            state = (state // frequency << BITS) + state % frequency + start
    return bytes(out) + state.to_bytes(4, "little")


def _decoded(data: bytes, tables: Sequence[tuple[int, ...]], count: int) -> list[int]:
    """The symbols again."""
    state, place, symbols = int.from_bytes(data[-4:], "little"), len(data) - 4, []
    for _ in range(count):
        for table in tables:
            slot = state & (TOTAL - 1)
            symbol = bisect_right(table, slot) - 1
            symbols.append(symbol)
            state = (table[symbol + 1] - table[symbol]) * (state >> BITS) + slot - table[symbol]
            while state < LOWEST:
                place -= 1
                if place < 0:
                    raise ValueError("bytes are missing")
                state = state << 8 | data[place]
    if state != LOWEST or place:
        raise ValueError("bytes are left over")
    return symbols
