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
from skilldb.models.imports import (
    EarlierVersion,
    FileChange,
    ImportedSkill,
    ImportOutcome,
    NewContent,
    SkillImport,
    SlugOwner,
    StoredFile,
)
from skilldb.models.metrics import MetricDrift, RollupDrift
from skilldb.models.ratings import Rating
from skilldb.models.retention import Horizon, PrunableRows
from skilldb.models.skills import (
    CategoryCount,
    FoundSkill,
    NewSkill,
    NewSkillVersion,
    Skill,
    SkillUpdate,
    SkillVersion,
    TagCount,
)
from skilldb.models.tenants import Tenant
from skilldb.models.tokens import DailyCost, NewTokenMeasurement, SkillCostStats, TokenMeasurement
from skilldb.models.usage import DailyUses, NewUsageEvent, SkillUses
from skilldb.models.users import User
from skilldb.models.views import SkillChanges, UserSkillView, ViewedSkill, WhatsNewItem

__all__ = [
    "BenchmarkResult",
    "BenchmarkRun",
    "BenchmarkRunWithResults",
    "CategoryCount",
    "DailyCost",
    "DailyUses",
    "EarlierVersion",
    "FeedbackWithUsers",
    "FileChange",
    "FoundSkill",
    "Horizon",
    "ImportOutcome",
    "ImportedSkill",
    "MetricDrift",
    "ModelComparison",
    "NewBenchmarkResult",
    "NewBenchmarkRun",
    "NewContent",
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
    "SkillImport",
    "SkillUpdate",
    "SkillUses",
    "SkillVersion",
    "SlugOwner",
    "StoredFile",
    "TagCount",
    "Tenant",
    "TokenMeasurement",
    "User",
    "UserSkillView",
    "ViewedSkill",
    "WhatsNewItem",
]
