"""Tar shards as data: found, labelled, read by place, and what is damaged or hostile in them named and left out."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import part, run_cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchcore_edge.data import Shards, open_data, prediction_items, report_data
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.evaluate import evaluate_run
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.models.k_center_greedy import KCenterGreedy
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.listing import Why

Files = Mapping[str, bytes | str]


def png(seed: int, defect: bool = False) -> bytes:
    return cv2.imencode(".png", part(np.random.default_rng(seed), defect))[1].tobytes()


def mask() -> bytes:
    marked = np.zeros((80, 80), np.uint8)
    marked[30:40, 30:40] = 255
    return cv2.imencode(".png", marked)[1].tobytes()


def shard(path: Path, files: Files | Iterable[tuple[str, bytes | str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items() if isinstance(files, Mapping) else files:
            add(archive, tarfile.TarInfo(name), content)
    return path


def add(archive: tarfile.TarFile, info: tarfile.TarInfo, content: bytes | str = b"") -> None:
    data = content.encode() if isinstance(content, str) else content
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def good_parts(count: int, first: int = 0) -> dict[str, bytes | str]:
    return {f"{place:04d}.png": png(place) for place in range(first, first + count)}


def counts(data: object) -> dict[str, Counter[str | None]]:
    return {
        name: Counter(item.label for item in getattr(data, name))
        for name in ("train", "validation", "test")
        if getattr(data, name)
    }


def left_out(data: Shards) -> dict[str, Why]:
    return {one.path.name: one.why for one in data.left_out}


@pytest.mark.parametrize("given", ["", "part-000.tar", "part-{000..001}.tar", "part-*.tar"])
def test_shards_of_good_parts_are_named_by_folder_file_range_or_pattern(given: str, tmp_path: Path) -> None:
    shard(tmp_path / "part-000.tar", good_parts(3))
    shard(tmp_path / "part-001.tar", good_parts(2, first=3))
    data = open_data(tmp_path / given if given else tmp_path)
    assert counts(data) == {"train": Counter(good=3 if given == "part-000.tar" else 5)}
    assert data.train[0].path == tmp_path / "part-000.tar/0000.png"


def test_each_image_is_read_by_its_place_in_any_order(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", good_parts(4))
    items = open_data(tmp_path).train
    for place in (3, 0, 2, 1):
        expected = cv2.imdecode(np.frombuffer(png(place), np.uint8), cv2.IMREAD_COLOR)
        assert (read_image(items[place].path) == expected).all()


@pytest.mark.parametrize(
    "written",
    [
        lambda name, label: {f"{name}.cls": label},
        lambda name, label: {f"{name}.CLS": f"{label}\n"},
        lambda name, label: {f"{name}.json": json.dumps({"Label": label, "camera": 3})},
    ],
)
@pytest.mark.parametrize(("good", "bad"), [("good", "crack"), ("0", "1"), ("OK", "NG")])
def test_labels_are_what_is_written_beside_the_images(
    written: Callable[[str, str], Files], good: str, bad: str, tmp_path: Path
) -> None:
    files: dict[str, bytes | str] = {}
    for place in range(6):
        files |= {f"{place}.png": png(place), **written(str(place), bad if place > 3 else good)}
    data = open_data(shard(tmp_path / "a.tar", files))
    assert counts(data) == {"train": Counter(good=4), "test": Counter({bad: 2})}
    assert data.notes == (
        () if good == "good" else (f"{tmp_path / 'a.tar'}: parts labelled {good} are taken as the good parts.",)
    )


def test_two_labels_that_may_be_good_parts_are_refused_and_good_says_which(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", {"0.png": png(0), "0.cls": "good", "1.png": png(1), "1.cls": "OK"})
    with pytest.raises(DataError, match="say which with --good NAME"):
        open_data(path)
    chosen = open_data(path, good=["OK"])
    assert [item.path.name for item in chosen.train] == ["1.png"]
    assert left_out(chosen) == {"0.png": Why.UNCLEAR}


def test_an_image_whose_label_is_lost_is_left_out_and_never_taken_for_good(tmp_path: Path) -> None:
    files = {"0.png": png(0), "0.cls": "good", "1.png": png(1), "2.png": png(2), "2.cls": b"\xff\xfe", "3.png": png(3)}
    files |= {
        "3.json": '{"label": ["crack"]}',
        "4.png": png(4),
        "4.json": "{",
        "5.png": png(5),
        "5.json": " " * (2 << 20),
    }
    data = open_data(shard(tmp_path / "a.tar", files))
    assert counts(data) == {"train": Counter(good=1)}
    assert left_out(data) == {f"{place}.png": Why.UNLABELLED for place in range(1, 6)}
    assert any("5 files of which the label is missing or cannot be read" in doubt for doubt in report_data(data).doubts)


def test_an_archive_of_a_folder_tree_is_read_as_the_folders_are(tiny_data: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "discs.tar", "w") as archive:
        archive.add(tiny_data, "discs")
    data, folder = open_data(tmp_path / "discs.tar"), open_data(tiny_data)
    assert counts(data) == counts(folder)
    masks = {item.path.name: item.mask for item in data.test if item.is_defective}
    assert {name: path.name for name, path in masks.items() if path} == {
        item.path.name: item.mask.name for item in folder.test if item.mask
    }


def test_shards_may_lie_in_folders_of_splits_or_be_called_after_them(tmp_path: Path) -> None:
    shard(tmp_path / "a/train/000.tar", good_parts(2))
    shard(tmp_path / "a/test/000.tar", {"7.png": png(7), "7.cls": "good", "8.png": png(8), "8.cls": "crack"})
    shard(tmp_path / "b/train-000.tar", {"1.png": png(1), "1.cls": "0", "2.png": png(2), "2.cls": "1"})
    shard(tmp_path / "b/val-000.tar", {"3.png": png(3), "3.cls": "0"})
    labelled = open_data(tmp_path / "b")
    assert counts(labelled) == {"train": Counter(good=1), "validation": Counter(good=1)}
    assert left_out(labelled) == {"2.png": Why.NOT_GOOD}


def test_folders_in_shards_without_labels_are_batches_and_a_pattern_finds_others(tmp_path: Path) -> None:
    files = {f"{day}/{place}.png": png(place) for day in ("monday", "tuesday") for place in range(2)}
    path = shard(tmp_path / "a.tar", files)
    assert Counter(item.batch for item in open_data(path).train) == {"monday": 2, "tuesday": 2}
    assert Counter(item.batch for item in open_data(path, group_by=r"(\d)\.png").train) == {"0": 2, "1": 2}
    with pytest.raises(ConfigError, match="finds nothing"):
        open_data(path, group_by="camera_")


def test_a_folder_that_sounds_bad_is_not_taken_for_a_batch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="defects, which does not sound like good parts"):
        open_data(shard(tmp_path / "a.tar", {"defects/0.png": png(0), "monday/0.png": png(1)}))


@pytest.mark.parametrize("name", ["{}.mask.png", "{}_mask.png", "{}.seg.png"])
def test_masks_lie_beside_their_images(name: str, tmp_path: Path) -> None:
    files = {"3.png": png(3), "3.cls": "good", "4.png": png(4, defect=True), "4.cls": "crack", name.format(4): mask()}
    data = open_data(shard(tmp_path / "a.tar", files))
    assert [item.mask and item.mask.name for item in data.test] == [name.format(4)]
    assert report_data(data).facts["masks"]["found"] == 1


# What is damaged.


def test_a_damaged_image_is_named_counted_and_skipped(tmp_path: Path) -> None:
    files = good_parts(4)
    files["0002.png"] = png(2)[:200]
    data = open_data(shard(tmp_path / "a.tar", files))
    assert any(
        "1 image cannot be read and will be skipped (a.tar/0002.png)" in doubt for doubt in report_data(data).doubts
    )


def test_after_a_damaged_header_reading_goes_on_at_the_next_whole_one(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", good_parts(5))
    with tarfile.open(path) as archive:
        place = archive.getmember("0001.png").offset
    data = bytearray(path.read_bytes())
    data[place : place + 512] = b"\x55" * 512
    path.write_bytes(data)
    found = open_data(path)
    assert [item.path.name for item in found.train] == ["0000.png", "0002.png", "0003.png", "0004.png"]
    assert left_out(found) == {f"byte {place}": Why.LOST}
    assert not found.left_out[0].matters or report_data(found).doubts


def test_of_an_archive_that_breaks_off_the_whole_images_are_taken(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", good_parts(3))
    with tarfile.open(path) as archive:
        last = archive.getmember("0002.png")
    path.write_bytes(path.read_bytes()[: last.offset_data + 100])
    data = open_data(path)
    assert Why.LOST in left_out(data).values()
    report = report_data(data)
    assert any("cannot be read and will be skipped (a.tar/0002.png)" in doubt for doubt in report.doubts)
    with pytest.raises(DataError, match="--strict stops"):
        report.require_clear()


def test_archives_that_were_appended_to_each_other_are_read_to_the_end(tmp_path: Path) -> None:
    first, second = shard(tmp_path / "1.tar", good_parts(2)), shard(tmp_path / "2.tar", good_parts(2, first=2))
    both = tmp_path / "both.tar"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    assert len(open_data(both).train) == 4
    assert not open_data(both).left_out


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 999, bytes(4096)])
def test_what_is_no_archive_has_no_images_and_is_named(content: bytes, tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", good_parts(2))
    (tmp_path / "b.tar").write_bytes(content)
    data = open_data(tmp_path)
    assert len(data.train) == 2
    with pytest.raises(DataError, match="no images that can be used"):
        open_data(tmp_path / "b.tar")
    if content.strip(b"\0"):
        assert Why.LOST in left_out(data).values()


def test_compressed_archives_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        add(archive, tarfile.TarInfo("0.png"), png(0))
    with pytest.raises(DataError, match=r"compressed with gzip.*unpack it to a plain \.tar"):
        open_data(tmp_path / "a.tar")


# What is hostile.


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "C:\\out.png", "..\\out.png"])
def test_names_that_lead_out_of_an_archive_are_left_out(name: str, tmp_path: Path) -> None:
    data = open_data(shard(tmp_path / "a.tar", {"0.png": png(0), name: png(1)}))
    assert [item.path.name for item in data.train] == ["0.png"]
    assert set(left_out(data).values()) == {Why.UNSAFE}
    assert data.describe_folders()


def test_links_and_devices_in_an_archive_are_no_images(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(9))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, tarfile.TarInfo("0.png"), png(0))
        for name, kind in (("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
    data = open_data(tmp_path / "a.tar")
    assert [item.path.name for item in data.train] == ["0.png"]
    assert left_out(data) == dict.fromkeys(("s.png", "h.png", "d.png"), Why.SPECIAL)


def test_a_member_that_claims_to_be_huge_takes_no_memory_and_is_skipped(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", {"0.png": png(0)})
    info = tarfile.TarInfo("1.png")
    info.size = 1 << 50
    data = path.read_bytes().rstrip(b"\0")
    data += bytes(-len(data) % 512) + info.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(data)
    found = open_data(path)
    assert [item.path.name for item in found.train] == ["0.png", "1.png"]
    with pytest.raises(DataError, match=r"1\.png would take"):
        read_image(found.train[1].path)
    assert report_data(found).facts["unreadable"] == ["a.tar/1.png"]


def test_a_header_that_claims_a_huge_name_is_damage(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + shard(tmp_path / "b.tar", good_parts(2)).read_bytes())
    data = open_data(path)
    assert len(data.train) == 2
    assert set(left_out(data).values()) == {Why.LOST}


def test_of_two_members_of_one_name_the_later_counts_as_when_unpacked(tmp_path: Path) -> None:
    data = open_data(shard(tmp_path / "a.tar", [("0.png", png(0)), ("1.png", png(1)), ("0.png", png(5))]))
    assert Counter(item.path.name for item in data.train) == {"0.png": 1, "1.png": 1}
    assert left_out(data) == {"0.png": Why.REPLACED}
    expected = cv2.imdecode(np.frombuffer(png(5), np.uint8), cv2.IMREAD_COLOR)
    assert (read_image(next(item.path for item in data.train if item.path.name == "0.png")) == expected).all()


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_becomes_of_an_archive_it_is_read_or_refused_in_a_sentence(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes changed, taken out and put in: no crash, no endless loop, and no wrong pixels."""
    whole = bytearray(
        shard(tmp_path / "a.tar", {**good_parts(3), "0001.cls": "good", "0.json": '{"label": 1}'}).read_bytes()
    )
    pixels = {hash(png(place)) for place in range(3)}
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(len(whole) - 1, 0)))
        block = place // 512 * 512
        if data.draw(st.booleans()):
            whole[block + place % 160 : block + place % 160 + 12] = data.draw(st.binary(min_size=0, max_size=12))
        elif data.draw(st.booleans()):
            del whole[place : place + data.draw(st.integers(1, 2000))]
        else:
            whole[block:block] = data.draw(st.binary(max_size=1024))
    (tmp_path / "b.tar").write_bytes(whole)
    try:
        found = open_data(tmp_path / "b.tar")
    except DataError:
        return
    report_data(found)
    for item in [*found.train, *found.test]:
        try:
            read_image(item.path)
        except DataError:
            continue
        assert hash(item.path.read_bytes()) in pixels


