-- The skills, with the counters and averages that lists show.
-- Locks: SHARE ROW EXCLUSIVE on tenants and users for the foreign keys; the table is new.
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS skills (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    description TEXT NOT NULL,
    category TEXT NOT NULL,
    tags TEXT[] NOT NULL DEFAULT '{}',
    status TEXT NOT NULL DEFAULT 'published',
    hours_saved INTEGER DEFAULT 1,
    author_id TEXT,
    published_version_id TEXT,
    published_version INTEGER,
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    updated_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    edited_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    metrics_updated_at TIMESTAMPTZ (3),
    total_uses BIGINT NOT NULL DEFAULT 0,
    rating_count BIGINT NOT NULL DEFAULT 0,
    rating_sum BIGINT NOT NULL DEFAULT 0,
    average_rating INTEGER GENERATED ALWAYS AS (
        -- Not round(), which would round a quotient that was rounded before.
        div(200 * rating_sum::NUMERIC + rating_count, 2 * nullif(rating_count, 0)::NUMERIC)::INTEGER
    ) STORED,
    -- What's new compares all views of a user with these columns, and then needs no row of the table itself. They
    -- change with the content only, like skills_updated_idx.
    CONSTRAINT skills_pkey PRIMARY KEY (tenant_id, id) INCLUDE (updated_at, published_version, status),
    CONSTRAINT skills_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT skills_slug_key UNIQUE (tenant_id, slug),
    CONSTRAINT skills_author_fk FOREIGN KEY (tenant_id, author_id) REFERENCES users (tenant_id, id),
    CONSTRAINT skills_status_check CHECK (status IN ('draft', 'pending_review', 'published', 'archived')),
    CONSTRAINT skills_tags_check CHECK (array_position(tags, NULL) IS NULL),
    CONSTRAINT skills_hours_saved_check CHECK (hours_saved >= 0),
    CONSTRAINT skills_published_version_check CHECK (published_version >= 1),
    CONSTRAINT skills_total_uses_check CHECK (total_uses >= 0),
    CONSTRAINT skills_rating_count_check CHECK (rating_count >= 0),
    CONSTRAINT skills_rating_sum_check CHECK (rating_sum BETWEEN rating_count AND 5 * rating_count)
)
-- PostgreSQL updates counters in place ("Heap-Only Tuples" in its documentation): it then writes no index, and frees
-- the old row's space without VACUUM. This needs free space on the page, and no index on a counter.
WITH (fillfactor = 90);

-- list_skills reads the newest change first, page by page.
CREATE INDEX IF NOT EXISTS skills_updated_idx ON skills (tenant_id, updated_at, id);

CREATE INDEX IF NOT EXISTS skills_author_idx ON skills (tenant_id, author_id) WHERE author_id IS NOT NULL;

COMMENT ON TABLE skills IS 'A skill of the catalogue, as it is now, with its counters.';
COMMENT ON COLUMN skills.slug IS 'Short name for URLs, unique within the organisation.';
COMMENT ON COLUMN skills.tags IS 'Free keywords; an empty array if there are none.';
COMMENT ON COLUMN skills.status IS
'draft, pending_review, published or archived. What''s new lists published skills only.';
COMMENT ON COLUMN skills.hours_saved IS 'Hours that one use saves; NULL if nobody has estimated it.';
COMMENT ON COLUMN skills.author_id IS 'The user who wrote it; NULL if unknown.';
COMMENT ON COLUMN skills.published_version_id IS
'The skill_versions row that users get; NULL before the first version.';
COMMENT ON COLUMN skills.published_version IS 'The number of that version; NULL before the first version.';
COMMENT ON COLUMN skills.updated_at IS
'Last change of content: name, description, category, tags, status or published version. Counters do not update it.';
COMMENT ON COLUMN skills.edited_at IS
'Last change of content other than a new version. It separates an edit from a later publication.';
COMMENT ON COLUMN skills.metrics_updated_at IS 'Last change of a counter or average; NULL before the first change.';
COMMENT ON COLUMN skills.total_uses IS 'Number of uses since the skill was created.';
COMMENT ON COLUMN skills.rating_count IS 'Number of ratings.';
COMMENT ON COLUMN skills.rating_sum IS 'Sum of the ratings (1 to 5 each).';
COMMENT ON COLUMN skills.average_rating IS 'Mean rating * 100, rounded half up: 450 is 4.5. NULL without ratings.';
COMMENT ON INDEX skills_author_idx IS
'For skills_author_fk: deleting a user checks whether the user wrote a skill.';

ALTER TABLE skills ENABLE ROW LEVEL SECURITY;
ALTER TABLE skills FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skills' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON skills AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skills' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON skills AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

GRANT SELECT, INSERT, DELETE ON skills TO skilldb_app;
GRANT UPDATE (
    name, slug, description, category, tags, status, hours_saved,
    published_version_id, published_version, updated_at, edited_at,
    metrics_updated_at, total_uses, rating_count, rating_sum
) ON skills TO skilldb_app;
