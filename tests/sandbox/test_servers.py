from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from redis import Redis

from monitor.sandbox.servers import PostgresServer, RedisServer, ServerError, postgres_programs
from tests.conftest import MakePostgres, MakeRedis


def test_redis_starts_again_after_a_crash_on_the_same_port(make_redis: MakeRedis) -> None:
    server = make_redis()
    first = server.pid
    server.kill()
    assert not server.running
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.ping()
    assert server.pid != first


def test_redis_keeps_what_its_configuration_says(make_redis: MakeRedis) -> None:
    server = make_redis({"appendonly": "yes", "appendfsync": "always"})
    with Redis.from_url(server.url) as client:
        client.set("kept", "yes")
    server.kill()
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"


def test_a_server_that_cannot_start_says_why(make_redis: MakeRedis) -> None:
    with pytest.raises(ServerError, match="nonsense"):
        make_redis({"nonsense": "yes"})


@pytest.mark.parametrize("programs", postgres_programs(), ids=lambda folder: folder.parent.name)
def test_postgres_keeps_its_data_through_a_crash(make_postgres: MakePostgres, programs: Path) -> None:
    server = make_postgres(programs=programs)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    server.kill()
    assert not server.running
    server.start()
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_only_the_password_in_the_folder_opens_postgres(postgres_server: PostgresServer) -> None:
    password = (postgres_server.folder / "password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.url.replace(password, "guessed"))


def test_stopping_what_never_ran_is_fine(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, 1)
    server.stop()
    assert server.pid is None
