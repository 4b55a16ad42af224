"""Killed with -9 at every boundary between two steps, an erasure is finished by the next command."""

import os
import shutil
import signal
from functools import partial

import pyarrow.parquet as pq
import pytest

from pipeline.errors import StrataError
from pipeline.home_scan import Needles, scan
from pipeline.ingest.vault.rotation import rotate
from pipeline.privacy import erasure
from pipeline.publish import shelf
from pipeline.settings import Settings
from tests.kills import killed, killed_at
from tests.privacy.conftest import AS_OF, Home, daily, erase, writable


def erased_until(settings: Settings, state: str, *, before: bool) -> None:
    """Erase until just before, or just after, `state` is written to the journal; then die."""
    write = erasure._write

    def writing(to: Settings, journal: dict[str, object]) -> None:
        if not before:
            write(to, journal)
        if journal["state"] == state:
            os.kill(os.getpid(), signal.SIGKILL)
        if before:
            write(to, journal)

    erasure._write = writing
    erase(settings)


def check_complete(settings: Settings, person: Needles, original: set[str]) -> None:
    """As after an erasure that nobody disturbed: nothing left, nothing counted twice, releases whole and replaced."""
    assert scan(settings.home, person) == []
    assert erasure.unfinished(settings) == []
    there = shelf.list_releases(settings)
    assert not original & set(there) and shelf.current(settings)["release"] in there
    assert all(shelf.verify_folder(settings.releases / r) == [] for r in there)
    (certificate,) = (settings.vault / "certificates").glob("*.json")
    taken = pq.read_table(settings.raw / "_erased" / f"{certificate.stem}.parquet").to_pylist()
    assert sum(r["rows_n"] for r in taken) == 6
    done = erasure.read_certificate(settings, certificate.stem)
    assert {r["original"] for r in done.releases} == original
    assert not (settings.home / "erasure").exists() and not (settings.vault / "erasure-staging").exists()


BOUNDARIES = [(state, before) for state in erasure.STATES[1:] for before in (True, False)]
# What is done between two of them differs most here; `make soak` takes them all.
FEW = [("staged", True), ("staged", False), ("republished", True)]


@pytest.mark.parametrize(("state", "before"), BOUNDARIES if os.environ.get("STRATA_SOAK") else FEW)
def test_killed_at_any_boundary_the_next_run_finishes(home: Home, state: str, before: bool) -> None:
    """Work done but not noted, or noted and nothing after it. The run goes on with it, and so does the same command."""
    settings, person = home.settings, home.person
    original = set(shelf.list_releases(settings))
    assert killed(partial(erased_until, settings, state, before=before))
    if before:
        daily(settings, AS_OF)
    else:
        erase(settings)
    check_complete(settings, person, original)


@pytest.mark.soak
@pytest.mark.skipif(
    not os.environ.get("STRATA_SOAK"), reason="a kill at every tenth change of a file: make soak"
)
def test_killed_inside_any_step_the_next_run_finishes(built: Settings, home: Home) -> None:
    """Not only between steps: before every tenth rename, removal or opening for writing."""
    settings = home.settings
    person, original, n = home.person, set(shelf.list_releases(settings)), 1
    while killed_at(n, partial(erase, settings)):
        daily(settings, AS_OF)
        if erasure.unfinished(settings) == [] and not list((settings.vault / "certificates").glob("*.json")):
            erase(settings)
        check_complete(settings, person, original)
        writable(settings)
        shutil.rmtree(settings.home)
        shutil.copytree(built.home, settings.home)
        n += 10


def test_no_new_key_while_an_erasure_is_under_way(home: Home) -> None:
    """Its journal and its staged files hold tokens of the present key."""
    assert killed(partial(erased_until, home.settings, "staged", before=False))
    with pytest.raises(StrataError, match="an erasure in .* is not finished"):
        rotate(home.settings, bytes.fromhex("cd" * 32))


def test_killed_before_anything_was_noted_somebody_asks_again(home: Home) -> None:
    settings, person = home.settings, home.person
    original = set(shelf.list_releases(settings))
    assert killed(partial(erased_until, settings, "begun", before=True))
    assert erasure.unfinished(settings) == [] and scan(settings.home, person)
    erase(settings)
    check_complete(settings, person, original)
