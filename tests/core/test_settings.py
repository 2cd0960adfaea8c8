"""The configuration: a misspelt key is refused by name, the environment wins over the file."""

import os
from pathlib import Path

import pytest

from neurotriage.core.settings import (
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    ConfigurationError,
    Peer,
    Settings,
    environment_of,
    load_settings,
)

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but the test's: an empty working folder and no variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("NEUROTRIAGE__", CONFIG_VARIABLE))]:
        monkeypatch.delenv(name)


def test_defaults_need_no_configuration() -> None:
    settings = load_settings()
    assert settings.listener.ae_title == "NEUROTRIAGE"
    assert settings.listener.host == "127.0.0.1"
    assert not settings.destination
    assert not settings.peer


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[lisener]\nport = 1", "lisener"),
        ("[listener]\nprot = 1", "listener.prot"),
        ("[listener.tls]\ncertificate = 'x'\nkey = 'x'\nca = 'x'\nkye = 'x'", "listener.tls.kye"),
        ("quiet_s = 1", "quiet_s"),
        (
            "[[destination]]\nname = 'a'\nae_title = 'A'\nhost = 'h'\nport = 104\nhots = 'h'",
            '[[destination]] number 1, "a": hots',
        ),
        ("[[peer]]\nae_title = 'A'\nhost = 'h'\naetitle = 'B'", '[[peer]] number 1, "A": aetitle'),
    ],
)
def test_a_misspelt_key_in_the_file_is_refused_by_name(tmp_path: Path, toml: str, named: str) -> None:
    (tmp_path / "config.toml").write_text(toml)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert str(refused.value) == f"{named}: there is no such setting"


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("NEUROTRIAGE__LISENER__PORT", "NEUROTRIAGE__LISENER__PORT"),
        ("NEUROTRIAGE__LISTENER__PROT", "listener.prot"),
        ("NEUROTRIAGE__QUIET_S", "NEUROTRIAGE__QUIET_S"),
    ],
)
def test_a_misspelt_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, named: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert str(refused.value) == f"{named}: there is no such setting"


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[listener]\nport = 70000", "listener.port"),
        ("[listener]\nport = 'high'", "listener.port"),
        ("[listener]\nae_title = 'SEVENTEEN_LETTERS'", "listener.ae_title"),
        ("[assembly]\nquiet_s = 0", "assembly.quiet_s"),
        ("[[destination]]\nname = 'a'\nae_title = 'A'\nhost = 'h'", '[[destination]] number 1, "a": port'),
        ("[[destination]]\nname = 'a'\nae_title = 'A'\nport = 104", '[[destination]] number 1, "a": host'),
        (
            "[[destination]]\nname='a'\nae_title='A'\nhost='h'\nport=1\nreport_unanalysed='some'",
            '[[destination]] number 1, "a": report_unanalysed',
        ),
        ("[summary.second_opinion]\nprovider = 'groq'", "summary.second_opinion.model"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(tmp_path: Path, toml: str, named: str) -> None:
    (tmp_path / "config.toml").write_text(toml)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert str(refused.value).startswith(f"{named}: ")
    assert "Value error" not in str(refused.value)


_PACS = "[[destination]]\nname='pacs'\nae_title='A'\nhost='h'\nport=1\n"


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (f"{_PACS}[[destination]]\nname='web'\nport=0", '[[destination]] number 2, "web": '),
        (
            "[[peer]]\nae_title='CT1'\nhost='a'\n[[peer]]\nhost='b'",
            "[[peer]] number 2: ae_title: this is needed",
        ),
        (f"{_PACS}objects=['page','films']", '[[destination]] number 1, "pacs": objects, value 2: '),
        (f"{_PACS}[destination.tls]\nca=7", '[[destination]] number 1, "pacs": tls.ca: '),
        (
            "[[results.series]]\nkind='page'\nnumber=0\ndescription='x'",
            '[[results.series]] number 1, "page": number: ',
        ),
        ("[peer]\nae_title='CT1'\nhost='a'", "peer: write a table in double brackets"),
        ("peer = ['CT1']", "[[peer]] number 1: "),
    ],
)
def test_a_table_among_several_is_named_and_counted_as_people_count(
    tmp_path: Path, toml: str, told: str
) -> None:
    (tmp_path / "config.toml").write_text(toml)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert str(refused.value).splitlines()[0].startswith(told), refused.value


def test_a_table_of_the_environment_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("[[peer]]\nae_title='FILE'\nhost='a'")
    monkeypatch.setenv("NEUROTRIAGE__PEER", '[{"ae_title": "CT1", "host": "10.1.2.*"}]')
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert str(refused.value) == (
        "[[peer]] number 1, \"CT1\": host: '10.1.2.*' is no name, no address and no CIDR such as 10.1.2.0/24"
    )