def test_a_range_of_too_many_shards_is_refused() -> None:
    with pytest.raises(DataError, match="more than 100,000"):
        open_data("part-{0..99999999}.tar")


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(DataError, match=r"There are no shards none\.tar"):
        open_data("none.tar")


def test_archives_beside_images_are_not_left_out_in_silence(tmp_path: Path) -> None:
    shard(tmp_path / "part-0.tar", good_parts(3))
    (tmp_path / "stray.png").write_bytes(png(9))
    data = open_data(tmp_path)
    assert [item.path.name for item in data.train] == ["stray.png"]
    assert any("1 file holding other files (archives are read" in doubt for doubt in report_data(data).doubts)


# From end to end.


@pytest.fixture
def discs(tiny_data: Path, tmp_path: Path) -> Path:
    """The tiny data in four shards."""
    files = sorted(file for file in tiny_data.rglob("*.png"))
    for place in range(4):
        shard(
            tmp_path / f"discs/part-{place}.tar",
            {file.relative_to(tiny_data).as_posix(): file.read_bytes() for file in files[place::4]},
        )
    return tmp_path / "discs"


def test_shards_give_the_run_the_thresholds_and_the_figures_that_the_folder_gives(
    discs: Path, tiny_data: Path, tiny_options: TrainOptions, tmp_path: Path
) -> None:
    figures = []
    for data in (discs, tiny_data):
        run = tmp_path / data.name / "run" if data is tiny_data else tmp_path / "run"
        options = replace(tiny_options, coreset_sampling_ratio=None, coreset_size=1000)
        train_run(data, run, options)
        calibrated = calibrate_run(run, data, None, "cpu")
        evaluated = evaluate_run(run, data, "cpu", run / "report.html")
        figures.append((set(load_run(run)[1].train_sha256), calibrated.thresholds.image, evaluated.image_auroc))
        assert evaluated.pixel_masks == 6
    (digests, threshold, auroc), (same, expected, known) = figures
    assert digests == same
    assert threshold == pytest.approx(expected, rel=1e-3)
    assert auroc == pytest.approx(known)


