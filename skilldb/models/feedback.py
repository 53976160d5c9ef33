"""The rows and inputs of feedback."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSkillFeedback:
    """Feedback to be submitted.

    `feedback_type` is thumbs_up, thumbs_down, suggestion, training_example or bug_report. `sentiment` is -1, 0 or 1;
    None is 1 for thumbs_up and -1 for thumbs_down. `quality_score` is 1 to 10. `user_id` None is anonymous.
    """

    skill_id: str
    feedback_type: str
    user_id: str | None = None
    skill_version_id: str | None = None
    usage_event_id: str | None = None
    sentiment: int | None = None
    comment: str | None = None
    suggested_content: str | None = None
    suggested_diff: str | None = None
    example_input: str | None = None
    example_output: str | None = None
    expected_output: str | None = None
    quality_score: int | None = None
    source: str = "web"
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFeedback:
    """A feedback item, and its review: `status` is pending, accepted, dismissed or implemented."""

    id: str
    skill_id: str
    skill_version_id: str | None
    user_id: str | None
    usage_event_id: str | None
    feedback_type: str
    sentiment: int | None
    comment: str | None
    suggested_content: str | None
    suggested_diff: str | None
    example_input: str | None
    example_output: str | None
    expected_output: str | None
    quality_score: int | None
    status: str
    reviewed_by: str | None
    reviewed_at: datetime | None
    review_notes: str | None
    source: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackWithUsers(SkillFeedback):
    """Feedback with the names of its author and its reviewer. A name may be None."""

    user_name: str | None
    reviewer_name: str | None
