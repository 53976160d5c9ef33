"""Statements for feedback on skills, its review, and its counts on skills."""

from datetime import datetime

from skilldb import paging, queries
from skilldb.models import FeedbackWithUsers, NewSkillFeedback, Page, SkillFeedback
from skilldb.statement import VALUE, Statement, many, one
from skilldb.values import ADAPT, adapter

_SQL = queries.load("feedback")
_LOCKS = queries.load("locks")


def submit_feedback(feedback: NewSkillFeedback) -> Statement[SkillFeedback]:
    """Submit feedback, and count it on its skill. total_feedback counts every type, the percentage only thumbs.

    NotFoundError: no such skill, user, or version of that skill. InvalidValueError: an unknown type, or a sentiment or
    quality out of range. AlreadyExistsError: the id is taken.
    """
    return Statement(
        one(SkillFeedback),
        _LOCKS["lock_user_and_skill"](user_id=feedback.user_id, skill_id=feedback.skill_id),
        _LOCKS["check_skill_version"](skill_id=feedback.skill_id, skill_version_id=feedback.skill_version_id),
        _SQL["submit_feedback"](
            id=feedback.id,
            skill_id=feedback.skill_id,
            skill_version_id=feedback.skill_version_id,
            user_id=feedback.user_id,
            usage_event_id=feedback.usage_event_id,
            feedback_type=feedback.feedback_type,
            sentiment=feedback.sentiment,
            comment=feedback.comment,
            suggested_content=feedback.suggested_content,
            suggested_diff=feedback.suggested_diff,
            example_input=feedback.example_input,
            example_output=feedback.example_output,
            expected_output=feedback.expected_output,
            quality_score=feedback.quality_score,
            source=feedback.source,
        ),
    )


def review_feedback(
    feedback_id: str, status: str, reviewed_by: str, *, notes: str | None = None
) -> Statement[SkillFeedback]:
    """Change the status of feedback, with the reviewer and notes.

    Allowed: pending to accepted or dismissed, accepted to implemented or dismissed, dismissed to pending.
    InvalidTransitionError: any other change, for example because another reviewer was faster. NotFoundError: no such
    feedback or reviewer. InvalidValueError: an unknown status.
    """
    ADAPT["text"]("status", status)
    adapter("reviewed_by", "text")("reviewed_by", reviewed_by)
    return Statement(
        one(SkillFeedback),
        # Lock the reviewer first: delete_user locks the user before the feedback.
        _LOCKS["lock_users"](user_ids=[reviewed_by]),
        _SQL["lock_feedback"](feedback_id=feedback_id),
        _SQL["review_feedback"](feedback_id=feedback_id, status=status, reviewed_by=reviewed_by, review_notes=notes),
    )


def list_feedback(
    skill_id: str,
    *,
    feedback_type: str | None = None,
    status: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Statement[Page[FeedbackWithUsers]]:
    """One page of the feedback on a skill, newest first, with the names of author and reviewer.

    `after` is the cursor of the page before. A filter that is None does not apply. InvalidValueError: a limit below 1,
    or an `after` that is not a cursor.
    """
    created_at, id = paging.decode(after)
    return Statement(
        paging.page(FeedbackWithUsers, limit, lambda feedback: (feedback.created_at, feedback.id)),
        _SQL["list_feedback"](
            skill_id=skill_id,
            feedback_type=feedback_type,
            status=status,
            after_created_at=created_at,
            after_id=id,
            limit=limit,
        ),
    )


def count_feedback_since(skill_id: str, since: datetime) -> Statement[int]:
    """The number of feedback items on a skill after `since`. InvalidValueError: a time without a time zone."""
    return Statement(VALUE, _SQL["count_feedback_since"](skill_id=skill_id, since=since))


def list_training_examples(skill_id: str) -> Statement[list[SkillFeedback]]:
    """The accepted training examples of a skill that have an input and an expected output, oldest first."""
    return Statement(many(SkillFeedback), _SQL["list_training_examples"](skill_id=skill_id))