def test_predict_takes_every_image_of_shards_whatever_its_label(tmp_path: Path) -> None:
    files = {"0.png": png(0), "0.cls": "OK", "1.png": png(1), "1.cls": "good", "2.png": png(2), "2.mask.png": mask()}
    path = shard(tmp_path / "train-0.tar", files)
    assert [item.path.name for item in prediction_items(path)] == ["0.png", "1.png", "2.png"]
    assert {item.label for item in prediction_items(path)} == {None}


def test_calibrate_finds_the_shards_of_the_fit_by_their_pattern(
    discs: Path, tiny_options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(discs)
    train_run(Path("part-{0..3}.tar"), tmp_path / "run", tiny_options)
    monkeypatch.chdir(tmp_path)
    assert calibrate_run(tmp_path / "run", None, None, "cpu").scored.good
    (discs / "part-3.tar").unlink()
    for file in discs.iterdir():
        file.unlink()
    with pytest.raises(DataError, match="which is not there; give --data"):
        calibrate_run(tmp_path / "run", None, None, "cpu")


def test_a_fit_from_shards_goes_on_where_it_was_interrupted(
    discs: Path, tiny_options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KCenterGreedy, "select_coreset_idxs", stop)
        with pytest.raises(KeyboardInterrupt):
            train_run(discs, tmp_path / "run", tiny_options)
    said: list[str] = []
    train_run(discs, tmp_path / "run", tiny_options, said.append)
    assert any("Going on after 12 images" in line for line in said)


def test_the_commands_take_shards(discs: Path, tmp_path: Path) -> None:
    found = run_cli("data", f"{discs}/part-{{0..3}}.tar", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["images"]["test"] == {"good": 6, "scratch": 6}
    assert json.loads(found.stdout)["masks"]["found"] == 6