NO_HOSTS = [
    *("10.1.2.*", "127.0.0.0/33", "10.1.2.256", "10.1.2", "10.1.2.3-9", "10.1.2.3:104", "fe80::/129"),
    *("http://ct1", "10.1.2.3,10.1.2.4", "ct1..hospital", "*"),
]
HOSTS = [
    *("ct1", "ct1.hospital.example", "ct_1", "CT-1.local.", "10.1.2.3", "10.1.2.3/24", "0.0.0.0/0", "::1"),
    *("2001:db8::/32", "3t-mr", "3t-mr.hospital.example", "xn--bcher-kva.example"),
]


@pytest.mark.parametrize("host", [*NO_HOSTS, "ct 1", "a" * 64])
def test_a_peer_that_no_sender_can_be_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="is no name, no address and no CIDR"):
        Peer(ae_title="CT1", host=host)


def test_a_peer_needs_an_address_or_a_certificate() -> None:
    with pytest.raises(ValueError, match="unless it is bound to a certificate"):
        Peer(ae_title="CT1")
    assert Peer(ae_title="CT1", certificate_sha256="AB:" * 31 + "cd").certificate_sha256 == "ab" * 31 + "cd"
    assert Peer(ae_title="CT1", certificate_subject="CN=ct1, O=Clinic").is_bound_to_a_certificate
    for wrong in ({"certificate_sha256": "ab" * 31}, {"certificate_subject": "ct1"}):
        with pytest.raises(ValueError, match="certificate_s"):
            Peer.model_validate({"ae_title": "CT1", **wrong})


@pytest.mark.parametrize("host", HOSTS)
def test_a_peer_is_a_name_an_address_or_a_network(host: str) -> None:
    assert Peer(ae_title="CT1", host=host).host == host


@pytest.mark.parametrize("title", ["", "   ", "BACK\\SLASH", "\u00fcmlaut", "TAB\t", "NUL\0"])
def test_a_peer_whose_ae_title_dicom_does_not_allow_is_refused(title: str) -> None:
    with pytest.raises(ValueError, match="is no AE title"):
        Peer(ae_title=title, host="ct1")


def test_every_wrong_key_has_a_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[listener]\nprot = 1\n[worker]\nthread = 1\nlease_s = -1")
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    keys = {line.split(":")[0] for line in str(refused.value).splitlines()}
    assert keys == {"listener.prot", "worker.thread", "worker.lease_s"}


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("[listener]\nport = 1111\nae_title = 'FILE'")
    monkeypatch.setenv("NEUROTRIAGE__LISTENER__PORT", "2222")
    settings = load_settings()
    assert settings.listener.port == 2222
    assert settings.listener.ae_title == "FILE"


def test_a_named_file_is_read_instead_of_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text("[listener]\nport = 1111")
    (tmp_path / "other.toml").write_text("[listener]\nport = 2222")
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "other.toml"))
    assert load_settings().listener.port == 2222


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "elsewhere.toml")
    with pytest.raises(ConfigurationError, match=r"NEUROTRIAGE_CONFIG names elsewhere\.toml.*not exist"):
        load_settings()


@pytest.mark.parametrize("content", [b"[listener\nport = 1", b"[listener]\nae_title = '\xff'"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^config\.toml: "):
        load_settings()


def test_destinations_and_peers_can_be_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pacs = '[{"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104}]'
    monkeypatch.setenv("NEUROTRIAGE__DESTINATION", pacs)
    monkeypatch.setenv("NEUROTRIAGE__PEER", '[{"ae_title": "CT1", "host": "10.1.2.0/24"}]')
    settings = load_settings()
    assert [(d.name, d.port, d.report_unanalysed) for d in settings.destination] == [("pacs", 104, "head")]
    assert [(p.ae_title, p.host, p.port) for p in settings.peer] == [("CT1", "10.1.2.0/24", None)]


def test_a_variable_that_is_no_json_is_an_error_and_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROTRIAGE__DESTINATION", "[{name: pacs}]")
    with pytest.raises(ConfigurationError, match=r"^environment: .*destination"):
        load_settings()


def test_a_child_process_reads_the_same_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_validate(
        {
            "listener": {
                "port": 0,
                "ae_title": "ÜBER",
                "tls": {"certificate": "c.pem", "key": "c.key", "ca": "ca"},
            },
            "assembly": {"quiet_s": 0.5},
            "database": {"url": "postgresql+psycopg2://u:p%40ss@h/d"},
            "storage": {"root": "/some where/else", "min_free_bytes": 0},
            "destination": [
                {"name": "a", "ae_title": "A", "host": "h", "port": 1, "report_unanalysed": "all"},
                {"name": "b", "ae_title": "B", "host": "h", "port": 2},
            ],
            "peer": [{"ae_title": "C", "host": "10.0.0.0/8", "port": 104}],
        }
    )
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_a_child_process_reads_no_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of(Settings()).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "config.toml").write_text("[listener]\nport = 1111")
    assert load_settings().listener.port == 11112


def test_settings_cannot_be_changed_after_reading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().listener.port = 1  # type: ignore[misc]


def test_the_prefix_is_the_documented_one() -> None:
    assert ENVIRONMENT_PREFIX == "NEUROTRIAGE__"
