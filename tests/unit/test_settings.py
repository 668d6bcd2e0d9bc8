"""The settings: values read from the environment, rejected values, and the texts of errors."""

import os
from pathlib import Path
from typing import Any

import pytest

from liveblog.origin import Site
from liveblog.settings import (
    Settings,
    SettingsError,
    ignored,
    listing,
    load,
    log_doubts,
    log_ignored,
    static_dir,
    table,
    variables,
)
from liveblog.store.url import Several, several


def refusal(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    return str(caught.value)


def test_settings_default_to_an_embedded_store_with_disk_durability() -> None:
    settings = load({})
    assert (settings.redis_url, settings.data_dir) == ("", Path("data"))
    assert (settings.host, settings.port, settings.durability) == ("127.0.0.1", 8000, "disk")
    assert (settings.heartbeat_s, settings.send_buffer_bytes) == (20.0, 65_536)


def test_durability_defaults_to_store_when_redis_url_is_set() -> None:
    assert load({"REDIS_URL": "redis://store"}).durability == "store"
    assert load({"REDIS_URL": "redis://s", "LIVEBLOG_DURABILITY": "disk"}).durability == "disk"


def test_variable_counts_as_not_set_when_it_is_empty() -> None:
    assert load({"PORT": "", "REDIS_URL": " ", "LIVEBLOG_DRAIN_S": ""}) == load({})


def test_settings_ignore_variables_of_other_programs() -> None:
    assert load({"LIVEBLOGS": "x", "HEARTBEAT_S": "x"}) == load({})


def test_redis_url_accepts_the_scheme_valkey() -> None:
    assert load({"REDIS_URL": "valkey://u@h:1/2"}).redis_url == "redis://u@h:1/2"
    assert load({"REDIS_URL": "valkeys://h"}).redis_url == "rediss://h"


def test_redis_url_accepts_sentinels_and_clusters() -> None:
    for given, meant in {
        "redis+sentinel://u:p%40@a:26379,b:26380/live?db=1": "redis+sentinel://u:p%40@a:26379,b:26380/live?db=1",
        "VALKEYS+Sentinel://a/live": "rediss+sentinel://a/live",
        "valkey+cluster://:p@a:7000,b:7001": "redis+cluster://:p@a:7000,b:7001",
        "rediss+cluster://[::1]:7000/": "rediss+cluster://[::1]:7000/",
    }.items():
        assert load({"REDIS_URL": given}).redis_url == meant


def test_several_returns_the_parts_of_a_url_of_several_servers() -> None:
    assert several("rediss+sentinel://u:p%40@a,[::1]:26380/live?db=1") == Several(
        "sentinel", True, "u:p%40@", (("a", 26379), ("::1", 26380)), "live", "db=1"
    )
    coded = several("redis+sentinel://a/my%20service")
    assert coded
    assert coded.service == "my service"
    cluster = several("redis+cluster://a:7000,b")
    assert cluster
    assert (cluster.kind, cluster.hosts) == ("cluster", (("a", 7000), ("b", 6379)))
    assert several("redis://a:6379/0") is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("redis+sentinel://:s3cret@host", "redis+sentinel://host:26379,host:26379/service"),
        ("redis+sentinel://:s3cret@host/", "/service"),
        ("redis+sentinel://:s3cret@host/s3cret/1", "/service"),
        ("redis+sentinel://:s3cret@host:s3cret/live", "/service"),
        ("redis+cluster://:s3cret@", "redis+cluster://host:6379,host:6379, without a path"),
        ("redis+cluster://:s3cret@host,/", "without a path"),
        ("redis+cluster://:s3cret@host/0", "without a path"),
        ("redis+cluster://:s3cret@host:70000", "ort"),
        ("redis+cluster://:s3cret@host:0", "ports from 1 to 65535"),
        ("redis+sentinel://:s3cret@host,host:0/live", "ports from 1 to 65535"),
        ("redis+cluster://:s3cret@host?db=1", "it can have password, username"),
        ("unix+cluster://:s3cret@host", "redis+cluster://"),
        ("redis+other://:s3cret@host", "redis+sentinel://"),
    ],
)
def test_refusal_hides_a_malformed_url_of_several_servers(given: str, message: str) -> None:
    refused = refusal(REDIS_URL=given)
    assert message in refused
    assert "s3cret" not in refused


