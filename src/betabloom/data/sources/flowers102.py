"""The Oxford 102 category flowers (Nilsback & Zisserman, ICVGIP 2008) in torchvision's folder layout.

    flowers-102/  jpg/image_00001.jpg …  imagelabels.mat  setid.mat

A copy that torchvision downloaded is used as it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from betabloom.data.sources.encoded import Encoded, stamp_of
from betabloom.errors import SourceError
from betabloom.system.paths import local_path, user_folder

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from betabloom.data.pictures.reading import ReadingOptions

__all__ = ["CLASSES", "Flowers102", "complete", "data_root", "find_flowers102", "user_data"]

FOLDER = "flowers-102"
_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}

# In the order of the labels 1..102; the data set itself comes without names.
# fmt: off
CLASSES = (
    "pink primrose", "hard-leaved pocket orchid", "canterbury bells", "sweet pea", "english marigold", "tiger lily",
    "moon orchid", "bird of paradise", "monkshood", "globe thistle", "snapdragon", "colt's foot", "king protea",
    "spear thistle", "yellow iris", "globe-flower", "purple coneflower", "peruvian lily", "balloon flower",
    "giant white arum lily", "fire lily", "pincushion flower", "fritillary", "red ginger", "grape hyacinth",
    "corn poppy", "prince of wales feathers", "stemless gentian", "artichoke", "sweet william", "carnation",
    "garden phlox", "love in the mist", "mexican aster", "alpine sea holly", "ruby-lipped cattleya", "cape flower",
    "great masterwort", "siam tulip", "lenten rose", "barbeton daisy", "daffodil", "sword lily", "poinsettia",
    "bolero deep blue", "wallflower", "marigold", "buttercup", "oxeye daisy", "common dandelion", "petunia",
    "wild pansy", "primula", "sunflower", "pelargonium", "bishop of llandaff", "gaura", "geranium", "orange dahlia",
    "pink-yellow dahlia", "cautleya spicata", "japanese anemone", "black-eyed susan", "silverbush",
    "californian poppy", "osteospermum", "spring crocus", "bearded iris", "windflower", "tree poppy", "gazania",
    "azalea", "water lily", "rose", "thorn apple", "morning glory", "passion flower", "lotus", "toad lily",
    "anthurium", "frangipani", "clematis", "hibiscus", "columbine", "desert-rose", "tree mallow", "magnolia",
    "cyclamen", "watercress", "canna lily", "hippeastrum", "bee balm", "ball moss", "foxglove", "bougainvillea",
    "camellia", "mallow", "mexican petunia", "bromelia", "blanket flower", "trumpet creeper", "blackberry lily",
)
# fmt: on


class Flowers102(Encoded):
    """The 8,189 flowers with their 102 labels and official splits (train 1,020, val 1,020, test 6,149).

    Arguments:
        path: The folder that holds `jpg/`, `imagelabels.mat` and `setid.mat`, or one that holds it as `flowers-102`.
        options: How pictures are read; see `Reading`.

    Raises:
        SourceError: These are not there, or are damaged.
    """

    name = "flowers102"

    def __init__(self, path: str | os.PathLike[str], **options: Unpack[ReadingOptions]) -> None:
        super().__init__(**options)
        folder = complete(local_path(path))
        if folder is None:
            raise SourceError(f"'{path}' is no copy of Flowers102: it needs jpg/, imagelabels.mat and setid.mat")
        self.path = folder
        labels = _indices(folder / "imagelabels.mat", "labels")
        self.labels = labels - 1
        self.label_names = list(CLASSES)
        self.names = [f"jpg/image_{i:05d}.jpg" for i in range(1, len(labels) + 1)]
        self.splits = {split: _indices(folder / "setid.mat", key) - 1 for split, key in _SPLITS.items()}
        if not _in_range(self.labels, len(CLASSES)) or not all(
            _in_range(indices, len(labels)) for indices in self.splits.values()
        ):
            raise _damaged(folder / "imagelabels.mat", "its numbers are out of range, or those in setid.mat")

    def open(self, index: int) -> Path:
        """Return the path of picture `index`."""
        return self.path / self.names[index]

    def fingerprint(self) -> str:
        """Digest names of the pictures, what tells their files apart, and the sizes of the lists beside them."""
        with os.scandir(self.path / "jpg") as entries:
            found = {f"jpg/{entry.name}": entry.stat() for entry in entries}
        stats = [stamp_of(found[n]) if n in found else (-1, 0) for n in self.names]
        splits = ",".join(f"{split}={len(indices)}" for split, indices in self.splits.items())
        return self._digest(f"flowers102:{splits}", stats)


def find_flowers102() -> Path | None:
    """Look for a copy in $BETABLOOM_DATA, ./data and the user's data folder; return its folder or None."""
    chosen = os.environ.get("BETABLOOM_DATA")
    places = [local_path(chosen)] if chosen else []
    for place in (*places, Path("data"), user_data()):
        folder = complete(place)
        if folder is not None:
            return folder
    return None


def data_root() -> Path:
    """Return the folder that downloads go to: $BETABLOOM_DATA or the user's data folder."""
    chosen = os.environ.get("BETABLOOM_DATA")
    return local_path(chosen) if chosen else user_data()


def user_data() -> Path:
    """Return the user's data folder for betabloom."""
    return user_folder("data", "BETABLOOM_DATA")


def complete(path: Path) -> Path | None:
    """Return `path`, or the flowers-102 folder in it, whichever holds a whole copy; None if neither does."""
    for folder in (path, path / FOLDER):
        if (folder / "jpg").is_dir() and all((folder / name).is_file() for name in ("imagelabels.mat", "setid.mat")):
            return folder
    return None


def _indices(path: Path, key: str) -> np.ndarray:
    """Read a list of whole numbers from a MATLAB file as int64, shape (N,)."""
    from scipy.io import loadmat  # 0.4 s to import: only for this source

    try:
        content: dict[str, Any] = loadmat(path)
        return np.asarray(content[key]).astype(np.int64).reshape(-1)
    except Exception as error:  # the reader of damaged files raises anything
        raise _damaged(path, str(error) or type(error).__name__) from error


def _in_range(indices: np.ndarray, end: int) -> bool:
    return bool(len(indices)) and bool(indices.min() >= 0 and indices.max() < end)


def _damaged(path: Path, reason: str) -> SourceError:
    return SourceError(f"'{path}' is damaged ({reason}): delete it and type `betabloom fetch flowers102`")
