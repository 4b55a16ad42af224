"""The daily job exports once a release, and what an erasure told the destinations is no export."""

import json

from pipeline.publish.audiences.assets import exported_already
from pipeline.settings import Settings


def manifest(settings: Settings, name: str, **said: object) -> None:
    path = settings.vault / "outbox" / name / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(said))


def current(settings: Settings, release: str) -> None:
    folder = settings.releases / release
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"release": release}))
    settings.pointer.write_text(json.dumps({"release": release, "path": f"releases/{release}"}))


def test_an_export_is_made_once_a_release(settings: Settings) -> None:
    assert not exported_already(settings), "nothing was published"
    current(settings, "2026-01-02")
    assert not exported_already(settings), "nothing was exported"
    written = [{"status": "written"}, {"status": "refused"}]
    manifest(settings, "one", release="2026-01-02", created_at="2026-01-02T05:00:00", deliveries=written)
    assert exported_already(settings)
    manifest(settings, "erasure.x", created_at="2026-01-02T06:00:00", deliveries=[])
    manifest(settings, "subject", created_at="2026-01-02T06:00:00", kind="access")
    assert exported_already(settings)
    blocked = [{"status": "blocked"}]
    manifest(settings, "two", release="2026-01-02", created_at="2026-01-02T07:00:00", deliveries=blocked)
    assert not exported_already(settings), "what was blocked is tried again"
    current(settings, "2026-01-03")
    assert not exported_already(settings)


def test_an_export_of_one_audience_is_not_that_of_all(settings: Settings) -> None:
    current(settings, "2026-01-02")
    said = {"release": "2026-01-02", "deliveries": [{"status": "written"}]}
    manifest(settings, "one", created_at="2026-01-02T05:00:00", is_whole=False, **said)
    assert not exported_already(settings)
    manifest(settings, "all", created_at="2026-01-02T04:00:00", is_whole=True, **said)
    assert exported_already(settings)
