"""One engine per process, and short transactions on it.

SQLite runs in write-ahead mode with one writer at a time: a writing transaction takes its turn at the beginning
(`BEGIN IMMEDIATE`), because a reader that starts to write later fails at once when somebody else wrote in between.
Nothing that streams holds a transaction. Parameters never reach a log.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from backend.core.db.sqlite_connection import SqliteConnection
from backend.core.errors import Collided, ConfigurationError, Conflict, InvalidRequest, StoreUnavailable

Transaction = AsyncSession
"""What queries run in: a transaction that `Database.transaction` or `Database.reading` opened."""

Result = TypeVar("Result")


_BEGIN = "sqlite_begin"
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_BUSY_MS = 10_000
_POOL_SECONDS = 5.0
_CONNECT_SECONDS = 5
_COMMAND_SECONDS = 30
_COLLISION = "40"
_BAD_DATA = "22"
"""How codes of errors begin that are about a value: a NUL in a text, a number or a time out of range."""
_AWAY = ("08", "28", "3D", "53", "57")
"""Those of a server that lets nobody in, is full or on its way down."""
SILENT = "the gateway's database does not answer; try again"
_UNKEEPABLE = "a value holds a character, a number or a time that cannot be kept; correct it"


def database_url(configured: str | None, data_dir: Path) -> URL:
    """Return the address of the store: PostgreSQL where one is configured, else a file in the data folder."""
    if configured is None:
        return URL.create("sqlite+aiosqlite", database=str(data_dir / "passerelle.db"))
    url = make_url(configured)
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise ConfigurationError("DATABASE_URL must begin with postgresql:// or sqlite:///")
    return url.set(drivername=driver)


class Database:
    """The relational store; hands out sessions and closes with the process."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_embedded = url.get_backend_name() == "sqlite"
        self._engine = _open_engine(url, is_embedded=self.is_embedded)
        writing = self._engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}) if self.is_embedded else self._engine
        self._reading = async_sessionmaker(self._engine, expire_on_commit=False)
        self._writing = async_sessionmaker(writing, expire_on_commit=False)
        self._writer = _Thread(url) if self.is_embedded else None

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for looking at the tables."""
        return self._engine

    @contextlib.asynccontextmanager
    async def unhurried(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a transaction whose statements may take as long as they need, for migrations."""
        if self.is_embedded:
            async with self._engine.begin() as connection:
                yield connection
            return
        engine = create_async_engine(
            self.url, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": _CONNECT_SECONDS}
        )
        async with engine.begin() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Yield a session that commits at the end, or rolls back when something is raised.

        Raises `Conflict` when a row breaks a constraint, `StoreUnavailable` when the store does not answer.
        """
        with _told():
            async with self._writing() as session, session.begin():
                yield session

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Yield a session that only reads."""
        with _told():
            async with self._reading() as session:
                yield session

    async def in_one(self, work: Callable[[Connection], Result], *, is_durable: bool = True) -> Result:
        """Run plain statements in one writing transaction; see `GroupCommit`, through which requests use it.

        On SQLite `work` runs in a thread, and what it wrote survives even a loss of power, unless it need not: then it
        survives the end of the process only. Raises as `transaction`.
        """
        with _told():
            if self._writer is not None:
                return await self._writer.run(work, is_durable=is_durable)
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)

    async def ping(self) -> None:
        """Ask the store for an answer; raise `StoreUnavailable` when there is none."""
        async with self.reading() as session:
            await session.execute(text("select 1"))

    async def flush(self) -> None:
        """Bring what was written from SQLite's log into its file and empty the log; elsewhere nothing is to be done."""
        if not self.is_embedded:
            return
        with _told():
            async with self._engine.connect() as connection:
                raw = await connection.get_raw_connection()
                driver: Any = raw.driver_connection
                await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def aclose(self) -> None:
        """Close all connections."""
        if self._writer is not None:
            await self._writer.aclose()
        await self._engine.dispose()


