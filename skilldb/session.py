"""The part of a connection that both APIs share: its state, and one exchange of steps and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import Diagnostic, error_from_result
from psycopg.generators import send
from psycopg.pq import ConnStatus, Escaping, ExecStatus
from psycopg.waiting import Wait

from skilldb.errors import ConnectionLostError, DatabaseUnavailableError, Outcome, SkilldbError, translate
from skilldb.query import Query, Step
from skilldb.statement import Statement, answers

if TYPE_CHECKING:
    from psycopg import BaseConnection
    from psycopg.pq.abc import PGconn, PGresult

    from skilldb.settings import Settings

BEGIN = Query("begin", b"BEGIN", {})
"""Opens a transaction that outlives the exchange, or that sends SET LOCAL to the workers of a Citus cluster."""
_COMMIT = Query("commit", b"COMMIT", {})
_FAILED_COMMIT = "failed to commit transaction on "
"""The beginning of the warning of Citus after which it reports a commit that may have failed on a worker."""
# A stale cached plan; an unknown prepared statement.
_OUTDATED = ("0A000", "26000")
# Bytes of values. A Unix socket accepts some 200,000 bytes at once, TCP fewer.
_LARGE = 16_384
# Looked up once: looking members up in their Enum for each answer costs measurable time.
_COPY = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)
_FATAL, _ROWS, _SYNC, _BAD = ExecStatus.FATAL_ERROR, ExecStatus.TUPLES_OK, ExecStatus.PIPELINE_SYNC, ConnStatus.BAD


class Limit(NamedTuple):
    """The end of a wait of so many seconds. `at` is by time.monotonic()."""

    at: float
    seconds: float


class Session:
    """A connection's settings, and which queries are prepared on it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.begin = settings.begin
        """The first step of every call."""
        self.find = settings.find
        """The first step of find_tenant()."""
        self.is_cluster = False
        """Whether the server is a node of a Citus cluster."""
        self.failed_commit: str | None = None
        """The warning that a worker of the cluster did not confirm the last commit."""
        self.limit: Limit | None = None
        """When the present call is given up. None: `answer_timeout` after each wait begins."""
        self.used_at = monotonic()
        """When the connection was last used, by time.monotonic()."""
        self.farewell: psycopg.Error | None = None
        """The server's reason for ending the connection, if it came while nothing was asked."""
        self.prepared: dict[bytes, bytes] = {}
        """The name of each prepared query, by its SQL."""
        self._runs: dict[bytes, int] = {}
        self._names = 0

    def note(self, notice: Diagnostic) -> None:
        """For psycopg's add_notice_handler()."""
        if notice.severity_nonlocalized == "FATAL":
            self.farewell = psycopg.errors.lookup(notice.sqlstate or "08006")(notice.message_primary or "")
        elif self.is_cluster and (notice.message_primary or "").startswith(_FAILED_COMMIT):
            self.failed_commit = notice.message_primary

    def first(self, pgconn: PGconn, tenant_id: str, slug: str | None = None) -> list[Step]:
        """The steps that begin a transaction: they set the limits, and the organisation's id or its slug."""
        if not self.is_cluster:
            return [self.begin() if slug is None else self.find(slug=slug)]
        names = {"app.current_tenant_id": tenant_id, "app.current_tenant_slug": slug or ""}
        return [
            *(query() for query in self.settings.begin_cluster),
            *(set_local(pgconn, name, value) for name, value in names.items()),
        ]

    def refuse_failed_commit(self) -> None:
        """Raise ConnectionLostError if a worker of the cluster did not confirm the last commit.

        Citus answers COMMIT then by an internal error or, where it needs no other node, as if it had succeeded.
        """
        if self.failed_commit is not None:
            raise ConnectionLostError(f"a node of the cluster did not confirm the commit: {self.failed_commit}")

    def is_due(self, query: Query) -> bool:
        """Whether the query, not prepared yet, should be prepared now. Counts this run."""
        threshold = self.settings.prepare_threshold
        if threshold is None or not query.prepares:
            return False
        runs = self._runs[query.sql] = self._runs.get(query.sql, 0) + 1
        return runs > threshold

    def new_name(self, query: Query) -> bytes:
        """A name under which nothing has been prepared."""
        self._names += 1
        return f"{query.name}_{self._names}".encode()


