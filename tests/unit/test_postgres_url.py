"""The URL of a PostgreSQL server: what hosters show works as pasted, and every mistake is named."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.postgres_parameters import PARAMETERS, ParameterUse, SslMode
from cambwatch.core.postgres_url import PostgresHost, parse_postgres_url, secrets_in

ROOT = Path(__file__).parents[2]
RESERVED = ":/?#[]@!$&'()*+,;=% \"<>\\^`{|}"


def one(query: str = "", *, environ: dict[str, str] | None = None):
    """What a URL with this *query* means."""
    return parse_postgres_url(f"postgresql://ada:hunter2@db/cambwatch{query}", environ or {})


@pytest.mark.parametrize(
    ("pasted", "host", "mode"),
    [
        # As of Neon, Supabase, Vercel, Heroku, DigitalOcean, AWS RDS, Azure, Aiven, Render, Prisma, and SQLAlchemy.
        (
            "postgresql://owner:npg_x@ep-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
            "ep-1.aws.neon.tech",
            SslMode.REQUIRE,
        ),
        (
            "postgres://u:p@ep-1.aws.neon.tech/neondb?sslmode=require&options=endpoint%3Dep-1",
            "ep-1.aws.neon.tech",
            SslMode.REQUIRE,
        ),
        (
            "postgresql://postgres.abcd:p%40ss@aws-0-eu-west-1.pooler.supabase.com:5432/postgres",
            "aws-0-eu-west-1.pooler.supabase.com",
            SslMode.PREFER,
        ),
        (
            "postgres://postgres.abcd:p@aws-0.pooler.supabase.com:6543/postgres?sslmode=require&supa=base-pooler.x",
            "aws-0.pooler.supabase.com",
            SslMode.REQUIRE,
        ),
        ("postgres://u1:p1@ec2-1.amazonaws.com:5432/d1", "ec2-1.amazonaws.com", SslMode.PREFER),
        ("postgres://u1:p1@ec2-1.amazonaws.com:5432/d1?sslmode=no-verify", "ec2-1.amazonaws.com", SslMode.NO_VERIFY),
        ("postgres://u1:p1@ec2-1.amazonaws.com:5432/d1?ssl=true", "ec2-1.amazonaws.com", SslMode.REQUIRE),
        (
            "postgresql://doadmin:AVNS_x@db-do-user-1-0.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
            "db-do-user-1-0.b.db.ondigitalocean.com",
            SslMode.REQUIRE,
        ),
        (
            "postgresql://u:p@x.rds.amazonaws.com/d?sslmode=verify-full&sslrootcert=/etc/ssl/global-bundle.pem",
            "x.rds.amazonaws.com",
            SslMode.VERIFY_FULL,
        ),
        ("postgres://ada@srv:p@srv.azure.com/d?sslmode=require", "srv.azure.com", SslMode.REQUIRE),
        ("postgres://admin:x@pg-1.aivencloud.com:12345/d?sslmode=require", "pg-1.aivencloud.com", SslMode.REQUIRE),
        ("postgresql://u:p@dpg-a.render.com/d", "dpg-a.render.com", SslMode.PREFER),
        ("postgresql://u:p@h/d?schema=public&pgbouncer=true&connection_limit=1&pool_timeout=0", "h", SslMode.PREFER),
        ("postgresql://u:p@h/d?ssl=require", "h", SslMode.REQUIRE),
        ("postgresql://u:p@h/d?sslmode=prefer&gssencmode=disable&keepalives=1&keepalives_idle=30", "h", SslMode.PREFER),
        ("POSTGRESQL://u:p@h/d", "h", SslMode.PREFER),
    ],
)  # fmt: skip
def test_a_url_works_as_a_hoster_shows_it(pasted: str, host: str, mode: SslMode) -> None:
    """Its host, and whether TLS is required, are as the hoster means it."""
    found = parse_postgres_url(pasted, {})
    assert [found.hosts[0].name, found.tls.mode] == [host, mode]
    assert found.database
    assert found.user
    assert found.password is not None


@pytest.mark.parametrize(
    ("authority", "hosts"),
    [
        ("h", [PostgresHost("h", 5432)]),
        ("h:5433", [PostgresHost("h", 5433)]),
        ("h1:5433,h2,h3:1", [PostgresHost("h1", 5433), PostgresHost("h2", 5432), PostgresHost("h3", 1)]),
        ("[::1]", [PostgresHost("::1", 5432)]),
        (
            "[::1]:1,[fe80::2]:2,10.0.0.1:3",
            [PostgresHost("::1", 1), PostgresHost("fe80::2", 2), PostgresHost("10.0.0.1", 3)],
        ),
        ("%2Frun%2Fpostgresql", [PostgresHost("/run/postgresql", 5432)]),
        ("%2Frun%2Fpostgresql:5433", [PostgresHost("/run/postgresql", 5433)]),
    ],
)
def test_the_hosts_are_read_as_libpq_reads_them(authority: str, hosts: list[PostgresHost]) -> None:
    """One or several, each with its port."""
    assert list(parse_postgres_url(f"postgresql://u@{authority}/d", {}).hosts) == hosts


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql:///d?host=/run/postgresql", [PostgresHost("/run/postgresql", 5432)]),
        ("postgresql:///d?host=/run/postgresql&port=5433", [PostgresHost("/run/postgresql", 5433)]),
        ("postgresql://:5433/d?host=/run/postgresql", [PostgresHost("/run/postgresql", 5433)]),
        ("postgresql:///d?host=a,b&port=1,2", [PostgresHost("a", 1), PostgresHost("b", 2)]),
        ("postgresql:///d?host=a,b&port=7", [PostgresHost("a", 7), PostgresHost("b", 7)]),
        ("postgresql://away/d?host=here", [PostgresHost("here", 5432)]),
        ("postgresql://a,b/d?port=7", [PostgresHost("a", 7), PostgresHost("b", 7)]),
    ],
)
def test_host_and_port_may_be_parameters(url: str, hosts: list[PostgresHost]) -> None:
    """Which come before what stands in front."""
    assert list(parse_postgres_url(url, {}).hosts) == hosts


def test_the_other_parts_may_be_parameters() -> None:
    """As with libpq."""
    found = parse_postgres_url("postgresql://h?dbname=d&user=ada&password=hunter2&passfile=/etc/pass", {})
    assert (found.database, found.user, found.passfile) == ("d", "ada", "/etc/pass")
    assert found.password is not None
    assert found.password.reveal() == "hunter2"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_every_password_can_be_written(password: str) -> None:
    """And every user and database, percent-encoded; so each is found to be cut out of the log."""
    encoded = quote(password, safe="")
    url = f"postgresql://{encoded}:{encoded}@h/{encoded}"
    found = parse_postgres_url(url, {})
    assert found.password is not None
    assert {found.user, found.password.reveal(), found.database} == {password}
    assert {encoded, password} <= set(secrets_in(url))


def test_passwords_in_parameters_are_secrets_too() -> None:
    """Written and decoded."""
    found = secrets_in("postgresql://h/d?user=ada&password=hunter%322&sslmode=require&sslpassword=open%20sesame")
    assert set(found) == {"hunter%322", "hunter22", "open%20sesame", "open sesame"}


@pytest.mark.parametrize("character", RESERVED)
def test_every_reserved_character_may_stand_in_a_password(character: str) -> None:
    """Encoded; those that nothing else can be meant by also as they are."""
    found = parse_postgres_url(f"postgresql://u:a{quote(character, safe='')}b@h/d", {})
    assert found.password is not None
    assert found.password.reveal() == f"a{character}b"
    if character not in "/?# ":
        assert parse_postgres_url(f"postgresql://u:a{character}b@h/d", {}).hosts == (PostgresHost("h", 5432),)


@pytest.mark.parametrize("empty", ["u@", "u:@", "", ":@"])
def test_a_url_may_lack_user_and_password(empty: str) -> None:
    """Then libpq's own defaults apply, such as PGPASSWORD."""
    found = parse_postgres_url(f"postgresql://{empty}h/d", {})
    assert found.password is None
    assert found.user in {"u", None}


