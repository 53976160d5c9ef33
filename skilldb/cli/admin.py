"""The commands of a DBA: migrations, checks, plans, psql."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict
from typing import Annotated

import typer
from psycopg.conninfo import make_conninfo
from rich.table import Table

from skilldb import connection, guards, settings
from skilldb.admin import distribute, doctor, drift, explain, harden, migrate, top
from skilldb.admin.locks import MODES
from skilldb.cli.shared import Json, Schema, app, out, owner_dsn, service_dsn
from skilldb.dev import embedded
from skilldb.errors import InvalidValueError, NotFoundError, SkilldbError, shown

# libpq takes these in a connection string only (documentation, "Parameter Key Words"). It takes the password elsewhere.
SECRETS = {"sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}


@app.command("migrate")
def migrate_(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL that would run and the locks it takes; write nothing.")
    ] = False,
    schema: Schema = None,
) -> None:
    """Apply the pending migrations and print how long each took.

    With --dry-run print the SQL instead. Above each statement stands the strongest lock that it takes on each existing
    table, and what that lock blocks.
    """
    count = 0
    if dry_run:
        for planned in migrate.plan(owner_dsn(), schema=schema):
            count += 1
            out.print(_shown_plan(planned), markup=False, soft_wrap=True)
    else:
        for done in migrate.migrate(owner_dsn(), schema=schema):
            count += 1
            out.print(f"applied {done.id} in {done.seconds * 1000:.0f} ms")
    if not count:
        out.print("Nothing to apply: all migrations are applied.")


def _shown_plan(planned: migrate.PlannedMigration) -> str:
    """A migration's SQL with its locks in comments, so that the output is valid SQL."""
    kept = "one transaction: each lock is held until the end" if planned.transactional else "in no transaction"
    lines = [f"-- {planned.id}: {kept}"]
    new: set[str] = set()
    for statement in planned.statements:
        new |= statement.locks.created
        modes = sorted(statement.locks.modes.items(), key=lambda lock: -list(MODES).index(lock[1]))
        shown = [f"-- {mode} on {table}: {MODES[mode]}" for table, mode in modes if table not in new]
        shown += [
            f"-- the locks of this part are unknown, at worst ACCESS EXCLUSIVE. Read it: {part[:60]}"
            for part in statement.locks.unknown
        ]
        if not shown:
            touched = ", ".join(sorted(new & (statement.locks.modes.keys() | statement.locks.created)))
            shown = [f"-- no lock that others wait for: {touched} is new" if touched else "-- no lock on a table"]
        lines += ["", *shown, statement.sql.strip()]
    return "\n".join([*lines, ""])


