-- Locks: ACCESS EXCLUSIVE on skill_feedback.
SET LOCAL lock_timeout = '5s';

DROP TABLE IF EXISTS skill_feedback;
