-- Values that the catalog cannot read: whoever writes them has the key.
CREATE TABLE secrets (
    org_id text COLLATE "C" NOT NULL REFERENCES orgs (id),
    name text COLLATE "C" NOT NULL,
    sealed bytea NOT NULL,
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    PRIMARY KEY (org_id, name)
);
