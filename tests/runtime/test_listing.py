"""What is a picture of a folder, what is left out and why, and names that are no text."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import good_part, run_cli
from hypothesis import given
from hypothesis import strategies as st

from patchcore_edge_runtime.errors import ConfigError, DataError, SourceError
from patchcore_edge_runtime.images.files import decode_image, encode_image, image_files
from patchcore_edge_runtime.images.formats import IMAGE_SUFFIXES, is_readable_name
from patchcore_edge_runtime.images.listing import Why, describe_left_out, is_left_behind, list_images
from patchcore_edge_runtime.path_text import encodable, path_from_text, path_text
from patchcore_edge_runtime.sinks.archive import OverlaySink
from patchcore_edge_runtime.sinks.one_pass import one_pass
from patchcore_edge_runtime.sources import open_source

BY_TOOLS = (
    *(".ipynb_checkpoints", "@eaDir", ".thumbs", "__MACOSX", "#recycle", "#snapshot", "$RECYCLE.BIN", "lost+found"),
    *(".@__thumb", "@Recycle", "System Volume Information", "Previews.lrdata", "Thumbnails", "CaptureOne", ".git"),
)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def why(folder: Path, **words: bool) -> dict[str, Why]:
    listing = list_images(folder, **words)
    return {one.path.relative_to(folder).as_posix(): one.why for one in listing.left_out}


@pytest.mark.parametrize("name", BY_TOOLS)
def test_what_tools_leave_in_folders_is_no_picture_at_any_depth(name: str, tmp_path: Path) -> None:
    photo = touch(tmp_path / "monday/1.jpg")
    for place in (tmp_path, tmp_path / "monday"):
        touch(place / name / "a/1.jpg")
    assert image_files(tmp_path, recursive=True) == [photo]
    assert why(tmp_path) == {name: Why.LEFT_BEHIND, f"monday/{name}": Why.LEFT_BEHIND}
    assert [one.files for one in list_images(tmp_path).left_out] == [1, 1]


@pytest.mark.parametrize(
    "name", ["._1.jpg", ".1.jpg.aB3x", "Thumbs.db", "desktop.ini", "SYNOPHOTO_THUMB_M.jpg", "~$1.jpg"]
)
def test_files_of_tools_are_no_pictures(name: str, tmp_path: Path) -> None:
    touch(tmp_path / name)
    assert why(tmp_path) == {name: Why.LEFT_BEHIND}


@pytest.mark.parametrize("name", ["#1", "100%", "~1", "lost", "a.b", "good", "2024-05-01", "(1)", "recycled_parts"])
def test_folders_that_people_make_are_kept(name: str, tmp_path: Path) -> None:
    assert not is_left_behind(name, folder=True)
    assert image_files(touch(tmp_path / name / f"{name}.jpg").parent.parent, recursive=True)


def test_a_hidden_folder_that_is_named_itself_is_read(tmp_path: Path) -> None:
    assert image_files(touch(tmp_path / ".cache/1.jpg").parent)


def test_every_reason_is_said_with_numbers_and_names(tmp_path: Path) -> None:
    for name in ("1.jpg", "x.HEIC", "y.heic", "z.CR2", "notes.txt", "@eaDir/1.jpg", "day/2.jpg", "day/sub/3.jpg"):
        touch(tmp_path / name)
    listing = list_images(tmp_path, recursive=False)
    text = describe_left_out(listing.left_out, tmp_path)
    for words in (
        f"Left out of {tmp_path}: 1 file left behind by tools, or hidden (@eaDir)",
        "3 files of formats that are not read here (convert them to PNG or JPEG) (2 .heic, 1 .cr2: x.HEIC, y.heic, ",
        "1 file other than images (notes.txt)",
        "2 files in subfolders (--no-recursive) (day with 2)",
    ):
        assert words in text
    assert [one.path.name for one in listing.left_out if one.matters] == ["day", "x.HEIC", "y.heic", "z.CR2"]
    assert describe_left_out((), tmp_path) == ""


def test_links_are_followed_once_and_never_in_circles(tmp_path: Path) -> None:
    photo = touch(tmp_path / "data/monday/1.jpg")
    touch(tmp_path / "elsewhere/2.jpg")
    (tmp_path / "data/a_link").symlink_to(tmp_path / "data/monday")
    (tmp_path / "data/far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/monday/up").symlink_to(tmp_path / "data")
    (tmp_path / "data/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert image_files(tmp_path / "data", recursive=True) == [tmp_path / "data/far/2.jpg", photo]
    assert why(tmp_path / "data") == {"a_link": Why.LINK, "gone.jpg": Why.LINK, "monday/up": Why.LINK}


def test_a_link_to_what_it_lies_in_is_left_out_and_no_kind_of_its_own(tmp_path: Path) -> None:
    photo = touch(tmp_path / "test/good/1.jpg")
    for name in ("test/loop", "test/good/up"):
        (tmp_path / name).symlink_to(tmp_path / "test", target_is_directory=True)
    assert image_files(tmp_path / "test", recursive=True) == [photo]
    assert why(tmp_path / "test", recursive=False) == {"good": Why.SUBFOLDER, "loop": Why.LINK}
    assert why(tmp_path / "test/good") == {"up": Why.LINK}


def test_what_the_product_wrote_is_not_taken_for_photos(tmp_path: Path) -> None:
    for name in ("run/run.json", "run/model.safetensors", "run/train_samples/0.png", "bundle/manifest.json"):
        touch(tmp_path / name)
    for name in ("bundle/model.xml", "bundle/golden/0.png", "out/results.jsonl", "out/000000_a.png", "own/3.png"):
        touch(tmp_path / name)
    photo = touch(tmp_path / "day/results.jsonl").with_name("1.jpg")
    touch(photo)
    listing = list_images(tmp_path, leave_out=[tmp_path / "own"])
    assert listing.files == (photo,)
    written = {one.path.name for one in listing.left_out if one.why is Why.RESULT}
    assert written == {"run", "bundle", "out", "own"}


def test_a_folder_that_cannot_be_opened_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, real = touch(tmp_path / "locked/1.jpg").parent, os.scandir

    def scandir(path: Path) -> object:
        if path == locked:
            raise PermissionError(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert why(tmp_path) == {"locked": Why.UNREADABLE}
    with pytest.raises(DataError, match="cannot be opened"):
        list_images(locked)


def test_a_format_is_read_where_the_decoder_reads_it(tmp_path: Path) -> None:
    picture, written = good_part(), []
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    for suffix in sorted(IMAGE_SUFFIXES - {".pbm", ".pam"}):
        path = tmp_path / f"x{suffix}"
        encoder = {".jfif": ".jpg", ".jif": ".jpg", ".jfi": ".jpg", ".mpo": ".jpg", ".apng": ".png"}.get(suffix, suffix)
        try:
            done, data = cv2.imencode(encoder, grey if suffix == ".pgm" else picture)
        except cv2.error:
            continue
        if done:
            path.write_bytes(data.tobytes())
            written.append(path)
    assert {".jpg", ".jfif", ".jpe", ".png", ".pgm", ".ppm"} <= {path.suffix for path in written}
    for path in written:
        assert is_readable_name(path.name), path.name
        assert decode_image(path.read_bytes(), path).shape[:2] == picture.shape[:2]
    assert image_files(tmp_path) == written


@pytest.mark.parametrize("suffix", [".HEIC", ".avif", ".cr2", ".dng", ".jxl", ".exr", ".psd"])
def test_a_format_that_no_build_reads_is_named(suffix: str, tmp_path: Path) -> None:
    touch(tmp_path / f"x{suffix}")
    assert why(tmp_path) == {f"x{suffix}": Why.FORMAT}
    with pytest.raises(SourceError, match=f"1 {suffix.lower()}: x{suffix}"):
        open_source(str(tmp_path))


def test_sources_follow_the_rule_of_listings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("monday/1.png", "monday/@eaDir/1.png", "tuesday/a/2.png", "x.heic"):
        touch(tmp_path / name)
        if name.endswith(".png"):
            (tmp_path / name).write_bytes(cv2.imencode(".png", good_part())[1].tobytes())
    frames = [Path(frame.name).name for frame in open_source(str(tmp_path))]
    assert frames == ["1.png", "2.png"]
    assert "1 .heic: x.heic" in caplog.text
    assert "@eaDir" in caplog.text
    assert [Path(frame.name).name for frame in open_source(f"{tmp_path}/**/*")] == ["1.png", "2.png"]
    with pytest.raises(SourceError, match=r"in subfolders \(--no-recursive\) \(monday, tuesday\)"):
        open_source(str(tmp_path), recursive=False)
    # What is spelled out is meant.
    assert len(list(open_source(f"{tmp_path}/monday/@eaDir/*.png"))) == 1


def test_a_watched_folder_gives_new_pictures_of_its_subfolders(tmp_path: Path) -> None:
    from patchcore_edge_runtime.sources import WatchedFolder

    own = tmp_path / "ng"
    source = WatchedFolder(tmp_path, poll_seconds=0.01, leave_out=[own])
    frames = iter(source)
    for place in (own / "0.png", tmp_path / "@eaDir/0.png", tmp_path / "new/day/1.png"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(cv2.imencode(".png", good_part())[1].tobytes())
    assert next(frames).name == str(tmp_path / "new/day/1.png")
    source.stop()
    assert list(frames) == []


def test_a_preallocated_copy_is_one_frame_and_whole(tmp_path: Path) -> None:
    from patchcore_edge_runtime.sources import WatchedFolder

    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    path, source = tmp_path / "1.jpg", WatchedFolder(tmp_path, poll_seconds=0.01)
    half = whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
    path.write_bytes(half)
    # Looked at several times as it is, and as complete as any file by its size.
    for _ in range(5):
        assert source.poll() is None
    path.write_bytes(whole)
    frame = next(iter(source))
    assert frame.error == ""
    assert frame.image.shape == (64, 64, 3)


def test_a_broken_picture_in_a_watched_folder_is_an_error_once_it_stays_as_it_is(tmp_path: Path) -> None:
    from patchcore_edge_runtime.sources import WatchedFolder

    source = WatchedFolder(tmp_path, poll_seconds=0.01, settle_seconds=0.05)
    (tmp_path / "1.jpg").write_bytes(b"no picture")
    assert "is not an image" in next(iter(source)).error


@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".jp2", ".pgm"])
def test_a_picture_of_which_the_end_is_missing_is_refused(suffix: str, fill: bytes) -> None:
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (90, 123), np.uint8), (0, 0), 1.5)
    whole = encode_image(image, suffix)
    assert decode_image(whole, f"x{suffix}").shape[:2] == image.shape
    for share in (0.9, 0.71, 0.5):
        keep = int(len(whole) * share)
        with pytest.raises(DataError):
            decode_image(whole[:keep] + fill * (len(whole) - keep), f"x{suffix}")


def test_black_and_white_backgrounds_and_drawn_masks_are_whole() -> None:
    rng = np.random.default_rng(0)
    texture = rng.normal(120, 6, (80, 100))
    rows, columns = np.mgrid[:80, :100]
    for slope in (-0.3, -0.01, 0.0, 0.01, 0.3):
        for inside in (rows + slope * columns < 40, (rows - 40) ** 2 + (columns - 50) ** 2 < 400):
            photo = np.clip(cv2.GaussianBlur(inside * texture, (0, 0), 1.0) - 3, 0, 255).astype(np.uint8)
            for image in (photo, 255 - photo, inside.astype(np.uint8) * 255):
                for turned in (image, image[::-1], image[:, ::-1]):
                    data = cv2.imencode(".bmp", np.ascontiguousarray(turned))[1].tobytes()
                    np.testing.assert_array_equal(decode_image(data, "x.bmp"), turned)


@given(st.lists(st.integers(1, 255).filter(lambda byte: byte != ord("/")), min_size=1, max_size=40))
def test_every_name_of_a_file_can_be_written_down_and_found_again(name: list[int]) -> None:
    path = os.fsdecode(bytes(name))
    text = path_text(path)
    assert text.encode().decode() == text
    assert path_from_text(text) == path
    assert encodable(text) == text


def test_names_that_look_like_escapes_stay_apart() -> None:
    names = ["ü", "\udcfc", r"\xfc", r"\x5cxfc", "\\", r"C:\xampp\uploads", "\ud83d"]
    assert len({path_text(name) for name in names}) == len(names)
    assert [path_from_text(path_text(name)) for name in names] == names
    assert path_text("\udcfcber.jpg") == r"\xfcber.jpg"
    assert path_text("C:\\photos\\ü.jpg") == "C:\\photos\\ü.jpg"


def test_results_of_an_earlier_pass_are_kept(tmp_path: Path) -> None:
    touch(tmp_path / "results.jsonl").write_text("{}\n")
    done = run_cli("predict", "-m", "x", "-s", "y", "-o", tmp_path, program="patchcore_edge_runtime")
    assert done.returncode == 2
    assert "results of an earlier run" in done.stderr
    assert (tmp_path / "results.jsonl").read_text() == "{}\n"


def test_annotated_pictures_are_not_written_among_photos(tmp_path: Path) -> None:
    photo = touch(tmp_path / "parts/1.jpg")
    what = r"pictures that are no results \(1\.jpg\).*choose a folder of their own"
    with pytest.raises(ConfigError, match=what), one_pass(photo.parent, overwrite=True):
        pass
    assert list(photo.parent.iterdir()) == [photo]


def test_data_that_results_were_written_into_are_still_data(tmp_path: Path) -> None:
    photo = touch(tmp_path / "data/train/good/1.jpg")
    for name in ("results.jsonl", "000000_1.png"):
        touch(tmp_path / "data" / name)
    assert photo in image_files(tmp_path, recursive=True)


@pytest.mark.parametrize("name", ["a" * 250 + ".png", "é" * 120 + ".png", "良" * 80 + ".jpg"])
def test_a_name_as_long_as_a_name_may_be_has_its_annotated_picture(name: str, tmp_path: Path) -> None:
    written = OverlaySink.file_name(12, str(tmp_path / name))
    assert touch(tmp_path / written).name.startswith(f"000012_{name[:20]}")