def test_origins_are_normalised_to_the_form_that_browsers_send() -> None:
    given = "HTTPS://News.Example/, http://a.test:80 ,https://*.Bücher.example,"
    normal = ("https://news.example", "http://a.test", "https://*.xn--bcher-kva.example")
    settings = load({"LIVEBLOG_ALLOWED_ORIGINS": given, "LIVEBLOG_WRITE_ORIGINS": given})
    assert settings.site == Site("", normal, normal)
    assert load({"PUBLIC_URL": "https://Bücher.example/"}).public_url == normal[2].replace("*.", "")


@pytest.mark.parametrize("given", ["news.example", "https://a.b/c", "https://u@a.b", "*"])
@pytest.mark.parametrize(
    "name", ["LIVEBLOG_ALLOWED_ORIGINS", "LIVEBLOG_WRITE_ORIGINS", "PUBLIC_URL"]
)
def test_settings_reject_a_text_that_is_no_origin(name: str, given: str) -> None:
    assert f"not {given!r}" in refusal(**{name: given})


@pytest.mark.parametrize("given", ["null", "capacitor://localhost"])
def test_an_app_may_stream_but_neither_write_nor_be_the_site(given: str) -> None:
    assert load({"LIVEBLOG_ALLOWED_ORIGINS": given}).allowed_origins == (given,)
    assert f"not {given!r}" in refusal(LIVEBLOG_WRITE_ORIGINS=given)
    assert f"not {given!r}" in refusal(PUBLIC_URL=given)


def test_settings_name_the_nearest_setting_when_a_name_is_unknown() -> None:
    message = refusal(LIVEBLOG_HEARTBEET_S="20")
    assert message == "LIVEBLOG_HEARTBEET_S is not a setting; the nearest is LIVEBLOG_HEARTBEAT_S"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("liveblog_heartbeat_s", "LIVEBLOG_HEARTBEAT_S"),
        ("Liveblog_Drain_S", "LIVEBLOG_DRAIN_S"),
        ("LIVEBLOG_drain_lead_s", "LIVEBLOG_DRAIN_LEAD_S"),
        ("liveblog_write_origin", "LIVEBLOG_WRITE_ORIGINS"),
        ("liveblog_port", "PORT"),
        ("LIVEBLOG-DRAIN-S", "LIVEBLOG_DRAIN_S"),
        ("LIVEBLOG-BLOGS_MAX", "LIVEBLOG_BLOGS_MAX"),
        ("liveblog-public-url", "PUBLIC_URL"),
    ],
)
def test_settings_refuse_a_name_when_it_is_spelt_in_another_way(name: str, nearest: str) -> None:
    expected = f"{name} is not a setting; the nearest is {nearest}"
    assert refusal(**{name: "20"}) == expected