def set_local(pgconn: PGconn, name: str, value: str) -> Step:
    """The step that sets a setting to a value of anybody's, in a form that Citus sends to the workers.

    SET takes no parameters, so libpq quotes the value, for any standard_conforming_strings.
    """
    # libpq puts a space before E'...'.
    literal = bytes(Escaping(pgconn).escape_literal(value.encode())).strip().replace(b"%", b"%%")
    return Query("set_tenant", b"SET LOCAL " + name.encode() + b" = " + literal, {}, prepares=False)()


@dataclass(slots=True)
class _Sent:
    """A message of a step, and its answer. `values` is None if the message only prepares the step's query."""

    step: Step
    name: bytes | None
    values: Sequence[Any] | None
    answer: PGresult | None = None


class Exchange:
    """Statements of one organisation, sent in one pipeline that ends with one synchronisation point.

    On an autocommit connection PostgreSQL runs everything between two synchronisation points as one transaction
    (documentation, libpq, "Pipeline Mode"). The tenant setting ends with it. `first`: steps that run before the
    statements, such as the one that sets the tenant. `commits`: the synchronisation point commits what the statements
    wrote, so that a lost answer leaves the outcome open.

    `explicit`: the exchange sends BEGIN and COMMIT, as SET LOCAL needs on a Citus cluster. COMMIT follows the
    synchronisation point, because after an error the server skips what precedes it. A second synchronisation point
    follows. All of it is sent at once.
    """

    def __init__(
        self,
        conn: BaseConnection[Any],
        session: Session,
        first: Sequence[Step],
        tenant_id: str,
        statements: Sequence[Statement[Any]],
        *,
        commits: bool = False,
        explicit: bool = False,
    ) -> None:
        self._pgconn = conn.pgconn
        self._transformer = Transformer(conn)  # One for each call: kept by the session, it would form a cycle.
        self._session = session
        self._tenant_id = tenant_id
        self._statements = statements
        self._sent: list[_Sent] = []
        self._last: list[_Sent | None] = []
        self._prepares: dict[bytes, bytes] = {}
        self._end: PGresult | None = None
        self._refusal: PGresult | None = None
        self.refused_to_begin = False
        """Whether the step that sets the tenant was refused."""
        self._size = 0
        self._commits = commits
        self._commit = _Sent(_COMMIT(), None, []) if explicit else None
        self.outcome: Outcome = "not applied"
        """What becomes of the work if the connection is lost now."""
        if explicit:
            session.failed_commit = None
            self._add(BEGIN())
        for step in first:
            self._add(step)
        for statement in statements:
            for step in statement.steps:
                self._add(step)
            self._last.append(self._sent[-1] if statement.steps else None)

    def _add(self, step: Step) -> None:
        query = step.query
        given = {**step.params, "tenant_id": self._tenant_id}
        # Values are sent as text; the query's casts give their types. So one prepared statement serves all calls,
        # whichever values are None.
        values = [None if (value := given[name]) is None else encode(value) for name, encode in query.encoders]
        self._size += sum(map(len, filter(None, values)))
        name = self._session.prepared.get(query.sql) or self._prepares.get(query.sql)
        if name is None and self._session.is_due(query):
            name = self._prepares[query.sql] = self._session.new_name(query)
            self._sent.append(_Sent(step, name, None))
        self._sent.append(_Sent(step, name, values))

    @property
    def is_complete(self) -> bool:
        """Whether all answers have come."""
        return self._end is not None

    @property
    def is_large(self) -> bool:
        """Whether the socket may be full before all of it is sent. The server has to read then."""
        return self._size > _LARGE

    def push(self) -> PQGen[None]:
        """Send the steps without the Sync that commits: if this is interrupted, nothing is written.

        Only for a large exchange. Runs in psycopg's wait().
        """
        self._queue()
        yield from send(self._pgconn)

    def run(self) -> PQGen[None]:
        """Send everything that push() has not sent, and receive the answers. Runs in psycopg's wait().

        Ends early if an answer says why the server ends the connection.
        """
        pgconn, sent, failed, commit = self._pgconn, iter(self._sent), False, self._commit
        if not self.is_large:
            self._queue()
        pgconn.pipeline_sync()
        if commit is not None:
            pgconn.send_query_params(commit.step.query.numbered, commit.values)
            pgconn.pipeline_sync()
        if self._commits:
            self.outcome = "unknown"
        yield from send(pgconn)
        while True:
            while pgconn.is_busy():
                yield Wait.R
                try:
                    # Also after a wait without news: TLS may hold bytes that poll() does not report.
                    pgconn.consume_input()
                except psycopg.Error:
                    if failed:
                        return
                    raise
            answer = pgconn.get_result()
            if answer is None:  # The end of the answer to one message.
                if pgconn.status == _BAD and failed:
                    return
                if pgconn.status == _BAD:
                    raise psycopg.OperationalError("the connection was lost")
                continue
            if (status := answer.status) == _SYNC:
                if commit is None:
                    break
                sent, commit = iter([commit]), None
                continue
            if status in _COPY:
                raise psycopg.NotSupportedError("a call cannot run COPY")
            failed = failed or status == _FATAL
            if (message := next(sent, None)) is not None:
                message.answer = answer
            else:
                self._refusal = answer  # A commit that is refused, for example by a deferred constraint.
            if failed and pgconn.status == _BAD:
                return
        self._end = answer
        pgconn.exit_pipeline_mode()

    def _queue(self) -> None:
        """Hand the steps to libpq."""
        pgconn = self._pgconn
        pgconn.enter_pipeline_mode()
        for sent in self._sent:
            query = sent.step.query
            if sent.name is None:
                pgconn.send_query_params(query.numbered, sent.values)
            elif sent.values is None:
                pgconn.send_prepare(sent.name, query.numbered)
            else:
                pgconn.send_query_prepared(sent.name, sent.values)

    def results(self) -> Any:
        """The result of one statement, or the tuple of several, after run(). Raises the error of a refused step."""
        for sent in self._sent:
            if sent.answer is not None and sent.answer.status == _FATAL:
                self._raise(sent, sent.answer)
            # After a failed step the server skips the rest of the pipeline, including Parse.
            if sent.values is None and sent.name is not None:
                self._session.prepared[sent.step.query.sql] = sent.name
        if self._commit is not None:
            self._settle(self._commit)
        if self._refusal is not None:
            raise self._refused(self._refusal)
        assert self.is_complete  # If not, run() raises, or an answer is an error.
        return answers(self._statements, [self._rows(*each) for each in zip(self._statements, self._last, strict=True)])

    def _refused(self, answer: PGresult) -> SkilldbError:
        """The error for a commit that was refused."""
        error = error_from_result(answer, "utf-8")
        params = {name: value for sent in self._sent for name, value in sent.step.params.items()}
        refused = translate(error, params, self.outcome)
        refused.__cause__ = error
        return refused

    def _settle(self, commit: _Sent) -> None:
        """Raise if the COMMIT for a cluster was refused, or if a worker did not confirm it."""
        if self._commits:
            self._session.refuse_failed_commit()
        if commit.answer is not None and commit.answer.status == _FATAL:
            refused = self._refused(commit.answer)
            # The worker commits first, so the coordinator may still fail after it, or be cancelled.
            if isinstance(refused, DatabaseUnavailableError):
                refused.outcome = self.outcome
            raise refused

    def _raise(self, sent: _Sent, answer: PGresult) -> NoReturn:
        session, error = self._session, error_from_result(answer, "utf-8")
        self.refused_to_begin = sent.step.query in (session.begin, session.find)
        if error.sqlstate in _OUTDATED:
            session.prepared.clear()  # The other statements may be outdated too; each would fail once.
        # If the server ended the step, nothing was committed. An error of a pooler (class 08) or of libpq (no SQLSTATE)
        # does not say that. On a cluster class 08 is also the coordinator's error for a worker. It is an ERROR, while a
        # pooler ends the connection, and so it says FATAL.
        by_node = self._commit is not None and error.diag.severity_nonlocalized == "ERROR"
        is_open = (error.sqlstate or "08").startswith("08") and not by_node
        outcome = self.outcome if is_open else "not applied"
        raise translate(error, {**sent.step.params, "tenant_id": self._tenant_id}, outcome) from error

    def _rows(self, statement: Statement[Any], sent: _Sent | None) -> list[Any]:
        # An INSERT without RETURNING returns no rows.
        if sent is None or sent.answer is None or sent.answer.status != _ROWS:
            return []
        result = sent.answer
        make = statement.reader.rows(tuple([result.fname(column) or b"" for column in range(result.nfields)]))
        self._transformer.set_pgresult(result)
        try:
            return self._transformer.load_rows(0, result.ntuples, make)
        except RecursionError:
            raise SkilldbError(
                "a row holds JSON that is too deep for Python to read. Find it with psql, and set it anew: "
                "skilldb itself stores at most 64 levels"
            ) from None
