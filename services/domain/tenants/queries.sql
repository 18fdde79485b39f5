-- select_weights --
-- Reads the weights of the tenants that have another one than 1.
SELECT id, weight FROM tenants WHERE weight <> 1 AND deleted_at IS NULL
