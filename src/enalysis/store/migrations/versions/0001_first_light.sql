-- Global: found by an unguessable key, no organization's data in them.
create table users (
    id uuid primary key default gen_random_uuid(),
    email text not null check (length(email) between 3 and 254),
    name text not null,
    password_hash text not null,
    created_at timestamptz not null,
    disabled_at timestamptz
);
create unique index users_email on users (lower(email));

create table sessions (
    token_hash bytea primary key,
    user_id uuid not null references users on delete cascade,
    created_at timestamptz not null,
    last_seen_at timestamptz not null,
    expires_at timestamptz not null
);
create index sessions_user on sessions (user_id);

create table instance (
    id int primary key check (id = 1),
    setup_hash bytea,
    setup_at timestamptz,
    canary bytea not null
);

-- A quota is shared by whoever shares the vendor account, also across organizations: the scope is an opaque
-- fingerprint, so the table tells nothing about anyone (docs/decisions/0003).
create table quota_limits (
    scope text not null,
    quota_window text not null check (quota_window in ('minute', 'hour', 'day', 'month')),
    cap int not null check (cap >= 0),
    calendar boolean not null,
    slice_s int not null,
    span_s int not null,
    people_keep int not null,
    live_keep int not null,
    chosen boolean not null default false,
    hold_until timestamptz,
    primary key (scope, quota_window)
);
create table quota_windows (
    scope text not null,
    quota_window text not null,
    window_start timestamptz not null,
    taken int not null check (taken >= 0),
    primary key (scope, quota_window, window_start),
    foreign key (scope, quota_window) references quota_limits on delete cascade
) with (fillfactor = 50);

-- Per organization.
create table organizations (
    id uuid primary key,
    name text not null,
    created_at timestamptz not null
);

create table organization_keys (
    organization_id uuid not null references organizations on delete cascade,
    version int not null,
    wrapped bytea not null,
    created_at timestamptz not null,
    primary key (organization_id, version)
);

create table memberships (
    organization_id uuid not null references organizations on delete cascade,
    user_id uuid not null references users on delete cascade,
    role text not null check (role in ('owner', 'admin', 'operator', 'viewer')),
    created_at timestamptz not null,
    primary key (organization_id, user_id)
);

create table sites (
    organization_id uuid not null references organizations on delete cascade,
    id uuid not null default gen_random_uuid(),
    name text not null,
    address text,
    zone text not null,
    latitude double precision check (latitude between -90 and 90),
    longitude double precision check (longitude between -180 and 180),
    capacity_wp double precision check (capacity_wp >= 0),
    created_at timestamptz not null,
    primary key (organization_id, id)
);

create table meters (
    organization_id uuid not null,
    id uuid not null default gen_random_uuid(),
    site_id uuid not null,
    kind text not null check (kind in ('pv', 'grid', 'battery', 'load')),
    name text not null,
    parent_id uuid,
    primary key (organization_id, id),
    foreign key (organization_id, site_id) references sites on delete cascade,
    foreign key (organization_id, parent_id) references meters (organization_id, id)
);
create index meters_site on meters (organization_id, site_id);

create table connections (
    organization_id uuid not null references organizations on delete cascade,
    id uuid not null default gen_random_uuid(),
    vendor text not null,
    name text not null,
    plan text not null,
    account text not null,
    sealed bytea,
    sealed_at timestamptz,
    state text not null,
    state_since timestamptz not null,
    fault text,
    clock_ahead_s double precision,
    paused_at timestamptz,
    last_ok_at timestamptz,
    created_at timestamptz not null,
    primary key (organization_id, id)
);

create table vendor_sites (
    organization_id uuid not null,
    connection_id uuid not null,
    ref text not null,
    name text not null,
    active boolean not null,
    site_id uuid,
    seen_at timestamptz not null,
    primary key (organization_id, connection_id, ref),
    foreign key (organization_id, connection_id) references connections on delete cascade,
    foreign key (organization_id, site_id) references sites on delete set null (site_id)
);

