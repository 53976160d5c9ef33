-- The schema of a migrated database. Written by `make schema`: to change it, write a migration.

CREATE DOMAIN public.skills_average_rating AS integer
	CONSTRAINT average_rating_check CHECK (((VALUE >= 100) AND (VALUE <= 500)));

CREATE DOMAIN public.skills_feedback_count AS bigint
	CONSTRAINT feedback_count_check CHECK ((VALUE >= 0));

CREATE DOMAIN public.skills_hours_saved AS integer
	CONSTRAINT hours_saved_check CHECK ((VALUE >= 0));

CREATE DOMAIN public.skills_positive_feedback_pct AS integer
	CONSTRAINT positive_feedback_pct_check CHECK (((VALUE >= 0) AND (VALUE <= 100)));

CREATE DOMAIN public.skills_published_version AS integer
	CONSTRAINT published_version_check CHECK ((VALUE >= 1));

CREATE DOMAIN public.skills_rating_count AS bigint
	CONSTRAINT rating_count_check CHECK ((VALUE >= 0));

CREATE DOMAIN public.skills_rating_sum AS bigint
	CONSTRAINT rating_sum_check CHECK ((VALUE >= 0));

CREATE DOMAIN public.skills_status AS text
	CONSTRAINT status_check CHECK ((VALUE = ANY (ARRAY['draft'::text, 'pending_review'::text, 'published'::text, 'archived'::text])));

CREATE DOMAIN public.skills_tags AS text[]
	CONSTRAINT tags_check CHECK ((array_position(VALUE, NULL::text) IS NULL));

CREATE DOMAIN public.skills_token_cost AS bigint
	CONSTRAINT token_cost_check CHECK ((VALUE >= 0));

CREATE DOMAIN public.skills_total_uses AS bigint
	CONSTRAINT total_uses_check CHECK ((VALUE >= 0));