@given(st.text(max_size=80), st.sampled_from(["postgresql://", "postgres://u:hunter2@h/d?", "postgresql://u:hunter2@"]))
def test_any_text_is_a_url_or_a_mistake_that_shows_no_password(text: str, start: str) -> None:
    """Never another exception."""
    try:
        parse_postgres_url(start + text, {})
    except ValueError as error:
        assert "hunter2" not in str(error)  # noqa: PT017 - most texts are a mistake, some are none
    secrets_in(start + text)


@pytest.mark.parametrize(
    "rest", ["pa/ss@h/d", "pa?ss@h/d", "pa#ss@h/d", "12/ss@h/d", "12?ss=ret@h/d", "pa?ss=ret&x@h/d"]
)
def test_a_password_that_is_not_encoded_is_a_mistake_and_not_shown(rest: str) -> None:
    """Nor does it lead to another host."""
    with pytest.raises(ValueError, match="%2F for /") as caught:
        parse_postgres_url(f"postgresql://u:{rest}", {})
    for part in ("pa", "ss", "ret"):
        assert part not in re.sub("password|database|passfile", "", str(caught.value))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        *(
            (f"sslmode={bad}", f"={bad}: must be disable, allow, prefer, require, no-verify, verify-ca or verify-full")
            for bad in ("bogus", "Require", "verify_full", "on", "1")
        ),
        ("ssl=yes", "ssl=yes: must be disable, "),
        ("sslmode=require&ssl=true", "give ssl or sslmode, not both"),
        ("sslrootcert=ca.pem", "sslrootcert=ca.pem: must be the absolute path of a file with the CA, or system"),
        ("sslcert=client.pem", "sslcert=client.pem: must be the absolute path of a file"),
        ("sslmode=require&sslrootcert=system", "sslrootcert=system needs sslmode=verify-full, not require"),
        ("sslnegotiation=direct", "sslnegotiation=direct needs sslmode=require or verify-full, not prefer"),
        ("ssl_min_protocol_version=SSLv3", "must be TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3"),
        ("ssl_max_protocol_version=TLSv1.1", "=TLSv1.1 is older than ssl_min_protocol_version=TLSv1.2"),
        ("channel_binding=yes", "channel_binding=yes: must be disable, prefer or require"),
        ("connect_timeout=10s", "connect_timeout=10s: must be a whole number of seconds, at most 30"),
        ("target_session_attrs=standby", "cambwatch writes to the database: use read-write"),
        ("target_session_attrs=writable", "must be any, read-write or primary"),
        ("gssencmode=require", "cambwatch does not support GSSAPI encryption"),
        ("options=-x", "options: must be of the form -c%20name%3Dvalue"),
        ("options=-c", "options: must be of the form"),
        ("options=-c+a%3Db", "options: must be of the form"),
        ("port=0", "the port must be a number from 1 to 65535"),
        ("port=65536", "the port must be a number from 1 to 65535"),
        ("port=1,2", "port has 2 ports for 1 hosts"),
        ("host=a,,b", "has an empty host"),
        ("host=a%20b", "has an invalid host name"),
        ("sslmod=require", "sslmod is not a known parameter (did you mean sslmode?)"),
        ("SSLMODE=require", "SSLMODE is not a known parameter (did you mean sslmode?)"),
        ("wal_level=1", "wal_level is not a known parameter: remove it"),
        ("sslmode", "sslmode has no value"),
        ("sslmode=require&sslmode=disable", "sslmode is given twice"),
        ("application_name=%FF", "has a % that does not encode UTF-8"),
        *((f"{key}=x", one.reason) for key, one in PARAMETERS.items() if one.use is ParameterUse.REFUSED),
    ],
)  # fmt: skip
def test_a_mistake_names_the_parameter_and_what_is_allowed(query: str, said: str) -> None:
    """And never shows the password."""
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        one(f"?{query}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:p@/d", "has no host"),
        ("postgresql://u:p@h", "has no database"),
        ("postgresql://u:p@h/", "has no database"),
        ("postgresql+asyncpg://u:p@h/d", "must begin with postgresql://"),
        ("postgresql:/u:p@h/d", "must begin with postgresql://"),
        ("postgresql://u:p@h:0/d", "the port must be a number"),
        ("postgresql://u:p@h:a/d", "the port must be a number"),
        ("postgresql://u:p@h1:1,h2:b/d", "the port must be a number"),
        ("postgresql://u:p@::1/d", "an IPv6 address needs brackets"),
        ("postgresql://u:p@[h]/d", "has brackets without an IPv6 address"),
        ("postgresql://u:p@[::1/d", "an IPv6 address needs brackets"),
        ("postgresql://u:p@h/d\n", "must not hold spaces"),
        ("postgresql://u:p p@h/d", "must not hold spaces"),
    ],
)
def test_a_url_that_cannot_be_one_is_a_mistake(url: str, said: str) -> None:
    """With what to write."""
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_postgres_url(url, {})


