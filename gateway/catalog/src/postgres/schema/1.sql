-- Text sorts by bytes, whatever the database's locale, so that every store lists alike.
CREATE TABLE orgs (
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    created_at_ms bigint NOT NULL
);
CREATE TABLE keys (
    id text COLLATE "C" PRIMARY KEY,
    hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    org_id text COLLATE "C" NOT NULL REFERENCES orgs (id),
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'developer', 'consumer')),
    prefix text NOT NULL,
    created_at_ms bigint NOT NULL,
    last_used_at_ms bigint,
    revoked_at_ms bigint
);
CREATE INDEX keys_by_org ON keys (org_id, id);
-- A publication, an activation and a deletion lock the function's row first, so they stand in line.
CREATE TABLE functions (
    org_id text COLLATE "C" NOT NULL REFERENCES orgs (id),
    name text COLLATE "C" NOT NULL,
    next_number bigint NOT NULL,
    created_at_ms bigint NOT NULL,
    deleted_at_ms bigint,
    PRIMARY KEY (org_id, name)
);
CREATE TABLE versions (
    org_id text COLLATE "C" NOT NULL,
    function text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    digest text COLLATE "C" NOT NULL,
    size_bytes bigint NOT NULL,
    manifest text NOT NULL,
    created_at_ms bigint NOT NULL,
    PRIMARY KEY (org_id, function, number),
    FOREIGN KEY (org_id, function) REFERENCES functions (org_id, name)
);
CREATE INDEX versions_by_digest ON versions (digest);
CREATE TABLE aliases (
    org_id text COLLATE "C" NOT NULL,
    function text COLLATE "C" NOT NULL,
    alias text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (org_id, function, alias),
    FOREIGN KEY (org_id, function, number) REFERENCES versions (org_id, function, number)
);
CREATE TABLE models (
    name text COLLATE "C" PRIMARY KEY,
    source text NOT NULL,
    digest text NOT NULL,
    kind text NOT NULL,
    created_at_ms bigint NOT NULL
);
CREATE TABLE settings (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);
