"""Studies that come by STOW-RS and from a folder are recorded by the one ingester of the listener."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from db.engine import connect
from neurotriage.core.settings import CONFIG_VARIABLE, Settings, environment_of
from neurotriage.embedded.process import free_port
from neurotriage.embedded.stack import STOW, Stack
from tests.conftest import until
from tests.files.conftest import as_file
from tests.listener.conftest import instance, rows
from tests.stow.conftest import HEADERS, TOKEN, body

pytestmark = pytest.mark.scenario


def test_what_came_by_web_and_from_a_folder_is_recorded_beside_the_listener(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    settings = Settings.model_validate(
        {
            "listener": {"port": 0},
            "storage": {"root": tmp_path / "storage", "min_free_bytes": 0},
            "stow": {"port": free_port()},
            "peer": [{"ae_title": "CT1", "host": "127.0.0.1", "token_file": tmp_path / "token"}],
        }
    )
    assert settings.stow is not None
    url = f"http://127.0.0.1:{settings.stow.port}/studies"
    folder = tmp_path / "medium"
    folder.mkdir()
    (folder / "1").write_bytes(as_file(instance("1.2.7")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG_VARIABLE, os.devnull)
        with Stack(settings, tmp_path / "servers", ephemeral=True, roles=("listen",)) as stack:
            engine = connect(stack.settings.database.url)
            content = body(as_file(instance("1.2.6")))

            def stored() -> bool:
                try:
                    return httpx.post(url, content=content, headers=HEADERS).status_code == 200
                except httpx.ConnectError:
                    return False

            until(stored)
            command = [sys.executable, "-m", "neurotriage", "import", str(folder)]
            environment = {**os.environ, **environment_of(stack.settings)}
            told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert (told.returncode, told.stderr) == (0, ""), told
            query = "select peer_ae_title, sop_instance_uid from instances order by 1"
            wanted = [("CT1", "1.2.6.1.1"), ("IMPORT", "1.2.7.1.1")]
            until(lambda: rows(engine, query) == wanted)
            engine.dispose()
            stack.process(STOW).kill()
            stack.process(STOW).wait()
            assert STOW in stack.dead()
            stack.start_again(STOW, lambda: False)
            until(stored)
