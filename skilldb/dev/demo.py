"""The output of `skilldb demo`: top skills, their cost, what's new, and that organisations are isolated."""

from __future__ import annotations

import hashlib
from decimal import Decimal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skilldb.database import Database, Tenant
from skilldb.dev.seed import ORGANISATIONS
from skilldb.models import NewSkillVersion, WhatsNewItem
from skilldb.repositories import benchmarks, metrics, skills, tenants, tokens, usage, views

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*#@"


def show(db: Database, out: Console) -> None:
    """Print everything. Needs the example data. It publishes a new version of one skill, and opens it."""
    ours, theirs = ORGANISATIONS
    acme, globex = db.tenant(ours.id), db.tenant(theirs.id)
    _show_top_skills(out, acme, ours.name)
    _show_costs(out, acme, ours.name)
    _show_whats_new(out, acme, globex, f"{ours.id}-user-001", theirs.name)


def _show_top_skills(out: Console, tenant: Tenant, name: str) -> None:
    top = tenant.execute(usage.get_top_skills(days=30, limit=10))
    # One statement per skill, in one round trip. The last statement makes the answer a tuple even for one skill.
    days = tenant.execute(*(usage.count_uses_by_day(s.skill_id, 30) for s in top), tenants.get_tenant())[:-1]
    table = Table("skill", "rating", "uses", "last 30 days", title=f"Most used skills of {name}", title_justify="left")
    table.columns[2].justify = "right"
    for skill, by_day in zip(top, days, strict=True):
        rating = metrics.format_rating(skill.average_rating) or "-"
        table.add_row(
            escape(skill.skill_name),
            rating,
            str(skill.uses),
            sparkline([day.uses for day in by_day], ascii=_is_ascii(out)),
        )
    out.print(table)


def _show_costs(out: Console, tenant: Tenant, name: str) -> None:
    catalogue = tenant.execute(skills.list_skills(limit=1000)).items
    runs = tenant.execute(*(benchmarks.get_latest_benchmark_run(s.id) for s in catalogue), tenants.get_tenant())[:-1]
    # The newest skill of a completed run; the example data has some.
    skill, latest = next((s, run) for s, run in zip(catalogue, runs, strict=True) if run and run.status == "completed")
    stats, trend, compared = tenant.execute(
        tokens.get_skill_cost_stats(skill.id),
        tokens.get_cost_trend(skill.id, 30),
        benchmarks.compare_models(latest.id),
    )
    cost = Table("skill", "a run", "in all", "last 30 days", title=f"Token cost at {name}")
    cost.title_justify = "left"
    cost.add_row(
        escape(skill.name),
        dollars(stats.avg_cost_microcents),
        dollars(stats.total_cost_microcents),
        sparkline([day.cost_microcents for day in trend], ascii=_is_ascii(out)),
    )
    out.print(cost)
    models = Table("model", "quality", "a case", "seconds", "as expected", title=f"Benchmark of {skill.name}")
    models.title_justify = "left"
    for model in compared:
        models.add_row(
            escape(model.model_name),
            _or_dash(model.avg_quality_score),
            dollars(model.avg_cost_microcents),
            "-" if model.avg_latency_ms is None else f"{model.avg_latency_ms / 1000:.1f}",
            "-" if model.matches_expected_pct is None else f"{model.matches_expected_pct} %",
        )
    out.print(models)


def dollars(microcents: int | None) -> str:
    """Microcents as dollars: 1,050,000 is $0.0105, 1,500 is $0.000015, None is -."""
    if microcents is None:
        return "-"
    return f"${Decimal(microcents) / 10**8:.{4 if microcents >= 10**6 or not microcents else 6}f}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _show_whats_new(out: Console, acme: Tenant, globex: Tenant, user: str, other: str) -> None:
    _print_items(out, f"What is new for {user}", acme.execute(views.get_whats_new_for_user(user)))
    catalogue = acme.execute(skills.list_skills(limit=1000)).items
    seen = acme.execute(views.get_user_views_for_skills(user, [skill.id for skill in catalogue]))
    skill = acme.execute(skills.get_skill(min(seen)))
    assert skill is not None  # The view's foreign key refers to it.
    number = (skill.published_version or 0) + 1
    content = hashlib.sha256(f"{skill.id} {number}".encode()).hexdigest()
    version = NewSkillVersion(content_url=f"skills/{skill.id}/{number}/SKILL.md", content_hash=content)
    acme.execute(skills.publish_skill_version(skill.id, version))
    items = acme.execute(views.get_whats_new_for_user(user))
    _print_items(out, f"... after version {number} of {skill.name} was published", items)
    acme.execute(views.open_skill(user, skill.id))
    _print_items(out, f"... after {user} opened it", acme.execute(views.get_whats_new_for_user(user)))
    _print_items(out, f"The same query as {other}", globex.execute(views.get_whats_new_for_user(user)))


def _print_items(out: Console, title: str, items: list[WhatsNewItem]) -> None:
    table = Table("skill", "category", "seen", "published", title=title, title_justify="left", caption_justify="left")
    for item in items:
        seen, published = (f"v{n}" if n else "-" for n in (item.last_viewed_version, item.published_version))
        table.add_row(escape(item.skill_name), escape(item.category), seen, published)
    if not items:
        table.caption = "nothing"
    out.print(table)


def sparkline(values: list[int], *, ascii: bool = False) -> str:
    """The values as bars of eight heights; the highest value has the full height. `ascii`: use ASCII characters."""
    bars = _ASCII_BARS if ascii else _BARS
    top = max(values, default=0) or 1
    return "".join(bars[value * (len(bars) - 1) // top] for value in values)


def _is_ascii(out: Console) -> bool:
    return not out.encoding.lower().startswith("utf")
