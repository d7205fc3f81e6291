-- The monitor's role in PostgreSQL: it sees who is connected and what waits, and no row of any table.
--
--     psql "$ADMIN_URL" -v database=portal -v password=CHANGE-ME -f deploy/postgres-role.sql
--
-- Then, in the monitor's environment: DATABASE_URL=postgresql://portal_monitor:CHANGE-ME@host:5432/portal
CREATE ROLE portal_monitor LOGIN PASSWORD :'password' CONNECTION LIMIT 4;  -- two held at most, and a person who looks

-- Needed where PUBLIC may not connect.
GRANT CONNECT ON DATABASE :"database" TO portal_monitor;

-- Without it all other sessions' states and times are hidden, and half of the measurements absent. (pg_monitor would do,
-- and may also read every setting and scan tables.)
GRANT pg_read_all_stats TO portal_monitor;

-- A place when all others are taken, so that the monitor sees who took them. It takes effect with
-- `reserved_connections = 2` in postgresql.conf (from 16 on; PostgreSQL must be restarted).
DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        GRANT pg_use_reserved_connections TO portal_monitor;
    END IF;
END
$$;