class _Thread:
    """A writing connection to SQLite in a thread of its own, opened when it is first needed.

    Not an executor: that costs twice as much to hand over, as often as a request writes.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._is_durable = True
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None

    async def run(self, work: Callable[[Connection], Result], *, is_durable: bool) -> Result:
        """Run `work` in a transaction."""
        if self._thread is None:
            self._thread = Thread(target=self._serve, name="database", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._jobs.put(_Job(work, is_durable, loop, done))
        return await done

    async def aclose(self) -> None:
        """Close the connection once what was begun is done."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                result = self._work(job.work, job.is_durable)
            except BaseException as error:  # noqa: BLE001 (whoever waits is told)
                self._tell(job, partial(_fail, job.done, error))
            else:
                self._tell(job, partial(_give, job.done, result))
        if self._connection is not None:
            self._connection.close()
        if self._engine is not None:
            self._engine.dispose()

    def _tell(self, job: "_Job", tell: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            job.loop.call_soon_threadsafe(tell)

    def _work(self, work: Callable[[Connection], Result], is_durable: bool) -> Result:
        if self._engine is None:
            # It must begin nothing itself, and no listener be told of each statement: both cost more than a row.
            url = self._url.set(drivername="sqlite")
            self._engine = create_engine(url, hide_parameters=True, isolation_level="AUTOCOMMIT")
            event.listen(self._engine, "connect", _prepare_durable)
        if self._connection is None:
            self._connection = self._engine.connect()  # kept: to borrow one costs as much as a small transaction
            self._is_durable = True
        try:
            driver: Any = self._connection.connection.driver_connection
            if is_durable != self._is_durable:
                driver.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'NORMAL'}")
                self._is_durable = is_durable
            driver.execute("BEGIN IMMEDIATE")
            result = work(self._connection)
            driver.execute("COMMIT")
            if self._connection.in_transaction():
                self._connection.commit()  # what the connection thinks it began itself; nothing is open any more
        except sqlite3.Error as error:
            self._drop()
            raise DBAPIError.instance(None, None, error, sqlite3.Error, hide_parameters=True) from error
        except BaseException:
            self._drop()
            raise
        return result

    def _drop(self) -> None:
        """Begin anew after a failure, whatever it left behind."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Connection], Any]
    is_durable: bool
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"


def _give(done: "asyncio.Future[Any]", result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what the driver raises into errors a user can be told; the details stay in the chain for the log."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict("something like this exists already, or is still in use") from error
    except (OperationalError, PoolTimeout, TimeoutError, OSError) as error:
        if isinstance(error, OperationalError) and _sqlstate(error).startswith(_COLLISION):
            raise Collided(SILENT, retry_after=2.0) from error
        raise StoreUnavailable(SILENT, retry_after=2.0) from error
    except UnicodeEncodeError:
        raise InvalidRequest(_UNKEEPABLE) from None
    except StatementError as error:
        if isinstance(error.orig, OverflowError | UnicodeEncodeError) or _sqlstate(error).startswith(_BAD_DATA):
            raise InvalidRequest(_UNKEEPABLE) from None
        if _sqlstate(error).startswith(_COLLISION):
            raise Collided(SILENT, retry_after=2.0) from error
        if _sqlstate(error).startswith(_AWAY) or (isinstance(error, DBAPIError) and error.connection_invalidated):
            raise StoreUnavailable(SILENT, retry_after=2.0) from error
        raise


def _sqlstate(error: StatementError) -> str:
    """Return the code that a database server gives an error; "" when there is none."""
    return str(getattr(error.orig, "sqlstate", None) or "")


def _open_engine(url: URL, *, is_embedded: bool) -> AsyncEngine:
    if not is_embedded:
        return create_async_engine(
            url,
            pool_size=10,
            max_overflow=10,
            pool_timeout=_POOL_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"timeout": _CONNECT_SECONDS, "command_timeout": _COMMAND_SECONDS},
        )
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = url.database or ":memory:"
    engine = create_async_engine(url, hide_parameters=True, async_creator=lambda: SqliteConnection(database))
    event.listen(engine.sync_engine, "connect", _prepare_connection)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _prepare_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, see `_begin`
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "secure_delete=ON",
        f"busy_timeout={_BUSY_MS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare_durable(connection: Any, record: Any) -> None:
    _prepare_connection(connection, record)
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