create table devices (
    organization_id uuid not null,
    id bigint generated always as identity,
    connection_id uuid not null,
    site_id uuid not null,
    ref text not null,
    parent_ref text,
    kind text not null
        check (kind in ('site_total', 'gateway', 'inverter', 'panel', 'battery', 'meter')),
    name text not null,
    manufacturer text,
    model text,
    serial text,
    firmware text,
    feeds text[] not null default '{}',
    active boolean not null,
    seen_at timestamptz not null,
    primary key (organization_id, id),
    unique (organization_id, connection_id, ref),
    foreign key (organization_id, connection_id) references connections on delete cascade,
    foreign key (organization_id, site_id) references sites on delete cascade
);
create index devices_site on devices (organization_id, site_id);

create table meter_sources (
    organization_id uuid not null,
    meter_id uuid not null,
    device_id bigint not null,
    valid_from timestamptz not null default '-infinity',
    valid_until timestamptz,
    primary key (organization_id, meter_id, device_id, valid_from),
    foreign key (organization_id, meter_id) references meters on delete cascade,
    foreign key (organization_id, device_id) references devices on delete cascade,
    check (valid_until is null or valid_until > valid_from)
);

create table streams (
    organization_id uuid not null,
    id bigint generated always as identity,
    connection_id uuid not null,
    site_id uuid,
    name text not null,
    subject text not null,
    metrics text[] not null default '{}',
    enabled boolean not null default true,
    next_at timestamptz not null,
    why text not null default '',
    claimed_until timestamptz,
    polled_at timestamptz,
    last_ok_at timestamptz,
    cursor timestamptz,
    backfill_until timestamptz,
    backfill_at timestamptz,
    backfill_start timestamptz,
    backfill_next_at timestamptz,
    failures int not null default 0,
    wait_until timestamptz,
    fault text,
    fault_text text,
    primary key (organization_id, id),
    unique (organization_id, connection_id, name, subject),
    foreign key (organization_id, connection_id) references connections on delete cascade,
    foreign key (organization_id, site_id) references sites on delete cascade
) with (fillfactor = 60);
create index streams_due on streams (next_at) where enabled;
create index streams_backfill on streams (backfill_next_at) where enabled and backfill_next_at is not null;

create table coverage (
    organization_id uuid not null,
    stream_id bigint not null,
    day date not null,
    step_s int not null,
    slots text not null,
    dirty boolean not null default false,
    primary key (organization_id, stream_id, day)
) with (fillfactor = 60);
create index coverage_dirty on coverage (organization_id, stream_id) where dirty;

create table vendor_calls (
    organization_id uuid not null,
    id bigint generated always as identity,
    connection_id uuid not null,
    at timestamptz not null,
    operation text not null,
    cost int not null,
    verdict text not null,
    ms double precision not null,
    primary key (organization_id, id),
    foreign key (organization_id, connection_id) references connections on delete cascade
);
create index vendor_calls_recent on vendor_calls (organization_id, connection_id, at);

create table quarantine (
    organization_id uuid not null,
    id bigint generated always as identity,
    connection_id uuid not null,
    device_ref text not null,
    at timestamptz,
    metric text not null,
    reason text not null,
    shown text not null,
    seen_at timestamptz not null,
    primary key (organization_id, id),
    foreign key (organization_id, connection_id) references connections on delete cascade
);
create index quarantine_recent on quarantine (organization_id, connection_id, seen_at);

