"""The same work with SQLAlchemy 2's ORM, as its documentation advises: mapped classes, one session per request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import URL, create_engine, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from benchmarks.data import SMALL


class Base(DeclarativeBase):
    """The mapped classes."""


class Skill(Base):
    """A skill, with the columns that the work needs."""

    __tablename__ = "skills"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    slug: Mapped[str]
    category: Mapped[str]
    status: Mapped[str]
    published_version: Mapped[int | None]
    updated_at: Mapped[datetime]
    metrics_updated_at: Mapped[datetime | None]
    total_uses: Mapped[int]


class UserSkillView(Base):
    """A user's view of a skill."""

    __tablename__ = "user_skill_views"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    user_id: Mapped[str]
    skill_id: Mapped[str]
    last_viewed_at: Mapped[datetime]
    last_viewed_version: Mapped[int | None]
    view_count: Mapped[int]


def _record_skill_view(session: Session, user: str, skill: str) -> object:
    new = insert(UserSkillView).values(tenant_id=SMALL, user_id=user, skill_id=skill, last_viewed_version=3)
    return session.execute(
        new.on_conflict_do_update(
            index_elements=["tenant_id", "user_id", "skill_id"],
            set_={
                "last_viewed_at": func.greatest(UserSkillView.last_viewed_at, func.now()),
                "last_viewed_version": new.excluded.last_viewed_version,
                "view_count": UserSkillView.view_count + 1,
            },
        )
    )


def _get_whats_new_for_user(session: Session, user: str, skill: str) -> object:
    return session.execute(
        select(Skill, UserSkillView)
        .join(UserSkillView, (UserSkillView.tenant_id == Skill.tenant_id) & (UserSkillView.skill_id == Skill.id))
        .where(
            Skill.tenant_id == SMALL,
            UserSkillView.tenant_id == SMALL,
            UserSkillView.user_id == user,
            Skill.status == "published",
            Skill.updated_at >= func.now() - timedelta(days=30),
            or_(
                Skill.updated_at > UserSkillView.last_viewed_at,
                Skill.published_version != func.coalesce(UserSkillView.last_viewed_version, 0),
            ),
        )
        .order_by(Skill.updated_at.desc(), Skill.id.desc())
        .limit(10)
    ).all()


def _get_user_view(session: Session, user: str, skill: str) -> object:
    return session.scalars(
        select(UserSkillView).where(
            UserSkillView.tenant_id == SMALL, UserSkillView.user_id == user, UserSkillView.skill_id == skill
        )
    ).one_or_none()


def _increment_skill_uses(session: Session, user: str, skill: str) -> object:
    return session.scalars(
        update(Skill)
        .where(Skill.tenant_id == SMALL, Skill.id == skill)
        .values(total_uses=Skill.total_uses + 1, metrics_updated_at=func.now())
        .returning(Skill.total_uses)
    ).one()


_OPERATIONS: dict[str, Callable[[Session, str, str], object]] = {
    "record_skill_view": _record_skill_view,
    "get_whats_new_for_user": _get_whats_new_for_user,
    "get_user_view": _get_user_view,
    "increment_skill_uses": _increment_skill_uses,
}


class Orm:
    """An engine with its pool."""

    def __init__(self, address: dict[str, str], size: int) -> None:
        url = URL.create(
            "postgresql+psycopg",
            username=address["user"],
            database=address["dbname"],
            query={"host": address["host"], "port": address["port"], "sslmode": "disable", "gssencmode": "disable"},
        )
        self.engine = create_engine(url, pool_size=size, max_overflow=0)
        self.sessions = sessionmaker(self.engine)

    def call(self, works: Sequence[tuple[str, str, str]]) -> list[Any]:
        """Run operations, each given with user and skill, in one session and transaction."""
        with self.sessions() as session, session.begin():
            session.execute(select(func.set_config("app.current_tenant_id", SMALL, True)))
            return [_OPERATIONS[operation](session, user, skill) for operation, user, skill in works]

    def close(self) -> None:
        """Close the pool."""
        self.engine.dispose()
