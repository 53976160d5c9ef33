-- Feedback items on skills, and their review.
-- Locks: SHARE ROW EXCLUSIVE on tenants, users, skills and skill_versions for the foreign keys; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS skill_feedback (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    skill_id TEXT NOT NULL,
    skill_version_id TEXT,
    user_id TEXT,
    usage_event_id TEXT,
    feedback_type TEXT NOT NULL,
    sentiment INTEGER,
    comment TEXT,
    suggested_content TEXT,
    suggested_diff TEXT,
    example_input TEXT,
    example_output TEXT,
    expected_output TEXT,
    quality_score INTEGER,
    status TEXT NOT NULL DEFAULT 'pending',
    reviewed_by TEXT,
    reviewed_at TIMESTAMPTZ (3),
    review_notes TEXT,
    reply TEXT,
    implemented_version_id TEXT,
    source TEXT NOT NULL DEFAULT 'web',
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    CONSTRAINT skill_feedback_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT skill_feedback_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT skill_feedback_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id),
    CONSTRAINT skill_feedback_reviewed_by_fk FOREIGN KEY (tenant_id, reviewed_by) REFERENCES users (tenant_id, id),
    CONSTRAINT skill_feedback_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT skill_feedback_skill_version_fk FOREIGN KEY (tenant_id, skill_version_id)
    REFERENCES skill_versions (tenant_id, id),
    CONSTRAINT skill_feedback_implemented_version_fk FOREIGN KEY (tenant_id, implemented_version_id)
    REFERENCES skill_versions (tenant_id, id),
    CONSTRAINT skill_feedback_feedback_type_check CHECK (
        feedback_type IN ('thumbs_up', 'thumbs_down', 'suggestion', 'training_example', 'bug_report')
    ),
    CONSTRAINT skill_feedback_sentiment_check CHECK (sentiment IN (-1, 0, 1)),
    CONSTRAINT skill_feedback_quality_score_check CHECK (quality_score BETWEEN 1 AND 10),
    CONSTRAINT skill_feedback_status_check CHECK (status IN ('pending', 'accepted', 'dismissed', 'implemented')),
    CONSTRAINT skill_feedback_implemented_version_id_check CHECK (
        implemented_version_id IS NULL OR status = 'implemented'
    )
);

-- list_feedback pages through a skill's feedback items. detect_changes counts the newest ones.
CREATE INDEX IF NOT EXISTS skill_feedback_skill_created_idx ON skill_feedback (tenant_id, skill_id, created_at, id);

-- list_feedback_queue merges one range of this index for each type.
CREATE INDEX IF NOT EXISTS skill_feedback_queue_idx
ON skill_feedback (tenant_id, status, feedback_type, created_at, id);

-- list_user_feedback pages through the feedback items of a user.
-- delete_user removes the user from the feedback items that the user wrote or reviewed.
CREATE INDEX IF NOT EXISTS skill_feedback_author_idx ON skill_feedback (tenant_id, user_id, created_at, id)
WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS skill_feedback_reviewed_by_idx ON skill_feedback (tenant_id, reviewed_by)
WHERE reviewed_by IS NOT NULL;

CREATE INDEX IF NOT EXISTS skill_feedback_skill_version_idx ON skill_feedback (tenant_id, skill_version_id)
WHERE skill_version_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS skill_feedback_implemented_version_idx ON skill_feedback (tenant_id, implemented_version_id)
WHERE implemented_version_id IS NOT NULL;

COMMENT ON TABLE skill_feedback IS 'One feedback item on a skill, and its review.';
COMMENT ON COLUMN skill_feedback.skill_version_id IS
'The version that it is about; NULL if it is about the skill in general.';
COMMENT ON COLUMN skill_feedback.user_id IS 'The user who gave it; NULL if anonymous or deleted.';
COMMENT ON COLUMN skill_feedback.usage_event_id IS
'The use that it is about. No foreign key checks it. NULL if there is none.';
COMMENT ON COLUMN skill_feedback.feedback_type IS
'thumbs_up, thumbs_down, suggestion, training_example or bug_report.';
COMMENT ON COLUMN skill_feedback.sentiment IS '-1 against, 0 neutral, 1 in favour; NULL if not given.';
COMMENT ON COLUMN skill_feedback.suggested_content IS 'The content that the user suggests.';
COMMENT ON COLUMN skill_feedback.suggested_diff IS 'The same as a unified diff.';
COMMENT ON COLUMN skill_feedback.example_input IS 'The input of the skill.';
COMMENT ON COLUMN skill_feedback.example_output IS 'The output that the skill produced.';
COMMENT ON COLUMN skill_feedback.expected_output IS 'The output that was expected.';
COMMENT ON COLUMN skill_feedback.quality_score IS '1 (bad) to 10 (excellent); NULL if not given.';
COMMENT ON COLUMN skill_feedback.status IS 'pending, accepted, dismissed or implemented.';
COMMENT ON COLUMN skill_feedback.reviewed_by IS
'The user who reviewed it last; NULL before the first review, or if the user is deleted or not known.';
COMMENT ON COLUMN skill_feedback.reviewed_at IS
'When it was reviewed last; NULL before the first review, or if not known.';
COMMENT ON COLUMN skill_feedback.review_notes IS 'The notes of reviewers for each other; NULL if there are none.';
COMMENT ON COLUMN skill_feedback.reply IS 'The reply of the reviewers to the author; NULL if there is none.';
COMMENT ON COLUMN skill_feedback.implemented_version_id IS
'The version that implemented it; NULL if it is not implemented or none is named.';
COMMENT ON COLUMN skill_feedback.source IS 'Where it was entered: web, hook, ...';
COMMENT ON INDEX skill_feedback_skill_version_idx IS
'For skill_feedback_skill_version_fk: deleting a version, with its skill, checks whether a feedback item refers to it.';
COMMENT ON INDEX skill_feedback_implemented_version_idx IS
'For skill_feedback_implemented_version_fk: deleting a version, with its skill, checks whether an item names it.';

ALTER TABLE skill_feedback ENABLE ROW LEVEL SECURITY;
ALTER TABLE skill_feedback FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_feedback' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON skill_feedback AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_feedback' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON skill_feedback AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE ON skill_feedback TO skilldb_app;
GRANT UPDATE (
    skill_id, skill_version_id, user_id, status, reviewed_by, reviewed_at, review_notes, reply, implemented_version_id
) ON skill_feedback TO skilldb_app;
