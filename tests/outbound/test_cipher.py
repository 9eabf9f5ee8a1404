"""What is kept encrypted, and with which key."""

from functools import partial
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, InvalidToken

from app.config import Settings
from app.config.types import PLACEHOLDERS
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey, SecretCipher, create_cipher

FIRST, SECOND = "first-key-of-at-least-32-characters", "second-key-of-at-least-32-characters"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def settings(tmp_path: Path, **values: str) -> Settings:
    return Settings(_env_file=None, secret_key_file=tmp_path / "key", **values)  # type: ignore[arg-type]


def test_what_was_sealed_comes_back_and_looks_different_each_time() -> None:
    cipher = SecretCipher([FIRST])
    encrypted = [cipher.encrypt(SECRET) for _ in range(10)]
    assert {cipher.decrypt(one) for one in encrypted} == {SECRET}
    assert len(set(encrypted)) == 10
    assert not any(SECRET.encode() in one or SECRET[6:].encode() in one for one in encrypted)


def test_the_first_key_seals_and_all_open() -> None:
    old = SecretCipher([FIRST]).encrypt(SECRET)
    rotated = SecretCipher([SECOND, FIRST])
    assert rotated.decrypt(old) == SECRET
    assert SecretCipher([SECOND]).decrypt(rotated.encrypt(SECRET)) == SECRET


def test_without_its_key_nothing_opens() -> None:
    encrypted = SecretCipher([FIRST]).encrypt(SECRET)
    with pytest.raises(EncryptionKeyMissing) as missing:
        SecretCipher([SECOND]).decrypt(encrypted)
    assert (missing.value.status, missing.value.code) == (503, "encryption-key-missing")
    assert "WEBHOOK_ENCRYPTION_KEYS" in str(missing.value)


def test_what_was_altered_does_not_open() -> None:
    cipher = SecretCipher([FIRST])
    encrypted = cipher.encrypt(SECRET)
    middle = len(encrypted) // 2
    other = b"A" if encrypted[middle : middle + 1] != b"A" else b"B"
    for altered in (b"", encrypted[:-1], encrypted[:middle] + other + encrypted[middle + 1 :]):
        with pytest.raises(EncryptionKeyMissing):
            cipher.decrypt(altered)


def test_with_no_key_every_call_says_which_settings_help() -> None:
    cipher = SecretCipher([])
    for call in (partial(cipher.encrypt, SECRET), partial(cipher.decrypt, b"x")):
        with pytest.raises(NoEncryptionKey) as closed:
            call()
        assert (closed.value.status, closed.value.code) == (503, "no-encryption-key")
        assert "SECRET_KEY" in str(closed.value)
        assert "WEBHOOK_ENCRYPTION_KEYS" in str(closed.value)


def test_keys_of_their_own_setting_come_first(tmp_path: Path) -> None:
    both = settings(tmp_path, webhook_encryption_keys=f"{FIRST}, {SECOND}", secret_key="s" * 32)
    assert SecretCipher([FIRST]).decrypt(create_cipher(both).encrypt(SECRET)) == SECRET
    assert create_cipher(both).decrypt(SecretCipher([SECOND]).encrypt(SECRET)) == SECRET


@pytest.mark.parametrize("before", [{"secret_key": "s" * 32}, {}], ids=["SECRET_KEY", "local"])
def test_what_was_sealed_before_there_were_any_still_opens(tmp_path: Path, before: dict[str, str]) -> None:
    encrypted = create_cipher(settings(tmp_path, **before)).encrypt(SECRET)
    assert create_cipher(settings(tmp_path, **before, webhook_encryption_keys=FIRST)).decrypt(encrypted) == SECRET


def test_a_secret_key_that_was_changed_may_be_one_of_them(tmp_path: Path) -> None:
    encrypted = create_cipher(settings(tmp_path, secret_key="s" * 32)).encrypt(SECRET)
    later = settings(tmp_path, webhook_encryption_keys=f"{FIRST},{'s' * 32}", secret_key="t" * 32)
    assert create_cipher(later).decrypt(encrypted) == SECRET


def test_then_from_the_file_of_local_mode_which_is_made(tmp_path: Path) -> None:
    encrypted = create_cipher(settings(tmp_path)).encrypt(SECRET)
    assert create_cipher(settings(tmp_path)).decrypt(encrypted) == SECRET
    assert (tmp_path / "key").exists()


@pytest.mark.parametrize("key", ["", *sorted(PLACEHOLDERS)])
def test_with_auth0_and_no_key_of_its_own_the_vault_is_closed(tmp_path: Path, key: str) -> None:
    cipher = create_cipher(settings(tmp_path, auth0_domain="a.example", secret_key=key))
    with pytest.raises(NoEncryptionKey):
        cipher.encrypt(SECRET)
    assert not (tmp_path / "key").exists()


def test_the_key_is_derived_and_not_the_text_itself() -> None:
    encrypted = SecretCipher(["A" * 43 + "="]).encrypt(SECRET)
    with pytest.raises(InvalidToken):
        Fernet("A" * 43 + "=").decrypt(encrypted)
