"""The rows, as frozen dataclasses, and the New... inputs. Times carry a zone; ids are strings."""

from skilldb.models.benchmarks import (
    BenchmarkResult,
    BenchmarkRun,
    BenchmarkRunWithResults,
    ModelComparison,
    NewBenchmarkResult,
    NewBenchmarkRun,
)
from skilldb.models.common import Page
from skilldb.models.feedback import FeedbackWithUsers, NewSkillFeedback, SkillFeedback
from skilldb.models.metrics import MetricDrift, RollupDrift
from skilldb.models.ratings import Rating
from skilldb.models.retention import Horizon, PrunableRows
from skilldb.models.skills import NewSkill, NewSkillVersion, Skill, SkillUpdate, SkillVersion
from skilldb.models.tenants import Tenant, TenantUpdate
from skilldb.models.tokens import DailyCost, NewTokenMeasurement, SkillCostStats, TokenMeasurement
from skilldb.models.usage import DailyUses, NewUsageEvent, SkillUses
from skilldb.models.users import User, UserDeletion, UserUpdate
from skilldb.models.views import SkillChanges, UserSkillView, ViewedSkill, WhatsNewItem

__all__ = [
    "BenchmarkResult",
    "BenchmarkRun",
    "BenchmarkRunWithResults",
    "DailyCost",
    "DailyUses",
    "FeedbackWithUsers",
    "Horizon",
    "MetricDrift",
    "ModelComparison",
    "NewBenchmarkResult",
    "NewBenchmarkRun",
    "NewSkill",
    "NewSkillFeedback",
    "NewSkillVersion",
    "NewTokenMeasurement",
    "NewUsageEvent",
    "Page",
    "PrunableRows",
    "Rating",
    "RollupDrift",
    "Skill",
    "SkillChanges",
    "SkillCostStats",
    "SkillFeedback",
    "SkillUpdate",
    "SkillUses",
    "SkillVersion",
    "Tenant",
    "TenantUpdate",
    "TokenMeasurement",
    "User",
    "UserDeletion",
    "UserSkillView",
    "UserUpdate",
    "ViewedSkill",
    "WhatsNewItem",
]
