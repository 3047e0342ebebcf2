"""Where the address and the token come from."""

import stat
from pathlib import Path

import pytest

from mosu.client import ClientError, NotSignedIn
from mosu.client.config import Profile, config_path, load_profile, save_profile


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("MOSU_URL", "MOSU_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_what_is_saved_is_loaded_and_private(home: Path) -> None:
    profile = Profile(url='https://hub.example.org/"x"', token="mosu_\\abc")
    path = save_profile(profile)
    assert path == home / "mosu" / "config.toml"
    assert load_profile() == profile
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "abc" not in repr(profile)


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    save_profile(Profile(url="https://a", token="mosu_a"))
    monkeypatch.setenv("MOSU_TOKEN", "mosu_b")
    assert load_profile() == Profile(url="https://a", token="mosu_b")
    monkeypatch.setenv("MOSU_URL", "https://b")
    assert load_profile() == Profile(url="https://b", token="mosu_b")


def test_a_saved_token_never_goes_to_another_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    save_profile(Profile(url="https://a", token="mosu_a"))
    monkeypatch.setenv("MOSU_URL", "https://b")
    with pytest.raises(NotSignedIn, match="No token for https://b"):
        load_profile()


def test_without_anything_the_hint_names_the_command() -> None:
    with pytest.raises(NotSignedIn) as refused:
        load_profile()
    assert "mosu login" in refused.value.hint


def test_a_broken_file_is_named() -> None:
    save_profile(Profile(url="https://a", token="t"))
    config_path().write_text("[profile")
    with pytest.raises(ClientError, match=r"config\.toml cannot be read"):
        load_profile()


def test_a_relative_xdg_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # as the XDG specification says
    assert config_path() == Path.home() / ".config" / "mosu" / "config.toml"