-- Readings: wide, one row per device and time. No foreign key: they are written by the hundred thousand, and
-- device ids come from the organization's own devices table (docs/decisions/0004). PostgreSQL holds NaN to be
-- greater than infinity, so the checks refuse both.
create table samples (
    organization_id uuid not null,
    device_id bigint not null,
    at timestamptz not null,
    pv_w double precision check (pv_w >= 0 and pv_w < 'infinity'),
    grid_w double precision check (grid_w > '-infinity' and grid_w < 'infinity'),
    battery_w double precision check (battery_w > '-infinity' and battery_w < 'infinity'),
    load_w double precision check (load_w >= 0 and load_w < 'infinity'),
    soc_pct double precision check (soc_pct between 0 and 100),
    temp_c double precision check (temp_c > '-infinity' and temp_c < 'infinity'),
    pv_total_wh double precision check (pv_total_wh >= 0 and pv_total_wh < 'infinity'),
    grid_import_total_wh double precision
        check (grid_import_total_wh >= 0 and grid_import_total_wh < 'infinity'),
    grid_export_total_wh double precision
        check (grid_export_total_wh >= 0 and grid_export_total_wh < 'infinity'),
    battery_charge_total_wh double precision
        check (battery_charge_total_wh >= 0 and battery_charge_total_wh < 'infinity'),
    battery_discharge_total_wh double precision
        check (battery_discharge_total_wh >= 0 and battery_discharge_total_wh < 'infinity'),
    load_total_wh double precision check (load_total_wh >= 0 and load_total_wh < 'infinity'),
    quality smallint not null default 0,
    extra jsonb,
    primary key (organization_id, device_id, at)
) partition by range (at);

create table intervals (
    organization_id uuid not null,
    device_id bigint not null,
    start timestamptz not null,
    duration_s int not null check (duration_s in (300, 900, 3600, 86400)),
    pv_wh double precision check (pv_wh >= 0 and pv_wh < 'infinity'),
    grid_import_wh double precision check (grid_import_wh >= 0 and grid_import_wh < 'infinity'),
    grid_export_wh double precision check (grid_export_wh >= 0 and grid_export_wh < 'infinity'),
    battery_charge_wh double precision check (battery_charge_wh >= 0 and battery_charge_wh < 'infinity'),
    battery_discharge_wh double precision
        check (battery_discharge_wh >= 0 and battery_discharge_wh < 'infinity'),
    load_wh double precision check (load_wh >= 0 and load_wh < 'infinity'),
    soc_pct double precision check (soc_pct between 0 and 100),
    quality smallint not null default 0,
    extra jsonb,
    primary key (organization_id, device_id, start, duration_s)
) partition by range (start);

create table revisions (
    organization_id uuid not null,
    device_id bigint not null,
    start timestamptz not null,
    duration_s int not null,
    metric text not null,
    old double precision not null,
    new double precision not null,
    seen_at timestamptz not null,
    primary key (organization_id, device_id, start, duration_s, metric, seen_at)
);

create table latest (
    organization_id uuid not null,
    device_id bigint not null,
    at timestamptz,
    pv_w double precision,
    grid_w double precision,
    battery_w double precision,
    load_w double precision,
    start timestamptz,
    duration_s int,
    pv_wh double precision,
    grid_import_wh double precision,
    grid_export_wh double precision,
    battery_charge_wh double precision,
    battery_discharge_wh double precision,
    load_wh double precision,
    soc_pct double precision,
    quality smallint not null default 0,
    primary key (organization_id, device_id)
) with (fillfactor = 60);

create table site_quarters (
    organization_id uuid not null,
    site_id uuid not null,
    start timestamptz not null,
    pv_wh double precision,
    grid_import_wh double precision,
    grid_export_wh double precision,
    battery_charge_wh double precision,
    battery_discharge_wh double precision,
    load_wh double precision,
    soc_pct double precision,
    residual_wh double precision,
    quality smallint not null,
    primary key (organization_id, site_id, start),
    foreign key (organization_id, site_id) references sites on delete cascade
);

create table site_days (
    organization_id uuid not null,
    site_id uuid not null,
    day date not null,
    pv_wh double precision,
    grid_import_wh double precision,
    grid_export_wh double precision,
    battery_charge_wh double precision,
    battery_discharge_wh double precision,
    load_wh double precision,
    residual_wh double precision,
    quality smallint not null,
    slots int not null,
    stored int not null,
    told_null int not null,
    complete boolean not null default false,
    primary key (organization_id, site_id, day),
    foreign key (organization_id, site_id) references sites on delete cascade
);

