"""Members of a tar: those that tarfile finds, links followed inside, nothing behind the end or left out in silence."""

import contextlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.data import tar as tar_module
from platform.data.cache import ShardError, ShardFile
from platform.data.index import read_index
from platform.data.reader import ShardReader
from platform.data.tar import LeftOut, members_of, samples_of
from tests.data.handmade import open_all, write_any, write_index, write_tar

NAMES = st.text("abc./é-", min_size=1, max_size=120).filter(lambda name: not name.endswith("/"))
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def as_one_path(name: str) -> str:
    """`./a//b` and `a/b` are one file."""
    return "/" * name.startswith("/") + "/".join(part for part in name.split("/") if part not in ("", "."))


@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=1500), st.sampled_from([0, 1.5, 2e9])), max_size=8),
    st.sampled_from(sorted(FORMATS)),
)
@settings(max_examples=150, deadline=None)
def test_members_are_those_that_tarfile_finds(members: list[tuple[str, bytes, float]], kind: str) -> None:
    """Stock webdataset's writer gives times as fractions, which adds an extended header to every member."""
    try:
        content = write_any(members, FORMATS[kind])
    except ValueError:  # USTAR cannot hold such a name
        return
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        expected = {as_one_path(m.name): (m.offset_data, m.size) for m in tar if m.isfile()}
    left_out = LeftOut()
    assert list(members_of(content, left_out).items()) == list(expected.items())
    assert sum(left_out.counts.values()) == len(members) - len(expected)  # written twice


def test_members_of_stock_writers_need_no_tarfile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_module, "_any_archive", None)
    content = write_any([("a.jpg", b"image", 1.25), ("a.cls", b"1", 1.25)], tarfile.PAX_FORMAT)
    assert list(samples_of(content)["a"]) == ["jpg", "cls"]


def files_of(content: bytes) -> dict[str, bytes]:
    return {name: content[offset : offset + size] for name, (offset, size) in members_of(content, LeftOut()).items()}


