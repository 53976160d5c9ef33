-- The words of each skill, for search_skills. They are beside `skills` and not in it, so that an UPDATE of a counter
-- copies no text.
-- Locks: SHARE on users and SHARE ROW EXCLUSIVE on tenants and skills while the skills that are already there are
-- indexed, to the end of the transaction: some 200 microseconds a skill. The table is new. An older version of skilldb
-- does not write it: stop it before, or run `skilldb check --repair` after it has stopped.
SET LOCAL lock_timeout = '5s';

-- First, because a caller locks users before skills.
LOCK TABLE users IN SHARE MODE;

-- Everything here is explicit, and nothing depends on the database's locale: the words of a row and those of a search
-- must be equal, also after a move to another server. `lower` in the collation C changes A to Z alone.
CREATE OR REPLACE FUNCTION search_words(content TEXT) RETURNS TEXT[]
LANGUAGE plpgsql
IMMUTABLE
STRICT
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
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

COMMENT ON FUNCTION search_words IS
'The words of a text in their order, without accents and in small letters. A search compares nothing else.';

CREATE OR REPLACE FUNCTION search_document(
    skill_name TEXT, skill_slug TEXT, skill_tags TEXT[], skill_description TEXT, author_name TEXT
) RETURNS TSVECTOR
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN (
    -- The bounds keep the result below the megabyte that a tsvector may have. A part is the name, the slug, a tag, the
    -- description or the author's name. The gaps between the positions of two parts keep phrases within one part.
    SELECT
        coalesce(
            string_agg(format('''%s'':%s%s', left(w.word, 100), w.number + w.part, w.weight), ' '),
            ''
        )::TSVECTOR
    FROM (
        SELECT
            u.word,
            p.part,
            p.weight,
            row_number() OVER (ORDER BY p.part, u.number) AS number
        FROM (
            SELECT
                f.content,
                f.part,
                CASE
                    WHEN f.part <= 2 THEN 'A'
                    WHEN f.part <= 2 + cardinality(skill_tags[1:100]) THEN 'B'
                    WHEN f.part = 3 + cardinality(skill_tags[1:100]) THEN 'C'
                    ELSE 'D'
                END AS weight
            FROM unnest(
                ARRAY[skill_name, skill_slug] || skill_tags[1:100] || ARRAY[skill_description, author_name]
            ) WITH ORDINALITY AS f (content, part)
        ) AS p
        CROSS JOIN LATERAL unnest(
            search_words(
                left(p.content, CASE WHEN p.weight = 'C' THEN 10000 WHEN p.weight = 'B' THEN 200 ELSE 1000 END)
            )
        ) WITH ORDINALITY AS u (word, number)
    ) AS w
);

COMMENT ON FUNCTION search_document IS
'The words of a skill: of its name and slug (weight A), tags (B), description (C) and author''s name (D).';

CREATE OR REPLACE FUNCTION search_name_key(skill_name TEXT) RETURNS TEXT
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN left(array_to_string(search_words(left(skill_name, 1000)), ' '), 100);

COMMENT ON FUNCTION search_name_key IS
'The words of a name, by which lists are sorted: at most 100 characters, which an index can hold.';

CREATE OR REPLACE FUNCTION search_term(term TEXT[], prefix BOOLEAN, weights TEXT) RETURNS TEXT
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
RETURN (
    -- The words contain no character that a tsquery quotes.
    SELECT
        '(' || string_agg(
            format(
                '''%s'':%s%s',
                left(w.word, 100),
                CASE WHEN prefix AND w.number = cardinality(term) THEN '*' ELSE '' END,
                weights
            ),
            ' <-> ' ORDER BY w.number
        ) || ')'
    FROM unnest(term) WITH ORDINALITY AS w (word, number)
);

COMMENT ON FUNCTION search_term IS
'The text of a tsquery: these words one after the other, the last one as a prefix or not, in fields of these weights.';

REVOKE ALL ON FUNCTION search_words(TEXT) FROM public;
REVOKE ALL ON FUNCTION search_document(TEXT, TEXT, TEXT[], TEXT, TEXT) FROM public;
REVOKE ALL ON FUNCTION search_name_key(TEXT) FROM public;
REVOKE ALL ON FUNCTION search_term(TEXT[], BOOLEAN, TEXT) FROM public;
GRANT EXECUTE ON FUNCTION search_words(TEXT) TO skilldb_app;
GRANT EXECUTE ON FUNCTION search_document(TEXT, TEXT, TEXT[], TEXT, TEXT) TO skilldb_app;
GRANT EXECUTE ON FUNCTION search_name_key(TEXT) TO skilldb_app;
GRANT EXECUTE ON FUNCTION search_term(TEXT[], BOOLEAN, TEXT) TO skilldb_app;

CREATE TABLE IF NOT EXISTS skill_search (
    tenant_id TEXT NOT NULL,
    skill_id TEXT NOT NULL,
    status TEXT NOT NULL,
    category TEXT NOT NULL,
    tags TEXT[] NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    words TSVECTOR NOT NULL,
    CONSTRAINT skill_search_pkey PRIMARY KEY (tenant_id, skill_id),
    CONSTRAINT skill_search_tenant_fk FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT skill_search_skill_fk FOREIGN KEY (tenant_id, skill_id)
    REFERENCES skills (tenant_id, id) ON DELETE CASCADE
)
-- A search reads the words of all skills of the organisation. By default they would be compressed, and moved to another
-- table, from 2,000 bytes on.
WITH (toast_tuple_target = 8160);

-- list_skills reads the skills in the order of their names, page by page.
CREATE INDEX IF NOT EXISTS skill_search_name_idx ON skill_search (tenant_id, name_key, skill_id);

COMMENT ON TABLE skill_search IS
'What search_skills reads of a skill. Written by index_skills in the transaction that changes the skill or its author.';
COMMENT ON COLUMN skill_search.status IS 'As in skills: a search then reads skills only for the rows of its page.';
COMMENT ON COLUMN skill_search.category IS 'As in skills.';
COMMENT ON COLUMN skill_search.tags IS 'As in skills.';
COMMENT ON COLUMN skill_search.name_key IS 'The words of the name, by search_name_key().';
COMMENT ON COLUMN skill_search.words IS 'The words of the skill, by search_document().';

ALTER TABLE skill_search ENABLE ROW LEVEL SECURITY;
ALTER TABLE skill_search FORCE ROW LEVEL SECURITY;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_search' AND policyname = 'tenant_isolation'
    ) THEN
        CREATE POLICY tenant_isolation ON skill_search AS RESTRICTIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;

    IF NOT EXISTS (
        SELECT 1 FROM pg_policies
        WHERE schemaname = current_schema() AND tablename = 'skill_search' AND policyname = 'tenant_access'
    ) THEN
        CREATE POLICY tenant_access ON skill_search AS PERMISSIVE FOR ALL
        USING (tenant_id = current_setting('app.current_tenant_id', true))
        WITH CHECK (tenant_id = current_setting('app.current_tenant_id', true));
    END IF;
END
$$;

-- The skills that are already there, organisation by organisation: CONTRIBUTING.md, "Change rows in a migration".
DO $$
DECLARE
    organisation TEXT;
BEGIN
    FOR organisation IN SELECT t.id FROM tenants AS t ORDER BY t.id LOOP
        PERFORM set_config('app.current_tenant_id', organisation, true), set_config('row_security', 'on', true);

        INSERT INTO skill_search (tenant_id, skill_id, status, category, tags, name_key, words)
        SELECT
            organisation,
            s.id,
            s.status,
            s.category,
            s.tags,
            search_name_key(s.name),
            search_document(s.name, s.slug, s.tags, s.description, u.name)
        FROM skills AS s
        LEFT JOIN users AS u ON u.tenant_id = organisation AND u.id = s.author_id
        WHERE s.tenant_id = organisation;

        PERFORM set_config('row_security', 'off', true);
    END LOOP;
    PERFORM set_config('app.current_tenant_id', '', true);
END
$$;

GRANT SELECT, INSERT, DELETE ON skill_search TO skilldb_app;
GRANT UPDATE (status, category, tags, name_key, words) ON skill_search TO skilldb_app;
