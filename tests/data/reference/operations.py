"""The published definitions of the pipeline's operations, in plain Python, pixel by pixel, without NumPy or Pillow.

    python tests/data/reference/operations.py > tests/data/reference/operations.json

writes the reference values that `test_reference.py` compares the package with. Pictures are lists of rows of pixels of
channel values; values are 0..1 for tone and colour, 0..255 for geometry. Sources:

resize        R. Keys, "Cubic convolution interpolation for digital image processing", IEEE ASSP 29(6), 1981, a = −1/2;
              where it shrinks, the kernel is widened by the scale, as Pillow's and torchvision's antialiasing do;
              rows first, then columns, and whole grey levels between, as in every picture of 8 bits.
outside       torchvision.transforms.functional.resize: the shorter side becomes the size, the other is truncated.
crop          torchvision.transforms.functional.center_crop: the first row is round((height − size) / 2).
grey, luma    ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.
blur          torchvision.transforms.functional.gaussian_blur: exp(−d²/2σ²), normalised, borders reflected; |d| ≤ ⌈3σ⌉.
gamma         torchvision.transforms.functional.adjust_gamma: gain · x^gamma.
brightness    …adjust_brightness: factor · x.
saturation    …adjust_saturation: factor · x + (1 − factor) · luma.
autocontrast  …autocontrast: (x − min) / (max − min) for each channel.
sharpness     …adjust_sharpness: factor · x + (1 − factor) · smooth, smooth = x * [[1,1,1],[1,5,1],[1,1,1]] / 13, the
              border kept.
justcrop, enhance   the chains of the reference document with its numbers for 136 pixels, scaled to the target.
"""

from __future__ import annotations

import json
import math

LUMA = (0.299, 0.587, 0.114)
CHAIN = 8  # side that the two chains are computed for


def picture(height=22, width=28):
    """A smooth colourful picture: a formula, so that it needs no file."""

    def level(y, x, c):
        return round(127.5 + 85 * math.sin(0.37 * x + c) * math.cos(0.31 * y - 0.7 * c))

    return [[[level(y, x, c) for c in range(3)] for x in range(width)] for y in range(height)]


def clip(v):
    return min(max(v, 0.0), 1.0)


def every(image, change):
    return [[[change(v) for v in pixel] for pixel in row] for row in image]


def keys(d):
    a, d = -0.5, abs(d)
    if d < 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def weights(old, new):
    """For every new place the old places it is made of, with their weights."""
    scale = old / new
    wide = max(scale, 1.0)
    for i in range(new):
        centre = (i + 0.5) * scale
        first, last = max(0, int(centre - 2 * wide + 0.5)), min(old, int(centre + 2 * wide + 0.5))
        values = [keys((place + 0.5 - centre) / wide) for place in range(first, last)]
        yield first, [value / sum(values) for value in values]


def resize(image, height, width):
    channels = range(len(image[0][0]))
    columns, rows = list(weights(len(image[0]), width)), list(weights(len(image), height))
    narrow = levels(
        [[[sum(w * row[first + k][c] for k, w in enumerate(ws)) for c in channels] for first, ws in columns]
         for row in image]
    )  # fmt: skip
    return [
        [[sum(w * narrow[first + k][x][c] for k, w in enumerate(ws)) for c in channels] for x in range(width)]
        for first, ws in rows
    ]


def outside(image, size):
    height, width = len(image), len(image[0])
    if width <= height:
        return resize(image, int(size * height / width), size)
    return resize(image, size, int(size * width / height))


def crop(image, height, width):
    top, left = round((len(image) - height) / 2), round((len(image[0]) - width) / 2)
    return [row[left : left + width] for row in image[top : top + height]]


def pad(image, height, width, colour):
    top, left = (height - len(image)) // 2, (width - len(image[0])) // 2
    inside = {(top + y, left + x): pixel for y, row in enumerate(image) for x, pixel in enumerate(row)}
    return [[inside.get((y, x), colour) for x in range(width)] for y in range(height)]


def luma(pixel):
    return sum(weight * v for weight, v in zip(LUMA, pixel, strict=True))


def grey(image):
    return [[[luma(pixel)] for pixel in row] for row in image]


def reflected(place, size):
    place = abs(place) % (2 * size - 2)
    return place if place < size else 2 * size - 2 - place