create table events (
    organization_id uuid not null,
    id bigint generated always as identity,
    at timestamptz not null,
    connection_id uuid,
    site_id uuid,
    kind text not null,
    text text not null,
    primary key (organization_id, id),
    foreign key (organization_id, connection_id) references connections on delete cascade,
    foreign key (organization_id, site_id) references sites on delete cascade
);
create index events_recent on events (organization_id, at);

-- The tenant wall: every table that carries an organization, and organizations itself.
do $$
declare t record;
begin
    for t in
        select c.relname, case when c.relname = 'organizations' then 'id' else 'organization_id' end as col
        from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
          and (c.relname = 'organizations' or exists (
              select from pg_attribute a where a.attrelid = c.oid and a.attname = 'organization_id'))
    loop
        execute format('alter table %I enable row level security', t.relname);
        execute format('alter table %I force row level security', t.relname);
        execute format(
            -- As a subquery it is computed once a statement, not once a row: a third off the time of an ingest.
            'create policy tenant on %I using (%I = (select nullif(current_setting(''app.org'', true), '''')::uuid))'
            ' with check (%I = (select nullif(current_setting(''app.org'', true), '''')::uuid))',
            t.relname, t.col, t.col);
        execute format('grant select, insert, update, delete on %I to enalysis_app', t.relname);
    end loop;
end $$;
create policy own_memberships on memberships for select to enalysis_app
    using (user_id = nullif(current_setting('app.user', true), '')::uuid);

grant select on alembic_version to enalysis_app;
grant select, insert, update, delete on users, sessions, instance, quota_limits, quota_windows to enalysis_app;
-- What was restated may be erased with its device, never rewritten.
revoke update on revisions from enalysis_app;

-- The engine plans over all organizations and sees no secret.
create policy engine on streams to enalysis_engine using (true) with check (true);
create policy engine on connections to enalysis_engine using (true) with check (true);
create policy engine on coverage to enalysis_engine using (true) with check (true);
grant select (organization_id, id, connection_id, site_id, name, subject, enabled, next_at, claimed_until,
              polled_at, cursor, backfill_until, backfill_at, backfill_next_at, failures, wait_until),
      update (next_at, claimed_until, backfill_next_at, why)
    on streams to enalysis_engine;
grant select (organization_id, id, vendor, name, plan, account, state, state_since, paused_at)
    on connections to enalysis_engine;
grant select (organization_id, stream_id, day, step_s, slots, dirty) on coverage to enalysis_engine;
grant select on quota_limits, quota_windows to enalysis_engine;

-- Monthly partitions ahead of need. The one function that runs as the owner: it takes dates only, touches no
-- row, and gives nobody a grant on what it makes.
create function ensure_partitions(p_from date, p_until date) returns int
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    m date := date_trunc('month', p_from)::date;
    parent text;
    part text;
    made int := 0;
begin
    if p_until < p_from or p_until > p_from + 36600 then
        raise exception 'ensure_partitions: from % until % is not a range of at most a century', p_from, p_until;
    end if;
    while m <= p_until loop
        foreach parent in array array['samples', 'intervals'] loop
            part := parent || to_char(m, '_YYYY_MM');
            if to_regclass('public.' || part) is null then
                perform pg_advisory_xact_lock(hashtext('enalysis.partitions'));
                -- Looked up again by the statement itself: what was looked up before waiting may be stale.
                execute format(
                    'create table if not exists %I partition of %I for values from (%L) to (%L)',
                    part, parent,
                    m::timestamp at time zone 'UTC', (m + interval '1 month')::timestamp at time zone 'UTC');
                made := made + 1;
            end if;
        end loop;
        m := (m + interval '1 month')::date;
    end loop;
    return made;
end $$;
revoke all on function ensure_partitions(date, date) from public;
grant execute on function ensure_partitions(date, date) to enalysis_app;

