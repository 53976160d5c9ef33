"""The rows and inputs of feedback."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSkillFeedback:
    """Feedback to be submitted, or imported with its time and its review.

    `feedback_type` is thumbs_up, thumbs_down, suggestion, training_example or bug_report. `sentiment` is -1, 0 or 1;
    None is 1 for thumbs_up and -1 for thumbs_down. `quality_score` is 1 to 10. `user_id` None is anonymous.
    `created_at` None is now; a time in the future is stored as given. A feedback item of any status may lack its
    reviewer and the time of its review, if they are not known. A pending one has neither, and no `review_notes`: one
    that was reviewed and is pending again is submitted without its former review. `reviewed_at` is not before
    `created_at`. `implemented_version_id` is only for the status implemented.
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
    status: str = "pending"
    reviewed_by: str | None = None
    reviewed_at: datetime | None = None
    review_notes: str | None = None
    reply: str | None = None
    implemented_version_id: str | None = None
    source: str = "web"
    id: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFeedback:
    """A feedback item, and its review: `status` is pending, accepted, dismissed or implemented.

    `review_notes` are for other reviewers, `reply` is for the author. `implemented_version_id` is the version that
    implemented it.
    """

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
    reply: str | None
    implemented_version_id: str | None
    source: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackWithUsers(SkillFeedback):
    """Feedback with the names of its author and its reviewer. A name may be None."""

    user_name: str | None
    reviewer_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackWithSkill(FeedbackWithUsers):
    """Feedback with these names, and the name and slug of its skill."""

    skill_name: str
    skill_slug: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackStats:
    """The feedback items on a skill within some days, by type and by status.

    `oldest_pending_at` is when the item was submitted that has waited longest for a review. `positive_feedback_pct` is
    the percentage of thumbs up among the thumbs. The averages are in hundredths and cover the items that have the
    value: `average_sentiment` is -100 to 100, `average_quality_score` 100 to 1,000. Each of these is None if no item
    has the value.
    """

    skill_id: str
    total_feedback: int
    thumbs_up_count: int
    thumbs_down_count: int
    suggestion_count: int
    training_example_count: int
    bug_report_count: int
    pending_count: int
    accepted_count: int
    dismissed_count: int
    implemented_count: int
    oldest_pending_at: datetime | None
    positive_feedback_pct: int | None
    average_sentiment: int | None
    average_quality_score: int | None
