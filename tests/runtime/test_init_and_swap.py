"""``init``: a file to start from. ``swap``: another bundle in the place of the one that a line uses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import run_cli

from patchcore_edge_runtime.bundle.bundle import MODEL_BIN, Bundle
from patchcore_edge_runtime.bundle.edit import BundleEdit, edit_bundle
from patchcore_edge_runtime.bundle.swap import swap_bundle
from patchcore_edge_runtime.errors import BundleError, ConfigError
from patchcore_edge_runtime.line.config_file import load_line
from patchcore_edge_runtime.line.starter import starter_file

RUNTIME = "patchcore_edge_runtime"
SOURCES = ["0", "rtsp://camera-3/live", "watch:incoming", "photos", "line.mp4"]


def started(folder: Path, bundle: Path, source: str = "0", *words: object) -> Path:
    done = run_cli("init", "-m", bundle, "-s", source, "-o", folder / "line.toml", *words, program=RUNTIME)
    assert done.returncode == 0, done.stderr
    return folder / "line.toml"


@pytest.mark.parametrize("source", SOURCES)
def test_a_file_to_start_from_is_in_order_for_each_kind_of_source(
    source: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines").mkdir()
    line = load_line(started(tmp_path / "lines", tiny_bundle, source), {}, {})
    assert line.folder / line.bundle == tiny_bundle
    path = source.removeprefix("watch:")
    expected = source if source in SOURCES[:2] else source.replace(path, str(tmp_path / path))
    assert line.source_uri == expected, "where the command ran, and not where the file lies"
    done = run_cli("check", "-c", tmp_path / "lines" / "line.toml", program=RUNTIME)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("source", SOURCES)
def test_each_key_that_is_shown_can_be_set_by_taking_its_sign_away(
    source: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    rows = started(tmp_path, tiny_bundle, source).read_text(encoding="utf-8").splitlines()
    tried = 0
    for number, row in enumerate(rows):
        key, is_setting, _ = row.removeprefix("# ").partition(" = ")
        if not row.startswith("# ") or not is_setting or not key.isidentifier() or key == "every_ms":
            continue
        above = next((other for other in reversed(rows[:number]) if other.lstrip("# ").startswith("[")), "")
        changed = [*rows[:number], row.removeprefix("# "), *rows[number + 1 :]]
        if above.startswith("# ["):
            continue  # of a sink that is not set: with the others of its table, below
        (tmp_path / "line.toml").write_text("\n".join(changed), encoding="utf-8")
        load_line(tmp_path / "line.toml", {}, {})
        tried += 1
    assert tried > 10
    sinks = [row.removeprefix("# ") if "# [sinks" in "\n".join(rows[: n + 1]) else row for n, row in enumerate(rows)]
    sinks = [row for row in sinks if not row or row[0].islower() or row.startswith(("[", "#"))]
    (tmp_path / "line.toml").write_text("\n".join(sinks), encoding="utf-8")
    assert set(load_line(tmp_path / "line.toml", {}, {}).sinks) == {"jsonl", "archive", "http", "mqtt", "modbus"}


def test_the_thresholds_that_are_shown_are_the_bundles_and_what_it_was_calibrated_to(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    text = started(tmp_path, tiny_bundle).read_text(encoding="utf-8")
    limits, facts = Bundle.load(tiny_bundle).manifest.thresholds, Bundle.load(tiny_bundle).manifest.calibration
    shown = text.replace("# image", "image").replace("# pixel", "pixel").replace("# warn", "warn")
    (tmp_path / "line.toml").write_text(shown, encoding="utf-8")
    told = load_line(tmp_path / "line.toml", {}, {}).thresholds.apply(limits)
    assert told.image == pytest.approx(limits.image, rel=1e-5)
    assert told.pixel == pytest.approx(limits.pixel, rel=1e-5)
    assert told.warn is not None
    assert facts.scores.min < told.warn < told.image
    assert f"{facts.n} good parts scored {facts.scores.min:.4g} to {facts.scores.max:.4g}" in text


@pytest.mark.skipif(sys.platform == "win32", reason="has no setrlimit")
@pytest.mark.parametrize("most", [1_000, 10_000])
def test_a_disk_without_room_is_left_as_it_was(most: int, tiny_bundle: Path, tmp_path: Path) -> None:
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most})); "
        "from patchcore_edge_runtime.cli import main; main()"
    )
    words = ["init", "-m", str(tiny_bundle), "-s", "0", "-o", str(tmp_path / "line.toml")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "line.toml cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_beside_its_bundle_and_its_pictures_can_be_moved_with_them(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "incoming").mkdir(parents=True)
    (tmp_path / "here" / "0").mkdir()
    shutil.copytree(tiny_bundle, tmp_path / "here" / "bundle")
    monkeypatch.chdir(tmp_path / "here")
    for source in ("watch:incoming", "./0"):
        done = run_cli("init", "-m", "bundle", "-s", source, "-o", f"{source[-1]}.toml", program=RUNTIME)
        assert done.returncode == 0, done.stderr
    assert load_line(tmp_path / "here" / "0.toml", {}, {}).source_uri == str(tmp_path / "here" / "0"), "no camera"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rename(tmp_path / "there")
    assert load_line(tmp_path / "there" / "g.toml", {}, {}).source_uri == f"watch:{tmp_path / 'there' / 'incoming'}"
    done = run_cli("check", "-c", tmp_path / "there" / "g.toml", program=RUNTIME)
    assert done.returncode == 0, done.stderr


def test_the_bundles_own_threshold_is_shown_with_what_was_promised_of_it(tiny_bundle: Path, tmp_path: Path) -> None:
    text = started(tmp_path, tiny_bundle).read_text(encoding="utf-8")
    manifest = Bundle.load(tiny_bundle).manifest
    (row,) = (row for row in text.splitlines() if "(the bundle's)" in row)
    assert f"{manifest.thresholds.image:.4g}: {manifest.calibration.supported_fpr:.2%} of good parts" in row
    assert f"{manifest.calibration.trade_off[-1].threshold:.4g}: " in text, "the highest there is"
    point = manifest.calibration.trade_off[0]
    limits = [manifest.thresholds.image * (1 + place / 100) for place in range(-37, 9)]
    many = tuple(point.model_copy(update={"threshold": limit}) for limit in limits)
    calibration = manifest.calibration.model_copy(update={"trade_off": many})
    text = starter_file(manifest.model_copy(update={"calibration": calibration}), "bundle", "0", "line")
    assert text.count("of good parts rejected") == 9
    assert text.count("(the bundle's)") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="files have no mode there")
@pytest.mark.parametrize(
    ("source", "secret"),
    [
        ("rtsp://admin:hunter2@camera-3/live", True),
        ("rtsp://admin:hun/ter2@camera-3", True),
        ("http://camera-3/picture?user=admin&pwd=hunter2", True),
        ("rtsp://camera-3/user=admin_password=hunter2_channel=1", True),
        ("rtsps://camera-3:7441/HuNtEr2HuNtEr2", True),
        ("rtsp://camera-3/", False),
        ("http://camera-3:8080", False),
        ("0", False),
    ],
)
def test_an_address_that_may_have_a_password_is_for_its_user_only(
    source: str, secret: bool, tiny_bundle: Path, tmp_path: Path
) -> None:
    path = started(tmp_path, tiny_bundle, source)
    assert (path.stat().st_mode & 0o077 == 0) == secret


def test_nothing_is_written_over(tiny_bundle: Path, tmp_path: Path) -> None:
    path = started(tmp_path, tiny_bundle, "rtsp://camera-3/live")
    before = path.read_bytes()
    done = run_cli("init", "-m", tiny_bundle, "-s", "0", "-o", path, program=RUNTIME)
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert path.read_bytes() == before
    assert run_cli("init", "-m", tmp_path, "-s", "0", "-o", tmp_path / "b.toml", program=RUNTIME).returncode == 4
    assert not (tmp_path / "b.toml").exists()


@pytest.fixture
def edited(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Another bundle: the same weights, another manifest."""
    path = Path(shutil.copytree(tiny_bundle, tmp_path / "edited"))
    edit_bundle(path, BundleEdit(image=99.0), "Ada")
    return path