-- Each slot keeps the better of what was and what is now known: s over q over n over x over r over '.'.
-- Slow by nature: store.readings calls it only where a better answer may stand already.
create function coverage_merge(p_old text, p_new text) returns text language plpgsql immutable as $$
declare
    merged text := p_new;
    rank constant text := '.rxnqs';
    letter text;
begin
    if length(p_old) < length(p_new) then
        p_old := rpad(p_old, length(p_new), '.');
    end if;
    for i in 1..length(p_new) loop
        letter := substr(p_old, i, 1);
        if letter <> '.' and strpos(rank, letter) > strpos(rank, substr(p_new, i, 1)) then
            merged := overlay(merged placing letter from i);
        end if;
    end loop;
    return merged;
end $$;

-- Reserve calls before they are made: all windows of a scope or none, exact across processes and restarts.
-- p_class: 0 a person or a renewal, 1 a scheduled poll, 2 backfill; each leaves what the classes before it keep.
-- A scope nobody declared is refused: unknown means spent.
create function quota_take(p_scope text, p_cost int, p_now timestamptz, p_class int)
returns table (granted boolean, until timestamptz, blocked_by text) language plpgsql as $$
declare
    l quota_limits;
    used int;
    room int;
    free_at timestamptz;
    known boolean := false;
begin
    granted := true;
    -- One at a time in a scope: locking its rows one after the other deadlocks with who adds or drops a window.
    perform quota_lock(p_scope);
    for l in select * from quota_limits q where q.scope = p_scope order by q.quota_window loop
        known := true;
        select coalesce(sum(w.taken), 0) into used from quota_windows w
        where w.scope = p_scope and w.quota_window = l.quota_window
          and w.window_start > quota_since(l, p_now);
        room := l.cap - case p_class when 0 then 0 when 1 then l.people_keep else l.live_keep end;
        free_at := null;
        if l.hold_until > p_now then
            free_at := l.hold_until;
        elsif used + p_cost > room then
            free_at := quota_free_at(l, p_now, used + p_cost - room);
        end if;
        if free_at is not null then
            granted := false;
            if until is null or free_at > until then
                until := free_at;
                blocked_by := l.quota_window;
            end if;
        end if;
    end loop;
    granted := granted and known;
    if granted then
        insert into quota_windows as w (scope, quota_window, window_start, taken)
        select q.scope, q.quota_window, quota_slice(q.slice_s, p_now), p_cost
        from quota_limits q where q.scope = p_scope
        on conflict (scope, quota_window, window_start) do update set taken = w.taken + excluded.taken;
    end if;
    return next;
end $$;

create function quota_lock(p_scope text) returns void language sql volatile as $$
    select pg_advisory_xact_lock(hashtextextended('enalysis.quota:' || p_scope, 0))
$$;

create function quota_slice(p_slice_s int, p_at timestamptz) returns timestamptz language sql immutable as $$
    select to_timestamp(floor(extract(epoch from p_at) / p_slice_s) * p_slice_s)
$$;

create function quota_since(l quota_limits, p_now timestamptz) returns timestamptz language sql stable as $$
    select case when l.calendar
        then date_trunc(l.quota_window, p_now, 'UTC') - interval '1 microsecond'
        else p_now - make_interval(secs => l.span_s) end
$$;

-- When p_short calls will have left the window: the end of a calendar window, else when enough slices slid out.
create function quota_free_at(l quota_limits, p_now timestamptz, p_short int) returns timestamptz
language sql stable as $$
    select case when l.calendar
        then date_trunc(l.quota_window, p_now, 'UTC') + ('1 ' || l.quota_window)::interval
        else coalesce((
            select min(s.window_start) from (
                select w.window_start, sum(w.taken) over (order by w.window_start) as gone
                from quota_windows w
                where w.scope = l.scope and w.quota_window = l.quota_window
                  and w.window_start > quota_since(l, p_now)) s
            where s.gone >= p_short), p_now) + make_interval(secs => l.span_s) end
$$;
