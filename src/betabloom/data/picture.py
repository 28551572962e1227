"""`decode` and `peek` under the name that they had before: use `betabloom.data.pictures.decode`."""

from betabloom.data.pictures.decode import decode as decode
from betabloom.data.pictures.decode import peek as peek