def blur(image, sigma):
    reach = math.ceil(3 * sigma)
    kernel = {d: math.exp(-(d**2) / (2 * sigma**2)) for d in range(-reach, reach + 1)}
    total = sum(kernel.values()) ** 2
    height, width = len(image), len(image[0])

    def at(y, x, c):
        return sum(
            a * b * image[reflected(y + i, height)][reflected(x + j, width)][c]
            for i, a in kernel.items()
            for j, b in kernel.items()
        )

    return [[[at(y, x, c) / total for c in range(3)] for x in range(width)] for y in range(height)]


def gamma(image, exponent, gain):
    return every(image, lambda v: clip(gain * v**exponent))


def brightness(image, factor):
    return every(image, lambda v: clip(factor * v))


def saturation(image, factor):
    return [[[clip(factor * v + (1 - factor) * luma(pixel)) for v in pixel] for pixel in row] for row in image]


def autocontrast(image):
    channels = range(len(image[0][0]))
    low = [min(pixel[c] for row in image for pixel in row) for c in channels]
    high = [max(pixel[c] for row in image for pixel in row) for c in channels]
    return [[[(pixel[c] - low[c]) / (high[c] - low[c]) for c in channels] for pixel in row] for row in image]


def sharpness(image, factor):
    def smooth(y, x, c):
        if y in (0, len(image) - 1) or x in (0, len(image[0]) - 1):
            return image[y][x][c]
        around = sum(image[y + i][x + j][c] for i in (-1, 0, 1) for j in (-1, 0, 1))
        return (around + 4 * image[y][x][c]) / 13

    return [
        [
            [clip(factor * v + (1 - factor) * smooth(y, x, c)) for c, v in enumerate(pixel)]
            for x, pixel in enumerate(row)
        ]
        for y, row in enumerate(image)
    ]


def levels(image):
    """What 8 bits keep: geometry works on whole grey levels."""
    return every(image, lambda v: min(max(math.floor(v + 0.5), 0), 255))


def toned(image, *changes):
    """Apply tone and colour to a picture of grey levels."""
    image = every(image, lambda v: v / 255)
    for change in changes:
        image = change(image)
    return every(image, lambda v: 255 * v)


def justcrop(image, side):
    return crop(levels(outside(image, round(side * 256 / 136))), side, side)


def enhance(image, side):
    sigma, inner = round(2 * side / 136, 4), round(side * 320 / 136)
    image = crop(levels(outside(image, round(side * 384 / 136))), inner, inner)
    image = toned(
        image,
        lambda x: blur(x, sigma),
        lambda x: gamma(x, 1.6, 1.1),
        lambda x: brightness(x, 0.7),
        lambda x: saturation(x, 1.5),
        autocontrast,
        lambda x: sharpness(x, 4.0),
        lambda x: blur(x, sigma),
    )
    return justcrop(levels(image), side)


def references():
    """Every step as people write it, with the picture it makes of `picture()`, in grey levels with two decimals."""
    image = picture()
    results = {
        "resize:15x12:fill": resize(image, 12, 15),
        "resize:35x40:fill": resize(image, 40, 35),
        "resize:16:outside,crop:16": crop(levels(outside(image, 16)), 16, 16),
        "crop:17x11": crop(image, 11, 17),
        "pad:34x26:#ff8000": pad(image, 26, 34, [255, 128, 0]),
        "blur:0.8": toned(image, lambda x: blur(x, 0.8)),
        "blur:2": toned(image, lambda x: blur(x, 2.0)),
        "gamma:1.6:1.1": toned(image, lambda x: gamma(x, 1.6, 1.1)),
        "gamma:0.5": toned(image, lambda x: gamma(x, 0.5, 1.0)),
        "brightness:0.7": toned(image, lambda x: brightness(x, 0.7)),
        "brightness:1.4": toned(image, lambda x: brightness(x, 1.4)),
        "saturation:1.5": toned(image, lambda x: saturation(x, 1.5)),
        "saturation:0": toned(image, lambda x: saturation(x, 0.0)),
        "autocontrast": toned(image, autocontrast),
        "sharpness:4": toned(image, lambda x: sharpness(x, 4.0)),
        "sharpness:0": toned(image, lambda x: sharpness(x, 0.0)),
        "grey": grey(image),
        "justcrop": justcrop(image, CHAIN),
        "enhance": enhance(image, CHAIN),
    }
    return {name: every(result, lambda v: round(v, 2)) for name, result in results.items()}


if __name__ == "__main__":
    print(json.dumps(references(), separators=(",", ":")))
