"""The node's settings: errors name the key and how to fix it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bioatt.core.errors import InputError
from bioatt.service.node.settings import read_settings, server_tls

GOOD = 'spool = "spool"\n[[destination]]\nname = "pacs"\nhost = "h"\nport = 104\nae_title = "PACS"\n'
PAGE = Path(__file__).parents[4] / "Docs" / "node.md"


@pytest.fixture
def read(tmp_path):
    def run(text: str):
        (tmp_path / "node.toml").write_text(text)
        return read_settings(tmp_path / "node.toml")

    return run


def test_paths_start_at_the_file(read, tmp_path):
    assert read(GOOD).spool == tmp_path / "spool"


def test_the_example_of_the_page_is_valid(read):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)

    settings = read(example)

    from bioatt.service.rules import rules_of

    assert len(rules_of({"rule": list(settings.rules)}, settings.folder)) == len(settings.rules) > 1
    assert {one.name for one in settings.destinations} == {"pacs", "share"}


BAD = {
    "not TOML": ("spool = ", "are not valid TOML"),
    "no spool": ("x = 1\n" + GOOD, "unknown key 'x'"),
    "no destination": ('spool = "s"', "destination is missing"),
    "empty destinations": ('spool = "s"\ndestination = []', "add one for the derived series"),
    "port": (GOOD.replace("104", "0"), "destination: port: give a whole number from 1 to 65535"),
    "no title": (GOOD.replace('ae_title = "PACS"\n', ""), "destination pacs: ae_title is missing"),
    "long title": (GOOD.replace("PACS", "P" * 17), "is not an AE title"),
    "both": (GOOD + 'folder = "f"\n', "give either folder, or host"),
    "neither": ('spool = "s"\n[[destination]]\nname = "a"\n', "give either folder, or host"),
    "name leads away": (GOOD.replace('"pacs"', '"../x"'), "give a name of 1 to 32 letters"),
    "same name": (GOOD + GOOD.partition("\n")[2], "two destinations have the same name"),
    "in the spool": ('spool = "s"\n[[destination]]\nname = "a"\nfolder = "s/out"\n', "the folder is inside the spool"),
    "address": (GOOD + '[listen]\naddress = "here"\n', "listen: address: 'here' is not an IP address"),
    "addresses": (GOOD + '[listen]\naddresses = ["10.1.2.3/8"]\n', "listen: addresses: 10.1.2.3/8 has host bits set"),
    "titles": (GOOD + '[listen]\ncalling_ae_titles = "A"\n', "listen: calling_ae_titles: 'A' is not a list"),
    "quiet": (GOOD + "[listen]\nquiet_s = 0\n", "listen: quiet_s: give seconds"),
    "table": ("listen = 3\n" + GOOD, "listen: give a table"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_named(read, name):
    text, message = BAD[name]

    with pytest.raises(InputError, match=re.escape(message)):
        read(text)


def test_certificates_that_cannot_be_used_are_named(read, tmp_path):
    (tmp_path / "c.pem").write_text("no certificate")
    settings = read(GOOD + '[listen.tls]\ncertificate = "c.pem"\nkey = "c.pem"\n')

    with pytest.raises(InputError, match="PEM files are invalid"):
        server_tls(settings.listen.tls)
    with pytest.raises(InputError, match="certificate is missing"):
        server_tls(read(GOOD + '[listen.tls]\nkey = "c.pem"\n').listen.tls)