def test_a_bundle_takes_anothers_place_whole_and_the_old_one_is_kept(
    tiny_bundle: Path, edited: Path, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    before, after = Bundle.load(place).digest, Bundle.load(edited).digest
    done = swap_bundle(edited, place)
    assert done.kept == tmp_path / "bundle.previous"
    assert (Bundle.load(place).digest, Bundle.load(done.kept).digest) == (after, before)
    assert not (place / "edited").exists(), "it does not come into the old folder"
    assert Bundle.load(edited).digest == after, "it stays where it is"
    swap_bundle(done.kept, place)
    assert (Bundle.load(place).digest, Bundle.load(done.kept).digest) == (before, after), "and back"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows gives links to administrators only")
def test_a_link_points_to_the_other_bundle(tiny_bundle: Path, edited: Path, tmp_path: Path) -> None:
    link = tmp_path / "bundle"
    link.symlink_to(tiny_bundle)
    done = swap_bundle(edited, link)
    assert link.is_symlink()
    assert link.resolve() == edited
    assert done.kept == tiny_bundle
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "edited"], "nothing is left behind"
    # The line of docs/deploy.md.
    subprocess.run(["ln", "-sfn", tiny_bundle, link], check=True)
    assert link.resolve() == tiny_bundle
    assert not (edited / tiny_bundle.name).is_symlink()


def test_what_is_no_bundle_replaces_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    broken = Path(shutil.copytree(tiny_bundle, tmp_path / "broken"))
    (broken / MODEL_BIN).write_bytes(b"")
    with pytest.raises(BundleError):
        swap_bundle(broken, place)
    with pytest.raises(ConfigError, match="already"):
        swap_bundle(place, place)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(ConfigError, match=r"has no manifest\.json"):
        swap_bundle(tiny_bundle, tmp_path / "photos")
    assert Bundle.load(place).digest == Bundle.load(tiny_bundle).digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "bundle", "photos"]


def test_by_a_lines_file_a_bundle_has_to_pass_that_lines_checks(
    tiny_bundle: Path, edited: Path, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    config = tmp_path / "line.toml"
    config.write_text("bundle = 'bundle'\n[source]\nuri = '0'\n[thresholds]\nwarn = 50\n", encoding="utf-8")
    assert run_cli("swap", edited, "-c", config, program=RUNTIME).returncode == 0
    assert Bundle.load(place).manifest.thresholds.image == 99.0
    done = run_cli("swap", tmp_path / "bundle.previous", "-c", config, program=RUNTIME)
    assert done.returncode == 2, "the line's WARN limit is above that bundle's NG limit"
    assert Bundle.load(place).manifest.thresholds.image == 99.0
    done = run_cli("swap", tmp_path / "bundle.previous", place, program=RUNTIME)
    assert done.returncode == 0
    assert f"The old one is {place}.previous." in done.stdout
    assert "image threshold 99" in done.stdout
    assert run_cli("swap", edited, program=RUNTIME).returncode == 2