def test_all_mistakes_are_reported_at_once() -> None:
    """The operator sees all of them in one run."""
    with pytest.raises(ValueError, match="sslmode") as caught:
        parse_postgres_url(
            "postgresql://u:p@h:x?sslmode=bogus&conect_timeout=1&connect_timeout=soon&hostaddr=1.2.3.4", {}
        )
    assert len(str(caught.value).split("; ")) == 6


@pytest.mark.parametrize(
    ("name", "parameter"), [(n, p) for n, p in PARAMETERS.items() if p.use is ParameterUse.IGNORED]
)
def test_a_parameter_that_is_ignored_changes_nothing(name: str, parameter) -> None:
    """And there is a reason for it."""
    value = "prefer" if name in {"channel_binding", "gssencmode"} else "1"
    assert one(f"?{name}={value}") == one()
    assert parameter.reason


@pytest.mark.parametrize(
    ("query", "settings", "startup_options"),
    [
        ("options=-c search_path=watch", {"search_path": "watch"}, ""),
        ("options=-c%20search_path%3Dwatch", {"search_path": "watch"}, ""),
        ("options=-csearch_path%3Dwatch", {"search_path": "watch"}, ""),
        ("options=--search-path%3Dwatch", {"search_path": "watch"}, ""),
        ("options=-c a%3D1 --b%3Dx\\ y -c c%3D2%3D3", {"a": "1", "b": "x y", "c": "2=3"}, ""),
        ("options=project%3Dep-1", {}, "project=ep-1"),
        ("options=endpoint%3Dep-1 -c a%3D1", {"a": "1"}, "endpoint=ep-1"),
        ("options=-c client_encoding%3DLATIN1 -c application_name%3Dx", {}, ""),
        ("schema=watch", {"search_path": '"watch"'}, ""),
        ('currentSchema=a,"b"', {"search_path": '"a", "b"'}, ""),
        ("options=", {}, ""),
    ],
)  # fmt: skip
def test_options_are_settings_of_the_session(query: str, settings: dict[str, str], startup_options: str) -> None:
    """What is none is a mark for a pooler, which gets it as it is."""
    found = one(f"?{query}")
    assert (found.settings, found.startup_options) == (settings, startup_options)


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("", SslMode.PREFER),
        ("?sslrootcert=system", SslMode.VERIFY_FULL),
        ("?sslrootcert=/ca.pem", SslMode.REQUIRE),
        ("?sslcert=/c.pem", SslMode.REQUIRE),
        ("?sslmode=disable&sslrootcert=/ca.pem", SslMode.DISABLE),
        ("?ssl=false", SslMode.DISABLE),
        ("?sslmode=", SslMode.PREFER),
    ],
)
def test_a_tls_file_without_sslmode_requires_tls(query: str, mode: SslMode) -> None:
    """Without sslmode; with it, that counts."""
    assert one(query).tls.mode is mode


