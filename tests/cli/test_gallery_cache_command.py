import json
from contextlib import closing
from pathlib import Path

from typer.testing import CliRunner

from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.cli.app import app
from tests.galleries import enroll


def test_the_cache_is_listed_and_cleared(tmp_path: Path) -> None:
    place = tmp_path / (32 * "a")
    with closing(open_filesystem_gallery(place, create=True, create_index=ExactIndex)) as gallery:
        enroll(gallery)
    asked = ["gallery", "cache", "--set", f"gallery.cache={tmp_path}"]
    table = CliRunner().invoke(app, asked).stdout
    assert str(place) in table
    assert "12 images of here; 0." in table
    assert "1 gallery" in table
    listed = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert [kept["place"] for kept in listed["galleries"]] == [str(place)]
    cleared = CliRunner().invoke(app, [*asked, "--clear"])
    assert cleared.exit_code == 0, cleared.output
    assert "Deleted 1 gallery" in cleared.stdout
    assert not place.exists()
