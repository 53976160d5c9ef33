"""Statements for feedback on skills, its review, and its counts on skills."""

from datetime import datetime

from skilldb import paging, queries
from skilldb.errors import InvalidValueError, shown
from skilldb.models import (
    FeedbackStats,
    FeedbackWithSkill,
    FeedbackWithUsers,
    NewSkillFeedback,
    Page,
    SkillFeedback,
)
from skilldb.statement import VALUE, Statement, one, optional
from skilldb.values import ADAPT, MAX_DAYS, adapter, bounded, not_empty

_SQL = queries.load("feedback")
_LOCKS = queries.load("locks")

_BY_SKILL, _QUEUE = paging.Sort("feedback", datetime), paging.Sort("queue", datetime)
_BY_USER, _EXAMPLES = paging.Sort("user_feedback", datetime), paging.Sort("examples", datetime)


def submit_feedback(feedback: NewSkillFeedback) -> Statement[SkillFeedback]:
    """Submit feedback, and count it on its skill. total_feedback counts every type, the percentage only thumbs.

    NotFoundError: no such skill, user, reviewer, or version of that skill. InvalidValueError: an unknown type or
    status, a sentiment or quality out of range, a time without a time zone, an implementing version of feedback that
    is not implemented, an empty reply, a review of feedback that is pending, or one from before the feedback was
    created. AlreadyExistsError: the id is taken.
    """
    not_empty("reply", feedback.reply)
    if feedback.status == "pending":
        for name in ("reviewed_by", "reviewed_at", "review_notes"):
            if (given := getattr(feedback, name)) is not None:
                raise InvalidValueError(f"{name} must be None while the status is pending, not {shown(given)}")
    skill_id, author = feedback.skill_id, feedback.user_id
    locks, checks = [], []
    if feedback.reviewed_by is not None:
        people = [adapter("reviewed_by", "text")("reviewed_by", feedback.reviewed_by)]
        if author is not None and author != feedback.reviewed_by:
            people.append(adapter("user_id", "text")("user_id", author))
        # One step locks both, in the order of their ids.
        locks, author = [_LOCKS["lock_users"](user_ids=people)], None
    if feedback.implemented_version_id is not None:
        version = adapter("implemented_version_id", "text")("implemented_version_id", feedback.implemented_version_id)
        checks = [_LOCKS["check_skill_version"](skill_id=skill_id, skill_version_id=version)]
    if feedback.reviewed_at is not None:
        checks.append(_SQL["check_review_time"](created_at=feedback.created_at, reviewed_at=feedback.reviewed_at))
    return Statement(
        one(SkillFeedback),
        *locks,
        _LOCKS["lock_user_and_skill"](user_id=author, skill_id=skill_id),
        _LOCKS["check_skill_version"](skill_id=skill_id, skill_version_id=feedback.skill_version_id),
        *checks,
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
            status=feedback.status,
            reviewed_by=feedback.reviewed_by,
            reviewed_at=feedback.reviewed_at,
            review_notes=feedback.review_notes,
            reply=feedback.reply,
            implemented_version_id=feedback.implemented_version_id,
            source=feedback.source,
            created_at=feedback.created_at,
        ),
    )


def review_feedback(
    feedback_id: str,
    status: str | None,
    reviewed_by: str,
    *,
    notes: str | None = None,
    reply: str | None = None,
    implemented_version_id: str | None = None,
) -> Statement[SkillFeedback]:
    """Change the status of feedback, with the reviewer, notes for other reviewers and a reply to the author.

    Allowed: pending to accepted or dismissed, accepted to implemented or dismissed, dismissed to pending. None leaves
    the status, and then also the notes if they are None. A reply of None leaves the former one.
    `implemented_version_id` names the version that implemented the feedback. InvalidTransitionError: any other change,
    for example because another reviewer was faster. NotFoundError: no such feedback, reviewer, or version of that
    skill. InvalidValueError: an unknown status, an empty reply, no change at all, or a version of feedback that is not
    implemented.
    """
    not_empty("reply", reply)
    adapter("reviewed_by", "text")("reviewed_by", reviewed_by)
    locks, checks = [], []
    if status is not None:
        ADAPT["text"]("status", status)
    elif notes is None and reply is None and implemented_version_id is None:
        raise InvalidValueError("status may be None only with notes, a reply or an implemented_version_id")
    if implemented_version_id is not None:
        locks = [_SQL["lock_skill_of_version"](implemented_version_id=implemented_version_id)]
        checks = [
            _SQL["check_implemented_version"](feedback_id=feedback_id, implemented_version_id=implemented_version_id)
        ]
    return Statement(
        one(SkillFeedback),
        # Lock the reviewer first: delete_user locks the user before the feedback.
        _LOCKS["lock_users"](user_ids=[reviewed_by]),
        *locks,
        _SQL["lock_feedback"](feedback_id=feedback_id),
        *checks,
        _SQL["review_feedback"](
            feedback_id=feedback_id,
            status=status,
            reviewed_by=reviewed_by,
            review_notes=notes,
            reply=reply,
            implemented_version_id=implemented_version_id,
        ),
    )


