-- The skills, with the counters and averages that lists show.
-- Locks: SHARE ROW EXCLUSIVE on tenants and users for the foreign keys; the table is new.
SET LOCAL lock_timeout = '5s';

-- A domain says which values a column may have. PostgreSQL keeps the constraint of a domain in memory, and evaluates it
-- only where a statement writes the column. A CHECK or a generated column of the table would be read from its stored
-- text in every UPDATE, whatever that changes. The constraint of the domain skills_<column> is called
-- <column>_check: the errors of skilldb take the column from these names.
DO $$
BEGIN
    IF to_regtype('skills_tags') IS NULL THEN
        CREATE DOMAIN skills_tags AS TEXT[] CONSTRAINT tags_check CHECK (array_position(VALUE, NULL) IS NULL);
    END IF;

    IF to_regtype('skills_status') IS NULL THEN
        CREATE DOMAIN skills_status AS TEXT CONSTRAINT status_check
        CHECK (VALUE IN ('draft', 'pending_review', 'published', 'archived'));
    END IF;

    IF to_regtype('skills_hours_saved') IS NULL THEN
        CREATE DOMAIN skills_hours_saved AS INTEGER CONSTRAINT hours_saved_check CHECK (VALUE >= 0);
    END IF;

    IF to_regtype('skills_published_version') IS NULL THEN
        CREATE DOMAIN skills_published_version AS INTEGER CONSTRAINT published_version_check CHECK (VALUE >= 1);
    END IF;

    IF to_regtype('skills_total_uses') IS NULL THEN
        CREATE DOMAIN skills_total_uses AS BIGINT CONSTRAINT total_uses_check CHECK (VALUE >= 0);
    END IF;

    IF to_regtype('skills_rating_count') IS NULL THEN
        CREATE DOMAIN skills_rating_count AS BIGINT CONSTRAINT rating_count_check CHECK (VALUE >= 0);
    END IF;

    IF to_regtype('skills_rating_sum') IS NULL THEN
        CREATE DOMAIN skills_rating_sum AS BIGINT CONSTRAINT rating_sum_check CHECK (VALUE >= 0);
    END IF;

    IF to_regtype('skills_average_rating') IS NULL THEN
        CREATE DOMAIN skills_average_rating AS INTEGER CONSTRAINT average_rating_check CHECK (VALUE BETWEEN 100 AND 500);
    END IF;
END
$$;

-- The planner puts the expression in the place of the call. So it has no SET clause, is not STRICT, and takes no
-- subquery as an argument.
CREATE OR REPLACE FUNCTION mean_rating(rating_sum BIGINT, rating_count BIGINT) RETURNS INTEGER
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN CASE
    -- So many ratings cannot have this sum. The domain skills_average_rating refuses 0.
    WHEN rating_sum NOT BETWEEN rating_count AND 5 * rating_count THEN 0
    -- Not round(), which would round a quotient that was rounded before.
    ELSE div(200 * rating_sum::NUMERIC + rating_count, 2 * nullif(rating_count, 0)::NUMERIC)::INTEGER
END;

COMMENT ON FUNCTION mean_rating(BIGINT, BIGINT) IS
'Mean rating * 100, rounded half up. NULL without ratings; 0 if the sum is not that of so many ratings of 1 to 5.';

REVOKE ALL ON FUNCTION mean_rating(BIGINT, BIGINT) FROM public;
GRANT EXECUTE ON FUNCTION mean_rating(BIGINT, BIGINT) TO skilldb_app;

CREATE TABLE IF NOT EXISTS skills (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL DEFAULT gen_random_uuid()::TEXT,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    description TEXT NOT NULL,
    category TEXT NOT NULL,
    tags SKILLS_TAGS NOT NULL DEFAULT '{}',
    status SKILLS_STATUS NOT NULL DEFAULT 'published',
    hours_saved SKILLS_HOURS_SAVED DEFAULT 1,
    author_id TEXT,
    published_version_id TEXT,
    published_version SKILLS_PUBLISHED_VERSION,
    created_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    updated_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    edited_at TIMESTAMPTZ (3) NOT NULL DEFAULT date_trunc('milliseconds', now()),
    metrics_updated_at TIMESTAMPTZ (3),
    total_uses SKILLS_TOTAL_USES NOT NULL DEFAULT 0,
    rating_count SKILLS_RATING_COUNT NOT NULL DEFAULT 0,
    rating_sum SKILLS_RATING_SUM NOT NULL DEFAULT 0,
    average_rating SKILLS_AVERAGE_RATING,
    -- What's new compares all views of a user with these columns, and then needs no row of the table itself. They
    -- change with the content only, like skills_updated_idx.
    CONSTRAINT skills_pkey PRIMARY KEY (tenant_id, id) INCLUDE (updated_at, published_version, status),
    CONSTRAINT skills_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT skills_slug_key UNIQUE (tenant_id, slug),
    CONSTRAINT skills_author_fk FOREIGN KEY (tenant_id, author_id) REFERENCES users (tenant_id, id)
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
'Last change of content: name, description, category, tags, status or published version. Counters do not update it. '
'An update that expects an updated_at moves it with any change.';
COMMENT ON COLUMN skills.edited_at IS
'Last change of content other than a new version. It separates an edit from a later publication.';
COMMENT ON COLUMN skills.metrics_updated_at IS 'Last change of a counter or average; NULL before the first change.';
COMMENT ON COLUMN skills.total_uses IS 'Number of uses since the skill was created.';
COMMENT ON COLUMN skills.rating_count IS 'Number of ratings.';
COMMENT ON COLUMN skills.rating_sum IS 'Sum of the ratings (1 to 5 each).';
COMMENT ON COLUMN skills.average_rating IS
'Mean rating * 100, rounded half up: 450 is 4.5. NULL without ratings. Written with rating_sum, by mean_rating().';
COMMENT ON INDEX skills_author_idx IS
'For skills_author_fk: deleting a user passes on the skills that the user wrote.';

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

GRANT SELECT, DELETE ON skills TO skilldb_app;
-- A new skill has no counts.
GRANT INSERT (
    tenant_id, id, name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, created_at, updated_at, edited_at
) ON skills TO skilldb_app;
GRANT UPDATE (
    name, slug, description, category, tags, status, hours_saved, author_id,
    published_version_id, published_version, updated_at, edited_at,
    metrics_updated_at, total_uses, rating_count, rating_sum, average_rating
) ON skills TO skilldb_app;