def test_misspelt_name_is_logged_when_it_may_be_of_another_program(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environ = {"public_url": "https://live.example", "REDIS-URL": "redis://s", "PORT": "1", "x": ""}
    assert load(environ) == load({"PORT": "1"})
    log_ignored(environ)
    assert [record.getMessage() for record in caplog.records] == [
        "ignored, names of settings are upper case, with underscores: REDIS-URL, public_url"
    ]


def test_settings_refuse_writers_of_another_site_than_public_url() -> None:
    writers = "https://cms.news.example,https://cms.other.example,http://a.news.example"
    environ = {"PUBLIC_URL": "https://live.news.example", "LIVEBLOG_WRITE_ORIGINS": writers}
    message = refusal(**environ)
    assert message.count("LIVEBLOG_WRITE_ORIGINS must have the scheme and the registrable") == 2
    assert "'https://cms.other.example'" in message
    assert "'http://a.news.example'" in message


def test_doubts_about_settings_are_logged_as_warnings(caplog: pytest.LogCaptureFixture) -> None:
    log_doubts(load({"LIVEBLOG_WRITE_ORIGINS": "https://cms.news.com"}))
    log_doubts(load({"PUBLIC_URL": "https://news.com"}))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "without PUBLIC_URL" in record.getMessage()


@pytest.mark.parametrize("given", ["0", "-1", "301", "nan", "1_0", "20s", "1e3"])
def test_settings_name_variable_limit_and_value_when_a_number_is_invalid(given: str) -> None:
    message = refusal(LIVEBLOG_HEARTBEAT_S=given)
    assert message == f"LIVEBLOG_HEARTBEAT_S must be a number from 0.05 to 300 s, not {given!r}"


def test_settings_name_the_choices_when_a_word_is_none_of_them() -> None:
    assert refusal(LOG_FORMAT="xml") == "LOG_FORMAT must be one of text, json, not 'xml'"
    assert load({"LOG_LEVEL": "WARNING"}).log_level == "warning"


def test_settings_name_all_faults_in_one_error() -> None:
    message = refusal(PORT="70000", LIVEBLOG_DRAIN_S="x", LIVEBLOG_NOTHING="1")
    assert all(name in message for name in ("PORT", "LIVEBLOG_DRAIN_S", "LIVEBLOG_NOTHING"))


def test_settings_never_show_a_secret() -> None:
    assert "s3cret" not in refusal(REDIS_URL="http://u:s3cret@host")
    assert "s3cret" not in repr(load({"REDIS_URL": "redis://u:s3cret@host"}))


def test_secret_is_read_from_the_file_that_its_variable_names(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://u:p@host\n")
    assert load({"REDIS_URL_FILE": str(file)}).redis_url == "redis://u:p@host"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # some editors begin a file with a BOM
    assert load({"REDIS_URL_FILE": str(file)}).redis_url == "redis://u:p@host"
    assert "both set" in refusal(REDIS_URL_FILE=str(file), REDIS_URL="redis://x")
    assert "No such file" in refusal(REDIS_URL_FILE=str(tmp_path / "other"))
    assert "HOST_FILE" not in variables()


def test_settings_reject_a_secrets_file_when_it_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(" \n")
    assert refusal(REDIS_URL_FILE=str(file)) == f"REDIS_URL_FILE: {file} is empty"


@pytest.mark.parametrize("name", ["REDIS_URL_FILE", "LIVEBLOG_TLS_CERT"])
def test_settings_reject_a_file_that_would_block_the_start(tmp_path: Path, name: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "no regular file" in refusal(**{name: str(fifo)})
    assert "no regular file" in refusal(**{name: str(tmp_path)})


def test_settings_reject_replica_durability_when_the_store_is_embedded() -> None:
    assert "REDIS_URL" in refusal(LIVEBLOG_DURABILITY="replica")


def test_table_has_every_variable_with_its_default() -> None:
    lines = table().splitlines()[2:]
    assert len(lines) == len([name for name in variables() if not name.endswith("_FILE")])
    assert "| `LIVEBLOG_DRAIN_S` | `10` s |" in table()
    assert all(line.count("|") == 4 for line in lines)


def test_listing_is_plain_text_with_every_variable() -> None:
    shown = dict(listing())
    assert [*shown] == [name for name in variables() if not name.endswith("_FILE")]
    assert shown["LIVEBLOG_DRAIN_S"].endswith("default: 10 s")
    assert not any(mark in text for text in shown.values() for mark in "`|")


def test_site_url_is_the_address_of_a_browser_on_this_machine() -> None:
    assert Settings(host="0.0.0.0").site_url == "http://127.0.0.1:8000"
    assert Settings(host="::1", port=80).site_url == "http://[::1]:80"
    assert Settings(tls_cert="cert.pem").site_url == "https://127.0.0.1:8000"
    assert Settings(public_url="https://live.example").site_url == "https://live.example"


def test_every_default_is_within_its_limits() -> None:
    defaults = {r.metadata["row"].env: r.default for r in Settings.__dataclass_fields__.values()}
    numbers = {
        name: f"{value}" for name, value in defaults.items() if isinstance(value, int | float)
    }
    assert load(numbers) == load({})


def test_static_dir_finds_the_files_of_a_checkout() -> None:
    assert static_dir().name == "static"


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cr/etX9@127.0.0.1:6379",
        "redis://:s3cr#etX9@127.0.0.1",
        "redis://:s3cr?etX9@127.0.0.1",
        "redis://:s3cr[etX9@127.0.0.1",
        "redis://:s3cretX9@127.0.0.1:99999",
        "redis://:s3cretX9@127.0.0.1:0",
        "rediss://:s3cretX9@:6379",
    ],
)
def test_refusal_hides_a_store_url_that_cannot_be_parsed(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL must name a host") as refused:
        load({"REDIS_URL": url})
    assert "s3cr" not in str(refused.value)
    assert "etX9" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://h?protocol=3", "an option that such a URL cannot have"),
        ("redis://h?decode_responses=1", "it can have db, password, username"),
        ("redis://h?foo=s3cret", "an option that such a URL cannot have"),
        ("redis://h?s3cret", "an option that such a URL cannot have"),
        ("redis://h?db=s3cret", "an option db that must be the number of a database"),
        ("redis://h?db", "an option db that must be the number of a database"),
        ("redis://h?socket_timeout=s3cret", "an option that such a URL cannot have"),
        ("redis://h?retry=3", "an option that such a URL cannot have"),
        ("redis://h/s3cret", "the number of a database"),
        ("redis://h/0/s3cret", "the number of a database"),
        ("redis://h?ssl_cert_reqs=none", "an option that such a URL cannot have"),
        ("rediss://h?ssl_cert_reqs=s3cret", "must be none, optional or required"),
        ("rediss://h?ssl_ca_certs=/no/s3cret", "ssl_ca_certs that must name a file"),
        ("unix:///run/s?foo=s3cret", "an option that such a URL cannot have"),
        ("redis+sentinel://h/live?sentinel_password=", "must not be empty"),
    ],
)
def test_settings_reject_an_option_of_a_store_url_that_cannot_work(url: str, message: str) -> None:
    refused = refusal(REDIS_URL=url)
    assert message in refused
    assert "s3cret" not in refused


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/3",
        "redis://h?db=3",
        "redis://h?username=u&password=p%26",
        "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false",
        "unix:///run/s?db=2",
        "redis+sentinel://h/live?db=1&sentinel_username=u&sentinel_password=p",
    ],
)
def test_settings_accept_an_option_of_a_store_url_that_works(url: str) -> None:
    assert load({"REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8000"),
        ({"host": "::", "port": 9000}, "http://[::1]:9000"),
        ({"host": "2001:db8::1"}, "http://[2001:db8::1]:8000"),
        ({"tls_cert": "cert", "tls_key": "key"}, "https://127.0.0.1:8000"),
        ({"public_url": "https://live.example", "host": "::"}, "https://live.example"),
    ],
)
def test_site_url_is_reachable_when_public_url_is_not_set(given: Any, url: str) -> None:
    assert Settings(**given).site_url == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIVEBLOG_SERVICE_HOST", "10.0.0.7"),
        ("LIVEBLOG_SERVICE_PORT", "80"),
        ("LIVEBLOG_SERVICE_PORT_HTTP_ALT", "8080"),
        ("LIVEBLOG_PORT", "tcp://10.0.0.7:80"),
        ("LIVEBLOG_PORT", "tcp://[fd00::7]:80"),
        ("LIVEBLOG_PORT_80_TCP", "tcp://10.0.0.7:80"),
        ("LIVEBLOG_PORT_80_TCP_PROTO", "tcp"),
        ("LIVEBLOG_PORT_80_TCP_PORT", "80"),
        ("LIVEBLOG_PORT_80_TCP_ADDR", "fd00::7"),
        ("LIVEBLOG_PORT_53_UDP", "udp://10.0.0.7:53"),
        ("LIVEBLOG_REDIS_SERVICE_HOST", "10.0.0.8"),
        ("LIVEBLOG_REDIS_PORT_6379_TCP_ADDR", "10.0.0.8"),
        ("LIVEBLOG_NAME", "/proxy/liveblog"),
        ("LIVEBLOG_ENV_PATH", "/usr/bin:/bin"),
    ],
)
def test_settings_ignore_names_that_a_platform_sets_for_a_service(name: str, value: str) -> None:
    assert load({name: value}) == load({})
    assert ignored({name: value, "LIVEBLOG_DRAIN_S": "1"}) == [name]


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("LIVEBLOG_PORT", "8000", "PORT"),
        ("LIVEBLOG_HOST", "10.0.0.7", "HOST"),
        ("LIVEBLOG_HEARTBEATS", "tcp://10.0.0.7:80", "LIVEBLOG_HEARTBEAT_S"),
        ("LIVEBLOG_NAME", "wire", "LIVEBLOG_"),
        ("LIVEBLOG_SERVICE_PORT", "http", "LIVEBLOG_"),
        ("LIVEBLOG_PORT_80_TCP_ADDR", "", "LIVEBLOG_"),
        ("LIVEBLOG_PORT_80_TCP", "8000", "LIVEBLOG_"),
    ],
)
def test_settings_refuse_a_name_when_its_value_is_no_platforms(
    name: str, value: str, nearest: str
) -> None:
    assert f"{name} is not a setting; the nearest is {nearest}" in refusal(**{name: value})


def test_ignored_names_are_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    log_ignored({"LIVEBLOG_PORT": "tcp://10.0.0.7:80", "LIVEBLOG_SERVICE_PORT": "80"})
    log_ignored({})
    assert [record.getMessage() for record in caplog.records] == [
        "ignored, set by the platform for a service: LIVEBLOG_PORT, LIVEBLOG_SERVICE_PORT"
    ]
