"""The environment: what is read from it, what is refused, and how that is said."""

from pathlib import Path
from typing import Any

import pytest

from liveblog.settings import (
    Settings,
    SettingsError,
    load,
    static_dir,
    table,
    variables,
)
from liveblog.store.url import Several, several


def refusal(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    return str(caught.value)


def test_without_any_variable_the_store_is_embedded_and_changes_are_on_disk() -> None:
    settings = load({})
    assert (settings.redis_url, settings.data_dir) == ("", Path("data"))
    assert (settings.host, settings.port, settings.durability) == ("127.0.0.1", 8000, "disk")
    assert (settings.heartbeat_s, settings.send_buffer_bytes) == (20.0, 65_536)


def test_with_a_store_of_the_operators_own_it_says_itself_what_is_durable() -> None:
    assert load({"REDIS_URL": "redis://store"}).durability == "store"
    assert load({"REDIS_URL": "redis://s", "LIVEBLOG_DURABILITY": "disk"}).durability == "disk"


def test_an_empty_variable_is_not_set() -> None:
    assert load({"PORT": "", "REDIS_URL": " ", "LIVEBLOG_DRAIN_S": ""}) == load({})


def test_variables_of_other_programs_are_not_looked_at() -> None:
    assert load({"LIVEBLOGS": "x", "HEARTBEAT_S": "x"}) == load({})


def test_a_valkey_url_is_a_redis_url() -> None:
    assert load({"REDIS_URL": "valkey://u@h:1/2"}).redis_url == "redis://u@h:1/2"
    assert load({"REDIS_URL": "valkeys://h"}).redis_url == "rediss://h"


def test_a_url_may_name_sentinels_or_the_nodes_of_a_cluster() -> None:
    for given, meant in {
        "redis+sentinel://u:p%40@a:26379,b:26380/live?db=1": "redis+sentinel://u:p%40@a:26379,b:26380/live?db=1",
        "VALKEYS+Sentinel://a/live": "rediss+sentinel://a/live",
        "valkey+cluster://:p@a:7000,b:7001": "redis+cluster://:p@a:7000,b:7001",
        "rediss+cluster://[::1]:7000/": "rediss+cluster://[::1]:7000/",
    }.items():
        assert load({"REDIS_URL": given}).redis_url == meant


def test_what_such_a_url_says_is_taken_apart() -> None:
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
    ("given", "said"),
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
def test_a_malformed_url_of_several_servers_is_refused_without_its_text(
    given: str, said: str
) -> None:
    refused = refusal(REDIS_URL=given)
    assert said in refused
    assert "s3cret" not in refused


def test_origins_are_written_as_browsers_send_them() -> None:
    given = "HTTPS://News.Example/, http://a.test:80 ,http://[::1]:8000,"
    assert load({"LIVEBLOG_ALLOWED_ORIGINS": given}).allowed_origins == (
        "https://news.example",
        "http://a.test",
        "http://[::1]:8000",
    )


@pytest.mark.parametrize("given", ["news.example", "https://a.b/c", "https://u@a.b", "*", "null"])
def test_what_is_no_origin_is_refused(given: str) -> None:
    assert f"not {given!r}" in refusal(LIVEBLOG_ALLOWED_ORIGINS=given)
    assert f"not {given!r}" in refusal(PUBLIC_URL=given)


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    said = refusal(LIVEBLOG_HEARTBEET_S="20")
    assert said == "LIVEBLOG_HEARTBEET_S is not a setting; the nearest is LIVEBLOG_HEARTBEAT_S"


@pytest.mark.parametrize("given", ["0", "-1", "301", "nan", "1_0", "20s", "1e3"])
def test_a_bad_value_is_refused_with_the_variable_the_limit_and_the_value(given: str) -> None:
    said = refusal(LIVEBLOG_HEARTBEAT_S=given)
    assert said == f"LIVEBLOG_HEARTBEAT_S must be a number from 0.05 to 300 s, not {given!r}"


def test_a_word_that_is_no_choice_is_refused_with_the_choices() -> None:
    assert refusal(LOG_FORMAT="xml") == "LOG_FORMAT must be one of text, json, not 'xml'"
    assert load({"LOG_LEVEL": "WARNING"}).log_level == "warning"


def test_all_faults_are_said_at_once() -> None:
    said = refusal(PORT="70000", LIVEBLOG_DRAIN_S="x", LIVEBLOG_NOTHING="1")
    assert all(name in said for name in ("PORT", "LIVEBLOG_DRAIN_S", "LIVEBLOG_NOTHING"))


def test_a_secrets_value_is_never_said() -> None:
    assert "s3cret" not in refusal(REDIS_URL="http://u:s3cret@host")
    assert "s3cret" not in repr(load({"REDIS_URL": "redis://u:s3cret@host"}))


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://u:p@host\n")
    assert load({"REDIS_URL_FILE": str(file)}).redis_url == "redis://u:p@host"
    assert "both set" in refusal(REDIS_URL_FILE=str(file), REDIS_URL="redis://x")
    assert "No such file" in refusal(REDIS_URL_FILE=str(tmp_path / "other"))
    assert "HOST_FILE" not in variables()


def test_a_secrets_file_that_is_empty_is_refused_and_not_taken_for_none(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(" \n")
    assert refusal(REDIS_URL_FILE=str(file)) == f"REDIS_URL_FILE: {file} is empty"


def test_the_embedded_store_has_no_replica_to_wait_for() -> None:
    assert "REDIS_URL" in refusal(LIVEBLOG_DURABILITY="replica")


def test_the_table_names_every_variable_with_its_default() -> None:
    lines = table().splitlines()[2:]
    assert len(lines) == len([name for name in variables() if not name.endswith("_FILE")])
    assert "| `LIVEBLOG_DRAIN_S` | `10` s |" in table()
    assert all(line.count("|") == 4 for line in lines)


def test_every_default_is_within_its_own_limits() -> None:
    defaults = {r.metadata["row"].env: r.default for r in Settings.__dataclass_fields__.values()}
    told = {name: f"{value}" for name, value in defaults.items() if isinstance(value, int | float)}
    assert load(told) == load({})


def test_the_static_files_are_found() -> None:
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
def test_a_store_url_that_cannot_be_read_is_refused_without_any_part_of_it(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL must name a host") as refused:
        load({"REDIS_URL": url})
    assert "s3cr" not in str(refused.value)
    assert "etX9" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "said"),
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
def test_an_option_of_a_store_url_that_cannot_work_is_refused_at_once(url: str, said: str) -> None:
    refused = refusal(REDIS_URL=url)
    assert said in refused
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
def test_an_option_of_a_store_url_that_works_is_taken(url: str) -> None:
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