CREATE FUNCTION public.add_uses(total bigint[], added bigint[]) RETURNS bigint[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    FOR day IN array_lower(added, 1)..31 LOOP
        total[day] := coalesce(total[day], 0) + added[day];
    END LOOP;
    RETURN total;
END
$$;

COMMENT ON FUNCTION public.add_uses(total bigint[], added bigint[]) IS 'Adds two arrays of uses_to_day. Both end with day 31.';

CREATE FUNCTION public.mean_cost(cost_sum bigint, priced bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (div((((2)::numeric * (cost_sum)::numeric) + (priced)::numeric), ((2)::numeric * (NULLIF(priced, 0))::numeric)))::bigint;

COMMENT ON FUNCTION public.mean_cost(cost_sum bigint, priced bigint) IS 'Mean cost of the priced measurements, rounded half up. NULL without a priced measurement.';

CREATE FUNCTION public.mean_rating(rating_sum bigint, rating_count bigint) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN ((rating_sum < rating_count) OR (rating_sum > (5 * rating_count))) THEN 0 ELSE (div((((200)::numeric * (rating_sum)::numeric) + (rating_count)::numeric), ((2)::numeric * (NULLIF(rating_count, 0))::numeric)))::integer END;

COMMENT ON FUNCTION public.mean_rating(rating_sum bigint, rating_count bigint) IS 'Mean rating * 100, rounded half up. NULL without ratings; 0 if the sum is not that of so many ratings of 1 to 5.';

CREATE FUNCTION public.positive_percentage(feedback bigint, thumbs_up bigint, thumbs_down bigint) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (feedback < (thumbs_up + thumbs_down)) THEN '-1'::integer ELSE (div((((201)::numeric * (thumbs_up)::numeric) + (thumbs_down)::numeric), ((2)::numeric * (NULLIF((thumbs_up + thumbs_down), 0))::numeric)))::integer END;

COMMENT ON FUNCTION public.positive_percentage(feedback bigint, thumbs_up bigint, thumbs_down bigint) IS 'Percentage of thumbs up among all thumbs, rounded half up. NULL without thumbs; -1 if there are fewer feedback items.';

CREATE FUNCTION public.raise_conflict(kind text, id text, reason text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION '%', format('%s ''%s'' %s', kind, left(id, 100), reason) USING ERRCODE = 'SK001';
END
$$;

COMMENT ON FUNCTION public.raise_conflict(kind text, id text, reason text) IS 'Always raises SQLSTATE SK001, naming what another caller changed. Returns text so that an expression can call it.';

CREATE FUNCTION public.raise_invalid_transition(kind text, id text, status text, wanted text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION '%', format('%s ''%s'' is %s: it cannot %s', kind, id, status, wanted)
    USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;

COMMENT ON FUNCTION public.raise_invalid_transition(kind text, id text, status text, wanted text) IS 'Always raises SQLSTATE 55000, naming the status and what it forbids. Returns text so that an expression can call it.';

CREATE FUNCTION public.raise_invalid_value(kind text, value text, reason text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION '%', format('%s ''%s'' %s', kind, left(value, 100), reason) USING ERRCODE = 'invalid_parameter_value';
END
$$;

COMMENT ON FUNCTION public.raise_invalid_value(kind text, value text, reason text) IS 'Always raises SQLSTATE 22023, naming the value and why it is refused. Returns text so that an expression can call it.';

CREATE FUNCTION public.raise_not_found(kind text, id text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION '%', format('%s ''%s'' does not exist', kind, left(id, 100)) USING ERRCODE = 'no_data_found';
END
$$;

COMMENT ON FUNCTION public.raise_not_found(kind text, id text) IS 'Always raises SQLSTATE P0002, naming what was not found. Returns text so that an expression can call it.';

CREATE FUNCTION public.search_words(content text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    words TEXT COLLATE "C" := content;
BEGIN
    IF octet_length(words) > length(words) THEN
        -- NFKD makes a character of its own of each accent. Accents, vowel signs of Arabic and Hebrew, and invisible
        -- characters are deleted. NFC puts together again what is left, such as the syllables of Korean.
        words := normalize(
            regexp_replace(
                normalize(words, NFKD),
                '[\u00ad\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u061c'
                '\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff'
                '\u200c-\u200f\u202a-\u202e\u2060-\u206f\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\ufeff]+',
                '',
                'g'
            ),
            NFC
        );
        -- Small letters. Those of Latin that are no letter with an accent are written as people type them.
        IF words ~ '[\u00c6-\u0292\u1e9e]' THEN
            words := replace(replace(words, 'Þ', 'th'), 'þ', 'th');
            words := replace(replace(words, 'Æ', 'ae'), 'æ', 'ae');
            words := replace(replace(words, 'Œ', 'oe'), 'œ', 'oe');
            words := replace(replace(words, 'ẞ', 'ss'), 'ß', 'ss');
            words := translate(
                words,
                'ØøĐđÐðĦħıŁłŊŋŦŧƏəƎǝƁɓƊɗƐɛƔɣƘƙƆɔƳƴƝɲƑƒ', 'ooddddhhillnnttəəəəbbddeeggkkooyynnff'
            );
        END IF;
        IF words ~ '[\u0370-\u03ff]' THEN
            words := translate(words, 'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩς', 'αβγδεζηθικλμνξοπρστυφχψωσ');
        END IF;
        IF words ~ '[\u0400-\u052f]' THEN
            words := translate(
                words,
                'АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏҐҒҔҖҘҚҜҞҠҢҤҦҨҪҬҮҰҲҴҶҸҺҼҾӀӘӠӨ',
                'абвгдежзиклмнопрстуфхцчшщъыьэюяђєѕіјљњћџґғҕҗҙқҝҟҡңҥҧҩҫҭүұҳҵҷҹһҽҿӏәӡө'
            );
        END IF;
        IF words ~ '[\u0531-\u0556]' THEN
            words := translate(
                words, 'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ', 'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ'
            );
        END IF;
        -- Punctuation, signs and symbols separate words.
        words := regexp_replace(
            words,
            '[\u0080-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u02c2-\u02df\u02e5-\u02ff\u055a-\u055f'
            '\u0589\u058a\u058d-\u058f\u05be\u05c0\u05c3\u05c6\u05f3\u05f4\u0600-\u060f\u061b-\u061f\u066a-\u066d\u06d4'
            '\u06dd\u06de\u06e9\u0964\u0965\u0970\u0e3f\u0e4f\u0e5a\u0e5b\u104a-\u104f\u1680\u17d4-\u17d6\u17d8-\u17db'
            '\u2000-\u206f\u20a0-\u20cf\u2100-\u2bff\u2e00-\u2fff\u3000-\u3004\u3008-\u3020\u3030\u303d-\u303f\u30a0'
            '\u30fb\ufd3e-\ufd4f\ufdfc-\ufdff\ufe10-\ufe1f\ufe30-\ufe6f\ufff0-\uffff\U0001f000-\U0001faff]+',
            ' ',
            'g'
        );
        -- Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese write words without spaces, or with endings. Each
        -- character is a word here, and a search for several is one for a phrase.
        words := regexp_replace(
            words,
            '[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u2eff\u3005-\u3007\u3021-\u302f\u3031-\u303c'
            '\u3041-\u312f\u3131-\u318f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff'
            '\U00020000-\U0003ffff]',
            ' \& ',
            'g'
        );
    END IF;
    -- A plus or number sign counts at the end of a word, as in C++ and C#.
    words := regexp_replace(
        lower(words), '((?<![a-z0-9+#])[+#]+|[+#]+(?=[a-z0-9])|[^a-z0-9+#\u0080-\U0010ffff]+)+', ' ', 'g'
    );
    RETURN string_to_array(btrim(words), ' ');
END
$$;

COMMENT ON FUNCTION public.search_words(content text) IS 'The words of a text in their order, without accents and in small letters. A search compares nothing else.';

CREATE FUNCTION public.search_document(skill_name text, skill_slug text, skill_tags text[], skill_description text, author_name text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT (COALESCE(string_agg(format('''%s'':%s%s'::text, "left"(w.word, 100), (w.number + w.part), w.weight), ' '::text), ''::text))::tsvector AS "coalesce" FROM (SELECT u.word, p.part, p.weight, row_number() OVER (ORDER BY p.part, u.number) AS number FROM ((SELECT f.content, f.part, CASE WHEN (f.part <= 2) THEN 'A'::text WHEN (f.part <= (2 + cardinality((search_document.skill_tags)[1:100]))) THEN 'B'::text WHEN (f.part = (3 + cardinality((search_document.skill_tags)[1:100]))) THEN 'C'::text ELSE 'D'::text END AS weight FROM unnest(((ARRAY[search_document.skill_name, search_document.skill_slug] || (search_document.skill_tags)[1:100]) || ARRAY[search_document.skill_description, search_document.author_name])) WITH ORDINALITY f(content, part)) p CROSS JOIN LATERAL unnest(public.search_words("left"(p.content, CASE WHEN (p.weight = 'C'::text) THEN 10000 WHEN (p.weight = 'B'::text) THEN 200 ELSE 1000 END))) WITH ORDINALITY u(word, number))) w);

COMMENT ON FUNCTION public.search_document(skill_name text, skill_slug text, skill_tags text[], skill_description text, author_name text) IS 'The words of a skill: of its name and slug (weight A), tags (B), description (C) and author''s name (D).';

CREATE FUNCTION public.search_name_key(skill_name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN "left"(array_to_string(public.search_words("left"(skill_name, 1000)), ' '::text), 100);

COMMENT ON FUNCTION public.search_name_key(skill_name text) IS 'The words of a name, by which lists are sorted: at most 100 characters, which an index can hold.';

CREATE FUNCTION public.search_term(term text[], prefix boolean, weights text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT (('('::text || string_agg(format('''%s'':%s%s'::text, "left"(w.word, 100), CASE WHEN (search_term.prefix AND (w.number = cardinality(search_term.term))) THEN '*'::text ELSE ''::text END, search_term.weights), ' <-> '::text ORDER BY w.number)) || ')'::text) FROM unnest(search_term.term) WITH ORDINALITY w(word, number));

COMMENT ON FUNCTION public.search_term(term text[], prefix boolean, weights text) IS 'The text of a tsquery: these words one after the other, the last one as a prefix or not, in fields of these weights.';

CREATE FUNCTION public.uses_between(uses_to_day bigint[], month date, first_day date, last_day date) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (COALESCE((uses_to_day)[LEAST(((last_day - month) + 1), 31)], (0)::bigint) - COALESCE((uses_to_day)[LEAST((first_day - month), 31)], (0)::bigint));

COMMENT ON FUNCTION public.uses_between(uses_to_day bigint[], month date, first_day date, last_day date) IS 'The uses of the days of this month that lie between two days, both included; 0 if none does.';

CREATE FUNCTION public.uses_on(day date, uses bigint) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN array_fill(uses, ARRAY[(32 - (EXTRACT(day FROM day))::integer)], ARRAY[(EXTRACT(day FROM day))::integer]);

COMMENT ON FUNCTION public.uses_on(day date, uses bigint) IS 'The uses_to_day of a month whose only uses are on this day.';

CREATE AGGREGATE public.sum_uses(bigint[]) (
    SFUNC = public.add_uses,
    STYPE = bigint[],
    PARALLEL = safe
);

COMMENT ON AGGREGATE public.sum_uses(bigint[]) IS 'The sum of arrays of uses_to_day, added by add_uses().';

CREATE TABLE public.benchmark_results (
    tenant_id text NOT NULL,
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    benchmark_run_id text NOT NULL,
    model_name text NOT NULL,
    model_provider text NOT NULL,
    test_case_index integer NOT NULL,
    input_used text,
    output_produced text,
    expected_output text,
    input_tokens integer,
    output_tokens integer,
    total_tokens integer,
    latency_ms integer,
    estimated_cost_microcents bigint,
    quality_score integer,
    quality_notes text,
    matches_expected boolean,
    error_message text,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    CONSTRAINT benchmark_results_estimated_cost_microcents_check CHECK (((estimated_cost_microcents >= 0) AND (estimated_cost_microcents <= '10000000000000'::bigint))),
    CONSTRAINT benchmark_results_input_tokens_check CHECK (((input_tokens >= 0) AND (input_tokens <= 1000000000))),
    CONSTRAINT benchmark_results_latency_ms_check CHECK ((latency_ms >= 0)),
    CONSTRAINT benchmark_results_output_tokens_check CHECK (((output_tokens >= 0) AND (output_tokens <= 1000000000))),
    CONSTRAINT benchmark_results_quality_score_check CHECK (((quality_score >= 0) AND (quality_score <= 100))),
    CONSTRAINT benchmark_results_test_case_index_check CHECK ((test_case_index >= 0)),
    CONSTRAINT benchmark_results_total_tokens_check CHECK (((total_tokens >= 0) AND (total_tokens <= 1000000000)))
);

ALTER TABLE ONLY public.benchmark_results FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.benchmark_results IS 'The result of one model for one test case of a run.';

COMMENT ON COLUMN public.benchmark_results.test_case_index IS 'Counts from 0 within the run.';

COMMENT ON COLUMN public.benchmark_results.input_tokens IS 'Tokens read; NULL if not measured.';

COMMENT ON COLUMN public.benchmark_results.output_tokens IS 'Tokens written; NULL if not measured.';

COMMENT ON COLUMN public.benchmark_results.total_tokens IS 'Tokens read and written; NULL if not measured.';

COMMENT ON COLUMN public.benchmark_results.latency_ms IS 'Milliseconds from request to answer; NULL if not measured.';

COMMENT ON COLUMN public.benchmark_results.estimated_cost_microcents IS 'In microcents, millionths of a cent: $1 is 100,000,000. At most $100,000. NULL for a model without a price.';

COMMENT ON COLUMN public.benchmark_results.quality_score IS '0 to 100; NULL if not judged.';

COMMENT ON COLUMN public.benchmark_results.matches_expected IS 'Whether the output is the expected one; NULL if not judged.';

COMMENT ON COLUMN public.benchmark_results.error_message IS 'Why the model gave no output; NULL if it gave one.';

CREATE TABLE public.benchmark_runs (
    tenant_id text NOT NULL,
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    skill_id text NOT NULL,
    skill_version_id text,
    triggered_by text,
    status text DEFAULT 'pending'::text NOT NULL,
    worker text,
    models text[] NOT NULL,
    best_model text,
    best_quality_score integer,
    cheapest_model text,
    cheapest_cost_microcents bigint,
    started_at timestamp(3) with time zone,
    completed_at timestamp(3) with time zone,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    CONSTRAINT benchmark_runs_best_quality_score_check CHECK (((best_quality_score >= 0) AND (best_quality_score <= 100))),
    CONSTRAINT benchmark_runs_cheapest_cost_microcents_check CHECK ((cheapest_cost_microcents >= 0)),
    CONSTRAINT benchmark_runs_models_check CHECK ((array_position(models, NULL::text) IS NULL)),
    CONSTRAINT benchmark_runs_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'completed'::text, 'failed'::text])))
);

ALTER TABLE ONLY public.benchmark_runs FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.benchmark_runs IS 'One comparison of models on a skill.';

COMMENT ON COLUMN public.benchmark_runs.skill_version_id IS 'The version that was tested; NULL if the run names none.';

COMMENT ON COLUMN public.benchmark_runs.triggered_by IS 'The user who started it, or who succeeded that user; NULL if deleted.';

COMMENT ON COLUMN public.benchmark_runs.status IS 'pending, running, completed or failed.';

COMMENT ON COLUMN public.benchmark_runs.worker IS 'The name of the worker that claimed it last; NULL if it is pending, or was started without a name.';

COMMENT ON COLUMN public.benchmark_runs.models IS 'The names of the models to compare.';

COMMENT ON COLUMN public.benchmark_runs.best_model IS 'The model with the highest mean quality; NULL if no result has a quality.';

COMMENT ON COLUMN public.benchmark_runs.best_quality_score IS 'Its mean quality, 0 to 100, rounded half up.';

COMMENT ON COLUMN public.benchmark_runs.cheapest_model IS 'The model with the lowest mean cost; NULL if no result has a cost.';

COMMENT ON COLUMN public.benchmark_runs.cheapest_cost_microcents IS 'Its mean cost per test case in microcents: $1 is 100,000,000.';

COMMENT ON COLUMN public.benchmark_runs.started_at IS 'When it started to run; NULL before that.';

COMMENT ON COLUMN public.benchmark_runs.completed_at IS 'When it completed or failed; NULL before that.';

CREATE TABLE public.horizons (
    tenant_id text NOT NULL,
    events_kept_from date,
    measurements_kept_from date
);

ALTER TABLE ONLY public.horizons FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.horizons IS 'The horizon of an organisation, and the row that a fold or a repair locks. It is no part of tenants: on a Citus cluster
a row lock in that table would lock all organisations. Without a row nothing was ever pruned; prepare_horizon adds it.';

COMMENT ON COLUMN public.horizons.events_kept_from IS 'The horizon of usage_events, a day of UTC: earlier events may have been pruned. NULL if none ever were.';

COMMENT ON COLUMN public.horizons.measurements_kept_from IS 'The horizon of token_measurements, likewise.';

CREATE TABLE public.pending_uses (
    tenant_id text NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    day date NOT NULL,
    tool_name text,
    user_id text,
    uses integer NOT NULL
);

ALTER TABLE ONLY public.pending_uses FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.pending_uses IS 'Uses that fold_uses will add to tool_monthly_uses and user_monthly_uses. Reports count them already.';

COMMENT ON COLUMN public.pending_uses.day IS 'The day of UTC of the events.';

COMMENT ON COLUMN public.pending_uses.tool_name IS 'The tool; NULL in a repair of a user''s uses alone.';

COMMENT ON COLUMN public.pending_uses.user_id IS 'The user; NULL if unknown, deleted, or in a repair of a tool''s uses alone.';

COMMENT ON COLUMN public.pending_uses.uses IS 'The number of events.';

CREATE TABLE public.ratings (
    tenant_id text NOT NULL,
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    skill_id text NOT NULL,
    user_id text NOT NULL,
    rating integer NOT NULL,
    comment text,
    hours_saved_estimate integer,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    updated_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    CONSTRAINT ratings_hours_saved_estimate_check CHECK ((hours_saved_estimate >= 0)),
    CONSTRAINT ratings_rating_check CHECK (((rating >= 1) AND (rating <= 5)))
);

ALTER TABLE ONLY public.ratings FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.ratings IS 'The rating of one user for one skill. A new rating replaces the previous one.';

COMMENT ON COLUMN public.ratings.rating IS '1 (useless) to 5 (excellent).';

COMMENT ON COLUMN public.ratings.comment IS 'The comment of the user; NULL if there is none.';

COMMENT ON COLUMN public.ratings.hours_saved_estimate IS 'Hours that one use saves, estimated by the user; NULL if not given.';

COMMENT ON COLUMN public.ratings.updated_at IS 'When the user last rated.';

CREATE TABLE public.skill_contents (
    tenant_id text NOT NULL,
    hash text NOT NULL,
    body text NOT NULL,
    is_binary boolean NOT NULL,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL
);

ALTER TABLE ONLY public.skill_contents FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.skill_contents IS 'The files of imported versions, each content once within the organisation. Rows are never changed.';

COMMENT ON COLUMN public.skill_contents.hash IS 'SHA-256 of the content. The content_hash of a version is that of its manifest, whose lines name its files.';

COMMENT ON COLUMN public.skill_contents.body IS 'The content: text, or base64 of what is no text.';

COMMENT ON COLUMN public.skill_contents.is_binary IS 'Whether body is base64.';

CREATE TABLE public.skill_daily_costs (
    tenant_id text NOT NULL,
    skill_id text NOT NULL,
    day date NOT NULL,
    model_name text NOT NULL,
    measurements bigint NOT NULL,
    priced_measurements bigint NOT NULL,
    cost_microcents bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    timed_measurements bigint NOT NULL,
    latency_ms bigint NOT NULL
)
WITH (fillfactor='80');

ALTER TABLE ONLY public.skill_daily_costs FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.skill_daily_costs IS 'The token measurements of a skill with one model on one day of UTC. Written with the measurement, and exact.';

COMMENT ON COLUMN public.skill_daily_costs.measurements IS 'Number of measurements.';

COMMENT ON COLUMN public.skill_daily_costs.priced_measurements IS 'Number of those that have a cost.';

COMMENT ON COLUMN public.skill_daily_costs.cost_microcents IS 'Sum of their costs in microcents: $1 is 100,000,000.';

COMMENT ON COLUMN public.skill_daily_costs.input_tokens IS 'Sum of the tokens read, where they were measured.';

COMMENT ON COLUMN public.skill_daily_costs.output_tokens IS 'Sum of the tokens written, where they were measured.';

COMMENT ON COLUMN public.skill_daily_costs.total_tokens IS 'Sum of the tokens read and written, where they were measured.';

COMMENT ON COLUMN public.skill_daily_costs.timed_measurements IS 'Number of the measurements that have a latency.';

COMMENT ON COLUMN public.skill_daily_costs.latency_ms IS 'Sum of their latencies in milliseconds.';

CREATE TABLE public.skill_feedback (
    tenant_id text NOT NULL,
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    skill_id text NOT NULL,
    skill_version_id text,
    user_id text,
    usage_event_id text,
    feedback_type text NOT NULL,
    sentiment integer,
    comment text,
    suggested_content text,
    suggested_diff text,
    example_input text,
    example_output text,
    expected_output text,
    quality_score integer,
    status text DEFAULT 'pending'::text NOT NULL,
    reviewed_by text,
    reviewed_at timestamp(3) with time zone,
    review_notes text,
    reply text,
    implemented_version_id text,
    source text DEFAULT 'web'::text NOT NULL,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    CONSTRAINT skill_feedback_feedback_type_check CHECK ((feedback_type = ANY (ARRAY['thumbs_up'::text, 'thumbs_down'::text, 'suggestion'::text, 'training_example'::text, 'bug_report'::text]))),
    CONSTRAINT skill_feedback_implemented_version_id_check CHECK (((implemented_version_id IS NULL) OR (status = 'implemented'::text))),
    CONSTRAINT skill_feedback_quality_score_check CHECK (((quality_score >= 1) AND (quality_score <= 10))),
    CONSTRAINT skill_feedback_sentiment_check CHECK ((sentiment = ANY (ARRAY['-1'::integer, 0, 1]))),
    CONSTRAINT skill_feedback_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'accepted'::text, 'dismissed'::text, 'implemented'::text])))
);

ALTER TABLE ONLY public.skill_feedback FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.skill_feedback IS 'One feedback item on a skill, and its review.';

COMMENT ON COLUMN public.skill_feedback.skill_version_id IS 'The version that it is about; NULL if it is about the skill in general.';

COMMENT ON COLUMN public.skill_feedback.user_id IS 'The user who gave it; NULL if anonymous or deleted.';

COMMENT ON COLUMN public.skill_feedback.usage_event_id IS 'The use that it is about. No foreign key checks it. NULL if there is none.';

COMMENT ON COLUMN public.skill_feedback.feedback_type IS 'thumbs_up, thumbs_down, suggestion, training_example or bug_report.';

COMMENT ON COLUMN public.skill_feedback.sentiment IS '-1 against, 0 neutral, 1 in favour; NULL if not given.';

COMMENT ON COLUMN public.skill_feedback.suggested_content IS 'The content that the user suggests.';

COMMENT ON COLUMN public.skill_feedback.suggested_diff IS 'The same as a unified diff.';

COMMENT ON COLUMN public.skill_feedback.example_input IS 'The input of the skill.';

COMMENT ON COLUMN public.skill_feedback.example_output IS 'The output that the skill produced.';

COMMENT ON COLUMN public.skill_feedback.expected_output IS 'The output that was expected.';

COMMENT ON COLUMN public.skill_feedback.quality_score IS '1 (bad) to 10 (excellent); NULL if not given.';

COMMENT ON COLUMN public.skill_feedback.status IS 'pending, accepted, dismissed or implemented.';

COMMENT ON COLUMN public.skill_feedback.reviewed_by IS 'The user who reviewed it last; NULL before the first review, or if the user is deleted or not known.';

COMMENT ON COLUMN public.skill_feedback.reviewed_at IS 'When it was reviewed last; NULL before the first review, or if not known.';

COMMENT ON COLUMN public.skill_feedback.review_notes IS 'The notes of reviewers for each other; NULL if there are none.';

COMMENT ON COLUMN public.skill_feedback.reply IS 'The reply of the reviewers to the author; NULL if there is none.';

COMMENT ON COLUMN public.skill_feedback.implemented_version_id IS 'The version that implemented it; NULL if it is not implemented or none is named.';

COMMENT ON COLUMN public.skill_feedback.source IS 'Where it was entered: web, hook, ...';

CREATE TABLE public.skill_monthly_uses (
    tenant_id text NOT NULL,
    skill_id text NOT NULL,
    month date NOT NULL,
    uses_to_day bigint[] NOT NULL
)
WITH (fillfactor='80');

ALTER TABLE ONLY public.skill_monthly_uses FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.skill_monthly_uses IS 'The recorded uses of a skill on each day of a month of UTC. Written with the event, and exact.';

COMMENT ON COLUMN public.skill_monthly_uses.month IS 'The first day of the month.';

COMMENT ON COLUMN public.skill_monthly_uses.uses_to_day IS 'The uses from the first of the month to the end of each day. The subscript is the day, up to 31 in every month.';

CREATE TABLE public.skill_search (
    tenant_id text NOT NULL,
    skill_id text NOT NULL,
    status text NOT NULL,
    category text NOT NULL,
    tags text[] NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    words tsvector NOT NULL
)
WITH (toast_tuple_target='8160');

ALTER TABLE ONLY public.skill_search FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.skill_search IS 'What search_skills reads of a skill. Written by index_skills in the transaction that changes the skill or its author.';

COMMENT ON COLUMN public.skill_search.status IS 'As in skills: a search then reads skills only for the rows of its page.';

COMMENT ON COLUMN public.skill_search.category IS 'As in skills.';

COMMENT ON COLUMN public.skill_search.tags IS 'As in skills.';

COMMENT ON COLUMN public.skill_search.name_key IS 'The words of the name, by search_name_key().';

COMMENT ON COLUMN public.skill_search.words IS 'The words of the skill, by search_document().';

CREATE TABLE public.skill_sources (
    tenant_id text NOT NULL,
    skill_id text NOT NULL,
    source text NOT NULL,
    path text NOT NULL,
    content_hash text NOT NULL,
    imported jsonb NOT NULL,
    commit_hash text,
    committed_at timestamp(3) with time zone,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    imported_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    CONSTRAINT skill_sources_content_hash_check CHECK ((content_hash ~ '^[0-9a-f]{64}$'::text))
);

ALTER TABLE ONLY public.skill_sources FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.skill_sources IS 'Where an imported skill comes from. A skill that nobody imported has no row.';

COMMENT ON COLUMN public.skill_sources.source IS 'The name of the source: a repository''s address, a folder, or a given name.';

COMMENT ON COLUMN public.skill_sources.path IS 'The skill''s folder within the source; empty for the source itself.';

COMMENT ON COLUMN public.skill_sources.content_hash IS 'The content_hash that the source had at the last import that wrote.';

COMMENT ON COLUMN public.skill_sources.imported IS 'The columns of skills that imports wrote, and their values. What the source has not changed since, people may change.';

COMMENT ON COLUMN public.skill_sources.commit_hash IS 'The commit of the last import that wrote; NULL without a repository.';

COMMENT ON COLUMN public.skill_sources.committed_at IS 'The time of that commit.';

COMMENT ON COLUMN public.skill_sources.created_at IS 'The first import of the skill.';

COMMENT ON COLUMN public.skill_sources.imported_at IS 'The last import that wrote.';

CREATE TABLE public.skill_versions (
    tenant_id text NOT NULL,
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    skill_id text NOT NULL,
    version integer NOT NULL,
    content_url text NOT NULL,
    content_hash text NOT NULL,
    content_type text NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    metadata jsonb,
    created_by text,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    CONSTRAINT skill_versions_content_hash_check CHECK ((content_hash ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT skill_versions_version_check CHECK ((version >= 1))
);

ALTER TABLE ONLY public.skill_versions FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.skill_versions IS 'A published version of a skill. Only created_by may change, when that user is deleted.';

COMMENT ON COLUMN public.skill_versions.version IS 'Counts from 1 within the skill, without gaps.';

COMMENT ON COLUMN public.skill_versions.content_url IS 'Where the content is stored; skilldb does not read it.';

COMMENT ON COLUMN public.skill_versions.content_hash IS 'SHA-256 of the content, 64 lower-case hexadecimal digits.';

COMMENT ON COLUMN public.skill_versions.content_type IS 'MIME type of the content.';

COMMENT ON COLUMN public.skill_versions.name IS 'The name of the skill in this version.';

COMMENT ON COLUMN public.skill_versions.description IS 'The description of the skill in this version.';

COMMENT ON COLUMN public.skill_versions.metadata IS 'Further data from the publisher as JSON; NULL if none was given.';

COMMENT ON COLUMN public.skill_versions.created_by IS 'The user who published it, or who succeeded that user; NULL if unknown or deleted.';

CREATE TABLE public.skills (
    tenant_id text NOT NULL,
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    description text NOT NULL,
    category text NOT NULL,
    tags public.skills_tags DEFAULT '{}'::text[] NOT NULL,
    status public.skills_status DEFAULT 'published'::text NOT NULL,
    hours_saved public.skills_hours_saved DEFAULT 1,
    author_id text,
    published_version_id text,
    published_version public.skills_published_version,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    updated_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    edited_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    metrics_updated_at timestamp(3) with time zone,
    total_uses public.skills_total_uses DEFAULT 0 NOT NULL,
    rating_count public.skills_rating_count DEFAULT 0 NOT NULL,
    rating_sum public.skills_rating_sum DEFAULT 0 NOT NULL,
    average_rating public.skills_average_rating,
    total_feedback public.skills_feedback_count DEFAULT 0 NOT NULL,
    thumbs_up_count public.skills_feedback_count DEFAULT 0 NOT NULL,
    thumbs_down_count public.skills_feedback_count DEFAULT 0 NOT NULL,
    positive_feedback_pct public.skills_positive_feedback_pct,
    priced_measurement_count public.skills_token_cost DEFAULT 0 NOT NULL,
    token_cost_sum_microcents public.skills_token_cost DEFAULT 0 NOT NULL,
    avg_token_cost_microcents public.skills_token_cost
)
WITH (fillfactor='90');

ALTER TABLE ONLY public.skills FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.skills IS 'A skill of the catalogue, as it is now, with its counters.';

COMMENT ON COLUMN public.skills.slug IS 'Short name for URLs, unique within the organisation.';

COMMENT ON COLUMN public.skills.tags IS 'Free keywords; an empty array if there are none.';

COMMENT ON COLUMN public.skills.status IS 'draft, pending_review, published or archived. What''s new lists published skills only.';

COMMENT ON COLUMN public.skills.hours_saved IS 'Hours that one use saves; NULL if nobody has estimated it.';

COMMENT ON COLUMN public.skills.author_id IS 'The user who wrote it; NULL if unknown.';

COMMENT ON COLUMN public.skills.published_version_id IS 'The skill_versions row that users get; NULL before the first version.';

COMMENT ON COLUMN public.skills.published_version IS 'The number of that version; NULL before the first version.';

COMMENT ON COLUMN public.skills.updated_at IS 'Last change of content: name, description, category, tags, status or published version. Counters do not update it. An update that expects an updated_at moves it with any change.';

COMMENT ON COLUMN public.skills.edited_at IS 'Last change of content other than a new version. It separates an edit from a later publication.';

COMMENT ON COLUMN public.skills.metrics_updated_at IS 'Last change of a counter or average; NULL before the first change.';

COMMENT ON COLUMN public.skills.total_uses IS 'Number of uses since the skill was created.';

COMMENT ON COLUMN public.skills.rating_count IS 'Number of ratings.';

COMMENT ON COLUMN public.skills.rating_sum IS 'Sum of the ratings (1 to 5 each).';

COMMENT ON COLUMN public.skills.average_rating IS 'Mean rating * 100, rounded half up: 450 is 4.5. NULL without ratings. Written with rating_sum, by mean_rating().';

COMMENT ON COLUMN public.skills.total_feedback IS 'Number of feedback items, of every type.';

COMMENT ON COLUMN public.skills.thumbs_up_count IS 'Number of thumbs up.';

COMMENT ON COLUMN public.skills.thumbs_down_count IS 'Number of thumbs down.';

COMMENT ON COLUMN public.skills.positive_feedback_pct IS 'Percentage of thumbs up among all thumbs, 0 to 100, rounded half up. NULL without thumbs.';

COMMENT ON COLUMN public.skills.priced_measurement_count IS 'Number of token measurements that have a cost.';

COMMENT ON COLUMN public.skills.token_cost_sum_microcents IS 'Sum of their costs in microcents: $1 is 100,000,000.';

COMMENT ON COLUMN public.skills.avg_token_cost_microcents IS 'Mean cost of a measurement in microcents, rounded half up. NULL without a priced measurement.';

CREATE TABLE public.tenants (
    id text NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    updated_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    CONSTRAINT tenants_id_check CHECK ((id <> ''::text)),
    CONSTRAINT tenants_slug_check CHECK ((slug <> ''::text))
);

COMMENT ON TABLE public.tenants IS 'An organisation. Its id is the value of app.current_tenant_id that shows its rows.';

COMMENT ON COLUMN public.tenants.slug IS 'Short name for URLs, unique among all organisations.';

COMMENT ON COLUMN public.tenants.is_active IS 'False if the organisation is switched off. Its rows are kept.';

CREATE TABLE public.token_measurements (
    tenant_id text NOT NULL,
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    skill_id text NOT NULL,
    usage_event_id text,
    user_id text,
    input_tokens integer,
    output_tokens integer,
    total_tokens integer,
    model_name text NOT NULL,
    model_provider text DEFAULT 'anthropic'::text NOT NULL,
    estimated_cost_microcents bigint,
    latency_ms integer,
    source text DEFAULT 'hook'::text NOT NULL,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    CONSTRAINT token_measurements_estimated_cost_microcents_check CHECK (((estimated_cost_microcents >= 0) AND (estimated_cost_microcents <= '10000000000000'::bigint))),
    CONSTRAINT token_measurements_input_tokens_check CHECK (((input_tokens >= 0) AND (input_tokens <= 1000000000))),
    CONSTRAINT token_measurements_latency_ms_check CHECK ((latency_ms >= 0)),
    CONSTRAINT token_measurements_output_tokens_check CHECK (((output_tokens >= 0) AND (output_tokens <= 1000000000))),
    CONSTRAINT token_measurements_total_tokens_check CHECK (((total_tokens >= 0) AND (total_tokens <= 1000000000)))
);

ALTER TABLE ONLY public.token_measurements FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.token_measurements IS 'The tokens, cost and latency of one run of a skill.';

COMMENT ON COLUMN public.token_measurements.usage_event_id IS 'The use that it belongs to. No foreign key checks it. NULL if there is none.';

COMMENT ON COLUMN public.token_measurements.user_id IS 'The user who ran the skill; NULL if unknown or deleted.';

COMMENT ON COLUMN public.token_measurements.input_tokens IS 'Tokens read; NULL if not measured.';

COMMENT ON COLUMN public.token_measurements.output_tokens IS 'Tokens written; NULL if not measured.';

COMMENT ON COLUMN public.token_measurements.total_tokens IS 'Tokens read and written; NULL if not measured.';

COMMENT ON COLUMN public.token_measurements.model_name IS 'The model. No index begins with it: get_cost_by_model reads skill_daily_costs, in 0.6 of its time.';

COMMENT ON COLUMN public.token_measurements.estimated_cost_microcents IS 'In microcents, millionths of a cent: $1 is 100,000,000. At most $100,000. NULL for a model without a price.';

COMMENT ON COLUMN public.token_measurements.latency_ms IS 'Milliseconds from request to answer; NULL if not measured.';

COMMENT ON COLUMN public.token_measurements.source IS 'Where the measurement came from: hook, api, ...';

CREATE TABLE public.tool_monthly_uses (
    tenant_id text NOT NULL,
    tool_name text NOT NULL,
    month date NOT NULL,
    uses_to_day bigint[] NOT NULL
)
WITH (fillfactor='80');

ALTER TABLE ONLY public.tool_monthly_uses FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.tool_monthly_uses IS 'The recorded uses of a tool on each day of a month of UTC, with or without a skill, without those in pending_uses.';

COMMENT ON COLUMN public.tool_monthly_uses.month IS 'The first day of the month.';

COMMENT ON COLUMN public.tool_monthly_uses.uses_to_day IS 'As in skill_monthly_uses.';

CREATE TABLE public.usage_events (
    tenant_id text NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tool_name text NOT NULL,
    skill_id text,
    user_id text,
    metadata jsonb,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL
);

ALTER TABLE ONLY public.usage_events FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.usage_events IS 'One use of a skill or tool.';

COMMENT ON COLUMN public.usage_events.id IS 'The caller may choose it. Recording the same id again changes nothing.';

COMMENT ON COLUMN public.usage_events.skill_id IS 'The skill that was used; NULL if a tool was used without a skill.';

COMMENT ON COLUMN public.usage_events.user_id IS 'The user; NULL if unknown or deleted.';

COMMENT ON COLUMN public.usage_events.metadata IS 'Further data from the caller as JSON; NULL if none was given.';

COMMENT ON COLUMN public.usage_events.created_at IS 'When it was used; the caller may give an earlier time.';

CREATE TABLE public.user_monthly_uses (
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    month date NOT NULL,
    uses_to_day bigint[] NOT NULL
)
WITH (fillfactor='80');

ALTER TABLE ONLY public.user_monthly_uses FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.user_monthly_uses IS 'The recorded uses of a user on each day of a month of UTC, with or without a skill, without those in pending_uses.';

COMMENT ON COLUMN public.user_monthly_uses.month IS 'The first day of the month.';

COMMENT ON COLUMN public.user_monthly_uses.uses_to_day IS 'As in skill_monthly_uses.';

CREATE TABLE public.user_skill_views (
    tenant_id text NOT NULL,
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    user_id text NOT NULL,
    skill_id text NOT NULL,
    last_viewed_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    last_viewed_version integer,
    view_count bigint DEFAULT 1 NOT NULL,
    CONSTRAINT user_skill_views_last_viewed_version_check CHECK ((last_viewed_version >= 1)),
    CONSTRAINT user_skill_views_view_count_check CHECK ((view_count >= 1))
)
WITH (fillfactor='90');

ALTER TABLE ONLY public.user_skill_views FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.user_skill_views IS 'A user''s last view of a skill, from which what''s new is computed.';

COMMENT ON COLUMN public.user_skill_views.last_viewed_at IS 'When the user last viewed the skill. It never goes backwards. No index has it: see list_recently_viewed in views.sql.';

COMMENT ON COLUMN public.user_skill_views.last_viewed_version IS 'The version that the user saw then; NULL if none was published.';

COMMENT ON COLUMN public.user_skill_views.view_count IS 'How often the user has viewed the skill.';

CREATE TABLE public.users (
    tenant_id text NOT NULL,
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    email text NOT NULL,
    name text,
    role text DEFAULT 'member'::text NOT NULL,
    created_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    updated_at timestamp(3) with time zone DEFAULT date_trunc('milliseconds'::text, now()) NOT NULL,
    deleting_since timestamp(3) with time zone,
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['admin'::text, 'member'::text])))
);

ALTER TABLE ONLY public.users FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE public.users IS 'A person of an organisation, who rates, views and uses its skills.';

COMMENT ON COLUMN public.users.email IS 'Unique within the organisation, compared as written.';

COMMENT ON COLUMN public.users.name IS 'As shown to others; NULL if unknown.';

COMMENT ON COLUMN public.users.role IS 'What the person may do in the organisation: admin or member.';

COMMENT ON COLUMN public.users.deleting_since IS 'When delete_user began to delete the user. Nothing new may name the user from then on. NULL for every other user.';

ALTER TABLE ONLY public.benchmark_results
    ADD CONSTRAINT benchmark_results_case_key UNIQUE (tenant_id, benchmark_run_id, model_name, test_case_index);

ALTER TABLE ONLY public.benchmark_results
    ADD CONSTRAINT benchmark_results_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.benchmark_runs
    ADD CONSTRAINT benchmark_runs_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.horizons
    ADD CONSTRAINT horizons_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY public.pending_uses
    ADD CONSTRAINT pending_uses_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.ratings
    ADD CONSTRAINT ratings_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.ratings
    ADD CONSTRAINT ratings_user_skill_key UNIQUE (tenant_id, user_id, skill_id);

ALTER TABLE ONLY public.skill_contents
    ADD CONSTRAINT skill_contents_pkey PRIMARY KEY (tenant_id, hash);

ALTER TABLE ONLY public.skill_daily_costs
    ADD CONSTRAINT skill_daily_costs_pkey PRIMARY KEY (tenant_id, skill_id, day, model_name);

ALTER TABLE ONLY public.skill_feedback
    ADD CONSTRAINT skill_feedback_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.skill_monthly_uses
    ADD CONSTRAINT skill_monthly_uses_pkey PRIMARY KEY (tenant_id, skill_id, month);

ALTER TABLE ONLY public.skill_search
    ADD CONSTRAINT skill_search_pkey PRIMARY KEY (tenant_id, skill_id);

ALTER TABLE ONLY public.skill_sources
    ADD CONSTRAINT skill_sources_pkey PRIMARY KEY (tenant_id, skill_id);

ALTER TABLE ONLY public.skill_versions
    ADD CONSTRAINT skill_versions_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.skill_versions
    ADD CONSTRAINT skill_versions_version_key UNIQUE (tenant_id, skill_id, version);

ALTER TABLE ONLY public.skills
    ADD CONSTRAINT skills_pkey PRIMARY KEY (tenant_id, id) INCLUDE (updated_at, published_version, status);

ALTER TABLE ONLY public.skills
    ADD CONSTRAINT skills_slug_key UNIQUE (tenant_id, slug);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_slug_key UNIQUE (slug);

ALTER TABLE ONLY public.token_measurements
    ADD CONSTRAINT token_measurements_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.tool_monthly_uses
    ADD CONSTRAINT tool_monthly_uses_pkey PRIMARY KEY (tenant_id, month, tool_name);

ALTER TABLE ONLY public.usage_events
    ADD CONSTRAINT usage_events_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.user_monthly_uses
    ADD CONSTRAINT user_monthly_uses_pkey PRIMARY KEY (tenant_id, user_id, month);

ALTER TABLE ONLY public.user_skill_views
    ADD CONSTRAINT user_skill_views_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.user_skill_views
    ADD CONSTRAINT user_skill_views_user_skill_key UNIQUE (tenant_id, user_id, skill_id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_email_key UNIQUE (tenant_id, email);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (tenant_id, id);

CREATE INDEX benchmark_runs_skill_created_idx ON public.benchmark_runs USING btree (tenant_id, skill_id, created_at, id);

CREATE INDEX benchmark_runs_skill_version_idx ON public.benchmark_runs USING btree (tenant_id, skill_version_id) WHERE (skill_version_id IS NOT NULL);

COMMENT ON INDEX public.benchmark_runs_skill_version_idx IS 'For benchmark_runs_skill_version_fk: deleting a version, with its skill, checks whether a run refers to it.';

CREATE INDEX benchmark_runs_status_idx ON public.benchmark_runs USING btree (tenant_id, status, created_at, id);

CREATE INDEX benchmark_runs_triggered_by_idx ON public.benchmark_runs USING btree (tenant_id, triggered_by) WHERE (triggered_by IS NOT NULL);

COMMENT ON INDEX public.benchmark_runs_triggered_by_idx IS 'For benchmark_runs_triggered_by_fk: deleting a user passes on the runs that the user triggered.';

CREATE INDEX ratings_skill_updated_idx ON public.ratings USING btree (tenant_id, skill_id, updated_at, id);

CREATE INDEX skill_daily_costs_day_idx ON public.skill_daily_costs USING btree (tenant_id, day);

CREATE INDEX skill_feedback_author_idx ON public.skill_feedback USING btree (tenant_id, user_id, created_at, id) WHERE (user_id IS NOT NULL);

CREATE INDEX skill_feedback_implemented_version_idx ON public.skill_feedback USING btree (tenant_id, implemented_version_id) WHERE (implemented_version_id IS NOT NULL);

COMMENT ON INDEX public.skill_feedback_implemented_version_idx IS 'For skill_feedback_implemented_version_fk: deleting a version, with its skill, checks whether an item names it.';

CREATE INDEX skill_feedback_queue_idx ON public.skill_feedback USING btree (tenant_id, status, feedback_type, created_at, id);

CREATE INDEX skill_feedback_reviewed_by_idx ON public.skill_feedback USING btree (tenant_id, reviewed_by) WHERE (reviewed_by IS NOT NULL);

CREATE INDEX skill_feedback_skill_created_idx ON public.skill_feedback USING btree (tenant_id, skill_id, created_at, id);

CREATE INDEX skill_feedback_skill_version_idx ON public.skill_feedback USING btree (tenant_id, skill_version_id) WHERE (skill_version_id IS NOT NULL);

COMMENT ON INDEX public.skill_feedback_skill_version_idx IS 'For skill_feedback_skill_version_fk: deleting a version, with its skill, checks whether a feedback item refers to it.';

CREATE INDEX skill_monthly_uses_month_idx ON public.skill_monthly_uses USING btree (tenant_id, month);

CREATE INDEX skill_search_name_idx ON public.skill_search USING btree (tenant_id, name_key, skill_id);

CREATE INDEX skill_sources_source_idx ON public.skill_sources USING btree (tenant_id, source, created_at, skill_id);

CREATE INDEX skill_versions_created_by_idx ON public.skill_versions USING btree (tenant_id, created_by) WHERE (created_by IS NOT NULL);

COMMENT ON INDEX public.skill_versions_created_by_idx IS 'For skill_versions_created_by_fk: deleting a user passes on the versions that the user published.';

CREATE INDEX skills_author_idx ON public.skills USING btree (tenant_id, author_id) WHERE (author_id IS NOT NULL);

COMMENT ON INDEX public.skills_author_idx IS 'For skills_author_fk: deleting a user passes on the skills that the user wrote.';

CREATE INDEX skills_published_version_idx ON public.skills USING btree (tenant_id, published_version_id) WHERE (published_version_id IS NOT NULL);

COMMENT ON INDEX public.skills_published_version_idx IS 'For skills_published_version_fk: deleting a version, with its skill, checks whether a skill refers to it.';

CREATE INDEX skills_updated_idx ON public.skills USING btree (tenant_id, updated_at, id);

CREATE INDEX token_measurements_created_idx ON public.token_measurements USING btree (tenant_id, created_at, id);

CREATE INDEX token_measurements_skill_idx ON public.token_measurements USING btree (tenant_id, skill_id);

COMMENT ON INDEX public.token_measurements_skill_idx IS 'For token_measurements_skill_fk: deleting a skill deletes its measurements.';

CREATE INDEX token_measurements_user_idx ON public.token_measurements USING btree (tenant_id, user_id) WHERE (user_id IS NOT NULL);

CREATE INDEX usage_events_created_idx ON public.usage_events USING btree (tenant_id, created_at, id);

CREATE INDEX usage_events_skill_idx ON public.usage_events USING btree (tenant_id, skill_id, created_at) INCLUDE (user_id) WHERE (skill_id IS NOT NULL);

COMMENT ON INDEX public.usage_events_skill_idx IS 'For usage_events_skill_fk: deleting a skill deletes its events.';

CREATE INDEX usage_events_user_idx ON public.usage_events USING btree (tenant_id, user_id) WHERE (user_id IS NOT NULL);

CREATE INDEX user_monthly_uses_month_idx ON public.user_monthly_uses USING btree (tenant_id, month);

CREATE INDEX user_skill_views_viewed_skill_idx ON public.user_skill_views USING btree (tenant_id, skill_id);

COMMENT ON INDEX public.user_skill_views_viewed_skill_idx IS 'For user_skill_views_skill_fk: deleting a skill deletes its views.';

CREATE INDEX users_deleting_email_idx ON public.users USING btree (tenant_id, email) WHERE (deleting_since IS NOT NULL);

CREATE INDEX users_role_email_idx ON public.users USING btree (tenant_id, role, email);

ALTER TABLE ONLY public.benchmark_results
    ADD CONSTRAINT benchmark_results_run_fk FOREIGN KEY (tenant_id, benchmark_run_id) REFERENCES public.benchmark_runs(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.benchmark_results
    ADD CONSTRAINT benchmark_results_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.benchmark_runs
    ADD CONSTRAINT benchmark_runs_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.benchmark_runs
    ADD CONSTRAINT benchmark_runs_skill_version_fk FOREIGN KEY (tenant_id, skill_version_id) REFERENCES public.skill_versions(tenant_id, id);

ALTER TABLE ONLY public.benchmark_runs
    ADD CONSTRAINT benchmark_runs_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.benchmark_runs
    ADD CONSTRAINT benchmark_runs_triggered_by_fk FOREIGN KEY (tenant_id, triggered_by) REFERENCES public.users(tenant_id, id);

ALTER TABLE ONLY public.horizons
    ADD CONSTRAINT horizons_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.pending_uses
    ADD CONSTRAINT pending_uses_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.ratings
    ADD CONSTRAINT ratings_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.ratings
    ADD CONSTRAINT ratings_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.ratings
    ADD CONSTRAINT ratings_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES public.users(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.skill_contents
    ADD CONSTRAINT skill_contents_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.skill_daily_costs
    ADD CONSTRAINT skill_daily_costs_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.skill_daily_costs
    ADD CONSTRAINT skill_daily_costs_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.skill_feedback
    ADD CONSTRAINT skill_feedback_implemented_version_fk FOREIGN KEY (tenant_id, implemented_version_id) REFERENCES public.skill_versions(tenant_id, id);

ALTER TABLE ONLY public.skill_feedback
    ADD CONSTRAINT skill_feedback_reviewed_by_fk FOREIGN KEY (tenant_id, reviewed_by) REFERENCES public.users(tenant_id, id);

ALTER TABLE ONLY public.skill_feedback
    ADD CONSTRAINT skill_feedback_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.skill_feedback
    ADD CONSTRAINT skill_feedback_skill_version_fk FOREIGN KEY (tenant_id, skill_version_id) REFERENCES public.skill_versions(tenant_id, id);

ALTER TABLE ONLY public.skill_feedback
    ADD CONSTRAINT skill_feedback_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.skill_feedback
    ADD CONSTRAINT skill_feedback_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES public.users(tenant_id, id);

ALTER TABLE ONLY public.skill_monthly_uses
    ADD CONSTRAINT skill_monthly_uses_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.skill_monthly_uses
    ADD CONSTRAINT skill_monthly_uses_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.skill_search
    ADD CONSTRAINT skill_search_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.skill_search
    ADD CONSTRAINT skill_search_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.skill_sources
    ADD CONSTRAINT skill_sources_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.skill_sources
    ADD CONSTRAINT skill_sources_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.skill_versions
    ADD CONSTRAINT skill_versions_created_by_fk FOREIGN KEY (tenant_id, created_by) REFERENCES public.users(tenant_id, id);

ALTER TABLE ONLY public.skill_versions
    ADD CONSTRAINT skill_versions_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.skill_versions
    ADD CONSTRAINT skill_versions_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.skills
    ADD CONSTRAINT skills_author_fk FOREIGN KEY (tenant_id, author_id) REFERENCES public.users(tenant_id, id);

ALTER TABLE ONLY public.skills
    ADD CONSTRAINT skills_published_version_fk FOREIGN KEY (tenant_id, published_version_id) REFERENCES public.skill_versions(tenant_id, id);

ALTER TABLE ONLY public.skills
    ADD CONSTRAINT skills_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.token_measurements
    ADD CONSTRAINT token_measurements_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.token_measurements
    ADD CONSTRAINT token_measurements_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.token_measurements
    ADD CONSTRAINT token_measurements_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES public.users(tenant_id, id);

ALTER TABLE ONLY public.tool_monthly_uses
    ADD CONSTRAINT tool_monthly_uses_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.usage_events
    ADD CONSTRAINT usage_events_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.usage_events
    ADD CONSTRAINT usage_events_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.usage_events
    ADD CONSTRAINT usage_events_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES public.users(tenant_id, id);

ALTER TABLE ONLY public.user_monthly_uses
    ADD CONSTRAINT user_monthly_uses_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.user_monthly_uses
    ADD CONSTRAINT user_monthly_uses_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES public.users(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.user_skill_views
    ADD CONSTRAINT user_skill_views_skill_fk FOREIGN KEY (tenant_id, skill_id) REFERENCES public.skills(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.user_skill_views
    ADD CONSTRAINT user_skill_views_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.user_skill_views
    ADD CONSTRAINT user_skill_views_user_fk FOREIGN KEY (tenant_id, user_id) REFERENCES public.users(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_tenant_fk FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE public.benchmark_results ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.benchmark_runs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.horizons ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.pending_uses ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.ratings ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.skill_contents ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.skill_daily_costs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.skill_feedback ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.skill_monthly_uses ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.skill_search ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.skill_sources ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.skill_versions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.skills ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_access ON public.benchmark_results USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.benchmark_runs USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.horizons USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.pending_uses USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.ratings USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.skill_contents USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.skill_daily_costs USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.skill_feedback USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.skill_monthly_uses USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.skill_search USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.skill_sources USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.skill_versions USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.skills USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.tenants USING ((id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.token_measurements USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.tool_monthly_uses USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.usage_events USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.user_monthly_uses USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.user_skill_views USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_access ON public.users USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_by_slug ON public.tenants FOR SELECT USING ((slug = current_setting('app.current_tenant_slug'::text, true)));

CREATE POLICY tenant_isolation ON public.benchmark_results AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.benchmark_runs AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.horizons AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.pending_uses AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.ratings AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.skill_contents AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.skill_daily_costs AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.skill_feedback AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.skill_monthly_uses AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.skill_search AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.skill_sources AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.skill_versions AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.skills AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.tenants AS RESTRICTIVE FOR SELECT USING (((id = current_setting('app.current_tenant_id'::text, true)) OR (slug = current_setting('app.current_tenant_slug'::text, true))));

CREATE POLICY tenant_isolation ON public.token_measurements AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.tool_monthly_uses AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.usage_events AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.user_monthly_uses AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.user_skill_views AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation ON public.users AS RESTRICTIVE USING ((tenant_id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((tenant_id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation_delete ON public.tenants AS RESTRICTIVE FOR DELETE USING ((id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation_insert ON public.tenants AS RESTRICTIVE FOR INSERT WITH CHECK ((id = current_setting('app.current_tenant_id'::text, true)));

CREATE POLICY tenant_isolation_update ON public.tenants AS RESTRICTIVE FOR UPDATE USING ((id = current_setting('app.current_tenant_id'::text, true))) WITH CHECK ((id = current_setting('app.current_tenant_id'::text, true)));

ALTER TABLE public.tenants ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.token_measurements ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.tool_monthly_uses ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.usage_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.user_monthly_uses ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.user_skill_views ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON FUNCTION public.add_uses(total bigint[], added bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.add_uses(total bigint[], added bigint[]) TO skilldb_app;

REVOKE ALL ON FUNCTION public.mean_cost(cost_sum bigint, priced bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.mean_cost(cost_sum bigint, priced bigint) TO skilldb_app;

REVOKE ALL ON FUNCTION public.mean_rating(rating_sum bigint, rating_count bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.mean_rating(rating_sum bigint, rating_count bigint) TO skilldb_app;

REVOKE ALL ON FUNCTION public.positive_percentage(feedback bigint, thumbs_up bigint, thumbs_down bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.positive_percentage(feedback bigint, thumbs_up bigint, thumbs_down bigint) TO skilldb_app;

REVOKE ALL ON FUNCTION public.raise_conflict(kind text, id text, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.raise_conflict(kind text, id text, reason text) TO skilldb_app;

REVOKE ALL ON FUNCTION public.raise_invalid_transition(kind text, id text, status text, wanted text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.raise_invalid_transition(kind text, id text, status text, wanted text) TO skilldb_app;

REVOKE ALL ON FUNCTION public.raise_invalid_value(kind text, value text, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.raise_invalid_value(kind text, value text, reason text) TO skilldb_app;

REVOKE ALL ON FUNCTION public.raise_not_found(kind text, id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.raise_not_found(kind text, id text) TO skilldb_app;

REVOKE ALL ON FUNCTION public.search_words(content text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.search_words(content text) TO skilldb_app;

REVOKE ALL ON FUNCTION public.search_document(skill_name text, skill_slug text, skill_tags text[], skill_description text, author_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.search_document(skill_name text, skill_slug text, skill_tags text[], skill_description text, author_name text) TO skilldb_app;

REVOKE ALL ON FUNCTION public.search_name_key(skill_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.search_name_key(skill_name text) TO skilldb_app;

REVOKE ALL ON FUNCTION public.search_term(term text[], prefix boolean, weights text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.search_term(term text[], prefix boolean, weights text) TO skilldb_app;

REVOKE ALL ON FUNCTION public.uses_between(uses_to_day bigint[], month date, first_day date, last_day date) FROM PUBLIC;
GRANT ALL ON FUNCTION public.uses_between(uses_to_day bigint[], month date, first_day date, last_day date) TO skilldb_app;

REVOKE ALL ON FUNCTION public.uses_on(day date, uses bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.uses_on(day date, uses bigint) TO skilldb_app;

REVOKE ALL ON FUNCTION public.sum_uses(bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.sum_uses(bigint[]) TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(model_provider) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(input_used) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(output_produced) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(expected_output) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(input_tokens) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(output_tokens) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(total_tokens) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(latency_ms) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(estimated_cost_microcents) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(quality_score) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(quality_notes) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(matches_expected) ON TABLE public.benchmark_results TO skilldb_app;

GRANT UPDATE(error_message) ON TABLE public.benchmark_results TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.benchmark_runs TO skilldb_app;

GRANT UPDATE(triggered_by) ON TABLE public.benchmark_runs TO skilldb_app;

GRANT UPDATE(status) ON TABLE public.benchmark_runs TO skilldb_app;

GRANT UPDATE(worker) ON TABLE public.benchmark_runs TO skilldb_app;

GRANT UPDATE(best_model) ON TABLE public.benchmark_runs TO skilldb_app;

GRANT UPDATE(best_quality_score) ON TABLE public.benchmark_runs TO skilldb_app;

GRANT UPDATE(cheapest_model) ON TABLE public.benchmark_runs TO skilldb_app;

GRANT UPDATE(cheapest_cost_microcents) ON TABLE public.benchmark_runs TO skilldb_app;

GRANT UPDATE(started_at) ON TABLE public.benchmark_runs TO skilldb_app;

GRANT UPDATE(completed_at) ON TABLE public.benchmark_runs TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.horizons TO skilldb_app;

GRANT UPDATE(events_kept_from) ON TABLE public.horizons TO skilldb_app;

GRANT UPDATE(measurements_kept_from) ON TABLE public.horizons TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.pending_uses TO skilldb_app;

GRANT UPDATE(user_id) ON TABLE public.pending_uses TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.ratings TO skilldb_app;

GRANT UPDATE(skill_id) ON TABLE public.ratings TO skilldb_app;

GRANT UPDATE(rating) ON TABLE public.ratings TO skilldb_app;

GRANT UPDATE(comment) ON TABLE public.ratings TO skilldb_app;

GRANT UPDATE(hours_saved_estimate) ON TABLE public.ratings TO skilldb_app;

GRANT UPDATE(updated_at) ON TABLE public.ratings TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.skill_contents TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.skill_daily_costs TO skilldb_app;

GRANT UPDATE(measurements) ON TABLE public.skill_daily_costs TO skilldb_app;

GRANT UPDATE(priced_measurements) ON TABLE public.skill_daily_costs TO skilldb_app;

GRANT UPDATE(cost_microcents) ON TABLE public.skill_daily_costs TO skilldb_app;

GRANT UPDATE(input_tokens) ON TABLE public.skill_daily_costs TO skilldb_app;

GRANT UPDATE(output_tokens) ON TABLE public.skill_daily_costs TO skilldb_app;

GRANT UPDATE(total_tokens) ON TABLE public.skill_daily_costs TO skilldb_app;

GRANT UPDATE(timed_measurements) ON TABLE public.skill_daily_costs TO skilldb_app;

GRANT UPDATE(latency_ms) ON TABLE public.skill_daily_costs TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.skill_feedback TO skilldb_app;

GRANT UPDATE(skill_id) ON TABLE public.skill_feedback TO skilldb_app;

GRANT UPDATE(skill_version_id) ON TABLE public.skill_feedback TO skilldb_app;

GRANT UPDATE(user_id) ON TABLE public.skill_feedback TO skilldb_app;

GRANT UPDATE(status) ON TABLE public.skill_feedback TO skilldb_app;

GRANT UPDATE(reviewed_by) ON TABLE public.skill_feedback TO skilldb_app;

GRANT UPDATE(reviewed_at) ON TABLE public.skill_feedback TO skilldb_app;

GRANT UPDATE(review_notes) ON TABLE public.skill_feedback TO skilldb_app;

GRANT UPDATE(reply) ON TABLE public.skill_feedback TO skilldb_app;

GRANT UPDATE(implemented_version_id) ON TABLE public.skill_feedback TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.skill_monthly_uses TO skilldb_app;

GRANT UPDATE(uses_to_day) ON TABLE public.skill_monthly_uses TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.skill_search TO skilldb_app;

GRANT UPDATE(status) ON TABLE public.skill_search TO skilldb_app;

GRANT UPDATE(category) ON TABLE public.skill_search TO skilldb_app;

GRANT UPDATE(tags) ON TABLE public.skill_search TO skilldb_app;

GRANT UPDATE(name_key) ON TABLE public.skill_search TO skilldb_app;

GRANT UPDATE(words) ON TABLE public.skill_search TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.skill_sources TO skilldb_app;

GRANT UPDATE(source) ON TABLE public.skill_sources TO skilldb_app;

GRANT UPDATE(path) ON TABLE public.skill_sources TO skilldb_app;

GRANT UPDATE(content_hash) ON TABLE public.skill_sources TO skilldb_app;

GRANT UPDATE(imported) ON TABLE public.skill_sources TO skilldb_app;

GRANT UPDATE(commit_hash) ON TABLE public.skill_sources TO skilldb_app;

GRANT UPDATE(committed_at) ON TABLE public.skill_sources TO skilldb_app;

GRANT UPDATE(imported_at) ON TABLE public.skill_sources TO skilldb_app;

GRANT SELECT,INSERT ON TABLE public.skill_versions TO skilldb_app;

GRANT UPDATE(created_by) ON TABLE public.skill_versions TO skilldb_app;

GRANT SELECT,DELETE ON TABLE public.skills TO skilldb_app;

GRANT INSERT(tenant_id) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(id) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(name),UPDATE(name) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(slug),UPDATE(slug) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(description),UPDATE(description) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(category),UPDATE(category) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(tags),UPDATE(tags) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(status),UPDATE(status) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(hours_saved),UPDATE(hours_saved) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(author_id),UPDATE(author_id) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(published_version_id),UPDATE(published_version_id) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(published_version),UPDATE(published_version) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(created_at) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(updated_at),UPDATE(updated_at) ON TABLE public.skills TO skilldb_app;

GRANT INSERT(edited_at),UPDATE(edited_at) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(metrics_updated_at) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(total_uses) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(rating_count) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(rating_sum) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(average_rating) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(total_feedback) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(thumbs_up_count) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(thumbs_down_count) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(positive_feedback_pct) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(priced_measurement_count) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(token_cost_sum_microcents) ON TABLE public.skills TO skilldb_app;

GRANT UPDATE(avg_token_cost_microcents) ON TABLE public.skills TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.tenants TO skilldb_app;

GRANT UPDATE(name) ON TABLE public.tenants TO skilldb_app;

GRANT UPDATE(slug) ON TABLE public.tenants TO skilldb_app;

GRANT UPDATE(is_active) ON TABLE public.tenants TO skilldb_app;

GRANT UPDATE(updated_at) ON TABLE public.tenants TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.token_measurements TO skilldb_app;

GRANT UPDATE(skill_id) ON TABLE public.token_measurements TO skilldb_app;

GRANT UPDATE(user_id) ON TABLE public.token_measurements TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.tool_monthly_uses TO skilldb_app;

GRANT UPDATE(uses_to_day) ON TABLE public.tool_monthly_uses TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.usage_events TO skilldb_app;

GRANT UPDATE(skill_id) ON TABLE public.usage_events TO skilldb_app;

GRANT UPDATE(user_id) ON TABLE public.usage_events TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.user_monthly_uses TO skilldb_app;

GRANT UPDATE(uses_to_day) ON TABLE public.user_monthly_uses TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.user_skill_views TO skilldb_app;

GRANT UPDATE(last_viewed_at) ON TABLE public.user_skill_views TO skilldb_app;

GRANT UPDATE(last_viewed_version) ON TABLE public.user_skill_views TO skilldb_app;

GRANT UPDATE(view_count) ON TABLE public.user_skill_views TO skilldb_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.users TO skilldb_app;

GRANT UPDATE(email) ON TABLE public.users TO skilldb_app;

GRANT UPDATE(name) ON TABLE public.users TO skilldb_app;

GRANT UPDATE(role) ON TABLE public.users TO skilldb_app;

GRANT UPDATE(updated_at) ON TABLE public.users TO skilldb_app;

GRANT UPDATE(deleting_since) ON TABLE public.users TO skilldb_app;
