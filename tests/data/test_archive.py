"""Archives are read in place: as a folder with the same content, whatever their names and however damaged."""

from __future__ import annotations

import gzip
import io
import itertools
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from betabloom.data import Archive, Folder, Pipeline, inspect, open_source, prepare
from betabloom.data.sources.tar import Member
from betabloom.errors import PictureError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = ("zip", "zip stored", "tar", "tar.gz", "tar.bz2", "tar.xz")


def pack(kind: str, members: dict[str, bytes], folder: Path) -> Path:
    path = folder / f"photos.{kind.split()[0]}"
    if kind.startswith("zip"):
        method = zipfile.ZIP_STORED if "stored" in kind else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, f"w:{kind.partition('.')[2]}") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_as_the_folder_it_was_made_of(
    photos: Path, tmp_path: Path, kind: str, make_picture: Callable[..., Any]
) -> None:
    for name in ("rose/1.png", "rose/2.png", "tulip/1.png"):
        (tmp_path / "classes" / name).parent.mkdir(parents=True, exist_ok=True)
        make_picture(1).save(tmp_path / "classes" / name)
    for folder in (photos, tmp_path / "classes"):
        source, packed = Folder(folder), open_source(pack(kind, content_of(folder), tmp_path))
        assert isinstance(packed, Archive)
        assert packed.names == source.names
        assert packed.label_names == source.label_names
        with ThreadPoolExecutor(4) as pool:
            pictures = list(pool.map(packed.read, [*range(len(packed))] * 3))
        for index, picture in enumerate(pictures):
            assert picture.tobytes() == source.read(index % len(source)).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_only_labels(photos: Path, tmp_path: Path, kind: str, hashes: Callable[..., Any]) -> None:
    picture = (photos / "1.jpg").read_bytes()
    names = ["../../evil.jpg", "/etc/evil.jpg", "a/../b.jpg", "with space\n.jpg", "日本.jpg", "x" * 250 + ".jpg"]
    hidden = {"__MACOSX/._a.jpg": b"", ".hidden/a.jpg": b"", "notes.txt": b"hello"}
    path = pack(kind, dict.fromkeys(names, picture) | hidden, tmp_path)
    before = hashes(tmp_path)
    source = Archive(path)
    store = prepare(source, Pipeline.named("square", (8, 8)), cache=tmp_path / "cache")
    assert sorted(store.names) == sorted(names)
    assert source.left_alone == {"hidden": 1, "__MACOSX": 1, ".txt": 1}
    after = {name: value for name, value in hashes(tmp_path).items() if "/cache/" not in name}
    assert after == before


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_links_and_devices_are_left_out(photos: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as tar:
        tar.add(photos / "1.jpg", "real.jpg")
        for type_, name in ((tarfile.SYMTYPE, "link.jpg"), (tarfile.LNKTYPE, "hard.jpg"), (tarfile.FIFOTYPE, "f.jpg")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type_, "/etc/passwd"
            tar.addfile(info)
    assert list(Archive(path).names) == ["real.jpg"]


def test_bad_members_are_named_with_their_reason(photos: Path, tmp_path: Path) -> None:
    members = content_of(photos) | {"empty.jpg": b"", "page.jpg": b"<html>"}
    path = pack("zip stored", members, tmp_path)
    broken = path.read_bytes().replace(members["3.jpg"], b"\0" * len(members["3.jpg"]))
    path.write_bytes(broken)
    reasons = {entry["name"]: entry["reason"] for entry in inspect(Archive(path)).unreadable}
    assert set(reasons) == {"3.jpg", "empty.jpg", "page.jpg"}
    assert "checksum" in reasons["3.jpg"]


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("betabloom.data.sources.archive.MAX_BYTES", 1 << 20)
    for kind in KINDS:
        source = Archive(pack(kind, {"bomb.bmp": bytes(3 << 20)}, tmp_path))
        with pytest.raises(PictureError, match="too large: 3 MB unpacked"):
            source.read(0)


def test_a_zip_that_lies_about_sizes_gives_no_more_than_it_said(tmp_path: Path) -> None:
    path = pack("zip", {"bomb.bmp": bytes(8 << 20)}, tmp_path)
    size = (8 << 20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (100).to_bytes(4, "little")))
    with pytest.raises(PictureError, match="damaged in the archive"):
        Archive(path).read(0)


def test_a_compressed_tar_that_unpacks_to_far_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("betabloom.data.sources.tar._ALWAYS_ALLOWED", 1 << 20)
    path = pack("tar.gz", {"a.txt": bytes(64 << 20), "a.jpg": b""}, tmp_path)
    with pytest.raises(SourceError, match="far more than pictures do"):
        Archive(path)


def test_a_header_that_claims_to_be_very_long_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 512 << 20
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(512 << 10)))
    with pytest.raises(SourceError, match="very long"):
        Archive(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_archives_end_as_a_sentence(photos: Path, tmp_path: Path, kind: str) -> None:
    path = pack(kind, content_of(photos), tmp_path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        _open_and_read(path)
    for _ in range(15):
        bad = bytearray(whole)
        for place in rng.integers(0, len(bad), 20):
            bad[place] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        _open_and_read(path)


def _open_and_read(path: Path) -> None:
    try:
        source = Archive(path)
    except SourceError:
        return
    for index in range(min(8, len(source))):
        try:
            source.read(index)
        except PictureError:
            continue


def test_what_is_no_archive_or_has_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no pictures in .*, only 1 other files"):
        open_source(pack("zip", {"a.txt": b""}, tmp_path))
    (tmp_path / "a.zip").write_text("hello")
    with pytest.raises(SourceError, match="damaged or not an archive"):
        open_source(tmp_path / "a.zip")
    (tmp_path / "a.rar").write_text("hello")
    with pytest.raises(SourceError, match="unpack it"):
        open_source(tmp_path / "a.rar")


def test_a_changed_archive_has_another_fingerprint(photos: Path, tmp_path: Path) -> None:
    members = content_of(photos)
    first = Archive(pack("zip", members, tmp_path)).fingerprint()
    assert first == Archive(tmp_path / "photos.zip").fingerprint()
    members.pop("3.jpg")
    assert Archive(pack("zip", members, tmp_path)).fingerprint() != first


def test_a_header_that_is_read_quickly_says_what_the_standard_library_reads() -> None:
    def read(kind: type[tarfile.TarInfo], header: bytes) -> Any:
        try:
            info = kind.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            return type(error)
        return info.name, info.size, info.type, info.linkname

    names = ["a.png", "b/c.jpg", "é.png", f"{'x' * 90}/y.png", f"{'x' * 99}y", "folder/", "n" * 100]
    kinds = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.GNUTYPE_LONGNAME]
    headers = [bytes(512), b""]
    for name, kind, size in itertools.product(names, kinds, (0, 511, 8**11 - 1, 8**11)):
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, size
        headers.append(info.tobuf(tarfile.GNU_FORMAT)[-512:])
        headers.append(headers[-1].replace(b"0", b"9", 1))
    for header in headers:
        assert read(Member, header) == read(tarfile.TarInfo, header)
