"""The rows, as frozen dataclasses, and the New... inputs. Times carry a zone; ids are strings."""

from skilldb.models.benchmarks import (
    BenchmarkResult,
    BenchmarkRun,
    BenchmarkRunWithResults,
    ModelComparison,
    ModelRank,
    NewBenchmarkResult,
    NewBenchmarkRun,
)
from skilldb.models.common import Page
from skilldb.models.feedback import (
    FeedbackStats,
    FeedbackWithSkill,
    FeedbackWithUsers,
    NewSkillFeedback,
    SkillFeedback,
)
from skilldb.models.metrics import MetricDrift, RollupDrift
from skilldb.models.ratings import Rating, RatingWithUser
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
from skilldb.models.tenants import Tenant, TenantUpdate
from skilldb.models.tokens import (
    CostTotals,
    DailyCost,
    ModelCost,
    NewTokenMeasurement,
    SkillCost,
    SkillCostStats,
    TokenMeasurement,
)
from skilldb.models.usage import (
    ActiveUser,
    DailyUses,
    NewUsageEvent,
    SkillUses,
    ToolUses,
    TrendingSkill,
    UsageEvent,
    UsageTotals,
    UserUses,
)
from skilldb.models.users import User, UserDeletion, UserUpdate
from skilldb.models.views import SkillChanges, UserSkillView, ViewedSkill, WhatsNewItem

__all__ = [
    "ActiveUser",
    "BenchmarkResult",
    "BenchmarkRun",
    "BenchmarkRunWithResults",
    "CategoryCount",
    "CostTotals",
    "DailyCost",
    "DailyUses",
    "FeedbackStats",
    "FeedbackWithSkill",
    "FeedbackWithUsers",
    "FoundSkill",
    "Horizon",
    "MetricDrift",
    "ModelComparison",
    "ModelCost",
    "ModelRank",
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
    "RatingWithUser",
    "RollupDrift",
    "Skill",
    "SkillChanges",
    "SkillCost",
    "SkillCostStats",
    "SkillFeedback",
    "SkillUpdate",
    "SkillUses",
    "SkillVersion",
    "TagCount",
    "Tenant",
    "TenantUpdate",
    "TokenMeasurement",
    "ToolUses",
    "TrendingSkill",
    "UsageEvent",
    "UsageTotals",
    "User",
    "UserDeletion",
    "UserSkillView",
    "UserUses",
    "UserUpdate",
    "ViewedSkill",
    "WhatsNewItem",
]
