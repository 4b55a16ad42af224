-- The way of every row, counted: what was delivered, what was written to raw, and the one state in which each row ended.
-- Within a source, feed and stage the rows of `is_input` are as many as all the others together.
with delivered as (
    select * from {{ ref('int_delivered_rows') }}
),

ingest as (
    select source, feed, 'ingest' as stage, state, reason, rows_n from delivered
    where state not in ('written', 'erased', 'uncounted')
),

counted_sources as (
    select source from delivered
    group by source
    having count(*) filter (where state = 'uncounted') = 0
),

written as (
    select delivered.source, delivered.feed, delivered.reason, delivered.rows_n
    from delivered
    semi join counted_sources using (source)
    where delivered.state = 'written'
),

erased as (
    select delivered.source, delivered.feed, delivered.rows_n
    from delivered
    semi join counted_sources using (source)
    where delivered.state = 'erased'
),

facts as (
    select facts.*
    from {{ ref('int_fact_rows') }} as facts
    semi join counted_sources using (source)
),

models as (
    select source, feed, 'written' as state, 'raw' as reason, sum(rows_n) as rows_n from written
    group by source, feed
    union all
    select source, feed, 'superseded' as state, reason, rows_n from written
    where reason = 'corrected_file'
    union all
    select source, feed, state, reason, rows_n from facts
    union all
    -- Feeds that no fact table takes row by row end in staging.
    select written.source, written.feed, 'staged' as state, written.reason, written.rows_n - coalesce(erased.rows_n, 0) as rows_n
    from written
    left join erased on written.source = erased.source and written.feed = erased.feed
    where written.reason = 'in_force' and written.feed not in {{ fact_feeds() }}
    union all
    select source, feed, 'erased' as state, 'data_subject' as reason, rows_n from erased
),

chain as (
    select * from ingest
    union all
    select source, feed, 'model' as stage, state, reason, rows_n from models
)

select
    chain.source,
    chain.feed,
    chain.stage,
    chain.state,
    chain.reason,
    chain.state in ('read', 'written') as is_input,
    cast(chain.rows_n as bigint) as rows_n,
    policy.as_of_date
from chain
cross join {{ ref('int_run_policy') }} as policy
