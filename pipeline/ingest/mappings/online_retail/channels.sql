-- The shop sells through its own site only and delivers no channel table.
select
    _delivery,
    min(_row) as _row,
    'web' as channel_id,
    'Web shop' as name,
    'own_web' as "group",
    'online' as mode,
    'retention' as role
from delivered
group by _delivery
