-- How many blocks a table remembers: a batch that is tried again while no more than these came counts once.
ALTER TABLE readings ${on_cluster} MODIFY SETTING ${dedup_window} = 100000;
ALTER TABLE messages ${on_cluster} MODIFY SETTING ${dedup_window} = 100000;
ALTER TABLE dead_letters ${on_cluster} MODIFY SETTING ${dedup_window} = 100000;
ALTER TABLE latest_state ${on_cluster} MODIFY SETTING ${dedup_window} = 100000;
ALTER TABLE readings_1m_state ${on_cluster} MODIFY SETTING ${dedup_window} = 100000;
