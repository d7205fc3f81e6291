"""What the tests share: real servers, one Redis and one PostgreSQL for each worker, cleaned between tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
import structlog
from psycopg import sql
from redis import Redis

from monitor.sandbox.servers import PostgresServer, RedisServer
from tests.servers import free_port

MakeRedis = Callable[..., RedisServer]
MakePostgres = Callable[..., PostgresServer]


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command that is run in this process configures how all of it logs, from then on."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can enter (pytest's own are for one user only), gone after the tests."""
    folder = Path(tempfile.mkdtemp(prefix=f"portal-monitor-tests-{os.getpid()}-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _redis_of_worker(servers_folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(servers_folder / "redis", free_port())
    yield server
    server.kill()


@pytest.fixture
def redis_server(_redis_of_worker: RedisServer) -> RedisServer:
    """A running, empty Redis. A test that changes its configuration makes one of its own with `make_redis`."""
    if not _redis_of_worker.running:
        _redis_of_worker.start()
    with Redis.from_url(_redis_of_worker.url) as client:
        client.flushall()
        client.config_resetstat()
    return _redis_of_worker


@pytest.fixture
def make_redis(servers_folder: Path) -> Iterator[MakeRedis]:
    """Start further Redis servers: `make_redis({"maxmemory": "10mb"}, wait=False)`. Ended after the test."""
    started: list[RedisServer] = []

    def make(
        config: Mapping[str, str] | None = None,
        *,
        wait: bool = True,
        port: int | None = None,
        program: Path | None = None,
    ) -> RedisServer:
        folder = Path(tempfile.mkdtemp(prefix="redis-", dir=servers_folder))
        server = RedisServer(folder, port or free_port(), config or {}, program=program)
        started.append(server)
        server.start(wait=wait)
        return server

    yield make
    for server in started:
        server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def make_postgres(servers_folder: Path) -> Iterator[MakePostgres]:
    """Start further PostgreSQL servers: `make_postgres({"max_connections": "10"})` (half a second each).

    Ended with the session, so that a fixture of a module may use it too.
    """
    started: list[PostgresServer] = []

    def make(settings: Mapping[str, str] | None = None, *, programs: Path | None = None) -> PostgresServer:
        folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=servers_folder))
        folder.chmod(0o711)
        server = PostgresServer(folder, free_port(), settings or {}, programs=programs)
        started.append(server)
        server.start()
        return server

    yield make
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def _postgres_of_worker(servers_folder: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(servers_folder / "postgres", free_port())
    yield server
    server.stop()


@pytest.fixture
def postgres_server(_postgres_of_worker: PostgresServer) -> PostgresServer:
    """A running PostgreSQL that all tests of this worker share: leave no roles, settings or sessions behind."""
    if not _postgres_of_worker.running:
        _postgres_of_worker.start()
    return _postgres_of_worker


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The superuser's address of an empty database, made anew for each test."""
    name = sql.Identifier("fresh")
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    return postgres_server.url_of("fresh")