def test_several_hosts_mean_the_one_that_can_be_written_to() -> None:
    """The others are standbys."""
    assert one().target_session_attrs == "any"
    assert parse_postgres_url("postgresql://a,b/d", {}).target_session_attrs == "read-write"
    assert parse_postgres_url("postgresql://a,b/d?target_session_attrs=any", {}).target_session_attrs == "any"


@pytest.mark.parametrize(("given", "seconds"), [("10", 10), ("0", None), ("-1", None), ("3600", 30), ("", None)])
def test_connect_timeout_is_in_seconds_and_bounded(given: str, seconds: float | None) -> None:
    """Zero is libpq's "for ever", and there is no such thing here."""
    assert one(f"?connect_timeout={given}").connect_timeout_s == seconds


def test_environment_variables_of_libpq_stand_in() -> None:
    """Where the URL says nothing; and a wrong one is a mistake that names it."""
    environ = {
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/ca.pem",
        "PGPORT": "5433",
        "PGTARGETSESSIONATTRS": "primary",
    }
    found = one(environ=environ)
    assert (found.tls.mode, found.tls.root, found.hosts, found.target_session_attrs) == (
        SslMode.VERIFY_FULL, "/ca.pem", (PostgresHost("db", 5433),), "primary",
    )  # fmt: skip
    for query in ("?sslmode=require", "?ssl=require"):
        assert one(query, environ=environ).tls.mode is SslMode.REQUIRE
    with pytest.raises(ValueError, match="PGSSLMODE=bogus: must be"):
        one(environ={"PGSSLMODE": "bogus"})


def test_channel_binding_is_accepted_with_a_warning() -> None:
    """Neon's URLs require it, and asyncpg cannot."""
    (note,) = one("?sslmode=require&channel_binding=require").warnings
    assert "sslmode=verify-full&sslrootcert=system protects as well" in note
    assert "the certificate is verified" in one("?sslrootcert=system&channel_binding=require").warnings[0]
    assert one("?channel_binding=prefer").warnings == ()


def test_the_documentation_has_every_parameter() -> None:
    """With what cambwatch does with it."""
    text = (ROOT / "docs/scaling.md").read_text()
    table = {word for line in text.splitlines() if line.startswith("|") for word in re.findall(r"`([\w*]+)`", line)}
    assert set(PARAMETERS) <= table
