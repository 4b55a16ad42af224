-- What Q-08 judges: pairs of records that are linked, pairs that nobody has looked at, groups too large for one person.
select
    records_n,
    persons_n,
    pairs_made_n,
    pairs_unresolved_n,
    oversized_unreviewed_n,
    example
from {{ source('identity', 'quality') }}