@app.command()
def rollback(
    all_: Annotated[bool, typer.Option("--all", help="All migrations, not only the last.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    schema: Schema = None,
) -> None:
    """Roll back the last migration, or all of them. The tables that they created are dropped with their rows."""
    dsn = owner_dsn()
    applied = [m.id for m in migrate.status(dsn, schema=schema) if m.state != "pending"]
    if not applied:
        out.print("Nothing to roll back: no migration is applied.")
        return
    what = f"all {len(applied)} migrations" if all_ else applied[-1]
    if not yes:
        where = settings.schema_name(schema)
        typer.confirm(
            f"Roll back {what} in schema {where}? The tables that it created are dropped with all their rows",
            abort=True,
        )
    for done in migrate.rollback(dsn, None if all_ else 1, schema=schema):
        out.print(f"rolled back {done.id} in {done.seconds * 1000:.0f} ms")


@app.command()
def status(schema: Schema = None) -> None:
    """Show each migration as applied, pending, edited or missing. Exit status 1: one is edited or missing.

    Unverified: a run was killed before it recorded the checksum. Compare the database with the file then.
    """
    table = Table("migration", "state", "applied at")
    found = migrate.status(owner_dsn(), schema=schema)
    for migration in found:
        at = f"{migration.applied_at:%Y-%m-%d %H:%M:%S %Z}" if migration.applied_at else ""
        table.add_row(migration.id, migration.state, at)
    out.print(table)
    if any(migration.state in ("edited", "missing") for migration in found):
        raise typer.Exit(1)


@app.command()
def unlock(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, schema: Schema = None) -> None:
    """Show the migration lock of a crashed run, ask, and remove it."""
    dsn = owner_dsn()
    lock = migrate.get_lock(dsn, schema=schema)
    if lock is None:
        out.print("There is no lock.")
        return
    out.print(f"{lock}.", markup=False, soft_wrap=True)
    if not yes:
        typer.confirm("Has that run crashed? Then remove its lock", abort=True)
    out.print("Lock removed." if migrate.unlock(dsn, lock, schema=schema) else "It was removed meanwhile.")


@app.command()
def psql(
    tenant: Annotated[str | None, typer.Option(help="See this organisation's rows. Without it, none are seen.")] = None,
    owner: Annotated[
        bool, typer.Option("--owner", help="As the owner, who sees all rows if it has BYPASSRLS.")
    ] = False,
    schema: Schema = None,
) -> None:
    """Open psql on the database, as the service or as the owner."""
    if os.environ.get("SKILLDB_DSN") or os.environ.get("SKILLDB_OWNER_DSN"):
        program = shutil.which("psql")
    else:
        program = str(embedded.program("psql"))
    if program is None:
        raise SkilldbError("psql is not on the PATH: install PostgreSQL's client")
    dsn = owner_dsn() if owner else service_dsn()
    given = settings.parse(dsn)
    # Every user of the machine can read a command line, so the password must not be in it.
    environment = {"PGPASSWORD": str(given.pop("password"))} if given.get("password") else {}
    for name in SECRETS & given.keys():
        raise SkilldbError(f"{name} in the address would show in psql's command line: leave it out of SKILLDB_DSN")
    # psql would not say what to do if the server is away. Options may also come from PGOPTIONS or a service file,
    # which those in the address replace.
    with connection.connected(dsn) as conn:
        guards.require_schema(conn, settings.schema_name(schema))
        options = next((o.val.decode() for o in conn.pgconn.info if o.keyword == b"options" and o.val), "")
    chosen = {"search_path": settings.owner_search_path(settings.schema_name(schema))}
    if tenant is not None:
        chosen["app.current_tenant_id"] = tenant
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in chosen.items()}
    given["options"] = " ".join([options, *(f"-c {name}={value}" for name, value in escaped.items())]).strip()
    os.execve(program, [program, make_conninfo("", **given)], os.environ | environment)


@app.command("explain")
def explain_(
    query: Annotated[str, typer.Argument(help="A query of sql/ as file.name, such as views.get_whats_new_for_user.")],
    tenant: Annotated[str | None, typer.Option(help="The organisation's id. By default the first one.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter in place of the example; may be repeated. null is NULL, arrays and jsonb are JSON, "
            "and a time needs a time zone.",
        ),
    ] = None,
    generic: Annotated[
        bool,
        typer.Option(
            "--generic",
            help="Show the plan for any parameters, which skilldb's own connections use, not the plan for these.",
        ),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
    schema: Schema = None,
) -> None:
    """Run a query and show how PostgreSQL runs it: EXPLAIN (ANALYZE, BUFFERS).

    The query runs as the service, in one organisation, with example parameters from that organisation's data. A query
    of the owner runs as the owner. The query really runs and takes its locks; everything that it writes is rolled back.
    Ctrl-C ends it.
    """
    found = explain.find(query)
    owners = explain.is_owners(found)
    if owners and tenant is not None:
        raise InvalidValueError(f"{query} is a query of the owner and has no tenant: leave out --tenant")
    if not owners and tenant is None:
        organisations = drift.list_tenants(owner_dsn(), schema=schema)
        if not organisations:
            raise NotFoundError("no organisation exists, so there are no examples. Run: skilldb seed")
        tenant = organisations[0][0]
    given = {}
    for text in set_ or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidValueError(f"--set takes NAME=VALUE, not {text!r}")
        given[name] = value
    dsn = owner_dsn() if owners else service_dsn()
    done = explain.explain(dsn, query, tenant, given, schema=schema, generic=generic, as_json=json_)
    if json_:
        print(json.dumps(asdict(done), default=str, ensure_ascii=False, indent=2))
        return
    organisation = "no tenant" if done.tenant is None else f"tenant {done.tenant}"
    kind = "generic plan" if generic else "plan for these parameters"
    out.print(f"{query} as {done.role}, {organisation}, {kind}", markup=False, soft_wrap=True)
    for name, value in done.parameters.items():
        text = "NULL" if value is None else shown(value)
        out.print(f"  {name} = {text}", markup=False, soft_wrap=True)
    out.print(f"\n{done.plan}\n\nThe query ran and was rolled back: nothing has changed.", markup=False, soft_wrap=True)


@app.command("distribute")
def distribute_(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL that would run; write nothing.")] = False,
    shards: Annotated[
        int | None,
        typer.Option(
            min=1, max=64000, help="In how many parts new distributed tables are cut.", show_default="the server's"
        ),
    ] = None,
    schema: Schema = None,
) -> None:
    """Distribute the tables over the nodes of a Citus cluster, as the owner, in one transaction.

    Run it after `skilldb migrate`, and again after a node was added. Rows stay what they are, and each organisation's
    rows are on one node. The tables are locked meanwhile. docs/tenancy.md says what differs on a cluster.
    """
    if dry_run:
        for statement in distribute.plan(owner_dsn(), schema=schema, shards=shards):
            print(f"{statement};")
        return
    done = distribute.distribute(owner_dsn(), schema=schema, shards=shards)
    tables = sum("create_distributed_table" in each or "create_reference_table" in each for each in done)
    out.print(f"Distributed {tables} tables, in a transaction of {len(done)} statements.")


@app.command("harden")
def harden_(
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Run it, as the superuser of SKILLDB_ADMIN_DSN or of the embedded server."),
    ] = False,
    schema: Schema = None,
) -> None:
    """Print the SQL that makes the tenant of a transaction write-once. Optional; a superuser runs it once.

    Afterwards SQL that an attacker injects into an expression cannot name another organisation: set_config() is revoked
    from all roles but the owner's, and a function sets the tenant once per transaction. docs/tenancy.md says what this
    closes and what it does not.
    """
    if not apply:
        for statement in harden.statements(owner_dsn(), schema=schema):
            print(f"{statement};\n")
        return
    dsn = os.environ.get("SKILLDB_ADMIN_DSN")
    if not dsn:
        if os.environ.get("SKILLDB_OWNER_DSN"):
            raise SkilldbError("--apply needs a superuser: set SKILLDB_ADMIN_DSN to a superuser's address")
        dsn = make_conninfo(embedded.start().admin_dsn, dbname="skilldb")
    out.print(f"Ran {harden.apply(dsn, schema=schema)} statements: the tenant of a transaction is write-once.")


@app.command("doctor")
def doctor_(
    skip_drift: Annotated[
        bool, typer.Option("--skip-drift", help="Leave the counters out: comparing them reads every row.")
    ] = False,
    json_: Json = False,
    schema: Schema = None,
) -> None:
    """Check whether the database is as it should be, and say what to do if it is not. Changes nothing.

    Each line is one finding: its level (ok, warning or failure), the check, what was found and, after the arrow, what
    to do. The checks cover roles, grants, the isolation of every table, migrations, indexes, counters, dead rows and
    statistics of large tables, connections and settings. Exit status 0: all is ok, 1: warnings, 2: failures.
    """
    try:
        found = doctor.examine(owner_dsn(), service_dsn(), schema=schema, drift=not skip_drift)
    except SkilldbError as error:  # the embedded server does not start, or one address is missing
        found = iter([doctor.unreachable(error)])
    findings = []
    for finding in found:
        findings.append(finding)
        if not json_:
            advice = f" -> {finding.advice}" if finding.advice else ""
            line = " ".join(f"{finding.check}: {finding.found}{advice}".split())  # An error may have several lines.
            out.print(f"{finding.level:<7} {line}", markup=False, soft_wrap=True)
    if json_:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    levels = {finding.level for finding in findings}
    raise typer.Exit(2 if "failure" in levels else 1 if "warning" in levels else 0)


@app.command("top")
def top_(
    limit: Annotated[int, typer.Option(min=1, help="How many queries to show at most.")] = 20,
    json_: Json = False,
    schema: Schema = None,
) -> None:
    """Show which queries take the most time on the server. Needs PostgreSQL's pg_stat_statements.

    Each line is one query of skilldb, by its name in sql/: its calls, its total and mean time on the server in
    milliseconds, its rows, and its share of the time of all statements in this database since the statistics began.
    "other" is the sum of all other statements. If the extension is missing, the command says how to install it.
    """
    uses = top.top(owner_dsn(), schema=schema)
    shown = [use for use in uses if use.name][:limit] + [use for use in uses if use.name is None]
    if json_:
        print(json.dumps([asdict(use) for use in shown], indent=2))
        return
    for use in (None, *shown):
        columns = (
            ("calls", "total ms", "mean ms", "rows", "share", "query")
            if use is None
            else (
                f"{use.calls}",
                f"{use.total_ms:.1f}",
                f"{use.mean_ms:.3f}",
                f"{use.rows}",
                f"{use.share:.1%}",
                use.name or "other",
            )
        )
        # No table: it would cut names on a narrow terminal.
        out.print("{:>9} {:>11} {:>9} {:>9} {:>6}  {}".format(*columns), markup=False, soft_wrap=True)
