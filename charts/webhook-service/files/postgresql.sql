-- Run once, when the image of Postgres prepares a new volume: a role that owns the service's database and may do nothing
-- else, as on a managed Postgres. The superuser is left without a password, so that it logs in from within the pod only.
\getenv password POSTGRES_PASSWORD
CREATE ROLE webhook LOGIN PASSWORD :'password';
CREATE DATABASE webhook OWNER webhook;
ALTER ROLE postgres PASSWORD NULL;
