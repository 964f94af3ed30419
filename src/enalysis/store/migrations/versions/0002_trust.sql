-- Apps registered at vendors: an organization's own, sealed under its key, or the operator's, whose secrets stay
-- in the settings. `scope` is the opaque key of the app's quotas, the same for everybody who uses the app.
create table vendor_apps (
    organization_id uuid not null references organizations on delete cascade,
    id uuid not null default gen_random_uuid(),
    vendor text not null,
    name text not null,
    kind text not null check (kind in ('developer', 'partner')),
    plan text not null,
    origin text not null check (origin in ('organization', 'operator')),
    state text not null check (state in ('pending', 'verified', 'suspended')),
    state_since timestamptz not null,
    first_ok_at timestamptz,
    sealed bytea,
    sealed_at timestamptz,
    scope text not null,
    created_at timestamptz not null,
    primary key (organization_id, id),
    unique (organization_id, vendor, scope),
    check ((sealed is null) = (origin = 'operator'))
);

-- The owner must see every row to prove the new foreign key; nobody else can look until this commits.
alter table connections no force row level security;
alter table connections
    add column way text not null default '',
    add column app_id uuid,
    -- In clear, so that renewing can be planned without opening a secret.
    add column expires_at timestamptz,
    add column refresh_expires_at timestamptz,
    add column refreshed_at timestamptz,
    add column refresh_next_at timestamptz,
    add column warned_at timestamptz,
    -- Marks of the refresh token held and of whose grant it is: to compare, never to recover.
    add column refresh_mark text,
    add column subject_mark text,
    add column state_until timestamptz,
    -- Reads from the simulators while the vendor has not approved the app; never mixed with real readings.
    add column sandbox boolean not null default false,
    add constraint connections_app foreign key (organization_id, app_id) references vendor_apps (organization_id, id);
alter table connections force row level security;
create index connections_app on connections (organization_id, app_id) where app_id is not null;
create index connections_refresh on connections (refresh_next_at) where refresh_next_at is not null;
create index connections_account on connections (account);

alter table streams
    -- Calls a day the stream asks for, and the cadence it was last planned with: what shares a quota adds up.
    add column demand double precision not null default 0,
    add column every_s int;

-- A consent under way: one row from the click to the vendor's answer.
create table oauth_states (
    organization_id uuid not null references organizations on delete cascade,
    state_hash bytea not null,
    session_hash bytea not null,
    vendor text not null,
    way text not null,
    app_id uuid not null,
    redirect_uri text not null,
    name text not null,
    connection_id uuid,
    verifier bytea,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    primary key (organization_id, state_hash),
    foreign key (organization_id, app_id) references vendor_apps (organization_id, id) on delete cascade,
    foreign key (organization_id, connection_id) references connections on delete cascade
);

-- Tokens of connections that are gone here and still live at the vendor, until it forgot them.
create table revocations (
    organization_id uuid not null references organizations on delete cascade,
    id uuid not null,
    vendor text not null,
    way text not null,
    app_id uuid not null,
    sealed bytea not null,
    attempts int not null default 0,
    next_at timestamptz not null,
    give_up_at timestamptz not null,
    primary key (organization_id, id),
    foreign key (organization_id, app_id) references vendor_apps (organization_id, id) on delete cascade
);
create index revocations_due on revocations (next_at);

do $$
declare t text;
begin
    foreach t in array array['vendor_apps', 'oauth_states', 'revocations'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format(
            'create policy tenant on %I using (organization_id = (select nullif(current_setting(''app.org'', true), '''')::uuid))'
            ' with check (organization_id = (select nullif(current_setting(''app.org'', true), '''')::uuid))', t);
        execute format('grant select, insert, update, delete on %I to enalysis_app', t);
    end loop;
end $$;

-- The engine plans renewals and revocations too, and still sees no secret.
create policy engine on revocations to enalysis_engine using (true) with check (true);
grant select (organization_id, id, next_at, give_up_at) on revocations to enalysis_engine;
grant select (way, app_id, expires_at, refresh_expires_at, refreshed_at, refresh_next_at, sandbox, state_until)
    on connections to enalysis_engine;
grant update (refresh_next_at) on connections to enalysis_engine;
grant select (demand, every_s) on streams to enalysis_engine;