def test_links_and_folders_in_a_shard_are_no_members(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind, target in ((tarfile.DIRTYPE, ""), (tarfile.SYMTYPE, str(secret)), (tarfile.LNKTYPE, str(secret))):
            info = tarfile.TarInfo("0.jpg")
            info.type, info.linkname = kind, target
            tar.addfile(info)
    write_index(tmp_path, {"a.tar": 0})
    assert samples_of((tmp_path / "a.tar").read_bytes()) == {}
    open_all(tmp_path)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_links_lead_to_the_members_that_they_name(tmp_path: Path) -> None:
    """Hard links by their path in the archive, symbolic ones from where they lie, one over another, in their order."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in {"a/0.jpg": b"zero", "a/0.cls": b"0", "./labels/one": b"1"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        tar.addfile(link("a/1.jpg", "0.jpg"))
        tar.addfile(link("a/1.cls", "labels/one", tarfile.LNKTYPE))
        tar.addfile(link("b/2.jpg", "../a/1.jpg"))
        tar.addfile(link("b/2.cls", "a/0.cls", tarfile.LNKTYPE))
        for name, target in (("3.jpg", "/etc/hostname"), ("4.jpg", "../../x"), ("5.jpg", "6.jpg"), ("6.jpg", "5.jpg")):
            tar.addfile(link(name, target))
    content = (tmp_path / "a.tar").read_bytes()
    left_out = LeftOut()
    samples = samples_of(content, left_out)
    assert {key: sorted(parts) for key, parts in samples.items()} == {
        key: ["cls", "jpg"] for key in ("a/0", "a/1", "b/2")
    }
    reader = ShardReader(ShardFile("a.tar", 3, 0, ""), content)
    assert [(reader.read(i).image, reader.read(i).label) for i in range(3)] == [
        (b"zero", 0),
        (b"zero", 1),
        (b"zero", 0),
    ]
    assert left_out.lines() == [
        "4 links that lead to no member of the same tar: 3.jpg -> /etc/hostname, 4.jpg -> ../../x, 5.jpg -> 6.jpg ...",
        "1 members without an extension: labels/one",
    ]


def write_links(path: Path, files: dict[str, bytes], links: dict[str, str], folders: tuple[str, ...] = ()) -> bytes:
    """A tar of folders, files and symbolic links, in this order."""
    with tarfile.open(path, "w") as tar:
        for name in folders:
            tar.addfile(link(name, "", tarfile.DIRTYPE))
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in links.items():
            tar.addfile(link(name, target))
    return path.read_bytes()


def test_links_to_folders_give_their_files(tmp_path: Path) -> None:
    files = {f"all/{name}": name.encode() for name in ("cat/0.jpg", "cat/deep/1.jpg", "dog/2.jpg")}
    links = {
        "subset/cat": "../all/cat",  # a folder
        "also": "all/../all/",
        "subset/dog": "../also/dog",  # by way of another link
        "one.jpg": "subset/cat/deep/1.jpg",  # as does this file
        "all/cat/up": "..",  # the folder that it lies in
        "nothing": "./empty",
        "outside": "../../etc",
        "self": "self/x",
    }
    content = write_links(tmp_path / "a.tar", files, links, ("./empty",))
    left_out = LeftOut()
    linked = {"subset/cat/0.jpg", "subset/cat/deep/1.jpg", "subset/dog/2.jpg", "one.jpg"}
    linked |= {"also/cat/0.jpg", "also/cat/deep/1.jpg", "also/dog/2.jpg"}
    found = {name: content[offset : offset + size] for name, (offset, size) in members_of(content, left_out).items()}
    assert found.keys() == files.keys() | linked
    for name in linked:
        assert (
            name == "one.jpg" or found[name] == name.partition("/")[2].encode() or name.endswith(found[name].decode())
        )
    assert left_out.lines() == [
        "1 links back to a folder on the way to them, not followed there: all/cat/up -> all/cat/..",
        "2 links that lead to no member of the same tar: outside -> ../../etc, self -> self/x",
    ]


def test_a_member_counts_before_a_link_of_its_name_and_a_folder_in_place_of_a_link(tmp_path: Path) -> None:
    links = {"b": "a", "c/0.jpg": "../a/0.jpg"}
    write_links(tmp_path / "a.tar", {"a/0.jpg": b"0", "a/1.jpg": b"1"}, links)
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        info = tarfile.TarInfo("./c//0.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"new"))
        tar.addfile(link("b", "", tarfile.DIRTYPE))
    content = (tmp_path / "a.tar").read_bytes()
    assert files_of(content) == {"a/0.jpg": b"0", "a/1.jpg": b"1", "c/0.jpg": b"new"}


def test_folders_that_double_by_links_end(tmp_path: Path) -> None:
    """Thirty folders that hold two links each to the next one are a billion files."""
    links = {f"{n}/{side}": f"../{n + 1}" for n in range(30) for side in "ab"}
    content = write_links(tmp_path / "a.tar", {"30/0.jpg": b""}, links)
    with pytest.raises(ValueError, match="its links to folders multiply its files"):
        members_of(content, LeftOut())


@pytest.mark.skipif(not shutil.which("tar"), reason="no tar")
def test_gnu_tars_own_links_and_updates_are_read(tmp_path: Path) -> None:
    """`tar -cf` of a folder with hard and symbolic links, then `tar -rf` of a changed file: the last one counts."""
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(b"old")
    (folder / "0.cls").write_bytes(b"1")
    (folder / "1.cls").hardlink_to(folder / "0.cls")
    (folder / "1.jpg").symlink_to("0.jpg")
    names = ["./0.jpg", "./0.cls", "./1.jpg", "./1.cls"]
    subprocess.run(["tar", "-C", folder, "-cf", tmp_path / "a.tar", *names], check=True)
    (folder / "0.jpg").write_bytes(b"new")
    subprocess.run(["tar", "-C", folder, "-rf", tmp_path / "a.tar", "./0.jpg"], check=True)
    content = (tmp_path / "a.tar").read_bytes()
    assert files_of(content) == {"0.jpg": b"new", "0.cls": b"1", "1.jpg": b"new", "1.cls": b"1"}
    left_out = LeftOut()
    members_of(content, left_out)
    assert left_out.counts == {tar_module.REWRITTEN: 1}
    write_index(tmp_path, {"a.tar": 2})
    split = read_index(tmp_path).split("train")
    assert [(split.read(i).key, split.read(i).image, split.read(i).label) for i in range(2)] == [
        ("0", b"new", 1), ("1", b"new", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_member_written_twice_is_the_last_one(kind: str) -> None:
    name = "a" if kind == "ustar" else "a" * 120  # what tarfile has to read
    content = write_any([(f"{name}.jpg", b"1", 0), (f"{name}.cls", b"0", 0), (f"{name}.jpg", b"22", 0)], FORMATS[kind])
    assert files_of(content) == {f"{name}.jpg": b"22", f"{name}.cls": b"0"}
    left_out = LeftOut()
    members_of(content, left_out)
    assert left_out.counts == {tar_module.REWRITTEN: 1}


def test_two_names_for_one_part_of_a_sample_are_refused() -> None:
    content = write_any([("a.jpg", b"1", 0), ("a.cls", b"0", 0), ("a.JPG", b"2", 0)])
    with pytest.raises(ShardError, match=r"x.tar is not read: it has two members a.JPG, .*; rename one$"):
        ShardReader(ShardFile("x.tar", 1, 0, ""), content)


@pytest.mark.parametrize("first", sorted(FORMATS))
@pytest.mark.parametrize("second", sorted(FORMATS))
def test_archives_behind_one_another_are_read_as_one(first: str, second: str) -> None:
    """Shards joined by `cat`, with each tar's own padding, or with its last blocks cut off."""
    long = "b" * 120 if second != "ustar" else "b"
    one = write_any([("a.jpg", b"1", 0.5), ("a.cls", b"0", 0.5)], FORMATS[first])
    two = write_any([(f"{long}.jpg", b"2", 0.5), (f"{long}.cls", b"1", 0.5)], FORMATS[second])
    for content in (one + two, one.rstrip(b"\0") + bytes(-len(one.rstrip(b"\0")) % 512 + 512) + two):
        assert files_of(content) == {"a.jpg": b"1", "a.cls": b"0", f"{long}.jpg": b"2", f"{long}.cls": b"1"}


def test_archives_behind_one_another_with_the_same_members_are_refused() -> None:
    """Which of the two images would be lost?"""
    one, two = (write_any([("0.jpg", image, 0), ("0.cls", b"0", 0)]) for image in (b"1", b"2"))
    with pytest.raises(
        ValueError, match=r"several tars one behind the other, of which two hold a 0\.jpg; make a shard of each"
    ):
        members_of(one + two, LeftOut())


@pytest.mark.parametrize("behind", [b"x", b"x" * 5000, b"PK\3\4" + bytes(600)])
def test_what_is_no_tar_behind_the_end_is_refused(behind: bytes) -> None:
    content = write_any([("a.jpg", b"1", 0), ("a.cls", b"0", 0)])
    with pytest.raises(ValueError, match=r"what follows its end, at byte 10240, is no tar"):
        members_of(content + behind, LeftOut())
    assert files_of(content + bytes(3 * 2**20 + 7)) == files_of(content)


@pytest.mark.parametrize("member", [0, 1])
@pytest.mark.parametrize("change", [1, 9, 16, 0x80])
def test_a_changed_byte_of_a_header_is_no_other_name_or_size(member: int, change: int) -> None:
    """One in a name would rename a sample, one in a size shift all behind it, one in a type leave it out."""
    content = write_any([("a.jpg", b"image", 0), ("a.cls", b"0", 0)])
    for place in range(1024 * member, 1024 * member + 512):
        damaged = bytearray(content)
        damaged[place] ^= change
        with contextlib.suppress(ValueError, tarfile.TarError):
            assert files_of(bytes(damaged)) == files_of(content)
            assert place % 512 in (148, 149, 154, 155)  # a blank for a leading zero of the sum, and what ends it


def test_headers_summed_with_signs_as_by_old_writers_are_whole() -> None:
    content = write_any([("é.jpg", b"image", 0), ("é.cls", b"0", 0)])
    signed = bytearray(content)
    for start in (0, 1024):
        header = bytearray(signed[start : start + 512])
        header[148:156] = b" " * 8
        signed[start + 148 : start + 156] = b"%06o\0 " % sum(byte - 256 * (byte > 127) for byte in header)
    assert bytes(signed) != content
    assert files_of(bytes(signed)) == files_of(content) == {"é.jpg": b"image", "é.cls": b"0"}


@pytest.mark.parametrize("kind", ["gnu", "pax"])
def test_tars_of_long_names_are_refused_where_they_are_cut_or_damaged(kind: str) -> None:
    """tarfile itself takes both for the end."""
    content = write_any([(f"{n}{'x' * 120}.jpg", bytes(100), 0) for n in range(3)], FORMATS[kind])
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        third = tar.getmembers()[2].offset
    with pytest.raises(ValueError, match="the end of the archive is missing"):
        members_of(content[:third], LeftOut())
    with pytest.raises(ValueError, match=rf"the member at byte {third} has a damaged header"):
        members_of(content[:third] + b"\xee" * 512 + content[third + 512 :], LeftOut())


def test_what_stock_readers_pass_over_and_tools_leave_is_no_sample(tmp_path: Path) -> None:
    left = ["__info__", "__info__.json", "__index__/0.jpg", ".DS_Store", "a/._0.jpg", "a/.ipynb_checkpoints/0.jpg"]
    left += ["__MACOSX/a/0.jpg", "a/Thumbs.db", "README"]
    write_tar(tmp_path / "a.tar", dict.fromkeys(left, b"?") | {"./a/0.input.jpg": b"i", "../b_1.cls": b"1"})
    left_out = LeftOut()
    samples = samples_of((tmp_path / "a.tar").read_bytes(), left_out)
    assert {key: list(parts) for key, parts in samples.items()} == {"a/0": ["input.jpg"], "../b_1": ["cls"]}
    assert left_out.counts == {tar_module.TOOL_MADE: 5, tar_module.METADATA: 3, tar_module.WITHOUT_KEY: 1}
