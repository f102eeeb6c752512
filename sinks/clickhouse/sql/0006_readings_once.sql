-- The readings, each instant once: of several values of one sensor's quantity at one instant the one that arrived last, as in
-- latest. For devices that repeat themselves later than the window of de-duplication remembers: readings keeps each repeat.
--
-- Ordered as readings is, so that it is read as it lies, without a sort in memory, and conditions on the key reach its index.
CREATE VIEW IF NOT EXISTS readings_once ${on_cluster} AS
SELECT *
FROM readings
ORDER BY tenant, device, feature, quantity, sensor, measured_at, origin_offset DESC, position DESC
LIMIT 1 BY tenant, device, feature, quantity, sensor, measured_at;
