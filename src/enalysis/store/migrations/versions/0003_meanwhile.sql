-- A connection that waits for the vendor's approval may have a twin that reads from the simulators. What is
-- simulated has sites of its own, and both go in one step when the vendor's first data comes.
alter table sites add column sandbox boolean not null default false;

-- The owner must see every row to prove the new foreign key; nobody else can look until this commits.
alter table connections no force row level security;
alter table connections
    add column twin_of uuid,
    -- No cascade: readings carry no foreign key, so a twin is removed by the app, before what it stands for.
    add constraint connections_twin_of foreign key (organization_id, twin_of)
        references connections (organization_id, id),
    add constraint connections_sandbox_is_a_twin check (sandbox = (twin_of is not null));
alter table connections force row level security;
create unique index connections_twin on connections (organization_id, twin_of) where twin_of is not null;

-- A site is fed by the simulators or by vendors, never by both, whoever writes and however. A row that is not
-- there, or not this organization's, is for the foreign keys and policies to refuse.
create function refuse_mixed_feed() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
    if (select s.sandbox from sites s where s.organization_id = new.organization_id and s.id = new.site_id)
        <> (select c.sandbox from connections c
            where c.organization_id = new.organization_id and c.id = new.connection_id) then
        raise exception 'a simulated connection and a real site cannot be joined, nor the other way round'
            using errcode = 'check_violation', constraint = 'sandbox_apart';
    end if;
    return new;
end $$;

create function refuse_mixed_meter() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
    if (select s.sandbox from meters m join sites s on s.organization_id = m.organization_id and s.id = m.site_id
        where m.organization_id = new.organization_id and m.id = new.meter_id)
        <> (select c.sandbox from devices d
            join connections c on c.organization_id = d.organization_id and c.id = d.connection_id
            where d.organization_id = new.organization_id and d.id = new.device_id) then
        raise exception 'a simulated device cannot feed a real meter, nor the other way round'
            using errcode = 'check_violation', constraint = 'sandbox_apart';
    end if;
    return new;
end $$;

create function refuse_other_nature() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
    raise exception 'what is simulated stays so, and what is real too'
        using errcode = 'check_violation', constraint = 'sandbox_apart';
end $$;

create trigger sandbox_apart before insert or update of connection_id, site_id on vendor_sites
    for each row when (new.site_id is not null) execute function refuse_mixed_feed();
create trigger sandbox_apart before insert or update of connection_id, site_id on devices
    for each row execute function refuse_mixed_feed();
create trigger sandbox_apart before insert or update of connection_id, site_id on streams
    for each row when (new.site_id is not null) execute function refuse_mixed_feed();
create trigger sandbox_apart before insert or update on meter_sources
    for each row execute function refuse_mixed_meter();
create trigger sandbox_apart before update of sandbox on sites
    for each row when (new.sandbox <> old.sandbox) execute function refuse_other_nature();
create trigger sandbox_apart before update of sandbox on connections
    for each row when (new.sandbox <> old.sandbox) execute function refuse_other_nature();