def get_feedback(feedback_id: str) -> Statement[FeedbackWithSkill | None]:
    """A feedback item with the names of its skill, author and reviewer, or None."""
    return Statement(optional(FeedbackWithSkill), _SQL["get_feedback"](feedback_id=feedback_id))


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
    created_at, id = paging.decode(after, _BY_SKILL)
    return Statement(
        paging.page(FeedbackWithUsers, limit, lambda feedback: (feedback.created_at, feedback.id), _BY_SKILL),
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


def list_feedback_queue(
    *, status: str = "pending", feedback_type: str | None = None, limit: int = 50, after: str | None = None
) -> Statement[Page[FeedbackWithSkill]]:
    """One page of the feedback of a status on all skills, oldest first: what to review next.

    A `feedback_type` of None is every type. Empty for an unknown status or type. `after` is the cursor of the page
    before; items that change their status meanwhile leave the queue. InvalidValueError: a limit below 1, or an `after`
    that is not a cursor.
    """
    ADAPT["text"]("status", status)
    created_at, id = paging.decode(after, _QUEUE)
    return Statement(
        paging.page(FeedbackWithSkill, limit, lambda feedback: (feedback.created_at, feedback.id), _QUEUE),
        _SQL["list_feedback_queue"](
            status=status, feedback_type=feedback_type, after_created_at=created_at, after_id=id, limit=limit
        ),
    )


def list_user_feedback(
    user_id: str, *, limit: int = 50, after: str | None = None
) -> Statement[Page[FeedbackWithSkill]]:
    """One page of the feedback that a user gave on all skills, with its reviews, newest first.

    Empty if there is no such user. `after` is the cursor of the page before. InvalidValueError: a limit below 1, or an
    `after` that is not a cursor.
    """
    created_at, id = paging.decode(after, _BY_USER)
    return Statement(
        paging.page(FeedbackWithSkill, limit, lambda feedback: (feedback.created_at, feedback.id), _BY_USER),
        _SQL["list_user_feedback"](user_id=user_id, after_created_at=created_at, after_id=id, limit=limit),
    )


def get_feedback_stats(skill_id: str, days: int = 30) -> Statement[FeedbackStats | None]:
    """The feedback on a skill of the last `days` * 24 hours in numbers, or None if there is no such skill.

    InvalidValueError: fewer than one day, or more than a hundred years.
    """
    return Statement(
        optional(FeedbackStats),
        _SQL["get_feedback_stats"](skill_id=skill_id, days=bounded("days", days, 1, MAX_DAYS)),
    )


def list_training_examples(
    skill_id: str, *, limit: int = 50, after: str | None = None
) -> Statement[Page[SkillFeedback]]:
    """One page of the accepted training examples of a skill that have an input and an expected output, oldest first.

    `after` is the cursor of the page before. InvalidValueError: a limit below 1, or an `after` that is not a cursor.
    """
    created_at, id = paging.decode(after, _EXAMPLES)
    return Statement(
        paging.page(SkillFeedback, limit, lambda feedback: (feedback.created_at, feedback.id), _EXAMPLES),
        _SQL["list_training_examples"](skill_id=skill_id, after_created_at=created_at, after_id=id, limit=limit),
    )
