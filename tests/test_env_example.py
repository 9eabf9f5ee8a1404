"""`.env.example` and the settings agree."""

import re
from pathlib import Path

import pytest

from app.config import Settings, load_settings
from tests.conftest import ROOT

EXAMPLE = ROOT / ".env.example"


def test_the_example_lists_every_setting_once_with_its_meaning_and_its_default() -> None:
    blocks = re.findall(r"^# (.+)\n(?:# )?([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    assignments = re.findall(r"^(?:# )?([A-Z0-9_]+)=", EXAMPLE.read_text(), re.MULTILINE)
    assert [name for _, name, _ in blocks] == assignments == [name.upper() for name in Settings.model_fields]
    for _meaning, name, text in blocks:
        default = Settings.model_fields[name.lower()].default
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        assert text == (shown.lower() if isinstance(default, bool) else shown), name


def test_the_example_copied_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    defaults = Settings()
    (tmp_path / ".env").write_text(EXAMPLE.read_text())
    assert load_settings() == defaults
